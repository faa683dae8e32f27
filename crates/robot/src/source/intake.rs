//! The way from a source into the tape.
//!
//! **Invariant:** what a source hands over is on the tape, or in its losses, or counted as refused.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use recording::{Error, Kind, Loss, Result, Schema};
use serde_json::{Value, json};

use crate::Tape;
use crate::infer::schema_of;
use crate::stop::StopFlag;
use crate::tape::channel::{Channel, ChannelSpec, Payload, Times};

/// How many channels one source may open: a sender that makes up topics must not take them from the others.
pub(super) const CHANNEL_LIMIT: usize = 10_000;
/// The shortest time between two events that say what was refused.
const REFUSAL_INTERVAL_NS: i64 = 10_000_000_000;
/// After how long without messages a source's allowance of bytes is full again.
const ALLOWANCE_SECONDS: f64 = 1.0;
/// How often a source whose input can wait looks whether there is room.
const ROOM_STEP: Duration = Duration::from_millis(10);

/// Takes what one source has. Shared by all threads of it.
pub struct Intake {
    tape: Tape,
    name: String,
    limit_bytes_per_s: Option<u64>,
    allowance: Mutex<Allowance>,
    /// The channels that it opened, by id.
    opened: Mutex<HashSet<u16>>,
    gap: Mutex<Option<Gap>>,
    pub(super) counters: Counters,
    /// What the source says of itself.
    pub(super) note: Mutex<Option<String>>,
}

/// What went through.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) messages: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) last_ns: AtomicI64,
    refusal_told_ns: AtomicI64,
}

/// A stretch of time in which nothing comes.
struct Gap {
    began_ns: i64,
    topics: Vec<String>,
}

/// How many bytes may come now.
struct Allowance {
    bytes: f64,
    filled_ns: i64,
}

impl Intake {
    pub(super) fn new(tape: Tape, name: String, limit_bytes_per_s: Option<u64>) -> Self {
        let full = limit_bytes_per_s.map_or(0.0, |limit| limit as f64 * ALLOWANCE_SECONDS);
        let allowance = Mutex::new(Allowance { bytes: full, filled_ns: tape.clock().monotonic_ns() });
        Self {
            tape,
            name,
            limit_bytes_per_s,
            allowance,
            opened: Mutex::default(),
            gap: Mutex::default(),
            counters: Counters::default(),
            note: Mutex::default(),
        }
    }

    /// Returns what the recorder's clock says; ns UTC.
    pub fn now_ns(&self) -> i64 {
        self.tape.clock().utc_ns()
    }

    /// Returns ns since some moment, which nobody sets.
    pub fn monotonic_ns(&self) -> i64 {
        self.tape.clock().monotonic_ns()
    }

    /// Returns the channel of a topic; an equal `spec` gives the same one. Keep it: looking it up for every message is slow.
    ///
    /// # Errors
    /// As [`Tape::channel`]; `Unavailable` beyond 10,000 of them.
    pub fn channel(&self, spec: ChannelSpec) -> Result<Arc<Channel>> {
        // A source that connects anew opens the same ones again.
        if self.opened.lock().len() >= CHANNEL_LIMIT {
            return Err(Error::unavailable(format!("source '{}' has {CHANNEL_LIMIT} topics, which is the limit", self.name)));
        }
        let channel = self.tape.channel(spec)?;
        self.opened.lock().insert(channel.id());
        Ok(channel)
    }

    /// Returns the channel of a topic of JSON messages that look like `example`.
    ///
    /// # Errors
    /// As [`Self::channel`].
    pub fn json_channel(&self, topic: &str, title: &str, example: &Value) -> Result<Arc<Channel>> {
        let schema = schema_of(title, example).to_string();
        let schema = Schema { name: title.into(), encoding: "jsonschema".into(), data: schema.into() };
        let spec = ChannelSpec { topic: topic.into(), encoding: "json".into(), schema: Some(Arc::new(schema)), ..ChannelSpec::default() };
        self.channel(spec)
    }

    /// Logs a message. One that comes faster than the source's `limit` allows is lost, and counted.
    ///
    /// # Errors
    /// `Invalid` for a message that no tape takes; what the tape met otherwise.
    pub fn log(&self, channel: &Arc<Channel>, payload: Payload<'_>, times: Times) -> Result<()> {
        let length = payload.as_slice().len();
        if !self.admits(length) {
            self.lose(&channel.topic().name, 1, length as u64, self.over_limit());
            return Ok(());
        }
        if let Err(error) = self.tape.append(channel, payload.clone(), times) {
            if error.kind() == Kind::Invalid {
                return Err(error);
            }
            // It may be the error of an earlier message, which was told now; this one was not taken in any case.
            if let Err(error) = self.tape.append(channel, payload, times) {
                self.lose(&channel.topic().name, 1, length as u64, format!("source '{}': {error}", self.name));
                return Err(error);
            }
        }
        self.counters.messages.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes.fetch_add(length as u64, Ordering::Relaxed);
        self.counters.last_ns.store(self.now_ns(), Ordering::Relaxed);
        Ok(())
    }

    /// Says that messages of a topic did not arrive, now.
    pub fn lose(&self, topic: &str, messages: u64, bytes: u64, reason: String) {
        let now_ns = self.now_ns();
        self.lose_between(topic, (now_ns, now_ns), Some(messages), bytes, reason);
    }

    /// Says that messages of a topic did not arrive, and between which moments that was. Their number may be unknown; zero bytes stands
    /// for an unknown number of those.
    pub fn lose_between(&self, topic: &str, (start_ns, end_ns): (i64, i64), messages: Option<u64>, bytes: u64, reason: String) {
        self.counters.lost.fetch_add(messages.unwrap_or(0), Ordering::Relaxed);
        self.tape.report_loss(Loss {
            topic: Some(topic.to_owned()),
            start_ns: Some(start_ns),
            end_ns: Some(end_ns),
            messages,
            bytes: (bytes > 0).then_some(bytes),
            reason,
        });
    }

    /// Notes that nothing comes from now on, or since then, and what came before. It outlives the source, which is made anew when it
    /// failed; what began earlier goes on.
    pub fn begin_gap(&self, began_ns: i64, topics: Vec<String>) {
        let mut gap = self.gap.lock();
        match &mut *gap {
            Some(gap) if gap.topics.is_empty() => gap.topics = topics,
            Some(_) => {}
            None => *gap = Some(Gap { began_ns, topics }),
        }
    }

    /// Notes that something comes again, and returns after how long. Every topic that came before has a loss with that reason then,
    /// unless there is none.
    pub fn end_gap(&self, reason: Option<String>) -> Option<i64> {
        let Gap { began_ns, topics } = self.gap.lock().take()?;
        let end_ns = self.now_ns();
        for topic in topics.into_iter().take_while(|_| reason.is_some()) {
            let reason = reason.clone().unwrap_or_default();
            let topic = Some(topic);
            self.tape.report_loss(Loss { topic, start_ns: Some(began_ns), end_ns: Some(end_ns), messages: None, bytes: None, reason });
        }
        Some(end_ns.saturating_sub(began_ns))
    }

    /// Passes on a loss that somebody else had.
    pub fn pass_on(&self, loss: Loss) {
        self.counters.lost.fetch_add(loss.messages.unwrap_or(0), Ordering::Relaxed);
        self.tape.report_loss(loss);
    }

    /// Waits until a message of so many bytes is within the source's limit, for sources whose input can wait. Returns whether it is;
    /// else it is time to stop.
    pub fn wait_for_room(&self, bytes: usize, stop: &StopFlag) -> bool {
        let Some(limit) = self.limit_bytes_per_s else { return true };
        let full = limit as f64 * ALLOWANCE_SECONDS;
        while !self.allowance.lock().take(self.monotonic_ns(), limit as f64, full, 0.0, bytes as f64) {
            if stop.wait(ROOM_STEP) {
                return false;
            }
        }
        true
    }

    /// Returns the tape.
    pub(super) fn tape(&self) -> &Tape {
        &self.tape
    }

    /// Says that input could not be understood. Each is counted; what the first ones were stands in events, not too often.
    pub fn refuse(&self, why: &str) {
        let counters = &self.counters;
        let refused = counters.refused.fetch_add(1, Ordering::Relaxed) + 1;
        let (now_ns, told_ns) = (self.monotonic_ns(), counters.refusal_told_ns.load(Ordering::Relaxed));
        let due = refused == 1 || now_ns.saturating_sub(told_ns) >= REFUSAL_INTERVAL_NS;
        if due && counters.refusal_told_ns.compare_exchange(told_ns, now_ns, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let detail = json!({ "source": self.name, "refused": refused });
            self.event("source_refused", &format!("source '{}' cannot use what came: {why}", self.name), detail);
        }
    }

    /// Counts one more piece of the input that [`Self::refuse`] told of.
    pub fn refuse_more(&self) {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes an event to the tape.
    pub fn event(&self, kind: &str, message: &str, detail: Value) {
        self.tape.report_event(kind, message, detail);
    }

    /// Says in the status what this source is doing, e.g. where it listens.
    pub fn note(&self, text: String) {
        *self.note.lock() = Some(text);
    }

    fn over_limit(&self) -> String {
        let limit = recording::size::format(self.limit_bytes_per_s.unwrap_or_default());
        format!("source '{}' sends more than its limit of {limit} per second", self.name)
    }

    /// Takes bytes from the allowance, if they are there. A message larger than all of it passes when it is full.
    fn admits(&self, bytes: usize) -> bool {
        let Some(limit) = self.limit_bytes_per_s else { return true };
        let (now_ns, full) = (self.monotonic_ns(), limit as f64 * ALLOWANCE_SECONDS);
        self.allowance.lock().take(now_ns, limit as f64, full, bytes as f64, bytes as f64)
    }
}

impl Allowance {
    /// Takes bytes if there is room for as many as `needed`.
    fn take(&mut self, now_ns: i64, per_second: f64, full: f64, bytes: f64, needed: f64) -> bool {
        let passed = now_ns.saturating_sub(self.filled_ns).max(0) as f64 / 1e9;
        self.bytes = (self.bytes + passed * per_second).min(full);
        self.filled_ns = now_ns;
        let admitted = self.bytes >= needed.min(full);
        if admitted {
            self.bytes -= bytes;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_held_to_its_limit() {
        let mut allowance = Allowance { bytes: 100.0, filled_ns: 0 };
        let passed = (0..1000).filter(|i| allowance.take(i * 10_000_000, 100.0, 100.0, 1.0, 1.0)).count();
        assert_eq!(passed, 1000, "100 per second, and 100 messages of a byte a second");
        let mut allowance = Allowance { bytes: 100.0, filled_ns: 0 };
        let passed = (0..1000).filter(|i| allowance.take(i * 1_000_000, 100.0, 100.0, 1.0, 1.0)).count();
        assert!((195..=205).contains(&passed), "{passed} of 1000 in a second");
        // One that is larger than the limit passes after a second of silence, and is paid for.
        let mut allowance = Allowance { bytes: 100.0, filled_ns: 0 };
        assert!(allowance.take(0, 100.0, 100.0, 1000.0, 1000.0));
        assert!(!allowance.take(5_000_000_000, 100.0, 100.0, 1000.0, 1000.0));
        assert!(allowance.take(10_000_000_000, 100.0, 100.0, 1000.0, 1000.0));
    }
}
