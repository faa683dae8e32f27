//! Topics and payloads made in code.
//!
//! **Invariant:** a payload is what its definition says, aligned as CDR is.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use recording::{Schema, Topic};

/// Returns a topic of ROS 2 with this definition; without one, the library has it.
pub(crate) fn topic(name: &str, type_name: &str, definition: &str) -> Arc<Topic> {
    let data = Bytes::copy_from_slice(definition.as_bytes());
    let schema = Schema { name: type_name.into(), encoding: "ros2msg".into(), data };
    Arc::new(Topic { name: name.into(), encoding: "cdr".into(), schema: Some(Arc::new(schema)), metadata: BTreeMap::new() })
}

/// A payload that is being written.
pub(crate) struct Cdr(Vec<u8>);

impl Cdr {
    pub(crate) fn new() -> Self {
        Self(vec![0, 1, 0, 0])
    }

    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        while !(self.0.len() - 4).is_multiple_of(N) {
            self.0.push(0);
        }
        self.0.extend_from_slice(&bytes);
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.put([u8::from(value)]);
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.put(value.to_le_bytes());
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.put([value]);
    }

    pub(crate) fn f32(&mut self, value: f32) {
        self.put(value.to_le_bytes());
    }

    pub(crate) fn f64(&mut self, value: f64) {
        self.put(value.to_le_bytes());
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.put((count as u32).to_le_bytes());
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.count(text.len() + 1);
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}
