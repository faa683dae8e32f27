//! `tapeloop schema X`: the field trees of a recording's topics, or of a type.
//!
//! **Invariant:** topics with one definition are shown together, once.

use std::path::PathBuf;

use clap::Args;
use recording::schema::outline;
use serde_json::{Value, json};

use super::{Definition, Definitions, required};
use crate::argument::{Json, Topics};
use crate::outcome::Outcome;
use crate::output::{print_json, print_lines};
use crate::whom::Whom;

#[derive(Args)]
pub(super) struct Show {
    /// A file, a folder, the id or name of a recording, or the name of a type
    #[arg(value_name = "X")]
    what: Option<PathBuf>,
    #[command(flatten)]
    topics: Topics,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    whom: Whom,
}

impl Show {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let definitions = Definitions::of(&required(self.what)?, &self.topics, &self.whom)?;
        if self.json.wanted {
            print_json(&definitions.found.iter().map(to_json).collect::<Vec<_>>())?;
        } else {
            let shown: Vec<Vec<String>> = definitions.found.iter().map(lines).collect();
            print_lines(shown.join(&[String::new()][..]))?;
        }
        Ok(if definitions.complain() { Outcome::Failed } else { Outcome::Done })
    }
}

fn lines(definition: &Definition) -> Vec<String> {
    let mut tree = outline::lines(&definition.tree).into_iter();
    let mut lines: Vec<String> = tree.by_ref().take(1).collect();
    if let Some(first) = lines.first_mut().filter(|first| first.is_empty()) {
        first.push_str("(no type)");
    }
    if !definition.topics.is_empty() {
        lines.push(format!("topics   {}", definition.topics.join(", ")));
    }
    let written =
        [definition.encoding.as_str(), definition.language.as_str()].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>();
    let inferred = if definition.inferred { "; nothing defines its fields: these are those of the first messages" } else { "" };
    lines.push(format!("written  {}{inferred}", written.join(", defined in ")));
    lines.extend(definition.other.iter().map(|other| {
        let (own, others) = if definition.language == "ros1msg" { ("ROS 1", "ROS 2") } else { ("ROS 2", "ROS 1") };
        format!("of       {own}; {others} has {other}")
    }));
    lines.extend(definition.hash.iter().map(|hash| format!("hash     {hash}")));
    lines.extend(tree);
    lines
}

fn to_json(definition: &Definition) -> Value {
    let mut value = json!({ "topics": definition.topics, "encoding": definition.encoding, "schema_encoding": definition.language });
    if let (Value::Object(object), Value::Object(tree)) = (&mut value, outline::json(&definition.tree)) {
        object.extend(definition.inferred.then(|| ("inferred".to_owned(), json!(true))));
        object.extend(definition.hash.iter().map(|hash| ("hash".to_owned(), json!(hash))));
        object.extend(tree);
    }
    value
}
