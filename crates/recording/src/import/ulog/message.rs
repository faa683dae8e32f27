//! The messages of a log, and what can be told of each without knowing the others.
//!
//! **Invariant:** a message is believed for what it holds, not for its type byte alone.

use super::values::Entry;

/// What a log begins with, in front of its version.
pub const MAGIC: &[u8] = b"ULog\x01\x12\x35";

/// How long the header of a file is.
pub(super) const FILE_HEADER: u64 = 16;

/// How long the header of a message is.
pub(super) const HEADER: usize = 3;

/// How long the flags are.
const FLAGS: usize = 40;

/// What a sync message holds.
const SYNC: [u8; 8] = [0x2f, 0x73, 0x13, 0x20, 0x25, 0x0c, 0xbb, 0x12];

/// A message: what its type byte says it is, as far as its content agrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Message<'a> {
    /// The flags of the whole file, and where appended data begins.
    Flags {
        incompatible: [u8; 8],
        appended: [u64; 3],
    },
    /// `name:type field;…`
    Format(&'a str),
    Info(Entry<'a>),
    /// A piece of information with several parts, or the continuation of one.
    InfoPart(Entry<'a>, bool),
    Parameter(Entry<'a>),
    /// A default value, and which kinds of default it is.
    Default(Entry<'a>, u8),
    /// A name, its instance, and the id that its data will have.
    Subscribe {
        name: &'a str,
        instance: u8,
        id: u16,
    },
    Unsubscribe(u16),
    /// The id of a subscription, and its payload.
    Data(u16, &'a [u8]),
    /// Logged text: level, tag, time since boot, text.
    Text {
        level: u8,
        tag: Option<u16>,
        time_us: u64,
        text: &'a [u8],
    },
    Sync,
    /// For how many milliseconds the logger could not keep up.
    Dropout(u16),
}

/// What stands at the beginning of bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Parsed<'a> {
    Message(Message<'a>, usize),
    /// Something of a type that is not known, or whose content is odd; and how long it would be.
    Odd(u8, usize),
    /// The bytes end within it; and how long it would be.
    Short(usize),
    Nothing,
}

/// Reads a message.
#[inline]
pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some(&[low, high, kind]) = bytes.first_chunk::<HEADER>() else { return Parsed::Short(HEADER) };
    let length = HEADER + usize::from(u16::from_le_bytes([low, high]));
    if length == HEADER || kind == 0 {
        return Parsed::Nothing;
    }
    let Some(body) = bytes.get(HEADER..length) else { return Parsed::Short(length) };
    let known = match kind {
        b'D' => body.split_first_chunk().map(|(id, payload)| Message::Data(u16::from_le_bytes(*id), payload)),
        b'L' => text(body, false),
        b'C' => text(body, true),
        b'S' => (body.starts_with(&SYNC)).then_some(Message::Sync),
        b'O' => body.try_into().ok().map(|duration| Message::Dropout(u16::from_le_bytes(duration))),
        b'A' => subscribe(body),
        b'R' => body.try_into().ok().map(|id| Message::Unsubscribe(u16::from_le_bytes(id))),
        b'F' => printable(body).filter(|text| text.contains(':')).map(Message::Format),
        b'I' => Entry::parse(body).map(Message::Info),
        b'M' => body.split_first().filter(|(first, _)| **first <= 1).and_then(|(first, rest)| {
            let entry = Entry::parse(rest)?;
            Some(Message::InfoPart(entry, *first == 1))
        }),
        b'P' => Entry::parse(body).map(Message::Parameter),
        b'Q' => body.split_first().and_then(|(kinds, rest)| Some(Message::Default(Entry::parse(rest)?, *kinds))),
        b'B' => flags(body),
        _ => None,
    };
    match known {
        Some(message) => Parsed::Message(message, length),
        None => Parsed::Odd(kind, length),
    }
}

/// Returns whether a message of this type is known.
pub(super) fn is_known(kind: u8) -> bool {
    b"DLCSOARFIMPQB".contains(&kind)
}

fn text(body: &[u8], tagged: bool) -> Option<Message<'_>> {
    let (level, rest) = body.split_first().filter(|(level, _)| (b'0'..=b'7').contains(level))?;
    let (tag, rest) = match rest.split_first_chunk().filter(|_| tagged) {
        Some((tag, rest)) => (Some(u16::from_le_bytes(*tag)), rest),
        None if tagged => return None,
        None => (None, rest),
    };
    let (time_us, text) = rest.split_first_chunk()?;
    // Text does not have what every header of a message has.
    let plain = text.iter().all(|byte| *byte >= 0x07);
    plain.then_some(Message::Text { level: *level, tag, time_us: u64::from_le_bytes(*time_us), text })
}

fn subscribe(body: &[u8]) -> Option<Message<'_>> {
    let (head, name) = body.split_first_chunk::<3>()?;
    let name = printable(name).filter(|name| !name.is_empty() && !name.contains([' ', ':', ';']))?;
    Some(Message::Subscribe { name, instance: head[0], id: u16::from_le_bytes([head[1], head[2]]) })
}

fn flags(body: &[u8]) -> Option<Message<'_>> {
    let (flags, rest) = body.split_first_chunk::<16>().filter(|_| body.len() == FLAGS)?;
    // Of 128 flags three have a meaning.
    let few = flags.iter().map(|byte| byte.count_ones()).sum::<u32>() <= 8;
    let incompatible = *flags.last_chunk().filter(|_| few)?;
    let mut offsets = rest.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
    Some(Message::Flags { incompatible, appended: [offsets.next()?, offsets.next()?, offsets.next()?] })
}

/// Returns what a definition is about whose message the end of the bytes cuts, as far as it tells.
pub(super) fn cut_definition(bytes: &[u8]) -> Option<String> {
    let (head, body) = bytes.split_first_chunk::<HEADER>()?;
    let key = |body: &[u8]| {
        let (length, rest) = body.split_first()?;
        let key = printable(rest.get(..usize::from(*length))?)?;
        key.split_once(' ').map(|(_, key)| key.to_owned())
    };
    match head[2] {
        b'F' => printable(body)?.split_once(':').map(|(name, _)| format!("in the definition of '{name}'")),
        b'I' => key(body).map(|key| format!("in the information '{key}'")),
        b'M' => key(body.get(1..)?).map(|key| format!("in the information '{key}'")),
        b'P' => key(body).map(|key| format!("in the parameter '{key}'")),
        _ => None,
    }
}

/// Returns bytes as text if they are nothing else.
pub(super) fn printable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.bytes().all(|byte| (0x20..0x7f).contains(&byte)).then_some(text)
}
