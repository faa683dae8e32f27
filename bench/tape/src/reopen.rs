//! A tape of many small segments that was killed, and how long it takes to accept messages again.
//!
//! **Invariant:** the tape that is opened was never closed.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use robot::{Config, Leave, OpenOptions, Payload, Tape, Times};
use serde_json::{Value, json};

use crate::append::spec;
use crate::measure::Moment;
use crate::payload::payload;

const CONFIG: &str = "[segment]\nsize = '4 KiB'\n[[buffer]]\nname = 'all'\ndisk = { size = '4 GB' }\ncompression = 'none'\n";
/// How many topics the segments have, so that they are not all of one set.
const TOPICS: usize = 50;

#[derive(clap::Args)]
pub(crate) struct MakeArguments {
    /// Where to record.
    #[arg(long)]
    data: PathBuf,
    #[arg(long, default_value_t = 20_000)]
    segments: usize,
}

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The tape.
    #[arg(long)]
    data: PathBuf,
    /// How many segments it has at least.
    #[arg(long, default_value_t = 20_000)]
    segments: usize,
}

/// Makes the tape, and kills this process.
pub(crate) fn make(arguments: &MakeArguments) -> Result<Value> {
    // Without syncs, which only make this take longer.
    let tape = Tape::open(&arguments.data, Config::parse(&format!("{CONFIG}durability = 'none'\n"), "bench")?, OpenOptions::default())?;
    let bytes = payload(1, 5000);
    let channels: Vec<_> = (0..TOPICS).map(|i| tape.channel(spec(&format!("/bench/topic_{i}")))).collect::<robot::Result<_>>()?;
    for i in 0..arguments.segments {
        tape.append(&channels[i % TOPICS], Payload::Slice(&bytes), Times::default())?;
        tape.flush()?;
    }
    // One segment is open, and another message is in no chunk yet.
    tape.append(&channels[0], Payload::Slice(&bytes[..1000]), Times::default())?;
    tape.flush()?;
    tape.append(&channels[0], Payload::Slice(&bytes[..1000]), Times::default())?;
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).context("cannot kill this process")?;
    unreachable!("this process was killed")
}

/// Opens the tape and logs.
pub(crate) fn run(arguments: &Arguments) -> Result<Value> {
    let start = Moment::now();
    let tape = Tape::open(&arguments.data, Config::parse(CONFIG, "bench")?, OpenOptions::default())?;
    let opened = start.seconds();
    let channel = tape.channel(spec("/bench/topic_0"))?;
    tape.append(&channel, Payload::Slice(b"{}"), Times::default())?;
    let (accepted, cpu_seconds) = (start.seconds(), start.cpu_seconds());
    tape.flush()?;
    let durable = start.seconds();
    let segments: usize = tape.status().buffers.iter().map(|buffer| buffer.segments).sum();
    ensure!(segments >= arguments.segments, "only {segments} segments");
    let report = json!({ "open_ms": opened * 1e3, "accepted_ms": accepted * 1e3, "durable_ms": durable * 1e3, "cpu_seconds": cpu_seconds, "segments": segments });
    tape.close(Leave::CutShort)?;
    Ok(report)
}
