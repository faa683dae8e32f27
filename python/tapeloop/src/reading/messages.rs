//! `tapeloop.Messages` and `tapeloop.Message`: one message after the other.
//!
//! Messages are read in batches without the interpreter's lock; a payload is decoded when somebody asks for its value.
//!
//! **Invariant:** no lock is held while messages are read: another thread gets an error, not a deadlock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString, PyType};
use recording::decode::Decoder;
use recording::frame::Pictures;
use recording::{Error, Kind, Span, TopicFilter, read, time};

use super::plan::decoder;
use super::value::{Names, value};
use crate::argument::from_json;
use crate::error::{Failure, Result};
use crate::memory::numpy;
use crate::schema::Schema;

/// How many messages are read at once, at most.
const BATCH_MESSAGES: usize = 256;
/// How many payload bytes are read at once, unless one message is larger.
const BATCH_BYTES: usize = 1 << 20;

/// Iterates over messages.
#[pyclass(frozen, weakref, module = "tapeloop")]
pub(crate) struct Messages {
    /// Taken out while messages are read, so that no lock is held meanwhile.
    state: Mutex<Option<Reading>>,
    only: Option<String>,
    raw: bool,
    /// Of what, for people.
    about: String,
}

struct Reading {
    source: read::Messages,
    batch: VecDeque<recording::Message>,
    failed: Option<Error>,
    ended: bool,
    topics: HashMap<usize, (Arc<recording::Topic>, Arc<Described>)>,
}

/// How the payloads of a topic become values.
enum Decoding {
    /// As they are.
    Plain,
    Json,
    /// `std_msgs/msg/<T>MultiArray`, as a numpy array of this type.
    Array(&'static str, Fields),
    Picture(Box<Pictures>, Fields),
    Fields(Fields),
}

/// A dict by a definition.
struct Fields {
    decoder: Decoder,
    names: Names,
}

impl Fields {
    fn value<'py>(&self, py: Python<'py>, message: &recording::Message) -> Result<Bound<'py, PyAny>> {
        value(py, &self.decoder, &self.names, &message.data).map_err(|error| at(&message.topic, error))
    }
}

impl Decoding {
    fn of(py: Python<'_>, topic: &recording::Topic) -> Result<Self> {
        let type_name = topic.type_name().replace("/msg/", "/");
        match (topic.encoding.as_str(), type_name.as_str()) {
            ("x-bytes", _) => return Ok(Self::Plain),
            ("json", _) => return Ok(Self::Json),
            _ => {}
        }
        let decoder = decoder(topic).map_err(|error| at(topic, error))?;
        let array = ARRAYS.iter().find(|(known, _)| type_name == *known && topic.encoding == "cdr");
        let is_image = matches!(type_name.as_str(), "sensor_msgs/Image" | "sensor_msgs/CompressedImage");
        let pictures = Pictures::new(&decoder).filter(|_| is_image);
        let fields = Fields { names: Names::of(py, decoder.tree()), decoder };
        Ok(match (array, pictures) {
            (Some((_, kind)), _) => Self::Array(kind, fields),
            (_, Some(pictures)) => Self::Picture(Box::new(pictures), fields),
            _ => Self::Fields(fields),
        })
    }
}

/// What this package logs arrays as, and what numpy calls their elements.
const ARRAYS: [(&str, &str); 10] = [
    ("std_msgs/Int8MultiArray", "i1"),
    ("std_msgs/Int16MultiArray", "i2"),
    ("std_msgs/Int32MultiArray", "i4"),
    ("std_msgs/Int64MultiArray", "i8"),
    ("std_msgs/UInt8MultiArray", "u1"),
    ("std_msgs/UInt16MultiArray", "u2"),
    ("std_msgs/UInt32MultiArray", "u4"),
    ("std_msgs/UInt64MultiArray", "u8"),
    ("std_msgs/Float32MultiArray", "f4"),
    ("std_msgs/Float64MultiArray", "f8"),
];

fn json_value<'py>(py: Python<'py>, topic: &recording::Topic, data: Bound<'py, PyBytes>) -> Result<Bound<'py, PyAny>> {
    static DECODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    Ok(DECODE.import(py, "tapeloop._decode", "json_value")?.call1((&topic.name, topic.type_name(), data))?)
}

fn array_value<'py>(py: Python<'py>, topic: &recording::Topic, kind: &str, data: Bound<'py, PyBytes>) -> Result<Bound<'py, PyAny>> {
    static DECODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    Ok(DECODE.import(py, "tapeloop._decode", "array_value")?.call1((&topic.name, topic.type_name(), kind, data))?)
}

/// Returns which topics of which recording are meant.
pub(crate) fn about(recording: &read::Recording, filter: &TopicFilter, only: Option<&str>) -> String {
    let topics = match only {
        Some(name) => name.to_owned(),
        None if filter.patterns().is_empty() => "all topics".to_owned(),
        None => filter.patterns().join(", "),
    };
    format!("{}: {topics}", recording.path().display())
}

/// Returns what messages are, for people: their type and their encoding.
pub(crate) fn described(type_name: &str, encoding: &str) -> String {
    match (type_name, encoding) {
        ("", "") => "no type, no encoding".to_owned(),
        ("", encoding) => format!("no type, as {encoding}"),
        (name, "") => format!("{name}, no encoding"),
        (name, encoding) => format!("{name} as {encoding}"),
    }
}

/// Says which topic an error is about.
pub(crate) fn at(topic: &recording::Topic, error: Failure) -> Failure {
    match error {
        Failure::Ours(error) => Failure::Ours(Error::new(error.kind(), format!("message on '{}'", topic.name)).caused_by(error)),
        python => python,
    }
}

/// What all messages of a topic share.
struct Described {
    name: Py<PyString>,
    encoding: Py<PyString>,
    schema: Option<Py<Schema>>,
    decoding: PyOnceLock<Decoding>,
}

impl Messages {
    /// Returns the messages of `filter`'s topics in `span`; of one topic only where `only` names it.
    pub(super) fn new(
        py: Python<'_>,
        recording: &read::Recording,
        filter: &TopicFilter,
        span: Span,
        raw: bool,
        only: Option<String>,
    ) -> Result<Self> {
        let source = py.detach(|| recording.messages(filter, span))?;
        let reading = Reading { source, batch: VecDeque::new(), failed: None, ended: false, topics: HashMap::new() };
        let about = about(recording, filter, only.as_deref());
        Ok(Self { state: Mutex::new(Some(reading)), only, raw, about })
    }

    /// Runs `work` on the state, which nobody else sees meanwhile.
    fn with<T>(&self, work: impl FnOnce(&mut Reading) -> Result<T>) -> Result<T> {
        let taken = self.state.lock().take();
        let mut reading = taken.ok_or_else(|| Failure::Ours(Error::new(Kind::Conflict, "another thread is reading from this iterator")))?;
        let outcome = work(&mut reading);
        *self.state.lock() = Some(reading);
        outcome
    }
}

impl Reading {
    /// Reads the next batch.
    fn fill(&mut self, only: Option<&str>) {
        let mut bytes = 0;
        while self.batch.len() < BATCH_MESSAGES && bytes < BATCH_BYTES && !self.ended {
            match self.source.next() {
                Some(Ok(message)) if only.is_some_and(|only| message.topic.name != only) => {}
                Some(Ok(message)) => {
                    bytes += message.data.len();
                    self.batch.push_back(message);
                }
                Some(Err(error)) => {
                    self.failed = Some(error);
                    self.ended = true;
                }
                None => self.ended = true,
            }
        }
    }

    fn describe(&mut self, py: Python<'_>, topic: &Arc<recording::Topic>) -> Result<Arc<Described>> {
        let address = Arc::as_ptr(topic) as usize;
        if let Some((_, described)) = self.topics.get(&address) {
            return Ok(described.clone());
        }
        let described = Arc::new(Described {
            name: PyString::intern(py, &topic.name).unbind(),
            encoding: PyString::intern(py, &topic.encoding).unbind(),
            schema: topic.schema.clone().map(|schema| Py::new(py, Schema::from(schema))).transpose()?,
            decoding: PyOnceLock::new(),
        });
        self.topics.insert(address, (topic.clone(), described.clone()));
        Ok(described)
    }
}

#[pymethods]
impl Messages {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> Result<Option<Bound<'py, PyAny>>> {
        self.with(|reading| {
            if reading.batch.is_empty() && !reading.ended {
                py.check_signals()?;
                py.detach(|| reading.fill(self.only.as_deref()));
            }
            let Some(message) = reading.batch.pop_front() else {
                return reading.failed.take().map_or(Ok(None), |error| Err(error.into()));
            };
            let described = reading.describe(py, &message.topic)?;
            if self.raw {
                let data = PyBytes::new(py, &message.data);
                let tuple = (described.name.bind(py), message.log_time_ns, message.publish_time_ns, data);
                return Ok(Some(tuple.into_pyobject(py)?.into_any()));
            }
            let (data, value, fields) = (PyOnceLock::new(), PyOnceLock::new(), PyOnceLock::new());
            let message = Message { message, described, data, value, fields };
            Ok(Some(Bound::new(py, message)?.into_any()))
        })
    }

    /// What of the asked messages cannot be read, as far as the iteration has come.
    #[getter]
    fn losses<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        self.with(|reading| from_json(py, &reading.source.losses()))
    }

    /// Makes `Messages[Message]` an annotation.
    #[classmethod]
    #[pyo3(signature = (item, /))]
    fn __class_getitem__<'py>(class: &Bound<'py, PyType>, item: &Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>> {
        Ok(class.py().import("types")?.getattr("GenericAlias")?.call1((class, item))?)
    }

    fn __repr__(&self) -> String {
        format!("<tapeloop.Messages of {}>", self.about)
    }
}

/// One message.
#[pyclass(frozen, weakref, module = "tapeloop")]
pub(crate) struct Message {
    message: recording::Message,
    described: Arc<Described>,
    data: PyOnceLock<Py<PyBytes>>,
    value: PyOnceLock<Py<PyAny>>,
    fields: PyOnceLock<Py<PyAny>>,
}

impl Message {
    fn decoding(&self, py: Python<'_>) -> Result<&Decoding> {
        self.described.decoding.get_or_try_init(py, || Decoding::of(py, &self.message.topic))
    }
}

#[pymethods]
impl Message {
    /// The topic's name.
    #[getter]
    fn topic(&self, py: Python<'_>) -> Py<PyString> {
        self.described.name.clone_ref(py)
    }

    /// When it was recorded; ns UTC.
    #[getter]
    fn log_time(&self) -> i64 {
        self.message.log_time_ns
    }

    /// When it was published; ns UTC.
    #[getter]
    fn publish_time(&self) -> i64 {
        self.message.publish_time_ns
    }

    /// MCAP's sequence field.
    #[getter]
    fn sequence(&self) -> u32 {
        self.message.sequence
    }

    /// How the payload is encoded: `json`, `cdr`, …
    #[getter]
    fn encoding(&self, py: Python<'_>) -> Py<PyString> {
        self.described.encoding.clone_ref(py)
    }

    /// The definition of the payload, if there is one.
    #[getter]
    fn schema(&self, py: Python<'_>) -> Option<Py<Schema>> {
        self.described.schema.as_ref().map(|schema| schema.clone_ref(py))
    }

    /// The name of the payload's type, or an empty text.
    #[getter(r#type)]
    fn type_name(&self) -> &str {
        self.message.topic.type_name()
    }

    /// The payload.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.data.get_or_init(py, || PyBytes::new(py, &self.message.data).unbind()).bind(py).clone()
    }

    /// The payload, decoded: a dict; of images and arrays a numpy array, where they can be unpacked.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        if let Some(value) = self.value.get(py) {
            return Ok(value.bind(py).clone());
        }
        let topic = &self.message.topic;
        let decoding = self.decoding(py)?;
        if let Decoding::Array(..) | Decoding::Picture(..) = decoding {
            // Where it is missing this is told, and not by a value of another kind.
            numpy(py)?;
        }
        let unpacked = match decoding {
            Decoding::Plain => Ok(self.data(py).into_any()),
            Decoding::Json => json_value(py, topic, self.data(py)),
            Decoding::Array(kind, _) => array_value(py, topic, kind, self.data(py)),
            Decoding::Picture(pictures, _) => crate::frames::picture_value(py, pictures, &self.message),
            Decoding::Fields(fields) => fields.value(py, &self.message),
        };
        let value = match (unpacked, decoding) {
            (Err(error), Decoding::Array(..) | Decoding::Picture(..)) if error.is_ours(py) => self.fields(py)?,
            (unpacked, _) => unpacked?,
        };
        Ok(self.value.get_or_init(py, || value.unbind()).bind(py).clone())
    }

    /// The payload as a dict, also of images and arrays; what has no fields is what its value is.
    #[getter]
    fn fields<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        let (Decoding::Array(_, fields) | Decoding::Picture(_, fields)) = self.decoding(py)? else { return self.value(py) };
        if let Some(known) = self.fields.get(py) {
            return Ok(known.bind(py).clone());
        }
        let value = fields.value(py, &self.message)?;
        Ok(self.fields.get_or_init(py, || value.unbind()).bind(py).clone())
    }

    fn __repr__(&self) -> String {
        let message = &self.message;
        let kind = described(message.topic.type_name(), &message.topic.encoding);
        let (topic, when) = (&message.topic.name, time::format_time(message.log_time_ns));
        format!("<tapeloop.Message {topic} at {when}: {kind}, {} bytes>", message.data.len())
    }
}
