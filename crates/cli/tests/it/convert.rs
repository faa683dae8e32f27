//! `convert`, `doctor --repair` and `info --fast`, from outside.

use recording::mcap::chunk::{ChunkBuilder, Compression};
use recording::mcap::segment::{Definition, SegmentWriter};
use recording::message::{Schema, Topic};

use crate::program::Place;

/// Returns a file of four chunks, and where the second one begins.
fn file(encoding: &str) -> (Vec<u8>, usize) {
    let schema = Schema { name: "std_msgs/msg/String".into(), encoding: "ros2msg".into(), data: "string data\n".into() };
    let topic = Topic { name: "/chatter".into(), encoding: encoding.into(), schema: Some(schema.into()), metadata: Default::default() };
    let mut bytes = Vec::new();
    let mut writer = SegmentWriter::begin(&mut bytes, "");
    writer.define(&mut bytes, &Definition { channel_id: 1, schema_id: 1, topic: topic.into() });
    let mut second = 0;
    for number in 0..4u32 {
        let mut chunk = ChunkBuilder::default();
        for step in 0..10 {
            let time = 1_700_000_000_000_000_000 + u64::from(number * 10 + step) * 1_000_000;
            chunk.push(1, number * 10 + step, time, time, b"\0\x01\0\0\x03\0\0\0hi\0");
        }
        let chunk = chunk.encode(Compression::None);
        writer.chunk(&chunk);
        if number == 1 {
            second = bytes.len();
        }
        chunk.parts().iter().for_each(|part| bytes.extend_from_slice(part));
    }
    writer.finish(&mut bytes);
    (bytes, second)
}

#[test]
fn recordings_are_converted_into_files_and_folders() {
    let place = Place::new();
    std::fs::write(place.path("a.mcap"), file("cdr").0).unwrap();
    let report = place.json(&["convert", "a.mcap", "-o", "out.mcap", "--compression", "lz4"]);
    assert_eq!((&report["messages"], &report["path"]), (&40.into(), &"out.mcap".into()));
    assert!(place.ok(&["convert", "a.mcap", "a.mcap", "-o", "out-rosbag2/"]).contains("80 messages"));
    assert_eq!(place.json(&["info", "out-rosbag2"])["messages"], 80);
    assert!(place.path("out-rosbag2/out-rosbag2_0.mcap").is_file() && place.path("out-rosbag2/metadata.yaml").is_file());
    let again = place.run(&["convert", "a.mcap", "-o", "out-rosbag2"]);
    assert!(again.code == 1 && again.stderr.contains("choose another name"), "{again:?}");
    let own = place.run(&["convert", "a.mcap", "-o", "a.mcap"]);
    assert!(own.code == 1 && own.stderr.contains("overwrite what it reads"), "{own:?}");
    std::fs::write(place.path("j.mcap"), file("json").0).unwrap();
    let json = place.run(&["convert", "j.mcap", "-o", "j"]);
    assert!(json.code == 1 && json.stderr.contains("in CDR only: /chatter (json)"), "{json:?}");
    let odd = place.run(&["convert", "a.mcap", "-o", "b.mcap", "--compression", "zip"]);
    assert!(odd.code == 2 && odd.stderr.contains("not a compression"), "{odd:?}");
}

#[test]
fn damage_is_repaired_into_another_file() {
    let place = Place::new();
    let (mut bytes, second) = file("cdr");
    bytes[second + 100] ^= 1;
    std::fs::write(place.path("torn.mcap"), &bytes).unwrap();
    let done = place.run(&["doctor", "torn.mcap", "--repair", "-o", "fixed.mcap"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.stdout.contains("in all      10 messages, in 1 chunk, "), "{}", done.stdout);
    assert!(done.stdout.contains("repaired    fixed.mcap: 30 messages"), "{}", done.stdout);
    assert_eq!(std::fs::read(place.path("torn.mcap")).unwrap(), bytes);
    let info = place.run(&["info", "fixed.mcap", "--json"]);
    let info: serde_json::Value = serde_json::from_str(&info.stdout).unwrap();
    assert_eq!((&info["messages"], &info["losses"][0]["messages"]), (&30.into(), &10.into()));
    assert_eq!(info["notes"], serde_json::json!([]));
    assert_eq!(place.run(&["doctor", "torn.mcap", "--repair"]).code, 2);
}

#[test]
fn a_fast_look_says_that_nothing_was_counted() {
    let place = Place::new();
    std::fs::write(place.path("a.mcap"), file("cdr").0).unwrap();
    let text = place.ok(&["info", "a.mcap", "--fast"]);
    assert!(text.contains("says      40 messages in 1 topic") && text.contains("only what the files say"), "{text}");
    assert_eq!(place.json(&["info", "a.mcap", "--fast"])["topics"][0]["messages"], 40);
}
