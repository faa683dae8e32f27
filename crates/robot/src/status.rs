//! How a tape is doing, for people and programs.
//!
//! **Invariant:** a status is a copy made at one moment; asking for it changes nothing.

use std::sync::atomic::Ordering;

use recording::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Channel;
use crate::config::Place;
use crate::tape::{BufferView, ExpectationStatus, Tape};

/// How a tape is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The robot.
    pub device: String,
    /// The computer.
    pub host: String,
    /// This opening of the tape, 12 hexadecimal digits.
    pub boot: String,
    /// The version of the software.
    pub software: String,
    /// The folder of the tape.
    pub root: String,
    /// Since when it records; ns UTC.
    pub since_ns: Timestamp,
    /// The clock.
    pub clock: ClockStatus,
    /// The buffers, best first.
    pub buffers: Vec<BufferStatus>,
    /// How many topics (with different schemas) there are.
    pub channels: usize,
    /// Topics that no buffer wants; nothing of them is recorded.
    pub unwanted_topics: Vec<String>,
    /// Messages lost since the tape was opened.
    pub lost_messages: u64,
    /// Bytes lost since the tape was opened.
    pub lost_bytes: u64,
    /// Until when everything is on disk, over all disk buffers; ns UTC.
    pub durable_until_ns: Option<Timestamp>,
    /// The newest error.
    pub last_error: Option<String>,
    /// The disk.
    pub disk: DiskStatus,
    /// Recordings on the tape.
    pub recordings: usize,
    /// Of these, how many are not finished.
    pub unfinished_recordings: usize,
    /// How many bytes recordings take.
    pub kept_bytes: u64,
    /// What is configured but not active in this version.
    pub notes: Vec<String>,
    /// What is expected of topics.
    #[serde(default)]
    pub expectations: Vec<ExpectationStatus>,
    /// The programs that log into the agent.
    #[serde(default)]
    pub clients: Vec<crate::agent::clients::ClientStatus>,
    /// What feeds the agent from outside.
    #[serde(default)]
    pub sources: Vec<crate::source::SourceStatus>,
}

/// How a topic is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicStatus {
    /// Its name. Two schemas or publishers of one name are two topics.
    pub topic: String,
    /// The name of its type; empty without a schema.
    #[serde(rename = "type")]
    pub type_name: String,
    /// How its messages are encoded.
    pub encoding: String,
    /// Whether its last value joins every recording.
    pub latched: bool,
    /// Whether any buffer holds it.
    pub recorded: bool,
    /// Messages since the tape was opened.
    pub messages: u64,
    /// Payload bytes since the tape was opened.
    pub bytes: u64,
    /// When the last one came; ns UTC.
    pub last_ns: Option<Timestamp>,
    /// How late messages are, on average of the last ones: log time minus publish time.
    pub latency_ns: i64,
    /// The longest time between two messages.
    pub longest_gap_ns: Option<i64>,
    /// When that ended; ns UTC.
    pub longest_gap_end_ns: Option<Timestamp>,
}

/// All topics, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topics {
    /// What the recorder's clock says; ns UTC.
    pub utc_ns: Timestamp,
    /// ns since some moment, never set.
    pub monotonic_ns: i64,
    /// Since when the recorder records; ns UTC.
    pub since_ns: Timestamp,
    /// The topics, by name.
    pub topics: Vec<TopicStatus>,
}

/// What the clocks say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockStatus {
    /// `wall`, or `file` while a file is played.
    pub kind: String,
    /// ns UTC.
    pub utc_ns: Timestamp,
    /// ns since some moment, never set.
    pub monotonic_ns: i64,
    /// Whether the wall clock can be right; one that says it is before 2020 is not.
    pub plausible: bool,
}

/// How a buffer is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BufferStatus {
    /// Its name.
    pub name: String,
    /// `ram`, `disk`, or `retired` for one that is configured no more.
    pub place: String,
    /// How far back it goes; ns UTC; `None` while it is empty.
    pub oldest_ns: Option<Timestamp>,
    /// How far back it goes, in ns.
    pub depth_ns: i64,
    /// How far back it may go, in ns.
    pub age_limit_ns: Option<i64>,
    /// How many bytes it has.
    pub size_bytes: u64,
    /// How many bytes it may have.
    pub size_limit_bytes: Option<u64>,
    /// How many segments it has.
    pub segments: usize,
    /// Messages since the tape was opened.
    pub messages: u64,
    /// Payload bytes since the tape was opened.
    pub bytes: u64,
    /// Messages that its rate limit left out.
    pub filtered_messages: u64,
    /// Messages lost.
    pub lost_messages: u64,
    /// Bytes lost.
    pub lost_bytes: u64,
    /// Bytes written to its segments.
    pub written_bytes: u64,
    /// Bytes written per day, at the average rate so far.
    pub written_bytes_per_day: u64,
    /// Bytes that wait to be written.
    pub queued_bytes: u64,
    /// Segments evicted.
    pub evicted_segments: u64,
    /// Bytes evicted.
    pub evicted_bytes: u64,
    /// Until when everything is on disk; ns UTC; `None` in RAM.
    pub durable_until_ns: Option<Timestamp>,
}

/// How the disk is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// Free bytes.
    pub free_bytes: u64,
    /// All bytes.
    pub total_bytes: u64,
    /// How many bytes stay free.
    pub floor_bytes: u64,
}

/// A clock that says it is before 2020 was not set yet.
const PLAUSIBLE_NS: i64 = 1_577_836_800_000_000_000;

/// Returns the status of a tape with what is known of its recordings.
pub(crate) fn of(tape: &Tape, recordings: usize, unfinished_recordings: usize, kept_bytes: u64) -> Status {
    let view = tape.view();
    let clock = tape.clock();
    let running_ns = (view.now_ns - view.opened_ns).max(1);
    let buffers: Vec<BufferStatus> = view.buffers.iter().map(|buffer| buffer_status(buffer, view.now_ns, running_ns)).collect();
    Status {
        device: tape.device().to_owned(),
        host: tape.host().to_owned(),
        boot: format!("{:012x}", tape.boot()),
        software: recording::mcap::segment::LIBRARY.to_owned(),
        root: tape.root().display().to_string(),
        since_ns: view.opened_ns,
        clock: ClockStatus {
            kind: if clock.is_file() { "file" } else { "wall" }.to_owned(),
            utc_ns: view.now_ns,
            monotonic_ns: clock.monotonic_ns(),
            plausible: clock.is_file() || view.now_ns >= PLAUSIBLE_NS,
        },
        durable_until_ns: buffers.iter().filter_map(|buffer| buffer.durable_until_ns).min(),
        buffers,
        channels: view.channels,
        unwanted_topics: view.unwanted,
        lost_messages: view.lost.0,
        lost_bytes: view.lost.1,
        last_error: view.last_error,
        disk: DiskStatus { free_bytes: view.disk.0, total_bytes: view.disk.1, floor_bytes: view.disk.2 },
        recordings,
        unfinished_recordings,
        kept_bytes,
        notes: tape.config().notes.clone(),
        expectations: tape.inner.expectation_status(),
        clients: Vec::new(),
        sources: Vec::new(),
    }
}

fn buffer_status(buffer: &BufferView, now_ns: i64, running_ns: i64) -> BufferStatus {
    let oldest_ns = buffer.segments.iter().map(|segment| segment.meta.corrected_ns(segment.correction_ns).0).min();
    let [messages, bytes, filtered_messages, lost_messages, lost_bytes, written_bytes] = buffer.counters;
    let config = buffer.config.as_ref();
    let per_day = written_bytes as f64 * 86_400e9 / running_ns as f64;
    BufferStatus {
        name: buffer.name.to_string(),
        place: config.map_or("retired", |config| if config.place == Place::Ram { "ram" } else { "disk" }).to_owned(),
        oldest_ns,
        depth_ns: oldest_ns.map_or(0, |oldest_ns| now_ns.saturating_sub(oldest_ns).max(0)),
        age_limit_ns: config.and_then(|config| config.age_ns),
        size_bytes: buffer.segments.iter().map(|segment| segment.meta.size_bytes).sum(),
        size_limit_bytes: config.and_then(|config| config.size_bytes),
        segments: buffer.segments.len(),
        messages,
        bytes,
        filtered_messages,
        lost_messages,
        lost_bytes,
        written_bytes,
        written_bytes_per_day: per_day as u64,
        queued_bytes: buffer.queued_bytes,
        evicted_segments: buffer.evicted.0,
        evicted_bytes: buffer.evicted.1,
        durable_until_ns: buffer.durable_until_ns,
    }
}

impl Tape {
    /// Returns how every topic is doing.
    pub fn topics(&self) -> Topics {
        let (utc_ns, monotonic_ns) = (self.clock().utc_ns(), self.clock().monotonic_ns());
        let mut topics: Vec<TopicStatus> = self.channels().iter().map(|channel| topic_status(channel)).collect();
        // Those of one name stay in the order in which they were opened.
        topics.sort_by(|a, b| a.topic.cmp(&b.topic));
        Topics { utc_ns, monotonic_ns, since_ns: self.inner.opened_ns, topics }
    }
}

fn topic_status(channel: &Channel) -> TopicStatus {
    let (topic, traffic) = (channel.topic(), &channel.traffic);
    let gap = traffic.pulse.longest_gap();
    TopicStatus {
        topic: topic.name.clone(),
        type_name: topic.type_name().to_owned(),
        encoding: topic.encoding.clone(),
        latched: channel.is_latched(),
        recorded: channel.is_recorded(),
        messages: traffic.messages.load(Ordering::Relaxed),
        bytes: traffic.bytes.load(Ordering::Relaxed),
        last_ns: traffic.pulse.last_ns(),
        latency_ns: traffic.pulse.late_ns(),
        longest_gap_ns: gap.map(|(length_ns, _)| length_ns),
        longest_gap_end_ns: gap.map(|(_, end_ns)| end_ns),
    }
}
