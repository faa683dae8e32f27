//! What a client could not deliver, and what it keeps to deliver again.
//!
//! **Invariant:** counts only grow until they are taken to be told; who takes them brings back what could not be told.

use std::collections::VecDeque;

use bytes::Bytes;
use recording::Loss;

use crate::ChannelSpec;

/// How many bytes of latched values a client keeps for an agent that starts again.
pub(super) const LATCHED_LIMIT: usize = 256 << 20;
/// How many messages of static transforms it keeps: each may speak of other frames.
const TRANSFORMS_LIMIT: usize = 256;

/// A channel, as the client knows it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) spec: ChannelSpec,
    /// Whether its last value is kept: the agent takes more as latched than what a channel says is.
    pub(super) is_latched: bool,
    /// The last values, where the agent will want them again.
    pub(super) latched: VecDeque<Latched>,
    lost: Option<Lost>,
}

/// A latched value.
#[derive(Clone, Debug)]
pub(super) struct Latched {
    pub(super) publish_time_ns: i64,
    pub(super) payload: Bytes,
}

#[derive(Debug)]
struct Lost {
    start_ns: i64,
    end_ns: i64,
    messages: u64,
    bytes: u64,
    reason: &'static str,
}

impl Known {
    pub(super) fn new(spec: ChannelSpec) -> Self {
        let is_latched = spec.latched || recording::qos::is_latched(&spec.to_topic());
        Self { spec, is_latched, latched: VecDeque::new(), lost: None }
    }

    /// Keeps a value for later; returns by how many bytes the client holds more, or less.
    pub(super) fn remember(&mut self, value: Latched) -> isize {
        let mut change = value.payload.len() as isize;
        let room = if is_transforms(&self.spec) { TRANSFORMS_LIMIT - 1 } else { 0 };
        while self.latched.len() > room {
            change -= self.latched.pop_front().map_or(0, |old| old.payload.len() as isize);
        }
        self.latched.push_back(value);
        change
    }

    /// Counts a lost message; returns whether it is the first of a loss.
    pub(super) fn lose(&mut self, log_time_ns: i64, bytes: usize, reason: &'static str) -> bool {
        let lost = self.lost.get_or_insert(Lost { start_ns: log_time_ns, end_ns: log_time_ns, messages: 0, bytes: 0, reason });
        lost.start_ns = lost.start_ns.min(log_time_ns);
        lost.end_ns = lost.end_ns.max(log_time_ns);
        lost.messages += 1;
        lost.bytes += bytes as u64;
        lost.messages == 1
    }

    /// Takes what was lost and is not told yet.
    pub(super) fn take_loss(&mut self) -> Option<Loss> {
        self.lost.take().map(|lost| Loss {
            topic: Some(self.spec.topic.clone()),
            start_ns: Some(lost.start_ns),
            end_ns: Some(lost.end_ns),
            messages: Some(lost.messages),
            bytes: Some(lost.bytes),
            reason: lost.reason.to_owned(),
        })
    }
}

fn is_transforms(spec: &ChannelSpec) -> bool {
    spec.topic.ends_with("/tf_static")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_add_up_until_they_are_told() {
        let mut known = Known::new(ChannelSpec { topic: "/imu".into(), ..ChannelSpec::default() });
        assert_eq!(known.take_loss(), None);
        assert!(known.lose(20, 5, "away"));
        assert!(!known.lose(10, 6, "other"));
        let loss = known.take_loss().unwrap();
        assert_eq!((loss.start_ns, loss.end_ns, loss.messages, loss.bytes), (Some(10), Some(20), Some(2), Some(11)));
        assert_eq!(loss.reason, "away");
        assert_eq!(known.take_loss(), None);
    }

    #[test]
    fn the_last_value_is_kept_and_of_transforms_the_last_few() {
        let value = |length| Latched { publish_time_ns: 0, payload: Bytes::from(vec![0; length]) };
        let mut map = Known::new(ChannelSpec { topic: "/map".into(), latched: true, ..ChannelSpec::default() });
        assert_eq!((map.remember(value(10)), map.remember(value(4))), (10, -6));
        let mut transforms = Known::new(ChannelSpec { topic: "/tf_static".into(), ..ChannelSpec::default() });
        assert!(transforms.is_latched);
        let held: isize = (0..1000).map(|_| transforms.remember(value(1))).sum();
        assert_eq!((held, transforms.latched.len()), (256, 256));
    }
}
