//! Answers that calls wait for.
//!
//! **Invariant:** a token has one answer, and whoever waits gets it, an error, or the end of its patience.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use recording::{Error, Result};
use serde_json::Value;

/// How many calls may wait at the same time.
const WAITING_LIMIT: usize = 1024;

/// The answers of one client.
#[derive(Default)]
pub(super) struct Answers {
    waiting: Mutex<HashMap<u64, Place>>,
    arrived: Condvar,
    next: AtomicU64,
}

struct Place {
    connection: u64,
    answer: Option<Result<Value>>,
}

impl Answers {
    /// Makes a place for an answer that comes over a connection.
    pub(super) fn expect(&self, connection: u64) -> Result<u64> {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= WAITING_LIMIT {
            return Err(Error::unavailable(format!("{WAITING_LIMIT} calls wait for the agent, which is the limit")));
        }
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        waiting.insert(token, Place { connection, answer: None });
        Ok(token)
    }

    /// Takes an answer; one that nobody waits for any more is dropped.
    pub(super) fn put(&self, token: u64, answer: Result<Value>) {
        if let Some(place) = self.waiting.lock().get_mut(&token) {
            place.answer = Some(answer);
            self.arrived.notify_all();
        }
    }

    /// Answers everything that waits for a connection that has ended.
    pub(super) fn fail(&self, connection: u64, why: &str) {
        for place in self.waiting.lock().values_mut().filter(|place| place.connection == connection && place.answer.is_none()) {
            place.answer = Some(Err(Error::unavailable(why)));
        }
        self.arrived.notify_all();
    }

    /// Waits for an answer.
    pub(super) fn wait(&self, token: u64, patience: Duration) -> Result<Value> {
        let mut waiting = self.waiting.lock();
        let unanswered = |waiting: &mut HashMap<u64, Place>| waiting.get(&token).is_some_and(|place| place.answer.is_none());
        let _ = self.arrived.wait_while_for(&mut waiting, unanswered, patience);
        let answer = waiting.remove(&token).and_then(|place| place.answer);
        answer.unwrap_or_else(|| Err(Error::unavailable(format!("the agent did not answer within {} s", patience.as_secs()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_gets_an_answer_an_error_or_their_time_back() {
        let answers = Answers::default();
        let (first, second, third) = (answers.expect(1).unwrap(), answers.expect(1).unwrap(), answers.expect(2).unwrap());
        answers.put(first, Ok(Value::Null));
        answers.put(99, Ok(Value::Null));
        answers.fail(1, "gone");
        assert_eq!(answers.wait(first, Duration::ZERO).unwrap(), Value::Null);
        assert_eq!(answers.wait(second, Duration::ZERO).unwrap_err().message(), "gone");
        assert!(answers.wait(third, Duration::ZERO).unwrap_err().message().starts_with("the agent did not answer"));
        assert!(answers.waiting.lock().is_empty());
    }
}
