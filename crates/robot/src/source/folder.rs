//! `kind = "folder"`: recordings that others finish in a folder, in every format that can be read.
//!
//! In come files that have not changed for a while, or were renamed into place; out go their messages, with the times of the file.
//!
//! **Invariant:** each content is taken once, also across restarts and under another name; what a file lost is a loss of the tape too.

mod arrivals;
mod play;
mod scan;
mod taken;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use recording::{Error, Result, time};
use serde::Deserialize;
use serde_json::json;

use self::arrivals::Arrivals;
use self::play::{Play, Played};
use self::scan::{Found, Scan};
use self::taken::Taken;
use super::{Intake, Source, options};
use crate::config::SourceConfig;
use crate::stop::StopFlag;

/// How long a file must not have changed unless somebody says otherwise.
const SETTLE: &str = "5 s";
/// How often the folder is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many names are tried for a file that is moved to where there is one of its name.
const NAME_TRIES: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    path: PathBuf,
    settle: Option<String>,
    #[serde(default)]
    times: TimesOf,
    #[serde(default)]
    after: After,
    move_to: Option<PathBuf>,
}

/// Which log times messages get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TimesOf {
    /// Those they have: they are found when they happened.
    #[default]
    File,
    /// Now.
    Now,
}

/// What becomes of a file that was taken without losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum After {
    #[default]
    Keep,
    Delete,
    Move,
}

struct Folder {
    name: String,
    path: PathBuf,
    settle_ns: i64,
    times: TimesOf,
    after: After,
    move_to: Option<PathBuf>,
}

pub(super) fn make(config: &SourceConfig) -> Result<Box<dyn Source>> {
    let Options { path, settle, times, after, move_to } = options(config)?;
    let settle_ns = time::parse_duration(settle.as_deref().unwrap_or(SETTLE))?;
    if settle_ns < 0 {
        return Err(Error::invalid("settle is at least 0 s"));
    }
    match (after, &move_to) {
        (After::Move, None) => return Err(Error::invalid("after = \"move\" needs move_to = \"…\"")),
        (After::Keep | After::Delete, Some(_)) => return Err(Error::invalid("move_to needs after = \"move\"")),
        (After::Move, Some(to)) if to.starts_with(&path) => {
            return Err(Error::invalid("move_to is inside of the folder that is watched"));
        }
        _ => {}
    }
    Ok(Box::new(Folder { name: config.name.clone(), path, settle_ns, times, after, move_to }))
}

impl Source for Folder {
    fn run(&mut self, intake: &Arc<Intake>, stop: &StopFlag) -> Result<()> {
        let failed = |error| Error::io(format!("cannot watch {}", self.path.display()), error);
        let path = self.path.canonicalize().map_err(failed)?;
        let mut taken = Taken::load(intake.tape().root(), &self.name)?;
        let mut scan = Scan::new(path.clone(), intake.tape().root().canonicalize().ok(), self.settle_ns);
        let mut arrivals = Arrivals::watch(&path);
        intake.note(format!("watches {}", self.path.display()));
        loop {
            scan.arrived(arrivals.names());
            for found in scan.finished(intake.now_ns(), intake.monotonic_ns()).map_err(failed)? {
                self.take(intake, stop, &mut taken, &found)?;
                if stop.is_set() {
                    return Ok(());
                }
                scan.done(&found);
            }
            if stop.wait(INTERVAL) {
                return Ok(());
            }
        }
    }
}

impl Folder {
    /// Takes a file, unless that was done already.
    fn take(&self, intake: &Arc<Intake>, stop: &StopFlag, taken: &mut Taken, found: &Found) -> Result<()> {
        let print = match taken::fingerprint(&found.path) {
            Ok(print) => print,
            // It has gone again, or may not be read.
            Err(error) => {
                intake.refuse(&format!("{}: {error}", found.path.display()));
                return Ok(());
            }
        };
        let begun = taken.progress(&print);
        let Some(begun) = begun.unfinished() else { return Ok(()) };
        let play = Play { intake, stop, keeps_times: self.times == TimesOf::File };
        let mut save = |messages| {
            // An error that the flush tells is in the losses already.
            let _ = intake.tape().flush();
            taken.note_progress(&print, messages)
        };
        let played = match play.run(&found.path, begun, &mut save) {
            Ok(played) => played,
            Err(error) if intake.tape().is_closed() => return Err(error),
            Err(error) => {
                // Once told, it is not looked at again until it changes.
                intake.refuse(&format!("{}: {error}", found.path.display()));
                let detail = json!({ "path": found.path.display().to_string(), "error": error.to_string() });
                intake.event("file_refused", &format!("{} is not taken in: {error}", found.path.display()), detail);
                return taken.note_done(&print, &found.path);
            }
        };
        if played.is_stopped {
            return save(played.position);
        }
        let _ = intake.tape().flush();
        taken.note_done(&print, &found.path)?;
        self.tell(intake, &found.path, begun, &played);
        if played.is_whole() {
            self.put_away(intake, &found.path);
        }
        Ok(())
    }

    fn tell(&self, intake: &Intake, path: &Path, begun: u64, played: &Played) {
        let detail = json!({
            "path": path.display().to_string(), "format": played.format, "messages": played.messages, "bytes": played.bytes,
            "start_ns": played.start_ns, "end_ns": played.end_ns, "losses": played.losses, "refused": played.refused,
            "taken_before": begun,
        });
        let lost = if played.is_whole() { String::new() } else { ", with losses".to_owned() };
        let message = format!("{} messages of {} were taken in{lost}", played.messages, path.display());
        intake.event("file_taken", &message, detail);
        intake.note(format!("watches {}; the last file was {}", self.path.display(), path.display()));
    }

    /// Deletes or moves a file that is on the tape now.
    fn put_away(&self, intake: &Intake, path: &Path) {
        let outcome = match (self.after, &self.move_to) {
            (After::Delete, _) => std::fs::remove_file(path),
            (After::Move, Some(to)) => move_into(path, to),
            (After::Keep | After::Move, _) => Ok(()),
        };
        if let Err(error) = outcome {
            let detail = json!({ "path": path.display().to_string(), "error": error.to_string() });
            intake.event("file_not_put_away", &format!("{} was taken in and stays where it is: {error}", path.display()), detail);
        }
    }
}

/// Moves a file into a folder, under another name where there is one of its name.
fn move_into(path: &Path, folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    for attempt in 0..NAME_TRIES {
        let to = folder.join(if attempt == 0 { name.to_string() } else { format!("{attempt}-{name}") });
        // Unlike renaming, a link never replaces what is there.
        match std::fs::hard_link(path, &to) {
            Ok(()) => return std::fs::remove_file(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            // Some file systems have no links.
            Err(_) if !to.exists() => return std::fs::rename(path, &to),
            Err(error) => return Err(error),
        }
    }
    Err(std::io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_make_no_sense_are_refused() {
        let made = |text: &str| {
            let options = toml::from_str(text).unwrap();
            make(&SourceConfig { name: "bags".into(), kind: "folder".into(), limit_bytes_per_s: None, options, line: 1 })
        };
        assert!(made("path = '/bags'").is_ok() && made("path = '/bags'\nafter = 'move'\nmove_to = '/done'\ntimes = 'now'").is_ok());
        for (text, expected) in [
            ("", "missing field `path`"),
            ("path = '/a'\nafter = 'move'", "needs move_to"),
            ("path = '/a'\nmove_to = '/b'", "needs after"),
            ("path = '/a'\nafter = 'move'\nmove_to = '/a/b'", "is inside"),
            ("path = '/a'\ntimes = 'never'", "unknown variant"),
        ] {
            assert!(made(text).err().unwrap().message().contains(expected), "{text}");
        }
    }

    #[test]
    fn a_file_never_replaces_one_where_it_is_moved() {
        let folder = tempfile::tempdir().unwrap();
        let done = folder.path().join("done");
        for content in ["first", "second"] {
            let path = folder.path().join("a.bag");
            std::fs::write(&path, content).unwrap();
            move_into(&path, &done).unwrap();
            assert!(!path.exists());
        }
        assert_eq!(std::fs::read_to_string(done.join("a.bag")).unwrap(), "first");
        assert_eq!(std::fs::read_to_string(done.join("1-a.bag")).unwrap(), "second");
    }
}
