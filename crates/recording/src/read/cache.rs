//! Unpacked blocks that stay in memory, for whoever reads a recording topic by topic.
//!
//! In come blocks as one pass read them, out they go to the next pass, which wants other topics of the same blocks.
//!
//! **Invariant:** it holds a bounded number of bytes; a pass gives way to none of the blocks that it used itself, so that a file which
//! is larger than that is not read through the cache in vain.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::container::{Loaded, Place};

/// About how much memory a block takes beside its messages, and each channel that it has: many blocks are tiny.
const BLOCK_BYTES: usize = 512;
const CHANNEL_BYTES: usize = 64;

/// The blocks of a recording that are kept, by the number of the file and that of the block in it.
#[derive(Default)]
pub(super) struct Cache {
    limit_bytes: usize,
    passes: AtomicU64,
    held: Mutex<Held>,
}

/// One pass over the recording.
pub(super) struct Pass {
    cache: Arc<Cache>,
    number: u64,
    /// Whether it had to unpack a block.
    pub(super) unpacked: bool,
}

#[derive(Default)]
struct Held {
    blocks: HashMap<(usize, usize), Entry>,
    /// The blocks by the last pass that used them, with their file and number.
    by_pass: BTreeSet<(u64, usize, usize)>,
    bytes: usize,
    /// The last pass that found no room for a block.
    full_for: u64,
}

struct Entry {
    block: Arc<Whole>,
    bytes: usize,
    /// The last pass that used it.
    pass: u64,
}

/// All messages of a block.
pub(super) struct Whole {
    /// As they were loaded, in the order of the file.
    loaded: Loaded,
    /// Which of them are of a channel.
    channels: HashMap<u16, Vec<u32>>,
}

impl Cache {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, ..Self::default() }
    }

    /// Begins another pass.
    pub(super) fn begin(self: &Arc<Self>) -> Pass {
        Pass { cache: self.clone(), number: self.passes.fetch_add(1, Ordering::Relaxed) + 1, unpacked: false }
    }

    /// Joins the pass that began last.
    pub(super) fn join(self: &Arc<Self>) -> Pass {
        Pass { cache: self.clone(), number: self.passes.load(Ordering::Relaxed), unpacked: false }
    }
}

impl Pass {
    /// Returns a block that is kept.
    pub(super) fn get(&self, unit: usize, block: usize) -> Option<Arc<Whole>> {
        let Held { blocks, by_pass, .. } = &mut *self.cache.held.lock();
        let entry = blocks.get_mut(&(unit, block))?;
        if entry.pass < self.number {
            by_pass.remove(&(entry.pass, unit, block));
            by_pass.insert((self.number, unit, block));
            entry.pass = self.number;
        }
        Some(entry.block.clone())
    }

    /// Returns whether it may add a block; where one found no room before, it need not unpack more than it wants.
    pub(super) fn has_room(&self) -> bool {
        self.cache.held.lock().full_for < self.number
    }

    /// Adds a block, and lets go of those that no pass has used for longest.
    pub(super) fn add(&mut self, unit: usize, block: usize, whole: &Arc<Whole>) {
        self.unpacked |= whole.is_packed();
        let (bytes, pass) = (whole.size(), self.number);
        let mut held = self.cache.held.lock();
        if held.blocks.contains_key(&(unit, block)) {
            return;
        }
        if !held.make_room(bytes, self.cache.limit_bytes, pass) {
            held.full_for = held.full_for.max(pass);
            return;
        }
        held.blocks.insert((unit, block), Entry { block: whole.clone(), bytes, pass });
        held.by_pass.insert((pass, unit, block));
        held.bytes += bytes;
    }
}

impl Held {
    /// Lets go of blocks that only passes before `pass` used, until there is room for as many bytes; returns whether there is.
    fn make_room(&mut self, bytes: usize, limit: usize, pass: u64) -> bool {
        if bytes > limit {
            return false;
        }
        while self.bytes + bytes > limit {
            match self.by_pass.first().copied() {
                Some(oldest @ (last, unit, block)) if last < pass => {
                    self.by_pass.remove(&oldest);
                    self.bytes -= self.blocks.remove(&(unit, block)).map_or(0, |entry| entry.bytes);
                }
                _ => return false,
            }
        }
        true
    }
}

impl Whole {
    pub(super) fn new(loaded: Loaded) -> Self {
        let mut channels: HashMap<u16, Vec<u32>> = HashMap::new();
        for (number, place) in loaded.places.iter().enumerate() {
            channels.entry(place.channel).or_default().push(number as u32);
        }
        Self { loaded, channels }
    }

    /// Returns what of the block is wanted, by channel and by log time, as loading would give it.
    pub(super) fn part(&self, is_wanted: impl Fn(u16) -> bool, wanted: impl Fn(&Place) -> bool) -> Loaded {
        let chosen: Vec<&Vec<u32>> = self.channels.iter().filter(|(channel, _)| is_wanted(**channel)).map(|(_, numbers)| numbers).collect();
        let place = |number: &u32| self.loaded.places[*number as usize];
        let places: Vec<Place> = match chosen[..] {
            [only] => only.iter().map(place).filter(wanted).collect(),
            _ => {
                let mut numbers: Vec<u32> = chosen.into_iter().flatten().copied().collect();
                numbers.sort_unstable();
                numbers.iter().map(place).filter(wanted).collect()
            }
        };
        let Loaded { bytes, losses, chunk, .. } = &self.loaded;
        Loaded { bytes: bytes.clone(), places, losses: losses.clone(), chunk: chunk.clone() }
    }

    /// Returns whether it is compressed in the file.
    pub(super) fn is_packed(&self) -> bool {
        self.loaded.chunk.as_ref().is_some_and(|chunk| !chunk.compression.is_empty())
    }

    fn size(&self) -> usize {
        let Loaded { bytes, places, .. } = &self.loaded;
        let overhead = BLOCK_BYTES + self.channels.len() * CHANNEL_BYTES;
        overhead + bytes.len() + places.len() * (size_of::<Place>() + size_of::<u32>())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// Returns a block that takes as much memory.
    fn whole(bytes: usize) -> Arc<Whole> {
        let whole = Whole::new(Loaded { bytes: Bytes::from(vec![0; bytes - BLOCK_BYTES]), ..Loaded::default() });
        assert_eq!(whole.size(), bytes);
        Arc::new(whole)
    }

    fn held(cache: &Cache) -> Vec<usize> {
        let mut numbers: Vec<usize> = cache.held.lock().blocks.keys().map(|(_, block)| *block).collect();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn a_pass_over_a_large_file_keeps_what_it_began_with() {
        // A cache that is full has a rest, in which no block finds room.
        let cache = Arc::new(Cache::new(3500));
        let mut first = cache.begin();
        (0..3).for_each(|block| first.add(0, block, &whole(1000)));
        assert!(first.has_room());
        (3..10).for_each(|block| first.add(0, block, &whole(1000)));
        assert_eq!((held(&cache), first.has_room()), (vec![0, 1, 2], false));
        let mut second = cache.begin();
        assert!(second.get(0, 0).is_some() && second.has_room());
        (7..10).for_each(|block| second.add(0, block, &whole(1000)));
        assert_eq!((held(&cache), cache.held.lock().bytes), (vec![0, 7, 8], 3000));
        // Whoever helps a pass does not take what it has.
        assert!(!cache.join().has_room());
        second.add(0, 7, &whole(1000));
        assert_eq!((held(&cache), cache.held.lock().bytes), (vec![0, 7, 8], 3000));
    }

    #[test]
    fn a_block_that_is_larger_than_the_limit_drives_nothing_out() {
        let cache = Arc::new(Cache::new(2000));
        cache.begin().add(0, 0, &whole(1000));
        let mut second = cache.begin();
        second.add(0, 1, &whole(2001));
        assert_eq!((held(&cache), second.has_room()), (vec![0], false));
        assert!(cache.begin().has_room());
    }

    #[test]
    fn tiny_blocks_count_with_what_stands_around_them() {
        let cache = Arc::new(Cache::new(10 * BLOCK_BYTES));
        let mut pass = cache.begin();
        (0..1000).for_each(|block| pass.add(0, block, &whole(BLOCK_BYTES)));
        assert_eq!(held(&cache).len(), 10);
    }

    #[test]
    fn a_part_has_the_order_of_the_file() {
        let place = |channel, log_time_ns| Place { log_time_ns, publish_time_ns: 0, start: 0, length: 0, sequence: 0, channel };
        let places = vec![place(1, 5), place(2, 4), place(3, 3), place(1, 2), place(2, 9)];
        let whole = Whole::new(Loaded { places: places.clone(), ..Loaded::default() });
        let times = |channels: &[u16]| -> Vec<i64> {
            let part = whole.part(|channel| channels.contains(&channel), |place| place.log_time_ns < 9);
            part.places.iter().map(|place| place.log_time_ns).collect()
        };
        assert_eq!((times(&[1]), times(&[1, 2]), times(&[4])), (vec![5, 2], vec![5, 4, 2], vec![]));
    }
}
