//! The shape of a JSON message, and the JSON schema that says it.
//!
//! In comes a value, out goes a schema that every message of the same shape satisfies (but for `null`, which any field may
//! be). Integers and floats are both `number`: a field that is `0` now and `0.5` later has one shape.
//!
//! **Invariant:** a value that the encoder writes has a shape; the schema has one type per place, because readers of MCAP
//! do not know lists of types.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyNone};
use serde_json::{Value, json};

use crate::buffer::{Buffer, Element};
use crate::class::{Class, classify};
use crate::error::Result;
use crate::json::{self, DEPTH_LIMIT};

/// What stands at one place of a message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    /// `null` or the elements of an empty list: not known yet.
    Nothing,
    Bool,
    Number,
    Text,
    /// Bytes as base64.
    Base64,
    /// A date and time.
    Moment,
    /// A list, and the shape of its elements.
    List(Box<Shape>),
    /// An object, in the order of its keys when first seen.
    Object(Vec<(String, Shape)>),
    /// Different kinds: a list of text and numbers.
    Mixed,
}

impl Shape {
    /// Returns the shape of a whole message, as [`json::encode_message`] writes it.
    pub(crate) fn of_message(value: &Bound<'_, PyAny>) -> Result<Self> {
        Ok(match json::wrapper(value)? {
            None => of(value, 0)?,
            Some(key) => Self::Object(vec![(key.to_owned(), of(value, 1)?)]),
        })
    }

    /// Returns whether a message of shape `other` says nothing that this shape does not know.
    pub(crate) fn covers(&self, other: &Shape) -> bool {
        match (self, other) {
            (Self::Mixed, _) | (_, Self::Nothing) => true,
            (Self::List(mine), Self::List(other)) => mine.covers(other),
            (Self::Object(mine), Self::Object(other)) => {
                let known = |key: &str| mine.iter().find(|(name, _)| name == key).map(|(_, shape)| shape);
                mine.len() == other.len() && other.iter().all(|(key, shape)| known(key).is_some_and(|mine| mine.covers(shape)))
            }
            _ => self == other,
        }
    }

    /// Returns the JSON schema.
    pub(crate) fn schema(&self) -> Value {
        match self {
            Self::Nothing | Self::Mixed => json!({}),
            Self::Bool => json!({"type": "boolean"}),
            Self::Number => json!({"type": "number"}),
            Self::Text => json!({"type": "string"}),
            Self::Base64 => json!({"type": "string", "contentEncoding": "base64"}),
            Self::Moment => json!({"type": "string", "format": "date-time"}),
            Self::List(elements) => json!({"type": "array", "items": elements.schema()}),
            Self::Object(fields) => {
                // Untyped places are left out: a schema of them says nothing, and some readers reject it.
                let typed = fields.iter().filter(|(_, shape)| !matches!(shape, Self::Nothing | Self::Mixed));
                let properties: serde_json::Map<String, Value> = typed.map(|(key, shape)| (key.clone(), shape.schema())).collect();
                json!({"type": "object", "properties": properties})
            }
        }
    }
}

/// Returns the schema that any message satisfies: for a topic that has had too many shapes.
pub(crate) fn permissive_schema() -> Value {
    json!({"type": "object"})
}

fn of(value: &Bound<'_, PyAny>, depth: usize) -> Result<Shape> {
    if value.cast_exact::<PyNone>().is_ok() || depth > DEPTH_LIMIT {
        return Ok(Shape::Nothing);
    }
    let py = value.py();
    Ok(match classify(value)? {
        Class::Dict => {
            let entries = value.cast::<PyDict>()?.items();
            let entries = entries.iter().map(|entry| entry.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>().map_err(Into::into));
            object(entries, depth)?
        }
        Class::Mapping => {
            let keys: Vec<Bound<'_, PyAny>> = value.call_method0(intern!(py, "keys"))?.try_iter()?.collect::<PyResult<_>>()?;
            object(keys.into_iter().map(|key| Ok((key.clone(), value.get_item(&key)?))), depth)?
        }
        Class::Fields(fields) => {
            let names = fields.names.iter().map(|name| name.bind(py));
            object(names.map(|name| Ok((name.clone().into_any(), value.getattr(name)?))), depth)?
        }
        Class::List | Class::Tuple | Class::Iterable => {
            let mut elements = Shape::Nothing;
            for item in value.try_iter()? {
                elements = unite(elements, of(&item?, depth + 1)?);
            }
            Shape::List(Box::new(elements))
        }
        Class::Enum => of(&value.getattr(intern!(py, "value"))?, depth + 1)?,
        Class::Text | Class::IsoFormat | Class::Display => Shape::Text,
        Class::Bool => Shape::Bool,
        Class::Int | Class::Float | Class::TimeDelta => Shape::Number,
        Class::Bytes | Class::Memory => Shape::Base64,
        Class::DateTime => Shape::Moment,
        Class::Array => array(&Buffer::get(value)?),
        Class::ArrayLike => array(&Buffer::get(&py.import("numpy")?.call_method1("asarray", (value,))?)?),
        Class::Image | Class::Unknown => Shape::Nothing,
    })
}

fn object<'py>(entries: impl Iterator<Item = Result<(Bound<'py, PyAny>, Bound<'py, PyAny>)>>, depth: usize) -> Result<Shape> {
    let mut fields = Vec::new();
    for entry in entries {
        let (key, value) = entry?;
        let key = match classify(&key)? {
            Class::Enum => key.getattr(intern!(key.py(), "value"))?.str()?,
            _ => key.str()?,
        };
        fields.push((key.to_string_lossy().into_owned(), of(&value, depth + 1)?));
    }
    Ok(Shape::Object(fields))
}

fn array(buffer: &Buffer<'_>) -> Shape {
    let leaf = match buffer.element() {
        _ if buffer.len_bytes() == 0 => Shape::Nothing,
        Ok(Element::Bool) => Shape::Bool,
        _ => Shape::Number,
    };
    buffer.shape().iter().fold(leaf, |inner, _| Shape::List(Box::new(inner)))
}

fn unite(a: Shape, b: Shape) -> Shape {
    if a.covers(&b) {
        a
    } else if b.covers(&a) {
        b
    } else {
        Shape::Mixed
    }
}
