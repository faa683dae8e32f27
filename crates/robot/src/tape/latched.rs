//! Latched values: the last value of each publisher of a latched topic, so that every recording begins complete.
//!
//! In come messages of latched channels, out go *latched segments*: small values together, large ones alone. A segment of small
//! values also holds those that were replaced since the one before it, so that the state at any moment can be told from it.
//!
//! **Invariant:** a latched segment lives as long as there is a segment on the tape that begins before the next one was written.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use recording::decode::{LatchedPart, LatchedParts};
use recording::key::SegmentName;
use recording::mcap::chunk::{ChunkBuilder, Compression, LARGE_PAYLOAD};
use recording::schema::library::Library;
use recording::time;

use super::channel::{Channel, Payload, Stamp};
use super::lane::{Birth, OpenSegment};
use super::segment::SegmentMeta;
use super::{Inner, buffer::Unsynced};
use crate::config::LATCHED_BUFFER;

/// How many latched values there may be; more are held like any other message, and that is told.
const VALUE_LIMIT: usize = 10_000;
/// How many bytes of latched values are held in memory.
const BYTES_LIMIT: usize = 512 << 20;

/// How long a latched segment stays at least after it was replaced: there may be messages from before in no segment yet.
const SUPERSEDED_NS: i64 = 60 * time::SECOND_NS;

/// Which value replaces which: topic, publisher, and what of the topic it is the value of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    topic: String,
    publisher: String,
    part: LatchedPart,
}

#[derive(Clone, Debug)]
struct Value {
    channel_id: u16,
    stamp: Stamp,
    data: Bytes,
}

/// The latched values of this boot.
#[derive(Default)]
pub(crate) struct Latched {
    values: BTreeMap<Slot, Arc<Value>>,
    /// What the messages of each channel are the values of.
    parts: BTreeMap<u16, LatchedParts>,
    /// Small values that were replaced since the last segment.
    replaced: Vec<Arc<Value>>,
    /// Large values that are in no segment yet.
    large: Vec<Arc<Value>>,
    small_changed: bool,
    bytes: usize,
    next_number: u64,
    last_written_ns: Option<i64>,
    /// The first log time of small values since then.
    first_ns: Option<i64>,
    refused: bool,
}

impl Latched {
    pub(crate) fn starting_at(next_number: u64) -> Self {
        Self { next_number, ..Self::default() }
    }

    /// Takes a value; returns false once, when there are too many.
    fn note(&mut self, channel: &Channel, stamp: Stamp, data: Bytes) -> bool {
        let known = || LatchedParts::new(&channel.spec.to_topic(), &Library::standard());
        let parts = self.parts.entry(channel.id()).or_insert_with(known).of(&data);
        if self.values.len() + parts.len() > VALUE_LIMIT || self.bytes + data.len() > BYTES_LIMIT {
            return std::mem::replace(&mut self.refused, true);
        }
        let large = data.len() >= LARGE_PAYLOAD;
        self.bytes += data.len();
        let value = Arc::new(Value { channel_id: channel.id(), stamp, data });
        for part in parts {
            let slot = Slot { topic: channel.spec.topic.clone(), publisher: channel.spec.publisher.clone(), part };
            if let Some(old) = self.values.insert(slot, value.clone()) {
                self.replace(old);
            }
        }
        if large {
            self.large.push(value);
        } else {
            self.small_changed = true;
            self.first_ns = Some(self.first_ns.map_or(stamp.log_time_ns, |first_ns| first_ns.min(stamp.log_time_ns)));
        }
        true
    }

    fn replace(&mut self, old: Arc<Value>) {
        // A message may hold several frames; it is replaced when the last of them is.
        if Arc::strong_count(&old) > 1 {
            return;
        }
        self.bytes = self.bytes.saturating_sub(old.data.len());
        if old.data.len() < LARGE_PAYLOAD {
            self.bytes += old.data.len();
            self.replaced.push(old);
        }
    }

    /// Returns the values as they are now, in the order of appending.
    pub(super) fn current(&self) -> Vec<(u16, Stamp, Bytes)> {
        let values = self.values.values().map(|value| (value.stamp.sequence, value));
        let by_order: BTreeMap<u64, &Arc<Value>> = values.collect();
        by_order.into_values().map(|value| (value.channel_id, value.stamp, value.data.clone())).collect()
    }

    /// Takes the values of the next segment of small ones, in order of time.
    fn take_small(&mut self) -> Vec<Arc<Value>> {
        self.small_changed = false;
        let replaced = std::mem::take(&mut self.replaced);
        self.bytes = self.bytes.saturating_sub(replaced.iter().map(|value| value.data.len()).sum());
        let mut values: Vec<Arc<Value>> = self.values.values().filter(|value| value.data.len() < LARGE_PAYLOAD).cloned().collect();
        values.extend(replaced);
        values.sort_by_key(|value| value.stamp.sequence);
        values.dedup_by_key(|value| value.stamp.sequence);
        values
    }

    /// Takes values back that could not be written.
    fn put_back(&mut self, values: Vec<Arc<Value>>, large: bool) {
        if large {
            self.large.extend(values);
        } else {
            self.small_changed = true;
            self.replaced.extend(values);
        }
    }
}

impl Inner {
    pub(super) fn note_latched(&self, channel: &Channel, stamp: Stamp, payload: &Payload<'_>) {
        if !self.latched.lock().note(channel, stamp, payload.to_shared()) {
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
        let mut latched = self.latched.lock();
        let mut segments: Vec<Vec<Arc<Value>>> = std::mem::take(&mut latched.large).into_iter().map(|value| vec![value]).collect();
        let small = latched.small_changed;
        if small {
            segments.push(latched.take_small());
        }
        let mut outcome = Ok(());
        for values in segments {
            let large = values.iter().any(|value| value.data.len() >= LARGE_PAYLOAD);
            let since_ns = if large {
                values[0].stamp.log_time_ns
            } else {
                latched.last_written_ns.unwrap_or_else(|| values[0].stamp.log_time_ns.min(self.opened_ns))
            };
            let late_ns = latched.first_ns.filter(|first_ns| !large && *first_ns < since_ns);
            let number = latched.next_number;
            latched.next_number += 1;
            match self.write_latched_segment(number, since_ns, late_ns, &values) {
                Ok(()) if large => {}
                Ok(()) => (latched.last_written_ns, latched.first_ns) = (Some(self.clock.utc_ns()), None),
                // The next pass tries again.
                Err(error) => {
                    latched.put_back(values, large);
                    outcome = Err(error);
                }
            }
        }
        outcome
    }

    fn write_latched_segment(&self, number: u64, since_ns: i64, late_ns: Option<i64>, values: &[Arc<Value>]) -> io::Result<()> {
        let mut chunk = ChunkBuilder::default();
        for value in values {
            chunk.push(
                value.channel_id,
                value.stamp.sequence as u32,
                value.stamp.log_time_ns as u64,
                value.stamp.publish_time_ns as u64,
                &value.data,
            );
        }
        let first_sequence = values.first().map_or(0, |value| value.stamp.sequence);
        let last_sequence = values.last().map_or(0, |value| value.stamp.sequence);
        let alone = values.first().filter(|value| value.data.len() >= LARGE_PAYLOAD).map(|value| value.channel_id);
        let mut channels: Vec<u16> = values.iter().map(|value| value.channel_id).collect();
        channels.sort_unstable();
        channels.dedup();
        let definitions = self.definitions(channels.into_iter());
        let mut segment = OpenSegment::begin(Birth {
            disk: &*self.disk,
            root: &self.root,
            device: &self.device,
            name: SegmentName { host: self.host.clone(), boot: self.boot, buffer: LATCHED_BUFFER.to_owned(), number },
            in_ram: false,
            heavy: alone.is_some(),
            utc_ns: self.clock.utc_ns(),
            monotonic_ns: self.clock.monotonic_ns(),
            file_clock: self.clock.is_file(),
            first_sequence,
            kernel_boot: &self.kernel_boot,
            config_hash: &self.config.load().hash,
            latched_since_ns: Some(since_ns),
            latched_late_ns: late_ns,
            // Transforms replace each other frame by frame, never a whole message.
            latched_channel: alone.filter(|_| !definitions.iter().any(|definition| definition.topic.name.ends_with("/tf_static"))),
        })?;
        let encoded = Arc::new(chunk.encode(Compression::Zstd(1)));
        segment.write(encoded, &definitions, last_sequence)?;
        segment.finish(self.clock.utc_ns(), self.clock.monotonic_ns(), &[])?;
        if let Some(syncer) = segment.unsynced()? {
            syncer.sync()?;
        }
        self.disk.sync_folder(segment.path().parent().expect("a key has a folder"))?;
        let meta = Arc::new(SegmentMeta { closed: true, ..segment.look(&self.sets).clone() });
        self.index.lock().add(meta.clone());
        if let Some(buffer) = self.buffers.load().first() {
            buffer.unsynced.lock().push(Unsynced { meta, syncer: None });
        }
        Ok(())
    }

    /// Removes latched segments that nothing on the tape begins before the end of.
    pub(super) fn evict_latched(&self) {
        if !self.upkeep.evicts() {
            return;
        }
        let open_ns = self.buffers.load().iter().flat_map(|buffer| self.open_segments(buffer)).map(|meta| meta.start_ns).min();
        let gone: Vec<Arc<SegmentMeta>> = {
            let index = self.index.lock();
            let closed_ns = index.all().filter(|meta| meta.latched_since_ns.is_none()).map(|meta| meta.start_ns);
            let oldest_ns = closed_ns.chain(open_ns).chain([self.clock.utc_ns().saturating_sub(SUPERSEDED_NS)]).min();
            // The values of an earlier opening hold until its end.
            let end_of = |boot: u64| {
                index.all().filter(|meta| meta.name.boot == boot && meta.latched_since_ns.is_none()).map(|meta| meta.end_ns).max()
            };
            let small: Vec<&Arc<SegmentMeta>> = index.of(LATCHED_BUFFER).filter(|meta| !meta.heavy).collect();
            let large: Vec<&Arc<SegmentMeta>> = index.of(LATCHED_BUFFER).filter(|meta| meta.heavy).collect();
            let mut superseded: Vec<&Arc<SegmentMeta>> = Vec::new();
            for (i, meta) in small.iter().enumerate() {
                let until_ns = small.get(i + 1).and_then(|next| next.latched_since_ns);
                if until_ns.is_some_and(|until_ns| oldest_ns.is_none_or(|oldest_ns| until_ns < oldest_ns)) {
                    superseded.push(meta);
                }
            }
            for (i, meta) in large.iter().enumerate() {
                let next = large[i + 1..].iter().find(|next| next.replaces(meta));
                let replaced =
                    next.and_then(|next| next.latched_since_ns).or_else(|| end_of(meta.name.boot).filter(|_| meta.name.boot != self.boot));
                if replaced.is_some_and(|until_ns| oldest_ns.is_some_and(|oldest_ns| until_ns < oldest_ns)) {
                    superseded.push(meta);
                }
            }
            superseded.into_iter().filter(|meta| !self.keeper.names(meta, index.correction_ns(meta))).cloned().collect()
        };
        for meta in gone {
            self.remove_segment(&meta);
        }
    }
}
