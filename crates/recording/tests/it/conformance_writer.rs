//! The MCAP conformance inputs the other way round: records as the JSON says, written by us, are the same bytes.

use std::collections::BTreeMap;
use std::path::Path;

use recording::mcap::chunk::{ChunkBuilder, Compression};
use recording::mcap::record::MAGIC;
use recording::mcap::write::{self, ChunkHeader, ChunkIndex, Statistics};
use recording::message::{Schema, Topic};
use serde_json::Value;

use crate::data;

#[test]
fn records_written_from_the_conformance_inputs_are_identical() {
    let Some(folder) = data::path("mcap-conformance") else { return };
    let mut checked = 0;
    for path in data::files(&folder, ".json") {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        // Padded records test readers: no writer makes them. Attachments are not written by Tapeloop.
        if name.split('-').any(|feature| feature == "pad") || name.starts_with("OneAttachment") {
            continue;
        }
        check(&path);
        checked += 1;
    }
    assert_eq!(checked, 201);
}

/// The fields of one record.
struct Fields<'a>(BTreeMap<&'a str, &'a Value>);

impl<'a> Fields<'a> {
    fn of(record: &'a Value) -> Self {
        let pairs = record["fields"].as_array().unwrap().iter();
        Self(pairs.map(|pair| (pair[0].as_str().unwrap(), &pair[1])).collect())
    }

    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap()
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> T {
        self.text(name).parse().ok().unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        self.0[name].as_array().unwrap().iter().map(|byte| byte.as_str().unwrap().parse().unwrap()).collect()
    }

    fn map(&self, name: &str) -> BTreeMap<String, String> {
        self.0[name].as_object().unwrap().iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect()
    }

    fn numbers<K: std::str::FromStr + Ord>(&self, name: &str) -> BTreeMap<K, u64> {
        self.map(name).into_iter().map(|(key, value)| (key.parse().ok().unwrap(), value.parse().unwrap())).collect()
    }
}

fn check(path: &Path) {
    let input: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let features: Vec<&str> =
        input["meta"]["variant"]["features"].as_array().unwrap().iter().map(|feature| feature.as_str().unwrap()).collect();
    let has = |feature: &str| features.contains(&feature);
    let mut out = MAGIC.to_vec();
    let mut chunk = Vec::new();
    let mut messages = ChunkBuilder::default();
    let mut summary_start = None;
    for record in input["records"].as_array().unwrap() {
        let fields = Fields::of(record);
        let in_data = summary_start.is_none();
        let kind = record["type"].as_str().unwrap();
        match kind {
            "Header" => write::header(&mut out, fields.text("profile"), fields.text("library")),
            "Schema" | "Channel" | "Message" => {
                let target = if has("ch") && in_data { &mut chunk } else { &mut out };
                definition_or_message(kind, &fields, target, &mut messages);
            }
            "Metadata" => write::metadata(&mut out, fields.text("name"), &fields.map("metadata")),
            "DataEnd" => {
                if !chunk.is_empty() {
                    write_chunk(&mut out, &chunk, std::mem::take(&mut messages), has("mx"));
                }
                write::data_end(&mut out, fields.number("data_section_crc"));
                summary_start = Some(out.len());
            }
            "Statistics" => write::statistics(&mut out, &statistics(&fields)),
            "ChunkIndex" => write::chunk_index(&mut out, &chunk_index(&fields)),
            "MetadataIndex" => {
                write::metadata_index(&mut out, fields.number("offset"), fields.number("length"), fields.text("name"));
            }
            "SummaryOffset" => {
                let (opcode, start, length) = (fields.number("group_opcode"), fields.number("group_start"), fields.number("group_length"));
                write::summary_offset(&mut out, opcode, start, length);
            }
            "Footer" => {
                let summary = out[summary_start.unwrap()..].to_vec();
                write::footer(&mut out, fields.number("summary_start"), fields.number("summary_offset_start"), &summary);
            }
            other => panic!("unexpected record {other}"),
        }
    }
    out.extend_from_slice(MAGIC);
    let expected = std::fs::read(path.with_extension("mcap")).unwrap();
    let differs = out.iter().zip(&expected).position(|(a, b)| a != b);
    assert!(out == expected, "{}: first difference at {differs:?}, {} bytes for {}", path.display(), out.len(), expected.len());
}

fn definition_or_message(kind: &str, fields: &Fields<'_>, out: &mut Vec<u8>, messages: &mut ChunkBuilder) {
    match kind {
        "Schema" => {
            let schema =
                Schema { name: fields.text("name").into(), encoding: fields.text("encoding").into(), data: fields.bytes("data").into() };
            write::schema(out, fields.number("id"), &schema);
        }
        "Channel" => {
            let (name, encoding) = (fields.text("topic").to_owned(), fields.text("message_encoding").to_owned());
            let topic = Topic { name, encoding, schema: None, metadata: fields.map("metadata") };
            write::channel(out, fields.number("id"), fields.number("schema_id"), &topic);
        }
        _ => {
            let (channel, sequence) = (fields.number("channel_id"), fields.number("sequence"));
            let (log_time, publish_time, data) = (fields.number("log_time"), fields.number("publish_time"), fields.bytes("data"));
            out.extend_from_slice(&write::message_prefix(channel, sequence, log_time, publish_time, data.len()));
            out.extend_from_slice(&data);
            messages.push(channel, sequence, log_time, publish_time, &data);
        }
    }
}

/// Writes a chunk that, as the conformance inputs have it, holds definitions too; our own chunks hold messages alone.
fn write_chunk(out: &mut Vec<u8>, records: &[u8], messages: ChunkBuilder, with_index: bool) {
    let before = (records.len() - messages.size()) as u64;
    let (start_ns, end_ns) = if messages.is_empty() { (0, 0) } else { messages.times_ns() };
    let header = ChunkHeader {
        start_ns,
        end_ns,
        uncompressed_size: records.len() as u64,
        uncompressed_crc: recording::mcap::chunk::crc32(records),
        compression: String::new(),
        compressed_size: records.len() as u64,
    };
    write::chunk_prefix(out, &header);
    out.extend_from_slice(records);
    if with_index && !messages.is_empty() {
        let encoded = messages.encode(Compression::None);
        for record in recording::mcap::record::Records::new(&encoded.indexes) {
            let parsed = recording::mcap::record::parse(record.opcode, record.body).unwrap();
            if let recording::mcap::record::Record::MessageIndex { channel_id, entries } = parsed {
                write::message_index(out, channel_id, entries.map(|(time, offset)| (time, offset + before)));
            }
        }
    }
}

fn statistics(fields: &Fields<'_>) -> Statistics {
    Statistics {
        message_count: fields.number("message_count"),
        schema_count: fields.number("schema_count"),
        channel_count: fields.number("channel_count"),
        attachment_count: fields.number("attachment_count"),
        metadata_count: fields.number("metadata_count"),
        chunk_count: fields.number("chunk_count"),
        start_ns: fields.number("message_start_time"),
        end_ns: fields.number("message_end_time"),
        channel_message_counts: fields.numbers("channel_message_counts"),
    }
}

fn chunk_index(fields: &Fields<'_>) -> ChunkIndex {
    ChunkIndex {
        header: ChunkHeader {
            start_ns: fields.number("message_start_time"),
            end_ns: fields.number("message_end_time"),
            uncompressed_size: fields.number("uncompressed_size"),
            uncompressed_crc: 0,
            compression: fields.text("compression").into(),
            compressed_size: fields.number("compressed_size"),
        },
        offset: fields.number("chunk_start_offset"),
        length: fields.number("chunk_length"),
        message_index_offsets: fields.numbers("message_index_offsets").into_iter().collect(),
        message_index_length: fields.number("message_index_length"),
    }
}
