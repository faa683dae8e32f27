//! The MCAP conformance suite: three programs, each over all of its inputs.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use recording::mcap::{scan, summary};
use serde_json::Value;

use crate::data;

#[path = "../../examples/conformance_indexed.rs"]
mod indexed;
#[path = "../../examples/conformance_streamed.rs"]
mod streamed;
#[path = "../../examples/conformance_writer.rs"]
mod writer;

/// Returns every input with what is expected of it; nothing where there are none.
fn cases() -> Vec<(PathBuf, Value)> {
    let Some(folder) = data::path("mcap-conformance") else { return Vec::new() };
    let expected = |path: PathBuf| {
        let json = std::fs::read(path.with_extension("json")).unwrap();
        (path, serde_json::from_slice(&json).unwrap())
    };
    let cases: Vec<(PathBuf, Value)> = data::files(&folder, ".mcap").into_iter().map(expected).collect();
    assert_eq!(cases.len(), 416);
    cases
}

fn of_kind(records: &Value, kind: &str) -> Vec<Value> {
    records.as_array().unwrap().iter().filter(|record| record["type"] == kind).cloned().collect()
}

fn log_time(message: &Value) -> u64 {
    let fields = message["fields"].as_array().unwrap();
    fields.iter().find(|field| field[0] == "log_time").unwrap()[1].as_str().unwrap().parse().unwrap()
}

#[test]
fn the_streamed_reader_gives_every_record_of_every_input() {
    for (path, expected) in cases() {
        let found = streamed::run(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(found["records"], expected["records"], "{}", path.display());
    }
}

#[test]
fn the_indexed_reader_gives_the_messages_of_every_input() {
    for (path, expected) in cases() {
        let found = indexed::run(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let records = &expected["records"];
        for (key, kind) in [("messages", "Message"), ("statistics", "Statistics"), ("schemas", "Schema"), ("channels", "Channel")] {
            let mut wanted = of_kind(records, kind);
            if kind == "Message" {
                wanted.sort_by_key(log_time);
            }
            if matches!(kind, "Schema" | "Channel") {
                // Those in the data section are repeated in the summary.
                let all = wanted.clone();
                wanted =
                    all.iter().enumerate().filter(|(at, record)| !all[..*at].contains(record)).map(|(_, record)| record.clone()).collect();
            }
            assert_eq!(found[key], Value::Array(wanted), "{key} of {}", path.display());
        }
    }
}

#[test]
fn the_writer_makes_every_input_from_its_records() {
    for (path, _) in cases() {
        let written = writer::run(&path.with_extension("json")).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let expected = std::fs::read(&path).unwrap();
        let differs = written.iter().zip(&expected).position(|(a, b)| a != b);
        assert!(written == expected, "{}: first difference at {differs:?}, {} bytes for {}", path.display(), written.len(), expected.len());
    }
}

#[test]
fn a_scan_finds_every_input_whole() {
    for (path, expected) in cases() {
        check(&path, &expected["records"]);
    }
}

fn check(path: &Path, expected: &Value) {
    let bytes = Bytes::from(std::fs::read(path).unwrap());
    let count = |kind: &str| of_kind(expected, kind).len();
    let scan = scan::scan(&bytes).unwrap();
    assert!(scan.clean && scan.closed && scan.losses.is_empty(), "{}: {scan:?}", path.display());
    assert_eq!(scan.counts().values().map(|(messages, _)| messages).sum::<u64>(), count("Message") as u64, "{}", path.display());
    assert_eq!((scan.metadata.len(), scan.attachments.len()), (count("Metadata"), count("Attachment")));
    let summary = summary::read(&bytes).unwrap().unwrap();
    assert_eq!(summary.chunks.len(), count("ChunkIndex"));
    assert_eq!(summary.statistics.is_some(), count("Statistics") == 1);
    if let Some(outline) = scan::outline(&bytes, &Default::default()).unwrap() {
        assert_eq!(outline.topics, scan.topics);
        assert_eq!(outline.chunks.len(), scan.chunks.len());
    }
}
