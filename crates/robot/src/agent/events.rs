//! The agent's own events, on the tape and in the log, so many that they help and not so many that they drown the tape.
//!
//! **Invariant:** what is held back is counted, and the count is written with the next event.

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::Tape;
use crate::clock::Clock;

/// How many events there may be at once.
const BURST: u32 = 40;
/// After how long another one may follow.
const INTERVAL_NS: i64 = 500_000_000;

/// Writes events at a bounded rate.
pub(crate) struct Events {
    tape: Tape,
    budget: Mutex<Budget>,
}

/// How many events may be written.
#[derive(Debug)]
struct Budget {
    left: u32,
    refilled_ns: i64,
    held_back: u64,
}

impl Events {
    pub(crate) fn new(tape: Tape) -> Self {
        Self { tape, budget: Mutex::new(Budget { left: BURST, refilled_ns: 0, held_back: 0 }) }
    }

    /// Writes an event to the tape and a line to the log.
    pub(crate) fn report(&self, clock: &dyn Clock, kind: &str, message: &str, mut detail: Value) {
        let Some(held_back) = self.budget.lock().take(clock.monotonic_ns()) else { return };
        if held_back > 0 {
            detail["held_back"] = json!(held_back);
        }
        super::say(std::io::stderr(), message);
        self.tape.report_event(kind, message, detail);
    }
}

impl Budget {
    /// Returns how many events were held back, if one may be written now.
    fn take(&mut self, now_ns: i64) -> Option<u64> {
        let earned = now_ns.saturating_sub(self.refilled_ns) / INTERVAL_NS;
        if earned > 0 {
            self.left = self.left.saturating_add(earned.min(i64::from(BURST)) as u32).min(BURST);
            self.refilled_ns = now_ns;
        }
        if self.left == 0 {
            self.held_back += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_events_is_held_back_and_counted() {
        let mut budget = Budget { left: BURST, refilled_ns: 0, held_back: 0 };
        let written = (0..1000).filter(|_| budget.take(0).is_some()).count();
        assert_eq!(written, BURST as usize);
        assert_eq!(budget.take(INTERVAL_NS), Some(960));
        assert_eq!(budget.take(INTERVAL_NS), None);
        assert_eq!(budget.take(1000 * INTERVAL_NS), Some(1));
    }
}
