//! Salvage: everything that can still be read of an MCAP file, front to back, and a list of what cannot.
//!
//! In comes a source of bytes in any state, out comes where each readable message stands. Damage never ends a scan: it goes on
//! at the next believable record, so that a lost page costs the chunks it touches and nothing else.
//!
//! **Invariant:** only a failing source, or something that is no MCAP file at all, is an error.

mod damage;
mod disguise;
mod walk;
mod what;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use self::damage::chunk_losses;
pub(super) use self::walk::{Depth, Walk};
pub use self::what::{other_format, refuse_other_formats};
use super::definitions::Definitions;
use super::linear::{Content, Counts};
use super::summary::{self, Summary};
use super::write::{ChunkHeader, ChunkIndex};
use crate::error::Result;
use crate::loss::Loss;
use crate::message::Topic;
use crate::source::ReadAt;

/// What a file holds and what it lost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scan {
    /// The profile and the library in the header, where it is readable.
    pub header: Option<(String, String)>,
    /// Schemas and channels that stand in the data section.
    pub definitions: Definitions,
    /// Topics by channel id, from the data section, the summary and the definitions that were passed in; where an id is defined
    /// again, its last topic. `definitions.earlier()` has the others.
    pub topics: BTreeMap<u16, Arc<Topic>>,
    /// Metadata records.
    pub metadata: Vec<MetadataEntry>,
    /// Where the Attachment records stand, and how long they are.
    pub attachments: Vec<(u64, u64)>,
    /// Readable chunks, in the order of the file.
    pub chunks: Vec<ChunkEntry>,
    /// Stretches of messages outside of chunks, in the order of the file.
    pub loose: Vec<LooseEntry>,
    /// What cannot be read.
    pub losses: Vec<Loss>,
    /// What a reader should know and what is no loss: damage that cost nothing, another file behind the end.
    pub notes: Vec<String>,
    /// The end of the last good record of the data section: a writer may cut the file there and go on.
    pub good_end: u64,
    /// Whether nothing before `good_end` is damaged.
    pub clean: bool,
    /// Whether footer and summary are intact.
    pub closed: bool,
    /// What stands around the file, so that its summary does not describe all of the bytes.
    pub displaced: Option<&'static str>,
}

/// A metadata record.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataEntry {
    /// Its name.
    pub name: String,
    /// Its content.
    pub map: BTreeMap<String, String>,
    /// Where it stands.
    pub offset: u64,
    /// The length of the whole record.
    pub length: u64,
}

/// A readable chunk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChunkEntry {
    /// Where its record begins.
    pub offset: u64,
    /// The length of the whole record, prefix included.
    pub length: u64,
    /// First log time; ns.
    pub start_ns: u64,
    /// Last log time; ns.
    pub end_ns: u64,
    /// How it is compressed.
    pub compression: String,
    /// Size of its records as stored.
    pub compressed_size: u64,
    /// Size of its records.
    pub uncompressed_size: u64,
    /// Where the message index of each channel stands.
    pub message_index_offsets: BTreeMap<u16, u64>,
    /// The length of all its message indexes.
    pub message_index_length: u64,
    /// Messages and payload bytes by channel; empty where the chunk was not read, only its index.
    pub counts: Counts,
    /// Sequence of the first message.
    pub first_sequence: u32,
    /// Sequence of the last message.
    pub last_sequence: u32,
    /// Whether its checksum was compared and fits.
    pub verified: bool,
    /// How many bytes of its records are whole, where a record of it is cut.
    pub readable: Option<u64>,
    /// Whether it is the torn end of a file, of which only the whole messages in front are readable; it stands behind `good_end`.
    pub partial: bool,
}

/// A stretch of messages outside of chunks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LooseEntry {
    /// Where its first record begins.
    pub offset: u64,
    /// The length of all its records.
    pub length: u64,
    /// What it holds.
    pub content: Content,
}

/// Reads a file front to back and checks every chunk.
///
/// # Errors
/// `Invalid` for an empty file and for what is no MCAP file, `Unavailable` and its like for a source that fails.
pub fn scan(source: &dyn ReadAt) -> Result<Scan> {
    scan_with(source, &Definitions::default())
}

/// Like [`scan`], with definitions that are known from elsewhere: they win over those of the data section, which no checksum
/// protects.
///
/// # Errors
/// As [`scan`].
pub fn scan_with(source: &dyn ReadAt, extra: &Definitions) -> Result<Scan> {
    what::refuse_other_formats(source)?;
    let summary = summary::read(source)?.ok().map(Arc::new);
    Walk::new(source, summary, Arc::new(extra.clone()), Depth::Full)?.run()
}

/// Finds out where everything is without reading chunks that the summary describes; `None` if that is not possible, because
/// the file is damaged, was not closed, or says too little of itself. Then [`scan_with`] reads it.
///
/// # Errors
/// As [`scan`].
pub fn outline(source: &dyn ReadAt, extra: &Definitions) -> Result<Option<Scan>> {
    what::refuse_other_formats(source)?;
    let Ok(summary) = summary::read(source)? else { return Ok(None) };
    if summary.statistics.is_none() {
        return Ok(None);
    }
    let summary = Arc::new(summary);
    let scan = Walk::new(source, Some(summary.clone()), Arc::new(extra.clone()), Depth::Outline)?.run()?;
    Ok(why_unusable(&scan, &summary).is_none().then_some(scan))
}

/// Returns why an outline does not tell as much as a whole scan would; `None` if it does.
pub(super) fn why_unusable(scan: &Scan, summary: &Summary) -> Option<String> {
    if !scan.clean {
        return Some(format!("it is damaged at byte {}", scan.good_end));
    }
    if let Some(index) = summary.chunks.iter().find(|index| scan.chunks.binary_search_by_key(&index.offset, |chunk| chunk.offset).is_err())
    {
        return Some(format!("its index points elsewhere: no chunk begins at byte {}", index.offset));
    }
    let redefined = !scan.definitions.earlier().is_empty() || scan.definitions.contradicts(&summary.definitions);
    let why = if redefined {
        "it defines a channel in two ways"
    } else if !scan.losses.is_empty() || !summary.is_complete(&scan.definitions) {
        "its summary does not list everything"
    } else if !adds_up(scan, summary) {
        "its summary counts other messages than its chunks have"
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// Returns whether the messages outside of chunks are those that the summary counts besides the chunks.
fn adds_up(scan: &Scan, summary: &Summary) -> bool {
    let loose: u64 = scan.loose.iter().map(|run| run.content.messages()).sum();
    let total = summary.statistics.as_ref().map_or(0, |statistics| statistics.message_count);
    let fits = match summary.indexed_messages() {
        _ if scan.chunks.is_empty() => loose == total,
        Some(indexed) => loose.checked_add(indexed) == Some(total),
        None => loose <= total,
    };
    scan.chunks.len() == summary.chunks.len() && fits
}

impl Scan {
    /// Returns the metadata of that name that stands last.
    pub fn metadata(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.metadata.iter().rev().find(|entry| entry.name == name).map(|entry| &entry.map)
    }

    /// Returns messages and payload bytes by channel; empty where chunks were not read.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        let all = self.chunks.iter().map(|chunk| &chunk.counts).chain(self.loose.iter().map(|run| &run.content.counts));
        for (channel_id, (messages, bytes)) in all.flatten() {
            let count = counts.entry(*channel_id).or_default();
            *count = (count.0 + messages, count.1 + bytes);
        }
        counts
    }
}

impl ChunkEntry {
    /// Returns the entry of a chunk with this header and content.
    fn new(offset: u64, length: u64, header: &ChunkHeader, content: Content) -> Self {
        let messages = content.messages() > 0;
        Self {
            offset,
            length,
            start_ns: if messages { content.start_ns } else { header.start_ns },
            end_ns: if messages { content.end_ns } else { header.end_ns },
            compression: header.compression.clone(),
            compressed_size: header.compressed_size,
            uncompressed_size: header.uncompressed_size,
            counts: content.counts,
            first_sequence: content.first_sequence,
            last_sequence: content.last_sequence,
            verified: header.uncompressed_crc != 0,
            ..Self::default()
        }
    }

    /// Returns the entry of a chunk that is only known by its index.
    fn of_index(index: &ChunkIndex) -> Self {
        Self {
            message_index_offsets: index.message_index_offsets.iter().copied().collect(),
            message_index_length: index.message_index_length,
            verified: false,
            ..Self::new(index.offset, index.length, &index.header, Content::default())
        }
    }

    /// Returns the chunk's index, as a writer puts it into the summary.
    pub fn to_index(&self) -> ChunkIndex {
        ChunkIndex {
            header: ChunkHeader {
                start_ns: self.start_ns,
                end_ns: self.end_ns,
                uncompressed_size: self.uncompressed_size,
                uncompressed_crc: 0,
                compression: self.compression.clone(),
                compressed_size: self.compressed_size,
            },
            offset: self.offset,
            length: self.length,
            message_index_offsets: self.message_index_offsets.iter().map(|(id, offset)| (*id, *offset)).collect(),
            message_index_length: self.message_index_length,
        }
    }
}
