//! `kind = "folder"`: recordings that others finish in a folder, in every format that can be read.
//!
//! In come files that have not changed for a while, or were renamed into place; out go their messages, with the times of the file.
//!
//! **Invariant:** each content is taken once, also across restarts and under another name; what a file lost is a loss of the tape too;
//! a file of which anything is not on the tape stays where it is.

mod arrivals;
mod play;
mod scan;
mod taken;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use recording::{Error, Kind, Result, time};
use serde::Deserialize;
use serde_json::json;

use self::arrivals::Arrivals;
use self::play::{Play, Played};
use self::scan::{FILE_LIMIT, Found, Scan};
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
        let mut is_over_told = false;
        loop {
            scan.arrived(arrivals.names());
            for found in scan.finished(intake.monotonic_ns()).map_err(failed)? {
                let look = self.take(intake, stop, &mut taken, &found)?;
                if stop.is_set() {
                    return Ok(());
                }
                match look {
                    Look::Done(print) => scan.done(&found, print),
                    Look::Later(print) => scan.later(&found, print, intake.monotonic_ns()),
                }
            }
            if scan.is_over && !std::mem::replace(&mut is_over_told, true) {
                let message = format!("{} has more than {FILE_LIMIT} recordings: the others are not looked at", self.path.display());
                intake.event("folder_full", &message, json!({ "path": self.path.display().to_string(), "limit": FILE_LIMIT }));
            }
            if taken.is_full()
                && let Some(present) = scan.prints()
            {
                taken.forget_all_but(&present)?;
            }
            if stop.wait(INTERVAL) {
                return Ok(());
            }
        }
    }
}

/// What came of a look at a file, and the fingerprint of its content.
enum Look {
    /// It need not be looked at again unless it changes.
    Done(Option<String>),
    Later(Option<String>),
}

impl Folder {
    /// Takes a file, unless that was done already.
    fn take(&self, intake: &Arc<Intake>, stop: &StopFlag, taken: &mut Taken, found: &Found) -> Result<Look> {
        let (path, tape) = (&found.path, intake.tape());
        let told = path.display().to_string();
        if found.has_log() {
            let why = "its write-ahead log is not empty: who writes it has not closed it";
            intake.event("file_waits", &format!("{told} is not taken in yet: {why}"), json!({ "path": told }));
            return Ok(Look::Done(None));
        }
        // Those before it may have taken a while.
        if !found.is_unchanged() {
            return Ok(Look::Later(None));
        }
        let print = match taken::fingerprint(path) {
            Ok(print) => print,
            // It has gone again, or may not be read.
            Err(error) => {
                intake.refuse(&format!("{told}: {error}"));
                return Ok(Look::Later(None));
            }
        };
        let Some(begun) = taken.progress(&print).unfinished() else { return Ok(Look::Done(Some(print))) };
        let play = Play { intake, stop, keeps_times: self.times == TimesOf::File };
        let mut played = Played::new(begun);
        let mut save = |played: &mut Played| {
            played.secure(tape)?;
            taken.note_progress(&print, played.progress())
        };
        match play.run(path, &mut played, &mut save) {
            Ok(()) if played.is_stopped => {
                save(&mut played)?;
                return Ok(Look::Later(Some(print)));
            }
            Ok(()) => {}
            Err(error) if tape.is_closed() => return Err(error),
            Err(error) if matches!(error.kind(), Kind::Invalid | Kind::Corrupt) && found.is_unchanged() => {
                // Once told, it is not looked at again until it changes.
                intake.refuse(&format!("{told}: {error}"));
                let detail = json!({ "path": told, "error": error.to_string() });
                intake.event("file_refused", &format!("{told} is not taken in: {error}"), detail);
                taken.note_done(&print, path)?;
                return Ok(Look::Done(Some(print)));
            }
            // What it met may pass: a disk that is full, files that have run out. The file goes on where it was.
            Err(error) => {
                save(&mut played)?;
                intake.refuse(&format!("{told}: {error}; it is tried again"));
                return Ok(Look::Later(Some(print)));
            }
        }
        played.secure(tape)?;
        if !found.is_unchanged() {
            let message = format!("{told} changed while it was taken in, and is taken in anew when it rests");
            intake.event("file_changed", &message, json!({ "path": told }));
            return Ok(Look::Later(Some(print)));
        }
        taken.note_done(&print, path)?;
        let missing = played.why_not_whole();
        self.tell(intake, path, begun.messages, &played, missing.as_deref());
        self.put_away(intake, path, missing);
        Ok(Look::Done(Some(print)))
    }

    fn tell(&self, intake: &Intake, path: &Path, begun: u64, played: &Played, missing: Option<&str>) {
        let detail = json!({
            "path": path.display().to_string(), "format": played.format, "messages": played.messages, "bytes": played.bytes,
            "start_ns": played.start_ns, "end_ns": played.end_ns, "losses": played.losses, "refused": played.refused,
            "taken_before": begun, "missing": missing,
        });
        let but = missing.map_or_else(String::new, |missing| format!(", but not all is on the tape: {missing}"));
        let message = format!("{} messages of {} were taken in{but}", played.messages, path.display());
        intake.event("file_taken", &message, detail);
        intake.note(format!("watches {}; the last file was {}", self.path.display(), path.display()));
    }

    /// Deletes or moves a file of which nothing is missing on the tape.
    fn put_away(&self, intake: &Intake, path: &Path, missing: Option<String>) {
        let outcome = match (self.after, &self.move_to) {
            (After::Delete | After::Move, _) if missing.is_some() => Err(missing.unwrap_or_default()),
            (After::Delete, _) => std::fs::remove_file(path).map_err(|error| error.to_string()),
            (After::Move, Some(to)) => move_into(path, to).map_err(|error| error.to_string()),
            (After::Keep | After::Move, _) => Ok(()),
        };
        if let Err(why) = outcome {
            let detail = json!({ "path": path.display().to_string(), "error": why });
            intake.event("file_not_put_away", &format!("{} was taken in and stays where it is: {why}", path.display()), detail);
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
    use recording::read;

    use super::*;
    use crate::{ChannelSpec, Config, Leave, OpenOptions, Tape};

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

    struct Place {
        folder: tempfile::TempDir,
        tape: Tape,
        intake: Arc<Intake>,
    }

    impl Place {
        fn new(config: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("bags")).unwrap();
            let options = OpenOptions { device: Some("rover".into()), ..OpenOptions::default() };
            let tape = Tape::open(&folder.path().join("tape"), Config::parse(config, "test").unwrap(), options).unwrap();
            let intake = Arc::new(Intake::new(tape.clone(), "bags".into(), None));
            Self { folder, tape, intake }
        }

        /// Writes a recording with a message on each of these topics.
        fn write(&self, topics: &[&str]) -> PathBuf {
            let path = self.folder.path().join("bags/a.mcap");
            let mut writer = mcap::Writer::new(std::fs::File::create(&path).unwrap()).unwrap();
            for topic in topics {
                let channel_id = writer.add_channel(0, topic, "", &std::collections::BTreeMap::new()).unwrap();
                let header = mcap::records::MessageHeader { channel_id, sequence: 0, log_time: 1, publish_time: 1 };
                writer.write_to_known_channel(&header, b"x").unwrap();
            }
            writer.finish().unwrap();
            path
        }

        /// Takes the only file of the folder in, as far as `stop` lets it.
        fn take(&self, stop: &StopFlag) -> Result<Look> {
            let path = self.folder.path().join("bags");
            let folder = Folder { name: "bags".into(), path, settle_ns: 0, times: TimesOf::File, after: After::Delete, move_to: None };
            let mut taken = Taken::load(self.tape.root(), "bags").unwrap();
            let mut scan = Scan::new(self.folder.path().join("bags"), None, 0);
            let found = scan.finished(0).unwrap().pop().unwrap();
            folder.take(&self.intake, stop, &mut taken, &found)
        }

        /// Returns what events say of why the file is still there.
        fn why_kept(&self) -> Option<String> {
            self.tape.flush().unwrap();
            let recording = read::open(self.tape.root()).unwrap();
            let events = recording.messages(&recording::TopicFilter::all(), recording::Span::ALL).unwrap();
            let texts = events.map(|event| String::from_utf8(event.unwrap().data.to_vec()).unwrap_or_default());
            texts.filter(|text| text.contains("file_not_put_away")).last()
        }
    }

    #[test]
    fn a_file_is_deleted_when_all_of_it_is_on_the_tape() {
        let place = Place::new("");
        let path = place.write(&["/a", "/b"]);
        assert!(matches!(place.take(&StopFlag::default()), Ok(Look::Done(Some(_)))));
        assert!(!path.exists() && place.why_kept().is_none());
        // Another one of its topics is not the first one's content.
        let path = place.write(&["/a"]);
        assert!(matches!(place.take(&StopFlag::default()), Ok(Look::Done(Some(_)))));
        assert!(!path.exists());
        place.tape.close(Leave::CutShort).unwrap();
    }

    #[test]
    fn a_file_stays_where_the_tape_does_not_have_all_of_it() {
        let check = |config: &str, expected: &str| {
            let place = Place::new(config);
            let path = place.write(&["/a", "/b"]);
            assert!(matches!(place.take(&StopFlag::default()), Ok(Look::Done(Some(_)))));
            assert!(path.exists());
            let why = place.why_kept().unwrap();
            assert!(why.contains(expected), "{why}");
            place.tape.close(Leave::CutShort).unwrap();
        };
        check("[[buffer]]\nname = 'some'\ntopics = ['/a']\ndisk = '1 h'", "no buffer on the disk holds all of '/b'");
        check("[[buffer]]\nname = 'memory'\nram = '10 s'", "no buffer on the disk holds all of '/a'");
    }

    #[test]
    fn what_was_missing_before_an_interruption_is_known_after_it() {
        let place = Place::new("");
        let path = place.write(&["/a", "/b"]);
        let print = taken::fingerprint(&path).unwrap();
        let begun = taken::Begun { messages: 1, is_whole: false };
        Taken::load(place.tape.root(), "bags").unwrap().note_progress(&print, begun).unwrap();
        let stop = StopFlag::default();
        stop.set();
        assert!(matches!(place.take(&stop), Ok(Look::Later(_))));
        assert_eq!(Taken::load(place.tape.root(), "bags").unwrap().progress(&print).unfinished(), Some(begun));
        assert!(matches!(place.take(&StopFlag::default()), Ok(Look::Done(_))));
        assert!(path.exists() && place.why_kept().unwrap().contains("before an interruption"));
        place.tape.close(Leave::CutShort).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_taken_now_is_tried_again() {
        let place = Place::new("");
        let path = place.write(&["/a"]);
        for i in 0..crate::source::intake::CHANNEL_LIMIT {
            place.intake.channel(ChannelSpec { topic: format!("/t{i}"), ..ChannelSpec::default() }).unwrap();
        }
        assert!(matches!(place.take(&StopFlag::default()), Ok(Look::Later(Some(_)))));
        let print = taken::fingerprint(&path).unwrap();
        let taken = Taken::load(place.tape.root(), "bags").unwrap();
        assert!(path.exists() && taken.progress(&print).unfinished().is_some());
        // What is no recording is none tomorrow either.
        std::fs::write(&path, "no recording").unwrap();
        assert!(matches!(place.take(&StopFlag::default()), Ok(Look::Done(Some(_)))));
        assert!(path.exists());
        place.tape.close(Leave::CutShort).unwrap();
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
