//! Recordings hold exactly what was accepted in their span, whatever happens between the request and the end.

use std::collections::HashSet;

use robot::Leave;
use robot::clock::Clock;
use simtest::clock::MAY_2024_NS;
use simtest::disk::{Failure, Operation, PowerCut};
use simtest::model::is_told;
use simtest::reading::read_all;
use simtest::seeds;
use simtest::world::{Crash, SECOND_NS, World};

/// One disk buffer; several; RAM for what is heavy, with a thinner copy on disk; the same topics twice.
const CONFIGS: [&str; 5] = [
    "[segment]\nsize = '256 KiB'\nage = '2 s'",
    "[segment]\nsize = '64 KiB'\nage = '1 s'\n[[buffer]]\nname = 'light'\ntopics = ['**', '!/camera/**']\ndisk = '1 h'\n[[buffer]]\nname = 'heavy'\ntopics = ['/camera/**', '/lidar']\ndisk = '1 h'\ncompression = 'lz4'",
    "[segment]\nsize = '1 MiB'\nage = '3 s'\n[[buffer]]\nname = 'raw'\ntopics = ['/camera/**', '/lidar', '/state']\nram = { age = '1 h', size = '1 GB' }\n[[buffer]]\nname = 'thin'\ntopics = ['/camera/**']\ndisk = '1 h'\nmax_rate = '5 Hz'\n[[buffer]]\nname = 'rest'\ntopics = ['**', '!/camera/**']\ndisk = '1 h'\ncompression = 'none'",
    "[segment]\nsize = '512 KiB'\nage = '5 s'\n[[buffer]]\nname = 'first'\ndisk = '1 h'\ncompression = 'none'\n[[buffer]]\nname = 'second'\ndisk = '1 h'",
    "",
];

const TOPICS: [&[&str]; 6] =
    [&[], &[], &["/imu", "/odom"], &["/camera/**", "!/camera/rear"], &["/**", "!/lidar"], &["/state", "/tf_static", "/rare"]];

fn topics(world: &mut World) -> &'static [&'static str] {
    let at = world.random.index(TOPICS.len());
    TOPICS[at]
}

fn save_something(world: &mut World) {
    let topics = topics(world);
    let now_ns = world.clock.utc_ns();
    match world.random.within(0..4) {
        0 => {
            let before_ns = world.random.time_ns(1..10 * SECOND_NS);
            world.save_around(before_ns, 0, topics);
        }
        1 => {
            let (before_ns, after_ns) = (world.random.time_ns(0..5 * SECOND_NS), world.random.time_ns(1..4 * SECOND_NS));
            world.save_around(before_ns, after_ns, topics);
        }
        2 => {
            let start_ns = now_ns - world.random.time_ns(SECOND_NS..20 * SECOND_NS);
            let end_ns = start_ns + world.random.time_ns(1..5 * SECOND_NS);
            world.save(start_ns, end_ns, topics);
        }
        _ => {
            // Just what was logged this very moment.
            world.log_any();
            world.save(now_ns, now_ns + 1, topics);
        }
    };
}

fn keep_something(world: &mut World) {
    let open: Vec<String> = world.kept.iter().filter_map(|kept| kept.name.clone()).collect();
    if let Some(name) = open.first().filter(|_| open.len() > 1 || world.random.chance(60)) {
        let after_ns = if world.random.chance(50) { 0 } else { world.random.time_ns(1..3 * SECOND_NS) };
        world.keep_stop(name, after_ns);
    } else {
        let (number, before_ns) = (world.random.number() % 1_000_000, world.random.time_ns(0..5 * SECOND_NS));
        let topics = topics(world);
        world.keep_start(&format!("run-{number}"), before_ns, topics);
    }
}

/// Logs and asks for recordings for a while.
fn work(world: &mut World, steps: u64) {
    for _ in 0..steps {
        for _ in 0..world.random.within(0..8) {
            world.log_any();
        }
        match world.random.within(0..100) {
            0..8 => save_something(world),
            8..12 => keep_something(world),
            12..14 => {
                world.flush();
            }
            14..16 => world.check_final(),
            16..18 if !world.kept.is_empty() => {
                let id = world.kept[world.random.index(world.kept.len())].id.clone();
                world.forget(&id);
            }
            18..20 => world.pass(3 * SECOND_NS),
            _ => {}
        }
        let step_ns = world.random.time_ns(0..100_000_000);
        world.pass(step_ns);
    }
}

fn crash(world: &mut World) {
    let cut = *world.random.pick(&[PowerCut::Drop, PowerCut::Prefix, PowerCut::Torn, PowerCut::Mixed]);
    let crash = if world.random.chance(40) { Crash::Kill } else { Crash::Power(cut) };
    world.crash(crash);
}

fn stop_keeps(world: &mut World) {
    let open: Vec<String> = world.kept.iter().filter_map(|kept| kept.name.clone()).collect();
    open.iter().for_each(|name| world.keep_stop(name, 0));
}

fn world(seed: u64) -> World {
    World::new(seed, MAY_2024_NS, CONFIGS[seed as usize % CONFIGS.len()])
}

#[test]
fn recordings_hold_what_was_accepted_in_their_span() {
    seeds::each(60, |seed| {
        let mut world = world(seed);
        let steps = world.random.within(10..250);
        work(&mut world, steps);
        stop_keeps(&mut world);
        world.complete_all();
        world.flush();
        world.check_tape();
    });
}

#[test]
fn recordings_complete_after_crashes() {
    seeds::each(60, |seed| {
        let mut world = world(seed);
        for _ in 0..3 {
            let steps = world.random.within(5..120);
            work(&mut world, steps);
            crash(&mut world);
            let resume = world.random.chance(70);
            world.reopen(resume);
        }
        work(&mut world, 20);
        stop_keeps(&mut world);
        world.complete_all();
    });
}

#[test]
fn recordings_complete_after_the_tape_was_closed() {
    seeds::each(40, |seed| {
        let mut world = world(seed);
        for leave in [Leave::Wait, Leave::CutShort, Leave::Resume] {
            let steps = world.random.within(5..80);
            work(&mut world, steps);
            world.close(leave);
            world.reopen(leave == Leave::Resume);
        }
        stop_keeps(&mut world);
        world.complete_all();
    });
}

#[test]
fn a_keep_may_be_longer_than_the_memory_it_keeps() {
    let config = "[segment]\nsize = '256 KiB'\nage = '1 s'\n[[buffer]]\nname = 'raw'\nram = { age = '2 s', size = '2 MB' }";
    seeds::each(20, |seed| {
        let mut world = World::new(seed, MAY_2024_NS, config);
        world.pass(SECOND_NS / 10);
        world.keep_start("long", 0, &[]);
        for _ in 0..100 {
            for _ in 0..world.random.within(0..8) {
                world.log_any();
            }
            let step_ns = world.random.time_ns(0..200_000_000);
            world.pass(step_ns);
        }
        world.keep_stop("long", 0);
        world.complete_all();
    });
}

#[test]
fn what_the_best_buffer_evicted_is_taken_from_the_next() {
    let config = "[segment]\nsize = '256 KiB'\nage = '1 s'\n\
        [[buffer]]\nname = 'short'\ndisk = '2 MB'\ncompression = 'none'\n[[buffer]]\nname = 'long'\ndisk = '1 h'";
    seeds::each(20, |seed| {
        let mut world = World::new(seed, MAY_2024_NS, config);
        let start_ns = world.clock.utc_ns();
        for _ in 0..200 {
            // Busy enough to get segments of its own after a second, which go before the shared one that it began in.
            world.log_topic("/camera/front");
            world.log_any();
            let step_ns = world.random.time_ns(0..200_000_000);
            world.pass(step_ns);
        }
        let all = world.model.sent.len();
        let now_ns = world.clock.utc_ns();
        let before = world.save(start_ns, now_ns + 1, &[]).unwrap();
        world.complete_all();
        world.refresh();
        assert_eq!(read_all(&world.manifest_path(&before)).messages.len(), all);
        // The next opening knows what went, too.
        world.close(Leave::Wait);
        world.reopen(false);
        let after = world.save(start_ns, now_ns + 1, &[]).unwrap();
        world.complete_all();
        world.refresh();
        assert_eq!(read_all(&world.manifest_path(&after)).messages.len(), all);
    });
}

#[test]
fn what_every_buffer_evicted_is_told() {
    let config = "[segment]\nsize = '256 KiB'\nage = '1 s'\n[[buffer]]\nname = 'short'\ndisk = '3 MB'";
    seeds::each(20, |seed| {
        let mut world = World::new(seed, MAY_2024_NS, config);
        let start_ns = world.clock.utc_ns();
        for _ in 0..200 {
            world.log_topic("/camera/front");
            world.log_any();
            let step_ns = world.random.time_ns(0..200_000_000);
            world.pass(step_ns);
        }
        let id = world.save(start_ns, world.clock.utc_ns() + 1, &[]).unwrap();
        world.complete_all();
        world.refresh();
        let found = read_all(&world.manifest_path(&id));
        let present: HashSet<(u64, u64)> =
            found.messages.iter().filter_map(|message| message.identity).map(|id| (id.boot, id.append_sequence)).collect();
        assert!(present.len() < world.model.sent.len(), "nothing was evicted");
        for sent in world.model.sent.iter().filter(|sent| !present.contains(&(sent.boot, sent.sequence))) {
            let told = is_told(&found.losses, sent.topic, sent.log_time_ns);
            assert!(told, "{} at {} is missing in silence: {:#?}", sent.topic, sent.log_time_ns, found.losses);
        }
    });
}

#[test]
fn a_disk_that_fails_does_not_take_the_memory() {
    let config = "[segment]\nsize = '256 KiB'\nage = '1 s'\n[[buffer]]\nname = 'raw'\nram = '2 MB'";
    seeds::each(5, |seed| {
        let mut world = World::new(seed, MAY_2024_NS, config);
        world.faulty = true;
        world.keep_start("long", 0, &[]);
        world.disk.add_failure(Failure { times: u64::MAX, path_contains: "-raw-".into(), ..Failure::next(Operation::Create) });
        for _ in 0..200 {
            world.log_topic("/camera/front");
            world.pass(SECOND_NS / 20);
            let view = world.tape().view();
            let in_memory = view.buffers.iter().flat_map(|buffer| &buffer.segments).filter(|segment| segment.meta.ram.is_some());
            let bytes: u64 = in_memory.map(|segment| segment.meta.size_bytes).sum();
            assert!(bytes <= 5_000_000, "{bytes} bytes in memory");
        }
        assert!(world.tape().view().losses.iter().any(|loss| loss.reason.starts_with("disk: too slow")));
        assert!(!world.errors.is_empty());
    });
}
