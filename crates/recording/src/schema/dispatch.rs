//! Which language a definition is written in, and who reads it.
//!
//! **Invariant:** a definition in a language that is not read is refused by name, never guessed at.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::message::{Schema, Topic};
use crate::schema::library::{Flavour, Library};
use crate::schema::{DEFINITION_LIMIT, Tree, flatbuffer, json, protobuf, ros1, ros2, ulog};

/// Keys of a topic's metadata that hold the hash of its type.
const HASH_KEYS: [&str; 3] = ["topic_type_hash", "type_description_hash", "md5sum"];

/// Returns the tree of a schema, whose messages are written in `encoding`. Where the definition is empty, or refers to types that it
/// does not define, the library's are taken.
///
/// # Errors
/// `Invalid` with what is not understood or missing, and what to do about it.
pub fn parse(schema: &Schema, encoding: &str, library: &Library) -> Result<Tree> {
    parse_with_hash(schema, encoding, None, library)
}

/// Returns the tree of a topic's messages; a type's hash in its metadata tells which of several definitions is meant.
///
/// # Errors
/// What [`parse`] answers.
pub fn parse_topic(topic: &Topic, library: &Library) -> Result<Tree> {
    let Some(schema) = &topic.schema else {
        return Err(Error::invalid(format!("topic '{}' has no schema: its type is not known", topic.name)));
    };
    // A `*` stands for any type in ROS 1.
    let hash = HASH_KEYS.iter().find_map(|key| topic.metadata.get(*key)).filter(|hash| !matches!(hash.as_str(), "" | "*"));
    parse_with_hash(schema, &topic.encoding, hash.map(String::as_str), library)
}

/// Returns the hash of a type of ROS, MD5 or RIHS01; nothing for others, and for those that cannot be read or that nothing defines.
pub fn hash(schema: &Schema, encoding: &str, library: &Library) -> Option<String> {
    let has_text = schema.data.iter().any(|byte| !byte.is_ascii_whitespace());
    let flavour = flavour(schema, encoding)?;
    let known = if has_text { None } else { library.find(&schema.name, None, flavour) };
    // In ROS 1 every file has its definitions, so that an empty one is that of a message without fields.
    if !has_text && known.is_none() && flavour == Flavour::Ros2 {
        return None;
    }
    let schema = known.as_deref().unwrap_or(schema);
    match flavour {
        Flavour::Ros1 => ros1::md5(schema, library).ok(),
        Flavour::Ros2 => ros2::rihs01(schema, library).ok(),
    }
}

fn parse_with_hash(schema: &Schema, encoding: &str, hash: Option<&str>, library: &Library) -> Result<Tree> {
    let has_text = schema.data.iter().any(|byte| !byte.is_ascii_whitespace());
    if !has_text && let Some(flavour) = flavour(schema, encoding) {
        let known = library.find(&schema.name, hash, flavour);
        // A message without fields has an empty definition, and so has one that is not known; the encoding tells which it is.
        return match known {
            Some(known) => read(&known, library),
            None if is_unknown(schema) || !is_empty_message(schema, hash, library) => Err(unknown(schema, hash)),
            None => read(schema, library),
        };
    }
    read(schema, library)
}

/// Reads a definition; each language is a line.
fn read(schema: &Schema, library: &Library) -> Result<Tree> {
    match schema.encoding.as_str() {
        "ros1msg" => ros1::parse(schema, library),
        "ros2msg" | "ros2idl" => ros2::parse(schema, library),
        "ulog" => ulog::parse(schema),
        "protobuf" => protobuf::parse(schema),
        "jsonschema" => json::parse(schema),
        "flatbuffer" => flatbuffer::parse(schema),
        other => Err(Error::invalid(format!("schema encoding '{other}' is not read"))),
    }
}

fn flavour(schema: &Schema, encoding: &str) -> Option<Flavour> {
    match (schema.encoding.as_str(), encoding) {
        ("ros1msg", _) => Some(Flavour::Ros1),
        ("ros2msg" | "ros2idl", _) => Some(Flavour::Ros2),
        (_, "ros1") if is_unknown(schema) => Some(Flavour::Ros1),
        (_, "cdr") if is_unknown(schema) => Some(Flavour::Ros2),
        _ => None,
    }
}

fn is_unknown(schema: &Schema) -> bool {
    matches!(schema.encoding.as_str(), "" | "unknown")
}

/// Returns whether the hash, if there is one, is that of a message without fields.
fn is_empty_message(schema: &Schema, hash: Option<&str>, library: &Library) -> bool {
    let Some(hash) = hash else { return true };
    let own = if schema.encoding == "ros1msg" { ros1::md5(schema, library) } else { ros2::rihs01(schema, library) };
    own.is_ok_and(|own| own == hash)
}

fn unknown(schema: &Schema, hash: Option<&str>) -> Error {
    let version = hash.map(|hash| format!(" with the hash {hash}")).unwrap_or_default();
    Error::invalid(format!("nothing defines '{}'{version}: give its definition with 'tapeloop schema add DIR'", schema.name))
}

/// Returns a definition as text. Old comments are not always UTF-8; what is not is replaced.
///
/// # Errors
/// `Invalid` for more bytes than are parsed.
pub(crate) fn text(schema: &Schema) -> Result<Cow<'_, str>> {
    if schema.data.len() > DEFINITION_LIMIT {
        return Err(Error::invalid(format!(
            "the definition of '{}' has {} bytes; at most {DEFINITION_LIMIT}",
            schema.name,
            schema.data.len()
        )));
    }
    Ok(String::from_utf8_lossy(&schema.data))
}
