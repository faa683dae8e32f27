//! Loads at their own pace: many small topics from one thread, each large topic group from another.
//!
//! **Invariant:** a producer that falls behind sends late, never less; how late is part of the result.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use recording::{Span, TopicFilter};
use robot::clock::{Clock, SystemClock};
use robot::{Channel, Config, Leave, OpenOptions, Payload, Tape, Times};
use serde_json::{Value, json};

use crate::append::spec;
use crate::measure::{Moment, forget_peak, peak_rss, rss, sleep_until};
use crate::payload::payloads;

const SECOND_NS: i64 = 1_000_000_000;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to record.
    #[arg(long)]
    data: PathBuf,
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Streams, `TOPICSxHZxBYTES`, e.g. `500x200x100`.
    #[arg(long = "stream", required = true)]
    streams: Vec<String>,
    /// The buffers, as the configuration has them.
    #[arg(long)]
    config: String,
    /// Multiplies every rate.
    #[arg(long, default_value_t = 1.0)]
    share: f64,
    /// Whether what is on disk is read back and counted.
    #[arg(long)]
    verify: bool,
}

/// Some topics of one rate and size.
#[derive(Clone, Copy)]
struct Stream {
    topics: usize,
    hz: f64,
    bytes: usize,
}

/// What a producer met.
#[derive(Default)]
struct Produced {
    messages: u64,
    bytes: u64,
    /// How long its slowest call took; ns.
    slowest_ns: i64,
    /// How far it was behind its schedule at most; ns.
    latest_ns: i64,
    errors: u64,
    cpu_ns: i64,
}

/// Plays a load.
pub(crate) fn run(arguments: &Arguments) -> Result<Value> {
    let config = Config::parse(&arguments.config, "bench")?;
    let streams: Vec<Stream> = arguments.streams.iter().map(|text| parse(text, arguments.share)).collect::<Result<_>>()?;
    let prepared: Vec<(Stream, Vec<Bytes>)> = streams.iter().map(|stream| (*stream, payloads(stream.bytes))).collect();
    let tape = Tape::open(&arguments.data, config, OpenOptions::default())?;
    // What the payloads and the program itself take is not the tape's.
    forget_peak();
    let base_rss = rss()?;
    let start = Moment::now();
    let start_ns = SystemClock.monotonic_ns() + 10_000_000;
    let threads: Vec<_> = prepared
        .into_iter()
        .enumerate()
        .map(|(i, (stream, payloads))| {
            let (tape, seconds) = (tape.clone(), arguments.seconds);
            thread::Builder::new().name(format!("producer-{i}")).spawn(move || produce(&tape, i, stream, &payloads, start_ns, seconds))
        })
        .collect::<std::io::Result<_>>()?;
    let mut total = Produced::default();
    for thread in threads {
        let produced = thread.join().map_err(|_| anyhow!("a producer panicked"))??;
        total.messages += produced.messages;
        total.bytes += produced.bytes;
        total.errors += produced.errors;
        total.cpu_ns += produced.cpu_ns;
        total.slowest_ns = total.slowest_ns.max(produced.slowest_ns);
        total.latest_ns = total.latest_ns.max(produced.latest_ns);
    }
    let seconds = start.seconds();
    tape.flush()?;
    let cpu_seconds = start.cpu_seconds();
    let (peak, status) = (peak_rss()?, tape.status());
    let buffers = status.buffers.iter().filter(|buffer| buffer.name != robot::config::RECORDER_BUFFER);
    let held_bytes: u64 = buffers.map(|buffer| buffer.size_bytes).sum();
    tape.close(Leave::CutShort)?;
    let mut report = json!({
        "messages": total.messages, "bytes": total.bytes, "seconds": seconds, "cpu_seconds": cpu_seconds,
        "producer_cpu_seconds": total.cpu_ns as f64 / 1e9, "lost": status.lost_messages, "errors": total.errors,
        "slowest_call_ms": total.slowest_ns as f64 / 1e6, "latest_ms": total.latest_ns as f64 / 1e6,
        "base_rss": base_rss, "peak_rss": peak, "held_bytes": held_bytes,
    });
    if arguments.verify {
        let filter = TopicFilter::parse(&["/bench/**"])?;
        let messages = recording::read::open(&arguments.data)?.messages(&filter, Span::new(0, i64::MAX))?;
        let read = messages.collect::<recording::Result<Vec<_>>>()?.len() as u64;
        ensure!(read == total.messages, "logged {} messages and read {read} back", total.messages);
        report["read_back"] = read.into();
    }
    Ok(report)
}

fn parse(text: &str, share: f64) -> Result<Stream> {
    let parts: Vec<&str> = text.split('x').collect();
    match parts.as_slice() {
        [topics, hz, bytes] => Ok(Stream { topics: topics.parse()?, hz: hz.parse::<f64>()? * share, bytes: bytes.parse()? }),
        _ => Err(anyhow!("not a stream: '{text}' (write it like 500x200x100)")),
    }
}

/// Sends every topic of a stream once per period.
fn produce(tape: &Tape, number: usize, stream: Stream, payloads: &[Bytes], start_ns: i64, seconds: f64) -> Result<Produced> {
    let topic = |i: usize| format!("/bench/stream_{number}/topic_{i}");
    let channels: Vec<Arc<Channel>> = (0..stream.topics).map(|i| tape.channel(spec(&topic(i)))).collect::<robot::Result<_>>()?;
    let mut produced = Produced::default();
    let end_ns = start_ns + (seconds * SECOND_NS as f64) as i64;
    for period in 0.. {
        let due_ns = start_ns + (period as f64 * SECOND_NS as f64 / stream.hz) as i64;
        if due_ns >= end_ns {
            break;
        }
        sleep_until(due_ns);
        let mut before_ns = SystemClock.monotonic_ns();
        produced.latest_ns = produced.latest_ns.max(before_ns - due_ns);
        for (i, channel) in channels.iter().enumerate() {
            // A sensor's buffer is its own: what is logged is borrowed, and copied once.
            let payload = &payloads[(period + i) % payloads.len()];
            produced.errors += u64::from(tape.append(channel, Payload::Slice(payload), Times::default()).is_err());
            let after_ns = SystemClock.monotonic_ns();
            produced.slowest_ns = produced.slowest_ns.max(after_ns - before_ns);
            before_ns = after_ns;
        }
        produced.messages += channels.len() as u64;
        produced.bytes += (channels.len() * stream.bytes) as u64;
    }
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    produced.cpu_ns = cpu.tv_sec * SECOND_NS + cpu.tv_nsec;
    Ok(produced)
}
