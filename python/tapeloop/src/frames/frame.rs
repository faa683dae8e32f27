//! `tapeloop.Frame`: one picture with what is known of it.
//!
//! **Invariant:** a frame does not change; its pixels are its own.

use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use recording::time;

use crate::error::Result;

/// Everything of a picture but its pixels.
#[derive(Clone)]
pub(crate) struct About {
    pub(crate) topic: Arc<recording::Topic>,
    pub(crate) log_time_ns: i64,
    pub(crate) publish_time_ns: i64,
    pub(crate) stamp_ns: Option<i64>,
    pub(crate) frame_id: String,
    pub(crate) encoding: String,
}

/// One picture.
#[pyclass(frozen, weakref, module = "tapeloop")]
pub(crate) struct Frame {
    about: About,
    pixels: Py<PyAny>,
}

impl Frame {
    pub(crate) fn new(about: About, pixels: Py<PyAny>) -> Self {
        Self { about, pixels }
    }
}

#[pymethods]
impl Frame {
    /// The topic's name.
    #[getter]
    fn topic(&self) -> &str {
        &self.about.topic.name
    }

    /// When it was recorded; ns UTC.
    #[getter]
    fn log_time(&self) -> i64 {
        self.about.log_time_ns
    }

    /// When it was published; ns UTC.
    #[getter]
    fn publish_time(&self) -> i64 {
        self.about.publish_time_ns
    }

    /// When it was taken, as its message says; ns UTC.
    #[getter]
    fn stamp(&self) -> Option<i64> {
        self.about.stamp_ns
    }

    /// The coordinate frame that it was taken in.
    #[getter]
    fn frame_id(&self) -> &str {
        &self.about.frame_id
    }

    /// How the message has it: the name of an encoding, a format or a codec.
    #[getter]
    fn encoding(&self) -> &str {
        &self.about.encoding
    }

    /// Its pixels: a numpy array.
    #[getter]
    fn pixels(&self, py: Python<'_>) -> Py<PyAny> {
        self.pixels.clone_ref(py)
    }

    /// Makes `numpy.asarray(frame)` its pixels.
    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(&self, py: Python<'py>, dtype: Option<Bound<'py, PyAny>>, copy: Option<bool>) -> Result<Bound<'py, PyAny>> {
        let pixels = self.pixels.bind(py);
        match dtype {
            Some(dtype) => Ok(pixels.call_method1(intern!(py, "astype"), (dtype,))?),
            None if copy == Some(true) => Ok(pixels.call_method0(intern!(py, "copy"))?),
            None => Ok(pixels.clone()),
        }
    }

    fn __repr__(&self, py: Python<'_>) -> Result<String> {
        let shape: Vec<usize> = self.pixels.bind(py).getattr(intern!(py, "shape"))?.cast::<PyTuple>()?.extract()?;
        let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
        let (about, when) = (&self.about, time::format_time(self.about.log_time_ns));
        Ok(format!("<tapeloop.Frame {} at {when}: {} from {}>", about.topic.name, shape.join("x"), about.encoding))
    }
}
