//! Reading files: all of one, in order of time, and one topic of a large one.
//!
//! **Invariant:** every payload is touched, so that nobody is fast by not reading it.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use recording::mcap::chunk::{ChunkBuilder, Compression};
use recording::mcap::segment::{Definition, SegmentWriter};
use recording::message::Topic;
use recording::{Span, TopicFilter};
use serde_json::{Value, json};

use crate::measure::{Moment, peak_rss, read_bytes};

/// How many topics the large file has; each fills chunks of its own.
const TOPICS: u16 = 100;
/// How large a chunk of the large file is, and a message.
const CHUNK: usize = 1 << 20;
const MESSAGE: usize = 4096;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The file.
    #[arg(long)]
    data: PathBuf,
    /// Topic patterns; none for all.
    #[arg(long)]
    topics: Vec<String>,
}

#[derive(clap::Args)]
pub(crate) struct MakeArguments {
    /// The file to write.
    #[arg(long)]
    data: PathBuf,
    /// How large it becomes.
    #[arg(long, default_value_t = 1_000_000_000)]
    bytes: u64,
}

/// Reads with Tapeloop.
pub(crate) fn run(arguments: &Arguments) -> Result<Value> {
    let size = arguments.data.metadata()?.len();
    let (start, before) = (Moment::now(), read_bytes()?);
    let recording = recording::read::open(&arguments.data)?;
    let (mut count, mut bytes) = (0u64, 0u64);
    for message in recording.messages(&TopicFilter::parse(&arguments.topics)?, Span::ALL)? {
        let message = message?;
        (count, bytes) = (count + 1, bytes + message.data.len() as u64);
        black_box((message.data.first(), message.data.last()));
    }
    report(start, count, bytes, size, read_bytes()?.saturating_sub(before))
}

/// Reads with the `mcap` crate, in the order of the file.
pub(crate) fn mcap(arguments: &Arguments) -> Result<Value> {
    let size = arguments.data.metadata()?.len();
    let (start, before) = (Moment::now(), read_bytes()?);
    let file = std::fs::read(&arguments.data)?;
    let (mut count, mut bytes) = (0u64, 0u64);
    for message in mcap::MessageStream::new(&file)? {
        let message = message?;
        (count, bytes) = (count + 1, bytes + message.data.len() as u64);
        black_box((message.data.first(), message.data.last()));
    }
    report(start, count, bytes, size, read_bytes()?.saturating_sub(before))
}

fn report(start: Moment, messages: u64, bytes: u64, size: u64, read: u64) -> Result<Value> {
    let (seconds, cpu_seconds, peak_rss) = (start.seconds(), start.cpu_seconds(), peak_rss()?);
    Ok(json!({
        "messages": messages, "bytes": bytes, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_rss": peak_rss,
        "file_bytes": size, "read_bytes": read,
    }))
}

/// Writes a file of a hundred topics, each in chunks of its own, that come in turn.
pub(crate) fn make(arguments: &MakeArguments) -> Result<Value> {
    let mut out = BufWriter::new(File::create(&arguments.data)?);
    let mut bytes = Vec::new();
    let mut writer = SegmentWriter::begin(&mut bytes, "");
    for id in 1..=TOPICS {
        let topic = Topic { name: format!("/bench/topic_{id}"), encoding: "cdr".into(), schema: None, metadata: Default::default() };
        writer.define(&mut bytes, &Definition { channel_id: id, schema_id: 0, topic: Arc::new(topic) });
    }
    out.write_all(&bytes)?;
    let mut payload = vec![0; MESSAGE];
    let (mut number, mut state) = (0u32, 1u64);
    while writer.size() < arguments.bytes {
        for id in 1..=TOPICS {
            let mut chunk = ChunkBuilder::default();
            while chunk.size() < CHUNK {
                for word in payload.chunks_exact_mut(8) {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    word.copy_from_slice(&state.to_le_bytes());
                }
                chunk.push(id, number, u64::from(number) * 1000, 0, &payload);
                number += 1;
            }
            let chunk = chunk.encode(Compression::None);
            writer.chunk(&chunk);
            chunk.parts().iter().try_for_each(|part| out.write_all(part))?;
        }
    }
    bytes.clear();
    writer.finish(&mut bytes);
    out.write_all(&bytes)?;
    out.into_inner()?.sync_all()?;
    Ok(json!({ "messages": number, "bytes": size(&arguments.data)? }))
}

fn size(path: &Path) -> Result<u64> {
    Ok(path.metadata()?.len())
}
