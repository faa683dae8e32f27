//! Opening a bag in steps: by its index where that agrees with the file, else by reading all of it.
//!
//! **Invariant:** opening by the index reads the first page and what stands behind the chunks, and no chunk.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Bag;
use super::connections::Connections;
use super::loss::{self, ChunkInfo};
use super::record::{self, MAGIC, Parsed, op};
use super::resync;
use super::scan::Scan;
use crate::container::{Block, Container, Index};
use crate::error::{Error, Result};
use crate::mcap::window;
use crate::source::ReadAt;

/// How much of the beginning is read: the bag header with its padding, and the header of the first chunk.
const HEAD: u64 = 8 << 10;

/// How much of the index is read at a time.
const SLAB: u64 = 1 << 20;

/// The largest index that is used.
const INDEX_LIMIT: u64 = 512 << 20;

/// The largest record of the index.
const RECORD_LIMIT: u64 = 16 << 20;

/// How far a file whose first page is damaged is searched for a record.
const SEARCH_LIMIT: u64 = 16 << 20;

/// A bag that is being opened.
///
/// ```
/// # use recording::{import::bag, source::Fed};
/// # fn fetch(_: std::ops::Range<u64>) -> bytes::Bytes { bytes::Bytes::from_static(b"#ROSBAG V2.0\n") }
/// let fed = Fed::new(13);
/// let mut opening = bag::Opening::new();
/// let bag = loop {
///     match opening.step(&fed) {
///         Ok(Some(bag)) => break bag,
///         Ok(None) => {}
///         Err(error) => match fed.take_wanted() {
///             Some(wanted) => fed.feed(wanted.start, fetch(wanted)),
///             None => panic!("{error}"),
///         },
///     }
/// };
/// assert_eq!(bag.index().format, "bag");
/// ```
#[derive(Debug, Default)]
pub struct Opening {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    /// The beginning is no bag's; a record somewhere behind it may show that it is one all the same.
    Search {
        at: u64,
        start: Vec<u8>,
    },
    Index(Box<Reading>),
    Scan(Box<Scan>),
}

/// An index that is being read.
#[derive(Debug)]
struct Reading {
    at: u64,
    end: u64,
    needed: u64,
    head: Head,
    connections: Connections,
    records: u32,
    infos: BTreeMap<u64, ChunkInfo>,
}

/// What the first page says.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    index_at: u64,
    conn_count: Option<u32>,
    chunk_count: Option<u32>,
    /// Where the first record behind the bag header begins, and whether it is a chunk, as far as it was read.
    first: u64,
    first_is_chunk: Option<bool>,
}

impl Opening {
    /// Returns the beginning of an opening.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on; returns the bag once it is understood, `None` where there is more to do.
    ///
    /// # Errors
    /// `Invalid` for what is no bag, or one of another version, or encrypted; else only what reading the source answers.
    pub fn step(&mut self, source: &dyn ReadAt) -> Result<Option<Arc<dyn Container>>> {
        match &mut self.state {
            State::Head => self.state = head(source)?,
            State::Search { at, start } => {
                if let Some(next) = search(source, at, start)? {
                    self.state = next;
                }
            }
            State::Index(reading) => match reading.step(source)? {
                None => {}
                Some(Ok(())) => {
                    let State::Index(reading) = std::mem::take(&mut self.state) else { return Ok(None) };
                    return Ok(Some(Arc::new(reading.finish())));
                }
                Some(Err(why)) => {
                    let mut scan = Scan::new(MAGIC.len() as u64..reading.end, Connections::default(), true);
                    scan.index_at = if reading.at > reading.end { reading.head.index_at } else { 0 };
                    scan.notes.push(format!("{why}: all of the file was read instead"));
                    self.state = State::Scan(Box::new(scan));
                }
            },
            State::Scan(scan) => {
                if scan.step(source)? {
                    let State::Scan(scan) = std::mem::take(&mut self.state) else { return Ok(None) };
                    return Ok(Some(Arc::new(of_scan(*scan))));
                }
            }
        }
        Ok(None)
    }
}

/// Opens a bag.
///
/// # Errors
/// As [`Opening::step`].
pub fn open(source: &dyn ReadAt) -> Result<Arc<dyn Container>> {
    let mut opening = Opening::new();
    loop {
        if let Some(bag) = opening.step(source)? {
            return Ok(bag);
        }
    }
}

/// Reads the first page and decides how to go on.
fn head(source: &dyn ReadAt) -> Result<State> {
    let end = source.len().map_err(|error| Error::io("cannot tell the size of the file", error))?;
    if end == 0 {
        return Err(Error::invalid("an empty file: nothing was recorded in it, or copying it failed"));
    }
    let bytes = window::read(source, 0, HEAD)?;
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        if MAGIC.starts_with(&bytes) {
            return Ok(State::Scan(Box::new(Scan::new(end..end, Connections::default(), true))));
        }
        if let Some(version) = bytes.strip_prefix(b"#ROSBAG V") {
            let version: String = version.iter().take_while(|byte| byte.is_ascii_graphic()).take(8).map(|byte| char::from(*byte)).collect();
            return Err(Error::invalid(format!("a ROS 1 bag of version {version}: only 2.0 can be read (convert it with 'rosbag fix')")));
        }
        return Ok(State::Search { at: 0, start: bytes.into_iter().take(16).collect() });
    };
    let scan = |why: String| {
        let mut scan = Scan::new(MAGIC.len() as u64..end, Connections::default(), true);
        scan.notes.push(why);
        Ok(State::Scan(Box::new(scan)))
    };
    let record = match record::parse(rest) {
        Parsed::Record(record) if record.header.op == op::BAG => record,
        _ => return scan("its bag header is damaged: all of the file was read".to_owned()),
    };
    if record.header.encryptor.is_some_and(|name| !name.is_empty()) {
        let name = record::text(record.header.encryptor.unwrap_or_default());
        return Err(Error::invalid(format!("a ROS 1 bag that is encrypted with '{name}': decrypt it with 'rosbag decrypt' first")));
    }
    let first = MAGIC.len() + record.length();
    let behind = bytes.get(first..).map(record::parse);
    let head = Head {
        index_at: record.header.position.unwrap_or_default(),
        conn_count: record.header.conn_count,
        chunk_count: record.header.chunk_count,
        first: first as u64,
        first_is_chunk: behind.and_then(|parsed| match parsed {
            Parsed::Record(record) => Some(record.header.op == op::CHUNK),
            Parsed::Short(_) => None,
            Parsed::Nothing => Some(false),
        }),
    };
    if head.index_at == 0 {
        return scan("it was never closed and has no index: all of the file was read".to_owned());
    }
    Ok(State::Index(Box::new(Reading {
        at: head.index_at,
        end,
        needed: 0,
        head,
        connections: Connections::default(),
        records: 0,
        infos: BTreeMap::new(),
    })))
}

/// Searches on for a record in a file that does not begin like a bag.
fn search(source: &dyn ReadAt, at: &mut u64, start: &[u8]) -> Result<Option<State>> {
    let end = source.len().map_err(|error| Error::io("cannot tell the size of the file", error))?;
    let bytes = window::read(source, *at, SLAB + resync::SEARCH_HEADER_LIMIT as u64)?;
    let one_of = |record: &record::Record<'_>| matches!(record.header.op, op::CHUNK | op::CONNECTION | op::INDEX | op::BAG);
    if resync::find(&bytes, 0, |_, record| one_of(record)).is_some() {
        let mut scan = Scan::new(0..end, Connections::default(), true);
        scan.notes.push("its first bytes are damaged: all of the file was read".to_owned());
        return Ok(Some(State::Scan(Box::new(scan))));
    }
    *at += SLAB;
    if *at < end.min(SEARCH_LIMIT) {
        return Ok(None);
    }
    let shown: String = start.iter().map(|byte| byte.escape_ascii().to_string()).collect();
    Err(Error::invalid(format!("not a ROS 1 bag: it begins with \"{shown}\" and has no record of a bag")))
}

impl Reading {
    /// Reads on: `Some` once it is clear whether the index can be used.
    fn step(&mut self, source: &dyn ReadAt) -> Result<Option<Result<(), String>>> {
        if self.head.index_at > self.end {
            let (index_at, end) = (self.head.index_at, self.end);
            self.at = index_at;
            return Ok(Some(Err(format!("its index would stand at byte {index_at}, but the file ends at byte {end}"))));
        }
        if self.end - self.head.index_at > INDEX_LIMIT || self.head.index_at < self.head.first {
            return Ok(Some(Err(format!("its header says that the index stands at byte {}", self.head.index_at))));
        }
        let bytes = window::read(source, self.at, SLAB.max(self.needed).min(self.end - self.at))?;
        let mut pos = 0;
        self.needed = 0;
        while pos < bytes.len() {
            let (rest, offset) = (&bytes[pos..], self.at + pos as u64);
            let record = match record::parse(rest) {
                Parsed::Record(record) => record,
                Parsed::Short(needed) if offset + needed as u64 <= self.end => {
                    self.needed = needed as u64;
                    break;
                }
                _ => return Ok(Some(Err(format!("its index is damaged at byte {offset}")))),
            };
            let length = record.length() as u64;
            if offset + length > self.end || length > RECORD_LIMIT {
                return Ok(Some(Err(format!("its index is cut at byte {offset}"))));
            }
            let Some(data) = rest.get(record.data_at..record.length()) else {
                self.needed = length;
                break;
            };
            match record.header.op {
                op::CONNECTION => {
                    self.records += 1;
                    let before = record.header.conn.and_then(|conn| self.connections.first(conn));
                    let channel = self.connections.define(&record.header, data);
                    if channel.is_none() || before.is_some_and(|before| channel != Some(before)) {
                        return Ok(Some(Err(format!("its index defines a connection twice, at byte {offset}"))));
                    }
                }
                op::CHUNK_INFO if record.header.version.is_none_or(|version| version == 1) => {
                    let info = ChunkInfo::parse(&record.header, data).filter(|_| data.len().is_multiple_of(loss::COUNT_ENTRY));
                    let Some((position, info)) = info else { return Ok(Some(Err(format!("its index is damaged at byte {offset}")))) };
                    if self.infos.insert(position, info).is_some() {
                        return Ok(Some(Err(format!("its index names the chunk at byte {position} twice"))));
                    }
                }
                _ => return Ok(Some(Err(format!("its index has something else at byte {offset}")))),
            }
            pos += record.length();
        }
        if self.at + pos as u64 >= self.end {
            return Ok(Some(self.check()));
        }
        self.at += pos as u64;
        Ok(None)
    }

    /// Returns whether the index agrees with itself and with the first page.
    fn check(&self) -> Result<(), String> {
        if self.head.chunk_count.is_some_and(|count| count as usize != self.infos.len()) {
            return Err(format!(
                "its header counts {} chunks and its index {}",
                self.head.chunk_count.unwrap_or_default(),
                self.infos.len()
            ));
        }
        if self.head.conn_count.is_some_and(|count| count != self.records) {
            return Err(format!(
                "its header counts {} connections and its index {}",
                self.head.conn_count.unwrap_or_default(),
                self.records
            ));
        }
        let positions: Vec<u64> = self.infos.keys().copied().collect();
        let elsewhere = positions.last().is_some_and(|last| *last >= self.head.index_at)
            || match positions.first() {
                Some(first) => *first != self.head.first || self.head.first_is_chunk == Some(false),
                None => self.head.first != self.head.index_at,
            };
        if elsewhere {
            return Err("its index points elsewhere".to_owned());
        }
        let ends = positions.iter().skip(1).copied().chain([self.head.index_at]);
        for ((position, info), end) in self.infos.iter().zip(ends) {
            if info.start_ns > info.end_ns && !info.counts.is_empty() || position + info.index_length() >= end {
                return Err(format!("its index contradicts itself for the chunk at byte {position}"));
            }
            if let Some(conn) = info.counts.keys().find(|conn| self.connections.first(**conn).is_none()) {
                return Err(format!("its index does not define connection {conn}"));
            }
        }
        Ok(())
    }

    fn finish(self) -> Bag {
        let channel = |conn: &u32| self.connections.first(*conn);
        let ends = self.infos.keys().skip(1).copied().chain([self.head.index_at]);
        let blocks = self.infos.iter().zip(ends).filter(|((_, info), _)| !info.counts.is_empty()).map(|((position, info), end)| {
            let mut channels: Vec<u16> = info.counts.keys().filter_map(channel).collect();
            channels.sort_unstable();
            channels.dedup();
            Block { offset: *position, length: end - position, start_ns: info.start_ns, end_ns: info.end_ns, channels: Some(channels) }
        });
        let blocks = blocks.collect();
        let index = Index { format: "bag", topics: self.connections.topics.clone(), blocks, ..Index::default() };
        let mut connections = self.connections;
        connections.indexed = true;
        Bag::indexed(index, connections, self.infos, self.head.first..self.end)
    }
}

/// Returns the bag that a scan found.
fn of_scan(scan: Scan) -> Bag {
    let (losses, more) = scan.losses(&(0..u64::MAX));
    let stretches: Vec<_> = scan.stretches.into_iter().filter(|stretch| !stretch.content.counts.is_empty()).collect();
    let index = Index {
        format: "bag",
        topics: scan.connections.topics.clone(),
        blocks: stretches.iter().map(super::stretch::Stretch::to_block).collect(),
        losses,
        notes: scan.notes.into_iter().chain(more).collect(),
        // What was closed and is whole is opened by its index.
        is_open: true,
        ..Index::default()
    };
    Bag::scanned(index, scan.connections, stretches)
}
