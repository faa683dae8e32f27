//! The messages of one block in order, and the order among blocks.
//!
//! **Invariant:** keys never repeat, so that the order of messages is the same each time.

use std::cmp::Ordering;
use std::sync::Arc;

use bytes::Bytes;

use super::cache::{Pass, Whole};
use super::request::Table;
use super::unit::{Content, Role};
use crate::container::{Block, Chunk, Loaded, Location, Place};
use crate::error::Result;
use crate::loss::Loss;
use crate::mcap::decompress::Decompressor;
use crate::message::{Identity, Message};
use crate::source::ReadAt;

/// A file that messages are read from.
pub(super) struct OpenUnit {
    pub(super) source: Arc<dyn ReadAt>,
    pub(super) content: Arc<Content>,
    pub(super) table: Table,
    pub(super) role: Role,
    /// Its place among the files.
    pub(super) number: usize,
    pub(super) latched: bool,
    pub(super) latched_before_ns: Option<i64>,
}

/// Where a message stands in the order of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) time_ns: i64,
    boot: u64,
    sequence: u64,
    rank: u64,
    unit: usize,
    block: usize,
    place: usize,
}

/// The rest of a block's messages.
pub(super) struct Cursor {
    pub(super) key: Key,
    messages: Messages,
    next: usize,
}

enum Messages {
    Stored(Stored),
    /// In memory: latched values.
    Ready(Vec<Message>),
}

/// Messages of a file's block, in order.
struct Stored {
    unit: Arc<OpenUnit>,
    bytes: Bytes,
    places: Vec<Place>,
    /// Where each payload stands in `bytes`, where only these were kept of the block.
    kept: Option<Vec<u32>>,
    chunk: Option<Chunk>,
    block: usize,
    /// How many of the block's messages come before these.
    skipped: usize,
}

/// What loading a block gave.
pub(super) struct LoadedBlock {
    pub(super) cursor: Option<Cursor>,
    pub(super) losses: Vec<Loss>,
    /// Where the rest of the block begins that was left out to spare memory: how many messages to skip, and when it begins.
    pub(super) rest: Option<(usize, i64)>,
}

/// Which part of a block is wanted.
#[derive(Clone, Copy)]
pub(super) struct Portion {
    /// How many messages were read before.
    pub(super) skip: usize,
    /// How many bytes may stay in memory; a block that has no more stays as it is.
    pub(super) limit: usize,
}

impl OpenUnit {
    fn identity(&self, sequence: u32) -> Option<Identity> {
        let (boot, first) = self.content.identity?;
        // The field has the low 32 bits of a number that is near the first one, before or behind it.
        let distance = sequence.wrapping_sub(first as u32) as i32;
        Some(Identity { boot, append_sequence: first.wrapping_add_signed(i64::from(distance)) })
    }

    fn shift(&self, time_ns: i64) -> i64 {
        time_ns.saturating_add(self.role.correction_ns)
    }

    /// Returns whether a block holds more than is wanted of it, which another pass may want.
    fn is_worth_keeping(&self, block: usize) -> bool {
        let channels = self.content.index().blocks.get(block).and_then(|block| block.channels.as_ref());
        let is_mixed = channels.is_none_or(|channels| channels.len() > 1);
        is_mixed && self.table.is_partial() && self.content.stored.container().has_byte_ranges()
    }

    /// Reads what is wanted of a block, from what other passes left where they did.
    fn read(&self, block: usize, decompressor: &mut Decompressor, pass: Option<&mut Pass>) -> Result<std::result::Result<Loaded, String>> {
        let wanted = |channel: u16, time_ns: i64| self.table.wants(channel, self.shift(time_ns));
        let load = |decompressor: &mut Decompressor| self.content.stored.load(&*self.source, block, decompressor, wanted);
        let Some(pass) = pass.filter(|_| self.is_worth_keeping(block)) else { return load(decompressor) };
        let whole = match pass.get(self.number, block) {
            Some(whole) => whole,
            None if !pass.has_room() => return load(decompressor),
            None => match self.content.stored.load(&*self.source, block, decompressor, |_, _| true)? {
                Err(why) => return Ok(Err(why)),
                Ok(loaded) => {
                    let whole = Arc::new(Whole::new(loaded));
                    pass.add(self.number, block, &whole);
                    whole
                }
            },
        };
        let is_wanted = |channel| self.table.takes(channel, i64::MIN, i64::MAX);
        Ok(Ok(whole.part(is_wanted, |place| wanted(place.channel, place.log_time_ns))))
    }

    /// Unpacks a block for other passes, where they would not do so better.
    pub(super) fn unpack(&self, block: usize, pass: &mut Pass, decompressor: &mut Decompressor) {
        if !self.is_worth_keeping(block) {
            return;
        }
        if let Ok(Ok(loaded)) = self.content.stored.load(&*self.source, block, decompressor, |_, _| true) {
            pass.add(self.number, block, &Arc::new(Whole::new(loaded)));
        }
    }

    /// Returns when a block begins and ends, corrected.
    pub(super) fn times_ns(&self, block: &Block) -> (i64, i64) {
        (self.shift(block.start_ns), self.shift(block.end_ns))
    }
}

impl Cursor {
    /// Loads a block. `Ok(Err(why))` says that it is damaged.
    pub(super) fn load(
        unit: &Arc<OpenUnit>,
        block: usize,
        portion: Portion,
        decompressor: &mut Decompressor,
        pass: Option<&mut Pass>,
    ) -> Result<std::result::Result<LoadedBlock, String>> {
        let loaded = match unit.read(block, decompressor, pass)? {
            Ok(loaded) => loaded,
            Err(why) => return Ok(Err(why)),
        };
        let Loaded { bytes, mut places, losses, chunk } = loaded;
        let by_sequence = unit.content.identity.is_some();
        let order = |place: &Place| (place.log_time_ns, if by_sequence { unit.identity(place.sequence) } else { None });
        if !places.is_sorted_by_key(order) {
            places.sort_by_cached_key(order);
        }
        let mut stored = Stored { unit: unit.clone(), bytes, places, kept: None, chunk, block, skipped: 0 };
        let rest = if portion.skip > 0 || stored.held() > portion.limit { stored.cut(portion) } else { None };
        Ok(Ok(LoadedBlock { cursor: Self::begin(Messages::Stored(stored)), losses, rest }))
    }

    /// Returns a cursor over messages in memory, which are in order.
    pub(super) fn ready(messages: Vec<Message>) -> Option<Self> {
        Self::begin(Messages::Ready(messages))
    }

    fn begin(messages: Messages) -> Option<Self> {
        let key = key(&messages, 0)?;
        Some(Self { key, messages, next: 0 })
    }

    /// Takes the message that `key` stands for; `None` behind the last. Says whether it is a latched value.
    #[inline]
    pub(super) fn take(&mut self) -> Option<(Message, bool)> {
        let at = self.next;
        self.next += 1;
        match &mut self.messages {
            Messages::Ready(messages) => messages.get(at).map(|message| (message.clone(), true)),
            Messages::Stored(Stored { unit, bytes, places, kept, .. }) => {
                let place = places.get(at)?;
                let payload = match kept {
                    None => place.payload(),
                    Some(starts) => {
                        let start = *starts.get(at)? as usize;
                        start..start + place.length as usize
                    }
                };
                let message = Message {
                    topic: unit.table.topic(place.channel)?.clone(),
                    log_time_ns: unit.shift(place.log_time_ns),
                    publish_time_ns: unit.shift(place.publish_time_ns),
                    sequence: place.sequence,
                    identity: unit.identity(place.sequence),
                    data: bytes.slice(payload),
                };
                let latched = unit.latched || unit.latched_before_ns.is_some_and(|before_ns| message.log_time_ns < before_ns);
                Some((message, latched))
            }
        }
    }

    /// Returns where the message that is taken next stands: its file, by number, and its place there.
    pub(super) fn location(&self) -> Option<(usize, Location)> {
        let Messages::Stored(Stored { unit, places, chunk, block, .. }) = &self.messages else { return None };
        let container = unit.content.stored.container();
        let block = container.index().blocks.get(*block)?;
        Some((unit.number, container.location(block, chunk.as_ref(), places.get(self.next)?)?))
    }

    /// Returns how many bytes of memory it holds, if nobody else does.
    pub(super) fn held(&self) -> usize {
        match &self.messages {
            Messages::Stored(stored) => stored.held(),
            Messages::Ready(_) => 0,
        }
    }

    /// Sets `key` to the next message; returns false behind the last.
    #[inline]
    pub(super) fn advance(&mut self) -> bool {
        match key(&self.messages, self.next) {
            Some(key) => {
                self.key = key;
                true
            }
            None => false,
        }
    }
}

#[inline]
fn key(messages: &Messages, at: usize) -> Option<Key> {
    match messages {
        Messages::Ready(messages) => {
            let message = messages.get(at)?;
            let (boot, sequence) = message.identity.map_or((0, 0), |identity| (identity.boot, identity.append_sequence));
            Some(Key { time_ns: message.log_time_ns, boot, sequence, rank: u64::MAX, unit: usize::MAX, block: 0, place: at })
        }
        Messages::Stored(Stored { unit, places, block, skipped, .. }) => {
            let place = places.get(at)?;
            let identity = unit.identity(place.sequence);
            let (boot, sequence) = identity.map_or((0, 0), |identity| (identity.boot, identity.append_sequence));
            let rank = match (unit.latched, unit.role.by_size) {
                (true, _) => u64::MAX,
                (false, true) => u64::MAX - 1 - u64::from(place.length),
                (false, false) => unit.role.rank,
            };
            let time_ns = unit.shift(place.log_time_ns);
            Some(Key { time_ns, boot, sequence, rank, unit: unit.number, block: *block, place: skipped + at })
        }
    }
}

impl Stored {
    fn held(&self) -> usize {
        self.bytes.len() + self.places.len() * size_of::<Place>()
    }

    /// Keeps only a portion of the messages, at least one, in memory of its own; returns where the rest begins.
    fn cut(&mut self, portion: Portion) -> Option<(usize, i64)> {
        let from = portion.skip.min(self.places.len());
        let mut size = 0;
        let fits = |place: &&Place| {
            size += place.length as usize + size_of::<Place>() + size_of::<u32>();
            size <= portion.limit
        };
        let to = from + self.places[from..].iter().take_while(fits).count().max(1).min(self.places.len() - from);
        let rest = self.places.get(to).map(|place| (to, self.unit.shift(place.log_time_ns)));
        let places = self.places[from..to].to_vec();
        let mut bytes = Vec::with_capacity(places.iter().map(|place| place.length as usize).sum());
        let mut starts = Vec::with_capacity(places.len());
        for place in &places {
            starts.push(bytes.len() as u32);
            bytes.extend_from_slice(&self.bytes[place.payload()]);
        }
        (self.places, self.bytes, self.kept, self.skipped) = (places, bytes.into(), Some(starts), from);
        rest
    }
}

// Reversed, so that the first message is on top of a heap.
impl Ord for Cursor {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(&self.key)
    }
}

impl PartialOrd for Cursor {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Cursor {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Cursor {}
