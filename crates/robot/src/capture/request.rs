//! What somebody asks to keep, in the forms in which people and programs say it.
//!
//! **Invariant:** times are resolved by the recorder's clock, never by the one who asks.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use recording::{Error, Result, Span, Timestamp, time};
use serde::{Deserialize, Serialize};

/// A duration: a number of seconds, or text like `30 s`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Length {
    /// Seconds.
    Seconds(f64),
    /// Text, see [`time::parse_duration`].
    Text(String),
}

/// A moment: integer nanoseconds UTC, or text like `14:32:10` or `10 min ago`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum When {
    /// ns UTC.
    Ns(i64),
    /// Text, see [`time::parse_time`].
    Text(String),
}

/// A span to keep: `before` and `after` a moment (now, unless `at` says when), or from `start` to `end`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SaveRequest {
    /// How much before the moment.
    pub before: Option<Length>,
    /// How much after the moment.
    pub after: Option<Length>,
    /// The moment.
    pub at: Option<When>,
    /// The start, instead.
    pub start: Option<When>,
    /// The end; without it, now.
    pub end: Option<When>,
    /// Topic patterns; none means all.
    pub topics: Vec<String>,
    /// Why.
    pub why: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Through what it was asked: `cli`, `python`, …
    pub by: String,
}

/// Something to keep until it is stopped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeepRequest {
    /// The name under which it is stopped.
    pub name: String,
    /// How much before now.
    pub before: Option<Length>,
    /// Topic patterns; none means all.
    pub topics: Vec<String>,
    /// Why.
    pub why: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Through what it was asked.
    pub by: String,
}

impl Length {
    /// Returns the duration in ns.
    ///
    /// # Errors
    /// `Invalid` for a negative one, or text that is none.
    pub fn to_ns(&self) -> Result<i64> {
        match self {
            Length::Seconds(seconds) if (0.0..9e9).contains(seconds) => Ok((seconds * 1e9).round() as i64),
            Length::Seconds(seconds) => Err(Error::invalid(format!("not a duration: {seconds} s"))),
            Length::Text(text) => time::parse_duration(text),
        }
    }
}

impl When {
    /// Returns the moment in ns UTC, seen from `now_ns`.
    ///
    /// # Errors
    /// `Invalid` for text that is none.
    pub fn to_ns(&self, now_ns: Timestamp) -> Result<Timestamp> {
        match self {
            When::Ns(ns) => Ok(*ns),
            When::Text(text) => time::parse_time(text, now_ns, &TimeZone::system()),
        }
    }
}

impl SaveRequest {
    /// Returns the span it asks for, seen from `now_ns`.
    ///
    /// # Errors
    /// `Invalid` for one that is empty, says nothing, or says it twice.
    pub fn span(&self, now_ns: Timestamp) -> Result<Span> {
        let around = self.before.is_some() || self.after.is_some() || self.at.is_some();
        if around && (self.start.is_some() || self.end.is_some()) {
            return Err(Error::invalid("say either before/after/at, or start/end"));
        }
        let span = if let Some(start) = &self.start {
            let end_ns = self.end.as_ref().map_or(Ok(now_ns), |end| end.to_ns(now_ns))?;
            Span::new(start.to_ns(now_ns)?, end_ns)
        } else if self.end.is_some() {
            return Err(Error::invalid("an end needs a start: start='10 min ago'"));
        } else if self.before.is_none() && self.after.is_none() {
            return Err(Error::invalid("say how much to keep: before='30 s', after='10 s', or start and end"));
        } else {
            let at_ns = self.at.as_ref().map_or(Ok(now_ns), |at| at.to_ns(now_ns))?;
            let length = |length: &Option<Length>| length.as_ref().map_or(Ok(0), Length::to_ns);
            // "Until now" includes the message that was logged this very nanosecond.
            let end_ns = at_ns.saturating_add(length(&self.after)?).saturating_add(1);
            Span::new(at_ns.saturating_sub(length(&self.before)?), end_ns)
        };
        if span.start_ns >= span.end_ns {
            let (start, end) = (time::format_time(span.start_ns), time::format_time(span.end_ns));
            return Err(Error::invalid(format!("the span is empty: it starts at {start} and ends at {end}")));
        }
        Ok(span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(json: &str) -> Result<Span> {
        serde_json::from_str::<SaveRequest>(json).unwrap().span(1_000_000_000_000)
    }

    #[test]
    fn spans_are_said_in_many_ways() {
        let check = |json: &str, start: i64, end: i64| assert_eq!(span(json).unwrap(), Span::new(start, end), "{json}");
        check(r#"{"before": 30}"#, 970_000_000_000, 1_000_000_000_001);
        check(r#"{"before": "30 s", "after": 2.5}"#, 970_000_000_000, 1_002_500_000_001);
        check(r#"{"at": 500, "before": "100ns"}"#, 400, 501);
        check(r#"{"start": 5, "end": 9}"#, 5, 9);
        check(r#"{"start": "10 min ago"}"#, 400_000_000_000, 1_000_000_000_000);
    }

    #[test]
    fn spans_that_make_no_sense_are_refused() {
        for wrong in
            [r#"{}"#, r#"{"at": 5}"#, r#"{"start": 9, "end": 5}"#, r#"{"end": 5}"#, r#"{"before": 1, "start": 5}"#, r#"{"before": -1}"#]
        {
            assert!(span(wrong).is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<SaveRequest>(r#"{"befor": 1}"#).is_err());
    }
}
