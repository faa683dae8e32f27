//! `tapeloop rm`: forgets recordings.
//!
//! **Invariant:** bytes that another recording names stay.

use clap::Args;
use serde_json::json;

use crate::argument::Json;
use crate::outcome::Outcome;
use crate::output::{print_json, print_lines};
use crate::whom::{Recorder, Whom};
use crate::{folder, offline};

/// Forget recordings; their bytes go when no other recording and no buffer needs them
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Rm {
    /// Ids or names of recordings
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    whom: Whom,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop rm run-12
  tapeloop rm 20261122T143210-0123456789ab-0 20261122T150000-0123456789ab-1";

impl Rm {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let recorder = self.whom.find()?;
        for id in &self.ids {
            let id = full_id(&recorder, id)?;
            let manifest = match &recorder {
                Recorder::Agent(client) => client.remove_recording(&id)?,
                Recorder::Folder(folder) => offline::remove(folder, &id)?,
            };
            if self.json.wanted {
                print_json(&json!({ "recording": manifest.recording, "removed": true }))?;
            } else {
                print_lines([format!("removed {}", manifest.recording)])?;
            }
        }
        Ok(Outcome::Done)
    }
}

/// Returns the id of what may be the beginning of one.
fn full_id(recorder: &Recorder, id: &str) -> anyhow::Result<String> {
    let Some(root) = recorder.folder() else { return Ok(id.to_owned()) };
    let recordings = folder::recordings(&root)?;
    let found = recordings.find(id)?;
    Ok(found.map_or_else(|| id.to_owned(), |(_, manifest)| manifest.recording.clone()))
}
