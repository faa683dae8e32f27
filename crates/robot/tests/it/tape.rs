//! The tape through its public face: what goes in comes out, in any MCAP reader.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use recording::manifest::State;
use recording::read;
use recording::{Message, Schema, Span, TopicFilter};
use robot::{ChannelSpec, Config, Leave, OpenOptions, Payload, SaveRequest, Tape, Times};

fn json_spec(topic: &str) -> ChannelSpec {
    let schema = Schema { name: "Sample".into(), encoding: "jsonschema".into(), data: br#"{"type":"object"}"#.as_slice().into() };
    ChannelSpec { topic: topic.into(), encoding: "json".into(), schema: Some(Arc::new(schema)), ..ChannelSpec::default() }
}

fn at(log_time_ns: i64) -> Times {
    Times { log_time_ns: Some(log_time_ns), publish_time_ns: None }
}

fn open(root: &Path, config: &str) -> Tape {
    let options = OpenOptions { device: Some("rover".into()), host: Some("box".into()), ..OpenOptions::default() };
    Tape::open(root, Config::parse(config, "test").unwrap(), options).unwrap()
}

fn segments_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "boots") {
            found.extend(segments_below(&path));
        } else if path.extension().is_some_and(|end| end == "mcap") {
            found.push(path);
        }
    }
    found
}

fn read_all(path: &Path) -> Vec<Message> {
    read::open(path).unwrap().messages(&TopicFilter::all(), Span::ALL).unwrap().map(Result::unwrap).collect()
}

fn without_own(messages: Vec<Message>) -> Vec<Message> {
    messages.into_iter().filter(|message| !message.topic.name.starts_with("/tapeloop/")).collect()
}

const SECOND: i64 = 1_000_000_000;
const T0: i64 = 1_700_000_000 * SECOND;

#[test]
fn what_is_logged_is_read_back_by_the_mcap_crate() {
    let folder = tempfile::tempdir().unwrap();
    let tape = open(folder.path(), "");
    let imu = tape.channel(json_spec("/imu")).unwrap();
    let camera = tape.channel(ChannelSpec { topic: "/camera".into(), encoding: "raw".into(), ..ChannelSpec::default() }).unwrap();
    let frame = vec![7u8; 300_000];
    for i in 0..1000 {
        tape.append(&imu, Payload::Slice(format!("{{\"i\":{i}}}").as_bytes()), at(T0 + i)).unwrap();
        if i % 100 == 0 {
            tape.append(&camera, Payload::Slice(&frame), at(T0 + i)).unwrap();
        }
    }
    tape.close(Leave::Wait).unwrap();
    let mut messages = 0;
    for path in segments_below(folder.path()) {
        let bytes = std::fs::read(&path).unwrap();
        for message in mcap::MessageStream::new(&bytes).unwrap() {
            let message = message.unwrap();
            if message.channel.topic == "/imu" {
                assert_eq!(&*message.data, format!("{{\"i\":{}}}", message.log_time as i64 - T0).as_bytes());
                messages += 1;
            } else if message.channel.topic == "/camera" {
                assert_eq!(&*message.data, frame);
                messages += 1;
            }
        }
        assert!(mcap::Summary::read(&bytes).unwrap().is_some(), "{path:?}");
    }
    assert_eq!(messages, 1010);
    assert_eq!(without_own(read_all(folder.path())).len(), 1010);
}

#[test]
fn a_past_span_is_kept_and_read_back_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let tape = open(folder.path(), "");
    let imu = tape.channel(json_spec("/imu")).unwrap();
    let gps = tape.channel(json_spec("/gps")).unwrap();
    for i in 0..100 {
        tape.append(&imu, Payload::Slice(b"{}"), at(T0 + i * SECOND)).unwrap();
        tape.append(&gps, Payload::Slice(b"{}"), at(T0 + i * SECOND)).unwrap();
    }
    let request = SaveRequest {
        start: Some(robot::When::Ns(T0 + 20 * SECOND)),
        end: Some(robot::When::Ns(T0 + 30 * SECOND)),
        topics: vec!["/imu".into()],
        ..SaveRequest::default()
    };
    let asked = tape.save(&request).unwrap();
    tape.close(Leave::Wait).unwrap();
    let manifest = tape.recording(&asked.recording).unwrap();
    assert_eq!(manifest.state, State::Complete, "{manifest:#?}");
    let imu = manifest.kept.iter().find(|kept| kept.topic == "/imu").unwrap();
    assert_eq!((imu.messages, imu.bytes), (Some(10), Some(20)));
    let path = folder.path().join(recording::key::manifest("rover", &asked.recording));
    let messages = without_own(read_all(&path));
    let times: Vec<i64> = messages.iter().map(|message| (message.log_time_ns - T0) / SECOND).collect();
    assert_eq!(times, (20..30).collect::<Vec<_>>());
    assert!(messages.iter().all(|message| message.topic.name == "/imu"));
}

#[test]
fn a_window_that_ends_in_the_future_completes_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let tape = open(folder.path(), "[segment]\nage = '200 ms'");
    let imu = tape.channel(json_spec("/imu")).unwrap();
    let now = Times::default();
    tape.append(&imu, Payload::Slice(b"1"), now).unwrap();
    let clip = tape
        .save(&SaveRequest {
            before: Some(robot::Length::Seconds(5.0)),
            after: Some(robot::Length::Seconds(0.2)),
            ..SaveRequest::default()
        })
        .unwrap();
    assert_eq!(clip.state, State::Completing);
    tape.append(&imu, Payload::Slice(b"2"), now).unwrap();
    let done = tape.wait(&clip.recording, Duration::from_secs(20)).unwrap();
    assert_eq!(done.state, State::Complete);
    assert!(done.segments.iter().all(|segment| segment.hash.is_some() && segment.size_bytes.is_some()));
    let kept = done.kept.iter().find(|kept| kept.topic == "/imu").unwrap();
    assert_eq!(kept.messages, Some(2));
    tape.close(Leave::Wait).unwrap();
}

#[test]
fn ram_segments_reach_the_disk_only_when_they_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let tape = open(folder.path(), "[[buffer]]\nname = 'ram'\nram = '60 s'\n[segment]\nage = '200 ms'");
    let imu = tape.channel(json_spec("/imu")).unwrap();
    for _ in 0..10 {
        tape.append(&imu, Payload::Slice(b"{}"), Times::default()).unwrap();
    }
    tape.flush().unwrap();
    let ram_files = || segments_below(folder.path()).iter().filter(|path| path.to_string_lossy().contains("-ram-")).count();
    assert_eq!(ram_files(), 0);
    let clip = tape.save(&SaveRequest { before: Some(robot::Length::Seconds(5.0)), ..SaveRequest::default() }).unwrap();
    let done = tape.wait(&clip.recording, Duration::from_secs(20)).unwrap();
    assert!(ram_files() >= 1);
    assert_eq!(done.kept.iter().find(|kept| kept.topic == "/imu").unwrap().messages, Some(10));
    tape.close(Leave::Wait).unwrap();
    let path = folder.path().join(recording::key::manifest("rover", &clip.recording));
    assert_eq!(without_own(read_all(&path)).len(), 10);
}

#[test]
fn latched_values_join_a_recording_that_begins_after_them() {
    let folder = tempfile::tempdir().unwrap();
    let tape = open(folder.path(), "");
    let latched = |publisher: &str| ChannelSpec { publisher: publisher.into(), latched: true, ..json_spec("/tf_static") };
    let a = tape.channel(latched("a")).unwrap();
    let b = tape.channel(latched("b")).unwrap();
    let imu = tape.channel(json_spec("/imu")).unwrap();
    let frame = |child: &str, x: i32| format!(r#"{{"transforms":[{{"child_frame_id":"{child}","x":{x}}}]}}"#);
    tape.append(&a, Payload::Slice(frame("cam", 1).as_bytes()), at(T0)).unwrap();
    tape.append(&a, Payload::Slice(frame("lidar", 2).as_bytes()), at(T0 + 1)).unwrap();
    tape.append(&b, Payload::Slice(frame("arm", 3).as_bytes()), at(T0 + 2)).unwrap();
    tape.append(&a, Payload::Slice(frame("cam", 4).as_bytes()), at(T0 + 3)).unwrap();
    tape.flush().unwrap();
    for i in 0..10 {
        tape.append(&imu, Payload::Slice(b"{}"), at(T0 + 100 * SECOND + i)).unwrap();
    }
    let request = SaveRequest {
        start: Some(robot::When::Ns(T0 + 50 * SECOND)),
        end: Some(robot::When::Ns(T0 + 200 * SECOND)),
        ..SaveRequest::default()
    };
    let clip = tape.save(&request).unwrap();
    tape.close(Leave::Wait).unwrap();
    let path = folder.path().join(recording::key::manifest("rover", &clip.recording));
    let recording = read::open(&path).unwrap();
    let mut values: Vec<String> = recording
        .latched(&TopicFilter::all(), T0 + 50 * SECOND)
        .unwrap()
        .iter()
        .map(|message| String::from_utf8_lossy(&message.data).into_owned())
        .collect();
    values.sort();
    assert_eq!(values, [frame("arm", 3), frame("cam", 4), frame("lidar", 2)]);
    let (before, inside): (Vec<Message>, Vec<Message>) =
        without_own(read_all(&path)).into_iter().partition(|m| m.log_time_ns < T0 + 50 * SECOND);
    assert_eq!((before.len(), inside.len()), (3, 10), "latched values come first, with their own stamps");
}

#[test]
fn transforms_in_cdr_are_kept_one_per_child_frame() {
    let folder = tempfile::tempdir().unwrap();
    let tape = open(folder.path(), "");
    let schema = Schema { name: "tf2_msgs/msg/TFMessage".into(), encoding: "ros2msg".into(), data: Bytes::new() };
    let spec = ChannelSpec { topic: "/tf_static".into(), encoding: "cdr".into(), schema: Some(Arc::new(schema)), ..ChannelSpec::default() };
    let channel = tape.channel(spec).unwrap();
    for (i, frame) in ["cam", "lidar", "cam"].into_iter().enumerate() {
        // One segment each: what was not replaced is in the last one too.
        tape.append(&channel, Payload::Slice(&transform(frame, i as f64)), Times::default()).unwrap();
        tape.flush().unwrap();
    }
    let now_ns = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as i64;
    let request = SaveRequest { start: Some(robot::When::Ns(now_ns)), end: Some(robot::When::Ns(now_ns + 1)), ..SaveRequest::default() };
    let clip = tape.save(&request).unwrap();
    tape.close(Leave::Wait).unwrap();
    let recording = read::open(&folder.path().join(recording::key::manifest("rover", &clip.recording))).unwrap();
    let values = recording.latched(&TopicFilter::all(), now_ns).unwrap();
    let values: Vec<Bytes> = values.into_iter().map(|message| message.data).collect();
    assert_eq!(values, [transform("lidar", 1.0), transform("cam", 2.0)]);
}

#[test]
fn latched_values_that_are_logged_late_count_from_their_own_times() {
    let folder = tempfile::tempdir().unwrap();
    let tape = open(folder.path(), "");
    let map = tape.channel(ChannelSpec { latched: true, ..json_spec("/map") }).unwrap();
    // Each is in a segment of its own, and all of their times are long ago.
    for (i, text) in ["1", "2", "3"].into_iter().enumerate() {
        tape.append(&map, Payload::Slice(text.as_bytes()), at(T0 + i as i64 * 10 * SECOND)).unwrap();
        tape.flush().unwrap();
    }
    let saved = |start_ns: i64| {
        let (start, end) = (Some(robot::When::Ns(start_ns)), Some(robot::When::Ns(start_ns + 1)));
        tape.save(&SaveRequest { start, end, ..SaveRequest::default() }).unwrap().recording
    };
    let recordings = [(T0 + 5 * SECOND, saved(T0 + 5 * SECOND), "1"), (T0 + 15 * SECOND, saved(T0 + 15 * SECOND), "2")];
    tape.close(Leave::Wait).unwrap();
    for (start_ns, id, expected) in recordings {
        let recording = read::open(&folder.path().join(recording::key::manifest("rover", &id))).unwrap();
        let values = recording.latched(&TopicFilter::all(), start_ns).unwrap();
        assert_eq!(values.iter().map(|message| &message.data[..]).collect::<Vec<_>>(), [expected.as_bytes()]);
    }
}

#[test]
fn what_a_recording_was_promised_stays_when_the_configuration_changes() {
    let folder = tempfile::tempdir().unwrap();
    let notes = "[[buffer]]\nname = 'notes'\ntopics = ['/notes']\ndisk = '1 h'\nalways = true\n";
    let rest = "[[buffer]]\nname = 'rest'\ntopics = ['/imu']\ndisk = '1 h'\n";
    let tape = open(folder.path(), &format!("{notes}{rest}"));
    for topic in ["/notes", "/imu"] {
        let channel = tape.channel(json_spec(topic)).unwrap();
        tape.append(&channel, Payload::Slice(b"{}"), at(T0)).unwrap();
    }
    let (start, end) = (Some(robot::When::Ns(T0)), Some(robot::When::Ns(T0 + 1)));
    let id = tape.save(&SaveRequest { start, end, topics: vec!["/imu".into()], ..SaveRequest::default() }).unwrap().recording;
    tape.reconfigure(Config::parse(rest, "test").unwrap()).unwrap();
    tape.close(Leave::Wait).unwrap();
    let read = without_own(read_all(&folder.path().join(recording::key::manifest("rover", &id))));
    let mut topics: Vec<&str> = read.iter().map(|message| message.topic.name.as_str()).collect();
    topics.sort_unstable();
    assert_eq!(topics, ["/imu", "/notes"]);
}

/// Returns a `tf2_msgs/msg/TFMessage` of one frame, whose first number is `x`.
fn transform(child_frame: &str, x: f64) -> Vec<u8> {
    let mut body = [1u32, 0, 0].map(u32::to_le_bytes).concat();
    for text in ["map", child_frame] {
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend((text.len() as u32 + 1).to_le_bytes());
        body.extend(text.as_bytes());
        body.push(0);
    }
    body.resize(body.len().next_multiple_of(8), 0);
    body.extend([x, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0].map(f64::to_le_bytes).concat());
    [&[0, 1, 0, 0][..], &body].concat()
}

#[test]
fn a_budget_evicts_the_oldest_segments() {
    let folder = tempfile::tempdir().unwrap();
    let tape = open(folder.path(), "[[buffer]]\nname = 'all'\ndisk = '300 kB'\ncompression = 'none'\n[segment]\nsize = '20 kB'");
    let imu = tape.channel(json_spec("/imu")).unwrap();
    for i in 0..1000 {
        tape.append(&imu, Payload::Slice(&[b' '; 1000]), at(T0 + i)).unwrap();
        if i % 10 == 0 {
            tape.flush().unwrap();
        }
    }
    tape.close(Leave::Wait).unwrap();
    let tape = open(folder.path(), "[[buffer]]\nname = 'all'\ndisk = '300 kB'\n[segment]\nsize = '20 kB'");
    let status = tape.status();
    let buffer = &status.buffers[0];
    assert!(buffer.size_bytes <= 400_000 && buffer.size_bytes > 100_000, "{buffer:?}");
    let clip = tape
        .save(&SaveRequest { start: Some(robot::When::Ns(T0)), end: Some(robot::When::Ns(T0 + 1000)), ..SaveRequest::default() })
        .unwrap();
    assert!(clip.missing.iter().any(|loss| loss.reason.starts_with("expired")), "{:#?}", clip.missing);
    tape.close(Leave::Wait).unwrap();
}

#[test]
fn two_processes_cannot_record_into_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let tape = open(folder.path(), "");
    let second = Tape::open(folder.path(), Config::empty(), OpenOptions::default());
    assert_eq!(second.err().unwrap().kind(), robot::Kind::Conflict);
    tape.close(Leave::Wait).unwrap();
}

#[test]
fn messages_of_long_ago_stay_as_long_as_those_of_now() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[segment]\nsize = '4 KiB'\n[[buffer]]\nname = 'all'\ndisk = '1 h'\ncompression = 'none'";
    for boot in 0..2 {
        let tape = open(folder.path(), config);
        let old = tape.channel(json_spec("/old")).unwrap();
        for i in 0..5 {
            // Years ago, as a file has them that is taken in; each in a segment of its own, after which the buffer is looked through.
            tape.append(&old, Payload::Slice(&[b' '; 5000]), at(T0 + boot * SECOND + i)).unwrap();
            tape.flush().unwrap();
            tape.turn();
        }
        tape.close(Leave::Wait).unwrap();
    }
    assert_eq!(without_own(read_all(folder.path())).len(), 10);
}
