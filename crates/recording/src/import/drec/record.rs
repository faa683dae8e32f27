//! The header, the records and the footer of a recording of dora, taken apart.
//!
//! A record is framed in little-endian numbers; in it stands dora's event in postcard: varints, and lengths in front of texts.
//!
//! **Invariant:** every length is checked against the bytes that there are before it is used.

use std::ops::Range;

use serde_json::{Map, Value};

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
    parameters: Map<String, Value>,
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
    let mut parameters = Map::new();
    for _ in 0..count {
        let name = at.text()?;
        let value = at.parameter()?;
        parameters.insert(name.to_owned(), value);
    }
    let data = match at.varint()? {
        0 => at.at..at.at,
        1 => {
            let length = at.text_bytes()?.len();
            at.at - length..at.at
        }
        _ => return None,
    };
    Some(Ok(Record { node, output, offset_ns, sent_ns, data, parameters }))
}

impl Record<'_> {
    /// Returns whether dora itself sent it to see whether anybody listens.
    pub(super) fn is_marker(&self) -> bool {
        self.parameters.get(MARKER) == Some(&Value::Bool(true))
    }

    /// Returns whether its node said anything of it.
    pub(super) fn has_parameters(&self) -> bool {
        self.parameters.keys().any(|name| !is_reserved(name))
    }

    /// Returns what its node said of it, as JSON.
    pub(super) fn parameters(&self) -> Option<Vec<u8>> {
        let said: Map<String, Value> =
            self.parameters.iter().filter(|(name, _)| !is_reserved(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
        (!said.is_empty()).then(|| Value::Object(said).to_string().into_bytes())
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

/// Reads postcard.
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

    fn integer(&mut self) -> Option<i64> {
        let zigzag = self.varint()?;
        Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    fn float(&mut self) -> Option<f64> {
        Some(f64::from_le_bytes(*self.array()?))
    }

    fn list<T: Into<Value>>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Value> {
        let count = self.varint()?;
        let mut items = Vec::new();
        // Each item takes at least a byte, so that a claimed count costs nothing.
        for _ in 0..count {
            items.push(item(self)?.into());
        }
        Some(Value::Array(items))
    }

    fn parameter(&mut self) -> Option<Value> {
        Some(match self.varint()? {
            0 => Value::Bool(self.take(1)?[0] != 0),
            1 => self.integer()?.into(),
            2 | 7 => self.text()?.into(),
            3 => self.list(Self::integer)?,
            4 => self.float()?.into(),
            5 => self.list(Self::float)?,
            6 => self.list(Self::text)?,
            _ => return None,
        })
    }
}
