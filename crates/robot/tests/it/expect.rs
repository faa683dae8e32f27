//! Expectations, on a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use recording::{Loss, TopicFilter, read};
use robot::clock::Clock;
use robot::tape::{ExpectationState, ExpectationStatus};
use robot::{Channel, ChannelSpec, Config, Leave, OpenOptions, SaveRequest, Tape, Times, When};
use tempfile::TempDir;

const MS: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MS;
const T0: i64 = 1_700_000_000 * SECOND;

struct HandClock {
    passed_ns: AtomicI64,
    stepped_ns: AtomicI64,
}

impl Clock for HandClock {
    fn utc_ns(&self) -> i64 {
        T0 + self.passed_ns.load(Ordering::Relaxed) + self.stepped_ns.load(Ordering::Relaxed)
    }

    fn monotonic_ns(&self) -> i64 {
        self.passed_ns.load(Ordering::Relaxed) + SECOND
    }
}

struct World {
    folder: TempDir,
    clock: Arc<HandClock>,
    tape: Tape,
}

impl World {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(HandClock { passed_ns: AtomicI64::new(0), stepped_ns: AtomicI64::new(0) });
        let options = OpenOptions { clock: clock.clone(), threads: false, device: Some("rover".into()), ..OpenOptions::default() };
        let tape = Tape::open(folder.path(), Config::parse(config, "test").unwrap(), options).unwrap();
        tape.turn();
        Self { folder, clock, tape }
    }

    fn channel(&self, topic: &str) -> Arc<Channel> {
        self.tape.channel(ChannelSpec { topic: topic.into(), encoding: "text".into(), ..ChannelSpec::default() }).unwrap()
    }

    /// Lets time pass; every `every_ns` a message comes.
    fn run(&self, ns: i64, channel: &Arc<Channel>, every_ns: i64) {
        let step_ns = 10 * MS;
        for at in 1..=ns / step_ns {
            self.clock.passed_ns.fetch_add(step_ns, Ordering::Relaxed);
            if every_ns > 0 && at * step_ns % every_ns == 0 {
                self.tape.append(channel, b"x".as_slice().into(), Times::default()).unwrap();
            }
            if at % 10 == 0 {
                self.tape.turn();
            }
        }
    }

    fn status(&self) -> ExpectationStatus {
        self.tape.status().expectations.remove(0)
    }

    /// Ends it, and returns its events about expectations and its losses.
    fn end(self) -> (Vec<serde_json::Value>, Vec<Loss>) {
        self.tape.close(Leave::CutShort).unwrap();
        let recording = read::open(self.folder.path()).unwrap();
        let of = |topic: &str| -> Vec<serde_json::Value> {
            let filter = TopicFilter::parse(&[topic]).unwrap();
            let messages = recording.messages(&filter, recording::Span::ALL).unwrap();
            messages.map(|message| serde_json::from_slice(&message.unwrap().data).unwrap()).collect()
        };
        let mut events = of("/tapeloop/events");
        events.retain(|event| event["kind"].as_str().unwrap().starts_with("expectation_"));
        let losses = of("/tapeloop/losses").into_iter().map(|loss| serde_json::from_value(loss).unwrap()).collect();
        (events, losses)
    }
}

#[test]
fn a_gap_begins_once_and_ends_once_with_its_times() {
    let world = World::new("[[expect]]\ntopics = ['/lidar']\nmax_gap = '300ms'\ngrace = '0s'");
    let lidar = world.channel("/lidar");
    assert_eq!(world.status().state, ExpectationState::NeverSeen);
    world.run(2 * SECOND, &lidar, 100 * MS);
    assert_eq!((world.status().state, world.status().violations), (ExpectationState::Ok, 0));
    world.run(SECOND, &lidar, 0);
    let status = world.status();
    assert_eq!((status.state, status.since_ns, status.violations), (ExpectationState::Violated, Some(T0 + 2 * SECOND), 1));
    assert_eq!(status.expected, "no gap above 300 ms");
    world.run(5 * SECOND, &lidar, 100 * MS);
    assert_eq!((world.status().state, world.status().violations), (ExpectationState::Ok, 1));
    // Shorter than a look at it: it is seen all the same.
    world.run(330 * MS, &lidar, 0);
    world.run(5 * SECOND, &lidar, 100 * MS);
    assert_eq!(world.status().violations, 2);
    let save = SaveRequest { start: Some(When::Ns(T0)), end: Some(When::Ns(T0 + 9 * SECOND)), ..SaveRequest::default() };
    let manifest = world.tape.save(&save).unwrap();
    let missing: Vec<&Loss> = manifest.missing.iter().filter(|loss| loss.reason.starts_with("expected: ")).collect();
    assert_eq!(missing.iter().map(|loss| loss.start_ns).collect::<Vec<_>>(), [Some(T0 + 2 * SECOND), Some(T0 + 8 * SECOND)]);
    let (events, losses) = world.end();
    let kinds: Vec<&str> = events.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["expectation_violated", "expectation_met", "expectation_violated", "expectation_met"]);
    let first = &losses[0];
    assert_eq!((first.topic.as_deref(), first.start_ns), (Some("/lidar"), Some(T0 + 2 * SECOND)));
    assert_eq!(first.end_ns, Some(T0 + 3100 * MS), "{first:?}");
    assert_eq!((losses.len(), first.is_lost()), (2, false), "{losses:?}");
    assert_eq!(first.reason, "expected: no gap above 300 ms; nothing came for 1.1 s");
}

#[test]
fn a_rate_that_is_off_is_seen_and_cut_off_by_the_end() {
    let world = World::new("[[expect]]\ntopics = ['/cam*']\nrate = '10 Hz ± 20 %'\ngrace = '0s'");
    let camera = world.channel("/camera");
    world.run(6 * SECOND, &camera, 100 * MS);
    assert_eq!((world.status().state, world.status().violations), (ExpectationState::Ok, 0));
    world.run(6 * SECOND, &camera, 250 * MS);
    let status = world.status();
    assert_eq!((status.state, status.violations, status.violated[0].what.as_str()), (ExpectationState::Violated, 1, "rate"));
    world.run(6 * SECOND, &camera, 100 * MS);
    assert_eq!((world.status().state, world.status().violations), (ExpectationState::Ok, 1));
    world.run(4 * SECOND, &camera, 20 * MS);
    assert_eq!(world.status().state, ExpectationState::Violated);
    let (events, losses) = world.end();
    assert_eq!((events.len(), losses.len()), (4, 2));
    assert!(events[3]["message"].as_str().unwrap().contains("when the recorder ended"), "{}", events[3]);
}

#[test]
fn what_is_required_and_does_not_come_is_missing_after_the_grace() {
    let world = World::new("[[expect]]\nname = 'sensors'\ntopics = ['/gps', '/imu', '/radar/**']\nrequired = true\ngrace = '2 s'");
    let imu = world.channel("/imu");
    world.run(SECOND, &imu, 100 * MS);
    assert_eq!(world.status().violations, 0);
    world.run(2 * SECOND, &imu, 100 * MS);
    let status = world.status();
    assert_eq!((status.name.as_str(), status.state, status.violations), ("sensors", ExpectationState::Violated, 1));
    assert_eq!((status.violated[0].topic.as_str(), status.violated[0].since_ns), ("/gps", T0));
    let gps = world.channel("/gps");
    world.run(SECOND, &gps, 100 * MS);
    assert_eq!(world.status().state, ExpectationState::Ok);
    let (events, losses) = world.end();
    assert_eq!((events.len(), losses.len()), (2, 1));
}

#[test]
fn a_clock_that_is_set_makes_no_gap() {
    let world = World::new("[[expect]]\ntopics = ['/lidar']\nmax_gap = '300ms'\nrate = '10 Hz ± 20 %'\ngrace = '0s'");
    let lidar = world.channel("/lidar");
    world.run(3 * SECOND, &lidar, 100 * MS);
    world.clock.stepped_ns.store(3600 * SECOND, Ordering::Relaxed);
    world.run(5 * SECOND, &lidar, 100 * MS);
    world.clock.stepped_ns.store(-3600 * SECOND, Ordering::Relaxed);
    world.run(5 * SECOND, &lidar, 100 * MS);
    assert_eq!((world.status().violations, world.status().state), (0, ExpectationState::Ok), "{:?}", world.status());
}

#[test]
fn expectations_change_with_the_configuration() {
    let world = World::new("[[expect]]\ntopics = ['/lidar']\nmax_gap = '300ms'\ngrace = '0s'");
    let lidar = world.channel("/lidar");
    world.run(SECOND, &lidar, 100 * MS);
    world.run(SECOND, &lidar, 0);
    assert_eq!(world.status().state, ExpectationState::Violated);
    world.tape.reconfigure(Config::parse("[[expect]]\ntopics = ['/lidar']\nmax_gap = '10 s'\ngrace = '0s'", "test").unwrap()).unwrap();
    world.run(SECOND, &lidar, 0);
    assert_eq!((world.status().state, world.status().violations), (ExpectationState::Ok, 0));
    world.tape.reconfigure(Config::empty()).unwrap();
    world.run(SECOND, &lidar, 0);
    assert!(world.tape.status().expectations.is_empty());
    assert_eq!(world.end().1.len(), 1, "what was violated ended with the configuration");
}
