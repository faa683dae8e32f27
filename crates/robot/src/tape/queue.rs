//! A queue of work that is bounded by bytes, not by entries.
//!
//! **Invariant:** what waits never exceeds the limit, except that one entry always fits into an empty queue.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Work that waits.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    not_empty: Condvar,
    not_full: Condvar,
}

#[derive(Debug)]
struct State<T> {
    entries: VecDeque<(u64, T)>,
    bytes: u64,
    closed: bool,
}

/// What became of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed<T> {
    /// It waits; these older ones had to go for it.
    Accepted(Vec<T>),
    /// There was no room in time, or the queue is closed.
    Refused(T),
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        let state = State { entries: VecDeque::new(), bytes: 0, closed: false };
        Self { state: Mutex::new(state), not_empty: Condvar::new(), not_full: Condvar::new() }
    }

    /// Appends an entry of `bytes`; where they would exceed `limit`, waits up to `wait` for room.
    pub(crate) fn push(&self, entry: T, bytes: u64, limit: u64, wait: Duration) -> Pushed<T> {
        let mut state = self.state.lock();
        let full = |state: &mut State<T>| !state.closed && bytes > 0 && state.bytes > 0 && state.bytes + bytes > limit;
        if full(&mut state) {
            self.not_full.wait_while_for(&mut state, full, wait);
        }
        if state.closed || full(&mut state) {
            return Pushed::Refused(entry);
        }
        state.add(entry, bytes);
        self.not_empty.notify_one();
        Pushed::Accepted(Vec::new())
    }

    /// Appends an entry of `bytes`; where they would exceed `limit`, the oldest entries that `may_go` are taken out.
    pub(crate) fn push_over_oldest(&self, entry: T, bytes: u64, limit: u64, may_go: impl Fn(&T) -> bool) -> Pushed<T> {
        let mut state = self.state.lock();
        if state.closed {
            return Pushed::Refused(entry);
        }
        let mut gone = Vec::new();
        while state.bytes > 0 && state.bytes + bytes > limit {
            let Some(at) = state.entries.iter().position(|(size, entry)| *size > 0 && may_go(entry)) else { break };
            let Some((size, oldest)) = state.entries.remove(at) else { break };
            state.bytes -= size;
            gone.push(oldest);
        }
        state.add(entry, bytes);
        self.not_empty.notify_one();
        Pushed::Accepted(gone)
    }

    /// Takes the oldest entry, waiting for one; `None` once the queue is closed and empty.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut state = self.state.lock();
        self.not_empty.wait_while(&mut state, |state| state.entries.is_empty() && !state.closed);
        self.take(&mut state)
    }

    /// Takes the oldest entry, if there is one.
    pub(crate) fn try_pop(&self) -> Option<T> {
        self.take(&mut self.state.lock())
    }

    fn take(&self, state: &mut State<T>) -> Option<T> {
        let (bytes, entry) = state.entries.pop_front()?;
        state.bytes -= bytes;
        self.not_full.notify_all();
        Some(entry)
    }

    /// Returns how many bytes wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.state.lock().bytes
    }

    /// Refuses everything from now on; what waits is still taken.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.not_empty.notify_all();
        self.not_full.notify_all();
    }
}

impl<T> State<T> {
    fn add(&mut self, entry: T, bytes: u64) {
        self.entries.push_back((bytes, entry));
        self.bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_or_drops_the_oldest() {
        let queue = Queue::new();
        assert_eq!(queue.push(1, 200, 100, Duration::ZERO), Pushed::Accepted(vec![]));
        assert_eq!(queue.push(2, 1, 100, Duration::ZERO), Pushed::Refused(2));
        assert_eq!(queue.push_over_oldest(3, 60, 100, |_| true), Pushed::Accepted(vec![1]));
        assert_eq!(queue.push(4, 0, 100, Duration::ZERO), Pushed::Accepted(vec![]));
        assert_eq!((queue.bytes(), queue.pop(), queue.pop()), (60, Some(3), Some(4)));
        queue.close();
        assert_eq!((queue.pop(), queue.push(5, 0, 9, Duration::ZERO)), (None, Pushed::Refused(5)));
    }
}
