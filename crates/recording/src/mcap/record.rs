//! MCAP records as they stand in a file: in come the bytes of a record's body, out come its fields, borrowed.
//!
//! **Invariant:** no declared length is believed before it is compared with the bytes that are there, and none makes an allocation.

mod fields;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use self::fields::Fields;
use super::write::{ChunkHeader, ChunkIndex, PREFIX_LENGTH, Statistics};

/// The eight bytes at the start and at the end of an MCAP file.
pub const MAGIC: &[u8; 8] = b"\x89MCAP0\r\n";

/// Bytes of a message record's body before its payload.
pub const MESSAGE_HEADER_LENGTH: usize = 22;

/// The kinds of records.
pub mod opcode {
    #![expect(missing_docs, reason = "the names are the MCAP specification's")]
    pub const HEADER: u8 = 0x01;
    pub const FOOTER: u8 = 0x02;
    pub const SCHEMA: u8 = 0x03;
    pub const CHANNEL: u8 = 0x04;
    pub const MESSAGE: u8 = 0x05;
    pub const CHUNK: u8 = 0x06;
    pub const MESSAGE_INDEX: u8 = 0x07;
    pub const CHUNK_INDEX: u8 = 0x08;
    pub const ATTACHMENT: u8 = 0x09;
    pub const ATTACHMENT_INDEX: u8 = 0x0A;
    pub const STATISTICS: u8 = 0x0B;
    pub const METADATA: u8 = 0x0C;
    pub const METADATA_INDEX: u8 = 0x0D;
    pub const SUMMARY_OFFSET: u8 = 0x0E;
    pub const DATA_END: u8 = 0x0F;
}

/// A record's body does not have the shape that its opcode asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The record's opcode.
    pub opcode: u8,
    /// The first field that is not there.
    pub field: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record with opcode {:#04x} ends within its field {}", self.opcode, self.field)
    }
}

impl std::error::Error for Malformed {}

/// One record; text that is not UTF-8 is read with replacement characters, so that a bad name does not cost its messages.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are the MCAP specification's")]
pub enum Record<'a> {
    Header {
        profile: Cow<'a, str>,
        library: Cow<'a, str>,
    },
    Footer {
        summary_start: u64,
        summary_offset_start: u64,
        summary_crc: u32,
    },
    Schema {
        id: u16,
        name: Cow<'a, str>,
        encoding: Cow<'a, str>,
        data: &'a [u8],
    },
    Channel {
        id: u16,
        schema_id: u16,
        topic: Cow<'a, str>,
        message_encoding: Cow<'a, str>,
        metadata: BTreeMap<String, String>,
    },
    Message(Message<'a>),
    Chunk {
        header: ChunkHeader,
        records: &'a [u8],
    },
    MessageIndex {
        channel_id: u16,
        entries: IndexEntries<'a>,
    },
    ChunkIndex(ChunkIndex),
    Attachment {
        log_time_ns: u64,
        create_time_ns: u64,
        name: Cow<'a, str>,
        media_type: Cow<'a, str>,
        data: &'a [u8],
        crc: u32,
    },
    AttachmentIndex {
        offset: u64,
        length: u64,
        log_time_ns: u64,
        create_time_ns: u64,
        data_size: u64,
        name: Cow<'a, str>,
        media_type: Cow<'a, str>,
    },
    Statistics(Statistics),
    Metadata {
        name: Cow<'a, str>,
        map: BTreeMap<String, String>,
    },
    MetadataIndex {
        offset: u64,
        length: u64,
        name: Cow<'a, str>,
    },
    SummaryOffset {
        group_opcode: u8,
        group_start: u64,
        group_length: u64,
    },
    DataEnd {
        data_section_crc: u32,
    },
    Unknown {
        opcode: u8,
        body: &'a [u8],
    },
}

/// A message's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The channel.
    pub channel_id: u16,
    /// The writer's counter.
    pub sequence: u32,
    /// When it was recorded; ns.
    pub log_time_ns: u64,
    /// When it was published; ns.
    pub publish_time_ns: u64,
    /// The payload.
    pub data: &'a [u8],
}

/// Reads the body of a message record.
#[inline]
pub fn parse_message(body: &[u8]) -> Option<Message<'_>> {
    let (fields, data) = body.split_first_chunk::<MESSAGE_HEADER_LENGTH>()?;
    let (channel_id, fields) = fields.split_first_chunk()?;
    let (sequence, fields) = fields.split_first_chunk()?;
    let (log_time, fields) = fields.split_first_chunk()?;
    let (publish_time, _) = fields.split_first_chunk()?;
    Some(Message {
        channel_id: u16::from_le_bytes(*channel_id),
        sequence: u32::from_le_bytes(*sequence),
        log_time_ns: u64::from_le_bytes(*log_time),
        publish_time_ns: u64::from_le_bytes(*publish_time),
        data,
    })
}

/// Reads a record's body. Bytes behind the last known field are allowed: newer versions of the format may use them.
///
/// # Errors
/// [`Malformed`], naming the field that is cut.
pub fn parse(opcode: u8, body: &[u8]) -> Result<Record<'_>, Malformed> {
    parse_fields(&mut Fields { opcode, rest: body })
}

/// Reads a record's body if its fields fill it exactly, as a search for records behind damage asks.
pub fn parse_exact(opcode: u8, body: &[u8]) -> Option<Record<'_>> {
    let mut fields = Fields { opcode, rest: body };
    let record = parse_fields(&mut fields).ok()?;
    fields.rest.is_empty().then_some(record)
}

fn parse_fields<'a>(fields: &mut Fields<'a>) -> Result<Record<'a>, Malformed> {
    let (opcode, body) = (fields.opcode, fields.rest);
    Ok(match opcode {
        opcode::HEADER => Record::Header { profile: fields.text("profile")?, library: fields.text("library")? },
        opcode::FOOTER => Record::Footer {
            summary_start: fields.u64("summary_start")?,
            summary_offset_start: fields.u64("summary_offset_start")?,
            summary_crc: fields.u32("summary_crc")?,
        },
        opcode::SCHEMA => Record::Schema {
            id: fields.u16("id")?,
            name: fields.text("name")?,
            encoding: fields.text("encoding")?,
            data: fields.sized("data")?,
        },
        opcode::CHANNEL => Record::Channel {
            id: fields.u16("id")?,
            schema_id: fields.u16("schema_id")?,
            topic: fields.text("topic")?,
            message_encoding: fields.text("message_encoding")?,
            metadata: fields.map("metadata")?,
        },
        opcode::MESSAGE => Record::Message(parse_message(body).ok_or(Malformed { opcode, field: "publish_time" })?),
        opcode::CHUNK => {
            let header = fields.chunk_header()?;
            let records = fields.bytes(header.compressed_size, "records")?;
            Record::Chunk { header, records }
        }
        opcode::MESSAGE_INDEX => {
            Record::MessageIndex { channel_id: fields.u16("channel_id")?, entries: IndexEntries { rest: fields.sized("records")? } }
        }
        opcode::CHUNK_INDEX => Record::ChunkIndex(fields.chunk_index()?),
        opcode::ATTACHMENT => Record::Attachment {
            log_time_ns: fields.u64("log_time")?,
            create_time_ns: fields.u64("create_time")?,
            name: fields.text("name")?,
            media_type: fields.text("media_type")?,
            data: {
                let length = fields.u64("data")?;
                fields.bytes(length, "data")?
            },
            crc: fields.u32("crc")?,
        },
        opcode::ATTACHMENT_INDEX => Record::AttachmentIndex {
            offset: fields.u64("offset")?,
            length: fields.u64("length")?,
            log_time_ns: fields.u64("log_time")?,
            create_time_ns: fields.u64("create_time")?,
            data_size: fields.u64("data_size")?,
            name: fields.text("name")?,
            media_type: fields.text("media_type")?,
        },
        opcode::STATISTICS => Record::Statistics(fields.statistics()?),
        opcode::METADATA => Record::Metadata { name: fields.text("name")?, map: fields.map("metadata")? },
        opcode::METADATA_INDEX => {
            Record::MetadataIndex { offset: fields.u64("offset")?, length: fields.u64("length")?, name: fields.text("name")? }
        }
        opcode::SUMMARY_OFFSET => Record::SummaryOffset {
            group_opcode: fields.u8("group_opcode")?,
            group_start: fields.u64("group_start")?,
            group_length: fields.u64("group_length")?,
        },
        opcode::DATA_END => Record::DataEnd { data_section_crc: fields.u32("data_section_crc")? },
        _ => Record::Unknown { opcode, body },
    })
}

/// Reads a chunk's header from the start of its body, which may be cut behind the header; returns it with its length.
///
/// # Errors
/// [`Malformed`], naming the field that is cut.
pub fn parse_chunk_header(body: &[u8]) -> Result<(ChunkHeader, usize), Malformed> {
    let mut fields = Fields { opcode: opcode::CHUNK, rest: body };
    let header = fields.chunk_header()?;
    Ok((header, body.len() - fields.rest.len()))
}

/// The (log time, offset in the uncompressed chunk) pairs of a message index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntries<'a> {
    rest: &'a [u8],
}

impl IndexEntries<'_> {
    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.rest.len() / 16
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Iterator for IndexEntries<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        let (entry, rest) = self.rest.split_first_chunk::<16>()?;
        self.rest = rest;
        let (time, offset) = entry.split_first_chunk::<8>()?;
        Some((u64::from_le_bytes(*time), u64::from_le_bytes(offset.try_into().ok()?)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

/// Splits the prefix of a record off: its opcode and the length of its body.
#[inline]
pub fn parse_prefix(bytes: &[u8]) -> Option<(u8, u64)> {
    let (prefix, _) = bytes.split_first_chunk::<PREFIX_LENGTH>()?;
    let (opcode, length) = prefix.split_first()?;
    Some((*opcode, u64::from_le_bytes(length.try_into().ok()?)))
}

/// Whole records that stand behind each other in memory.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// One record of [`Records`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// Its kind.
    pub opcode: u8,
    /// Its content.
    pub body: &'a [u8],
    /// Where its prefix begins.
    pub offset: usize,
}

impl<'a> Records<'a> {
    /// Returns the records of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Returns how many bytes the records so far have; less than all of them once the iterator has ended says that the rest is cut.
    pub fn position(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = RawRecord<'a>;

    #[inline]
    fn next(&mut self) -> Option<RawRecord<'a>> {
        let rest = self.bytes.get(self.at..)?;
        let (opcode, length) = parse_prefix(rest)?;
        let end = PREFIX_LENGTH.checked_add(usize::try_from(length).ok()?)?;
        let body = rest.get(PREFIX_LENGTH..end)?;
        let offset = self.at;
        self.at += end;
        Some(RawRecord { opcode, body, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_of_every_record_is_refused_without_a_panic() {
        let mut out = Vec::new();
        let map = BTreeMap::from([("key".to_owned(), "value".to_owned())]);
        super::super::write::metadata(&mut out, "name", &map);
        super::super::write::data_end(&mut out, 7);
        super::super::write::statistics(
            &mut out,
            &Statistics { channel_message_counts: BTreeMap::from([(1, 2)]), ..Statistics::default() },
        );
        for record in Records::new(&out) {
            assert!(parse(record.opcode, record.body).is_ok());
            for end in 0..record.body.len() {
                assert!(parse(record.opcode, &record.body[..end]).is_err(), "{:#x} cut at {end}", record.opcode);
            }
        }
        assert_eq!(Records::new(&out).count(), 3);
        assert_eq!(Records::new(&out[..out.len() - 1]).count(), 2);
    }

    #[test]
    fn lying_lengths_are_refused() {
        let body = [&[0; 2][..], &u32::MAX.to_le_bytes(), b"abc"].concat();
        assert_eq!(parse(opcode::SCHEMA, &body), Err(Malformed { opcode: opcode::SCHEMA, field: "name" }));
        let record = [&[opcode::MESSAGE][..], &u64::MAX.to_le_bytes(), &[0; 64]].concat();
        assert_eq!(Records::new(&record).next(), None);
    }

    #[test]
    fn bytes_behind_the_known_fields_and_unknown_kinds_are_kept_out_of_the_way() {
        let padded = [&7u32.to_le_bytes()[..], b"later versions"].concat();
        assert_eq!(parse(opcode::DATA_END, &padded), Ok(Record::DataEnd { data_section_crc: 7 }));
        assert_eq!(parse(0x99, b"x"), Ok(Record::Unknown { opcode: 0x99, body: b"x" }));
    }
}
