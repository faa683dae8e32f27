//! Folders of rosbag2: splits, compression, and `metadata.yaml` in all its versions, missing and damaged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use recording::container::{Block, Container, Index, Loaded, Place};
use recording::error::Result;
use recording::import::rosbag2::{self, Compression};
use recording::import::{db3, unpacked};
use recording::message::Topic;
use recording::source::ReadAt;

use crate::build::{payload, save};
use crate::data;

fn names(files: &[PathBuf]) -> Vec<String> {
    files.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

/// What `message_count` of each real folder's `metadata.yaml` says.
const FOLDERS: &[(&str, usize, u64)] = &[
    ("ros2/all-types/tests/test_bags/test_bag_sqlite3", 1, 188),
    ("ros2/plotjuggler/datasamples/rosbag2_test", 1, 4695),
    ("ros2/rosbag2-fixtures/ros2bag/test/resources/empty_bag", 1, 0),
    ("ros2/rosbag2-fixtures/rosbag2_py/test/resources/sqlite3/convert_a", 1, 150),
    ("ros2/rosbag2-fixtures/rosbag2_py/test/resources/sqlite3/convert_b", 1, 75),
    ("ros2/rosbag2-fixtures/rosbag2_py/test/resources/sqlite3/reindex_test_bags/multiple_files", 3, 3177),
    ("ros2/rosbag2-fixtures/rosbag2_py/test/resources/sqlite3/talker", 1, 20),
    ("ros2/rosbag2-fixtures/rosbag2_py/test/resources/sqlite3/wbag", 5, 6074),
    ("ros2/rosbag2-fixtures/rosbag2_tests/resources/sqlite3/bag_with_topics_and_service_events", 1, 10),
    ("ros2/rosbag2-fixtures/rosbag2_tests/resources/sqlite3/cdr_test", 1, 7),
    ("ros2/rosbag2-fixtures/rosbag2_tests/resources/sqlite3/wrong_rmw_test", 1, 7),
    ("ros2/rosbag2-fixtures/rosbag2_transport/test/resources/sqlite3/rewriter_a", 1, 150),
    ("ros2/rosbag2-fixtures/rosbag2_transport/test/resources/sqlite3/rewriter_b", 1, 75),
    ("ros2/rosbag2-fixtures/rosbag2_transport/test/resources/sqlite3/test_bag_for_seek", 1, 5),
];

fn count(container: &dyn Container, source: &dyn ReadAt) -> u64 {
    let load = |block| container.load(source, block, &mut |_, _| true).unwrap().unwrap().places.len() as u64;
    (0..container.index().blocks.len()).map(load).sum()
}

#[test]
fn real_folders_consist_of_the_files_they_name() {
    let Some(root) = data::path(".") else { return };
    for (name, files, messages) in FOLDERS {
        let bag = rosbag2::files(&root.join(name)).unwrap();
        let mut total = 0;
        for file in &bag.files {
            let source = std::fs::File::open(file).unwrap();
            let container = bag.complete(db3::open(&source, None).unwrap());
            total += count(container.as_ref(), &source);
        }
        assert_eq!((bag.files.len(), total), (*files, *messages), "{name}");
        assert_eq!((bag.losses.len(), bag.compression), (0, Compression::None), "{name}");
    }
    let wbag = rosbag2::files(&root.join("ros2/rosbag2-fixtures/rosbag2_py/test/resources/sqlite3/wbag")).unwrap();
    assert_eq!(names(&wbag.files), ["wbag_0.db3", "wbag_1.db3", "wbag_2.db3", "wbag_3.db3", "wbag_4.db3"]);
    for yaml in data::files(&root.join("mcap"), "metadata.yaml") {
        let bag = rosbag2::files(yaml.parent().unwrap()).unwrap();
        assert!(bag.losses.is_empty() && bag.files.iter().all(|file| file.extension().unwrap() == "mcap"), "{}", yaml.display());
        assert!(bag.metadata[0].1.contains_key("storage_identifier"));
    }
}

#[test]
fn bytes_of_topics_are_unknown_where_the_format_has_no_ranges() {
    let Some(root) = data::path(".") else { return };
    for folder in ["ros2/rosbag2-fixtures/rosbag2_py/test/resources/sqlite3/wbag", "lerobot/g1_v21_4ep"] {
        let outline = recording::read::open(&root.join(folder)).unwrap().outline();
        let stored: Vec<_> = outline.topics.iter().filter(|topic| !topic.topic.starts_with("/observation.images")).collect();
        assert!(!stored.is_empty() && stored.iter().all(|topic| topic.stored_bytes.is_none()), "{stored:?}");
    }
}

#[test]
fn qos_that_only_the_folder_knows_comes_to_the_topics() {
    let Some(root) = data::path("ros2") else { return };
    let folder = root.join("rosbag2-fixtures/rosbag2_transport/test/resources/sqlite3/rewriter_a");
    let bag = rosbag2::files(&folder).unwrap();
    let source = std::fs::File::open(&bag.files[0]).unwrap();
    let container = db3::open(&source, None).unwrap();
    let qos = |container: &dyn Container| {
        container.index().topics.values().filter(|topic| topic.metadata.contains_key("offered_qos_profiles")).count()
    };
    assert_eq!(qos(container.as_ref()), 0);
    let container = bag.complete(container);
    assert_eq!((qos(container.as_ref()), container.index().blocks.len()), (2, 1));
    assert!(container.index().topics[&0].metadata["offered_qos_profiles"].starts_with("- history: 1\n  depth: 1\n"));
}

const YAML: &str = "rosbag2_bagfile_information:
  version: 9
  storage_identifier: mcap
  topics_with_message_count:
    - topic_metadata: {name: /tf_static, type: T, offered_qos_profiles: [{history: keep_last, depth: 1, deadline: {sec: 1, nsec: 2}}], type_description_hash: RIHS01_00}
      message_count: 3
  compression_format: \"\"
  compression_mode: \"\"
  relative_file_paths:
    - a_9.mcap
    - sub/a_10.mcap
    - gone.mcap
    - ../outside.mcap
    - /etc/passwd
  files:
    - path: gone.mcap
      starting_time: {nanoseconds_since_epoch: 5}
      duration: {nanoseconds: 10}
      message_count: 7
  custom_data: {robot: \"7\", 'operator': Ä}
  ros_distro: kilted
";

#[test]
fn version_9_is_read_and_what_is_missing_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a_9.mcap", "a_10.mcap", "other.mcap"] {
        save(folder.path(), name, b"x");
    }
    save(folder.path(), "metadata.yaml", YAML.as_bytes());
    let bag = rosbag2::files(folder.path()).unwrap();
    assert_eq!(names(&bag.files), ["a_9.mcap", "a_10.mcap"]);
    assert_eq!(bag.topics_qos["/tf_static"], "- history: keep_last\n  depth: 1\n  deadline:\n    sec: 1\n    nsec: 2");
    assert_eq!(bag.topics_hashes["/tf_static"], "RIHS01_00");
    assert_eq!(bag.metadata[1].0, "rosbag2.custom_data");
    assert_eq!((bag.metadata[0].1["ros_distro"].as_str(), bag.metadata[1].1["operator"].as_str()), ("kilted", "Ä"));
    let reasons: Vec<_> = bag.losses.iter().map(|loss| loss.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "a file that metadata.yaml names is not there: 'gone.mcap'",
            "metadata.yaml names a file outside of its folder: '../outside.mcap'",
            "metadata.yaml names a file outside of its folder: '/etc/passwd'",
        ]
    );
    assert_eq!((bag.losses[0].start_ns, bag.losses[0].end_ns, bag.losses[0].messages), (Some(5), Some(15), Some(7)));
    assert_eq!(bag.notes, ["1 files are left out that metadata.yaml does not name: other.mcap, …"]);
}

#[test]
fn a_file_that_is_named_again_and_again_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "a.mcap", b"");
    let yaml = format!("rosbag2_bagfile_information:\n  relative_file_paths:\n{}", "  - a.mcap\n  - ./a.mcap\n".repeat(100));
    save(folder.path(), "metadata.yaml", yaml.as_bytes());
    assert_eq!(names(&rosbag2::files(folder.path()).unwrap().files), ["a.mcap"]);
}

#[test]
fn without_a_good_yaml_the_names_of_files_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    assert!(rosbag2::files(folder.path()).unwrap_err().to_string().starts_with("no recording in this folder"));
    for name in ["bag_10.db3", "bag_9.db3", "bag_1.db3", "bag_10.db3-wal", "notes.txt"] {
        save(folder.path(), name, b"x");
    }
    let expected = ["bag_1.db3", "bag_9.db3", "bag_10.db3"];
    assert_eq!(names(&rosbag2::files(folder.path()).unwrap().files), expected);
    save(folder.path(), "bag_1.db3.zstd", b"x");
    save(folder.path(), "bag_2.db3.zstd", b"x");
    let with_packed = rosbag2::files(folder.path()).unwrap();
    assert_eq!(names(&with_packed.files), ["bag_1.db3", "bag_2.db3.zstd", "bag_9.db3", "bag_10.db3"]);
    std::fs::remove_file(folder.path().join("bag_2.db3.zstd")).unwrap();
    for broken in ["rosbag2_bagfile_information:\n  relative_file_paths: [bag_9.db3, \"", "\0\0\0", "", "[[[", "a: b"] {
        save(folder.path(), "metadata.yaml", broken.as_bytes());
        let bag = rosbag2::files(folder.path()).unwrap();
        assert_eq!((names(&bag.files), bag.notes.len()), (expected.map(str::to_owned).to_vec(), 1), "{broken:?}");
    }
}

#[derive(Debug)]
struct Fixed(Index, Vec<Bytes>);

impl Container for Fixed {
    fn index(&self) -> &Index {
        &self.0
    }

    fn load(&self, _: &dyn ReadAt, _: usize, wanted: &mut dyn FnMut(u16, i64) -> bool) -> Result<std::result::Result<Loaded, String>> {
        let mut bytes = Vec::new();
        let mut places = Vec::new();
        for (index, payload) in self.1.iter().enumerate().filter(|(index, _)| wanted(0, *index as i64)) {
            let time = index as i64;
            let (start, length) = (bytes.len() as u32, payload.len() as u32);
            places.push(Place { log_time_ns: time, publish_time_ns: time, start, length, sequence: 0, channel: 0 });
            bytes.extend_from_slice(payload);
        }
        Ok(Ok(Loaded { bytes: bytes.into(), places, ..Loaded::default() }))
    }
}

#[test]
fn compressed_messages_are_decompressed_and_damaged_ones_lost_alone() {
    let topic = Topic { name: "/a".into(), encoding: "cdr".into(), schema: None, metadata: BTreeMap::new() };
    let index = Index { topics: BTreeMap::from([(0, Arc::new(topic))]), blocks: vec![Block::default()], ..Index::default() };
    let pack = |payload: &[u8]| Bytes::from(zstd::bulk::compress(payload, 1).unwrap());
    let good = pack(&[7; 100_000]);
    let mut lie = good.to_vec();
    // A frame of one segment with four bytes of content size: it claims 4 GiB.
    lie.splice(4..9, [0xa0, 0xff, 0xff, 0xff, 0xff]);
    let payloads =
        vec![good.clone(), Bytes::from_static(b"\0\x01\0\0plain"), good.slice(..good.len() - 3), lie.into(), pack(b""), pack(b"abc")];
    let container = unpacked::messages(unpacked::messages(Arc::new(Fixed(index, payloads))));
    let loaded = container.load(&Bytes::new(), 0, &mut |_, _| true).unwrap().unwrap();
    let found: Vec<(i64, &[u8])> = loaded.places.iter().map(|place| (place.log_time_ns, &loaded.bytes[place.payload()])).collect();
    assert_eq!(found, [(0, &[7; 100_000][..]), (1, b"\0\x01\0\0plain"), (4, b""), (5, b"abc")]);
    let lost: Vec<_> = loaded.losses.iter().map(|loss| (loss.start_ns, loss.messages, loss.topic.as_deref())).collect();
    assert_eq!(lost, [(Some(2), Some(1), Some("/a")), (Some(3), Some(1), Some("/a"))]);
}

#[test]
fn a_compressed_file_is_decompressed_as_far_as_it_goes() {
    let content = payload(7, 3_000_000);
    let packed = Bytes::from(zstd::bulk::compress(&content, 1).unwrap());
    let read = |file: &std::fs::File| {
        let mut bytes = vec![0; content.len() + 10];
        let filled = file.read_full_at(0, &mut bytes).unwrap();
        bytes.truncate(filled);
        bytes
    };
    let (file, damage) = unpacked::file(&packed, unpacked::FILE_LIMIT).unwrap();
    assert!(read(&file) == content && damage.is_none());
    let (file, damage) = unpacked::file(&packed.slice(..packed.len() / 2), unpacked::FILE_LIMIT).unwrap();
    let half = read(&file);
    assert!(half.len() > 500_000 && content.starts_with(&half) && damage.is_some());
    assert!(unpacked::file(&packed, 1000).unwrap_err().to_string().contains("more than 1000 bytes"));
    assert!(unpacked::file(&Bytes::from_static(b"plain"), 1000).is_err());
}

#[test]
fn files_compressed_as_a_whole_are_found() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "a_0.db3.zstd", b"x");
    save(folder.path(), "a_1.db3", b"x");
    let yaml = "rosbag2_bagfile_information:\n  compression_mode: FILE\n  compression_format: zstd\n  relative_file_paths: [a_0.db3, a_1.db3.zstd]\n";
    save(folder.path(), "metadata.yaml", yaml.as_bytes());
    let bag = rosbag2::files(folder.path()).unwrap();
    assert_eq!((names(&bag.files), bag.compression), (vec!["a_0.db3.zstd".to_owned(), "a_1.db3".to_owned()], Compression::File));
    assert!(rosbag2::is_packed(&bag.files[0]) && rosbag2::unpacked_name(&bag.files[0]) == Path::new(folder.path()).join("a_0.db3"));
}
