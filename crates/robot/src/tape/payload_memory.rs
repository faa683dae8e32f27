//! Memory for large payloads, used again and again.
//!
//! In comes a payload that a program lends, out goes a copy that the tape shares. Its memory is pages of its own: an allocator
//! would keep holes beside them, which made a RAM buffer of 1 GB take 110 MB more. Taking pages from the system for every frame
//! takes longer than the copy itself, so that those of a payload that is gone serve the next one.
//!
//! **Invariant:** what waits to be used again never exceeds [`WAITING_LIMIT`], and no payload takes more than a 64th too much.

use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// From this size on a payload has pages of its own; an allocator is good enough at smaller ones.
const OWN_PAGES: usize = 256 << 10;
/// How many bytes may wait to be used again: a segment that is evicted, and a little more.
const WAITING_LIMIT: usize = 24 << 20;
/// How many payloads may have pages of their own: the system counts mappings, and has 65,530 for a process.
const MAPPINGS_LIMIT: usize = 16 << 10;
const PAGE: usize = 4096;

/// Memory of payloads that are gone.
#[derive(Debug, Default)]
pub(crate) struct PayloadMemory {
    waiting: Mutex<Waiting>,
    mappings: AtomicUsize,
}

/// What waits, oldest first.
#[derive(Debug, Default)]
struct Waiting {
    pages: VecDeque<Pages>,
    bytes: usize,
}

/// A payload whose memory comes back.
struct Lent {
    /// Only gone once it is dropped.
    pages: Option<Pages>,
    length: usize,
    home: Arc<PayloadMemory>,
}

/// Pages from the system, which go back there.
#[derive(Debug)]
struct Pages {
    start: NonNull<u8>,
    size: usize,
}

impl PayloadMemory {
    /// Returns a shared copy of a payload.
    pub(crate) fn copy(self: &Arc<Self>, payload: &[u8]) -> Bytes {
        let known = self.waiting.lock().take(payload.len());
        let Some(mut pages) = known.or_else(|| self.new_pages(payload.len())) else { return Bytes::copy_from_slice(payload) };
        pages.bytes_mut()[..payload.len()].copy_from_slice(payload);
        Bytes::from_owner(Lent { pages: Some(pages), length: payload.len(), home: self.clone() })
    }

    fn new_pages(&self, length: usize) -> Option<Pages> {
        if length < OWN_PAGES || self.mappings.load(Ordering::Relaxed) >= MAPPINGS_LIMIT {
            return None;
        }
        let pages = Pages::new(length.next_multiple_of(PAGE))?;
        self.mappings.fetch_add(1, Ordering::Relaxed);
        Some(pages)
    }

    fn take_back(&self, pages: Pages) {
        let gone = self.waiting.lock().put(pages);
        self.mappings.fetch_sub(gone.len(), Ordering::Relaxed);
    }
}

impl Waiting {
    /// Takes the pages that fit `length` bytes best.
    fn take(&mut self, length: usize) -> Option<Pages> {
        let most = (length + length / 64).next_multiple_of(PAGE);
        let best = self.pages.iter().map(|pages| pages.size).filter(|size| (length..=most).contains(size)).min()?;
        let at = self.pages.iter().rposition(|pages| pages.size == best)?;
        self.bytes -= best;
        self.pages.remove(at)
    }

    /// Puts pages back, and returns those that have waited longest and have to go for them.
    fn put(&mut self, pages: Pages) -> Vec<Pages> {
        self.bytes += pages.size;
        self.pages.push_back(pages);
        let mut gone = Vec::new();
        while self.bytes > WAITING_LIMIT {
            let Some(oldest) = self.pages.pop_front() else { break };
            self.bytes -= oldest.size;
            gone.push(oldest);
        }
        gone
    }
}

impl Pages {
    fn new(size: usize) -> Option<Self> {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::POPULATE);
        // SAFETY: a new mapping, at an address that the system chooses, changes no memory that anybody has.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), size, protection, flags) }.ok()?;
        Some(Self { start: NonNull::new(start.cast())?, size })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: `size` bytes from `start` on are mapped and initialised (to zero) until `self` is dropped, and are its alone.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.size) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `self` is borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.size) }
    }
}

// SAFETY: the pages belong to this value alone, from whichever thread it is used.
unsafe impl Send for Pages {}
// SAFETY: sharing it gives nothing but shared reads.
unsafe impl Sync for Pages {}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: this very mapping was made by `new`, and nobody can hold a reference into it any more.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.size) };
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.pages.as_ref().map_or(&[], |pages| &pages.bytes()[..self.length])
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(pages) = self.pages.take() {
            self.home.take_back(pages);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn memory_is_used_again_for_what_fits_it() {
        let memory = Arc::new(PayloadMemory::default());
        let frame: Vec<u8> = (0..MIB).map(|i| i as u8).collect();
        let first = memory.copy(&frame);
        let place = first.as_ptr();
        assert_eq!(first, frame);
        drop(first.clone());
        assert_eq!(memory.waiting.lock().bytes, 0, "it is still shared");
        drop(first);
        assert_ne!(memory.copy(&frame[..MIB / 2]).as_ptr(), place);
        let second = memory.copy(&frame[1000..]);
        assert_eq!((second.as_ptr(), &second[..]), (place, &frame[1000..]));
    }

    #[test]
    fn what_waits_and_what_is_mapped_is_limited() {
        let memory = Arc::new(PayloadMemory::default());
        let copies: Vec<Bytes> = (0..40).map(|_| memory.copy(&vec![1; MIB])).collect();
        assert_eq!(memory.mappings.load(Ordering::Relaxed), 40);
        drop(copies);
        assert_eq!((memory.waiting.lock().bytes, memory.mappings.load(Ordering::Relaxed)), (WAITING_LIMIT, WAITING_LIMIT / MIB));
        drop(memory.copy(&vec![1; WAITING_LIMIT + 1]));
        assert_eq!((memory.waiting.lock().bytes, memory.mappings.load(Ordering::Relaxed)), (0, 0), "all others go for it, and it goes too");
        memory.mappings.store(MAPPINGS_LIMIT, Ordering::Relaxed);
        assert_eq!(memory.copy(&vec![7; MIB]), vec![7; MIB]);
        assert_eq!(memory.mappings.load(Ordering::Relaxed), MAPPINGS_LIMIT);
    }
}
