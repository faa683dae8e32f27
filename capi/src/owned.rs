//! Bytes that a program lends until nobody needs them any more.
//!
//! **Invariant:** `release` is called exactly once, whatever becomes of the message.

use std::ffi::c_void;

use bytes::Bytes;
use recording::{Error, Result};

use crate::argument::bytes_of;

type Release = unsafe extern "C" fn(*mut c_void);

/// The duty to call `release`.
pub(crate) struct Owned {
    release: Option<Release>,
    context: *mut c_void,
    bytes: &'static [u8],
}

// SAFETY: the caller lends the bytes to, and lets `release` be called in, any thread.
unsafe impl Send for Owned {}
// SAFETY: what is shared are bytes that nobody changes.
unsafe impl Sync for Owned {}

impl Owned {
    pub(crate) fn new(release: Option<Release>, context: *mut c_void) -> Self {
        Self { release, context, bytes: &[] }
    }

    /// Returns the bytes, which are given back when the last reference to them is gone.
    ///
    /// # Safety
    /// `data` points to `size` bytes that stay as they are until `release` is called.
    pub(crate) unsafe fn into_bytes(mut self, data: *const c_void, size: usize) -> Result<Bytes> {
        if self.release.is_none() {
            return Err(Error::invalid("release is NULL: then nobody would know when the bytes are free again; use tl_log_at"));
        }
        // SAFETY: the caller promises it; `self` lives as long as the bytes are used.
        self.bytes = unsafe { bytes_of("data", data, size, robot::tape::MESSAGE_LIMIT)? };
        Ok(Bytes::from_owner(self))
    }
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        self.bytes
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            // SAFETY: the caller gave both for this one call.
            unsafe { release(self.context) };
        }
    }
}
