//! Reading a source through a buffer of bounded size.
//!
//! **Invariant:** no allocation is larger than what the source still has behind the offset asked for.

use crate::error::{Error, Result};
use crate::source::ReadAt;

/// How much is read ahead where everything is read.
const WINDOW_LENGTH: usize = 256 << 10;

/// How much is read ahead where most is skipped.
const SMALL_LENGTH: usize = 4 << 10;

/// A source with a buffer in front of it.
pub(crate) struct Window<'a> {
    source: &'a dyn ReadAt,
    length: u64,
    ahead: usize,
    start: u64,
    buffer: Vec<u8>,
    read: u64,
}

impl<'a> Window<'a> {
    /// Returns a window over `source`.
    ///
    /// # Errors
    /// Whatever the source answers.
    pub(crate) fn new(source: &'a dyn ReadAt) -> Result<Self> {
        let length = source.len().map_err(|error| Error::io("cannot tell the size of the file", error))?;
        Ok(Self { source, length, ahead: WINDOW_LENGTH, start: 0, buffer: Vec::new(), read: 0 })
    }

    /// Returns a window for looking at few places.
    ///
    /// # Errors
    /// Whatever the source answers.
    pub(crate) fn small(source: &'a dyn ReadAt) -> Result<Self> {
        Ok(Self { ahead: SMALL_LENGTH, ..Self::new(source)? })
    }

    /// Returns the same window over another source of the same bytes.
    pub(crate) fn onto<'b>(self, source: &'b dyn ReadAt) -> Window<'b> {
        let Self { length, ahead, start, buffer, read, .. } = self;
        Window { source, length, ahead, start, buffer, read }
    }

    /// Returns how many bytes the source has.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Returns how many bytes were read from the source since the last call.
    pub(crate) fn take_read(&mut self) -> u64 {
        std::mem::take(&mut self.read)
    }

    /// Returns up to `length` bytes at `offset`: less only where the source ends.
    pub(crate) fn get(&mut self, offset: u64, length: usize) -> Result<&[u8]> {
        let there = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = length.min(there);
        let inside = offset >= self.start && offset + length as u64 <= self.start + self.buffer.len() as u64;
        if !inside {
            self.buffer.resize(length.max(self.ahead).min(there), 0);
            self.start = offset;
            match fill(self.source, offset, &mut self.buffer) {
                Ok(filled) => self.buffer.truncate(filled),
                Err(error) => {
                    self.buffer.clear();
                    return Err(error);
                }
            }
            let filled = self.buffer.len();
            self.read += filled as u64;
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX).min(self.buffer.len());
        Ok(&self.buffer[from..(from + length).min(self.buffer.len())])
    }
}

/// Reads up to `length` bytes at `offset`: less only where the source ends.
pub(crate) fn read(source: &dyn ReadAt, offset: u64, length: u64) -> Result<Vec<u8>> {
    let there = source.len().map_err(|error| Error::io("cannot tell the size of the file", error))?.saturating_sub(offset);
    let length = usize::try_from(length.min(there)).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|error| Error::unavailable(format!("no memory for {length} bytes")).caused_by(error))?;
    bytes.resize(length, 0);
    let filled = fill(source, offset, &mut bytes)?;
    bytes.truncate(filled);
    Ok(bytes)
}

fn fill(source: &dyn ReadAt, offset: u64, buffer: &mut [u8]) -> Result<usize> {
    source.read_full_at(offset, buffer).map_err(|error| Error::io(format!("cannot read at byte {offset}"), error))
}
