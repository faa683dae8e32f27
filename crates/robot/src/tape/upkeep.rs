//! What a tape does by itself, and when: sync, close old segments, follow the clock, end buffers; [`super::room`] and losses, too.
//!
//! **Invariant:** `durable_until` of a buffer only moves when everything before it is on the disk.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use recording::{Error, Kind, Result, time};

use super::buffer::{Buffer, Gate, Job, Unsynced};
use super::channel::{ChannelSpec, Times};
use super::index::CLOCK_STEP_NS;
use super::page_cache::PageCache;
use super::segment::SegmentMeta;
use super::{Inner, Tape, lane, losses};
use crate::clock::Clock;

/// How often the tape looks after itself.
const TURN: Duration = Duration::from_millis(100);
/// How often topics are sorted by how busy they are.
const CLASSIFY_NS: i64 = time::SECOND_NS;
/// How often metrics are written to `/tapeloop/metrics`.
const METRICS_NS: i64 = 10 * time::SECOND_NS;
/// How often chunks are closed in a buffer that is never synced.
const SEAL_NS: i64 = time::SECOND_NS;
/// The wall clock is looked at every [`TURN`]; a message that finds it further away looks again.
const FAR_NS: u64 = 1_000_000_000;

/// When what was done last.
pub(crate) struct Upkeep {
    sync_turn: Mutex<()>,
    state: Mutex<State>,
    folders: Mutex<BTreeSet<PathBuf>>,
    page_cache: Mutex<PageCache>,
    retiring: Mutex<Vec<Arc<Buffer>>>,
    wake: Condvar,
    asleep: Mutex<bool>,
    last_utc_ns: AtomicI64,
}

struct State {
    classified_ns: i64,
    metrics_ns: i64,
    floor_ns: i64,
    offset_ns: i64,
    rates: Vec<(u64, f64)>,
    due: std::collections::HashMap<Arc<str>, i64>,
}

impl Upkeep {
    pub(crate) fn new(clock: &dyn Clock) -> Self {
        let now_ns = clock.monotonic_ns();
        Self {
            sync_turn: Mutex::default(),
            state: Mutex::new(State {
                classified_ns: now_ns,
                metrics_ns: now_ns,
                floor_ns: 0,
                offset_ns: clock.utc_ns().saturating_sub(now_ns),
                rates: Vec::new(),
                due: Default::default(),
            }),
            folders: Mutex::default(),
            page_cache: Mutex::default(),
            retiring: Mutex::default(),
            wake: Condvar::new(),
            asleep: Mutex::default(),
            last_utc_ns: AtomicI64::new(clock.utc_ns()),
        }
    }

    /// Returns whether the wall clock is so far from where it was at the last look that it may have been set.
    #[inline]
    pub(crate) fn is_far_from_last(&self, utc_ns: i64) -> bool {
        utc_ns.abs_diff(self.last_utc_ns.load(Ordering::Relaxed)) > FAR_NS
    }

    /// Takes buffers that are configured no more, to be emptied and forgotten.
    pub(crate) fn retire(&self, buffers: Vec<Arc<Buffer>>) {
        self.retiring.lock().extend(buffers);
    }

    /// Remembers that a name in a folder is not durable yet.
    pub(crate) fn new_name_in(&self, folder: PathBuf) {
        self.folders.lock().insert(folder);
    }
}

impl Inner {
    /// Starts the threads that look after the tape: one syncs, one completes recordings, one does the rest.
    pub(super) fn start_upkeep(&self, tape: &Tape) -> Result<()> {
        type Work = fn(&Tape);
        let works: [(&str, Work); 3] = [
            ("tape-sync", |tape| tape.inner.sync_due()),
            ("tape-turn", |tape| tape.inner.look_after()),
            ("tape-keep", |tape| tape.inner.keeper.turn(tape)),
        ];
        for (name, work) in works {
            let tape = tape.clone();
            start_thread(&self.keepers, name, move || {
                while !tape.inner.rest(TURN) {
                    work(&tape);
                }
            })?;
        }
        Ok(())
    }

    /// Sleeps, and returns whether the tape is stopping.
    pub(super) fn rest(&self, duration: Duration) -> bool {
        let mut asleep = self.upkeep.asleep.lock();
        if !self.stopping.load(Ordering::Acquire) {
            self.upkeep.wake.wait_for(&mut asleep, duration);
        }
        self.stopping.load(Ordering::Acquire)
    }

    /// Does once what the threads do.
    pub(super) fn turn(&self, tape: &Tape) {
        self.sync_due();
        self.look_after();
        self.keeper.turn(tape);
    }

    /// Syncs the buffers whose time has come.
    fn sync_due(&self) {
        let now_ns = self.clock.monotonic_ns();
        let mut due = Vec::new();
        {
            let mut state = self.upkeep.state.lock();
            for buffer in self.buffers.load().iter() {
                // Half of the promised time is for filling a chunk, the other half for writing and syncing it.
                let interval_ns = buffer.config.load().durability.map_or(SEAL_NS, |durability| durability.as_nanos() as i64 / 2);
                let next_ns = state.due.entry(buffer.name.clone()).or_insert(now_ns);
                if now_ns >= *next_ns {
                    *next_ns = now_ns + interval_ns;
                    due.push(buffer.clone());
                }
            }
        }
        if let Err(error) = self.sync(&due) {
            self.losses.fail(error);
        }
    }

    /// Makes everything durable that was accepted so far, in every buffer.
    pub(super) fn sync_all(&self) -> Result<()> {
        self.sync(&self.buffers.load_full())
    }

    fn sync(&self, buffers: &[Arc<Buffer>]) -> Result<()> {
        if buffers.is_empty() {
            return Ok(());
        }
        let _turn = self.upkeep.sync_turn.lock();
        let upto_ns = self.clock.utc_ns();
        let gates: Vec<Arc<Gate>> = buffers.iter().map(|buffer| self.seal(buffer)).collect();
        gates.iter().for_each(|gate| gate.wait());
        let mut outcome = self.boot_file.lock().write(&*self.disk).map_err(|error| Error::io("cannot write the boot file", error));
        if let Err(error) = self.write_latched() {
            outcome = outcome.and(Err(Error::io("cannot write latched values", error)));
        }
        let unsynced = self.index.lock().unsynced();
        if let Some(Err(error)) = unsynced.map(|syncer| syncer.sync()) {
            outcome = outcome.and(Err(Error::io("cannot sync the index", error)));
        }
        for buffer in buffers {
            match self.sync_buffer(buffer) {
                Ok(()) => buffer.counters.durable_until_ns.store(upto_ns, Ordering::Relaxed),
                Err(error) => outcome = outcome.and(Err(Error::io(format!("buffer '{}' cannot be synced", buffer.name), error))),
            }
        }
        outcome
    }

    fn sync_buffer(&self, buffer: &Arc<Buffer>) -> io::Result<()> {
        let closed: Vec<Unsynced> = std::mem::take(&mut *buffer.unsynced.lock());
        let mut outcome = Ok(());
        let wanted = buffer.config.load().durability.is_some();
        for lane in buffer.lanes.lock().clone() {
            let syncer = match lane.open.lock().as_mut() {
                Some(segment) => segment.unsynced(),
                None => Ok(None),
            };
            let synced = syncer.and_then(|syncer| syncer.filter(|_| wanted).map_or(Ok(()), |syncer| syncer.sync()));
            if let Err(error) = synced {
                // What a failed sync leaves on the disk nobody knows: the next chunk goes into a new file.
                self.submit(buffer, Job::Close(lane), 0);
                outcome = Err(error);
            }
        }
        for folder in std::mem::take(&mut *self.upkeep.folders.lock()) {
            if let Err(error) = self.disk.sync_folder(&folder) {
                self.upkeep.new_name_in(folder);
                outcome = Err(error);
            }
        }
        for Unsynced { meta, syncer } in closed {
            match syncer.filter(|_| wanted).map_or(Ok(()), |syncer| syncer.sync()) {
                Ok(()) => {
                    if let Some(ram) = meta.ram.as_ref().filter(|ram| ram.is_wanted() && ram.has_file()) {
                        ram.written.store(true, Ordering::Release);
                    }
                    self.keeper.closed(&meta);
                    self.let_go(&meta);
                }
                // All of it is still in memory: it is written anew.
                Err(error) if meta.ram.is_some() => {
                    meta.ram.iter().for_each(|ram| ram.filed.store(false, Ordering::Release));
                    outcome = Err(error);
                }
                Err(error) => {
                    self.losses.add(losses::of_unsynced(&meta, &error));
                    self.keeper.closed(&meta);
                    outcome = Err(error);
                }
            }
        }
        outcome
    }

    /// Lets the system's memory go of older segments for one that is on the disk now.
    fn let_go(&self, meta: &SegmentMeta) {
        if meta.ram.is_some() {
            return;
        }
        let going = self.upkeep.page_cache.lock().add(meta);
        for key in going {
            // Where it is gone already, or the system does not care, nothing is the worse for it.
            let _ = self.disk.let_go(&self.root.join(&*key));
        }
    }

    fn look_after(&self) {
        let now_ns = self.clock.monotonic_ns();
        let (classify, metrics, floor) = {
            let mut state = self.upkeep.state.lock();
            let mut due = |last: fn(&mut State) -> &mut i64, every_ns: i64| {
                let last = last(&mut state);
                let seconds = (now_ns - *last) as f64 / 1e9;
                (now_ns - *last >= every_ns).then(|| {
                    *last = now_ns;
                    seconds
                })
            };
            (
                due(|state| &mut state.classified_ns, CLASSIFY_NS),
                due(|state| &mut state.metrics_ns, METRICS_NS),
                due(|state| &mut state.floor_ns, CLASSIFY_NS),
            )
        };
        self.follow_clock();
        self.close_old(now_ns);
        self.check_expectations(false);
        self.tell_losses();
        if let Some(seconds) = classify {
            let mut rates = std::mem::take(&mut self.upkeep.state.lock().rates);
            self.reclassify(seconds, &mut rates);
            self.upkeep.state.lock().rates = rates;
            let needs_saving = self.index.lock().needs_saving();
            if let Some(path) = needs_saving {
                let _ = self.index.lock().save(&*self.disk, &path);
            }
        }
        for buffer in self.buffers.load().iter() {
            self.drop_retired_slots(buffer);
            if classify.is_some() {
                self.evict(buffer);
            }
        }
        if classify.is_some() {
            self.evict_unconfigured();
        }
        self.finish_idle_retired();
        if floor.is_some() {
            self.evict_latched();
            self.keep_floor();
        }
        if metrics.is_some() {
            self.write_metrics();
        }
    }

    /// Closes segments that are old enough, also where no message comes any more.
    fn close_old(&self, now_ns: i64) {
        let age_ns = self.config.load().segment.age_ns;
        for buffer in self.buffers.load().iter() {
            for lane in buffer.lanes.lock().clone() {
                let old = |segment: &lane::OpenSegment| now_ns - segment.opened_monotonic_ns >= age_ns;
                if lane.open.try_lock().is_some_and(|open| open.as_ref().is_some_and(old)) {
                    self.submit(buffer, Job::Close(lane), 0);
                }
            }
        }
    }

    /// Notices when the wall clock was set: segments of before and after are kept apart, so that the former can be corrected.
    pub(super) fn follow_clock(&self) {
        let (utc_ns, now_ns) = (self.clock.utc_ns(), self.clock.monotonic_ns());
        self.upkeep.last_utc_ns.store(utc_ns, Ordering::Relaxed);
        if self.clock.is_file() {
            return;
        }
        let offset_ns = utc_ns.saturating_sub(now_ns);
        let step_ns = offset_ns.saturating_sub(std::mem::replace(&mut self.upkeep.state.lock().offset_ns, offset_ns));
        if step_ns.saturating_abs() < CLOCK_STEP_NS {
            return;
        }
        self.index.lock().set_boot_offset(self.boot, now_ns, offset_ns);
        for buffer in self.buffers.load().iter() {
            let gate = self.seal(buffer);
            for lane in buffer.lanes.lock().clone() {
                self.submit(buffer, Job::Close(lane), 0);
            }
            gate.wait_for(TURN);
        }
        let direction = if step_ns > 0 { "forward" } else { "back" };
        let message = format!("the clock was set {direction} by {}", time::format_duration(step_ns.saturating_abs()));
        self.write_event("clock_step", &message, serde_json::json!({ "step_ns": step_ns }));
    }

    /// Writes an event to `/tapeloop/events`.
    pub(super) fn write_event(&self, kind: &str, message: &str, detail: serde_json::Value) {
        let event = serde_json::json!({ "kind": kind, "message": message, "detail": detail, "device": self.device, "host": self.host });
        self.write_own("/tapeloop/events", "tapeloop.Event", &event);
    }

    fn write_metrics(&self) {
        let buffers: Vec<serde_json::Value> = self
            .buffers
            .load()
            .iter()
            .map(|buffer| {
                let c = &buffer.counters;
                let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
                serde_json::json!({
                    "name": &*buffer.name, "messages": load(&c.messages), "bytes": load(&c.bytes), "filtered": load(&c.filtered),
                    "lost_messages": load(&c.lost_messages), "written_bytes": load(&c.written_bytes), "queued_bytes": buffer.queue.bytes(),
                    "evicted_bytes": load(&c.evicted_bytes), "durable_until_ns": c.durable_until_ns.load(Ordering::Relaxed),
                })
            })
            .collect();
        let (free, total) = self.disk.space(&self.root).unwrap_or((0, 0));
        let metrics = serde_json::json!({ "buffers": buffers, "disk_free_bytes": free, "disk_total_bytes": total });
        self.write_own("/tapeloop/metrics", "tapeloop.Metrics", &metrics);
    }

    /// Logs a message of the recorder itself.
    pub(super) fn write_own(&self, topic: &str, type_name: &str, value: &serde_json::Value) {
        let schema = recording::Schema {
            name: type_name.into(),
            encoding: "jsonschema".into(),
            data: bytes::Bytes::from_static(b"{\"type\":\"object\"}"),
        };
        let spec = ChannelSpec { topic: topic.into(), encoding: "json".into(), schema: Some(Arc::new(schema)), ..ChannelSpec::default() };
        let mut channels = self.channels.write();
        let known = channels.by_topic.get(topic).and_then(|known| known.first()).cloned();
        let Ok(channel) = known.map_or_else(|| self.add_channel(&mut channels, spec), Ok) else { return };
        drop(channels);
        let json = value.to_string();
        let _ = self.accept(&channel, json.as_bytes().into(), Times::default());
    }

    /// Ends buffers that are configured no more, once nobody can put anything into them.
    fn finish_idle_retired(&self) {
        // One reference is here, one is the writer's; whoever logs and has the routes from before has another.
        let own = 1 + usize::from(self.threaded);
        let idle = self.upkeep.retiring.lock().extract_if(.., |buffer| Arc::strong_count(buffer) <= own).collect();
        self.finish_retired(idle);
    }

    /// Empties buffers that are configured no more, and stops their writers.
    fn finish_retired(&self, buffers: Vec<Arc<Buffer>>) {
        for buffer in buffers {
            self.end_buffer(&buffer);
            if let Err(error) = self.sync_buffer(&buffer) {
                self.losses.fail(Error::io(format!("buffer '{}' cannot be synced", buffer.name), error));
            }
        }
    }

    fn end_buffer(&self, buffer: &Arc<Buffer>) {
        self.seal(buffer).wait();
        for lane in buffer.lanes.lock().clone() {
            self.submit(buffer, Job::Close(lane), 0);
        }
        let gate = Arc::new(Gate::default());
        self.submit(buffer, Job::Barrier(gate.clone()), 0);
        gate.wait();
        buffer.queue.close();
    }

    /// Ends everything.
    pub(super) fn close_all(&self) -> Result<()> {
        if !self.closed.load(Ordering::Acquire) {
            self.end_expectations();
        }
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // A call that began before is still counted on; it may wait for room in a queue.
        while self.accepting.load(Ordering::SeqCst) > 0 {
            self.rest(TURN / 100);
        }
        self.stopping.store(true, Ordering::Release);
        {
            let _asleep = self.upkeep.asleep.lock();
            self.upkeep.wake.notify_all();
        }
        // They fill queues, which are closed below.
        join(&self.keepers);
        self.tell_losses();
        let outcome = self.sync_all();
        let buffers = self.buffers.load_full();
        for buffer in buffers.iter() {
            self.end_buffer(buffer);
        }
        let retired = std::mem::take(&mut *self.upkeep.retiring.lock());
        self.finish_retired(retired);
        let synced =
            buffers.iter().try_for_each(|buffer| self.sync_buffer(buffer)).map_err(|error| Error::io("cannot sync the tape", error));
        join(&self.writers);
        let _ = self.index.lock().save(&*self.disk, &super::open::index_path(&self.root));
        let outcome = outcome.and(synced).and(self.losses.take_error());
        if outcome.is_ok() {
            self.say_closed();
        }
        outcome
    }
}

/// Starts a thread with a name.
pub(super) fn start_thread(threads: &Mutex<Vec<JoinHandle<()>>>, name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    let thread = thread.map_err(|error| Error::new(Kind::Internal, format!("cannot start the thread '{name}'")).caused_by(error))?;
    threads.lock().push(thread);
    Ok(())
}

/// Waits until threads have ended, except for the one that asks.
fn join(threads: &Mutex<Vec<JoinHandle<()>>>) {
    let here = std::thread::current().id();
    for thread in std::mem::take(&mut *threads.lock()) {
        if thread.thread().id() != here {
            let _ = thread.join();
        }
    }
}
