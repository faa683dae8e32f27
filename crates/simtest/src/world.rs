//! A robot's computer: a disk, a clock and a tape, and everything that happens to them.
//!
//! In come orders of a scenario; after each of them the world compares what the tape does with what it promised.
//!
//! **Invariant:** the world knows of each accepted message whether it must be readable, may be missing if that is told, or is gone
//! by right.

mod captures;
mod checks;
mod crash;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use robot::clock::Clock;
use robot::{Channel, ChannelSpec, Config, Leave, OpenOptions, Payload, Tape, Times};
use tempfile::TempDir;

pub use self::captures::Kept;
pub use self::crash::Crash;
use crate::clock::SimClock;
use crate::disk::{Operation, SimDisk};
use crate::model::{Fate, Model, STREAMS, Sent, Stream, holding, payload, pick_stream};
use crate::random::Random;
use crate::reading::Copy;

/// How often a tape without threads is given a turn.
pub const TURN_NS: i64 = 100_000_000;
/// One second.
pub const SECOND_NS: i64 = 1_000_000_000;
/// After this time an accepted message is on the disk.
const PROMISE_NS: i64 = SECOND_NS;
/// How much time passes with each look at the clock of a tape that is being closed.
const CLOSE_STEP_NS: i64 = 2_000_000;
/// How much longer than its last window a tape may take to close.
const CLOSES_WITHIN_NS: i64 = 30 * SECOND_NS;
/// The name of the simulated robot.
pub const DEVICE: &str = "rover";

/// A computer with a tape.
pub struct World {
    /// What follows from the seed.
    pub random: Random,
    /// The disk.
    pub disk: SimDisk,
    /// The clock.
    pub clock: Arc<SimClock>,
    /// What was accepted.
    pub model: Model,
    /// The recordings that were asked for.
    pub kept: Vec<Kept>,
    /// Whether operations may fail: faults were injected.
    pub faulty: bool,
    /// Whether every message must be readable or told of as missing, also those without a clear time.
    pub times_are_plain: bool,
    /// Whether buffers in RAM are so deep that nothing is evicted from them.
    pub ram_is_deep: bool,
    /// Errors that calls answered with since it was asked last.
    pub errors: Vec<String>,
    root: TempDir,
    copy: Copy,
    tape: Option<Tape>,
    config: Config,
    channels: HashMap<(&'static str, &'static str), Arc<Channel>>,
    boot: u64,
    promised: usize,
    failed: BTreeMap<Operation, u64>,
    latched_damaged: bool,
    /// When the disk was too full, so that segments went before their time.
    was_full: bool,
    trace: bool,
}

impl World {
    /// Returns a computer with an empty tape.
    pub fn new(seed: u64, start_ns: i64, config: &str) -> Self {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(random.fork());
        let mut world = Self {
            random,
            disk,
            clock: Arc::new(SimClock::new(start_ns)),
            model: Model::default(),
            kept: Vec::new(),
            faulty: false,
            times_are_plain: true,
            ram_is_deep: true,
            errors: Vec::new(),
            root: tempfile::tempdir().unwrap(),
            copy: Copy::default(),
            tape: None,
            config: Config::parse(config, "").unwrap_or_else(|error| panic!("{error}")),
            channels: HashMap::new(),
            boot: 0x1000,
            promised: 0,
            failed: BTreeMap::new(),
            latched_damaged: false,
            was_full: false,
            trace: std::env::var_os("TAPELOOP_SIM_TRACE").is_some(),
        };
        world.open(false);
        world
    }

    /// Returns the tape.
    pub fn tape(&self) -> Tape {
        self.tape.clone().expect("the tape is open")
    }

    /// Returns the tape's folder.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Returns the path of a recording's manifest.
    pub fn manifest_path(&self, id: &str) -> PathBuf {
        self.root().join(recording::key::manifest(DEVICE, id))
    }

    /// Copies the simulated disk into the tape's real folder, for readers.
    pub fn refresh(&mut self) {
        self.copy.refresh(self.root.path(), &self.disk);
    }

    /// Says what happens, if anybody wants to know.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:10.3} s  {}", self.clock.elapsed_ns() as f64 / 1e9, what());
        }
    }

    /// Opens the tape; damage must not make that fail.
    fn open(&mut self, resume: bool) {
        assert!(self.tape.is_none(), "the tape is open");
        self.boot += 1;
        let boot = self.boot;
        self.tell(|| format!("open, boot {boot:x}"));
        let options = OpenOptions {
            disk: self.disk.mount(),
            clock: self.clock.clone(),
            threads: false,
            device: Some(DEVICE.into()),
            host: Some("bench".into()),
            boot: Some(boot),
            resume,
            ..OpenOptions::default()
        };
        let tape = Tape::open(self.root.path(), self.config.clone(), options);
        self.tape = Some(tape.unwrap_or_else(|error| panic!("the tape cannot be opened: {error}")));
        self.channels.clear();
        self.promised = self.model.sent.len();
        self.model.opened_ns.insert(boot, self.clock.utc_ns());
        self.note_offset();
        self.note_failures();
        // Whatever opening removed or replaced must still be readable: the checks after it will tell.
        self.disk.take_removed();
    }

    fn note_offset(&mut self) {
        let offset_ns = self.clock.utc_ns() - self.clock.monotonic_ns();
        self.model.offsets_ns.insert(self.boot, offset_ns);
    }

    fn channel(&mut self, stream: &'static Stream) -> Arc<Channel> {
        if let Some(channel) = self.channels.get(&(stream.topic, stream.publisher)) {
            return channel.clone();
        }
        let encoding = if stream.topic == "/tf_static" { "json" } else { "raw" };
        let schema = (stream.topic != "/log").then(|| {
            Arc::new(recording::Schema {
                name: format!("Sim{}", stream.topic.len()),
                encoding: "text".into(),
                data: vec![b'x'; 300].into(),
            })
        });
        let spec = ChannelSpec {
            topic: stream.topic.into(),
            encoding: encoding.into(),
            schema,
            latched: stream.latched,
            publisher: stream.publisher.into(),
            ..ChannelSpec::default()
        };
        let channel = self.tape().channel(spec).unwrap();
        self.channels.insert((stream.topic, stream.publisher), channel.clone());
        channel
    }

    /// Logs a message now.
    pub fn log(&mut self, stream: &'static Stream) {
        self.log_at(stream, None);
    }

    /// Logs a message of any stream now.
    pub fn log_any(&mut self) {
        let stream = pick_stream(&mut self.random);
        self.log(stream);
    }

    /// Logs a message of a topic now.
    pub fn log_topic(&mut self, topic: &str) {
        self.log(STREAMS.iter().find(|stream| stream.topic == topic).expect("it is one of the streams"));
    }

    /// Logs a message at `log_time_ns`, or now.
    pub fn log_at(&mut self, stream: &'static Stream, log_time_ns: Option<i64>) {
        let channel = self.channel(stream);
        let (data, slots) = payload(stream, &mut self.random);
        let wall_ns = self.clock.utc_ns();
        let log_time = log_time_ns.unwrap_or(wall_ns);
        let publish_time_ns = self.random.chance(30).then(|| (log_time - self.random.time_ns(0..SECOND_NS)).max(0));
        let times = Times { log_time_ns, publish_time_ns };
        let shared = self.random.chance(30);
        let accepted = {
            let payload = || if shared { Payload::Shared(data.clone()) } else { Payload::Slice(&data) };
            match self.tape().append(&channel, payload(), times) {
                Err(error) => {
                    // The answer tells of an earlier write; the same call works again.
                    self.note_error("append", &error);
                    self.tape().append(&channel, payload(), times)
                }
                accepted => accepted,
            }
        };
        match accepted {
            Ok(sequence) => self.model.add(Sent {
                boot: self.boot,
                sequence,
                topic: stream.topic,
                publisher: stream.publisher,
                log_time_ns: log_time,
                publish_time_ns: publish_time_ns.unwrap_or(log_time),
                data,
                slots,
                own_time: log_time_ns.is_some(),
                accepted_ns: self.clock.elapsed_ns(),
                wall_ns,
                offset_ns: wall_ns - self.clock.monotonic_ns(),
                holding: holding(&self.config, stream.topic),
                promised: false,
                uncertain: false,
                fate: Fate::There,
            }),
            Err(error) => self.note_error("append", &error),
        }
        self.watch();
    }

    fn note_error(&mut self, what: &str, error: &robot::Error) {
        self.tell(|| format!("{what} answers: {error}"));
        assert!(self.faulty, "{what} failed although nothing was wrong: {error}");
        self.errors.push(error.to_string());
    }

    /// Lets time pass, with turns as the tape's threads would take them.
    pub fn pass(&mut self, ns: i64) {
        let mut left_ns = ns;
        while left_ns > 0 {
            let step_ns = left_ns.min(TURN_NS);
            self.clock.advance(step_ns);
            left_ns -= step_ns;
            self.turn();
        }
    }

    /// Gives the tape a turn.
    pub fn turn(&mut self) {
        self.tape().turn();
        self.watch();
        let old_ns = self.clock.elapsed_ns() - PROMISE_NS;
        self.promise(|sent| sent.accepted_ns <= old_ns);
    }

    /// Sets the wall clock, and gives the tape the turn in which it notices.
    pub fn step_clock(&mut self, ns: i64) {
        self.tell(|| format!("the clock is set by {} s", ns as f64 / 1e9));
        self.clock.step(ns);
        self.tape().turn();
        self.note_offset();
        self.watch();
    }

    /// Makes everything durable that was accepted.
    pub fn flush(&mut self) -> bool {
        self.tell(|| "flush".into());
        let flushed = self.tape().flush();
        self.watch();
        match flushed {
            Ok(()) => {
                self.promise(|_| true);
                true
            }
            Err(error) => {
                self.note_error("flush", &error);
                false
            }
        }
    }

    /// Takes note that messages must survive a power cut from now on.
    fn promise(&mut self, old_enough: impl Fn(&Sent) -> bool) {
        while let Some(sent) = self.model.sent.get_mut(self.promised).filter(|sent| old_enough(sent)) {
            sent.promised = sent.holding == crate::model::Holding::Disk && !sent.uncertain;
            self.promised += 1;
        }
    }

    /// Puts another configuration into force.
    pub fn reconfigure(&mut self, config: &str) {
        self.tell(|| format!("reconfigure: {}", config.replace('\n', " ")));
        self.config = Config::parse(config, "").unwrap_or_else(|error| panic!("{error}"));
        self.tape().reconfigure(self.config.clone()).unwrap_or_else(|error| panic!("{error}"));
        self.watch();
    }

    /// Ends the tape as a program does that is told to.
    pub fn close(&mut self, leave: Leave) {
        self.tell(|| format!("close, {leave:?}"));
        let tape = self.tape.take().expect("the tape is open");
        // Closing may wait for the end of a window, and without threads the tape alone looks at the clock.
        let last_ns = self.kept.iter().filter_map(|kept| kept.end_ns).max().unwrap_or(0);
        let limit_ns = (last_ns - self.clock.utc_ns()).max(0) + CLOSES_WITHIN_NS;
        let closed = match leave {
            Leave::Wait => self.clock.pass_while(CLOSE_STEP_NS, limit_ns, || tape.close(leave)),
            Leave::CutShort | Leave::Resume => tape.close(leave),
        };
        match closed {
            Ok(()) => {
                self.watch();
                self.promise(|_| true);
            }
            Err(error) => self.note_error("close", &error),
        }
        match leave {
            Leave::Wait => self.cut_unfinished(|end_ns, _| end_ns.is_none()),
            Leave::CutShort => self.cut_unfinished(|end_ns, now_ns| end_ns.is_none_or(|end_ns| end_ns > now_ns)),
            Leave::Resume => {}
        }
        drop(tape);
        self.disk.kill();
    }

    /// Compares what happened on the disk with what may happen.
    fn watch(&mut self) {
        self.note_failures();
        self.judge_removed();
    }

    fn note_failures(&mut self) {
        let failed = self.disk.failed();
        if failed == self.failed {
            return;
        }
        self.tell(|| format!("failures: {failed:?}"));
        if failed.get(&Operation::Full) != self.failed.get(&Operation::Full) {
            self.was_full = true;
        }
        self.failed = failed;
        // What was not promised before something failed may be lost.
        let boot = self.boot;
        for sent in self.model.sent.iter_mut().rev().take_while(|sent| sent.boot == boot).filter(|sent| !sent.promised) {
            sent.uncertain = true;
        }
    }
}
