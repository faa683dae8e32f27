//! `conformance_writer FILE.json OUT.mcap`: records as the JSON of the MCAP conformance suite has them, written as an MCAP file.
//!
//! **Invariant:** the same records give the same bytes.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::str::FromStr;

use recording::mcap::chunk::{ChunkBuilder, Compression};
use recording::mcap::record::MAGIC;
use recording::mcap::write::{self, AttachmentHeader, ChunkHeader, ChunkIndex, PREFIX_LENGTH, Statistics};
use recording::message::{Schema, Topic};
use serde_json::Value;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// What the suite's generator puts behind the fields of records, as a newer version of the format might.
const PADDING: [u8; 3] = [0x01, 0xff, 0xff];

#[allow(dead_code, reason = "the test calls what it calls")]
fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let path = arguments.next().ok_or("name the JSON to read")?;
    let out = arguments.next().ok_or("name the file to write")?;
    Ok(std::fs::write(out, run(Path::new(&path))?)?)
}

/// Returns the file.
pub(crate) fn run(path: &Path) -> Result<Vec<u8>> {
    let input: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let features = input["meta"]["variant"]["features"].as_array().ok_or("no features")?;
    let has = |feature: &str| features.iter().any(|known| known == feature);
    let mut out = MAGIC.to_vec();
    let mut chunk = Vec::new();
    let mut messages = ChunkBuilder::default();
    let mut summary_start = None;
    for record in input["records"].as_array().ok_or("no records")? {
        let fields = Fields::of(record)?;
        let in_data = summary_start.is_none();
        let kind = record["type"].as_str().ok_or("a record without a type")?;
        let start = out.len();
        match kind {
            "Header" => write::header(&mut out, fields.text("profile")?, fields.text("library")?),
            "Schema" | "Channel" | "Message" => {
                let target = if has("ch") && in_data { &mut chunk } else { &mut out };
                definition_or_message(kind, &fields, target, &mut messages)?;
            }
            "Metadata" => write::metadata(&mut out, fields.text("name")?, &fields.map("metadata")?),
            "Attachment" => {
                let data = fields.bytes("data")?;
                write::attachment(&mut out, &attachment(&fields, data.len() as u64)?, &data);
            }
            "DataEnd" => {
                if !chunk.is_empty() {
                    write_chunk(&mut out, &chunk, std::mem::take(&mut messages), has("mx"), has("pad"))?;
                }
                write::data_end(&mut out, fields.number("data_section_crc")?);
                summary_start = Some(out.len());
            }
            "Statistics" => write::statistics(&mut out, &statistics(&fields)?),
            "ChunkIndex" => write::chunk_index(&mut out, &chunk_index(&fields)?),
            "AttachmentIndex" => {
                let header = attachment(&fields, fields.number("data_size")?)?;
                write::attachment_index(&mut out, fields.number("offset")?, fields.number("length")?, &header);
            }
            "MetadataIndex" => {
                write::metadata_index(&mut out, fields.number("offset")?, fields.number("length")?, fields.text("name")?);
            }
            "SummaryOffset" => {
                let (opcode, start, length) =
                    (fields.number("group_opcode")?, fields.number("group_start")?, fields.number("group_length")?);
                write::summary_offset(&mut out, opcode, start, length);
            }
            "Footer" => {
                let summary = out[summary_start.ok_or("a footer without a summary")?..].to_vec();
                write::footer(&mut out, fields.number("summary_start")?, fields.number("summary_offset_start")?, &summary);
            }
            other => return Err(format!("unexpected record {other}").into()),
        }
        if has("pad") && out.len() > start && !matches!(kind, "Message" | "DataEnd" | "Footer") {
            pad(&mut out, start);
        }
    }
    out.extend_from_slice(MAGIC);
    Ok(out)
}

/// Puts padding behind the fields of the record that begins at `start` and is the last one.
fn pad(out: &mut Vec<u8>, start: usize) {
    out.extend_from_slice(&PADDING);
    let length = (out.len() - start - PREFIX_LENGTH) as u64;
    out[start + 1..start + PREFIX_LENGTH].copy_from_slice(&length.to_le_bytes());
}

fn attachment(fields: &Fields<'_>, size: u64) -> Result<AttachmentHeader> {
    Ok(AttachmentHeader {
        log_time_ns: fields.number("log_time")?,
        create_time_ns: fields.number("create_time")?,
        name: fields.text("name")?.to_owned(),
        media_type: fields.text("media_type")?.to_owned(),
        size,
    })
}

/// The fields of one record.
struct Fields<'a>(BTreeMap<&'a str, &'a Value>);

impl<'a> Fields<'a> {
    fn of(record: &'a Value) -> Result<Self> {
        let pairs = record["fields"].as_array().ok_or("a record without fields")?.iter();
        Ok(Self(pairs.filter_map(|pair| Some((pair[0].as_str()?, &pair[1]))).collect()))
    }

    fn field(&self, name: &str) -> Result<&'a Value> {
        self.0.get(name).copied().ok_or_else(|| format!("no field {name}").into())
    }

    fn text(&self, name: &str) -> Result<&'a str> {
        self.field(name)?.as_str().ok_or_else(|| format!("field {name} is no text").into())
    }

    fn number<T: FromStr>(&self, name: &str) -> Result<T> {
        self.text(name)?.parse().map_err(|_| format!("field {name} is no number").into())
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let list = self.field(name)?.as_array().ok_or_else(|| format!("field {name} is no list"))?;
        list.iter().map(|byte| byte.as_str().unwrap_or_default().parse().map_err(|_| format!("field {name} is no bytes").into())).collect()
    }

    fn map(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let map = self.field(name)?.as_object().ok_or_else(|| format!("field {name} is no map"))?;
        Ok(map.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect())
    }

    fn numbers<K: FromStr + Ord>(&self, name: &str) -> Result<BTreeMap<K, u64>> {
        let number = |text: &str| text.parse().map_err(|_| format!("field {name} is no map of numbers"));
        let key = |text: &str| text.parse().map_err(|_| format!("field {name} is no map of numbers"));
        self.map(name)?.into_iter().map(|(k, v)| Ok((key(&k)?, number(&v)?))).collect()
    }
}

fn definition_or_message(kind: &str, fields: &Fields<'_>, out: &mut Vec<u8>, messages: &mut ChunkBuilder) -> Result<()> {
    match kind {
        "Schema" => {
            let schema =
                Schema { name: fields.text("name")?.into(), encoding: fields.text("encoding")?.into(), data: fields.bytes("data")?.into() };
            write::schema(out, fields.number("id")?, &schema);
        }
        "Channel" => {
            let (name, encoding) = (fields.text("topic")?.to_owned(), fields.text("message_encoding")?.to_owned());
            let topic = Topic { name, encoding, schema: None, metadata: fields.map("metadata")? };
            write::channel(out, fields.number("id")?, fields.number("schema_id")?, &topic);
        }
        _ => {
            let (channel, sequence) = (fields.number("channel_id")?, fields.number("sequence")?);
            let (log_time, publish_time, data) = (fields.number("log_time")?, fields.number("publish_time")?, fields.bytes("data")?);
            out.extend_from_slice(&write::message_prefix(channel, sequence, log_time, publish_time, data.len()));
            out.extend_from_slice(&data);
            messages.push(channel, sequence, log_time, publish_time, &data);
        }
    }
    Ok(())
}

/// Writes a chunk that, as the conformance inputs have it, holds definitions too; our own chunks hold messages alone.
fn write_chunk(out: &mut Vec<u8>, records: &[u8], messages: ChunkBuilder, with_index: bool, padded: bool) -> Result<()> {
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
            let parsed = recording::mcap::record::parse(record.opcode, record.body)?;
            if let recording::mcap::record::Record::MessageIndex { channel_id, entries } = parsed {
                let start = out.len();
                write::message_index(out, channel_id, entries.map(|(time, offset)| (time, offset + before)));
                if padded {
                    pad(out, start);
                }
            }
        }
    }
    Ok(())
}

fn statistics(fields: &Fields<'_>) -> Result<Statistics> {
    Ok(Statistics {
        message_count: fields.number("message_count")?,
        schema_count: fields.number("schema_count")?,
        channel_count: fields.number("channel_count")?,
        attachment_count: fields.number("attachment_count")?,
        metadata_count: fields.number("metadata_count")?,
        chunk_count: fields.number("chunk_count")?,
        start_ns: fields.number("message_start_time")?,
        end_ns: fields.number("message_end_time")?,
        channel_message_counts: fields.numbers("channel_message_counts")?,
    })
}

fn chunk_index(fields: &Fields<'_>) -> Result<ChunkIndex> {
    Ok(ChunkIndex {
        header: ChunkHeader {
            start_ns: fields.number("message_start_time")?,
            end_ns: fields.number("message_end_time")?,
            uncompressed_size: fields.number("uncompressed_size")?,
            uncompressed_crc: 0,
            compression: fields.text("compression")?.into(),
            compressed_size: fields.number("compressed_size")?,
        },
        offset: fields.number("chunk_start_offset")?,
        length: fields.number("chunk_length")?,
        message_index_offsets: fields.numbers("message_index_offsets")?.into_iter().collect(),
        message_index_length: fields.number("message_index_length")?,
    })
}
