//! Losses and errors on their way to whoever must hear of them.
//!
//! **Invariant:** a loss that was added is told at least three ways: in the next segment's end, on `/tapeloop/losses`, in the status.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use recording::{Error, Loss, Result};

/// How many different (topic, reason) pairs wait; beyond that they are told without their topic.
const PENDING_LIMIT: usize = 20_000;

/// What was lost and is not told yet.
#[derive(Default)]
pub(crate) struct Losses {
    pending: Mutex<BTreeMap<(Option<String>, String), Loss>>,
    error: Mutex<Option<Error>>,
    has_error: AtomicBool,
    last_error: Mutex<Option<String>>,
    pub(crate) messages: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

impl Losses {
    /// Adds a loss; those of one topic for one reason become one.
    pub(crate) fn add(&self, mut loss: Loss) {
        self.messages.fetch_add(loss.messages.unwrap_or(0), Ordering::Relaxed);
        self.bytes.fetch_add(loss.bytes.unwrap_or(0), Ordering::Relaxed);
        let mut pending = self.pending.lock();
        if pending.len() >= PENDING_LIMIT {
            loss.topic = None;
        }
        match pending.get_mut(&(loss.topic.clone(), loss.reason.clone())) {
            Some(known) => merge(known, &loss),
            None => {
                pending.insert((loss.topic.clone(), loss.reason.clone()), loss);
            }
        }
    }

    /// Takes what is not told yet.
    pub(crate) fn take(&self) -> Vec<Loss> {
        std::mem::take(&mut *self.pending.lock()).into_values().collect()
    }

    /// Makes an error wait for the next call of the program that logs.
    pub(crate) fn fail(&self, error: Error) {
        *self.last_error.lock() = Some(error.to_string());
        self.error.lock().get_or_insert(error);
        self.has_error.store(true, Ordering::Release);
    }

    /// Returns the error that waits, once.
    pub(crate) fn take_error(&self) -> Result<()> {
        if !self.has_error.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.has_error.store(false, Ordering::Release);
        self.error.lock().take().map_or(Ok(()), Err)
    }

    /// Returns the newest error, for the status.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }
}

fn merge(known: &mut Loss, loss: &Loss) {
    let either = |a: Option<i64>, b: Option<i64>, pick: fn(i64, i64) -> i64| match (a, b) {
        (Some(a), Some(b)) => Some(pick(a, b)),
        (a, b) => a.or(b),
    };
    let sum = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a.saturating_add(b));
    known.start_ns = either(known.start_ns, loss.start_ns, i64::min);
    known.end_ns = either(known.end_ns, loss.end_ns, i64::max);
    known.messages = sum(known.messages, loss.messages);
    known.bytes = sum(known.bytes, loss.bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_a_stranger_made_up_do_not_overflow() {
        let losses = Losses::default();
        for messages in [Some(u64::MAX), Some(7)] {
            losses.add(Loss { topic: None, start_ns: None, end_ns: None, messages, bytes: messages, reason: "made up".to_owned() });
        }
        let told: Vec<_> = losses.take().into_iter().map(|loss| (loss.messages, loss.bytes)).collect();
        assert_eq!(told, [(Some(u64::MAX), Some(u64::MAX))]);
    }
}
