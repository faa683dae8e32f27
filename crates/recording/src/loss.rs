//! What was lost, of which topic, when and why: the same record in segments, manifests, reports and `info --json`.
//!
//! **Invariant:** a loss is said, never guessed away: an unknown count is `None`, not zero.

use serde::{Deserialize, Serialize};

/// A stretch of time in which messages of a topic are missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The topic, or `None` where it cannot be known (a torn chunk holds any topic).
    pub topic: Option<String>,
    /// From when, if known; ns UTC.
    pub start_ns: Option<i64>,
    /// Until when, if known; ns UTC.
    pub end_ns: Option<i64>,
    /// How many messages, if known.
    pub messages: Option<u64>,
    /// How many bytes, if known.
    pub bytes: Option<u64>,
    /// Why, in words: `queue full`, `torn chunk at byte 4096`, `disk: No space left on device`, …
    pub reason: String,
}

/// How reasons begin that say why something is not there although nothing went wrong.
const NOT_LOST: [&str; 5] = ["expired:", "filtered:", "not seen:", "not recorded:", "cut short:"];

impl Loss {
    /// Returns whether data was lost: it should be there. What expired, was filtered, or was never recorded is missing, but not lost.
    pub fn is_lost(&self) -> bool {
        !NOT_LOST.iter().any(|reason| self.reason.starts_with(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expired_is_missing_but_not_lost() {
        let loss =
            |reason: &str| Loss { topic: None, start_ns: None, end_ns: None, messages: None, bytes: None, reason: reason.to_owned() };
        assert!(loss("torn chunk at byte 4096").is_lost() && loss("queue full").is_lost());
        assert!(!loss("expired: the tape begins at 14:00").is_lost() && !loss("cut short: the recorder stopped before the end").is_lost());
    }
}
