//! Arguments that several commands take, checked as they are read.
//!
//! **Invariant:** what is refused here is a matter of usage: exit code 2.

use std::collections::BTreeMap;

use clap::Args;
use clap::builder::FalseyValueParser;
use jiff::tz::TimeZone;
use recording::mcap::chunk::Compression;
use recording::read::{ExportOptions, Recording};
use recording::{Span, Timestamp, TopicFilter, time};
use robot::{Length, When};

use crate::outcome::Usage;

/// Whether JSON is wanted.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Json {
    /// Print JSON, for programs
    #[arg(long = "json", env = "TAPELOOP_JSON", value_parser = FalseyValueParser::new())]
    pub(crate) wanted: bool,
}

/// Which topics.
#[derive(Args, Clone, Debug)]
pub(crate) struct Topics {
    /// Topic patterns, all topics without: '*' within a level, '**' across levels, '!' in front excludes
    #[arg(long = "topics", visible_alias = "topic", value_name = "PATTERN", num_args = 1.., value_delimiter = ',', env = "TAPELOOP_TOPICS", value_parser = pattern)]
    pub(crate) patterns: Vec<String>,
}

/// Which part of a recording.
#[derive(Args, Clone, Debug)]
pub(crate) struct Part {
    /// From when: '14:32:10', '10 s ago' (both as seen from its end), RFC 3339, or ns
    #[arg(long, value_name = "TIME", env = "TAPELOOP_START", value_parser = moment, allow_hyphen_values = true)]
    start: Option<String>,
    /// Until when, not included
    #[arg(long, value_name = "TIME", env = "TAPELOOP_END", value_parser = moment, allow_hyphen_values = true)]
    end: Option<String>,
}

/// Why something is kept.
#[derive(Args, Clone, Debug)]
pub(crate) struct Reason {
    /// Why, in your words
    #[arg(long, value_name = "TEXT", env = "TAPELOOP_WHY")]
    pub(crate) why: Option<String>,
    /// A label, as often as you like
    #[arg(long = "label", value_name = "KEY=VALUE", env = "TAPELOOP_LABEL", value_parser = label)]
    labels: Vec<(String, String)>,
}

impl Topics {
    /// Returns the filter.
    pub(crate) fn filter(&self) -> anyhow::Result<TopicFilter> {
        Ok(TopicFilter::parse(&self.patterns)?)
    }
}

impl Part {
    /// Returns the span of a recording that is meant.
    pub(crate) fn of(&self, recording: &Recording) -> anyhow::Result<Span> {
        let last_ns = recording.span().end_ns.saturating_sub(1);
        let seen = |text: &Option<String>, otherwise: Timestamp| {
            text.as_ref().map_or(Ok(otherwise), |text| time::parse_time(text, last_ns, &TimeZone::system()))
        };
        let span = Span::new(seen(&self.start, i64::MIN)?, seen(&self.end, i64::MAX)?);
        if span.start_ns >= span.end_ns {
            let (start, end) = (time::format_time(span.start_ns), time::format_time(span.end_ns));
            return Err(Usage(format!("the span is empty: it starts at {start} and ends at {end}")).into());
        }
        Ok(span)
    }
}

impl Reason {
    /// Returns the labels by their keys.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        self.labels.iter().cloned().collect()
    }
}

/// Reads how chunks are compressed.
pub(crate) fn compression(text: &str) -> Result<Compression, String> {
    let level = text.strip_prefix("zstd(").and_then(|rest| rest.strip_suffix(')')).and_then(|level| level.trim().parse().ok());
    match (text, level) {
        ("none", _) => Ok(Compression::None),
        ("lz4", _) => Ok(Compression::Lz4),
        ("zstd", _) => Ok(ExportOptions::default().compression),
        (_, Some(level @ 1..=22)) => Ok(Compression::Zstd(level)),
        _ => Err("not a compression (write none, lz4, zstd, or zstd(LEVEL) with a level from 1 to 22)".to_owned()),
    }
}

/// Reads a duration.
pub(crate) fn length(text: &str) -> Result<Length, String> {
    time::parse_duration(text).map_err(|error| error.to_string())?;
    Ok(Length::Text(text.to_owned()))
}

/// Reads a moment, which whoever records resolves by its clock.
pub(crate) fn when(text: &str) -> Result<When, String> {
    moment(text).map(When::Text)
}

fn moment(text: &str) -> Result<String, String> {
    match time::parse_time(text, 0, &TimeZone::UTC) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn pattern(text: &str) -> Result<String, String> {
    match TopicFilter::parse(&[text]) {
        Ok(_) => Ok(text.trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("not a label: '{text}' (write it like operator=ada)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions_are_read_as_people_write_them() {
        assert_eq!(compression("none"), Ok(Compression::None));
        assert_eq!(compression("lz4"), Ok(Compression::Lz4));
        assert_eq!(compression("zstd"), Ok(Compression::Zstd(3)));
        assert_eq!(compression("zstd(19)"), Ok(Compression::Zstd(19)));
        for wrong in ["zstd(0)", "zstd(23)", "zstd()", "gzip", ""] {
            assert!(compression(wrong).is_err(), "{wrong}");
        }
    }
}
