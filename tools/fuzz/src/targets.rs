//! What is fed: a name, what takes the bytes, and what to begin from. A parser or decoder of foreign bytes has a line here.
//!
//! **Invariant:** a target does with bytes what a reader of a recording does, and lets errors be: only panics, hangs and memory count.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use recording::container::Container;
use recording::decode::Decoder;
use recording::message::{Schema, Topic};
use recording::schema::library::Library;
use recording::source::ReadAt;
use recording::{Manifest, mcap, schema};

use crate::seeds;

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

/// Opens a file and reads everything that it says it has.
fn contained<C: Container + ?Sized>(input: &[u8], open: fn(&dyn ReadAt) -> recording::Result<Arc<C>>) {
    let source = Bytes::copy_from_slice(input);
    let Ok(file) = open(&source) else { return };
    for block in 0..file.index().blocks.len() {
        let _ = file.load(&source, block, &mut |_, _| true);
    }
}

static LIBRARY: LazyLock<Library> = LazyLock::new(Library::standard);

/// Reads a definition.
fn parsed(encoding: &str, name: &str, input: &[u8]) {
    let schema = Schema { name: name.into(), encoding: encoding.into(), data: Bytes::copy_from_slice(input) };
    let _ = schema::parse(&schema, "", &LIBRARY);
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
    for field in decoder.tree().root().fields.iter().take(4) {
        if let Ok(reader) = decoder.field(&format!("[\"{}\"]", field.name)) {
            let _ = reader.read(payload);
        }
    }
}
