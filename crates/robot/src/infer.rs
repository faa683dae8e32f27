//! A JSON schema from a JSON value, for typed structs that are logged as they are.
//!
//! **Invariant:** the value it was inferred from satisfies the schema.

use serde_json::{Map, Value, json};

/// How deep values may be nested.
const DEPTH_LIMIT: usize = 64;

/// Returns a schema with a title that describes a value.
pub(crate) fn schema_of(title: &str, value: &Value) -> Value {
    let mut schema = describe(value, 0);
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".to_owned(), title.into());
    }
    schema
}

fn describe(value: &Value, depth: usize) -> Value {
    if depth > DEPTH_LIMIT {
        return json!({});
    }
    match value {
        Value::Null => json!({}),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Number(_) => json!({ "type": "number" }),
        Value::String(_) => json!({ "type": "string" }),
        Value::Array(items) => match items.first() {
            Some(first) => json!({ "type": "array", "items": describe(first, depth + 1) }),
            None => json!({ "type": "array" }),
        },
        Value::Object(fields) => {
            let properties: Map<String, Value> = fields.iter().map(|(name, field)| (name.clone(), describe(field, depth + 1))).collect();
            json!({ "type": "object", "properties": properties })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_tells_its_schema() {
        let schema = schema_of("Imu", &json!({ "ax": 0.5, "ok": true, "names": ["a"], "none": null }));
        assert_eq!(
            schema,
            json!({ "type": "object", "title": "Imu", "properties": {
                "ax": { "type": "number" }, "ok": { "type": "boolean" }, "names": { "type": "array", "items": { "type": "string" } }, "none": {} } })
        );
    }
}
