//! The tape: all buffers of one host, an endless loop of segments in RAM and on disk.
//!
//! In come messages, out go segments; what a [`keeper::Keeper`] names stays. The path of a message: [`Tape::append`] puts it into
//! a [`slot`] of each buffer that wants it; full chunks wait in the buffer's [`queue`]; its writer compresses them and appends
//! them to the segment that is open in their [`lane`]; [`upkeep`] syncs and closes segments, and [`room`] evicts them.
//!
//! **Invariant:** an accepted message is in a slot, in a queue, in a segment, or in the losses; nothing is dropped in silence.

pub mod channel;
pub mod disk;
pub mod keeper;
pub mod segment;
pub mod transform;

mod boot;
mod buffer;
mod eviction;
mod expect;
mod index;
mod lane;
mod latched;
mod losses;
mod open;
mod page_cache;
mod payload_memory;
mod pulse;
mod queue;
mod recovery;
mod room;
mod routing;
mod running;
mod slot;
mod tap;
mod upkeep;
mod view;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use recording::mcap::chunk::LARGE_PAYLOAD;
use recording::message::Schema;
use recording::{Error, Loss, Result, topic};

use self::buffer::{Buffer, Gate, Job};
use self::channel::{Channel, ChannelSpec, Payload, Stamp, Times};
use self::disk::Disk;
use self::expect::Expectations;
pub use self::expect::{ExpectationState, ExpectationStatus, Violated};
use self::keeper::Keeper;
pub use self::lane::SEGMENT_FORMAT;
pub(crate) use self::latched::SUPERSEDED_NS;
pub(crate) use self::open::Parts;
pub use self::open::{OpenOptions, config_path};
use self::tap::Taps;
pub use self::tap::{Heard, TAP_LIMIT, Tap};
use self::transform::TransformFor;
pub use self::view::{BufferView, SegmentView, View};
use crate::clock::Clock;
use crate::config::Config;

/// How long a message waits for room in a queue before it is lost, where the buffer's policy is to block.
pub const QUEUE_WAIT: Duration = Duration::from_secs(5);
/// The largest message that is accepted, in bytes.
pub const MESSAGE_LIMIT: usize = 1 << 30;
/// The largest schema that is accepted, in bytes.
pub const SCHEMA_LIMIT: usize = 16 << 20;
/// How many channels one boot may have; MCAP counts them in 16 bits.
pub const CHANNEL_LIMIT: usize = 65_000;

/// How much was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Messages.
    pub messages: u64,
    /// Losses of which nobody knows how many messages they are.
    pub uncounted: u64,
}

impl Lost {
    /// Returns what is more than was lost before.
    pub fn since(self, before: Self) -> Self {
        let (messages, uncounted) = (self.messages.saturating_sub(before.messages), self.uncounted.saturating_sub(before.uncounted));
        Self { messages, uncounted }
    }

    /// Returns whether nothing was.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// All buffers of one host. Clones are handles to the same tape.
#[derive(Clone)]
pub struct Tape {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) device: String,
    pub(crate) host: String,
    pub(crate) boot: u64,
    pub(crate) kernel_boot: String,
    pub(crate) opened_ns: i64,
    /// UTC minus monotonic time when the tape was opened.
    pub(crate) opened_offset_ns: i64,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) keeper: Arc<dyn Keeper>,
    pub(crate) threaded: bool,
    transform_for: TransformFor,
    config: ArcSwap<Config>,
    sequence: AtomicU64,
    channels: RwLock<Channels>,
    buffers: ArcSwap<Vec<Arc<Buffer>>>,
    index: Mutex<index::Index>,
    sets: Mutex<segment::TopicSets>,
    latched: latched::Latched,
    boot_file: Mutex<boot::BootFile>,
    payload_memory: Arc<payload_memory::PayloadMemory>,
    pub(crate) losses: losses::Losses,
    taps: Taps,
    expectations: Expectations,
    upkeep: upkeep::Upkeep,
    room: room::Room,
    writers: Mutex<Vec<std::thread::JoinHandle<()>>>,
    keepers: Mutex<Vec<std::thread::JoinHandle<()>>>,
    stopping: AtomicBool,
    closed: AtomicBool,
    /// How many calls of `accept` are under way: a tape is closed when there are none.
    accepting: AtomicU64,
    lock: open::Lock,
}

#[derive(Default)]
struct Channels {
    by_topic: HashMap<String, Vec<Arc<Channel>>>,
    /// Every definition of this boot, by channel id: those of channels and those of what transforms make of them.
    definitions: Vec<recording::mcap::segment::Definition>,
    schemas: HashMap<Arc<Schema>, u16>,
}

impl Tape {
    /// Returns the folder of the tape.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Returns the robot's name.
    pub fn device(&self) -> &str {
        &self.inner.device
    }

    /// Returns the computer's name.
    pub fn host(&self) -> &str {
        &self.inner.host
    }

    /// Returns the id of this opening of the tape.
    pub fn boot(&self) -> u64 {
        self.inner.boot
    }

    /// Returns the clock the tape runs on.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// Returns the configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.inner.config.load_full()
    }

    /// Returns the channel of a topic; an equal `spec` gives the same one. A new schema on a known topic is a new channel.
    ///
    /// # Errors
    /// `Invalid` for a bad topic name or a schema above [`SCHEMA_LIMIT`]; `Unavailable` beyond [`CHANNEL_LIMIT`].
    pub fn channel(&self, spec: ChannelSpec) -> Result<Arc<Channel>> {
        topic::check_name(&spec.topic)?;
        if let Some(schema) = spec.schema.as_ref().filter(|schema| schema.data.len() > SCHEMA_LIMIT) {
            return Err(Error::invalid(format!("schema '{}' of {} bytes; at most {SCHEMA_LIMIT}", schema.name, schema.data.len())));
        }
        let known = |channels: &Channels| channels.by_topic.get(&spec.topic)?.iter().find(|channel| channel.spec == spec).cloned();
        if let Some(channel) = known(&self.inner.channels.read()) {
            return Ok(channel);
        }
        let channel = {
            let mut channels = self.inner.channels.write();
            match known(&channels) {
                Some(channel) => return Ok(channel),
                None => self.inner.add_channel(&mut channels, spec)?,
            }
        };
        if !channel.is_recorded() {
            let topic = &channel.spec.topic;
            self.report_event(
                "unwanted_topic",
                &format!("no buffer holds '{topic}': it is not recorded"),
                serde_json::json!({ "topic": topic }),
            );
        }
        Ok(channel)
    }

    /// Accepts a message into every buffer that wants it, and returns its append sequence.
    ///
    /// An error always means that this message is not on the tape, so that logging it again never gives it twice. That also holds
    /// for an error that an earlier message met on its way to the disk: it is told once, here or by [`Self::flush`], and the next
    /// call works again. What was lost of the earlier ones is in the losses.
    ///
    /// # Errors
    /// `Invalid` for a time before 1970 or a message above [`MESSAGE_LIMIT`]; what an earlier write met; `Unavailable` once closed.
    pub fn append(&self, channel: &Arc<Channel>, payload: Payload<'_>, times: Times) -> Result<u64> {
        self.inner.losses.take_error()?;
        self.inner.accept(channel, payload, times)
    }

    /// Returns whether [`Self::append`] may have to wait, because a writer is behind.
    #[inline]
    pub fn may_wait(&self, channel: &Channel) -> bool {
        channel.routes.load().iter().any(|route| route.buffer.is_behind())
    }

    /// Returns how often the disk did not do what was asked of it.
    pub(crate) fn write_failures(&self) -> u64 {
        self.inner.losses.disk_failures.load(Ordering::Relaxed)
    }

    /// Returns when everything accepted so far is on the disk.
    ///
    /// # Errors
    /// What the writing met.
    pub fn flush(&self) -> Result<()> {
        self.inner.sync_all()?;
        self.inner.losses.take_error()
    }

    /// Reports a loss that somebody else noticed.
    pub fn report_loss(&self, loss: Loss) {
        self.inner.losses.pass_on(loss);
    }

    /// Returns how often messages of a topic were, or may have been, lost after they were accepted. An error is told to one of all who
    /// log, and need not be about what that one logged: this is how a source knows whether its own messages are all there.
    pub(crate) fn losses_of(&self, topic: &str) -> u64 {
        self.inner.losses.count_of(topic)
    }

    /// Returns how many messages were lost since the tape was opened, and how many losses there were of which nobody knows that; those
    /// of recorders before count, too, which were found when it was opened.
    pub fn lost(&self) -> Lost {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Lost { messages: load(&self.inner.losses.messages), uncounted: load(&self.inner.losses.uncounted) }
    }

    /// Writes an event to `/tapeloop/events`.
    pub fn report_event(&self, kind: &str, message: &str, detail: serde_json::Value) {
        self.inner.write_event(kind, message, detail);
    }

    /// Returns a picture of every buffer and segment, for planning a capture.
    pub fn view(&self) -> View {
        self.inner.view()
    }

    /// Does what the tape's threads do, once: for a tape that was opened without threads.
    pub fn turn(&self) {
        self.inner.turn(self);
    }

    /// Compares what came with what is expected for the last time: what did not come until now does not come.
    pub fn judge_finally(&self) {
        self.inner.check_expectations(true);
    }

    /// Returns whether the tape was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.closed.load(Ordering::Acquire)
    }

    /// Lets another process have the folder of a closed tape.
    pub(crate) fn release(&self) {
        self.inner.lock.release();
    }

    /// Sleeps a little, or works where the tape has no threads.
    pub(crate) fn rest(&self, duration: Duration) {
        if self.inner.threaded {
            self.inner.rest(duration);
        } else {
            self.turn();
        }
    }

    /// Returns the segments in RAM, open ones too, without looking at all the others.
    pub(crate) fn ram_segments(&self) -> Vec<SegmentView> {
        self.inner.ram_segments()
    }

    /// Writes a RAM segment to its file: a closed one whole, an open one from now on as it grows.
    pub(crate) fn write_ram(&self, meta: &segment::SegmentMeta) -> std::io::Result<()> {
        self.inner.write_ram(meta)
    }

    /// Makes everything accepted so far part of a segment, without waiting for the disk to be in sync.
    pub(crate) fn settle(&self, patience: Duration) {
        self.inner.settle(patience);
    }

    /// Makes everything accepted so far part of a segment, latched values too, so that a recording can be completed.
    pub(crate) fn settle_all(&self, patience: Duration) -> bool {
        self.inner.settle(patience) && self.inner.write_latched().is_ok()
    }
}

impl Inner {
    /// Accepts a message; what an earlier write met stays for the next call of a program.
    fn accept(&self, channel: &Arc<Channel>, payload: Payload<'_>, times: Times) -> Result<u64> {
        self.accepting.fetch_add(1, Ordering::SeqCst);
        let accepted = if self.closed.load(Ordering::SeqCst) {
            Err(Error::unavailable("the tape is closed"))
        } else {
            self.hold(channel, payload, times)
        };
        self.accepting.fetch_sub(1, Ordering::Release);
        accepted
    }

    fn hold(&self, channel: &Arc<Channel>, payload: Payload<'_>, times: Times) -> Result<u64> {
        let length = payload.as_slice().len();
        let log_time_ns = times.log_time_ns.unwrap_or_else(|| self.utc_ns());
        let publish_time_ns = times.publish_time_ns.unwrap_or(log_time_ns);
        if log_time_ns < 0 || publish_time_ns < 0 {
            return Err(Error::invalid(format!("time {} ns is before 1970, which MCAP cannot hold", log_time_ns.min(publish_time_ns))));
        }
        if length > MESSAGE_LIMIT {
            return Err(Error::invalid(format!("message of {length} bytes on '{}'; at most {MESSAGE_LIMIT}", channel.spec.topic)));
        }
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let stamp = Stamp { sequence, log_time_ns, publish_time_ns };
        channel.traffic.messages.fetch_add(1, Ordering::Relaxed);
        channel.traffic.bytes.fetch_add(length as u64, Ordering::Relaxed);
        channel.traffic.pulse.beat(stamp);
        let routes = channel.routes.load();
        let payload = match payload {
            // Several buffers share one copy of a large payload.
            Payload::Slice(slice) if length >= LARGE_PAYLOAD && !routes.is_empty() => self.payload_memory.copy(slice).into(),
            payload => payload,
        };
        for route in routes.iter() {
            let counters = &route.buffer.counters;
            if route.rate_limit.as_ref().is_some_and(|limit| !limit.admits(log_time_ns)) {
                counters.filtered.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            counters.messages.fetch_add(1, Ordering::Relaxed);
            counters.bytes.fetch_add(length as u64, Ordering::Relaxed);
            if route.transform.is_some() {
                let job = Job::Message { route: route.clone(), stamp, payload: payload.to_shared() };
                self.submit(&route.buffer, job, length as u64);
            } else {
                let slot = route.slot.load();
                slot.push(
                    route.channel_id,
                    stamp,
                    &payload,
                    |size| route.buffer.empty_chunk(size),
                    |full| {
                        let bytes = full.chunk.size() as u64;
                        self.submit(&route.buffer, Job::Chunk(full), bytes);
                    },
                );
            }
        }
        if channel.latched {
            self.note_latched(channel, stamp, &payload);
        }
        if self.taps.any() {
            self.taps.tell(channel, stamp, &payload);
        }
        if self.clock.is_file() {
            self.clock.heard(log_time_ns);
        }
        Ok(sequence)
    }

    /// Returns what the wall clock says; if it was set, segments of before and after are kept apart first.
    #[inline]
    fn utc_ns(&self) -> i64 {
        let utc_ns = self.clock.utc_ns();
        if self.upkeep.is_far_from_last(utc_ns) {
            self.follow_clock();
        }
        utc_ns
    }

    /// Hands everything that was accepted to the writers and waits until they are done with it, up to `patience`.
    fn settle(&self, patience: Duration) -> bool {
        let gates: Vec<Arc<Gate>> = self.buffers.load().iter().map(|buffer| self.seal(buffer)).collect();
        gates.iter().all(|gate| gate.wait_for(patience))
    }

    /// Hands a buffer's unfinished chunks to its writer; the gate opens when they are written.
    fn seal(&self, buffer: &Arc<Buffer>) -> Arc<Gate> {
        let slots = buffer.slots.lock().clone();
        for slot in slots {
            slot.seal(|full| {
                let bytes = full.chunk.size() as u64;
                self.submit(buffer, Job::Chunk(full), bytes);
            });
        }
        let gate = Arc::new(Gate::default());
        self.submit(buffer, Job::Barrier(gate.clone()), 0);
        gate
    }
}
