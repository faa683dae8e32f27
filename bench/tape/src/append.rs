//! Messages as fast as they are taken: into the tape, or with the `mcap` crate's writer into one file.
//!
//! Both take the wall clock per message, and are done when the operating system has everything; with `--sync` they sync
//! the disk twice a second, which the tape does unless told otherwise, and at the end.
//!
//! **Invariant:** both write the same payloads on the same topics.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use mcap::records::MessageHeader;
use robot::clock::{Clock, SystemClock};
use robot::{Channel, ChannelSpec, Config, Leave, OpenOptions, Payload, Tape, Times};
use serde_json::{Value, json};

use crate::measure::{Moment, peak_rss};
use crate::payload::payloads;

/// How often `--sync` syncs; the tape's own step for a durability of 1 s.
const SYNC_NS: i64 = 500_000_000;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to write; it must not exist.
    #[arg(long)]
    data: PathBuf,
    #[arg(long, default_value_t = 2_000_000)]
    messages: usize,
    /// Payload bytes per message.
    #[arg(long, default_value_t = 300)]
    size: usize,
    #[arg(long, default_value_t = 10)]
    topics: usize,
    #[arg(long, value_enum, default_value = "none")]
    compression: Compression,
    /// Whether the disk is synced twice a second and at the end.
    #[arg(long)]
    sync: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Compression {
    None,
    Lz4,
    Zstd,
}

/// Measures the tape.
pub(crate) fn tape(arguments: &Arguments) -> Result<Value> {
    let Arguments { data, messages, size, topics, compression, sync } = arguments;
    let compression = compression.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let durability = if *sync { "1 s" } else { "none" };
    let config =
        format!("[[buffer]]\nname = 'all'\ndisk = {{ size = '16 GB' }}\ncompression = '{compression}'\ndurability = '{durability}'\n");
    let tape = Tape::open(data, Config::parse(&config, "bench")?, OpenOptions::default())?;
    let channels: Vec<Arc<Channel>> =
        (0..*topics).map(|i| tape.channel(spec(&format!("/bench/topic_{i}")))).collect::<robot::Result<_>>()?;
    let payloads = payloads(*size);
    let start = Moment::now();
    for i in 0..*messages {
        tape.append(&channels[i % topics], Payload::Slice(&payloads[i % payloads.len()]), Times::default())?;
    }
    let accepted_seconds = start.seconds();
    tape.flush()?;
    let (seconds, cpu_seconds) = (start.seconds(), start.cpu_seconds());
    let status = tape.status();
    ensure!(status.lost_messages == 0, "lost {} messages", status.lost_messages);
    let peak = peak_rss()?;
    tape.close(Leave::CutShort)?;
    Ok(json!({
        "messages": messages, "seconds": seconds, "accepted_seconds": accepted_seconds, "cpu_seconds": cpu_seconds,
        "payload_bytes": messages * size, "peak_rss": peak,
    }))
}

/// Measures the `mcap` crate's writer.
pub(crate) fn mcap(arguments: &Arguments) -> Result<Value> {
    let Arguments { data, messages, size, topics, compression, sync } = arguments;
    let (compression, level) = match compression {
        Compression::None => (None, 0),
        Compression::Lz4 => (Some(mcap::Compression::Lz4), 0),
        // The tape's default level.
        Compression::Zstd => (Some(mcap::Compression::Zstd), 1),
    };
    let file = File::create_new(data)?;
    let options = mcap::WriteOptions::new().compression(compression).compression_level(level);
    let mut writer = options.create(BufWriter::new(file.try_clone()?))?;
    let mut channels = Vec::new();
    for i in 0..*topics {
        let schema = writer.add_schema("Bench", "jsonschema", b"{\"type\":\"object\"}")?;
        channels.push(writer.add_channel(schema, &format!("/bench/topic_{i}"), "json", &Default::default())?);
    }
    let payloads = payloads(*size);
    let start = Moment::now();
    let mut synced_ns = SystemClock.monotonic_ns();
    for i in 0..*messages {
        let now_ns = SystemClock.utc_ns() as u64;
        let header = MessageHeader { channel_id: channels[i % topics], sequence: i as u32, log_time: now_ns, publish_time: now_ns };
        writer.write_to_known_channel(&header, &payloads[i % payloads.len()])?;
        if *sync && i % 4096 == 0 && SystemClock.monotonic_ns() - synced_ns >= SYNC_NS {
            synced_ns = SystemClock.monotonic_ns();
            writer.flush()?;
            file.sync_data()?;
        }
    }
    writer.finish()?;
    drop(writer);
    if *sync {
        file.sync_data()?;
    }
    let (seconds, cpu_seconds) = (start.seconds(), start.cpu_seconds());
    Ok(
        json!({ "messages": messages, "seconds": seconds, "cpu_seconds": cpu_seconds, "payload_bytes": messages * size, "peak_rss": peak_rss()? }),
    )
}

/// Returns a topic as all measurements define theirs.
pub(crate) fn spec(topic: &str) -> ChannelSpec {
    let schema = recording::Schema {
        name: "Bench".into(),
        encoding: "jsonschema".into(),
        data: bytes::Bytes::from_static(b"{\"type\":\"object\"}"),
    };
    ChannelSpec { topic: topic.into(), encoding: "json".into(), schema: Some(Arc::new(schema)), ..ChannelSpec::default() }
}
