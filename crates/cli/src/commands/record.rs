//! `tapeloop record`: the agent, fed by the programs of a robot, or by recorded files as if they were live.
//!
//! **Invariant:** played files go through the same tape as live messages, so that everything can be tried out with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use recording::{Loss, read, size, time};
use robot::agent::{self, AgentOptions, Drive, Ended};
use robot::clock::FileClock;
use robot::tape::{ExpectationStatus, Lost};
use robot::{Config, Leave, OpenOptions, places};

use crate::drive::{Play, Played, Speed};
use crate::outcome::{Outcome, Usage};
use crate::output::{complain, print_lines};
use crate::text;

/// How many losses of the input are told.
const LOSSES_TOLD: usize = 20;

/// Record everything that programs log: the agent
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Record {
    /// The configuration; without it ./tapeloop.toml, the user's, or /etc/tapeloop/tapeloop.toml
    #[arg(env = "TAPELOOP_CONFIG")]
    config: Option<PathBuf>,
    /// The folder of the tape
    #[arg(long, value_name = "DIR", env = "TAPELOOP_DATA")]
    data: Option<PathBuf>,
    /// The robot's name, unless the configuration has one
    #[arg(long, value_name = "NAME", env = "TAPELOOP_DEVICE", value_parser = device)]
    device: Option<String>,
    /// Where programs connect
    #[arg(long, value_name = "PATH", env = "TAPELOOP_SOCKET")]
    socket: Option<PathBuf>,
    /// Where status and metrics are served: 127.0.0.1:8621 unless said otherwise, or off
    #[arg(long, value_name = "ADDRESS", env = "TAPELOOP_HTTP")]
    http: Option<String>,
    /// Where Foxglove and Lichtblick connect: 127.0.0.1:8765 unless said otherwise, or off
    #[arg(long, value_name = "ADDRESS", env = "TAPELOOP_FOXGLOVE")]
    foxglove: Option<String>,
    /// The group that may connect
    #[arg(long, value_name = "GROUP", env = "TAPELOOP_GROUP")]
    group: Option<String>,
    /// Recorded files, folders or recordings that drive the recorder as if live
    #[arg(long, value_name = "FILE", num_args = 1.., env = "TAPELOOP_FROM", value_delimiter = ':')]
    from: Vec<PathBuf>,
    /// How fast they are played: 4, 0.5, or max
    #[arg(long, value_name = "FACTOR", default_value = "1", env = "TAPELOOP_SPEED", value_parser = speed)]
    speed: Speed,
    /// Whether messages keep the times of the file, which then is the recorder's clock, or begin now
    #[arg(long, value_enum, default_value = "file", env = "TAPELOOP_TIMES")]
    times: TimesOf,
    /// Go on recording when the files have ended
    #[arg(long, env = "TAPELOOP_STAY", value_parser = FalseyValueParser::new())]
    stay: bool,
    /// Record for so long, then end
    #[arg(long = "for", value_name = "DURATION", env = "TAPELOOP_RECORD_FOR", value_parser = run_for)]
    run_for: Option<Duration>,
    /// Exit with code 3 if an expectation of the configuration was not met, or could not be judged, and say which
    #[arg(long, env = "TAPELOOP_STRICT", value_parser = FalseyValueParser::new())]
    strict: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TimesOf {
    File,
    Now,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop record
  tapeloop record tapeloop.toml --data /data/tape
  tapeloop record --from run.mcap --speed max --data ./tape
  tapeloop record --from a.mcap b.mcap --speed 4 --times now --stay
  tapeloop record --for 60s --strict                    # a test: exit code 3 if a topic is missing

It ends at SIGTERM or Ctrl-C, after --for, and when the files have ended. Exit code 3 says that
the files had lost data, that messages were lost on the way, or with --strict that something was
not as the configuration expects, or could not be compared with it.";

impl Record {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let data = self.data.clone().map_or_else(places::default_data_dir, Ok)?;
        let mut options = AgentOptions {
            config: self.config.clone(),
            // Whoever asks the agent may be in another folder.
            data: Some(std::path::absolute(&data).with_context(|| format!("cannot find {}", data.display()))?),
            socket: self.socket.clone(),
            http: self.http.clone(),
            foxglove: self.foxglove.clone(),
            group: self.group.clone(),
            open: OpenOptions { device: self.device_beside_config()?, ..OpenOptions::default() },
            ..AgentOptions::default()
        };
        (options.run_for, options.strict) = (self.run_for, self.strict);
        if self.from.is_empty() {
            let Ended { expectations, lost } = agent::run(options)?;
            lost_on_the_way(lost).into_iter().for_each(complain);
            return Ok(outcome_of(lost).and(self.judge(&expectations)));
        }
        let play = self.play(&data)?;
        let report = Arc::new(Mutex::new(None));
        if self.times == TimesOf::File {
            options.open.clock = Arc::new(FileClock::new(play.start_ns()));
        }
        options.drive = Some(drive(play, report.clone()));
        options.stay = self.stay;
        options.leave = Leave::CutShort;
        let Ended { expectations, lost } = agent::run(options)?;
        let judged = self.judge(&expectations);
        let played = report.lock().unwrap_or_else(PoisonError::into_inner).take();
        played.map_or(Ok(Outcome::Done), |played| tell(&played, lost.since(played.reported))).map(|outcome| outcome.and(judged))
    }

    /// Says which expectations were not met, or of which nobody can say so.
    fn judge(&self, expectations: &[ExpectationStatus]) -> Outcome {
        let unjudged = expectations.iter().filter(|expectation| self.strict && !expectation.judged && !expectation.has_failed());
        let unjudged = unjudged.map(|ExpectationStatus { name, expected, .. }| {
            complain(format!(
                "expectation '{name}' ({expected}) was not judged: record for longer, play files more slowly, or give it a shorter grace"
            ));
        });
        let unjudged = unjudged.count();
        let failed = expectations.iter().filter(|expectation| expectation.has_failed());
        let told = failed.map(|ExpectationStatus { name, expected, violations, violated, .. }| {
            let now: String = violated.iter().map(|violated| format!("; '{}': {}", violated.topic, violated.seen)).collect();
            complain(format!("expectation '{name}' ({expected}) was not met {}{now}", text::counted(*violations, "time")));
        });
        if told.count() + unjudged > 0 && self.strict { Outcome::Lost } else { Outcome::Done }
    }

    /// Returns the robot's name, where the configuration has no other.
    fn device_beside_config(&self) -> anyhow::Result<Option<String>> {
        let Some(device) = &self.device else { return Ok(None) };
        if let Some(path) = self.config.clone().or_else(places::default_config) {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read the configuration {}", path.display()))?;
            let config = Config::parse(&text, &path.display().to_string())?;
            if let Some(other) = config.device.filter(|other| other != device) {
                let path = path.display();
                return Err(Usage(format!(
                    "--device says '{device}', and the configuration says device = '{other}': remove one of them ({path})"
                ))
                .into());
            }
        }
        Ok(Some(device.clone()))
    }

    fn play(&self, data: &Path) -> anyhow::Result<Play> {
        let own = |path: &&PathBuf| path.canonicalize().ok().is_some_and(|path| data.canonicalize().ok() == Some(path));
        if let Some(path) = self.from.iter().find(own) {
            return Err(
                Usage(format!("the recorder would play its own tape: choose another folder with --data than {}", path.display())).into()
            );
        }
        let recordings = self.from.iter().map(|path| read::open(path)).collect::<recording::Result<Vec<_>>>()?;
        Ok(Play { recordings, speed: self.speed, from_now: self.times == TimesOf::Now })
    }
}

/// Returns what the agent runs to be fed; what came of it is left in `report`.
fn drive(play: Play, report: Arc<Mutex<Option<Played>>>) -> Drive {
    Box::new(move |tape, stop| {
        let played = play.run(&tape, &stop)?;
        *report.lock().unwrap_or_else(PoisonError::into_inner) = Some(played);
        Ok(())
    })
}

fn outcome_of(lost: Lost) -> Outcome {
    if lost.is_nothing() { Outcome::Done } else { Outcome::Lost }
}

/// Says what was lost between whoever logged it and the disk.
fn lost_on_the_way(lost: Lost) -> Option<String> {
    let what = match lost {
        Lost { messages: 0, uncounted: 0 } => return None,
        Lost { messages: 0, .. } => "an unknown number of messages".to_owned(),
        Lost { messages, uncounted: 0 } => text::counted(messages, "message"),
        Lost { messages, .. } => format!("{}, and an unknown number more,", text::counted(messages, "message")),
    };
    Some(format!("lost {what} on the way to the disk: 'tapeloop status' and 'tapeloop doctor' say why"))
}

fn tell(played: &Played, lost: Lost) -> anyhow::Result<Outcome> {
    for loss in played.losses.iter().take(LOSSES_TOLD) {
        complain(format!("{} in the input: {}", if loss.is_lost() { "lost" } else { "missing" }, text::loss(loss)));
    }
    let more = played.losses.len().saturating_sub(LOSSES_TOLD);
    if more > 0 {
        complain(format!("and {more} more; 'tapeloop info' lists them"));
    }
    let end = if played.stopped { ", stopped before the end" } else { "" };
    let amount = format!("{}, {}", text::counted(played.messages, "message"), size::format(played.bytes));
    let mut lines = vec![format!("played {amount} in {}{end}", time::format_duration(played.took_ns))];
    lines.extend(lost_on_the_way(lost));
    if played.refused > 0 {
        lines.push(format!("refused {} that cannot be recorded", text::counted(played.refused, "message")));
    }
    print_lines(lines)?;
    let refused = if played.refused > 0 { Outcome::Lost } else { Outcome::Done };
    Ok(outcome_of(lost).and(refused).and(Outcome::of(played.losses.iter().collect::<Vec<&Loss>>())))
}

fn run_for(text: &str) -> Result<Duration, String> {
    time::parse_duration(text).map(|ns| Duration::from_nanos(ns.max(0) as u64)).map_err(|error| error.to_string())
}

fn device(text: &str) -> Result<String, String> {
    recording::key::check_name("device", text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn speed(text: &str) -> Result<Speed, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Speed::Max),
        Ok(factor) if factor.is_finite() && factor > 0.0 => Ok(Speed::Times(factor)),
        _ => Err(format!("not a speed: '{text}' (write a factor above 0, or max)")),
    }
}
