//! Protobuf definitions: a serialized `FileDescriptorSet` becomes a [`Tree`], with how each field is written beside it.
//!
//! The set is read by our own checked reader and only as far as the message needs it: a pool of a general crate takes
//! hundreds of bytes of memory for every two bytes of a hostile set.
//!
//! A message that the set refers to and does not define costs that field only: it is its bytes, as they stand in the message.
//! `google.protobuf.Timestamp` and `Duration` are known without the set.
//!
//! **Invariant:** every type of the tree has one list of [`Coding`]s, as long as its list of fields.

mod descriptor;
pub(crate) mod wire;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use self::descriptor::{Definition, Descriptors, Features, Presence, text};
use self::wire::{Value, Wire};
use super::room::Room;
use super::{Constant, DEFINITION_LIMIT, Enum, FIELD_LIMIT, Field, FieldKind, Tree, Type, TypeId};
use crate::error::{Error, Result};
use crate::message::Schema;

/// How many names an error lists.
const LISTED_NAMES: usize = 5;

/// How many bytes the definition of a map's entry may have: it is two fields.
const ENTRY_LIMIT: usize = 16 << 10;

/// How a value is written on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    Bool,
    /// A varint that holds a signed number as it is.
    Signed,
    Unsigned,
    /// A varint that holds a signed number in zigzag.
    Zigzag,
    Fixed32,
    Fixed64,
    String,
    Bytes,
    Enum,
    Message,
}

/// How a field is written on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Coding {
    /// How its value, element or map value is written.
    pub(crate) writing: Writing,
    /// How a map's key is written.
    pub(crate) key: Option<Writing>,
    /// Whether it is a list, whose numbers may be packed.
    pub(crate) is_list: bool,
    /// The group of fields of its type of which only the last one written counts.
    pub(crate) oneof: Option<u32>,
    /// What an absent number or enum is, as its bits.
    pub(crate) default_bits: u64,
}

impl Coding {
    /// Returns how what stands behind a tag is written: for a map, its entries.
    pub(crate) fn held(&self) -> Writing {
        if self.key.is_some() { Writing::Message } else { self.writing }
    }
}

/// A message type and how it is written.
#[derive(Clone, Debug)]
pub(crate) struct Protobuf {
    pub(crate) tree: Tree,
    pub(crate) codings: Vec<Vec<Coding>>,
}

/// Returns the tree of a message type that is defined by a serialized `FileDescriptorSet`.
///
/// # Errors
/// `Corrupt` where the definition is no descriptor set, `Invalid` where it lacks the message or is too large.
pub fn parse(schema: &Schema) -> Result<Tree> {
    define(schema).map(|defined| defined.tree)
}

/// Returns the tree of a message type, and how its fields are written.
///
/// # Errors
/// `Corrupt` where the definition is no descriptor set, `Invalid` where it lacks the message or is too large.
pub(crate) fn define(schema: &Schema) -> Result<Protobuf> {
    if schema.data.len() > DEFINITION_LIMIT {
        return Err(Error::invalid(format!("a descriptor set of {} bytes; at most {DEFINITION_LIMIT}", schema.data.len())));
    }
    let descriptors = Descriptors::read(&schema.data).map_err(|error| in_schema(error, schema))?;
    let name = schema.name.trim_start_matches('.');
    if descriptors.get(name).is_none_or(|definition| definition.is_enum) {
        let mut names: Vec<&str> = descriptors.names().take(LISTED_NAMES + 1).collect();
        if names.len() > LISTED_NAMES {
            names[LISTED_NAMES] = "…";
        }
        return Err(Error::invalid(format!("no message '{name}' in its protobuf definition, which has: {}", names.join(", "))));
    }
    let mut resolver = Resolver { descriptors, room: Room::of_a_tree(), ids: HashMap::new(), wanted: Vec::new(), enums: HashMap::new() };
    resolver.run(name).map_err(|error| in_schema(error, schema))
}

fn in_schema(error: Error, schema: &Schema) -> Error {
    Error::new(error.kind(), format!("the protobuf definition of '{}' cannot be read", schema.name)).caused_by(error)
}

struct Resolver<'a> {
    descriptors: Descriptors<'a>,
    room: Room,
    ids: HashMap<String, TypeId>,
    wanted: Vec<String>,
    enums: HashMap<String, Arc<Enum>>,
}

/// A field's descriptor, taken apart.
#[derive(Default)]
struct Described<'a> {
    name: &'a [u8],
    number: u64,
    label: u64,
    kind: u64,
    type_name: &'a [u8],
    default: &'a [u8],
    options: &'a [u8],
    oneof: Option<u64>,
    is_optional: bool,
}

/// What keys and values of a map are.
type Entry = ((FieldKind, Writing), (FieldKind, Writing));

const LABEL_REQUIRED: u64 = 2;
const LABEL_REPEATED: u64 = 3;
const TYPE_GROUP: u64 = 10;
const TYPE_MESSAGE: u64 = 11;
const TYPE_ENUM: u64 = 14;

impl Resolver<'_> {
    fn run(&mut self, root: &str) -> Result<Protobuf> {
        let (mut types, mut codings) = (Vec::new(), Vec::new());
        let root = self.want(root)?;
        while let Some(name) = self.wanted.get(types.len()).cloned() {
            let (one, coding) = match self.descriptors.get(&name).copied() {
                Some(definition) => self.message(&name, &definition)?,
                None => seconds_and_nanos(&name),
            };
            types.push(one);
            codings.push(coding);
        }
        let tree = Tree::new(types, root).ok_or_else(|| Error::new(crate::Kind::Internal, "a protobuf tree with loose ends"))?;
        Ok(Protobuf { tree, codings })
    }

    fn want(&mut self, name: &str) -> Result<TypeId> {
        if let Some(id) = self.ids.get(name) {
            return Ok(*id);
        }
        self.room.take_type(name)?;
        let id = TypeId(self.wanted.len() as u32);
        self.wanted.push(name.to_owned());
        self.ids.insert(name.to_owned(), id);
        Ok(id)
    }

    fn message(&mut self, name: &str, definition: &Definition<'_>) -> Result<(Type, Vec<Coding>)> {
        let comment = self.descriptors.comment(definition, None);
        self.room.take_text(&comment)?;
        let mut one = Type { name: name.to_owned(), comment, ..Type::default() };
        let mut codings = Vec::new();
        let mut wire = Wire::of(definition.body);
        while let Some((number, value)) = wire.next()? {
            let (2, Value::Sized(field)) = (number, value) else { continue };
            if one.fields.len() >= FIELD_LIMIT {
                return Err(Error::invalid(format!("'{name}' has more than {FIELD_LIMIT} fields")));
            }
            let (mut field, coding) = self.field(name, definition.features, &describe(field)?)?;
            field.comment = self.descriptors.comment(definition, Some([2, one.fields.len() as u32]));
            self.room.take_text(&field.comment)?;
            one.fields.push(field);
            codings.push(coding);
        }
        Ok((one, codings))
    }

    fn field(&mut self, scope: &str, features: Features, described: &Described<'_>) -> Result<(Field, Coding)> {
        let name = text(described.name)?;
        self.room.take_field(&name)?;
        let number = u32::try_from(described.number).ok().filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or_else(|| Error::corrupt(format!("field '{name}' of '{scope}' has number {}", described.number)))?;
        let is_repeated = described.label == LABEL_REPEATED;
        let presence = match features.with(described.options, 21)?.presence {
            _ if described.label == LABEL_REQUIRED => Presence::Required,
            Presence::Implicit if described.is_optional || described.oneof.is_some() => Presence::Explicit,
            presence => presence,
        };
        let (single, writing, entry) = self.single(scope, described)?;
        let is_message = matches!(described.kind, TYPE_GROUP | TYPE_MESSAGE);
        let is_optional = !is_repeated && (presence == Presence::Explicit || presence == Presence::Implicit && is_message);
        let (kind, coding_of_value, key) = match entry {
            Some((key, value)) if is_repeated => {
                let kind = FieldKind::Map { key: Box::new(key.0), value: Box::new(value.0) };
                (kind, value.1, Some(key.1))
            }
            _ if is_repeated => (FieldKind::List { element: Box::new(single), bound: None }, writing, None),
            _ => (single, writing, None),
        };
        let default = String::from_utf8_lossy(described.default).into_owned();
        self.room.take_text(&default)?;
        let default_bits = default_bits(&kind, &default);
        let oneof = described.oneof.and_then(|index| u32::try_from(index).ok());
        let is_list = is_repeated && key.is_none();
        let coding = Coding { writing: coding_of_value, key, is_list, oneof, default_bits };
        let field = Field { name, kind, optional: is_optional, unit: String::new(), comment: String::new(), number, default };
        Ok((field, coding))
    }

    /// Returns what one value of a field is, and what keys and values are where the field would be a map.
    fn single(&mut self, scope: &str, described: &Described<'_>) -> Result<(FieldKind, Writing, Option<Entry>)> {
        let (kind, writing) = match described.kind {
            TYPE_GROUP | TYPE_MESSAGE => {
                let type_name = text(described.type_name)?;
                if let Some((full, definition)) = self.descriptors.resolve(&type_name, scope).filter(|(_, found)| !found.is_enum) {
                    let definition = *definition;
                    if described.label == LABEL_REPEATED
                        && let Some(entry) = self.entry(&full, &definition)?
                    {
                        return Ok((FieldKind::Bytes, Writing::Bytes, Some(entry)));
                    }
                    return Ok((FieldKind::Struct(self.want(&full)?), Writing::Message, None));
                }
                match type_name.trim_start_matches('.') {
                    known @ (TIMESTAMP | DURATION) => (FieldKind::Struct(self.want(known)?), Writing::Message),
                    _ => (FieldKind::Bytes, Writing::Bytes),
                }
            }
            TYPE_ENUM => {
                let type_name = text(described.type_name)?;
                let found = self.descriptors.resolve(&type_name, scope).filter(|(_, found)| found.is_enum);
                let found = found.map(|(full, definition)| (full, definition.body));
                match found {
                    Some((full, body)) => (FieldKind::Enum(self.names(full, body)?), Writing::Enum),
                    None => (FieldKind::Int(4), Writing::Signed),
                }
            }
            other => scalar(other).ok_or_else(|| {
                let name = String::from_utf8_lossy(described.name);
                Error::corrupt(format!("field '{name}' of '{scope}' has type {other}, which protobuf does not have"))
            })?,
        };
        Ok((kind, writing, None))
    }

    /// Returns what the keys and values of a map are, where a message is a map's entry.
    fn entry(&mut self, name: &str, definition: &Definition<'_>) -> Result<Option<Entry>> {
        if definition.body.len() > ENTRY_LIMIT {
            return Ok(None);
        }
        let (mut is_entry, mut key, mut value) = (false, None, None);
        let mut wire = Wire::of(definition.body);
        while let Some((number, found)) = wire.next()? {
            match (number, found) {
                (2, Value::Sized(field)) => {
                    let field = describe(field)?;
                    match field.number {
                        1 => key = Some(field),
                        2 => value = Some(field),
                        _ => {}
                    }
                }
                (7, Value::Sized(options)) => is_entry = flag(options, 7)?,
                _ => {}
            }
        }
        let (true, Some(key), Some(value)) = (is_entry, key, value) else { return Ok(None) };
        // Within an entry nothing is repeated, so that a map of maps cannot be.
        let mut one = |field: Described<'_>| self.single(name, &Described { label: 0, ..field }).map(|(kind, writing, _)| (kind, writing));
        Ok(Some((one(key)?, one(value)?)))
    }

    fn names(&mut self, full: String, body: &[u8]) -> Result<Arc<Enum>> {
        if let Some(known) = self.enums.get(&full) {
            return Ok(Arc::clone(known));
        }
        let mut names = BTreeMap::new();
        let mut wire = Wire::of(body);
        while let Some((number, value)) = wire.next()? {
            let (2, Value::Sized(value)) = (number, value) else { continue };
            let (mut name, mut number) = (String::new(), 0);
            let mut fields = Wire::of(value);
            while let Some(field) = fields.next()? {
                match field {
                    (1, Value::Sized(bytes)) => name = text(bytes)?,
                    (2, Value::Varint(bits)) => number = i64::from(bits as i32),
                    _ => {}
                }
            }
            self.room.take_field(&name)?;
            // Of two names of a number the first one counts, as in protobuf's JSON.
            names.entry(number).or_insert(name);
        }
        let known = Arc::new(Enum { name: full.clone(), names, bytes: 4, signed: true });
        self.enums.insert(full, Arc::clone(&known));
        Ok(known)
    }
}

fn describe(field: &[u8]) -> Result<Described<'_>> {
    let mut described = Described::default();
    let mut wire = Wire::of(field);
    while let Some((number, value)) = wire.next()? {
        match (number, value) {
            (1, Value::Sized(bytes)) => described.name = bytes,
            (3, Value::Varint(bits)) => described.number = bits,
            (4, Value::Varint(bits)) => described.label = bits,
            (5, Value::Varint(bits)) => described.kind = bits,
            (6, Value::Sized(bytes)) => described.type_name = bytes,
            (7, Value::Sized(bytes)) => described.default = bytes,
            (8, Value::Sized(bytes)) => described.options = bytes,
            (9, Value::Varint(bits)) => described.oneof = Some(bits),
            (17, Value::Varint(bits)) => described.is_optional = bits != 0,
            _ => {}
        }
    }
    Ok(described)
}

fn flag(options: &[u8], wanted: u32) -> Result<bool> {
    let mut set = false;
    let mut wire = Wire::of(options);
    while let Some((number, value)) = wire.next()? {
        if number == wanted {
            set = value.varint() == Some(1);
        }
    }
    Ok(set)
}

/// Returns what a field of a type's number is where it names no other type.
fn scalar(kind: u64) -> Option<(FieldKind, Writing)> {
    Some(match kind {
        1 => (FieldKind::Float(8), Writing::Fixed64),
        2 => (FieldKind::Float(4), Writing::Fixed32),
        3 => (FieldKind::Int(8), Writing::Signed),
        4 => (FieldKind::UInt(8), Writing::Unsigned),
        5 => (FieldKind::Int(4), Writing::Signed),
        6 => (FieldKind::UInt(8), Writing::Fixed64),
        7 => (FieldKind::UInt(4), Writing::Fixed32),
        8 => (FieldKind::Bool, Writing::Bool),
        9 => (FieldKind::String, Writing::String),
        12 => (FieldKind::Bytes, Writing::Bytes),
        13 => (FieldKind::UInt(4), Writing::Unsigned),
        15 => (FieldKind::Int(4), Writing::Fixed32),
        16 => (FieldKind::Int(8), Writing::Fixed64),
        17 => (FieldKind::Int(4), Writing::Zigzag),
        18 => (FieldKind::Int(8), Writing::Zigzag),
        _ => return None,
    })
}

/// Returns the bits of a number's or an enum's default; 0 where nothing is said.
fn default_bits(kind: &FieldKind, default: &str) -> u64 {
    match kind {
        FieldKind::Bool => u64::from(default == "true"),
        FieldKind::Int(_) => default.parse::<i64>().unwrap_or_default().cast_unsigned(),
        FieldKind::UInt(_) => default.parse().unwrap_or_default(),
        FieldKind::Float(4) => u64::from(default.parse::<f32>().unwrap_or_default().to_bits()),
        FieldKind::Float(_) => default.parse::<f64>().unwrap_or_default().to_bits(),
        FieldKind::Enum(known) => {
            let number = known.names.iter().find(|(_, name)| *name == default).map_or(0, |(number, _)| *number);
            number.cast_unsigned()
        }
        _ => 0,
    }
}

const TIMESTAMP: &str = "google.protobuf.Timestamp";
const DURATION: &str = "google.protobuf.Duration";

/// Returns the type of a time or a duration whose definition is missing.
fn seconds_and_nanos(name: &str) -> (Type, Vec<Coding>) {
    let field = |name: &str, number, bytes| Field {
        name: name.to_owned(),
        kind: FieldKind::Int(bytes),
        optional: false,
        unit: String::new(),
        comment: String::new(),
        number,
        default: String::new(),
    };
    let fields = vec![field("seconds", 1, 8), field("nanos", 2, 4)];
    let coding = Coding { writing: Writing::Signed, key: None, is_list: false, oneof: None, default_bits: 0 };
    (Type { name: name.to_owned(), fields, constants: Vec::<Constant>::new(), comment: String::new() }, vec![coding; 2])
}

#[cfg(test)]
pub(crate) mod tests;
