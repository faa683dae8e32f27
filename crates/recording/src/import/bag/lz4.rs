//! What a damaged LZ4 frame still gives: everything in front of the first place that cannot be right.
//!
//! **Invariant:** no more than the limit comes out, whatever lengths the bytes claim.

/// What a frame begins with.
pub(super) const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

/// The flags of a frame.
const BLOCK_CHECKSUM: u8 = 0x10;
const CONTENT_SIZE: u8 = 0x08;
const CONTENT_CHECKSUM: u8 = 0x04;
const DICTIONARY: u8 = 0x01;

/// The bit of a block's length that says that it is stored as it is.
const STORED: u32 = 1 << 31;

/// So many zeros never stand in compressed data: a hole begins with them.
const HOLE: usize = 64;

/// The shortest match.
const MATCH: usize = 4;

/// A frame: its blocks, and whether checksums stand in it.
struct Frame<'a> {
    blocks: &'a [u8],
    block_checksum: usize,
    content_checksum: bool,
}

fn open(bytes: &[u8]) -> Option<Frame<'_>> {
    let flags = *bytes.strip_prefix(&MAGIC)?.first()?;
    let sizes = if flags & CONTENT_SIZE != 0 { 8 } else { 0 } + if flags & DICTIONARY != 0 { 4 } else { 0 };
    Some(Frame {
        blocks: bytes.get(MAGIC.len() + 3 + sizes..)?,
        block_checksum: if flags & BLOCK_CHECKSUM != 0 { 4 } else { 0 },
        content_checksum: flags & CONTENT_CHECKSUM != 0,
    })
}

/// Returns whether a frame has a checksum of its content and ends with it: where it decompresses, it is whole whatever its chunk says
/// of its size.
pub(super) fn is_complete(bytes: &[u8]) -> bool {
    let Some(frame) = open(bytes) else { return false };
    let mut rest = frame.blocks;
    while let Some((header, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*header);
        if length == 0 {
            return frame.content_checksum && behind.len() >= 4;
        }
        let Some(next) = behind.get((length & !STORED) as usize + frame.block_checksum..) else { return false };
        rest = next;
    }
    false
}

/// Decompresses a frame up to the first thing that cannot be right; returns what came out and whether there was such a thing.
pub(super) fn leading(bytes: &[u8], limit: usize) -> (Vec<u8>, bool) {
    let mut output = Vec::new();
    let whole = hole(bytes);
    let Some(frame) = open(&bytes[..whole]) else { return (output, true) };
    let mut rest = frame.blocks;
    while let Some((header, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*header);
        if length == 0 {
            return (output, false);
        }
        let size = (length & !STORED) as usize;
        let block = &behind[..size.min(behind.len())];
        let went =
            if length & STORED != 0 { literals(block, block.len(), &mut output, limit) } else { sequences(block, &mut output, limit) };
        if went.is_none() || size > behind.len() {
            return (output, true);
        }
        rest = behind.get(size + frame.block_checksum..).unwrap_or_default();
    }
    (output, true)
}

/// Returns where the first hole begins, or the end.
fn hole(bytes: &[u8]) -> usize {
    let mut zeros = 0;
    for (at, byte) in bytes.iter().enumerate() {
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        if zeros == HOLE {
            return at + 1 - HOLE;
        }
    }
    bytes.len()
}

/// Decompresses a block onto `output`; `None` where it cannot go on.
fn sequences(mut block: &[u8], output: &mut Vec<u8>, limit: usize) -> Option<()> {
    while let Some((token, rest)) = block.split_first() {
        block = rest;
        let count = length(usize::from(token >> 4), &mut block)?;
        let copied = count.min(block.len());
        literals(block, copied, output, limit)?;
        block = block.get(count..)?;
        if block.is_empty() {
            return Some(());
        }
        let (offset, rest) = block.split_first_chunk::<2>()?;
        block = rest;
        let offset = usize::from(u16::from_le_bytes(*offset));
        let count = length(usize::from(token & 15), &mut block)? + MATCH;
        let from = output.len().checked_sub(offset).filter(|_| offset > 0)?;
        if output.len().checked_add(count)? > limit {
            return None;
        }
        for at in from..from + count {
            output.push(output[at]);
        }
    }
    Some(())
}

fn literals(block: &[u8], count: usize, output: &mut Vec<u8>, limit: usize) -> Option<()> {
    if output.len().checked_add(count)? > limit {
        return None;
    }
    output.extend_from_slice(&block[..count]);
    Some(())
}

/// Reads the rest of a length whose first four bits are all set.
fn length(first: usize, block: &mut &[u8]) -> Option<usize> {
    let mut length = first;
    if first == 15 {
        loop {
            let (byte, rest) = block.split_first()?;
            *block = rest;
            length = length.checked_add(usize::from(*byte))?;
            if *byte != 255 {
                break;
            }
        }
    }
    Some(length)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let info = lz4_flex::frame::FrameInfo::new().content_checksum(true);
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn content() -> Vec<u8> {
        (0..200_000u32).flat_map(|number| (number / 3 % 97 * (number % 1000)).to_le_bytes()).collect()
    }

    #[test]
    fn a_whole_frame_gives_all_of_it() {
        assert_eq!(leading(&packed(&content()), usize::MAX), (content(), false));
        assert!(is_complete(&packed(&content())));
    }

    #[test]
    fn a_cut_or_a_hole_leaves_what_stands_in_front_of_it() {
        let packed = packed(&content());
        for at in [0, 3, 10, 100, packed.len() / 2, packed.len() - 120] {
            let mut holed = packed.clone();
            let end = (at + 100).min(packed.len());
            holed[at..end].fill(0);
            for damaged in [packed[..at].to_vec(), holed] {
                let (bytes, stopped) = leading(&damaged, usize::MAX);
                assert!(content().starts_with(&bytes) && !is_complete(&damaged[..at]), "at {at}");
                assert!(stopped && bytes.len() >= at.saturating_sub(20), "at {at}: {}", bytes.len());
            }
        }
        assert!(leading(&packed, 1000).0.len() <= 1000);
    }
}
