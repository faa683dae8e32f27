//! `info`, `cat`, `export` and `doctor` on files.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::input::{self, START_NS, STEP_NS};
use crate::program::Place;

#[test]
fn info_counts_everything_in_a_fixed_form() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 100);
    let info = place.json(&["info", "a.mcap"]);
    let expected = json!({
        "path": "a.mcap",
        "format": "mcap",
        "messages": 101,
        "start_ns": START_NS,
        "end_ns": START_NS + 99 * STEP_NS,
        "topics": [
            { "topic": "/imu", "type": "demo.Sample", "encoding": "json", "messages": 90, "bytes": 1657 },
            { "topic": "/log", "type": "", "encoding": "json", "messages": 10, "bytes": 187 },
            { "topic": "/map", "type": "demo/msg/Map", "encoding": "cdr", "messages": 1, "bytes": 300 },
        ],
        "losses": [],
        "notes": [],
    });
    let counts = |info: &Value| info["topics"].as_array().unwrap().iter().map(|topic| topic["messages"].clone()).collect::<Vec<_>>();
    assert_eq!(counts(&info), counts(&expected));
    for key in ["path", "format", "messages", "start_ns", "end_ns", "losses", "notes"] {
        assert_eq!(info[key], expected[key], "{key}");
    }
    let keys: Vec<&String> = info["topics"][0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["topic", "type", "encoding", "messages", "bytes"]);
    insta::assert_snapshot!("info", place.ok(&["info", "a.mcap"]));
}

#[test]
fn info_reads_a_bag_folder() {
    let place = Place::new();
    fs::create_dir(place.path("bag")).unwrap();
    input::write(&place.path("bag/bag_0.mcap"), 50);
    input::write_from(&place.path("bag/bag_1.mcap"), START_NS + 50 * STEP_NS, 50);
    fs::write(
        place.path("bag/metadata.yaml"),
        "rosbag2_bagfile_information:\n  relative_file_paths:\n    - bag_0.mcap\n    - bag_1.mcap\n",
    )
    .unwrap();
    let info = place.json(&["info", "bag"]);
    assert_eq!((&info["format"], &info["messages"]), (&json!("rosbag2"), &json!(102)));
    assert!(place.ok(&["doctor", "bag"]).contains("2 files"));
}

#[test]
fn damage_is_said_with_exit_code_3_and_complete_json() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 2_000);
    input::damage(&place.path("a.mcap"));
    let done = place.run(&["info", "a.mcap", "--json"]);
    assert_eq!(done.code, 3, "{done:?}");
    let info: Value = serde_json::from_str(&done.stdout).unwrap();
    let readable = info["messages"].as_u64().unwrap();
    assert!(readable > 1_500 && readable < 2_001, "{readable}");
    let loss = &info["losses"][0];
    let keys: Vec<&String> = loss.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["topic", "start_ns", "end_ns", "messages", "bytes", "reason"]);

    let doctor = place.run(&["doctor", "a.mcap", "--json"]);
    assert_eq!(doctor.code, 3);
    let findings: Value = serde_json::from_str(&doctor.stdout).unwrap();
    assert_eq!(findings["messages"].as_u64(), Some(readable));
    assert_eq!((&findings["ok"], &findings["files"][0]["state"]), (&json!(false), &json!("damaged")));
    assert!(place.run(&["doctor", "a.mcap"]).stdout.ends_with("something was lost\n"));

    let export = place.run(&["export", "a.mcap", "-o", "b.mcap", "--json"]);
    assert_eq!(export.code, 3);
    let report: Value = serde_json::from_str(&export.stdout).unwrap();
    assert_eq!(report["messages"].as_u64(), Some(readable));
    assert_eq!(input::read(&place.path("b.mcap")).len() as u64, readable);
    assert_eq!(place.run(&["cat", "a.mcap"]).stdout.lines().count() as u64, readable);
    assert_eq!(place.run(&["cat", "a.mcap"]).code, 3);
}

#[test]
fn cat_prints_a_line_per_message() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 100);
    let lines: Vec<Value> =
        place.ok(&["cat", "a.mcap", "--topic", "/log", "--json"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 10);
    let log_time = START_NS + 9 * STEP_NS;
    let expected =
        json!({ "topic": "/log", "log_time": log_time, "publish_time": log_time - 3_000_000, "message": { "i": 9, "x": 71271 } });
    assert_eq!(lines[0], expected);
    insta::assert_snapshot!("cat", place.ok(&["cat", "a.mcap", "--limit", "4"]));

    let count = |arguments: &[&str]| place.ok(arguments).lines().count();
    assert_eq!(count(&["cat", "a.mcap", "--topic", "/imu", "--topic", "/log"]), 100);
    assert_eq!(count(&["cat", "a.mcap", "--topics", "/imu,/log"]), 100);
    assert_eq!(count(&["cat", "a.mcap", "--topics", "!/map"]), 100);
    assert_eq!(count(&["cat", "a.mcap", "--start", "12:00:00.5", "--topic", "/imu"]), 45);
    assert_eq!(count(&["cat", "a.mcap", "--start", "100 ms ago", "--end", "now"]), 10);
    let none = place.run(&["cat", "a.mcap", "--topic", "/gps"]);
    assert_eq!((none.code, none.stdout.as_str()), (1, ""));
    assert!(none.stderr.contains("no topic matches /gps; there are /imu, /log, /map"), "{}", none.stderr);
}

#[test]
fn cat_prints_fields_and_tables() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 100);
    let line = place.ok(&["cat", "a.mcap", "--topic", "/imu", "--fields", "x,nothing", "--json", "--limit", "1"]);
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["message"], json!({ "x": 0 }));
    let table = place.ok(&["cat", "a.mcap", "--topic", "/imu", "--fields", "x,i", "--csv", "--limit", "2"]);
    let (first, second) = (START_NS, START_NS + STEP_NS);
    let rows = [format!("/imu,{first},{},0,0", first - 3_000_000), format!("/imu,{second},{},7919,1", second - 3_000_000)];
    assert_eq!(table, format!("topic,log_time,publish_time,x,i\n{}\n", rows.join("\n")));
    assert_eq!(place.run(&["cat", "a.mcap", "--csv"]).code, 2);
    let broken = place.run(&["cat", "a.mcap", "--topic", "/map", "--csv"]);
    assert!(broken.stdout.starts_with("topic,log_time,publish_time,data\n/map,"), "{broken:?}");
    assert!(broken.stderr.contains("1 message could not be decoded"), "{broken:?}");
    let unseen = place.run(&["cat", "a.mcap"]);
    assert_eq!((unseen.code, unseen.stderr.lines().count()), (0, 1), "{unseen:?}");
    assert!(unseen.stderr.contains("/map: 1 message could not be decoded: "), "{unseen:?}");
    let malformed = place.run(&["cat", "a.mcap", "--fields", "a["]);
    assert_eq!(malformed.code, 2, "{malformed:?}");
    let unknown = place.run(&["cat", "a.mcap", "--topic", "/map", "--fields", "dta"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (1, ""));
    assert!(unknown.stderr.contains("there are data"), "{unknown:?}");
}

#[test]
fn json_that_nothing_describes_has_the_fields_of_its_first_messages() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 30);
    let table = place.ok(&["cat", "a.mcap", "--topic", "/log", "--csv"]);
    assert!(table.starts_with("topic,log_time,publish_time,i,x\n/log,"), "{table}");
    assert!(table.lines().nth(1).unwrap().ends_with(",9,71271"), "{table}");
    assert_eq!(table.lines().count(), 4);
    let shown = place.ok(&["schema", "a.mcap", "--topic", "/log"]);
    assert!(
        shown.contains("written  json; nothing defines its fields")
            && shown.starts_with("(no type)\ntopics   /log\n")
            && shown.contains("i  int64"),
        "{shown}"
    );
    let schema = &place.json(&["schema", "a.mcap", "--topic", "/log"])[0];
    assert_eq!((&schema["inferred"], &schema["types"][0]["fields"][0]["name"]), (&json!(true), &json!("i")));
}

#[test]
fn a_span_that_is_too_short_has_no_rate() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 1);
    let info = place.ok(&["info", "a.mcap"]);
    assert!(info.lines().last().unwrap().split_whitespace().any(|cell| cell == "-"), "{info}");
}

#[test]
fn cat_ends_quietly_when_nobody_reads_on() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 20_000);
    let mut child = place.command(&["cat", "a.mcap", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn an_export_is_exact_and_cuts_time_and_topics() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 500);
    let original = input::read(&place.path("a.mcap"));
    for compression in ["none", "lz4", "zstd"] {
        let report = place.json(&["export", "a.mcap", "-o", "all.mcap", "--compression", compression]);
        assert_eq!(report["messages"], 501);
        input::assert_equal(&original, &input::read(&place.path("all.mcap")));
    }
    let (start, end) = ((START_NS + 100 * STEP_NS).to_string(), (START_NS + 200 * STEP_NS).to_string());
    let report = place.json(&["export", "a.mcap", "--start", &start, "--end", &end, "--topics", "/log", "/map", "-o", "part.mcap"]);
    // The map is latched: its value as of the start is in front.
    assert_eq!((&report["messages"], &report["latched"]), (&json!(11), &json!(1)));
    let expected: Vec<input::Read> = original
        .into_iter()
        .filter(|message| {
            message.topic == "/map" || message.topic == "/log" && (100..200).contains(&((message.log_time - START_NS) / STEP_NS))
        })
        .collect();
    input::assert_equal(&expected, &input::read(&place.path("part.mcap")));
    let info = place.json(&["info", "part.mcap"]);
    assert_eq!(info["start_ns"], START_NS + 109 * STEP_NS);
    assert!(place.ok(&["export", "a.mcap", "-o", "b.mcap"]).contains("501 messages"));
    let onto_itself = place.run(&["export", "a.mcap", "-o", "a.mcap"]);
    assert!(onto_itself.code == 1 && onto_itself.stderr.contains("would overwrite what it reads"), "{onto_itself:?}");
}

#[test]
fn doctor_is_content_with_a_good_file() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 100);
    insta::assert_snapshot!("doctor", place.ok(&["doctor", "a.mcap"]).replace(&size_of(&place), "SIZE"));
    let findings = place.json(&["doctor", "a.mcap"]);
    assert_eq!((&findings["ok"], &findings["messages"], &findings["files"][0]["state"]), (&json!(true), &json!(101), &json!("ok")));
}

fn size_of(place: &Place) -> String {
    recording::size::format(fs::metadata(place.path("a.mcap")).unwrap().len())
}
