//! The clocks a tape runs on: the machine's, or that of a recorded file which is played into it.
//!
//! **Invariant:** everything in this crate that needs to know the time asks a [`Clock`]; only this file asks the machine.

use std::sync::atomic::{AtomicI64, Ordering};

use recording::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Two views of now.
pub trait Clock: Send + Sync {
    /// Returns what the wall clock says, right or wrong; ns UTC.
    fn utc_ns(&self) -> Timestamp;

    /// Returns a time that never jumps; ns since some moment.
    fn monotonic_ns(&self) -> i64;

    /// Returns whether the times are those of a file that is played, not the machine's.
    fn is_file(&self) -> bool {
        false
    }

    /// Takes note of a message's log time; a file's clock moves on to it.
    fn heard(&self, _log_time_ns: Timestamp) {}
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn utc_ns(&self) -> Timestamp {
        now_ns(ClockId::Realtime)
    }

    fn monotonic_ns(&self) -> i64 {
        now_ns(ClockId::Boottime)
    }
}

fn now_ns(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// The clock of a recorded file: it says the log time of the newest message that was played.
#[derive(Debug)]
pub struct FileClock {
    now_ns: AtomicI64,
}

impl FileClock {
    /// Returns a clock that says `start_ns`.
    pub fn new(start_ns: Timestamp) -> Self {
        Self { now_ns: AtomicI64::new(start_ns) }
    }
}

impl Clock for FileClock {
    fn utc_ns(&self) -> Timestamp {
        self.now_ns.load(Ordering::Relaxed)
    }

    fn monotonic_ns(&self) -> i64 {
        SystemClock.monotonic_ns()
    }

    fn is_file(&self) -> bool {
        true
    }

    fn heard(&self, log_time_ns: Timestamp) {
        self.now_ns.fetch_max(log_time_ns, Ordering::Relaxed);
    }
}
