//! When a channel's messages come: what tells how long it was silent, and how late it is.
//!
//! In come the times of every message, out go the newest, and the longest time between two.
//!
//! **Invariant:** a message costs a few plain loads and stores. Where several threads log into one channel at once, a time may be that
//! of the other one's message; nothing worse happens.

use std::sync::atomic::{AtomicI64, Ordering};

use recording::Timestamp;

use super::channel::Stamp;

/// How much a new latency moves the average: an eighth of the difference.
const SMOOTHING: i64 = 8;

/// The pulse of one channel. A time of 0 is none.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    last_ns: AtomicI64,
    recent: Gap,
    longest: Gap,
    late_ns: AtomicI64,
}

/// A time without messages.
#[derive(Debug, Default)]
struct Gap {
    length_ns: AtomicI64,
    end_ns: AtomicI64,
}

impl Pulse {
    /// Notes a message.
    #[inline]
    pub(crate) fn beat(&self, stamp: Stamp) {
        let last_ns = self.last_ns.load(Ordering::Relaxed);
        self.last_ns.store(stamp.log_time_ns, Ordering::Relaxed);
        let late_ns = self.late_ns.load(Ordering::Relaxed);
        let now_late_ns = stamp.log_time_ns.saturating_sub(stamp.publish_time_ns);
        let step_ns = now_late_ns.saturating_sub(late_ns) / SMOOTHING;
        self.late_ns.store(if last_ns == 0 { now_late_ns } else { late_ns.saturating_add(step_ns) }, Ordering::Relaxed);
        let gap_ns = stamp.log_time_ns.saturating_sub(last_ns);
        if last_ns > 0 && gap_ns > self.recent.length_ns.load(Ordering::Relaxed) {
            self.recent.store(gap_ns, stamp.log_time_ns);
            // What is recent is never longer than the longest.
            if gap_ns > self.longest.length_ns.load(Ordering::Relaxed) {
                self.longest.store(gap_ns, stamp.log_time_ns);
            }
        }
    }

    /// Returns when the last message came.
    pub(crate) fn last_ns(&self) -> Option<Timestamp> {
        Some(self.last_ns.load(Ordering::Relaxed)).filter(|last_ns| *last_ns > 0)
    }

    /// Returns how late messages are on average: the log time minus the time of publishing.
    pub(crate) fn late_ns(&self) -> i64 {
        self.late_ns.load(Ordering::Relaxed)
    }

    /// Returns the longest time between two messages, and when it ended.
    pub(crate) fn longest_gap(&self) -> Option<(i64, Timestamp)> {
        self.longest.load()
    }

    /// Returns the longest time between two messages since this was asked for the last time, and when it ended. Only one may ask.
    pub(crate) fn take_recent_gap(&self) -> Option<(i64, Timestamp)> {
        let length_ns = self.recent.length_ns.swap(0, Ordering::Relaxed);
        (length_ns > 0).then(|| (length_ns, self.recent.end_ns.load(Ordering::Relaxed)))
    }
}

impl Gap {
    fn store(&self, length_ns: i64, end_ns: Timestamp) {
        self.end_ns.store(end_ns, Ordering::Relaxed);
        self.length_ns.store(length_ns, Ordering::Relaxed);
    }

    fn load(&self) -> Option<(i64, Timestamp)> {
        let length_ns = self.length_ns.load(Ordering::Relaxed);
        (length_ns > 0).then(|| (length_ns, self.end_ns.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_known_of_all_time_and_since_it_was_asked_for() {
        let pulse = Pulse::default();
        let beat = |ns: i64| pulse.beat(Stamp { sequence: 0, log_time_ns: ns, publish_time_ns: ns - 8 });
        assert_eq!((pulse.last_ns(), pulse.longest_gap()), (None, None));
        [100, 110, 150, 160].into_iter().for_each(beat);
        assert_eq!((pulse.take_recent_gap(), pulse.take_recent_gap()), (Some((40, 150)), None));
        [170, 175].into_iter().for_each(beat);
        assert_eq!((pulse.take_recent_gap(), pulse.longest_gap()), (Some((10, 170)), Some((40, 150))));
        // A clock that went back makes no gap.
        [20, 30].into_iter().for_each(beat);
        assert_eq!((pulse.take_recent_gap(), pulse.last_ns(), pulse.late_ns()), (Some((10, 30)), Some(30), 8));
    }
}
