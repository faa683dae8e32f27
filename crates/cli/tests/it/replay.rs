//! `record --from`: files that drive the recorder as if they were live.

use std::fs;

use serde_json::json;

use crate::input::{self, START_NS, STEP_NS};
use crate::program::Place;

#[test]
fn a_file_goes_in_as_it_is() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 3_000);
    let done = place.run(&["record", "--from", "a.mcap", "--speed", "max", "--data", "tape"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("played 3,001 messages"), "{}", done.stdout);
    let info = place.json(&["info", "tape"]);
    assert_eq!((&info["start_ns"], &info["end_ns"]), (&json!(START_NS), &json!(START_NS + 2_999 * STEP_NS)));
    place.ok(&["export", "tape", "-o", "b.mcap"]);
    input::assert_equal(&input::read(&place.path("a.mcap")), &input::read(&place.path("b.mcap")));
    assert!(place.ok(&["doctor", "tape"]).ends_with("nothing was lost\n"));
}

#[test]
fn several_files_are_merged_by_time() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 300);
    input::write_from(&place.path("b.mcap"), START_NS + STEP_NS / 2, 300);
    place.ok(&["record", "--speed", "max", "--data", "tape", "--from", "b.mcap", "a.mcap"]);
    let times: Vec<i64> = place
        .ok(&["cat", "tape", "--json"])
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["log_time"].as_i64().unwrap())
        .collect();
    assert_eq!(times.len(), 602);
    assert!(times.is_sorted());
}

#[test]
fn the_clock_is_that_of_the_file() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 1_000);
    let agent = place.agent(&["--from", "a.mcap", "--speed", "max", "--stay"]);
    let status = place.until(&["status"], |status| status["buffers"][0]["messages"] == 1_001);
    assert_eq!((&status["clock"]["kind"], &status["clock"]["utc_ns"]), (&json!("file"), &json!(START_NS + 999 * STEP_NS)));
    // The last 2 s of 10 s that are past: 200 messages and the one at the start.
    let saved = place.json(&["save", "--before", "2 s"]);
    assert_eq!(saved["start_ns"], START_NS + 799 * STEP_NS);
    // What is kept without an end is cut short when the agent goes.
    place.ok(&["keep", "start", "run-12", "--before", "1 s"]);
    assert_eq!(agent.stop().0, 0);
    let id = saved["recording"].as_str().unwrap();
    let info = place.json(&["info", id, "--data", "tape"]);
    assert_eq!((&info["state"], &info["start_ns"]), (&json!("complete"), &json!(START_NS + 799 * STEP_NS)));
    // The map, which is latched, is part of it.
    assert_eq!(info["messages"], 202);
    let kept = place.json(&["info", "run-12", "--data", "tape"]);
    assert_eq!((&kept["state"], &kept["messages"]), (&json!("cut_short"), &json!(102)));
}

#[test]
fn a_window_that_ends_behind_the_file_is_cut_short_at_its_end() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 100);
    // 5 s are long enough to ask something meanwhile, and the answer does not depend on when.
    let agent = place.agent(&["--from", "a.mcap", "--speed", "0.2"]);
    place.until(&["status"], |status| status["buffers"][0]["messages"].as_u64() > Some(0));
    let saved = place.json(&["save", "--before", "1 h", "--after", "1 h"]);
    let (code, said) = agent.wait();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("played 101 messages"), "{said}");
    let info = place.json(&["info", saved["recording"].as_str().unwrap(), "--data", "tape"]);
    assert_eq!((&info["state"], &info["messages"]), (&json!("cut_short"), &json!(101)));
    let reasons: Vec<&str> = info["missing"].as_array().unwrap().iter().map(|loss| loss["reason"].as_str().unwrap()).collect();
    assert!(reasons.iter().any(|reason| reason.starts_with("cut short:")), "{reasons:?}");
}

#[test]
fn a_replay_can_be_stopped() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 10_000);
    let agent = place.agent(&["--from", "a.mcap", "--speed", "0.5"]);
    place.until(&["status"], |status| status["buffers"][0]["messages"].as_u64() > Some(0));
    let (code, said) = agent.stop();
    assert!(code == 0 && said.contains("stopped before the end"), "{said}");
    let own = place.run(&["record", "--from", "tape", "--data", "tape"]);
    assert!(own.code == 2 && own.stderr.contains("would play its own tape"), "{own:?}");
}

#[test]
fn times_can_begin_now() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 100);
    place.ok(&["record", "--from", "a.mcap", "--speed", "max", "--times", "now", "--data", "tape"]);
    let info = place.json(&["info", "tape"]);
    let (start, end) = (info["start_ns"].as_u64().unwrap(), info["end_ns"].as_u64().unwrap());
    assert_eq!(end - start, 99 * STEP_NS);
    assert_ne!(start, START_NS);
    let line = place.ok(&["cat", "tape", "--topic", "/imu", "--limit", "1", "--json"]);
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["log_time"].as_u64().unwrap() - line["publish_time"].as_u64().unwrap(), 3_000_000);
}

#[test]
fn what_the_input_had_lost_is_said() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 2_000);
    input::damage(&place.path("a.mcap"));
    let readable = place.run(&["cat", "a.mcap"]).stdout.lines().count();
    let done = place.run(&["record", "--from", "a.mcap", "--speed", "max", "--data", "tape"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.stderr.contains("tapeloop: lost in the input: "), "{}", done.stderr);
    let cat = place.run(&["cat", "tape"]);
    // The recorder's own topic tells of the losses too.
    let played = cat.stdout.lines().filter(|line| !line.contains("/tapeloop/")).count();
    assert_eq!((cat.code, played), (3, readable), "{cat:?}");
}

#[test]
fn what_the_input_had_lost_is_a_loss_of_the_tape() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 2_000);
    input::damage(&place.path("a.mcap"));
    let of_file: serde_json::Value = serde_json::from_str(&place.run(&["doctor", "a.mcap", "--json"]).stdout).unwrap();
    assert_eq!(of_file["files"][0]["state"], "damaged");
    let done = place.run(&["record", "--from", "a.mcap", "--speed", "max", "--data", "tape"]);
    assert!(done.code == 3 && !done.stdout.contains("on the way to the disk"), "{done:?}");
    let info = place.run(&["info", "tape", "--json"]);
    assert_eq!(info.code, 3, "{info:?}");
    let info: serde_json::Value = serde_json::from_str(&info.stdout).unwrap();
    let sum = |losses: &serde_json::Value| -> u64 { losses.as_array().unwrap().iter().filter_map(|loss| loss["messages"].as_u64()).sum() };
    assert_eq!(sum(&info["losses"]), sum(&of_file["losses"]), "{info:#}");
    for loss in info["losses"].as_array().unwrap() {
        assert!(loss["reason"].as_str().unwrap().starts_with("lost in a.mcap: "), "{loss}");
        assert!(loss["start_ns"].as_u64().unwrap() >= START_NS && loss["end_ns"].as_u64().unwrap() <= START_NS + 1_999 * STEP_NS, "{loss}");
    }
    let doctor = place.run(&["doctor", "tape"]);
    assert!(doctor.code == 3 && doctor.stdout.contains("all are whole"), "{doctor:?}");
    assert_eq!(place.run(&["export", "tape", "-o", "b.mcap"]).code, 3);
}

#[test]
fn a_file_can_be_played_from_a_recording() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 500);
    place.ok(&["record", "--from", "a.mcap", "--speed", "max", "--data", "tape"]);
    let (start, end) = ((START_NS + 100 * STEP_NS).to_string(), (START_NS + 200 * STEP_NS).to_string());
    place.ok(&["export", "tape", "--start", &start, "--end", &end, "-o", "b.mcap"]);
    // The map in it is of 1 s before its start; it is not waited for.
    place.ok(&["record", "--from", "b.mcap", "--speed", "max", "--data", "second"]);
    assert_eq!(place.json(&["info", "second"])["messages"], 101);
    fs::remove_dir_all(place.path("tape")).unwrap();
    place.ok(&["record", "--from", "second", "--speed", "max", "--data", "tape"]);
    assert_eq!(place.json(&["info", "tape"])["messages"], 101);
}
