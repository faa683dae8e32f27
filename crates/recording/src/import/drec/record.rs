//! The header, the records and the footer of a recording of dora, taken apart.
//!
//! A record is framed in little-endian numbers; in it stands dora's event in postcard: varints, and lengths in front of texts.
//!
//! **Invariant:** every length is checked against the bytes that there are before it is used.

use std::ops::Range;

use crate::json::write_text;

/// How a recording begins.
pub const MAGIC: &[u8] = b"DORAREC\0";
/// How its end begins, where it has one.
const END: &[u8] = b"DORAEND\0";
/// The version of the format whose events are known: those of 1 are in another encoding.
pub(super) const VERSION: u16 = 2;
/// The largest record, and the largest description of a dataflow, that dora writes and reads.
pub(super) const RECORD_LIMIT: usize = 64 << 20;
/// The shortest record: the lengths of two names, a time, and the length of an event.
const RECORD_LEAST: usize = 2 + 2 + 8 + 4;
/// The length in front of a record.
pub(super) const LENGTH_BYTES: usize = 4;
/// How many bytes stand before the description.
pub(super) const HEADER_BYTES: usize = 8 + 2 + 8 + 16 + 4;
/// The event that is a message.
const OUTPUT: u64 = 0;
/// What dora notes beside what a node says of a message.
const RESERVED: [&str; 2] = ["_wire_size", "__dora_"];
/// How a message is called that is none: it probes a route.
const MARKER: &str = "__dora_startup_marker";
/// The parameter that is true.
const TRUE: [u8; 2] = [0, 1];

/// What stands in front of the records.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) version: u16,
    pub(super) start_ns: i64,
    pub(super) dataflow_id: String,
    /// The dataflow's YAML.
    pub(super) descriptor: Vec<u8>,
}

/// A message.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) node: &'a str,
    pub(super) output: &'a str,
    /// How long after the start of the recording it was recorded.
    pub(super) offset_ns: u64,
    /// When it was sent; ns UTC.
    pub(super) sent_ns: i64,
    /// Where its payload stands, from the beginning of the record's length on.
    pub(super) data: Range<usize>,
    /// Whether dora itself sent it to see whether anybody listens.
    pub(super) is_marker: bool,
    /// Whether its node said anything of it.
    pub(super) has_parameters: bool,
    /// Its parameters and dora's notes, and how many there are.
    parameters: Cursor<'a>,
    count: u64,
}

/// What stands at a place.
#[derive(Debug)]
pub(super) enum Parsed<'a> {
    /// A message, and how many bytes it takes.
    Record(Record<'a>, usize),
    /// A whole record that is no message, or a damaged one, and how many bytes it takes.
    Odd(&'static str, usize),
    /// The end of the recording, with the number of messages in it.
    End(u64),
    /// A record that needs as many bytes as this; or not enough to tell.
    Short(usize),
    /// No record: nothing tells where the next one is.
    Nothing,
}

/// Returns what stands in front of the description, and how long that is.
pub(super) fn header(bytes: &[u8]) -> Option<(Header, usize)> {
    let mut at = Cursor { bytes: bytes.strip_prefix(MAGIC)?, at: 0 };
    let version = u16::from_le_bytes(*at.array()?);
    let start_ns = i64::try_from(u64::from_le_bytes(*at.array()?)).unwrap_or(i64::MAX);
    let dataflow_id = at.array::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect();
    let length = u32::from_le_bytes(*at.array()?) as usize;
    Some((Header { version, start_ns, dataflow_id, descriptor: Vec::new() }, length))
}

/// Returns what `bytes` begin with.
pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else { return Parsed::Short(LENGTH_BYTES) };
    if *length == END[..LENGTH_BYTES] {
        let Some(rest) = bytes.get(..END.len() + 16) else { return Parsed::Short(END.len() + 16) };
        let messages = rest[END.len()..].first_chunk().map_or(0, |messages| u64::from_le_bytes(*messages));
        return if rest.starts_with(END) { Parsed::End(messages) } else { Parsed::Nothing };
    }
    let length = u32::from_le_bytes(*length) as usize;
    if !(RECORD_LEAST..=RECORD_LIMIT).contains(&length) {
        return Parsed::Nothing;
    }
    let whole = LENGTH_BYTES + length;
    let Some(bytes) = bytes.get(..whole) else { return Parsed::Short(whole) };
    match record(bytes) {
        Some(Ok(record)) => Parsed::Record(record, whole),
        Some(Err(why)) => Parsed::Odd(why, whole),
        None => Parsed::Odd("damaged record", whole),
    }
}

/// Takes a record apart; `None` for one that is shorter than it says.
fn record(bytes: &[u8]) -> Option<Result<Record<'_>, &'static str>> {
    let mut at = Cursor { bytes, at: LENGTH_BYTES };
    let length = usize::from(u16::from_le_bytes(*at.array()?));
    let node = std::str::from_utf8(at.take(length)?).ok()?;
    let length = usize::from(u16::from_le_bytes(*at.array()?));
    let output = std::str::from_utf8(at.take(length)?).ok()?;
    let offset_ns = u64::from_le_bytes(*at.array()?);
    let event_bytes = u32::from_le_bytes(*at.array()?) as usize;
    if at.bytes.len() - at.at != event_bytes {
        return None;
    }
    if at.varint()? != OUTPUT {
        return Some(Err("event that is no message"));
    }
    // The dataflow's id, the node and the output once more, and the version of the metadata.
    for _ in 0..3 {
        at.text_bytes()?;
    }
    at.varint()?;
    let sent_ns = from_ntp(at.varint()?);
    at.take(16)?;
    let count = at.varint()?;
    let parameters = at;
    let (mut is_marker, mut has_parameters) = (false, false);
    // Each takes at least a byte, so that a claimed count costs nothing.
    for _ in 0..count {
        let name = at.text()?;
        let value = at.at;
        at.parameter(None)?;
        is_marker |= name == MARKER && bytes[value..at.at] == TRUE;
        has_parameters |= !is_reserved(name);
    }
    let data = match at.varint()? {
        0 => at.at..at.at,
        1 => {
            let length = at.text_bytes()?.len();
            at.at - length..at.at
        }
        _ => return None,
    };
    Some(Ok(Record { node, output, offset_ns, sent_ns, data, is_marker, has_parameters, parameters, count }))
}

impl Record<'_> {
    /// Writes what its node said of it, as JSON.
    pub(super) fn write_parameters(&self, out: &mut Vec<u8>) {
        self.try_write_parameters(out).expect("all of them were walked over when the record was taken apart");
    }

    fn try_write_parameters(&self, out: &mut Vec<u8>) -> Option<()> {
        let mut at = self.parameters;
        let mut before = b'{';
        for _ in 0..self.count {
            let name = at.text()?;
            if is_reserved(name) {
                at.parameter(None)?;
                continue;
            }
            out.push(std::mem::replace(&mut before, b','));
            write_text(out, name);
            out.push(b':');
            at.parameter(Some(out))?;
        }
        out.push(b'}');
        Some(())
    }
}

fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|reserved| name.starts_with(reserved))
}

/// Returns the time of a hybrid logical clock: seconds since 1970 in the upper half, their fraction in the lower; ns UTC.
fn from_ntp(time: u64) -> i64 {
    let (seconds, fraction) = (time >> 32, time & u64::from(u32::MAX));
    (seconds * 1_000_000_000 + ((fraction * 1_000_000_000) >> 32)).min(i64::MAX as u64) as i64
}

/// Where a value is written as JSON; `None` where it is only walked over.
type Out<'a> = Option<&'a mut Vec<u8>>;

/// Reads postcard.
#[derive(Clone, Copy, Debug)]
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        self.take(N)?.first_chunk()
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn text_bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.text_bytes()?).ok()
    }

    fn boolean(&mut self, out: Out<'_>) -> Option<()> {
        let value = self.take(1)?[0] != 0;
        put(out, if value { b"true" } else { b"false" });
        Some(())
    }

    fn integer(&mut self, out: Out<'_>) -> Option<()> {
        let zigzag = self.varint()?;
        let value = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        put(out, itoa::Buffer::new().format(value).as_bytes());
        Some(())
    }

    fn float(&mut self, out: Out<'_>) -> Option<()> {
        let value = f64::from_le_bytes(*self.array()?);
        match out {
            Some(out) if value.is_finite() => out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes()),
            // JSON has no NaN.
            out => put(out, b"null"),
        }
        Some(())
    }

    fn string(&mut self, out: Out<'_>) -> Option<()> {
        let value = self.text()?;
        if let Some(out) = out {
            write_text(out, value);
        }
        Some(())
    }

    fn list(&mut self, mut out: Out<'_>, item: fn(&mut Self, Out<'_>) -> Option<()>) -> Option<()> {
        let count = self.varint()?;
        put(out.as_deref_mut(), b"[");
        for index in 0..count {
            if index > 0 {
                put(out.as_deref_mut(), b",");
            }
            item(self, out.as_deref_mut())?;
        }
        put(out, b"]");
        Some(())
    }

    fn parameter(&mut self, out: Out<'_>) -> Option<()> {
        match self.varint()? {
            0 => self.boolean(out),
            1 => self.integer(out),
            2 | 7 => self.string(out),
            3 => self.list(out, Self::integer),
            4 => self.float(out),
            5 => self.list(out, Self::float),
            6 => self.list(out, Self::string),
            _ => None,
        }
    }
}

fn put(out: Out<'_>, text: &[u8]) {
    if let Some(out) = out {
        out.extend_from_slice(text);
    }
}
