//! The numbers that a publisher gives its samples, and what is missing among them.
//!
//! In come numbers in the order of arrival, out comes what did not arrive, and between which moments.
//!
//! **Invariant:** what came before the first number that arrived is not missing: the recorder was late.

/// How long what is missing is gathered before it is told.
const TOLD_AFTER_NS: i64 = 1_000_000_000;
/// The longest gap that is believed: of a longer one nobody knows how many samples it stands for.
const GAP_LIMIT: i64 = 1 << 32;

/// The numbers of one publisher.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    first: Option<i64>,
    last: Option<i64>,
    last_ns: i64,
    /// The last one that was sent before, and came later.
    remembered: Option<i64>,
    missing: Option<Missing>,
    /// Whether its publisher was gone for a while: the next number tells whether it went on counting.
    is_resumed: bool,
}

/// What did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    /// How many samples; `None` where the numbers do not tell.
    pub(super) messages: Option<u64>,
}

impl Sequence {
    /// Takes the number of a sample that arrived, and returns whether it is new. One that is lower than an earlier one came late.
    pub(super) fn arrived(&mut self, number: i64, now_ns: i64) -> bool {
        if std::mem::take(&mut self.is_resumed) && self.last.is_some_and(|last| number <= last) {
            // It counts from the start again.
            *self = Self { missing: self.missing, ..Self::default() };
        }
        if self.remembered.is_some_and(|remembered| number <= remembered) || self.last == Some(number) {
            return false;
        }
        self.first.get_or_insert(number);
        let gap = self.last.map_or(0, |last| number.saturating_sub(last).saturating_sub(1));
        if gap > 0 {
            let missing = self.missing.get_or_insert(Missing { start_ns: self.last_ns, end_ns: now_ns, messages: Some(0) });
            missing.end_ns = now_ns;
            missing.messages = missing.messages.filter(|_| gap <= GAP_LIMIT).map(|messages| messages.saturating_add(gap as u64));
        }
        self.last = Some(self.last.map_or(number, |last| last.max(number)));
        self.last_ns = now_ns;
        true
    }

    /// Goes on with the numbers of a publisher that was gone for a while.
    #[cfg(feature = "ros2-dds")]
    pub(super) fn resume(self) -> Self {
        Self { is_resumed: true, ..self }
    }

    /// Takes the number of a sample that its publisher kept, and returns whether it is new: it was sent before the others, or while
    /// nothing came.
    #[cfg(feature = "ros2-zenoh")]
    pub(super) fn remembered(&mut self, number: i64, now_ns: i64) -> bool {
        if self.last.is_some_and(|last| number > last) {
            let is_new = self.arrived(number, now_ns);
            // It may be on its way as well.
            self.remembered = self.remembered.max(Some(number));
            return is_new;
        }
        let is_new = self.first.is_none_or(|first| number < first) && self.remembered.is_none_or(|last| number > last);
        if is_new {
            self.remembered = Some(number);
        }
        is_new
    }

    /// Returns what is missing and was not told yet, if it is time.
    pub(super) fn due(&mut self, now_ns: i64) -> Option<Missing> {
        let missing = self.missing?;
        // A clock that went back must not keep it for ever.
        let waited = now_ns.saturating_sub(missing.end_ns);
        if (0..TOLD_AFTER_NS).contains(&waited) && now_ns.saturating_sub(missing.start_ns) < TOLD_AFTER_NS {
            return None;
        }
        self.missing.take()
    }

    /// Returns what is missing and was not told yet.
    pub(super) fn rest(&mut self) -> Option<Missing> {
        self.missing.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_between_numbers_is_told_once() {
        let mut sequence = Sequence::default();
        for (number, at) in [(7, 10), (8, 20), (11, 30), (10, 40), (12, 50), (20, 60)] {
            sequence.arrived(number, at);
        }
        assert!(!sequence.arrived(20, 60), "it came twice");
        assert_eq!(sequence.due(60), None, "it is gathered for a while");
        assert_eq!(sequence.due(60 + TOLD_AFTER_NS), Some(Missing { start_ns: 20, end_ns: 60, messages: Some(2 + 7) }));
        assert_eq!((sequence.due(i64::MAX), sequence.rest()), (None, None));
        sequence.arrived(i64::MAX, 70);
        sequence.arrived(i64::MIN, 80);
        sequence.arrived(0, 90);
        assert_eq!(sequence.rest(), Some(Missing { start_ns: 60, end_ns: 70, messages: None }), "nobody sent so many");
    }

    #[cfg(feature = "ros2-dds")]
    #[test]
    fn a_publisher_that_comes_back_goes_on_counting_or_begins_anew() {
        let mut sequence = Sequence::default();
        assert!(sequence.arrived(7, 10));
        let mut sequence = sequence.resume();
        assert!(sequence.arrived(10, 20));
        assert_eq!(sequence.rest(), Some(Missing { start_ns: 10, end_ns: 20, messages: Some(2) }));
        let mut anew = sequence.resume();
        assert!(anew.arrived(1, 30) && anew.arrived(2, 40));
        assert_eq!(anew.rest(), None);
    }

    #[cfg(feature = "ros2-zenoh")]
    #[test]
    fn what_was_sent_before_is_taken_once() {
        let mut sequence = Sequence::default();
        assert!(sequence.remembered(3, 5) && sequence.remembered(4, 5) && !sequence.remembered(4, 5));
        assert!(!sequence.arrived(4, 10) && sequence.arrived(5, 20) && !sequence.remembered(5, 20));
        let mut late = Sequence::default();
        assert!(late.arrived(7, 10));
        assert_eq!([5, 6, 7].map(|number| late.remembered(number, 20)), [true, true, false]);
        assert_eq!((sequence.rest(), late.rest()), (None, None));
        // What was sent while nothing came: 8 is not kept any more, and 10 comes in both ways.
        assert_eq!([9, 10, 9].map(|number| late.remembered(number, 30)), [true, true, false]);
        assert!(!late.arrived(9, 40) && !late.arrived(10, 40) && late.arrived(11, 40));
        assert_eq!(late.rest(), Some(Missing { start_ns: 10, end_ns: 30, messages: Some(1) }));
    }
}
