//! The messages of records that stand behind each other: the content of a chunk, or a stretch of messages outside of chunks.
//!
//! **Invariant:** no message is allocated: a message is its fields and a range of the bytes it stands in.

use std::collections::BTreeMap;
use std::ops::Range;

use super::definitions::Definitions;
use super::record::{self, MESSAGE_HEADER_LENGTH, RawRecord, Records, opcode};
use super::write::PREFIX_LENGTH;

/// Messages and payload bytes by channel.
pub type Counts = BTreeMap<u16, (u64, u64)>;

/// What records hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Messages and payload bytes by channel.
    pub counts: Counts,
    /// First log time, if there are messages; ns.
    pub start_ns: u64,
    /// Last log time, if there are messages; ns.
    pub end_ns: u64,
    /// Sequence of the first message.
    pub first_sequence: u32,
    /// Sequence of the last message.
    pub last_sequence: u32,
    /// How many bytes the whole records have.
    pub length: usize,
}

impl Content {
    /// Returns how many messages there are.
    pub fn messages(&self) -> u64 {
        self.counts.values().map(|(messages, _)| messages).sum()
    }

    /// Takes note of a message with a payload of `bytes`.
    #[inline]
    pub fn count(&mut self, message: &record::Message<'_>, bytes: u64) {
        if self.counts.is_empty() {
            (self.start_ns, self.end_ns, self.first_sequence) = (message.log_time_ns, message.log_time_ns, message.sequence);
        }
        self.start_ns = self.start_ns.min(message.log_time_ns);
        self.end_ns = self.end_ns.max(message.log_time_ns);
        self.last_sequence = message.sequence;
        let count = self.counts.entry(message.channel_id).or_default();
        *count = (count.0 + 1, count.1 + bytes);
    }
}

/// Counts the messages of `records` and takes their definitions, which stand in the file at `offset`.
///
/// # Errors
/// In words, what is wrong, with what stands in front of it.
pub fn examine(records: &[u8], offset: u64, definitions: &mut Definitions) -> (Content, Result<(), String>) {
    let mut content = Content::default();
    let mut walk = Records::new(records);
    for raw in walk.by_ref() {
        match raw.opcode {
            opcode::MESSAGE => match record::parse_message(raw.body) {
                Some(message) => content.count(&message, message.data.len() as u64),
                None => return (content, Err(format!("message of {} bytes at byte {} in it", raw.body.len(), raw.offset))),
            },
            opcode::SCHEMA | opcode::CHANNEL => match record::parse(raw.opcode, raw.body) {
                Ok(record) => definitions.add(&record, offset),
                Err(error) => return (content, Err(error.to_string())),
            },
            _ => {}
        }
        content.length = raw.offset + PREFIX_LENGTH + raw.body.len();
    }
    let whole = walk.position() == records.len();
    let outcome = if whole { Ok(()) } else { Err(format!("a record of it is cut at byte {}", walk.position())) };
    (content, outcome)
}

/// A message in the records it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// When it was recorded; ns.
    pub log_time_ns: u64,
    /// When it was published; ns.
    pub publish_time_ns: u64,
    /// Where its payload begins.
    start: u32,
    /// How long its payload is.
    length: u32,
    /// The writer's counter.
    pub sequence: u32,
    /// The channel.
    pub channel_id: u16,
}

impl Place {
    /// Returns where its payload stands.
    #[inline]
    pub fn payload(&self) -> Range<usize> {
        self.start as usize..self.start as usize + self.length as usize
    }
}

/// Appends the messages of `records` that `wanted` (by channel id and log time) takes to `places`, and their definitions to
/// `definitions`; returns whether the records are whole.
#[inline]
pub fn find(
    records: &[u8],
    offset: u64,
    definitions: &mut Definitions,
    places: &mut Vec<Place>,
    mut wanted: impl FnMut(u16, u64) -> bool,
) -> bool {
    let mut define = |raw: RawRecord<'_>| {
        if let Ok(record) = record::parse(raw.opcode, raw.body) {
            definitions.add(&record, offset);
        }
    };
    visit(records, &mut define, |message, start| {
        if wanted(message.channel_id, message.log_time_ns) {
            places.push(Place {
                log_time_ns: message.log_time_ns,
                publish_time_ns: message.publish_time_ns,
                // Chunks are at most 2 GiB, so that both fit.
                start: start as u32,
                length: message.data.len() as u32,
                sequence: message.sequence,
                channel_id: message.channel_id,
            });
        }
    })
}

/// Hands each message of `records` to `take`, with the place where its payload begins, and each definition to `define`; returns
/// whether the records are whole.
#[inline]
pub fn visit(records: &[u8], define: &mut dyn FnMut(RawRecord<'_>), mut take: impl FnMut(&record::Message<'_>, usize)) -> bool {
    let mut walk = Records::new(records);
    for raw in walk.by_ref() {
        match raw.opcode {
            opcode::MESSAGE => {
                let Some(message) = record::parse_message(raw.body) else { return false };
                take(&message, raw.offset + PREFIX_LENGTH + MESSAGE_HEADER_LENGTH);
            }
            opcode::SCHEMA | opcode::CHANNEL => define(raw),
            _ => {}
        }
    }
    walk.position() == records.len()
}
