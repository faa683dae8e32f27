//! Spans, topics and folders.

use recording::read;
use recording::{Span, TopicFilter};

use crate::build::{Builder, save};

#[test]
fn spans_and_topics_choose_messages() {
    let builder = Builder::default();
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), "x.mcap", &builder.build().bytes);
    let recording = read::open(&path).unwrap();
    assert_eq!((recording.format(), recording.topics().len()), ("mcap", 3));
    let count = |patterns: &[&str], span: Span| {
        let filter = TopicFilter::parse(patterns).unwrap();
        recording.messages(&filter, span).unwrap().collect::<Result<Vec<_>, _>>().unwrap().len()
    };
    assert_eq!(count(&[], Span::ALL), 400);
    assert_eq!(count(&["/a"], Span::ALL), 134);
    assert_eq!(count(&["!/a"], Span::ALL), 266);
    assert_eq!(count(&[], Span::new(1_000_000, 1_010_000)), 10);
    assert_eq!(count(&["/b"], Span::new(1_100_000, 1_109_001)), 4);
    assert_eq!(count(&[], Span::new(0, 1_000_000)), 0);
    assert_eq!(count(&["/nothing"], Span::ALL), 0);
}

#[test]
fn info_counts_by_topic_and_type() {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), "x.mcap", &Builder::default().build().bytes);
    let info = read::open(&path).unwrap().info().unwrap();
    let json = serde_json::to_value(&info).unwrap();
    assert_eq!(json["messages"], 400);
    assert_eq!((&json["start_ns"], &json["end_ns"]), (&1_000_000.into(), &1_399_000.into()));
    let first = serde_json::json!({"topic": "/a", "type": "A", "encoding": "json", "messages": 134, "bytes": 26_800});
    assert_eq!(json["topics"][0], first);
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["path", "format", "messages", "start_ns", "end_ns", "topics", "losses", "notes"]);
}

#[test]
fn a_file_that_was_not_closed_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), "x.mcap", &Builder { closed: false, ..Builder::default() }.build().bytes);
    let recording = read::open(&path).unwrap();
    assert!(recording.notes()[0].contains("not closed"), "{:?}", recording.notes());
    let info = recording.info().unwrap();
    assert_eq!((info.messages, info.losses.len(), info.notes.len()), (400, 0, 1));
}

#[test]
fn rosbag2_folders_read_as_one_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let part = |first: u32| Builder { first_sequence: first, first_time_ns: 5_000_000, ..Builder::default() }.build().bytes;
    save(folder.path(), "bag_0.mcap", &part(400));
    save(folder.path(), "bag_1.mcap", &part(0));
    let sequences = || -> Vec<u32> {
        let recording = read::open(folder.path()).unwrap();
        assert_eq!(recording.format(), "rosbag2");
        recording.messages(&TopicFilter::all(), Span::ALL).unwrap().take(2).map(|message| message.unwrap().sequence).collect()
    };
    assert_eq!(sequences(), [400, 0]);
    save(folder.path(), "metadata.yaml", b"rosbag2_bagfile_information:\n  relative_file_paths:\n    - bag_1.mcap\n    - bag_0.mcap\n");
    assert_eq!(sequences(), [0, 400]);
    save(folder.path(), "metadata.yaml", b"rosbag2_bagfile_information:\n  relative_file_paths:\n    - bag_1.mcap\n    - bag_2.mcap\n");
    let info = read::open(folder.path()).unwrap().info().unwrap();
    assert_eq!((info.messages, info.losses.len()), (400, 1));
    assert!(info.losses[0].reason.contains("bag_2.mcap"), "{:?}", info.losses);
}

#[test]
fn latched_topics_of_a_plain_file_are_told_by_their_qos() {
    let mut map = crate::build::topic("/map", "");
    let metadata = crate::build::map([("offered_qos_profiles", "- history: 1\n  depth: 1\n  reliability: 1\n  durability: 1\n")]);
    std::sync::Arc::make_mut(&mut map).metadata = metadata;
    let builder = Builder { topics: vec![map, crate::build::topic("/b", "")], ..Builder::default() };
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), "x.mcap", &builder.build().bytes);
    let recording = read::open(&path).unwrap();
    let values = recording.latched(&TopicFilter::all(), 1_005_000).unwrap();
    assert_eq!(values.len(), 1);
    assert_eq!((values[0].topic.name.as_str(), values[0].sequence), ("/map", 4));
    assert!(recording.latched(&TopicFilter::all(), 999_999).unwrap().is_empty());
}

#[test]
fn a_latched_topic_whose_name_looks_like_a_pattern_is_that_topic() {
    let builder = Builder { topics: vec![crate::build::topic("!x/tf_static", ""), crate::build::topic("/b", "")], ..Builder::default() };
    let folder = tempfile::tempdir().unwrap();
    let recording = read::open(&save(folder.path(), "x.mcap", &builder.build().bytes)).unwrap();
    let values = recording.latched(&TopicFilter::all(), i64::MAX).unwrap();
    assert!(!values.is_empty() && values.iter().all(|message| message.topic.name == "!x/tf_static"), "{values:?}");
}
