//! `kind = "journald"`: systemd's journal, in its export format: from `journalctl`, another command, a file or a named pipe.
//!
//! In come entries, out goes a record per entry on `/logs/journal`, with the journal's time as its publish time.
//!
//! **Invariant:** an entry's cursor is saved after the entry is on the disk: a restart repeats a few seconds at most after a crash,
//! nothing after an orderly end, and leaves nothing out.

mod cursor;
mod entry;
mod export;
mod input;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use recording::{Error, Kind, Result};
use serde::Deserialize;

use self::cursor::{Cursor, Saved};
use self::export::Entries;
use self::input::{Input, Read};
use super::record::Records;
use super::{Intake, Source, options};
use crate::config::SourceConfig;
use crate::stop::StopFlag;

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;
/// How often it looks whether it is to end.
const STOP_STEP: Duration = Duration::from_millis(200);
/// How often the cursor is saved.
const SAVE_NS: i64 = 5_000_000_000;
/// How many units may be named.
const UNIT_LIMIT: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    path: Option<PathBuf>,
    command: Option<Vec<String>>,
    #[serde(default)]
    units: Vec<String>,
    #[serde(default)]
    since: Since,
}

/// Where it begins when it has no cursor yet.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Since {
    #[default]
    Now,
    Boot,
}

/// Where entries come from.
enum Origin {
    Path(PathBuf),
    Command(Vec<String>),
    Journalctl { units: Vec<String>, since: Since },
}

struct Journald {
    name: String,
    origin: Origin,
}

pub(super) fn make(config: &SourceConfig) -> Result<Box<dyn Source>> {
    let Options { path, command, units, since } = options(config)?;
    if units.len() > UNIT_LIMIT {
        return Err(Error::invalid(format!("{} units; at most {UNIT_LIMIT}", units.len())));
    }
    let plain = units.is_empty() && matches!(since, Since::Now);
    let origin = match (path, command) {
        (None, None) => Origin::Journalctl { units, since },
        (Some(_), Some(_)) => return Err(Error::invalid("path or command, not both")),
        _ if !plain => return Err(Error::invalid("units and since are for journalctl: leave path and command out")),
        (Some(path), None) => Origin::Path(path),
        (None, Some(command)) if command.is_empty() => return Err(Error::invalid("the command is empty")),
        (None, Some(command)) => Origin::Command(command),
    };
    Ok(Box::new(Journald { name: config.name.clone(), origin }))
}

impl Origin {
    /// Returns the command, if it is one.
    fn command(&self, after: Option<&Cursor>) -> Option<Vec<String>> {
        match self {
            Self::Path(_) => None,
            Self::Command(command) => Some(command.clone()),
            Self::Journalctl { units, since } => {
                let mut command = ["journalctl", "--follow", "--output=export", "--quiet"].map(str::to_owned).to_vec();
                command.extend(units.iter().map(|unit| format!("--unit={unit}")));
                command.extend(match (after, since) {
                    (Some(cursor), _) => vec![format!("--after-cursor={}", cursor.text), "--no-tail".into()],
                    (None, Since::Now) => vec!["--lines=0".into()],
                    (None, Since::Boot) => vec!["--boot".into(), "--no-tail".into()],
                });
                Some(command)
            }
        }
    }
}

impl Source for Journald {
    fn run(&mut self, intake: &Arc<Intake>, stop: &StopFlag) -> Result<()> {
        let saved = Saved::new(intake.tape().root(), &self.name);
        let after = saved.load();
        let mut input = match (&self.origin, self.origin.command(after.as_ref())) {
            (_, Some(command)) => Input::command(&command)?,
            (Origin::Path(path), None) => Input::path(path)?,
            (Origin::Command(_) | Origin::Journalctl { .. }, None) => return Err(Error::invalid("no command")),
        };
        intake.note(format!("reads {}", input.name()));
        let mut feed = Feed { intake, saved, after, last: None, saved_ns: intake.monotonic_ns(), records: Records::default() };
        let outcome = feed.read(&mut input, stop);
        let kept = feed.save();
        // Why it ended says more than what became of its cursor.
        outcome.and(kept)
    }
}

/// What one run has.
struct Feed<'a> {
    intake: &'a Arc<Intake>,
    saved: Saved,
    /// What an earlier run had read.
    after: Option<Cursor>,
    /// The last entry that was logged and is not saved yet.
    last: Option<Cursor>,
    saved_ns: i64,
    records: Records,
}

impl Feed<'_> {
    fn read(&mut self, input: &mut Input, stop: &StopFlag) -> Result<()> {
        let (mut entries, mut bytes) = (Entries::default(), vec![0; READ_BYTES]);
        while !stop.is_set() {
            match input.read(&mut bytes, STOP_STEP)? {
                Read::Bytes(count) => {
                    let mut found = Vec::new();
                    entries.feed(&bytes[..count], |entry| found.push(entry));
                    found.into_iter().try_for_each(|entry| self.take(entry))?;
                }
                Read::Nothing => {}
                Read::End => {
                    let mut last = None;
                    entries.end(|entry| last = Some(entry));
                    last.into_iter().try_for_each(|entry| self.take(entry))?;
                    return input.end();
                }
            }
            if self.intake.monotonic_ns().saturating_sub(self.saved_ns) >= SAVE_NS {
                self.save()?;
            }
        }
        Ok(())
    }

    fn take(&mut self, entry: std::result::Result<export::Entry, &'static str>) -> Result<()> {
        let entry = match entry {
            Ok(entry) => entry,
            Err(why) => {
                self.intake.refuse(why);
                return Ok(());
            }
        };
        let cursor = entry.text("__CURSOR").map(|text| Cursor::parse(&text));
        if let (Some(cursor), Some(after)) = (&cursor, &self.after)
            && cursor.is_up_to(after)
        {
            return Ok(());
        }
        if let Some(record) = entry::record(&entry) {
            match self.records.log(self.intake, &record) {
                Err(error) if error.kind() == Kind::Invalid => self.intake.refuse(error.message()),
                Err(error) if self.intake.tape().is_closed() => return Err(error),
                // What the tape could not take is in its losses.
                Err(_) | Ok(()) => {}
            }
        } else {
            self.intake.refuse("an entry of the journal without a message");
        }
        self.last = cursor.or(self.last.take());
        Ok(())
    }

    /// Saves how far it came, once that is on the disk.
    fn save(&mut self) -> Result<()> {
        self.saved_ns = self.intake.monotonic_ns();
        let Some(cursor) = self.last.take() else { return Ok(()) };
        if !self.intake.tape().is_closed() {
            // An error that the flush tells is in the losses already.
            let _ = self.intake.tape().flush();
        }
        self.saved.store(&cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str) -> Result<Box<dyn Source>> {
        let options = toml::from_str(text).unwrap();
        make(&SourceConfig { name: "journal".into(), kind: "journald".into(), limit_bytes_per_s: None, options, line: 1 })
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        for good in ["", "path = '/x'", "command = ['cat', 'x']", "units = ['a.service']\nsince = 'boot'"] {
            assert!(made(good).is_ok(), "{good}");
        }
        for (text, expected) in [
            ("path = '/x'\ncommand = ['a']", "path or command"),
            ("command = []", "the command is empty"),
            ("path = '/x'\nsince = 'boot'", "are for journalctl"),
            ("since = 'ever'", "unknown variant"),
        ] {
            assert!(made(text).err().unwrap().message().contains(expected), "{text}");
        }
    }

    #[test]
    fn journalctl_goes_on_behind_the_cursor() {
        let origin = Origin::Journalctl { units: vec!["nav.service".into()], since: Since::Now };
        let fresh = ["journalctl", "--follow", "--output=export", "--quiet", "--unit=nav.service", "--lines=0"];
        assert_eq!(origin.command(None).unwrap(), fresh);
        let again = origin.command(Some(&Cursor::parse("s=1;i=2"))).unwrap();
        assert_eq!(again[5..], ["--after-cursor=s=1;i=2", "--no-tail"]);
    }
}
