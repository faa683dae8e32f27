//! Spans as messages, on `/traces/<service>`.
//!
//! **Invariant:** a span is one message, whose publish time is the span's end: before it nobody knew of it.

use opentelemetry_proto::tonic::trace::v1::Span;
use recording::{Error, Result};
use serde_json::json;

use super::log::{flags, id, time};
use super::origin::{Origin, attributes};
use crate::source::Intake;
use crate::source::json::{comma, integer, text};
use crate::source::record::{Channels, json_spec, topic_of};
use crate::tape::channel::{ChannelSpec, Times};

const KINDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];
const STATUSES: [&str; 3] = ["unset", "ok", "error"];

/// Writes spans.
#[derive(Default)]
pub(super) struct Spans {
    channels: Channels,
    payload: String,
}

impl Spans {
    /// Logs a span.
    pub(super) fn log(&mut self, intake: &Intake, origin: &Origin<'_>, span: &Span) -> Result<()> {
        if span.trace_id.len() != 16 || span.span_id.len() != 8 {
            return Err(Error::invalid("a span without a trace id of 16 bytes and a span id of 8"));
        }
        let channel = self.channels.get(intake, origin.service, || Ok(channel_spec(origin.service)))?;
        let now_ns = intake.now_ns();
        let end_ns = time(span.end_time_unix_nano).unwrap_or(now_ns);
        let start_ns = time(span.start_time_unix_nano).unwrap_or(end_ns);
        self.payload.clear();
        write(&mut self.payload, origin, span, (start_ns, end_ns));
        let times = Times { log_time_ns: Some(now_ns), publish_time_ns: Some(end_ns) };
        intake.log(&channel, self.payload.as_bytes().into(), times)
    }
}

fn channel_spec(service: &str) -> ChannelSpec {
    let (text, whole, object, list) =
        (json!({ "type": "string" }), json!({ "type": "integer" }), json!({ "type": "object" }), json!({ "type": "array" }));
    let properties = json!({
        "name": text, "kind": text, "status": text, "status_message": text, "start_ns": whole, "end_ns": whole, "duration_ns": whole,
        "trace_id": text, "span_id": text, "parent_span_id": text, "attributes": object, "events": list, "links": list,
        "trace_state": text, "trace_flags": whole, "scope": text, "scope_version": text, "scope_attributes": object, "resource": object,
    });
    json_spec(topic_of("/traces", service).unwrap_or_else(|| "/traces/unknown".to_owned()), "tapeloop.Span", &properties)
}

fn write(out: &mut String, origin: &Origin<'_>, span: &Span, (start_ns, end_ns): (i64, i64)) {
    out.push_str("{\"name\":");
    text(out, &span.name);
    out.push_str(",\"kind\":");
    text(out, word(&KINDS, span.kind));
    let status = span.status.as_ref();
    out.push_str(",\"status\":");
    text(out, word(&STATUSES, status.map_or(0, |status| status.code)));
    out.push_str(",\"status_message\":");
    text(out, status.map_or("", |status| &status.message));
    out.push_str(",\"start_ns\":");
    integer(out, start_ns);
    out.push_str(",\"end_ns\":");
    integer(out, end_ns);
    out.push_str(",\"duration_ns\":");
    integer(out, end_ns.saturating_sub(start_ns));
    id(out, "trace_id", &span.trace_id);
    id(out, "span_id", &span.span_id);
    id(out, "parent_span_id", &span.parent_span_id);
    trace_state(out, &span.trace_state);
    flags(out, span.flags);
    attributes(out, "attributes", &span.attributes);
    out.push_str(",\"events\":[");
    for (i, event) in span.events.iter().enumerate() {
        comma(out, i);
        out.push_str("{\"name\":");
        text(out, &event.name);
        out.push_str(",\"time_ns\":");
        integer(out, time(event.time_unix_nano).unwrap_or(start_ns));
        attributes(out, "attributes", &event.attributes);
        out.push('}');
    }
    out.push_str("],\"links\":[");
    for (i, link) in span.links.iter().enumerate() {
        comma(out, i);
        out.push_str("{\"kind\":\"link\"");
        id(out, "trace_id", &link.trace_id);
        id(out, "span_id", &link.span_id);
        trace_state(out, &link.trace_state);
        flags(out, link.flags);
        attributes(out, "attributes", &link.attributes);
        out.push('}');
    }
    out.push(']');
    origin.write(out);
    out.push('}');
}

fn trace_state(out: &mut String, state: &str) {
    if !state.is_empty() {
        out.push_str(",\"trace_state\":");
        text(out, state);
    }
}

fn word<'a>(words: &[&'a str], number: i32) -> &'a str {
    usize::try_from(number).ok().and_then(|index| words.get(index)).copied().unwrap_or(words[0])
}
