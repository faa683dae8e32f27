//! Memory for large payloads, and how the process takes memory from the system.
//!
//! A payload is read into memory of its own, stays there until every buffer has let go of it, and then serves the next one of
//! about its size: no page is faulted in twice, and a RAM buffer of 1 GB costs little more than 1 GB. Left to the allocator,
//! blocks of such sizes, taken by one thread and freed by another, grew the process by half.
//!
//! **Invariant:** memory that lies idle here never exceeds the pool's limit.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

/// How many sizes there are between a power of two and the next: a payload wastes at most this part of itself.
const STEPS: usize = 32;
/// The smallest block; what the allocator itself adds fits in behind it.
const PAGE: usize = 4096;
const ALLOCATOR_BYTES: usize = 64;

/// Memory of payloads that are gone.
#[derive(Debug)]
pub(crate) struct PayloadPool {
    limit: usize,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    blocks: BTreeMap<usize, Vec<Vec<u8>>>,
    bytes: usize,
}

/// Memory for one payload, which goes back to its pool when it is dropped.
#[derive(Debug)]
pub(crate) struct Block {
    memory: Vec<u8>,
    length: usize,
    pool: Weak<PayloadPool>,
}

impl PayloadPool {
    /// Returns a pool that keeps up to `limit` idle bytes.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, idle: Mutex::default() })
    }

    /// Returns memory for `length` bytes: idle memory, or else at most `first_room` bytes of new memory, for the caller to grow.
    pub(crate) fn take(self: &Arc<Self>, length: usize, first_room: usize) -> Block {
        let size = block_size(length);
        let idle = {
            let mut idle = self.idle.lock();
            let memory = idle.blocks.get_mut(&size).and_then(Vec::pop);
            idle.bytes -= memory.as_ref().map_or(0, Vec::len);
            memory
        };
        // New memory that is all zero costs nothing before it is written to.
        let memory = idle.unwrap_or_else(|| vec![0; if length <= first_room { size } else { first_room }]);
        Block { memory, length, pool: Arc::downgrade(self) }
    }

    fn give_back(&self, memory: Vec<u8>) {
        if memory.len() > self.limit {
            return;
        }
        let mut idle = self.idle.lock();
        while idle.bytes + memory.len() > self.limit {
            // What is the largest is the least likely to be wanted soon, and the most to be had.
            let Some(mut largest) = idle.blocks.last_entry() else { return };
            let gone = largest.get_mut().pop().map_or(0, |memory| memory.len());
            if largest.get().is_empty() {
                largest.remove();
            }
            idle.bytes -= gone;
        }
        idle.bytes += memory.len();
        idle.blocks.entry(memory.len()).or_default().push(memory);
    }
}

impl Block {
    /// Returns how many bytes there is room for so far.
    pub(crate) fn room(&self) -> usize {
        self.memory.len().min(self.length)
    }

    /// Returns the memory there is so far.
    pub(crate) fn memory(&mut self) -> &mut [u8] {
        let room = self.room();
        &mut self.memory[..room]
    }

    /// Makes room for `bytes`, or for the whole payload; returns whether there is memory for that.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let size = if bytes >= self.length { block_size(self.length) } else { bytes };
        let more = size.saturating_sub(self.memory.len());
        if self.memory.try_reserve_exact(more).is_err() {
            return false;
        }
        self.memory.resize(self.memory.len() + more, 0);
        true
    }

    /// Returns the payload.
    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.room()]
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // What did not grow to its full size has none that anybody looks for.
        let memory = std::mem::take(&mut self.memory);
        if memory.len() == block_size(self.length)
            && let Some(pool) = self.pool.upgrade()
        {
            pool.give_back(memory);
        }
    }
}

/// Returns how large the block for a payload is.
fn block_size(length: usize) -> usize {
    let length = length.max(PAGE) + ALLOCATOR_BYTES;
    let step = ((1 << length.ilog2()) / STEPS).max(PAGE);
    length.next_multiple_of(step) - ALLOCATOR_BYTES
}

/// Has the allocator take large blocks from the system, one by one, and give them back.
pub(super) fn keep_large_blocks_apart() {
    #[cfg(target_env = "gnu")]
    {
        const SETTINGS: [(i32, i32); 3] = [
            (-3, super::protocol::SMALL_PAYLOAD as i32), // M_MMAP_THRESHOLD
            (-4, 1 << 14),                               // M_MMAP_MAX: the system counts mappings; threads need some, too
            (-1, 8 << 20),                               // M_TRIM_THRESHOLD
        ];
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        for (parameter, value) in SETTINGS {
            // SAFETY: `mallopt` takes two plain integers and may be called at any time; a value it does not like changes nothing.
            let _ = unsafe { mallopt(parameter, value) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_wastes_little_and_is_found_again() {
        for length in [1, 4096, 65_536, 100_000, 1_000_000, 3_750_000, 5_000_000, 200 << 20] {
            let size = block_size(length);
            assert!(size >= length && size <= length.max(PAGE) + (length / STEPS).max(PAGE), "{length} in {size}");
            assert_eq!(block_size(size), size);
        }
    }

    #[test]
    fn memory_serves_again_up_to_the_limit() {
        let pool = PayloadPool::new(2_000_000);
        let mut block = pool.take(1_000_000, usize::MAX);
        block.memory()[7] = 42;
        let bytes = block.into_bytes();
        assert_eq!((bytes.len(), bytes[7]), (1_000_000, 42));
        let clone = bytes.clone();
        drop(bytes);
        assert_eq!(pool.idle.lock().bytes, 0, "somebody still has it");
        let address = clone.as_ptr();
        drop(clone);
        let again = pool.take(999_999, usize::MAX);
        assert_eq!(again.as_ref().as_ptr(), address);
        drop((again, pool.take(3_000_000, usize::MAX), pool.take(1_500_000, usize::MAX)));
        assert!(pool.idle.lock().bytes <= 2_000_000);
    }

    #[test]
    fn a_block_grows_with_what_arrives() {
        let pool = PayloadPool::new(100 << 20);
        let mut block = pool.take(10_000_000, 4_000_000);
        assert_eq!(block.room(), 4_000_000);
        assert!(block.grow(8_000_000));
        assert_eq!(block.room(), 8_000_000);
        assert!(block.grow(16_000_000));
        assert_eq!(block.into_bytes().len(), 10_000_000);
        // Next time it is there as a whole.
        assert_eq!(pool.take(10_000_000, 4_000_000).room(), 10_000_000);
    }
}
