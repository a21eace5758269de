//! Says the same thing as different products would.

use countermove_planner::derive_seed;

use super::Labelled;

/// What products put before or behind a rule's name.
const BEFORE: [&str; 10] = ["", "", "", "", "", "", "Alert: ", "Detection: ", "[EDR] ", "Rule matched: "];
const BEHIND: [&str; 8] = ["", "", "", "", "", " detected", " (beta)", " on {host}"];

/// One of the texts, varied if `varied`, with what changes from one log to the next filled in.
pub(super) fn worded(one: &Labelled, seed: u64, varied: bool) -> String {
    let draw = |what: &str, bound: usize| {
        usize::try_from(derive_seed(seed, what, &[]) % bound.max(1) as u64).unwrap_or(0)
    };
    let place = if varied { draw("text", one.texts.len()) } else { 0 };
    let text = one.texts.get(place).cloned().unwrap_or_default();
    let text = match varied && one.form.is_title() {
        true => {
            let pick = |what: &str, all: &[&'static str]| {
                all.get(draw(what, all.len())).copied().unwrap_or_default()
            };
            let text = match draw("case", 12) {
                0 => text.to_lowercase(),
                1 => text.replace(' ', "_"),
                _ => text,
            };
            format!("{}{text}{}", pick("before", &BEFORE), pick("behind", &BEHIND))
        }
        false => text,
    };
    filled(&text, seed)
}

/// Fills in the places of a text.
fn filled(text: &str, seed: u64) -> String {
    const USERS: [&str; 8] = ["alice", "bob", "m.weber", "svc_app", "jdoe", "admin", "deploy", "k.lindt"];
    const HOSTS: [&str; 6] = ["web01", "db01", "fs02", "ws-117", "build3", "srv-mail"];
    const FILES: [&str; 6] = ["update", "report", "x7", "kworker", "invoice", "data"];
    const DOMAINS: [&str; 4] = ["example.org", "corp.example", "cdn.example.net", "files.example.com"];
    const SERVICES: [&str; 6] = ["nginx", "postgresql", "redis", "tomcat", "exim4", "grafana"];
    let number = |place: usize, bound: u64| derive_seed(seed, "fill", &[place as u64]) % bound;
    let pick = |place: usize, all: &[&'static str]| {
        let at = usize::try_from(number(place, all.len() as u64)).unwrap_or(0);
        all.get(at).copied().unwrap_or_default().to_owned()
    };
    let mut out = String::new();
    let mut rest = text;
    let mut place = 0;
    while let Some((before, behind)) = rest.split_once('{') {
        out.push_str(before);
        place += 1;
        let slot = behind.split_once('}').map(|(slot, _)| slot).unwrap_or_default();
        let value = match slot {
            "user" => pick(place, &USERS),
            "host" => pick(place, &HOSTS),
            "file" => pick(place, &FILES),
            "domain" => pick(place, &DOMAINS),
            "service" => pick(place, &SERVICES),
            "inside" => format!("10.0.3.{}", 10 + number(place, 200)),
            "outside" => format!("203.0.113.{}", 1 + number(place, 250)),
            "number" => number(place, 65_000).to_string(),
            // A brace of JSON, in which places may stand as well.
            _ => {
                out.push('{');
                rest = behind;
                continue;
            }
        };
        out.push_str(&value);
        rest = behind.get(slot.len() + 1..).unwrap_or_default();
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_other_braces_stay() {
        let object = filled(r#"{"by":{"name":"{user}","ip":"{outside}"}}"#, 3);
        assert!(
            object.starts_with(r#"{"by":{"name":""#)
                && !object.contains("{user}")
                && object.contains("203.0.113."),
            "{object}"
        );
        let text = filled("{user} at {inside} {x} {", 3);
        assert!(!text.contains("{user}") && text.contains("10.0.3.") && text.ends_with(" {x} {"), "{text}");
        assert_eq!(filled("no place", 3), "no place");
    }
}
