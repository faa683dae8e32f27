//! Conversions: merged, cut, filtered, into MCAP and into rosbag2 folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use recording::convert::{self, Options, Target};
use recording::mcap::chunk::{ChunkBuilder, Compression};
use recording::mcap::segment::{Definition, SegmentWriter};
use recording::mcap::write::{self, AttachmentHeader};
use recording::message::{Schema, Topic};
use recording::read::{self, ExportReport, Recording};
use recording::{Kind, Message, Span, TopicFilter};

use crate::build::{Builder, map, save};

fn options(target: Target) -> Options {
    Options { topics: TopicFilter::all(), span: Span::ALL, compression: Compression::Lz4, target }
}

fn run(recording: &Recording, options: &Options, out: &Path) -> recording::Result<ExportReport> {
    convert::convert(recording, options, out, &mut |_| {})
}

fn all(path: &Path) -> Vec<Message> {
    read::open(path).unwrap().messages(&TopicFilter::all(), Span::ALL).unwrap().map(Result::unwrap).collect()
}

fn cdr(name: &str, qos: &str) -> Arc<Topic> {
    let schema = Schema { name: "std_msgs/msg/String".into(), encoding: "ros2msg".into(), data: Bytes::from_static(b"string data\n") };
    let metadata = map([("offered_qos_profiles", qos), ("topic_type_hash", "RIHS01_12")]);
    Arc::new(Topic { name: name.into(), encoding: "cdr".into(), schema: Some(Arc::new(schema)), metadata })
}

fn part(first: u32, first_time_ns: u64) -> Vec<u8> {
    let topics = vec![cdr("/chatter", ""), cdr("/tf_static", "- history: 1\n  depth: 1\n  reliability: 1\n  durability: 1\n")];
    Builder { first_sequence: first, first_time_ns, topics, chunks: 2, ..Builder::default() }.build().bytes
}

#[test]
fn several_files_become_one_in_order_of_time() {
    let folder = tempfile::tempdir().unwrap();
    let paths = [("b.mcap", 500, 1_050_500), ("a.mcap", 0, 1_000_000)];
    let paths: Vec<PathBuf> = paths.iter().map(|(name, first, time)| save(folder.path(), name, &part(*first, *time))).collect();
    let recording = read::open_all(&paths).unwrap();
    assert_eq!(recording.format(), "files");
    let out = folder.path().join("out.mcap");
    let report = run(&recording, &options(Target::of(&out)), &out).unwrap();
    assert_eq!((report.messages, report.losses.len()), (200, 0));
    let merged = all(&out);
    assert!(merged.is_sorted_by_key(|message| message.log_time_ns));
    let mut expected: Vec<(i64, Bytes)> = paths.iter().flat_map(|path| all(path)).map(|m| (m.log_time_ns, m.data)).collect();
    expected.sort();
    let mut found: Vec<(i64, Bytes)> = merged.into_iter().map(|m| (m.log_time_ns, m.data)).collect();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn equal_stamps_keep_the_order_of_files_and_of_messages() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> =
        [("b.mcap", 500), ("a.mcap", 0)].iter().map(|(name, first)| save(folder.path(), name, &part(*first, 1_000_000))).collect();
    let recording = read::open_all(&paths).unwrap();
    let sequences: Vec<u32> =
        recording.messages(&TopicFilter::all(), Span::ALL).unwrap().map(|message| message.unwrap().sequence).collect();
    let expected: Vec<u32> = (0..100).flat_map(|at| [500 + at, at]).collect();
    assert_eq!(sequences, expected);
}

#[test]
fn a_rosbag2_folder_has_its_metadata_and_qos() {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), "a.mcap", &part(0, 1_000_000));
    let out = folder.path().join("drive-rosbag2");
    let recording = read::open(&path).unwrap();
    let report = run(&recording, &options(Target::of(&out)), &out).unwrap();
    assert_eq!((report.messages, report.path.clone()), (100, out.clone()));
    let yaml = std::fs::read_to_string(out.join("metadata.yaml")).unwrap();
    for expected in [
        "  version: 9\n",
        "  storage_identifier: mcap\n",
        "    nanoseconds: 99000\n",
        "    nanoseconds_since_epoch: 1000000\n",
        "  message_count: 100\n",
        "        name: /tf_static\n        type: std_msgs/msg/String\n        serialization_format: cdr\n",
        "          - history: keep_last\n            depth: 1\n            reliability: reliable\n            durability: transient_local\n",
        "        type_description_hash: RIHS01_12\n      message_count: 50\n",
        "    - \"drive-rosbag2_0.mcap\"\n",
        "        offered_qos_profiles: []\n",
    ] {
        assert!(yaml.contains(expected), "{expected}\nis not in\n{yaml}");
    }
    let back = all(&out);
    for (ours, theirs) in back.iter().zip(all(&path)) {
        assert_eq!((ours.log_time_ns, &ours.data, &ours.topic.name), (theirs.log_time_ns, &theirs.data, &theirs.topic.name));
    }
    assert_eq!((back.len(), read::open(&out).unwrap().format()), (100, "rosbag2"));
    assert_eq!(run(&recording, &options(Target::Rosbag2), &out).unwrap_err().kind(), Kind::Conflict);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn topics_without_messages_are_told_and_carried_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut builder = Builder { topics: vec![cdr("/busy", ""), cdr("/idle", "")], chunks: 1, messages_per_chunk: 1, ..Builder::default() };
    let mut check = |chunks: u32, expected: [(&str, u64); 2]| {
        builder.chunks = chunks;
        let path = save(folder.path(), "x.mcap", &builder.build().bytes);
        let topics = |path: &Path| {
            let info = read::open(path).unwrap().info().unwrap();
            info.topics.into_iter().map(|topic| (topic.topic, topic.messages)).collect::<Vec<_>>()
        };
        let expected = expected.map(|(name, messages)| (name.to_owned(), messages));
        assert_eq!(topics(&path), expected);
        for target in [Target::Mcap, Target::Rosbag2] {
            let out = folder.path().join(format!("{target:?}-{chunks}.mcap"));
            run(&read::open(&path).unwrap(), &options(target), &out).unwrap();
            assert_eq!(topics(&out), expected);
        }
        let yaml = std::fs::read_to_string(folder.path().join(format!("Rosbag2-{chunks}.mcap/metadata.yaml"))).unwrap();
        assert!(yaml.contains("name: /idle") && yaml.contains("      message_count: 0\n"), "{yaml}");
    };
    check(1, [("/busy", 1), ("/idle", 0)]);
    check(0, [("/busy", 0), ("/idle", 0)]);
}

#[test]
fn two_definitions_of_one_type_stay_apart() {
    let of = |name: &str, text: &'static [u8]| {
        let schema = Schema { name: "p/msg/X".into(), encoding: "ros2msg".into(), data: Bytes::from_static(text) };
        Arc::new(Topic { schema: Some(Arc::new(schema)), ..Topic::clone(&cdr(name, "")) })
    };
    let topics = vec![of("/a", b"int32 a"), of("/b", b"int32 b\nint32 c"), of("/a", b"float32 z")];
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), "x.mcap", &Builder { topics, messages_per_chunk: 3, ..Builder::default() }.build().bytes);
    let out = folder.path().join("out");
    run(&read::open(&path).unwrap(), &options(Target::Rosbag2), &out).unwrap();
    let seen = |path: &Path| {
        let definition = |message: &Message| message.topic.schema.as_ref().unwrap().data.clone();
        all(path).iter().map(|message| (message.topic.name.clone(), definition(message), message.data.clone())).collect::<Vec<_>>()
    };
    assert_eq!(seen(&out), seen(&path));
    assert_eq!(read::open(&out).unwrap().topics().len(), 3);
}

#[test]
fn what_a_rosbag2_folder_cannot_hold_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let check = |topics: Vec<Arc<Topic>>, expected: &str| {
        let path = save(folder.path(), "x.mcap", &Builder { topics, ..Builder::default() }.build().bytes);
        let error = run(&read::open(&path).unwrap(), &options(Target::Rosbag2), &out).unwrap_err();
        assert!(error.kind() == Kind::Invalid && error.message().contains(expected), "{error}");
        assert!(!out.exists());
    };
    check(vec![crate::build::topic("/a", "A"), cdr("/b", "")], "in CDR only: /a (json)");
    let ros1 = Arc::new(Topic { encoding: "ros1".into(), ..Topic::clone(&cdr("/scan", "")) });
    check(vec![ros1], "ROS 1 messages are not transcoded: /scan (ros1)");
    let typeless = Arc::new(Topic { schema: None, ..Topic::clone(&cdr("/raw", "")) });
    check(vec![typeless], "the type of each topic: /raw");
    let other = Schema { name: "b/B".into(), encoding: "ros2msg".into(), data: Bytes::new() };
    let other = Arc::new(Topic { schema: Some(Arc::new(other)), ..Topic::clone(&cdr("/x", "")) });
    check(vec![cdr("/x", ""), other], "one type under a name: /x");
}

#[test]
fn cuts_filters_and_inputs_are_respected() {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), "a.mcap", &part(0, 1_000_000));
    let recording = read::open(&path).unwrap();
    let before = std::fs::read(&path).unwrap();
    assert_eq!(run(&recording, &options(Target::Mcap), &path).unwrap_err().kind(), Kind::Conflict);
    let wanted =
        Options { topics: TopicFilter::parse(&["/chatter"]).unwrap(), span: Span::new(1_010_000, 1_020_000), ..options(Target::Mcap) };
    let out = folder.path().join("cut.mcap");
    assert_eq!(run(&recording, &wanted, &out).unwrap().messages, 5);
    let nothing = Options { topics: TopicFilter::parse(&["/nothing"]).unwrap(), ..wanted };
    let error = run(&recording, &nothing, &out).unwrap_err();
    assert!(error.message().contains("there are /chatter, /tf_static"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_failed_conversion_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), "a.mcap", &part(0, 1_000_000));
    let recording = read::open(&path).unwrap();
    for target in [Target::Mcap, Target::Rosbag2] {
        let out = folder.path().join("no/such/folder/out");
        assert!(run(&recording, &options(target), &out).is_err());
    }
    // Nothing can be written to this device.
    if Path::new("/dev/full").exists() {
        std::os::unix::fs::symlink("/dev/full", folder.path().join("full.mcap.part")).unwrap();
        assert!(run(&recording, &options(Target::Mcap), &folder.path().join("full.mcap")).is_err());
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["a.mcap"]);
}

#[test]
fn attachments_and_metadata_are_carried_over() {
    let mut bytes = Vec::new();
    let mut writer = SegmentWriter::begin(&mut bytes, "");
    writer.metadata(&mut bytes, "calibration", &map([("camera", "front")]));
    for (name, data) in [("a.txt", &b"hello"[..]), ("b.bin", &[7; 3_000_000][..])] {
        let header = AttachmentHeader { name: name.into(), media_type: "text/plain".into(), size: data.len() as u64, ..Default::default() };
        let start = bytes.len();
        write::attachment(&mut bytes, &header, data);
        writer.attachment(header, (bytes.len() - start) as u64);
    }
    writer.define(&mut bytes, &Definition { channel_id: 1, schema_id: 0, topic: crate::build::topic("/a", "") });
    let mut chunk = ChunkBuilder::default();
    chunk.push(1, 0, 5, 5, b"{}");
    let chunk = chunk.encode(Compression::None);
    writer.chunk(&chunk);
    chunk.parts().iter().for_each(|part| bytes.extend_from_slice(part));
    writer.finish(&mut bytes);
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), "x.mcap", &bytes);
    let (out, again) = (folder.path().join("out.mcap"), folder.path().join("again.mcap"));
    run(&read::open(&path).unwrap(), &options(Target::Mcap), &out).unwrap();
    let both = read::open_all(&[path, out.clone()]).unwrap();
    run(&both, &options(Target::Mcap), &again).unwrap();
    for path in [&out, &again] {
        let bytes = std::fs::read(path).unwrap();
        let summary = mcap::Summary::read(&bytes).unwrap().unwrap();
        let found: BTreeMap<String, Vec<u8>> = summary
            .attachment_indexes
            .iter()
            .map(|index| (index.name.clone(), mcap::read::attachment(&bytes, index).unwrap().data.to_vec()))
            .collect();
        assert_eq!(found, BTreeMap::from([("a.txt".into(), b"hello".to_vec()), ("b.bin".into(), vec![7; 3_000_000])]));
        assert!(summary.metadata_indexes.iter().any(|index| index.name == "calibration"));
        assert_eq!(summary.stats.unwrap().attachment_count, 2);
        assert!(read::open(path).unwrap().notes().is_empty());
    }
    // One whose checksum does not fit is left out, and said.
    let mut damaged = bytes.clone();
    let at = damaged.windows(5).position(|five| five == b"hello").unwrap();
    damaged[at] ^= 1;
    let path = save(folder.path(), "damaged.mcap", &damaged);
    let report = run(&read::open(&path).unwrap(), &options(Target::Mcap), &out).unwrap();
    assert!(report.losses[0].reason.contains("damaged attachment: its checksum does not fit"), "{:?}", report.losses);
}

#[test]
fn ros_1_latching_becomes_transient_local() {
    let mut topic = Topic::clone(&crate::build::topic("/map", ""));
    topic.metadata = map([("latching", "1")]);
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), "x.mcap", &Builder { topics: vec![Arc::new(topic)], ..Builder::default() }.build().bytes);
    let out = folder.path().join("out.mcap");
    run(&read::open(&path).unwrap(), &options(Target::Mcap), &out).unwrap();
    let recording = read::open(&out).unwrap();
    let metadata = &recording.topics()[0].metadata;
    assert_eq!(metadata["tapeloop.latched"], "true");
    assert!(metadata["offered_qos_profiles"].contains("durability: transient_local"));
    assert_eq!(recording.latched(&TopicFilter::all(), i64::MAX).unwrap().len(), 1);
}

#[test]
fn files_compressed_as_a_whole_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = part(0, 1_000_000);
    let packed = zstd::stream::encode_all(&bytes[..], 3).unwrap();
    let path = save(folder.path(), "x.mcap.zstd", &packed);
    assert_eq!(all(&path), all(&save(folder.path(), "x.mcap", &bytes)));
    // Of a damaged one, what comes before the damage.
    let large = Builder { payload: 2000, ..Builder::default() }.build().bytes;
    let packed_large = zstd::stream::encode_all(&large[..], 3).unwrap();
    let cut = save(folder.path(), "cut.mcap.zst", &packed_large[..packed_large.len() - 20]);
    let info = read::open(&cut).unwrap().info().unwrap();
    assert!(info.messages > 100 && info.messages < 400, "{}", info.messages);
    assert!(info.losses.iter().any(|loss| loss.reason.contains("compression is damaged")), "{:?}", info.losses);
    let nothing = save(folder.path(), "nothing.mcap.zst", &packed[..40]);
    assert!(read::open(&nothing).unwrap_err().message().contains("nothing of it can be unpacked"));
    let twice = save(folder.path(), "twice.mcap.zstd", &zstd::stream::encode_all(&packed[..], 3).unwrap());
    assert!(read::open(&twice).unwrap_err().to_string().contains("twice"));
}
