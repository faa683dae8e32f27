//! Payloads that compress like sensor data: about to a half.
//!
//! **Invariant:** the same seed gives the same bytes.

use bytes::Bytes;

/// How many bytes of different payloads there are: more than a chunk has, so that none of them repeats in it.
const TOTAL_BYTES: usize = 4 << 20;

/// Returns different payloads of `size` bytes; every other eight bytes of them are noise.
pub(crate) fn payloads(size: usize) -> Vec<Bytes> {
    let count = (TOTAL_BYTES / size.max(1)).clamp(4, 1 << 16);
    (0..count as u64).map(|seed| Bytes::from(payload(seed, size))).collect()
}

/// Returns one payload.
pub(crate) fn payload(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 16);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
        bytes.extend_from_slice(&[0, 0, 128, 63, 0, 0, 0, 0]);
    }
    bytes.truncate(size);
    bytes
}
