//! Records as the JSON of the MCAP conformance suite.
//!
//! **Invariant:** numbers are text, bytes are lists of text, and fields stand in order of their names.

use recording::mcap::record::Record;
use serde_json::{Value, json};

/// Returns a record as the suite has it: its fields sorted by name, numbers as text.
pub(crate) fn of(record: &Record<'_>) -> Value {
    let text = |value: &dyn ToString| Value::String(value.to_string());
    let data = |bytes: &[u8]| Value::Array(bytes.iter().map(|byte| Value::String(byte.to_string())).collect());
    let (name, mut fields) = match record {
        Record::Header { profile, library } => ("Header", vec![("profile", text(profile)), ("library", text(library))]),
        Record::Footer { summary_start, summary_offset_start, summary_crc } => (
            "Footer",
            vec![
                ("summary_start", text(summary_start)),
                ("summary_offset_start", text(summary_offset_start)),
                ("summary_crc", text(summary_crc)),
            ],
        ),
        Record::Schema { id, name, encoding, data: bytes } => {
            ("Schema", vec![("id", text(id)), ("name", text(name)), ("encoding", text(encoding)), ("data", data(bytes))])
        }
        Record::Channel { id, schema_id, topic, message_encoding, metadata } => (
            "Channel",
            vec![
                ("id", text(id)),
                ("schema_id", text(schema_id)),
                ("topic", text(topic)),
                ("message_encoding", text(message_encoding)),
                ("metadata", json!(metadata)),
            ],
        ),
        Record::Message(message) => (
            "Message",
            vec![
                ("channel_id", text(&message.channel_id)),
                ("sequence", text(&message.sequence)),
                ("log_time", text(&message.log_time_ns)),
                ("publish_time", text(&message.publish_time_ns)),
                ("data", data(message.data)),
            ],
        ),
        Record::ChunkIndex(index) => (
            "ChunkIndex",
            vec![
                ("message_start_time", text(&index.header.start_ns)),
                ("message_end_time", text(&index.header.end_ns)),
                ("chunk_start_offset", text(&index.offset)),
                ("chunk_length", text(&index.length)),
                (
                    "message_index_offsets",
                    index.message_index_offsets.iter().map(|(id, offset)| (id.to_string(), text(offset))).collect::<Value>(),
                ),
                ("message_index_length", text(&index.message_index_length)),
                ("compression", text(&index.header.compression)),
                ("compressed_size", text(&index.header.compressed_size)),
                ("uncompressed_size", text(&index.header.uncompressed_size)),
            ],
        ),
        Record::Attachment { log_time_ns, create_time_ns, name, media_type, data: bytes, .. } => (
            "Attachment",
            vec![
                ("log_time", text(log_time_ns)),
                ("create_time", text(create_time_ns)),
                ("name", text(name)),
                ("media_type", text(media_type)),
                ("data", data(bytes)),
            ],
        ),
        Record::AttachmentIndex { offset, length, log_time_ns, create_time_ns, data_size, name, media_type } => (
            "AttachmentIndex",
            vec![
                ("offset", text(offset)),
                ("length", text(length)),
                ("log_time", text(log_time_ns)),
                ("create_time", text(create_time_ns)),
                ("data_size", text(data_size)),
                ("name", text(name)),
                ("media_type", text(media_type)),
            ],
        ),
        Record::Statistics(statistics) => (
            "Statistics",
            vec![
                ("message_count", text(&statistics.message_count)),
                ("schema_count", text(&statistics.schema_count)),
                ("channel_count", text(&statistics.channel_count)),
                ("attachment_count", text(&statistics.attachment_count)),
                ("metadata_count", text(&statistics.metadata_count)),
                ("chunk_count", text(&statistics.chunk_count)),
                ("message_start_time", text(&statistics.start_ns)),
                ("message_end_time", text(&statistics.end_ns)),
                (
                    "channel_message_counts",
                    statistics.channel_message_counts.iter().map(|(id, count)| (id.to_string(), text(count))).collect::<Value>(),
                ),
            ],
        ),
        Record::Metadata { name, map } => ("Metadata", vec![("name", text(name)), ("metadata", json!(map))]),
        Record::MetadataIndex { offset, length, name } => {
            ("MetadataIndex", vec![("offset", text(offset)), ("length", text(length)), ("name", text(name))])
        }
        Record::SummaryOffset { group_opcode, group_start, group_length } => (
            "SummaryOffset",
            vec![("group_opcode", text(group_opcode)), ("group_start", text(group_start)), ("group_length", text(group_length))],
        ),
        Record::DataEnd { data_section_crc } => ("DataEnd", vec![("data_section_crc", text(data_section_crc))]),
        // The suite's expectations leave these out.
        Record::MessageIndex { .. } => ("MessageIndex", Vec::new()),
        Record::Chunk { .. } => ("Chunk", Vec::new()),
        Record::Unknown { opcode, .. } => ("Unknown", vec![("opcode", text(opcode))]),
    };
    fields.sort_by_key(|(name, _)| *name);
    json!({ "type": name, "fields": fields })
}
