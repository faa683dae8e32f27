//! One standalone MCAP file of a span and some topics of a recording, exact: same topics, same times, same bytes.
//!
//! **Invariant:** the file has its name only when it is complete and on disk.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::Recording;
use super::formats::Stored;
use super::unit::Content;
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::mcap::chunk::{ChunkBuilder, Compression, LARGE_PAYLOAD};
use crate::mcap::segment::{Definition, LIBRARY, SegmentWriter};
use crate::message::{Message, Schema, Topic};
use crate::time::{Span, Timestamp};
use crate::topic::TopicFilter;

/// When a chunk is closed.
const CHUNK_SIZE: usize = 1 << 20;

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
    let mut name = out.file_name().ok_or_else(|| Error::invalid(format!("not a file to write: {}", out.display())))?.to_owned();
    name.push(".part");
    let part = out.with_file_name(name);
    let written = write(recording, filter, span, &part, options, progress).and_then(|report| {
        let fail = |error| Error::io(format!("cannot rename the finished export to {}", out.display()), error);
        std::fs::rename(&part, out).map_err(fail)?;
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)?;
        Ok(ExportReport { path: out.to_owned(), ..report })
    });
    if written.is_err() {
        // The error that is returned says more than a failing removal.
        let _ = std::fs::remove_file(&part);
    }
    written
}

fn refuse_own_input(recording: &Recording, out: &Path) -> Result<()> {
    if out.is_dir() {
        return Err(Error::invalid(format!("a folder; name the file to write: {}", out.display())));
    }
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

fn write(
    recording: &Recording,
    filter: &TopicFilter,
    span: Span,
    part: &Path,
    options: ExportOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<ExportReport> {
    let span = span.intersect(held(recording)).unwrap_or(Span::new(span.start_ns, span.start_ns));
    let mut output = Output::create(part, options.compression, &profile(recording), span, recording)?;
    let latched = recording.latched(filter, span.start_ns)?;
    for message in latched.into_iter().filter(|message| message.log_time_ns < span.start_ns) {
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
    output.report.losses = messages.losses().to_vec();
    progress(output.report.messages);
    output.finish()
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
fn profile(recording: &Recording) -> String {
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

/// The file being written.
struct Output {
    file: File,
    path: PathBuf,
    writer: SegmentWriter,
    chunk: ChunkBuilder,
    compression: Compression,
    channels: Vec<(Arc<Topic>, u16)>,
    by_address: HashMap<*const Topic, u16>,
    schemas: Vec<Arc<Schema>>,
    defined: Vec<Definition>,
    report: ExportReport,
}

impl Output {
    fn create(path: &Path, compression: Compression, profile: &str, span: Span, recording: &Recording) -> Result<Self> {
        let file = File::create(path).map_err(|error| Error::io(format!("cannot create {}", path.display()), error))?;
        let mut start = Vec::new();
        let mut writer = SegmentWriter::begin(&mut start, profile);
        let mut about = BTreeMap::from([
            ("format".to_owned(), "1".to_owned()),
            ("start_ns".to_owned(), span.start_ns.to_string()),
            ("end_ns".to_owned(), span.end_ns.to_string()),
            ("software".to_owned(), LIBRARY.to_owned()),
        ]);
        let device = recording.manifest().map(|manifest| manifest.device.clone()).or_else(|| device(recording));
        about.extend(device.map(|device| ("device".to_owned(), device)));
        about.extend(recording.manifest().map(|manifest| ("recording".to_owned(), manifest.recording.clone())));
        writer.metadata(&mut start, "tapeloop.export", &about);
        for (name, map) in foreign_metadata(recording) {
            writer.metadata(&mut start, &name, &map);
        }
        let report = ExportReport {
            path: path.to_owned(),
            messages: 0,
            latched: 0,
            bytes: 0,
            size_bytes: 0,
            start_ns: None,
            end_ns: None,
            losses: Vec::new(),
        };
        let mut output = Self {
            file,
            path: path.to_owned(),
            writer,
            chunk: ChunkBuilder::default(),
            compression,
            channels: Vec::new(),
            by_address: HashMap::new(),
            schemas: Vec::new(),
            defined: Vec::new(),
            report,
        };
        output.write(&start)?;
        Ok(output)
    }

    fn push(&mut self, message: &Message) -> Result<()> {
        let channel_id = self.channel(&message.topic)?;
        let [log_time, publish_time] = [message.log_time_ns, message.publish_time_ns].map(|time| u64::try_from(time).unwrap_or(0));
        self.report.messages += 1;
        self.report.bytes += message.data.len() as u64;
        if message.data.len() >= LARGE_PAYLOAD {
            self.close_chunk()?;
            let chunk = ChunkBuilder::large(channel_id, message.sequence, log_time, publish_time, message.data.clone());
            return self.write_chunk(chunk);
        }
        self.chunk.push(channel_id, message.sequence, log_time, publish_time, &message.data);
        if self.chunk.size() >= CHUNK_SIZE { self.close_chunk() } else { Ok(()) }
    }

    fn channel(&mut self, topic: &Arc<Topic>) -> Result<u16> {
        if let Some(id) = self.by_address.get(&Arc::as_ptr(topic)) {
            return Ok(*id);
        }
        if let Some((_, id)) = self.channels.iter().find(|(known, _)| known == topic) {
            return Ok(*id);
        }
        let too_many = |_| Error::invalid("more than 65535 topics in one file: export fewer of them");
        let id = u16::try_from(self.channels.len() + 1).map_err(too_many)?;
        let schema_id = match &topic.schema {
            None => 0,
            Some(schema) => {
                let known = self.schemas.iter().position(|known| known == schema);
                let at = known.unwrap_or_else(|| {
                    self.schemas.push(schema.clone());
                    self.schemas.len() - 1
                });
                u16::try_from(at + 1).map_err(too_many)?
            }
        };
        // The list keeps the topic alive, so that its address stays its own.
        self.channels.push((topic.clone(), id));
        self.by_address.insert(Arc::as_ptr(topic), id);
        self.defined.push(Definition { channel_id: id, schema_id, topic: topic.clone() });
        Ok(id)
    }

    fn close_chunk(&mut self) -> Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.chunk);
        self.write_chunk(chunk)
    }

    fn write_chunk(&mut self, chunk: ChunkBuilder) -> Result<()> {
        let mut definitions = Vec::new();
        for definition in std::mem::take(&mut self.defined) {
            self.writer.define(&mut definitions, &definition);
        }
        self.write(&definitions)?;
        let chunk = chunk.encode(self.compression);
        self.writer.chunk(&chunk);
        chunk.parts().into_iter().try_for_each(|part| self.write(part))
    }

    fn finish(mut self) -> Result<ExportReport> {
        self.close_chunk()?;
        let mut end = Vec::new();
        if !self.report.losses.is_empty() {
            let losses = serde_json::to_string(&self.report.losses).expect("losses have string keys only");
            self.writer.metadata(&mut end, "tapeloop.end", &BTreeMap::from([("losses".to_owned(), losses)]));
        }
        self.writer.finish(&mut end);
        self.write(&end)?;
        self.file.sync_all().map_err(|error| Error::io(format!("cannot write {}", self.path.display()), error))?;
        self.report.size_bytes = self.writer.size();
        Ok(self.report)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| Error::io(format!("cannot write {}", self.path.display()), error))
    }
}

fn device(recording: &Recording) -> Option<String> {
    let contents = recording.inner.units.iter().filter_map(|unit| unit.content.as_ref());
    let names = ["tapeloop.segment", "tapeloop.export"];
    contents.flat_map(|content| names.iter().filter_map(|name| content.metadata(name)?.get("device").cloned())).next()
}

/// Returns what others said about their files, each once.
fn foreign_metadata(recording: &Recording) -> Vec<(String, BTreeMap<String, String>)> {
    let contents = recording.inner.units.iter().filter_map(|unit| unit.content.as_ref());
    let mut found: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    for entry in contents.flat_map(|content| &content.index().metadata).filter(|(name, _)| !name.starts_with("tapeloop.")) {
        if !found.contains(entry) {
            found.push(entry.clone());
        }
    }
    found
}
