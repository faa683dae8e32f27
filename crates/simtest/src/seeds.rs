//! Which seeds a scenario runs with.
//!
//! `TAPELOOP_SEEDS=1,2,3` replays those; `TAPELOOP_SIM_RUNS=5000` runs that many instead of the few that fit into a build.
//!
//! **Invariant:** whatever fails while a seed runs, the seed is printed.

/// Runs a scenario with each seed.
pub fn each(runs: u64, mut scenario: impl FnMut(u64)) {
    for seed in chosen(runs) {
        let _told = Told(seed);
        scenario(seed);
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
