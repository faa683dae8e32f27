//! Log records of any origin as messages of one shape: `foxglove.Log` with attributes, on `/logs/<name>`; and the shape of metrics.
//!
//! **Invariant:** nothing of a record is left out but what is over a limit, and that is said in the message.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use recording::{Error, Result, Schema};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Intake;
use crate::tape::channel::{Channel, ChannelSpec, Times};

/// The longest text of one record.
pub(super) const TEXT_LIMIT: usize = 1 << 20;
/// The longest name of who logs.
pub(super) const NAME_LIMIT: usize = 200;

/// How bad it is, as `foxglove.Log` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(into = "u8")]
pub(super) enum Level {
    #[default]
    Unknown,
    Debug,
    Info,
    Warning,
    Error,
    Fatal,
}

impl From<Level> for u8 {
    fn from(level: Level) -> u8 {
        level as u8
    }
}

impl Level {
    /// Returns the level of a word, as loggers everywhere write it.
    pub(super) fn of_word(word: &str) -> Self {
        match word.trim().to_ascii_lowercase().as_str() {
            "trace" | "debug" | "dbg" | "verbose" | "finest" | "fine" => Self::Debug,
            "info" | "information" | "informational" | "notice" => Self::Info,
            "warn" | "warning" => Self::Warning,
            "err" | "error" | "severe" => Self::Error,
            "fatal" | "critical" | "crit" | "alert" | "emerg" | "emergency" | "panic" => Self::Fatal,
            _ => Self::Unknown,
        }
    }

    /// Returns the level of a severity of syslog, from 0 (emergency) to 7 (debug).
    pub(super) fn of_syslog(severity: u8) -> Self {
        match severity {
            0..=2 => Self::Fatal,
            3 => Self::Error,
            4 => Self::Warning,
            5 | 6 => Self::Info,
            7 => Self::Debug,
            _ => Self::Unknown,
        }
    }
}

/// One record.
#[derive(Clone, Debug, Default)]
pub(super) struct Record<'a> {
    /// When it happened, as its sender says; ns UTC.
    pub(super) time_ns: Option<i64>,
    pub(super) level: Level,
    pub(super) message: Cow<'a, str>,
    /// Who logs.
    pub(super) name: Cow<'a, str>,
    /// Everything else.
    pub(super) attributes: Map<String, Value>,
}

/// The channels of what is named, opened as names come.
#[derive(Default)]
pub(super) struct Channels(HashMap<String, Arc<Channel>>);

impl Channels {
    /// Returns the channel of a name, which `spec` describes if it is new.
    ///
    /// # Errors
    /// As [`open`], and what `spec` returns.
    pub(super) fn get(&mut self, intake: &Intake, name: &str, spec: impl FnOnce() -> Result<ChannelSpec>) -> Result<Arc<Channel>> {
        if let Some(channel) = self.0.get(name) {
            return Ok(channel.clone());
        }
        let channel = open(intake, spec()?)?;
        self.0.insert(name.to_owned(), channel.clone());
        Ok(channel)
    }
}

/// Writes records to their topics.
#[derive(Default)]
pub(super) struct Records {
    channels: Channels,
    payload: Vec<u8>,
}

#[derive(Serialize)]
struct Payload<'a> {
    timestamp: Stamp,
    level: Level,
    message: &'a str,
    name: &'a str,
    file: &'a str,
    line: u32,
    attributes: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct Stamp {
    sec: i64,
    nsec: i64,
}

impl Records {
    /// Logs a record: its own time is the publish time.
    pub(super) fn log(&mut self, intake: &Intake, record: &Record<'_>) -> Result<()> {
        let name = cut(&record.name, NAME_LIMIT);
        let channel = self.channels.get(intake, name, || Ok(spec(name)))?;
        let now_ns = intake.now_ns();
        let time_ns = record.time_ns.filter(|ns| *ns >= 0).unwrap_or(now_ns);
        let message = cut(&record.message, TEXT_LIMIT);
        let mut attributes = Cow::Borrowed(&record.attributes);
        if message.len() < record.message.len() {
            attributes.to_mut().insert("truncated_bytes".into(), json!(record.message.len() - message.len()));
        }
        let text = |key: &str| attributes.get(key).and_then(Value::as_str).unwrap_or_default();
        let payload = Payload {
            timestamp: Stamp { sec: time_ns.div_euclid(1_000_000_000), nsec: time_ns.rem_euclid(1_000_000_000) },
            level: record.level,
            message,
            name,
            file: text("code.file.path"),
            line: attributes.get("code.line.number").and_then(Value::as_u64).unwrap_or_default() as u32,
            attributes: &attributes,
        };
        self.payload.clear();
        serde_json::to_writer(&mut self.payload, &payload)
            .map_err(|error| Error::invalid("a record that JSON cannot hold").caused_by(error))?;
        let times = Times { log_time_ns: Some(now_ns), publish_time_ns: Some(time_ns) };
        intake.log(&channel, self.payload.as_slice().into(), times)
    }
}

/// Returns the channel of records of somebody.
pub(super) fn spec(name: &str) -> ChannelSpec {
    let text = json!({ "type": "string" });
    let whole = json!({ "type": "integer" });
    let object = json!({ "type": "object" });
    let properties = json!({
        "timestamp": { "type": "object", "title": "time", "properties": { "sec": whole, "nsec": whole } },
        "level": whole, "message": text, "name": text, "file": text, "line": whole, "attributes": object,
        "severity": text, "severity_number": whole, "event": text, "body": {}, "observed_ns": whole, "trace_id": text, "span_id": text,
        "trace_flags": whole, "scope": text, "scope_version": text, "scope_attributes": object, "resource": object,
    });
    json_spec(topic_of("/logs", name).unwrap_or_else(|| "/logs/unknown".to_owned()), "foxglove.Log", &properties)
}

/// Returns the channel of JSON messages with these properties.
pub(super) fn json_spec(topic: String, title: &str, properties: &Value) -> ChannelSpec {
    let schema = json!({ "title": title, "type": "object", "properties": properties });
    let schema = Schema { name: title.into(), encoding: "jsonschema".into(), data: schema.to_string().into() };
    ChannelSpec { topic, encoding: "json".into(), schema: Some(Arc::new(schema)), ..ChannelSpec::default() }
}

/// Returns the channel of a metric, of whatever kind its points are.
///
/// # Errors
/// `Invalid` for a name that makes no topic.
pub(super) fn metric_spec(name: &str) -> Result<ChannelSpec> {
    let topic = topic_of("/metrics", name).ok_or_else(|| Error::invalid("a metric without a name"))?;
    let (text, whole, number) = (json!({ "type": "string" }), json!({ "type": "integer" }), json!({ "type": "number" }));
    let (object, numbers, wholes) =
        (json!({ "type": "object" }), json!({ "type": "array", "items": number }), json!({ "type": "array", "items": whole }));
    let buckets = json!({ "type": "object", "properties": { "offset": whole, "counts": wholes } });
    let quantiles = json!({ "type": "array", "items": { "type": "object", "properties": { "quantile": number, "value": number } } });
    let properties = json!({
        "kind": text, "value": number, "value_text": text, "reset": { "type": "boolean" }, "unit": text, "temporality": text, "monotonic": { "type": "boolean" },
        "start_ns": whole, "attributes": object, "count": whole, "sum": number, "sum_text": text, "min": number, "min_text": text,
        "max": number, "max_text": text, "bounds": numbers, "counts": wholes,
        "scale": whole, "zero_count": whole, "zero_threshold": number, "positive": buckets, "negative": buckets,
        "quantiles": quantiles, "scope": text, "scope_version": text, "scope_attributes": object, "resource": object,
    });
    Ok(json_spec(topic, "tapeloop.Metric", &properties))
}

/// Opens a channel for what a request names.
///
/// # Errors
/// `Invalid` also beyond the limit of channels: sending it again would not help.
pub(super) fn open(intake: &Intake, spec: ChannelSpec) -> Result<Arc<Channel>> {
    intake.channel(spec).map_err(|error| Error::invalid(error.message()))
}

/// Returns a topic below `root` for a foreign name: what a topic may not have becomes `_`.
pub(super) fn topic_of(root: &str, name: &str) -> Option<String> {
    let odd = |character: char| character.is_control() || character.is_whitespace() || "*?!\"'\\".contains(character);
    let plain = |character: char| if odd(character) { '_' } else { character };
    let parts: Vec<String> = name.split('/').filter(|part| !part.is_empty()).map(|part| part.chars().map(plain).collect()).collect();
    (!parts.is_empty()).then(|| format!("{root}/{}", parts.join("/")))
}

/// Returns the beginning of a text, of at most so many bytes.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit { text } else { &text[..text.floor_char_boundary(limit)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_names_make_topics() {
        let topic = |name| topic_of("/metrics", name);
        assert_eq!(topic("cpu").unwrap(), "/metrics/cpu");
        assert_eq!(topic("/robot/arm//left motor").unwrap(), "/metrics/robot/arm/left_motor");
        assert_eq!(topic("a*\n"), Some("/metrics/a__".into()));
        assert_eq!((topic(""), topic("//")), (None, None));
    }

    #[test]
    fn levels_are_understood() {
        let levels = ["WARN", "error", "Notice", "verbose", "crit", "?"].map(|word| u8::from(Level::of_word(word)));
        assert_eq!(levels, [3, 4, 2, 1, 5, 0]);
        assert_eq!([0, 3, 4, 6, 7, 9].map(|severity| u8::from(Level::of_syslog(severity))), [5, 4, 3, 2, 1, 0]);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!((cut("aé", 2), cut("aé", 3), cut("", 0)), ("a", "aé", ""));
    }
}
