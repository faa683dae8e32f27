//! A file's own summary: what it holds and where, in a few reads from its end.
//!
//! **Invariant:** a summary whose checksum does not fit, or that points outside of the file, is not used at all.

use super::definitions::Definitions;
use super::record::{self, MAGIC, Record, Records, opcode};
use super::window;
use super::write::{ChunkIndex, PREFIX_LENGTH, Statistics};
use crate::error::{Error, Result};
use crate::source::ReadAt;

/// The largest summary that is read: about 4 million chunks.
pub const SIZE_LIMIT: u64 = 512 << 20;

/// Bytes of a footer record, prefix included, and of the magic behind it.
const TAIL_LENGTH: u64 = (PREFIX_LENGTH + 20 + MAGIC.len()) as u64;

/// How much of the end is read at first: the whole summary of most files.
const FIRST_READ: u64 = 64 << 10;

/// Bytes of a message index besides its entries, prefix included, and of an entry.
pub(crate) const INDEX_FIXED_LENGTH: u64 = PREFIX_LENGTH as u64 + 6;
pub(crate) const INDEX_ENTRY_LENGTH: u64 = 16;

/// What a file says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Where the data section ends: the DataEnd record and the summary come behind it.
    pub start: u64,
    /// Schemas and channels, as far as they are repeated.
    pub definitions: Definitions,
    /// Counts, if there are any.
    pub statistics: Option<Statistics>,
    /// Where each chunk is.
    pub chunks: Vec<ChunkIndex>,
    /// Where each metadata record is: (name, offset, length).
    pub metadata: Vec<(String, u64, u64)>,
}

/// Reads the summary of a closed file, or says why there is none that can be used.
///
/// # Errors
/// Only what reading the source answers.
pub fn read(source: &dyn ReadAt) -> Result<std::result::Result<Summary, String>> {
    let end = source.len().map_err(|error| Error::io("cannot tell the size of the file", error))?;
    if end < MAGIC.len() as u64 + TAIL_LENGTH {
        return Ok(Err("it was not closed: it is too short to have an end".to_owned()));
    }
    let tail_start = end.saturating_sub(FIRST_READ);
    let tail = window::read(source, tail_start, FIRST_READ)?;
    let Some((rest, magic)) = tail.split_last_chunk::<8>() else {
        return Ok(Err("it was not closed: it is too short to have an end".to_owned()));
    };
    let footer = rest.len().checked_sub(PREFIX_LENGTH + 20).and_then(|at| Records::new(&rest[at..]).next());
    let footer = footer.filter(|raw| raw.opcode == opcode::FOOTER).and_then(|raw| record::parse(raw.opcode, raw.body).ok());
    let (Some(Record::Footer { summary_start, summary_crc, .. }), MAGIC) = (footer, magic) else {
        return Ok(Err("it was not closed or its end is damaged: there is no footer".to_owned()));
    };
    let footer_start = end - TAIL_LENGTH;
    if summary_start == 0 {
        return Ok(Ok(Summary { start: footer_start, ..Summary::default() }));
    }
    if summary_start < MAGIC.len() as u64 || summary_start > footer_start || footer_start - summary_start > SIZE_LIMIT {
        return Ok(Err(format!("its footer points to byte {summary_start} for the summary")));
    }
    let bytes = match summary_start.checked_sub(tail_start) {
        Some(at) => tail[at as usize..].to_vec(),
        None => window::read(source, summary_start, end - summary_start)?,
    };
    let length = (footer_start - summary_start) as usize;
    // The checksum covers the footer too, up to the checksum itself.
    let covered = bytes.get(..length + PREFIX_LENGTH + 16);
    if summary_crc != 0 && covered.map(crc32fast::hash) != Some(summary_crc) {
        return Ok(Err("the checksum of its summary does not fit".to_owned()));
    }
    Ok(parse(&bytes[..length.min(bytes.len())], summary_start))
}

fn parse(bytes: &[u8], start: u64) -> std::result::Result<Summary, String> {
    let mut summary = Summary { start, ..Summary::default() };
    let mut records = Records::new(bytes);
    for raw in records.by_ref() {
        match record::parse(raw.opcode, raw.body).map_err(|error| format!("in its summary, {error}"))? {
            Record::ChunkIndex(index) => {
                let length = index.length.checked_add(index.message_index_length);
                if length.and_then(|length| index.offset.checked_add(length)).is_none_or(|end| end > start) {
                    return Err(format!("its summary points to a chunk at byte {}", index.offset));
                }
                summary.chunks.push(index);
            }
            Record::Statistics(statistics) => summary.statistics = Some(statistics),
            Record::MetadataIndex { offset, length, name } => summary.metadata.push((name.into_owned(), offset, length)),
            record => summary.definitions.add(&record, start),
        }
    }
    if records.position() != bytes.len() {
        return Err(format!("its summary is cut at byte {}", start + records.position() as u64));
    }
    summary.chunks.sort_by_key(|index| index.offset);
    Ok(summary)
}

impl Summary {
    /// Returns whether the chunk indexes stand for all chunks and every channel with messages is defined, so that the chunks need
    /// not be read to know what they hold.
    pub fn is_complete(&self, found: &Definitions) -> bool {
        let Some(statistics) = &self.statistics else { return false };
        let defined = |id: &u16| self.definitions.defines(*id) || found.defines(*id);
        let disjoint = self.chunks.windows(2).all(|pair| pair[0].offset + pair[0].length + pair[0].message_index_length <= pair[1].offset);
        let counted: u64 = statistics.channel_message_counts.values().sum();
        u64::from(statistics.chunk_count) == self.chunks.len() as u64
            && disjoint
            && counted == statistics.message_count
            && statistics.channel_message_counts.iter().filter(|(_, count)| **count > 0).all(|(id, _)| defined(id))
            && self.chunks.iter().flat_map(|index| &index.message_index_offsets).all(|(id, _)| defined(id))
    }

    /// Returns how many messages the message indexes of all chunks name, by their lengths; `None` where these do not tell.
    pub fn indexed_messages(&self) -> Option<u64> {
        let entries = |index: &ChunkIndex| {
            let records = index.message_index_offsets.len() as u64;
            let length = index.message_index_length.checked_sub(INDEX_FIXED_LENGTH * records).filter(|_| records > 0)?;
            length.is_multiple_of(INDEX_ENTRY_LENGTH).then_some(length / INDEX_ENTRY_LENGTH)
        };
        self.chunks.iter().map(entries).sum()
    }

    /// Returns the index of the chunk that begins at `offset`.
    pub(crate) fn chunk_at(&self, offset: u64) -> Option<&ChunkIndex> {
        self.chunks.binary_search_by_key(&offset, |index| index.offset).ok().map(|at| &self.chunks[at])
    }
}
