//! What was promised is there after every kind of crash.

use robot::Leave;
use simtest::clock::MAY_2024_NS;
use simtest::disk::PowerCut;
use simtest::seeds;
use simtest::world::{Crash, World};

/// Configurations without limits that matter: nothing is evicted.
const ROOMY: [&str; 4] = [
    "",
    "[segment]\nsize = '64 KiB'\nage = '1 s'\n[[buffer]]\nname = 'all'\ndisk = '1 h'\ncompression = 'none'",
    "[segment]\nsize = '1 MiB'\nage = '2 s'\n[[buffer]]\nname = 'all'\ndisk = '1 h'\ncompression = 'lz4'",
    "[segment]\nsize = '256 KiB'\nage = '3 s'\n[[buffer]]\nname = 'light'\ntopics = ['**', '!/camera/**']\ndisk = '1 h'\n[[buffer]]\nname = 'heavy'\ntopics = ['/camera/**', '/lidar']\ndisk = '1 h'\ncompression = 'zstd(3)'",
];

/// Logs for a while, as robots do.
fn work(world: &mut World, steps: u64) {
    for _ in 0..steps {
        for _ in 0..world.random.within(0..12) {
            world.log_any();
        }
        if world.random.chance(4) {
            world.flush();
        }
        let step_ns = world.random.time_ns(1_000_000..100_000_000);
        world.pass(step_ns);
    }
}

fn crash(world: &mut World) -> Crash {
    let cut = *world.random.pick(&[PowerCut::Drop, PowerCut::Prefix, PowerCut::Torn, PowerCut::Mixed]);
    let kill = world.random.chance(30);
    if kill { Crash::Kill } else { Crash::Power(cut) }
}

fn config(seed: u64) -> &'static str {
    ROOMY[seed as usize % ROOMY.len()]
}

#[test]
fn what_was_promised_is_there_after_a_crash() {
    seeds::each(60, |seed| {
        let mut world = World::new(seed, MAY_2024_NS, config(seed));
        for _ in 0..3 {
            let steps = world.random.within(1..60);
            work(&mut world, steps);
            let crash = crash(&mut world);
            world.crash(crash);
            world.reopen(true);
        }
    });
}

#[test]
fn a_zeroed_page_costs_the_chunks_it_touches() {
    seeds::each(60, |seed| {
        let mut world = World::new(seed, MAY_2024_NS, config(seed));
        for _ in 0..3 {
            let steps = world.random.within(1..60);
            work(&mut world, steps);
            if world.random.chance(50) {
                world.close(Leave::Wait);
            } else {
                world.crash(Crash::Kill);
            }
            world.damage_a_page();
            world.reopen(true);
        }
    });
}

#[test]
fn a_page_may_be_zeroed_in_a_power_cut() {
    seeds::each(60, |seed| {
        let mut world = World::new(seed, MAY_2024_NS, config(seed));
        for _ in 0..3 {
            let steps = world.random.within(1..60);
            work(&mut world, steps);
            let crash = crash(&mut world);
            world.crash(crash);
            world.damage_a_page();
            world.reopen(true);
        }
    });
}
