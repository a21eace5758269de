//! Times as logs write them.
//!
//! Snort's default form and syslog leave out the year. Such a time keeps its year open, sorts before every time with
//! a year, and counts the New Years that the log passed on the way, so that January follows December. A time with a
//! UTC offset is turned into UTC; without one it is taken as written.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// A moment in a log, to the microsecond. Ordered by time; whether the log names a zone is no part of it.
///
/// `Display` gives `2026-06-03T12:59:31.342000`, or `06-03T12:59:31.342000` without a year.
#[derive(Clone, Copy, Debug)]
pub struct Timestamp {
    year: Option<u16>,
    /// New Years passed since the start of a log whose times have no year.
    turns: i16,
    month: u8,
    day: u8,
    second: u32,
    micro: u32,
    has_zone: bool,
}

impl Timestamp {
    fn order(self) -> (Option<u16>, i16, u8, u8, u32, u32) {
        (self.year, self.turns, self.month, self.day, self.second, self.micro)
    }

    /// A moment, if there is such a date and time. A leap second counts as the second before it.
    pub fn new(year: Option<u16>, month: u8, day: u8, time: (u8, u8, u8), micro: u32) -> Option<Timestamp> {
        let (hour, minute, second) = time;
        let fits = (1..=12).contains(&month)
            && (1..=days_in(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second <= 60
            && micro < 1_000_000;
        let second = u32::from(hour) * 3600 + u32::from(minute) * 60 + u32::from(second.min(59));
        fits.then_some(Timestamp { year, turns: 0, month, day, second, micro, has_zone: false })
    }

    /// The year, unless the log leaves it out.
    pub fn year(self) -> Option<u16> {
        self.year
    }

    /// Month, from 1.
    pub fn month(self) -> u8 {
        self.month
    }

    /// Day of the month, from 1.
    pub fn day(self) -> u8 {
        self.day
    }

    /// Whether both lie on one day, as far as the log says.
    pub fn same_day(self, other: Timestamp) -> bool {
        (self.year, self.turns, self.month, self.day) == (other.year, other.turns, other.month, other.day)
    }

    /// The date alone: `2026-06-03`, or `06-03` without a year.
    pub fn date(self) -> String {
        match self.year {
            Some(year) => format!("{year:04}-{:02}-{:02}", self.month, self.day),
            None => format!("{:02}-{:02}", self.month, self.day),
        }
    }

    /// The time of day alone, to the second: `12:59:31`.
    pub fn clock(self) -> String {
        format!("{:02}:{:02}:{:02}", self.second / 3600, self.second / 60 % 60, self.second % 60)
    }

    /// Microseconds within the second.
    pub fn micro(self) -> u32 {
        self.micro
    }

    /// The same moment after the New Years that lie between it and `previous`, the time before it in the same log.
    /// Only a time without a year can follow one, and a step of more than half a year is taken for a New Year.
    pub(crate) fn following(mut self, previous: Option<Timestamp>) -> Timestamp {
        let Some(previous) = previous.filter(|previous| previous.year.is_none() && self.year.is_none())
        else {
            return self;
        };
        self.turns = match i16::from(self.month) - i16::from(previous.month) {
            ..-6 => previous.turns.saturating_add(1),
            7.. => previous.turns.saturating_sub(1),
            _ => previous.turns,
        };
        self
    }

    /// Reads the time at the beginning of `line` and gives it with what stands behind it.
    ///
    /// Known are Snort's `06/03-12:59:31.342` and `06/03/26-…` (Suricata: `06/03/2026-…`), ISO 8601 and what logging
    /// libraries make of it (`2026-06-03 12:59:31,342`), and syslog's `Jun  3 12:59:31`, each also behind a syslog
    /// priority such as `<34>1`.
    pub fn parse_prefix(line: &str) -> Option<(Timestamp, &str)> {
        let line = line.trim_start();
        let line = skip_syslog_priority(line);
        let first = line.as_bytes().first()?;
        if !first.is_ascii_digit() {
            return syslog(line);
        }
        snort(line).or_else(|| iso(line)).or_else(|| {
            // `2026 Jun  3 12:59:31`
            let (year, rest) = line.split_once(' ')?;
            let year = year.parse().ok().filter(|year| (1000..10_000).contains(year))?;
            let (time, rest) = syslog(rest)?;
            Some((Timestamp { year: Some(year), ..time }, rest))
        })
    }

    /// Reads a whole text as one time.
    pub fn parse(text: &str) -> Option<Timestamp> {
        Self::parse_prefix(text).and_then(|(time, rest)| rest.trim().is_empty().then_some(time))
    }

    /// The same of a time whose date is written with slashes, the year first: `2026/06/03 12:59:31`.
    pub(crate) fn parse_slashed(text: &str) -> Option<Timestamp> {
        let is_slashed = text.bytes().filter(|byte| *byte == b'/').count() == 2;
        is_slashed.then(|| Self::parse(&text.replace('/', "-"))).flatten()
    }

    /// Reads a whole text as a time with the month first and halves of a day, as Windows and Microsoft's exports write it:
    /// `06/03/2026 12:59:31 PM`, `6/3/2026, 12:59:31.342 PM`.
    pub(crate) fn parse_half_days(text: &str) -> Option<Timestamp> {
        let text = text.trim();
        let (text, is_evening) = match text.strip_suffix(" AM") {
            Some(rest) => (rest, false),
            None => (text.strip_suffix(" PM")?, true),
        };
        let (date, clock) = text.split_once(' ')?;
        let mut date = date.trim_end_matches(',').split('/');
        let (month, day, year): (u8, u8, u16) =
            (date.next()?.parse().ok()?, date.next()?.parse().ok()?, date.next()?.parse().ok()?);
        let (hour, rest) = clock.split_once(':')?;
        let hour: u8 = hour.parse().ok().filter(|hour| (1..=12).contains(hour))?;
        let hour = hour % 12 + if is_evening { 12 } else { 0 };
        date.next()
            .is_none()
            .then(|| Self::parse(&format!("{year:04}-{month:02}-{day:02} {hour:02}:{rest}")))?
    }

    /// Reads the time of a web server's access log, `03/Jun/2026:12:59:31 +0000`, and gives what stands behind it.
    pub(crate) fn parse_access_log(text: &str) -> Option<(Timestamp, &str)> {
        let mut cursor = Cursor(text);
        let day = cursor.number(2)?;
        cursor.symbol('/')?;
        let month = cursor.month_name()?;
        cursor.symbol('/')?;
        let year = cursor.year()?;
        cursor.symbol(':')?;
        let time = cursor.time()?;
        let time = Self::new(Some(year), month, day, time, 0)?;
        let mut ahead = cursor;
        ahead.0 = ahead.0.trim_start_matches(' ');
        match ahead.offset() {
            Some(minutes) => Some((time.minus_minutes(minutes), ahead.0)),
            None => Some((time, cursor.0)),
        }
    }

    /// The moment this many seconds and microseconds after 1 January 1970 UTC; `None` outside the years 1970 to 9999.
    pub(crate) fn from_epoch(seconds: i64, micro: u32) -> Option<Timestamp> {
        let days = u32::try_from(seconds.div_euclid(86_400)).ok()?;
        let second = u32::try_from(seconds.rem_euclid(86_400)).ok()?;
        // Civil date from days: years begin in March, so that the leap day is the last of its year, and 400 of them
        // are an era of 146,097 days (H. Hinnant, "chrono-compatible low-level date algorithms").
        let days = days.checked_add(719_468)?;
        let of_era = days % 146_097;
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = days / 146_097 * 400 + year_of_era + u32::from(month <= 2);
        let year = u16::try_from(year).ok().filter(|year| *year <= 9_999)?;
        let (month, day) = (u8::try_from(month).ok()?, u8::try_from(day).ok()?);
        let time = Timestamp { year: Some(year), turns: 0, month, day, second, micro, has_zone: true };
        (micro < 1_000_000).then_some(time)
    }

    /// The moment this many microseconds after 1 January 1970 UTC; `None` outside the years 1970 to 9999.
    pub(crate) fn from_micros(micros: i64) -> Option<Timestamp> {
        let micro = u32::try_from(micros.rem_euclid(1_000_000)).ok()?;
        Self::from_epoch(micros.div_euclid(1_000_000), micro)
    }

    /// Seconds between two moments; of logs that leave the year out, by their days.
    pub fn apart(self, other: Timestamp) -> u64 {
        let seconds = match (self.epoch(), other.epoch()) {
            (Some(own), Some(other)) => own - other,
            _ => {
                let days = |time: Timestamp| i64::from(time.turns) * 366 + i64::from(time.day_of_leap_year());
                let second = |time: Timestamp| i64::from(time.second);
                (days(self) - days(other)) * 86_400 + second(self) - second(other)
            }
        };
        seconds.unsigned_abs()
    }

    /// Seconds since midnight.
    pub(crate) fn second_of_day(self) -> u32 {
        self.second
    }

    /// Days since 1 January of a leap year, 0 to 365, whether the log says the year or not.
    pub(crate) fn day_of_leap_year(self) -> i32 {
        let before = (1..self.month).map(|month| i32::from(days_in(None, month))).sum::<i32>();
        before + i32::from(self.day) - 1
    }

    /// The same moment in a year, for a log that leaves it out: New Years that it passed on the way are counted from there. 29
    /// February becomes 1 March where the year has none.
    pub(crate) fn in_year(self, year: u16) -> Timestamp {
        if self.year.is_some() {
            return self;
        }
        let year = i32::from(year) + i32::from(self.turns);
        let year = u16::try_from(year.clamp(1, 9_999)).unwrap_or(9_999);
        let fits = self.day <= days_in(Some(year), self.month);
        let (month, day) = if fits { (self.month, self.day) } else { (3, 1) };
        Timestamp { year: Some(year), turns: 0, month, day, ..self }
    }

    /// Whether the log says which zone it means.
    pub(crate) fn has_zone(self) -> bool {
        self.has_zone
    }

    /// All of it, for a form that is read back: year, New Years, month, day, second, microsecond, and whether it has a zone.
    pub(crate) fn parts(self) -> (Option<u16>, i16, u8, u8, u32, u32, bool) {
        (self.year, self.turns, self.month, self.day, self.second, self.micro, self.has_zone)
    }

    /// The inverse of [`Timestamp::parts`], if there is such a moment.
    pub(crate) fn of_parts(
        (year, turns, month, day, second, micro, has_zone): (Option<u16>, i16, u8, u8, u32, u32, bool),
    ) -> Option<Timestamp> {
        let clock = (u8::try_from(second / 3600).ok()?, (second / 60 % 60) as u8, (second % 60) as u8);
        Self::new(year, month, day, clock, micro).map(|time| Timestamp { turns, has_zone, ..time })
    }

    /// Whole seconds since 1 January 1970, the inverse of [`Timestamp::from_epoch`]; `None` without a year.
    pub(crate) fn epoch(self) -> Option<i64> {
        let month = i64::from(self.month);
        let year = i64::from(self.year?) - i64::from(month <= 2);
        let of_era = year.rem_euclid(400);
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(self.day) - 1;
        let days =
            year.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
        Some(days * 86_400 + i64::from(self.second))
    }

    /// Reads seconds since 1970 as logs write them, with a fraction or without: `1780491571.342001`.
    pub(crate) fn parse_epoch(text: &str) -> Option<Timestamp> {
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if seconds.is_empty() || !is_number(seconds) || !is_number(fraction) {
            return None;
        }
        let digits = fraction.get(..6).unwrap_or(fraction);
        Self::from_epoch(seconds.parse().ok()?, format!("{digits:0<6}").parse().ok()?)
    }

    pub(crate) fn minus_minutes(self, minutes: i32) -> Timestamp {
        let Some(year) = self.year else { return self };
        let has_zone = true;
        let second = i64::from(self.second) - i64::from(minutes) * 60;
        let (mut year, mut month, mut day) = (year, self.month, self.day);
        if second < 0 {
            if day > 1 {
                day -= 1;
            } else {
                (year, month) = if month > 1 { (year, month - 1) } else { (year.saturating_sub(1), 12) };
                day = days_in(Some(year), month);
            }
        } else if second >= 86_400 {
            if day < days_in(Some(year), month) {
                day += 1;
            } else {
                (year, month) = if month < 12 { (year, month + 1) } else { (year.saturating_add(1), 1) };
                day = 1;
            }
        }
        let second = u32::try_from(second.rem_euclid(86_400)).unwrap_or(0);
        Timestamp { year: Some(year), month, day, second, has_zone, ..self }
    }
}

impl PartialEq for Timestamp {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Timestamp {}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timestamp {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl Hash for Timestamp {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.order().hash(state);
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}T{}.{:06}", self.date(), self.clock(), self.micro)
    }
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

fn days_in(year: Option<u16>, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 => match year {
            Some(year) if year % 4 != 0 || (year % 100 == 0 && year % 400 != 0) => 28,
            _ => 29,
        },
        _ => 31,
    }
}

/// `<34>` and the version digit of RFC 5424 that may follow it.
fn skip_syslog_priority(line: &str) -> &str {
    let Some((priority, rest)) = line.strip_prefix('<').and_then(|rest| rest.split_once('>')) else {
        return line;
    };
    if priority.is_empty() || priority.len() > 3 || !priority.bytes().all(|b| b.is_ascii_digit()) {
        return line;
    }
    rest.strip_prefix("1 ").unwrap_or(rest)
}

fn snort(line: &str) -> Option<(Timestamp, &str)> {
    let mut cursor = Cursor(line);
    let month = cursor.number(2)?;
    cursor.symbol('/')?;
    let day = cursor.number(2)?;
    let year = match cursor.symbol('/') {
        Some(()) => Some(cursor.year()?),
        None => None,
    };
    cursor.symbol('-')?;
    let time = cursor.time()?;
    let micro = cursor.fraction();
    Some((Timestamp::new(year, month, day, time, micro)?, cursor.0))
}

fn iso(line: &str) -> Option<(Timestamp, &str)> {
    let mut cursor = Cursor(line);
    let year = cursor.year().filter(|&year| year >= 1000)?;
    cursor.symbol('-')?;
    let month = cursor.number(2)?;
    cursor.symbol('-')?;
    let day = cursor.number(2)?;
    cursor.symbol('T').or_else(|| cursor.blank())?;
    let time = cursor.time()?;
    let micro = cursor.fraction();
    let time = Timestamp::new(Some(year), month, day, time, micro)?;
    Some(match cursor.offset() {
        Some(minutes) => (time.minus_minutes(minutes), cursor.0),
        None => (time, cursor.0),
    })
}

fn syslog(line: &str) -> Option<(Timestamp, &str)> {
    let mut cursor = Cursor(line);
    let month = cursor.month_name()?;
    cursor.blank()?;
    cursor.blank();
    let day = cursor.number(2)?;
    cursor.blank()?;
    let mut ahead = cursor;
    let year = ahead.year().filter(|&year| year >= 1000 && ahead.blank().is_some());
    if year.is_some() {
        cursor = ahead;
    }
    let time = cursor.time()?;
    let micro = cursor.fraction();
    Some((Timestamp::new(year, month, day, time, micro)?, cursor.0))
}

/// What is left of a text. Each method takes something from its beginning, or nothing if it is not there.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a str);

impl Cursor<'_> {
    fn symbol(&mut self, symbol: char) -> Option<()> {
        self.0 = self.0.strip_prefix(symbol)?;
        Some(())
    }

    fn blank(&mut self) -> Option<()> {
        self.symbol(' ').or_else(|| self.symbol('\t'))
    }

    fn digits(&mut self, most: usize) -> Option<u32> {
        let length = self.0.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at_checked(length)?;
        let value = digits.parse().ok()?;
        self.0 = rest;
        Some(value)
    }

    fn number(&mut self, most: usize) -> Option<u8> {
        self.digits(most)?.try_into().ok()
    }

    /// Four digits, or two that mean a year of this century.
    fn year(&mut self) -> Option<u16> {
        let year = u16::try_from(self.digits(4)?).ok()?;
        Some(if year < 100 { 2000 + year } else { year })
    }

    fn month_name(&mut self) -> Option<u8> {
        let (name, rest) = self.0.split_at_checked(3)?;
        let month = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(name))?;
        self.0 = rest;
        u8::try_from(month + 1).ok()
    }

    fn time(&mut self) -> Option<(u8, u8, u8)> {
        let hour = self.number(2)?;
        self.symbol(':')?;
        let minute = self.number(2)?;
        self.symbol(':')?;
        Some((hour, minute, self.number(2)?))
    }

    /// Microseconds behind a point or a comma; 0 if there are none. Finer digits are dropped.
    fn fraction(&mut self) -> u32 {
        let mut ahead = *self;
        if ahead.symbol('.').or_else(|| ahead.symbol(',')).is_none() {
            return 0;
        }
        let length = ahead.0.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = ahead.0.split_at(length);
        if digits.is_empty() {
            return 0;
        }
        self.0 = rest;
        let digits = &digits[..length.min(6)];
        digits.parse::<u32>().unwrap_or(0) * 10_u32.pow(6 - u32::try_from(digits.len()).unwrap_or(6))
    }

    /// Minutes east of UTC.
    fn offset(&mut self) -> Option<i32> {
        if self.symbol('Z').is_some() {
            return Some(0);
        }
        let mut ahead = *self;
        let sign = if ahead.symbol('+').is_some() {
            1
        } else {
            ahead.symbol('-')?;
            -1
        };
        let hours = ahead.number(2)?;
        ahead.symbol(':');
        let minutes = ahead.number(2)?;
        if hours > 14 || minutes > 59 {
            return None;
        }
        *self = ahead;
        Some(sign * (i32::from(hours) * 60 + i32::from(minutes)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> String {
        Timestamp::parse(text).unwrap_or_else(|| panic!("{text:?} is not read")).to_string()
    }

    #[test]
    fn moments_are_so_many_seconds_apart() {
        let apart = |one: &str, other: &str| {
            let [one, other] = [one, other].map(|text| Timestamp::parse(text).unwrap());
            assert_eq!(one.apart(other), other.apart(one));
            one.apart(other)
        };
        assert_eq!(apart("06/03-12:59:31.342001", "06/03-13:00:01.000000"), 30);
        assert_eq!(apart("06/03-12:59:31.342001", "06/05-12:59:31.000000"), 2 * 86_400);
        assert_eq!(apart("2024-12-31T23:59:59", "2025-01-01T00:00:01"), 2);
    }

    #[test]
    fn every_form_is_read() {
        for (text, expected) in [
            ("06/03-12:59:31.342001", "06-03T12:59:31.342001"),
            ("06/03/26-12:59:31.342001", "2026-06-03T12:59:31.342001"),
            ("06/03/2026-12:59:31.342001", "2026-06-03T12:59:31.342001"),
            ("2026-06-03 12:59:31,342", "2026-06-03T12:59:31.342000"),
            ("2026-06-03T12:59:31.342001+0000", "2026-06-03T12:59:31.342001"),
            ("2026-06-03T12:59:31.342001+02:00", "2026-06-03T10:59:31.342001"),
            ("2026-01-01T00:30:00+0100", "2025-12-31T23:30:00.000000"),
            ("2024-02-28T23:30:00-0130", "2024-02-29T01:00:00.000000"),
            ("2026-12-31T23:59:60Z", "2026-12-31T23:59:59.000000"),
            ("Jun  3 12:59:31", "06-03T12:59:31.000000"),
            ("Jun 13 2026 12:59:31", "2026-06-13T12:59:31.000000"),
            ("<34>Oct 11 22:14:15", "10-11T22:14:15.000000"),
            ("<165>1 2026-06-03T12:59:31.342001999Z", "2026-06-03T12:59:31.342001"),
        ] {
            assert_eq!(read(text), expected);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in
            ["", "13/03-12:59:31", "02/30-00:00:00", "2026-02-29 00:00:00", "10.0.2.11", "Jun", "99", "Jux 3"]
        {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_access_log_has_its_own_form() {
        let (time, rest) = Timestamp::parse_access_log("03/Jun/2026:12:59:31 +0200] \"GET /\"").unwrap();
        assert_eq!(time.to_string(), "2026-06-03T10:59:31.000000");
        assert_eq!(rest, "] \"GET /\"");
    }

    #[test]
    fn seconds_since_1970_are_read() {
        assert_eq!(
            Timestamp::parse_epoch("1780491571.342001").unwrap().to_string(),
            "2026-06-03T12:59:31.342001"
        );
        assert_eq!(Timestamp::parse_epoch("0").unwrap().to_string(), "1970-01-01T00:00:00.000000");
        assert_eq!(Timestamp::parse_epoch("951782400.5").unwrap().to_string(), "2000-02-29T00:00:00.500000");
        for text in ["", ".5", "-1", "1e9", "12:00", "99999999999999999999", "253402300800"] {
            assert_eq!(Timestamp::parse_epoch(text), None, "{text}");
        }
    }

    #[test]
    fn january_follows_december_without_a_year() {
        let december = Timestamp::parse("12/31-23:59:59").unwrap();
        let january = Timestamp::parse("01/01-00:00:01").unwrap().following(Some(december));
        let late = Timestamp::parse("12/31-23:59:58").unwrap().following(Some(january));
        assert!(december < january);
        assert!(late < december);
        assert!(!january.same_day(december));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(
            year in proptest::option::of(1970_u16..2100), month in 1_u8..=12, day in 1_u8..=28,
            hour in 0_u8..24, minute in 0_u8..60, second in 0_u8..60, micro in 0_u32..1_000_000,
        ) {
            let time = Timestamp::new(year, month, day, (hour, minute, second), micro).unwrap();
            prop_assume!(year.is_some());
            prop_assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
        }

        #[test]
        fn seconds_since_1970_are_the_inverse_of_the_date(seconds in 0_i64..253_402_300_800) {
            let time = Timestamp::from_epoch(seconds, 7).unwrap();
            prop_assert_eq!(time.epoch(), Some(seconds));
            prop_assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
        }

        #[test]
        fn any_text_is_survived(text in "\\PC*") {
            let _ = Timestamp::parse_prefix(&text);
            let _ = Timestamp::parse_access_log(&text);
        }
    }
}
