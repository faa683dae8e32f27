//! How many values a message may tell: some formats let a few bytes stand for many values.
//!
//! **Invariant:** the values that were taken of an [`Allowance`] are bounded by the length of the payload.

use crate::error::{Error, Result};

/// How many values any message may have.
const VALUE_LIMIT: usize = 4 << 20;

/// How many more for every byte of its payload.
const VALUES_PER_BYTE: usize = 64;

/// The values that a message may still tell.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: usize,
}

impl Allowance {
    /// Returns the allowance of a payload.
    pub(crate) fn of(payload: &[u8]) -> Self {
        Self { left: payload.len().saturating_mul(VALUES_PER_BYTE).saturating_add(VALUE_LIMIT) }
    }

    /// Returns the allowance of elements of lists: one for every byte, so that a batch's elements can be counted by its bytes.
    pub(crate) fn of_elements(payload: &[u8]) -> Self {
        Self { left: payload.len() }
    }

    /// Takes some values.
    ///
    /// # Errors
    /// `Corrupt` where the message had its share.
    #[inline]
    pub(crate) fn take(&mut self, values: usize) -> Result<()> {
        match self.left.checked_sub(values) {
            Some(left) => self.left = left,
            None => return Err(Error::corrupt("a message that repeats itself into far more values than it has bytes")),
        }
        Ok(())
    }
}
