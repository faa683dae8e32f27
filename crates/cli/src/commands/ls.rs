//! `tapeloop ls`: the recordings of a tape.
//!
//! **Invariant:** a manifest that cannot be read is said, never left out in silence.

use std::path::{Path, PathBuf};

use clap::Args;
use recording::{Manifest, size, time};
use serde_json::{Value, json};

use crate::argument::Json;
use crate::folder::Recordings;
use crate::outcome::Outcome;
use crate::output::{complain, print_json, print_lines};
use crate::whom::{Recorder, Whom};
use crate::{folder, report, text};

/// List the recordings of a tape
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ls {
    /// Folder of a tape; without it, that of the agent, or the one in --data
    path: Option<PathBuf>,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    whom: Whom,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop ls
  tapeloop ls /media/disk/tape --json";

impl Ls {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let (root, found) = self.recordings()?;
        for (path, error) in &found.unreadable {
            complain(format!("{}: {error}", path.display()));
        }
        if self.json.wanted {
            let all: Vec<Value> = found.manifests.iter().map(|(path, manifest)| to_json(path, manifest)).collect();
            print_json(&all)?;
        } else if found.manifests.is_empty() {
            print_lines([format!("no recordings on the tape in {}: 'tapeloop save' makes one", root.display())])?;
        } else {
            print_lines(lines(&found))?;
        }
        Ok(if found.unreadable.is_empty() { Outcome::Done } else { Outcome::Lost })
    }

    fn recordings(&self) -> anyhow::Result<(PathBuf, Recordings)> {
        let folder = match &self.path {
            Some(path) => path.clone(),
            None => match self.whom.find()? {
                Recorder::Agent(client) => {
                    let root = client.root().unwrap_or_default();
                    let manifests = client.recordings()?.into_iter().map(|manifest| (folder::manifest_path(&root, &manifest), manifest));
                    let found = Recordings { manifests: manifests.collect(), unreadable: Vec::new() };
                    return Ok((root, found));
                }
                Recorder::Folder(folder) => folder,
            },
        };
        let found = folder::recordings(folder::check_tape(&folder)?)?;
        Ok((folder, found))
    }
}

fn bytes(manifest: &Manifest) -> u64 {
    manifest.segments.iter().filter_map(|segment| segment.size_bytes).sum()
}

fn to_json(path: &Path, manifest: &Manifest) -> Value {
    json!({
        "recording": manifest.recording,
        "name": manifest.name,
        "device": manifest.device,
        "state": manifest.state,
        "start_ns": manifest.span.start_ns,
        "end_ns": manifest.span.end_ns,
        "duration_ns": manifest.span.end_ns.saturating_sub(manifest.span.start_ns),
        "segments": manifest.segments.len(),
        "bytes": bytes(manifest),
        "why": manifest.why,
        "labels": manifest.labels,
        "missing": manifest.missing.len(),
        "lost": manifest.missing.iter().filter(|loss| loss.is_lost()).count(),
        "path": path,
    })
}

fn lines(found: &Recordings) -> Vec<String> {
    let heads = ["recording", "name", "state", "start", "duration", "bytes", "missing", "why"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(found.manifests.iter().map(|(_, manifest)| {
        vec![
            manifest.recording.clone(),
            manifest.name.clone().unwrap_or_default(),
            report::state(manifest.state).to_owned(),
            text::moment(manifest.span.start_ns),
            time::format_duration(manifest.span.end_ns.saturating_sub(manifest.span.start_ns)),
            size::format(bytes(manifest)),
            manifest.missing.len().to_string(),
            manifest.why.clone().unwrap_or_default(),
        ]
    }));
    text::table(&rows, &[4, 5, 6])
}
