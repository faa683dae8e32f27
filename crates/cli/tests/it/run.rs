//! `tapeloop run`: what a program prints, on the terminal and on the tape.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::program::Place;

/// Returns the messages of a topic on the tape in `folder`.
fn messages(place: &Place, folder: &str, topic: &str) -> Vec<Value> {
    let text = place.ok(&["cat", &place.at(folder), "--topic", topic, "--json"]);
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["message"].clone()).collect()
}

/// Returns the events about programs.
fn events(place: &Place, folder: &str) -> Vec<Value> {
    let all = messages(place, folder, "/tapeloop/events");
    all.into_iter().filter(|event| event["kind"].as_str().is_some_and(|kind| kind.starts_with("program_"))).collect()
}

#[test]
fn lines_are_passed_on_and_recorded_by_the_agent() {
    let place = Place::new();
    let agent = place.agent(&[]);
    let script = "printf 'one\\n[WARN] two\\npart'; printf 'bad\\n' >&2; printf '\\377\\n'; exit 7";
    let output = place.command(&["run", "--name", "talker", "--", "sh", "-c", script]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(7), b"one\n[WARN] two\npart\xff\n".as_slice()));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "bad\n");
    assert_eq!(agent.stop().0, 0);
    let lines = messages(&place, "tape", "/logs/talker");
    let of = |stream: &str| -> Vec<(Value, Value)> {
        let own = lines.iter().filter(|line| line["stream"] == stream);
        own.map(|line| (line["message"].clone(), line["level"].clone())).collect()
    };
    assert_eq!(of("stdout"), [(json!("one"), json!(0)), (json!("[WARN] two"), json!(3)), (json!("part\u{fffd}"), json!(0))]);
    assert_eq!(of("stderr"), [(json!("bad"), json!(0))]);
    assert!(lines.iter().all(|line| line["pid"].as_u64() > Some(1) && line["name"] == "talker"));
    let events = events(&place, "tape");
    assert_eq!((events.len(), &events[0]["kind"], &events[1]["kind"]), (2, &json!("program_started"), &json!("program_failed")));
    let detail = &events[1]["detail"];
    assert_eq!((&detail["exit_code"], &detail["command"][0], &detail["topic"]), (&json!(7), &json!("sh"), &json!("/logs/talker")));
    assert_eq!(detail["last_lines"].as_array().unwrap().len(), 4);
}

#[test]
fn without_an_agent_there_is_a_tape_of_its_own() {
    let place = Place::new();
    let done = place.run(&["run", "--data", &place.at("own"), "--", "sh", "-c", "echo hello"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "hello\n"));
    assert!(done.stderr.starts_with("tapeloop: no agent answers: sh is recorded on a tape of its own in "), "{}", done.stderr);
    assert_eq!(messages(&place, "own", "/logs/sh")[0]["message"], "hello");
    assert_eq!(events(&place, "own")[1]["kind"], "program_ended");
}

#[test]
fn a_crash_is_told_with_the_last_lines() {
    let place = Place::new();
    let done = place.run(&["run", "--data", &place.at("own"), "--name", "arm", "--", "sh", "-c", "echo before; kill -SEGV $$"]);
    assert_eq!((done.code, done.stdout.as_str()), (128 + 11, "before\n"));
    let events = events(&place, "own");
    assert_eq!((&events[1]["kind"], &events[1]["detail"]["signal"]), (&json!("program_crashed"), &json!("SIGSEGV")));
    assert_eq!(events[1]["detail"]["last_lines"], json!(["before"]));
}

#[test]
fn signals_reach_the_program() {
    let place = Place::new();
    let script = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.01; done";
    let mut command = place.command(&["run", "--data", &place.at("own"), "--name", "arm", "--", "sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    stdout.read_line(&mut text).unwrap();
    assert_eq!(text, "ready\n");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    stdout.read_to_string(&mut text).unwrap();
    assert_eq!((child.wait().unwrap().code(), text.as_str()), (Some(5), "ready\nbye\n"));
    let events = events(&place, "own");
    assert_eq!((&events[1]["kind"], &events[1]["detail"]["asked"]), (&json!("program_ended"), &json!("SIGTERM")));
}

#[test]
fn a_program_that_cannot_be_recorded_runs_unless_it_must_be() {
    let place = Place::new();
    fs::write(place.path("file"), "no folder").unwrap();
    let inside = place.at("file/tape");
    let done = place.run(&["run", "--data", &inside, "--", "sh", "-c", "echo on; exit 3"]);
    assert!(done.code == 3 && done.stdout == "on\n" && done.stderr.contains("sh is not recorded: "), "{done:?}");
    let done = place.run(&["run", "--data", &inside, "--must-record", "--", "sh", "-c", "echo on"]);
    assert!(done.code == 1 && done.stdout.is_empty(), "{done:?}");
}

#[test]
fn what_cannot_be_run_ends_as_in_a_shell() {
    let place = Place::new();
    let own = place.at("own");
    let done = place.run(&["run", "--data", &own, "--", "./no-such-program"]);
    assert!(done.code == 127 && done.stderr.contains("cannot run ./no-such-program: "), "{done:?}");
    fs::write(place.path("text"), "no program").unwrap();
    assert_eq!(place.run(&["run", "--data", &own, "--", &place.at("text")]).code, 126);
    assert!(events(&place, "own").iter().all(|event| event["kind"] == "program_failed"));
    assert_eq!(place.run(&["run"]).code, 2);
    assert_eq!(place.run(&["run", "--name", "a\nb", "--", "true"]).code, 2);
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_program() {
    let place = Place::new();
    let mut command = place.command(&["run", "--data", &place.at("own"), "--", "yes"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    // As below a shell: 128 and SIGPIPE; some versions of it fail with 1 instead.
    assert!(matches!(child.wait().unwrap().code(), Some(141 | 1)));
}
