//! `tapeloop schema diff`: what changed in the types of two recordings.
//!
//! **Invariant:** exit code 0 says that all types are the same, 1 that any is not.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use recording::schema::difference::{Change, What, changes};
use serde_json::{Value, json};

use super::{Definition, Definitions};
use crate::argument::{Json, Topics};
use crate::outcome::Outcome;
use crate::output::{complain, print_json, print_lines};
use crate::whom::Whom;

/// Say what changed in the types of two recordings, or between two types
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Diff {
    /// A file, a folder, the id or name of a recording, or the name of a type
    #[arg(value_name = "A")]
    before: PathBuf,
    /// What to compare it with
    #[arg(value_name = "B")]
    after: PathBuf,
    #[command(flatten)]
    topics: Topics,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    whom: Whom,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop schema diff monday.mcap friday.mcap
  tapeloop schema diff old.mcap new.mcap --topic /odom --json

A topic that both have is compared with itself, everything else by the name of its type.
Exit code 0 says that all is the same, 1 that it is not.";

impl Diff {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let before = Definitions::of(&self.before, &self.topics, &self.whom)?;
        let after = Definitions::of(&self.after, &self.topics, &self.whom)?;
        let is_partial = before.complain() | after.complain();
        let changes = compare(&before.found, &after.found);
        if self.json.wanted {
            print_json(&changes.iter().map(to_json).collect::<Vec<_>>())?;
        } else if changes.is_empty() {
            print_lines([if is_partial { "what can be read is the same" } else { "all types are the same" }])?;
        } else {
            print_lines(lines(&changes))?;
        }
        if is_partial {
            complain("types that cannot be read were not compared");
        }
        Ok(if changes.is_empty() && !is_partial { Outcome::Done } else { Outcome::Different })
    }
}

/// Returns every change, each once.
fn compare(before: &[Definition], after: &[Definition]) -> Vec<Change> {
    let mut all: Vec<Change> = Vec::new();
    let mut used = vec![false; after.len()];
    let only = before.len() == 1 && after.len() == 1;
    for old in before {
        let name = &old.tree.root().name;
        let shares = |new: &Definition| old.topics.iter().any(|topic| new.topics.contains(topic));
        let found = after.iter().position(|new| shares(new) && new.tree == old.tree).or_else(|| {
            let same_type = |new: &Definition| new.tree.root().name == *name;
            let by_topic = after.iter().position(shares);
            by_topic.or_else(|| after.iter().position(same_type)).or_else(|| only.then_some(0))
        });
        match found {
            Some(index) => {
                used[index] = true;
                all.extend(changes(&old.tree, &after[index].tree));
            }
            None => all.push(whole(What::Removed, name)),
        }
    }
    let known = |name: &String| before.iter().any(|old| old.tree.root().name == *name);
    let new = after.iter().zip(used).filter(|(new, used)| !used && !known(&new.tree.root().name));
    all.extend(new.map(|(new, _)| whole(What::Added, &new.tree.root().name)));
    let mut once: Vec<Change> = Vec::new();
    for change in all {
        if !once.contains(&change) {
            once.push(change);
        }
    }
    once
}

fn whole(what: What, name: &str) -> Change {
    let (before, after) = if what == What::Added { ("", name) } else { (name, "") };
    Change { type_name: name.into(), name: String::new(), what, before: before.into(), after: after.into() }
}

fn lines(changes: &[Change]) -> Vec<String> {
    let mut by_type: BTreeMap<&str, Vec<&Change>> = BTreeMap::new();
    for change in changes {
        by_type.entry(&change.type_name).or_default().push(change);
    }
    let mut lines = Vec::new();
    for (name, changes) in by_type {
        lines.push(name.to_owned());
        lines.extend(changes.into_iter().map(line));
    }
    lines
}

fn line(change: &Change) -> String {
    let Change { name, before, after, .. } = change;
    match (change.what, name.as_str()) {
        (What::Added, "") => "  + the type is new".into(),
        (What::Removed, "") => "  - the type is gone".into(),
        (What::Added, name) => format!("  + {name}  {after}"),
        (What::Removed, name) => format!("  - {name}  {before}"),
        (_, "") => format!("  ~ the type was {before} and is {after}"),
        (What::Moved, name) => format!("  > {name}  moved: {before} → {after}"),
        (what, name) => {
            let shown = |text: &String| if text.is_empty() { "none".to_owned() } else { text.clone() };
            format!("  ~ {name}  {}: {} → {}", what.word(), shown(before), shown(after))
        }
    }
}

fn to_json(change: &Change) -> Value {
    json!({ "type": change.type_name, "name": change.name, "change": change.what.word(), "before": change.before, "after": change.after })
}
