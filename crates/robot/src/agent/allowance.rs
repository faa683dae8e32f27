//! How much memory all large messages that are still arriving may take together.
//!
//! **Invariant:** what was taken comes back when its [`Held`] is dropped, and never is there more out than the limit.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// A number of bytes to share.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: Mutex<usize>,
    returned: Condvar,
}

/// Bytes that somebody took.
#[derive(Debug)]
pub(crate) struct Held {
    allowance: Arc<Allowance>,
    bytes: usize,
}

impl Allowance {
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { left: Mutex::new(bytes), returned: Condvar::new() })
    }

    /// Returns a hold of nothing yet.
    pub(crate) fn hold(self: &Arc<Self>) -> Held {
        Held { allowance: self.clone(), bytes: 0 }
    }
}

impl Held {
    /// Takes more; returns whether it got it within `patience`.
    pub(crate) fn grow(&mut self, bytes: usize, patience: Duration) -> bool {
        let mut left = self.allowance.left.lock();
        let got = !self.allowance.returned.wait_while_for(&mut left, |left| *left < bytes, patience).timed_out() || *left >= bytes;
        if got {
            *left -= bytes;
            self.bytes += bytes;
        }
        got
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.allowance.left.lock() += self.bytes;
        self.allowance.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_comes_back() {
        let allowance = Allowance::new(10);
        let mut first = allowance.hold();
        let mut second = allowance.hold();
        assert!(first.grow(8, Duration::ZERO));
        assert!(!second.grow(3, Duration::ZERO));
        assert!(second.grow(2, Duration::ZERO));
        drop(first);
        assert!(second.grow(8, Duration::ZERO));
        drop(second);
        assert_eq!(*allowance.left.lock(), 10);
    }
}
