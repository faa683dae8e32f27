//! Video, through PyAV: packets go in, pictures come out, at once or later.
//!
//! **Invariant:** a picture has the times of the packet that it came in.

use std::collections::BTreeMap;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;

use super::frame::About;
use crate::error::Result;

/// How many packets may go in without a picture coming out, before the first of them is given up.
const KEPT_BACK_LIMIT: usize = 1000;

/// A video that is being unpacked.
pub(super) struct Video {
    decoder: Py<PyAny>,
    next_key: i64,
    /// What is known of the pictures that have not come out yet.
    kept_back: BTreeMap<i64, About>,
}

impl Video {
    pub(super) fn new(py: Python<'_>, codec: &str, form: &str) -> Result<Self> {
        static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let decoder = CLASS.import(py, "tapeloop._pictures", "Video")?.call1((codec, form))?;
        Ok(Self { decoder: decoder.unbind(), next_key: 0, kept_back: BTreeMap::new() })
    }

    pub(super) fn packet(&mut self, py: Python<'_>, about: About, data: &[u8]) -> Result<Vec<(About, Py<PyAny>)>> {
        let key = self.next_key;
        self.next_key += 1;
        self.kept_back.insert(key, about);
        if self.kept_back.len() > KEPT_BACK_LIMIT {
            self.kept_back.pop_first();
        }
        let pictures = self.decoder.bind(py).call_method1(intern!(py, "decode"), (key, PyBytes::new(py, data)))?;
        self.take(&pictures)
    }

    /// Returns what was kept back.
    pub(super) fn flush(&mut self, py: Python<'_>) -> Result<Vec<(About, Py<PyAny>)>> {
        let pictures = self.decoder.bind(py).call_method0(intern!(py, "flush"))?;
        self.take(&pictures)
    }

    fn take(&mut self, pictures: &Bound<'_, PyAny>) -> Result<Vec<(About, Py<PyAny>)>> {
        let mut frames = Vec::new();
        for picture in pictures.try_iter()? {
            let (key, pixels): (i64, Py<PyAny>) = picture?.extract()?;
            frames.extend(self.kept_back.remove(&key).map(|about| (about, pixels)));
        }
        Ok(frames)
    }
}
