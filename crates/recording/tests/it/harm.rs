//! What can happen to a file.

use std::ops::Range;

use proptest::prelude::*;

/// What happens to a file at one place.
#[derive(Clone, Debug)]
pub(crate) enum Harm {
    Cut,
    Hole(usize),
    Flip(u8),
    Noise(usize),
    Remove(usize),
    Insert(usize),
}

/// Returns anything that can happen.
pub(crate) fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        Just(Harm::Cut),
        (1..5000usize).prop_map(Harm::Hole),
        (1..=255u8).prop_map(Harm::Flip),
        (1..3000usize).prop_map(Harm::Noise),
        (1..3000usize).prop_map(Harm::Remove),
        (1..3000usize).prop_map(Harm::Insert),
    ]
}

impl Harm {
    /// Returns the damaged bytes and which bytes of the original were touched.
    pub(crate) fn apply(&self, bytes: &[u8], at: usize) -> (Vec<u8>, Range<u64>) {
        let mut damaged = bytes.to_vec();
        let noise = |length: usize| (0..length).map(|number| (number * 7919 % 251) as u8 ^ 0x55).collect::<Vec<u8>>();
        let end = |length: usize| (at + length).min(bytes.len());
        let to = match self {
            Harm::Cut => {
                damaged.truncate(at);
                bytes.len()
            }
            Harm::Hole(length) => {
                damaged[at..end(*length)].fill(0);
                end(*length)
            }
            Harm::Flip(mask) => {
                damaged[at] ^= mask;
                at + 1
            }
            Harm::Noise(length) => {
                damaged[at..end(*length)].copy_from_slice(&noise(end(*length) - at));
                end(*length)
            }
            Harm::Remove(length) => {
                damaged.drain(at..end(*length));
                end(*length)
            }
            Harm::Insert(length) => {
                damaged.splice(at..at, noise(*length));
                at
            }
        };
        (damaged, at as u64..to as u64)
    }
}
