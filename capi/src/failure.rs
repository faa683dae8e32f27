//! Errors on their way to C: a status code, and the text that `tl_error` gives.
//!
//! **Invariant:** [`guard`] returns, whatever happens in what it calls.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use recording::{Error, Kind, Result};

/// `tl_status`: 0 for success.
pub type Status = u32;

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Does `work`, and turns what it meets into a status, and a panic into `TL_INTERNAL`.
pub(crate) fn guard(work: impl FnOnce() -> Result<()>) -> Status {
    // What a panic left half done is behind locks that are not poisoned, or gone with the call.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            remember(&error.to_string());
            code(error.kind())
        }
        Err(panic) => {
            let what = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            remember(&Error::new(Kind::Internal, format!("a fault in tapeloop: {}", what.unwrap_or("a panic without words"))).to_string());
            // Dropping what was thrown may throw again.
            std::mem::forget(panic);
            code(Kind::Internal)
        }
    }
}

/// Returns the text of this thread's last failure; empty text where nothing failed, or where the thread ends.
pub(crate) fn last_message() -> *const c_char {
    LAST.try_with(|last| last.try_borrow().map_or(c"".as_ptr(), |last| last.as_ptr())).unwrap_or(c"".as_ptr())
}

fn remember(message: &str) {
    let message = CString::new(message.replace('\0', "\\0")).unwrap_or_default();
    let _ = LAST.try_with(|last| last.try_borrow_mut().map(|mut last| *last = message));
}

fn code(kind: Kind) -> Status {
    match kind {
        Kind::Invalid => 1,
        Kind::NotFound => 2,
        Kind::Conflict => 3,
        Kind::Denied => 4,
        Kind::Unavailable => 5,
        Kind::Corrupt => 6,
        Kind::Internal => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn a_panic_is_a_status_and_a_text() {
        assert_eq!(guard(|| panic!("the sky fell at {}", 7)), 7);
        // SAFETY: the text stays until the next failure of this thread.
        let text = unsafe { CStr::from_ptr(last_message()) }.to_str().unwrap();
        assert_eq!(text, "a fault in tapeloop: the sky fell at 7");
        assert_eq!(guard(|| Ok(())), 0);
        assert_eq!(guard(|| Err(Error::invalid("zero \0 within"))), 1);
        // SAFETY: as above.
        assert_eq!(unsafe { CStr::from_ptr(last_message()) }, c"zero \\0 within");
    }
}
