//! `tapeloop keep start|stop`: keeps everything between two moments that are not known in advance.
//!
//! **Invariant:** only an agent can do this: somebody must be there when the future comes.

use clap::{Args, Subcommand};
use robot::{KeepRequest, Length};

use crate::argument::{self, Json, Reason, Topics};
use crate::outcome::Outcome;
use crate::report;
use crate::whom::Whom;

/// Keep everything from now on until it is stopped, however long that takes
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Keep {
    #[command(subcommand)]
    what: What,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop keep start run-12 --before 10s
  tapeloop keep stop run-12 --after 2s";

#[derive(Subcommand)]
enum What {
    Start(Start),
    Stop(Stop),
}

/// Begin to keep
#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct Start {
    /// The name under which it is stopped
    name: String,
    /// How much before now
    #[arg(long, value_name = "DURATION", env = "TAPELOOP_BEFORE", value_parser = argument::length)]
    before: Option<Length>,
    #[command(flatten)]
    topics: Topics,
    #[command(flatten)]
    reason: Reason,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    whom: Whom,
}

/// End it
#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct Stop {
    /// The name under which it was begun
    name: String,
    /// How much later than now it ends
    #[arg(long, value_name = "DURATION", env = "TAPELOOP_AFTER", value_parser = argument::length)]
    after: Option<Length>,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    whom: Whom,
}

impl Keep {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        match self.what {
            What::Start(start) => start.run(),
            What::Stop(stop) => stop.run(),
        }
    }
}

impl Start {
    fn run(self) -> anyhow::Result<Outcome> {
        let client = self.whom.agent()?;
        let request = KeepRequest {
            name: self.name,
            before: self.before,
            topics: self.topics.patterns,
            why: self.reason.why.clone(),
            labels: self.reason.labels(),
            by: "cli".to_owned(),
        };
        let manifest = client.keep_start(&request)?;
        report::print(&manifest, client.root().as_deref(), self.json.wanted, None)
    }
}

impl Stop {
    fn run(self) -> anyhow::Result<Outcome> {
        let client = self.whom.agent()?;
        let after_ns = self.after.map(|after| after.to_ns()).transpose()?;
        let manifest = client.keep_stop(&self.name, after_ns)?;
        report::print(&manifest, client.root().as_deref(), self.json.wanted, None)
    }
}
