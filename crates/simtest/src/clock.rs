//! A clock that stands still until somebody moves it.
//!
//! Where the tape itself waits, and has no threads, nobody else can move it: then each look at the wall clock lets time pass.
//!
//! **Invariant:** the monotonic time never goes back, except that it begins anew with the machine.

use parking_lot::Mutex;
use robot::clock::Clock;

/// 2024-05-01T00:00:00Z.
pub const MAY_2024_NS: i64 = 1_714_521_600_000_000_000;

/// What a clock says that nobody has set.
pub const EPOCH_NS: i64 = 0;

/// A wall clock and a monotonic one.
#[derive(Debug)]
pub struct SimClock {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    utc_ns: i64,
    monotonic_ns: i64,
    elapsed_ns: i64,
    /// How much passes with each look at the wall clock, and how much of that is left until somebody waits in vain.
    passing: Option<(i64, i64)>,
}

impl SimClock {
    /// Returns a clock that says `utc_ns` on a machine that was just switched on.
    pub fn new(utc_ns: i64) -> Self {
        Self { state: Mutex::new(State { utc_ns, monotonic_ns: 3_000_000_000, elapsed_ns: 0, passing: None }) }
    }

    /// Lets time pass.
    pub fn advance(&self, ns: i64) {
        self.state.lock().advance(ns);
    }

    /// Lets `step_ns` pass with each look at the wall clock while `wait` runs, which fails after `limit_ns`.
    pub fn pass_while<T>(&self, step_ns: i64, limit_ns: i64, wait: impl FnOnce() -> T) -> T {
        self.state.lock().passing = Some((step_ns, limit_ns));
        let waited = wait();
        self.state.lock().passing = None;
        waited
    }

    /// Sets the wall clock forward, or back.
    pub fn step(&self, ns: i64) {
        self.state.lock().utc_ns += ns;
    }

    /// Switches the machine off for `ns`; the wall clock then says `utc_ns`, or the right time.
    pub fn reboot(&self, ns: i64, utc_ns: Option<i64>) {
        self.advance(ns);
        let mut state = self.state.lock();
        state.monotonic_ns = 2_000_000_000;
        state.utc_ns = utc_ns.unwrap_or(state.utc_ns);
    }

    /// Returns how much time has passed in the simulation, whatever the clocks say.
    pub fn elapsed_ns(&self) -> i64 {
        self.state.lock().elapsed_ns
    }
}

impl State {
    fn advance(&mut self, ns: i64) {
        self.utc_ns += ns;
        self.monotonic_ns += ns;
        self.elapsed_ns += ns;
    }

    /// Lets some time pass if the one who looks may be waiting for that.
    fn looked_at(&mut self) {
        let Some((step_ns, left_ns)) = self.passing else { return };
        assert!(left_ns > 0, "the tape waits for something that does not come");
        self.passing = Some((step_ns, left_ns - step_ns));
        self.advance(step_ns);
    }
}

impl Clock for SimClock {
    fn utc_ns(&self) -> i64 {
        let mut state = self.state.lock();
        state.looked_at();
        state.utc_ns
    }

    fn monotonic_ns(&self) -> i64 {
        self.state.lock().monotonic_ns
    }
}
