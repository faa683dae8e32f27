//! `tapeloop schema`: field trees, what changed, definitions that were given.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use mcap::WriteOptions;
use serde_json::json;

use crate::program::Place;

const RULE: &str = "================================================================================";

/// Writes a file without messages: topic, type, schema encoding and definition.
fn write(path: &Path, channels: &[(&str, &str, &str, &str)]) {
    let mut writer = WriteOptions::new().compression(None).create(BufWriter::new(File::create(path).unwrap())).unwrap();
    for (topic, name, encoding, text) in channels {
        let schema = writer.add_schema(name, encoding, text.as_bytes()).unwrap();
        writer.add_channel(schema, topic, "cdr", &BTreeMap::new()).unwrap();
    }
    writer.finish().unwrap();
}

fn arm(fields: &str) -> String {
    format!(
        "# An arm.\n\nuint8 IDLE=0 # not moving\nJoint[<=7] joints\n{fields}{RULE}\nMSG: demo/Joint\nstring name\nfloat64 angle # [rad]\n"
    )
}

#[test]
fn a_tree_is_shown_with_types_units_and_constants() {
    let place = Place::new();
    let text = arm("float32[3] force # in newtons\n");
    write(&place.path("a.mcap"), &[("/left", "demo/msg/Arm", "ros2msg", &text), ("/right", "demo/msg/Arm", "ros2msg", &text)]);
    insta::assert_snapshot!("schema", place.ok(&["schema", "a.mcap", "--topic", "/left"]));
    let all = place.json(&["schema", "a.mcap"]);
    assert_eq!(all.as_array().unwrap().len(), 1);
    assert_eq!(
        (&all[0]["topics"], &all[0]["type"], &all[0]["encoding"]),
        (&json!(["/left", "/right"]), &json!("demo/msg/Arm"), &json!("cdr"))
    );
    assert_eq!(all[0]["types"][0]["fields"][1], json!({ "name": "force", "type": "float32[3]", "unit": "N", "comment": "in newtons" }));
    assert!(all[0]["hash"].as_str().unwrap().starts_with("RIHS01_"));
    let done = place.run(&["schema", "demo/msg/Leg"]);
    assert!(done.code == 1 && done.stderr.contains("no type 'demo/msg/Leg' is known"), "{done:?}");
    assert!(done.stderr.contains("schema ls --all") && done.stderr.contains("schema add DIR"), "{done:?}");
    // The name tells which ROS is meant.
    let imu = place.ok(&["schema", "sensor_msgs/Imu"]);
    assert!(imu.starts_with("sensor_msgs/Imu") && imu.contains("of       ROS 1; ROS 2 has sensor_msgs/msg/Imu"), "{imu}");
    let imu = place.ok(&["schema", "sensor_msgs/msg/Imu"]);
    assert!(imu.starts_with("sensor_msgs/msg/Imu") && imu.contains("of       ROS 2; ROS 1 has sensor_msgs/Imu"), "{imu}");
    // Standard types need no recording.
    assert!(place.ok(&["schema", "sensor_msgs/msg/NavSatFix"]).contains("latitude"));
}

#[test]
fn what_changed_is_said_by_type_with_an_exit_code() {
    let place = Place::new();
    write(&place.path("a.mcap"), &[("/arm", "demo/msg/Arm", "ros2msg", &arm("int8 mode\n"))]);
    write(&place.path("b.mcap"), &[("/arm", "demo/msg/Arm", "ros2msg", &arm("int16 mode\nbool ok\n").replace("[rad]", "[deg]"))]);
    assert_eq!(place.ok(&["schema", "diff", "a.mcap", "a.mcap"]), "all types are the same\n");
    let done = place.run(&["schema", "diff", "a.mcap", "b.mcap", "--topic", "/arm"]);
    let expected = "demo/msg/Arm\n  + ok  bool\n  ~ mode  type: int8 → int16\ndemo/msg/Joint\n  ~ angle  unit: rad → deg\n";
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (1, expected, ""));
    let done = place.run(&["schema", "diff", "a.mcap", "b.mcap", "--json"]);
    let changes: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(changes[0], json!({ "type": "demo/msg/Arm", "name": "ok", "change": "added", "before": "", "after": "bool" }));
    assert_eq!(place.run(&["schema", "diff", "a.mcap"]).code, 2);
    let done = place.run(&["schema", "diff", "a.mcap", "b.mcap", "--topic", "/leg"]);
    assert!(done.code == 1 && done.stderr.contains("no topic matches /leg; there are /arm"), "{done:?}");
}

#[test]
fn definitions_that_are_given_later_make_a_recording_readable() {
    let place = Place::new();
    write(&place.path("a.mcap"), &[("/arm", "demo/msg/Arm", "", ""), ("/odom", "nav_msgs/msg/Odometry", "", "")]);
    let done = place.run(&["schema", "a.mcap"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("/arm: nothing defines 'demo/msg/Arm': give its definition with 'tapeloop schema add DIR'"), "{done:?}");
    assert!(done.stdout.contains("nav_msgs/msg/Odometry") && done.stdout.contains("covariance"), "{done:?}");
    fs::create_dir_all(place.path("ws/demo/msg")).unwrap();
    fs::write(place.path("ws/demo/msg/Arm.msg"), "Joint[] joints\n").unwrap();
    let done = place.run(&["schema", "add", "ws"]);
    assert!(done.code == 0 && done.stderr.contains("kept, but not readable yet: 'demo/msg/Arm' needs 'demo/msg/Joint'"), "{done:?}");
    fs::write(place.path("ws/demo/msg/Joint.msg"), "float64 angle\n").unwrap();
    assert!(place.ok(&["schema", "add", "ws"]).starts_with("2 types kept in "));
    assert!(place.ok(&["schema", "add", "ws"]).starts_with("2 types, all known already"));
    assert!(place.ok(&["schema", "a.mcap", "--topic", "/arm"]).contains("angle"));
    let listed = place.ok(&["schema", "ls"]);
    assert!(listed.contains("demo/msg/Joint") && listed.contains("standard types, which --all lists"), "{listed}");
    assert!(place.ok(&["schema", "ls", "--all"]).contains("std_msgs/msg/Header"));
    // Another recording teaches what it has.
    write(&place.path("b.mcap"), &[("/leg", "demo/msg/Leg", "ros2msg", "int8 toes")]);
    assert!(place.ok(&["schema", "add", "b.mcap"]).starts_with("1 type kept in "));
    assert!(place.ok(&["schema", "demo/msg/Leg"]).contains("toes"));
    assert_eq!(place.run(&["schema", "add", "nowhere"]).code, 1);
    assert_eq!(place.run(&["schema"]).code, 2);
}

#[test]
fn messages_are_decoded_once_their_definition_is_given() {
    let place = Place::new();
    let mut writer = WriteOptions::new().compression(None).create(BufWriter::new(File::create(place.path("a.mcap")).unwrap())).unwrap();
    let schema = writer.add_schema("demo/msg/Leg", "", b"").unwrap();
    let channel_id = writer.add_channel(schema, "/leg", "cdr", &BTreeMap::new()).unwrap();
    let header = mcap::records::MessageHeader { channel_id, sequence: 0, log_time: 1, publish_time: 1 };
    writer.write_to_known_channel(&header, &[0, 1, 0, 0, 5, 7]).unwrap();
    writer.finish().unwrap();
    assert!(!place.run(&["cat", "a.mcap", "--json"]).stdout.contains("toes"));
    fs::create_dir_all(place.path("demo/msg")).unwrap();
    fs::write(place.path("demo/msg/Leg.msg"), "int8 toes\nint8 nails\n").unwrap();
    assert!(place.ok(&["schema", "add", "demo"]).starts_with("1 type kept in "));
    let line = place.ok(&["cat", "a.mcap", "--json"]);
    assert!(line.contains(r#"{"toes":5,"nails":7}"#), "{line}");
}
