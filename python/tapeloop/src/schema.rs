//! `tapeloop.Schema`: the definition of a message type, for payloads that a program encodes itself.
//!
//! **Invariant:** a schema never changes, so that its hash finds its channel.

use std::sync::Arc;

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::buffer::Buffer;
use crate::error::{Failure, Result};
use crate::fingerprint::{hash, mix};

/// The definition of a message type.
#[pyclass(frozen, eq, hash, weakref, module = "tapeloop")]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Schema {
    pub(crate) inner: Arc<recording::Schema>,
    pub(crate) key: u64,
}

impl std::hash::Hash for Schema {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl From<Arc<recording::Schema>> for Schema {
    fn from(inner: Arc<recording::Schema>) -> Self {
        let key = mix(hash(inner.name.as_bytes()), mix(hash(inner.encoding.as_bytes()), hash(&inner.data)));
        Self { inner, key }
    }
}

impl Schema {
    /// Returns how MCAP calls the encoding of messages that such a schema usually describes.
    pub(crate) fn message_encoding(&self) -> Option<&'static str> {
        match self.inner.encoding.as_str() {
            "jsonschema" => Some("json"),
            "ros2msg" | "ros2idl" | "omgidl" => Some("cdr"),
            "ros1msg" => Some("ros1"),
            "protobuf" => Some("protobuf"),
            "flatbuffer" => Some("flatbuffer"),
            _ => None,
        }
    }
}

#[pymethods]
impl Schema {
    /// Returns the schema `name`, whose definition `data` is written in `encoding`.
    #[new]
    #[pyo3(signature = (name, encoding, data))]
    fn new(name: String, encoding: String, data: &Bound<'_, PyAny>) -> Result<Self> {
        let bytes = match data.cast::<PyString>() {
            Ok(text) => Bytes::copy_from_slice(text.to_string_lossy().as_bytes()),
            Err(_) => {
                let mut bytes = Vec::new();
                Buffer::get(data).map_err(|_| Failure::invalid("a schema's data is bytes or text"))?.view().append_to(&mut bytes);
                Bytes::from(bytes)
            }
        };
        Ok(Arc::new(recording::Schema { name, encoding, data: bytes }).into())
    }

    /// The type's name, e.g. `sensor_msgs/msg/Imu`.
    #[getter]
    fn name(&self) -> &str {
        &self.inner.name
    }

    /// How the definition is written: `ros2msg`, `protobuf`, `jsonschema`, …
    #[getter]
    fn encoding(&self) -> &str {
        &self.inner.encoding
    }

    /// The definition.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.data)
    }

    fn __repr__(&self) -> String {
        format!("Schema(name={:?}, encoding={:?}, data=<{} bytes>)", self.inner.name, self.inner.encoding, self.inner.data.len())
    }
}
