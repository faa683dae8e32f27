//! Writing one MCAP file: header, definitions, chunks, and a summary at the end.
//!
//! Sans-io: every function appends what is to be written to a buffer; the caller writes it where it likes. The file is readable
//! front to back after every chunk, and by index once it is finished.
//!
//! **Invariant:** a channel's definition is in the file before the first chunk that uses it, and again in the summary.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chunk::{ChannelCount, EncodedChunk};
use super::record::{MAGIC, opcode};
use super::write::{self, AttachmentHeader, ChunkIndex, Statistics};
use crate::message::{Schema, Topic};

/// The library name in every file's header.
pub const LIBRARY: &str = concat!("tapeloop ", env!("CARGO_PKG_VERSION"));

/// A topic with the ids it has in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The channel's id.
    pub channel_id: u16,
    /// The schema's id; 0 without one.
    pub schema_id: u16,
    /// The topic.
    pub topic: Arc<Topic>,
}

/// What is known of a file that is being written.
#[derive(Debug, Default)]
pub struct SegmentWriter {
    offset: u64,
    schemas: BTreeMap<u16, Arc<Schema>>,
    channels: Vec<Definition>,
    defined: IdSet,
    chunks: Vec<ChunkIndex>,
    metadata: Vec<(String, u64, u64)>,
    attachments: Vec<(AttachmentHeader, u64, u64)>,
    counts: Counts,
}

/// Messages and payload bytes by channel, in order of channel ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(Vec<(u16, (u64, u64))>);

/// A set of channel ids. A chunk may hold thousands of channels: looking one up must cost next to nothing.
#[derive(Debug, Default)]
struct IdSet(Vec<u64>);

impl SegmentWriter {
    /// Begins a file: magic and header.
    pub fn begin(out: &mut Vec<u8>, profile: &str) -> Self {
        let mut writer = Self::default();
        writer.append(out, |out| {
            out.extend_from_slice(MAGIC);
            write::header(out, profile, LIBRARY);
        });
        writer
    }

    /// Goes on with a file whose first `offset` bytes hold what is given.
    pub fn resume(
        offset: u64,
        definitions: Vec<Definition>,
        chunks: Vec<ChunkIndex>,
        metadata: Vec<(String, u64, u64)>,
        counts: BTreeMap<u16, (u64, u64)>,
    ) -> Self {
        let mut writer = Self { offset, chunks, metadata, counts: Counts(counts.into_iter().collect()), ..Self::default() };
        for definition in definitions {
            writer.remember(definition);
        }
        writer
    }

    /// Returns how many bytes the file has so far.
    pub fn size(&self) -> u64 {
        self.offset
    }

    /// Returns messages and payload bytes by channel.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns the definitions of the file, in the order in which they were added.
    pub fn definitions(&self) -> &[Definition] {
        &self.channels
    }

    /// Returns whether the file defines a channel.
    pub fn defines(&self, channel_id: u16) -> bool {
        self.defined.contains(channel_id)
    }

    /// Appends a channel's definition, and its schema's, unless the file has them.
    pub fn define(&mut self, out: &mut Vec<u8>, definition: &Definition) {
        if self.defines(definition.channel_id) {
            return;
        }
        let new_schema = !self.schemas.contains_key(&definition.schema_id);
        self.append(out, |out| {
            if let (Some(schema), true) = (&definition.topic.schema, new_schema) {
                write::schema(out, definition.schema_id, schema);
            }
            write::channel(out, definition.channel_id, definition.schema_id, &definition.topic);
        });
        self.remember(definition.clone());
    }

    fn remember(&mut self, definition: Definition) {
        if self.defines(definition.channel_id) {
            return;
        }
        if let Some(schema) = &definition.topic.schema {
            self.schemas.entry(definition.schema_id).or_insert_with(|| schema.clone());
        }
        self.defined.insert(definition.channel_id);
        self.channels.push(definition);
    }

    /// Appends a Metadata record.
    pub fn metadata(&mut self, out: &mut Vec<u8>, name: &str, map: &BTreeMap<String, String>) {
        let start = self.offset;
        self.append(out, |out| write::metadata(out, name, map));
        self.metadata.push((name.to_owned(), start, self.offset - start));
    }

    /// Takes note of an Attachment record of `length` bytes, prefix included, that the caller writes next.
    pub fn attachment(&mut self, header: AttachmentHeader, length: u64) {
        self.attachments.push((header, self.offset, length));
        self.offset += length;
    }

    /// Takes note of a chunk that the caller writes next; all its channels are defined.
    pub fn chunk(&mut self, chunk: &EncodedChunk) {
        let mut index = chunk.index.clone();
        index.offset = self.offset;
        for (_, offset) in &mut index.message_index_offsets {
            *offset += self.offset;
        }
        self.counts.add(&chunk.counts);
        self.offset += chunk.size();
        self.chunks.push(index);
    }

    /// Appends the end of the file: DataEnd, summary, footer, magic.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.append(out, |out| write::data_end(out, 0));
        let summary_start = self.offset;
        let summary_at = out.len();
        let mut groups: Vec<(u8, u64, u64)> = Vec::new();
        let mut group = |out: &mut Vec<u8>, opcode: u8, records: &mut dyn FnMut(&mut Vec<u8>)| {
            let start = out.len();
            records(out);
            if out.len() > start {
                groups.push((opcode, summary_start + (start - summary_at) as u64, (out.len() - start) as u64));
            }
        };
        group(out, opcode::SCHEMA, &mut |out| self.schemas.iter().for_each(|(id, schema)| write::schema(out, *id, schema)));
        self.channels.sort_by_key(|definition| definition.channel_id);
        group(out, opcode::CHANNEL, &mut |out| {
            self.channels.iter().for_each(|d| write::channel(out, d.channel_id, d.schema_id, &d.topic));
        });
        group(out, opcode::STATISTICS, &mut |out| write::statistics(out, &self.statistics()));
        group(out, opcode::CHUNK_INDEX, &mut |out| self.chunks.iter().for_each(|index| write::chunk_index(out, index)));
        group(out, opcode::ATTACHMENT_INDEX, &mut |out| {
            self.attachments.iter().for_each(|(header, offset, length)| write::attachment_index(out, *offset, *length, header));
        });
        group(out, opcode::METADATA_INDEX, &mut |out| {
            self.metadata.iter().for_each(|(name, offset, length)| write::metadata_index(out, *offset, *length, name));
        });
        let summary_offset_start = summary_start + (out.len() - summary_at) as u64;
        for (opcode, start, length) in groups {
            write::summary_offset(out, opcode, start, length);
        }
        let summary = out[summary_at..].to_vec();
        write::footer(out, summary_start, summary_offset_start, &summary);
        out.extend_from_slice(MAGIC);
        self.offset = summary_start + (out.len() - summary_at) as u64;
    }

    fn statistics(&self) -> Statistics {
        let with_messages = || self.chunks.iter().filter(|chunk| !chunk.message_index_offsets.is_empty());
        Statistics {
            message_count: self.counts.iter().map(|(_, (messages, _))| messages).sum(),
            schema_count: self.schemas.len() as u16,
            channel_count: self.channels.len() as u32,
            attachment_count: self.attachments.len() as u32,
            metadata_count: self.metadata.len() as u32,
            chunk_count: self.chunks.len() as u32,
            start_ns: with_messages().map(|chunk| chunk.header.start_ns).min().unwrap_or(0),
            end_ns: with_messages().map(|chunk| chunk.header.end_ns).max().unwrap_or(0),
            channel_message_counts: self.counts.iter().map(|(id, (messages, _))| (id, messages)).collect(),
        }
    }

    fn append(&mut self, out: &mut Vec<u8>, records: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        records(out);
        self.offset += (out.len() - start) as u64;
    }
}

impl Counts {
    /// Returns messages and payload bytes of each channel, in order of channel ids.
    pub fn iter(&self) -> impl Iterator<Item = (u16, (u64, u64))> + '_ {
        self.0.iter().copied()
    }

    /// Returns how many channels have messages.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no messages.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds those of a chunk, which are in order too.
    fn add(&mut self, counts: &[ChannelCount]) {
        let known = self.0.len();
        let mut at = 0;
        for ChannelCount { channel_id, messages, bytes } in counts {
            at += self.0[at..known].iter().take_while(|(id, _)| id < channel_id).count();
            match self.0[..known].get_mut(at).filter(|(id, _)| id == channel_id) {
                Some((_, count)) => *count = (count.0 + messages, count.1 + bytes),
                None => self.0.push((*channel_id, (*messages, *bytes))),
            }
        }
        if self.0.len() > known {
            self.0.sort_by_key(|(id, _)| *id);
        }
    }
}

impl IdSet {
    fn insert(&mut self, id: u16) {
        let word = usize::from(id) / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (id % 64);
    }

    fn contains(&self, id: u16) -> bool {
        self.0.get(usize::from(id) / 64).is_some_and(|word| word & (1 << (id % 64)) != 0)
    }
}
