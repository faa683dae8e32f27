//! A picture of the tape at one moment: which buffer has what.
//!
//! **Invariant:** a view is a copy; looking at it blocks nobody.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use recording::{Loss, Timestamp};

use super::Inner;
use super::buffer::Buffer;
use super::lane::Lane;
use super::segment::SegmentMeta;
use crate::config::{BufferConfig, LATCHED_BUFFER, Place};

/// What a tape holds.
#[derive(Clone, Debug)]
pub struct View {
    /// What the tape's clock says; ns UTC.
    pub now_ns: Timestamp,
    /// This opening of the tape.
    pub boot: u64,
    /// When the tape was opened, by a clock that is as right as it is now; ns UTC.
    pub opened_ns: Timestamp,
    /// The buffers, best first; those that are configured no more come last.
    pub buffers: Vec<BufferView>,
    /// The segments of latched values, in order.
    pub latched: Vec<SegmentView>,
    /// Losses that are remembered.
    pub losses: Vec<Loss>,
    /// How many channels there are.
    pub channels: usize,
    /// Topics that no buffer wants.
    pub unwanted: Vec<String>,
    /// Messages and bytes lost since the tape was opened.
    pub lost: (u64, u64),
    /// The newest error.
    pub last_error: Option<String>,
    /// Free and total bytes of the disk, and how many stay free.
    pub disk: (u64, u64, u64),
}

/// A segment with what its times are off by.
#[derive(Clone, Debug)]
pub struct SegmentView {
    /// The segment.
    pub meta: Arc<SegmentMeta>,
    /// What to add to its times; ns.
    pub correction_ns: i64,
}

/// What a buffer holds.
#[derive(Clone, Debug)]
pub struct BufferView {
    /// Its configuration; `None` for one that is configured no more.
    pub config: Option<BufferConfig>,
    /// Its name.
    pub name: Arc<str>,
    /// Its segments in order of their numbers, open ones last.
    pub segments: Vec<SegmentView>,
    /// Until when topics are not all there, because segments of theirs were evicted, though others may have stayed; ns UTC.
    pub gone_until_ns: HashMap<Arc<str>, Timestamp>,
    /// Bytes that wait to be written.
    pub queued_bytes: u64,
    /// Messages, bytes, filtered, lost messages, lost bytes, written bytes since the tape was opened.
    pub counters: [u64; 6],
    /// Segments and bytes that were evicted since the tape was opened.
    pub evicted: (u64, u64),
    /// Until when everything is on disk; ns UTC; `None` in RAM.
    pub durable_until_ns: Option<Timestamp>,
}

impl View {
    /// Returns the last log time of the openings of the tape before `boot`; ns UTC.
    pub fn last_before(&self, boot: u64) -> Option<Timestamp> {
        let earlier = self.buffers.iter().flat_map(|buffer| &buffer.segments).filter(|segment| segment.meta.name.boot != boot);
        earlier.map(|segment| segment.meta.corrected_ns(segment.correction_ns).1.saturating_add(1)).max()
    }
}

impl Inner {
    pub(super) fn view(&self) -> View {
        let active = self.buffers.load_full();
        let open: Vec<Vec<SegmentMeta>> = active.iter().map(|buffer| self.open_segments(buffer)).collect();
        let space = self.disk.space(&self.root).unwrap_or((0, 0));
        let index = self.index.lock();
        let opened_ns = self.opened_ns.saturating_add(index.clock_correction_ns(self.boot, self.opened_offset_ns));
        let look = |meta: &Arc<SegmentMeta>| SegmentView { correction_ns: index.correction_ns(meta), meta: meta.clone() };
        let mut buffers: Vec<BufferView> = Vec::new();
        for (buffer, open) in active.iter().zip(open) {
            let config = buffer.config.load_full();
            let mut segments: Vec<SegmentView> = index.of(&buffer.name).map(look).collect();
            let closed = |meta: &SegmentMeta| segments.iter().rev().take(1000).any(|known| known.meta.key == meta.key);
            let still_open: Vec<SegmentMeta> = open.into_iter().filter(|meta| !closed(meta)).collect();
            segments.extend(still_open.into_iter().map(|meta| look(&Arc::new(meta))));
            let c = &buffer.counters;
            let counters = [&c.messages, &c.bytes, &c.filtered, &c.lost_messages, &c.lost_bytes, &c.written_bytes];
            buffers.push(BufferView {
                durable_until_ns: Some(c.durable_until_ns.load(Ordering::Relaxed))
                    .filter(|until_ns| config.place == Place::Disk && *until_ns > 0),
                config: Some((*config).clone()),
                name: buffer.name.clone(),
                segments,
                gone_until_ns: index.gone_until(&buffer.name),
                queued_bytes: buffer.queue.bytes(),
                counters: counters.map(|counter| counter.load(Ordering::Relaxed)),
                evicted: (c.evicted_segments.load(Ordering::Relaxed), c.evicted_bytes.load(Ordering::Relaxed)),
            });
        }
        for name in index.buffers().filter(|name| &***name != LATCHED_BUFFER && !active.iter().any(|buffer| buffer.name == **name)) {
            buffers.push(BufferView {
                config: None,
                name: name.clone(),
                segments: index.of(name).map(look).collect(),
                gone_until_ns: index.gone_until(name),
                queued_bytes: 0,
                counters: [0; 6],
                evicted: (0, 0),
                durable_until_ns: None,
            });
        }
        let latched = index.of(LATCHED_BUFFER).map(look).collect();
        let losses = index.losses().cloned().collect();
        drop(index);
        let channels = self.channels.read();
        let all = channels.by_topic.values().flatten();
        let unwanted = all.filter(|channel| !channel.is_recorded()).map(|channel| channel.spec.topic.clone()).collect();
        View {
            now_ns: self.clock.utc_ns(),
            boot: self.boot,
            opened_ns,
            buffers,
            latched,
            losses,
            channels: channels.by_topic.values().map(Vec::len).sum(),
            unwanted,
            lost: (self.losses.messages.load(Ordering::Relaxed), self.losses.bytes.load(Ordering::Relaxed)),
            last_error: self.losses.last_error(),
            disk: (space.0, space.1, self.floor_bytes(space.1)),
        }
    }
}

impl Inner {
    pub(super) fn ram_segments(&self) -> Vec<SegmentView> {
        let active = self.buffers.load_full();
        let open = active.iter().filter(|buffer| buffer.is_ram()).flat_map(|buffer| self.open_segments(buffer));
        let open: Vec<Arc<SegmentMeta>> = open.map(Arc::new).collect();
        let index = self.index.lock();
        let on_disk = |name: &str| active.iter().any(|buffer| *buffer.name == *name && !buffer.is_ram());
        let closed = index.buffers().filter(|name| !on_disk(name)).flat_map(|name| index.of(name)).filter(|meta| meta.ram.is_some());
        // One that was closed in between is in both; its place in RAM is the same.
        let segments = closed.chain(&open);
        segments.map(|meta| SegmentView { correction_ns: index.correction_ns(meta), meta: meta.clone() }).collect()
    }

    /// Returns what is known of a buffer's open segments that have messages.
    pub(super) fn open_segments(&self, buffer: &Buffer) -> Vec<SegmentMeta> {
        let lanes = buffer.lanes.lock().clone();
        let look = |lane: &Arc<Lane>| lane.open.lock().as_mut().map(|segment| segment.look(&self.sets).clone());
        lanes.iter().filter_map(look).filter(|meta| meta.start_ns <= meta.end_ns).collect()
    }
}
