//! The shape of a JSON message as a number, computed while it is written.
//!
//! **Invariant:** equal for equal shapes in every run: whatever the order of keys, the length of lists, the kind of numbers.

/// A shape, as a hash.
pub(crate) type Fingerprint = u64;

pub(crate) const NOTHING: Fingerprint = 0;
pub(crate) const BOOL: Fingerprint = 0x9ae1_6a3b_2f90_404f;
pub(crate) const NUMBER: Fingerprint = 0xc949_d7c7_509e_6557;
pub(crate) const TEXT: Fingerprint = 0xff51_afd7_ed55_8ccd;
pub(crate) const BASE64: Fingerprint = 0xc4ce_b9fe_1a85_ec53;
pub(crate) const MOMENT: Fingerprint = 0xb492_b66f_be98_f273;
pub(crate) const MIXED: Fingerprint = 0x8ebc_6af0_9c88_c6e3;
pub(crate) const LIST: u64 = 0x5899_65cc_7537_4cc3;
pub(crate) const OBJECT: u64 = 0xe703_7ed1_a0b4_28db;
pub(crate) const SALT: u64 = 0xa076_1d64_78bd_642f;

/// Returns the shape of a list that held elements of `a` and now one of `b`.
pub(crate) fn unite(a: Fingerprint, b: Fingerprint) -> Fingerprint {
    match (a, b) {
        _ if a == b => a,
        (NOTHING, _) => b,
        (_, NOTHING) => a,
        _ => MIXED,
    }
}

pub(crate) fn seal_list(elements: Fingerprint) -> Fingerprint {
    mix(elements ^ SALT, LIST)
}

pub(crate) fn seal_object(entries: u64) -> Fingerprint {
    mix(entries ^ SALT, OBJECT)
}

#[inline]
pub(crate) fn entry(key: u64, child: Fingerprint) -> u64 {
    mix(key, child ^ SALT)
}

/// Returns a hash of `bytes`: fast for short keys, and the same in every run.
#[inline]
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut state = SALT ^ (bytes.len() as u64).wrapping_mul(OBJECT);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes([word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]]);
        state = mix(state ^ word, LIST);
    }
    let mut last = 0u64;
    for &byte in words.remainder() {
        last = last << 8 | u64::from(byte);
    }
    mix(state ^ last, OBJECT)
}

/// Returns both halves of a product folded together.
#[inline]
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}
