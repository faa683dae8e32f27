//! Signals on their way to the program.
//!
//! **Invariant:** a signal reaches the program once: those that a terminal sends, it sends to the program too.

use std::fs;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::Cause;

const FORWARDED: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
/// Those that ask a program to end. A hang-up does so, too, unless the program goes on: to many it says to read their configuration.
const ENDING: [i32; 3] = [SIGINT, SIGQUIT, SIGTERM];

/// The signals of this process.
pub(super) type Signals = SignalsInfo<WithOrigin>;

/// Begins to take signals, without doing anything about them yet. One that is ignored, as below `nohup`, stays so for the program.
pub(super) fn listen() -> anyhow::Result<Signals> {
    let ignored = fs::read_to_string("/proc/self/status").map_or(0, |status| ignored(&status));
    let taken = FORWARDED.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    SignalsInfo::<WithOrigin>::new(taken).context("cannot take signals")
}

/// Returns the set of ignored signals, as Linux writes it.
fn ignored(status: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}

/// Sends signals on.
pub(super) struct Forwarder {
    state: Arc<Mutex<State>>,
}

struct State {
    /// The program, while it lives.
    pid: Option<Pid>,
    asked: Option<i32>,
}

impl Forwarder {
    pub(super) fn start(mut signals: Signals, pid: Pid) -> anyhow::Result<Self> {
        let state = Arc::new(Mutex::new(State { pid: Some(pid), asked: None }));
        let shared = state.clone();
        let forward = move || {
            for origin in &mut signals {
                let mut state = shared.lock();
                state.asked = asked(state.asked, origin.signal);
                let from_terminal = matches!(origin.cause, Cause::Kernel);
                if let (Some(pid), Some(signal), false) = (state.pid, Signal::from_named_raw(origin.signal), from_terminal) {
                    // It may have ended already.
                    let _ = kill_process(pid, signal);
                }
            }
        };
        thread::Builder::new().name("tapeloop-signals".into()).spawn(forward).context("no thread for signals")?;
        Ok(Self { state })
    }

    /// Ends forwarding: the program's id may be somebody else's soon. Returns the last signal that asked it to end.
    pub(super) fn end(&self) -> Option<i32> {
        let mut state = self.state.lock();
        state.pid = None;
        state.asked
    }
}

/// Returns the last signal that asked to end, after one more. That somebody hung up is less than a request before it.
fn asked(before: Option<i32>, signal: i32) -> Option<i32> {
    match signal {
        SIGHUP => before.or(Some(SIGHUP)),
        _ if ENDING.contains(&signal) => Some(signal),
        _ => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_known() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"), 0x1001);
        assert_eq!(ignored("") | ignored("SigIgn:\tmany\n"), 0);
    }

    #[test]
    fn a_hang_up_does_not_hide_a_request() {
        assert_eq!(asked(None, SIGHUP), Some(SIGHUP));
        assert_eq!(asked(Some(SIGHUP), SIGTERM), Some(SIGTERM));
        assert_eq!(asked(Some(SIGTERM), SIGHUP), Some(SIGTERM));
        assert_eq!(asked(Some(SIGINT), SIGUSR1), Some(SIGINT));
    }
}
