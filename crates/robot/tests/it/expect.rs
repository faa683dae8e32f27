//! Expectations, on a clock that the test moves.

use std::sync::atomic::Ordering;

use recording::{Loss, TopicFilter, read};
use robot::tape::{ExpectationState, ExpectationStatus};
use robot::{Config, Leave, SaveRequest, When};

use crate::world::{MS, SECOND, T0, World};

trait Expecting {
    fn status(&self) -> ExpectationStatus;
    fn end(self) -> (Vec<serde_json::Value>, Vec<Loss>);
}

impl Expecting for World {
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

#[test]
fn every_expectation_of_a_topic_sees_a_short_gap() {
    let expect = |name: &str| format!("[[expect]]\nname = '{name}'\ntopics = ['/lidar']\nmax_gap = '300ms'\ngrace = '0s'\n");
    let world = World::new(&["a", "b", "c"].map(expect).concat());
    let lidar = world.channel("/lidar");
    world.run(2 * SECOND, &lidar, 100 * MS);
    // Shorter than a look at it.
    world.run(330 * MS, &lidar, 0);
    world.run(SECOND, &lidar, 100 * MS);
    let violations: Vec<u64> = world.tape.status().expectations.iter().map(|status| status.violations).collect();
    assert_eq!(violations, [1, 1, 1]);
}

#[test]
fn what_is_still_counted_at_the_end_is_judged_then() {
    let config = "[[expect]]\ntopics = ['/gps']\nrate = '1 Hz ± 5 %'\ngrace = '5s'";
    let judged = |ns: i64, silent_ns: i64| {
        let world = World::new(config);
        let gps = world.channel("/gps");
        world.run(ns, &gps, SECOND);
        world.run(silent_ns, &gps, 0);
        assert_eq!(world.status().violations, 0);
        world.tape.judge_finally();
        let status = world.status();
        (status.violations, status.judged)
    };
    // Windows have 40 s.
    assert_eq!(judged(50 * SECOND, 10 * SECOND), (1, true));
    assert_eq!(judged(60 * SECOND, 0), (0, true));
    assert_eq!(judged(20 * SECOND, 0), (0, true));
    // Nothing is known before the grace is over, and of less than a second.
    assert_eq!(judged(3 * SECOND, 0), (0, false));
    assert_eq!(judged(5500 * MS, 0), (0, false));
}

#[test]
fn a_clock_that_is_set_does_not_end_the_grace() {
    let world = World::new("[[expect]]\ntopics = ['/gps']\nrequired = true\ngrace = '5 s'");
    let imu = world.channel("/imu");
    world.run(SECOND, &imu, 100 * MS);
    world.clock.stepped_ns.store(3600 * SECOND, Ordering::Relaxed);
    world.run(SECOND, &imu, 100 * MS);
    assert_eq!(world.status().violations, 0);
    world.run(4 * SECOND, &imu, 100 * MS);
    let status = world.status();
    assert_eq!((status.violations, status.since_ns), (1, Some(T0 + 3600 * SECOND)));
}

#[test]
fn what_was_not_as_expected_needs_no_second_copy() {
    let buffers = "[[buffer]]\nname = 'a'\ndisk = '1 h'\n[[buffer]]\nname = 'b'\ndisk = '1 h'\n";
    let world = World::new(&format!("{buffers}[[expect]]\ntopics = ['/lidar']\nmax_gap = '300ms'\ngrace = '0s'"));
    let lidar = world.channel("/lidar");
    world.run(SECOND, &lidar, 100 * MS);
    world.run(SECOND, &lidar, 0);
    world.run(3 * SECOND, &lidar, 100 * MS);
    let save = SaveRequest { start: Some(When::Ns(T0)), topics: vec!["/lidar".into()], ..SaveRequest::default() };
    let manifest = world.tape.save(&save).unwrap();
    assert!(manifest.missing.iter().any(|loss| loss.reason.starts_with("expected: ")), "{:?}", manifest.missing);
    let of_lidar = manifest.selections.iter().filter(|selection| selection.topics.iter().any(|topic| topic == "/lidar"));
    assert_eq!(of_lidar.map(|selection| selection.buffer.as_str()).collect::<Vec<_>>(), ["a"]);
}
