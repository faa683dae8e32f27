//! ROS 1 bags, version 2.0: by their index where it agrees with the file, else front to back, whatever is damaged.
//!
//! `record` and `content` take bytes apart, `unpack` decompresses, `scan` and `resync` find what an index does not tell.
//!
//! **Invariant:** only a failing source, or something that is no bag at all, is an error.

mod blocks;
mod connections;
mod content;
mod loss;
mod lz4;
mod opening;
mod record;
mod resync;
mod scan;
mod stretch;
mod unpack;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;

use bytes::{Bytes, BytesMut};

use self::connections::Connections;
use self::loss::ChunkInfo;
pub use self::opening::{Opening, open};
pub use self::record::MAGIC;
use self::record::{Parsed, op};
use self::scan::Scan;
use self::stretch::{Body, Content, Found, Stretch};
use self::unpack::{Compression, UNPACKED_LIMIT};
use crate::container::{Block, Chunk, Container, Index, Loaded, Place};
use crate::error::Result;
use crate::loss::Loss;
use crate::mcap::window;
use crate::source::ReadAt;

/// How much of a chunk is read to find its header.
const CHUNK_HEADER: u64 = 4 << 10;

/// How much is read to see whether only indexes stand behind a chunk.
const INDEXES_LIMIT: u64 = 16 << 20;

/// A bag that was understood.
#[derive(Debug)]
struct Bag {
    index: Index,
    connections: Connections,
    from: From,
}

/// Where its blocks are known from.
#[derive(Debug)]
enum From {
    /// Its index; nothing of the chunks was seen yet.
    Index {
        infos: BTreeMap<u64, ChunkInfo>,
        /// Where the chunks and everything behind them stand.
        range: Range<u64>,
        /// A scan of all of that, once the index turned out to point elsewhere.
        scan: Mutex<Option<Box<Scan>>>,
    },
    /// A scan, which has told already what is lost.
    Scan(Vec<Stretch>),
}

impl Bag {
    fn indexed(index: Index, connections: Connections, infos: BTreeMap<u64, ChunkInfo>, range: Range<u64>) -> Self {
        Self { index, connections, from: From::Index { infos, range, scan: Mutex::default() } }
    }

    fn scanned(index: Index, connections: Connections, stretches: Vec<Stretch>) -> Self {
        Self { index, connections, from: From::Scan(stretches) }
    }

    /// Reads a chunk where the index says that it is; `None` where it is not exactly that, and whole.
    fn chunk(
        &self,
        source: &dyn ReadAt,
        block: &Block,
        info: &ChunkInfo,
        wanted: &mut dyn FnMut(u16, i64) -> bool,
    ) -> Result<Option<Loaded>> {
        let end = block.offset + block.length;
        let head = window::read(source, block.offset, CHUNK_HEADER.min(block.length))?;
        let Parsed::Record(record) = record::parse(&head) else { return Ok(None) };
        let stored = block.offset + record.data_at as u64..block.offset + record.length() as u64;
        let size = record.header.size.unwrap_or_default();
        if record.header.op != op::CHUNK || stored.end > end || u64::from(size) > UNPACKED_LIMIT {
            return Ok(None);
        }
        let bytes: Bytes = match head.get(record.data_at..record.length()) {
            Some(data) => Bytes::copy_from_slice(data),
            None => window::read(source, stored.start, stored.end - stored.start)?.into(),
        };
        let whole = bytes.len() as u64 == stored.end - stored.start;
        if !whole || (stored.end + info.index_length() != end && !only_indexes(source, stored.end, end)?) {
            return Ok(None);
        }
        let stretch = Stretch {
            offset: block.offset,
            end: stored.end,
            body: Body::Chunk { stored, compression: Compression::parse(record.header.compression.unwrap_or_default()), size },
            before: self.connections.now(),
            content: Content::default(),
        };
        let unpacked = stretch.unpack(bytes);
        let mut places = Vec::new();
        let expected: u64 = info.counts.values().sum();
        let Found { messages, foreign, gaps } = stretch.find(&unpacked, 0, &self.connections, &mut places, wanted);
        if unpacked.wrong.is_some() || !gaps.is_empty() || !foreign.is_empty() || messages != expected {
            return Ok(None);
        }
        Ok(Some(Loaded { bytes: unpacked.bytes, places, losses: Vec::new(), chunk: stretch.to_chunk() }))
    }

    /// Reads what there is between a chunk's place, as its index says, and the next one's.
    fn salvage(&self, source: &dyn ReadAt, block: &Block, info: &ChunkInfo, wanted: &mut dyn FnMut(u16, i64) -> bool) -> Result<Loaded> {
        let From::Index { infos, range, scan } = &self.from else { return Ok(Loaded::default()) };
        let end = block.offset + block.length;
        if self.begins_chunk(source, block.offset)? && self.begins_chunk(source, end)? {
            let mut scan = Scan::new(block.offset..end, self.connections.clone(), false);
            scan.infos.insert(block.offset, info.clone());
            while !scan.step(source)? {}
            return self.salvaged(source, block, info, &scan, wanted);
        }
        // Chunks may stand across the places that the index has, so that only all of them tell where each one is.
        let mut scan = scan.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let scan = scan.get_or_insert_with(|| {
            let mut scan = Scan::new(range.clone(), self.connections.clone(), false);
            scan.infos.clone_from(infos);
            Box::new(scan)
        });
        while !scan.step(source)? {}
        self.salvaged(source, block, info, scan, wanted)
    }

    /// Returns whether a chunk begins at a byte, or what stands behind the last one.
    fn begins_chunk(&self, source: &dyn ReadAt, at: u64) -> Result<bool> {
        let head = window::read(source, at, CHUNK_HEADER)?;
        Ok(matches!(record::parse(&head), Parsed::Record(record) if matches!(record.header.op, op::CHUNK | op::CONNECTION)))
    }

    fn salvaged(
        &self,
        source: &dyn ReadAt,
        block: &Block,
        info: &ChunkInfo,
        scan: &Scan,
        wanted: &mut dyn FnMut(u16, i64) -> bool,
    ) -> Result<Loaded> {
        let range = block.offset..block.offset + block.length;
        let (mut losses, _) = scan.losses(&range);
        let stretches = || scan.stretches.iter().filter(|stretch| range.contains(&stretch.offset));
        let mut foreign: BTreeMap<String, u64> = BTreeMap::new();
        for stretch in stretches() {
            for (channel, count) in stretch.content.counts.iter().filter(|(channel, _)| !self.index.topics.contains_key(channel)) {
                let name = scan.connections.topics.get(channel).map(|topic| topic.name.clone());
                *foreign.entry(name.unwrap_or_default()).or_default() += count;
            }
        }
        let read: u64 = stretches().flat_map(|stretch| stretch.content.counts.values()).sum();
        let expected: u64 = info.counts.values().sum();
        let told: u64 = losses.iter().filter_map(|loss| loss.messages).sum();
        if losses.iter().all(|loss| loss.messages.is_some()) && read + told < expected {
            let reason = format!("the index counts {expected} messages in the chunk at byte {}", block.offset);
            losses.push(lost(None, block, expected - read - told, reason));
        }
        let within = |stretch: &Stretch| {
            let content = &stretch.content;
            let known = content.counts.keys().all(|channel| block.channels.as_ref().is_none_or(|channels| channels.contains(channel)));
            known && content.times.is_none_or(|(first, last)| block.start_ns <= first && last <= block.end_ns)
        };
        if !stretches().all(within) {
            let reason = format!("the index points elsewhere: at byte {} is what belongs to other times or topics", block.offset);
            losses.push(lost(None, block, 0, reason));
        }
        for (name, count) in foreign {
            let reason = format!("the index does not have this connection, the chunk at byte {} does", block.offset);
            losses.push(lost(Some(name), block, count, reason));
        }
        let mut all = BytesMut::new();
        let mut places = Vec::new();
        let mut chunks = Vec::new();
        for stretch in stretches() {
            let range = stretch.stored();
            let stored = window::read(source, range.start, range.end - range.start)?;
            let unpacked = stretch.unpack(stored.into());
            if (all.len() + unpacked.bytes.len()) as u64 > UNPACKED_LIMIT {
                losses.push(lost(None, block, stretch.content.messages(), format!("more than {UNPACKED_LIMIT} bytes in one chunk")));
                continue;
            }
            let mut known = |channel: u16, time_ns: i64| self.index.topics.contains_key(&channel) && wanted(channel, time_ns);
            stretch.find(&unpacked, all.len() as u32, &scan.connections, &mut places, &mut known);
            all.extend_from_slice(&unpacked.bytes);
            chunks.push(stretch.to_chunk());
        }
        let chunk = match chunks.as_mut_slice() {
            [one @ Some(_)] => one.take(),
            // Messages of several chunks, or of none, have no place in one.
            _ => Some(Chunk { offset: block.offset, length: block.length, compression: "damaged".to_owned() }),
        };
        Ok(Loaded { bytes: all.freeze(), places, losses, chunk })
    }
}

impl Container for Bag {
    fn index(&self) -> &Index {
        &self.index
    }

    fn load(
        &self,
        source: &dyn ReadAt,
        block: usize,
        wanted: &mut dyn FnMut(u16, i64) -> bool,
    ) -> Result<std::result::Result<Loaded, String>> {
        let Some(place) = self.index.blocks.get(block) else { return Ok(Err(format!("there is no block {block}"))) };
        match &self.from {
            From::Index { infos, .. } => {
                let Some(info) = infos.get(&place.offset) else { return Ok(Err("its index has no such chunk".to_owned())) };
                let loaded = match self.chunk(source, place, info, wanted)? {
                    Some(loaded) => loaded,
                    None => self.salvage(source, place, info, wanted)?,
                };
                Ok(Ok(loaded))
            }
            From::Scan(stretches) => {
                let Some(stretch) = stretches.get(block) else { return Ok(Err(format!("there is no block {block}"))) };
                let range = stretch.stored();
                let stored = window::read(source, range.start, range.end - range.start)?;
                if (stored.len() as u64) < range.end - range.start {
                    return Ok(Err("the file became shorter".to_owned()));
                }
                let unpacked = stretch.unpack(stored.into());
                let mut places: Vec<Place> = Vec::new();
                let found = stretch.find(&unpacked, 0, &self.connections, &mut places, wanted);
                let expected: u64 = stretch.content.counts.values().sum();
                let missing = expected.saturating_sub(found.messages);
                let losses = (missing > 0).then(|| lost(None, place, missing, "the file changed".to_owned())).into_iter().collect();
                Ok(Ok(Loaded { bytes: unpacked.bytes, places, losses, chunk: stretch.to_chunk() }))
            }
        }
    }
}

fn lost(topic: Option<String>, block: &Block, messages: u64, reason: String) -> Loss {
    Loss { topic, start_ns: Some(block.start_ns), end_ns: Some(block.end_ns), messages: Some(messages), bytes: None, reason }
}

/// Returns whether nothing but indexes stands in a range.
fn only_indexes(source: &dyn ReadAt, from: u64, to: u64) -> Result<bool> {
    if to - from > INDEXES_LIMIT {
        return Ok(false);
    }
    let bytes = window::read(source, from, to - from)?;
    let mut at = 0;
    while at < bytes.len() {
        match record::parse(&bytes[at..]) {
            Parsed::Record(record) if record.header.op == op::INDEX && record.length() <= bytes.len() - at => at += record.length(),
            _ => return Ok(false),
        }
    }
    Ok(true)
}
