//! Tapes and the manifests of their recordings.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use recording::manifest::{Asked, Cause, FORMAT, SegmentRef, Selection, State};
use recording::mcap::chunk::{ChunkBuilder, Compression};
use recording::mcap::record::MAGIC;
use recording::mcap::segment::{Definition, SegmentWriter};
use recording::mcap::write::{self, ChunkHeader};
use recording::message::Topic;
use recording::{Manifest, Message, Span, TopicFilter, key, read};

use crate::build::{map, save, topic};

/// A message of a segment: (channel id from 1, append sequence, time, payload).
type Logged<'a> = (u16, u64, u64, &'a [u8]);

fn segment(root: &Path, buffer: &str, number: u64, first: u64, topics: &[Arc<Topic>], logged: &[Logged<'_>]) -> SegmentRef {
    let name = key::SegmentName { host: "jetson".into(), boot: 0xabc, buffer: buffer.into(), number };
    let key = key::segment("rover", 0, &name);
    let mut out = Vec::new();
    let mut writer = SegmentWriter::begin(&mut out, "");
    let first_text = first.to_string();
    let latched = if buffer == "latched" { "true" } else { "false" };
    let about =
        [("format", "1"), ("boot", "000000000abc"), ("first_append_sequence", &first_text), ("device", "rover"), ("latched", latched)];
    writer.metadata(&mut out, "tapeloop.segment", &map(about));
    for (index, topic) in topics.iter().enumerate() {
        writer.define(&mut out, &Definition { channel_id: index as u16 + 1, schema_id: 0, topic: topic.clone() });
    }
    for part in logged.chunks(2) {
        let mut chunk = ChunkBuilder::default();
        for (channel_id, sequence, time, payload) in part {
            chunk.push(*channel_id, *sequence as u32, *time, *time, payload);
        }
        let chunk = chunk.encode(Compression::None);
        writer.chunk(&chunk);
        chunk.parts().iter().for_each(|part| out.extend_from_slice(part));
    }
    let losses = r#"[{"topic":"/camera","start_ns":15,"end_ns":16,"messages":3,"bytes":30,"reason":"queue full"}]"#;
    writer.metadata(&mut out, "tapeloop.end", &if buffer == "raw" { map([("losses", losses)]) } else { BTreeMap::new() });
    writer.finish(&mut out);
    save(root, &key, &out);
    let times = logged.iter().map(|(_, _, time, _)| *time as i64);
    SegmentRef {
        key,
        buffer: buffer.into(),
        start_ns: times.clone().min().unwrap(),
        end_ns: times.max().unwrap(),
        size_bytes: Some(out.len() as u64),
        hash: None,
        latched: buffer == "latched",
        clock_correction_ns: 0,
    }
}

fn manifest(root: &Path, segments: Vec<SegmentRef>, selections: Vec<Selection>, span: Span) -> std::path::PathBuf {
    let manifest = Manifest {
        format: FORMAT,
        recording: "r1".into(),
        name: None,
        device: "rover".into(),
        host: "jetson".into(),
        state: State::Complete,
        created_ns: 0,
        asked: Asked { start_ns: span.start_ns, end_ns: Some(span.end_ns), topics: vec![] },
        cause: Cause::Manual { by: "test".into() },
        why: Some("a test".into()),
        labels: BTreeMap::new(),
        span,
        selections,
        segments,
        kept: vec![],
        missing: vec![],
    };
    save(root, &key::manifest("rover", "r1"), &manifest.to_json())
}

fn selection(buffer: &str, topics: &[&str], span: Span) -> Selection {
    Selection { buffer: buffer.into(), topics: topics.iter().map(|topic| (*topic).to_owned()).collect(), spans: vec![span] }
}

fn all(recording: &read::Recording) -> Vec<Message> {
    recording.messages(&TopicFilter::all(), Span::ALL).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_message_in_two_buffers_is_shown_once_in_the_best_quality() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let camera = [topic("/camera", "")];
    let raw = segment(root, "raw", 1, 3, &camera, &[(1, 3, 13, b"raw picture 3"), (1, 4, 14, b"raw picture 4")]);
    let jpeg: Vec<Logged<'_>> = (1..=4).map(|n| (1, n, 10 + n, &b"jpeg"[..])).collect();
    let jpeg = segment(root, "jpeg", 1, 1, &camera, &jpeg);
    let span = Span::new(12, 15);
    let both = vec![selection("raw", &["/camera"], span), selection("jpeg", &["/camera"], span)];
    let recording = read::open(&manifest(root, vec![jpeg.clone(), raw.clone()], both, span)).unwrap();
    let shown: Vec<(i64, Bytes)> = all(&recording).into_iter().map(|message| (message.log_time_ns, message.data)).collect();
    assert_eq!(shown, [(12, "jpeg".into()), (13, "raw picture 3".into()), (14, "raw picture 4".into())]);
    let info = recording.info().unwrap();
    assert_eq!((info.messages, info.start_ns, info.end_ns), (3, Some(12), Some(14)));
    let json = serde_json::to_value(&info).unwrap();
    assert_eq!((&json["format"], &json["recording"], &json["state"]), (&"recording".into(), &"r1".into(), &"complete".into()));
    // The loss lies behind the span.
    assert!(info.losses.is_empty());
    let identity = all(&recording)[0].identity.unwrap();
    assert_eq!((identity.boot, identity.append_sequence), (0xabc, 2));

    // The tape as a whole has no order of buffers; the larger one is the better one.
    let tape = read::open(root).unwrap();
    assert_eq!(tape.format(), "tape");
    let shown: Vec<Bytes> = all(&tape).into_iter().map(|message| message.data).collect();
    assert_eq!(shown, ["jpeg", "jpeg", "raw picture 3", "raw picture 4"]);
    assert_eq!(tape.info().unwrap().losses.len(), 1);
}

#[test]
fn append_sequences_are_whole_again_beyond_32_bits() {
    let folder = tempfile::tempdir().unwrap();
    let first = (7 << 32) + 0xffff_fffe;
    let logged: Vec<Logged<'_>> = (0..4).map(|n| (1, first + n, 5, &b"x"[..])).collect();
    segment(folder.path(), "all", 1, first, &[topic("/a", "")], &logged);
    let sequences: Vec<u64> = all(&read::open(folder.path()).unwrap()).iter().map(|m| m.identity.unwrap().append_sequence).collect();
    assert_eq!(sequences, (first..first + 4).collect::<Vec<_>>());
}

#[test]
fn latched_values_are_those_as_of_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let publisher = |name: &str, publisher: &str| {
        let mut topic = topic(name, "");
        Arc::make_mut(&mut topic).metadata = map([("tapeloop.publisher", publisher)]);
        topic
    };
    let topics = [publisher("/map", "one"), publisher("/map", "two"), publisher("/tf_static", "one")];
    let (frames_ab, frame_b) =
        (br#"{"transforms":[{"child_frame_id":"a"},{"child_frame_id":"b"}]}"#, br#"{"transforms":[{"child_frame_id":"b"}]}"#);
    let latched = segment(
        root,
        "latched",
        1,
        1,
        &topics,
        &[(1, 1, 11, b"old"), (1, 2, 12, b"map"), (2, 3, 13, b"other"), (3, 4, 14, frames_ab), (3, 5, 15, frame_b), (1, 9, 30, b"late")],
    );
    let plain = segment(root, "rest", 1, 6, &[topic("/a", "")], &[(1, 6, 20, b"x"), (1, 7, 21, b"y")]);
    let span = Span::new(20, 40);
    let path = manifest(root, vec![latched, plain], vec![selection("rest", &["/a"], span)], span);
    let recording = read::open(&path).unwrap();
    let sequences: Vec<u64> = all(&recording).iter().map(|m| m.identity.unwrap().append_sequence).collect();
    assert_eq!(sequences, [2, 3, 4, 5, 6, 7]);
    let info = recording.info().unwrap();
    assert_eq!((info.messages, info.start_ns, info.end_ns), (6, Some(20), Some(21)));
    assert_eq!(recording.latched(&TopicFilter::all(), 25).unwrap().len(), 4);

    let out = root.join("out.mcap");
    let report = read::export(&recording, &TopicFilter::all(), Span::ALL, &out, Default::default(), &mut |_| {}).unwrap();
    assert_eq!((report.messages, report.latched), (6, 4));
    let info = read::open(&out).unwrap().info().unwrap();
    assert_eq!((info.messages, info.start_ns, info.end_ns), (6, Some(20), Some(21)));
}

#[test]
fn clock_corrections_are_added_when_reading() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut early = segment(root, "all", 1, 1, &[topic("/a", "")], &[(1, 1, 5, b"in 1970")]);
    early.clock_correction_ns = 1_000_000;
    let span = Span::new(1_000_000, 2_000_000);
    let path = manifest(root, vec![early], vec![selection("all", &["/a"], span)], span);
    let shown = all(&read::open(&path).unwrap());
    assert_eq!((shown[0].log_time_ns, shown[0].publish_time_ns), (1_000_005, 1_000_005));
}

#[test]
fn a_missing_segment_is_a_loss() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let kept = segment(root, "all", 1, 1, &[topic("/a", "")], &[(1, 1, 5, b"x")]);
    let gone = SegmentRef { key: kept.key.replace("0001.mcap", "0002.mcap"), start_ns: 6, end_ns: 7, ..kept.clone() };
    let span = Span::new(0, 10);
    let path = manifest(root, vec![kept, gone], vec![selection("all", &["/a"], span)], span);
    let info = read::open(&path).unwrap().info().unwrap();
    assert_eq!((info.messages, info.losses.len()), (1, 1));
    assert!(info.losses[0].reason.contains("-0000000002.mcap"), "{:?}", info.losses);
}

#[test]
fn definitions_come_from_the_boot_file_where_the_segment_lost_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let topics = [topic("/a", "")];
    let named = segment(root, "all", 1, 1, &topics, &[(1, 1, 5, b"x"), (1, 2, 6, b"y"), (1, 3, 7, b"z")]);
    let path = root.join(&named.key);
    // Lose the definitions, and the summary that repeats them.
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(2).position(|bytes| bytes == b"/a").unwrap();
    bytes[at - 20..at + 10].fill(0);
    bytes.truncate(bytes.len() - 100);
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(read::open(&path).unwrap().info().unwrap().messages, 0);

    let mut records = Vec::new();
    write::channel(&mut records, 1, 0, &topics[0]);
    let size = records.len() as u64;
    let header = ChunkHeader {
        start_ns: 0,
        end_ns: 0,
        uncompressed_size: size,
        uncompressed_crc: recording::mcap::chunk::crc32(&records),
        compression: String::new(),
        compressed_size: size,
    };
    let mut boot = MAGIC.to_vec();
    write::header(&mut boot, "", "a test");
    write::chunk_prefix(&mut boot, &header);
    boot.extend_from_slice(&records);
    save(root, "devices/rover/boots/jetson-000000000abc.mcap", &boot);
    let info = read::open(&path).unwrap().info().unwrap();
    assert_eq!((info.messages, info.topics[0].topic.as_str()), (3, "/a"));
}
