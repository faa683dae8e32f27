//! `tapeloop schema ls`: the types whose definitions are known.
//!
//! **Invariant:** a type is listed once, with where its definition comes from.

use clap::Args;
use recording::schema::library::Flavour;
use serde_json::{Value, json};

use crate::argument::Json;
use crate::outcome::Outcome;
use crate::output::{print_json, print_lines};
use crate::text;

/// How the standard packages call where they are from.
const STANDARD: &str = "standard, ";

/// List the types whose definitions are known without the recording
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Ls {
    /// List the standard types too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    json: Json,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop schema ls
  tapeloop schema ls --all | grep nav_msgs";

impl Ls {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let types = super::library()?.types();
        let is_shown = |origin: &String| self.all || self.json.wanted || !origin.starts_with(STANDARD);
        let shown: Vec<_> = types.iter().filter(|(.., origin)| is_shown(origin)).collect();
        if self.json.wanted {
            let all: Vec<Value> =
                shown.iter().map(|(name, flavour, origin)| json!({ "type": name, "ros": number(*flavour), "from": origin })).collect();
            print_json(&all)?;
            return Ok(Outcome::Done);
        }
        let rows: Vec<Vec<String>> =
            shown.iter().map(|(name, flavour, origin)| vec![name.clone(), format!("ROS {}", number(*flavour)), origin.clone()]).collect();
        let mut lines = text::table(&rows, &[]);
        if !self.all {
            let standard = types.len() - shown.len();
            lines.push(format!("{} standard types, which --all lists", text::count(standard as u64)));
        }
        print_lines(lines)?;
        Ok(Outcome::Done)
    }
}

fn number(flavour: Flavour) -> u8 {
    match flavour {
        Flavour::Ros1 => 1,
        Flavour::Ros2 => 2,
    }
}
