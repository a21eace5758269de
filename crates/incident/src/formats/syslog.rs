//! Lines in no alert form: what they say, and when, if they say when.

use super::bracketed::repeats;
use super::{MAX_TEXT, clean};
use crate::{LogLine, Repeats, Timestamp};

/// How far into a line the time of an access log may stand.
const ACCESS_LOG_PREFIX: usize = 160;

/// Takes the time out of a line, so that lines which differ in nothing else are equal.
pub(super) fn parse(line: &str) -> LogLine {
    if let Some((time, rest)) = Timestamp::parse_prefix(line) {
        // What a folded log is written back as; see `render::condensed`.
        let folded = rest.trim_start().strip_prefix("[count=").and_then(|rest| rest.split_once("] "));
        return match folded {
            Some((fields, text)) => line_of(Some(time), text, repeats(&format!("count={fields}"))),
            None => line_of(Some(time), rest, Repeats::default()),
        };
    }
    if let Some((fields, text)) = line.strip_prefix("[count=").and_then(|rest| rest.split_once("] ")) {
        return line_of(None, text, repeats(&format!("count={fields}")));
    }
    if let Some(start) = line.bytes().take(ACCESS_LOG_PREFIX).position(|byte| byte == b'[')
        && let (Some(before), Some(behind)) = (line.get(..start), line.get(start + 1..))
        && let Some((time, rest)) = Timestamp::parse_access_log(behind)
    {
        let rest = rest.trim_start().trim_start_matches(']');
        return line_of(
            Some(time),
            &format!("{} {}", before.trim_end(), rest.trim_start()),
            Repeats::default(),
        );
    }
    line_of(None, line, Repeats::default())
}

fn line_of(time: Option<Timestamp>, text: &str, repeats: Repeats) -> LogLine {
    LogLine { time, text: clean(text, MAX_TEXT), repeats }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_taken_out() {
        let line = parse("Jun  3 12:59:31 web sshd[12]: Failed password for root from 203.0.113.9");
        assert_eq!(line.time.unwrap().clock(), "12:59:31");
        assert_eq!(line.text, "web sshd[12]: Failed password for root from 203.0.113.9");
        let line = parse("203.0.113.9 - - [03/Jun/2026:12:59:31 +0000] \"GET /x HTTP/1.1\" 200 12");
        assert_eq!(line.text, "203.0.113.9 - - \"GET /x HTTP/1.1\" 200 12");
        assert_eq!(line.time.unwrap().date(), "2026-06-03");
        let line = parse("no time here");
        assert_eq!((line.time, line.text.as_str()), (None, "no time here"));
    }

    #[test]
    fn a_folded_line_keeps_its_count() {
        let line = parse("06/03-12:59:31.0 [count=7 last=2026-06-03T13:00:00] text");
        assert_eq!((line.repeats.count, line.text.as_str()), (7, "text"));
        assert_eq!(parse("[count=7] text").repeats.count, 7);
    }
}
