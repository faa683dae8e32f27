//! A message as a Python object: dicts, lists, numbers, text, bytes.
//!
//! In come the calls of a decoder, out comes a dict whose keys are in the order of the definition.
//!
//! **Invariant:** a list of unsigned bytes is `bytes`; numbers with names are numbers; what a message lacks is `None`.

use std::borrow::Cow;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString};
use recording::decode::sink::{Number, Numbers, Sink, Width};
use recording::decode::{Decoder, Scalar};
use recording::schema::{Enum, FieldKind, Tree, TypeId};

use crate::error::Result;

/// The names of a type's fields as Python has them.
pub(crate) struct Names {
    types: Vec<Vec<Py<PyString>>>,
}

impl Names {
    pub(crate) fn of(py: Python<'_>, tree: &Tree) -> Self {
        let names = tree.types().iter().map(|one| one.fields.iter().map(|field| PyString::intern(py, &field.name).unbind()).collect());
        Self { types: names.collect() }
    }
}

/// Returns a message as a Python object.
pub(crate) fn value<'py>(py: Python<'py>, decoder: &Decoder, names: &Names, payload: &[u8]) -> Result<Bound<'py, PyAny>> {
    // Encodings without tags have every field; what they do not tell is padding.
    let complete = matches!(decoder.encoding(), "cdr" | "ros1" | "ulog");
    let mut builder = Builder { py, tree: decoder.tree(), names, complete, open: Vec::new(), done: None, failed: None };
    decoder.tell(payload, &mut builder)?;
    match builder.failed {
        Some(error) => Err(error.into()),
        None => Ok(builder.done.unwrap_or_else(|| py.None().into_bound(py))),
    }
}

struct Builder<'b, 'py> {
    py: Python<'py>,
    tree: &'b Tree,
    names: &'b Names,
    complete: bool,
    open: Vec<Open<'b, 'py>>,
    done: Option<Bound<'py, PyAny>>,
    failed: Option<PyErr>,
}

/// What has begun and not ended.
enum Open<'b, 'py> {
    /// A struct, and the field that is due.
    Struct(TypeId, Bound<'py, PyDict>, usize),
    /// A list, and what its elements are.
    List(Bound<'py, PyList>, Option<&'b FieldKind>),
    /// A list of unsigned bytes.
    Bytes(Vec<u8>),
    /// A map, and the key that is due.
    Map(Bound<'py, PyDict>, Option<Bound<'py, PyAny>>, Option<&'b FieldKind>),
}

impl<'b, 'py> Builder<'b, 'py> {
    fn put(&mut self, value: Bound<'py, PyAny>) {
        let outcome = match self.open.last_mut() {
            None => {
                self.done = Some(value);
                Ok(())
            }
            Some(Open::Struct(id, dict, index)) => match self.names.types.get(id.0 as usize).and_then(|names| names.get(*index)) {
                Some(name) => dict.set_item(name, value),
                None => Ok(()),
            },
            Some(Open::List(list, _)) => list.append(value),
            Some(Open::Map(dict, key, _)) => key.take().map_or(Ok(()), |key| dict.set_item(key, value)),
            Some(Open::Bytes(_)) => Ok(()),
        };
        if let Err(error) = outcome {
            self.failed.get_or_insert(error);
        }
    }

    /// Returns what the next value is, where the tree tells.
    fn kind(&self) -> Option<&'b FieldKind> {
        match self.open.last()? {
            Open::Struct(id, _, index) => self.tree.get(*id).fields.get(*index).map(|field| &field.kind),
            Open::List(_, element) | Open::Map(_, _, element) => *element,
            Open::Bytes(_) => None,
        }
    }

    fn scalar(&self, scalar: Scalar<'_>) -> Bound<'py, PyAny> {
        let py = self.py;
        match scalar {
            Scalar::Null => py.None().into_bound(py),
            Scalar::Bool(value) => PyBool::new(py, value).to_owned().into_any(),
            Scalar::Int(value) => PyInt::new(py, value).into_any(),
            Scalar::UInt(value) => PyInt::new(py, value).into_any(),
            Scalar::Float(value) => PyFloat::new(py, value).into_any(),
            Scalar::Text(value) => PyString::new(py, &value).into_any(),
            Scalar::Bytes(value) => PyBytes::new(py, &value).into_any(),
        }
    }
}

impl<'a> Sink<'a> for Builder<'_, '_> {
    fn begin_struct(&mut self, id: TypeId) {
        self.open.push(Open::Struct(id, PyDict::new(self.py), usize::MAX));
    }

    fn field(&mut self, index: usize) -> bool {
        if let Some(Open::Struct(_, _, due)) = self.open.last_mut() {
            *due = index;
        }
        true
    }

    fn end_struct(&mut self) {
        let Some(Open::Struct(id, dict, _)) = self.open.pop() else { return };
        let all = self.names.types.get(id.0 as usize).map_or(&[][..], Vec::as_slice);
        if self.complete || dict.len() == all.len() {
            return self.put(dict.into_any());
        }
        // Again from the start, so that keys are in the order of the definition.
        let whole = PyDict::new(self.py);
        for name in all {
            let set = dict.get_item(name).and_then(|value| whole.set_item(name, value));
            if let Err(error) = set {
                self.failed.get_or_insert(error);
            }
        }
        self.put(whole.into_any());
    }

    fn begin_list(&mut self) {
        let element = match self.kind() {
            Some(FieldKind::List { element, .. } | FieldKind::Array { element, .. }) => Some(&**element),
            _ => None,
        };
        self.open.push(match element {
            Some(FieldKind::UInt(1)) => Open::Bytes(Vec::new()),
            _ => Open::List(PyList::empty(self.py), element),
        });
    }

    fn end_list(&mut self) {
        match self.open.pop() {
            Some(Open::List(list, _)) => self.put(list.into_any()),
            Some(Open::Bytes(bytes)) => self.put(PyBytes::new(self.py, &bytes).into_any()),
            _ => {}
        }
    }

    fn begin_map(&mut self) {
        let value = match self.kind() {
            Some(FieldKind::Map { value, .. }) => Some(&**value),
            _ => None,
        };
        self.open.push(Open::Map(PyDict::new(self.py), None, value));
    }

    fn key(&mut self, key: Scalar<'a>) {
        let key = self.scalar(key);
        if let Some(Open::Map(_, due, _)) = self.open.last_mut() {
            *due = Some(key);
        }
    }

    fn end_map(&mut self) {
        if let Some(Open::Map(dict, ..)) = self.open.pop() {
            self.put(dict.into_any());
        }
    }

    fn null(&mut self) {
        self.put(self.scalar(Scalar::Null));
    }

    fn bool(&mut self, value: bool) {
        self.put(self.scalar(Scalar::Bool(value)));
    }

    fn int(&mut self, value: i64) {
        self.put(self.scalar(Scalar::Int(value)));
    }

    fn uint(&mut self, value: u64) {
        match self.open.last_mut() {
            Some(Open::Bytes(bytes)) => bytes.push(value as u8),
            _ => self.put(self.scalar(Scalar::UInt(value))),
        }
    }

    fn float(&mut self, value: f64) {
        self.put(self.scalar(Scalar::Float(value)));
    }

    fn float32(&mut self, value: f32) {
        self.put(self.scalar(Scalar::Float(value.into())));
    }

    fn enumeration(&mut self, value: i64, _: &Enum) {
        self.put(self.scalar(Scalar::Int(value)));
    }

    fn text(&mut self, value: Cow<'a, str>) {
        self.put(self.scalar(Scalar::Text(value)));
    }

    fn bytes(&mut self, value: Cow<'a, [u8]>) {
        match self.open.last_mut() {
            Some(Open::Bytes(bytes)) => bytes.extend_from_slice(&value),
            _ => self.put(PyBytes::new(self.py, &value).into_any()),
        }
    }

    fn numbers(&mut self, numbers: Numbers<'a>) {
        match (self.open.last_mut(), numbers.number) {
            (Some(Open::Bytes(bytes)), Number::UInt(Width::W1)) => bytes.extend_from_slice(numbers.bytes),
            _ => numbers.each(self),
        }
    }
}
