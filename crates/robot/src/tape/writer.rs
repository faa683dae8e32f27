//! A buffer's writer: the only one who touches its open segments.
//!
//! In come jobs, out go chunks in segments. A write that fails is tried once more in a new segment after making room; then the
//! messages are lost, and that is told.
//!
//! **Invariant:** a failed write is never taken for a written one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use recording::key::SegmentName;
use recording::mcap::chunk::{ChannelCount, Compression, EncodedChunk};
use recording::{Error, Loss, Result};

use super::buffer::{Buffer, Job, Unsynced};
use super::channel::{Route, Stamp};
use super::lane::{Birth, Lane, OpenSegment};
use super::queue::Pushed;
use super::segment::SegmentMeta;
use super::slot::FullChunk;
use super::{Inner, QUEUE_WAIT, Tape, lane};
use crate::config::WhenFull;

/// A buffer in RAM is looked through after so many bytes: many open segments that grow together take much before one closes.
const RAM_STEP: u64 = 4 << 20;

impl Inner {
    /// Starts the thread that writes a buffer.
    pub(super) fn start_writer(&self, tape: &Tape, buffer: &Arc<Buffer>) -> Result<()> {
        if !self.threaded {
            return Ok(());
        }
        let (tape, buffer) = (tape.clone(), buffer.clone());
        let run = move || {
            while let Some(job) = buffer.queue.pop() {
                tape.inner.run(&buffer, job);
            }
        };
        super::upkeep::start_thread(&self.writers, "tape-write", run)
    }

    /// Gives a job of `bytes` to a buffer's writer, by the buffer's policy where there is no room.
    pub(super) fn submit(&self, buffer: &Arc<Buffer>, job: Job, bytes: u64) {
        let config = buffer.config.load();
        let pushed = match config.when_full {
            WhenFull::Block => {
                buffer.queue.push(job, bytes, config.queue_bytes, if self.threaded { QUEUE_WAIT } else { Default::default() })
            }
            WhenFull::DropOldest => {
                let droppable = |job: &Job| matches!(job, Job::Chunk(_) | Job::Message { .. });
                buffer.queue.push_over_oldest(job, bytes, config.queue_bytes, droppable)
            }
        };
        let lost = match pushed {
            Pushed::Accepted(lost) => lost,
            Pushed::Refused(job) => vec![job],
        };
        for job in lost {
            match job {
                // These are no messages: a buffer that has ended takes none, and nothing is lost.
                Job::Barrier(gate) => {
                    gate.open();
                    continue;
                }
                Job::Close(_) => continue,
                Job::Chunk(full) => self.lose(buffer, &(&full.chunk.encode(Compression::None)).into(), "queue full"),
                Job::Message { route, stamp, payload } => {
                    self.lose(buffer, &LostCounts::one(route.channel_id, stamp, payload.len()), "queue full");
                }
            }
            let bytes = config.queue_bytes;
            self.losses.fail(Error::unavailable(format!("buffer '{}' cannot keep up: {bytes} bytes wait to be written", buffer.name)));
        }
        if !self.threaded {
            while let Some(job) = buffer.queue.try_pop() {
                self.run(buffer, job);
            }
        }
    }

    fn run(&self, buffer: &Arc<Buffer>, job: Job) {
        match job {
            Job::Chunk(full) => {
                let closed = buffer.unsynced.lock().len();
                self.write_chunk(buffer, full);
                if buffer.unsynced.lock().len() > closed || buffer.is_ram() && buffer.fresh_bytes() >= RAM_STEP {
                    self.evict(buffer);
                }
            }
            Job::Message { route, stamp, payload } => self.transform(buffer, &route, stamp, payload),
            Job::Close(lane) => self.close_lane(buffer, &lane),
            Job::Barrier(gate) => {
                for slot in buffer.slots.lock().clone() {
                    // Only a writer that transforms fills slots itself; others were sealed before the barrier.
                    if buffer.config.load().encode.is_some() {
                        slot.seal(|full| self.write_chunk(buffer, full));
                    }
                }
                gate.open();
            }
        }
    }

    fn transform(&self, buffer: &Arc<Buffer>, route: &Route, stamp: Stamp, payload: bytes::Bytes) {
        let slot = route.slot.load_full();
        let Some(transform) = &route.transform else { return };
        let (channel_id, payload) = match transform.apply(&payload) {
            Ok(transformed) => (route.channel_id, transformed),
            Err(reason) => {
                if !route.told.swap(true, Ordering::Relaxed) {
                    let topic = self.definitions([route.raw_channel_id].into_iter()).pop().map(|definition| definition.topic.name.clone());
                    let message = format!("buffer '{}' holds messages as they are that it cannot encode: {reason}", buffer.name);
                    self.write_event("not_encoded", &message, serde_json::json!({ "topic": topic }));
                }
                (route.raw_channel_id, payload)
            }
        };
        slot.push(channel_id, stamp, &payload.into(), |size| buffer.empty_chunk(size), |full| self.write_chunk(buffer, full));
    }

    fn write_chunk(&self, buffer: &Arc<Buffer>, full: FullChunk) {
        let FullChunk { lane, chunk, first_sequence, last_sequence } = full;
        let mut encoded = chunk.encode_with(buffer.config.load().compression, &mut buffer.compressor.lock());
        buffer.recycle(std::mem::take(&mut encoded.spare));
        if buffer.is_ram() {
            encoded.body.shrink_to_fit();
        }
        let encoded = Arc::new(encoded);
        let written = self.try_write(buffer, &lane, &encoded, first_sequence, last_sequence).or_else(|error| {
            self.abandon(buffer, &lane);
            if error.kind() == io::ErrorKind::StorageFull {
                self.make_room(encoded.size());
            }
            self.try_write(buffer, &lane, &encoded, first_sequence, last_sequence)
        });
        match written {
            Ok(()) => {
                buffer.counters.written_bytes.fetch_add(encoded.size(), Ordering::Relaxed);
            }
            Err(error) => {
                self.abandon(buffer, &lane);
                self.lose(buffer, &(&*encoded).into(), &format!("disk: {error}"));
                self.losses.fail(Error::io(format!("buffer '{}' cannot be written", buffer.name), error));
            }
        }
        match Arc::into_inner(encoded) {
            Some(encoded) if encoded.is_compressed() => buffer.compressor.lock().recycle(encoded.body),
            Some(encoded) => buffer.recycle(encoded.body),
            None => {}
        }
    }

    fn try_write(&self, buffer: &Arc<Buffer>, lane: &Lane, chunk: &Arc<EncodedChunk>, first: u64, last: u64) -> io::Result<()> {
        let mut open = lane.open.lock();
        if open.is_none() {
            *open = Some(self.begin_segment(buffer, lane, first)?);
        }
        let segment = open.as_mut().expect("it was opened just now");
        let ids = chunk.counts.iter().map(|count| count.channel_id);
        let missing = self.definitions(ids.filter(|id| !segment.writer.defines(*id)));
        segment.write(chunk.clone(), &missing, last)?;
        let limits = self.config.load().segment;
        let age_ns = self.clock.monotonic_ns() - segment.opened_monotonic_ns;
        if segment.meta.size_bytes >= limits.size_bytes || age_ns >= limits.age_ns {
            self.close_segment(buffer, &mut open);
        }
        Ok(())
    }

    fn begin_segment(&self, buffer: &Buffer, lane: &Lane, first_sequence: u64) -> io::Result<OpenSegment> {
        let name = SegmentName { host: self.host.clone(), boot: self.boot, buffer: buffer.name.to_string(), number: buffer.take_number() };
        let segment = OpenSegment::begin(Birth {
            disk: &*self.disk,
            root: &self.root,
            device: &self.device,
            name,
            in_ram: buffer.is_ram(),
            heavy: lane.heavy,
            utc_ns: self.clock.utc_ns(),
            monotonic_ns: self.clock.monotonic_ns(),
            file_clock: self.clock.is_file(),
            first_sequence,
            kernel_boot: &self.kernel_boot,
            config_hash: &self.config.load().hash,
            latched_since_ns: None,
            latched_late_ns: None,
            latched_channel: None,
        })?;
        if let Some(folder) = segment.path().parent().filter(|_| segment.has_file()) {
            self.upkeep.new_name_in(folder.to_owned());
        }
        Ok(segment)
    }

    /// Writes a RAM segment to its file: a closed one whole, an open one from now on as it grows.
    pub(super) fn write_ram(&self, meta: &SegmentMeta) -> io::Result<()> {
        let Some(ram) = &meta.ram else { return Ok(()) };
        if meta.closed {
            return if ram.has_file() { Ok(()) } else { lane::write_ram_segment(&*self.disk, &self.root.join(&*meta.key), ram) };
        }
        for buffer in self.buffers.load().iter().filter(|buffer| *buffer.name == *meta.name.buffer) {
            for lane in buffer.lanes.lock().clone() {
                let mut open = lane.open.lock();
                if let Some(segment) = open.as_mut().filter(|segment| segment.meta.key == meta.key) {
                    segment.write_through(&*self.disk)?;
                }
            }
        }
        Ok(())
    }

    fn close_lane(&self, buffer: &Arc<Buffer>, lane: &Lane) {
        self.close_segment(buffer, &mut lane.open.lock());
    }

    /// Ends an open segment and hands it to the next sync.
    fn close_segment(&self, buffer: &Arc<Buffer>, open: &mut Option<OpenSegment>) {
        let Some(mut segment) = open.take() else { return };
        let losses = self.losses.recent(segment.look(&self.sets));
        let finished = segment.finish(self.clock.utc_ns(), self.clock.monotonic_ns(), &losses);
        if let Err(error) = finished {
            // Its chunks are there; it lacks its end, which the next start adds.
            self.losses.fail(Error::io(format!("segment of buffer '{}' cannot be ended", buffer.name), error));
        }
        self.register(buffer, segment);
    }

    /// Gives up an open segment that cannot be written to: what it has stays.
    fn abandon(&self, buffer: &Arc<Buffer>, lane: &Lane) {
        self.close_segment(buffer, &mut lane.open.lock());
    }

    fn register(&self, buffer: &Arc<Buffer>, mut segment: OpenSegment) {
        let syncer = segment.unsynced();
        let meta = Arc::new(SegmentMeta { closed: true, ..segment.look(&self.sets).clone() });
        if segment.writer.counts().is_empty() {
            let _ = self.disk.remove(segment.path());
            return;
        }
        self.index.lock().add(meta.clone());
        let syncer = syncer.unwrap_or_else(|error| {
            self.losses.fail(Error::io(format!("segment of buffer '{}' cannot be synced", buffer.name), error));
            None
        });
        buffer.unsynced.lock().push(Unsynced { meta, syncer });
    }

    fn lose(&self, buffer: &Buffer, lost: &LostCounts, reason: &str) {
        for (count, definition) in lost.counts.iter().zip(self.definitions(lost.counts.iter().map(|count| count.channel_id))) {
            buffer.counters.lost_messages.fetch_add(count.messages, Ordering::Relaxed);
            buffer.counters.lost_bytes.fetch_add(count.bytes, Ordering::Relaxed);
            self.losses.add(Loss {
                topic: Some(definition.topic.name.clone()),
                start_ns: Some(lost.start_ns),
                end_ns: Some(lost.end_ns),
                messages: Some(count.messages),
                bytes: Some(count.bytes),
                reason: format!("{reason} (buffer '{}')", buffer.name),
            });
        }
    }
}

/// Messages that are lost together.
struct LostCounts {
    start_ns: i64,
    end_ns: i64,
    counts: Vec<ChannelCount>,
}

impl LostCounts {
    fn one(channel_id: u16, stamp: Stamp, bytes: usize) -> Self {
        let counts = vec![ChannelCount { channel_id, messages: 1, bytes: bytes as u64 }];
        Self { start_ns: stamp.log_time_ns, end_ns: stamp.log_time_ns, counts }
    }
}

impl From<&EncodedChunk> for LostCounts {
    fn from(chunk: &EncodedChunk) -> Self {
        Self { start_ns: chunk.index.header.start_ns as i64, end_ns: chunk.index.header.end_ns as i64, counts: chunk.counts.clone() }
    }
}
