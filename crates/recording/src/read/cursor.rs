//! The messages of one block in order, and the order among blocks.
//!
//! **Invariant:** keys never repeat, so that the order of messages is the same each time.

use std::cmp::Ordering;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;

use super::request::{Request, Table};
use super::unit::{Content, Role, to_ns};
use crate::error::Result;
use crate::mcap::block::Block;
use crate::mcap::decompress::Decompressor;
use crate::mcap::definitions::Definitions;
use crate::mcap::linear::{self, Place};
use crate::message::{Identity, Message};

/// A file that messages are read from.
pub(super) struct OpenUnit {
    pub(super) file: File,
    pub(super) content: Arc<Content>,
    pub(super) table: Arc<Table>,
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
    block: u64,
    place: usize,
}

/// The rest of a block's messages.
pub(super) struct Cursor {
    pub(super) key: Key,
    messages: Messages,
    next: usize,
}

enum Messages {
    /// In a file's block.
    Stored { unit: Arc<OpenUnit>, table: Arc<Table>, records: Bytes, places: Vec<Place>, block: u64 },
    /// In memory: latched values.
    Ready(Vec<Message>),
}

impl OpenUnit {
    fn identity(&self, sequence: u32) -> Option<Identity> {
        let (boot, first) = self.content.identity?;
        // The field has the low 32 bits of a number that is near the first one, before or behind it.
        let distance = sequence.wrapping_sub(first as u32) as i32;
        Some(Identity { boot, append_sequence: first.wrapping_add_signed(i64::from(distance)) })
    }

    fn shift(&self, time: u64) -> i64 {
        to_ns(time).saturating_add(self.role.correction_ns)
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
        block: &Block,
        request: &Request,
        decompressor: &mut Decompressor,
    ) -> Result<std::result::Result<Option<Self>, String>> {
        let records = match block.load(&unit.file, decompressor)? {
            Ok(records) => records,
            Err(why) => return Ok(Err(why)),
        };
        let earlier = unit.table.before(block.offset, request, &unit.role, &unit.content);
        let table = earlier.map_or_else(|| unit.table.clone(), Arc::new);
        let mut places = Vec::new();
        let wanted = |id: u16, time: u64| table.wants(id, unit.shift(time));
        if !linear::find(&records, block.offset, &mut Definitions::default(), &mut places, wanted) {
            return Ok(Err("a record of it is cut".to_owned()));
        }
        let by_sequence = unit.content.identity.is_some();
        let order = |place: &Place| (place.log_time_ns, if by_sequence { unit.identity(place.sequence) } else { None });
        if !places.is_sorted_by_key(order) {
            places.sort_by_cached_key(order);
        }
        let messages = Messages::Stored { unit: unit.clone(), table, records, places, block: block.offset };
        Ok(Ok(Self::begin(messages)))
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
            Messages::Stored { unit, table, records, places, .. } => {
                let place = places.get(at)?;
                let message = Message {
                    topic: table.topic(place.channel_id)?.clone(),
                    log_time_ns: unit.shift(place.log_time_ns),
                    publish_time_ns: unit.shift(place.publish_time_ns),
                    sequence: place.sequence,
                    identity: unit.identity(place.sequence),
                    data: records.slice(place.payload()),
                };
                let latched = unit.latched || unit.latched_before_ns.is_some_and(|before_ns| message.log_time_ns < before_ns);
                Some((message, latched))
            }
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
        Messages::Stored { unit, places, block, .. } => {
            let place = places.get(at)?;
            let identity = unit.identity(place.sequence);
            let (boot, sequence) = identity.map_or((0, 0), |identity| (identity.boot, identity.append_sequence));
            let rank = match (unit.latched, unit.role.by_size) {
                (true, _) => u64::MAX,
                (false, true) => u64::MAX - 1 - place.payload().len() as u64,
                (false, false) => unit.role.rank,
            };
            Some(Key { time_ns: unit.shift(place.log_time_ns), boot, sequence, rank, unit: unit.number, block: *block, place: at })
        }
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
