//! Odd input: each has a defined answer, and none of it loses anything in silence.

use std::sync::Arc;

use recording::{Kind, Schema, Span, TopicFilter, read};
use robot::{ChannelSpec, Config, Leave, OpenOptions, Payload, SaveRequest, Tape, Times};

fn open(folder: &tempfile::TempDir, config: &str) -> Tape {
    let options = OpenOptions { device: Some("rover".into()), host: Some("box".into()), ..OpenOptions::default() };
    Tape::open(folder.path(), Config::parse(config, "test").unwrap(), options).unwrap()
}

fn plain(topic: &str) -> ChannelSpec {
    ChannelSpec { topic: topic.into(), encoding: "x-bytes".into(), ..ChannelSpec::default() }
}

fn at(log_time_ns: i64) -> Times {
    Times { log_time_ns: Some(log_time_ns), publish_time_ns: None }
}

fn data_of(folder: &tempfile::TempDir, topic: &str) -> Vec<(i64, Vec<u8>)> {
    let recording = read::open(folder.path()).unwrap();
    let filter = TopicFilter::parse(&[topic]).unwrap();
    recording
        .messages(&filter, Span::ALL)
        .unwrap()
        .map(Result::unwrap)
        .map(|message| (message.log_time_ns, message.data.to_vec()))
        .collect()
}

const T0: i64 = 1_700_000_000_000_000_000;

#[test]
fn a_new_schema_on_a_topic_is_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let tape = open(&folder, "");
    for name in ["A", "B"] {
        let schema = Schema { name: name.into(), encoding: "jsonschema".into(), data: b"{}".as_slice().into() };
        let channel = tape.channel(ChannelSpec { schema: Some(Arc::new(schema)), ..plain("/x") }).unwrap();
        tape.append(&channel, Payload::Slice(name.as_bytes()), at(T0)).unwrap();
    }
    tape.close(Leave::Wait).unwrap();
    let recording = read::open(folder.path()).unwrap();
    let messages = recording.messages(&TopicFilter::parse(&["/x"]).unwrap(), Span::ALL).unwrap();
    let read: Vec<(String, Vec<u8>)> = messages.map(Result::unwrap).map(|m| (m.topic.type_name().to_owned(), m.data.to_vec())).collect();
    assert_eq!(read, [("A".to_owned(), b"A".to_vec()), ("B".to_owned(), b"B".to_vec())], "equal times keep the order of appending");
}

#[test]
fn times_out_of_order_are_sorted_when_read() {
    let folder = tempfile::tempdir().unwrap();
    let tape = open(&folder, "");
    let channel = tape.channel(plain("/x")).unwrap();
    for i in [5, 1, 3, 3, 0] {
        tape.append(&channel, Payload::Slice(&[i as u8]), at(T0 + i)).unwrap();
    }
    tape.close(Leave::Wait).unwrap();
    let read: Vec<i64> = data_of(&folder, "/x").iter().map(|(time, _)| time - T0).collect();
    assert_eq!(read, [0, 1, 3, 3, 5]);
}

#[test]
fn ten_thousand_topics_and_a_huge_message_are_no_problem() {
    let folder = tempfile::tempdir().unwrap();
    let tape = open(&folder, "[[buffer]]\nname = 'all'\ndisk = '1 GB'\ncompression = 'none'");
    for i in 0..10_000 {
        let channel = tape.channel(plain(&format!("/t/{i}"))).unwrap();
        tape.append(&channel, Payload::Slice(b"x"), at(T0 + i)).unwrap();
    }
    let huge = tape.channel(plain("/huge")).unwrap();
    tape.append(&huge, Payload::Shared(vec![1u8; 200_000_000].into()), at(T0)).unwrap();
    tape.close(Leave::Wait).unwrap();
    assert_eq!(data_of(&folder, "/t/**").len(), 10_000);
    assert_eq!(data_of(&folder, "/huge")[0].1.len(), 200_000_000);
}

#[test]
fn what_cannot_be_held_is_refused_with_its_value() {
    let folder = tempfile::tempdir().unwrap();
    let tape = open(&folder, "");
    let channel = tape.channel(plain("/x")).unwrap();
    let error = tape.append(&channel, Payload::Slice(b""), at(-5)).unwrap_err();
    assert!(error.kind() == Kind::Invalid && error.message().contains("-5"));
    for topic in ["", "/a\nb"] {
        assert_eq!(tape.channel(plain(topic)).err().unwrap().kind(), Kind::Invalid);
    }
    tape.append(&channel, Payload::Slice(b""), at(0)).expect("a clock in 1970 is normal, and so is an empty message");
    tape.close(Leave::Wait).unwrap();
    assert_eq!(tape.append(&channel, Payload::Slice(b""), at(0)).unwrap_err().kind(), Kind::Unavailable);
}

#[test]
fn a_topic_that_no_buffer_wants_is_named_in_the_status_and_in_an_event() {
    let folder = tempfile::tempdir().unwrap();
    let tape = open(&folder, "[[buffer]]\nname = 'imu'\ntopics = ['/imu']\ndisk = '1 h'");
    let channel = tape.channel(plain("/camera")).unwrap();
    tape.append(&channel, Payload::Slice(b"x"), Times::default()).unwrap();
    assert_eq!(tape.status().unwanted_topics, ["/camera"]);
    let clip = tape
        .save(&SaveRequest { before: Some(robot::Length::Seconds(9.0)), topics: vec!["/camera".into()], ..SaveRequest::default() })
        .unwrap();
    assert!(clip.missing.iter().any(|loss| loss.reason == "filtered: no buffer holds this topic"), "{:?}", clip.missing);
    tape.close(Leave::Wait).unwrap();
    let events = data_of(&folder, "/tapeloop/events");
    assert!(events.iter().any(|(_, json)| String::from_utf8_lossy(json).contains("unwanted_topic")));
}

#[test]
fn a_window_longer_than_the_tape_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let tape = open(&folder, "");
    let channel = tape.channel(plain("/x")).unwrap();
    tape.append(&channel, Payload::Slice(b"x"), Times::default()).unwrap();
    let clip = tape.save(&SaveRequest { before: Some(robot::Length::Text("1000 d".into())), ..SaveRequest::default() }).unwrap();
    assert!(
        clip.missing.iter().any(|loss| loss.reason.starts_with("not recorded: the first message on the tape is of")),
        "{:?}",
        clip.missing
    );
    assert_eq!(clip.segments.len(), 1);
    tape.close(Leave::Wait).unwrap();
}
