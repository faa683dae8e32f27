//! `tapeloop save`: keeps a span of the tape, through the agent or directly on a tape that nobody records into.
//!
//! **Invariant:** whoever answers resolves the times: an agent by its clock, a tape without one as seen from its last message.

use std::time::Duration;

use clap::{ArgGroup, Args};
use recording::{Kind, Manifest, time};
use robot::agent::client::Client;
use robot::{Length, SaveRequest, When};

use crate::argument::{self, Json, Reason, Topics};
use crate::outcome::Outcome;
use crate::output::{Progress, complain};
use crate::whom::{Recorder, Whom, no_agent};
use crate::{offline, report, text};

/// How long one request waits for a recording to become complete; then it is asked again.
const WAIT_STEP: Duration = Duration::from_secs(2);

/// Keep a span of the tape: the past, and if you like some of the future
#[derive(Args)]
#[command(after_help = EXAMPLES)]
#[command(group = ArgGroup::new("span").args(["before", "after", "start"]).multiple(true).required(true))]
pub(crate) struct Save {
    /// How much before the moment: '30s', '5 min'
    #[arg(long, value_name = "DURATION", env = "TAPELOOP_BEFORE", value_parser = argument::length, conflicts_with_all = ["start", "end"])]
    before: Option<Length>,
    /// How much after it
    #[arg(long, value_name = "DURATION", env = "TAPELOOP_AFTER", value_parser = argument::length, conflicts_with_all = ["start", "end"])]
    after: Option<Length>,
    /// The moment, now without: '14:32', '10 min ago', RFC 3339, or ns
    #[arg(long, value_name = "TIME", env = "TAPELOOP_AT", value_parser = argument::when, conflicts_with_all = ["start", "end"])]
    at: Option<When>,
    /// The start, instead
    #[arg(long, value_name = "TIME", env = "TAPELOOP_START", value_parser = argument::when)]
    start: Option<When>,
    /// The end, now without
    #[arg(long, value_name = "TIME", env = "TAPELOOP_END", value_parser = argument::when, requires = "start")]
    end: Option<When>,
    #[command(flatten)]
    topics: Topics,
    #[command(flatten)]
    reason: Reason,
    /// Return when the recording is complete, not at once
    #[arg(long, env = "TAPELOOP_WAIT", value_parser = clap::builder::FalseyValueParser::new())]
    wait: bool,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    whom: Whom,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop save --before 30s --after 10s --topics '/camera/**' /imu --why 'missed stop sign'
  tapeloop save --at 14:32 --before 60s --wait
  tapeloop save --start 2026-11-22T14:00:00Z --end 2026-11-22T14:05:00Z --label by=ada --json

It returns at once; the recording completes by itself. Where no agent answers, the span is kept
directly on the tape in --data, and 'now' is when its last message was recorded.

Exit code 3 says that data in the span was lost: torn by a power cut, dropped from a full queue,
refused by the disk. What expired, was filtered, or was never recorded is listed as missing, with
exit code 0.";

impl Save {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let request = SaveRequest {
            before: self.before,
            after: self.after,
            at: self.at,
            start: self.start,
            end: self.end,
            topics: self.topics.patterns,
            why: self.reason.why.clone(),
            labels: self.reason.labels(),
            by: "cli".to_owned(),
        };
        match self.whom.find()? {
            Recorder::Agent(client) => {
                let mut manifest = client.save(&request)?;
                if self.wait {
                    manifest = wait(&client, manifest)?;
                }
                report::print(&manifest, client.root().as_deref(), self.json.wanted, None)
            }
            Recorder::Folder(folder) => {
                let kept = offline::save(&folder, &request).map_err(explain)?;
                let end = text::moment(kept.end_ns);
                let note =
                    format!("no agent answers: kept directly on the tape in {}, where 'now' is {end}, its last message", folder.display());
                if self.json.wanted {
                    complain(&note);
                }
                report::print(&kept.manifest, Some(&folder), self.json.wanted, Some(note))
            }
        }
    }
}

/// Waits until a recording is complete, however long that takes.
fn wait(client: &Client, manifest: Manifest) -> anyhow::Result<Manifest> {
    let mut progress = Progress::new();
    let end_ns = manifest.asked.end_ns.unwrap_or(manifest.created_ns);
    loop {
        match client.wait(&manifest.recording, WAIT_STEP) {
            Ok(manifest) => return Ok(manifest),
            // It says so when the time is up; an agent that went away is found out by the next question.
            Err(error) if error.is_retryable() => {
                let state = client.recording(&manifest.recording)?.state;
                progress.show(|| format!("{}: {} (asked until {})", manifest.recording, report::state(state), time::format_time(end_ns)));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Says why a folder was looked at, where there is nothing to keep in it.
fn explain(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<recording::Error>().map(recording::Error::kind) {
        Some(Kind::NotFound | Kind::Conflict) => error.context(no_agent()),
        _ => error,
    }
}
