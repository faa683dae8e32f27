//! Reading a bag front to back: every record that can be read, and a list of what cannot.
//!
//! Each step reads one stretch of the file: up to [`SLAB`], or one chunk.
//!
//! **Invariant:** a step that fails has changed nothing; damage never ends a scan, and each byte is looked at a bounded number of times.

mod chunk;

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use self::chunk::Torn;
use super::connections::Connections;
use super::content::{self, Message};
use super::loss::{self, Broken, ChunkInfo, Damage};
use super::record::{self, Header, MAGIC, Parsed, Record, op};
use super::resync;
use super::stretch::{Body, Content, Stretch};
use crate::error::Result;
use crate::loss::Loss;
use crate::mcap::window;
use crate::source::ReadAt;

/// How much of a file a step reads where nothing larger stands there.
const SLAB: u64 = 1 << 20;

/// How much of what was searched is searched again with what follows.
const OVERLAP: u64 = resync::SEARCH_HEADER_LIMIT as u64;

/// The largest record that is neither a chunk nor a message.
const DEFINITION_LIMIT: u64 = 16 << 20;

/// How much may be read in vain, besides once the file.
const EFFORT: u64 = 64 << 20;

/// How much of a file shows whether a record begins there.
const PROBE: u64 = 4 << 10;

/// A scan on its way.
#[derive(Debug)]
pub(super) struct Scan {
    at: u64,
    end: u64,
    /// How much the next step must see at once.
    needed: u64,
    doing: Doing,
    pub(super) connections: Connections,
    pub(super) stretches: Vec<Stretch>,
    pub(super) damages: Vec<Damage>,
    pub(super) infos: BTreeMap<u64, ChunkInfo>,
    /// Damaged chunks; the indexes behind the last one may still tell what it lost.
    pub(super) broken: Vec<Broken>,
    open: bool,
    /// Where the bag header says that the indexes at the end begin.
    pub(super) index_at: u64,
    pub(super) notes: Vec<String>,
    /// Whether it covers a whole file.
    pub(super) whole: bool,
    /// How much may still be read in vain, so that a hostile file, in which a chunk seems to begin everywhere, does not keep a
    /// reader busy for ever.
    effort: u64,
}

#[derive(Clone, Debug)]
enum Doing {
    Records,
    /// The damage that began at this byte has no end yet.
    Search(u64),
    /// The compressed chunk that begins here has no end yet.
    ChunkEnd(Torn),
}

impl Scan {
    /// Returns a scan of a range of a file.
    pub(super) fn new(range: Range<u64>, connections: Connections, whole: bool) -> Self {
        Self {
            at: range.start,
            end: range.end,
            needed: 0,
            doing: Doing::Records,
            connections,
            stretches: Vec::new(),
            damages: Vec::new(),
            infos: BTreeMap::new(),
            broken: Vec::new(),
            open: false,
            index_at: 0,
            notes: Vec::new(),
            whole,
            effort: EFFORT + (range.end - range.start),
        }
    }

    /// Reads on; returns whether the end is reached.
    ///
    /// # Errors
    /// Only what reading the source answers.
    pub(super) fn step(&mut self, source: &dyn ReadAt) -> Result<bool> {
        if self.at >= self.end {
            return Ok(true);
        }
        let length = (SLAB + OVERLAP).max(self.needed).min(self.end - self.at);
        let bytes = Bytes::from(window::read(source, self.at, length)?);
        if (bytes.len() as u64) < length {
            // The file became shorter.
            self.end = self.at + bytes.len() as u64;
        }
        let base = self.at;
        let mut more = true;
        while more && self.at < self.end && self.at - base < bytes.len() as u64 {
            let rest = bytes.slice((self.at - base) as usize..);
            more = match self.doing.clone() {
                Doing::Records => self.records(source, &rest)?,
                Doing::Search(from) => self.search(from, &rest),
                Doing::ChunkEnd(torn) => self.chunk_end(source, torn, &rest)?,
            };
        }
        if self.at >= self.end {
            self.finish();
        }
        Ok(self.at >= self.end)
    }

    fn finish(&mut self) {
        if let Doing::Search(from) = self.doing {
            self.damages.push(Damage { from, to: self.end });
        }
        self.doing = Doing::Records;
        let Self { stretches, connections, notes, whole, .. } = self;
        for stretch in stretches {
            for (conn, count) in std::mem::take(&mut stretch.content.unknown) {
                let channel = match connections.first(conn) {
                    None if *whole => connections.adopt(conn).map(|(channel, name)| {
                        notes.push(format!("nothing in the file says what connection {conn} is: its messages are '{name}'"));
                        channel
                    }),
                    known => known,
                };
                match channel {
                    Some(channel) => *stretch.content.counts.entry(channel).or_default() += count,
                    None => *stretch.content.unknown.entry(conn).or_default() += count,
                }
            }
        }
    }

    /// Returns what is lost of a range, once the end is reached, and what else is to be said.
    pub(super) fn losses(&self, range: &Range<u64>) -> (Vec<Loss>, Vec<String>) {
        loss::of_scan(self, range, self.end)
    }

    /// Reads records from `bytes`, which begin at `self.at`; returns whether it can go on with what is left of them.
    fn records(&mut self, source: &dyn ReadAt, bytes: &Bytes) -> Result<bool> {
        let base = self.at;
        let mut pos = 0;
        let mut last: Option<Message> = None;
        // The record in front, if it is no message: where it begins, and its data.
        let mut definition: Option<(usize, usize)> = None;
        self.needed = 0;
        while pos < bytes.len() {
            let rest = &bytes[pos..];
            let offset = base + pos as u64;
            let parsed = record::parse(rest);
            let record = match &parsed {
                Parsed::Record(record) if self.believed(offset, record) => record,
                Parsed::Short(needed) if offset + *needed as u64 <= self.end => {
                    self.needed = *needed as u64;
                    break;
                }
                _ if rest.starts_with(MAGIC) => {
                    pos += MAGIC.len();
                    self.notes.push(format!("another bag begins at byte {offset}"));
                    last = None;
                    continue;
                }
                _ => {
                    let mut behind = content::behind(bytes, pos, last, parsed != Parsed::Nothing);
                    if let Some((at, data_at)) = definition {
                        let near = &bytes[..bytes.len().min(pos + resync::SEARCH_HEADER_LIMIT)];
                        let inside = resync::find(near, data_at, |start, record| self.believed(base + start as u64, record));
                        if let Some(inside) = inside.filter(|inside| *inside < pos) {
                            (behind.from, behind.search) = (at, inside);
                        }
                    }
                    if last.is_some() && behind.kept.is_none() {
                        self.take_back(base, last);
                    }
                    self.doing = Doing::Search(base + behind.from as u64);
                    self.open = false;
                    self.at = base + behind.search as u64;
                    return Ok(true);
                }
            };
            let (header, length) = (record.header, record.length());
            definition = (header.op != op::MESSAGE).then_some((pos, pos + record.data_at));
            let here = rest.get(record.data_at..length);
            match header.op {
                op::CHUNK => {
                    if pos > 0 && rest.get(..length + PROBE as usize).is_none() && offset + (length as u64) < self.end {
                        break;
                    }
                    self.at = offset;
                    self.open = false;
                    self.chunk(source, record, &bytes.slice(pos..))?;
                    return Ok(true);
                }
                op::MESSAGE if here.is_none() && pos > 0 => break,
                op::MESSAGE => {
                    if here.is_none() && !begins(source, offset + length as u64, self.end)? {
                        self.doing = Doing::Search(offset);
                        self.at = offset + 1;
                        return Ok(true);
                    }
                    self.loose(offset, record);
                    last = here.and(header.conn.zip(header.time_ns)).map(|(conn, time_ns)| Message {
                        at: pos,
                        conn,
                        time_ns,
                        start: pos + record.data_at,
                        length: record.data_length,
                    });
                    self.open = false;
                }
                op::BAG => {
                    // Its data fills a page; where some of it is missing, its length is wrong.
                    let filling = rest[record.data_at..].iter().take(record.data_length).take_while(|byte| **byte == b' ').count();
                    pos += record.data_at + filling;
                    (last, self.open) = (None, false);
                    continue;
                }
                op::INDEX if !self.open || length as u64 > DEFINITION_LIMIT => last = None,
                _ => {
                    let Some(data) = here else {
                        self.needed = length as u64;
                        break;
                    };
                    last = None;
                    self.definition(&header, data);
                }
            }
            pos += length;
        }
        self.at = base + pos as u64;
        Ok(false)
    }

    /// Returns whether a record can stand outside of chunks at `offset`.
    fn believed(&self, offset: u64, record: &Record<'_>) -> bool {
        let length = record.data_length as u64;
        let inside = offset + (record.length() as u64) <= self.end;
        let each = |size: u64| record.header.count.is_some_and(|count| u64::from(count) * size == length);
        match record.header.op {
            op::CHUNK => true,
            op::MESSAGE => inside,
            op::INDEX => inside && each(loss::INDEX_ENTRY as u64),
            op::CHUNK_INFO => inside && each(loss::COUNT_ENTRY as u64),
            _ => inside && length <= DEFINITION_LIMIT,
        }
    }

    /// Takes a record that is neither a chunk nor a message.
    fn definition(&mut self, header: &Header<'_>, data: &[u8]) {
        match header.op {
            op::CONNECTION => {
                self.connections.define(header, data);
                self.open = false;
            }
            op::INDEX => {
                if let Some(broken) = self.broken.last_mut().filter(|_| self.open) {
                    broken.take_index(header, data);
                }
            }
            op::CHUNK_INFO => {
                if let Some((position, info)) = ChunkInfo::parse(header, data) {
                    self.infos.insert(position, info);
                }
                self.open = false;
            }
            _ => self.open = false,
        }
    }

    fn loose(&mut self, offset: u64, record: &Record<'_>) {
        let (Some(conn), Some(time_ns)) = (record.header.conn, record.header.time_ns) else { return };
        let channel = self.connections.now().get(conn);
        let end = offset + record.length() as u64;
        let continued = self.stretches.last_mut().filter(|last| {
            // A definition in between may change what ids mean.
            matches!(last.body, Body::Loose) && last.end == offset && end - last.offset <= SLAB
        });
        match continued {
            Some(stretch) => {
                stretch.end = end;
                stretch.content.count(conn, channel, time_ns);
            }
            None => {
                let mut content = Content::default();
                content.count(conn, channel, time_ns);
                self.stretches.push(Stretch { offset, end, body: Body::Loose, before: self.connections.now(), content });
            }
        }
    }

    /// Takes back the message in front of damage, which does not end well.
    fn take_back(&mut self, base: u64, message: Option<Message>) {
        let (Some(message), Some(stretch)) = (message, self.stretches.last_mut()) else { return };
        stretch.end = base + message.at as u64;
        let channel = self.connections.now().get(message.conn);
        let count = match channel {
            Some(channel) => stretch.content.counts.get_mut(&channel),
            None => stretch.content.unknown.get_mut(&message.conn),
        };
        if let Some(count) = count {
            *count -= 1;
        }
        stretch.content.counts.retain(|_, count| *count > 0);
        stretch.content.unknown.retain(|_, count| *count > 0);
        if stretch.content.messages() == 0 {
            self.stretches.pop();
        }
    }

    /// Searches `bytes` for the end of damage; returns whether it was found.
    fn search(&mut self, from: u64, bytes: &Bytes) -> bool {
        let base = self.at;
        match resync::find(bytes, 0, |at, record| self.believed(base + at as u64, record)) {
            Some(at) => {
                self.damages.push(Damage { from, to: base + at as u64 });
                self.at = base + at as u64;
                self.doing = Doing::Records;
                true
            }
            None if base + bytes.len() as u64 >= self.end => {
                self.at = self.end;
                false
            }
            None => {
                self.at += (bytes.len() as u64).saturating_sub(OVERLAP).max(1);
                false
            }
        }
    }
}

/// Returns whether a record seems to begin at a byte, or the file ends there.
pub(super) fn begins(source: &dyn ReadAt, at: u64, end: u64) -> Result<bool> {
    if at >= end {
        return Ok(at == end);
    }
    let bytes = window::read(source, at, PROBE.min(end - at))?;
    Ok(bytes.starts_with(MAGIC) || matches!(record::parse(&bytes), Parsed::Record(_)))
}
