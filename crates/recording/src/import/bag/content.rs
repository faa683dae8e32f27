//! The records inside of a chunk: messages, and the connections they belong to.
//!
//! **Invariant:** a message is given once what stands behind it shows that its length is right; nothing is allocated for it.

use std::ops::Range;

use super::record::{self, Header, Parsed, Record, op};
use super::resync;

/// So many zeros where a record should begin are a hole.
const HOLE: usize = 64;

/// A message in the bytes it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Where its record begins.
    pub(super) at: usize,
    pub(super) conn: u32,
    pub(super) time_ns: i64,
    /// Where its payload begins.
    pub(super) start: usize,
    pub(super) length: usize,
}

impl Message {
    fn end(&self) -> usize {
        self.start + self.length
    }
}

/// What stands in a chunk.
pub(super) enum Item<'a> {
    Message(Message),
    /// A connection: its header, and its data.
    Connection(Header<'a>, &'a [u8]),
}

/// What to do behind damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damaged {
    /// Go on at the next believable record.
    Search,
    /// Believe nothing behind it, nor what ends less than so many bytes in front of it.
    Stop(usize),
}

/// Gives every record of `bytes` that can be read to `each`, in order; returns the stretches that cannot be read.
#[inline]
pub(super) fn walk<'a>(bytes: &'a [u8], damaged: Damaged, mut each: impl FnMut(Item<'a>)) -> Vec<Range<usize>> {
    let mut gaps = Vec::new();
    let mut at = 0;
    let mut last: Option<Message> = None;
    while at < bytes.len() {
        let parsed = record::parse(&bytes[at..]);
        if let Parsed::Record(record) = &parsed
            && is_content(at, record, bytes.len())
        {
            if let Some(message) = last.take() {
                each(Item::Message(message));
            }
            match (record.header.op, record.header.conn, record.header.time_ns) {
                (op::MESSAGE, Some(conn), Some(time_ns)) => {
                    last = Some(Message { at, conn, time_ns, start: at + record.data_at, length: record.data_length });
                }
                _ => each(Item::Connection(record.header, &bytes[at + record.data_at..at + record.length()])),
            }
            at += record.length();
            continue;
        }
        let damage = behind(bytes, at, last.take(), parsed != Parsed::Nothing);
        let doubtful = |message: &Message| matches!(damaged, Damaged::Stop(margin) if message.end() + margin > at);
        if let Some(message) = damage.kept.filter(|message| !doubtful(message)) {
            each(Item::Message(message));
        }
        let next = match damaged {
            Damaged::Search => resync::find(bytes, damage.search, |start, record| is_content(start, record, bytes.len())),
            Damaged::Stop(_) => None,
        };
        gaps.push(damage.from..next.unwrap_or(bytes.len()));
        let Some(next) = next else { return gaps };
        at = next;
    }
    last.into_iter().for_each(|message| each(Item::Message(message)));
    gaps
}

/// What to do where no record begins.
pub(super) struct Behind {
    /// The message in front of it, if it can be believed.
    pub(super) kept: Option<Message>,
    /// Where the damage begins.
    pub(super) from: usize,
    /// Where the search for the next record begins.
    pub(super) search: usize,
}

/// Looks at damage at `at` with a message directly in front of it; `cut` where a header begins that only goes too far.
pub(super) fn behind(bytes: &[u8], at: usize, last: Option<Message>, cut: bool) -> Behind {
    let whole = Behind { kept: last, from: at, search: at + 1 };
    let Some(message) = last else { return whole };
    // A length that is too large swallows what stands behind the message.
    let near = &bytes[..bytes.len().min(at + resync::SEARCH_HEADER_LIMIT)];
    let inside = resync::find(near, message.start, |start, record| is_content(start, record, bytes.len())).filter(|start| *start < at);
    match inside {
        Some(inside) => Behind { kept: None, from: message.at, search: inside },
        None if cut || ends_well(bytes, &message) => whole,
        None => Behind { kept: None, from: message.at, search: at },
    }
}

/// Returns whether a message with damage behind it is likely to be whole: rather one message less than one that was never logged.
fn ends_well(bytes: &[u8], message: &Message) -> bool {
    let rest = &bytes[message.end()..];
    let zeros = rest.iter().take(HOLE).take_while(|byte| **byte == 0).count();
    if zeros == HOLE.min(rest.len()) {
        // A hole of zeros that begins inside of the message goes on behind it.
        return bytes.get(message.end() - 1).is_some_and(|byte| *byte != 0);
    }
    let own_length = message.start - message.at - 2 * record::LENGTH;
    record::u32_at(rest, 0) == u32::try_from(own_length).ok() || resync::resembles_header(rest)
}

fn is_content(at: usize, record: &Record<'_>, end: usize) -> bool {
    matches!(record.header.op, op::MESSAGE | op::CONNECTION) && record.length() <= end.saturating_sub(at)
}
