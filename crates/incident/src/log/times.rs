//! Puts times that leave out the year among those that do not.

use crate::{Record, Timestamp};

/// Gives times without a year the one that puts them nearest to the times with one, and says how many records that were. Without
/// times of both kinds nothing changes.
pub(super) fn settle(records: &mut [Record]) -> u64 {
    let with_year = || records.iter().filter_map(|record| record.time).filter(|time| time.year().is_some());
    let (Some(first), Some(last)) = (with_year().min(), with_year().max()) else { return 0 };
    let Some(open) =
        records.iter().filter_map(|record| record.time).filter(|time| time.year().is_none()).min()
    else {
        return 0;
    };
    let Some(year) = nearest_year(open, first, last) else { return 0 };
    let mut settled = 0;
    for record in records {
        if let Some(time) = record.time.filter(|time| time.year().is_none()) {
            record.time = Some(time.in_year(year));
            record.repeats.last = record.repeats.last.map(|last| last.in_year(year));
            settled += record.repeats.count;
        }
    }
    settled
}

/// The year in which the moment lies in the span, or nearest to it; of two equally near the later.
fn nearest_year(open: Timestamp, first: Timestamp, last: Timestamp) -> Option<u16> {
    let (from, to) = (first.year()?, last.year()?);
    let day =
        |time: Timestamp| i64::from(time.year().unwrap_or(0)) * 366 + i64::from(time.day_of_leap_year());
    let away = |year: u16| {
        let at = open.in_year(year);
        (day(first) - day(at)).max(day(at) - day(last)).max(0)
    };
    // Of a span of many years the last is as likely as any.
    let years = to.saturating_sub(100).max(from.saturating_sub(1))..=to.saturating_add(1);
    years.rev().min_by_key(|year| away(*year))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(times: &[&str]) -> Vec<String> {
        let mut records: Vec<Record> =
            times.iter().map(|time| Record { time: Timestamp::parse(time), ..Record::default() }).collect();
        settle(&mut records);
        records.iter().map(|record| record.time.unwrap().to_string()).collect()
    }

    #[test]
    fn a_time_without_a_year_gets_the_one_that_fits() {
        assert_eq!(settled(&["Jun  3 12:59:31", "2026-06-03T13:02:00Z"])[0], "2026-06-03T12:59:31.000000");
        assert_eq!(settled(&["Dec 31 23:59:59", "2026-01-01T00:00:01Z"])[0], "2025-12-31T23:59:59.000000");
        assert_eq!(settled(&["Jan  1 00:00:01", "2025-12-31T23:59:59Z"])[0], "2026-01-01T00:00:01.000000");
        assert_eq!(settled(&["Jun  3 12:59:31"])[0], "06-03T12:59:31.000000", "nothing to go by");
        assert_eq!(settled(&["Feb 29 00:00:00", "2026-03-01T00:00:00Z"])[0], "2026-03-01T00:00:00.000000");
    }
}
