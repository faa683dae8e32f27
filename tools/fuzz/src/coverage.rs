//! Which code an input reached, in a build whose compiler was asked to count it; see `instrument`.
//!
//! **Invariant:** without such a build there are no counters, and nothing is new.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How many parts of the program can have counters of their own.
const PART_LIMIT: usize = 4096;

/// Where counters begin and end, two numbers for each part.
static PARTS: [[AtomicUsize; 2]; PART_LIMIT] = [const { [AtomicUsize::new(0), AtomicUsize::new(0)] }; PART_LIMIT];
static PART_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Notes the counters of a part of the program: its start-up code calls this before `main`.
// SAFETY: nothing else has this name; it is LLVM's for this very purpose.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, end: *mut u8) {
    let (start, end) = (start as usize, end as usize);
    let is_known = PARTS.iter().take(PART_COUNT.load(Relaxed)).any(|part| part[0].load(Relaxed) == start);
    if start >= end || is_known {
        return;
    }
    if let Some([first, last]) = PARTS.get(PART_COUNT.load(Relaxed)) {
        first.store(start, Relaxed);
        last.store(end, Relaxed);
        PART_COUNT.fetch_add(1, Relaxed);
    }
}

/// What was reached so far.
pub(crate) struct Coverage {
    counters: Vec<&'static [Counter]>,
    seen: Vec<Vec<u8>>,
}

/// A counter: the code that is counted adds to it without further ado, on the one thread that there is.
type Counter = std::sync::atomic::AtomicU8;

impl Coverage {
    pub(crate) fn new() -> Self {
        let parts = PARTS.iter().take(PART_COUNT.load(Relaxed)).map(|[first, last]| (first.load(Relaxed), last.load(Relaxed)));
        let counters: Vec<&'static [Counter]> = parts
            .map(|(first, last)| {
                // SAFETY: LLVM says that these bytes are its counters, from `first` to before `last`; they live as long as the program, and
                // a byte may be looked at as an atomic one.
                unsafe { std::slice::from_raw_parts(first as *const Counter, last - first) }
            })
            .collect();
        let seen = counters.iter().map(|part| vec![0; part.len()]).collect();
        Self { counters, seen }
    }

    /// Returns whether this build counts.
    pub(crate) fn counts(&self) -> bool {
        !self.counters.is_empty()
    }

    /// Returns whether something was reached, or reached more often, that never was since the beginning; and counts from 0 again.
    pub(crate) fn is_new(&mut self) -> bool {
        let mut is_new = false;
        for (counters, seen) in self.counters.iter().zip(&mut self.seen) {
            for (counter, seen) in counters.iter().zip(seen) {
                let count = counter.load(Relaxed);
                if count == 0 {
                    continue;
                }
                counter.store(0, Relaxed);
                // Once, twice, four times, …: each is a bit.
                let bit = 1 << count.ilog2();
                is_new |= *seen & bit == 0;
                *seen |= bit;
            }
        }
        is_new
    }
}
