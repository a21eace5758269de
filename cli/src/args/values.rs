//! What stands behind flags, read and checked. Errors are the end of a sentence that begins with the flag.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use countermove_incident::{Baseline, Catalogue, MinuteTable, Pricing};
use countermove_transport::SpiffeId;
use countermove_wire::limits;

use super::{BaselineText, Budget, CatalogueText, Costs, HolderKind};

/// A whole number that the planner takes.
pub(super) fn whole(range: RangeInclusive<u32>) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(*range.start())..=i64::from(*range.end()))
}

/// A sampling temperature.
///
/// # Errors
/// What it has to be instead.
pub fn temperature(text: &str) -> Result<f32, String> {
    in_range(text, |value| (0.0..=2.0).contains(&value), "a number from 0 to 2")
}

/// Who gets a certificate: a kind, and a name that is part of an id and of files that are no authority's.
pub(super) fn holder(text: &str) -> Result<(HolderKind, String), String> {
    let (folder, name) = text.split_once('/').unwrap_or(("", text));
    let kind = HolderKind::ALL.into_iter().find(|kind| kind.folder() == folder);
    let kind = kind.ok_or("write coordinator/NAME, worker/NAME or user/NAME")?;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    match name {
        "" | "." | ".." | "ca" => Err("it is no name for a certificate".to_owned()),
        name if name.len() <= 63 && name.bytes().all(is_part) => Ok((kind, name.to_owned())),
        _ => Err("a name has up to 63 letters, digits, `-`, `.` and `_`".to_owned()),
    }
}

pub(super) fn trust_domain(text: &str) -> Result<String, String> {
    let id = format!("spiffe://{text}").parse::<SpiffeId>();
    id.map(|_| text.to_owned())
        .map_err(|_| "lower-case letters, digits, `-`, `.` and `_` are needed".to_owned())
}

pub(super) fn confidence(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.5..1.0).contains(number));
    number.ok_or_else(|| "it has to be a number from 0.5 to below 1".to_owned())
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "it has to be a number from 0 to 1".to_owned())
}

pub(super) fn certainty(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.5..=1.0).contains(number));
    number.ok_or_else(|| "it has to be a number from 0.5 to 1".to_owned())
}

/// `24 rollouts`, `24rollouts`, `20000 tokens` or a time.
pub(super) fn budget(text: &str) -> Result<Budget, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || {
        format!(
            "give `N rollouts` (1 to {}), `N tokens` or a time such as 30s",
            limits::BUDGET_ROLLOUTS.end()
        )
    };
    match unit.trim() {
        "rollouts" | "rollout" => {
            let number = number.parse().ok().filter(|number| limits::BUDGET_ROLLOUTS.contains(number));
            number.map(Budget::Rollouts).ok_or_else(wrong)
        }
        "tokens" | "token" => {
            number.parse().ok().filter(|&number| number > 0).map(Budget::Tokens).ok_or_else(wrong)
        }
        "" => Err(wrong()),
        _ => duration(text).map(Budget::Time).map_err(|_| wrong()),
    }
}

/// `key=value`. What a key and a value may be, the coordinator says.
///
/// # Errors
/// How a label is written.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("give a key and a value, such as team=emea".to_owned()),
    }
}

/// A cost model by its name, or by the file with its table.
///
/// # Errors
/// What is wrong with it.
pub fn costs(text: &str) -> Result<Costs, String> {
    if let Some(pricing) = Pricing::named(text) {
        return Ok(Costs(pricing));
    }
    let table = std::fs::read_to_string(text).map_err(|error| {
        format!("it is neither `unit` nor `superfluous` nor a file that can be read ({error})")
    })?;
    let table = MinuteTable::parse(&table).map_err(|error| error.to_string())?;
    Ok(Costs(Pricing::Minutes(Arc::new(table))))
}

/// A catalogue by the file that it stands in.
///
/// # Errors
/// What is wrong with it.
pub fn catalogue(path: &str) -> Result<CatalogueText, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("it cannot be read ({error})"))?;
    Catalogue::parse(&text).map_err(|error| error.to_string())?;
    Ok(CatalogueText(text))
}

/// A baseline by the file that it stands in.
///
/// # Errors
/// What is wrong with it.
pub fn baseline(path: &str) -> Result<BaselineText, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("it cannot be read ({error})"))?;
    Baseline::parse(&text).map_err(|error| error.to_string())?;
    Ok(BaselineText(text))
}

/// A number that fits; `what` says which do.
///
/// # Errors
/// What it has to be instead.
pub fn in_range(text: &str, fits: impl Fn(f32) -> bool, what: &str) -> Result<f32, String> {
    text.parse().ok().filter(|&value| fits(value)).ok_or_else(|| format!("it has to be {what}"))
}

/// A time such as `90s`, `2m`, `1h30m`, `500ms`, or a plain number of seconds.
///
/// # Errors
/// How a time is written.
pub fn duration(text: &str) -> Result<Duration, String> {
    let time = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            humantime::parse_duration(text).map_err(|_| "give a time such as 90s, 2m or 1h30m".to_owned())?
        }
    };
    if time.is_zero() { Err("the time has to be longer than nothing".to_owned()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn budgets_and_costs_are_read() {
        for (text, expected) in [
            ("24 rollouts", Budget::Rollouts(24)),
            ("1rollout", Budget::Rollouts(1)),
            ("20000 tokens", Budget::Tokens(20_000)),
            ("30s", Budget::Time(Duration::from_secs(30))),
            ("1m30s", Budget::Time(Duration::from_secs(90))),
        ] {
            assert_eq!(budget(text), Ok(expected), "{text}");
        }
        for text in ["", "24", "0 rollouts", "1025 rollouts", "0 tokens", "0s", "-1 tokens", "5 apples"] {
            assert!(budget(text).is_err(), "{text}");
        }
        assert_eq!(costs("unit"), Ok(Costs(Pricing::Unit)));
        assert!(costs("no/such/file").unwrap_err().contains("neither"));
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/costs.toml");
        assert_eq!(costs(sample).unwrap().0.name(), "minutes");
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(costs(manifest).unwrap_err().contains("cost table"));
    }

    #[test]
    fn labels_are_a_key_and_a_value() {
        assert_eq!(label("team=emea"), Ok(("team".to_owned(), "emea".to_owned())));
        assert_eq!(label("query=a=b"), Ok(("query".to_owned(), "a=b".to_owned())));
        assert_eq!(label("seen="), Ok(("seen".to_owned(), String::new())));
        for wrong in ["team", "=emea", ""] {
            assert!(label(wrong).unwrap_err().contains("team=emea"), "{wrong}");
        }
    }

    #[test]
    fn times_are_read() {
        for (text, seconds) in
            [("90s", 90.0), ("2m", 120.0), ("1h30m", 5400.0), ("45", 45.0), ("1500ms", 1.5)]
        {
            assert_eq!(duration(text).map(|time| time.as_secs_f64()), Ok(seconds), "{text}");
        }
        for text in ["", "m", "-2m", "1,5m", "99999999999999999999s", "0", "2 apples"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_time_panics(text in ".{0,16}") {
            let _ = duration(&text);
        }
    }
}
