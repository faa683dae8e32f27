//! The face that every kind of file shows to readers: topics, blocks of messages, what is lost.
//!
//! In comes a source of bytes, out comes an [`Index`], and later the messages of one block after the other.
//!
//! **Invariant:** an index is made once and never changes; whatever a block turns out to be when it is loaded is checked again.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Result;
use crate::loss::Loss;
use crate::message::Topic;
use crate::source::ReadAt;

/// A file that was understood as a whole.
///
/// Implementations hold an [`Index`] and what they need to find a block again, but no open file: a recording can have 20,000.
pub trait Container: Send + Sync + fmt::Debug {
    /// Returns what the file holds.
    fn index(&self) -> &Index;

    /// Reads a block of [`Index::blocks`] from the file and returns those of its messages that `wanted` (by channel and log time)
    /// takes, in the order of the file; or, in words, why it cannot be read.
    ///
    /// # Errors
    /// Only what reading the source answers.
    fn load(
        &self,
        source: &dyn ReadAt,
        block: usize,
        wanted: &mut dyn FnMut(u16, i64) -> bool,
    ) -> Result<std::result::Result<Loaded, String>>;

    /// Returns messages by channel, where the file says it without being read; damage may have taken some of them.
    fn counts(&self) -> Option<&BTreeMap<u16, u64>> {
        None
    }

    /// Returns whether the lengths of blocks are bytes of the file, and those of a block hold its channels.
    fn has_byte_ranges(&self) -> bool {
        true
    }

    /// Returns what is lost with a block that cannot be read, for the reason `why`.
    ///
    /// # Errors
    /// Only what reading the source answers.
    fn losses(&self, _source: &dyn ReadAt, block: usize, why: &str) -> Result<Vec<Loss>> {
        let index = self.index();
        let Some(block) = index.blocks.get(block) else { return Ok(Vec::new()) };
        let only = block.channels.as_ref().and_then(|channels| <[u16; 1]>::try_from(channels.as_slice()).ok());
        let topic = only.and_then(|[channel]| index.topics.get(&channel)).map(|topic| topic.name.clone());
        let (start_ns, end_ns) = (Some(block.start_ns), Some(block.end_ns));
        let reason = format!("damaged block: {why}, {} bytes at byte {}", block.length, block.offset);
        Ok(vec![Loss { topic, start_ns, end_ns, messages: None, bytes: None, reason }])
    }

    /// Returns where the payload of a message of a loaded block stands; `None` where the format has no byte ranges.
    ///
    /// Where payloads stand in no chunk, [`Loaded::bytes`] begin where the block does.
    fn location(&self, block: &Block, chunk: Option<&Chunk>, place: &Place) -> Option<Location> {
        let start = if chunk.is_some() { 0 } else { block.offset };
        self.has_byte_ranges().then(|| Location {
            offset: start + u64::from(place.start),
            length: u64::from(place.length),
            chunk: chunk.cloned(),
        })
    }
}

/// What a file holds and where.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// What kind of file it is: `mcap`, `bag`, `db3`, `ulog`, `drec`, `lerobot`.
    pub format: &'static str,
    /// Topics by channel: a number of this file.
    pub topics: BTreeMap<u16, Arc<Topic>>,
    /// Stretches of the file that are read as one, in its order. Each holds up to a few megabytes.
    pub blocks: Vec<Block>,
    /// What cannot be read, and what the recorder said that it lost.
    pub losses: Vec<Loss>,
    /// Those of the losses that the recorder told of: the file itself is whole there.
    pub told_losses: Vec<Loss>,
    /// Whether it has no end, or a damaged one.
    pub is_open: bool,
    /// What a reader should know and what is no loss, e.g. that the index was damaged and all of the file was read.
    pub notes: Vec<String>,
    /// What else the file says of itself, by name: MCAP's metadata records, ULog's info messages and parameters.
    pub metadata: Vec<(String, BTreeMap<String, String>)>,
}

/// A stretch of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// Where it begins; for formats without byte ranges a number that grows.
    pub offset: u64,
    /// How many bytes of the file it takes.
    pub length: u64,
    /// First log time; ns UTC.
    pub start_ns: i64,
    /// Last log time, included; ns UTC.
    pub end_ns: i64,
    /// The channels that have messages in it, in order; `None` where nobody knows.
    pub channels: Option<Vec<u16>>,
}

/// The messages of a block.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Bytes that payloads stand in.
    pub bytes: Bytes,
    /// Messages, in the order of the file.
    pub places: Vec<Place>,
    /// What of the block could not be read after all.
    pub losses: Vec<Loss>,
    /// The chunk that the payloads stand in; `None` where they stand in the file itself, or the format has no byte ranges.
    pub chunk: Option<Chunk>,
}

/// A message in the bytes of its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// When it was recorded; ns UTC.
    pub log_time_ns: i64,
    /// When it was published; ns UTC.
    pub publish_time_ns: i64,
    /// Where its payload begins.
    pub start: u32,
    /// How long its payload is.
    pub length: u32,
    /// The writer's counter, or 0.
    pub sequence: u32,
    /// The channel.
    pub channel: u16,
}

/// The compressed stretch of a file that messages stand in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where the stored (compressed) bytes begin.
    pub offset: u64,
    /// How many there are.
    pub length: u64,
    /// How they are compressed: `zstd`, `lz4`, `bz2`; empty for not at all.
    pub compression: String,
}

/// Where the payload of a message stands: what a catalog stores to read it later by byte range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Where it begins: in the file, or in the uncompressed bytes of `chunk`.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
    /// The chunk it stands in.
    pub chunk: Option<Chunk>,
}

impl Place {
    /// Returns where its payload stands in [`Loaded::bytes`].
    #[inline]
    pub fn payload(&self) -> Range<usize> {
        self.start as usize..self.start as usize + self.length as usize
    }
}
