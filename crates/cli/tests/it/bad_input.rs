//! What is answered to files, folders and configurations that are not what they should be.

use std::fs;

use crate::input;
use crate::program::Place;

#[test]
fn what_is_no_recording_is_said() {
    let place = Place::new();
    fs::write(place.path("empty.mcap"), "").unwrap();
    fs::write(place.path("lfs.mcap"), "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n").unwrap();
    fs::write(place.path("text.mcap"), "this is a text and no recording at all").unwrap();
    fs::create_dir(place.path("folder")).unwrap();
    for command in ["info", "cat", "doctor"] {
        let check = |what: &str, expected: &str| {
            let done = place.run(&[command, what]);
            assert_eq!(done.code, 1, "{done:?}");
            assert!(done.stderr.starts_with("tapeloop: ") && done.stderr.contains(expected), "{}", done.stderr);
        };
        check("empty.mcap", "empty");
        check("lfs.mcap", "git lfs pull");
        check("text.mcap", "MCAP");
        check("folder", "no recording in this folder");
        check("nope.mcap", "there is no file or folder 'nope.mcap', nor a tape in");
        check("nope/nope.mcap", "there is no file or folder nope/nope.mcap");
    }
    let done = place.run(&["record", "--from", "text.mcap"]);
    assert!(done.code == 1 && done.stderr.contains("MCAP"), "{done:?}");
}

#[test]
fn without_an_agent_and_a_tape_it_is_said_what_to_do() {
    let place = Place::new();
    let check = |arguments: &[&str], expected: &str| {
        let done = place.run(arguments);
        assert_eq!(done.code, 1, "{done:?}");
        assert!(done.stderr.contains(expected), "{}", done.stderr);
    };
    check(&["status"], "start one with 'tapeloop record'");
    check(&["status", "--json"], "no agent answers at ");
    check(&["keep", "start", "run-12"], "no agent answers at ");
    check(&["save", "--before", "30s"], "no agent answers at ");
    check(&["save", "--before", "30s", "--agent", "nowhere.sock"], "nowhere.sock");
    check(&["ls"], "name that of a tape with --data");
    check(&["rm", "run-12"], "name that of a tape with --data");
    check(&["status", "--data", "nowhere"], "there is no folder nowhere");
    assert!(!place.path("state").exists(), "looking must not make folders");
}

#[test]
fn a_bad_configuration_is_answered_with_its_line() {
    let place = Place::new();
    fs::write(place.path("bad.toml"), "device = 'rover'\n\n[[bufer]]\nname = 'a'\n").unwrap();
    let done = place.run(&["record", "bad.toml", "--data", "tape"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("bad.toml line 3") && done.stderr.contains("bufer"), "{}", done.stderr);
    let done = place.run(&["record", "nope.toml", "--data", "tape"]);
    assert!(done.code == 1 && done.stderr.contains("nope.toml"), "{done:?}");
    fs::write(place.path("good.toml"), "device = 'rover'\n").unwrap();
    let done = place.run(&["record", "good.toml", "--data", "tape", "--device", "other"]);
    assert!(done.code == 2 && done.stderr.contains("remove one of them"), "{done:?}");
}

#[test]
fn a_tape_that_is_in_use_is_left_alone() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 10);
    let agent = place.agent(&[]);
    // The same tape, of which the agent's socket is not known.
    let done = place.command(&["save", "--before", "1s", "--data", "tape"]).env("TAPELOOP_SOCKET", "other.sock").output().unwrap();
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("name its socket with --agent") || stderr.contains("there is no tape"), "{stderr}");
    let second = place.run(&["record", "--data", "tape", "--socket", "second.sock"]);
    assert!(second.code == 1 && second.stderr.contains("records there already"), "{second:?}");
    assert_eq!(agent.stop().0, 0);
}
