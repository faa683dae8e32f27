//! One standalone MCAP file of a span and some topics of a recording, exact: same topics, same times, same bytes.
//!
//! **Invariant:** the file has its name only when it is complete and on disk.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::formats::Stored;
use super::output::Output;
use super::unit::{Content, at};
use super::{Recording, latched};
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::mcap::chunk::Compression;
use crate::message::Topic;
use crate::time::{Span, Timestamp};
use crate::topic::TopicFilter;

/// How many messages there are between two calls of the progress callback.
const PROGRESS_STEP: u64 = 1024;

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// How its chunks are compressed.
    pub compression: Compression,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { compression: Compression::Zstd(3) }
    }
}

/// What was exported.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExportReport {
    /// The file.
    pub path: PathBuf,
    /// How many messages, latched ones included.
    pub messages: u64,
    /// How many of them are latched values from before the span.
    pub latched: u64,
    /// How many payload bytes.
    pub bytes: u64,
    /// How large the file is.
    pub size_bytes: u64,
    /// First log time of all, latched values included.
    #[serde(skip)]
    pub first_ns: Option<Timestamp>,
    /// First log time, latched values not counted.
    pub start_ns: Option<Timestamp>,
    /// Last log time, latched values not counted.
    pub end_ns: Option<Timestamp>,
    /// What is missing.
    pub losses: Vec<Loss>,
}

/// Writes the messages of `filter`'s topics in `span` to `out`, latched values as of its start first; `progress` hears from time to
/// time how many messages are written.
///
/// # Errors
/// `Conflict` if `out` is part of the recording; else what reading and writing answer. `out` is untouched then.
pub fn export(
    recording: &Recording,
    filter: &TopicFilter,
    span: Span,
    out: &Path,
    options: ExportOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<ExportReport> {
    refuse_own_input(recording, out)?;
    if out.is_dir() {
        return Err(Error::invalid(format!("a folder; name the file to write: {}", out.display())));
    }
    let part = part_of(out)?;
    let written = write(recording, filter, span, &part, &profile(recording), options, progress).and_then(|(report, _)| {
        finish_name(&part, out)?;
        Ok(ExportReport { path: out.to_owned(), ..report })
    });
    if written.is_err() {
        // The error that is returned says more than a failing removal.
        let _ = std::fs::remove_file(&part);
    }
    written
}

/// Returns under which name something is written until it is complete.
pub(crate) fn part_of(out: &Path) -> Result<PathBuf> {
    let mut name = out.file_name().ok_or_else(|| Error::invalid(format!("not a file to write: {}", out.display())))?.to_owned();
    name.push(".part");
    Ok(out.with_file_name(name))
}

/// Gives what is complete its name, durably.
pub(crate) fn finish_name(part: &Path, out: &Path) -> Result<()> {
    let fail = |error| Error::io(format!("cannot rename what was written to {}", out.display()), error);
    std::fs::rename(part, out).map_err(fail)?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)
}

/// Refuses to write over anything that is read.
pub(crate) fn refuse_own_input(recording: &Recording, out: &Path) -> Result<()> {
    let Ok(target) = out.canonicalize() else { return Ok(()) };
    let inputs = recording.files().chain([recording.path()]);
    if inputs.filter_map(|input| input.canonicalize().ok()).any(|input| input == target) {
        return Err(Error::new(
            crate::Kind::Conflict,
            format!("the export would overwrite what it reads; choose another name than {}", out.display()),
        ));
    }
    Ok(())
}

/// How many messages there are of each topic.
pub(crate) type TopicCounts = Vec<(Arc<Topic>, u64)>;

/// Writes the file under its temporary name; returns also which topics have how many messages.
pub(crate) fn write(
    recording: &Recording,
    filter: &TopicFilter,
    span: Span,
    part: &Path,
    profile: &str,
    options: ExportOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<(ExportReport, TopicCounts)> {
    let span = span.intersect(held(recording)).unwrap_or(Span::new(span.start_ns, span.start_ns));
    let mut output = Output::create(part, options.compression, profile, span, recording)?;
    let (values, no_room) = latched::as_of(recording, filter, span.start_ns)?;
    for message in values.into_iter().filter(|message| message.log_time_ns < span.start_ns) {
        output.push(&message)?;
        output.report.latched += 1;
    }
    output.close_chunk()?;
    let mut messages = recording.messages(filter, span)?;
    for message in messages.by_ref() {
        let message = message?;
        let time_ns = message.log_time_ns;
        output.push(&message)?;
        output.report.start_ns.get_or_insert(time_ns);
        output.report.end_ns = Some(time_ns);
        if output.report.messages.is_multiple_of(PROGRESS_STEP) {
            progress(output.report.messages);
        }
    }
    output.report.losses = messages.losses().iter().cloned().chain(no_room).collect();
    progress(output.report.messages);
    output.close_chunk()?;
    for unit in &recording.inner.units {
        let content = unit.content()?;
        if let Stored::Mcap(file) = &content.stored
            && !file.scan().attachments.is_empty()
        {
            let source = unit.source()?;
            for (offset, length) in &file.scan().attachments {
                output.attach(&*source, &unit.path, *offset, *length).map_err(|error| at(&unit.path, error))?;
            }
        }
    }
    for topic in recording.wanted_topics().filter(|topic| filter.matches(&topic.name)) {
        output.define(topic)?;
    }
    let counts = output.counts();
    Ok((output.finish()?, counts))
}

/// Returns the span that a recording holds, latched values aside.
pub(super) fn held(recording: &Recording) -> Span {
    let units = &recording.inner.units;
    if let Some(manifest) = recording.manifest() {
        return manifest.span;
    }
    let times = || units.iter().filter(|unit| !unit.latched).filter_map(|unit| unit.times_ns);
    let start_ns = units.iter().filter_map(|unit| unit.latched_before_ns).min().or(times().map(|(start_ns, _)| start_ns).min());
    let end_ns = times().map(|(_, end_ns)| end_ns.saturating_add(1)).max();
    Span::new(start_ns.unwrap_or(0), end_ns.unwrap_or(0))
}

/// Returns the profile that all files have.
pub(crate) fn profile(recording: &Recording) -> String {
    let contents = recording.inner.units.iter().filter_map(|unit| unit.content.as_ref());
    let header = |content: &Arc<Content>| match &content.stored {
        Stored::Mcap(file) => file.scan().header.clone(),
        Stored::Other(_) => None,
    };
    let mut profiles: Vec<String> = contents.filter_map(header).map(|(profile, _)| profile).collect();
    profiles.dedup();
    match <[String; 1]>::try_from(profiles) {
        Ok([profile]) => profile,
        Err(_) => String::new(),
    }
}
