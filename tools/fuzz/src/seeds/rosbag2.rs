//! rosbag2 folders, packed into one input.
//!
//! **Invariant:** the file of each number has the ending that its content wants.

use super::{pack, segment, sqlite};
use recording::mcap::chunk::Compression;

/// The files that a folder can have, by number.
pub(crate) const NAMES: [&str; 6] = ["metadata.yaml", "a_0.mcap", "a_1.db3", "a_1.db3-wal", "a_2.mcap.zstd", "sub/a_3.mcap"];

/// Returns folders with these `metadata.yaml`.
pub(super) fn folders(yamls: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (mcap, database) = (segment(Compression::None), sqlite::database(1024, false));
    let log = sqlite::log(&database, 1024);
    let packed = zstd::bulk::compress(&mcap, 1).unwrap_or_default();
    let mut folders = vec![
        pack(&[(1, &mcap), (2, &database), (3, &log)]),
        pack(&[(2, &database), (0, YAML)]),
        pack(&[(0, YAML), (1, &mcap), (2, &sqlite::database(512, true)), (5, &mcap)]),
        pack(&[(0, PACKED.as_bytes()), (4, &packed)]),
    ];
    folders.extend(yamls.iter().map(|yaml| pack(&[(0, yaml), (1, &mcap)])));
    folders
}

const YAML: &[u8] = b"rosbag2_bagfile_information:
  version: 9
  storage_identifier: mcap
  duration: {nanoseconds: 13}
  compression_format: zstd
  compression_mode: MESSAGE
  relative_file_paths: [a_0.mcap, a_1.db3, sub/a_3.mcap, gone.mcap]
  files:
    - path: gone.mcap
      starting_time: {nanoseconds_since_epoch: 5}
      duration: {nanoseconds: 6}
      message_count: 7
  topics_with_message_count:
    - topic_metadata:
        name: /t1
        type: a/msg/B
        serialization_format: cdr
        offered_qos_profiles:
          - history: keep_last
            depth: 10
            deadline: {sec: 1, nsec: 2}
        type_description_hash: RIHS01_00
      message_count: 4
    - topic_metadata: {name: /a, offered_qos_profiles: \"- history: 3\\n  depth: 0\"}
  custom_data: {robot: \"7\", more: [x, y]}
";

const PACKED: &str =
    "rosbag2_bagfile_information:\n  compression_format: zstd\n  compression_mode: FILE\n  relative_file_paths:\n  - a_2.mcap.zstd\n";
