//! Handles: numbers that C holds as pointers, and what they stand for.
//!
//! **Invariant:** a handle is never followed and never given twice, so that a stale one stands for nothing.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use parking_lot::RwLock;
use recording::{Error, Result};

/// All tables count on: a channel's handle is never a recorder's too. Odd numbers are no address of anything.
static NEXT: AtomicUsize = AtomicUsize::new(1);

/// What handles of one kind stand for.
pub(crate) struct Handles<T> {
    what: &'static str,
    table: LazyLock<RwLock<HashMap<usize, Arc<T>>>>,
}

impl<T> Handles<T> {
    pub(crate) const fn new(what: &'static str) -> Self {
        Self { what, table: LazyLock::new(RwLock::default) }
    }

    /// Gives a handle to a value.
    pub(crate) fn add(&self, value: Arc<T>) -> *mut c_void {
        let handle = NEXT.fetch_add(2, Ordering::Relaxed);
        self.table.write().insert(handle, value);
        std::ptr::without_provenance_mut(handle)
    }

    /// Returns what a handle stands for.
    #[inline]
    pub(crate) fn get(&self, handle: *mut c_void) -> Result<Arc<T>> {
        self.table.read().get(&handle.addr()).cloned().ok_or_else(|| self.unknown(handle))
    }

    /// Ends a handle, and returns what it stood for.
    pub(crate) fn take(&self, handle: *mut c_void) -> Result<Arc<T>> {
        self.table.write().remove(&handle.addr()).ok_or_else(|| self.unknown(handle))
    }

    /// Ends all handles, and returns what they stood for.
    pub(crate) fn take_all(&self) -> Vec<Arc<T>> {
        self.table.write().drain().map(|(_, value)| value).collect()
    }

    #[cold]
    fn unknown(&self, handle: *mut c_void) -> Error {
        let what = self.what;
        Error::invalid(if handle.is_null() {
            format!("{what} is NULL")
        } else {
            format!("{what} {handle:p} is none that is open: it was closed, or it is no {what}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_stands_for_its_own_value_until_it_ends() {
        let (numbers, words): (Handles<u8>, Handles<&str>) = (Handles::new("number"), Handles::new("word"));
        let (seven, word) = (numbers.add(Arc::new(7)), words.add(Arc::new("seven")));
        assert_eq!((*numbers.get(seven).unwrap(), *words.get(word).unwrap()), (7, "seven"));
        assert!(numbers.get(word).is_err() && words.get(seven).is_err());
        assert_eq!(*numbers.take(seven).unwrap(), 7);
        assert!(numbers.get(seven).unwrap_err().message().contains("it was closed"));
        assert_ne!(numbers.add(Arc::new(8)), seven);
        assert_eq!(numbers.get(std::ptr::null_mut()).unwrap_err().message(), "number is NULL");
    }
}
