//! `tapeloop rule check`: whether conditions can be read, and fit the topics that there are.
//!
//! **Invariant:** of all rules it is said what is wrong with them, not of the first one only.

use std::path::PathBuf;

use clap::Args;
use recording::time;
use rules::{Rule, Topics};
use serde_json::{Value, json};

use super::{Over, rules_of};
use crate::argument::Json;
use crate::folder;
use crate::outcome::Outcome;
use crate::output::{complain, print_json, print_lines};
use crate::text;
use crate::whom::Whom;

/// Say whether rules can be read, and fit the topics of recordings or of the tape
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    /// A TOML file with rules: the recorder's configuration, or one of its own
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Files, folders or recordings whose topics there are; without any, those of the tape, if there is one
    #[arg(long, value_name = "RECORDING", num_args = 1.., env = "TAPELOOP_OVER")]
    over: Vec<PathBuf>,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    whom: Whom,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop rule check tapeloop.toml
  tapeloop rule check rules.toml --over monday.mcap tuesday.bag --json

Exit code 1 says that a rule is wrong; each is told with its line and the nearest names.";

impl Check {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let rules = rules_of(&self.file)?;
        let over = self.over()?;
        let topics = over.as_ref().map_or_else(|| Ok(Topics::unknown()), |over| over.topics(&rules))?;
        let checked: Vec<(&Rule, Result<Vec<String>, String>)> = rules.iter().map(|rule| (rule, checked(rule, &topics))).collect();
        let is_good = checked.iter().all(|(_, outcome)| outcome.is_ok());
        let against = over.as_ref().map(|over| over.name.as_str());
        if self.json.wanted {
            let rules: Vec<Value> = checked.iter().map(|(rule, outcome)| to_json(rule, outcome)).collect();
            print_json(&json!({ "path": self.file, "ok": is_good, "over": against, "rules": rules }))?;
        } else {
            for (_, outcome) in &checked {
                if let Err(why) = outcome {
                    complain(format!("{} {why}", self.file.display()));
                }
            }
            print_lines(lines(&checked, against))?;
        }
        Ok(if is_good { Outcome::Done } else { Outcome::Failed })
    }

    /// Opens what the rules are checked against, if there is anything.
    fn over(&self) -> anyhow::Result<Option<Over>> {
        if !self.over.is_empty() {
            return Over::open(&self.over, &self.whom).map(Some);
        }
        match self.whom.find()?.folder().filter(|folder| folder::is_tape(folder)) {
            Some(tape) => Over::open(&[tape], &self.whom).map(Some),
            None => Ok(None),
        }
    }
}

/// Returns the topics that a rule names, or what is wrong with it.
fn checked(rule: &Rule, topics: &Topics) -> Result<Vec<String>, String> {
    let program = rule.program(topics).map_err(|error| error.to_string())?;
    Ok(program.topics().map(str::to_owned).collect())
}

fn lines(checked: &[(&Rule, Result<Vec<String>, String>)], against: Option<&str>) -> Vec<String> {
    let good: Vec<_> = checked.iter().filter_map(|(rule, outcome)| Some((rule, outcome.as_ref().ok()?))).collect();
    if good.is_empty() {
        return Vec::new();
    }
    let rows = good.iter().map(|(rule, topics)| vec![format!("  {}", rule.name), topics.join(", "), settings(rule)]);
    let mut lines = vec![match against {
        Some(path) => format!("{} of {} fit the topics of {path}", good.len(), text::counted(checked.len() as u64, "rule")),
        None => format!(
            "{} of {} can be read; whether their topics are there, --over RECORDING says",
            good.len(),
            text::counted(checked.len() as u64, "rule")
        ),
    }];
    lines.extend(text::table(&rows.collect::<Vec<_>>(), &[]));
    lines.extend(good.iter().flat_map(|(rule, _)| notes(rule)));
    lines
}

/// Returns what is to be said of keys that do nothing yet.
fn notes(rule: &Rule) -> Option<String> {
    let keys = rule.inactive.join(" and ");
    (!keys.is_empty()).then(|| format!("  rule '{}': {keys} not yet active, as this version does not upload", rule.name))
}

fn settings(rule: &Rule) -> String {
    let held = (rule.hold_ns > 0).then(|| format!("held for {}", time::format_duration(rule.hold_ns)));
    let cooldown = (rule.cooldown_ns > 0).then(|| format!("cooldown {}", time::format_duration(rule.cooldown_ns)));
    let around = format!("keeps {} before and {} after", time::format_duration(rule.before_ns), time::format_duration(rule.after_ns));
    [held, cooldown, Some(around)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn to_json(rule: &Rule, outcome: &Result<Vec<String>, String>) -> Value {
    json!({
        "name": rule.name, "event": rule.event, "line": rule.line, "when": rule.condition.to_string(),
        "topics": outcome.as_ref().ok(), "error": outcome.as_ref().err(), "inactive": rule.inactive,
    })
}
