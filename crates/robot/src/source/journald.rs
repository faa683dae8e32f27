//! `kind = "journald"`: systemd's journal, in its export format: from `journalctl`, another command, a file or a named pipe.
//!
//! In come entries, out goes a record per entry on `/logs/journal`, with the journal's time as its publish time.
//!
//! **Invariant:** an entry's cursor is saved after the entry is on the disk: a restart repeats a few seconds at most after a crash,
//! nothing after an orderly end, and leaves nothing out; entries that a disk did not take are read again.

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
/// How many bytes of JSON a byte of an entry becomes at most: each of them six, and some fields stand there twice.
const JSON_GROWTH: usize = 12;
/// What else there is in a record.
const JSON_BYTES: usize = 1000;
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
        let mut feed = Feed {
            intake,
            stop,
            saved,
            after,
            last: None,
            saved_ns: intake.monotonic_ns(),
            lost: intake.tape().losses_of(&topic()),
            is_unsure: false,
            is_cut_short: false,
            records: Records::default(),
        };
        let outcome = feed.read(&mut input);
        let kept = feed.save();
        // Why it ended says more than what became of its cursor.
        outcome.and(kept)
    }
}

/// What one run has.
struct Feed<'a> {
    intake: &'a Arc<Intake>,
    stop: &'a StopFlag,
    saved: Saved,
    /// What an earlier run had read.
    after: Option<Cursor>,
    /// The last entry that was logged and is not saved yet.
    last: Option<Cursor>,
    saved_ns: i64,
    /// How often the tape had lost entries when this began.
    lost: u64,
    /// Whether the disk failed the last time when all was to be on it.
    is_unsure: bool,
    /// Whether an entry waited for room when it was time to stop: it, and what follows, comes after the next start.
    is_cut_short: bool,
    records: Records,
}

/// Returns the topic of entries.
fn topic() -> String {
    format!("/logs/{}", entry::NAME)
}

impl Feed<'_> {
    fn read(&mut self, input: &mut Input) -> Result<()> {
        let (mut entries, mut bytes) = (Entries::default(), vec![0; READ_BYTES]);
        while !self.stop.is_set() {
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
            _ if self.is_cut_short => return Ok(()),
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
            // The journal can wait: what is over the limit comes later.
            let bytes = entry.fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
            if !self.intake.wait_for_room(bytes * JSON_GROWTH + JSON_BYTES, self.stop) {
                self.is_cut_short = true;
                return Ok(());
            }
            match self.records.log(self.intake, &record) {
                Err(error) if error.kind() == Kind::Invalid => self.intake.refuse(error.message()),
                // The cursor stays in front of it.
                Err(error) => return Err(error),
                Ok(()) => {}
            }
        } else {
            self.intake.refuse("an entry of the journal without a message");
        }
        self.last = cursor.or(self.last.take());
        Ok(())
    }

    /// Saves how far it came, once that is on the disk.
    ///
    /// # Errors
    /// `Unavailable` if entries were lost on their way to the disk; what the disk answers the second time. They are read again then,
    /// from the cursor that was saved before.
    fn save(&mut self) -> Result<()> {
        self.saved_ns = self.intake.monotonic_ns();
        let tape = self.intake.tape();
        // What a closed tape had accepted is on the disk or not: the entries come again.
        if self.last.is_none() || tape.is_closed() {
            return Ok(());
        }
        let flushed = tape.flush();
        if tape.losses_of(&topic()) != self.lost {
            return Err(Error::unavailable("the tape lost entries of the journal: they are read again"));
        }
        match flushed {
            Err(error) if self.is_unsure => return Err(error),
            // It may be about what others logged.
            Err(_) => self.is_unsure = true,
            Ok(()) => {
                self.is_unsure = false;
                if let Some(cursor) = &self.last {
                    self.saved.store(cursor)?;
                }
                self.last = None;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Leave, OpenOptions, Tape};

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
    fn the_cursor_stays_in_front_of_what_the_tape_lost() {
        let folder = tempfile::tempdir().unwrap();
        let tape = Tape::open(folder.path(), Config::empty(), OpenOptions::default()).unwrap();
        let [intake, slow] = [None, Some(1)].map(|limit| Arc::new(Intake::new(tape.clone(), "journal".into(), limit)));
        let stop = StopFlag::default();
        let feed = |intake| Feed {
            intake,
            stop: &stop,
            saved: Saved::new(folder.path(), "journal"),
            after: None,
            last: None,
            saved_ns: 0,
            lost: tape.losses_of(&topic()),
            is_unsure: false,
            is_cut_short: false,
            records: Records::default(),
        };
        let saved = || Saved::new(folder.path(), "journal").load().map(|cursor| cursor.text);
        let entry = |cursor: &str| {
            let mut entries = Entries::default();
            let mut found = None;
            entries.feed(format!("__CURSOR={cursor}\nMESSAGE=x\n\n").as_bytes(), |entry| found = Some(entry));
            found.unwrap()
        };
        let mut first = feed(&intake);
        first.take(entry("s=1;i=1")).unwrap();
        first.save().unwrap();
        assert_eq!(saved().unwrap(), "s=1;i=1");
        // As a full disk loses them.
        first.take(entry("s=1;i=2")).unwrap();
        let loss =
            recording::Loss { topic: Some(topic()), start_ns: None, end_ns: None, messages: None, bytes: None, reason: "disk".into() };
        tape.inner.losses.add(loss);
        assert!(first.save().is_err() && first.save().is_err());
        assert_eq!(saved().unwrap(), "s=1;i=1");
        // One disk error may be another's; two are not.
        let mut second = feed(&intake);
        second.take(entry("s=1;i=2")).unwrap();
        let fail = || tape.inner.losses.fail(Error::unavailable("the disk"));
        fail();
        second.save().unwrap();
        assert_eq!(saved().unwrap(), "s=1;i=1");
        fail();
        assert!(second.save().is_err());
        second.save().unwrap();
        assert_eq!(saved().unwrap(), "s=1;i=2");
        // Above its limit an entry waits, and one that waits when it is time to stop is not behind the cursor.
        let mut third = feed(&slow);
        third.take(entry("s=1;i=3")).unwrap();
        stop.set();
        third.take(entry("s=1;i=4")).unwrap();
        assert_eq!(third.last.as_ref().unwrap().text, "s=1;i=3");
        assert_eq!(slow.counters.lost.load(std::sync::atomic::Ordering::Relaxed), 0);
        tape.close(Leave::CutShort).unwrap();
        third.save().unwrap();
        assert_eq!(saved().unwrap(), "s=1;i=2");
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
