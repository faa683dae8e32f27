//! Protobuf messages, walked along their tree.
//!
//! A message's fields come in any order and more than once, so it is looked through first, and then told in the order of the
//! definition: of a field that is there once the last one counts, embedded messages that come in parts are merged, lists may be
//! packed or not, and of a `oneof` only what came last is there. Unknown fields and fields with a foreign wire type are skipped.
//! Absent fields are null where the definition lets them be absent, else their default. A map's entries are told as they stand.
//!
//! In JSON this is not quite protobuf's own mapping: numbers of 8 bytes are numbers and not texts, names are those of the definition,
//! and nothing is left out, for so robotics tools expect it.
//!
//! **Invariant:** what a walk notes is a small multiple of the payload, and it ends after a number of values that the payload's
//! length bounds.

mod notes;

use std::borrow::Cow;
use std::sync::Arc;

use self::notes::{Found, NONE, Notes, Plan};
use super::Scalar;
use super::allowance::Allowance;
use super::sink::{Number, Numbers, Sink, Width};
use crate::error::{Error, Result};
use crate::message::Schema;
use crate::schema::protobuf::wire::{Value, Wire};
use crate::schema::protobuf::{Coding, Writing, define};
use crate::schema::{DEPTH_LIMIT, FieldKind, Tree, TypeId};

/// How messages of a protobuf type are read.
#[derive(Debug)]
pub(crate) struct Protobuf {
    tree: Arc<Tree>,
    codings: Vec<Vec<Coding>>,
    plans: Vec<Plan>,
}

/// One message being read.
struct Walk<'d, 'a, S> {
    of: &'d Protobuf,
    payload: &'a [u8],
    notes: Notes,
    allowance: Allowance,
    sink: &'d mut S,
}

impl Protobuf {
    /// Returns how messages of a schema are read.
    ///
    /// # Errors
    /// As those of [`crate::schema::protobuf::parse`].
    pub(crate) fn new(schema: &Schema) -> Result<Self> {
        let defined = define(schema)?;
        let types = defined.tree.types().iter().zip(&defined.codings);
        let plans = types.map(|(one, codings)| Plan::of(one, codings)).collect();
        Ok(Self { tree: Arc::new(defined.tree), codings: defined.codings, plans })
    }

    /// Returns what messages are made of.
    pub(crate) fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// Tells a sink what a message holds.
    ///
    /// # Errors
    /// `Corrupt` where the payload is no such message; the sink then has a part of it.
    pub(crate) fn walk<'a, S: Sink<'a>>(&self, payload: &'a [u8], sink: &mut S) -> Result<()> {
        let Ok(length) = u32::try_from(payload.len()) else {
            return Err(Error::invalid(format!("a protobuf message of {} bytes; at most 4 GiB", payload.len())));
        };
        let mut walk = Walk { of: self, payload, notes: Notes::default(), allowance: Allowance::of(payload), sink };
        let whole = walk.notes.keep(Found::sized(0, length));
        walk.message(self.tree.root_id(), whole, 0)
    }
}

impl<'a, S: Sink<'a>> Walk<'_, 'a, S> {
    /// Tells a message whose parts begin with `first`.
    fn message(&mut self, id: TypeId, first: u32, depth: usize) -> Result<()> {
        if depth >= DEPTH_LIMIT {
            return Err(Error::corrupt(format!("a protobuf message with more than {DEPTH_LIMIT} messages in each other")));
        }
        let of = self.of;
        let (plan, codings) = (&of.plans[id.0 as usize], &of.codings[id.0 as usize]);
        self.allowance.take(codings.len())?;
        let opened = self.notes.open(plan);
        let mut part = first;
        while part != NONE {
            let found = self.notes.found(part);
            self.notes.look_through(self.payload, found.range(), plan, codings, &opened)?;
            part = found.next;
        }
        self.sink.begin_struct(id);
        for (index, (field, coding)) in of.tree.get(id).fields.iter().zip(codings).enumerate() {
            let slot = self.notes.slot(&opened, index);
            let is_repeated = matches!(field.kind, FieldKind::List { .. } | FieldKind::Map { .. });
            let is_null = slot.first == NONE && !is_repeated && (field.optional || coding.writing == Writing::Message);
            if is_null || !self.sink.field(index) {
                continue;
            }
            match &field.kind {
                FieldKind::List { element, .. } => self.list(element, coding, slot.first, depth)?,
                FieldKind::Map { key, value } => self.map(key, value, coding, slot.first, depth)?,
                FieldKind::Struct(id) => self.message(*id, slot.first, depth + 1)?,
                kind if slot.first == NONE => self.default(kind, coding),
                kind => {
                    let value = self.notes.found(slot.last).value(self.payload);
                    self.single(kind, coding.writing, value);
                }
            }
        }
        self.sink.end_struct();
        self.notes.close(opened);
        Ok(())
    }

    fn list(&mut self, element: &FieldKind, coding: &Coding, first: u32, depth: usize) -> Result<()> {
        self.sink.begin_list();
        let mut at = first;
        while at != NONE {
            let found = self.notes.found(at);
            match (element, found.value(self.payload)) {
                (FieldKind::Struct(id), _) => {
                    self.allowance.take(1)?;
                    let alone = self.notes.keep(found.alone());
                    self.message(*id, alone, depth + 1)?;
                    self.notes.drop_last();
                }
                (_, Value::Sized(bytes)) if !matches!(coding.writing, Writing::String | Writing::Bytes) => {
                    self.packed(element, coding.writing, bytes)?
                }
                (_, value) => {
                    self.allowance.take(1)?;
                    self.single(element, coding.writing, value);
                }
            }
            at = found.next;
        }
        self.sink.end_list();
        Ok(())
    }

    fn packed(&mut self, element: &FieldKind, writing: Writing, bytes: &'a [u8]) -> Result<()> {
        if let (Writing::Fixed32 | Writing::Fixed64, Some(number)) = (writing, fixed(element)) {
            if !bytes.len().is_multiple_of(number.width() as usize) {
                return Err(Error::corrupt("malformed protobuf: a list of numbers whose last one is cut off"));
            }
            self.sink.numbers(Numbers { bytes, number, big_endian: false });
            return Ok(());
        }
        let mut wire = Wire::of(bytes);
        while wire.left() > 0 {
            let number = wire.varint()?;
            self.single(element, writing, Value::Varint(number));
        }
        Ok(())
    }

    fn map(&mut self, key: &FieldKind, value: &FieldKind, coding: &Coding, first: u32, depth: usize) -> Result<()> {
        self.sink.begin_map();
        let mut at = first;
        while at != NONE {
            let found = self.notes.found(at);
            self.allowance.take(1)?;
            self.entry(key, value, coding, found, depth)?;
            at = found.next;
        }
        self.sink.end_map();
        Ok(())
    }

    fn entry(&mut self, key: &FieldKind, value: &FieldKind, coding: &Coding, found: Found, depth: usize) -> Result<()> {
        let writing = coding.key.unwrap_or(Writing::String);
        let (mut found_key, mut found_value) = (None, None);
        let mut wire = Wire::of(&self.payload[found.range()]);
        while let Some((number, value)) = wire.next()? {
            match number {
                1 if notes::fits(writing, value) => found_key = Some(value),
                2 if notes::fits(coding.writing, value) => found_value = Some(value),
                _ => {}
            }
        }
        self.sink.key(match found_key {
            Some(found) => scalar(key, writing, found),
            None => default_key(key),
        });
        match (value, found_value) {
            (FieldKind::Struct(id), found) => {
                let part = found.map_or(Found::sized(0, 0), |value| Found::of(value, self.payload));
                let part = self.notes.keep(part);
                self.message(*id, part, depth + 1)?;
                self.notes.drop_last();
            }
            (kind, Some(found)) => self.single(kind, coding.writing, found),
            (kind, None) => self.default(kind, &Coding { default_bits: 0, ..*coding }),
        }
        Ok(())
    }

    fn single(&mut self, kind: &FieldKind, writing: Writing, value: Value<'a>) {
        if let FieldKind::Enum(names) = kind {
            let number = value.varint().unwrap_or_default() as i32;
            return self.sink.enumeration(i64::from(number), names);
        }
        match scalar(kind, writing, value) {
            Scalar::Null => self.sink.null(),
            Scalar::Bool(value) => self.sink.bool(value),
            Scalar::Int(value) => self.sink.int(value),
            Scalar::UInt(value) => self.sink.uint(value),
            Scalar::Float(value) if *kind == FieldKind::Float(4) => self.sink.float32(value as f32),
            Scalar::Float(value) => self.sink.float(value),
            Scalar::Text(value) => self.sink.text(value),
            Scalar::Bytes(value) => self.sink.bytes(value),
        }
    }

    fn default(&mut self, kind: &FieldKind, coding: &Coding) {
        let bits = coding.default_bits;
        match kind {
            FieldKind::Bool => self.sink.bool(bits != 0),
            FieldKind::Int(_) => self.sink.int(bits.cast_signed()),
            FieldKind::UInt(_) => self.sink.uint(bits),
            FieldKind::Float(4) => self.sink.float32(f32::from_bits(bits as u32)),
            FieldKind::Float(_) => self.sink.float(f64::from_bits(bits)),
            FieldKind::Enum(names) => self.sink.enumeration(bits.cast_signed(), names),
            FieldKind::String => self.sink.text(Cow::Borrowed("")),
            FieldKind::Bytes => self.sink.bytes(Cow::Borrowed(&[])),
            _ => self.sink.null(),
        }
    }
}

/// Returns a value that is no message.
fn scalar<'a>(kind: &FieldKind, writing: Writing, value: Value<'a>) -> Scalar<'a> {
    match (kind, value) {
        (FieldKind::Bool, Value::Varint(bits)) => Scalar::Bool(bits != 0),
        (FieldKind::Int(4), Value::Varint(bits)) if writing == Writing::Zigzag => {
            Scalar::Int(i64::from(zigzag(u64::from(bits as u32)) as i32))
        }
        (FieldKind::Int(_), Value::Varint(bits)) if writing == Writing::Zigzag => Scalar::Int(zigzag(bits)),
        (FieldKind::Int(4), Value::Varint(bits)) => Scalar::Int(i64::from(bits as i32)),
        (FieldKind::Int(_), Value::Varint(bits)) => Scalar::Int(bits.cast_signed()),
        (FieldKind::UInt(4), Value::Varint(bits)) => Scalar::UInt(u64::from(bits as u32)),
        (FieldKind::UInt(_), Value::Varint(bits)) => Scalar::UInt(bits),
        (FieldKind::Int(_), Value::Fixed32(bits)) => Scalar::Int(i64::from(bits.cast_signed())),
        (FieldKind::Int(_), Value::Fixed64(bits)) => Scalar::Int(bits.cast_signed()),
        (FieldKind::UInt(_), Value::Fixed32(bits)) => Scalar::UInt(u64::from(bits)),
        (FieldKind::UInt(_), Value::Fixed64(bits)) => Scalar::UInt(bits),
        (FieldKind::Float(_), Value::Fixed32(bits)) => Scalar::Float(f64::from(f32::from_bits(bits))),
        (FieldKind::Float(_), Value::Fixed64(bits)) => Scalar::Float(f64::from_bits(bits)),
        (FieldKind::String, Value::Sized(bytes)) => Scalar::Text(String::from_utf8_lossy(bytes)),
        (FieldKind::Bytes, Value::Sized(bytes) | Value::Group(bytes)) => Scalar::Bytes(Cow::Borrowed(bytes)),
        _ => Scalar::Null,
    }
}

fn default_key(kind: &FieldKind) -> Scalar<'static> {
    match kind {
        FieldKind::Bool => Scalar::Bool(false),
        FieldKind::Int(_) => Scalar::Int(0),
        FieldKind::UInt(_) => Scalar::UInt(0),
        _ => Scalar::Text(Cow::Borrowed("")),
    }
}

fn zigzag(bits: u64) -> i64 {
    (bits >> 1).cast_signed() ^ -(bits & 1).cast_signed()
}

fn fixed(kind: &FieldKind) -> Option<Number> {
    match kind {
        FieldKind::Float(4) => Some(Number::F32),
        FieldKind::Float(_) => Some(Number::F64),
        FieldKind::Int(bytes) => Width::of(*bytes).map(Number::Int),
        FieldKind::UInt(bytes) => Width::of(*bytes).map(Number::UInt),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
