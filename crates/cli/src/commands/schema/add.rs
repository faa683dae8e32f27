//! `tapeloop schema add`: definitions for recordings that lack them.
//!
//! **Invariant:** what was given is copied; the folder or the recording may go afterwards.

use std::path::PathBuf;

use clap::Args;
use recording::schema::library;
use robot::places;
use serde_json::json;

use crate::argument::Json;
use crate::outcome::Outcome;
use crate::output::{complain, print_json, print_lines};
use crate::text;

/// How many types are listed for people.
const SHOWN: usize = 20;

/// Keep the definitions of a ROS package folder or of a recording, for recordings that lack them
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Add {
    /// A folder of ROS packages (sources or installed), or a recording that carries its definitions
    #[arg(value_name = "DIR|RECORDING")]
    from: PathBuf,
    #[command(flatten)]
    json: Json,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop schema add ~/ros2_ws/src
  tapeloop schema add /opt/ros/jazzy/share
  tapeloop schema add another-robot.mcap

They are kept in $TAPELOOP_SCHEMAS, else in $XDG_DATA_HOME/tapeloop/schemas, and go before the standard ones.
Of .msg, .srv, .action and .idl files all are read; links that lead out of the folder are not followed.";

impl Add {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let folder = places::schemas_dir()?;
        let stored = library::store(&folder, &self.from)?;
        for why in &stored.unreadable {
            complain(format!("kept, but not readable yet: {why}"));
        }
        if self.json.wanted {
            print_json(&json!({ "types": stored.types, "files": stored.files, "new": stored.is_new, "unreadable": stored.unreadable }))?;
        } else {
            let counted = text::counted(stored.types.len() as u64, "type");
            let mut lines = vec![if stored.is_new {
                format!("{counted} kept in {}", folder.display())
            } else {
                format!("{counted}, all known already")
            }];
            lines.extend(stored.types.iter().take(SHOWN).map(|name| format!("  {name}")));
            if stored.types.len() > SHOWN {
                lines.push(format!("  and {} more", stored.types.len() - SHOWN));
            }
            print_lines(lines)?;
        }
        Ok(Outcome::Done)
    }
}
