//! Which segments have to go: a decision, without doing it.
//!
//! **Invariant:** a named segment is never chosen; among the others the lowest number goes first, except that busy topics
//! cannot push out the light ones.

use std::sync::Arc;

use super::segment::SegmentMeta;

/// The share of a buffer's bytes that light topics keep, however busy others are.
const LIGHT_RESERVE: u64 = 8;

/// What a buffer may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Segments that age since before this go; ns UTC.
    pub(crate) oldest_ns: Option<i64>,
    /// So many bytes of unnamed segments may stay.
    pub(crate) bytes: u64,
}

/// A segment, as the decision sees it.
pub(crate) struct Candidate<'a> {
    pub(crate) meta: &'a Arc<SegmentMeta>,
    /// When it began to age; ns UTC.
    pub(crate) ages_from_ns: i64,
}

/// Returns the unnamed segments that have to go, given those there are in order of number.
pub(crate) fn choose(unnamed: &[Candidate<'_>], budget: Budget) -> Vec<Arc<SegmentMeta>> {
    let mut gone = vec![false; unnamed.len()];
    let size = |i: &usize| unnamed[*i].meta.size_bytes;
    if let Some(oldest_ns) = budget.oldest_ns {
        for (gone, candidate) in gone.iter_mut().zip(unnamed) {
            *gone = candidate.ages_from_ns < oldest_ns;
        }
    }
    let stays: Vec<usize> = (0..unnamed.len()).filter(|i| !gone[*i]).collect();
    let mut bytes: u64 = stays.iter().map(size).sum();
    let mut light_bytes: u64 = stays.iter().filter(|i| !unnamed[**i].meta.heavy).map(size).sum();
    let reserve = budget.bytes / LIGHT_RESERVE;
    for light_too in [false, true] {
        for &i in &stays {
            if bytes <= budget.bytes {
                break;
            }
            let light = !unnamed[i].meta.heavy;
            if gone[i] || (light && !light_too && light_bytes <= reserve) {
                continue;
            }
            gone[i] = true;
            bytes -= size(&i);
            light_bytes -= if light { size(&i) } else { 0 };
        }
    }
    unnamed.iter().zip(gone).filter(|(_, gone)| *gone).map(|(candidate, _)| candidate.meta.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use recording::key::SegmentName;

    fn segment(number: u64, size_bytes: u64, heavy: bool) -> Arc<SegmentMeta> {
        Arc::new(SegmentMeta {
            key: format!("k/{number}").into(),
            name: Arc::new(SegmentName { host: "h".into(), boot: 1, buffer: "b".into(), number }),
            topics: Arc::new([]),
            start_ns: number as i64 * 10,
            end_ns: number as i64 * 10 + 9,
            size_bytes,
            clock_offset_ns: 0,
            born_monotonic_ns: Some(0),
            file_clock: false,
            heavy,
            in_memory: false,
            ram: None,
            latched_since_ns: None,
            latched_late_ns: None,
            latched_channel: None,
            closed: true,
        })
    }

    fn chosen(segments: &[Arc<SegmentMeta>], budget: Budget) -> Vec<u64> {
        let candidates: Vec<_> = segments.iter().map(|meta| Candidate { meta, ages_from_ns: meta.ages_from_ns(0) }).collect();
        choose(&candidates, budget).iter().map(|meta| meta.name.number).collect()
    }

    #[test]
    fn the_oldest_go_first() {
        let segments: Vec<_> = (0..6).map(|n| segment(n, 10, false)).collect();
        assert_eq!(chosen(&segments, Budget { oldest_ns: None, bytes: 35 }), [0, 1, 2]);
        assert_eq!(chosen(&segments, Budget { oldest_ns: Some(20), bytes: 1000 }), [0, 1]);
    }

    #[test]
    fn what_is_taken_in_from_a_file_ages_from_then_on() {
        let played = |born_ns: i64, file_clock| {
            let segment = SegmentMeta {
                born_monotonic_ns: Some(born_ns - 1000),
                clock_offset_ns: 990,
                file_clock,
                ..(*segment(0, 1, false)).clone()
            };
            segment.ages_from_ns(10)
        };
        assert_eq!((played(500, false), played(5, false)), (500, 19));
        assert_eq!(played(500, true), 19, "a file's clock says nothing of when it was written");
    }

    #[test]
    fn a_busy_topic_does_not_push_out_a_rare_one() {
        let mut segments = vec![segment(0, 1, false)];
        segments.extend((1..20).map(|n| segment(n, 10, true)));
        let gone = chosen(&segments, Budget { oldest_ns: None, bytes: 80 });
        assert!(!gone.contains(&0) && gone.contains(&1));
    }

    proptest! {
        #[test]
        fn what_stays_is_within_the_budget(sizes in prop::collection::vec((1u64..50, any::<bool>()), 0..60), bytes in 0u64..500) {
            let segments: Vec<_> = sizes.iter().enumerate().map(|(n, (size, heavy))| segment(n as u64, *size, *heavy)).collect();
            let gone = chosen(&segments, Budget { oldest_ns: None, bytes });
            let stays: u64 = segments.iter().filter(|s| !gone.contains(&s.name.number)).map(|s| s.size_bytes).sum();
            prop_assert!(stays <= bytes);
            prop_assert!(gone.is_empty() || segments.iter().map(|s| s.size_bytes).sum::<u64>() > bytes);
        }
    }
}
