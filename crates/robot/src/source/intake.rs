//! The way from a source into the tape.
//!
//! **Invariant:** what a source hands over is on the tape, or in its losses, or counted as refused.

#[cfg(feature = "mqtt")]
use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
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
/// How many bytes of different schemas they may have together: a sender that makes up fields makes up schemas.
const SCHEMAS_LIMIT: usize = 64 << 20;
/// The shortest time between two events that say what was refused.
const REFUSAL_INTERVAL_NS: i64 = 10_000_000_000;
/// After how long without messages a source's allowance of bytes is full again.
const ALLOWANCE_SECONDS: f64 = 1.0;
/// The shortest time for which a source whose input can wait waits for room.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// How long senders are told to send again after a write failed.
const TROUBLE_NS: i64 = 1_000_000_000;

/// Takes what one source has. Shared by all threads of it.
pub struct Intake {
    tape: Tape,
    name: String,
    allowance: Option<Mutex<Allowance>>,
    /// What is said of what comes beyond it.
    over_limit: String,
    /// Whether what comes is let in by the request, and not message by message.
    in_batches: AtomicBool,
    failures: Mutex<Failures>,
    opened: Mutex<Opened>,
    gap: Mutex<Option<Gap>>,
    /// What one run of the source leaves to the next, which is of a source made anew.
    #[cfg(feature = "mqtt")]
    pub(super) heritage: Mutex<Option<Box<dyn Any + Send>>>,
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

/// The channels that a source opened, each time that it was run.
#[derive(Default)]
struct Opened {
    by_topic: HashMap<String, Vec<Arc<Channel>>>,
    channels: usize,
    schemas: HashSet<Arc<Schema>>,
    schema_bytes: usize,
}

/// A stretch of time in which nothing comes.
struct Gap {
    began_ns: i64,
    topics: Vec<String>,
    /// What is said of it if nothing comes again until the source is ended.
    reason: Option<String>,
}

/// How many bytes may come now; below zero is what a batch was larger.
struct Allowance {
    bytes: f64,
    filled_ns: i64,
    per_second: f64,
}

/// How often writes had failed, and when that was seen to be more than before.
#[derive(Default)]
struct Failures {
    seen: u64,
    at_ns: Option<i64>,
}

impl Intake {
    pub(super) fn new(tape: Tape, name: String, limit_bytes_per_s: Option<u64>) -> Self {
        let allowance = limit_bytes_per_s.map(|limit| Mutex::new(Allowance::new(limit as f64, tape.clock().monotonic_ns())));
        let limit = recording::size::format(limit_bytes_per_s.unwrap_or_default());
        let over_limit = format!("source '{name}' sends more than its limit of {limit} per second");
        let failures = Mutex::new(Failures { seen: tape.write_failures(), at_ns: None });
        Self {
            tape,
            name,
            allowance,
            over_limit,
            in_batches: AtomicBool::new(false),
            failures,
            opened: Mutex::default(),
            gap: Mutex::default(),
            #[cfg(feature = "mqtt")]
            heritage: Mutex::default(),
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
    /// As [`Tape::channel`]; `Unavailable` beyond 10,000 of them, or 64 MiB of schemas.
    pub fn channel(&self, spec: ChannelSpec) -> Result<Arc<Channel>> {
        let mut opened = self.opened.lock();
        // A source that is run again opens the same ones again.
        if let Some(channel) = opened.by_topic.get(&spec.topic).and_then(|known| known.iter().find(|channel| *channel.spec() == spec)) {
            return Ok(channel.clone());
        }
        if opened.channels >= CHANNEL_LIMIT {
            return Err(Error::unavailable(format!("source '{}' has {CHANNEL_LIMIT} topics, which is the limit", self.name)));
        }
        let schema = spec.schema.clone().filter(|schema| !opened.schemas.contains(schema));
        let schema_bytes = schema.as_ref().map_or(0, |schema| schema.data.len());
        if opened.schema_bytes + schema_bytes > SCHEMAS_LIMIT {
            let limit = recording::size::format(SCHEMAS_LIMIT as u64);
            return Err(Error::unavailable(format!("source '{}' has {limit} of schemas, which is the limit", self.name)));
        }
        let channel = self.tape.channel(spec)?;
        opened.channels += 1;
        opened.schema_bytes += schema_bytes;
        opened.schemas.extend(schema);
        opened.by_topic.entry(channel.spec().topic.clone()).or_default().push(channel.clone());
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

    /// Logs a message. One that comes faster than the source's `limit` allows is lost, and counted, unless its batch was let in.
    ///
    /// # Errors
    /// `Invalid` for a message that no tape takes; what the tape met otherwise.
    pub fn log(&self, channel: &Arc<Channel>, payload: Payload<'_>, times: Times) -> Result<()> {
        let length = payload.as_slice().len();
        let in_batches = self.in_batches.load(Ordering::Relaxed);
        if !self.admits(length, in_batches) {
            self.lose(&channel.topic().name, 1, length as u64, self.over_limit.clone());
            return Ok(());
        }
        if let Err(error) = self.tape.append(channel, payload.clone(), times) {
            if error.kind() == Kind::Invalid {
                return Err(error);
            }
            // It may be the error of an earlier message, which was told now; this one was not taken in any case.
            if let Err(error) = self.tape.append(channel, payload, times) {
                // Whoever sent a batch is told, and sends it again.
                if !in_batches {
                    self.lose(&channel.topic().name, 1, length as u64, format!("source '{}': {error}", self.name));
                }
                return Err(error);
            }
        }
        self.counters.messages.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes.fetch_add(length as u64, Ordering::Relaxed);
        self.counters.last_ns.store(self.now_ns(), Ordering::Relaxed);
        Ok(())
    }

    /// Returns why a batch cannot be taken now, for senders that can send it again: what is logged now would probably be lost.
    pub(super) fn trouble(&self) -> Option<String> {
        if self.tape.is_closed() {
            return Some("the recorder has ended".into());
        }
        let (count, now_ns) = (self.tape.write_failures(), self.monotonic_ns());
        let mut failures = self.failures.lock();
        if count > failures.seen {
            *failures = Failures { seen: count, at_ns: Some(now_ns) };
        }
        if failures.at_ns.is_some_and(|at_ns| now_ns.saturating_sub(at_ns) < TROUBLE_NS) {
            return Some("the tape cannot be written now: send it again".into());
        }
        let is_behind = self.opened.lock().by_topic.values().flatten().any(|channel| self.tape.may_wait(channel));
        is_behind.then(|| "the disk is slower than what comes: send it again".into())
    }

    /// Returns why a batch cannot be taken now because the source's limit is used up. One that is taken is never cut in its middle:
    /// what it has more than the limit is what those after it have less.
    pub(super) fn batch_over_limit(&self) -> Option<String> {
        self.in_batches.store(true, Ordering::Relaxed);
        let taken = self.allowance.as_ref()?.lock().take(self.monotonic_ns(), 0.0, 1.0);
        taken.is_err().then(|| self.over_limit.clone())
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
    /// failed; what began earlier goes on. If it still goes on when the source is ended, every topic has a loss with that reason then,
    /// unless there is none.
    pub fn begin_gap(&self, began_ns: i64, topics: Vec<String>, reason: Option<String>) {
        let mut gap = self.gap.lock();
        match &mut *gap {
            Some(gap) if gap.topics.is_empty() => gap.topics = topics,
            Some(_) => {}
            None => *gap = Some(Gap { began_ns, topics, reason }),
        }
    }

    /// Notes that something comes again, and returns after how long. Every topic that came before has a loss with that reason then,
    /// unless there is none.
    pub fn end_gap(&self, reason: Option<String>) -> Option<i64> {
        let Gap { began_ns, topics, .. } = self.gap.lock().take()?;
        let end_ns = self.now_ns();
        for topic in topics.into_iter().take_while(|_| reason.is_some()) {
            let reason = reason.clone().unwrap_or_default();
            let topic = Some(topic);
            self.tape.report_loss(Loss { topic, start_ns: Some(began_ns), end_ns: Some(end_ns), messages: None, bytes: None, reason });
        }
        Some(end_ns.saturating_sub(began_ns))
    }

    /// Notes that the source has ended and is not run again.
    pub(super) fn end(&self) {
        let reason = self.gap.lock().as_ref().and_then(|gap| gap.reason.clone());
        self.end_gap(reason);
    }

    /// Passes on a loss that somebody else had.
    pub fn pass_on(&self, loss: Loss) {
        self.counters.lost.fetch_add(loss.messages.unwrap_or(0), Ordering::Relaxed);
        self.tape.report_loss(loss);
    }

    /// Waits until a message of so many bytes is within the source's limit, for sources whose input can wait. Returns whether it is;
    /// else it is time to stop.
    pub fn wait_for_room(&self, bytes: usize, stop: &StopFlag) -> bool {
        let Some(allowance) = &self.allowance else { return true };
        loop {
            let taken = allowance.lock().take(self.monotonic_ns(), 0.0, bytes as f64);
            match taken {
                Ok(()) => return true,
                Err(wait) if stop.wait(wait.max(SHORTEST_WAIT)) => return false,
                Err(_) => {}
            }
        }
    }

    /// Returns the tape.
    pub(super) fn tape(&self) -> &Tape {
        &self.tape
    }

    /// Says that input could not be understood. Each is counted; what the first ones were stands in events, not too often.
    pub fn refuse(&self, why: &str) {
        self.refuse_many(why, 1);
    }

    /// Says that so many pieces of the input could not be understood, and why the first of them.
    pub fn refuse_many(&self, why: &str, pieces: u64) {
        let counters = &self.counters;
        let before = counters.refused.fetch_add(pieces, Ordering::Relaxed);
        let (now_ns, told_ns) = (self.monotonic_ns(), counters.refusal_told_ns.load(Ordering::Relaxed));
        let due = before == 0 || now_ns.saturating_sub(told_ns) >= REFUSAL_INTERVAL_NS;
        if due && counters.refusal_told_ns.compare_exchange(told_ns, now_ns, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let detail = json!({ "source": self.name, "refused": before + pieces });
            self.event("source_refused", &format!("source '{}' cannot use what came: {why}", self.name), detail);
        }
    }

    /// Writes an event to the tape.
    pub fn event(&self, kind: &str, message: &str, detail: Value) {
        self.tape.report_event(kind, message, detail);
    }

    /// Says in the status what this source is doing, e.g. where it listens.
    pub fn note(&self, text: String) {
        *self.note.lock() = Some(text);
    }

    /// Takes bytes from the allowance, if they are there or `is_let_in` says that nobody asks. A message larger than all of it passes
    /// when it is full.
    fn admits(&self, bytes: usize, is_let_in: bool) -> bool {
        let Some(allowance) = &self.allowance else { return true };
        let needed = if is_let_in { f64::NEG_INFINITY } else { bytes as f64 };
        allowance.lock().take(self.monotonic_ns(), bytes as f64, needed).is_ok()
    }
}

impl Allowance {
    fn new(per_second: f64, now_ns: i64) -> Self {
        Self { bytes: per_second * ALLOWANCE_SECONDS, filled_ns: now_ns, per_second }
    }

    /// Takes bytes if there is room for as many as `needed`; else returns after which time there is.
    fn take(&mut self, now_ns: i64, bytes: f64, needed: f64) -> Result<(), Duration> {
        let full = self.per_second * ALLOWANCE_SECONDS;
        let passed = now_ns.saturating_sub(self.filled_ns).max(0) as f64 / 1e9;
        self.bytes = (self.bytes + passed * self.per_second).min(full);
        self.filled_ns = now_ns;
        let missing = needed.min(full) - self.bytes;
        if missing > 0.0 {
            return Err(Duration::try_from_secs_f64(missing / self.per_second).unwrap_or(Duration::MAX));
        }
        self.bytes -= bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::{Leave, OpenOptions};

    #[test]
    fn a_source_at_its_limits_keeps_the_topics_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions { device: Some("rover".into()), ..OpenOptions::default() };
        let tape = Tape::open(folder.path(), Config::empty(), options).unwrap();
        let spec = |topic: String, schema: usize| {
            let schema = Schema { name: topic.clone(), encoding: "jsonschema".into(), data: vec![b' '; schema].into() };
            ChannelSpec { topic, encoding: "json".into(), schema: Some(Arc::new(schema)), ..ChannelSpec::default() }
        };
        let wordy = Intake::new(tape.clone(), "wordy".into(), None);
        for i in 0..8 {
            wordy.channel(spec(format!("/wordy/{i}"), SCHEMAS_LIMIT / 8)).unwrap();
        }
        assert_eq!(wordy.channel(spec("/wordy/8".into(), 1)).err().unwrap().kind(), Kind::Unavailable);
        assert!(wordy.channel(spec("/wordy/7".into(), SCHEMAS_LIMIT / 8)).is_ok());
        let many = Intake::new(tape.clone(), "many".into(), None);
        for i in 0..CHANNEL_LIMIT {
            many.channel(spec(format!("/many/{i}"), 0)).unwrap();
        }
        assert!(many.channel(spec("/many/more".into(), 0)).err().unwrap().message().contains("10000 topics, which is the limit"));
        for i in [0, CHANNEL_LIMIT - 1] {
            assert!(many.channel(spec(format!("/many/{i}"), 0)).is_ok(), "what was opened before is opened again");
        }
        tape.close(Leave::CutShort).unwrap();
    }

    #[test]
    fn a_flood_is_held_to_its_limit() {
        let mut allowance = Allowance::new(100.0, 0);
        let passed = (0..1000).filter(|i| allowance.take(i * 10_000_000, 1.0, 1.0).is_ok()).count();
        assert_eq!(passed, 1000, "100 per second, and 100 messages of a byte a second");
        let mut allowance = Allowance::new(100.0, 0);
        let passed = (0..1000).filter(|i| allowance.take(i * 1_000_000, 1.0, 1.0).is_ok()).count();
        assert!((195..=205).contains(&passed), "{passed} of 1000 in a second");
        // One that is larger than the limit passes after a second of silence, and is paid for.
        let mut allowance = Allowance::new(100.0, 0);
        assert!(allowance.take(0, 1000.0, 1000.0).is_ok());
        assert_eq!(allowance.take(5_000_000_000, 1000.0, 1000.0), Err(Duration::from_secs(5)));
        assert!(allowance.take(10_000_000_000, 1000.0, 1000.0).is_ok());
    }

    #[test]
    fn a_batch_is_taken_as_a_whole_or_sent_again() {
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions { device: Some("rover".into()), ..OpenOptions::default() };
        let tape = Tape::open(folder.path(), Config::empty(), options).unwrap();
        // A byte a second: the allowance does not come back while this runs.
        let intake = Intake::new(tape.clone(), "strict".into(), Some(1));
        let channel = intake.json_channel("/strict", "Strict", &json!({})).unwrap();
        assert_eq!((intake.trouble(), intake.batch_over_limit()), (None, None));
        for _ in 0..100 {
            intake.log(&channel, [b' '; 1000].as_slice().into(), Times::default()).unwrap();
        }
        assert!(intake.batch_over_limit().unwrap().contains("more than its limit of 1 B per second"));
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!((count(&intake.counters.messages), count(&intake.counters.lost)), (100, 0));
        tape.close(Leave::CutShort).unwrap();
        assert!(intake.trouble().unwrap().contains("has ended"));
    }
}
