//! A tree as people read it: a line per field, indented, with its type, unit and a few words.
//!
//! In comes a tree, out come lines or JSON.
//!
//! **Invariant:** a tree that holds itself, or holds much of the same, gives a bounded number of lines.

use serde_json::{Map, Value, json};

use crate::schema::{DEPTH_LIMIT, Enum, Field, FieldKind, Tree, Type, TypeId};

/// How many lines are made.
const LINE_LIMIT: usize = 10_000;

/// How many characters of a comment are shown.
const COMMENT_SHOWN: usize = 60;

/// How many names of an enum are shown.
const NAMES_SHOWN: usize = 6;

/// How far to the right the types may stand.
const NAME_WIDTH: usize = 44;

/// Returns a tree as lines: the message's type, then its fields and those below them.
pub fn lines(tree: &Tree) -> Vec<String> {
    let mut rows = Vec::new();
    add_rows(tree, tree.root_id(), &mut vec![tree.root_id()], &mut rows);
    let width = rows.iter().map(|row| row.name.chars().count()).filter(|width| *width <= NAME_WIDTH).max().unwrap_or(0);
    let kinds = rows.iter().map(|row| row.kind.chars().count()).filter(|width| *width <= NAME_WIDTH).max().unwrap_or(0);
    let mut lines = vec![with_comment(tree.root().name.clone(), &tree.root().comment)];
    for row in rows.iter().take(LINE_LIMIT) {
        let line = format!("{:width$}  {}", row.name, row.kind);
        let kind_end = width + 2 + kinds;
        lines.push(if row.comment.is_empty() { line } else { with_comment(format!("{line:kind_end$}"), &row.comment) });
    }
    if rows.len() > LINE_LIMIT {
        lines.push("  … and more".into());
    }
    lines
}

/// Returns a tree as JSON: all its types by their ids, and which of them is the message.
pub fn json(tree: &Tree) -> Value {
    let types: Vec<Value> = tree.types().iter().map(|one| type_json(tree, one)).collect();
    json!({ "type": tree.root().name, "root": tree.root_id().0, "types": types })
}

/// Returns how a field's type is written: `float64[9]`, `string[]`, `geometry_msgs/msg/Point`.
pub fn kind(tree: &Tree, kind: &FieldKind) -> String {
    match kind {
        FieldKind::Bool => "bool".into(),
        FieldKind::Int(bytes) => format!("int{}", bits(*bytes)),
        FieldKind::UInt(bytes) => format!("uint{}", bits(*bytes)),
        FieldKind::Float(bytes) => format!("float{}", bits(*bytes)),
        FieldKind::String => "string".into(),
        FieldKind::FixedText { length } => format!("char[{length}]"),
        FieldKind::WString => "wstring".into(),
        FieldKind::Bytes => "bytes".into(),
        FieldKind::Enum(names) => names.name.clone(),
        FieldKind::Struct(id) => tree.get(*id).name.clone(),
        FieldKind::List { element, bound: None } => format!("{}[]", self::kind(tree, element)),
        FieldKind::List { element, bound: Some(bound) } => format!("{}[<={bound}]", self::kind(tree, element)),
        FieldKind::Array { element, length } => format!("{}[{length}]", self::kind(tree, element)),
        FieldKind::Map { key, value } => format!("map<{}, {}>", self::kind(tree, key), self::kind(tree, value)),
        FieldKind::Union(types) => types.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" | "),
        FieldKind::Json => "any".into(),
    }
}

struct Row {
    name: String,
    kind: String,
    comment: String,
}

fn add_rows(tree: &Tree, id: TypeId, path: &mut Vec<TypeId>, rows: &mut Vec<Row>) {
    let indent = "  ".repeat(path.len());
    let one = tree.get(id);
    for constant in &one.constants {
        let name = format!("{indent}{} = {}", constant.name, constant.value);
        rows.push(Row { name, kind: format!("const {}", constant.type_name), comment: constant.comment.clone() });
    }
    for field in &one.fields {
        if rows.len() > LINE_LIMIT {
            return;
        }
        rows.push(Row { name: format!("{indent}{}", field.name), kind: described(tree, field), comment: field.comment.clone() });
        for below in structs(&field.kind) {
            if !path.contains(&below) && path.len() < DEPTH_LIMIT {
                path.push(below);
                add_rows(tree, below, path, rows);
                path.pop();
            }
        }
    }
}

/// Returns a field's type with everything short that is known of it.
fn described(tree: &Tree, field: &Field) -> String {
    let mut text = kind(tree, &field.kind);
    if field.optional {
        text.push('?');
    }
    if !field.unit.is_empty() {
        text += &format!(" [{}]", field.unit);
    }
    if !field.default.is_empty() {
        text += &format!(" = {}", first_line(&field.default));
    }
    if let FieldKind::Enum(names) = innermost(&field.kind) {
        text += &format!(" ({})", names_of(names));
    }
    text
}

fn names_of(names: &Enum) -> String {
    let mut shown: Vec<String> = names.names.iter().take(NAMES_SHOWN).map(|(number, name)| format!("{number} {name}")).collect();
    if names.names.len() > NAMES_SHOWN {
        shown.push("…".into());
    }
    shown.join(", ")
}

fn with_comment(line: String, comment: &str) -> String {
    let short = first_line(comment);
    if short.is_empty() { line.trim_end().to_owned() } else { format!("{line}  # {short}") }
}

fn first_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let mut short: String = line.chars().take(COMMENT_SHOWN).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

/// Returns the types that stand below a field.
pub(super) fn structs(kind: &FieldKind) -> Vec<TypeId> {
    match kind {
        FieldKind::Struct(id) => vec![*id],
        FieldKind::List { element, .. } | FieldKind::Array { element, .. } => structs(element),
        FieldKind::Map { value, .. } => structs(value),
        FieldKind::Union(types) => types.iter().map(|(_, id)| *id).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn innermost(kind: &FieldKind) -> &FieldKind {
    match kind {
        FieldKind::List { element, .. } | FieldKind::Array { element, .. } => innermost(element),
        _ => kind,
    }
}

fn bits(bytes: u8) -> u32 {
    u32::from(bytes) * 8
}

fn type_json(tree: &Tree, one: &Type) -> Value {
    let fields: Vec<Value> = one.fields.iter().map(|field| field_json(tree, field)).collect();
    let constants: Vec<Value> = one
        .constants
        .iter()
        .map(|constant| {
            with_texts(
                json!({ "name": constant.name, "type": constant.type_name, "value": constant.value }),
                &[("comment", &constant.comment)],
            )
        })
        .collect();
    with_texts(json!({ "name": one.name, "fields": fields, "constants": constants }), &[("comment", &one.comment)])
}

fn field_json(tree: &Tree, field: &Field) -> Value {
    let mut value = json!({ "name": field.name, "type": kind(tree, &field.kind) });
    let below: Vec<u32> = structs(&field.kind).iter().map(|id| id.0).collect();
    let Value::Object(object) = &mut value else { return value };
    if !below.is_empty() {
        object.insert("types".into(), json!(below));
    }
    if field.optional {
        object.insert("optional".into(), json!(true));
    }
    if field.number > 0 {
        object.insert("number".into(), json!(field.number));
    }
    if let FieldKind::Enum(names) = innermost(&field.kind) {
        let names: Map<String, Value> = names.names.iter().map(|(number, name)| (name.clone(), json!(number))).collect();
        object.insert("names".into(), names.into());
    }
    with_texts(value, &[("unit", &field.unit), ("default", &field.default), ("comment", &field.comment)])
}

/// Adds the texts that are not empty.
fn with_texts(mut value: Value, texts: &[(&str, &str)]) -> Value {
    if let Value::Object(object) = &mut value {
        object.extend(texts.iter().filter(|(_, text)| !text.is_empty()).map(|(key, text)| ((*key).to_owned(), json!(text))));
    }
    value
}
