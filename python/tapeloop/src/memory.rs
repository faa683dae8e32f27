//! Memory of ours as numpy arrays, without copying it: through the array interface, which needs no numpy to be offered.
//!
//! In come bytes or an Arrow buffer with a shape, out comes an object that `numpy.asarray` takes.
//!
//! **Invariant:** what an array points at lives, unmoved, until the array is gone; what somebody else may read is offered read-only.

use arrow_buffer::Buffer;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule, PyTuple};
use recording::frame::Element;

use crate::error::{Failure, Result};

/// What numpy points at.
#[pyclass(frozen, module = "tapeloop")]
pub(crate) struct Memory {
    owned: Owned,
    shape: Vec<usize>,
    kind: &'static str,
}

enum Owned {
    /// Nobody else has them.
    Bytes(Vec<u8>),
    /// Others may have it too.
    Shared(Buffer),
}

impl Memory {
    /// Returns bytes as an array of this shape whose elements numpy calls `kind`.
    pub(crate) fn of_bytes(bytes: Vec<u8>, shape: Vec<usize>, kind: &'static str) -> Self {
        Self { owned: Owned::Bytes(bytes), shape, kind }
    }

    /// Returns a buffer as an array of this shape whose elements numpy calls `kind`.
    pub(crate) fn of_buffer(buffer: Buffer, shape: Vec<usize>, kind: &'static str) -> Self {
        Self { owned: Owned::Shared(buffer), shape, kind }
    }

    /// Returns the numpy array.
    pub(crate) fn into_array(self, py: Python<'_>) -> Result<Bound<'_, PyAny>> {
        let memory = Bound::new(py, self)?;
        Ok(numpy(py)?.call_method1(intern!(py, "asarray"), (memory,))?)
    }
}

#[pymethods]
impl Memory {
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (pointer, read_only) = match &self.owned {
            Owned::Bytes(bytes) => (bytes.as_ptr(), false),
            Owned::Shared(buffer) => (buffer.as_ptr(), true),
        };
        let interface = PyDict::new(py);
        interface.set_item("version", 3)?;
        interface.set_item("typestr", self.kind)?;
        interface.set_item("shape", PyTuple::new(py, &self.shape)?)?;
        interface.set_item("data", (pointer as usize, read_only))?;
        Ok(interface)
    }
}

/// Returns what numpy calls an element.
pub(crate) fn kind(element: Element) -> &'static str {
    match element {
        Element::U8 => "|u1",
        Element::I8 => "|i1",
        Element::U16 => "=u2",
        Element::I16 => "=i2",
        Element::I32 => "=i4",
        Element::F32 => "=f4",
        Element::F64 => "=f8",
    }
}

/// Returns numpy.
pub(crate) fn numpy(py: Python<'_>) -> Result<&Bound<'_, PyModule>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    package(py, &MODULE, "numpy")
}

/// Returns pandas.
pub(crate) fn pandas(py: Python<'_>) -> Result<&Bound<'_, PyModule>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    package(py, &MODULE, "pandas")
}

fn package<'py>(py: Python<'py>, module: &'py PyOnceLock<Py<PyModule>>, name: &str) -> Result<&'py Bound<'py, PyModule>> {
    let import = || py.import(name).map(Bound::unbind);
    let absent = |_| Failure::invalid(format!("this needs {name}: pip install {name}"));
    Ok(module.get_or_try_init(py, import).map_err(absent)?.bind(py))
}
