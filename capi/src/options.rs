//! The structs of options, as `tapeloop.h` has them, and what they ask for.
//!
//! Each begins with its own size, so that a program that was built with an older header has zeros for what it does not know.
//!
//! **Invariant:** a struct that is larger than ours is only taken where all of what we do not know is zero, and none ends within a field.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;

use bytes::Bytes;
use recording::{Error, Result, Schema};
use robot::tape::SCHEMA_LIMIT;
use robot::{ChannelSpec, Length, SaveRequest, When};

use crate::argument::{bytes_of, items_of, optional_text, text_of};

/// The largest struct of options that is looked at.
const OPTIONS_LIMIT: usize = 4096;
/// How many topics, labels or pairs of metadata are taken.
const LIST_LIMIT: usize = 4096;

/// `tl_open_options`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "tapeloop.h says what each is")]
pub struct OpenOptions {
    pub size: usize,
    pub device: *const c_char,
    pub data: *const c_char,
    pub keep: *const c_char,
    pub config: *const c_char,
    pub socket: *const c_char,
}

/// `tl_channel_options`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "tapeloop.h says what each is")]
pub struct ChannelOptions {
    pub size: usize,
    pub topic: *const c_char,
    pub encoding: *const c_char,
    pub schema_name: *const c_char,
    pub schema_encoding: *const c_char,
    pub schema_data: *const c_void,
    pub schema_size: usize,
    pub metadata: *const Pair,
    pub metadata_count: usize,
    pub publisher: *const c_char,
    pub latched: c_int,
}

/// `tl_save_options`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "tapeloop.h says what each is")]
pub struct SaveOptions {
    pub size: usize,
    pub before: *const c_char,
    pub after: *const c_char,
    pub at: *const c_char,
    pub start: *const c_char,
    pub end: *const c_char,
    pub why: *const c_char,
    pub topics: *const *const c_char,
    pub topic_count: usize,
    pub labels: *const Pair,
    pub label_count: usize,
}

/// `tl_pair`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "tapeloop.h says what each is")]
pub struct Pair {
    pub key: *const c_char,
    pub value: *const c_char,
}

/// A struct that begins with its size.
///
/// # Safety
/// All bytes zero must be a value of it, and its first field its size.
pub(crate) unsafe trait Options: Copy {}

// SAFETY: numbers and pointers, the size first.
unsafe impl Options for OpenOptions {}
// SAFETY: as above.
unsafe impl Options for ChannelOptions {}
// SAFETY: as above.
unsafe impl Options for SaveOptions {}

/// Returns options; those of null are all zero.
///
/// # Safety
/// `options` is null or points to a struct of as many bytes as it says.
pub(crate) unsafe fn read_options<T: Options>(options: *const T) -> Result<T> {
    // SAFETY: the trait promises it.
    let mut known: T = unsafe { std::mem::zeroed() };
    if options.is_null() {
        return Ok(known);
    }
    // SAFETY: the struct begins with its size.
    let size = unsafe { options.cast::<usize>().read_unaligned() };
    // No field is larger than a pointer, and each struct ends where one could begin.
    if !(size_of::<usize>()..=OPTIONS_LIMIT).contains(&size) || !size.is_multiple_of(size_of::<usize>()) {
        return Err(Error::invalid(format!("options that say they have {size} bytes: begin them with TL_…_OPTIONS_INIT")));
    }
    // SAFETY: the caller promises that there are as many.
    let given = unsafe { std::slice::from_raw_parts(options.cast::<u8>(), size) };
    let (ours, newer) = given.split_at(size.min(size_of::<T>()));
    if newer.iter().any(|byte| *byte != 0) {
        return Err(Error::invalid("options that this library does not know: it is older than the tapeloop.h of the program"));
    }
    // SAFETY: there are no more bytes than `known` has, and any pointers and numbers are a value of it.
    unsafe { std::ptr::copy_nonoverlapping(ours.as_ptr(), (&raw mut known).cast(), ours.len()) };
    Ok(known)
}

/// Returns what a program wants to log into.
///
/// # Safety
/// The options' pointers are null or point to what they should.
pub(crate) unsafe fn channel_spec(options: &ChannelOptions) -> Result<ChannelSpec> {
    // SAFETY: the caller promises it.
    unsafe {
        let schema = match optional_text("schema_name", options.schema_name)? {
            Some(name) => Some(Arc::new(Schema {
                name: name.to_owned(),
                encoding: optional_text("schema_encoding", options.schema_encoding)?.unwrap_or_default().to_owned(),
                data: Bytes::copy_from_slice(bytes_of("schema_data", options.schema_data, options.schema_size, SCHEMA_LIMIT)?),
            })),
            None if options.schema_size > 0 || !options.schema_encoding.is_null() => {
                return Err(Error::invalid("a schema needs schema_name, the name of the message's type"));
            }
            None => None,
        };
        Ok(ChannelSpec {
            topic: text_of("topic", options.topic)?.to_owned(),
            encoding: optional_text("encoding", options.encoding)?.unwrap_or("x-bytes").to_owned(),
            schema,
            metadata: pairs("metadata", options.metadata, options.metadata_count)?,
            latched: options.latched != 0,
            publisher: optional_text("publisher", options.publisher)?.unwrap_or_default().to_owned(),
        })
    }
}

/// Returns what a program wants to keep.
///
/// # Safety
/// As [`channel_spec`].
pub(crate) unsafe fn save_request(options: &SaveOptions) -> Result<SaveRequest> {
    // SAFETY: the caller promises it.
    unsafe {
        let length = |what, text| Ok::<_, Error>(optional_text(what, text)?.map(|text| Length::Text(text.to_owned())));
        let when = |what, text| Ok::<_, Error>(optional_text(what, text)?.map(|text| When::Text(text.to_owned())));
        let patterns = items_of("topics", options.topics, options.topic_count, LIST_LIMIT)?;
        Ok(SaveRequest {
            before: length("before", options.before)?,
            after: length("after", options.after)?,
            at: when("at", options.at)?,
            start: when("start", options.start)?,
            end: when("end", options.end)?,
            topics: patterns.iter().map(|pattern| text_of("a topic", *pattern).map(str::to_owned)).collect::<Result<_>>()?,
            why: optional_text("why", options.why)?.map(str::to_owned),
            labels: pairs("labels", options.labels, options.label_count)?,
            by: "c".to_owned(),
        })
    }
}

/// # Safety
/// `pairs` points to `count` of them, whose texts end with a zero.
unsafe fn pairs(what: &str, pairs: *const Pair, count: usize) -> Result<BTreeMap<String, String>> {
    // SAFETY: the caller promises it.
    unsafe {
        let pairs = items_of(what, pairs, count, LIST_LIMIT)?;
        let text = |part, text| text_of(part, text).map(str::to_owned);
        pairs.iter().map(|pair| Ok((text("a key", pair.key)?, text("a value", pair.value)?))).collect()
    }
}
