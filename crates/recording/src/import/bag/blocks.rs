//! What a damaged bz2 stream still gives: its blocks stand for themselves, each with a checksum.
//!
//! **Invariant:** only blocks whose checksum fits come out, and no block behind the first one that is missing: where its records
//! would continue is unknown.

use bzip2::{Decompress, Status};

/// What a stream begins with, in front of the digit of its block size.
const STREAM: &[u8] = b"BZh";

/// What a block begins with, and what a stream ends with, at any bit.
const BLOCK: u64 = 0x3141_5926_5359;
const END: u64 = 0x1772_4538_5090;
const MARK_BITS: usize = 48;
const MARK: u64 = (1 << MARK_BITS) - 1;

/// How many bits of a checksum.
const CHECKSUM_BITS: usize = 32;

/// How much a block can have before its run lengths are undone, per digit of the block size.
const BLOCK_SIZE: usize = 100_000;

/// How much one block can become: runs of 255 are written in 5 bytes.
const RUN_RATIO: usize = 52;

/// Returns the content of the blocks in front of the first damage.
pub(super) fn leading(stream: &[u8], limit: usize) -> Vec<u8> {
    let mut output = Vec::new();
    let Some(digit @ b'1'..=b'9') = stream.strip_prefix(STREAM).and_then(|rest| rest.first()) else { return output };
    let first = (STREAM.len() + 1) * 8;
    let marks = marks(stream, first);
    if marks.first() != Some(&first) {
        return output;
    }
    for pair in marks.windows(2) {
        let Some(block) = unpack(stream, pair[0]..pair[1], *digit, limit - output.len()) else { return output };
        output.extend_from_slice(&block);
    }
    output
}

/// Returns at which bits blocks begin, and where the last one ends.
fn marks(stream: &[u8], from: usize) -> Vec<usize> {
    let mut marks = Vec::new();
    let mut window = 0u64;
    for (at, byte) in stream.iter().enumerate().skip(from / 8) {
        for bit in 0..8 {
            window = (window << 1 | u64::from(byte >> (7 - bit) & 1)) & MARK;
            let start = (at * 8 + bit + 1).checked_sub(MARK_BITS).filter(|start| *start >= from);
            if let Some(start) = start.filter(|_| window == BLOCK || window == END) {
                marks.push(start);
                if window == END {
                    return marks;
                }
            }
        }
    }
    marks
}

/// Decompresses one block as a stream of its own.
fn unpack(stream: &[u8], bits: std::ops::Range<usize>, digit: u8, limit: usize) -> Option<Vec<u8>> {
    let mut alone = Bits { bytes: [STREAM, &[digit]].concat(), used: 0 };
    let checksum = read(stream, bits.start + MARK_BITS, CHECKSUM_BITS);
    for at in bits {
        alone.push(read(stream, at, 1), 1);
    }
    alone.push(END, MARK_BITS);
    // The checksum of a stream of one block is that of the block.
    alone.push(checksum, CHECKSUM_BITS);
    let most = usize::from(digit - b'0') * BLOCK_SIZE * RUN_RATIO;
    let mut output: Vec<u8> = Vec::new();
    let mut decoder = Decompress::new(false);
    loop {
        output.try_reserve(BLOCK_SIZE).ok()?;
        let (read, written) = (decoder.total_in(), decoder.total_out());
        let status = decoder.decompress_vec(alone.bytes.get(usize::try_from(read).ok()?..)?, &mut output).ok()?;
        if status == Status::StreamEnd {
            return Some(output).filter(|output| output.len() <= limit);
        }
        let stuck = (decoder.total_in(), decoder.total_out()) == (read, written);
        if stuck || output.len() > most.min(limit) {
            return None;
        }
    }
}

/// Returns `count` bits from a bit on; behind the end they are zero.
fn read(stream: &[u8], from: usize, count: usize) -> u64 {
    (from..from + count).fold(0, |value, at| {
        let byte = stream.get(at / 8).copied().unwrap_or_default();
        value << 1 | u64::from(byte >> (7 - at % 8) & 1)
    })
}

/// Bits that become bytes.
struct Bits {
    bytes: Vec<u8>,
    /// How many bits of the last byte are used; 0 for all of them.
    used: usize,
}

impl Bits {
    fn push(&mut self, value: u64, count: usize) {
        for shift in (0..count).rev() {
            if self.used == 0 {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> shift & 1) as u8) << (7 - self.used);
            }
            self.used = (self.used + 1) % 8;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn blocks_in_front_of_damage_are_whole() {
        let mut seed = 1u32;
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        };
        let content: Vec<u8> = (0..450_000).map(|_| next()).collect();
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(1));
        encoder.write_all(&content).unwrap();
        let stream = encoder.finish().unwrap();
        assert_eq!(leading(&stream, usize::MAX).len(), content.len());
        let mut before = 0;
        for part in 1..9 {
            let at = stream.len() * part / 9;
            let mut damaged = stream.clone();
            damaged[at..at + 10].fill(0);
            let bytes = leading(&damaged, usize::MAX);
            assert!(content.starts_with(&bytes));
            assert!(bytes.len() + 110_000 > content.len() * part / 9 && bytes.len() >= before && bytes.len() < content.len());
            assert!(leading(&stream[..at], usize::MAX).len() <= bytes.len());
            before = bytes.len();
        }
        assert!(leading(&stream, 5000).is_empty());
    }
}
