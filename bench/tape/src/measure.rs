//! Wall time, CPU time, memory and bytes written of this process.
//!
//! **Invariant:** what is measured is this process alone; what others do only shows in the wall time.

use anyhow::{Context, Result};
use robot::clock::{Clock, SystemClock};
use rustix::time::{ClockId, clock_gettime};

/// A moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    wall_ns: i64,
    cpu_ns: i64,
}

impl Moment {
    /// Returns now.
    pub(crate) fn now() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Self { wall_ns: SystemClock.monotonic_ns(), cpu_ns: cpu.tv_sec * 1_000_000_000 + cpu.tv_nsec }
    }

    /// Returns how many seconds have passed.
    pub(crate) fn seconds(self) -> f64 {
        (SystemClock.monotonic_ns() - self.wall_ns) as f64 / 1e9
    }

    /// Returns how many seconds of CPU time all threads of this process took.
    pub(crate) fn cpu_seconds(self) -> f64 {
        (Self::now().cpu_ns - self.cpu_ns) as f64 / 1e9
    }
}

/// Forgets the highest memory use so far.
pub(crate) fn forget_peak() {
    // Where the kernel refuses, the peak is that of the whole run: too high, never too low.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Returns the highest resident set of this process, in bytes.
pub(crate) fn peak_rss() -> Result<u64> {
    status_bytes("VmHWM:")
}

/// Returns the resident set of this process now, in bytes.
pub(crate) fn rss() -> Result<u64> {
    status_bytes("VmRSS:")
}

fn status_bytes(key: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key} in /proc/self/status"))?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? << 10)
}

/// Returns how many bytes this process has handed to write calls.
pub(crate) fn written_bytes() -> Result<u64> {
    io_bytes("wchar:")
}

/// Returns how many bytes this process got from read calls.
pub(crate) fn read_bytes() -> Result<u64> {
    io_bytes("rchar:")
}

fn io_bytes(key: &str) -> Result<u64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key} in /proc/self/io"))?;
    Ok(line.trim().parse()?)
}

/// Sleeps until the monotonic clock says `ns`.
pub(crate) fn sleep_until(ns: i64) {
    let left = ns - SystemClock.monotonic_ns();
    if left > 0 {
        std::thread::sleep(std::time::Duration::from_nanos(left as u64));
    }
}
