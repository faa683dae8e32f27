//! Recordings made in code, and what another implementation reads of a file.
//!
//! **Invariant:** files are written and compared by the `mcap` crate, not by what is tested.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use mcap::records::MessageHeader;
use mcap::{Compression, MessageStream, WriteOptions};

/// When recordings made in code begin: 2026-11-22T12:00:00Z.
pub(crate) const START_NS: u64 = 1_795_348_800_000_000_000;
/// How far messages are apart.
pub(crate) const STEP_NS: u64 = 10_000_000;

/// A message as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Read {
    pub(crate) log_time: u64,
    pub(crate) topic: String,
    pub(crate) publish_time: u64,
    pub(crate) data: Vec<u8>,
    pub(crate) schema: Option<(String, String, Vec<u8>)>,
    pub(crate) encoding: String,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// Writes `count` messages, 10 ms apart, of which every tenth is on `/log`, the others on `/imu`; and one on `/map` that is
/// latched. Publish times are 3 ms before log times.
pub(crate) fn write(path: &Path, count: u64) {
    write_from(path, START_NS, count);
}

/// The same from another time on.
pub(crate) fn write_from(path: &Path, start_ns: u64, count: u64) {
    let options = WriteOptions::new().compression(Some(Compression::Zstd)).chunk_size(Some(4 << 10));
    let mut writer = options.create(BufWriter::new(File::create(path).unwrap())).unwrap();
    let schema = writer.add_schema("demo.Sample", "jsonschema", br#"{"type":"object"}"#).unwrap();
    let imu = writer.add_channel(schema, "/imu", "json", &BTreeMap::new()).unwrap();
    let log = writer.add_channel(0, "/log", "json", &BTreeMap::new()).unwrap();
    let qos = BTreeMap::from([("offered_qos_profiles".to_owned(), "- durability: transient_local".to_owned())]);
    let map_schema = writer.add_schema("demo/msg/Map", "ros2msg", b"uint8[] data").unwrap();
    let map = writer.add_channel(map_schema, "/map", "cdr", &qos).unwrap();
    let header = |channel_id, sequence, log_time| MessageHeader { channel_id, sequence, log_time, publish_time: log_time - 3_000_000 };
    writer.write_to_known_channel(&header(map, 0, start_ns), &[7; 300]).unwrap();
    for i in 0..count {
        let payload = format!("{{\"i\":{i},\"x\":{}}}", (i * 7919) % 1_000_003);
        let channel = if i % 10 == 9 { log } else { imu };
        writer.write_to_known_channel(&header(channel, i as u32, start_ns + i * STEP_NS), payload.as_bytes()).unwrap();
    }
    writer.finish().unwrap();
}

/// Returns every message, in order of log time and then of content.
pub(crate) fn read(path: &Path) -> Vec<Read> {
    let bytes = fs::read(path).unwrap();
    let mut all: Vec<Read> = MessageStream::new(&bytes)
        .unwrap()
        .map(|message| {
            let message = message.unwrap();
            let channel = &message.channel;
            Read {
                log_time: message.log_time,
                topic: channel.topic.clone(),
                publish_time: message.publish_time,
                data: message.data.into_owned(),
                schema: channel.schema.as_ref().map(|schema| (schema.name.clone(), schema.encoding.clone(), schema.data.to_vec())),
                encoding: channel.message_encoding.clone(),
                metadata: channel.metadata.clone(),
            }
        })
        .collect();
    all.sort();
    all
}

/// Asserts that two files hold the same messages.
pub(crate) fn assert_equal(expected: &[Read], found: &[Read]) {
    assert_eq!(expected.len(), found.len());
    for (expected, found) in expected.iter().zip(found) {
        assert!(expected == found, "{} at {} is not {} at {}", expected.topic, expected.log_time, found.topic, found.log_time);
    }
}

/// Changes a page in the middle of a file.
pub(crate) fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle..middle + 4096] {
        *byte ^= 0x5a;
    }
    fs::write(path, bytes).unwrap();
}
