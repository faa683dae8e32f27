use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use robot::agent::client::Client;
use robot::clock::{Clock, SystemClock};
use rustix::process::{Pid, Signal, kill_process};

use super::{Place, log, numbers, text_channel, until};

/// The real agent, in a process of its own, which is killed when the test ends.
struct Running {
    child: Child,
}

impl Running {
    fn start(place: &Place) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tapeloop-agent"))
            .arg(place.config())
            .arg("--data")
            .arg(place.root())
            .arg(format!("--socket={}", place.socket().display()))
            .args(["--http", "127.0.0.1:0", "--foxglove", "off"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let expected = format!("in {}, listens at {} and http://127.0.0.1:", place.root().display(), place.socket().display());
        assert!(line.contains(&expected), "{line}");
        Self { child }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn sigterm_ends_the_agent_within_two_seconds_with_everything_on_disk() {
    let place = Place::new();
    let mut agent = Running::start(&place);
    let client = place.client("logger");
    let channel = text_channel(&client, "/numbers");
    let accepted = std::thread::scope(|scope| {
        let logging = scope.spawn(|| {
            let mut accepted = 0;
            while log(&channel, &accepted.to_string()).is_ok() {
                accepted += 1;
            }
            accepted
        });
        until("it records", || client.status().is_ok_and(|status| status.buffers[0].messages > 5_000));
        let began_ns = SystemClock.monotonic_ns();
        agent.signal(Signal::TERM);
        assert!(agent.wait().success());
        let took_ns = SystemClock.monotonic_ns() - began_ns;
        assert!(took_ns < 2_000_000_000, "{took_ns} ns");
        logging.join().unwrap()
    });
    let read = place.payloads("/numbers");
    assert_eq!(read.len(), accepted);
    assert_eq!(read, numbers(0..accepted));
    assert!(!place.socket().exists());
}

#[test]
fn sighup_loads_the_configuration_again() {
    let place = Place::new();
    let agent = Running::start(&place);
    let client = place.client("watcher");
    place.configure("[[buffer]]\nname = 'first'\ndisk = '1 h'\n");
    agent.signal(Signal::HUP);
    until("it is in force", || client.status().unwrap().buffers[0].name == "first");
}

#[test]
fn kill_9_loses_at_most_the_last_second() {
    const ROUNDS: usize = 10;
    let place = Place::new();
    place.configure("[segment]\nsize = '1 MB'\n[[buffer]]\nname = 'all'\ndisk = '1 h'\n");
    let mut next = 0;
    let mut flushed: Vec<Range<usize>> = Vec::new();
    for round in 0..ROUNDS {
        let mut agent = Running::start(&place);
        let client = place.client("logger");
        let channel = text_channel(&client, "/numbers");
        let first = next;
        // Each round is cut at another moment of the agent's work.
        let enough = 200 + 7_919 * round;
        while next - first < enough {
            log(&channel, &next.to_string()).unwrap();
            next += 1;
            if next % 1000 == 0 {
                client.flush().unwrap();
                flushed.retain(|range| range.start != first);
                flushed.push(first..next);
            }
        }
        agent.signal(Signal::KILL);
        agent.wait();
        if !flushed.is_empty() {
            check_numbers(&place.root(), &flushed, next);
        }
    }
    // The tape opens, and takes messages, after all of that.
    let mut agent = Running::start(&place);
    let client = Client::connect(&place.socket(), "last").unwrap();
    log(&text_channel(&client, "/last"), "still here").unwrap();
    client.close().unwrap();
    agent.signal(Signal::TERM);
    assert!(agent.wait().success());
    assert_eq!(place.payloads("/last"), ["still here"]);
}

#[test]
fn a_killed_agent_is_found_again_and_the_gap_is_told() {
    let place = Place::new();
    let mut agent = Running::start(&place);
    let client = place.client("patient");
    let channel = text_channel(&client, "/numbers");
    log(&channel, "flushed").unwrap();
    client.flush().unwrap();
    log(&channel, "perhaps").unwrap();
    client.status().unwrap();
    agent.signal(Signal::KILL);
    agent.wait();
    until("its end is heard", || log(&channel, "nowhere").is_err());
    assert!(client.status().is_err());
    let mut agent = Running::start(&place);
    until("it is found", || log(&channel, "again").is_ok());
    client.close().unwrap();
    agent.signal(Signal::TERM);
    assert!(agent.wait().success());
    let read = place.payloads("/numbers");
    assert_eq!((read.first().map(String::as_str), read.last().map(String::as_str)), (Some("flushed"), Some("again")));
    let losses = recording::read::open(&place.root()).unwrap().info().unwrap().losses;
    let gap = losses.iter().find(|loss| loss.reason.starts_with("the agent ended without a farewell"));
    assert!(gap.is_some_and(|gap| gap.topic.is_none() && gap.messages.is_none()), "{losses:?}");
}

/// Checks that every number that was flushed can be read, once, in order.
fn check_numbers(root: &Path, flushed: &[Range<usize>], logged: usize) {
    let recording = recording::read::open(root).unwrap();
    let filter = recording::TopicFilter::parse(&["/numbers"]).unwrap();
    let read: Vec<usize> = recording
        .messages(&filter, recording::Span::ALL)
        .unwrap()
        .map(|message| String::from_utf8(message.unwrap().data.to_vec()).unwrap().parse().unwrap())
        .collect();
    assert!(read.is_sorted() && read.windows(2).all(|pair| pair[0] < pair[1]), "numbers are in order, and once");
    assert!(read.last().is_none_or(|last| *last < logged));
    let lost: Vec<usize> = flushed.iter().cloned().flatten().filter(|number| read.binary_search(number).is_err()).collect();
    assert!(lost.is_empty(), "{} flushed messages are lost, the first {:?} of {logged}", lost.len(), lost.first());
}

#[test]
fn wrong_usage_and_failures_have_their_exit_codes() {
    let place = Place::new();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tapeloop-agent")).args(arguments).current_dir(place.folder.path()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let check = |arguments: &[&str], code: i32, part: &str| {
        let (found, text) = run(arguments);
        assert!(found == Some(code) && text.contains(part), "{arguments:?}: {found:?} {text}");
    };
    check(&["--help"], 0, "Usage: tapeloop-agent [CONFIG]");
    check(&["--version"], 0, "tapeloop-agent 0.1.0");
    check(&["--bogus"], 2, "no option '--bogus'");
    check(&["--data"], 2, "--data needs a value");
    check(&["a", "b"], 2, "one configuration, not also 'b'");
    check(&["absent.toml"], 1, "cannot read the configuration absent.toml");
    check(&["--http", "0.0.0.0:1", "--socket", "a.sock", "--data", "tape"], 1, "not on the loopback interface");
}
