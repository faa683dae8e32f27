//! `tapeloop.CompressedImage`: a frame that a camera or an encoder has compressed already.
//!
//! **Invariant:** the bytes are logged as they are.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::{Failure, Result};

/// A JPEG, PNG, … image, logged as `sensor_msgs/msg/CompressedImage`.
#[pyclass(frozen, weakref, module = "tapeloop")]
pub(crate) struct CompressedImage {
    pub(crate) data: Py<PyBytes>,
    pub(crate) format: String,
}

/// How the formats begin that are recognised.
const MAGICS: [(&[u8], &str); 3] = [(b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"RIFF", "webp")];

#[pymethods]
impl CompressedImage {
    /// Returns an image made of its file's bytes; the format is recognised unless it is given.
    #[new]
    #[pyo3(signature = (data, *, format=None))]
    fn new(data: Bound<'_, PyBytes>, format: Option<String>) -> Result<Self> {
        let known = MAGICS.iter().find(|(magic, _)| data.as_bytes().starts_with(magic)).map(|(_, name)| (*name).to_owned());
        let format = format.or(known).ok_or_else(|| Failure::invalid("an image that is neither JPEG, PNG nor WebP needs format="))?;
        Ok(Self { data: data.unbind(), format })
    }

    /// The bytes.
    #[getter]
    fn data(&self, py: Python<'_>) -> Py<PyBytes> {
        self.data.clone_ref(py)
    }

    /// `jpeg`, `png`, …
    #[getter]
    fn format(&self) -> &str {
        &self.format
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("CompressedImage(<{} bytes>, format={:?})", self.data.bind(py).as_bytes().len(), self.format)
    }
}
