//! Taps: copies of what is logged, for whoever looks while it happens.
//!
//! In come accepted messages, out they go in the order in which they came. A tap holds a bounded number of bytes; a reader that is too
//! slow loses the oldest, which is counted.
//!
//! **Invariant:** nobody who logs waits for a tap; without taps a message costs one look at a flag.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};
use recording::{Error, Result, Timestamp, TopicFilter};

use super::channel::{Channel, Payload, Stamp};
use super::{Inner, Tape};

/// How many taps there may be.
pub const TAP_LIMIT: usize = 64;
/// What a message counts beside its payload.
const ENTRY_BYTES: usize = 64;

/// A message that was logged.
#[derive(Clone)]
pub struct Heard {
    /// Its topic.
    pub channel: Arc<Channel>,
    /// Its place in the order of appending.
    pub sequence: u64,
    /// When it was recorded; ns UTC.
    pub log_time_ns: Timestamp,
    /// When it was published; ns UTC.
    pub publish_time_ns: Timestamp,
    /// Its payload.
    pub data: Bytes,
}

/// Hears what is logged from now on, until it is dropped.
pub struct Tap {
    line: Arc<Line>,
    inner: Arc<Inner>,
}

/// All taps of a tape.
#[derive(Default)]
pub(super) struct Taps {
    any: AtomicBool,
    lines: RwLock<Vec<Arc<Line>>>,
}

struct Line {
    filter: TopicFilter,
    limit_bytes: usize,
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Heard>,
    bytes: usize,
    /// Which channels the filter takes.
    wanted: HashMap<u16, bool>,
}

impl Tape {
    /// Returns a tap for topics, which holds up to `limit_bytes` of what nobody has taken yet.
    ///
    /// # Errors
    /// `Unavailable` beyond [`TAP_LIMIT`].
    pub fn tap(&self, filter: TopicFilter, limit_bytes: usize) -> Result<Tap> {
        let line = Arc::new(Line { filter, limit_bytes, waiting: Mutex::default(), arrived: Condvar::new(), dropped: AtomicU64::new(0) });
        let taps = &self.inner.taps;
        let mut lines = taps.lines.write();
        if lines.len() >= TAP_LIMIT {
            return Err(Error::unavailable(format!("{TAP_LIMIT} programs look at what is recorded, which is the limit")));
        }
        lines.push(line.clone());
        taps.any.store(true, Ordering::Release);
        Ok(Tap { line, inner: self.inner.clone() })
    }

    /// Returns every channel there is, in the order of their ids.
    pub fn channels(&self) -> Vec<Arc<Channel>> {
        let mut channels: Vec<Arc<Channel>> = self.inner.channels.read().by_topic.values().flatten().cloned().collect();
        channels.sort_by_key(|channel| channel.id());
        channels
    }

    /// Returns how many definitions of channels there are; it only grows.
    pub fn channel_count(&self) -> usize {
        self.inner.channels.read().definitions.len()
    }

    /// Returns the latched values of topics as they are now, in the order of appending.
    pub fn latched_values(&self, filter: &TopicFilter) -> Vec<Heard> {
        let by_id: HashMap<u16, Arc<Channel>> = self.channels().into_iter().map(|channel| (channel.id(), channel)).collect();
        let values = self.inner.latched.current();
        let heard = values.into_iter().filter_map(|(channel_id, stamp, data)| {
            let channel = by_id.get(&channel_id).filter(|channel| filter.matches(&channel.spec.topic))?;
            Some(Heard::new(channel, stamp, data))
        });
        heard.collect()
    }

    /// Returns the latched values of one channel, as [`Self::latched_values`].
    pub fn latched_of(&self, channel: &Arc<Channel>) -> Vec<Heard> {
        let own = self.inner.latched.current().into_iter().filter(|(channel_id, ..)| *channel_id == channel.id());
        own.map(|(_, stamp, data)| Heard::new(channel, stamp, data)).collect()
    }
}

impl Tap {
    /// Returns the next message; `None` if none comes within `patience`.
    pub fn next(&self, patience: Duration) -> Option<Heard> {
        let mut waiting = self.line.waiting.lock();
        if waiting.messages.is_empty() {
            let _ = self.line.arrived.wait_for(&mut waiting, patience);
        }
        let heard = waiting.messages.pop_front()?;
        waiting.bytes -= heard.data.len() + ENTRY_BYTES;
        Some(heard)
    }

    /// Hears a channel from now on, or no more, whatever the filter says of it.
    pub fn want(&self, channel: &Channel, wanted: bool) {
        self.line.waiting.lock().wanted.insert(channel.id(), wanted);
    }

    /// Returns how many messages were not taken in time, since it began.
    pub fn dropped(&self) -> u64 {
        self.line.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let taps = &self.inner.taps;
        let mut lines = taps.lines.write();
        lines.retain(|line| !Arc::ptr_eq(line, &self.line));
        taps.any.store(!lines.is_empty(), Ordering::Release);
    }
}

impl Heard {
    fn new(channel: &Arc<Channel>, stamp: Stamp, data: Bytes) -> Self {
        let Stamp { sequence, log_time_ns, publish_time_ns } = stamp;
        Self { channel: channel.clone(), sequence, log_time_ns, publish_time_ns, data }
    }
}

impl Taps {
    /// Returns whether anybody hears.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Gives a message to everybody who wants it. The bytes are copied once, if they are not shared already.
    pub(super) fn tell(&self, channel: &Arc<Channel>, stamp: Stamp, payload: &Payload<'_>) {
        let mut shared: Option<Bytes> = None;
        for line in self.lines.read().iter() {
            let mut waiting = line.waiting.lock();
            if !*waiting.wanted.entry(channel.id()).or_insert_with(|| line.filter.matches(&channel.spec.topic)) {
                continue;
            }
            let data = shared.get_or_insert_with(|| payload.to_shared()).clone();
            waiting.bytes += data.len() + ENTRY_BYTES;
            waiting.messages.push_back(Heard::new(channel, stamp, data));
            // The newest stays, however large it is.
            while waiting.bytes > line.limit_bytes && waiting.messages.len() > 1 {
                let oldest = waiting.messages.pop_front().map_or(0, |oldest| oldest.data.len() + ENTRY_BYTES);
                waiting.bytes -= oldest;
                line.dropped.fetch_add(1, Ordering::Relaxed);
            }
            line.arrived.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::tape::channel::{ChannelSpec, Times};
    use crate::{Leave, OpenOptions};

    #[test]
    fn a_slow_listener_loses_the_oldest_and_nobody_waits() {
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions { device: Some("rover".into()), ..OpenOptions::default() };
        let tape = Tape::open(folder.path(), Config::empty(), options).unwrap();
        let channel = |topic: &str, latched| {
            let spec = ChannelSpec { topic: topic.into(), encoding: "json".into(), latched, ..ChannelSpec::default() };
            tape.channel(spec).unwrap()
        };
        let (imu, map) = (channel("/imu", false), channel("/map", true));
        let log = |channel: &Arc<Channel>, text: &str| tape.append(channel, text.as_bytes().into(), Times::default()).unwrap();
        log(&map, "old");
        log(&map, "new");
        let tap = tape.tap(TopicFilter::parse(&["/imu"]).unwrap(), 3 * (ENTRY_BYTES + 1)).unwrap();
        for text in ["1", "2", "3", "4", "5"] {
            log(&imu, text);
            log(&map, text);
        }
        let heard: Vec<Bytes> = std::iter::from_fn(|| tap.next(Duration::ZERO)).map(|heard| heard.data).collect();
        assert_eq!((heard, tap.dropped()), (vec![Bytes::from("3"), Bytes::from("4"), Bytes::from("5")], 2));
        let latched = tape.latched_values(&TopicFilter::all());
        assert_eq!(latched.iter().map(|heard| heard.data.clone()).collect::<Vec<_>>(), ["5"]);
        drop(tap);
        assert!(!tape.inner.taps.any());
        tape.close(Leave::CutShort).unwrap();
    }
}
