//! Running the program in surroundings of its own.
//!
//! **Invariant:** nothing of the machine's own agents, tapes and configurations is seen.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use robot::Recorder;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Folders, a socket, and the program.
pub(crate) struct Place {
    folder: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A running agent.
pub(crate) struct Agent {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Place {
    pub(crate) fn new() -> Self {
        // The path of a socket must be short.
        Self { folder: tempfile::Builder::new().prefix("tl").tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns a path as an argument.
    pub(crate) fn at(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapeloop"));
        command.args(arguments).env_clear().current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("HOME", self.folder.path()).env("TZ", "UTC").env("TAPELOOP_HTTP", "off").env("TAPELOOP_FOXGLOVE", "off");
        command.env("TAPELOOP_SOCKET", self.path("agent.sock")).env("STATE_DIRECTORY", self.path("state"));
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Done { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs a command that must end well, and returns what it printed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert_eq!(done.code, 0, "{arguments:?}: {done:?}");
        done.stdout
    }

    /// Runs a command that must end well, and returns its JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        serde_json::from_str(&self.ok(&arguments)).unwrap()
    }

    /// Starts an agent on the tape in `tape`, and returns when it listens.
    pub(crate) fn agent(&self, arguments: &[&str]) -> Agent {
        let data = self.at("tape");
        let mut all = vec!["record", "--data", &data];
        all.extend(arguments);
        let mut child = self.command(&all).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.contains("listens at"), "{line}");
        Agent { child, stdout }
    }

    /// Returns a connection to the agent.
    pub(crate) fn recorder(&self) -> Recorder {
        Recorder::agent(&self.path("agent.sock"), "test").unwrap()
    }

    /// Asks again and again until an answer is as wanted.
    pub(crate) fn until(&self, arguments: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
        // Each question starts a process, which takes long enough to not be a busy loop.
        for _ in 0..5_000 {
            let answer = self.json(arguments);
            if wanted(&answer) {
                return answer;
            }
        }
        panic!("it never became true: {arguments:?}: {}", self.json(arguments));
    }
}

impl Agent {
    /// Ends it as systemd does, and returns its exit code and what else it printed.
    pub(crate) fn stop(mut self) -> (i32, String) {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Ends it as a power cut does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(mut self) -> (i32, String) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code().unwrap_or(-1), rest)
    }

    fn signal(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns every segment of a tape but those of the recorder itself.
pub(crate) fn segments(tape: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![tape.join("devices")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.parent().and_then(Path::parent).is_some_and(|folder| folder.ends_with("segments")) {
                found.push(path);
            }
        }
    }
    found.sort();
    found.retain(|path| !path.to_string_lossy().contains("-recorder-"));
    found
}
