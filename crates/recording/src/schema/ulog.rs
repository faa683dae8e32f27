//! The formats of PX4 logs: `name:type field;type field;…`, one per line, a message's own first and the nested ones behind it.
//!
//! In comes a schema with that text, out comes a [`Tree`]. All of ULog is little-endian, fixed in size and without padding other than
//! fields named `_padding…`. Those stay in the tree, because later fields stand behind them, except at the end of a whole message:
//! loggers leave them out there. A payload may so be longer than its tree, never shorter.
//!
//! **Invariant:** a tree is finite and its messages fit into a ULog message.

use std::collections::BTreeMap;

use super::{DEFINITION_LIMIT, DEPTH_LIMIT, FIELD_LIMIT, Field, FieldKind, TYPE_LIMIT, Tree, Type, TypeId};
use crate::error::{Error, Result};
use crate::message::Schema;

/// The largest payload of a ULog message.
const PAYLOAD_LIMIT: u64 = u16::MAX as u64;

/// How fields are called that only fill space.
pub const PADDING: &str = "_padding";

/// Returns the fields of a ULog message.
///
/// # Errors
/// `Invalid` for text that is no format, for a type that is not defined, or that contains itself.
pub fn parse(schema: &Schema) -> Result<Tree> {
    Format::parse(schema).map(|format| format.tree)
}

/// The fields of a ULog message and where they stand.
pub(crate) struct Format {
    tree: Tree,
    /// Of each type, in bytes.
    sizes: Vec<u64>,
    /// How many bytes a message has, without and with the padding at its end.
    pub(crate) least: usize,
    pub(crate) whole: usize,
}

impl Format {
    /// Understands a format.
    ///
    /// # Errors
    /// As [`parse`].
    pub(crate) fn parse(schema: &Schema) -> Result<Self> {
        make(schema)
    }

    /// Returns where an unsigned number of the message itself stands, and how many bytes it has.
    pub(crate) fn number_at(&self, name: &str) -> Option<(usize, usize)> {
        let mut at = 0;
        for field in &self.tree.root().fields {
            match field.kind {
                FieldKind::UInt(size) if field.name == name => return Some((at, usize::from(size))),
                _ => at += size_of(&self.sizes, &field.kind) as usize,
            }
        }
        None
    }
}

fn make(schema: &Schema) -> Result<Format> {
    if schema.data.len() > DEFINITION_LIMIT {
        return Err(Error::invalid(format!("definition of {} bytes; at most {DEFINITION_LIMIT}", schema.data.len())));
    }
    let text = String::from_utf8_lossy(&schema.data);
    let mut formats: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, fields) = line.split_once(':').ok_or_else(|| Error::invalid(format!("not a ULog format: '{}'", shorten(line))))?;
        formats.entry(name).or_insert(fields);
    }
    let mut builder = Builder { formats, types: Vec::new(), sizes: Vec::new(), known: BTreeMap::new(), open: Vec::new() };
    let root = builder.add(&schema.name)?;
    let whole = builder.sizes[root.0 as usize];
    let mut least = whole;
    let fields = &mut builder.types[root.0 as usize].fields;
    while let Some(padding) = fields.pop_if(|field| field.name.starts_with(PADDING)) {
        least -= size_of(&builder.sizes, &padding.kind);
    }
    let tree = Tree::new(builder.types, root);
    let tree = tree.ok_or_else(|| Error::new(crate::error::Kind::Internal, "a ULog type points outside of its tree"))?;
    // Neither is larger than a message can be.
    Ok(Format { tree, sizes: builder.sizes, least: least as usize, whole: whole as usize })
}

/// Returns how many bytes a field has, from those of every type.
fn size_of(sizes: &[u64], kind: &FieldKind) -> u64 {
    match kind {
        FieldKind::Struct(id) => sizes.get(id.0 as usize).copied().unwrap_or_default(),
        FieldKind::Array { element, length } => size_of(sizes, element) * u64::from(*length),
        FieldKind::FixedText { length } => u64::from(*length),
        FieldKind::Int(size) | FieldKind::UInt(size) | FieldKind::Float(size) => u64::from(*size),
        _ => 1,
    }
}

struct Builder<'a> {
    formats: BTreeMap<&'a str, &'a str>,
    types: Vec<Type>,
    /// Of each type, in bytes.
    sizes: Vec<u64>,
    known: BTreeMap<&'a str, TypeId>,
    /// The types that are being read, outermost first.
    open: Vec<&'a str>,
}

impl<'a> Builder<'a> {
    fn add(&mut self, name: &str) -> Result<TypeId> {
        if let Some(id) = self.known.get(name) {
            return Ok(*id);
        }
        let Some((&name, &fields)) = self.formats.get_key_value(name) else {
            let needed = self.open.last().map(|by| format!(", which '{by}' needs")).unwrap_or_default();
            return Err(Error::invalid(format!("no format of ULog message '{}'{needed}", shorten(name))));
        };
        if self.open.contains(&name) || self.open.len() >= DEPTH_LIMIT || self.types.len() >= TYPE_LIMIT {
            return Err(Error::invalid(format!("ULog type '{}' contains itself, or too many others", shorten(name))));
        }
        self.open.push(name);
        let mut made = Vec::new();
        let mut size = 0u64;
        for field in fields.split(';').map(str::trim).filter(|field| !field.is_empty()) {
            let (field, bytes) = self.field(field)?;
            size = size.saturating_add(bytes);
            made.push(field);
            if made.len() > FIELD_LIMIT || size > PAYLOAD_LIMIT {
                return Err(Error::invalid(format!("ULog type '{}' is larger than a message can be", shorten(name))));
            }
        }
        self.open.pop();
        let id = TypeId(u32::try_from(self.types.len()).unwrap_or(u32::MAX));
        self.types.push(Type { name: name.to_owned(), fields: made, ..Type::default() });
        self.sizes.push(size);
        self.known.insert(name, id);
        Ok(id)
    }

    fn field(&mut self, text: &str) -> Result<(Field, u64)> {
        let refuse = || Error::invalid(format!("not a field of a ULog format: '{}'", shorten(text)));
        let (type_name, name) = text.split_once(' ').ok_or_else(refuse)?;
        let (element, length) = match type_name.split_once('[') {
            None => (type_name, None),
            Some((element, length)) => {
                let length: u32 = length.strip_suffix(']').and_then(|length| length.parse().ok()).ok_or_else(refuse)?;
                (element, Some(length).filter(|length| *length > 0))
            }
        };
        if length.is_none() && type_name.contains('[') {
            return Err(refuse());
        }
        let (kind, size) = match basic(element) {
            Some(basic) => basic,
            None => {
                let id = self.add(element)?;
                (FieldKind::Struct(id), self.sizes[id.0 as usize])
            }
        };
        let kind = match length {
            None => kind,
            Some(length) if element == "char" => FieldKind::FixedText { length },
            Some(length) => FieldKind::Array { element: Box::new(kind), length },
        };
        let field = Field {
            name: name.trim().to_owned(),
            kind,
            optional: false,
            unit: String::new(),
            comment: String::new(),
            number: 0,
            default: String::new(),
        };
        Ok((field, size.saturating_mul(u64::from(length.unwrap_or(1)))))
    }
}

/// Returns what a type of ULog itself is, and its size in bytes.
fn basic(name: &str) -> Option<(FieldKind, u64)> {
    Some(match name {
        "int8_t" => (FieldKind::Int(1), 1),
        "int16_t" => (FieldKind::Int(2), 2),
        "int32_t" => (FieldKind::Int(4), 4),
        "int64_t" => (FieldKind::Int(8), 8),
        "uint8_t" | "char" => (FieldKind::UInt(1), 1),
        "uint16_t" => (FieldKind::UInt(2), 2),
        "uint32_t" => (FieldKind::UInt(4), 4),
        "uint64_t" => (FieldKind::UInt(8), 8),
        "float" => (FieldKind::Float(4), 4),
        "double" => (FieldKind::Float(8), 8),
        "bool" => (FieldKind::Bool, 1),
        _ => return None,
    })
}

/// Returns text as far as a message should repeat it.
fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    fn tree(text: &'static str) -> Result<Tree> {
        let name = text.split(':').next().unwrap().to_owned();
        parse(&Schema { name, encoding: "ulog".to_owned(), data: bytes::Bytes::from_static(text.as_bytes()) })
    }

    fn shown(text: &'static str) -> String {
        let tree = tree(text).unwrap();
        let all = tree.types().iter().map(|one| {
            let fields: Vec<String> = one.fields.iter().map(|field| format!("{} {:?}", field.name, field.kind)).collect();
            format!("{}({})", one.name, fields.join(", "))
        });
        all.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_type_of_the_format_is_known() {
        assert_eq!(
            shown("a:uint64_t timestamp;float[3] xyz;char[10] name;char c;bool b;int8_t i;double d;\n"),
            "a(timestamp UInt(8), xyz Array { element: Float(4), length: 3 }, name FixedText { length: 10 }, c UInt(1), b Bool, i Int(1), d Float(8))"
        );
    }

    #[test]
    fn nested_types_keep_their_padding_and_whole_messages_lose_it_at_the_end() {
        assert_eq!(
            shown("a:uint64_t timestamp;b[2] many;uint8_t[3] _padding0;\nb:uint8_t x;uint8_t[3] _padding0;\n"),
            "b(x UInt(1), _padding0 Array { element: UInt(1), length: 3 }) a(timestamp UInt(8), many Array { element: Struct(TypeId(0)), length: 2 })"
        );
    }

    #[test]
    fn what_is_no_format_is_refused() {
        let check = |text: &'static str, expected: &str| assert_eq!(tree(text).unwrap_err().to_string(), expected, "{text}");
        check("a:b x;", "no format of ULog message 'b', which 'a' needs");
        check("a:b x;\nb:a x;", "ULog type 'a' contains itself, or too many others");
        check("a:float[0] x;", "not a field of a ULog format: 'float[0] x'");
        check("a:float[x] y;", "not a field of a ULog format: 'float[x] y'");
        check("a:float", "not a field of a ULog format: 'float'");
        check("a:double[9000] x;", "ULog type 'a' is larger than a message can be");
        check("a:b[60000] x;\nb:c[60000] x;\nc:uint8_t[60000] x;", "ULog type 'b' is larger than a message can be");
        check("a", "not a ULog format: 'a'");
    }
}
