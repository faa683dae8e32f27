//! Taking a record's body apart, field by field.
//!
//! **Invariant:** a field is there as a whole, or the record is malformed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::Malformed;
use crate::mcap::write::{ChunkHeader, ChunkIndex, Statistics};

/// What is left of a body.
pub(super) struct Fields<'a> {
    pub(super) opcode: u8,
    pub(super) rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self, length: u64, field: &'static str) -> Result<&'a [u8], Malformed> {
        let cut = Malformed { opcode: self.opcode, field };
        let (bytes, rest) = self.rest.split_at_checked(usize::try_from(length).map_err(|_| cut)?).ok_or(cut)?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed { opcode: self.opcode, field })?;
        self.rest = rest;
        Ok(*array)
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, Malformed> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, Malformed> {
        self.array(field).map(u64::from_le_bytes)
    }

    pub(super) fn sized(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        let length = self.u32(field)?;
        self.bytes(u64::from(length), field)
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<Cow<'a, str>, Malformed> {
        self.sized(field).map(String::from_utf8_lossy)
    }

    pub(super) fn nested(&mut self, field: &'static str) -> Result<Fields<'a>, Malformed> {
        Ok(Fields { opcode: self.opcode, rest: self.sized(field)? })
    }

    pub(super) fn map(&mut self, field: &'static str) -> Result<BTreeMap<String, String>, Malformed> {
        let mut entries = self.nested(field)?;
        let mut map = BTreeMap::new();
        while !entries.rest.is_empty() {
            map.insert(entries.text(field)?.into_owned(), entries.text(field)?.into_owned());
        }
        Ok(map)
    }

    pub(super) fn chunk_header(&mut self) -> Result<ChunkHeader, Malformed> {
        Ok(ChunkHeader {
            start_ns: self.u64("message_start_time")?,
            end_ns: self.u64("message_end_time")?,
            uncompressed_size: self.u64("uncompressed_size")?,
            uncompressed_crc: self.u32("uncompressed_crc")?,
            compression: self.text("compression")?.into_owned(),
            compressed_size: self.u64("records")?,
        })
    }

    pub(super) fn chunk_index(&mut self) -> Result<ChunkIndex, Malformed> {
        let (start_ns, end_ns) = (self.u64("message_start_time")?, self.u64("message_end_time")?);
        let (offset, length) = (self.u64("chunk_start_offset")?, self.u64("chunk_length")?);
        let mut entries = self.nested("message_index_offsets")?;
        let mut message_index_offsets = Vec::new();
        while !entries.rest.is_empty() {
            message_index_offsets.push((entries.u16("message_index_offsets")?, entries.u64("message_index_offsets")?));
        }
        let message_index_length = self.u64("message_index_length")?;
        let compression = self.text("compression")?.into_owned();
        let compressed_size = self.u64("compressed_size")?;
        let uncompressed_size = self.u64("uncompressed_size")?;
        let header = ChunkHeader { start_ns, end_ns, uncompressed_size, uncompressed_crc: 0, compression, compressed_size };
        Ok(ChunkIndex { header, offset, length, message_index_offsets, message_index_length })
    }

    pub(super) fn statistics(&mut self) -> Result<Statistics, Malformed> {
        let mut statistics = Statistics {
            message_count: self.u64("message_count")?,
            schema_count: self.u16("schema_count")?,
            channel_count: self.u32("channel_count")?,
            attachment_count: self.u32("attachment_count")?,
            metadata_count: self.u32("metadata_count")?,
            chunk_count: self.u32("chunk_count")?,
            start_ns: self.u64("message_start_time")?,
            end_ns: self.u64("message_end_time")?,
            channel_message_counts: BTreeMap::new(),
        };
        let mut entries = self.nested("channel_message_counts")?;
        while !entries.rest.is_empty() {
            let channel_id = entries.u16("channel_message_counts")?;
            statistics.channel_message_counts.insert(channel_id, entries.u64("channel_message_counts")?);
        }
        Ok(statistics)
    }
}
