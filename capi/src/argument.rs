//! Arguments of C: texts, bytes and places for results.
//!
//! **Invariant:** no text is read beyond [`TEXT_LIMIT`], and no slice is made longer than its limit.

use std::ffi::{c_char, c_void};

use recording::{Error, Result};

/// The longest text that is taken, e.g. a configuration.
pub(crate) const TEXT_LIMIT: usize = 16 << 20;

unsafe extern "C" {
    fn strnlen(text: *const c_char, limit: usize) -> usize;
}

/// Returns a text of C.
///
/// # Safety
/// `text` is null or ends with a zero, and outlives the result.
pub(crate) unsafe fn text_of<'a>(what: &str, text: *const c_char) -> Result<&'a str> {
    // SAFETY: the caller promises it.
    unsafe { optional_text(what, text)? }.ok_or_else(|| Error::invalid(format!("{what} is NULL")))
}

/// Returns a text of C, or `None` for null.
///
/// # Safety
/// As [`text_of`].
pub(crate) unsafe fn optional_text<'a>(what: &str, text: *const c_char) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller promises that it ends with a zero, up to which it may be read.
    let length = unsafe { strnlen(text, TEXT_LIMIT + 1) };
    if length > TEXT_LIMIT {
        return Err(Error::invalid(format!("{what} is longer than {TEXT_LIMIT} bytes")));
    }
    // SAFETY: `strnlen` has read these very bytes.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) };
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => Err(Error::invalid(format!("{what} is not UTF-8 at byte {}: '{}'", error.valid_up_to(), bytes.escape_ascii()))),
    }
}

/// Returns bytes of C; none where there are 0 of them, wherever `data` points.
///
/// # Safety
/// `data` points to `size` bytes, which outlive the result.
pub(crate) unsafe fn bytes_of<'a>(what: &str, data: *const c_void, size: usize, limit: usize) -> Result<&'a [u8]> {
    // SAFETY: the caller promises it; there are no pointers to be had in bytes.
    unsafe { items_of(what, data.cast(), size, limit) }
}

/// Returns an array of C; empty where its count is 0, wherever it points.
///
/// # Safety
/// `items` points to `count` of them, which outlive the result.
pub(crate) unsafe fn items_of<'a, T>(what: &str, items: *const T, count: usize, limit: usize) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if items.is_null() {
        return Err(Error::invalid(format!("{what} is NULL, but there should be {count}")));
    }
    if count > limit {
        return Err(Error::invalid(format!("{what} of {count}; at most {limit}")));
    }
    if !items.is_aligned() {
        return Err(Error::invalid(format!("{what} is not aligned: {items:p}")));
    }
    // SAFETY: it is neither null nor misaligned nor too long; the caller promises that there are as many.
    Ok(unsafe { std::slice::from_raw_parts(items, count) })
}

/// Writes a result.
///
/// # Safety
/// `out` is null or points to room for it.
pub(crate) unsafe fn put_value<T>(what: &str, out: *mut T, value: T) -> Result<()> {
    if out.is_null() {
        return Err(Error::invalid(format!("the place for the {what} is NULL")));
    }
    // SAFETY: the caller promises the room; it may be misaligned.
    unsafe { out.write_unaligned(value) };
    Ok(())
}

/// Writes a text with a zero at its end.
///
/// # Safety
/// `out` is null or points to `size` bytes.
pub(crate) unsafe fn put_text(what: &str, text: &str, out: *mut c_char, size: usize) -> Result<()> {
    if out.is_null() {
        return Err(Error::invalid(format!("the place for the {what} is NULL")));
    }
    if text.len() >= size {
        return Err(Error::invalid(format!("room for {what} of {size} bytes; {} are needed", text.len() + 1)));
    }
    // SAFETY: there is room for the text and its end, as the caller promises and the length shows.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), out.cast(), text.len());
        out.add(text.len()).write(0);
    }
    Ok(())
}
