//! Keeping the last 60 s of a disk buffer while recording goes on, against copying the same bytes.
//!
//! **Invariant:** every saved recording names at least the bytes that were asked for.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use robot::clock::{Clock, SystemClock};
use robot::{Config, Leave, Length, OpenOptions, Payload, SaveRequest, Tape, Times};
use serde_json::{Value, json};

use crate::append::spec;
use crate::measure::{Moment, sleep_until, written_bytes};
use crate::payload::payloads;

const SECOND_NS: i64 = 1_000_000_000;
const FRAME_BYTES: usize = 1 << 20;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to record.
    #[arg(long)]
    data: PathBuf,
    /// How many MiB the last 60 s have.
    #[arg(long, default_value_t = 1200)]
    mebibytes: usize,
    /// How many recordings are kept.
    #[arg(long, default_value_t = 10)]
    saves: usize,
    /// How many MiB/s are recorded meanwhile.
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
}

/// Fills, saves, counts what was written, and copies.
pub(crate) fn run(arguments: &Arguments) -> Result<Value> {
    let config = Config::parse("[[buffer]]\nname = 'all'\ndisk = { size = '8 GB' }\ncompression = 'none'\n", "bench")?;
    let tape = Tape::open(&arguments.data, config, OpenOptions::default())?;
    let frames = payloads(FRAME_BYTES);
    let channel = tape.channel(spec("/bench/frames"))?;
    let begun_ns = SystemClock.utc_ns() - 60 * SECOND_NS;
    for i in 0..arguments.mebibytes {
        let at_ns = begun_ns + (i as i64) * 60 * SECOND_NS / arguments.mebibytes as i64;
        let times = Times { log_time_ns: Some(at_ns), publish_time_ns: None };
        tape.append(&channel, Payload::Slice(&frames[i % frames.len()]), times)?;
    }
    tape.flush()?;
    let ended = Arc::new(AtomicBool::new(false));
    let recorder = {
        let (tape, channel, frames, ended) = (tape.clone(), channel.clone(), frames.clone(), ended.clone());
        let period_ns = (SECOND_NS as f64 / arguments.rate) as i64;
        thread::Builder::new().name("producer".into()).spawn(move || -> Result<()> {
            let mut due_ns = SystemClock.monotonic_ns();
            for i in 0.. {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                tape.append(&channel, Payload::Slice(&frames[i % frames.len()]), Times::default())?;
                due_ns += period_ns;
                sleep_until(due_ns);
            }
            Ok(())
        })?
    };
    let request = SaveRequest { before: Some(Length::Seconds(60.0)), by: "bench".into(), ..SaveRequest::default() };
    let mut save_ms = Vec::new();
    let mut ids = Vec::new();
    for _ in 0..arguments.saves {
        thread::sleep(Duration::from_millis(200));
        let start = Moment::now();
        let manifest = tape.save(&request)?;
        save_ms.push(start.seconds() * 1e3);
        ids.push(manifest.recording);
    }
    ended.store(true, Ordering::Relaxed);
    recorder.join().map_err(|_| anyhow!("the producer panicked"))??;
    let named_bytes = wait(&tape, &ids)?;
    // Once more while nothing is recorded, so that every byte written is the capture's.
    tape.flush()?;
    let (before, start) = (written_bytes()?, Moment::now());
    let quiet = tape.save(&request)?;
    let quiet_save_ms = start.seconds() * 1e3;
    let quiet_bytes = wait(&tape, &[quiet.recording])?;
    let capture_seconds = start.seconds();
    let written = written_bytes()? - before;
    tape.close(Leave::CutShort)?;
    let copy = copy_all(&arguments.data, quiet_bytes)?;
    Ok(json!({
        "save_ms": save_ms, "quiet_save_ms": quiet_save_ms, "named_bytes": named_bytes, "quiet_named_bytes": quiet_bytes,
        "capture_written_bytes": written, "capture_complete_seconds": capture_seconds, "copy": copy,
    }))
}

/// Waits until all are complete, and returns the least bytes that one of them names.
fn wait(tape: &Tape, ids: &[String]) -> Result<u64> {
    let mut least = u64::MAX;
    for id in ids {
        let manifest = tape.wait(id, Duration::from_secs(120))?;
        least = least.min(manifest.segments.iter().filter_map(|segment| segment.size_bytes).sum());
    }
    ensure!(least > 0 && least < u64::MAX, "a recording names nothing");
    Ok(least)
}

/// Copies as many bytes of segments as a recording names, with a sync at the end, as a copying recorder would.
fn copy_all(data: &std::path::Path, bytes: u64) -> Result<Value> {
    let to = data.join("copies");
    std::fs::create_dir_all(&to)?;
    let mut files = Vec::new();
    find_segments(&data.join("devices"), &mut files)?;
    files.sort();
    let start = Moment::now();
    let mut copied = 0;
    for (i, file) in files.iter().rev().enumerate() {
        if copied >= bytes {
            break;
        }
        let target = to.join(format!("{i}.mcap"));
        copied += std::fs::copy(file, &target)?;
        File::open(&target)?.sync_all()?;
    }
    Ok(json!({ "bytes": copied, "seconds": start.seconds() }))
}

fn find_segments(folder: &std::path::Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find_segments(&path, files)?;
        } else if path.to_string_lossy().contains("-all-") {
            files.push(path);
        }
    }
    Ok(())
}
