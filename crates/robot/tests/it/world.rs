//! A tape on a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use robot::clock::Clock;
use robot::tape::disk::{Disk, RealDisk};
use robot::{Channel, ChannelSpec, Config, OpenOptions, Tape, Times};
use tempfile::TempDir;

pub(crate) const MS: i64 = 1_000_000;
pub(crate) const SECOND: i64 = 1_000 * MS;
pub(crate) const T0: i64 = 1_700_000_000 * SECOND;

/// A clock that stands still unless it is moved.
pub(crate) struct HandClock {
    pub(crate) passed_ns: AtomicI64,
    /// By how much the wall clock was set.
    pub(crate) stepped_ns: AtomicI64,
}

impl Clock for HandClock {
    fn utc_ns(&self) -> i64 {
        T0 + self.passed_ns.load(Ordering::Relaxed) + self.stepped_ns.load(Ordering::Relaxed)
    }

    fn monotonic_ns(&self) -> i64 {
        self.passed_ns.load(Ordering::Relaxed) + SECOND
    }
}

/// A tape on such a clock, without threads.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) tape: Tape,
}

impl World {
    pub(crate) fn new(config: &str) -> Self {
        Self::on(Arc::new(RealDisk), config)
    }

    pub(crate) fn on(disk: Arc<dyn Disk>, config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(HandClock { passed_ns: AtomicI64::new(0), stepped_ns: AtomicI64::new(0) });
        let options = OpenOptions { disk, clock: clock.clone(), threads: false, device: Some("rover".into()), ..OpenOptions::default() };
        let tape = Tape::open(folder.path(), Config::parse(config, "test").unwrap(), options).unwrap();
        tape.turn();
        Self { folder, clock, tape }
    }

    pub(crate) fn channel(&self, topic: &str) -> Arc<Channel> {
        self.tape.channel(ChannelSpec { topic: topic.into(), encoding: "text".into(), ..ChannelSpec::default() }).unwrap()
    }

    pub(crate) fn latched(&self, topic: &str) -> Arc<Channel> {
        self.tape.channel(ChannelSpec { topic: topic.into(), encoding: "text".into(), latched: true, ..ChannelSpec::default() }).unwrap()
    }

    pub(crate) fn log(&self, channel: &Arc<Channel>, payload: &[u8]) {
        self.tape.append(channel, payload.into(), Times::default()).unwrap();
    }

    /// Lets time pass; every `every_ns` a message comes.
    pub(crate) fn run(&self, ns: i64, channel: &Arc<Channel>, every_ns: i64) {
        let step_ns = 10 * MS;
        for at in 1..=ns / step_ns {
            self.clock.passed_ns.fetch_add(step_ns, Ordering::Relaxed);
            if every_ns > 0 && at * step_ns % every_ns == 0 {
                self.log(channel, b"x");
            }
            if at % 10 == 0 {
                self.tape.turn();
            }
        }
    }
}
