//! Texts that people and other programs write: times, sizes, patterns, paths, names, QoS, configurations.
//!
//! **Invariant:** what was understood and is written again is understood as the same.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use jiff::tz::TimeZone;
use recording::decode::Decoder;
use recording::key::SegmentName;
use recording::{Schema, Topic, TopicFilter, key, qos, size, time, topic};

use super::LIBRARY;
use crate::seeds;

/// When it is for times that count from now.
const NOW_NS: i64 = 1_800_000_000_000_000_000;

/// Reads a time, a duration, a size.
pub(super) fn amount(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(time_ns) = time::parse_time(&text, NOW_NS, &TimeZone::UTC) {
        let written = time::format_time(time_ns);
        assert_eq!(time::parse_time(&written, NOW_NS, &TimeZone::UTC).ok(), Some(time_ns), "{written}");
    }
    let _ = time::parse_duration(&text).map(time::format_duration);
    let _ = size::parse(&text).map(size::format);
}

/// Reads patterns of topics, one per line, and matches a topic's name with them.
pub(super) fn pattern(input: &[u8]) {
    let (patterns, name) = seeds::split(input);
    let (patterns, name) = (String::from_utf8_lossy(patterns), String::from_utf8_lossy(name));
    let patterns: Vec<&str> = patterns.lines().collect();
    let Ok(filter) = TopicFilter::parse(&patterns) else { return };
    assert_eq!(TopicFilter::parse(&filter.patterns()).map(|again| again.matches(&name)).ok(), Some(filter.matches(&name)));
}

static DECODER: LazyLock<Option<Decoder>> = LazyLock::new(|| {
    let schema = Schema { name: "a/msg/B".into(), encoding: "ros2msg".into(), data: Bytes::from_static(seeds::ROS2_TEXT) };
    let topic = Topic { name: "/t".into(), encoding: "cdr".into(), schema: Some(Arc::new(schema)), metadata: BTreeMap::new() };
    Decoder::new(&topic, &LIBRARY).ok()
});

/// Reads paths of fields, one per line.
pub(super) fn path(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Some(decoder) = &*DECODER else { return };
    let paths: Vec<&str> = text.lines().collect();
    for path in &paths {
        if let Ok(reader) = decoder.field(path) {
            let _ = reader.read(&seeds::ROS_PAYLOAD);
        }
    }
    if let Ok(mut columns) = decoder.columns(&paths) {
        let _ = columns.push(&seeds::ROS_PAYLOAD);
        let _ = columns.finish();
    }
}

/// Reads names: of devices, topics, keys and segments.
pub(super) fn name(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let _ = (key::check(&text), topic::check_name(&text));
    let made = key::to_name(&text);
    assert!(key::check_name("device", &made).is_ok(), "{made}");
    if let Some(segment) = SegmentName::parse(&text) {
        assert_eq!(SegmentName::parse(&segment.file_name()), Some(segment));
    }
}

/// Reads QoS as rosbag2 writes it.
pub(super) fn quality(input: &[u8]) {
    let Some(profiles) = qos::parse(&String::from_utf8_lossy(input)) else { return };
    assert_eq!(qos::parse(&qos::format(&profiles, 2)), Some(profiles));
}

/// Reads a recorder's configuration.
pub(super) fn configuration(input: &[u8]) {
    let _ = robot::Config::parse(&String::from_utf8_lossy(input), "a.toml");
}
