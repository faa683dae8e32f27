//! What the system's memory holds of the tape's files: only the newest, so that an endless loop does not push out what other
//! programs need, and is not slowed down by taking ever new memory.
//!
//! **Invariant:** only segments that are closed and in sync are let go.

use std::collections::VecDeque;
use std::sync::Arc;

use super::segment::SegmentMeta;

/// How many bytes of the newest closed segments stay, for a capture that hashes what it keeps.
const STAYING_BYTES: u64 = 256 << 20;
/// A smaller segment counts as this much, so that the list of them stays short.
const LEAST_BYTES: u64 = 64 << 10;

/// The segments that the system may hold in memory, oldest first.
#[derive(Debug, Default)]
pub(crate) struct PageCache {
    staying: VecDeque<(Arc<str>, u64)>,
    bytes: u64,
}

impl PageCache {
    /// Adds a segment that is closed and in sync, and returns the keys of those that may go for it.
    pub(crate) fn add(&mut self, meta: &SegmentMeta) -> Vec<Arc<str>> {
        let size = meta.size_bytes.max(LEAST_BYTES);
        self.staying.push_back((meta.key.clone(), size));
        self.bytes += size;
        let mut going = Vec::new();
        while self.bytes > STAYING_BYTES {
            let Some((key, size)) = self.staying.pop_front() else { break };
            self.bytes -= size;
            going.push(key);
        }
        going
    }
}
