//! Where a record comes from: its resource and its scope; and attributes as JSON.
//!
//! **Invariant:** what every record repeats is at most [`ORIGIN_LIMIT`] bytes.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::source::json::{comma, float, hex, integer, text};
use crate::source::record::{NAME_LIMIT, cut};

/// How long resource and scope may be in JSON, because every record repeats them.
const ORIGIN_LIMIT: usize = 16 << 10;
/// How deep values may be nested; Protobuf's own limit is lower.
const DEPTH_LIMIT: usize = 100;
/// The service of those that do not say it, as the specification has it.
const UNNAMED: &str = "unknown_service";

/// A resource and a scope in it.
pub(super) struct Origin {
    /// The name of the service.
    pub(super) service: String,
    /// The last members of a record's JSON: `,"scope":"…","resource":{…}`.
    pub(super) tail: String,
}

impl Origin {
    pub(super) fn new(resource: &Resource, scope: &InstrumentationScope) -> Self {
        let named = |attribute: &&KeyValue| attribute.key == "service.name";
        let service = match resource.attributes.iter().find(named).and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
            Some(Value::StringValue(name)) if !name.is_empty() => cut(name, NAME_LIMIT),
            _ => UNNAMED,
        };
        let mut tail = String::new();
        if !scope.name.is_empty() {
            tail.push_str(",\"scope\":");
            text(&mut tail, cut(&scope.name, NAME_LIMIT));
        }
        tail.push_str(",\"resource\":{");
        let mut fitting = 0;
        for attribute in &resource.attributes {
            let before = tail.len();
            comma(&mut tail, fitting);
            member(&mut tail, attribute);
            // What does not fit is left out as a whole.
            if tail.len() > ORIGIN_LIMIT {
                tail.truncate(before);
            } else {
                fitting += 1;
            }
        }
        tail.push('}');
        Self { service: service.to_owned(), tail }
    }
}

/// Writes attributes as a member of an object: `,"name":{…}`.
pub(super) fn attributes(out: &mut String, name: &str, attributes: &[KeyValue]) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
    object(out, attributes, 0);
}

fn object(out: &mut String, attributes: &[KeyValue], depth: usize) {
    out.push('{');
    for (i, attribute) in attributes.iter().enumerate() {
        comma(out, i);
        text(out, &attribute.key);
        out.push(':');
        value(out, attribute.value.as_ref(), depth + 1);
    }
    out.push('}');
}

fn member(out: &mut String, attribute: &KeyValue) {
    text(out, &attribute.key);
    out.push(':');
    value(out, attribute.value.as_ref(), 0);
}

/// Writes a value of any type. Bytes become hexadecimal digits, and numbers that JSON does not have `null`.
pub(super) fn value(out: &mut String, any: Option<&AnyValue>, depth: usize) {
    match any.and_then(|any| any.value.as_ref()).filter(|_| depth < DEPTH_LIMIT) {
        Some(Value::StringValue(value)) => text(out, value),
        Some(Value::BoolValue(value)) => out.push_str(if *value { "true" } else { "false" }),
        Some(Value::IntValue(value)) => integer(out, *value),
        Some(Value::DoubleValue(value)) => float(out, *value),
        Some(Value::ArrayValue(array)) => {
            out.push('[');
            for (i, element) in array.values.iter().enumerate() {
                comma(out, i);
                value(out, Some(element), depth + 1);
            }
            out.push(']');
        }
        Some(Value::KvlistValue(list)) => object(out, &list.values, depth + 1),
        Some(Value::BytesValue(bytes)) => {
            out.push('"');
            hex(out, bytes);
            out.push('"');
        }
        // An index into a table that only profiles have.
        Some(Value::StringValueStrindex(_)) | None => out.push_str("null"),
    }
}
