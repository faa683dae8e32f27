//! Channels: what a program logs into, and the ways from there into the buffers.
//!
//! **Invariant:** a channel's id, schema and topic never change; only its routes do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use recording::decode::LatchedParts;
use recording::mcap::segment::Definition;
use recording::message::{PUBLISHER_KEY, Schema, Topic};

use super::buffer::Buffer;
use super::pulse::Pulse;
use super::slot::Slot;
use super::transform::Transform;

/// What a program wants to log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelSpec {
    /// The topic's name.
    pub topic: String,
    /// How payloads are written: `json`, `cdr`, …
    pub encoding: String,
    /// The definition of the payload.
    pub schema: Option<Arc<Schema>>,
    /// Everything else, e.g. `offered_qos_profiles`.
    pub metadata: BTreeMap<String, String>,
    /// Whether its last value joins every recording.
    pub latched: bool,
    /// Who publishes: each publisher of a latched topic has a last value of its own.
    pub publisher: String,
}

impl ChannelSpec {
    /// Returns what logs into a topic as it stands in a file.
    pub fn of_topic(topic: &Topic, latched: bool) -> Self {
        let mut metadata = topic.metadata.clone();
        let publisher = metadata.remove(PUBLISHER_KEY).unwrap_or_default();
        Self { topic: topic.name.clone(), encoding: topic.encoding.clone(), schema: topic.schema.clone(), metadata, latched, publisher }
    }

    /// Returns the topic as it stands in files.
    pub(crate) fn to_topic(&self) -> Topic {
        let mut metadata = self.metadata.clone();
        if !self.publisher.is_empty() {
            metadata.insert(PUBLISHER_KEY.to_owned(), self.publisher.clone());
        }
        Topic { name: self.topic.clone(), encoding: self.encoding.clone(), schema: self.schema.clone(), metadata }
    }
}

/// A payload: borrowed, or shared so that it need not be copied.
#[derive(Clone, Debug)]
pub enum Payload<'a> {
    /// Borrowed bytes.
    Slice(&'a [u8]),
    /// Shared bytes.
    Shared(Bytes),
}

impl Payload<'_> {
    /// Returns the bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Payload::Slice(slice) => slice,
            Payload::Shared(bytes) => bytes,
        }
    }

    /// Returns the bytes shared, copying borrowed ones.
    pub(crate) fn to_shared(&self) -> Bytes {
        match self {
            Payload::Slice(slice) => Bytes::copy_from_slice(slice),
            Payload::Shared(bytes) => bytes.clone(),
        }
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(slice: &'a [u8]) -> Self {
        Payload::Slice(slice)
    }
}

impl From<Bytes> for Payload<'_> {
    fn from(bytes: Bytes) -> Self {
        Payload::Shared(bytes)
    }
}

/// When a message was recorded and published; what is `None` is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// When it was recorded; ns UTC.
    pub log_time_ns: Option<i64>,
    /// When it was published; ns UTC; `None` means the log time.
    pub publish_time_ns: Option<i64>,
}

/// A message on its way into the tape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) sequence: u64,
    pub(crate) log_time_ns: i64,
    pub(crate) publish_time_ns: i64,
}

/// A topic with a schema, as one boot of the tape knows it.
pub struct Channel {
    pub(crate) definition: Definition,
    pub(crate) spec: ChannelSpec,
    pub(crate) latched: bool,
    /// What its messages are the values of, once that was asked.
    pub(crate) latched_parts: OnceLock<LatchedParts>,
    pub(crate) routes: ArcSwap<Vec<Arc<Route>>>,
    pub(crate) traffic: Traffic,
}

/// What went through a channel.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) messages: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) pulse: Pulse,
}

/// The way from a channel into one buffer.
pub(crate) struct Route {
    /// The channel's id, or that of what the transform makes of it.
    pub(crate) channel_id: u16,
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) slot: ArcSwap<Slot>,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) transform: Option<Arc<dyn Transform>>,
    /// The channel's own id, for messages that cannot be transformed.
    pub(crate) raw_channel_id: u16,
    /// Whether it was told that some cannot.
    pub(crate) told: AtomicBool,
    /// How busy the channel was when its slot was chosen.
    pub(crate) class: super::lane::ClassCell,
}

/// Lets through at most one message per interval, by log time, without drift.
#[derive(Debug)]
pub(crate) struct RateLimit {
    interval_ns: i64,
    next_ns: AtomicI64,
}

impl Channel {
    /// Returns the topic.
    pub fn topic(&self) -> &Arc<Topic> {
        &self.definition.topic
    }

    /// Returns the id it has in every segment of this boot.
    pub fn id(&self) -> u16 {
        self.definition.channel_id
    }

    /// Returns what the program wanted to log.
    pub fn spec(&self) -> &ChannelSpec {
        &self.spec
    }

    /// Returns whether its last value joins every recording.
    pub fn is_latched(&self) -> bool {
        self.latched
    }

    /// Returns whether any buffer wants it.
    pub fn is_recorded(&self) -> bool {
        !self.routes.load().is_empty()
    }

    /// Returns whether a buffer on the disk wants all of it, as it is.
    pub(crate) fn is_kept_whole(&self) -> bool {
        self.routes.load().iter().any(|route| !route.buffer.is_ram() && route.rate_limit.is_none() && route.transform.is_none())
    }
}

impl RateLimit {
    pub(crate) fn new(interval_ns: i64) -> Self {
        Self { interval_ns, next_ns: AtomicI64::new(i64::MIN) }
    }

    /// Returns whether a message at `log_time_ns` may pass.
    pub(crate) fn admits(&self, log_time_ns: i64) -> bool {
        let next = self.next_ns.load(Ordering::Relaxed);
        // A clock that went back by more than an interval starts anew instead of silencing the topic.
        if log_time_ns < next && next.saturating_sub(log_time_ns) <= self.interval_ns {
            return false;
        }
        let on_grid = next.saturating_add(self.interval_ns);
        let late = next == i64::MIN || log_time_ns >= on_grid || log_time_ns < next;
        self.next_ns.store(if late { log_time_ns.saturating_add(self.interval_ns) } else { on_grid }, Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_limit_keeps_the_rate_without_drift() {
        let limit = RateLimit::new(100);
        let passed: Vec<i64> = (0..100).map(|i| i * 30).filter(|t| limit.admits(*t)).collect();
        assert_eq!(passed.len(), 30, "{passed:?}");
        assert!(!limit.admits(2980));
        assert!(limit.admits(0), "a clock that went back starts anew");
    }
}
