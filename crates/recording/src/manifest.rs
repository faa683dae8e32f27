//! A recording's manifest: which segments it names, what it wants from each, why it exists, and what is missing.
//!
//! In comes JSON, out goes JSON; whoever keeps it writes it atomically.
//!
//! **Invariant:** a manifest of a newer format is refused, never half understood; all older ones stay readable.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::key;
use crate::loss::Loss;
use crate::time::{Span, Timestamp};

/// The format this version writes, and the newest it reads.
pub const FORMAT: u32 = 1;

/// The largest manifest that is read, in bytes.
pub const SIZE_LIMIT: u64 = 256 << 20;

/// How far a recording has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its end is open: `keep start` without a stop yet.
    Keeping,
    /// All it wants is named, but a segment is still open or its end lies in the future.
    Completing,
    /// Every segment is closed, hashed and on disk.
    Complete,
    /// The recorder stopped before its end; what there is, is named.
    CutShort,
}

/// What a recording is and where its bytes are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format version, see [`FORMAT`].
    pub format: u32,
    /// The recording's id, unique for ever.
    pub recording: String,
    /// The name somebody gave it, e.g. `run-12`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The robot.
    pub device: String,
    /// The computer.
    pub host: String,
    /// How far it has come.
    pub state: State,
    /// When it was asked for; ns UTC.
    pub created_ns: Timestamp,
    /// What was asked for.
    pub asked: Asked,
    /// What asked for it.
    pub cause: Cause,
    /// Why, in somebody's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The span it holds (of an open one: so far).
    pub span: Span,
    /// What is wanted of the segments of each buffer.
    #[serde(default)]
    pub selections: Vec<Selection>,
    /// The segments that are kept, in order of time.
    #[serde(default)]
    pub segments: Vec<SegmentRef>,
    /// What was kept.
    #[serde(default)]
    pub kept: Vec<Kept>,
    /// What is missing, and why.
    #[serde(default)]
    pub missing: Vec<Loss>,
}

/// What somebody asked to keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// From when; ns UTC.
    pub start_ns: Timestamp,
    /// Until when; `None` while the end is open.
    pub end_ns: Option<Timestamp>,
    /// Topic patterns; none means all.
    #[serde(default)]
    pub topics: Vec<String>,
}

/// What made a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Cause {
    /// A person or a program, through `save` or `keep`.
    Manual {
        /// Through what: `cli`, `python`, `rust`, `http`, …
        by: String,
    },
    /// A rule.
    Rule {
        /// Its name.
        rule: String,
        /// Its version.
        version: u32,
        /// The values that made it fire.
        values: BTreeMap<String, serde_json::Value>,
    },
}

/// What is wanted of one buffer's segments: a message counts if its topic and its time are in a selection of its buffer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// The buffer.
    pub buffer: String,
    /// The topics' names.
    pub topics: Vec<String>,
    /// When.
    pub spans: Vec<Span>,
}

/// One segment that a recording keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentRef {
    /// Its key.
    pub key: String,
    /// The buffer it belongs to; `latched` for latched values.
    pub buffer: String,
    /// First log time in it; ns UTC, as recorded.
    pub start_ns: Timestamp,
    /// Last log time in it (included); ns UTC, as recorded.
    pub end_ns: Timestamp,
    /// Its size, once it is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// `blake3:<hex>` of the file, once it is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Whether it holds latched values as of the start, which do not widen the span.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub latched: bool,
    /// What a reader adds to its times: how wrong the clock was when it was recorded.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub clock_correction_ns: i64,
}

/// How much of a topic was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The topic.
    pub topic: String,
    /// The buffers it was taken from, best first.
    pub buffers: Vec<String>,
    /// How many messages; `None` while it is not counted yet.
    pub messages: Option<u64>,
    /// How many payload bytes; `None` while it is not counted yet.
    pub bytes: Option<u64>,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// `Corrupt` for anything that is not one; `Invalid` for a newer format or a key that leaves its folder.
    pub fn parse(json: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let corrupt = |error| Error::corrupt("not a recording's manifest").caused_by(error);
        let version: Version = serde_json::from_slice(json).map_err(corrupt)?;
        if version.format > FORMAT {
            let format = version.format;
            return Err(Error::invalid(format!("manifest of format {format}; this version reads up to {FORMAT}: update tapeloop")));
        }
        let manifest: Self = serde_json::from_slice(json).map_err(corrupt)?;
        for segment in &manifest.segments {
            key::check(&segment.key)?;
        }
        Ok(manifest)
    }

    /// Returns the manifest as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("a manifest has string keys only");
        json.push(b'\n');
        json
    }

    /// Returns whether nothing will be added to it any more.
    pub fn is_final(&self) -> bool {
        matches!(self.state, State::Complete | State::CutShort)
    }
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        Manifest {
            format: FORMAT,
            recording: "20261122T120000-abc".into(),
            name: None,
            device: "rover-7".into(),
            host: "jetson".into(),
            state: State::Complete,
            created_ns: 5,
            asked: Asked { start_ns: 1, end_ns: Some(9), topics: vec!["/imu".into()] },
            cause: Cause::Manual { by: "cli".into() },
            why: Some("missed stop sign".into()),
            labels: BTreeMap::new(),
            span: Span::new(1, 9),
            selections: vec![Selection { buffer: "all".into(), topics: vec!["/imu".into()], spans: vec![Span::new(1, 9)] }],
            segments: vec![SegmentRef {
                key: "devices/rover-7/segments/1970-01-01/a.mcap".into(),
                buffer: "all".into(),
                start_ns: 0,
                end_ns: 10,
                size_bytes: Some(3),
                hash: None,
                latched: false,
                clock_correction_ns: 0,
            }],
            kept: vec![],
            missing: vec![],
        }
    }

    #[test]
    fn manifests_round_trip() {
        assert_eq!(Manifest::parse(&sample().to_json()).unwrap(), sample());
    }

    #[test]
    fn newer_formats_and_escaping_keys_are_refused() {
        let mut newer = sample();
        newer.format = FORMAT + 1;
        assert!(Manifest::parse(&newer.to_json()).unwrap_err().message().contains("update tapeloop"));
        let mut escaping = sample();
        escaping.segments[0].key = "devices/../../etc/passwd".into();
        assert!(Manifest::parse(&escaping.to_json()).is_err());
        assert_eq!(Manifest::parse(b"{").unwrap_err().kind(), crate::Kind::Corrupt);
    }
}
