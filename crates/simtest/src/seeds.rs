//! Which seeds a scenario runs with.
//!
//! `TAPELOOP_SEEDS=1,2,3` replays those; `TAPELOOP_SIM_RUNS=5000` runs that many instead of the few that fit into a build.
//!
//! **Invariant:** whatever fails or hangs while a seed runs, the seed is printed.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// A seed that takes longer hangs: most take less than a second.
const HANGS_AFTER: Duration = Duration::from_secs(300);

/// Runs a scenario with each seed.
pub fn each(runs: u64, mut scenario: impl FnMut(u64)) {
    let (begun, seeds) = sync_channel(1);
    let watch = thread::Builder::new().name("watch-seeds".to_owned()).spawn(move || watch(&seeds)).expect("a thread can be started");
    for seed in chosen(runs) {
        let _told = Told(seed);
        begun.send(seed).expect("it listens until the end");
        scenario(seed);
    }
    drop(begun);
    watch.join().expect("it does nothing that can fail");
}

/// Ends the process when a seed hangs, as nothing else can.
fn watch(seeds: &Receiver<u64>) {
    let mut running: Option<u64> = None;
    loop {
        match (seeds.recv_timeout(HANGS_AFTER), running) {
            (Ok(seed), _) => running = Some(seed),
            (Err(RecvTimeoutError::Timeout), Some(seed)) => {
                eprintln!("\nit hangs with seed {seed}: TAPELOOP_SEEDS={seed} replays it, TAPELOOP_SIM_TRACE=1 tells what it does\n");
                std::process::abort();
            }
            (Err(_), _) => return,
        }
    }
}

fn chosen(runs: u64) -> Vec<u64> {
    if let Ok(text) = std::env::var("TAPELOOP_SEEDS") {
        return text.split(',').map(|seed| seed.trim().parse().expect("TAPELOOP_SEEDS is a list of numbers")).collect();
    }
    let more = std::env::var("TAPELOOP_SIM_RUNS").ok().map(|text| text.parse().expect("TAPELOOP_SIM_RUNS is a number"));
    (1..=more.unwrap_or(runs)).collect()
}

/// Prints its seed if the scenario panics.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("\nthe seed was {0}: TAPELOOP_SEEDS={0} replays it, TAPELOOP_SIM_TRACE=1 tells what it does\n", self.0);
        }
    }
}
