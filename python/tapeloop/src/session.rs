//! One open recorder: the recorder below, its topics, and its end.
//!
//! In come topics and values, out go messages to the recorder below, which is the agent's or an embedded tape.
//!
//! **Invariant:** in a forked child nothing of a recorder is used or freed: its threads stayed in the parent.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString};
use recording::{Error, Kind, Manifest, time};
use robot::clock::{Clock, SystemClock};
use robot::{ChannelSpec, Leave, Payload, RecorderChannel, Times};

use crate::array::{self, DETACH_BYTES, Header};
use crate::buffer::Buffer;
use crate::class::{Class, classify};
use crate::error::{Failure, Result};
use crate::image::CompressedImage;
use crate::json;
use crate::schema::Schema;
use crate::shape::Shape;
use crate::topics::{Found, Topic, Topics, json_key, payload_key};

/// How long the end of the process waits for windows that end in the future; what ends later is cut short.
pub(crate) const EXIT_WAIT: Duration = Duration::from_secs(60);
/// How long a wait is before it says on stderr what it waits for.
const QUIET_WAIT: Duration = Duration::from_secs(2);
/// How often a wait looks for Ctrl-C.
pub(crate) const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);
/// The encoding of bytes that nobody described.
const PLAIN_BYTES: &str = "x-bytes";
/// The room that a thread keeps for its next JSON message.
const SCRATCH_LIMIT: usize = 1 << 20;

/// How often this process is the child of a fork.
static FORKS: AtomicU64 = AtomicU64::new(0);
/// Every recorder that may still be open.
static OPEN: Mutex<Vec<Weak<Session>>> = Mutex::new(Vec::new());
/// Recorders that nobody holds any more, but whose recordings have not ended yet.
static LINGERING: Mutex<Vec<Arc<Session>>> = Mutex::new(Vec::new());

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An open recorder.
pub(crate) struct Session {
    recorder: ManuallyDrop<robot::Recorder>,
    topics: ManuallyDrop<Topics>,
    forks: u64,
    closed: AtomicBool,
    /// Recordings that had not ended when they were asked for.
    pending: Mutex<Vec<String>>,
}

/// What to do about recordings that have not ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pending {
    /// Wait for them; those that end later than the limit are cut short.
    Wait { limit: Option<Duration> },
    /// Do not wait.
    Leave(Leave),
}

/// What a message says beside its value.
#[derive(Clone, Copy, Default)]
pub(crate) struct Meta<'a> {
    pub(crate) times: Times,
    pub(crate) stamp_ns: Option<i64>,
    pub(crate) frame_id: Option<&'a str>,
    pub(crate) publisher: &'a str,
    pub(crate) schema: Option<&'a Schema>,
    pub(crate) encoding: Option<&'a str>,
}

impl Session {
    /// Returns the session of a recorder that was just opened.
    pub(crate) fn new(recorder: robot::Recorder) -> Arc<Self> {
        let session = Arc::new(Self {
            recorder: ManuallyDrop::new(recorder),
            topics: ManuallyDrop::new(Topics::new()),
            forks: FORKS.load(Ordering::Relaxed),
            closed: AtomicBool::new(false),
            pending: Mutex::default(),
        });
        let mut open = OPEN.lock();
        open.retain(|session| session.strong_count() > 0);
        open.push(Arc::downgrade(&session));
        session
    }

    /// Returns the recorder below.
    ///
    /// # Errors
    /// `Conflict` in a forked child; `Unavailable` once closed.
    #[inline]
    pub(crate) fn recorder(&self) -> Result<&robot::Recorder> {
        if self.forks != FORKS.load(Ordering::Relaxed) {
            return Err(forked());
        }
        if self.closed.load(Ordering::Relaxed) {
            return Err(Failure::Ours(Error::unavailable("the recorder is closed; open another one")));
        }
        Ok(&self.recorder)
    }

    /// Returns the folder of the tape, also of one that is closed.
    pub(crate) fn root(&self) -> Option<PathBuf> {
        self.recorder.root()
    }

    /// Returns which recorder this is.
    pub(crate) fn description(&self) -> String {
        self.recorder.description()
    }

    /// Returns whether it is closed, or another process's.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed) || self.is_forked()
    }

    fn is_forked(&self) -> bool {
        self.forks != FORKS.load(Ordering::Relaxed)
    }

    /// Returns the topic called `name`.
    #[inline]
    pub(crate) fn topic(&self, name: &Bound<'_, PyString>) -> Result<Arc<Topic>> {
        self.topics.get(name)
    }

    /// Logs a value.
    ///
    /// # Errors
    /// `Invalid` for a value that cannot be logged; what the recorder below met, also with an earlier message.
    #[inline]
    pub(crate) fn log(&self, topic: &Topic, value: &Bound<'_, PyAny>, meta: Meta<'_>) -> Result<()> {
        self.recorder()?;
        if meta.schema.is_none() && meta.encoding.is_none() {
            if value.is_exact_instance_of::<PyDict>() {
                return self.log_json(topic, value, None, meta);
            }
            if let Ok(bytes) = value.cast_exact::<PyBytes>() {
                return self.log_bytes(topic, bytes, meta);
            }
        }
        self.log_classified(topic, value, meta)
    }

    fn log_classified(&self, topic: &Topic, value: &Bound<'_, PyAny>, meta: Meta<'_>) -> Result<()> {
        let py = value.py();
        let described = meta.schema.is_some() || meta.encoding.is_some();
        match classify(value)? {
            Class::Bytes | Class::Memory => match value.cast::<PyBytes>() {
                Ok(bytes) => self.log_bytes(topic, bytes, meta),
                Err(_) => {
                    let buffer = Buffer::get(value)?;
                    self.log_payload(py, topic, Payload::Shared(array::copy(py, &buffer)), meta)
                }
            },
            Class::Array if !described => self.log_array(topic, value, meta),
            Class::ArrayLike if !described => self.log_array(topic, &as_array(value)?, meta),
            Class::Image if !described => {
                let (payload, schema) = array::encode_pil(value, header(&meta))?;
                self.log_encoded(py, topic, payload, schema, meta)
            }
            Class::Array | Class::ArrayLike | Class::Image => {
                Err(Failure::invalid("an array or image has its own schema and encoding; leave them out, or log bytes"))
            }
            Class::Fields(fields) => self.log_json(topic, value, Some(&fields.class), meta),
            _ => match value.cast_exact::<CompressedImage>() {
                Ok(image) => {
                    let image = image.get();
                    let (payload, schema) = array::encode_compressed(&image.format, image.data.bind(py).as_bytes(), header(&meta))?;
                    self.log_encoded(py, topic, payload, schema, meta)
                }
                Err(_) => self.log_json(topic, value, None, meta),
            },
        }
    }

    #[inline]
    fn log_json(&self, topic: &Topic, value: &Bound<'_, PyAny>, type_name: Option<&str>, meta: Meta<'_>) -> Result<()> {
        refuse_header(&meta)?;
        if let Some(encoding) = meta.encoding.filter(|encoding| *encoding != "json") {
            return Err(Failure::invalid(format!("encoding '{encoding}' of a value that is not bytes; such values are logged as json")));
        }
        // Taken out and not borrowed: encoding may run code that logs.
        let mut scratch = SCRATCH.take();
        scratch.clear();
        let outcome = self.encode_and_send(topic, value, type_name, &meta, &mut scratch);
        if scratch.capacity() <= SCRATCH_LIMIT {
            SCRATCH.set(scratch);
        }
        outcome
    }

    #[inline]
    fn encode_and_send(
        &self,
        topic: &Topic,
        value: &Bound<'_, PyAny>,
        type_name: Option<&str>,
        meta: &Meta<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        let fingerprint = json::encode_message(value, scratch)?;
        let key = match meta.schema {
            None => json_key(fingerprint, type_name, meta.publisher),
            Some(schema) => payload_key(schema.key, "json", meta.publisher),
        };
        let channel = match topic.channel(key) {
            Some(channel) => channel,
            None => self.json_channel(topic, value, key, type_name, meta)?,
        };
        send(value.py(), &channel, Payload::Slice(scratch), meta.times)
    }

    #[cold]
    fn json_channel(
        &self,
        topic: &Topic,
        value: &Bound<'_, PyAny>,
        key: u64,
        type_name: Option<&str>,
        meta: &Meta<'_>,
    ) -> Result<Arc<RecorderChannel>> {
        let found = match meta.schema {
            Some(schema) => Found::Make { spec: topic.spec("json", Some(schema.inner.clone()), meta.publisher), shape: None },
            None => topic.find_shape(key, Shape::of_message(value)?, type_name, meta.publisher),
        };
        match found {
            Found::Channel(channel) => Ok(channel),
            Found::Make { spec, shape } => self.make_channel(value.py(), topic, key, spec, shape),
        }
    }

    #[inline]
    fn log_bytes(&self, topic: &Topic, bytes: &Bound<'_, PyBytes>, meta: Meta<'_>) -> Result<()> {
        let payload = match bytes.as_bytes() {
            small if small.len() < DETACH_BYTES => Payload::Slice(small),
            // Python's bytes never change: the recorder may hold them instead of copying them.
            large => {
                Payload::Shared(Bytes::from_owner(Held { start: large.as_ptr(), length: large.len(), _bytes: bytes.clone().unbind() }))
            }
        };
        self.log_payload(bytes.py(), topic, payload, meta)
    }

    #[inline]
    fn log_payload(&self, py: Python<'_>, topic: &Topic, payload: Payload<'_>, meta: Meta<'_>) -> Result<()> {
        refuse_header(&meta)?;
        let encoding = match (meta.encoding, meta.schema) {
            (Some(encoding), _) => encoding,
            (None, None) => PLAIN_BYTES,
            (None, Some(schema)) => schema.message_encoding().ok_or_else(|| {
                Failure::invalid(format!("bytes with a schema in '{}' need encoding=, e.g. encoding='cdr'", schema.inner.encoding))
            })?,
        };
        let key = payload_key(meta.schema.map_or(0, |schema| schema.key), encoding, meta.publisher);
        let channel = match topic.channel(key) {
            Some(channel) => channel,
            None => {
                let spec = topic.spec(encoding, meta.schema.map(|schema| schema.inner.clone()), meta.publisher);
                self.make_channel(py, topic, key, spec, None)?
            }
        };
        send(py, &channel, payload, meta.times)
    }

    fn log_array(&self, topic: &Topic, array: &Bound<'_, PyAny>, meta: Meta<'_>) -> Result<()> {
        let buffer = Buffer::get(array).map_err(|_| {
            let kind = array.getattr("dtype").and_then(|kind| kind.str().map(|text| text.to_string())).unwrap_or_default();
            Failure::invalid(format!("an array of {kind}; bool, integers of 8 to 64 bits, float32 and float64 can be logged"))
        })?;
        if !array::is_image(&buffer) {
            refuse_header(&meta)?;
        }
        let (payload, schema) = array::encode(array.py(), &buffer, header(&meta))?;
        self.log_encoded(array.py(), topic, payload, schema, meta)
    }

    fn log_encoded(&self, py: Python<'_>, topic: &Topic, payload: Bytes, schema: Arc<recording::Schema>, meta: Meta<'_>) -> Result<()> {
        let key = payload_key(json::hash(schema.name.as_bytes()), crate::ros::ENCODING, meta.publisher);
        let channel = match topic.channel(key) {
            Some(channel) => channel,
            None => self.make_channel(py, topic, key, topic.spec(crate::ros::ENCODING, Some(schema), meta.publisher), None)?,
        };
        send(py, &channel, Payload::Shared(payload), meta.times)
    }

    fn make_channel(
        &self,
        py: Python<'_>,
        topic: &Topic,
        key: u64,
        spec: ChannelSpec,
        shape: Option<Shape>,
    ) -> Result<Arc<RecorderChannel>> {
        let recorder = self.recorder()?;
        let channel = py.detach(|| recorder.channel(spec.clone()))?;
        Ok(topic.remember(key, spec, shape, channel))
    }

    /// Remembers a recording whose end may lie in the future.
    pub(crate) fn note_pending(&self, manifest: &Manifest) {
        let now_ns = SystemClock.utc_ns();
        if !manifest.is_final() && manifest.asked.end_ns.is_none_or(|end_ns| end_ns > now_ns) {
            self.pending.lock().push(manifest.recording.clone());
        }
    }

    /// Returns when the last of the pending recordings ends, or `None` where nothing is to be waited for.
    fn pending_until(&self, now_ns: i64) -> Option<i64> {
        let ids = self.pending.lock().clone();
        // An open keep ends with the recorder: only windows with an end are waited for.
        let ends = ids.iter().filter_map(|id| self.recorder.recording(id).ok()).filter(|manifest| !manifest.is_final());
        ends.filter_map(|manifest| manifest.asked.end_ns).filter(|end_ns| *end_ns > now_ns).max()
    }

    /// Closes the recorder; a second time does nothing.
    ///
    /// # Errors
    /// What writing the rest met; `KeyboardInterrupt`, after cutting short what was waited for.
    pub(crate) fn close(&self, py: Python<'_>, pending: Pending) -> Result<()> {
        if self.is_forked() || self.closed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut interrupted = None;
        let leave = match pending {
            Pending::Leave(leave) => leave,
            Pending::Wait { limit } => match self.wait_for_windows(py, limit) {
                Ok(true) => Leave::Wait,
                Ok(false) => Leave::CutShort,
                Err(signal) => {
                    interrupted = Some(signal);
                    Leave::CutShort
                }
            },
        };
        if self.closed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        py.detach(|| self.recorder.close(leave))?;
        interrupted.map_or(Ok(()), Err)
    }

    /// Waits until all windows have ended; returns whether they will within `limit`.
    fn wait_for_windows(&self, py: Python<'_>, limit: Option<Duration>) -> Result<bool> {
        let (begun_ns, mut said) = (SystemClock.utc_ns(), false);
        if self.recorder.is_agent() {
            return Ok(true);
        }
        loop {
            let now_ns = SystemClock.utc_ns();
            let Some(until_ns) = py.detach(|| self.pending_until(now_ns)) else { return Ok(true) };
            if limit.is_some_and(|limit| until_ns.saturating_sub(begun_ns) > limit.as_nanos() as i64) {
                return Ok(false);
            }
            let rest = Duration::from_nanos(until_ns.saturating_sub(now_ns).max(0) as u64);
            if rest > QUIET_WAIT && !std::mem::replace(&mut said, true) {
                say(
                    py,
                    &format!("tapeloop: waiting for a recording that ends at {} (Ctrl-C cuts it short)\n", time::format_time(until_ns)),
                );
            }
            py.detach(|| std::thread::sleep(rest.min(SIGNAL_INTERVAL)));
            py.check_signals()?;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.is_forked() {
            return;
        }
        // SAFETY: neither is used again: this is the end of the session.
        let (recorder, topics) = unsafe { (ManuallyDrop::take(&mut self.recorder), ManuallyDrop::take(&mut self.topics)) };
        drop(topics);
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let rest = Session {
            recorder: ManuallyDrop::new(recorder),
            topics: ManuallyDrop::new(Topics::new()),
            forks: self.forks,
            closed: AtomicBool::new(false),
            pending: Mutex::new(std::mem::take(&mut *self.pending.lock())),
        };
        Python::try_attach(|py| {
            let now_ns = SystemClock.utc_ns();
            if !rest.recorder.is_agent() && py.detach(|| rest.pending_until(now_ns)).is_some() {
                LINGERING.lock().push(Arc::new(rest));
            } else {
                // Nobody is left to tell: what the last write met is in the tape's losses.
                let _ = rest.close(py, Pending::Leave(Leave::Wait));
            }
        });
    }
}

/// A `bytes` object that the recorder holds.
struct Held {
    start: *const u8,
    length: usize,
    _bytes: Py<PyBytes>,
}

// SAFETY: the memory of a `bytes` object is immutable and lives as long as the object, whose count `Py` keeps safely from
// any thread.
unsafe impl Send for Held {}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: see above.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

/// Sends a payload: without the interpreter's lock where it is large or the recorder may have to wait. (Always giving the lock
/// up would hand it to another busy thread, which keeps it for milliseconds.)
#[inline]
fn send(py: Python<'_>, channel: &RecorderChannel, payload: Payload<'_>, times: Times) -> Result<()> {
    let length = payload.as_slice().len();
    if length < DETACH_BYTES && !channel.may_wait(length) {
        return Ok(channel.log(payload, times)?);
    }
    Ok(py.detach(|| channel.log(payload, times))?)
}

fn header<'a>(meta: &Meta<'a>) -> Header<'a> {
    let stamp_ns = meta.stamp_ns.or(meta.times.publish_time_ns).or(meta.times.log_time_ns);
    Header { stamp_ns: stamp_ns.unwrap_or_else(|| SystemClock.utc_ns()), frame_id: meta.frame_id.unwrap_or("") }
}

#[inline]
fn refuse_header(meta: &Meta<'_>) -> Result<()> {
    if meta.stamp_ns.is_some() || meta.frame_id.is_some() {
        return Err(Failure::invalid("stamp and frame_id stand in an image's header; this message has none, so put them into the message"));
    }
    Ok(())
}

fn as_array<'py>(value: &Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>> {
    static ASARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    Ok(ASARRAY.import(value.py(), "numpy", "asarray")?.call1((value,))?)
}

/// Writes to `sys.stderr`, which a program may have closed or replaced: then there is nobody to tell.
pub(crate) fn say(py: Python<'_>, line: &str) {
    let written = py.import("sys").and_then(|sys| sys.getattr("stderr")).and_then(|stderr| stderr.call_method1("write", (line,)));
    drop(written);
}

#[cold]
fn forked() -> Failure {
    Failure::Ours(Error::new(
        Kind::Conflict,
        "this recorder was opened before a fork, and its threads are in the parent process; open one in the child",
    ))
}

/// Notes that this process is the child of a fork: recorders of the parent are not used and not freed here.
pub(crate) fn after_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Closes every recorder that is still open: at the end of the process.
pub(crate) fn close_all(py: Python<'_>) -> Result<()> {
    let mut sessions = std::mem::take(&mut *LINGERING.lock());
    sessions.extend(OPEN.lock().drain(..).filter_map(|session| session.upgrade()));
    let mut outcome = Ok(());
    for session in sessions {
        outcome = outcome.and(session.close(py, Pending::Wait { limit: Some(EXIT_WAIT) }));
    }
    outcome
}
