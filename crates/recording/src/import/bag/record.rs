//! The records of a bag: a header of `name=value` fields, and data.
//!
//! **Invariant:** nothing is copied: a record is ranges of the bytes it stands in.

use crate::time::SECOND_NS;

/// What a bag begins with.
pub const MAGIC: &[u8] = b"#ROSBAG V2.0\n";

/// The longest header that is read: names of topics are the longest thing in it.
pub(super) const HEADER_LIMIT: usize = 64 << 10;

/// How many bytes a length has.
pub(super) const LENGTH: usize = 4;

/// Kinds of records, as their `op` field says.
pub(super) mod op {
    pub(in super::super) const MESSAGE: u8 = 2;
    pub(in super::super) const BAG: u8 = 3;
    pub(in super::super) const INDEX: u8 = 4;
    pub(in super::super) const CHUNK: u8 = 5;
    pub(in super::super) const CHUNK_INFO: u8 = 6;
    pub(in super::super) const CONNECTION: u8 = 7;
}

/// The fields of a header that matter, whatever record it belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header<'a> {
    pub(super) op: u8,
    pub(super) conn: Option<u32>,
    pub(super) time_ns: Option<i64>,
    pub(super) topic: Option<&'a [u8]>,
    pub(super) compression: Option<&'a [u8]>,
    pub(super) encryptor: Option<&'a [u8]>,
    pub(super) size: Option<u32>,
    pub(super) count: Option<u32>,
    pub(super) version: Option<u32>,
    pub(super) position: Option<u64>,
    pub(super) chunk_count: Option<u32>,
    pub(super) conn_count: Option<u32>,
    pub(super) start_ns: Option<i64>,
    pub(super) end_ns: Option<i64>,
}

/// A record in the bytes it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) header: Header<'a>,
    /// Where its data begins.
    pub(super) data_at: usize,
    /// How long its data is.
    pub(super) data_length: usize,
}

impl Record<'_> {
    /// Returns how long the whole record is.
    pub(super) fn length(&self) -> usize {
        self.data_at + self.data_length
    }
}

/// What bytes begin with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed<'a> {
    /// A record; its data may reach beyond the bytes.
    Record(Record<'a>),
    /// Something whose header needs so many bytes.
    Short(usize),
    /// No record.
    Nothing,
}

/// Reads the header of a record.
#[inline]
pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some(length) = u32_at(bytes, 0) else { return Parsed::Short(LENGTH) };
    let length = length as usize;
    if length == 0 || length > HEADER_LIMIT {
        return Parsed::Nothing;
    }
    let needed = LENGTH + length + LENGTH;
    let (Some(fields), Some(data_length)) = (bytes.get(LENGTH..LENGTH + length), u32_at(bytes, LENGTH + length)) else {
        return Parsed::Short(needed);
    };
    match parse_fields(fields).filter(Header::is_complete) {
        Some(header) => Parsed::Record(Record { header, data_at: needed, data_length: data_length as usize }),
        None => Parsed::Nothing,
    }
}

/// Reads the fields of a header; `None` where they are none.
#[inline]
fn parse_fields(mut bytes: &[u8]) -> Option<Header<'_>> {
    let mut header = Header::default();
    while !bytes.is_empty() {
        let (name, value);
        (name, value, bytes) = next_field(bytes)?;
        match name {
            b"op" => header.op = *value.first().filter(|_| value.len() == 1)?,
            b"conn" => header.conn = Some(exact_u32(value)?),
            b"time" => header.time_ns = Some(exact_time(value)?),
            b"topic" => header.topic = Some(value),
            b"compression" => header.compression = Some(value),
            b"encryptor" => header.encryptor = Some(value),
            b"size" => header.size = Some(exact_u32(value)?),
            b"count" => header.count = Some(exact_u32(value)?),
            b"ver" => header.version = Some(exact_u32(value)?),
            b"index_pos" | b"chunk_pos" => header.position = Some(u64::from_le_bytes(value.try_into().ok()?)),
            b"chunk_count" => header.chunk_count = Some(exact_u32(value)?),
            b"conn_count" => header.conn_count = Some(exact_u32(value)?),
            b"start_time" => header.start_ns = Some(exact_time(value)?),
            b"end_time" => header.end_ns = Some(exact_time(value)?),
            _ => {}
        }
    }
    Some(header)
}

/// Splits the first field off: its name, its value, and what stands behind it.
#[inline]
pub(super) fn next_field(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let length = u32_at(bytes, 0)? as usize;
    let field = bytes.get(LENGTH..LENGTH.checked_add(length)?)?;
    let equals = field.iter().position(|byte| *byte == b'=')?;
    Some((&field[..equals], &field[equals + 1..], &bytes[LENGTH + length..]))
}

impl Header<'_> {
    /// Returns whether it has what a record of its kind needs.
    #[inline]
    fn is_complete(&self) -> bool {
        match self.op {
            op::MESSAGE => self.conn.is_some() && self.time_ns.is_some(),
            op::CONNECTION => self.conn.is_some(),
            op::CHUNK => self.compression.is_some() && self.size.is_some(),
            op::INDEX => self.conn.is_some() && self.count.is_some(),
            op::CHUNK_INFO => self.position.is_some() && self.count.is_some(),
            op::BAG => self.position.is_some(),
            _ => false,
        }
    }
}

/// Returns the number at an offset.
#[inline]
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Returns the time at an offset: seconds and nanoseconds.
#[inline]
pub(super) fn time_at(bytes: &[u8], at: usize) -> Option<i64> {
    // Both are less than 2^32, so that the sum fits.
    Some(i64::from(u32_at(bytes, at)?) * SECOND_NS + i64::from(u32_at(bytes, at + LENGTH)?))
}

fn exact_u32(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_le_bytes)
}

fn exact_time(value: &[u8]) -> Option<i64> {
    time_at(value, 0).filter(|_| value.len() == 2 * LENGTH)
}

/// Returns text that may be damaged.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
