//! Flatbuffers messages, walked along their tree.
//!
//! Every position is checked. Tables may share their parts, so that few bytes can stand for many values: there is an [`Allowance`].
//!
//! **Invariant:** a walk nests only so deep, and ends after a number of values that the payload's length bounds.

use std::borrow::Cow;
use std::sync::Arc;

use super::allowance::Allowance;
use super::sink::{Number, Numbers, Sink, Width, give};
use crate::error::{Error, Result};
use crate::message::Schema;
use crate::schema::flatbuffer::table::{Table, Vector, array, follow, malformed, text};
use crate::schema::flatbuffer::{Layout, Place, define};
use crate::schema::{DEPTH_LIMIT, Enum, FieldKind, Tree, TypeId};

/// How messages of a flatbuffers table are read.
#[derive(Debug)]
pub(crate) struct Flatbuffer {
    tree: Arc<Tree>,
    layouts: Vec<Layout>,
}

/// One message being read.
struct Walk<'d, 'a, S> {
    of: &'d Flatbuffer,
    payload: &'a [u8],
    allowance: Allowance,
    /// Vectors may be shared too.
    elements: Allowance,
    sink: &'d mut S,
}

/// Where a value of a type stands.
#[derive(Clone, Copy)]
enum Body<'a> {
    Table(Table<'a>),
    Struct(usize),
}

impl Flatbuffer {
    /// Returns how messages of a schema are read.
    ///
    /// # Errors
    /// As those of [`crate::schema::flatbuffer::parse`].
    pub(crate) fn new(schema: &Schema) -> Result<Self> {
        let defined = define(schema)?;
        Ok(Self { tree: Arc::new(defined.tree), layouts: defined.layouts })
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
        let root = Table::root(payload)?;
        let mut walk = Walk { of: self, payload, allowance: Allowance::of(payload), elements: Allowance::of_elements(payload), sink };
        walk.body(self.tree.root_id(), Body::Table(root), 0)
    }

    fn layout(&self, id: TypeId) -> &Layout {
        &self.layouts[id.0 as usize]
    }
}

impl<'a, S: Sink<'a>> Walk<'_, 'a, S> {
    fn body(&mut self, id: TypeId, body: Body<'a>, depth: usize) -> Result<()> {
        if depth >= DEPTH_LIMIT {
            return Err(Error::corrupt(format!("a flatbuffer with more than {DEPTH_LIMIT} tables in each other")));
        }
        let of = self.of;
        self.allowance.take(of.tree.get(id).fields.len())?;
        self.sink.begin_struct(id);
        for (index, (field, place)) in of.tree.get(id).fields.iter().zip(&of.layout(id).places).enumerate() {
            let at = match body {
                Body::Table(table) => table.field(place.at),
                Body::Struct(start) => Some(start + usize::from(place.at)),
            };
            let is_there = at.is_some() || !field.optional && is_number(&field.kind);
            if !is_there || !self.sink.field(index) {
                continue;
            }
            match (at, &field.kind, body) {
                (None, kind, _) => self.default(kind, place),
                (Some(at), FieldKind::Union(members), Body::Table(table)) => {
                    let chosen = table.number(place.at.saturating_sub(2))?.map_or(0, u8::from_le_bytes);
                    self.member(members, place, chosen, at, depth)?;
                }
                (Some(at), FieldKind::List { element, .. }, Body::Table(table)) if matches!(**element, FieldKind::Union(_)) => {
                    self.members(element, place, table, at, depth)?;
                }
                (Some(at), kind, _) => self.value(kind, at, depth)?,
            }
        }
        self.sink.end_struct();
        Ok(())
    }

    fn value(&mut self, kind: &FieldKind, at: usize, depth: usize) -> Result<()> {
        match kind {
            FieldKind::Enum(names) => {
                let number = whole(self.payload, at, names)?;
                self.sink.enumeration(number, names);
            }
            FieldKind::String => self.sink.text(String::from_utf8_lossy(text(self.payload, at)?)),
            FieldKind::Struct(id) => {
                let body = match self.of.layout(*id).struct_size {
                    Some(_) => Body::Struct(at),
                    None => Body::Table(Table::at(self.payload, follow(self.payload, at)?)?),
                };
                self.body(*id, body, depth + 1)?;
            }
            FieldKind::List { element, .. } => {
                let vector = Vector::at(self.payload, at, self.stride(element))?;
                self.elements.take(vector.length)?;
                self.elements(element, vector, depth)?;
            }
            FieldKind::Array { element, length } => {
                let vector = Vector { start: at, length: *length as usize };
                self.elements(element, vector, depth)?;
            }
            kind => {
                let number = number(kind).ok_or_else(|| malformed("a value of no kind that flatbuffers have", at))?;
                let width = number.width() as usize;
                let bytes = at.checked_add(width).and_then(|end| self.payload.get(at..end));
                give(number, bytes.ok_or_else(|| malformed("a value that is cut off", at))?, false, self.sink);
            }
        }
        Ok(())
    }

    fn elements(&mut self, element: &FieldKind, vector: Vector, depth: usize) -> Result<()> {
        self.allowance.take(vector.length)?;
        self.sink.begin_list();
        let stride = self.stride(element);
        if let Some(number) = number(element) {
            let end = vector.length.checked_mul(stride).and_then(|size| vector.start.checked_add(size));
            let bytes = end.and_then(|end| self.payload.get(vector.start..end));
            let bytes = bytes.ok_or_else(|| malformed("a list of numbers that is cut off", vector.start))?;
            self.sink.numbers(Numbers { bytes, number, big_endian: false });
        } else {
            for index in 0..vector.length {
                self.value(element, vector.start + index * stride, depth)?;
            }
        }
        self.sink.end_list();
        Ok(())
    }

    fn members(&mut self, element: &FieldKind, place: &Place, table: Table<'a>, at: usize, depth: usize) -> Result<()> {
        let FieldKind::Union(members) = element else { return Ok(()) };
        let vector = Vector::at(self.payload, at, 4)?;
        let chosen = match table.field(place.at.saturating_sub(2)) {
            Some(at) => Vector::at(self.payload, at, 1)?,
            None => Vector { start: 0, length: 0 },
        };
        self.elements.take(vector.length)?;
        self.sink.begin_list();
        for index in 0..vector.length {
            let member = if index < chosen.length { self.payload.get(chosen.start + index).copied().unwrap_or(0) } else { 0 };
            self.member(members, place, member, vector.start + 4 * index, depth)?;
        }
        self.sink.end_list();
        Ok(())
    }

    fn member(&mut self, members: &[(String, TypeId)], place: &Place, chosen: u8, at: usize, depth: usize) -> Result<()> {
        let found = place.members.iter().position(|number| *number == i64::from(chosen)).and_then(|index| members.get(index));
        let Some((_, id)) = found else {
            self.sink.null();
            return Ok(());
        };
        let position = follow(self.payload, at)?;
        let body = match self.of.layout(*id).struct_size {
            Some(_) => Body::Struct(position),
            None => Body::Table(Table::at(self.payload, position)?),
        };
        self.body(*id, body, depth + 1)
    }

    fn default(&mut self, kind: &FieldKind, place: &Place) {
        let bits = place.default_bits;
        match kind {
            FieldKind::Bool => self.sink.bool(bits != 0),
            FieldKind::Int(_) => self.sink.int(bits.cast_signed()),
            FieldKind::UInt(_) => self.sink.uint(bits),
            FieldKind::Float(4) => self.sink.float32(f32::from_bits(bits as u32)),
            FieldKind::Float(_) => self.sink.float(f64::from_bits(bits)),
            FieldKind::Enum(names) => self.sink.enumeration(bits.cast_signed(), names),
            FieldKind::String => self.sink.text(Cow::Borrowed("")),
            _ => self.sink.null(),
        }
    }

    /// Returns how far the elements of a vector are apart.
    fn stride(&self, element: &FieldKind) -> usize {
        match element {
            FieldKind::Struct(id) => self.of.layout(*id).struct_size.unwrap_or(4),
            FieldKind::Enum(names) => usize::from(names.bytes),
            element => number(element).map_or(4, |number| number.width() as usize),
        }
    }
}

fn is_number(kind: &FieldKind) -> bool {
    number(kind).is_some() || matches!(kind, FieldKind::Enum(_))
}

fn number(kind: &FieldKind) -> Option<Number> {
    match kind {
        FieldKind::Bool => Some(Number::Bool),
        FieldKind::Int(bytes) => Width::of(*bytes).map(Number::Int),
        FieldKind::UInt(bytes) => Width::of(*bytes).map(Number::UInt),
        FieldKind::Float(4) => Some(Number::F32),
        FieldKind::Float(_) => Some(Number::F64),
        _ => None,
    }
}

fn whole(payload: &[u8], at: usize, names: &Enum) -> Result<i64> {
    Ok(match (names.bytes, names.signed) {
        (1, true) => i8::from_le_bytes(array(payload, at)?).into(),
        (1, false) => u8::from_le_bytes(array(payload, at)?).into(),
        (2, true) => i16::from_le_bytes(array(payload, at)?).into(),
        (2, false) => u16::from_le_bytes(array(payload, at)?).into(),
        (4, true) => i32::from_le_bytes(array(payload, at)?).into(),
        (4, false) => u32::from_le_bytes(array(payload, at)?).into(),
        _ => i64::from_le_bytes(array(payload, at)?),
    })
}

#[cfg(test)]
mod tests;
