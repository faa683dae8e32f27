//! Latched values: the last value of each publisher of a latched topic, so that every recording begins complete.
//!
//! In come messages of latched channels, out go *latched segments*: small values together, large ones alone. A segment of small
//! values also holds those that were replaced since the one before it, so that the state at any moment can be told from it; within a
//! segment's age also since earlier ones, which then need not stay.
//!
//! **Invariant:** a latched segment lives as long as there is something on the tape from while it was the last one.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use recording::decode::{LatchedPart, LatchedParts};
use recording::key::SegmentName;
use recording::mcap::chunk::{ChunkBuilder, Compression, LARGE_PAYLOAD};
use recording::mcap::segment::Definition;
use recording::schema::library::Library;
use recording::time;

use super::channel::{Channel, Payload, Stamp};
use super::index::Index;
use super::lane::{Birth, OpenSegment};
use super::segment::SegmentMeta;
use super::{Inner, buffer::Unsynced};
use crate::config::{LATCHED_BUFFER, RECORDER_BUFFER};

/// How many latched values there may be; more are held like any other message, and that is told.
const VALUE_LIMIT: usize = 10_000;
/// How many bytes of latched values are held in memory.
const BYTES_LIMIT: usize = 512 << 20;
/// How many bytes of replaced values are written again with the next ones, so that one segment tells the state of a longer time.
const WINDOW_LIMIT: usize = 1 << 20;
/// What a value counts beside its payload.
const ENTRY_BYTES: usize = 128;

/// How long a latched segment stays at least after it was replaced: there may be messages from before in no segment yet.
pub(crate) const SUPERSEDED_NS: i64 = 60 * time::SECOND_NS;

/// Which value replaces which: topic, publisher, and what of the topic it is the value of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    topic: String,
    publisher: String,
    part: LatchedPart,
}

#[derive(Debug)]
struct Value {
    channel_id: u16,
    stamp: Stamp,
    data: Bytes,
    /// How many slots it is the value of; only touched with the values.
    slots: AtomicUsize,
    /// The bytes of all values there are, to which it counts as long as it lives.
    held: Arc<AtomicUsize>,
}

/// The latched values of this boot.
#[derive(Default)]
pub(crate) struct Latched {
    state: Mutex<State>,
    /// Held while values are written, so that whoever logs meanwhile does not wait.
    writing: Mutex<Writing>,
}

#[derive(Default)]
struct State {
    values: BTreeMap<Slot, Arc<Value>>,
    /// Small values that were replaced since the last segment.
    replaced: Vec<Arc<Value>>,
    /// Large values that are in no segment yet.
    large: Vec<Arc<Value>>,
    small_changed: bool,
    /// The first log time of small values since the last segment.
    first_ns: Option<i64>,
    /// How many bytes all values take that are still somewhere.
    held: Arc<AtomicUsize>,
    refused: bool,
}

#[derive(Default)]
struct Writing {
    next_number: u64,
    /// When the small values were taken that are in the last segment; ns UTC.
    last_ns: Option<i64>,
    window: Option<Window>,
}

/// What the last segment of small values told of the past, which the next one tells as well while it is not too much.
struct Window {
    since_ns: i64,
    /// When it began, by the monotonic clock.
    began_ns: i64,
    first_ns: Option<i64>,
    replaced: Vec<Arc<Value>>,
}

impl Latched {
    pub(crate) fn starting_at(next_number: u64) -> Self {
        Self { writing: Mutex::new(Writing { next_number, ..Writing::default() }), ..Self::default() }
    }

    /// Returns the values as they are now, in the order of appending.
    pub(super) fn current(&self) -> Vec<(u16, Stamp, Bytes)> {
        let state = self.state.lock();
        let by_order: BTreeMap<u64, &Arc<Value>> = state.values.values().map(|value| (value.stamp.sequence, value)).collect();
        by_order.into_values().map(|value| (value.channel_id, value.stamp, value.data.clone())).collect()
    }
}

impl Writing {
    fn take_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }
}

impl Window {
    fn is_small(&self) -> bool {
        self.replaced.iter().map(|value| value.data.len() + ENTRY_BYTES).sum::<usize>() <= WINDOW_LIMIT
    }
}

impl Value {
    fn new(channel_id: u16, stamp: Stamp, data: Bytes, held: &Arc<AtomicUsize>) -> Arc<Self> {
        held.fetch_add(data.len() + ENTRY_BYTES, Ordering::Relaxed);
        Arc::new(Self { channel_id, stamp, data, slots: AtomicUsize::new(0), held: held.clone() })
    }

    fn is_large(&self) -> bool {
        self.data.len() >= LARGE_PAYLOAD
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.held.fetch_sub(self.data.len() + ENTRY_BYTES, Ordering::Relaxed);
    }
}

impl State {
    /// Takes the value of some slots. Where there are too many, these slots have none: returns whether it is the first such one.
    fn note(&mut self, channel_id: u16, stamp: Stamp, data: Bytes, mut slots: Vec<Slot>) -> bool {
        // Of two threads that log at once, the one that comes first here may have the later message.
        slots.retain(|slot| self.values.get(slot).is_none_or(|known| known.stamp.sequence < stamp.sequence));
        let left = slots.iter().filter_map(|slot| self.values.remove(slot));
        // A message may hold several transforms; it is replaced when the last of them is. Large ones have segments of their own.
        let replaced: Vec<Arc<Value>> = left.filter(|old| old.slots.fetch_sub(1, Ordering::Relaxed) == 1 && !old.is_large()).collect();
        if self.values.len() + slots.len() > VALUE_LIMIT || self.held() + data.len() + ENTRY_BYTES > BYTES_LIMIT {
            self.small_changed = true;
            return !std::mem::replace(&mut self.refused, true);
        }
        self.replaced.extend(replaced);
        let value = Value::new(channel_id, stamp, data, &self.held);
        for slot in slots {
            // One message may hold a transform twice.
            if self.values.insert(slot, value.clone()).is_none() {
                value.slots.fetch_add(1, Ordering::Relaxed);
            }
        }
        let is_last = value.slots.load(Ordering::Relaxed) > 0;
        if value.is_large() {
            self.large.extend(Some(value).filter(|_| is_last));
            return false;
        }
        self.small_changed = true;
        self.first_ns = earlier(self.first_ns, Some(stamp.log_time_ns));
        self.replaced.extend(Some(value).filter(|_| !is_last));
        false
    }

    fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Takes the small values that there are, those that were replaced since the last segment, and the first log time since then.
    fn take_small(&mut self) -> (Vec<Arc<Value>>, Vec<Arc<Value>>, Option<i64>) {
        self.small_changed = false;
        let current = self.values.values().filter(|value| !value.is_large()).cloned().collect();
        (current, std::mem::take(&mut self.replaced), self.first_ns.take())
    }

    /// Takes replaced values back that could not be written.
    fn put_back(&mut self, replaced: Vec<Arc<Value>>, first_ns: Option<i64>) {
        self.small_changed = true;
        self.first_ns = earlier(self.first_ns, first_ns);
        self.replaced.extend(replaced);
    }
}

fn earlier(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    a.into_iter().chain(b).min()
}

impl Inner {
    pub(super) fn note_latched(&self, channel: &Channel, stamp: Stamp, payload: &Payload<'_>) {
        let data = payload.to_shared();
        let known = || LatchedParts::new(&channel.definition.topic, &Library::standard());
        let slot = |part| Slot { topic: channel.spec.topic.clone(), publisher: channel.spec.publisher.clone(), part };
        let slots = channel.latched_parts.get_or_init(known).of(&data).into_iter().map(slot).collect();
        if self.latched.state.lock().note(channel.id(), stamp, data, slots) {
            self.write_event(
                "latched_limit",
                &format!(
                    "more than {VALUE_LIMIT} latched values or {BYTES_LIMIT} bytes: '{}' is held like any other topic",
                    channel.spec.topic
                ),
                serde_json::Value::Null,
            );
        }
    }

    /// Writes what has changed since the last time.
    pub(super) fn write_latched(&self) -> io::Result<()> {
        let mut writing = self.latched.writing.lock();
        let (taken_ns, now_ns) = (self.clock.utc_ns(), self.clock.monotonic_ns());
        let (large, small) = {
            let mut state = self.latched.state.lock();
            let small = state.small_changed.then(|| state.take_small());
            (std::mem::take(&mut state.large), small)
        };
        let mut outcome = Ok(());
        let mut large = large.into_iter();
        while let Some(value) = large.next() {
            let since_ns = value.stamp.log_time_ns;
            if let Err(error) = self.write_latched_segment(writing.take_number(), since_ns, None, std::slice::from_ref(&value)) {
                // The next pass tries again, in this order: the higher number replaces the lower one.
                self.latched.state.lock().large.splice(..0, std::iter::once(value).chain(large));
                outcome = Err(error);
                break;
            }
        }
        if let Some((current, replaced, first_ns)) = small
            && let Err((replaced, error)) = self.write_small(&mut writing, current, replaced, first_ns, (taken_ns, now_ns))
        {
            self.latched.state.lock().put_back(replaced, first_ns);
            outcome = Err(error);
        }
        outcome
    }

    /// Writes small values, and gives back those that were replaced if that fails.
    fn write_small(
        &self,
        writing: &mut Writing,
        current: Vec<Arc<Value>>,
        replaced: Vec<Arc<Value>>,
        first_ns: Option<i64>,
        (taken_ns, now_ns): (i64, i64),
    ) -> Result<(), (Vec<Arc<Value>>, io::Error)> {
        let age_ns = self.config.load().segment.age_ns;
        let window = writing.window.as_ref().filter(|window| now_ns.saturating_sub(window.began_ns) < age_ns && window.is_small());
        let told = window.map_or(&[][..], |window| &window.replaced);
        let mut values: Vec<Arc<Value>> = current.iter().chain(&replaced).chain(told).cloned().collect();
        values.sort_by_key(|value| value.stamp.sequence);
        let Some(first) = values.first() else { return Ok(()) };
        let (since_ns, began_ns, first_ns) = match window {
            Some(window) => (window.since_ns, window.began_ns, earlier(window.first_ns, first_ns)),
            None => (writing.last_ns.unwrap_or_else(|| first.stamp.log_time_ns.min(self.opened_ns)), now_ns, first_ns),
        };
        let late_ns = first_ns.filter(|first_ns| *first_ns < since_ns);
        let told = told.to_vec();
        match self.write_latched_segment(writing.take_number(), since_ns, late_ns, &values) {
            Ok(()) => {
                let replaced = told.into_iter().chain(replaced).collect();
                writing.window = Some(Window { since_ns, began_ns, first_ns, replaced });
                writing.last_ns = Some(taken_ns);
                Ok(())
            }
            // The next pass tries again.
            Err(error) => Err((replaced, error)),
        }
    }

    /// Writes values into a segment of their own; where that fails, nothing of it stays.
    fn write_latched_segment(&self, number: u64, since_ns: i64, late_ns: Option<i64>, values: &[Arc<Value>]) -> io::Result<()> {
        let name = SegmentName { host: self.host.clone(), boot: self.boot, buffer: LATCHED_BUFFER.to_owned(), number };
        let utc_ns = self.clock.utc_ns();
        let path = self.root.join(&*SegmentMeta::key(&self.device, utc_ns, &name));
        let alone = values.first().filter(|value| value.is_large()).map(|value| value.channel_id);
        let mut channels: Vec<u16> = values.iter().map(|value| value.channel_id).collect();
        channels.sort_unstable();
        channels.dedup();
        let definitions = self.definitions(channels.into_iter());
        let birth = Birth {
            disk: &*self.disk,
            root: &self.root,
            device: &self.device,
            name,
            in_ram: false,
            heavy: alone.is_some(),
            utc_ns,
            monotonic_ns: self.clock.monotonic_ns(),
            file_clock: self.clock.is_file(),
            first_sequence: values.first().map_or(0, |value| value.stamp.sequence),
            kernel_boot: &self.kernel_boot,
            config_hash: &self.config.load().hash,
            latched_since_ns: Some(since_ns),
            latched_late_ns: late_ns,
            // Transforms replace each other frame by frame, never a whole message.
            latched_channel: alone.filter(|_| !definitions.iter().any(|definition| definition.topic.name.ends_with("/tf_static"))),
        };
        let meta = self.fill_latched_segment(birth, &definitions, values).inspect_err(|_| {
            let _ = self.disk.remove(&path);
        })?;
        self.index.lock().add(meta.clone());
        if let Some(buffer) = self.buffers.load().first() {
            buffer.unsynced.lock().push(Unsynced { meta, syncer: None });
        }
        Ok(())
    }

    fn fill_latched_segment(&self, birth: Birth<'_>, definitions: &[Definition], values: &[Arc<Value>]) -> io::Result<Arc<SegmentMeta>> {
        let mut chunk = ChunkBuilder::default();
        for Value { channel_id, stamp, data, .. } in values.iter().map(|value| &**value) {
            chunk.push(*channel_id, stamp.sequence as u32, stamp.log_time_ns as u64, stamp.publish_time_ns as u64, data);
        }
        let mut segment = OpenSegment::begin(birth)?;
        let encoded = Arc::new(chunk.encode(Compression::Zstd(1)));
        segment.write(encoded, definitions, values.last().map_or(0, |value| value.stamp.sequence))?;
        segment.finish(self.clock.utc_ns(), self.clock.monotonic_ns(), &[])?;
        if let Some(syncer) = segment.unsynced()? {
            syncer.sync()?;
        }
        self.disk.sync_folder(segment.path().parent().expect("a key has a folder"))?;
        Ok(Arc::new(SegmentMeta { closed: true, ..segment.look(&self.sets).clone() }))
    }

    /// Removes latched segments that were replaced while nothing was recorded that is still on the tape.
    pub(super) fn evict_latched(&self) {
        if !self.room.evicts() {
            return;
        }
        let is_ordinary = |meta: &SegmentMeta| meta.latched_since_ns.is_none() && meta.name.buffer != RECORDER_BUFFER;
        let open: Vec<SegmentMeta> = self.buffers.load().iter().flat_map(|buffer| self.open_segments(buffer)).collect();
        let gone: Vec<Arc<SegmentMeta>> = {
            let index = self.index.lock();
            let settled_ns = self.clock.utc_ns().saturating_sub(SUPERSEDED_NS);
            let mut replaced = replaced(&index, self.boot);
            replaced.retain(|(_, _, until_ns)| *until_ns < settled_ns);
            if replaced.is_empty() {
                return;
            }
            let closed = index.all().filter(|meta| is_ordinary(meta)).map(|meta| meta.corrected_ns(index.correction_ns(meta)));
            let open = open.iter().filter(|meta| is_ordinary(meta)).map(|meta| (meta.corrected_ns(index.correction_ns(meta)).0, i64::MAX));
            let recorded = joined(closed.chain(open).collect());
            replaced.retain(|(meta, since_ns, until_ns)| {
                let next = recorded.partition_point(|(_, end_ns)| end_ns < since_ns);
                // One that tells of the same time, and of what came then, takes its place.
                let is_needed = since_ns < until_ns && recorded.get(next).is_some_and(|(start_ns, _)| start_ns <= until_ns);
                !is_needed && !self.keeper.names(meta, index.correction_ns(meta))
            });
            replaced.into_iter().map(|(meta, ..)| meta.clone()).collect()
        };
        for meta in gone {
            self.remove_segment(&meta);
        }
    }
}

/// Returns the latched segments that were replaced, and from when until when they told the state.
fn replaced(index: &Index, boot: u64) -> Vec<(&Arc<SegmentMeta>, i64, i64)> {
    let since_ns = |meta: &SegmentMeta| meta.latched_since_ns.unwrap_or(i64::MIN).saturating_add(index.correction_ns(meta));
    let (large, small): (Vec<_>, Vec<_>) = index.of(LATCHED_BUFFER).partition(|meta| meta.heavy);
    let small_replaced = small.windows(2).map(|pair| (pair[0], since_ns(pair[0]), since_ns(pair[1])));
    // The large values of an earlier opening hold until its end.
    let end_of = |boot: u64| {
        let of_boot = index.all().filter(|meta| meta.name.boot == boot && meta.latched_since_ns.is_none());
        of_boot.map(|meta| meta.corrected_ns(index.correction_ns(meta)).1).max()
    };
    let mut ends: BTreeMap<u64, Option<i64>> = BTreeMap::new();
    let mut all: Vec<(&Arc<SegmentMeta>, i64, i64)> = small_replaced.collect();
    for (i, meta) in large.iter().enumerate() {
        let begun_ns = since_ns(meta);
        let until_ns = match large[i + 1..].iter().find(|next| next.replaces(meta)) {
            Some(next) => since_ns(next),
            None if meta.name.boot == boot => continue,
            None => ends.entry(meta.name.boot).or_insert_with(|| end_of(meta.name.boot)).unwrap_or(begun_ns),
        };
        all.push((meta, begun_ns, until_ns));
    }
    all
}

/// Returns times from and to, both included, in order and without overlaps.
fn joined(mut times: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    times.retain(|(start_ns, end_ns)| start_ns <= end_ns);
    times.sort_unstable();
    times.dedup_by(|next, before| {
        let overlaps = next.0 <= before.1;
        before.1 = if overlaps { before.1.max(next.1) } else { before.1 };
        overlaps
    });
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 300 << 20;

    /// Notes a value of a topic, and returns whether the topic has a value then.
    fn note(state: &mut State, topic: &str, sequence: u64, bytes: usize) -> bool {
        let slot = Slot { topic: topic.to_owned(), publisher: String::new(), part: LatchedPart::Whole };
        let stamp = Stamp { sequence, log_time_ns: sequence as i64, publish_time_ns: 0 };
        state.note(1, stamp, Bytes::from(vec![0; bytes]), vec![slot.clone()]);
        state.values.contains_key(&slot)
    }

    #[test]
    fn values_count_as_long_as_they_are_somewhere() {
        let mut state = State::default();
        assert!(note(&mut state, "/map", 0, LARGE));
        // The first is in no segment yet, and there is no room for both: better no value than the old one.
        assert!(!note(&mut state, "/map", 1, LARGE));
        state.large.clear();
        assert_eq!(state.held(), 0);
        for sequence in 2..5 {
            assert!(note(&mut state, "/map", sequence, LARGE), "the one that it replaces makes room");
            assert!(!note(&mut state, "/other", sequence, LARGE));
            assert_eq!(state.held(), LARGE + ENTRY_BYTES);
            state.large.clear();
        }
        for sequence in 10..20 {
            assert!(note(&mut state, "/map", sequence, 1000));
        }
        assert_eq!((state.held(), state.replaced.len()), (10 * (1000 + ENTRY_BYTES), 9));
        let (current, replaced, first_ns) = state.take_small();
        assert_eq!((current.len(), replaced.len(), first_ns, state.held()), (1, 9, Some(10), 10 * (1000 + ENTRY_BYTES)));
        state.put_back(replaced, first_ns);
        drop(current);
        assert_eq!(state.take_small().1.len(), 9, "nothing is held twice");
        assert_eq!(state.held(), 1000 + ENTRY_BYTES);
    }

    #[test]
    fn of_two_that_log_at_once_the_later_message_counts() {
        let mut state = State::default();
        assert!(note(&mut state, "/map", 7, 10));
        assert!(note(&mut state, "/map", 6, 20));
        assert_eq!(state.values.values().map(|value| value.stamp.sequence).collect::<Vec<_>>(), [7]);
        assert_eq!(state.take_small().1.iter().map(|value| value.stamp.sequence).collect::<Vec<_>>(), [6]);
    }

    #[test]
    fn times_are_joined_where_they_overlap() {
        assert_eq!(joined(vec![(5, 9), (1, 3), (i64::MAX, i64::MIN), (8, 12), (3, 4), (20, i64::MAX)]), [(1, 4), (5, 12), (20, i64::MAX)]);
    }
}
