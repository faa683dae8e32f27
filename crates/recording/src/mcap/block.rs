//! A stretch of a file that is read as one: a chunk, the torn rest of one, or messages outside of chunks.
//!
//! **Invariant:** what a block gives is checked again each time it is loaded: files change under a reader.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::decompress::{self, Decompressor};
use super::record;
use super::scan::{Scan, chunk_losses};
use super::window;
use super::write::{ChunkHeader, ChunkIndex, PREFIX_LENGTH};
use crate::container::Chunk;
use crate::error::Result;
use crate::loss::Loss;
use crate::message::Topic;
use crate::source::ReadAt;

/// Where messages stand.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// What it is.
    pub kind: BlockKind,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
    /// First log time; ns.
    pub start_ns: u64,
    /// Last log time; ns.
    pub end_ns: u64,
    /// The channels that have messages in it, in order; `None` where nobody knows.
    pub channels: Option<Vec<u16>>,
    /// How it is compressed, and its sizes.
    compression: String,
    compressed_size: u64,
    uncompressed_size: u64,
    /// How many bytes of its records are whole, where a record of it is cut.
    readable: Option<u64>,
}

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// A chunk.
    Chunk,
    /// The chunk that the end of the file cuts.
    Torn,
    /// Messages outside of chunks.
    Loose,
}

impl Block {
    /// Returns the blocks of a file that have messages, in its order.
    pub fn of_scan(scan: &Scan) -> Vec<Block> {
        let chunks = scan.chunks.iter().map(|chunk| {
            let counted: Vec<u16> = chunk.counts.keys().copied().collect();
            let indexed: Vec<u16> = chunk.message_index_offsets.keys().copied().collect();
            let read = chunk.verified || chunk.partial || !counted.is_empty();
            Block {
                kind: if chunk.partial { BlockKind::Torn } else { BlockKind::Chunk },
                offset: chunk.offset,
                length: chunk.length,
                start_ns: chunk.start_ns,
                end_ns: chunk.end_ns,
                channels: if read { Some(counted) } else { Some(indexed).filter(|channels| !channels.is_empty()) },
                compression: chunk.compression.clone(),
                compressed_size: chunk.compressed_size,
                uncompressed_size: chunk.uncompressed_size,
                readable: chunk.readable,
            }
        });
        let loose = scan.loose.iter().map(|run| Block {
            kind: BlockKind::Loose,
            offset: run.offset,
            length: run.length,
            start_ns: run.content.start_ns,
            end_ns: run.content.end_ns,
            channels: Some(run.content.counts.keys().copied().collect()),
            compression: String::new(),
            compressed_size: run.length,
            uncompressed_size: run.length,
            readable: None,
        });
        let mut blocks: Vec<Block> =
            chunks.chain(loose).filter(|block| block.channels.as_ref().is_none_or(|channels| !channels.is_empty())).collect();
        blocks.sort_by_key(|block| block.offset);
        blocks
    }

    /// Returns its records, or in words why they cannot be read.
    ///
    /// # Errors
    /// Only what reading the source answers.
    pub fn load(&self, source: &dyn ReadAt, decompressor: &mut Decompressor) -> Result<std::result::Result<Bytes, String>> {
        Ok(self.load_chunk(source, decompressor)?.map(|(records, _)| records))
    }

    /// Returns its records and the chunk that they stand in, or in words why they cannot be read.
    ///
    /// # Errors
    /// Only what reading the source answers.
    pub fn load_chunk(
        &self,
        source: &dyn ReadAt,
        decompressor: &mut Decompressor,
    ) -> Result<std::result::Result<(Bytes, Option<Chunk>), String>> {
        let bytes = Bytes::from(window::read(source, self.offset, self.length)?);
        if self.kind == BlockKind::Loose {
            let whole = bytes.len() as u64 == self.length;
            return Ok(if whole { Ok((bytes, None)) } else { Err("the file became shorter".to_owned()) });
        }
        let Some((header, records)) = split(&bytes) else { return Ok(Err("there is no chunk any more".to_owned())) };
        // What the checksum of the records covers need not agree with the index as well.
        let same = header.compression == self.compression && header.compressed_size == self.compressed_size;
        if !same && header.uncompressed_crc == 0 {
            return Ok(Err("its header is not what its index says".to_owned()));
        }
        let stored = bytes.slice(records..);
        let offset = self.offset + records as u64;
        if self.kind == BlockKind::Torn {
            let chunk = Chunk { offset, length: stored.len() as u64, compression: header.compression.clone() };
            let records = decompress::torn(&header, stored);
            let whole = usize::try_from(self.uncompressed_size).unwrap_or(usize::MAX).min(records.len());
            return Ok(Ok((records.slice(..whole), Some(chunk))));
        }
        if header.uncompressed_size != self.uncompressed_size || (stored.len() as u64) < header.compressed_size {
            return Ok(Err("its sizes are not what its index says".to_owned()));
        }
        let stored = stored.slice(..header.compressed_size as usize);
        let chunk = Chunk { offset, length: header.compressed_size, compression: header.compression.clone() };
        let readable = self.readable.and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX);
        let whole = |records: Bytes| records.slice(..readable.min(records.len()));
        Ok(decompressor.decompress(&header, stored).map(|records| (whole(records), Some(chunk))))
    }

    /// Returns what is lost with it but for the first `readable` bytes of its records, by topic where its message indexes tell.
    ///
    /// # Errors
    /// Only what reading the source answers.
    pub fn losses(
        &self,
        source: &dyn ReadAt,
        scan: &Scan,
        topics: &BTreeMap<u16, Arc<Topic>>,
        why: &str,
        readable: u64,
    ) -> Result<Vec<Loss>> {
        let reason = format!("damaged chunk: {why}, at byte {}", self.offset);
        let entry = scan.chunks.binary_search_by_key(&self.offset, |chunk| chunk.offset).ok().map(|at| scan.chunks[at].to_index());
        let index = entry.unwrap_or_else(|| ChunkIndex {
            header: ChunkHeader {
                start_ns: self.start_ns,
                end_ns: self.end_ns,
                uncompressed_size: self.uncompressed_size,
                uncompressed_crc: 0,
                compression: String::new(),
                compressed_size: self.compressed_size,
            },
            offset: self.offset,
            length: self.length,
            message_index_offsets: Vec::new(),
            message_index_length: 0,
        });
        chunk_losses(source, &index, topics, &reason, readable)
    }
}

/// Returns a chunk's header and where its records begin.
fn split(chunk: &[u8]) -> Option<(ChunkHeader, usize)> {
    let (header, length) = record::parse_chunk_header(chunk.get(PREFIX_LENGTH..)?).ok()?;
    Some((header, PREFIX_LENGTH + length))
}
