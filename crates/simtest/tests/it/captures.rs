//! Recordings hold exactly what was accepted in their span, whatever happens between the request and the end.

use robot::Leave;
use robot::clock::Clock;
use simtest::clock::MAY_2024_NS;
use simtest::disk::PowerCut;
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
