//! Values of columns as JSON, with the JSON schema that describes them.
//!
//! **Invariant:** every value is one line of valid JSON; what JSON has no number for (NaN, infinities) is null.

use std::fmt::Write;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use serde_json::{Value, json};

/// How deep lists in lists may be.
const DEPTH_LIMIT: usize = 16;

/// Returns whether values of this type can be written.
pub(super) fn is_known(kind: &DataType) -> bool {
    schema_of(kind, 0).is_some()
}

/// Returns the JSON schema of messages of a column: an object with `names` as keys, or with the key `value`.
pub(super) fn schema(title: &str, kind: &DataType, names: &[String], is_scalar: bool) -> Value {
    let whole = schema_of(kind, 0).unwrap_or_else(|| json!({}));
    let element = match kind {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => schema_of(item.data_type(), 0),
        _ => None,
    };
    let one = element.clone().unwrap_or_else(|| whole.clone());
    let properties: serde_json::Map<String, Value> = if names.is_empty() {
        [("value".to_owned(), if is_scalar { one } else { whole })].into_iter().collect()
    } else {
        names.iter().map(|name| (name.clone(), one.clone())).collect()
    };
    json!({"title": title, "type": "object", "properties": properties})
}

fn schema_of(kind: &DataType, depth: usize) -> Option<Value> {
    Some(match kind {
        _ if depth > DEPTH_LIMIT => return None,
        DataType::Boolean => json!({"type": "boolean"}),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => json!({"type": "integer"}),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => json!({"type": "integer", "minimum": 0}),
        DataType::Float32 | DataType::Float64 => json!({"type": "number"}),
        DataType::Utf8 | DataType::LargeUtf8 => json!({"type": "string"}),
        DataType::Null => json!({"type": "null"}),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            json!({"type": "array", "items": schema_of(item.data_type(), depth + 1)?})
        }
        DataType::Struct(fields) => {
            let properties = fields.iter().map(|field| Some((field.name().clone(), schema_of(field.data_type(), depth + 1)?)));
            let properties: Option<serde_json::Map<String, Value>> = properties.collect();
            json!({"type": "object", "properties": properties?})
        }
        _ => return None,
    })
}

/// Appends a row's message.
pub(super) fn write_message(column: &dyn Array, row: usize, names: &[String], is_scalar: bool, out: &mut String) {
    let elements = list_at(column, row);
    match elements {
        Some(elements) if elements.len() == names.len() && !names.is_empty() => {
            out.push('{');
            for (index, name) in names.iter().enumerate() {
                separate(index, out);
                write_text(name, out);
                out.push(':');
                write(&elements, index, out, 0);
            }
            out.push('}');
        }
        elements => {
            out.push('{');
            write_text(names.first().filter(|_| names.len() == 1).map_or("value", String::as_str), out);
            out.push(':');
            match elements.filter(|elements| is_scalar && elements.len() == 1) {
                Some(elements) => write(&elements, 0, out, 0),
                None => write(column, row, out, 0),
            }
            out.push('}');
        }
    }
}

/// Returns the elements of a row that is a list.
fn list_at(column: &dyn Array, row: usize) -> Option<ArrayRef> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::List(_) => Some(column.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Some(column.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => Some(column.as_fixed_size_list().value(row)),
        _ => None,
    }
}

fn write(column: &dyn Array, row: usize, out: &mut String, depth: usize) {
    if column.is_null(row) || depth > DEPTH_LIMIT {
        out.push_str("null");
        return;
    }
    macro_rules! number {
        ($($kind:ident),*) => {
            match column.data_type() {
                $(DataType::$kind => plain(column.as_primitive::<paste_type!($kind)>().value(row), out),)*
                _ => out.push_str("null"),
            }
        };
    }
    macro_rules! paste_type {
        (Int8) => {
            Int8Type
        };
        (Int16) => {
            Int16Type
        };
        (Int32) => {
            Int32Type
        };
        (Int64) => {
            Int64Type
        };
        (UInt8) => {
            UInt8Type
        };
        (UInt16) => {
            UInt16Type
        };
        (UInt32) => {
            UInt32Type
        };
        (UInt64) => {
            UInt64Type
        };
    }
    match column.data_type() {
        DataType::Boolean => out.push_str(if column.as_boolean().value(row) { "true" } else { "false" }),
        DataType::Float32 => real(column.as_primitive::<Float32Type>().value(row), f32::is_finite, out),
        DataType::Float64 => real(column.as_primitive::<Float64Type>().value(row), f64::is_finite, out),
        DataType::Utf8 => write_text(column.as_string::<i32>().value(row), out),
        DataType::LargeUtf8 => write_text(column.as_string::<i64>().value(row), out),
        DataType::Struct(fields) => {
            out.push('{');
            for (index, (field, values)) in fields.iter().zip(column.as_struct().columns()).enumerate() {
                separate(index, out);
                write_text(field.name(), out);
                out.push(':');
                write(values, row, out, depth + 1);
            }
            out.push('}');
        }
        _ => match list_at(column, row) {
            Some(elements) => {
                out.push('[');
                for index in 0..elements.len() {
                    separate(index, out);
                    write(&elements, index, out, depth + 1);
                }
                out.push(']');
            }
            None => number!(Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64),
        },
    }
}

fn separate(index: usize, out: &mut String) {
    if index > 0 {
        out.push(',');
    }
}

fn plain(value: impl std::fmt::Display, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{value}");
}

/// Writes a number as short as it can be told apart; `{:?}` of Rust is valid JSON where it is finite.
fn real<T: std::fmt::Debug + Copy>(value: T, is_finite: fn(T) -> bool, out: &mut String) {
    if is_finite(value) {
        let _ = write!(out, "{value:?}");
    } else {
        out.push_str("null");
    }
}

/// Appends a text in quotes.
pub(super) fn write_text(text: &str, out: &mut String) {
    out.push_str(&Value::from(text).to_string());
}
