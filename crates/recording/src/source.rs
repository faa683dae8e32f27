//! Where a reader's bytes come from: a file, memory, later a bucket.
//!
//! **Invariant:** a reader asks for byte ranges and never holds a whole file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use bytes::Bytes;

/// Random access to immutable bytes.
pub trait ReadAt: Send + Sync {
    /// Returns how many bytes there are.
    fn len(&self) -> io::Result<u64>;

    /// Reads up to `buffer.len()` bytes at `offset` and returns how many; 0 only at the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Returns whether there is nothing to read.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buffer` from `offset` and returns how many bytes there were before the end.
    fn read_full_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(offset + filled as u64, &mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl ReadAt for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }
}

impl ReadAt for Bytes {
    fn len(&self) -> io::Result<u64> {
        Ok(Bytes::len(self) as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(Bytes::len(self));
        let count = buffer.len().min(Bytes::len(self) - start);
        buffer[..count].copy_from_slice(&self[start..start + count]);
        Ok(count)
    }
}

/// Bytes that somebody else fetches: a browser's upload, ranges of a bucket. What is not there yet fails with
/// [`io::ErrorKind::WouldBlock`] and is remembered as wanted; a step that met that has changed nothing and is called again.
///
/// ```
/// # use recording::source::{Fed, ReadAt};
/// let fed = Fed::new(100);
/// assert!(fed.read_at(90, &mut [0; 10]).is_err());
/// let wanted = fed.take_wanted().unwrap();
/// fed.feed(wanted.start, vec![7; 10].into());
/// assert_eq!(fed.read_at(90, &mut [0; 10]).unwrap(), 10);
/// ```
#[derive(Debug)]
pub struct Fed {
    length: u64,
    state: Mutex<FedState>,
}

#[derive(Debug, Default)]
struct FedState {
    /// What was fed, by offset; ranges may overlap.
    ranges: BTreeMap<u64, Bytes>,
    wanted: Option<Range<u64>>,
}

impl Fed {
    /// Returns a source of `length` bytes of which none is there yet.
    pub fn new(length: u64) -> Self {
        Self { length, state: Mutex::default() }
    }

    /// Takes bytes that stand at `offset`.
    pub fn feed(&self, offset: u64, bytes: Bytes) {
        if !bytes.is_empty() {
            self.state().ranges.insert(offset, bytes);
        }
    }

    /// Returns what the last reading lacked, once.
    pub fn take_wanted(&self) -> Option<Range<u64>> {
        self.state().wanted.take()
    }

    /// Forgets everything that ends before `offset`.
    pub fn forget_before(&self, offset: u64) {
        self.state().ranges.retain(|start, bytes| start + bytes.len() as u64 > offset);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, FedState> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl ReadAt for Fed {
    fn len(&self) -> io::Result<u64> {
        Ok(self.length)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let end = offset.saturating_add(buffer.len() as u64).min(self.length);
        if offset >= end {
            return Ok(0);
        }
        let mut state = self.state();
        let held = state.ranges.range(..=offset).rev().find_map(|(start, bytes)| {
            let at = (offset - start) as usize;
            (at < bytes.len()).then(|| bytes.slice(at..))
        });
        let Some(rest) = held else {
            state.wanted = Some(offset..end);
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let count = rest.len().min((end - offset) as usize);
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}
