//! Flatbuffers' binary schemas (`.bfbs`) become a [`Tree`], with where each field is stored beside it.
//!
//! Fields stand in the order of their ids; deprecated ones are left out. A union has two fields: its `…_type`, which is an enum,
//! and itself. Members of unions that are no tables or structs are not decoded. Absent numbers have their default; absent texts,
//! vectors, tables and unions are null.
//!
//! **Invariant:** every type of the tree has one [`Layout`], with as many places as it has fields.

pub(crate) mod table;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use self::table::Table;
use super::room::Room;
use super::{DEFINITION_LIMIT, Enum, FIELD_LIMIT, Field, FieldKind, Tree, Type, TypeId};
use crate::error::{Error, Result};
use crate::message::Schema;

/// How many names an error lists.
const LISTED_NAMES: usize = 5;

/// How long a name may be, in bytes.
const NAME_LENGTH_LIMIT: usize = 512;

/// How many attributes of a field are looked at.
const ATTRIBUTE_LIMIT: usize = 64;

/// How many bytes of a comment are kept.
const COMMENT_LIMIT: usize = 4096;

/// How a type's values are stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Layout {
    /// How many bytes a value has where it is a struct: stored in place, without a list of fields.
    pub(crate) struct_size: Option<usize>,
    pub(crate) places: Vec<Place>,
}

/// Where a field is stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    /// Its place in the list of fields of a table, or its offset in a struct.
    pub(crate) at: u16,
    /// What an absent number is, as its bits.
    pub(crate) default_bits: u64,
    /// The numbers of a union's members, in the order of the tree's kind.
    pub(crate) members: Vec<i64>,
}

/// A table type and how it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Flatbuffer {
    pub(crate) tree: Tree,
    pub(crate) layouts: Vec<Layout>,
}

/// Returns the tree of a table that is defined by a binary flatbuffers schema.
///
/// # Errors
/// `Corrupt` where the definition is no such schema, `Invalid` where it lacks the table or is too large.
pub fn parse(schema: &Schema) -> Result<Tree> {
    define(schema).map(|defined| defined.tree)
}

/// Returns the tree of a table, and how it is stored.
///
/// # Errors
/// `Corrupt` where the definition is no binary schema, `Invalid` where it lacks the table or is too large.
pub(crate) fn define(schema: &Schema) -> Result<Flatbuffer> {
    let bytes = &schema.data[..];
    let explain =
        |error: Error| Error::new(error.kind(), format!("the flatbuffers definition of '{}' cannot be read", schema.name)).caused_by(error);
    if bytes.len() > DEFINITION_LIMIT {
        return Err(Error::invalid(format!("a flatbuffers definition of {} bytes; at most {DEFINITION_LIMIT}", bytes.len())));
    }
    if bytes.get(4..8) != Some(b"BFBS") {
        return Err(explain(Error::corrupt("it is no binary schema (.bfbs): it does not begin as one")));
    }
    Resolver::of(bytes).and_then(|mut resolver| resolver.run(&schema.name)).map_err(explain)
}

/// What `reflection.fbs` calls the kinds of values.
mod code {
    pub(super) const UNION_TYPE: u8 = 1;
    pub(super) const STRING: u8 = 13;
    pub(super) const VECTOR: u8 = 14;
    pub(super) const OBJECT: u8 = 15;
    pub(super) const UNION: u8 = 16;
    pub(super) const ARRAY: u8 = 17;
}

/// The places of the fields in the tables of `reflection.fbs`.
mod place {
    pub(super) const fn of(id: u16) -> u16 {
        4 + 2 * id
    }
    pub(super) const NAME: u16 = of(0);
}

struct Resolver<'a> {
    objects: table::Tables<'a>,
    enums: table::Tables<'a>,
    root: Option<Table<'a>>,
    room: Room,
    ids: HashMap<usize, TypeId>,
    wanted: Vec<usize>,
    known_enums: HashMap<usize, Arc<Enum>>,
}

impl<'a> Resolver<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self> {
        let schema = Table::root(bytes)?;
        Ok(Self {
            objects: schema.tables(place::of(0))?,
            enums: schema.tables(place::of(1))?,
            root: schema.table(place::of(4))?,
            room: Room::of_a_tree(),
            ids: HashMap::new(),
            wanted: Vec::new(),
            known_enums: HashMap::new(),
        })
    }

    fn run(&mut self, name: &str) -> Result<Flatbuffer> {
        let index = self.find(name)?;
        let root = self.want(index)?;
        let (mut types, mut layouts) = (Vec::new(), Vec::new());
        while let Some(index) = self.wanted.get(types.len()) {
            let (one, layout) = self.object(self.objects.get(*index)?)?;
            types.push(one);
            layouts.push(layout);
        }
        if layouts[root.0 as usize].struct_size.is_some() {
            return Err(Error::invalid(format!("'{name}' is a struct: messages are tables")));
        }
        let tree = Tree::new(types, root).ok_or_else(|| Error::new(crate::Kind::Internal, "a flatbuffers tree with loose ends"))?;
        Ok(Flatbuffer { tree, layouts })
    }

    /// Returns the index of a table by its name; of the schema's root table where no name is given.
    fn find(&self, name: &str) -> Result<usize> {
        let wanted = match (name, self.root) {
            ("", Some(root)) => root.text(place::NAME)?.unwrap_or_default(),
            _ => name.as_bytes(),
        };
        let mut others = Vec::new();
        for index in 0..self.objects.len() {
            let found = self.objects.get(index)?.text(place::NAME)?.unwrap_or_default();
            if found == wanted {
                return Ok(index);
            }
            if others.len() < LISTED_NAMES {
                others.push(short(found)?);
            }
        }
        let others = others.join(", ");
        Err(Error::invalid(format!("no table '{name}' among its {} types: {others}, …", self.objects.len())))
    }

    fn want(&mut self, index: usize) -> Result<TypeId> {
        if let Some(id) = self.ids.get(&index) {
            return Ok(*id);
        }
        self.room.take_type("")?;
        let id = TypeId(self.wanted.len() as u32);
        self.wanted.push(index);
        self.ids.insert(index, id);
        Ok(id)
    }

    fn object(&mut self, object: Table<'a>) -> Result<(Type, Layout)> {
        let name = short(object.text(place::NAME)?.unwrap_or_default())?;
        let comment = comment(&object, place::of(6))?;
        self.room.take_text(&name)?;
        self.room.take_text(&comment)?;
        let is_struct = flag(&object, place::of(2))?;
        let size = object.number(place::of(4))?.map_or(0, i32::from_le_bytes);
        let size = usize::try_from(size).ok().filter(|size| !is_struct || *size > 0);
        let size = size.ok_or_else(|| Error::corrupt(format!("struct '{name}' has no size")))?;
        let fields = object.tables(place::of(1))?;
        if fields.len() > FIELD_LIMIT {
            return Err(Error::invalid(format!("'{name}' has {} fields; at most {FIELD_LIMIT}", fields.len())));
        }
        let mut found = Vec::new();
        for index in 0..fields.len() {
            let field = fields.get(index)?;
            self.room.take_field("")?;
            if !flag(&field, place::of(6))? {
                found.push(self.field(&name, field, is_struct)?);
            }
        }
        found.sort_by_key(|(field, _)| field.number);
        let (fields, places) = found.into_iter().unzip();
        let layout = Layout { struct_size: is_struct.then_some(size), places };
        Ok((Type { name, fields, constants: Vec::new(), comment }, layout))
    }

    fn field(&mut self, owner: &str, field: Table<'a>, is_in_struct: bool) -> Result<(Field, Place)> {
        let name = short(field.text(place::NAME)?.unwrap_or_default())?;
        self.room.take_text(&name)?;
        let wrong = |why: &str| Error::invalid(format!("field '{name}' of '{owner}' {why}"));
        let stored = field.table(place::of(1))?.ok_or_else(|| wrong("has no type"))?;
        if flag(&field, place::of(13))? {
            return Err(wrong("has 64-bit offsets, which are not supported"));
        }
        let mut members = Vec::new();
        let kind = self.kind(&stored, &mut members)?.ok_or_else(|| wrong("has a type that is not supported"))?;
        let is_fixed = matches!(kind, FieldKind::Array { .. });
        let is_inline = is_number(&kind) || is_fixed || matches!(kind, FieldKind::Struct(_));
        if is_in_struct && !is_inline || !is_in_struct && is_fixed {
            return Err(wrong("has a type that cannot stand there"));
        }
        let id = field.number(place::of(2))?.map_or(0, u16::from_le_bytes);
        let at = field.number(place::of(3))?.map_or(0, u16::from_le_bytes);
        let integer = field.number(place::of(4))?.map_or(0, i64::from_le_bytes);
        let real = field.number(place::of(5))?.map_or(0.0, f64::from_le_bytes);
        let (default, default_bits) = match &kind {
            FieldKind::Float(4) => (real.to_string(), u64::from((real as f32).to_bits())),
            FieldKind::Float(_) => (real.to_string(), real.to_bits()),
            FieldKind::Bool => ((integer != 0).to_string(), u64::from(integer != 0)),
            kind if is_number(kind) => (integer.to_string(), integer.cast_unsigned()),
            _ => (String::new(), 0),
        };
        let optional = flag(&field, place::of(11))? || !is_in_struct && !is_number(&kind) && !flag(&field, place::of(7))?;
        let default = if optional || is_in_struct { String::new() } else { default };
        let comment = comment(&field, place::of(10))?;
        self.room.take_text(&comment)?;
        let unit = attribute(&field, b"unit")?;
        self.room.take_text(&unit)?;
        let field = Field { name, kind, optional, unit, comment, number: u32::from(id), default };
        Ok((field, Place { at, default_bits, members }))
    }

    fn kind(&mut self, stored: &Table<'a>, members: &mut Vec<i64>) -> Result<Option<FieldKind>> {
        let base = stored.number(place::of(0))?.map_or(0, u8::from_le_bytes);
        let element = stored.number(place::of(1))?.map_or(0, u8::from_le_bytes);
        let index = stored.number(place::of(2))?.map_or(-1, i32::from_le_bytes);
        let index = usize::try_from(index).ok();
        Ok(match base {
            code::VECTOR => {
                let element = self.single(element, index, members)?;
                element.map(|element| FieldKind::List { element: Box::new(element), bound: None })
            }
            code::ARRAY => {
                let length = stored.number(place::of(3))?.map_or(0, u16::from_le_bytes);
                let element = self.single(element, index, members)?;
                element.map(|element| FieldKind::Array { element: Box::new(element), length: u32::from(length) })
            }
            _ => self.single(base, index, members)?,
        })
    }

    fn single(&mut self, base: u8, index: Option<usize>, members: &mut Vec<i64>) -> Result<Option<FieldKind>> {
        Ok(match (base, index) {
            (code::UNION, Some(index)) => Some(FieldKind::Union(self.members(index, members)?)),
            (code::OBJECT, Some(index)) => Some(FieldKind::Struct(self.want(index)?)),
            (code::UNION_TYPE | 3..=10, Some(index)) => Some(FieldKind::Enum(self.names(index)?)),
            (code::STRING, _) => Some(FieldKind::String),
            (other, _) => number_kind(other),
        })
    }

    fn names(&mut self, index: usize) -> Result<Arc<Enum>> {
        if let Some(known) = self.known_enums.get(&index) {
            return Ok(Arc::clone(known));
        }
        let found = self.enums.get(index)?;
        let underlying = found.table(place::of(3))?.map(|stored| stored.number(place::of(0))).transpose()?.flatten();
        let (bytes, signed) = match number_kind(underlying.map_or(1, u8::from_le_bytes)) {
            Some(FieldKind::Int(bytes)) => (bytes, true),
            Some(FieldKind::UInt(bytes)) => (bytes, false),
            _ => return Err(Error::corrupt("an enum whose values are no whole numbers")),
        };
        let mut names = BTreeMap::new();
        let values = found.tables(place::of(1))?;
        for index in 0..values.len() {
            let value = values.get(index)?;
            let name = short(value.text(place::NAME)?.unwrap_or_default())?;
            self.room.take_field(&name)?;
            names.entry(value.number(place::of(1))?.map_or(0, i64::from_le_bytes)).or_insert(name);
        }
        let name = short(found.text(place::NAME)?.unwrap_or_default())?;
        let known = Arc::new(Enum { name, names, bytes, signed });
        self.known_enums.insert(index, Arc::clone(&known));
        Ok(known)
    }

    fn members(&mut self, index: usize, members: &mut Vec<i64>) -> Result<Vec<(String, TypeId)>> {
        let mut types = Vec::new();
        let values = self.enums.get(index)?.tables(place::of(1))?;
        for index in 0..values.len() {
            let value = values.get(index)?;
            self.room.take_field("")?;
            let Some(stored) = value.table(place::of(3))? else { continue };
            let base = stored.number(place::of(0))?.map_or(0, u8::from_le_bytes);
            let object = stored.number(place::of(2))?.and_then(|index| usize::try_from(i32::from_le_bytes(index)).ok());
            let (code::OBJECT, Some(object)) = (base, object) else { continue };
            let name = short(value.text(place::NAME)?.unwrap_or_default())?;
            self.room.take_text(&name)?;
            types.push((name, self.want(object)?));
            members.push(value.number(place::of(1))?.map_or(0, i64::from_le_bytes));
        }
        Ok(types)
    }
}

fn number_kind(base: u8) -> Option<FieldKind> {
    Some(match base {
        1 | 4 => FieldKind::UInt(1),
        2 => FieldKind::Bool,
        3 => FieldKind::Int(1),
        5 => FieldKind::Int(2),
        6 => FieldKind::UInt(2),
        7 => FieldKind::Int(4),
        8 => FieldKind::UInt(4),
        9 => FieldKind::Int(8),
        10 => FieldKind::UInt(8),
        11 => FieldKind::Float(4),
        12 => FieldKind::Float(8),
        _ => return None,
    })
}

fn is_number(kind: &FieldKind) -> bool {
    matches!(kind, FieldKind::Bool | FieldKind::Int(_) | FieldKind::UInt(_) | FieldKind::Float(_) | FieldKind::Enum(_))
}

fn flag(table: &Table<'_>, place: u16) -> Result<bool> {
    Ok(table.number(place)?.is_some_and(|[byte]| byte != 0))
}

fn short(name: &[u8]) -> Result<String> {
    if name.len() > NAME_LENGTH_LIMIT {
        return Err(Error::invalid(format!("a name of {} bytes; at most {NAME_LENGTH_LIMIT}", name.len())));
    }
    String::from_utf8(name.to_vec()).map_err(|_| Error::corrupt("a name that is not UTF-8"))
}

/// Returns the lines of a comment.
fn comment(owner: &Table<'_>, place: u16) -> Result<String> {
    let Some(at) = owner.field(place) else { return Ok(String::new()) };
    let lines = table::Vector::at(owner.buffer, at, 4)?;
    let mut comment = String::new();
    for index in 0..lines.length {
        let line = table::text(owner.buffer, lines.start + 4 * index)?;
        if comment.len() + line.len() > COMMENT_LIMIT {
            break;
        }
        if index > 0 {
            comment.push('\n');
        }
        comment.push_str(String::from_utf8_lossy(line).trim());
    }
    Ok(comment)
}

/// Returns what a field's attribute says; empty where it has none of that name.
fn attribute(field: &Table<'_>, wanted: &[u8]) -> Result<String> {
    let attributes = field.tables(place::of(9))?;
    for index in 0..attributes.len().min(ATTRIBUTE_LIMIT) {
        let one = attributes.get(index)?;
        if one.text(place::NAME)? == Some(wanted) {
            return short(one.text(place::of(1))?.unwrap_or_default());
        }
    }
    Ok(String::new())
}

#[cfg(test)]
pub(crate) mod tests;
