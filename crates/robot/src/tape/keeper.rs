//! What a tape asks of whoever keeps recordings: which segments must stay, and whether everything is taken care of.
//!
//! **Invariant:** the tape never decides what to keep.

use std::sync::Arc;

use super::Tape;
use super::segment::SegmentMeta;

/// Names segments so that they are not evicted.
pub trait Keeper: std::any::Any + Send + Sync {
    /// Returns whether a recording names the segment, whose times are off by `correction_ns`.
    fn names(&self, segment: &SegmentMeta, correction_ns: i64) -> bool;

    /// Takes note that a segment is closed and, if it is on disk, durable.
    fn closed(&self, segment: &Arc<SegmentMeta>);

    /// Does what is due: completes recordings whose end has come.
    fn turn(&self, tape: &Tape);

    /// Gives up the recording that matters least, because the disk is full; returns what it was.
    fn give_up_one(&self) -> Option<String>;

    /// Returns how many bytes its segments take, as far as the tape knows them.
    fn kept_bytes(&self) -> u64;
}
