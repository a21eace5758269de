//! Addresses and names outside. All lie in ranges and domains that are kept for examples and tests, so that no data
//! set says anything about somebody's real host.

use crate::rng::Rng;

/// An address of the documentation networks (RFC 5737) or of the benchmarking network (RFC 2544).
pub(super) fn address(rng: &mut Rng) -> String {
    match rng.below(5) {
        0 => format!("192.0.2.{}", rng.between(1, 254)),
        1 => format!("198.51.100.{}", rng.between(1, 254)),
        2 => format!("203.0.113.{}", rng.between(1, 254)),
        _ => format!("198.{}.{}.{}", rng.between(18, 19), rng.between(0, 255), rng.between(1, 254)),
    }
}

/// A domain under a name kept for examples and tests (RFC 2606, RFC 6761).
pub(super) fn domain(rng: &mut Rng) -> String {
    const FIRST: [&str; 12] =
        ["cdn", "update", "static", "mail", "api", "img", "sync", "login", "files", "stat", "edge", "assets"];
    const SECOND: [&str; 12] = [
        "polar", "quick", "north", "amber", "delta", "harbor", "lumen", "orbit", "pixel", "raven", "tundra",
        "vector",
    ];
    let end = rng.one_of(&["example", "test", "invalid"]);
    let number = if rng.chance(40) { rng.between(2, 99).to_string() } else { String::new() };
    let (first, second) = (rng.one_of(&FIRST), rng.one_of(&SECOND));
    if rng.chance(50) {
        format!("{first}.{second}{number}.{end}")
    } else {
        format!("{first}-{second}{number}.{end}")
    }
}
