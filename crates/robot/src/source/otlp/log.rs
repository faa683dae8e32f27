//! Log records as messages: `foxglove.Log` with attributes, resource, scope and trace, on `/logs/<service>`.
//!
//! **Invariant:** a record is one message of the same shape that every other source of logs writes.

use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use recording::Result;

use super::origin::{Origin, attributes, value};
use crate::source::Intake;
use crate::source::json::{hex, integer, text, unsigned};
use crate::source::record::{Channels, Level, TEXT_LIMIT, cut, spec};
use crate::tape::channel::Times;

/// Writes log records.
#[derive(Default)]
pub(super) struct Logs {
    channels: Channels,
    payload: String,
}

impl Logs {
    /// Logs a record; its own time, or when it was observed, is the publish time.
    pub(super) fn log(&mut self, intake: &Intake, origin: &Origin<'_>, record: &LogRecord) -> Result<()> {
        let channel = self.channels.get(intake, origin.service, || Ok(spec(origin.service)))?;
        let now_ns = intake.now_ns();
        let time_ns = time(record.time_unix_nano).or(time(record.observed_time_unix_nano)).unwrap_or(now_ns);
        self.payload.clear();
        write(&mut self.payload, origin, record, time_ns);
        let times = Times { log_time_ns: Some(now_ns), publish_time_ns: Some(time_ns) };
        intake.log(&channel, self.payload.as_bytes().into(), times)
    }
}

/// Returns a time, unless it is not known.
pub(super) fn time(unix_ns: u64) -> Option<i64> {
    i64::try_from(unix_ns).ok().filter(|ns| *ns > 0)
}

/// Writes an id as a member of an object, if there is one.
pub(super) fn id(out: &mut String, name: &str, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.push_str(",\"");
        out.push_str(name);
        out.push_str("\":\"");
        hex(out, bytes);
        out.push('"');
    }
}

/// Writes the flags of a trace as a member of an object, if there are any.
pub(super) fn flags(out: &mut String, flags: u32) {
    if flags != 0 {
        out.push_str(",\"trace_flags\":");
        unsigned(out, flags.into());
    }
}

fn write(out: &mut String, origin: &Origin<'_>, record: &LogRecord, time_ns: i64) {
    out.push_str("{\"timestamp\":{\"sec\":");
    integer(out, time_ns.div_euclid(1_000_000_000));
    out.push_str(",\"nsec\":");
    integer(out, time_ns.rem_euclid(1_000_000_000));
    out.push_str("},\"level\":");
    integer(out, i64::from(u8::from(level(record))));
    out.push_str(",\"message\":");
    let cut_bytes = message(out, record.body.as_ref());
    out.push_str(",\"name\":");
    text(out, origin.service);
    let attribute = |name: &str| record.attributes.iter().find(|attribute| attribute.key == name)?.value.as_ref()?.value.as_ref();
    out.push_str(",\"file\":");
    text(out, if let Some(Value::StringValue(file)) = attribute("code.file.path") { file } else { "" });
    out.push_str(",\"line\":");
    unsigned(out, if let Some(Value::IntValue(line)) = attribute("code.line.number") { u64::try_from(*line).unwrap_or(0) } else { 0 });
    attributes(out, "attributes", &record.attributes);
    if !record.severity_text.is_empty() {
        out.push_str(",\"severity\":");
        text(out, &record.severity_text);
    }
    if record.severity_number != 0 {
        out.push_str(",\"severity_number\":");
        integer(out, record.severity_number.into());
    }
    if let Some(observed_ns) = time(record.observed_time_unix_nano) {
        out.push_str(",\"observed_ns\":");
        integer(out, observed_ns);
    }
    if !record.event_name.is_empty() {
        out.push_str(",\"event\":");
        text(out, &record.event_name);
    }
    if let Some(AnyValue { value: Some(body) }) = &record.body
        && !matches!(body, Value::StringValue(_))
    {
        out.push_str(",\"body\":");
        value(out, record.body.as_ref(), 0);
    }
    if cut_bytes > 0 {
        out.push_str(",\"truncated_bytes\":");
        unsigned(out, cut_bytes as u64);
    }
    id(out, "trace_id", &record.trace_id);
    id(out, "span_id", &record.span_id);
    flags(out, record.flags);
    origin.write(out);
    out.push('}');
}

/// Writes what a person reads, and returns how many bytes of it were left out.
fn message(out: &mut String, body: Option<&AnyValue>) -> usize {
    let structured;
    let whole = match body.and_then(|body| body.value.as_ref()) {
        Some(Value::StringValue(text)) => text.as_str(),
        Some(_) => {
            let mut json = String::new();
            value(&mut json, body, 0);
            structured = json;
            &structured
        }
        None => "",
    };
    let shown = cut(whole, TEXT_LIMIT);
    text(out, shown);
    whole.len() - shown.len()
}

fn level(record: &LogRecord) -> Level {
    match record.severity_number {
        1..=8 => Level::Debug,
        9..=12 => Level::Info,
        13..=16 => Level::Warning,
        17..=20 => Level::Error,
        21..=24 => Level::Fatal,
        _ => Level::of_word(&record.severity_text),
    }
}
