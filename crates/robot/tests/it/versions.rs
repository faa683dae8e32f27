//! Files of other versions: the first format stays readable, a newer one is refused with a remedy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use recording::mcap::chunk::{ChunkBuilder, Compression};
use recording::mcap::segment::{Definition, SegmentWriter};
use recording::message::Topic;
use recording::{Span, TopicFilter, read};
use robot::{Config, Leave, OpenOptions, SaveRequest, Tape, When};

const KEY: &str = "devices/rover/segments/2026-11-22/box-0000000000aa-all-0000000007.mcap";

/// Writes a segment as the first version wrote it, field by field.
fn golden_tape(root: &Path, format: &str) -> PathBuf {
    let mut file = Vec::new();
    let mut writer = SegmentWriter::begin(&mut file, "");
    let said = [
        ("format", format),
        ("device", "rover"),
        ("host", "box"),
        ("boot", "0000000000aa"),
        ("kernel_boot", "5f1c"),
        ("buffer", "all"),
        ("number", "7"),
        ("first_append_sequence", "40"),
        ("clock", "wall"),
        ("clock_utc_ns", "1700000000000000000"),
        ("clock_monotonic_ns", "5000000000"),
        ("software", "tapeloop 0.1.0"),
        ("config_hash", "0123456789abcdef"),
        ("heavy", "false"),
    ];
    let map: BTreeMap<String, String> = said.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    writer.metadata(&mut file, "tapeloop.segment", &map);
    let topic = Topic { name: "/imu".into(), encoding: "json".into(), schema: None, metadata: BTreeMap::new() };
    writer.define(&mut file, &Definition { channel_id: 3, schema_id: 0, topic: Arc::new(topic) });
    let mut chunk = ChunkBuilder::default();
    for i in 0..10u32 {
        chunk.push(3, 40 + i, 1_700_000_000_000_000_000 + u64::from(i), 1_700_000_000_000_000_000, b"{}");
    }
    let chunk = chunk.encode(Compression::None);
    chunk.parts().iter().for_each(|part| file.extend_from_slice(part));
    writer.chunk(&chunk);
    writer.finish(&mut file);
    let path = root.join(KEY);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, file).unwrap();
    path
}

#[test]
fn the_first_format_stays_readable_and_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    golden_tape(folder.path(), "1");
    let options = OpenOptions { device: Some("rover".into()), host: Some("box".into()), ..OpenOptions::default() };
    let tape = Tape::open(folder.path(), Config::empty(), options).unwrap();
    let start = Some(When::Ns(1_700_000_000_000_000_002));
    let end = Some(When::Ns(1_700_000_000_000_000_006));
    let clip = tape.save(&SaveRequest { start, end, ..SaveRequest::default() }).unwrap();
    assert_eq!(clip.segments.iter().map(|segment| segment.key.as_str()).collect::<Vec<_>>(), [KEY]);
    tape.close(Leave::Wait).unwrap();
    let recording = read::open(&folder.path().join(recording::key::manifest("rover", &clip.recording))).unwrap();
    let sequences: Vec<u32> =
        recording.messages(&TopicFilter::all(), Span::ALL).unwrap().map(|message| message.unwrap().sequence).collect();
    assert_eq!(sequences, [42, 43, 44, 45]);
}

#[test]
fn newer_segments_and_manifests_are_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    golden_tape(folder.path(), "2");
    let error = Tape::open(folder.path(), Config::empty(), OpenOptions::default()).err().unwrap().to_string();
    assert!(error.contains("format 2") && error.contains("update tapeloop"), "{error}");
    std::fs::remove_file(folder.path().join(KEY)).unwrap();
    std::fs::write(folder.path().join("devices/rover/x.json"), r#"{"format": 2}"#).unwrap();
    let error = Tape::open(folder.path(), Config::empty(), OpenOptions::default()).err().unwrap().to_string();
    assert!(error.contains("format 2") && error.contains("update tapeloop"), "{error}");
}
