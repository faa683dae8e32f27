//! What is known of a segment, open or closed, without opening its file.
//!
//! **Invariant:** a segment's key and number never change; a closed segment never changes at all.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use recording::key::{self, SegmentName};
use recording::mcap::chunk::EncodedChunk;
use recording::mcap::segment::Definition;
use recording::{Span, Timestamp};

/// Names of topics, sorted; shared by the many segments that hold the same ones.
pub type TopicSet = Arc<[Arc<str>]>;

/// A closed segment, or what is known of an open one so far.
#[derive(Clone, Debug)]
pub struct SegmentMeta {
    /// Its key below the tape's folder.
    pub key: Arc<str>,
    /// Its name's parts.
    pub name: Arc<SegmentName>,
    /// What it holds.
    pub topics: TopicSet,
    /// First log time; ns UTC, as recorded.
    pub start_ns: Timestamp,
    /// Last log time (included); ns UTC, as recorded.
    pub end_ns: Timestamp,
    /// Its size so far.
    pub size_bytes: u64,
    /// UTC minus monotonic time when it was recorded; ns. With the boot's last one it says how wrong the clock was.
    pub clock_offset_ns: i64,
    /// When it began, by the monotonic clock of its boot; ns. `None` where what it says of its clock is damaged.
    pub born_monotonic_ns: Option<i64>,
    /// Whether its times are those of a file that was played.
    pub file_clock: bool,
    /// Whether it holds one busy topic alone.
    pub heavy: bool,
    /// Whether it was recorded into memory, so that others of its buffer went when their recorder ended.
    pub in_memory: bool,
    /// Its bytes, if it is in RAM.
    pub ram: Option<Arc<RamSegment>>,
    /// Since when the latched values in it are the last ones; ns UTC.
    pub latched_since_ns: Option<Timestamp>,
    /// The first log time of latched values that came with a time before that; ns UTC.
    pub latched_late_ns: Option<Timestamp>,
    /// The channel of the one large latched value in it, which the next one on that channel replaces.
    pub latched_channel: Option<u16>,
    /// Whether it is closed.
    pub closed: bool,
}

/// A segment in memory, in the order of its file.
#[derive(Debug, Default)]
pub struct RamSegment {
    pub(crate) pieces: parking_lot::Mutex<Vec<Piece>>,
    /// Whether it has been, or is being, written to its key.
    pub(crate) wanted: AtomicBool,
    /// Whether its open segment writes to its file.
    pub(crate) filed: AtomicBool,
    pub(crate) written: AtomicBool,
}

/// A stretch of a file in memory.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Bytes(Arc<[u8]>),
    Chunk(Arc<EncodedChunk>),
}

impl SegmentMeta {
    /// Returns the key of a segment that is born at `born_ns`.
    pub(crate) fn key(device: &str, born_ns: Timestamp, name: &SegmentName) -> Arc<str> {
        key::segment(device, born_ns, name).into()
    }

    /// Returns whether its one latched value takes the place of that in `older`.
    pub(crate) fn replaces(&self, older: &SegmentMeta) -> bool {
        self.name.boot == older.name.boot && self.latched_channel.is_some() && self.latched_channel == older.latched_channel
    }

    /// Returns whether it holds a topic.
    pub fn holds(&self, topic: &str) -> bool {
        self.topics.binary_search_by(|name| (**name).cmp(topic)).is_ok()
    }

    /// Returns when its messages were recorded, given how wrong the clock was; both ends included.
    pub fn corrected_ns(&self, correction_ns: i64) -> (Timestamp, Timestamp) {
        (self.start_ns.saturating_add(correction_ns), self.end_ns.saturating_add(correction_ns))
    }

    /// Returns from when on it ages, given how wrong the clock was: from its last log time, or from when it began if that was later.
    /// What is taken in from a file is as old as its stay on the tape.
    pub(crate) fn ages_from_ns(&self, correction_ns: i64) -> Timestamp {
        let born_ns = self.born_monotonic_ns.filter(|_| !self.file_clock).map(|born_ns| born_ns.saturating_add(self.clock_offset_ns));
        born_ns.map_or(self.end_ns, |born_ns| born_ns.max(self.end_ns)).saturating_add(correction_ns)
    }

    /// Returns whether it touches a span, given how wrong the clock was.
    pub fn touches(&self, span: Span, correction_ns: i64) -> bool {
        let (first, last) = self.corrected_ns(correction_ns);
        span.touches(first, last)
    }
}

impl RamSegment {
    /// Returns whether a capture named it, so that it has to be written.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// Returns whether it was written to its file while it was open.
    pub(crate) fn has_file(&self) -> bool {
        self.filed.load(Ordering::Acquire)
    }

    /// Returns whether all of it is in its file.
    pub(crate) fn is_written(&self) -> bool {
        self.written.load(Ordering::Acquire)
    }
}

/// Keeps one copy of each set of topics.
#[derive(Debug, Default)]
pub(crate) struct TopicSets {
    sets: HashSet<TopicSet>,
    /// The sets of this opening's segments, by their channels: names of thousands of topics take long to compare.
    by_channels: HashMap<Vec<u16>, TopicSet>,
}

/// How many sets there may be before those that no segment uses any more go, so that changing topics do not grow them for ever.
const SETS_TO_TIDY: usize = 1024;

impl TopicSets {
    /// Returns the shared set of these names.
    pub(crate) fn intern(&mut self, mut names: Vec<Arc<str>>) -> TopicSet {
        names.sort_unstable();
        names.dedup();
        if let Some(set) = self.sets.get(names.as_slice()) {
            return set.clone();
        }
        if self.sets.len() >= SETS_TO_TIDY {
            self.by_channels.clear();
            self.sets.retain(|set| Arc::strong_count(set) > 1);
        }
        let set: TopicSet = names.into();
        self.sets.insert(set.clone());
        set
    }
    /// Returns the shared set of the topics of these channels, which are in order and all among `definitions`.
    pub(crate) fn of_channels(&mut self, channels: Vec<u16>, definitions: &[Definition]) -> TopicSet {
        if let Some(set) = self.by_channels.get(&channels) {
            return set.clone();
        }
        let named = definitions.iter().filter(|definition| channels.binary_search(&definition.channel_id).is_ok());
        let set = self.intern(named.map(|definition| Arc::from(definition.topic.name.as_str())).collect());
        if self.by_channels.len() >= SETS_TO_TIDY {
            self.by_channels.clear();
        }
        self.by_channels.insert(channels, set.clone());
        set
    }
}
