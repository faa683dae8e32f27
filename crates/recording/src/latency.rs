//! How late messages are: from the moment when something was measured to the moment when it was recorded.
//!
//! **Invariant:** every number is one that occurred: percentiles are the nearest rank, not a mean.

use serde::Serialize;

use crate::time::Timestamp;

/// How late the messages of a topic are, in nanoseconds; negative where the sensor's clock is ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// How many messages have a stamp.
    pub count: u64,
    /// The shortest.
    pub min_ns: i64,
    /// Half are at most as late.
    pub median_ns: i64,
    /// 95 of 100 are at most as late.
    pub p95_ns: i64,
    /// The longest.
    pub max_ns: i64,
}

impl Latency {
    /// Returns the latency of messages with these log times and stamps, or `None` where none has a stamp. A stamp of 0 is none: nobody
    /// has set it.
    pub fn of(times: impl IntoIterator<Item = (Timestamp, Option<Timestamp>)>) -> Option<Self> {
        let late = |(log_time_ns, stamp_ns): (Timestamp, Option<Timestamp>)| match stamp_ns {
            None | Some(0) => None,
            Some(stamp_ns) => Some(log_time_ns.saturating_sub(stamp_ns)),
        };
        let mut sorted: Vec<i64> = times.into_iter().filter_map(late).collect();
        sorted.sort_unstable();
        let (min_ns, max_ns) = (*sorted.first()?, *sorted.last()?);
        let rank = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
        Some(Self { count: sorted.len() as u64, min_ns, median_ns: rank(50), p95_ns: rank(95), max_ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let of = |late: &[i64]| Latency::of(late.iter().map(|late| (1_000_000 + late, Some(1_000_000))));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7]), Some(Latency { count: 1, min_ns: 7, median_ns: 7, p95_ns: 7, max_ns: 7 }));
        let hundred: Vec<i64> = (1..=100).rev().collect();
        assert_eq!(of(&hundred), Some(Latency { count: 100, min_ns: 1, median_ns: 50, p95_ns: 95, max_ns: 100 }));
        assert_eq!(of(&[3, -2]), Some(Latency { count: 2, min_ns: -2, median_ns: -2, p95_ns: 3, max_ns: 3 }));
    }

    #[test]
    fn messages_without_a_stamp_do_not_count() {
        assert_eq!(Latency::of([(5, None), (6, Some(0))]), None);
        assert_eq!(Latency::of([(5, None), (9, Some(8))]).map(|latency| (latency.count, latency.max_ns)), Some((1, 1)));
        assert_eq!(Latency::of([(i64::MIN, Some(1))]).map(|latency| latency.min_ns), Some(i64::MIN));
    }
}
