//! The MCAP file that an export or a conversion writes: topics, messages, attachments, and what is missing.
//!
//! **Invariant:** payloads are written as they come, and a topic is defined in front of its first message.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Recording;
use super::export::ExportReport;
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::mcap::attachment;
use crate::mcap::chunk::{ChunkBuilder, Compression, LARGE_PAYLOAD};
use crate::mcap::segment::{Definition, LIBRARY, SegmentWriter};
use crate::message::{Message, Schema, Topic};
use crate::qos;
use crate::source::ReadAt;
use crate::time::Span;

/// When a chunk is closed.
const CHUNK_SIZE: usize = 1 << 20;

/// The file being written.
pub(crate) struct Output {
    file: File,
    path: PathBuf,
    writer: SegmentWriter,
    chunk: ChunkBuilder,
    compression: Compression,
    channels: Vec<(Arc<Topic>, u16)>,
    by_address: HashMap<*const Topic, u16>,
    schemas: Vec<Arc<Schema>>,
    defined: Vec<Definition>,
    /// Attachments by name, size and checksum, so that each is there once.
    attached: HashSet<(String, u64, u32)>,
    pub(crate) report: ExportReport,
}

impl Output {
    /// Creates the file at a temporary path.
    ///
    /// # Errors
    /// What creating and writing answer.
    pub(crate) fn create(path: &Path, compression: Compression, profile: &str, span: Span, recording: &Recording) -> Result<Self> {
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
            first_ns: None,
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
            attached: HashSet::new(),
            report,
        };
        output.write(&start)?;
        Ok(output)
    }

    /// Appends a message.
    ///
    /// # Errors
    /// What writing answers; `Invalid` for more topics than a file can have.
    pub(crate) fn push(&mut self, message: &Message) -> Result<()> {
        let channel_id = self.channel(&message.topic)?;
        let [log_time, publish_time] = [message.log_time_ns, message.publish_time_ns].map(|time| u64::try_from(time).unwrap_or(0));
        let first_ns = self.report.first_ns.get_or_insert(message.log_time_ns);
        *first_ns = message.log_time_ns.min(*first_ns);
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

    /// Defines a topic, which may have no messages.
    ///
    /// # Errors
    /// `Invalid` for more topics than a file can have.
    pub(crate) fn define(&mut self, topic: &Arc<Topic>) -> Result<()> {
        self.channel(topic).map(drop)
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
        let written = Topic { metadata: qos::translated(topic), ..Topic::clone(topic) };
        self.defined.push(Definition { channel_id: id, schema_id, topic: Arc::new(written) });
        Ok(id)
    }

    /// Returns the topics that are defined so far, and how many messages they have.
    pub(crate) fn counts(&self) -> Vec<(Arc<Topic>, u64)> {
        let counts: HashMap<u16, u64> = self.writer.counts().iter().map(|(id, (messages, _))| (id, messages)).collect();
        self.channels.iter().map(|(topic, id)| (topic.clone(), counts.get(id).copied().unwrap_or(0))).collect()
    }

    /// Copies an attachment of an MCAP file, unless it is damaged: then it is a loss.
    ///
    /// # Errors
    /// What reading and writing answer.
    pub(crate) fn attach(&mut self, source: &dyn ReadAt, path: &Path, offset: u64, length: u64) -> Result<()> {
        let attachment = match attachment::check(source, offset, length)? {
            Ok(attachment) => attachment,
            Err(why) => {
                let reason = format!("damaged attachment: {why}, at byte {offset}: {}", path.display());
                let bytes = Some(length);
                self.report.losses.push(Loss { topic: None, start_ns: None, end_ns: None, messages: Some(0), bytes, reason });
                return Ok(());
            }
        };
        if !self.attached.insert((attachment.header.name.clone(), attachment.header.size, attachment.crc)) {
            return Ok(());
        }
        self.writer.attachment(attachment.header.clone(), attachment.length);
        attachment::copy(source, &attachment, &mut |piece| self.write(piece))
    }

    /// Ends a chunk, so that what follows stands in another one.
    ///
    /// # Errors
    /// What writing answers.
    pub(crate) fn close_chunk(&mut self) -> Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.chunk);
        self.write_chunk(chunk)
    }

    fn write_chunk(&mut self, chunk: ChunkBuilder) -> Result<()> {
        self.write_definitions()?;
        let chunk = chunk.encode(self.compression);
        self.writer.chunk(&chunk);
        chunk.parts().into_iter().try_for_each(|part| self.write(part))
    }

    fn write_definitions(&mut self) -> Result<()> {
        let mut definitions = Vec::new();
        for definition in std::mem::take(&mut self.defined) {
            self.writer.define(&mut definitions, &definition);
        }
        self.write(&definitions)
    }

    /// Ends the file; it is on disk then.
    ///
    /// # Errors
    /// What writing answers.
    pub(crate) fn finish(mut self) -> Result<ExportReport> {
        self.close_chunk()?;
        self.write_definitions()?;
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

/// Returns what others said about their files, each once. What rosbag2 counted of a file does not hold for several in one.
fn foreign_metadata(recording: &Recording) -> Vec<(String, BTreeMap<String, String>)> {
    let several = recording.inner.units.len() > 1 || !recording.inner.metadata.is_empty();
    let stale = |name: &str| name.starts_with("tapeloop.") || (name == "rosbag2" && several);
    recording.metadata().into_iter().filter(|(name, _)| !stale(name)).collect()
}
