//! RIHS01, the hash that ROS 2 tells types apart by (REP-2011).
//!
//! In come definitions, out comes `RIHS01_` and the SHA-256 of the JSON that describes the type and all that it is made of.
//!
//! **Invariant:** what the hash does not say (comments, constants, defaults) does not change it.

use std::collections::BTreeMap;
use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::schema::definition::{Definitions, Kind, Meaning};

/// How long the description of a type may be.
const DESCRIPTION_LIMIT: usize = 64 << 20;

const STRUCT: u8 = 1;
const TEXT: u8 = 17;
const WIDE_TEXT: u8 = 18;
const BOUNDED_TEXT: u8 = 21;
const BOUNDED_WIDE_TEXT: u8 = 22;
const ARRAY: u8 = 48;
const BOUNDED_LIST: u8 = 96;
const LIST: u8 = 144;

/// Returns the hash of a message.
pub(crate) fn hash(definitions: &Definitions, root: &str) -> Result<String> {
    // The tree is made for its checks: nothing is missing, nothing holds itself.
    definitions.tree(root)?;
    let mut described = BTreeMap::new();
    describe(definitions, root, &mut described)?;
    let own = described.remove(root).unwrap_or_default();
    let others: Vec<String> = described.into_values().collect();
    let text = format!("{{\"type_description\": {own}, \"referenced_type_descriptions\": [{}]}}", others.join(", "));
    Ok(Sha256::digest(text.as_bytes()).iter().fold(String::from("RIHS01_"), |mut hash, byte| {
        let _ = write!(hash, "{byte:02x}");
        hash
    }))
}

/// Adds the description of a type and of all that it is made of.
fn describe(definitions: &Definitions, name: &str, described: &mut BTreeMap<String, String>) -> Result<()> {
    if described.contains_key(name) {
        return Ok(());
    }
    let Some(Meaning::Struct(definition)) = definitions.get(name) else { return Err(Error::invalid(format!("nothing defines '{name}'"))) };
    described.insert(name.to_owned(), String::new());
    let mut fields = Vec::new();
    for member in &definition.members {
        fields.push(field(definitions, &member.name, &member.kind, described)?);
    }
    if fields.is_empty() {
        // What rosidl puts into a struct that would be empty.
        fields.push(field(definitions, "structure_needs_at_least_one_member", &Kind::UInt(1), described)?);
    }
    let text = format!("{{\"type_name\": \"{name}\", \"fields\": [{}]}}", fields.join(", "));
    described.insert(name.to_owned(), text);
    if described.values().map(String::len).sum::<usize>() > DESCRIPTION_LIMIT {
        return Err(Error::invalid(format!("'{name}' is too large to be hashed")));
    }
    Ok(())
}

fn field(definitions: &Definitions, name: &str, kind: &Kind, described: &mut BTreeMap<String, String>) -> Result<String> {
    let (offset, capacity, element) = match definitions.behind(kind) {
        Kind::Array(element, length) => (ARRAY, *length, &**element),
        Kind::List(element, Some(bound)) => (BOUNDED_LIST, *bound, &**element),
        Kind::List(element, None) => (LIST, 0, &**element),
        single => (0, 0, single),
    };
    let (id, text_capacity, nested) = single(definitions, name, element, described)?;
    Ok(format!(
        "{{\"name\": \"{name}\", \"type\": {{\"type_id\": {}, \"capacity\": {capacity}, \"string_capacity\": {text_capacity}, \"nested_type_name\": \"{nested}\"}}}}",
        offset + id
    ))
}

/// Returns a type's number, how long its text may be, and its name if it is a struct.
fn single(definitions: &Definitions, field: &str, kind: &Kind, described: &mut BTreeMap<String, String>) -> Result<(u8, u32, String)> {
    let plain = |id| Ok((id, 0, String::new()));
    match definitions.behind(kind) {
        Kind::Int(1) => plain(2),
        Kind::UInt(1) => plain(3),
        Kind::Int(2) => plain(4),
        Kind::UInt(2) => plain(5),
        Kind::Int(4) => plain(6),
        Kind::UInt(4) => plain(7),
        Kind::Int(8) => plain(8),
        Kind::UInt(8) => plain(9),
        Kind::Float(4) => plain(10),
        Kind::Float(8) => plain(11),
        Kind::Char => plain(13),
        Kind::Bool => plain(15),
        Kind::Octet => plain(16),
        Kind::Text(None) => plain(TEXT),
        Kind::WideText(None) => plain(WIDE_TEXT),
        Kind::Text(Some(bound)) => Ok((BOUNDED_TEXT, *bound, String::new())),
        Kind::WideText(Some(bound)) => Ok((BOUNDED_WIDE_TEXT, *bound, String::new())),
        Kind::Named { name, scope } => match definitions.resolve(name, scope) {
            Some((full, Meaning::Struct(_))) => {
                let full = full.to_owned();
                describe(definitions, &full, described)?;
                Ok((STRUCT, 0, full))
            }
            _ => Err(Error::invalid(format!("'{name}' has no place in a RIHS01 hash (field '{field}')"))),
        },
        _ => Err(Error::invalid(format!("field '{field}' has no place in a RIHS01 hash"))),
    }
}
