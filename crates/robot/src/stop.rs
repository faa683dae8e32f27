//! A flag that is set once, when it is time to end.
//!
//! **Invariant:** once set it stays set, and whoever waits for it wakes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

/// Says when to stop; clones are the same flag.
#[derive(Clone, Debug, Default)]
pub struct StopFlag {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    set: AtomicBool,
    sleeping: Mutex<()>,
    changed: Condvar,
    tasks: Notify,
}

impl StopFlag {
    /// Sets the flag.
    pub fn set(&self) {
        let _sleeping = self.state.sleeping.lock();
        self.state.set.store(true, Ordering::Release);
        self.state.changed.notify_all();
        self.state.tasks.notify_waiters();
    }

    /// Returns whether it is set.
    pub fn is_set(&self) -> bool {
        self.state.set.load(Ordering::Acquire)
    }

    /// Waits until it is set, at most for `patience`, and returns whether it is.
    pub fn wait(&self, patience: Duration) -> bool {
        let mut sleeping = self.state.sleeping.lock();
        let _ = self.state.changed.wait_while_for(&mut sleeping, |()| !self.is_set(), patience);
        self.is_set()
    }

    /// Waits until it is set, in a task.
    pub(crate) async fn until_set(&self) {
        // Made before the look, so that what is set in between wakes it.
        let told = self.state.tasks.notified();
        if !self.is_set() {
            told.await;
        }
    }
}
