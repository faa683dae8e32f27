//! The recorder of `tapeloop.log(…)` and its siblings: one per process, opened at its first use.
//!
//! **Invariant:** a forked child opens its own; the parent's is left alone.

use std::path::PathBuf;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::clip::{Clip, Keep};
use crate::error::Result;
use crate::recorder::{self, Recorder};
use crate::schema::Schema;
use crate::session;

static GLOBAL: Mutex<Option<Py<Recorder>>> = Mutex::new(None);

/// Opens the global recorder, closing the one before it.
#[pyfunction]
#[pyo3(signature = (device=None, *, data=None, keep=None, config=None, socket=None))]
pub(crate) fn init(
    py: Python<'_>,
    device: Option<&str>,
    data: Option<PathBuf>,
    keep: Option<&Bound<'_, PyAny>>,
    config: Option<&Bound<'_, PyAny>>,
    socket: Option<PathBuf>,
) -> Result<Py<Recorder>> {
    let before = GLOBAL.lock().take();
    if let Some(before) = before {
        before.get().close(py, "wait")?;
    }
    let opened = Py::new(py, recorder::recorder(py, device, data, keep, config, socket)?)?;
    *GLOBAL.lock() = Some(opened.clone_ref(py));
    Ok(opened)
}

/// Returns the global recorder.
#[pyfunction]
pub(crate) fn global_recorder(py: Python<'_>) -> Result<Py<Recorder>> {
    if let Some(open) = GLOBAL.lock().as_ref().filter(|recorder| !recorder.get().session.is_closed()) {
        return Ok(open.clone_ref(py));
    }
    let opened = Py::new(py, recorder::recorder(py, None, None, None, None, None)?)?;
    // Another thread may have been faster: then this one is closed again, and both use the same.
    let mut global = GLOBAL.lock();
    let before = match global.as_ref().filter(|recorder| !recorder.get().session.is_closed()) {
        Some(faster) => return Ok(faster.clone_ref(py)),
        None => global.replace(opened.clone_ref(py)),
    };
    drop(global);
    drop(before);
    Ok(opened)
}

/// Logs a value to a topic of the global recorder.
#[pyfunction]
#[pyo3(signature = (
    topic, value, *, log_time=None, publish_time=None, stamp=None, schema=None, encoding=None, latched=None, qos=None,
    publisher=None, frame_id=None
))]
#[expect(clippy::too_many_arguments, reason = "they are keyword arguments in Python")]
pub(crate) fn log(
    py: Python<'_>,
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
    let recorder = global_recorder(py)?;
    recorder.get().log(topic, value, log_time, publish_time, stamp, schema, encoding, latched, qos, publisher, frame_id)
}

/// Keeps a span of the global recorder's tape, and returns at once.
#[pyfunction]
#[pyo3(signature = (*, before=None, after=None, at=None, start=None, end=None, topics=None, why=None, labels=None))]
#[expect(clippy::too_many_arguments, reason = "they are keyword arguments in Python")]
pub(crate) fn save(
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
    global_recorder(py)?.get().save(py, before, after, at, start, end, topics, why, labels)
}

/// Keeps everything from now on, on the global recorder's tape.
#[pyfunction]
#[pyo3(signature = (name, *, before=None, after=None, topics=None, why=None, labels=None))]
pub(crate) fn keep(
    py: Python<'_>,
    name: String,
    before: Option<&Bound<'_, PyAny>>,
    after: Option<&Bound<'_, PyAny>>,
    topics: Option<&Bound<'_, PyAny>>,
    why: Option<String>,
    labels: Option<&Bound<'_, PyDict>>,
) -> Result<Keep> {
    global_recorder(py)?.get().keep(py, name, before, after, topics, why, labels)
}

/// Returns when everything that the global recorder accepted is on the disk.
#[pyfunction]
pub(crate) fn flush(py: Python<'_>) -> Result<()> {
    global_recorder(py)?.get().flush(py)
}

/// Returns the state of the global recorder.
#[pyfunction]
pub(crate) fn status<'py>(py: Python<'py>) -> Result<Bound<'py, PyAny>> {
    global_recorder(py)?.get().status(py)
}

/// Closes every open recorder: called at the end of the process.
#[pyfunction]
pub(crate) fn close_all(py: Python<'_>) -> Result<()> {
    session::close_all(py)
}

/// Notes that this process is the child of a fork.
#[pyfunction]
pub(crate) fn after_fork() {
    session::after_fork();
    // Not freed: its threads stayed in the parent. (The lock may be held by a thread that does not exist here.)
    if let Some(mut global) = GLOBAL.try_lock() {
        std::mem::forget(global.take());
    }
}
