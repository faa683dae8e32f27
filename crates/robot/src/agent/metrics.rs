//! The status as Prometheus text.
//!
//! In comes a [`Status`], out goes text. Counters start at zero when the tape is opened.
//!
//! **Invariant:** every metric has a help line and a type, and its name says its unit.

use std::fmt::Write;

use super::clients::ClientStatus;
use crate::status::{BufferStatus, Status};

/// The content type of the text.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether a value only grows.
#[derive(Clone, Copy)]
enum Type {
    Counter,
    Gauge,
}

/// Returns the metrics.
pub(crate) fn text(status: &Status, clients: &[ClientStatus]) -> String {
    let mut text = String::new();
    let info = [("device", status.device.as_str()), ("host", &status.host), ("boot", &status.boot), ("software", &status.software)];
    family(&mut text, "tapeloop_info", Type::Gauge, "What records.", [(&info[..], Some(1.0))]);
    let clock = status.clock.utc_ns;
    let seconds = |ns: i64| ns as f64 / 1e9;
    let totals = [
        ("tapeloop_uptime_seconds", Type::Gauge, "How long the tape has been open.", Some(seconds(clock - status.since_ns))),
        ("tapeloop_channels", Type::Gauge, "Topics, counted per schema.", Some(status.channels as f64)),
        ("tapeloop_unwanted_topics", Type::Gauge, "Topics that no buffer wants.", Some(status.unwanted_topics.len() as f64)),
        ("tapeloop_lost_messages_total", Type::Counter, "Messages lost.", Some(status.lost_messages as f64)),
        ("tapeloop_lost_bytes_total", Type::Counter, "Payload bytes lost.", Some(status.lost_bytes as f64)),
        ("tapeloop_durable_until_timestamp_seconds", Type::Gauge, "Until when all is on disk.", status.durable_until_ns.map(seconds)),
        (
            "tapeloop_clock_plausible",
            Type::Gauge,
            "Whether the wall clock can be right.",
            Some(f64::from(u8::from(status.clock.plausible))),
        ),
        ("tapeloop_disk_free_bytes", Type::Gauge, "Free bytes on the tape's disk.", Some(status.disk.free_bytes as f64)),
        ("tapeloop_disk_total_bytes", Type::Gauge, "Size of the tape's disk.", Some(status.disk.total_bytes as f64)),
        ("tapeloop_disk_floor_bytes", Type::Gauge, "Bytes that stay free.", Some(status.disk.floor_bytes as f64)),
        ("tapeloop_recordings", Type::Gauge, "Recordings on the tape.", Some(status.recordings as f64)),
        ("tapeloop_unfinished_recordings", Type::Gauge, "Recordings that are not complete yet.", Some(status.unfinished_recordings as f64)),
        ("tapeloop_kept_bytes", Type::Gauge, "Bytes that recordings keep.", Some(status.kept_bytes as f64)),
        ("tapeloop_clients", Type::Gauge, "Programs that are connected.", Some(clients.len() as f64)),
    ];
    for (name, kind, help, value) in totals {
        family(&mut text, name, kind, help, [(&[][..], value)]);
    }
    for (name, kind, help, value) in BUFFER_METRICS {
        let labels: Vec<[(&str, &str); 2]> =
            status.buffers.iter().map(|buffer| [("buffer", buffer.name.as_str()), ("place", buffer.place.as_str())]).collect();
        family(&mut text, name, kind, help, labels.iter().zip(&status.buffers).map(|(labels, buffer)| (&labels[..], value(buffer))));
    }
    text
}

type BufferValue = fn(&BufferStatus) -> Option<f64>;

const BUFFER_METRICS: [(&str, Type, &str, BufferValue); 16] = [
    ("tapeloop_buffer_messages_total", Type::Counter, "Messages taken.", |buffer| Some(buffer.messages as f64)),
    ("tapeloop_buffer_bytes_total", Type::Counter, "Payload bytes taken.", |buffer| Some(buffer.bytes as f64)),
    ("tapeloop_buffer_filtered_messages_total", Type::Counter, "Messages left out by the rate limit.", |buffer| {
        Some(buffer.filtered_messages as f64)
    }),
    ("tapeloop_buffer_lost_messages_total", Type::Counter, "Messages lost.", |buffer| Some(buffer.lost_messages as f64)),
    ("tapeloop_buffer_lost_bytes_total", Type::Counter, "Payload bytes lost.", |buffer| Some(buffer.lost_bytes as f64)),
    ("tapeloop_buffer_written_bytes_total", Type::Counter, "Bytes written to segments.", |buffer| Some(buffer.written_bytes as f64)),
    ("tapeloop_buffer_evicted_segments_total", Type::Counter, "Segments evicted.", |buffer| Some(buffer.evicted_segments as f64)),
    ("tapeloop_buffer_evicted_bytes_total", Type::Counter, "Bytes evicted.", |buffer| Some(buffer.evicted_bytes as f64)),
    ("tapeloop_buffer_size_bytes", Type::Gauge, "Bytes held.", |buffer| Some(buffer.size_bytes as f64)),
    ("tapeloop_buffer_size_limit_bytes", Type::Gauge, "Bytes that may be held.", |buffer| {
        buffer.size_limit_bytes.map(|bytes| bytes as f64)
    }),
    ("tapeloop_buffer_segments", Type::Gauge, "Segments held.", |buffer| Some(buffer.segments as f64)),
    ("tapeloop_buffer_depth_seconds", Type::Gauge, "How far back it goes.", |buffer| Some(buffer.depth_ns as f64 / 1e9)),
    ("tapeloop_buffer_depth_limit_seconds", Type::Gauge, "How far back it may go.", |buffer| {
        buffer.age_limit_ns.map(|limit_ns| limit_ns as f64 / 1e9)
    }),
    ("tapeloop_buffer_queued_bytes", Type::Gauge, "Bytes that wait to be written.", |buffer| Some(buffer.queued_bytes as f64)),
    ("tapeloop_buffer_durable_until_timestamp_seconds", Type::Gauge, "Until when all is on disk.", |buffer| {
        buffer.durable_until_ns.map(|until_ns| until_ns as f64 / 1e9)
    }),
    ("tapeloop_buffer_oldest_timestamp_seconds", Type::Gauge, "The log time of the oldest message.", |buffer| {
        buffer.oldest_ns.map(|oldest_ns| oldest_ns as f64 / 1e9)
    }),
];

/// Writes a metric with all its values; one without any is left out.
fn family<'a>(
    text: &mut String,
    name: &str,
    kind: Type,
    help: &str,
    values: impl IntoIterator<Item = (&'a [(&'a str, &'a str)], Option<f64>)>,
) {
    let mut samples = String::new();
    for (labels, value) in values {
        let Some(value) = value else { continue };
        let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escape(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(samples, "{name}{labels} {value}");
    }
    if !samples.is_empty() {
        let kind = match kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
        };
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}");
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_escaped_and_ones_without_a_value_left_out() {
        let mut text = String::new();
        let labels = [("name", "a\"b\\c\nd")];
        family(&mut text, "x_total", Type::Counter, "Help.", [(&labels[..], Some(1.5)), (&[][..], None)]);
        family(&mut text, "y", Type::Gauge, "Nothing.", [(&[][..], None)]);
        assert_eq!(text, "# HELP x_total Help.\n# TYPE x_total counter\nx_total{name=\"a\\\"b\\\\c\\nd\"} 1.5\n");
    }
}
