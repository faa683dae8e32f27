//! Keeping something of a tape that nobody records into.

use std::fs;

use robot::{ChannelSpec, Times};
use serde_json::{Value, json};

use crate::input::{self, START_NS, STEP_NS};
use crate::program::{Place, segments};

/// A tape with the file `a.mcap` on it.
fn recorded(count: u64) -> Place {
    let place = Place::new();
    input::write(&place.path("a.mcap"), count);
    place.ok(&["record", "--from", "a.mcap", "--speed", "max", "--data", "tape", "--device", "rover-7"]);
    place
}

#[test]
fn now_is_the_end_of_the_tape() {
    let place = recorded(1_000);
    let done = place.run(&["save", "--before", "2s", "--data", "tape", "--why", "after the fact", "--json"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("where 'now' is 2026-11-22T12:00:09.990Z, its last message"), "{}", done.stderr);
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&report["state"], &report["start_ns"]), (&json!("complete"), &json!(START_NS + 799 * STEP_NS)));
    let info = place.json(&["info", report["recording"].as_str().unwrap(), "--data", "tape"]);
    assert_eq!((&info["messages"], &info["device"]), (&json!(202), &json!("rover-7")));
    assert!(place.ok(&["doctor", "tape"]).contains("1 recording: all they name is there and unchanged"));
    let text = place.ok(&["save", "--at", "12:00:05", "--before", "1s", "--after", "1s", "--data", "tape"]);
    assert!(text.contains(": complete") && text.contains("/imu  181 messages"), "{text}");
}

#[test]
fn more_than_there_is_says_what_is_missing() {
    let place = recorded(100);
    let report = place.json(&["save", "--before", "1h", "--after", "5s", "--data", "tape"]);
    assert_eq!(report["state"], "cut_short");
    let reasons: Vec<&str> = report["missing"].as_array().unwrap().iter().map(|loss| loss["reason"].as_str().unwrap()).collect();
    assert!(reasons[0].starts_with("not recorded: the first message on the tape is of"), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.starts_with("cut short:")), "{reasons:?}");
    assert_eq!(report["end_ns"], START_NS + 99 * STEP_NS + 1);
    let nothing = place.json(&["save", "--start", "2020-01-01", "--end", "2020-01-02", "--data", "tape"]);
    assert_eq!(nothing["kept"], json!([]));
}

#[test]
fn a_crash_is_repaired_first_and_what_it_cost_is_said() {
    let place = Place::new();
    let agent = place.agent(&["--device", "rover-7"]);
    let recorder = place.recorder();
    let channel = recorder.channel(ChannelSpec { topic: "/imu".into(), encoding: "json".into(), ..ChannelSpec::default() }).unwrap();
    let log = |part: u64| {
        for i in 0..500 {
            channel.log(format!("{{\"i\":{}}}", part * 500 + i).as_bytes(), Times::default()).unwrap();
        }
        // Each part is a chunk of its own.
        recorder.flush().unwrap();
    };
    (0..19).for_each(log);
    let open = place.json(&["save", "--before", "1h"]);
    log(19);
    place.ok(&["keep", "start", "run-12", "--before", "1h"]);
    agent.kill();
    drop(recorder);
    let segment = segments(&place.path("tape")).pop().unwrap();
    input::damage(&segment);

    let doctor = place.run(&["doctor", "tape", "--json"]);
    assert_eq!(doctor.code, 3, "{doctor:?}");
    let readable = serde_json::from_str::<Value>(&doctor.stdout).unwrap()["messages"].as_u64().unwrap();
    assert!((9_000..10_000).contains(&readable), "{readable}");

    let done = place.run(&["save", "--before", "1h", "--data", "tape", "--topics", "/imu", "--json"]);
    assert_eq!(done.code, 3, "{done:?}");
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&report["state"], &report["device"]), (&json!("complete"), &Value::Null));
    let kept = report["kept"].as_array().unwrap().iter().find(|kept| kept["topic"] == "/imu").unwrap();
    assert_eq!(kept["messages"], readable);
    // What the agent had left unfinished is finished, but an open end stays open for the next agent.
    let listed = place.json(&["ls", "tape"]);
    let state = |id: &Value| listed.as_array().unwrap().iter().find(|one| one["recording"] == *id).unwrap()["state"].clone();
    assert_eq!(state(&open["recording"]), "complete");
    assert_eq!(listed.as_array().unwrap().iter().find(|one| one["name"] == "run-12").unwrap()["state"], "keeping");
    place.ok(&["rm", "run-12", "--data", "tape"]);
    assert_eq!(place.json(&["ls", "tape"]).as_array().unwrap().len(), 2);
    // Segments are whole again; what was lost stays said.
    assert_eq!(place.run(&["info", report["recording"].as_str().unwrap(), "--data", "tape"]).code, 3);
}

#[test]
fn the_best_buffer_is_the_one_that_the_configuration_lists_first() {
    let place = Place::new();
    let config = "[[buffer]]\nname = 'z-whole'\ndisk = '1 h'\n[[buffer]]\nname = 'a-sparse'\ndisk = '1 h'\nmax_rate = '1 Hz'\n";
    fs::write(place.path("two.toml"), config).unwrap();
    input::write(&place.path("a.mcap"), 1_000);
    place.ok(&["record", "two.toml", "--from", "a.mcap", "--speed", "max", "--data", "tape"]);
    let report = place.json(&["save", "--before", "1h", "--topics", "/imu", "--data", "tape"]);
    assert_eq!((&report["kept"][0]["buffers"], &report["kept"][0]["messages"]), (&json!(["z-whole"]), &json!(900)));
}

#[test]
fn a_segment_that_changed_or_is_gone_is_found() {
    let place = recorded(1_000);
    place.ok(&["save", "--before", "1h", "--data", "tape"]);
    let segment = segments(&place.path("tape")).into_iter().find(|path| path.to_string_lossy().contains("-all-")).unwrap();
    let whole = fs::read(&segment).unwrap();
    // A byte of the header's library name, which no checksum of MCAP protects.
    let mut changed = whole.clone();
    changed[30] ^= 1;
    fs::write(&segment, changed).unwrap();
    let done = place.run(&["doctor", "tape"]);
    assert!(done.code == 3 && done.stdout.contains("has changed since it was recorded"), "{done:?}");
    fs::write(&segment, &whole[..whole.len() - 1]).unwrap();
    let done = place.run(&["doctor", "tape"]);
    assert!(done.code == 3 && done.stdout.contains("bytes instead of"), "{done:?}");
    fs::remove_file(&segment).unwrap();
    let done = place.run(&["doctor", "tape"]);
    assert!(done.code == 3 && done.stdout.contains("is missing"), "{done:?}");
}

#[test]
fn status_and_ls_look_without_touching() {
    let place = recorded(1_000);
    let before = fs::read_dir(place.path("tape/tape")).unwrap().count();
    let status = place.json(&["status", "--data", "tape"]);
    assert_eq!((&status["agent"], &status["devices"]), (&Value::Null, &json!(["rover-7"])));
    let all = status["buffers"].as_array().unwrap().iter().find(|buffer| buffer["name"] == "all").unwrap();
    assert_eq!((&all["oldest_ns"], &all["newest_ns"]), (&json!(START_NS), &json!(START_NS + 999 * STEP_NS)));
    assert!(place.ok(&["status", "--data", "tape"]).contains("no agent answers"));
    assert!(place.ok(&["ls", "tape"]).contains("no recordings on the tape"));
    assert_eq!(fs::read_dir(place.path("tape/tape")).unwrap().count(), before);
}
