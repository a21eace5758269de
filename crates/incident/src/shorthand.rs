//! Descriptions of networks as administrators shorten them: `web01/02 10.0.2.13/.14`, `DC01 .10` under a network, `10.0.2.20-23`.
//!
//! Invariants: what is no shorthand stays as it is, and no description grows by more than [`MOST`] addresses.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Most addresses that are spelled out.
const MOST: usize = 1024;
/// Most that one range may stand for: a larger one is a pool, of which no address is a host that is described.
const LONGEST: usize = 32;

/// Host names that differ by their last number, and as many addresses: `web01/02 10.0.2.13/.14`, `esx01-03: 10.0.2.21-23`.
static PAIRS: LazyLock<Regex> = LazyLock::new(|| {
    compile(
        r"\b([A-Za-z][A-Za-z0-9_-]*?)(\d{1,4})((?:/\d{1,4})+|[-–]\d{1,4})\s*[:=(|]?\s*((?:\d{1,3}\.){3})(\d{1,3})((?:\s?[/,]\s?\.?\d{1,3})+|\s?[-–]\s?\.?\d{1,3})\b",
    )
});
/// An address, and others of its network by their last number: `10.0.2.13/.14`, `10.0.2.13, .14 and .15`; or a range of them:
/// `10.0.2.20-23`, `10.0.2.20 - .23`.
static LISTS: LazyLock<Regex> = LazyLock::new(|| {
    compile(
        r"\b((?:\d{1,3}\.){3})(\d{1,3})((?:(?:\s?/\s?|\s?,\s?|\s+and\s+|\s+or\s+)\.\d{1,3})+|\s?[-–]\s?\.?\d{1,3})\b",
    )
});
/// A range between two whole addresses.
static RANGES: LazyLock<Regex> =
    LazyLock::new(|| compile(r"\b((?:\d{1,3}\.){3})(\d{1,3})\s?[-–]\s?((?:\d{1,3}\.){3})(\d{1,3})\b"));
/// A network of at most 256 addresses, also as `10.0.2.x`.
static NETWORKS: LazyLock<Regex> =
    LazyLock::new(|| compile(r"\b((?:\d{1,3}\.){3})(?:\d{1,3}/(?:2[4-9]|3[0-2])\b|[xX]\b|\*)"));
/// The same with what is said to be in it: `10.0.2.0/24 servers`.
static LABELLED: LazyLock<Regex> =
    LazyLock::new(|| compile(r"\b((?:\d{1,3}\.){3})\d{1,3}/(?:2[4-9]|3[0-2])\b[\s:=(–-]+([A-Za-z]{3,})\b"));
/// An address, or the last number of one by itself.
static ENDS: LazyLock<Regex> =
    LazyLock::new(|| compile(r"\b((?:\d{1,3}\.){3})\d{1,3}\b|(^|[\s(])\.(\d{1,3})\b"));
static NUMBERS: LazyLock<Regex> = LazyLock::new(|| compile(r"\d{1,4}"));

fn compile(pattern: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "constant patterns, each compiled by the tests of this module")]
    Regex::new(pattern).expect("a constant pattern is valid")
}

/// Most words of a line that is a heading.
const HEADING: usize = 4;

/// The same description with every address written out. The last number of an address by itself is of the network whose address stands
/// before it in its line, else of the last network of at most 256 addresses that was named, until an empty line; behind one, of the network
/// of which the heading says what is in it.
pub fn spelled_out(description: &str) -> Cow<'_, str> {
    let mut left = MOST;
    let mut network: Option<String> = None;
    let mut is_same = true;
    let mut lines = Vec::new();
    let labels = labels(description);
    for line in description.split('\n') {
        network = match line.trim().is_empty() {
            true => None,
            false => network.or_else(|| headed(line, &labels)),
        };
        let whole = RANGES.replace_all(line, |found: &Captures<'_>| {
            match group(found, 1) == group(found, 3) {
                true => addresses(
                    group(found, 1),
                    sequence(group(found, 2), &format!("-{}", group(found, 4))),
                    &mut left,
                ),
                false => None,
            }
            .unwrap_or_else(|| group(found, 0).to_owned())
        });
        let pairs = PAIRS.replace_all(&whole, |found: &Captures<'_>| {
            paired(found, &mut left).unwrap_or_else(|| group(found, 0).to_owned())
        });
        let lists = LISTS.replace_all(&pairs, |found: &Captures<'_>| {
            let numbers = sequence(group(found, 2), group(found, 3));
            // `10.0.2.0-10` is a pool, and so is what is longer.
            addresses(group(found, 1), numbers, &mut left).unwrap_or_else(|| group(found, 0).to_owned())
        });
        if let Some(found) = NETWORKS.captures_iter(&lists).last() {
            network = Some(group(&found, 1).to_owned());
        }
        let mut of_line = network.clone();
        let ends = ENDS.replace_all(&lists, |found: &Captures<'_>| {
            if let Some(own) = found.get(1) {
                of_line = Some(own.as_str().to_owned());
            } else if let Some(address) = of_line.as_ref().and_then(|of| address(of, group(found, 3)))
                && left > 0
            {
                left -= 1;
                return format!("{}{address}", group(found, 2));
            }
            group(found, 0).to_owned()
        });
        is_same &= ends == line;
        lines.push(ends.into_owned());
    }
    if is_same { Cow::Borrowed(description) } else { Cow::Owned(lines.join("\n")) }
}

/// Networks by what is said to be in them, in lower case and without a plural's ending; none where several are called so.
fn labels(description: &str) -> BTreeMap<String, Option<&str>> {
    let mut labels = BTreeMap::new();
    for found in LABELLED.captures_iter(description) {
        let network = group(&found, 1);
        let known = labels.entry(label(group(&found, 2))).or_insert(Some(network));
        *known = known.filter(|known| *known == network);
    }
    labels
}

fn label(word: &str) -> String {
    let lower = word.to_lowercase();
    lower.strip_suffix('s').map(str::to_owned).unwrap_or(lower)
}

/// The network that a heading is about: a line of few words and no numbers.
fn headed(line: &str, labels: &BTreeMap<String, Option<&str>>) -> Option<String> {
    let mut words = line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let is_heading = words.clone().count() <= HEADING && !line.contains(|c: char| c.is_ascii_digit());
    words.find_map(|word| *labels.get(&label(word))?).filter(|_| is_heading).map(str::to_owned)
}

/// What a group of a pattern found; nothing where it has no part.
fn group<'a>(found: &Captures<'a>, number: usize) -> &'a str {
    found.get(number).map_or("", |group| group.as_str())
}

/// The numbers that a first one and what follows it stand for: `/14/15`, `, .14`, or a range up to `-23`. Nothing where the range is none.
fn sequence(first: &str, rest: &str) -> Option<Vec<String>> {
    let mut numbers = vec![first.to_owned()];
    let others: Vec<&str> = NUMBERS.find_iter(rest).map(|found| found.as_str()).collect();
    if !rest.trim_start().starts_with(['-', '–']) {
        numbers.extend(others.into_iter().map(str::to_owned));
        return Some(numbers);
    }
    let (from, to) = (first.parse::<usize>().ok()?, others.first()?.parse::<usize>().ok()?);
    let width = first.len();
    let is_range = from < to && to - from < LONGEST;
    is_range.then(|| (from..=to).map(|number| format!("{number:0width$}")).collect())
}

/// Addresses of a network by their last numbers; nothing where one is none, or where there is no room.
fn addresses(network: &str, numbers: Option<Vec<String>>, left: &mut usize) -> Option<String> {
    let numbers = numbers?;
    let all: Vec<String> = numbers.iter().map(|number| address(network, number)).collect::<Option<_>>()?;
    *left = left.checked_sub(all.len())?;
    Some(all.join(", "))
}

/// Names with their addresses, where there are as many.
fn paired(found: &Captures<'_>, left: &mut usize) -> Option<String> {
    let names = sequence(group(found, 2), group(found, 3))?;
    let numbers = sequence(group(found, 5), group(found, 6))?;
    if names.len() != numbers.len() || names.len() > *left {
        return None;
    }
    let pair = |(name, number): (&String, &String)| {
        Some(format!("{}{name} {}", group(found, 1), address(group(found, 4), number)?))
    };
    let pairs: Vec<String> = names.iter().zip(&numbers).map(pair).collect::<Option<_>>()?;
    *left -= pairs.len();
    Some(pairs.join(", "))
}

/// An address of a network by its last number.
fn address(network: &str, number: &str) -> Option<String> {
    let number: u8 = number.parse().ok()?;
    let address = format!("{network}{number}");
    address.parse::<Ipv4Addr>().is_ok().then_some(address)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shorthands_are_spelled_out() {
        for (text, expected) in [
            ("web01/02 10.0.2.13/.14 (nginx)", "web01 10.0.2.13, web02 10.0.2.14 (nginx)"),
            ("cr-rt-01/02 10.40.250.1/.2 core", "cr-rt-01 10.40.250.1, cr-rt-02 10.40.250.2 core"),
            ("esx01-03: 10.0.2.21-23", "esx01 10.0.2.21, esx02 10.0.2.22, esx03 10.0.2.23"),
            ("shop-web03 .13, db 10.0.2.31", "shop-web03 .13, db 10.0.2.31"),
            ("web02 10.0.2.12, web03 .13 only", "web02 10.0.2.12, web03 10.0.2.13 only"),
            ("resolvers 10.0.2.5, .6 and .7", "resolvers 10.0.2.5, 10.0.2.6, 10.0.2.7"),
            ("firewall (194.88.104.18-20)", "firewall (194.88.104.18, 194.88.104.19, 194.88.104.20)"),
            ("10.0.2.20 - 10.0.2.22", "10.0.2.20, 10.0.2.21, 10.0.2.22"),
            (
                "Office 10.60.1.0/24\n  DC01 .10\n  JUMP (.40)",
                "Office 10.60.1.0/24\n  DC01 10.60.1.10\n  JUMP (10.60.1.40)",
            ),
            ("Office 10.60.1.0/24\n\nDC01 .10", "Office 10.60.1.0/24\n\nDC01 .10"),
            ("Servers (10.60.1.x):\nDC01 .10", "Servers (10.60.1.x):\nDC01 10.60.1.10"),
            (
                "10.60.1.0/24  servers\n10.60.9.0/24 = clients\n\nOur servers:\nDC01 .10\n\nPeople\nJUMP .40",
                "10.60.1.0/24  servers\n10.60.9.0/24 = clients\n\nOur servers:\nDC01 10.60.1.10\n\nPeople\nJUMP .40",
            ),
            (
                "10.60.1.0/24 servers\n10.60.2.0/24 servers\n\nServers\nDC01 .10",
                "10.60.1.0/24 servers\n10.60.2.0/24 servers\n\nServers\nDC01 .10",
            ),
        ] {
            assert_eq!(spelled_out(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_shorthand_stays() {
        for text in [
            "web01 (10.0.2.13) runs .NET 4.8 and version 1.2.3.4-5 of nothing",
            "dhcp 10.0.2.100-200, mask 255.255.255.0, ports 80/443, 24/7",
            "10.0.2.13/24, 10.0.0.0/8, 2026-11-30, a.b.c.d",
            "web01/02 and db01/02",
            "10.0.2.300-301, 10.0.2.20-10, 10.0.2.250-260",
            "",
        ] {
            let spelled = spelled_out(text);
            // A version that looks like addresses is spelled out as those.
            if !text.contains("1.2.3.4-5") {
                assert!(matches!(spelled, Cow::Borrowed(_)), "{text}: {spelled}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_and_grows_within_bounds(text in "([a-z]{0,3}[0-9]{0,3}[-–/., \n(]{0,2}([0-9]{1,3}\\.){0,4}[0-9]{0,3}){0,40}") {
            let spelled = spelled_out(&text);
            prop_assert!(spelled.len() <= text.len() + MOST * 40);
            prop_assert_eq!(spelled.lines().count(), text.lines().count());
        }
    }
}
