//! `tapeloop.Recorder` and `tapeloop.Topic`: what programs log into.
//!
//! In come Python calls, out go messages and captures.
//!
//! **Invariant:** an argument that is left out costs nothing; every call that may wait gives up the interpreter's lock.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use recording::{key, size, time};
use robot::{Config, KeepRequest, Leave, SaveRequest, Times, places};

use crate::argument::{duration_ns, from_json, labels, patterns, time_ns};
use crate::clip::{Clip, Keep, length, when};
use crate::error::{Failure, Result};
use crate::json;
use crate::qos;
use crate::schema::Schema;
use crate::session::{Meta, Pending, Session, say};
use crate::topics;

/// Records into the local agent, or onto a tape of its own.
#[pyclass(frozen, weakref, module = "tapeloop")]
pub(crate) struct Recorder {
    pub(crate) session: Arc<Session>,
}

/// Opens a recorder: see [`Recorder`].
#[pyfunction]
#[pyo3(signature = (device=None, *, data=None, keep=None, config=None, socket=None))]
pub(crate) fn recorder(
    py: Python<'_>,
    device: Option<&str>,
    data: Option<PathBuf>,
    keep: Option<&Bound<'_, PyAny>>,
    config: Option<&Bound<'_, PyAny>>,
    socket: Option<PathBuf>,
) -> Result<Recorder> {
    if let Some(device) = device {
        key::check_name("device", device)?;
    }
    let opened = match (data, socket) {
        (Some(_), Some(_)) => return Err(Failure::invalid("data= records into a folder and socket= into an agent: say one of them")),
        (None, Some(socket)) => {
            if keep.is_some() || config.is_some() {
                return Err(Failure::invalid("keep= and config= are for a tape of this process; an agent has its own configuration"));
            }
            let name = client_name(py, device)?;
            py.detach(|| robot::Recorder::agent(&socket, &name))?
        }
        (None, None) if keep.is_none() && config.is_none() => return find(py, device),
        (data, None) => {
            let root = data.map_or_else(places::default_data_dir, Ok)?;
            let mut chosen = match (config, keep) {
                (Some(_), Some(_)) => {
                    return Err(Failure::invalid("keep= makes a configuration of one buffer: say either keep= or config="));
                }
                (Some(config), None) => read_config(config)?,
                (None, keep) => one_buffer(keep)?,
            };
            if let Some(device) = device {
                chosen.device = Some(device.to_owned());
            }
            // Clips name files below it, also after the program changes its folder.
            let root = std::path::absolute(&root).map_err(|error| recording::Error::io(format!("no folder {}", root.display()), error))?;
            py.detach(|| robot::Recorder::embedded(&root, chosen))?
        }
    };
    Ok(Recorder { session: Session::new(opened) })
}

/// Uses the local agent, or else the default folder, and says so.
fn find(py: Python<'_>, device: Option<&str>) -> Result<Recorder> {
    let name = client_name(py, device)?;
    let opened = py.detach(|| robot::Recorder::find(&name))?;
    let session = Session::new(opened);
    if !session.recorder()?.is_agent() {
        static SAID: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
        let folder = session.root().unwrap_or_default();
        let is_news = {
            let mut said = SAID.lock();
            let is_news = !said.contains(&folder);
            said.push(folder.clone());
            is_news
        };
        if is_news {
            say(py, &format!("tapeloop: no agent answered, recording to {}\n", folder.display()));
        }
    }
    Ok(Recorder { session })
}

fn client_name(py: Python<'_>, device: Option<&str>) -> Result<String> {
    match device {
        Some(device) => Ok(device.to_owned()),
        None => Ok(key::to_name(&py.import("socket")?.call_method0("gethostname")?.extract::<String>()?)),
    }
}

/// Returns the configuration of one disk buffer for every topic.
fn one_buffer(keep: Option<&Bound<'_, PyAny>>) -> Result<Config> {
    let Some(keep) = keep else { return Ok(Config::empty()) };
    if let Ok(text) = keep.cast::<PyString>() {
        let text = text.to_string_lossy();
        if let Ok(size_bytes) = size::parse(&text)
            && time::parse_duration(&text).is_err()
        {
            let mut config = Config::empty();
            config.buffers[0].size_bytes = Some(size_bytes);
            return Ok(config);
        }
    }
    match duration_ns(keep)? {
        0 => Err(Failure::invalid("keep= of nothing; write how much to keep, like '10 min' or '20 GB'")),
        age_ns => Ok(Config::one_disk_buffer(age_ns)),
    }
}

/// Reads a configuration: TOML text, the path of a file, or a dict.
fn read_config(config: &Bound<'_, PyAny>) -> Result<Config> {
    if let Ok(dict) = config.cast::<PyDict>() {
        let mut text = Vec::new();
        json::encode_message(dict, &mut text)?;
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(|error| Failure::invalid(format!("config= {error}")))?;
        let toml = toml::to_string(&value).map_err(|error| Failure::invalid(format!("config= cannot be written as TOML: {error}")))?;
        return Ok(Config::parse(&toml, "config=")?);
    }
    if let Ok(text) = config.cast::<PyString>() {
        let text = text.to_string_lossy();
        // A path has no line breaks and no assignments; an empty text is an empty configuration.
        if text.contains(['\n', '=']) || text.trim().is_empty() {
            return Ok(Config::parse(&text, "config=")?);
        }
    }
    let path: PathBuf = config.extract().map_err(|_| Failure::invalid("config= is a path, TOML text or a dict"))?;
    let shown = path.display().to_string();
    let text =
        std::fs::read_to_string(&path).map_err(|error| recording::Error::io(format!("cannot read the configuration {shown}"), error))?;
    Ok(Config::parse(&text, &shown)?)
}

/// Returns what `pending=` asks for.
pub(crate) fn pending(text: &str) -> Result<Pending> {
    match text {
        "wait" => Ok(Pending::Wait { limit: None }),
        "cut" => Ok(Pending::Leave(Leave::CutShort)),
        "resume" => Ok(Pending::Leave(Leave::Resume)),
        _ => Err(Failure::invalid(format!("pending='{text}'; one of 'wait', 'cut' and 'resume'"))),
    }
}

#[pymethods]
impl Recorder {
    /// Logs a value to a topic.
    #[pyo3(signature = (
        topic, value, *, log_time=None, publish_time=None, stamp=None, schema=None, encoding=None, latched=None, qos=None,
        publisher=None, frame_id=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "they are keyword arguments in Python")]
    pub(crate) fn log(
        &self,
        topic: &Bound<'_, PyString>,
        value: &Bound<'_, PyAny>,
        log_time: Option<&Bound<'_, PyAny>>,
        publish_time: Option<&Bound<'_, PyAny>>,
        stamp: Option<&Bound<'_, PyAny>>,
        schema: Option<&Bound<'_, Schema>>,
        encoding: Option<&str>,
        latched: Option<bool>,
        qos: Option<&Bound<'_, PyDict>>,
        publisher: Option<&str>,
        frame_id: Option<&str>,
    ) -> Result<()> {
        let topic = self.session.topic(topic)?;
        if latched.is_some() || qos.is_some() {
            topic.set(latched, qos.map(qos::parse).transpose()?);
        }
        let meta = Meta {
            times: times(log_time, publish_time)?,
            stamp_ns: stamp.map(time_ns).transpose()?,
            frame_id,
            publisher: publisher.unwrap_or(""),
            schema: schema.map(Bound::get),
            encoding,
        };
        self.session.log(&topic, value, meta)
    }

    /// Returns a handle that logs to one topic.
    #[pyo3(signature = (name, *, schema=None, encoding=None, latched=None, qos=None, publisher=None, frame_id=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keyword arguments in Python")]
    fn topic(
        &self,
        name: &Bound<'_, PyString>,
        schema: Option<Py<Schema>>,
        encoding: Option<String>,
        latched: Option<bool>,
        qos: Option<&Bound<'_, PyDict>>,
        publisher: Option<String>,
        frame_id: Option<String>,
    ) -> Result<Topic> {
        let topic = self.session.topic(name)?;
        topic.set(latched, qos.map(qos::parse).transpose()?);
        Ok(Topic { session: self.session.clone(), topic, schema, encoding, publisher: publisher.unwrap_or_default(), frame_id })
    }

    /// Keeps a span of the tape, and returns at once.
    #[pyo3(signature = (*, before=None, after=None, at=None, start=None, end=None, topics=None, why=None, labels=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keyword arguments in Python")]
    pub(crate) fn save(
        &self,
        py: Python<'_>,
        before: Option<&Bound<'_, PyAny>>,
        after: Option<&Bound<'_, PyAny>>,
        at: Option<&Bound<'_, PyAny>>,
        start: Option<&Bound<'_, PyAny>>,
        end: Option<&Bound<'_, PyAny>>,
        topics: Option<&Bound<'_, PyAny>>,
        why: Option<String>,
        labels: Option<&Bound<'_, PyDict>>,
    ) -> Result<Clip> {
        let request = SaveRequest {
            before: before.map(length).transpose()?,
            after: after.map(length).transpose()?,
            at: at.map(when).transpose()?,
            start: start.map(when).transpose()?,
            end: end.map(when).transpose()?,
            topics: patterns(topics)?,
            why,
            labels: self::labels(labels)?,
            by: "python".to_owned(),
        };
        let recorder = self.session.recorder()?;
        let manifest = py.detach(|| recorder.save(&request))?;
        Ok(Clip::new(&self.session, manifest))
    }

    /// Keeps everything from now on (and from `before`) until it is stopped, or until the `with` block ends.
    #[pyo3(signature = (name, *, before=None, after=None, topics=None, why=None, labels=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keyword arguments in Python")]
    pub(crate) fn keep(
        &self,
        py: Python<'_>,
        name: String,
        before: Option<&Bound<'_, PyAny>>,
        after: Option<&Bound<'_, PyAny>>,
        topics: Option<&Bound<'_, PyAny>>,
        why: Option<String>,
        labels: Option<&Bound<'_, PyDict>>,
    ) -> Result<Keep> {
        let after_ns = after.map(duration_ns).transpose()?;
        let request = KeepRequest {
            name: name.clone(),
            before: before.map(length).transpose()?,
            topics: patterns(topics)?,
            why,
            labels: self::labels(labels)?,
            by: "python".to_owned(),
        };
        let recorder = self.session.recorder()?;
        let manifest = py.detach(|| recorder.keep_start(&request))?;
        Keep::new(py, &self.session, name, after_ns, manifest)
    }

    /// Returns the recording with this id.
    fn recording(&self, py: Python<'_>, id: &str) -> Result<Clip> {
        let recorder = self.session.recorder()?;
        let manifest = py.detach(|| recorder.recording(id))?;
        Ok(Clip::new(&self.session, manifest))
    }

    /// Returns every recording of this tape, the oldest first.
    fn recordings(&self, py: Python<'_>) -> Result<Vec<Clip>> {
        let recorder = self.session.recorder()?;
        let manifests = py.detach(|| recorder.recordings())?;
        Ok(manifests.into_iter().map(|manifest| Clip::new(&self.session, manifest)).collect())
    }

    /// Returns when everything logged so far is on the disk.
    pub(crate) fn flush(&self, py: Python<'_>) -> Result<()> {
        let recorder = self.session.recorder()?;
        Ok(py.detach(|| recorder.flush())?)
    }

    /// Returns the state of the recorder.
    pub(crate) fn status<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        let recorder = self.session.recorder()?;
        let status = py.detach(|| recorder.status())?;
        from_json(py, &status)
    }

    /// Closes the recorder.
    #[pyo3(signature = (*, pending="wait"))]
    pub(crate) fn close(&self, py: Python<'_>, pending: &str) -> Result<()> {
        self.session.close(py, self::pending(pending)?)
    }

    /// Which recorder this is: `agent at …` or `embedded tape in …`.
    #[getter]
    fn description(&self) -> String {
        self.session.description()
    }

    /// The folder of the tape.
    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> Result<Option<Bound<'py, PyAny>>> {
        self.session.root().map(|root| path(py, &root)).transpose()
    }

    /// Whether it is closed.
    #[getter]
    fn closed(&self) -> bool {
        self.session.is_closed()
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (kind, value, traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: Option<&Bound<'_, PyAny>>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> Result<()> {
        let _ = (kind, value, traceback);
        self.session.close(py, Pending::Wait { limit: None })
    }

    fn __repr__(&self) -> String {
        let state = if self.session.is_closed() { ", closed" } else { "" };
        format!("<tapeloop.Recorder: {}{state}>", self.session.description())
    }
}

/// Logs to one topic of a recorder.
#[pyclass(frozen, weakref, module = "tapeloop")]
pub(crate) struct Topic {
    session: Arc<Session>,
    topic: Arc<topics::Topic>,
    schema: Option<Py<Schema>>,
    encoding: Option<String>,
    publisher: String,
    frame_id: Option<String>,
}

#[pymethods]
impl Topic {
    /// Logs a value.
    #[pyo3(signature = (value, *, log_time=None, publish_time=None, stamp=None))]
    fn log(
        &self,
        value: &Bound<'_, PyAny>,
        log_time: Option<&Bound<'_, PyAny>>,
        publish_time: Option<&Bound<'_, PyAny>>,
        stamp: Option<&Bound<'_, PyAny>>,
    ) -> Result<()> {
        let meta = Meta {
            times: times(log_time, publish_time)?,
            stamp_ns: stamp.map(time_ns).transpose()?,
            frame_id: self.frame_id.as_deref(),
            publisher: &self.publisher,
            schema: self.schema.as_ref().map(Py::get),
            encoding: self.encoding.as_deref(),
        };
        self.session.log(&self.topic, value, meta)
    }

    /// The topic's name.
    #[getter]
    fn name(&self) -> &str {
        &self.topic.name
    }

    fn __repr__(&self) -> String {
        format!("<tapeloop.Topic {} of {}>", self.topic.name, self.session.description())
    }
}

#[inline]
fn times(log_time: Option<&Bound<'_, PyAny>>, publish_time: Option<&Bound<'_, PyAny>>) -> Result<Times> {
    Ok(Times { log_time_ns: log_time.map(time_ns).transpose()?, publish_time_ns: publish_time.map(time_ns).transpose()? })
}

/// Returns a `pathlib.Path`.
pub(crate) fn path<'py>(py: Python<'py>, path: &Path) -> Result<Bound<'py, PyAny>> {
    Ok(py.import(intern!(py, "pathlib"))?.getattr(intern!(py, "Path"))?.call1((path,))?)
}
