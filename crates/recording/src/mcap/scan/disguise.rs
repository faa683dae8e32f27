//! Records whose opcode is damaged and nothing else, and message indexes that are not where they should be.
//!
//! **Invariant:** a record is taken for another kind only where its body has exactly that kind's shape.

use super::damage::Damage;
use super::walk::{CHUNK_HEADER_LENGTH, Walk};
use crate::error::Result;
use crate::mcap::record::{self, IndexEntries, Record, opcode};
use crate::mcap::resync::{self, DEFINITION_LIMIT};
use crate::mcap::summary::{INDEX_ENTRY_LENGTH, INDEX_FIXED_LENGTH};
use crate::mcap::write::PREFIX_LENGTH;

/// The largest message that is looked at twice, whether it is one.
const LARGEST_DISGUISE: usize = 64 << 10;

impl Walk<'_> {
    /// Returns whether a record of another kind has the body of a chunk: then its opcode is damaged and nothing else.
    pub(super) fn is_disguised_chunk(&mut self, length: u64) -> Result<bool> {
        let body = self.window.get(self.at + PREFIX_LENGTH as u64, CHUNK_HEADER_LENGTH)?;
        let short_name = body.get(28..32).is_some_and(|bytes| bytes[0] <= 32 && bytes[1..] == [0; 3]);
        Ok(short_name && record::parse_chunk_header(body).is_ok_and(|(header, _)| resync::plausible_chunk(&header, length)))
    }

    /// Returns whether a record of another kind is the message index that is due here: then its opcode is damaged and nothing else.
    pub(super) fn is_disguised_index(&mut self, length: u64) -> Result<bool> {
        let due = self.scan.chunks.last().is_some_and(|chunk| chunk.offset + chunk.length + chunk.message_index_length == self.at);
        let inner =
            self.window.get(self.at + PREFIX_LENGTH as u64 + 2, 4)?.first_chunk().map(|bytes| u64::from(u32::from_le_bytes(*bytes)));
        if !due || length > DEFINITION_LIMIT || inner.map(|inner| inner + 6) != Some(length) {
            return Ok(false);
        }
        let body = self.window.get(self.at + PREFIX_LENGTH as u64, length as usize)?.to_vec();
        Ok(match record::parse_exact(opcode::MESSAGE_INDEX, &body) {
            Some(Record::MessageIndex { channel_id, entries }) => {
                !entries.is_empty() && self.is_due(channel_id, &entries) && self.is_intact(&entries)
            }
            _ => false,
        })
    }

    /// Returns whether a message index is one that the chunk in front of it must have here, by its place and its length.
    pub(super) fn is_due(&self, channel_id: u16, entries: &IndexEntries<'_>) -> bool {
        let Some(chunk) = self.scan.chunks.last().filter(|chunk| chunk.readable.is_none()) else { return false };
        let counted = chunk.counts.get(&channel_id).map_or(0, |(messages, _)| *messages);
        chunk.offset + chunk.length + chunk.message_index_length == self.at && entries.len() as u64 == counted
    }

    /// Returns whether all entries of a message index are of the chunk in front of it.
    pub(super) fn is_intact(&self, entries: &IndexEntries<'_>) -> bool {
        let Some(chunk) = self.scan.chunks.last() else { return false };
        entries.clone().all(|(time, at)| chunk.start_ns <= time && time <= chunk.end_ns && at < chunk.uncompressed_size)
    }

    /// Returns where the message indexes of the chunk in front end, if they begin within the damage at hand and fill all that is
    /// between the chunk and a record behind it: then no message is lost.
    pub(super) fn end_of_lost_indexes(&mut self, from: u64) -> Result<Option<u64>> {
        let Some(chunk) = self.scan.chunks.last().filter(|chunk| !chunk.partial && chunk.readable.is_none()) else { return Ok(None) };
        let start = chunk.offset + chunk.length;
        let length: u64 = chunk.counts.values().map(|(messages, _)| INDEX_FIXED_LENGTH + INDEX_ENTRY_LENGTH * messages).sum();
        if start + chunk.message_index_length != from || start + length <= from || start + length > self.end {
            return Ok(None);
        }
        Ok(self.is_boundary(start + length)?.then_some(start + length))
    }

    /// Takes note of a chunk that has indexes for some of its channels only: what came between them and here is missing.
    pub(super) fn miss_indexes(&mut self) {
        let Some(chunk) = self.scan.chunks.last() else { return };
        let some = (1..chunk.counts.len()).contains(&chunk.message_index_offsets.len());
        let told = self.damages.last().is_some_and(|damage| damage.to > chunk.offset);
        if some && !told && chunk.offset + chunk.length + chunk.message_index_length == self.at {
            self.damages.push(Damage::new(self.at, self.at, format!("message indexes are missing, at byte {}", self.at)));
        }
    }

    /// Returns whether a message has the body of a definition or of metadata: then its opcode is damaged.
    pub(super) fn is_disguised_definition(&mut self, end: u64) -> Result<bool> {
        let length = (end - self.at) as usize - PREFIX_LENGTH;
        if length > LARGEST_DISGUISE {
            return Ok(false);
        }
        let body = self.window.get(self.at + PREFIX_LENGTH as u64, length)?;
        Ok([opcode::SCHEMA, opcode::CHANNEL, opcode::METADATA].iter().any(|kind| match record::parse_exact(*kind, body) {
            Some(Record::Schema { name, .. } | Record::Metadata { name, .. }) => !name.is_empty(),
            Some(Record::Channel { topic, .. }) => !topic.is_empty(),
            _ => false,
        }))
    }
}
