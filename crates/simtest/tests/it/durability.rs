//! What was promised is there after every kind of crash.

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
