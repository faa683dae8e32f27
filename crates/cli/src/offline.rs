//! Keeping something of a tape that nobody records into: after a power cut, on a bench, from a disk that was pulled.
//!
//! In come a folder and a request, out comes a finished recording. The tape is opened as a recorder would, which closes what a
//! crash left open, but nothing is evicted.
//!
//! **Invariant:** "now" is when the last message was recorded, so that `--before 30s` means its last 30 s.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::Context;
use recording::key::SegmentName;
use recording::{Kind, Manifest, Timestamp};
use robot::clock::{Clock, SystemClock};
use robot::tape::{View, config_path};
use robot::{Config, Leave, OpenOptions, SaveRequest, Tape};

use crate::folder;

/// What was kept.
pub(crate) struct Kept {
    /// The recording.
    pub(crate) manifest: Manifest,
    /// When the last message of the tape was recorded; ns UTC.
    pub(crate) end_ns: Timestamp,
}

/// The clock of a tape that has ended: it stands still at the last message.
#[derive(Debug, Default)]
struct EndClock {
    now_ns: AtomicI64,
}

impl Clock for EndClock {
    fn utc_ns(&self) -> Timestamp {
        self.now_ns.load(Ordering::Relaxed)
    }

    fn monotonic_ns(&self) -> i64 {
        SystemClock.monotonic_ns()
    }

    fn is_file(&self) -> bool {
        true
    }
}

/// Keeps a span of the tape in a folder.
///
/// # Errors
/// `NotFound` without a tape, `Conflict` while somebody records into it, and those of [`Tape::save`].
pub(crate) fn save(root: &Path, request: &SaveRequest) -> anyhow::Result<Kept> {
    let (tape, end_ns) = open(root)?;
    let manifest = tape.save(request)?;
    if manifest.asked.end_ns.is_some_and(|asked_ns| asked_ns > end_ns.saturating_add(1)) {
        tape.cut_short(&manifest.recording)?;
    }
    tape.close(Leave::Resume)?;
    Ok(Kept { manifest: tape.recording(&manifest.recording)?, end_ns })
}

/// Removes a recording from the tape in a folder.
///
/// # Errors
/// `NotFound` without a tape or such a recording, `Conflict` while somebody records into it.
pub(crate) fn remove(root: &Path, id: &str) -> anyhow::Result<Manifest> {
    let (tape, _) = open(root)?;
    let removed = tape.remove_recording(id);
    tape.close(Leave::Resume)?;
    Ok(removed?)
}

/// Opens the tape, and returns when its last message was recorded.
fn open(root: &Path) -> anyhow::Result<(Tape, Timestamp)> {
    folder::check_tape(root)?;
    let clock = Arc::new(EndClock::default());
    // The opening itself may have something to write; what the files say will do for its time.
    clock.now_ns.store(recording::read::open(root)?.span().end_ns.saturating_sub(1).max(0), Ordering::Relaxed);
    let (device, host) = recorded_by(root)?;
    let options = OpenOptions { clock: clock.clone(), threads: false, device, host, resume: true, evict: false, ..OpenOptions::default() };
    let tape = Tape::open(root, config(root)?, options).map_err(|error| match error.kind() {
        Kind::Conflict => anyhow::Error::new(error).context("a recorder has the tape; name its socket with --agent"),
        _ => error.into(),
    })?;
    // Losses that opening it found must be known before something is kept.
    tape.turn();
    let end_ns = last_ns(&tape.view(), tape.boot()).unwrap_or_else(|| clock.utc_ns());
    clock.now_ns.store(end_ns, Ordering::Relaxed);
    Ok((tape, end_ns))
}

/// Returns the configuration that the tape was recorded with, which says which buffer is the best; an empty one if that is lost.
fn config(root: &Path) -> anyhow::Result<Config> {
    let path = config_path(root);
    let shown = path.display().to_string();
    match fs::read_to_string(&path) {
        Ok(text) => Config::parse(&text, &shown).or_else(|_| Ok(Config::empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Config::empty()),
        Err(error) => Err(error).with_context(|| format!("cannot read {shown}")),
    }
}

/// Returns the device and the host of the newest segments.
fn recorded_by(root: &Path) -> anyhow::Result<(Option<String>, Option<String>)> {
    let mut newest = None;
    for device in folder::list(&root.join("devices"))? {
        // The names of days sort by time.
        let day = folder::list(&device.join("segments"))?.into_iter().rfind(|day| day.is_dir());
        newest = newest.max(day.map(|day| (day.file_name().map(ToOwned::to_owned), device.clone(), day)));
    }
    let Some((_, device, day)) = newest else { return Ok((None, None)) };
    let segments = folder::list(&day)?;
    let host = segments.iter().rev().find_map(|path| SegmentName::parse(path.file_name()?.to_str()?)).map(|name| name.host);
    let device = device.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    Ok((device, host))
}

/// Returns the last log time of what was on the tape before this opening.
fn last_ns(view: &View, boot: u64) -> Option<Timestamp> {
    view.last_before(boot).map(|behind_ns| behind_ns.saturating_sub(1))
}
