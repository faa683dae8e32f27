//! One value out of a message, for encodings that are walked along to find it.
//!
//! In come the calls of a decoder and the steps to a value, out come the calls for that value alone.
//!
//! **Invariant:** the inner sink gets one whole value, or nothing where the message does not have it.

use std::borrow::Cow;

use super::Scalar;
use super::path::Step;
use super::sink::Sink;
use crate::schema::{Enum, TypeId};

/// Hands on the value at the end of some steps.
pub(crate) struct Pick<'s, S> {
    inner: &'s mut S,
    steps: &'s [Step],
    frames: Vec<Frame>,
    /// Whether the next value is on the way, or is the one that is looked for.
    next: bool,
    /// How many values have begun within the one that is looked for.
    inside: usize,
    /// Whether it was met: of two only the first counts.
    found: bool,
}

struct Frame {
    /// Whether the value is on the way.
    on_way: bool,
    count: u32,
}

impl<'s, S> Pick<'s, S> {
    pub(crate) fn new(steps: &'s [Step], inner: &'s mut S) -> Self {
        Self { inner, steps, frames: Vec::new(), next: true, inside: 0, found: false }
    }

    pub(crate) fn found(&self) -> bool {
        self.found
    }

    /// Returns the step that leads on from the value that began last.
    fn step(&self) -> Option<&Step> {
        self.steps.get(self.frames.len().checked_sub(1)?)
    }

    /// Notes that a value begins, and returns whether it is the one, or within it.
    fn value(&mut self) -> bool {
        if self.inside > 0 {
            return true;
        }
        let index = self.frames.last_mut().filter(|frame| frame.on_way).map(|frame| {
            frame.count = frame.count.saturating_add(1);
            frame.count - 1
        });
        if let (Some(Step::Index(wanted)), Some(index)) = (self.step(), index) {
            self.next = *wanted == index;
        }
        let here = self.next && self.frames.len() == self.steps.len() && !self.found;
        self.found |= here;
        here
    }

    /// Begins a value with parts; returns whether they are handed on.
    fn begin(&mut self) -> bool {
        if self.value() {
            self.inside += 1;
            return true;
        }
        let on_way = std::mem::take(&mut self.next) && self.frames.len() < self.steps.len();
        self.frames.push(Frame { on_way, count: 0 });
        false
    }

    fn end(&mut self) -> bool {
        if self.inside > 0 {
            self.inside -= 1;
            self.next &= self.inside > 0;
            return true;
        }
        self.frames.pop();
        false
    }

    /// A value without parts.
    fn scalar(&mut self) -> bool {
        let here = self.value();
        self.next &= self.inside > 0;
        here
    }
}

impl<'a, S: Sink<'a>> Sink<'a> for Pick<'_, S> {
    fn begin_struct(&mut self, id: TypeId) {
        if self.begin() {
            self.inner.begin_struct(id);
        }
    }

    fn field(&mut self, index: usize) -> bool {
        if self.inside > 0 {
            return self.inner.field(index);
        }
        let on_way = self.frames.last().is_some_and(|frame| frame.on_way);
        self.next = on_way && !self.found && self.step() == Some(&Step::Field(index));
        self.next
    }

    fn end_struct(&mut self) {
        if self.end() {
            self.inner.end_struct();
        }
    }

    fn begin_list(&mut self) {
        if self.begin() {
            self.inner.begin_list();
        }
    }

    fn end_list(&mut self) {
        if self.end() {
            self.inner.end_list();
        }
    }

    fn begin_map(&mut self) {
        if self.begin() {
            self.inner.begin_map();
        }
    }

    fn key(&mut self, key: Scalar<'a>) {
        if self.inside > 0 {
            return self.inner.key(key);
        }
        let on_way = self.frames.last().is_some_and(|frame| frame.on_way);
        self.next = on_way && matches!(self.step(), Some(Step::Key(wanted)) if wanted.is(&key));
    }

    fn end_map(&mut self) {
        if self.end() {
            self.inner.end_map();
        }
    }

    fn null(&mut self) {
        if self.scalar() {
            self.inner.null();
        }
    }

    fn bool(&mut self, value: bool) {
        if self.scalar() {
            self.inner.bool(value);
        }
    }

    fn int(&mut self, value: i64) {
        if self.scalar() {
            self.inner.int(value);
        }
    }

    fn uint(&mut self, value: u64) {
        if self.scalar() {
            self.inner.uint(value);
        }
    }

    fn float(&mut self, value: f64) {
        if self.scalar() {
            self.inner.float(value);
        }
    }

    fn whole(&mut self, value: i64) {
        if self.scalar() {
            self.inner.whole(value);
        }
    }

    fn float32(&mut self, value: f32) {
        if self.scalar() {
            self.inner.float32(value);
        }
    }

    fn enumeration(&mut self, value: i64, names: &Enum) {
        if self.scalar() {
            self.inner.enumeration(value, names);
        }
    }

    fn text(&mut self, value: Cow<'a, str>) {
        if self.scalar() {
            self.inner.text(value);
        }
    }

    fn bytes(&mut self, value: Cow<'a, [u8]>) {
        if self.scalar() {
            self.inner.bytes(value);
        }
    }
}

/// Keeps the one scalar that it is given.
#[derive(Debug, Default)]
pub(crate) struct Take<'a> {
    pub(crate) value: Option<Scalar<'a>>,
    /// Whether it was given something with parts.
    pub(crate) parts: bool,
}

impl<'a> Sink<'a> for Take<'a> {
    fn begin_struct(&mut self, _: TypeId) {
        self.parts = true;
    }

    fn field(&mut self, _: usize) -> bool {
        false
    }

    fn end_struct(&mut self) {}

    fn begin_list(&mut self) {
        self.parts = true;
    }

    fn end_list(&mut self) {}

    fn begin_map(&mut self) {
        self.parts = true;
    }

    fn key(&mut self, _: Scalar<'a>) {}

    fn end_map(&mut self) {}

    fn null(&mut self) {
        self.value = Some(Scalar::Null);
    }

    fn bool(&mut self, value: bool) {
        self.value = Some(Scalar::Bool(value));
    }

    fn int(&mut self, value: i64) {
        self.value = Some(Scalar::Int(value));
    }

    fn uint(&mut self, value: u64) {
        self.value = Some(Scalar::UInt(value));
    }

    fn float(&mut self, value: f64) {
        self.value = Some(Scalar::Float(value));
    }

    fn float32(&mut self, value: f32) {
        self.value = Some(Scalar::Float(value.into()));
    }

    fn enumeration(&mut self, value: i64, _: &Enum) {
        self.value = Some(Scalar::Int(value));
    }

    fn text(&mut self, value: Cow<'a, str>) {
        self.value = Some(Scalar::Text(value));
    }

    fn bytes(&mut self, value: Cow<'a, [u8]>) {
        self.value = Some(Scalar::Bytes(value));
    }
}
