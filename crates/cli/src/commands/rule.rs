//! `tapeloop rule`: whether rules can be what they are meant to be, and what they would have done.
//!
//! **Invariant:** nothing is recorded, kept or changed.

mod check;
mod test;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use recording::read::{self, Recording};
use recording::{Error, Span, time};
use robot::Config;
use rules::{Rule, Topics};

use crate::folder;
use crate::outcome::Outcome;
use crate::whom::Whom;

/// Check rules, and try them on what was recorded
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Rules {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Check(check::Check),
    Test(test::Test),
}

const EXAMPLES: &str = "\
Examples:
  tapeloop rule check rules.toml --over run.mcap
  tapeloop rule test rules.toml --over bags/ --bandwidth '20 MB/s'";

impl Rules {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        match self.action {
            Action::Check(command) => command.run(),
            Action::Test(command) => command.run(),
        }
    }
}

/// Recordings, and the part of them that is meant.
struct Over {
    /// What they are called.
    name: String,
    recording: Recording,
    span: Span,
}

impl Over {
    /// Opens recordings, or the end of the tape where the one argument is no path but a duration.
    ///
    /// # Errors
    /// What finding and opening answer.
    fn open(what: &[PathBuf], whom: &Whom) -> anyhow::Result<Self> {
        if let [only] = what
            && !only.exists()
            && let Some(Ok(length_ns)) = only.to_str().map(time::parse_duration)
        {
            let root = whom.find()?.folder().ok_or_else(|| Error::not_found("the tape of that agent is not on this machine"))?;
            let recording = read::open(folder::check_tape(&root)?)?;
            let end_ns = recording.span().end_ns;
            let name = format!("the last {} of {}", time::format_duration(length_ns), root.display());
            return Ok(Self { name, recording, span: Span::new(end_ns.saturating_sub(length_ns), i64::MAX) });
        }
        let paths = what.iter().map(|one| folder::resolve(one, whom)).collect::<anyhow::Result<Vec<_>>>()?;
        let name = what.iter().map(|one| one.display().to_string()).collect::<Vec<_>>().join(", ");
        Ok(Self { name, recording: read::open_all(&paths)?, span: Span::ALL })
    }

    /// Returns its topics; those that rules name can be read.
    fn topics(&self, rules: &[Rule]) -> anyhow::Result<Topics> {
        let mut named = std::collections::BTreeSet::new();
        for rule in rules {
            rule.condition.each_reference(&mut |reference| {
                named.insert(reference.topic.as_str());
            });
        }
        Ok(Topics::of_recording(&self.recording, &named, &super::schema::library()?))
    }
}

/// Reads the rules of a file, of which everything else is checked too.
///
/// # Errors
/// `Invalid` with the line; `NotFound` where there are none.
fn rules_of(path: &Path) -> anyhow::Result<Vec<Rule>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let shown = path.display().to_string();
    let rules = rules::rules(&text, &shown)?;
    Config::parse(&text, &shown)?;
    if rules.is_empty() {
        return Err(Error::not_found(format!("there is no [[rule]] in {shown}: a rule has a name = \"…\" and a when = \"…\"")).into());
    }
    Ok(rules)
}
