//! Definitions: the languages, what is refused, hashes, the library.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod languages;
mod library;
mod outline;
mod property;
mod refusals;
mod stored;

use crate::message::Schema;
use crate::schema::library::Library;
use crate::schema::{FieldKind, Tree, parse};

fn schema(encoding: &str, name: &str, text: &str) -> Schema {
    Schema { name: name.into(), encoding: encoding.into(), data: text.as_bytes().to_vec().into() }
}

fn tree(encoding: &str, name: &str, text: &str) -> Tree {
    parse(&schema(encoding, name, text), "", &Library::empty()).unwrap()
}

/// Returns why a definition is refused.
fn refusal(encoding: &str, name: &str, text: &str) -> String {
    parse(&schema(encoding, name, text), "", &Library::empty()).unwrap_err().to_string()
}

/// Returns the root's fields in short: `name: kind [unit] = default # comment`.
fn fields(tree: &Tree) -> Vec<String> {
    let field = |field: &crate::schema::Field| {
        let mut text = format!("{}: {}", field.name, short(tree, &field.kind));
        for (sign, part) in [(" in ", &field.unit), (" = ", &field.default), (" # ", &field.comment)] {
            if !part.is_empty() {
                text += &format!("{sign}{}", part.replace('\n', "|"));
            }
        }
        text
    };
    tree.root().fields.iter().map(field).collect()
}

fn short(tree: &Tree, kind: &FieldKind) -> String {
    match kind {
        FieldKind::Bool => "bool".into(),
        FieldKind::Int(bytes) => format!("i{}", 8 * bytes),
        FieldKind::UInt(bytes) => format!("u{}", 8 * bytes),
        FieldKind::Float(bytes) => format!("f{}", 8 * bytes),
        FieldKind::String => "string".into(),
        FieldKind::WString => "wstring".into(),
        FieldKind::Enum(names) => format!("enum {} {:?}", names.bytes, names.names),
        FieldKind::Struct(id) => tree.get(*id).name.clone(),
        FieldKind::List { element, bound: None } => format!("{}[]", short(tree, element)),
        FieldKind::List { element, bound: Some(bound) } => format!("{}[<={bound}]", short(tree, element)),
        FieldKind::Array { element, length } => format!("{}[{length}]", short(tree, element)),
        other => format!("{other:?}"),
    }
}
