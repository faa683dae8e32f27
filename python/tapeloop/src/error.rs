//! Which Python exception an error becomes: one class of `tapeloop.errors` per [`recording::Kind`].
//!
//! In comes any error of the crates below or of an encoder, out goes a `PyErr`.
//!
//! **Invariant:** no other file chooses an exception's class.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use recording::{Error, Kind};

const MODULE: &str = "tapeloop.errors";

/// What a function of this crate fails with: ours, or an exception that Python code raised on the way.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error with a kind.
    Ours(Error),
    /// An exception of somebody's code, e.g. of a property.
    Python(PyErr),
}

/// A result with a [`Failure`].
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Returns a failure because the request must be changed.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Ours(Error::invalid(message))
    }

    /// Returns a failure because an argument is of a kind that is never taken.
    pub(crate) fn wrong_type(message: String) -> Self {
        Self::Python(PyTypeError::new_err(message))
    }

    /// Returns whether it is one of `tapeloop.errors`, and no exception of somebody else's.
    pub(crate) fn is_ours(&self, py: Python<'_>) -> bool {
        static ERROR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        match self {
            Self::Ours(_) => true,
            Self::Python(error) => ERROR.import(py, MODULE, "Error").is_ok_and(|class| error.is_instance(py, class)),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl<'a, 'py> From<pyo3::CastError<'a, 'py>> for Failure {
    fn from(error: pyo3::CastError<'a, 'py>) -> Self {
        Self::Python(error.into())
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Python(error) => error,
            Failure::Ours(error) => Python::attach(|py| to_python(py, &error)),
        }
    }
}

/// Returns the exception for `error`.
fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    match class(py, error.kind()) {
        Ok(class) => PyErr::from_type(class.clone(), error.to_string()),
        Err(missing) => missing,
    }
}

fn class(py: Python<'_>, kind: Kind) -> PyResult<&Bound<'_, PyType>> {
    static INVALID: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static NOT_FOUND: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static CONFLICT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static DENIED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static UNAVAILABLE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static CORRUPT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static INTERNAL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    match kind {
        Kind::Invalid => INVALID.import(py, MODULE, "InvalidError"),
        Kind::NotFound => NOT_FOUND.import(py, MODULE, "NotFoundError"),
        Kind::Conflict => CONFLICT.import(py, MODULE, "ConflictError"),
        Kind::Denied => DENIED.import(py, MODULE, "DeniedError"),
        Kind::Unavailable => UNAVAILABLE.import(py, MODULE, "UnavailableError"),
        Kind::Corrupt => CORRUPT.import(py, MODULE, "CorruptError"),
        Kind::Internal => INTERNAL.import(py, MODULE, "InternalError"),
    }
}
