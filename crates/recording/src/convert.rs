//! Conversion: recordings of any format in, one MCAP file or one rosbag2 folder out, payloads as they are.
//!
//! In come an open recording (of several, if that is wanted), topics and a span, out come files and a report.
//!
//! **Invariant:** what is written has its name only when it is complete and on disk, and nothing that is read is touched.

mod rosbag2;

use std::path::Path;

use crate::error::{Error, Result};
use crate::mcap::chunk::Compression;
use crate::read::{ExportOptions, ExportReport, Recording};
use crate::time::Span;
use crate::topic::TopicFilter;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One MCAP file.
    Mcap,
    /// A folder with an MCAP file and its `metadata.yaml`, as rosbag2 makes it.
    Rosbag2,
}

impl Target {
    /// Returns what a path asks for: a file that ends with `.mcap`, else a folder.
    pub fn of(out: &Path) -> Self {
        if out.extension().is_some_and(|extension| extension == "mcap") && !out.is_dir() { Self::Mcap } else { Self::Rosbag2 }
    }
}

/// What is converted, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which topics.
    pub topics: TopicFilter,
    /// Which time; latched values as of its start come first.
    pub span: Span,
    /// How chunks are compressed.
    pub compression: Compression,
    /// What is written.
    pub target: Target,
}

/// Writes a recording anew; `progress` hears from time to time how many messages are written.
///
/// # Errors
/// `Conflict` where something would be written over, `Invalid` for topics that the target cannot hold; else what reading and writing
/// answer. Nothing is left behind then.
pub fn convert(recording: &Recording, options: &Options, out: &Path, progress: &mut dyn FnMut(u64)) -> Result<ExportReport> {
    if !recording.topics().iter().any(|topic| options.topics.matches(&topic.name)) && !recording.topics().is_empty() {
        let names: Vec<&str> = recording.topics().iter().map(|topic| topic.name.as_str()).collect();
        return Err(Error::invalid(format!("no topic is wanted; there are {}", names.join(", "))));
    }
    match options.target {
        Target::Mcap => {
            let packing = ExportOptions { compression: options.compression };
            crate::read::export(recording, &options.topics, options.span, out, packing, progress)
        }
        Target::Rosbag2 => rosbag2::write(recording, options, out, progress),
    }
}
