//! `tapeloop.open` and what it returns: recordings, their topics, their messages.
//!
//! In comes a path, out come topics, counts, losses, and messages in the order of their log times.
//!
//! **Invariant:** damaged data never raises while messages are read: it is in `losses`.

mod ahead;
mod align;
mod html;
mod messages;
pub(crate) mod plan;
pub(crate) mod rows;
mod value;
mod view;

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use recording::mcap::chunk::Compression;
use recording::read::{self, ExportOptions, Info};
use recording::{Error, Span, TopicFilter, time};

pub(crate) use self::messages::{Message, Messages, about, at};
pub(crate) use self::view::TopicView;
use crate::argument::{self, filter, from_json, span};
use crate::error::{Failure, Result};
use crate::frames::Frames;
use crate::recorder::path;
use crate::table::{Table, warn};

/// How many bytes of unpacked blocks stay in memory for the next topic that is read.
const KEPT_BYTES: usize = 128 << 20;

/// Opens a recording: an MCAP file, a folder of a ROS 2 bag, a clip's manifest or a tape's folder.
#[pyfunction]
#[pyo3(signature = (path))]
pub(crate) fn open(py: Python<'_>, path: &Bound<'_, PyAny>) -> Result<Recording> {
    Recording::open(py, argument::path(path)?)
}

/// Something recorded, opened for reading.
#[pyclass(frozen, weakref, module = "tapeloop")]
pub(crate) struct Recording {
    inner: read::Recording,
    info: Mutex<Option<Arc<Info>>>,
}

impl Recording {
    pub(crate) fn open(py: Python<'_>, path: PathBuf) -> Result<Self> {
        let inner = py.detach(|| read::open(&path))?.keeping(KEPT_BYTES);
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
        let filter = self.known(topics)?;
        Messages::new(py, &self.inner, &filter, span(start, end)?, raw, None)
    }

    pub(crate) fn view(&self, topic: &str) -> Result<TopicView> {
        let all = self.own_topics();
        let topics: Vec<_> = all.iter().filter(|known| known.name == topic).cloned().collect();
        if topics.is_empty() {
            return Err(unknown(topic, &all));
        }
        Ok(TopicView::new(self.inner.clone(), self.info.lock().clone(), topics))
    }

    /// Returns a filter of topics, of which those that are asked for by name are there.
    fn known(&self, topics: Option<&Bound<'_, PyAny>>) -> Result<TopicFilter> {
        let (filter, all) = (filter(topics)?, self.own_topics());
        let missing = filter.names().find(|name| all.iter().all(|topic| topic.name != *name)).map(|name| unknown(name, &all));
        missing.map_or(Ok(filter), Err)
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
    pub(crate) fn losses<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        from_json(py, &self.counted(py)?.losses)
    }

    /// Counts and checks every message.
    pub(crate) fn info<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
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

    /// Iterates over the pictures of cameras, as numpy arrays.
    #[pyo3(signature = (topics=None, *, start=None, end=None, format="rgb"))]
    pub(crate) fn frames(
        &self,
        py: Python<'_>,
        topics: Option<&Bound<'_, PyAny>>,
        start: Option<&Bound<'_, PyAny>>,
        end: Option<&Bound<'_, PyAny>>,
        format: &str,
    ) -> Result<Frames> {
        // A name is meant as it is, even where it looks like a pattern.
        let name = topics.and_then(|topics| topics.extract::<String>().ok()).filter(|name| self.__contains__(name));
        match &name {
            Some(name) => Frames::new(py, &self.inner, &TopicFilter::at_least(name), span(start, end)?, Some(name), format),
            None => Frames::new(py, &self.inner, &self.known(topics)?, span(start, end)?, None, format),
        }
    }

    /// Puts fields of many topics onto one grid of time.
    #[pyo3(signature = (*, hz, topics=None, columns=None, time="log_time", method="previous", max_age=None, start=None, end=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    pub(crate) fn align(
        &self,
        py: Python<'_>,
        hz: f64,
        topics: Option<&Bound<'_, PyAny>>,
        columns: Option<&Bound<'_, PyAny>>,
        time: &str,
        method: &str,
        max_age: Option<&Bound<'_, PyAny>>,
        start: Option<&Bound<'_, PyAny>>,
        end: Option<&Bound<'_, PyAny>>,
    ) -> Result<Table> {
        let own = self.own_topics();
        let wanted = align::Wanted::parse(topics, columns, &own)?;
        let options = align::Options::parse(hz, align::TimeBase::parse(time, &own)?, method, max_age, span(start, end)?)?;
        let aligned = py.detach(|| align::align(&self.inner, wanted, &options))?;
        for (topic, losses) in &aligned.losses {
            warn(py, topic, losses)?;
        }
        Ok(Table::of_batch(aligned.batch, aligned.losses.into_iter().flat_map(|(_, losses)| losses.all).collect()))
    }

    /// Writes a standalone MCAP file.
    #[pyo3(signature = (path, *, topics=None, start=None, end=None, compression="zstd"))]
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

    pub(crate) fn __contains__(&self, topic: &str) -> bool {
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

    fn _repr_html_(&self) -> String {
        html::recording(&self.__repr__(), &self.own_topics(), self.info.lock().as_deref(), &self.inner.outline())
    }
}

/// Says that there is no such topic, and which there are.
fn unknown(name: &str, all: &[Arc<recording::Topic>]) -> Failure {
    const SHOWN: usize = 8;
    let mut names: Vec<&str> = all.iter().map(|topic| topic.name.as_str()).collect();
    names.dedup();
    let more = if names.len() > SHOWN { ", …" } else { "" };
    names.truncate(SHOWN);
    let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Failure::Ours(Error::not_found(format!("no topic '{name}' here; there are {there}{more}")))
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
