//! How much memory an input costs.
//!
//! **Invariant:** every byte that is allocated is counted once, and given back once.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// What counts, and lets the system do the work.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Returns how many bytes are allocated.
pub(crate) fn now() -> usize {
    NOW.load(Relaxed)
}

/// Returns the most bytes that were allocated at once since [`forget_peak`].
pub(crate) fn peak() -> usize {
    PEAK.load(Relaxed)
}

/// Begins anew to look for the most.
pub(crate) fn forget_peak() {
    PEAK.store(now(), Relaxed);
}

fn take(bytes: usize) {
    PEAK.fetch_max(NOW.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: every call is handed to the system's allocator as it came, and what that answers is handed back.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller keeps the promises of `GlobalAlloc::alloc`, which are those of the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the promises of `GlobalAlloc::dealloc`, and every pointer is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: as for `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(size);
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the promises of `GlobalAlloc::realloc`, and every pointer is the system's.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
