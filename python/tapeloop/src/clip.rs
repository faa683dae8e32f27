//! `tapeloop.Clip` and `tapeloop.Keep`: a kept span of the tape, and one that is still being kept.
//!
//! In comes the manifest of a recording, out come its state, its report and its messages.
//!
//! **Invariant:** a clip stays readable after its recorder is closed: then its manifest is read from the disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use recording::manifest::State;
use recording::{Error, Kind, Manifest, key, time};
use robot::clock::{Clock, SystemClock};
use robot::{Length, When};
use serde_json::json;

use crate::argument::{duration_ns, from_json, time_ns};
use crate::error::{Failure, Result};
use crate::frames::Frames;
use crate::reading::{Messages, Recording, TopicView};
use crate::recorder::path;
use crate::session::{SIGNAL_INTERVAL, Session};
use crate::table::Table;

/// A kept span of the tape.
#[pyclass(frozen, weakref, module = "tapeloop")]
pub(crate) struct Clip {
    session: Arc<Session>,
    manifest: Mutex<Manifest>,
}

impl Clip {
    /// Returns the clip of a recording that was just asked for or looked up.
    pub(crate) fn new(session: &Arc<Session>, manifest: Manifest) -> Self {
        session.note_pending(&manifest);
        Self { session: session.clone(), manifest: Mutex::new(manifest) }
    }

    fn id(&self) -> String {
        self.manifest.lock().recording.clone()
    }

    /// Returns the manifest as it is now.
    fn latest(&self, py: Python<'_>) -> Result<Manifest> {
        let known = self.manifest.lock().clone();
        if known.is_final() {
            return Ok(known);
        }
        let fresh = match self.session.recorder() {
            Ok(recorder) => py.detach(|| recorder.recording(&known.recording))?,
            Err(closed) => self.stored(&known).ok_or(closed)?,
        };
        *self.manifest.lock() = fresh.clone();
        Ok(fresh)
    }

    fn stored(&self, known: &Manifest) -> Option<Manifest> {
        Manifest::parse(&std::fs::read(self.manifest_path(known)?).ok()?).ok()
    }

    fn manifest_path(&self, manifest: &Manifest) -> Option<PathBuf> {
        Some(self.session.root()?.join(key::manifest(&manifest.device, &manifest.recording)))
    }

    fn path_on_disk(&self) -> Result<PathBuf> {
        let manifest = self.manifest.lock().clone();
        self.manifest_path(&manifest).ok_or_else(|| {
            Failure::Ours(Error::not_found(format!("the agent did not say where it keeps recording {}", manifest.recording)))
        })
    }
}

#[pymethods]
impl Clip {
    /// The recording's id, unique for ever.
    #[getter(id)]
    fn py_id(&self) -> String {
        self.id()
    }

    /// The name it was kept under.
    #[getter]
    fn name(&self) -> Option<String> {
        self.manifest.lock().name.clone()
    }

    /// `keeping`, `completing`, `complete` or `cut_short`.
    #[getter]
    fn state(&self, py: Python<'_>) -> Result<&'static str> {
        Ok(state_name(self.latest(py)?.state))
    }

    /// What was asked, what was kept, what is missing and why.
    #[getter]
    fn report<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        let manifest = self.latest(py)?;
        let report = json!({
            "recording": manifest.recording,
            "state": state_name(manifest.state),
            "start_ns": manifest.span.start_ns,
            "end_ns": manifest.span.end_ns,
            "asked": manifest.asked,
            "kept": manifest.kept,
            "missing": manifest.missing,
            "segments": manifest.segments,
        });
        from_json(py, &report)
    }

    /// Why it was kept.
    #[getter]
    fn why(&self) -> Option<String> {
        self.manifest.lock().why.clone()
    }

    /// Its labels.
    #[getter]
    fn labels(&self) -> std::collections::BTreeMap<String, String> {
        self.manifest.lock().labels.clone()
    }

    /// Where its span starts; ns UTC.
    #[getter]
    fn start_ns(&self, py: Python<'_>) -> Result<i64> {
        Ok(self.latest(py)?.span.start_ns)
    }

    /// Where its span ends; ns UTC.
    #[getter]
    fn end_ns(&self, py: Python<'_>) -> Result<i64> {
        Ok(self.latest(py)?.span.end_ns)
    }

    /// Its manifest's file, which `tapeloop.open` and the command line read.
    #[getter(path)]
    fn py_path<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        path(py, &self.path_on_disk()?)
    }

    /// Waits until nothing will be added any more, and returns the clip itself.
    #[pyo3(signature = (timeout=None))]
    fn wait(slf: Bound<'_, Self>, timeout: Option<&Bound<'_, PyAny>>) -> Result<Py<Self>> {
        let py = slf.py();
        let clip = slf.get();
        let timeout_ns = timeout.map(duration_ns).transpose()?;
        let begun_ns = SystemClock.monotonic_ns();
        let id = clip.id();
        while !clip.latest(py)?.is_final() {
            let recorder = clip.session.recorder()?;
            let asked_ns = SystemClock.monotonic_ns();
            let left_ns = timeout_ns.map_or(i64::MAX, |timeout_ns| begun_ns.saturating_add(timeout_ns).saturating_sub(asked_ns));
            if left_ns <= 0 {
                let state = state_name(clip.manifest.lock().state);
                return Err(Failure::Ours(Error::unavailable(format!("recording {id} is still {state} after the timeout"))));
            }
            let slice = SIGNAL_INTERVAL.min(Duration::from_nanos(left_ns as u64));
            match py.detach(|| recorder.wait(&id, slice)) {
                Ok(manifest) => *clip.manifest.lock() = manifest,
                // Not yet; an error that came sooner than that is another one.
                Err(error) if error.kind() == Kind::Unavailable && SystemClock.monotonic_ns() - asked_ns >= slice.as_nanos() as i64 => {}
                Err(error) => return Err(error.into()),
            }
            py.check_signals()?;
        }
        Ok(slf.unbind())
    }

    /// Opens the recording for reading, as it is now.
    fn open(&self, py: Python<'_>) -> Result<Recording> {
        if !self.manifest.lock().is_final()
            && let Ok(recorder) = self.session.recorder()
        {
            // What was logged just before may be on its way to its segment still. A disk that fails is told by the next log and
            // not here: what there is can be read.
            drop(py.detach(|| recorder.flush()));
            // Then the recorder names on disk what has come since the recording was asked for.
            self.latest(py)?;
        }
        Recording::open(py, self.path_on_disk()?)
    }

    /// Its topics, by name.
    #[getter]
    fn topics<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        Recording::topics_dict(&self.open(py)?, py)
    }

    /// Iterates over its messages in the order of their log times.
    #[pyo3(signature = (topics=None, *, start=None, end=None, raw=false))]
    fn messages(
        &self,
        py: Python<'_>,
        topics: Option<&Bound<'_, PyAny>>,
        start: Option<&Bound<'_, PyAny>>,
        end: Option<&Bound<'_, PyAny>>,
        raw: bool,
    ) -> Result<Messages> {
        self.open(py)?.read(py, topics, start, end, raw)
    }

    /// Iterates over the pictures of cameras, as numpy arrays.
    #[pyo3(signature = (topics=None, *, start=None, end=None, format="rgb"))]
    fn frames(
        &self,
        py: Python<'_>,
        topics: Option<&Bound<'_, PyAny>>,
        start: Option<&Bound<'_, PyAny>>,
        end: Option<&Bound<'_, PyAny>>,
        format: &str,
    ) -> Result<Frames> {
        self.open(py)?.frames(py, topics, start, end, format)
    }

    /// Puts fields of many topics onto one grid of time.
    #[pyo3(signature = (*, hz, topics=None, columns=None, time="log_time", method="previous", max_age=None, start=None, end=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn align(
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
        self.open(py)?.align(py, hz, topics, columns, time, method, max_age, start, end)
    }

    /// Counts and checks every message.
    fn info<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        self.open(py)?.info(py)
    }

    /// What is missing: lost when it was recorded, or damaged since.
    #[getter]
    fn losses<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        self.open(py)?.losses(py)
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
        self.open(py)?.write(py, path, topics, start, end, compression)
    }

    fn __contains__(&self, py: Python<'_>, topic: &str) -> Result<bool> {
        Ok(self.open(py)?.__contains__(topic))
    }

    fn __iter__(&self, py: Python<'_>) -> Result<Messages> {
        self.messages(py, None, None, None, false)
    }

    fn __getitem__(&self, py: Python<'_>, topic: &str) -> Result<TopicView> {
        self.open(py)?.view(topic)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let manifest = self.latest(py).unwrap_or_else(|_| self.manifest.lock().clone());
        let name = manifest.name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
        let length = time::format_duration(manifest.span.end_ns.saturating_sub(manifest.span.start_ns));
        let missing = if manifest.missing.is_empty() { String::new() } else { format!(", {} missing", manifest.missing.len()) };
        let state = state_name(manifest.state);
        format!("<tapeloop.Clip {}{name}: {state}, {length}, {} topics{missing}>", manifest.recording, manifest.kept.len())
    }
}

/// A span that is being kept until it is stopped.
#[pyclass(frozen, weakref, module = "tapeloop")]
pub(crate) struct Keep {
    session: Arc<Session>,
    name: String,
    after_ns: Option<i64>,
    clip: Py<Clip>,
    stopped: Mutex<bool>,
}

impl Keep {
    pub(crate) fn new(py: Python<'_>, session: &Arc<Session>, name: String, after_ns: Option<i64>, manifest: Manifest) -> Result<Self> {
        let clip = Py::new(py, Clip::new(session, manifest))?;
        Ok(Self { session: session.clone(), name, after_ns, clip, stopped: Mutex::new(false) })
    }
}

#[pymethods]
impl Keep {
    /// Ends it, now or `after` from now, and returns its clip; a second time does nothing.
    #[pyo3(signature = (*, after=None))]
    fn stop(&self, py: Python<'_>, after: Option<&Bound<'_, PyAny>>) -> Result<Py<Clip>> {
        let after_ns = after.map(duration_ns).transpose()?.or(self.after_ns);
        let stopped = *self.stopped.lock();
        if !stopped {
            let recorder = self.session.recorder()?;
            let manifest = py.detach(|| recorder.keep_stop(&self.name, after_ns))?;
            self.session.note_pending(&manifest);
            *self.clip.get().manifest.lock() = manifest;
            *self.stopped.lock() = true;
        }
        Ok(self.clip.clone_ref(py))
    }

    /// The recording.
    #[getter]
    fn clip(&self, py: Python<'_>) -> Py<Clip> {
        self.clip.clone_ref(py)
    }

    /// The name it is kept under.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    fn __enter__(&self, py: Python<'_>) -> Py<Clip> {
        self.clip.clone_ref(py)
    }

    #[pyo3(signature = (kind, value, traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: Option<&Bound<'_, PyAny>>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> Result<()> {
        let _ = (value, traceback);
        match self.stop(py, None) {
            // What went wrong inside of the block is what the program wants to know.
            Err(_) if kind.is_some() => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }

    fn __repr__(&self) -> String {
        let state = if *self.stopped.lock() { "stopped" } else { "keeping" };
        format!("<tapeloop.Keep {:?}: {state}>", self.name)
    }
}

/// Returns a duration as the recorder takes it: text as it is.
pub(crate) fn length(value: &Bound<'_, PyAny>) -> Result<Length> {
    match value.cast::<PyString>() {
        Ok(text) => Ok(Length::Text(text.to_string_lossy().into_owned())),
        Err(_) => Ok(Length::Text(format!("{} ns", duration_ns(value)?))),
    }
}

/// Returns a moment as the recorder takes it: text as it is, because the recorder's clock says what "ago" means.
pub(crate) fn when(value: &Bound<'_, PyAny>) -> Result<When> {
    match value.cast::<PyString>() {
        Ok(text) => Ok(When::Text(text.to_string_lossy().into_owned())),
        Err(_) => Ok(When::Ns(time_ns(value)?)),
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Keeping => "keeping",
        State::Completing => "completing",
        State::Complete => "complete",
        State::CutShort => "cut_short",
    }
}
