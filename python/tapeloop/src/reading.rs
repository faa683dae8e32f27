//! `tapeloop.open` and what it returns: recordings, their topics, their messages.
//!
//! In comes a path, out come messages in the order of their log times. Messages are read in batches without the
//! interpreter's lock; a payload is decoded when somebody asks for its value.
//!
//! **Invariant:** damaged data never raises while messages are read: it is in `losses`.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString, PyType};
use recording::mcap::chunk::Compression;
use recording::read::{self, ExportOptions, Info};
use recording::{Error, Kind, Span, TopicFilter, time};

use crate::argument::{filter, from_json, span};
use crate::error::{Failure, Result};
use crate::recorder::path;
use crate::schema::Schema;

/// How many messages are read at once, at most.
const BATCH_MESSAGES: usize = 256;
/// How many payload bytes are read at once, unless one message is larger.
const BATCH_BYTES: usize = 1 << 20;

/// Opens a recording: an MCAP file, a folder of a ROS 2 bag, a clip's manifest or a tape's folder.
#[pyfunction]
#[pyo3(signature = (path))]
pub(crate) fn open(py: Python<'_>, path: PathBuf) -> Result<Recording> {
    Recording::open(py, path)
}

/// Something recorded, opened for reading.
#[pyclass(frozen, weakref, module = "tapeloop")]
pub(crate) struct Recording {
    inner: read::Recording,
    info: Mutex<Option<Arc<Info>>>,
}

impl Recording {
    pub(crate) fn open(py: Python<'_>, path: PathBuf) -> Result<Self> {
        let inner = py.detach(|| read::open(&path))?;
        Ok(Self { inner, info: Mutex::default() })
    }

    pub(crate) fn read(
        &self,
        py: Python<'_>,
        topics: Option<&Bound<'_, PyAny>>,
        start: Option<&Bound<'_, PyAny>>,
        end: Option<&Bound<'_, PyAny>>,
        raw: bool,
    ) -> Result<Messages> {
        Messages::new(py, &self.inner, &filter(topics)?, span(start, end)?, raw, None)
    }

    pub(crate) fn view(&self, topic: &str) -> Result<TopicView> {
        let all = self.own_topics();
        let topics: Vec<_> = all.iter().filter(|known| known.name == topic).cloned().collect();
        if topics.is_empty() {
            let mut names: Vec<&str> = all.iter().map(|topic| topic.name.as_str()).collect();
            names.dedup();
            const SHOWN: usize = 8;
            let more = if names.len() > SHOWN { ", …" } else { "" };
            names.truncate(SHOWN);
            return Err(Failure::Ours(Error::not_found(format!("no topic '{topic}' here; there are {}{more}", names.join(", ")))));
        }
        Ok(TopicView { inner: self.inner.clone(), info: self.info.lock().clone(), topics })
    }

    /// Returns the topics it has: of a recording on a tape those that it keeps, not what else its segments hold.
    fn own_topics(&self) -> Vec<Arc<recording::Topic>> {
        let topics = self.inner.topics().iter();
        let Some(manifest) = self.inner.manifest() else { return topics.cloned().collect() };
        let asked = TopicFilter::parse(&manifest.asked.topics).unwrap_or_default();
        let kept = |name: &str| manifest.kept.iter().any(|kept| kept.topic == name);
        topics.filter(|topic| asked.matches(&topic.name) || kept(&topic.name)).cloned().collect()
    }

    pub(crate) fn topics_dict<'py>(recording: &Self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for topic in &recording.own_topics() {
            if !dict.contains(&topic.name)? {
                dict.set_item(&topic.name, recording.view(&topic.name)?)?;
            }
        }
        Ok(dict)
    }

    pub(crate) fn write<'py>(
        &self,
        py: Python<'py>,
        path: PathBuf,
        topics: Option<&Bound<'py, PyAny>>,
        start: Option<&Bound<'py, PyAny>>,
        end: Option<&Bound<'py, PyAny>>,
        compression: &str,
    ) -> Result<Bound<'py, PyAny>> {
        let (filter, span) = (filter(topics)?, span(start, end)?);
        let options = ExportOptions { compression: parse_compression(compression)? };
        let report = py.detach(|| read::export(&self.inner, &filter, span, &path, options, &mut |_| {}))?;
        from_json(py, &report)
    }

    /// Returns the counts, from the last full pass if there was one.
    fn counted(&self, py: Python<'_>) -> Result<Arc<Info>> {
        if let Some(info) = self.info.lock().clone() {
            return Ok(info);
        }
        let info = Arc::new(py.detach(|| self.inner.info())?);
        *self.info.lock() = Some(info.clone());
        Ok(info)
    }
}

#[pymethods]
impl Recording {
    /// Where it is.
    #[getter(path)]
    fn py_path<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        path(py, self.inner.path())
    }

    /// `mcap`, `rosbag2`, `recording` or `tape`.
    #[getter]
    fn format(&self) -> &'static str {
        self.inner.format()
    }

    /// Its topics, by name.
    #[getter]
    fn topics<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        Self::topics_dict(self, py)
    }

    /// What is missing: lost when it was recorded, or damaged since.
    #[getter]
    fn losses<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        from_json(py, &self.counted(py)?.losses)
    }

    /// Counts and checks every message.
    fn info<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        let info = self.counted(py)?;
        from_json(py, &*info)
    }

    /// Iterates over messages in the order of their log times.
    #[pyo3(signature = (topics=None, *, start=None, end=None, raw=false))]
    fn messages(
        &self,
        py: Python<'_>,
        topics: Option<&Bound<'_, PyAny>>,
        start: Option<&Bound<'_, PyAny>>,
        end: Option<&Bound<'_, PyAny>>,
        raw: bool,
    ) -> Result<Messages> {
        self.read(py, topics, start, end, raw)
    }

    /// Writes a standalone MCAP file.
    #[pyo3(signature = (path, *, topics=None, start=None, end=None, compression="zstd"))]
    #[expect(clippy::too_many_arguments, reason = "they are keyword arguments in Python")]
    fn export<'py>(
        &self,
        py: Python<'py>,
        path: PathBuf,
        topics: Option<&Bound<'py, PyAny>>,
        start: Option<&Bound<'py, PyAny>>,
        end: Option<&Bound<'py, PyAny>>,
        compression: &str,
    ) -> Result<Bound<'py, PyAny>> {
        self.write(py, path, topics, start, end, compression)
    }

    fn __getitem__(&self, topic: &str) -> Result<TopicView> {
        self.view(topic)
    }

    fn __contains__(&self, topic: &str) -> bool {
        self.own_topics().iter().any(|known| known.name == topic)
    }

    fn __iter__(&self, py: Python<'_>) -> Result<Messages> {
        Messages::new(py, &self.inner, &TopicFilter::all(), Span::ALL, false, None)
    }

    fn __repr__(&self) -> String {
        let counted = match &*self.info.lock() {
            None => String::new(),
            Some(info) => {
                let length = info.start_ns.zip(info.end_ns).map_or(0, |(start_ns, end_ns)| end_ns.saturating_sub(start_ns));
                let losses = if info.losses.is_empty() { String::new() } else { format!(", {} losses", info.losses.len()) };
                format!(", {} messages, {}{losses}", info.messages, time::format_duration(length))
            }
        };
        let (path, topics) = (self.inner.path().display(), self.own_topics().len());
        format!("<tapeloop.Recording {path}: {}, {topics} topics{counted}>", self.inner.format())
    }
}

/// One topic of a recording.
#[pyclass(frozen, weakref, module = "tapeloop")]
pub(crate) struct TopicView {
    inner: read::Recording,
    info: Option<Arc<Info>>,
    /// More than one where its schema changed.
    topics: Vec<Arc<recording::Topic>>,
}

impl TopicView {
    fn unique<'a>(&'a self, text: impl Fn(&'a recording::Topic) -> &'a str) -> String {
        let mut texts: Vec<&str> = Vec::new();
        for topic in &self.topics {
            if !texts.contains(&text(topic)) {
                texts.push(text(topic));
            }
        }
        texts.join(", ")
    }

    fn name(&self) -> &str {
        self.topics.first().map_or("", |topic| &topic.name)
    }
}

#[pymethods]
impl TopicView {
    /// The topic's name.
    #[getter(name)]
    fn py_name(&self) -> &str {
        self.name()
    }

    /// The name of its type; several where its schema changed.
    #[getter(r#type)]
    fn type_name(&self) -> String {
        self.unique(|topic| topic.type_name())
    }

    /// How its payloads are encoded: `json`, `cdr`, …
    #[getter]
    fn encoding(&self) -> String {
        self.unique(|topic| &topic.encoding)
    }

    /// Its schemas, in the order of the channels.
    #[getter]
    fn schemas(&self) -> Vec<Schema> {
        self.topics.iter().filter_map(|topic| topic.schema.clone()).map(Schema::from).collect()
    }

    /// What else is known of it, e.g. its `offered_qos_profiles`.
    #[getter]
    fn metadata(&self) -> BTreeMap<String, String> {
        self.topics.iter().flat_map(|topic| topic.metadata.clone()).collect()
    }

    /// Iterates over its messages in the order of their log times.
    #[pyo3(signature = (*, start=None, end=None, raw=false))]
    fn messages(&self, py: Python<'_>, start: Option<&Bound<'_, PyAny>>, end: Option<&Bound<'_, PyAny>>, raw: bool) -> Result<Messages> {
        // The name may look like a pattern: then that one reads too much, and the name chooses.
        let filter = TopicFilter::parse(&[self.name()]).unwrap_or_default();
        let filter = if filter.matches(self.name()) { filter } else { TopicFilter::all() };
        Messages::new(py, &self.inner, &filter, span(start, end)?, raw, Some(self.name().to_owned()))
    }

    fn __iter__(&self, py: Python<'_>) -> Result<Messages> {
        self.messages(py, None, None, false)
    }

    fn __len__(&self, py: Python<'_>) -> Result<usize> {
        let info = match &self.info {
            Some(info) => info.clone(),
            None => Arc::new(py.detach(|| self.inner.info())?),
        };
        let own = info.topics.iter().filter(|topic| topic.topic == self.name());
        Ok(own.map(|topic| topic.messages as usize).sum())
    }

    fn __bool__(&self) -> bool {
        true
    }

    fn __repr__(&self) -> String {
        format!("<tapeloop.TopicView {}: {} as {}>", self.name(), self.type_name(), self.encoding())
    }
}

/// Iterates over messages.
#[pyclass(frozen, weakref, module = "tapeloop")]
pub(crate) struct Messages {
    /// Taken out while messages are read, so that no lock is held meanwhile.
    state: Mutex<Option<Reading>>,
    only: Option<String>,
    raw: bool,
}

struct Reading {
    source: read::Messages,
    batch: VecDeque<recording::Message>,
    failed: Option<Error>,
    ended: bool,
    topics: HashMap<usize, (Arc<recording::Topic>, Arc<Described>)>,
}

/// What all messages of a topic share.
struct Described {
    name: Py<PyString>,
    encoding: Py<PyString>,
    schema: Option<Py<Schema>>,
}

impl Messages {
    fn new(py: Python<'_>, recording: &read::Recording, filter: &TopicFilter, span: Span, raw: bool, only: Option<String>) -> Result<Self> {
        let source = py.detach(|| recording.messages(filter, span))?;
        let reading = Reading { source, batch: VecDeque::new(), failed: None, ended: false, topics: HashMap::new() };
        Ok(Self { state: Mutex::new(Some(reading)), only, raw })
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
            let message = Message { message, described, data: PyOnceLock::new(), value: PyOnceLock::new() };
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
        "<tapeloop.Messages>".to_owned()
    }
}

/// One message.
#[pyclass(frozen, weakref, module = "tapeloop")]
pub(crate) struct Message {
    message: recording::Message,
    described: Arc<Described>,
    data: PyOnceLock<Py<PyBytes>>,
    value: PyOnceLock<Py<PyAny>>,
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

    /// The payload, decoded.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        static DECODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        if let Some(value) = self.value.get(py) {
            return Ok(value.bind(py).clone());
        }
        let decode = DECODE.import(py, "tapeloop._decode", "decode")?;
        let value = decode.call1((self.topic(py), self.encoding(py), self.type_name(), self.data(py)))?;
        Ok(self.value.get_or_init(py, || value.unbind()).bind(py).clone())
    }

    fn __repr__(&self) -> String {
        let message = &self.message;
        let kind = match message.topic.type_name() {
            "" => String::new(),
            name => format!("{name} as "),
        };
        let (topic, when) = (&message.topic.name, time::format_time(message.log_time_ns));
        format!("<tapeloop.Message {topic} at {when}: {kind}{}, {} bytes>", message.topic.encoding, message.data.len())
    }
}

fn parse_compression(text: &str) -> Result<Compression> {
    let level = text.strip_prefix("zstd(").and_then(|rest| rest.strip_suffix(')')).and_then(|level| level.parse().ok());
    match (text, level) {
        ("none", _) => Ok(Compression::None),
        ("lz4", _) => Ok(Compression::Lz4),
        ("zstd", _) => Ok(ExportOptions::default().compression),
        (_, Some(level @ 1..=22)) => Ok(Compression::Zstd(level)),
        _ => Err(Failure::invalid(format!("compression='{text}'; one of 'none', 'lz4', 'zstd' and 'zstd(1)' to 'zstd(22)'"))),
    }
}
