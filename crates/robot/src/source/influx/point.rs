//! Points as messages: one topic per measurement, whose schema grows with the fields that are seen.
//!
//! **Invariant:** a channel's schema names every field of its messages; a field that has had two types has none in it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use recording::{Error, Result};
use serde_json::{Map, Value as Json, json};

use super::line::{Point, Value};
use crate::source::Intake;
use crate::source::http::unit_by_size;
use crate::source::json::{comma, float, integer, text, unsigned};
use crate::source::record::{NAME_LIMIT, cut, json_spec, open, topic_of};
use crate::tape::channel::{Channel, ChannelSpec, Times};

/// How many bytes of shapes of points are remembered; beyond that they are worked out again.
const SHAPES_LIMIT: usize = 16 << 20;
/// How often the schema of one measurement grows; later fields are in the messages, and not in the schema.
const SCHEMA_LIMIT: usize = 64;
/// How many measurements are known; which is more than there can be channels.
const MEASUREMENT_LIMIT: usize = 20_000;
/// How many fields, and how many tags, of one measurement are told in its schema.
const NAMES_LIMIT: usize = 4096;
/// How many bytes of names of measurements, fields and tags are remembered; later fields are in no schema.
const NAMES_BYTES: usize = 16 << 20;

/// What is known of points.
#[derive(Default)]
pub(super) struct Points {
    measurements: HashMap<String, Measurement>,
    /// Which channel points take that have these names and types.
    shapes: HashMap<Vec<u8>, Arc<Channel>>,
    shapes_bytes: usize,
    names_bytes: usize,
    shape: Vec<u8>,
    payload: String,
}

/// One topic.
#[derive(Default)]
struct Measurement {
    tags: BTreeMap<String, ()>,
    fields: BTreeMap<String, &'static str>,
    channel: Option<Arc<Channel>>,
    schemas: usize,
}

impl Points {
    /// Logs a point. Without a unit, its timestamp is in the one that makes it a time of this century.
    pub(super) fn log(&mut self, intake: &Intake, point: &Point<'_>, unit_ns: Option<i64>) -> Result<()> {
        let too_long = |name: &&str| name.len() > NAME_LIMIT;
        if let Some(name) = names(point).find(too_long) {
            return Err(Error::invalid(format!("a name of {} bytes, '{}…'; at most {NAME_LIMIT}", name.len(), cut(name, 20))));
        }
        let publish_time_ns = match point.timestamp {
            Some(stamp) => {
                let ns = stamp.checked_mul(unit_ns.unwrap_or_else(|| unit_by_size(stamp)));
                Some(ns.ok_or_else(|| Error::invalid(format!("its timestamp {stamp} is out of range: is the precision right?")))?)
            }
            None => None,
        };
        self.shape_of(point);
        let channel = match self.shapes.get(&self.shape) {
            Some(channel) => channel.clone(),
            None => self.learn(intake, point)?,
        };
        self.write(point);
        let log_time_ns = Some(intake.now_ns());
        intake.log(&channel, self.payload.as_bytes().into(), Times { log_time_ns, publish_time_ns: publish_time_ns.filter(|ns| *ns >= 0) })
    }

    /// Writes down names and types of a point: what its channel depends on.
    fn shape_of(&mut self, point: &Point<'_>) {
        let shape = &mut self.shape;
        shape.clear();
        shape.extend(point.measurement.as_bytes());
        for (name, _) in &point.tags {
            shape.push(0);
            shape.extend(name.as_bytes());
        }
        shape.push(1);
        for (name, value) in &point.fields {
            shape.push(type_of(value).as_bytes()[0]);
            shape.extend(name.as_bytes());
            shape.push(0);
        }
    }

    /// Returns the channel of a shape that was not seen before.
    fn learn(&mut self, intake: &Intake, point: &Point<'_>) -> Result<Arc<Channel>> {
        if self.measurements.len() >= MEASUREMENT_LIMIT && !self.measurements.contains_key(point.measurement.as_ref()) {
            return Err(Error::invalid(format!("more than {MEASUREMENT_LIMIT} measurements")));
        }
        let room = |held: &mut usize, name: &str| {
            let fits = *held + name.len() <= NAMES_BYTES;
            *held += if fits { name.len() } else { 0 };
            fits
        };
        let held = &mut self.names_bytes;
        let name = point.measurement.as_ref();
        if !self.measurements.contains_key(name) && !room(held, name) {
            return Err(Error::invalid("too many names of measurements, fields and tags to remember one more"));
        }
        let measurement = self.measurements.entry(name.to_owned()).or_default();
        let mut grown = measurement.channel.is_none();
        for (name, _) in &point.tags {
            if !measurement.tags.contains_key(name.as_ref()) && measurement.tags.len() < NAMES_LIMIT && room(held, name) {
                measurement.tags.insert(name.as_ref().to_owned(), ());
                grown = true;
            }
        }
        for (name, value) in &point.fields {
            let new = type_of(value);
            let known = measurement.fields.get(name.as_ref()).copied();
            let both = known.map_or(new, |known| common(known, new));
            if known != Some(both) && (known.is_some() || measurement.fields.len() < NAMES_LIMIT && room(held, name)) {
                measurement.fields.insert(name.as_ref().to_owned(), both);
                grown = true;
            }
        }
        let grown = grown && measurement.schemas < SCHEMA_LIMIT;
        let channel = match measurement.channel.clone() {
            Some(channel) if !grown => channel,
            // A source at its limit of schemas goes on with the last one.
            before => open(intake, measurement.spec(name)?).or_else(|error| before.ok_or(error))?,
        };
        measurement.schemas += usize::from(grown);
        measurement.channel = Some(channel.clone());
        if grown {
            // Shapes of before have the same fields and fewer: they may as well have the newer schema.
            let (prefix, bytes) = (name.as_bytes(), &mut self.shapes_bytes);
            self.shapes.retain(|shape, _| {
                let goes = shape.starts_with(prefix) && shape.get(prefix.len()).is_some_and(|byte| *byte < 2);
                *bytes -= if goes { shape.len() } else { 0 };
                !goes
            });
        }
        if self.shapes_bytes + self.shape.len() > SHAPES_LIMIT {
            self.shapes.clear();
            self.shapes_bytes = 0;
        }
        self.shapes_bytes += self.shape.len();
        self.shapes.insert(self.shape.clone(), channel.clone());
        Ok(channel)
    }

    fn write(&mut self, point: &Point<'_>) {
        let out = &mut self.payload;
        out.clear();
        out.push_str("{\"tags\":{");
        for (i, (name, value)) in point.tags.iter().enumerate() {
            comma(out, i);
            text(out, name);
            out.push(':');
            text(out, value);
        }
        out.push_str("},\"fields\":{");
        for (i, (name, value)) in point.fields.iter().enumerate() {
            comma(out, i);
            text(out, name);
            out.push(':');
            match value {
                Value::Float(number) => float(out, *number),
                Value::Integer(number) => integer(out, *number),
                Value::Unsigned(number) => unsigned(out, *number),
                Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
                Value::Text(value) => text(out, value),
            }
        }
        out.push_str("}}");
    }
}

impl Measurement {
    fn spec(&self, name: &str) -> Result<ChannelSpec> {
        let topic = topic_of("/metrics", name).ok_or_else(|| Error::invalid(format!("'{name}' makes no topic")))?;
        let typed = |kind: &str| if kind.is_empty() { json!({}) } else { json!({ "type": kind }) };
        let object = |properties: Map<String, Json>| json!({ "type": "object", "properties": properties });
        let tags = self.tags.keys().map(|name| (name.clone(), typed("string"))).collect();
        let fields = self.fields.iter().map(|(name, kind)| (name.clone(), typed(kind))).collect();
        Ok(json_spec(topic, "tapeloop.Point", &json!({ "tags": object(tags), "fields": object(fields) })))
    }
}

/// Returns every name in a point.
fn names<'a>(point: &'a Point<'_>) -> impl Iterator<Item = &'a str> {
    let tags = point.tags.iter().map(|(name, _)| name.as_ref());
    std::iter::once(point.measurement.as_ref()).chain(tags).chain(point.fields.iter().map(|(name, _)| name.as_ref()))
}

fn type_of(value: &Value<'_>) -> &'static str {
    match value {
        Value::Float(_) => "number",
        Value::Integer(_) | Value::Unsigned(_) => "integer",
        Value::Bool(_) => "boolean",
        Value::Text(_) => "string",
    }
}

/// Returns the type that holds both; empty is any.
fn common(a: &'static str, b: &'static str) -> &'static str {
    match (a, b) {
        _ if a == b => a,
        ("number", "integer") | ("integer", "number") => "number",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_json() {
        let mut points = Points::default();
        let tags = vec![("a \"b\"".into(), "c\\\n\u{1}é".into())];
        let fields = vec![("x".into(), Value::Float(1.0)), ("nan".into(), Value::Float(f64::NAN)), ("n".into(), Value::Integer(-3))];
        points.write(&Point { measurement: "m".into(), tags, fields, timestamp: None });
        let read: Json = serde_json::from_str(&points.payload).unwrap();
        assert_eq!(read, json!({ "tags": { "a \"b\"": "c\\\n\u{1}é" }, "fields": { "x": 1.0, "nan": null, "n": -3 } }));
    }
}
