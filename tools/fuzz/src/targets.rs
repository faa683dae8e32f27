//! What is fed: a name, what takes the bytes, and what to begin from. A parser or decoder of foreign bytes has a line here.
//!
//! **Invariant:** a target does with bytes what a reader of a recording does, and lets errors be: only panics, hangs and memory count.

mod files;
mod pictures;
mod socket;
mod texts;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use recording::decode::Decoder;
use recording::import::{bag, db3, drec, ulog};
use recording::message::{Schema, Topic};
use recording::schema::library::Library;
use recording::{Manifest, mcap, schema};

use self::files::contained;

use crate::seeds::{self, lerobot};

/// Something that takes foreign bytes.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) feed: fn(&[u8]),
    pub(crate) seeds: fn(Option<&Path>) -> Vec<Vec<u8>>,
}

const fn target(name: &'static str, feed: fn(&[u8]), seeds: fn(Option<&Path>) -> Vec<Vec<u8>>) -> Target {
    Target { name, feed, seeds }
}

/// All targets.
pub(crate) const TARGETS: &[Target] = &[
    target("mcap-open", |input| contained(input, mcap::opening::open), seeds::mcap),
    target("mcap-scan", |input| drop(mcap::scan::scan(&Bytes::copy_from_slice(input))), seeds::mcap),
    target("mcap-summary", |input| drop(mcap::summary::read(&Bytes::copy_from_slice(input))), seeds::mcap),
    target("mcap-stream", files::streamed, seeds::mcap_pieces),
    target("bag", |input| contained(input, bag::open), seeds::bag_files),
    target("drec-file", |input| contained(input, drec::open), seeds::drec_files),
    target("ulog-file", |input| contained(input, ulog::open), seeds::ulog_files),
    target("db3", |input| contained(input, |source| db3::open(source, None)), seeds::db3_files),
    target("db3-log", files::logged, seeds::db3_with_log),
    target("unpack", files::decompressed, seeds::packed),
    target("read", files::file, seeds::recordings),
    target("rosbag2", files::bag, seeds::rosbag2_folders),
    target("lerobot", files::robot, seeds::lerobot_folders),
    target("lerobot-rows", |input| files::robot_with(lerobot::ROWS, input), seeds::parquet),
    target("lerobot-video", |input| files::robot_with(lerobot::VIDEO, input), seeds::mp4),
    target("picture-raw", pictures::raw, seeds::raw_pictures),
    target("picture-compressed", pictures::compressed, seeds::compressed_pictures),
    target("picture-message", |input| decoded("cdr", "ros2msg", "a/msg/B", input), seeds::picture_messages),
    target("text-amount", texts::amount, seeds::amounts),
    target("text-pattern", texts::pattern, seeds::patterns),
    target("text-path", texts::path, seeds::paths),
    target("text-name", texts::name, seeds::names),
    target("text-qos", texts::quality, seeds::qualities),
    target("text-config", texts::configuration, seeds::configurations),
    target("socket", socket::frames, seeds::frames),
    target("manifest", |input| drop(Manifest::parse(input)), seeds::manifest),
    target("schema-ros1msg", |input| parsed("ros1msg", "a/B", input), seeds::ros1msg),
    target("schema-ros2msg", |input| parsed("ros2msg", "a/msg/B", input), seeds::ros2msg),
    target("schema-ros2idl", |input| parsed("ros2idl", "a/msg/B", input), seeds::ros2idl),
    target("schema-ulog", |input| parsed("ulog", "b", input), seeds::ulog_formats),
    target("schema-protobuf", |input| parsed("protobuf", "a.B", input), seeds::protobuf_set),
    target("schema-jsonschema", |input| parsed("jsonschema", "a.B", input), seeds::json_schema),
    target("schema-flatbuffer", |input| parsed("flatbuffer", "a.B", input), seeds::flatbuffer_schema),
    target("decode-cdr", |input| decoded("cdr", "ros2msg", "a/msg/B", input), seeds::cdr),
    target("decode-ros1", |input| decoded("ros1", "ros1msg", "a/B", input), seeds::ros1),
    target("decode-ulog", |input| decoded("ulog", "ulog", "b", input), seeds::ulog),
    target("decode-protobuf", |input| decoded("protobuf", "protobuf", "a.B", input), seeds::protobuf),
    target("decode-json", |input| decoded("json", "jsonschema", "a.B", input), seeds::json),
    target("decode-json-learned", learned, seeds::json_only),
    target("decode-flatbuffer", |input| decoded("flatbuffer", "flatbuffer", "a.B", input), seeds::flatbuffer),
];

/// Targets that are found out, to see that they are; they run only when they are named in full.
pub(crate) const SELF_TESTS: &[Target] = &[
    target("self-test-panic", |input| assert!(!input.contains(&b'!'), "an input with an exclamation mark"), seeds::self_test),
    target("self-test-memory", |input| drop(vec![1_u8; if input.contains(&b'!') { 1 << 30 } else { 0 }]), seeds::self_test),
    target(
        "self-test-death",
        |input| {
            if input.contains(&b'!') {
                std::process::abort()
            }
        },
        seeds::self_test,
    ),
];

static LIBRARY: LazyLock<Library> = LazyLock::new(Library::standard);

/// Reads a definition.
fn parsed(encoding: &str, name: &str, input: &[u8]) {
    let schema = Schema { name: name.into(), encoding: encoding.into(), data: Bytes::copy_from_slice(input) };
    if let Ok(tree) = schema::parse(&schema, "", &LIBRARY) {
        let _ = (schema::outline::lines(&tree), schema::outline::json(&tree));
    }
    match encoding {
        "ros1msg" => drop(schema::ros1::md5(&schema, &LIBRARY)),
        "ros2msg" | "ros2idl" => drop(schema::ros2::rihs01(&schema, &LIBRARY)),
        _ => {}
    }
}

/// Decodes a message along a definition: both are in the input, see [`seeds::join`].
fn decoded(encoding: &str, schema_encoding: &str, name: &str, input: &[u8]) {
    let (definition, payload) = seeds::split(input);
    let schema = Schema { name: name.into(), encoding: schema_encoding.into(), data: Bytes::copy_from_slice(definition) };
    let topic = Topic { name: "/t".into(), encoding: encoding.into(), schema: Some(Arc::new(schema)), metadata: BTreeMap::new() };
    if let Ok(decoder) = Decoder::new(&topic, &LIBRARY) {
        read(&decoder, payload);
    }
}

/// Decodes a message along what it was learned to be.
fn learned(input: &[u8]) {
    let (first, second) = seeds::split(input);
    if let Ok(decoder) = Decoder::learn(&[first, second]) {
        read(&decoder, first);
        read(&decoder, second);
    }
}

/// Reads a message in every way there is.
fn read(decoder: &Decoder, payload: &[u8]) {
    let mut line = Vec::new();
    if decoder.json(payload, &mut line).is_ok() {
        assert!(!line.contains(&b'\n'), "a line with a line break");
    }
    if let Ok(mut columns) = decoder.columns(&[]) {
        let rows = usize::from(columns.push(payload).is_ok());
        let rows = rows + usize::from(columns.push(payload).is_ok());
        assert_eq!(columns.len(), rows, "half a row");
        let _ = columns.finish();
    }
    if let Some(stamp) = decoder.stamp() {
        let _ = stamp.read(payload);
    }
    pictures::of_message(decoder, payload);
    for field in decoder.tree().root().fields.iter().take(4) {
        if let Ok(reader) = decoder.field(&format!("[\"{}\"]", field.name)) {
            let _ = reader.read(payload);
        }
    }
}
