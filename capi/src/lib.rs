//! The recorder for C and C++: what `tapeloop.h` declares.
//!
//! In come pointers and lengths of a foreign program, out go messages to an agent or onto a tape, and status codes. A handle is a
//! number that looks like a pointer: nothing of ours lies behind it, so that one that is closed or made up is found out.
//!
//! **Invariant:** no panic leaves this crate, and no pointer is followed before it is checked for null and its length for its limit.

mod argument;
mod failure;
mod handles;
mod options;
mod owned;
mod session;

use std::ffi::{c_char, c_int, c_void};
use std::time::Duration;

use recording::Error;
use robot::{KeepRequest, Leave, Payload, Times};

use self::argument::{bytes_of, optional_text, put_text, put_value, text_of};
pub use self::failure::Status;
use self::failure::guard;
pub use self::options::{ChannelOptions, OpenOptions, Pair, SaveOptions};
use self::options::{read_options, save_request};
use self::owned::Owned;
use self::session::{channel, session};

/// What stands for a recorder in C.
pub type RecorderHandle = *mut c_void;
/// What stands for a channel in C.
pub type ChannelHandle = *mut c_void;
/// How large the buffer for a recording's id must be, the zero at its end included.
pub const ID_SIZE: usize = 64;
/// The time that means "now".
pub const NOW: i64 = i64::MIN;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// Returns the version of the library, as text that is always there.
#[unsafe(no_mangle)]
pub extern "C" fn tl_version() -> *const c_char {
    VERSION.as_ptr().cast()
}

/// Returns what the last call that failed in this thread met, as text that stays until the next one fails.
#[unsafe(no_mangle)]
pub extern "C" fn tl_error() -> *const c_char {
    failure::last_message()
}

/// Opens a recorder.
///
/// # Safety
/// As `tapeloop.h` says: `options` is null or points to options, whose texts end with a zero; `recorder` points to room for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tl_open(options: *const OpenOptions, recorder: *mut RecorderHandle) -> Status {
    guard(|| {
        // SAFETY: the caller promises what `read_options` and the rest ask for.
        unsafe {
            put_value("recorder", recorder, std::ptr::null_mut())?;
            let opened = session::open(&read_options(options)?)?;
            put_value("recorder", recorder, opened)
        }
    })
}

/// Writes whether an agent records or a tape of this process, and where.
///
/// # Safety
/// `text` points to `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tl_describe(recorder: RecorderHandle, text: *mut c_char, size: usize) -> Status {
    guard(|| {
        let description = session(recorder)?.recorder()?.description();
        // SAFETY: the caller promises it.
        unsafe { put_text("text", &description, text, size) }
    })
}

/// Gives the channel of a topic; equal options give the same one.
///
/// # Safety
/// As [`tl_open`]; the options' pointers are null or point to as much as their counts and sizes say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tl_channel(recorder: RecorderHandle, options: *const ChannelOptions, out: *mut ChannelHandle) -> Status {
    guard(|| {
        // SAFETY: the caller promises what the rest asks for.
        unsafe {
            put_value("channel", out, std::ptr::null_mut())?;
            let spec = options::channel_spec(&read_options(options)?)?;
            put_value("channel", out, session::channel_of(&session(recorder)?, spec)?)
        }
    })
}

/// Logs a message, now.
///
/// # Safety
/// `data` points to `size` bytes, or is null where `size` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tl_log(to: ChannelHandle, data: *const c_void, size: usize) -> Status {
    // SAFETY: the caller promises it.
    unsafe { tl_log_at(to, data, size, NOW, NOW) }
}

/// Logs a message that was recorded and published at given times.
///
/// # Safety
/// As [`tl_log`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tl_log_at(to: ChannelHandle, data: *const c_void, size: usize, log_time_ns: i64, publish_time_ns: i64) -> Status {
    guard(|| {
        // SAFETY: the caller promises it; the bytes are not used any more when this returns.
        let payload = unsafe { bytes_of("data", data, size, robot::tape::MESSAGE_LIMIT)? };
        channel(to)?.logs()?.log(payload, times(log_time_ns, publish_time_ns))
    })
}

/// Logs a message without copying it: `release` is called once, when nobody needs the bytes any more.
///
/// # Safety
/// As [`tl_log`], until `release` is called, which may happen in any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tl_log_shared(
    to: ChannelHandle,
    data: *const c_void,
    size: usize,
    log_time_ns: i64,
    publish_time_ns: i64,
    release: Option<unsafe extern "C" fn(*mut c_void)>,
    context: *mut c_void,
) -> Status {
    // Also where the call is refused, and before its status is known: the caller never frees what it gave.
    let owned = Owned::new(release, context);
    guard(move || {
        // SAFETY: the caller promises it.
        let payload = unsafe { owned.into_bytes(data, size)? };
        channel(to)?.logs()?.log(Payload::Shared(payload), times(log_time_ns, publish_time_ns))
    })
}

/// Keeps a span of the tape, and writes the recording's id.
///
/// # Safety
/// As [`tl_channel`]; `id` is null or points to `id_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tl_save(recorder: RecorderHandle, options: *const SaveOptions, id: *mut c_char, id_size: usize) -> Status {
    guard(|| {
        // SAFETY: the caller promises it.
        unsafe {
            check_id_room(id, id_size)?;
            let request = save_request(&read_options(options)?)?;
            let manifest = session(recorder)?.recorder()?.save(&request)?;
            put_id(&manifest.recording, id, id_size)
        }
    })
}

/// Keeps everything from now on, and from `before` it, until [`tl_keep_stop`].
///
/// # Safety
/// As [`tl_save`]; of the options only `before`, `topics`, `why` and `labels` may be set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tl_keep_start(
    recorder: RecorderHandle,
    name: *const c_char,
    options: *const SaveOptions,
    id: *mut c_char,
    id_size: usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller promises it.
        unsafe {
            check_id_room(id, id_size)?;
            let asked = save_request(&read_options(options)?)?;
            if asked.after.is_some() || asked.at.is_some() || asked.start.is_some() || asked.end.is_some() {
                return Err(Error::invalid("a keep begins now: say before, topics, why and labels, and the rest when it stops"));
            }
            let name = text_of("name", name)?.to_owned();
            let request =
                KeepRequest { name, before: asked.before, topics: asked.topics, why: asked.why, labels: asked.labels, by: asked.by };
            let manifest = session(recorder)?.recorder()?.keep_start(&request)?;
            put_id(&manifest.recording, id, id_size)
        }
    })
}

/// Ends what [`tl_keep_start`] began, `after` from now.
///
/// # Safety
/// `name` and `after` are texts that end with a zero; `after` may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tl_keep_stop(recorder: RecorderHandle, name: *const c_char, after: *const c_char) -> Status {
    guard(|| {
        // SAFETY: the caller promises it.
        let (name, after) = unsafe { (text_of("name", name)?, optional_text("after", after)?) };
        let after_ns = after.map(recording::time::parse_duration).transpose()?;
        session(recorder)?.recorder()?.keep_stop(name, after_ns).map(drop)
    })
}

/// Waits until nothing will be added to a recording any more.
///
/// # Safety
/// `id` is a text that ends with a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tl_wait(recorder: RecorderHandle, id: *const c_char, timeout_ms: u64) -> Status {
    guard(|| {
        // SAFETY: the caller promises it.
        let id = unsafe { text_of("id", id)? };
        session(recorder)?.recorder()?.wait(id, Duration::from_millis(timeout_ms)).map(drop)
    })
}

/// Returns when everything logged so far is on the disk.
#[unsafe(no_mangle)]
pub extern "C" fn tl_flush(recorder: RecorderHandle) -> Status {
    guard(|| session(recorder)?.recorder()?.flush())
}

/// Closes a recorder, and with it its channels.
#[unsafe(no_mangle)]
pub extern "C" fn tl_close(recorder: RecorderHandle, pending: c_int) -> Status {
    guard(|| {
        let leave = match pending {
            0 => Leave::Wait,
            1 => Leave::CutShort,
            2 => Leave::Resume,
            _ => return Err(Error::invalid(format!("pending {pending}; one of TL_PENDING_WAIT, TL_PENDING_CUT and TL_PENDING_RESUME"))),
        };
        session::close(recorder, leave)
    })
}

fn times(log_time_ns: i64, publish_time_ns: i64) -> Times {
    let given = |time_ns: i64| Some(time_ns).filter(|time_ns| *time_ns != NOW);
    Times { log_time_ns: given(log_time_ns), publish_time_ns: given(publish_time_ns) }
}

/// Refuses too little room before anything is kept that nobody would know the name of.
fn check_id_room(id: *mut c_char, id_size: usize) -> recording::Result<()> {
    if !id.is_null() && id_size < ID_SIZE {
        return Err(Error::invalid(format!("room for an id of {id_size} bytes; TL_ID_SIZE is {ID_SIZE}")));
    }
    Ok(())
}

/// # Safety
/// `id` is null or points to `id_size` bytes.
unsafe fn put_id(text: &str, id: *mut c_char, id_size: usize) -> recording::Result<()> {
    // SAFETY: the caller promises it.
    if id.is_null() { Ok(()) } else { unsafe { put_text("id", text, id, id_size) } }
}
