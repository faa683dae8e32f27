//! Memory for large payloads, used again and again.
//!
//! In comes a payload that a program lends, out goes a copy that the tape shares. A frame is larger than what an allocator keeps:
//! its memory would come from the system page by page and go back each time, which takes longer than the copy itself.
//!
//! **Invariant:** what waits to be used again never exceeds [`WAITING_LIMIT`], and no payload takes more than a 64th too much.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// How many bytes may wait to be used again.
const WAITING_LIMIT: usize = 16 << 20;

/// Memory of payloads that are gone.
#[derive(Debug, Default)]
pub(crate) struct PayloadMemory {
    waiting: Mutex<Waiting>,
}

/// What waits, oldest first.
#[derive(Debug, Default)]
struct Waiting {
    memory: VecDeque<Vec<u8>>,
    bytes: usize,
}

/// A payload whose memory comes back.
struct Lent {
    memory: Vec<u8>,
    home: Arc<PayloadMemory>,
}

impl PayloadMemory {
    /// Returns a shared copy of a payload.
    pub(crate) fn copy(self: &Arc<Self>, payload: &[u8]) -> Bytes {
        let known = self.waiting.lock().take(payload.len());
        let mut memory = known.unwrap_or_else(|| Vec::with_capacity(payload.len()));
        memory.extend_from_slice(payload);
        Bytes::from_owner(Lent { memory, home: self.clone() })
    }
}

impl Waiting {
    /// Takes the memory that fits `length` bytes best.
    fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        let fits = |memory: &&Vec<u8>| (length..=length + length / 64).contains(&memory.capacity());
        let best = self.memory.iter().filter(fits).map(Vec::capacity).min()?;
        let at = self.memory.iter().rposition(|memory| memory.capacity() == best)?;
        self.bytes -= best;
        self.memory.remove(at)
    }

    /// Puts memory back; what has waited longest goes for it.
    fn put(&mut self, mut memory: Vec<u8>) {
        memory.clear();
        self.bytes += memory.capacity();
        self.memory.push_back(memory);
        while self.bytes > WAITING_LIMIT {
            let Some(oldest) = self.memory.pop_front() else { return };
            self.bytes -= oldest.capacity();
        }
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.waiting.lock().put(std::mem::take(&mut self.memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_for_what_fits_it() {
        let memory = Arc::new(PayloadMemory::default());
        let frame = vec![7; 1 << 20];
        let first = memory.copy(&frame);
        let place = first.as_ptr();
        assert_eq!(first, frame);
        drop(first.clone());
        assert_eq!(memory.waiting.lock().bytes, 0, "it is still shared");
        drop(first);
        assert_ne!(memory.copy(&frame[..frame.len() / 2]).as_ptr(), place);
        let second = memory.copy(&frame[..frame.len() - 1000]);
        assert_eq!((second.as_ptr(), second.len()), (place, frame.len() - 1000));
    }

    #[test]
    fn what_waits_is_limited() {
        let memory = Arc::new(PayloadMemory::default());
        let copies: Vec<Bytes> = (0..20).map(|_| memory.copy(&vec![1; 1 << 20])).collect();
        drop(copies);
        assert_eq!(memory.waiting.lock().bytes, WAITING_LIMIT);
        drop(memory.copy(&vec![1; WAITING_LIMIT + 1]));
        assert_eq!(memory.waiting.lock().bytes, 0, "one that is too large pushes all others out and goes too");
    }
}
