//! What a tape accepted and what became of it, as far as the simulation knows.
//!
//! **Invariant:** a message is in the model if and only if a tape accepted it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use recording::{Loss, TopicFilter};
use robot::config::{Config, Place, RECORDER_BUFFER};

use crate::random::Random;

/// A topic that a simulated robot publishes.
#[derive(Debug)]
pub struct Stream {
    /// Its topic.
    pub topic: &'static str,
    /// Who publishes it.
    pub publisher: &'static str,
    /// Whether it is latched.
    pub latched: bool,
    /// The sizes of its messages.
    pub sizes: std::ops::Range<u64>,
    /// Whether its payloads are noise.
    pub noise: bool,
    /// How often it comes, compared with others.
    pub weight: u64,
}

const fn stream(topic: &'static str, sizes: std::ops::Range<u64>, noise: bool, weight: u64) -> Stream {
    Stream { topic, publisher: "", latched: false, sizes, noise, weight }
}

const fn latched(topic: &'static str, publisher: &'static str, sizes: std::ops::Range<u64>, weight: u64) -> Stream {
    Stream { topic, publisher, latched: true, sizes, noise: false, weight }
}

/// What the simulated robot publishes.
pub const STREAMS: [Stream; 12] = [
    stream("/imu", 10..80, false, 40),
    stream("/odom", 200..500, true, 20),
    stream("/log", 10..300, false, 10),
    stream("/rare", 20..100, false, 1),
    stream("/lidar", 3_000..40_000, true, 10),
    stream("/camera/front", 60_000..300_000, true, 6),
    stream("/camera/rear", 60_000..70_000, false, 4),
    latched("/state", "a", 5..300, 3),
    latched("/state", "b", 5..300, 2),
    latched("/map", "a", 1_000..120_000, 1),
    latched("/map", "b", 1_000..120_000, 1),
    latched("/tf_static", "a", 0..0, 3),
];

/// What is sure about where a message is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// In a disk buffer, all of them.
    Disk,
    /// In a RAM buffer, all of them.
    Ram,
    /// Perhaps nowhere: of its topic only some are held, or none.
    Perhaps,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is on the tape.
    There,
    /// It may be missing: a fault, a crash or damage took it before anybody promised it. That is told.
    Lost,
    /// It may be missing: its time was over.
    Evicted,
}

/// A message that a tape accepted.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The opening of the tape.
    pub boot: u64,
    /// Its append sequence.
    pub sequence: u64,
    /// Its topic.
    pub topic: &'static str,
    /// Its publisher.
    pub publisher: &'static str,
    /// When it was recorded.
    pub log_time_ns: i64,
    /// When it was published.
    pub publish_time_ns: i64,
    /// Its payload.
    pub data: Bytes,
    /// Of a latched topic: which values it sets.
    pub slots: Vec<String>,
    /// Whether it has a log time of its own.
    pub own_time: bool,
    /// When it was accepted, by the simulation's time.
    pub accepted_ns: i64,
    /// When it was accepted, by the wall clock.
    pub wall_ns: i64,
    /// How far the wall clock was ahead of the monotonic one.
    pub offset_ns: i64,
    /// Where it is held.
    pub holding: Holding,
    /// Whether it must survive a power cut.
    pub promised: bool,
    /// Whether something failed before it was promised, so that it may be lost.
    pub uncertain: bool,
    /// What became of it.
    pub fate: Fate,
}

/// Everything that was accepted.
#[derive(Default)]
pub struct Model {
    /// All messages, in the order in which they were accepted.
    pub sent: Vec<Sent>,
    /// Where a message is in `sent`, by boot and append sequence.
    pub known: HashMap<(u64, u64), usize>,
    /// Messages of which a copy was evicted.
    pub evicted: HashSet<(u64, u64)>,
    /// Messages of which a copy was in a damaged chunk.
    pub damaged: HashSet<(u64, u64)>,
    /// When each boot began, by its wall clock.
    pub opened_ns: HashMap<u64, i64>,
    /// By how much the clock of a boot was wrong in the end: UTC minus monotonic time.
    pub offsets_ns: HashMap<u64, i64>,
}

impl Model {
    /// Takes note of a message.
    pub fn add(&mut self, sent: Sent) {
        self.known.insert((sent.boot, sent.sequence), self.sent.len());
        self.sent.push(sent);
    }

    /// Returns when a message was recorded by a clock that is right in the end.
    pub fn corrected_ns(&self, sent: &Sent) -> i64 {
        let known = self.offsets_ns.get(&sent.boot).copied().unwrap_or(sent.offset_ns);
        let correction = known - sent.offset_ns;
        sent.log_time_ns + if correction.abs() < 50_000_000 { 0 } else { correction }
    }

    /// Returns the messages with the last value of each publisher (and child frame) of latched topics as of a moment, among those
    /// that are `known`.
    pub fn latched_as_of(&self, boot: u64, at_ns: i64, filter: &TopicFilter, known: impl Fn(usize) -> bool) -> BTreeSet<usize> {
        let mut last = BTreeMap::new();
        for (index, sent) in self.sent.iter().enumerate() {
            if sent.boot == boot && filter.matches(sent.topic) && self.corrected_ns(sent) <= at_ns && known(index) {
                last.extend(sent.slots.iter().map(|slot| ((sent.topic, sent.publisher, slot.as_str()), index)));
            }
        }
        last.into_values().collect()
    }
}

/// Returns where a configuration holds a topic.
pub fn holding(config: &Config, topic: &str) -> Holding {
    let all = || {
        let own = config.buffers.iter().filter(|buffer| buffer.name != RECORDER_BUFFER && buffer.topics.matches(topic));
        own.filter(|buffer| buffer.min_interval_ns.is_none())
    };
    if all().any(|buffer| buffer.place == Place::Disk && buffer.durability.is_some()) {
        Holding::Disk
    } else if all().any(|buffer| buffer.place == Place::Ram) {
        Holding::Ram
    } else {
        Holding::Perhaps
    }
}

/// Returns a payload of a stream and the values it sets.
pub fn payload(stream: &Stream, random: &mut Random) -> (Bytes, Vec<String>) {
    if stream.topic == "/tf_static" {
        let frames: Vec<String> = (0..random.within(1..4)).map(|_| format!("frame{}", random.within(0..5))).collect();
        let transforms: Vec<serde_json::Value> =
            frames.iter().map(|frame| serde_json::json!({ "child_frame_id": frame, "x": random.within(0..1_000) })).collect();
        return (serde_json::json!({ "transforms": transforms }).to_string().into(), frames);
    }
    let length = random.within(stream.sizes.clone()) as usize;
    let data = random.bytes(length, stream.noise).into();
    (data, if stream.latched { vec![String::new()] } else { Vec::new() })
}

/// Returns a stream, busy ones more often.
pub fn pick_stream(random: &mut Random) -> &'static Stream {
    let total: u64 = STREAMS.iter().map(|stream| stream.weight).sum();
    let mut at = random.within(0..total);
    for stream in &STREAMS {
        if at < stream.weight {
            return stream;
        }
        at -= stream.weight;
    }
    &STREAMS[0]
}

/// Returns whether one of the losses tells that a message is missing.
pub fn is_told(losses: &[Loss], topic: &str, time_ns: i64) -> bool {
    losses.iter().any(|loss| {
        loss.topic.as_deref().is_none_or(|name| name == topic)
            && loss.start_ns.is_none_or(|start_ns| start_ns <= time_ns)
            && loss.end_ns.is_none_or(|end_ns| time_ns <= end_ns)
    })
}
