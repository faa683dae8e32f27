//! `tapeloop run -- COMMAND`: what a program prints, on the tape and on the terminal.
//!
//! In comes a command; out go its lines as messages on `/logs/<name>`, events when it begins and ends, and its exit code.
//!
//! **Invariant:** the program behaves as it does without it: what it prints goes on unchanged and at once, signals reach it, its exit
//! code is passed on, and no recorder, however slow, makes it wait.

mod forward;
mod lines;
mod pump;
mod tell;

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use clap::builder::FalseyValueParser;
use recording::{key, topic};
use robot::{Config, Recorder};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use self::forward::Forwarder;
use self::lines::{Lines, Stream};
use self::tell::{Ended, Program, Told};
use crate::outcome::{Outcome, describe};
use crate::output::complain;
use crate::whom::{self, Whom};

/// How long the program's pipes may say nothing after its end, if somebody else still holds them.
const DRAIN_STEP: Duration = Duration::from_millis(500);
/// How long the recorder may take after the program's end.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// As shells say that there is no such program, or that it cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;
/// Without it Python keeps lines back that do not go to a terminal: those before a crash would be lost.
const UNBUFFERED: &str = "PYTHONUNBUFFERED";

/// Record what a program prints, line by line, while it prints as ever
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Run {
    /// Its topic is /logs/NAME; without it, the name of the program's file
    #[arg(long, value_name = "NAME", env = "TAPELOOP_NAME", value_parser = name)]
    name: Option<String>,
    /// Do not run the program if nothing can record it
    #[arg(long, env = "TAPELOOP_MUST_RECORD", value_parser = FalseyValueParser::new())]
    must_record: bool,
    #[command(flatten)]
    whom: Whom,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop run -- ./my_node --rate 50
  tapeloop run --name arm -- python3 arm.py

Exit codes: the program's own; 128 and the signal's number if one ended it; 127 if there is no
such program, 126 if it cannot be run; 1 if nothing can record it and it must be.";

/// Opens the recorder: that may take a while, and the program need not wait for it.
type Open = Box<dyn FnOnce() -> anyhow::Result<Recorder> + Send>;

impl Run {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let (path, arguments) = self.command.split_first().context("a program to run")?;
        let file = Path::new(path).file_name().unwrap_or(path).to_string_lossy();
        let name = self.name.clone().unwrap_or_else(|| key::to_name(&file));
        let open = self.opener(name.clone())?;
        // Before there is a child, so that no signal is missed.
        let signals = forward::listen()?;
        let lines = Arc::new(Lines::default());
        let mut command = Command::new(path);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        if std::env::var_os(UNBUFFERED).is_none() {
            command.env(UNBUFFERED, "1");
        }
        let program = |pid| Program { name, command: self.command.iter().map(|part| part.to_string_lossy().into_owned()).collect(), pid };
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                complain(format!("cannot run {}: {error}", path.to_string_lossy()));
                let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN };
                lines.close(Ended::NotStarted { why: error.to_string() });
                finish(&start_recorder(open, program(0), &lines)?);
                return Ok(Outcome::Code(code));
            }
        };
        let recorder = start_recorder(open, program(child.id()), &lines)?;
        let pumps = start_pumps(&mut child, &lines)?;
        let forwarder = Forwarder::start(signals, Pid::from_child(&child))?;
        let (status, asked) = wait(&mut child, &forwarder)?;
        drain(pumps, &lines, DRAIN_STEP);
        let ended = Ended::of(status, asked);
        let code = ended.exit_code();
        lines.close(ended);
        finish(&recorder);
        Ok(Outcome::Code(code))
    }

    /// Returns what opens the recorder; where the program must be recorded that is done already.
    fn opener(&self, name: String) -> anyhow::Result<Open> {
        if self.must_record {
            let recorder = connect(&self.whom, &name)?;
            return Ok(Box::new(move || Ok(recorder)));
        }
        let whom = self.whom.clone();
        Ok(Box::new(move || connect(&whom, &name)))
    }
}

fn connect(whom: &Whom, name: &str) -> anyhow::Result<Recorder> {
    Ok(match whom.find()? {
        whom::Recorder::Agent(client) => Recorder::agent(client.socket(), name)?,
        whom::Recorder::Folder(folder) => {
            let recorder = Recorder::embedded(&folder, Config::empty())?;
            complain(format!("no agent answers: {name} is recorded on a tape of its own in {}", folder.display()));
            recorder
        }
    })
}

/// Starts the thread that records lines; what came of it is sent at its end.
fn start_recorder(open: Open, program: Program, lines: &Arc<Lines>) -> anyhow::Result<Receiver<Told>> {
    let (at_end, told) = sync_channel(1);
    let lines = lines.clone();
    let record = move || {
        let outcome = match open() {
            Ok(recorder) => tell::record(&recorder, &program, &lines),
            Err(error) => {
                complain(format!("{} is not recorded: {}", program.name, describe(&error)));
                lines.discard();
                Told::default()
            }
        };
        // Nobody waits for a recorder that was too slow.
        let _ = at_end.send(outcome);
    };
    thread::Builder::new().name("tapeloop-record".into()).spawn(record).context("no thread for the recorder")?;
    Ok(told)
}

fn start_pumps(child: &mut Child, lines: &Arc<Lines>) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let stdout = child.stdout.take().context("the program's stdout")?;
    let stderr = child.stderr.take().context("the program's stderr")?;
    let (to_stdout, to_stderr) = (io::stdout().as_fd().try_clone_to_owned()?, io::stderr().as_fd().try_clone_to_owned()?);
    Ok(vec![pump::start(Stream::Stdout, stdout.into(), to_stdout, lines)?, pump::start(Stream::Stderr, stderr.into(), to_stderr, lines)?])
}

/// Waits for the program's end; returns how it ended, and the last signal that it was sent from here or from the terminal.
fn wait(child: &mut Child, forwarder: &Forwarder) -> anyhow::Result<(ExitStatus, Option<i32>)> {
    // Its id stays its own until it is reaped, which is when nobody signals it any more.
    let pid = WaitId::Pid(Pid::from_child(child));
    while let Err(error) = waitid(pid.clone(), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
        if error != Errno::INTR {
            return Err(io::Error::from(error)).context("cannot wait for the program");
        }
    }
    let asked = forwarder.end();
    Ok((child.wait().context("cannot wait for the program")?, asked))
}

/// Waits until all that the program printed is passed on. Somebody whom it left behind may hold its pipes for ever: they are given up
/// when nothing came for `step`.
fn drain(pumps: Vec<JoinHandle<()>>, lines: &Lines, step: Duration) {
    let mut before = lines.at_rest();
    while !lines.wait_for_ends(pumps.len(), step) {
        let now = lines.at_rest();
        if now.is_some() && now == before {
            return;
        }
        before = now;
    }
    for pump in pumps {
        let _ = pump.join();
    }
}

/// Waits for the recorder, and says what is not recorded.
fn finish(told: &Receiver<Told>) {
    match told.recv_timeout(END_PATIENCE) {
        Ok(told) => told.say(),
        Err(RecvTimeoutError::Timeout) => {
            complain(format!("the recorder took longer than {} s: the last lines may not be recorded", END_PATIENCE.as_secs()));
        }
        Err(RecvTimeoutError::Disconnected) => complain("the recorder failed: the last lines may not be recorded"),
    }
}

fn name(text: &str) -> Result<String, String> {
    let name = text.trim_matches('/');
    topic::check_name(&format!("/logs/{name}")).map(|()| name.to_owned()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn whoever_reads_slowly_gets_all_and_whoever_holds_a_pipe_is_left() {
        let lines = Arc::new(Lines::default());
        let (from, mut program) = io::pipe().unwrap();
        let (mut reader, to) = io::pipe().unwrap();
        let pump = pump::start(Stream::Stdout, from.into(), to.into(), &lines).unwrap();
        // More than a pipe holds, and less than two and the pump do.
        let printed = vec![b'\n'; 150_000];
        program.write_all(&printed).unwrap();
        drop(program);
        let (at_end, ended) = sync_channel(1);
        let shared = lines.clone();
        let draining = thread::Builder::new().spawn(move || {
            drain(vec![pump], &shared, Duration::from_millis(1));
            at_end.send(()).unwrap();
        });
        assert_eq!(ended.recv_timeout(Duration::from_millis(200)), Err(RecvTimeoutError::Timeout), "nobody has read it yet");
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read.len(), printed.len());
        ended.recv().unwrap();
        draining.unwrap().join().unwrap();
        // A pipe that somebody holds and does not write to.
        let lines = Arc::new(Lines::default());
        let (from, held) = io::pipe().unwrap();
        let (_reader, to) = io::pipe().unwrap();
        let pump = pump::start(Stream::Stdout, from.into(), to.into(), &lines).unwrap();
        drain(vec![pump], &lines, Duration::from_millis(1));
        drop(held);
    }
}
