//! A stretch of a bag that is read as one: a chunk, or messages outside of chunks.
//!
//! **Invariant:** scanning a stretch and loading it give the same messages.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::connections::{Connections, Known};
use super::content::{self, Damaged, Item};
use super::unpack::{self, Compression, Unpacked};
use crate::container::{Block, Chunk, Place};

/// The channel of a connection that the index of the bag does not have.
const NOBODY: u16 = u16::MAX;

/// Where messages stand.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    /// Where its record begins.
    pub(super) offset: u64,
    /// Where its records end, without the indexes behind it.
    pub(super) end: u64,
    pub(super) body: Body,
    /// What connection ids mean where it begins.
    pub(super) before: Arc<Known>,
    pub(super) content: Content,
}

/// How the messages stand there.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Chunk {
        /// The bytes as stored.
        stored: Range<u64>,
        compression: Compression,
        /// How many bytes it has, by its header.
        size: u32,
    },
    /// In the file itself.
    Loose,
}

/// What a stretch holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// Messages by channel.
    pub(super) counts: BTreeMap<u16, u64>,
    /// Messages of connections that were not defined yet.
    pub(super) unknown: BTreeMap<u32, u64>,
    /// First and last log time.
    pub(super) times: Option<(i64, i64)>,
}

impl Content {
    pub(super) fn count(&mut self, conn: u32, channel: Option<u16>, time_ns: i64) {
        match channel {
            Some(channel) => *self.counts.entry(channel).or_default() += 1,
            None => *self.unknown.entry(conn).or_default() += 1,
        }
        self.times = Some(self.times.map_or((time_ns, time_ns), |(first, last)| (first.min(time_ns), last.max(time_ns))));
    }

    /// Returns how many messages there are.
    pub(super) fn messages(&self) -> u64 {
        self.counts.values().chain(self.unknown.values()).sum()
    }
}

impl Stretch {
    /// Returns where its bytes stand in the file.
    pub(super) fn stored(&self) -> Range<u64> {
        match &self.body {
            Body::Chunk { stored, .. } => stored.clone(),
            Body::Loose => self.offset..self.end,
        }
    }

    /// Returns its records, from its bytes in the file.
    pub(super) fn unpack(&self, stored: Bytes) -> Unpacked {
        match &self.body {
            Body::Chunk { compression, size, .. } => unpack::unpack(compression, stored, *size),
            Body::Loose => Unpacked { bytes: stored, damaged: Damaged::Search, wrong: None },
        }
    }

    /// Appends its messages that `wanted` takes to `places`; returns what it holds, and what of it cannot be read.
    ///
    /// `base` is where its records stand among the bytes that places count in.
    pub(super) fn find(
        &self,
        unpacked: &Unpacked,
        base: u32,
        connections: &Connections,
        places: &mut Vec<Place>,
        wanted: &mut dyn FnMut(u16, i64) -> bool,
    ) -> Found {
        let mut known = self.before.clone();
        let mut messages = 0;
        let mut foreign: BTreeMap<u32, u64> = BTreeMap::new();
        let gaps = content::walk(&unpacked.bytes, unpacked.damaged, |item| match item {
            Item::Message(message) => {
                let channel = known.get(message.conn).or_else(|| connections.first(message.conn));
                let Some(channel) = channel.filter(|channel| *channel != NOBODY) else {
                    *foreign.entry(message.conn).or_default() += 1;
                    return;
                };
                messages += 1;
                if wanted(channel, message.time_ns) {
                    places.push(Place {
                        log_time_ns: message.time_ns,
                        publish_time_ns: message.time_ns,
                        // Chunks have at most 2 GiB, so that both fit.
                        start: base + message.start as u32,
                        length: message.length as u32,
                        sequence: 0,
                        channel,
                    });
                }
            }
            Item::Connection(header, data) => {
                let channel = connections.find(&header, data).unwrap_or(NOBODY);
                if let Some(conn) = header.conn.filter(|conn| known.get(*conn) != Some(channel)) {
                    Arc::make_mut(&mut known).set(conn, channel);
                }
            }
        });
        Found { messages, foreign, gaps }
    }

    /// Returns it as readers see it.
    pub(super) fn to_block(&self) -> Block {
        let (start_ns, end_ns) = self.content.times.unwrap_or_default();
        Block {
            offset: self.offset,
            length: self.end - self.offset,
            start_ns,
            end_ns,
            channels: Some(self.content.counts.keys().copied().collect()),
        }
    }

    /// Returns the chunk that payloads stand in.
    pub(super) fn to_chunk(&self) -> Option<Chunk> {
        match &self.body {
            Body::Chunk { stored, compression, .. } => {
                Some(Chunk { offset: stored.start, length: stored.end - stored.start, compression: compression.name().to_owned() })
            }
            Body::Loose => None,
        }
    }
}

/// What loading a stretch found.
pub(super) struct Found {
    /// Messages of known connections, wanted or not.
    pub(super) messages: u64,
    /// Messages of connections that nothing defines.
    pub(super) foreign: BTreeMap<u32, u64>,
    /// What cannot be read.
    pub(super) gaps: Vec<Range<usize>>,
}
