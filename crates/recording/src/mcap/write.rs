//! MCAP records as bytes: one function per record, each appends to a buffer.
//!
//! **Invariant:** every function appends exactly one whole record, length prefix included.

use std::collections::BTreeMap;

use super::record::opcode;
use crate::message::{Schema, Topic};

/// Bytes of a record before its body: opcode and length.
pub const PREFIX_LENGTH: usize = 9;

/// Bytes of a message record before its payload.
pub const MESSAGE_PREFIX_LENGTH: usize = PREFIX_LENGTH + 22;

/// Appends a record whose body `body` appends.
fn record(out: &mut Vec<u8>, opcode: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(opcode);
    let length_at = out.len();
    out.extend_from_slice(&[0; 8]);
    body(out);
    let length = (out.len() - length_at - 8) as u64;
    out[length_at..length_at + 8].copy_from_slice(&length.to_le_bytes());
}

fn u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    u32(out, u32::try_from(value.len()).expect("names, maps and schemas are limited far below 4 GiB"));
    out.extend_from_slice(value);
}

/// Appends a `u32` byte length and what `content` appends.
fn sized(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    u32(out, 0);
    content(out);
    let length = u32::try_from(out.len() - at - 4).expect("maps and indexes of one record stay below 4 GiB");
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

fn string_map(out: &mut Vec<u8>, map: &BTreeMap<String, String>) {
    sized(out, |out| {
        for (key, value) in map {
            bytes(out, key.as_bytes());
            bytes(out, value.as_bytes());
        }
    });
}

/// Appends a Header.
pub fn header(out: &mut Vec<u8>, profile: &str, library: &str) {
    record(out, opcode::HEADER, |out| {
        bytes(out, profile.as_bytes());
        bytes(out, library.as_bytes());
    });
}

/// Appends a Schema.
pub fn schema(out: &mut Vec<u8>, id: u16, schema: &Schema) {
    record(out, opcode::SCHEMA, |out| {
        u16(out, id);
        bytes(out, schema.name.as_bytes());
        bytes(out, schema.encoding.as_bytes());
        bytes(out, &schema.data);
    });
}

/// Appends a Channel; `schema_id` 0 says that there is no schema.
pub fn channel(out: &mut Vec<u8>, id: u16, schema_id: u16, topic: &Topic) {
    record(out, opcode::CHANNEL, |out| {
        u16(out, id);
        u16(out, schema_id);
        bytes(out, topic.name.as_bytes());
        bytes(out, topic.encoding.as_bytes());
        string_map(out, &topic.metadata);
    });
}

/// Returns the bytes of a message record before its payload of `payload_length` bytes.
#[inline]
pub fn message_prefix(channel_id: u16, sequence: u32, log_time_ns: u64, publish_time_ns: u64, payload_length: usize) -> [u8; 31] {
    let mut prefix = [0; MESSAGE_PREFIX_LENGTH];
    prefix[0] = opcode::MESSAGE;
    prefix[1..9].copy_from_slice(&(payload_length as u64 + 22).to_le_bytes());
    prefix[9..11].copy_from_slice(&channel_id.to_le_bytes());
    prefix[11..15].copy_from_slice(&sequence.to_le_bytes());
    prefix[15..23].copy_from_slice(&log_time_ns.to_le_bytes());
    prefix[23..31].copy_from_slice(&publish_time_ns.to_le_bytes());
    prefix
}

/// What a chunk says of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    /// First log time; ns.
    pub start_ns: u64,
    /// Last log time; ns.
    pub end_ns: u64,
    /// Size of the records, uncompressed.
    pub uncompressed_size: u64,
    /// CRC-32 of the uncompressed records; 0 for none.
    pub uncompressed_crc: u32,
    /// `""`, `lz4` or `zstd`.
    pub compression: String,
    /// Size of the records as stored.
    pub compressed_size: u64,
}

/// Appends a Chunk up to its records, which follow as they are stored.
pub fn chunk_prefix(out: &mut Vec<u8>, header: &ChunkHeader) {
    out.push(opcode::CHUNK);
    u64(out, 8 + 8 + 8 + 4 + 4 + header.compression.len() as u64 + 8 + header.compressed_size);
    u64(out, header.start_ns);
    u64(out, header.end_ns);
    u64(out, header.uncompressed_size);
    u32(out, header.uncompressed_crc);
    bytes(out, header.compression.as_bytes());
    u64(out, header.compressed_size);
}

/// Appends a MessageIndex of (log time, offset in the uncompressed chunk).
pub fn message_index(out: &mut Vec<u8>, channel_id: u16, entries: impl Iterator<Item = (u64, u64)>) {
    record(out, opcode::MESSAGE_INDEX, |out| {
        u16(out, channel_id);
        sized(out, |out| {
            for (log_time, offset) in entries {
                u64(out, log_time);
                u64(out, offset);
            }
        });
    });
}

/// Where a chunk is and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkIndex {
    /// What the chunk says of itself.
    pub header: ChunkHeader,
    /// Offset of the Chunk record in the file.
    pub offset: u64,
    /// Length of the Chunk record, prefix included.
    pub length: u64,
    /// Offset of each channel's MessageIndex in the file.
    pub message_index_offsets: Vec<(u16, u64)>,
    /// Length of all its MessageIndex records.
    pub message_index_length: u64,
}

/// Appends a ChunkIndex.
pub fn chunk_index(out: &mut Vec<u8>, index: &ChunkIndex) {
    record(out, opcode::CHUNK_INDEX, |out| {
        u64(out, index.header.start_ns);
        u64(out, index.header.end_ns);
        u64(out, index.offset);
        u64(out, index.length);
        sized(out, |out| {
            for (channel_id, offset) in &index.message_index_offsets {
                u16(out, *channel_id);
                u64(out, *offset);
            }
        });
        u64(out, index.message_index_length);
        bytes(out, index.header.compression.as_bytes());
        u64(out, index.header.compressed_size);
        u64(out, index.header.uncompressed_size);
    });
}

/// What stands in an Attachment record besides its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachmentHeader {
    /// When it was recorded; ns.
    pub log_time_ns: u64,
    /// When it was made; ns.
    pub create_time_ns: u64,
    /// Its name.
    pub name: String,
    /// What kind of data it is, e.g. `application/json`.
    pub media_type: String,
    /// How many bytes of data it has.
    pub size: u64,
}

/// Appends an Attachment.
pub fn attachment(out: &mut Vec<u8>, header: &AttachmentHeader, data: &[u8]) {
    record(out, opcode::ATTACHMENT, |out| {
        let start = out.len();
        u64(out, header.log_time_ns);
        u64(out, header.create_time_ns);
        bytes(out, header.name.as_bytes());
        bytes(out, header.media_type.as_bytes());
        u64(out, data.len() as u64);
        out.extend_from_slice(data);
        let crc = crc32fast::hash(&out[start..]);
        u32(out, crc);
    });
}

/// Appends an AttachmentIndex for the record of `length` bytes (prefix included) at `offset`.
pub fn attachment_index(out: &mut Vec<u8>, offset: u64, length: u64, header: &AttachmentHeader) {
    record(out, opcode::ATTACHMENT_INDEX, |out| {
        u64(out, offset);
        u64(out, length);
        u64(out, header.log_time_ns);
        u64(out, header.create_time_ns);
        u64(out, header.size);
        bytes(out, header.name.as_bytes());
        bytes(out, header.media_type.as_bytes());
    });
}

/// Appends a Metadata record.
pub fn metadata(out: &mut Vec<u8>, name: &str, map: &BTreeMap<String, String>) {
    record(out, opcode::METADATA, |out| {
        bytes(out, name.as_bytes());
        string_map(out, map);
    });
}

/// Appends a MetadataIndex for the record of `length` bytes (prefix included) at `offset`.
pub fn metadata_index(out: &mut Vec<u8>, offset: u64, length: u64, name: &str) {
    record(out, opcode::METADATA_INDEX, |out| {
        u64(out, offset);
        u64(out, length);
        bytes(out, name.as_bytes());
    });
}

/// Counts over a whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Messages.
    pub message_count: u64,
    /// Schemas.
    pub schema_count: u16,
    /// Channels.
    pub channel_count: u32,
    /// Attachments.
    pub attachment_count: u32,
    /// Metadata records.
    pub metadata_count: u32,
    /// Chunks.
    pub chunk_count: u32,
    /// First log time; ns; 0 without messages.
    pub start_ns: u64,
    /// Last log time; ns; 0 without messages.
    pub end_ns: u64,
    /// Messages per channel.
    pub channel_message_counts: BTreeMap<u16, u64>,
}

/// Appends a Statistics record.
pub fn statistics(out: &mut Vec<u8>, statistics: &Statistics) {
    record(out, opcode::STATISTICS, |out| {
        u64(out, statistics.message_count);
        u16(out, statistics.schema_count);
        u32(out, statistics.channel_count);
        u32(out, statistics.attachment_count);
        u32(out, statistics.metadata_count);
        u32(out, statistics.chunk_count);
        u64(out, statistics.start_ns);
        u64(out, statistics.end_ns);
        sized(out, |out| {
            for (channel_id, count) in &statistics.channel_message_counts {
                u16(out, *channel_id);
                u64(out, *count);
            }
        });
    });
}

/// Appends a SummaryOffset for a group of records with `group_opcode`.
pub fn summary_offset(out: &mut Vec<u8>, group_opcode: u8, start: u64, length: u64) {
    record(out, opcode::SUMMARY_OFFSET, |out| {
        out.push(group_opcode);
        u64(out, start);
        u64(out, length);
    });
}

/// Appends a DataEnd; a CRC of 0 says that there is none.
pub fn data_end(out: &mut Vec<u8>, data_section_crc: u32) {
    record(out, opcode::DATA_END, |out| u32(out, data_section_crc));
}

/// Appends the Footer; `summary` is the summary section so far, over which its CRC goes.
pub fn footer(out: &mut Vec<u8>, summary_start: u64, summary_offset_start: u64, summary: &[u8]) {
    let start = out.len();
    out.push(opcode::FOOTER);
    u64(out, 20);
    u64(out, summary_start);
    u64(out, summary_offset_start);
    let mut crc = crc32fast::Hasher::new();
    crc.update(summary);
    crc.update(&out[start..]);
    u32(out, crc.finalize());
}
