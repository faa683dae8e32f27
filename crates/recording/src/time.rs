//! Times and durations: how Tapeloop holds them (int64 ns UTC) and every form in which people write them.
//!
//! **Invariant:** "now" and the time zone always come in as arguments.

use jiff::civil;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A moment: nanoseconds since 1970-01-01 UTC.
pub type Timestamp = i64;

/// Nanoseconds in a second.
pub const SECOND_NS: i64 = 1_000_000_000;

/// A half-open interval `[start, end)` on a device's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Span {
    /// First moment inside; ns UTC.
    pub start_ns: Timestamp,
    /// First moment behind; ns UTC.
    pub end_ns: Timestamp,
}

impl Span {
    /// All of time.
    pub const ALL: Span = Span { start_ns: i64::MIN, end_ns: i64::MAX };

    /// Returns the span `[start_ns, end_ns)`.
    pub fn new(start_ns: Timestamp, end_ns: Timestamp) -> Self {
        Self { start_ns, end_ns }
    }

    /// Returns whether `time_ns` lies in the span.
    pub fn contains(&self, time_ns: Timestamp) -> bool {
        self.start_ns <= time_ns && time_ns < self.end_ns
    }

    /// Returns whether something that happened from `first_ns` to `last_ns` (both included) touches the span.
    pub fn touches(&self, first_ns: Timestamp, last_ns: Timestamp) -> bool {
        first_ns < self.end_ns && last_ns >= self.start_ns
    }

    /// Returns what both spans cover, or `None`.
    pub fn intersect(&self, other: Span) -> Option<Span> {
        let span = Span::new(self.start_ns.max(other.start_ns), self.end_ns.min(other.end_ns));
        (span.start_ns < span.end_ns).then_some(span)
    }

    /// Returns what of this span `other` does not cover: nothing, one piece or two.
    pub fn without(&self, other: Span) -> Vec<Span> {
        [Span::new(self.start_ns, self.end_ns.min(other.start_ns)), Span::new(self.start_ns.max(other.end_ns), self.end_ns)]
            .into_iter()
            .filter(|piece| piece.start_ns < piece.end_ns)
            .collect()
    }
}

const DURATION_UNITS: [(&str, i64); 22] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND_NS),
    ("sec", SECOND_NS),
    ("secs", SECOND_NS),
    ("second", SECOND_NS),
    ("seconds", SECOND_NS),
    ("m", 60 * SECOND_NS),
    ("min", 60 * SECOND_NS),
    ("mins", 60 * SECOND_NS),
    ("minute", 60 * SECOND_NS),
    ("minutes", 60 * SECOND_NS),
    ("h", 3600 * SECOND_NS),
    ("hour", 3600 * SECOND_NS),
    ("hours", 3600 * SECOND_NS),
    ("d", 86_400 * SECOND_NS),
    ("day", 86_400 * SECOND_NS),
    ("days", 86_400 * SECOND_NS),
    ("w", 7 * 86_400 * SECOND_NS),
    ("weeks", 7 * 86_400 * SECOND_NS),
];

/// Parses a duration in ns: `30 s`, `200ms`, `1.5 h`, `7 d`, `1 h 30 min`; a bare number is seconds.
///
/// # Errors
/// `Invalid` for anything else, for a negative duration and for one beyond 292 years.
pub fn parse_duration(text: &str) -> Result<i64> {
    let refuse = || Error::invalid(format!("not a duration: '{text}' (write it like '30 s', '200 ms' or '1.5 h')"));
    let mut rest = text.trim();
    let mut total = 0.0f64;
    if rest.is_empty() {
        return Err(refuse());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| refuse())?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let unit = &rest[..letters];
        let bare = unit.is_empty() && rest.is_empty() && total == 0.0;
        let factor = DURATION_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, ns)| *ns);
        total += number * (if bare { Some(SECOND_NS) } else { factor }).ok_or_else(refuse)? as f64;
        rest = rest[letters..].trim_start();
    }
    if !(0.0..9.2e18).contains(&total) {
        return Err(refuse());
    }
    Ok(total.round() as i64)
}

/// Parses a moment: RFC 3339, `14:32` or `14:32:10.5` (the last time it was that late in `zone`), `10 min ago`, `now`,
/// or integer nanoseconds.
///
/// # Errors
/// `Invalid` for anything else.
pub fn parse_time(text: &str, now_ns: Timestamp, zone: &TimeZone) -> Result<Timestamp> {
    let trimmed = text.trim();
    let refuse =
        || Error::invalid(format!("not a time: '{text}' (write it like '14:32:10', '10 min ago', '2026-11-22T14:32:10Z' or in ns)"));
    if trimmed == "now" {
        return Ok(now_ns);
    }
    if let Some(duration) = trimmed.strip_suffix("ago") {
        return Ok(now_ns.saturating_sub(parse_duration(duration)?));
    }
    if let Ok(ns) = trimmed.parse::<i64>() {
        return Ok(ns);
    }
    if let Ok(timestamp) = trimmed.parse::<jiff::Timestamp>() {
        return to_ns(timestamp).ok_or_else(refuse);
    }
    if let Ok(local) = trimmed.parse::<civil::DateTime>() {
        return local.to_zoned(zone.clone()).ok().and_then(|zoned| to_ns(zoned.timestamp())).ok_or_else(refuse);
    }
    let clock: civil::Time = trimmed.parse().map_err(|_| refuse())?;
    let now = jiff::Timestamp::from_nanosecond(i128::from(now_ns)).map_err(|_| refuse())?.to_zoned(zone.clone());
    let on = |date: civil::Date| date.to_datetime(clock).to_zoned(zone.clone()).ok().and_then(|zoned| to_ns(zoned.timestamp()));
    let today = on(now.date()).ok_or_else(refuse)?;
    if today <= now_ns {
        return Ok(today);
    }
    now.date().yesterday().ok().and_then(on).ok_or_else(refuse)
}

fn to_ns(timestamp: jiff::Timestamp) -> Option<i64> {
    i64::try_from(timestamp.as_nanosecond()).ok()
}

/// Returns a moment as RFC 3339 in UTC, to the nanosecond where there are any.
pub fn format_time(time_ns: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(time_ns)).map_or_else(|_| format!("{time_ns} ns"), |timestamp| timestamp.to_string())
}

/// Returns the UTC day of a moment as `yyyy-mm-dd`.
pub fn format_day(time_ns: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(time_ns))
        .map_or_else(|_| "0000-00-00".to_owned(), |timestamp| timestamp.to_zoned(TimeZone::UTC).date().to_string())
}

/// Returns a duration for people, e.g. `2.5 s`, `14 min`, `3.2 h`.
pub fn format_duration(duration_ns: i64) -> String {
    let seconds = duration_ns as f64 / 1e9;
    match seconds.abs() {
        s if s < 1.0 => format!("{:.0} ms", seconds * 1e3),
        s if s < 120.0 => format!("{seconds:.1} s"),
        s if s < 7200.0 => format!("{:.1} min", seconds / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.1} d", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_795_348_800 * SECOND_NS; // 2026-11-22T12:00:00Z

    #[test]
    fn durations_read_as_people_write_them() {
        let check = |text: &str, ns: i64| assert_eq!(parse_duration(text).unwrap(), ns, "{text}");
        check("30", 30 * SECOND_NS);
        check("30s", 30 * SECOND_NS);
        check(" 200 ms", 200_000_000);
        check("1.5 h", 5400 * SECOND_NS);
        check("1 h 30 min", 5400 * SECOND_NS);
        check("7 d", 7 * 86_400 * SECOND_NS);
        for wrong in ["", "s", "-1 s", "3 parsecs", "1 30", "1e9", "99999999999 d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn moments_read_as_people_write_them() {
        assert_eq!(format_time(NOON), "2026-11-22T12:00:00Z");
        let check = |text: &str, ns: i64| assert_eq!(parse_time(text, NOON, &TimeZone::UTC).unwrap(), ns, "{text}");
        check("now", NOON);
        check("10 min ago", NOON - 600 * SECOND_NS);
        check("2026-11-22T12:00:00Z", NOON);
        check("2026-11-22T13:00:00+01:00", NOON);
        check("2026-11-22 12:00:00", NOON);
        check("11:59:30", NOON - 30 * SECOND_NS);
        check("12:30", NOON + 1800 * SECOND_NS - 86_400 * SECOND_NS);
        check("1795348800000000000", NOON);
        for wrong in ["", "noon", "25:00", "2026-13-01", "5 parsecs ago"] {
            assert!(parse_time(wrong, NOON, &TimeZone::UTC).is_err(), "{wrong}");
        }
    }

    #[test]
    fn spans_cut_each_other() {
        let span = Span::new(10, 20);
        assert_eq!(span.without(Span::new(12, 15)), [Span::new(10, 12), Span::new(15, 20)]);
        assert_eq!(span.without(Span::new(0, 30)), []);
        assert_eq!(span.without(Span::new(30, 40)), [span]);
        assert_eq!(span.without(Span::new(0, 5)), [span]);
        assert_eq!(span.intersect(Span::new(15, 40)), Some(Span::new(15, 20)));
        assert!(span.touches(5, 10) && !span.touches(20, 30) && !span.touches(5, 9));
    }
}
