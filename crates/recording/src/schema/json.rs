//! JSON Schema, drafts 4 to 2020-12 as far as robots use it, and what JSON messages without one are made of.
//!
//! Followed are `type`, `properties`, `required`, `items`, `prefixItems`, `enum`, `const`, `$ref` within the schema, `allOf` (merged),
//! `anyOf` and `oneOf` (with null: optional; of named whole numbers: an enum; else any JSON), `format`, `contentEncoding: base64`
//! (bytes), `additionalProperties`, `title`, `description`, `default` and units in `unit` or `x-unit`. Whatever says nothing of use
//! is any JSON.
//!
//! **Invariant:** a schema that refers to itself ends: objects are types of their own, and what is no object nests only so deep.

mod infer;
pub(crate) mod text;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

pub use self::infer::infer;
pub(crate) use self::infer::learn;
use super::room::Room;
use super::{DEPTH_LIMIT, Enum, FIELD_LIMIT, Field, FieldKind, Tree, Type, TypeId};
use crate::error::{Error, Result};
use crate::message::Schema;

/// How many bytes of JSON Schema are read: in memory it is many times as large.
const SCHEMA_LIMIT: usize = 4 << 20;

/// How many parts of a schema are looked at; `$ref` may visit a part many times.
const VISIT_LIMIT: usize = 2_000_000;

/// How many schemas are merged into one by `allOf` and `$ref`.
const MERGE_LIMIT: usize = 64;

/// The field of a tree whose messages are no objects.
pub(crate) const VALUE: &str = "value";

/// Returns the tree of messages that a JSON schema describes; one without fields where it says nothing about them.
///
/// Messages that are no objects have one field, `value`.
///
/// # Errors
/// `Invalid` where the definition is no JSON schema or is too large.
pub fn parse(schema: &Schema) -> Result<Tree> {
    define(schema).map(|defined| defined.tree)
}

/// What JSON messages are made of.
#[derive(Clone, Debug)]
pub(crate) struct Defined {
    pub(crate) tree: Tree,
    /// Whether messages are no objects of the root type, but the value of its one field.
    pub(crate) is_bare: bool,
}

/// Returns what the messages that a JSON schema describes are made of.
///
/// # Errors
/// `Invalid` where the definition is no JSON schema or is too large.
pub(crate) fn define(schema: &Schema) -> Result<Defined> {
    let refuse = |why: String| Error::invalid(format!("the JSON schema of '{}' cannot be read: {why}", schema.name));
    if schema.data.len() > SCHEMA_LIMIT {
        return Err(refuse(format!("{} bytes; at most {SCHEMA_LIMIT}", schema.data.len())));
    }
    let blank = schema.data.iter().all(u8::is_ascii_whitespace);
    let document =
        if blank { Value::Bool(true) } else { serde_json::from_slice(&schema.data).map_err(|error| refuse(error.to_string()))? };
    if !matches!(document, Value::Object(_) | Value::Bool(_)) {
        return Err(refuse("neither an object nor a boolean".to_owned()));
    }
    let resolver = Resolver { document: &document, room: Room::of_a_tree(), types: Vec::new(), known: HashMap::new(), visits: 0 };
    resolver.root(&schema.name).map_err(|error| refuse(error.to_string()))
}

/// Returns a field without anything but a name and a kind.
fn field(name: &str, kind: FieldKind, optional: bool) -> Field {
    let empty = String::new;
    Field { name: name.to_owned(), kind, optional, unit: empty(), comment: empty(), number: 0, default: empty() }
}

struct Resolver<'a> {
    document: &'a Value,
    room: Room,
    types: Vec<Type>,
    /// The types of the objects that were met, by where they stand.
    known: HashMap<*const Map<String, Value>, TypeId>,
    visits: usize,
}

/// What a part of a schema describes.
struct Described {
    kind: FieldKind,
    is_nullable: bool,
}

impl<'a> Resolver<'a> {
    fn root(mut self, name: &str) -> Result<Defined> {
        let described = self.describe(self.document, name, 0)?;
        let is_bare = !matches!(described.kind, FieldKind::Struct(_) | FieldKind::Json);
        let root = match described.kind {
            FieldKind::Struct(id) => id,
            FieldKind::Json => self.reserve(name)?,
            kind => {
                let id = self.reserve(name)?;
                self.room.take_field(VALUE)?;
                self.types[id.0 as usize].fields.push(field(VALUE, kind, described.is_nullable));
                id
            }
        };
        if !name.is_empty() {
            name.clone_into(&mut self.types[root.0 as usize].name);
        }
        let tree = Tree::new(self.types, root).ok_or_else(|| Error::new(crate::Kind::Internal, "a JSON tree with loose ends"))?;
        Ok(Defined { tree, is_bare })
    }

    fn reserve(&mut self, name: &str) -> Result<TypeId> {
        self.room.take_type(name)?;
        self.types.push(Type { name: name.to_owned(), ..Type::default() });
        Ok(TypeId(self.types.len() as u32 - 1))
    }

    fn describe(&mut self, node: &'a Value, name: &str, depth: usize) -> Result<Described> {
        self.visits += 1;
        if self.visits > VISIT_LIMIT {
            return Err(Error::invalid(format!("more than {VISIT_LIMIT} parts, with those that `$ref` repeats")));
        }
        if depth > DEPTH_LIMIT {
            return Ok(Described { kind: FieldKind::Json, is_nullable: true });
        }
        let (merged, is_null_allowed) = self.merge(node);
        let parts = Parts(merged);
        self.visits += parts.size();
        let names = parts.type_names();
        let is_nullable = is_null_allowed || names.contains(&"null") || parts.get("nullable").any(|value| value == true);
        let named: Vec<&str> = names.into_iter().filter(|name| *name != "null").collect();
        let kind = match named[..] {
            ["object"] => self.object(&parts, name, depth)?,
            ["array"] => self.list(&parts, name, depth)?,
            ["string"] if parts.text("contentEncoding").is_some_and(|encoding| encoding.eq_ignore_ascii_case("base64")) => FieldKind::Bytes,
            ["string"] => FieldKind::String,
            ["boolean"] => FieldKind::Bool,
            ["integer"] => match parts.names_of_numbers(&mut self.room, name)? {
                Some(names) => FieldKind::Enum(Arc::new(names)),
                None => integer(parts.text("format")),
            },
            ["number"] | ["integer", "number"] | ["number", "integer"] => number(parts.text("format")),
            [] if parts.get("properties").next().is_some() => self.object(&parts, name, depth)?,
            [] if parts.get("items").next().is_some() => self.list(&parts, name, depth)?,
            [] => match parts.names_of_numbers(&mut self.room, name)? {
                Some(names) => FieldKind::Enum(Arc::new(names)),
                None => parts.kind_of_constants(),
            },
            _ => FieldKind::Json,
        };
        Ok(Described { kind, is_nullable })
    }

    /// Returns the objects that together are this part of the schema, and whether they let it be null.
    fn merge(&mut self, node: &'a Value) -> (Vec<&'a Map<String, Value>>, bool) {
        let (mut merged, mut is_nullable) = (Vec::<&Map<String, Value>>::new(), false);
        let mut wanted = vec![node];
        while let Some(object) = wanted.pop().map(Value::as_object) {
            let Some(object) = object else { continue };
            if merged.len() >= MERGE_LIMIT || merged.iter().any(|known| std::ptr::eq(*known, object)) {
                continue;
            }
            merged.push(object);
            wanted.extend(object.get("$ref").and_then(Value::as_str).and_then(|reference| self.target(reference)));
            if let Some(Value::Array(all)) = object.get("allOf") {
                wanted.extend(all.iter().take(MERGE_LIMIT).rev());
            }
            for key in ["anyOf", "oneOf"] {
                let Some(Value::Array(choices)) = object.get(key) else { continue };
                let is_null =
                    |choice: &&Value| choice.get("type").is_some_and(|name| name == "null") || choice.get("const") == Some(&Value::Null);
                let others: Vec<&Value> = choices.iter().filter(|choice| !is_null(choice)).take(2).collect();
                is_nullable |= choices.iter().any(|choice| is_null(&choice));
                if let [only] = others[..] {
                    wanted.push(only);
                }
            }
        }
        (merged, is_nullable)
    }

    /// Returns the part of the schema that a `$ref` names: by JSON pointer, or by name among the definitions.
    fn target(&self, reference: &str) -> Option<&'a Value> {
        if let Some(pointer) = reference.strip_prefix('#').filter(|pointer| pointer.is_empty() || pointer.starts_with('/')) {
            return self.document.pointer(&percent_decoded(pointer));
        }
        let bare = reference.trim_start_matches('#');
        ["$defs", "definitions"].into_iter().filter_map(|key| self.document.get(key)?.as_object()).find_map(|definitions| {
            let is_named =
                |value: &Value, key: &str| value.get(key).and_then(Value::as_str).is_some_and(|id| id == reference || id == bare);
            let named = definitions.values().find(|value| ["$id", "id", "$anchor"].iter().any(|key| is_named(value, key)));
            named.or_else(|| definitions.get(bare))
        })
    }

    fn object(&mut self, parts: &Parts<'a>, name: &str, depth: usize) -> Result<FieldKind> {
        if parts.get("properties").all(|properties| properties.as_object().is_none_or(Map::is_empty)) {
            let patterns = parts.get("patternProperties").filter_map(Value::as_object).filter(|patterns| patterns.len() == 1);
            let others = patterns.flat_map(Map::values).chain(parts.get("additionalProperties")).find(|value| value.is_object());
            return match others {
                Some(value) => {
                    let value = self.describe(value, name, depth + 1)?.kind;
                    Ok(FieldKind::Map { key: Box::new(FieldKind::String), value: Box::new(value) })
                }
                None => Ok(FieldKind::Json),
            };
        }
        // An object is known by the one part that lists its properties, however it is referred to.
        let mut listing = parts.0.iter().copied().filter(|part| part.contains_key("properties"));
        let place = match (listing.next(), listing.next()) {
            (Some(only), None) => only,
            _ => parts.0[0],
        };
        if let Some(id) = self.known.get(&std::ptr::from_ref(place)) {
            return Ok(FieldKind::Struct(*id));
        }
        let referred = parts.text("$ref").and_then(|reference| reference.rsplit('/').next()).filter(|name| *name != "#");
        let title = place.get("title").and_then(Value::as_str);
        let own_name = title.or(referred).unwrap_or(name);
        let id = self.reserve(own_name)?;
        self.known.insert(std::ptr::from_ref(place), id);
        let required: HashSet<&str> = parts.get("required").filter_map(Value::as_array).flatten().filter_map(Value::as_str).collect();
        let comment = parts.text("description").unwrap_or_default().to_owned();
        self.room.take_text(&comment)?;
        let mut fields: Vec<Field> = Vec::new();
        let mut seen = HashSet::new();
        for (key, value) in parts.get("properties").filter_map(Value::as_object).flatten() {
            if !seen.insert(key.as_str()) {
                continue;
            }
            if fields.len() >= FIELD_LIMIT {
                return Err(Error::invalid(format!("'{own_name}' has more than {FIELD_LIMIT} properties")));
            }
            fields.push(self.property(key, value, own_name, required.contains(key.as_str()), depth)?);
        }
        let one = &mut self.types[id.0 as usize];
        (one.fields, one.comment) = (fields, comment);
        Ok(FieldKind::Struct(id))
    }

    fn property(&mut self, key: &str, node: &'a Value, parent: &str, is_required: bool, depth: usize) -> Result<Field> {
        self.room.take_field(key)?;
        let described = self.describe(node, &inner_name(parent, key), depth + 1)?;
        let parts = Parts(self.merge(node).0);
        let mut property = field(key, described.kind, described.is_nullable || !is_required);
        property.unit = parts.text("unit").or(parts.text("x-unit")).unwrap_or_default().to_owned();
        property.comment = parts.text("description").unwrap_or_default().to_owned();
        property.default = parts.get("default").next().map(Value::to_string).unwrap_or_default();
        for text in [&property.unit, &property.comment, &property.default] {
            self.room.take_text(text)?;
        }
        Ok(property)
    }

    fn list(&mut self, parts: &Parts<'a>, name: &str, depth: usize) -> Result<FieldKind> {
        let whole = |key| parts.get(key).next().and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok());
        let (least, most) = (whole("minItems"), whole("maxItems"));
        let several = parts.get("prefixItems").chain(parts.get("items")).find_map(Value::as_array);
        if let Some(several) = several.filter(|several| !several.is_empty()) {
            let mut kinds = Vec::new();
            for one in several {
                kinds.push(self.describe(one, name, depth + 1)?.kind);
            }
            let first = kinds.swap_remove(0);
            let is_even = kinds.iter().all(|kind| *kind == first);
            let element = Box::new(if is_even { first } else { FieldKind::Json });
            return Ok(FieldKind::List { element, bound: most });
        }
        let element = match parts.get("items").find(|items| items.is_object()) {
            Some(items) => self.describe(items, name, depth + 1)?.kind,
            None => FieldKind::Json,
        };
        let element = Box::new(element);
        match (least, most) {
            (Some(least), Some(most)) if least == most && most > 0 => Ok(FieldKind::Array { element, length: most }),
            _ => Ok(FieldKind::List { element, bound: most }),
        }
    }
}

/// The objects that together are one part of a schema.
struct Parts<'a>(Vec<&'a Map<String, Value>>);

impl<'a> Parts<'a> {
    fn get(&self, key: &str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter_map(move |object| object.get(key))
    }

    /// Returns how much there is to look at.
    fn size(&self) -> usize {
        self.0.iter().map(|object| object.len() + object.values().filter_map(Value::as_array).map(Vec::len).sum::<usize>()).sum()
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key).find_map(Value::as_str)
    }

    fn type_names(&self) -> Vec<&'a str> {
        match self.get("type").next() {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).take(DEPTH_LIMIT).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the names of whole numbers where a choice of titled constants gives them.
    fn names_of_numbers(&self, room: &mut Room, name: &str) -> Result<Option<Enum>> {
        let Some(choices) = self.get("oneOf").chain(self.get("anyOf")).find_map(Value::as_array) else { return Ok(None) };
        let mut names = BTreeMap::new();
        for choice in choices {
            let number = choice.get("const").and_then(Value::as_i64);
            let (Some(number), Some(title)) = (number, choice.get("title").and_then(Value::as_str)) else { return Ok(None) };
            room.take_field(title)?;
            names.entry(number).or_insert_with(|| title.to_owned());
        }
        let name = self.text("title").unwrap_or(name).to_owned();
        Ok((!names.is_empty()).then_some(Enum { name, names, bytes: 0, signed: true }))
    }

    /// Returns what the constants that are allowed have in common.
    fn kind_of_constants(&self) -> FieldKind {
        let listed = self.get("enum").filter_map(Value::as_array).flatten();
        let mut kinds = listed.chain(self.get("const")).filter(|value| !value.is_null()).map(|value| match value {
            Value::Bool(_) => FieldKind::Bool,
            Value::Number(number) if number.is_i64() => FieldKind::Int(8),
            Value::Number(_) => FieldKind::Float(8),
            Value::String(_) => FieldKind::String,
            _ => FieldKind::Json,
        });
        let Some(first) = kinds.next() else { return FieldKind::Json };
        kinds.fold(first, |one, other| match (one, other) {
            (one, other) if one == other => one,
            (FieldKind::Int(_) | FieldKind::Float(_), FieldKind::Int(_) | FieldKind::Float(_)) => FieldKind::Float(8),
            _ => FieldKind::Json,
        })
    }
}

fn integer(format: Option<&str>) -> FieldKind {
    match format {
        Some("int8") => FieldKind::Int(1),
        Some("int16") => FieldKind::Int(2),
        Some("int32") => FieldKind::Int(4),
        Some("uint8") => FieldKind::UInt(1),
        Some("uint16") => FieldKind::UInt(2),
        Some("uint32") => FieldKind::UInt(4),
        Some("uint64" | "uint") => FieldKind::UInt(8),
        _ => FieldKind::Int(8),
    }
}

fn number(format: Option<&str>) -> FieldKind {
    if matches!(format, Some("float" | "float32")) { FieldKind::Float(4) } else { FieldKind::Float(8) }
}

/// Returns the name of an object that has none of its own, kept short however deep it stands.
fn inner_name(parent: &str, key: &str) -> String {
    const LENGTH_LIMIT: usize = 200;
    if parent.is_empty() || parent.len() + key.len() > LENGTH_LIMIT { key.to_owned() } else { format!("{parent}.{key}") }
}

fn percent_decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
