//! JSON messages, walked along their tree.
//!
//! Keys come in any order, so each object is looked through first; of a key that is there twice the last one counts. Keys that the
//! tree does not have are left out here, and kept in [`line()`], which is the payload itself on one line. A value that is not what the
//! tree says is an error that names the field. Numbers may be the texts `NaN`, `Infinity` and `-Infinity`, bytes are base64.
//!
//! **Invariant:** nothing of a message is kept but where the values of the objects that are open begin.

pub(crate) mod base64;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::Scalar;
use super::allowance::Allowance;
use super::sink::Sink;
use crate::error::{Error, Result};
use crate::message::Schema;
use crate::schema::json::text::{Next, Number};
use crate::schema::json::{Defined, define, learn};
use crate::schema::{DEPTH_LIMIT, Enum, FieldKind, Tree, TypeId};

pub(crate) use crate::schema::json::text::Json as Text;

/// A field that an object lacks.
const ABSENT: usize = usize::MAX;

/// How JSON messages are read.
#[derive(Debug)]
pub(crate) struct Json {
    tree: Arc<Tree>,
    /// The fields of each type by their names.
    keys: Vec<HashMap<Box<str>, usize>>,
    /// Whether a message is not an object of the tree's root type, but the value of that type's one field.
    is_bare: bool,
}

/// One message being read.
struct Walk<'d, 'a, S> {
    of: &'d Json,
    payload: &'a [u8],
    /// Where the fields of the open objects begin.
    starts: Vec<usize>,
    /// The fields that lead to the value that is being read.
    path: Vec<(TypeId, usize)>,
    allowance: Allowance,
    sink: &'d mut S,
}

/// Appends a payload on one line, without white space, to `out`; invalid UTF-8 is replaced.
///
/// # Errors
/// `Corrupt` where it is not one JSON value; `out` is then as it was.
pub(crate) fn line(payload: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let before = out.len();
    let valid = String::from_utf8_lossy(payload);
    let mut text = Text::of(valid.as_bytes());
    let result = text.copy(out).and_then(|()| text.end());
    if result.is_err() {
        out.truncate(before);
    }
    result
}

impl Json {
    /// Returns how messages of a schema are read. Without one, and with one that cannot be read, nothing is known of their fields.
    ///
    /// # Errors
    /// Never for messages that can be read without a schema; JSON can.
    pub(crate) fn described(schema: Option<&Schema>) -> Result<Self> {
        let described = schema.filter(|schema| schema.encoding == "jsonschema").and_then(|schema| define(schema).ok());
        described.map_or_else(|| learn(&[]), Ok).map(Self::of)
    }

    /// Returns how messages like these are read: their fields are learned from them.
    ///
    /// # Errors
    /// As those of [`crate::schema::json::infer`].
    pub(crate) fn inferred(messages: &[&[u8]]) -> Result<Self> {
        learn(messages).map(Self::of)
    }

    fn of(defined: Defined) -> Self {
        let keys_of =
            |one: &crate::schema::Type| one.fields.iter().enumerate().map(|(index, field)| (field.name.as_str().into(), index)).collect();
        let keys = defined.tree.types().iter().map(keys_of).collect();
        Self { tree: Arc::new(defined.tree), keys, is_bare: defined.is_bare }
    }

    /// Returns what messages are made of; the root has no fields where nothing is known about them.
    pub(crate) fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// Tells a sink what a message holds.
    ///
    /// # Errors
    /// `Corrupt` where the payload is no such message; the sink then has a part of it.
    pub(crate) fn walk<'a, S: Sink<'a>>(&self, payload: &'a [u8], sink: &mut S) -> Result<()> {
        let mut walk = Walk { of: self, payload, starts: Vec::new(), path: Vec::new(), allowance: Allowance::of(payload), sink };
        let mut text = Text::of(payload);
        let root = self.tree.root_id();
        if self.is_bare {
            walk.sink.begin_struct(root);
            if walk.sink.field(0) {
                walk.path.push((root, 0));
                walk.value(&mut text, &self.tree.root().fields[0].kind, 0)?;
            } else {
                text.skip()?;
            }
            walk.sink.end_struct();
        } else if text.peek()? == Next::Object {
            walk.object(&mut text, root, 0)?;
        } else if text.null() {
            // An object of which nothing is there.
            walk.sink.begin_struct(root);
            walk.sink.end_struct();
        } else {
            return Err(walk.mismatch(text.peek()?, "an object"));
        }
        text.end()
    }
}

impl<'a, S: Sink<'a>> Walk<'_, 'a, S> {
    fn object(&mut self, text: &mut Text<'a>, id: TypeId, depth: usize) -> Result<()> {
        let of = self.of;
        let (fields, keys) = (&of.tree.get(id).fields, &of.keys[id.0 as usize]);
        self.allowance.take(fields.len())?;
        let base = self.starts.len();
        self.starts.resize(base + fields.len(), ABSENT);
        text.open(b'{')?;
        let (mut is_first, mut guess) = (true, 0);
        while let Some(key) = text.key(&mut is_first)? {
            // Keys mostly come in the order of the definition.
            let index = match fields.get(guess) {
                Some(field) if field.name == *key => Some(guess),
                _ => keys.get(key.as_ref()).copied(),
            };
            let start = text.at();
            text.skip()?;
            if let Some(index) = index {
                self.starts[base + index] = start;
                guess = index + 1;
            }
        }
        self.sink.begin_struct(id);
        for (index, field) in fields.iter().enumerate() {
            let start = self.starts[base + index];
            if start == ABSENT || !self.sink.field(index) {
                continue;
            }
            self.path.push((id, index));
            self.value(&mut Text::from(self.payload, start), &field.kind, depth)?;
            self.path.pop();
        }
        self.sink.end_struct();
        self.starts.truncate(base);
        Ok(())
    }

    fn value(&mut self, text: &mut Text<'a>, kind: &FieldKind, depth: usize) -> Result<()> {
        let next = text.peek()?;
        match (kind, next) {
            (_, Next::List | Next::Object) if depth >= DEPTH_LIMIT => {
                let place = self.place();
                return Err(Error::corrupt(format!("{place} has more than {DEPTH_LIMIT} lists and objects in each other")));
            }
            (_, Next::Null) => {
                if !text.null() {
                    return text.skip().map(drop);
                }
                self.sink.null();
            }
            (FieldKind::Json, _) => self.any(text, next, depth)?,
            (FieldKind::Bool, Next::Bool) => self.sink.bool(text.bool()?),
            (FieldKind::Int(bytes), Next::Number) => {
                let number = text.number()?;
                let limit = 8 * u32::from(*bytes) - 1;
                let whole = whole(number).filter(|number| (-(1_i128 << limit)..1 << limit).contains(number));
                let whole = whole.and_then(|number| i64::try_from(number).ok());
                let whole = whole.ok_or_else(|| self.out_of_range(number, kind))?;
                self.sink.int(whole);
            }
            (FieldKind::UInt(bytes), Next::Number) => {
                let number = text.number()?;
                let whole = whole(number).filter(|number| (0..1_i128 << (8 * u32::from(*bytes))).contains(number));
                let whole = whole.and_then(|number| u64::try_from(number).ok());
                let whole = whole.ok_or_else(|| self.out_of_range(number, kind))?;
                self.sink.uint(whole);
            }
            (FieldKind::Float(bytes), Next::Number | Next::Text) => {
                let number = match next {
                    Next::Number => match text.number()? {
                        Number::Int(whole) if *bytes != 4 => {
                            self.sink.whole(whole);
                            return Ok(());
                        }
                        number => float(number),
                    },
                    _ => match text.text()?.as_ref() {
                        "NaN" => f64::NAN,
                        "Infinity" => f64::INFINITY,
                        "-Infinity" => f64::NEG_INFINITY,
                        _ => return Err(self.mismatch(next, "a number")),
                    },
                };
                if *bytes == 4 { self.sink.float32(number as f32) } else { self.sink.float(number) }
            }
            (FieldKind::String | FieldKind::WString, Next::Text) => self.sink.text(text.text()?),
            (FieldKind::Bytes, Next::Text) => {
                let bytes = base64::decode(&text.text()?);
                let bytes = bytes.ok_or_else(|| Error::corrupt(format!("{} is no base64", self.place())))?;
                self.sink.bytes(Cow::Owned(bytes));
            }
            (FieldKind::Enum(names), Next::Number | Next::Text) => {
                let number = self.named(text, next, names)?;
                self.sink.enumeration(number, names);
            }
            (FieldKind::Struct(id), Next::Object) => self.object(text, *id, depth + 1)?,
            (FieldKind::List { element, .. }, Next::List) => drop(self.list(text, element, depth)?),
            (FieldKind::Array { element, length }, Next::List) => {
                let found = self.list(text, element, depth)?;
                if found != *length as usize {
                    return Err(Error::corrupt(format!("{} has {found} elements where the schema says {length}", self.place())));
                }
            }
            (FieldKind::Map { value, .. }, Next::Object) => {
                text.open(b'{')?;
                self.sink.begin_map();
                let mut is_first = true;
                while let Some(key) = text.key(&mut is_first)? {
                    self.sink.key(Scalar::Text(key));
                    self.value(text, value, depth + 1)?;
                }
                self.sink.end_map();
            }
            (kind, _) => return Err(self.mismatch(next, expected(kind))),
        }
        Ok(())
    }

    fn any(&mut self, text: &mut Text<'a>, next: Next, depth: usize) -> Result<()> {
        match next {
            Next::Null => self.sink.null(),
            Next::Bool => self.sink.bool(text.bool()?),
            Next::Text => self.sink.text(text.text()?),
            Next::Number => match text.number()? {
                Number::Int(number) => self.sink.int(number),
                Number::UInt(number) => self.sink.uint(number),
                Number::Float(number) => self.sink.float(number),
            },
            Next::List => drop(self.list(text, &FieldKind::Json, depth)?),
            Next::Object => {
                let map = FieldKind::Map { key: Box::new(FieldKind::String), value: Box::new(FieldKind::Json) };
                self.value(text, &map, depth)?;
            }
        }
        Ok(())
    }

    fn list(&mut self, text: &mut Text<'a>, element: &FieldKind, depth: usize) -> Result<usize> {
        text.open(b'[')?;
        self.sink.begin_list();
        let (mut is_first, mut count) = (true, 0);
        while text.element(&mut is_first)? {
            self.value(text, element, depth + 1)?;
            count += 1;
        }
        self.sink.end_list();
        Ok(count)
    }

    fn named(&self, text: &mut Text<'a>, next: Next, names: &Enum) -> Result<i64> {
        if next == Next::Number {
            let number = text.number()?;
            let whole = whole(number).and_then(|number| i64::try_from(number).ok());
            return whole.ok_or_else(|| self.out_of_range(number, &FieldKind::Int(8)));
        }
        let name = text.text()?;
        let found = names.names.iter().find(|(_, known)| **known == *name).map(|(number, _)| *number);
        found.ok_or_else(|| Error::corrupt(format!("{} is '{}', which is no {}", self.place(), short(&name), names.name)))
    }

    fn mismatch(&self, found: Next, expected: &str) -> Error {
        Error::corrupt(format!("{} is {} where the schema says {expected}", self.place(), found.name()))
    }

    fn out_of_range(&self, found: Number, kind: &FieldKind) -> Error {
        let found = match found {
            Number::Int(number) => number.to_string(),
            Number::UInt(number) => number.to_string(),
            Number::Float(number) => number.to_string(),
        };
        Error::corrupt(format!("{} is {found} where the schema says {}", self.place(), expected(kind)))
    }

    /// Returns what to call the value that is being read.
    fn place(&self) -> String {
        if self.path.is_empty() || self.of.is_bare && self.path.len() == 1 {
            return "the message".to_owned();
        }
        let names = self.path.iter().filter_map(|(id, index)| self.of.tree.get(*id).fields.get(*index));
        format!("field {}", names.map(|field| field.name.as_str()).collect::<Vec<_>>().join("."))
    }
}

fn float(number: Number) -> f64 {
    match number {
        Number::Int(number) => number as f64,
        Number::UInt(number) => number as f64,
        Number::Float(number) => number,
    }
}

/// Returns a whole number, also where it is written as a fraction.
fn whole(number: Number) -> Option<i128> {
    match number {
        Number::Int(number) => Some(number.into()),
        Number::UInt(number) => Some(number.into()),
        // Up to here every whole number is a number of its own.
        Number::Float(number) => (number.fract() == 0.0 && number.abs() < 1e15).then_some(number as i128),
    }
}

fn expected(kind: &FieldKind) -> &'static str {
    match kind {
        FieldKind::Bool => "a boolean",
        FieldKind::Int(_) | FieldKind::UInt(_) => "a whole number that fits",
        FieldKind::Float(_) => "a number",
        FieldKind::Enum(_) => "a number or a name",
        FieldKind::Bytes => "base64",
        FieldKind::List { .. } | FieldKind::Array { .. } => "a list",
        FieldKind::Struct(_) | FieldKind::Map { .. } => "an object",
        _ => "a text",
    }
}

/// Returns the beginning of a text, for a message.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests;
