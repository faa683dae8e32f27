//! Losses and errors on their way to whoever must hear of them.
//!
//! **Invariant:** a loss that was added is told at least three ways: in the next segment's end, on `/tapeloop/losses`, in the status.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use recording::{Error, Loss, Result};

use super::Inner;
use super::segment::SegmentMeta;
use crate::config::RECORDER_BUFFER;

/// How many different (topic, reason) pairs wait; beyond that they are told without their topic.
const PENDING_LIMIT: usize = 20_000;
/// How many losses wait for a segment to be written into.
const UNWRITTEN_LIMIT: usize = 10_000;

/// What was lost and is not told yet.
#[derive(Default)]
pub(crate) struct Losses {
    pending: Mutex<BTreeMap<(Option<String>, String), Loss>>,
    error: Mutex<Option<Error>>,
    has_error: AtomicBool,
    last_error: Mutex<Option<String>>,
    /// What was told, and is in no segment yet.
    unwritten: Mutex<VecDeque<Loss>>,
    /// How many errors came from the disk, and not from those who log too much.
    pub(crate) disk_failures: AtomicU64,
    /// How often the tape itself lost something, by topic; what has no topic may be of any.
    own: Mutex<BTreeMap<Option<String>, u64>>,
    pub(crate) messages: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// Losses of which nobody knows how many messages they are.
    pub(crate) uncounted: AtomicU64,
}

impl Losses {
    /// Adds a loss of the tape's own.
    pub(crate) fn add(&self, loss: Loss) {
        {
            let mut own = self.own.lock();
            let topic = loss.topic.clone().filter(|_| own.len() < PENDING_LIMIT);
            *own.entry(topic).or_default() += 1;
        }
        self.pass_on(loss);
    }

    /// Returns how often the tape itself lost something that is, or may be, of a topic.
    pub(crate) fn count_of(&self, topic: &str) -> u64 {
        let own = self.own.lock();
        [Some(topic.to_owned()), None].iter().filter_map(|topic| own.get(topic)).sum()
    }

    /// Adds a loss that somebody else had; those of one topic for one reason become one.
    pub(crate) fn pass_on(&self, mut loss: Loss) {
        self.messages.fetch_add(loss.messages.unwrap_or(0), Ordering::Relaxed);
        self.bytes.fetch_add(loss.bytes.unwrap_or(0), Ordering::Relaxed);
        self.uncounted.fetch_add(u64::from(loss.messages.is_none() && loss.is_lost()), Ordering::Relaxed);
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

    /// Takes the losses that belong into a segment that ends now: those of its topics, and those nobody can place.
    pub(crate) fn recent(&self, meta: &SegmentMeta) -> Vec<Loss> {
        let mut unwritten = self.unwritten.lock();
        let all = meta.name.buffer == RECORDER_BUFFER;
        let (taken, rest): (VecDeque<Loss>, VecDeque<Loss>) = std::mem::take(&mut *unwritten)
            .into_iter()
            .partition(|loss| all || loss.topic.as_deref().is_some_and(|topic| meta.holds(topic)));
        *unwritten = rest;
        taken.into()
    }

    /// Makes an error wait for the next call of the program that logs.
    pub(crate) fn fail(&self, error: Error) {
        *self.last_error.lock() = Some(error.to_string());
        self.disk_failures.fetch_add(u64::from(std::error::Error::source(&error).is_some()), Ordering::Relaxed);
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

impl Inner {
    /// Tells of losses: to the index, to the segments, and on `/tapeloop/losses`.
    pub(super) fn tell_losses(&self) {
        for loss in self.losses.take() {
            self.index.lock().add_loss(loss.clone());
            let own = loss.topic.as_deref().is_some_and(|topic| topic.starts_with("/tapeloop/"));
            let mut unwritten = self.losses.unwritten.lock();
            if unwritten.len() >= UNWRITTEN_LIMIT {
                unwritten.pop_front();
            }
            unwritten.push_back(loss.clone());
            drop(unwritten);
            // A loss of what the recorder says of itself would only cause the next one.
            if !own {
                self.write_own("/tapeloop/losses", "tapeloop.Loss", &serde_json::to_value(&loss).unwrap_or_default());
            }
        }
    }
}

/// Returns the loss of a segment that may not have reached the disk.
pub(super) fn of_unsynced(meta: &SegmentMeta, error: &io::Error) -> Loss {
    Loss {
        topic: None,
        start_ns: Some(meta.start_ns),
        end_ns: Some(meta.end_ns),
        messages: None,
        bytes: None,
        reason: format!("disk: {error} (sync of {}); what it holds may be incomplete after a power cut", meta.key),
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
