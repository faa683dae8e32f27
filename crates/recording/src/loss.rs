//! What was lost, of which topic, when and why: the same record in segments, manifests, reports and `info --json`.
//!
//! **Invariant:** a loss is said, never guessed away: an unknown count is `None`, not zero.

use std::collections::BTreeSet;

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
    /// How many bytes their payloads have, if known; how much of a file is damaged stands in the reason.
    pub bytes: Option<u64>,
    /// Why, in words: `queue full`, `torn chunk at byte 4096`, `disk: No space left on device`, …
    pub reason: String,
}

/// How reasons begin that say why something is not there although nothing went wrong.
const NOT_LOST: [&str; 6] = ["expired:", "filtered:", "not seen:", "not recorded:", "cut short:", "expected:"];

impl Loss {
    /// Returns whether data was lost: it should be there. What expired, was filtered, or was never recorded is missing, but not lost.
    pub fn is_lost(&self) -> bool {
        !NOT_LOST.iter().any(|reason| self.reason.starts_with(reason))
    }
}

/// What losses add up to, and how sure that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// How many messages are known to be lost.
    pub messages: u64,
    /// How many payload bytes are known to be lost.
    pub bytes: u64,
    /// How many chunks cannot be read, or not wholly.
    pub chunks: u64,
    /// From when; `None` where that of one of them is unknown; ns UTC.
    pub start_ns: Option<i64>,
    /// Until when; `None` where that of one of them is unknown; ns UTC.
    pub end_ns: Option<i64>,
    /// The topics that surely lost something, by name.
    pub topics: Vec<String>,
    /// Whether other topics may have lost something too.
    pub any_topic: bool,
    /// Whether the number of messages is all that was lost, and not the least.
    pub exact: bool,
}

impl Damage {
    /// Adds up what was lost; `None` where nothing was.
    pub fn of(losses: &[Loss]) -> Option<Self> {
        let lost: Vec<&Loss> = losses.iter().filter(|loss| loss.is_lost()).collect();
        if lost.is_empty() {
            return None;
        }
        let topics: BTreeSet<&String> = lost.iter().filter_map(|loss| loss.topic.as_ref()).collect();
        let chunks: BTreeSet<&str> = lost.iter().map(|loss| loss.reason.as_str()).filter(|reason| reason.contains("chunk")).collect();
        Some(Self {
            messages: lost.iter().filter_map(|loss| loss.messages).fold(0, u64::saturating_add),
            bytes: lost.iter().filter_map(|loss| loss.bytes).fold(0, u64::saturating_add),
            chunks: chunks.len() as u64,
            start_ns: lost.iter().map(|loss| loss.start_ns).collect::<Option<Vec<_>>>().and_then(|times| times.into_iter().min()),
            end_ns: lost.iter().map(|loss| loss.end_ns).collect::<Option<Vec<_>>>().and_then(|times| times.into_iter().max()),
            topics: topics.into_iter().cloned().collect(),
            any_topic: lost.iter().any(|loss| loss.topic.is_none()),
            exact: lost.iter().all(|loss| loss.messages.is_some()),
        })
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

    #[test]
    fn damage_adds_up_and_says_how_sure_it_is() {
        let loss = |topic: Option<&str>, messages, reason: &str| Loss {
            topic: topic.map(str::to_owned),
            start_ns: Some(5),
            end_ns: Some(9),
            messages,
            bytes: None,
            reason: reason.to_owned(),
        };
        assert_eq!(Damage::of(&[loss(None, None, "expired: long ago")]), None);
        let chunk = "damaged chunk: its checksum does not fit, at byte 7";
        let both = [loss(Some("/a"), Some(3), chunk), loss(Some("/b"), Some(4), chunk)];
        let damage = Damage::of(&both).unwrap();
        assert_eq!((damage.messages, damage.chunks, damage.exact, damage.any_topic), (7, 1, true, false));
        assert_eq!((damage.topics, damage.start_ns, damage.end_ns), (vec!["/a".to_owned(), "/b".to_owned()], Some(5), Some(9)));
        let unsure = Damage::of(&[loss(None, None, chunk)]).unwrap();
        assert!(unsure.any_topic && !unsure.exact);
        // One that nobody knows the end of has the whole go on as long.
        let open = Loss { end_ns: None, ..loss(None, None, chunk) };
        let damage = Damage::of(&[loss(Some("/a"), Some(3), chunk), open]).unwrap();
        assert_eq!((damage.start_ns, damage.end_ns), (Some(5), None));
    }
}
