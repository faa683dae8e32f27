//! A buffer: a set of topics held in one quality, in RAM or on disk.
//!
//! **Invariant:** numbers of segments only grow, also over restarts; a number is never used twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use recording::mcap::chunk::{Compressor, LARGE_PAYLOAD};

use super::channel::{Route, Stamp};
use super::disk::Syncer;
use super::lane::Lane;
use super::queue::Queue;
use super::segment::SegmentMeta;
use super::slot::{CHUNK_SIZE, FullChunk, Slot};
use crate::config::{BufferConfig, Place};

/// How many empty chunk buffers are kept for the next chunks.
const POOL_LIMIT: usize = 4;
/// What a topic with chunks of its own in shared segments fills between two syncs.
const OWN_CHUNK_SIZE: usize = 128 << 10;
/// How many busy topics of one buffer may have segments of their own at a time.
pub(crate) const OWN_LANES_LIMIT: usize = 64;

/// What a buffer's writer does next.
pub(crate) enum Job {
    /// Encode a chunk and append it.
    Chunk(FullChunk),
    /// Transform a message, then hold it.
    Message { route: Arc<Route>, stamp: Stamp, payload: Bytes },
    /// Close the lane's open segment.
    Close(Arc<Lane>),
    /// Tell somebody that all before is done.
    Barrier(Arc<Gate>),
}

/// A closed segment whose bytes are not durable yet.
pub(crate) struct Unsynced {
    pub(crate) meta: Arc<SegmentMeta>,
    pub(crate) syncer: Option<Box<dyn Syncer>>,
}

/// One buffer of the tape.
pub(crate) struct Buffer {
    pub(crate) name: Arc<str>,
    pub(crate) config: ArcSwap<BufferConfig>,
    pub(crate) queue: Queue<Job>,
    pub(crate) shared: Arc<Slot>,
    pub(crate) lanes: Mutex<Vec<Arc<Lane>>>,
    pub(crate) slots: Mutex<Vec<Arc<Slot>>>,
    pub(crate) unsynced: Mutex<Vec<Unsynced>>,
    pub(crate) counters: Counters,
    pub(crate) evicted_ns: AtomicI64,
    /// How many bytes had been written when the buffer was last looked through.
    pub(crate) evicted_at_bytes: AtomicU64,
    retired_slots: Mutex<Vec<Arc<Slot>>>,
    next_number: AtomicU64,
    pool: Mutex<Vec<Vec<u8>>>,
    /// Of the writer alone.
    pub(crate) compressor: Mutex<Compressor>,
}

/// What went through a buffer since the tape was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) messages: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) filtered: AtomicU64,
    pub(crate) lost_messages: AtomicU64,
    pub(crate) lost_bytes: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    pub(crate) durable_until_ns: AtomicI64,
    pub(crate) evicted_segments: AtomicU64,
    pub(crate) evicted_bytes: AtomicU64,
}

/// A door that opens once.
#[derive(Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Buffer {
    pub(crate) fn new(config: BufferConfig, next_number: u64) -> Arc<Self> {
        let lane = Lane::new(false);
        let shared = Arc::new(Slot::new(lane.clone(), CHUNK_SIZE));
        Arc::new(Self {
            name: config.name.as_str().into(),
            config: ArcSwap::from_pointee(config),
            queue: Queue::new(),
            shared: shared.clone(),
            lanes: Mutex::new(vec![lane]),
            slots: Mutex::new(vec![shared]),
            unsynced: Mutex::default(),
            counters: Counters::default(),
            evicted_ns: AtomicI64::new(0),
            evicted_at_bytes: AtomicU64::new(0),
            retired_slots: Mutex::default(),
            next_number: AtomicU64::new(next_number),
            pool: Mutex::default(),
            compressor: Mutex::default(),
        })
    }

    pub(crate) fn is_ram(&self) -> bool {
        self.config.load().place == Place::Ram
    }

    /// Returns whether half of what may wait to be written does.
    pub(crate) fn is_behind(&self) -> bool {
        self.queue.bytes() > self.config.load().queue_bytes / 2
    }

    /// Returns how many bytes were written since it was last looked through for what has to go.
    pub(crate) fn fresh_bytes(&self) -> u64 {
        self.counters.written_bytes.load(Ordering::Relaxed).saturating_sub(self.evicted_at_bytes.load(Ordering::Relaxed))
    }

    pub(crate) fn take_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns an empty buffer for a chunk of an expected size.
    pub(crate) fn empty_chunk(&self, expected: usize) -> Vec<u8> {
        if expected < CHUNK_SIZE {
            return Vec::with_capacity(expected);
        }
        // A message below the limit of large ones may still be added to a chunk that is almost full.
        self.pool.lock().pop().unwrap_or_else(|| Vec::with_capacity(CHUNK_SIZE + LARGE_PAYLOAD))
    }

    /// Takes a chunk's buffer back.
    pub(crate) fn recycle(&self, buffer: Vec<u8>) {
        let mut pool = self.pool.lock();
        if pool.len() < POOL_LIMIT && buffer.capacity() >= CHUNK_SIZE + LARGE_PAYLOAD {
            pool.push(buffer);
        }
    }

    /// Adds a slot for one topic: with a lane of its own, or in the shared lane.
    pub(crate) fn add_slot(&self, own_lane: bool) -> Arc<Slot> {
        let mut lanes = self.lanes.lock();
        let lane = if own_lane && lanes.len() <= OWN_LANES_LIMIT {
            let lane = Lane::new(true);
            lanes.push(lane.clone());
            lane
        } else {
            self.shared.lane.clone()
        };
        let expected = if own_lane { CHUNK_SIZE } else { OWN_CHUNK_SIZE };
        let slot = Arc::new(Slot::new(lane, expected));
        self.slots.lock().push(slot.clone());
        slot
    }

    /// Remembers a slot that routes have left.
    pub(crate) fn retire_slot(&self, slot: Arc<Slot>) {
        self.retired_slots.lock().push(slot);
    }

    /// Takes the retired slots that nobody but this buffer holds, so that nothing can be pushed into them any more.
    pub(crate) fn take_idle_retired(&self) -> Vec<Arc<Slot>> {
        // One reference is in `slots`, one in `retired_slots`; a hot path that loaded the slot before it was swapped has another.
        let (idle, busy) = std::mem::take(&mut *self.retired_slots.lock()).into_iter().partition(|slot| Arc::strong_count(slot) <= 2);
        self.retired_slots.lock().extend::<Vec<_>>(busy);
        idle
    }

    /// Forgets a slot that nothing routes to any more, and its lane if that was its own.
    pub(crate) fn drop_slot(&self, slot: &Arc<Slot>) -> Option<Arc<Lane>> {
        self.slots.lock().retain(|other| !Arc::ptr_eq(other, slot));
        if !slot.lane.heavy {
            return None;
        }
        self.lanes.lock().retain(|lane| !Arc::ptr_eq(lane, &slot.lane));
        Some(slot.lane.clone())
    }
}

impl Gate {
    pub(crate) fn open(&self) {
        *self.open.lock() = true;
        self.opened.notify_all();
    }

    pub(crate) fn wait(&self) {
        self.opened.wait_while(&mut self.open.lock(), |open| !*open);
    }

    /// Waits up to `timeout` and returns whether the door is open.
    pub(crate) fn wait_for(&self, timeout: std::time::Duration) -> bool {
        !self.opened.wait_while_for(&mut self.open.lock(), |open| !*open, timeout).timed_out()
    }
}
