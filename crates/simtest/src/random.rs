//! Random numbers that follow from a seed (SplitMix64).
//!
//! **Invariant:** equal seeds give equal numbers, on every machine and in every version.

use std::ops::Range;

/// A source of random numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Returns the source of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }

    /// Returns any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number in `range`; its start if that is empty.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.number() % (range.end.saturating_sub(range.start)).max(1)
    }

    /// Returns an index below `length`.
    pub fn index(&mut self, length: usize) -> usize {
        self.within(0..length as u64) as usize
    }

    /// Returns a duration or a time in `range`, in ns.
    pub fn time_ns(&mut self, range: Range<i64>) -> i64 {
        range.start + (self.number() % (range.end.saturating_sub(range.start)).max(1) as u64) as i64
    }

    /// Returns true in `percent` of the cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.within(0..100) < percent
    }

    /// Returns one of several.
    pub fn pick<'a, T>(&mut self, several: &'a [T]) -> &'a T {
        &several[self.index(several.len())]
    }

    /// Returns a source of its own.
    pub fn fork(&mut self) -> Self {
        Self(self.number())
    }

    /// Returns `length` bytes: noise, or text that compresses well.
    pub fn bytes(&mut self, length: usize, noise: bool) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            let number = self.number();
            if noise {
                bytes.extend_from_slice(&number.to_le_bytes());
            } else {
                bytes.extend_from_slice(format!("{{\"x\": {}, \"y\": 0.000}} ", number % 100).as_bytes());
            }
        }
        bytes.truncate(length);
        bytes
    }
}
