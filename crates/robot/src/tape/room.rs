//! Room on the disk and in memory: what goes when a buffer has more than it may, and when the disk is full.
//!
//! **Invariant:** what a recording names stays, unless the disk is full; then the oldest recording that is complete is given up.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use recording::{Error, Loss, time};

use super::Inner;
use super::buffer::Buffer;
use super::eviction::{self, Budget, Candidate};
use super::segment::SegmentMeta;
use crate::config::{DEFAULT_DISK_BYTES, LATCHED_BUFFER};

/// A buffer with more segments than this is not looked through each time one is closed, but
const EVICT_AT_ONCE: usize = 512;
/// so often.
const EVICT_NS: i64 = 100_000_000;
/// How long segments of buffers that are configured no more stay, unless the disk gets full.
const UNCONFIGURED_NS: i64 = 7 * 86_400 * time::SECOND_NS;

/// Whether segments may go, and what was said of it.
pub(super) struct Room {
    evicts: bool,
    /// Whether it was told that there is nothing left to evict.
    floor_told: AtomicBool,
}

impl Room {
    pub(super) fn new(evicts: bool) -> Self {
        Self { evicts, floor_told: AtomicBool::new(false) }
    }

    /// Returns whether segments may be evicted.
    pub(super) fn evicts(&self) -> bool {
        self.evicts
    }
}

impl Inner {
    /// Removes old segments of buffers that are configured no more.
    pub(super) fn evict_unconfigured(&self) {
        if !self.room.evicts {
            return;
        }
        let active = self.buffers.load();
        let oldest_ns = self.clock.utc_ns().saturating_sub(UNCONFIGURED_NS);
        let gone: Vec<Arc<SegmentMeta>> = {
            let index = self.index.lock();
            let unconfigured = |name: &&Arc<str>| &***name != LATCHED_BUFFER && !active.iter().any(|buffer| buffer.name == **name);
            let old = |meta: &&Arc<SegmentMeta>| {
                let correction_ns = index.correction_ns(meta);
                let comparable = meta.file_clock == self.clock.is_file();
                comparable && meta.ages_from_ns(correction_ns) < oldest_ns && !self.keeper.names(meta, correction_ns)
            };
            index.buffers().filter(unconfigured).flat_map(|name| index.of(name)).filter(old).cloned().collect()
        };
        for meta in gone {
            self.remove_segment(&meta);
        }
    }

    /// Removes what is over the budget of a buffer.
    pub(super) fn evict(&self, buffer: &Arc<Buffer>) {
        if !self.room.evicts {
            return;
        }
        let config = buffer.config.load();
        let now_ns = self.clock.monotonic_ns();
        let many = self.index.lock().count_of(&buffer.name) > EVICT_AT_ONCE;
        if many && now_ns - buffer.evicted_ns.load(Ordering::Relaxed) < EVICT_NS {
            return;
        }
        buffer.evicted_ns.store(now_ns, Ordering::Relaxed);
        buffer.evicted_at_bytes.store(buffer.counters.written_bytes.load(Ordering::Relaxed), Ordering::Relaxed);
        let lanes = buffer.lanes.lock().clone();
        let open_bytes: u64 = lanes.iter().filter_map(|lane| lane.open.lock().as_ref().map(|segment| segment.meta.size_bytes)).sum();
        let size = config.size_bytes.unwrap_or_else(|| {
            let total = self.disk.space(&self.root).map_or(u64::MAX, |(_, total)| total);
            DEFAULT_DISK_BYTES.min(total / 10)
        });
        let utc_ns = self.clock.utc_ns();
        let budget =
            Budget { oldest_ns: config.age_ns.map(|age_ns| utc_ns.saturating_sub(age_ns)), bytes: size.saturating_sub(open_bytes) };
        let mut waiting = Vec::new();
        let gone = {
            let index = self.index.lock();
            let mut candidates = Vec::new();
            let mut unnamed = Vec::new();
            for meta in index.of(&buffer.name) {
                let correction_ns = index.correction_ns(meta);
                let named = self.keeper.names(meta, correction_ns);
                let stays = match &meta.ram {
                    Some(ram) => (named || ram.is_wanted()) && !ram.is_written(),
                    None => named,
                };
                if stays {
                    waiting.extend(meta.ram.as_ref().filter(|ram| !ram.has_file()).map(|_| meta.clone()));
                    continue;
                }
                // Of a buffer in memory only what recordings name is on the disk.
                if meta.in_memory && meta.ram.is_none() {
                    unnamed.push(meta.clone());
                    continue;
                }
                // A file's times say nothing about age on the wall clock, nor the other way round.
                let comparable = meta.file_clock == self.clock.is_file();
                let ages_from_ns = match comparable {
                    true if meta.start_ns <= meta.end_ns => meta.ages_from_ns(correction_ns),
                    // Of one that is damaged as a whole nobody knows its times: it goes with the one before it.
                    true => candidates.last().map_or(i64::MAX, |before: &Candidate<'_>| before.ages_from_ns),
                    false => i64::MAX,
                };
                candidates.push(Candidate { meta, ages_from_ns });
            }
            unnamed.extend(eviction::choose(&candidates, budget));
            unnamed
        };
        if buffer.is_ram() {
            // One that was closed just now waits for a sync that it does not need, and would keep its memory until then.
            let evicted = |meta: &Arc<SegmentMeta>| gone.iter().any(|gone| Arc::ptr_eq(gone, meta));
            buffer.unsynced.lock().retain(|unsynced| !evicted(&unsynced.meta));
        }
        self.limit_waiting(buffer, &waiting, budget.bytes);
        for meta in gone.into_iter().filter(|meta| self.let_segment_go(meta)) {
            buffer.counters.evicted_segments.fetch_add(1, Ordering::Relaxed);
            buffer.counters.evicted_bytes.fetch_add(meta.size_bytes, Ordering::Relaxed);
        }
    }

    /// Loses the oldest segments in memory that wait to be written for recordings, where all of them have more than `limit` bytes:
    /// a disk that cannot keep up must not take the machine's memory.
    fn limit_waiting(&self, buffer: &Buffer, waiting: &[Arc<SegmentMeta>], limit: u64) {
        let mut bytes: u64 = waiting.iter().map(|meta| meta.size_bytes).sum();
        for meta in waiting {
            if bytes <= limit {
                return;
            }
            bytes -= meta.size_bytes;
            self.remove_segment(meta);
            let reason = format!("disk: too slow for what recordings keep of memory (buffer '{}')", buffer.name);
            for topic in &*meta.topics {
                self.losses.add(Loss {
                    topic: Some(topic.to_string()),
                    start_ns: Some(meta.start_ns),
                    end_ns: Some(meta.end_ns),
                    messages: None,
                    bytes: None,
                    reason: reason.clone(),
                });
            }
            self.losses.fail(Error::unavailable(reason));
        }
    }

    /// Removes a segment, or lets one in memory go that recordings have on the disk; returns whether that worked.
    fn let_segment_go(&self, meta: &Arc<SegmentMeta>) -> bool {
        if meta.ram.as_ref().is_some_and(|ram| ram.is_written()) {
            // If no recording names it, the next pass takes it from the disk, too.
            self.index.lock().add(Arc::new(SegmentMeta { ram: None, ..(**meta).clone() }));
            return true;
        }
        self.remove_segment(meta)
    }

    /// Removes a segment: first from the index, then from the disk; returns whether that worked.
    pub(super) fn remove_segment(&self, meta: &Arc<SegmentMeta>) -> bool {
        self.index.lock().remove(meta);
        if meta.ram.is_some() {
            return true;
        }
        match self.disk.remove(&self.root.join(&*meta.key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.index.lock().put(meta.clone());
                self.losses.fail(Error::io(format!("cannot evict {}", meta.key), error));
                false
            }
            _ => true,
        }
    }

    /// Returns how many bytes of a disk of `total` stay free.
    pub(super) fn floor_bytes(&self, total: u64) -> u64 {
        self.config.load().floor_bytes.unwrap_or_else(|| (total / 20).min(1_000_000_000))
    }

    pub(super) fn keep_floor(&self) {
        let Ok((free, total)) = self.disk.space(&self.root) else { return };
        let floor = self.floor_bytes(total);
        if free >= floor {
            self.room.floor_told.store(false, Ordering::Relaxed);
            return;
        }
        let freed = self.make_room(floor - free);
        if freed < floor - free && !self.room.floor_told.swap(true, Ordering::Relaxed) {
            let message = format!("only {free} bytes of the disk are free, below the floor of {floor}, and there is nothing left to evict");
            self.write_event("disk_floor", &message, serde_json::json!({ "free_bytes": free, "floor_bytes": floor }));
        }
    }

    /// Evicts the oldest unnamed segments, of whatever buffer, until `needed` bytes are free; then gives up recordings.
    pub(super) fn make_room(&self, needed: u64) -> u64 {
        if !self.room.evicts {
            return 0;
        }
        let mut freed = 0;
        let mut segments = 0;
        let mut given_up = Vec::new();
        loop {
            let oldest = {
                let index = self.index.lock();
                let unnamed = |meta: &&Arc<SegmentMeta>| {
                    meta.ram.is_none() && meta.latched_since_ns.is_none() && !self.keeper.names(meta, index.correction_ns(meta))
                };
                let mut unnamed: Vec<&Arc<SegmentMeta>> = index.all().filter(unnamed).collect();
                unnamed.sort_by_key(|meta| meta.ages_from_ns(index.correction_ns(meta)));
                let mut bytes = 0;
                let enough = |meta: &&&Arc<SegmentMeta>| {
                    let before = bytes;
                    bytes += meta.size_bytes;
                    before < needed - freed
                };
                unnamed.iter().take_while(enough).map(|meta| Arc::clone(meta)).collect::<Vec<_>>()
            };
            let removed = oldest.iter().filter(|meta| self.remove_segment(meta)).map(|meta| meta.size_bytes);
            let (count, bytes) = removed.fold((0, 0), |(count, bytes), size_bytes| (count + 1, bytes + size_bytes));
            (segments, freed) = (segments + count, freed + bytes);
            // Where the disk removes nothing, giving up recordings frees nothing either.
            if freed >= needed || count < oldest.len() {
                break;
            }
            match self.keeper.give_up_one() {
                Some(recording) => given_up.push(recording),
                None => break,
            }
        }
        if segments > 0 || !given_up.is_empty() {
            let message = match given_up.as_slice() {
                [] => format!("the disk is full: {segments} unnamed segments ({freed} bytes) were evicted before their time"),
                names => format!("the disk is full: recordings were given up: {}", names.join(", ")),
            };
            let detail = serde_json::json!({ "freed_bytes": freed, "segments": segments, "recordings": given_up });
            self.write_event("disk_full", &message, detail);
        }
        freed
    }
}
