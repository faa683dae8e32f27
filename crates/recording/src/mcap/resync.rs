//! Finding the next believable record behind damage.
//!
//! **Invariant:** a record is believed for its structure only where chance cannot make it: two lengths that agree, or a chain.

use std::borrow::Cow;
use std::cell::Cell;

use super::decompress::{COMPRESSED_LIMIT, UNCOMPRESSED_LIMIT};
use super::record::{self, MAGIC, MESSAGE_HEADER_LENGTH, Record, opcode};
use super::window::{self, Window};
use super::write::{ChunkHeader, PREFIX_LENGTH};
use crate::error::Result;
use crate::source::ReadAt;

/// The largest definition, metadata or summary record that is believed.
pub(crate) const DEFINITION_LIMIT: u64 = 64 << 20;

/// The largest record other than a chunk or a message that a search believes; it keeps a search among hostile bytes short.
const SEARCH_LIMIT: u64 = 4 << 20;

/// How many bytes may be read in vain, per byte of the file and in all: so that a hostile file, in which a record seems to begin
/// everywhere, does not keep a reader busy for ever. Behind that, the rest of the file counts as damaged.
const EFFORT_PER_BYTE: u64 = 16;
const EFFORT: u64 = 1 << 30;

/// The longest compression name.
const COMPRESSION_NAME_LIMIT: usize = 32;

/// How much is searched at a time.
const BLOCK_LENGTH: u64 = 1 << 20;

/// How many messages must follow each other until messages outside of chunks are believed.
const MESSAGE_CHAIN: usize = 4;

/// Bytes of a chunk's record before its compression's name and behind it.
const CHUNK_FIXED_LENGTH: u64 = 40;

/// Returns whether a chunk of `body_length` bytes can have this header.
pub(crate) fn plausible_chunk(header: &ChunkHeader, body_length: u64) -> bool {
    let name = header.compression.as_bytes();
    let fixed = CHUNK_FIXED_LENGTH + name.len() as u64;
    name.len() <= COMPRESSION_NAME_LIMIT
        && name.iter().all(|byte| byte.is_ascii_graphic())
        && header.start_ns <= header.end_ns
        && header.compressed_size <= COMPRESSED_LIMIT
        && header.uncompressed_size <= UNCOMPRESSED_LIMIT
        && (!name.is_empty() || header.compressed_size == header.uncompressed_size)
        && fixed.checked_add(header.compressed_size).is_some_and(|length| length == body_length)
}

/// What may still be read in vain.
pub(crate) struct Effort {
    rest: Cell<u64>,
    /// How far a search came that its source interrupted: (from where, until where).
    reached: Cell<(u64, u64)>,
}

impl Effort {
    /// Returns the effort that a file of `length` bytes is worth.
    pub(crate) fn new(length: u64) -> Self {
        Self { rest: Cell::new(length.saturating_mul(EFFORT_PER_BYTE).saturating_add(EFFORT)), reached: Cell::default() }
    }

    /// Takes note of bytes read in vain.
    pub(crate) fn spend(&self, bytes: u64) {
        self.rest.set(self.rest.get().saturating_sub(bytes));
    }

    fn is_spent(&self) -> bool {
        self.rest.get() == 0
    }

    /// Returns where a search from `from` goes on.
    fn resume(&self, from: u64) -> u64 {
        let (known, reached) = self.reached.take();
        if known == from { reached.max(from) } else { from }
    }
}

/// What the search may believe, and how hard it may try.
#[derive(Clone, Copy)]
pub(crate) struct Belief<'a> {
    pub(crate) effort: &'a Effort,
    /// Whether messages stand outside of chunks, on these channels (all, where none is known).
    pub(crate) loose_messages: Option<&'a dyn Fn(u16) -> bool>,
}

/// Returns the first byte from `from` on, before `end`, where a believable record begins.
pub(crate) fn find(source: &dyn ReadAt, from: u64, end: u64, belief: Belief<'_>) -> Result<Option<u64>> {
    let mut at = belief.effort.resume(from);
    let found = search(source, &mut at, end, belief);
    if found.is_err() {
        belief.effort.reached.set((from, at));
    }
    found
}

/// Searches from `at`, which is then where the search stands.
fn search(source: &dyn ReadAt, at: &mut u64, end: u64, belief: Belief<'_>) -> Result<Option<u64>> {
    let mut window = Window::small(source)?;
    while *at < end && !belief.effort.is_spent() {
        let block = window::read(source, *at, BLOCK_LENGTH.min(end - *at) + PREFIX_LENGTH as u64 - 1)?;
        if block.len() < PREFIX_LENGTH {
            return Ok(None);
        }
        for (index, bytes) in block.windows(PREFIX_LENGTH).enumerate() {
            // Lengths below 4 GiB have four zeros: that alone rules out nearly everything.
            let possible = matches!(bytes[0], 1..=15) && bytes[5..] == [0; 4];
            if possible && *at + (index as u64) < end {
                if believable(&mut window, *at + index as u64, belief)? {
                    return Ok(Some(*at + index as u64));
                }
                belief.effort.spend(window.take_read());
                if belief.effort.is_spent() {
                    return Ok(None);
                }
            }
        }
        *at += block.len() as u64 - (PREFIX_LENGTH as u64 - 1);
    }
    Ok(None)
}

/// Returns whether a record that can be told from chance begins at `at`.
pub(crate) fn believable(window: &mut Window<'_>, at: u64, belief: Belief<'_>) -> Result<bool> {
    let Some((kind, length)) = record::parse_prefix(window.get(at, PREFIX_LENGTH)?) else { return Ok(false) };
    let Some(end) = end(at, length) else { return Ok(false) };
    if kind == opcode::CHUNK {
        let body = window.get(at + PREFIX_LENGTH as u64, CHUNK_FIXED_LENGTH as usize + COMPRESSION_NAME_LIMIT)?;
        return Ok(record::parse_chunk_header(body).is_ok_and(|(header, _)| plausible_chunk(&header, length)));
    }
    if end > window.length() {
        return Ok(false);
    }
    match kind {
        opcode::MESSAGE => believable_messages(window, at, belief),
        opcode::ATTACHMENT => Ok(attachment_length(window, at)? == Some(length)),
        opcode::FOOTER => Ok(length == 20 && window.get(end, MAGIC.len() + 1)? == MAGIC),
        opcode::DATA_END => {
            let next = record::parse_prefix(window.get(end, PREFIX_LENGTH)?);
            let summary = |(kind, length)| matches!(kind, 2..=4 | 8 | 10..=11 | 13..=14) && length <= DEFINITION_LIMIT;
            Ok(length == 4 && next.is_some_and(summary))
        }
        _ if length > SEARCH_LIMIT || !believable_length(window, at, kind, length)? => Ok(false),
        _ => {
            let body = window.get(at + PREFIX_LENGTH as u64, length as usize)?;
            let whole = |text: &Cow<'_, str>| matches!(text, Cow::Borrowed(_));
            Ok(match record::parse_exact(kind, body) {
                Some(Record::Schema { id, name, encoding, .. }) => id != 0 && !name.is_empty() && whole(&name) && whole(&encoding),
                Some(Record::Channel { topic, message_encoding, .. }) => !topic.is_empty() && whole(&topic) && whole(&message_encoding),
                Some(Record::MessageIndex { mut entries, .. }) => entries.next().is_some_and(|(_, offset)| offset < UNCOMPRESSED_LIMIT),
                Some(Record::Metadata { name, .. }) => !name.is_empty() && whole(&name),
                Some(Record::ChunkIndex(index)) => index.length > CHUNK_FIXED_LENGTH && plausible_chunk(&index.header, index.length - 9),
                Some(Record::Statistics(statistics)) => statistics.start_ns <= statistics.end_ns && statistics.channel_count > 0,
                _ => false,
            })
        }
    }
}

/// Returns whether the first inner length of a record fits, for which its body need not be read.
fn believable_length(window: &mut Window<'_>, at: u64, kind: u8, length: u64) -> Result<bool> {
    let fixed = match kind {
        opcode::METADATA => 0,
        opcode::SCHEMA | opcode::MESSAGE_INDEX => 2,
        opcode::CHANNEL => 4,
        opcode::CHUNK_INDEX => 32,
        opcode::STATISTICS => 42,
        _ => return Ok(false),
    };
    let Some(inner) = window.get(at + PREFIX_LENGTH as u64 + fixed, 4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) else {
        return Ok(false);
    };
    let rest = length.checked_sub(fixed + 4 + u64::from(inner));
    Ok(if kind == opcode::MESSAGE_INDEX { rest == Some(0) && inner.is_multiple_of(16) } else { rest.is_some() })
}

/// Returns whether a record of a known kind seems to begin at `at`, or the file ends there: enough to go on, not enough to search.
pub(crate) fn plausible(window: &mut Window<'_>, at: u64) -> Result<bool> {
    if at == window.length() {
        return Ok(true);
    }
    let length = window.length();
    let Some((kind, body_length)) = record::parse_prefix(window.get(at, PREFIX_LENGTH)?) else { return Ok(false) };
    let fits = end(at, body_length).is_some_and(|end| end <= length);
    Ok(match kind {
        opcode::CHUNK => {
            let body = window.get(at + PREFIX_LENGTH as u64, CHUNK_FIXED_LENGTH as usize + COMPRESSION_NAME_LIMIT)?;
            record::parse_chunk_header(body).is_ok_and(|(header, _)| plausible_chunk(&header, body_length))
                || (fits && body_length >= CHUNK_FIXED_LENGTH)
        }
        opcode::MESSAGE => fits && body_length >= MESSAGE_HEADER_LENGTH as u64,
        opcode::ATTACHMENT => fits && attachment_length(window, at)?.is_some_and(|length| length <= body_length),
        1..=15 => fits && body_length <= DEFINITION_LIMIT,
        0x80.. => fits,
        _ => false,
    })
}

fn end(at: u64, body_length: u64) -> Option<u64> {
    at.checked_add(PREFIX_LENGTH as u64)?.checked_add(body_length)
}

fn believable_messages(window: &mut Window<'_>, start: u64, belief: Belief<'_>) -> Result<bool> {
    let Some(known) = belief.loose_messages else { return Ok(false) };
    let mut at = start;
    for _ in 0..MESSAGE_CHAIN {
        if at == window.length() {
            return Ok(at > start);
        }
        let head = window.get(at, PREFIX_LENGTH + MESSAGE_HEADER_LENGTH)?;
        let Some((opcode::MESSAGE, length)) = record::parse_prefix(head) else {
            return Ok(at > start && believable(window, at, Belief { loose_messages: None, ..belief })?);
        };
        let message = head.get(PREFIX_LENGTH..).and_then(record::parse_message);
        if !message.is_some_and(|message| known(message.channel_id)) || length < MESSAGE_HEADER_LENGTH as u64 {
            return Ok(false);
        }
        match end(at, length) {
            Some(end) if end <= window.length() => at = end,
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Returns how long the body of an attachment at `at` must be, by its inner lengths.
pub(crate) fn attachment_length(window: &mut Window<'_>, at: u64) -> Result<Option<u64>> {
    let start = at + PREFIX_LENGTH as u64;
    let mut offset = start + 16;
    for _ in 0..2 {
        let Some(text) = window.get(offset, 4)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) else { return Ok(None) };
        offset += 4 + u64::from(text);
    }
    let Some(data) = window.get(offset, 8)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else { return Ok(None) };
    Ok((offset + 8 + 4 - start).checked_add(data))
}
