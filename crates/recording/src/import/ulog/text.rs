//! What the logger itself says, as messages: logged text, and changes of parameters.
//!
//! **Invariant:** each is one JSON object that its schema describes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::values::Entry;
use crate::message::{Schema, Topic};

/// Names of the levels, from the most severe on.
const LEVELS: [&str; 8] = ["EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"];

const LOG_SCHEMA: &[u8] = br#"{"title":"ulog.Log","type":"object","properties":{"level":{"type":"string"},"message":{"type":"string"},"tag":{"type":"integer"}},"required":["level","message"]}"#;

const PARAMETER_SCHEMA: &[u8] =
    br#"{"title":"ulog.Parameter","type":"object","properties":{"name":{"type":"string"},"value":{"type":"number"}},"required":["name","value"]}"#;

/// Returns the topic of logged text.
pub(super) fn log_topic() -> Arc<Topic> {
    topic("/log", "ulog.Log", LOG_SCHEMA)
}

/// Returns the topic of changes of parameters.
pub(super) fn parameters_topic() -> Arc<Topic> {
    topic("/parameters", "ulog.Parameter", PARAMETER_SCHEMA)
}

fn topic(name: &str, type_name: &str, schema: &'static [u8]) -> Arc<Topic> {
    let schema = Schema { name: type_name.to_owned(), encoding: "jsonschema".to_owned(), data: Bytes::from_static(schema) };
    Arc::new(Topic { name: name.to_owned(), encoding: "json".to_owned(), schema: Some(Arc::new(schema)), metadata: BTreeMap::new() })
}

/// Appends logged text.
pub(super) fn write_log(output: &mut Vec<u8>, level: u8, tag: Option<u16>, text: &[u8]) {
    let mut object = Map::new();
    let level = LEVELS.get(usize::from(level.wrapping_sub(b'0'))).copied().unwrap_or("UNKNOWN");
    object.insert("level".to_owned(), level.into());
    object.insert("message".to_owned(), String::from_utf8_lossy(text).into());
    if let Some(tag) = tag {
        object.insert("tag".to_owned(), tag.into());
    }
    output.extend_from_slice(Value::Object(object).to_string().as_bytes());
}

/// Appends the change of a parameter.
pub(super) fn write_parameter(output: &mut Vec<u8>, entry: Entry<'_>) {
    let object = Map::from_iter([("name".to_owned(), entry.key.into()), ("value".to_owned(), entry.to_json())]);
    output.extend_from_slice(Value::Object(object).to_string().as_bytes());
}
