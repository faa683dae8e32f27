//! Where a record comes from: its resource and its scope; and attributes as JSON.
//!
//! **Invariant:** what every record repeats is about [`ORIGIN_LIMIT`] bytes each for resource and scope, and written down once.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::source::json::{comma, float, hex, integer, text, unsigned};
use crate::source::record::{NAME_LIMIT, cut};

/// How long a resource, and the attributes of a scope, may be in JSON, because every record repeats them.
const ORIGIN_LIMIT: usize = 16 << 10;
/// How deep values may be nested; Protobuf's own limit is lower.
const DEPTH_LIMIT: usize = 100;
/// The service of those that do not say it, as the specification has it.
const UNNAMED: &str = "unknown_service";

/// A resource.
pub(super) struct Owner {
    service: String,
    /// The last members of a record's JSON: `,"resource":{…}`.
    json: String,
}

impl Owner {
    pub(super) fn new(resource: &Resource) -> Self {
        let named = |attribute: &&KeyValue| attribute.key == "service.name";
        let service = match resource.attributes.iter().find(named).and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
            Some(Value::StringValue(name)) if !name.is_empty() => cut(name, NAME_LIMIT),
            _ => UNNAMED,
        };
        let mut json = String::new();
        let left_out = fitting(&mut json, "resource", &resource.attributes);
        if left_out > 0 {
            json.push_str(",\"resource_left_out\":");
            unsigned(&mut json, left_out);
        }
        Self { service: service.to_owned(), json }
    }
}

/// A resource and a scope in it.
pub(super) struct Origin<'a> {
    /// The name of the service.
    pub(super) service: &'a str,
    resource: &'a str,
    /// The members before those of the resource: `,"scope":"…","scope_version":"…","scope_attributes":{…}`.
    scope: String,
}

impl<'a> Origin<'a> {
    pub(super) fn new(owner: &'a Owner, scope: &InstrumentationScope) -> Self {
        let mut json = String::new();
        for (name, value) in [(",\"scope\":", &scope.name), (",\"scope_version\":", &scope.version)] {
            if !value.is_empty() {
                json.push_str(name);
                text(&mut json, cut(value, NAME_LIMIT));
            }
        }
        if !scope.attributes.is_empty() {
            fitting(&mut json, "scope_attributes", &scope.attributes);
        }
        Self { service: &owner.service, resource: &owner.json, scope: json }
    }

    /// Writes the last members of a record's JSON.
    pub(super) fn write(&self, out: &mut String) {
        out.push_str(&self.scope);
        out.push_str(self.resource);
    }
}

/// Writes those attributes that fit as a member of an object, and returns how many do not. Each fits as a whole or not at all.
fn fitting(out: &mut String, name: &str, attributes: &[KeyValue]) -> u64 {
    let limit = out.len() + ORIGIN_LIMIT;
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":{");
    let (mut fitting, mut left_out) = (0, 0);
    for attribute in attributes {
        let before = out.len();
        comma(out, fitting);
        text(out, &attribute.key);
        out.push(':');
        value(out, attribute.value.as_ref(), 0);
        if out.len() > limit {
            out.truncate(before);
            left_out += 1;
        } else {
            fitting += 1;
        }
    }
    out.push('}');
    left_out
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
