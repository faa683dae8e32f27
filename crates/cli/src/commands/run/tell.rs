//! What the tape is told of a program: each line, what was lost, how it began and how it ended.
//!
//! **Invariant:** a program that ended otherwise than well and unasked is told with its last lines.

use std::borrow::Cow;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;

use recording::{Kind, Loss, Schema};
use robot::clock::{Clock, SystemClock};
use robot::{ChannelSpec, Leave, Recorder, RecorderChannel, Times};
use serde::Serialize;
use serde_json::{Value, json};
use signal_hook::consts::SIGHUP;

use super::lines::{Line, Lines, Lost, Next, Stream};
use crate::output::complain;
use crate::text;

/// How much of a line is looked at for its level.
const LEVEL_BYTES: usize = 200;

/// A program.
pub(super) struct Program {
    pub(super) name: String,
    pub(super) command: Vec<String>,
    pub(super) pid: u32,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    NotStarted {
        why: String,
    },
    Exited {
        code: i32,
        asked: Option<i32>,
    },
    Killed {
        signal: i32,
        core: bool,
        /// The last signal that asked it to end.
        asked: Option<i32>,
    },
}

impl Ended {
    pub(super) fn of(status: ExitStatus, asked: Option<i32>) -> Self {
        match status.signal() {
            Some(signal) => Self::Killed { signal, core: status.core_dumped(), asked },
            None => Self::Exited { code: status.code().unwrap_or(-1), asked },
        }
    }

    /// Returns the exit code that says the same, as shells do.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::NotStarted { .. } => super::NOT_RUN,
            Self::Exited { code, .. } => *code as u8,
            Self::Killed { signal, .. } => 128u8.wrapping_add(*signal as u8),
        }
    }

    /// Returns the kind of the event.
    fn kind(&self) -> &'static str {
        match self {
            Self::Killed { signal, asked, .. } if *asked != Some(*signal) => "program_crashed",
            Self::NotStarted { .. } => "program_failed",
            // One that a hang-up does not end has gone on with a new configuration, and fails by itself.
            Self::Exited { code, asked: None | Some(SIGHUP) } if *code != 0 => "program_failed",
            Self::Exited { .. } | Self::Killed { .. } => "program_ended",
        }
    }

    fn words(&self) -> String {
        match self {
            Self::NotStarted { why } => format!("could not be started: {why}"),
            Self::Exited { code, .. } => format!("ended with exit code {code}"),
            Self::Killed { signal, core, .. } => {
                let core = if *core { ", core dumped" } else { "" };
                format!("was ended by {}{core}", signal_name(*signal))
            }
        }
    }

    fn detail(&self) -> Value {
        match self {
            Self::NotStarted { why } => json!({ "why": why }),
            Self::Exited { code, asked } => json!({ "exit_code": code, "asked": asked.map(signal_name) }),
            Self::Killed { signal, core, asked } => {
                json!({ "signal": signal_name(*signal), "core_dumped": core, "asked": asked.map(signal_name) })
            }
        }
    }
}

fn signal_name(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}

/// What did not reach the recorder.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Lines that found no room in the queue.
    overrun: u64,
    /// Lines that the recorder did not take, and why the first one was not.
    refused: u64,
    why: Option<String>,
}

impl Told {
    pub(super) fn say(&self) {
        if self.overrun > 0 {
            complain(format!("{} are not recorded: the recorder was slower than the program", text::counted(self.overrun, "line")));
        }
        if self.refused > 0 {
            let why = self.why.as_deref().unwrap_or("it did not say why");
            complain(format!("the recorder did not take {}: {why}", text::counted(self.refused, "line")));
        }
    }

    fn fail(&mut self, lines: u64, error: &recording::Error) {
        self.refused += lines;
        self.why.get_or_insert_with(|| error.to_string());
    }
}

/// Records lines until the program's end.
pub(super) fn record(recorder: &Recorder, program: &Program, lines: &Lines) -> Told {
    let mut told = Told::default();
    let channel = match recorder.channel(spec(&program.name)) {
        Ok(channel) => channel,
        Err(error) => {
            complain(format!("{} is not recorded: {error}", program.name));
            lines.discard();
            return told;
        }
    };
    let topic = topic(&program.name);
    let began_ns = SystemClock.monotonic_ns();
    let subject = json!({ "name": program.name, "topic": topic, "pid": program.pid, "command": program.command });
    if program.pid != 0 {
        event(recorder, "program_started", &format!("program '{}' started", program.name), subject.clone());
    }
    let mut payload = Vec::new();
    loop {
        match lines.next() {
            Next::Line(line) => {
                payload.clear();
                write_line(&line, program, &mut payload);
                if let Err(error) = log(recorder, &channel, &payload, &line, &topic) {
                    told.fail(1, &error);
                }
            }
            Next::Lost(stream, lost) => {
                told.overrun += lost.lines;
                lose(recorder, &topic, stream, lost);
            }
            Next::Ended(ended, tail) => {
                let seconds = (SystemClock.monotonic_ns() - began_ns) as f64 / 1e9;
                let mut detail = subject;
                merge(&mut detail, ended.detail());
                merge(&mut detail, json!({ "seconds": seconds, "lines_lost": told.overrun + told.refused }));
                let kind = ended.kind();
                if kind != "program_ended" {
                    merge(&mut detail, json!({ "last_lines": tail }));
                }
                event(recorder, kind, &format!("program '{}' {}", program.name, ended.words()), detail);
                break;
            }
        }
    }
    if let Err(error) = recorder.close(Leave::CutShort) {
        complain(format!("the recorder could not write everything: {error}"));
    }
    told
}

/// Logs a line. What an earlier one met is told once, and then this one has its own try.
fn log(recorder: &Recorder, channel: &RecorderChannel, payload: &[u8], line: &Line, topic: &str) -> recording::Result<()> {
    let times = Times { log_time_ns: Some(line.at_ns), publish_time_ns: None };
    let logged = channel.log(payload, times).or_else(|error| match error.kind() {
        Kind::Invalid => Err(error),
        _ => channel.log(payload, times),
    });
    if let (Err(error), false) = (&logged, recorder.is_agent()) {
        // The client of an agent counts its losses itself.
        let lost = Lost { lines: 1, bytes: line.bytes.len() as u64, start_ns: line.at_ns, end_ns: line.at_ns };
        report(recorder, loss(topic, lost, error.to_string()));
    }
    logged
}

fn lose(recorder: &Recorder, topic: &str, stream: Stream, lost: Lost) {
    report(recorder, loss(topic, lost, format!("queue full: the recorder was slower than the program's {}", stream.name())));
}

fn loss(topic: &str, lost: Lost, reason: String) -> Loss {
    Loss {
        topic: Some(topic.to_owned()),
        start_ns: Some(lost.start_ns),
        end_ns: Some(lost.end_ns),
        messages: Some(lost.lines),
        bytes: Some(lost.bytes),
        reason,
    }
}

fn report(recorder: &Recorder, loss: Loss) {
    if let Err(error) = recorder.report_loss(loss) {
        complain(format!("a loss could not be recorded: {error}"));
    }
}

fn event(recorder: &Recorder, kind: &str, message: &str, detail: Value) {
    if let Err(error) = recorder.report_event(kind, message, detail) {
        complain(format!("an event could not be recorded: {message}: {error}"));
    }
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

fn topic(name: &str) -> String {
    format!("/logs/{name}")
}

/// A line as a message: `foxglove.Log`, and where it was printed.
#[derive(Serialize)]
struct Payload<'a> {
    timestamp: Stamp,
    level: u8,
    message: Cow<'a, str>,
    name: &'a str,
    file: &'a str,
    line: u32,
    stream: &'a str,
    pid: u32,
    more: bool,
}

#[derive(Serialize)]
struct Stamp {
    sec: i64,
    nsec: i64,
}

fn write_line(line: &Line, program: &Program, payload: &mut Vec<u8>) {
    let message = String::from_utf8_lossy(&line.bytes);
    let value = Payload {
        timestamp: Stamp { sec: line.at_ns.div_euclid(1_000_000_000), nsec: line.at_ns.rem_euclid(1_000_000_000) },
        level: level_of(&message),
        message,
        name: &program.name,
        file: "",
        line: 0,
        stream: line.stream.name(),
        pid: program.pid,
        more: line.more,
    };
    serde_json::to_writer(payload, &value).expect("texts and numbers are JSON");
}

fn spec(name: &str) -> ChannelSpec {
    let (text, whole) = (json!({ "type": "string" }), json!({ "type": "integer" }));
    let schema = json!({
        "title": "foxglove.Log", "type": "object",
        "properties": {
            "timestamp": { "type": "object", "title": "time", "properties": { "sec": whole, "nsec": whole } },
            "level": whole, "message": text, "name": text, "file": text, "line": whole,
            "stream": text, "pid": whole, "more": { "type": "boolean" },
        },
    });
    let schema = Schema { name: "foxglove.Log".into(), encoding: "jsonschema".into(), data: schema.to_string().into() };
    ChannelSpec { topic: topic(name), encoding: "json".into(), schema: Some(Arc::new(schema)), ..ChannelSpec::default() }
}

/// Returns the level of a line that says it in one of its first words, as loggers write it in capitals; else 0. As `foxglove.Log` counts.
fn level_of(line: &str) -> u8 {
    let start = &line[..line.floor_char_boundary(LEVEL_BYTES)];
    // Times and colours in front are no words.
    let words = start.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()));
    let level = |word: &str| match word {
        "DEBUG" | "TRACE" => Some(1),
        "INFO" | "NOTICE" => Some(2),
        "WARN" | "WARNING" => Some(3),
        "ERROR" => Some(4),
        "FATAL" | "CRITICAL" | "PANIC" => Some(5),
        _ => None,
    };
    // A text about an ERROR is none.
    words.take(2).find_map(level).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_found_as_loggers_write_them() {
        for (line, level) in [
            ("[INFO] [1700000000.123456789] [talker]: Publishing", 2),
            ("\u{1b}[33m[WARN] [1700000000.1] [nav]: late\u{1b}[0m", 3),
            ("2026-01-02 03:04:05,678 ERROR arm: no torque", 4),
            ("CRITICAL:root:boom", 5),
            ("2026-01-02T03:04:05Z  INFO rover: ok", 2),
            ("there was no ERROR at all today", 0),
            ("no error here", 0),
            ("", 0),
        ] {
            assert_eq!(level_of(line), level, "{line}");
        }
    }

    #[test]
    fn an_end_says_whether_it_was_wanted() {
        let killed = |signal, asked| Ended::Killed { signal, core: false, asked };
        let exited = |code, asked| Ended::Exited { code, asked };
        for (ended, code, kind) in [
            (exited(0, None), 0, "program_ended"),
            (exited(3, None), 3, "program_failed"),
            (exited(130, Some(2)), 130, "program_ended"),
            (exited(1, Some(1)), 1, "program_failed"),
            (killed(1, Some(1)), 129, "program_ended"),
            (killed(15, Some(15)), 143, "program_ended"),
            (killed(11, Some(15)), 139, "program_crashed"),
            (killed(9, None), 137, "program_crashed"),
            (Ended::NotStarted { why: "no".into() }, 126, "program_failed"),
        ] {
            assert_eq!((ended.exit_code(), ended.kind()), (code, kind), "{ended:?}");
        }
        assert_eq!(killed(11, None).words(), "was ended by SIGSEGV");
    }

    #[test]
    fn a_line_is_a_log_record() {
        let line = Line { stream: Stream::Stderr, at_ns: 1_500_000_000, bytes: b"[ERROR] \xff".to_vec(), more: false };
        let program = Program { name: "arm".into(), command: vec!["./arm".into()], pid: 7 };
        let mut payload = Vec::new();
        write_line(&line, &program, &mut payload);
        assert_eq!(
            serde_json::from_slice::<Value>(&payload).unwrap(),
            json!({ "timestamp": { "sec": 1, "nsec": 500_000_000 }, "level": 4, "message": "[ERROR] \u{fffd}", "name": "arm",
                "file": "", "line": 0, "stream": "stderr", "pid": 7, "more": false })
        );
    }
}
