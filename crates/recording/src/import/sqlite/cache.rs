//! What was read of a file lately: few windows, larger ones where pages are read one after the other.
//!
//! **Invariant:** at most [`WINDOWS`] windows of [`WINDOW_LIMIT`] bytes are held, and nothing is read that is not in the file.

use std::io;

use bytes::Bytes;

use crate::source::ReadAt;

/// How many windows are held.
const WINDOWS: usize = 6;

/// The largest window.
const WINDOW_LIMIT: u64 = 1 << 20;

/// How far behind the last window reading still counts as going on: between table pages stand those of the index.
const NEAR: u64 = 32 << 10;

/// What was read lately.
#[derive(Debug, Default)]
pub struct Cache {
    /// Least recently used first.
    windows: Vec<Window>,
    /// Where the window that was read last ends, and how long it was.
    last_end: u64,
    last_length: u64,
}

#[derive(Debug)]
struct Window {
    start: u64,
    bytes: Bytes,
}

impl Cache {
    /// Returns `length` bytes at `offset`, which must be in the file with the `ahead` that will be wanted soon; fewer where the file
    /// has become shorter meanwhile.
    ///
    /// # Errors
    /// What reading the source answers.
    pub fn read(&mut self, source: &dyn ReadAt, offset: u64, length: usize, ahead: u64) -> io::Result<Bytes> {
        let end = offset + length as u64;
        let holds = |window: &Window| window.start <= offset && end <= window.start + window.bytes.len() as u64;
        if let Some(place) = self.windows.iter().rposition(holds) {
            let window = self.windows.remove(place);
            let at = (offset - window.start) as usize;
            let bytes = window.bytes.slice(at..at + length);
            self.windows.push(window);
            return Ok(bytes);
        }
        let goes_on = offset >= self.last_end && offset - self.last_end <= NEAR && self.last_length > 0;
        let grown = if goes_on { self.last_length * 2 } else { 0 };
        let left = source.len()?.saturating_sub(offset);
        let wanted = ahead.max(grown).min(WINDOW_LIMIT).max(length as u64).min(left.max(length as u64));
        let mut buffer = vec![0; usize::try_from(wanted).unwrap_or(length)];
        let filled = source.read_full_at(offset, &mut buffer)?;
        buffer.truncate(filled);
        let bytes = Bytes::from(buffer);
        (self.last_end, self.last_length) = (offset + filled as u64, filled as u64);
        if self.windows.len() == WINDOWS {
            self.windows.remove(0);
        }
        self.windows.push(Window { start: offset, bytes: bytes.clone() });
        Ok(bytes.slice(..length.min(filled)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    struct Counted(Bytes, Mutex<u64>);

    impl ReadAt for Counted {
        fn len(&self) -> io::Result<u64> {
            Ok(Bytes::len(&self.0) as u64)
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.read_at(offset, buffer)?;
            *self.1.lock().unwrap() += count as u64;
            Ok(count)
        }
    }

    #[test]
    fn pages_in_a_row_are_read_once_in_growing_windows_and_single_ones_alone() {
        let source = Counted(vec![1; 4 << 20].into(), Mutex::default());
        let mut cache = Cache::default();
        for page in 0..1024_u64 {
            assert_eq!(cache.read(&source, page * 4096, 4096, 4096).unwrap().len(), 4096);
        }
        assert_eq!(*source.1.lock().unwrap(), 4 << 20);
        let mut cache = Cache::default();
        for page in [900, 3, 500, 77] {
            cache.read(&source, page * 4096, 4096, 4096).unwrap();
        }
        assert_eq!(*source.1.lock().unwrap(), (4 << 20) + 4 * 4096);
        assert!(cache.read(&source, (4 << 20) - 10, 20, 20).unwrap().len() == 10);
    }
}
