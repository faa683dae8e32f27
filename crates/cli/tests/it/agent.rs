//! Commands that ask a running agent.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use recording::Loss;
use robot::agent::protocol::{self, FrameKind, Hello, VERSION, frame};
use robot::{ChannelSpec, Times};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::tcgetattr;
use serde_json::{Value, json};

use crate::program::Place;

fn spec(topic: &str) -> ChannelSpec {
    ChannelSpec { topic: topic.into(), encoding: "json".into(), ..ChannelSpec::default() }
}

/// Logs `count` messages on a topic, and returns when they are on the disk.
fn log(place: &Place, topic: &str, count: u64) {
    let recorder = place.recorder();
    let channel = recorder.channel(spec(topic)).unwrap();
    for i in 0..count {
        channel.log(format!("{{\"i\":{i}}}").as_bytes(), Times::default()).unwrap();
    }
    recorder.flush().unwrap();
}

#[test]
fn the_past_is_kept_listed_read_and_removed() {
    let place = Place::new();
    let agent = place.agent(&["--device", "rover-7"]);
    log(&place, "/imu", 100);
    log(&place, "/odom", 10);

    let arguments =
        ["save", "--before", "1 h", "--topics", "/imu", "--why", "missed stop sign", "--label", "operator=ada", "--label", "run=12"];
    let report = place.json(&arguments);
    let keys: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
    for key in ["recording", "state", "start_ns", "end_ns", "asked", "kept", "missing", "segments"] {
        assert!(keys.contains(&key), "{key} is not in {keys:?}");
    }
    assert_eq!((&report["state"], &report["why"]), (&json!("completing"), &json!("missed stop sign")));
    assert_eq!(report["labels"], json!({ "operator": "ada", "run": "12" }));
    // What was before the tape began is missing, but not lost: the exit code was 0.
    assert!(report["missing"][0]["reason"].as_str().unwrap().starts_with("not recorded: "), "{report}");
    let id = report["recording"].as_str().unwrap();

    let listed = place.json(&["ls"]);
    assert_eq!((&listed[0]["recording"], &listed[0]["why"]), (&json!(id), &json!("missed stop sign")));
    // By its id, by the beginning of that, and by its manifest.
    let manifest = report["path"].as_str().unwrap();
    for what in [id, &id[..15], manifest] {
        let info = place.json(&["info", what]);
        assert_eq!((&info["messages"], &info["format"], &info["recording"]), (&json!(100), &json!("recording"), &json!(id)), "{what}");
    }
    assert_eq!(place.ok(&["cat", id, "--topic", "/imu"]).lines().count(), 100);
    assert_eq!(place.ok(&["cat", &place.at("tape"), "--topic", "/odom"]).lines().count(), 10);

    let nothing = place.ok(&["save", "--before", "1 s", "--topics", "/gps/**"]);
    assert!(nothing.contains("nothing: no topic on the tape matches /gps/**"), "{nothing}");
    let id_of_nothing = nothing.split([' ', ':']).nth(1).unwrap();
    assert_eq!(place.ok(&["rm", id, id_of_nothing]), format!("removed {id}\nremoved {id_of_nothing}\n"));
    assert_eq!(place.json(&["ls"]), json!([]));
    assert!(place.ok(&["ls"]).contains("'tapeloop save' makes one"));
    let gone = place.run(&["info", id]);
    assert!(gone.code == 1 && gone.stderr.contains("'tapeloop ls' shows them"), "{gone:?}");
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn a_save_waits_for_its_end_if_it_is_told_to() {
    let place = Place::new();
    fs::write(place.path("short.toml"), "[segment]\nage = '100 ms'\n").unwrap();
    let agent = place.agent(&["short.toml"]);
    log(&place, "/imu", 100);
    let report = place.json(&["save", "--before", "10s", "--after", "300ms", "--wait"]);
    assert_eq!((&report["state"], &report["kept"][0]["messages"]), (&json!("complete"), &json!(100)));
    assert!(report["segments"][0]["hash"].as_str().unwrap().starts_with("blake3:"));
    let text = place.ok(&["save", "--before", "10s", "--wait"]);
    assert!(text.contains(": complete\n") && text.contains("/imu  100 messages"), "{text}");
    assert!(place.ok(&["doctor", &place.at("tape")]).ends_with("nothing was lost\n"));
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn an_open_end_is_kept_until_it_is_stopped() {
    let place = Place::new();
    let agent = place.agent(&[]);
    log(&place, "/imu", 10);
    let started = place.json(&["keep", "start", "run-12", "--before", "10s", "--why", "a run"]);
    assert_eq!((&started["state"], &started["name"]), (&json!("keeping"), &json!("run-12")));
    let again = place.run(&["keep", "start", "run-12"]);
    assert!(again.code == 1 && again.stderr.contains("is being kept already"), "{again:?}");
    log(&place, "/imu", 5);
    let stopped = place.json(&["keep", "stop", "run-12"]);
    assert_eq!(stopped["recording"], started["recording"]);
    assert_eq!(place.json(&["info", "run-12"])["messages"], 15);
    let again = place.run(&["keep", "stop", "run-12"]);
    assert!(again.code == 1 && again.stderr.contains("nothing is being kept under the name 'run-12'"), "{again:?}");
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn status_shows_buffers_clients_and_what_no_buffer_wants() {
    let place = Place::new();
    fs::write(
        place.path("a.toml"),
        "device = 'rover-7'\n[[buffer]]\nname = 'imu'\ntopics = ['/imu']\ndisk = '1 h'\n[[rule]]\nname = 'brake'\n",
    )
    .unwrap();
    let agent = place.agent(&["a.toml"]);
    log(&place, "/imu", 10);
    log(&place, "/odom", 10);
    let recorder = place.recorder();
    recorder.flush().unwrap();
    let status = place.json(&["status"]);
    assert_eq!((&status["device"], &status["buffers"][0]["messages"]), (&json!("rover-7"), &json!(10)));
    assert_eq!(status["unwanted_topics"], json!(["/odom"]));
    assert!(status["agent"]["pid"].is_u64());
    assert!(status["clients"].as_array().unwrap().iter().any(|client| client["name"] == "test"));
    // Stdout is no terminal here, so it is shown once.
    let text = place.ok(&["status"]);
    for part in ["rover-7 on ", "imu       disk", "60.0 min", "unwanted    no buffer holds /odom", "rule 'brake' is not yet active", "test"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn on_a_terminal_status_is_live_until_q() {
    let place = Place::new();
    let agent = place.agent(&["--device", "rover-7"]);
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = || fs::File::options().read(true).write(true).open(&name).unwrap();
    let terminal = theirs();
    let before = tcgetattr(&terminal).unwrap();
    let mut child = place.command(&["status"]).stdin(theirs()).stdout(theirs()).spawn().unwrap();
    let mut ours = fs::File::from(ours);
    let mut shown = String::new();
    while !shown.contains("q ends this view") {
        let mut piece = [0; 4096];
        let count = ours.read(&mut piece).unwrap();
        shown.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    assert!(shown.contains("rover-7 on ") && shown.contains("recorder  disk"), "{shown}");
    ours.write_all(b"q").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let after = tcgetattr(&terminal).unwrap();
    assert_eq!((after.local_modes, after.input_modes), (before.local_modes, before.input_modes));
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn an_agent_is_found_by_its_folder() {
    let place = Place::new();
    let agent = place.agent(&[]);
    log(&place, "/imu", 10);
    // The folder is the agent's, so the agent is asked; another folder is not.
    assert_eq!(place.json(&["save", "--before", "1h", "--data", "tape"])["state"], "completing");
    let other = place.run(&["save", "--before", "1h", "--data", "other"]);
    assert!(other.code == 1 && other.stderr.contains("there is no folder other"), "{other:?}");
    let named: Value = place.json(&["save", "--before", "1h", "--agent", &place.at("agent.sock")]);
    assert_eq!(named["state"], "completing");
    assert_eq!(agent.stop().0, 0);
}

#[test]
fn what_is_recorded_is_printed_as_it_comes() {
    let place = Place::new();
    let agent = place.agent(&["--device", "rover-7"]);
    let recorder = place.recorder();
    let map = recorder.channel(ChannelSpec { latched: true, ..spec("/map") }).unwrap();
    map.log(br#"{"name":"hall"}"#.as_slice(), Times::default()).unwrap();
    recorder.flush().unwrap();
    let tail = ["tail", "/map", "/imu", "--json", "--fields", "x,name", "-n", "3"];
    let mut child = place.command(&tail).stdout(Stdio::piped()).spawn().unwrap();
    // It listens when it has shown what is latched.
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut output = String::new();
    stdout.read_line(&mut output).unwrap();
    let imu = recorder.channel(spec("/imu")).unwrap();
    for x in 0..3 {
        imu.log(format!("{{\"x\":{x},\"y\":9}}").as_bytes(), Times::default()).unwrap();
    }
    recorder.flush().unwrap();
    stdout.read_to_string(&mut output).unwrap();
    assert!(child.wait().unwrap().success());
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<(&Value, &Value)> = lines.iter().map(|line| (&line["topic"], &line["message"])).collect();
    let expected = [(json!("/map"), json!({ "name": "hall" })), (json!("/imu"), json!({ "x": 0 })), (json!("/imu"), json!({ "x": 1 }))];
    assert_eq!(seen, expected.iter().map(|(topic, message)| (topic, message)).collect::<Vec<_>>());
    // Nothing comes: it ends by its time.
    let nothing = place.run(&["tail", "/nothing", "--for", "50ms"]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (0, ""));
    assert_eq!(place.run(&["tail", "!"]).code, 1);
    agent.stop();
}

#[test]
fn a_recorder_that_lost_messages_says_so_at_its_end() {
    let place = Place::new();
    let agent = place.agent(&[]);
    let mut stranger = UnixStream::connect(place.path("agent.sock")).unwrap();
    let hello = Hello { version: VERSION, name: "stranger".into(), pid: 1, software: "test".into() };
    stranger.write_all(&frame(FrameKind::Hello, &hello.encode())).unwrap();
    let (start_ns, end_ns) = (Some(1), Some(2));
    let loss = Loss { topic: Some("/imu".into()), start_ns, end_ns, messages: Some(7), bytes: None, reason: "queue full".into() };
    stranger.write_all(&frame(FrameKind::Loss, &protocol::json(&loss))).unwrap();
    stranger.shutdown(Shutdown::Write).unwrap();
    // The agent says goodbye when it has read all.
    stranger.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(place.json(&["status"])["lost_messages"], 7);
    assert_eq!(agent.stop().0, 3);
}
