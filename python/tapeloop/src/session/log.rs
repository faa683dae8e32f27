//! Logging: from a value of any class to a payload on a channel.
//!
//! In comes a value, out goes one message to the recorder below. The way of an exact `dict` and of `bytes` comes first and
//! allocates nothing.
//!
//! **Invariant:** nothing is logged in part: a value that cannot be written leaves no trace.

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict};
use robot::clock::{Clock, SystemClock};
use robot::{ChannelSpec, Payload, RecorderChannel, Times};

use super::Session;
use crate::array::{self, DETACH_BYTES, Header};
use crate::buffer::Buffer;
use crate::class::{Class, classify};
use crate::error::{Failure, Result};
use crate::image::CompressedImage;
use crate::schema::Schema;
use crate::shape::Shape;
use crate::topics::{Found, Topic, json_key, payload_key};
use crate::{fingerprint, json, ros};

/// The encoding of bytes that nobody described.
const PLAIN_BYTES: &str = "x-bytes";
/// The room that a thread keeps for its next JSON message.
const SCRATCH_LIMIT: usize = 1 << 20;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
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
        let key = payload_key(fingerprint::hash(schema.name.as_bytes()), ros::ENCODING, meta.publisher);
        let channel = match topic.channel(key) {
            Some(channel) => channel,
            None => self.make_channel(py, topic, key, topic.spec(ros::ENCODING, Some(schema), meta.publisher), None)?,
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
