//! Which contents were taken, and how far: a file of lines in the tape's own folder.
//!
//! **Invariant:** a line is durable before what it says is relied on; a damaged line is as good as none.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use recording::{Error, Result};

/// How many contents are remembered that are not in the folder any more; the oldest are forgotten.
const GONE_LIMIT: usize = super::scan::FILE_LIMIT;
/// How many lines there may be before those are left out that say nothing any more.
const LINE_COUNT_LIMIT: u64 = 4 * GONE_LIMIT as u64;
/// The longest line that is believed.
const LINE_LIMIT: u64 = 8192;
/// How much of a file's beginning, middle and end makes its fingerprint.
const PRINT_BYTES: u64 = 64 << 10;

/// How far a content was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Begun(Begun),
    Done,
}

/// What was taken of a content that is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) messages: u64,
    /// Whether all of them are on the tape.
    pub(super) is_whole: bool,
}

impl Default for Begun {
    fn default() -> Self {
        Self { messages: 0, is_whole: true }
    }
}

impl Progress {
    /// Returns how much was taken of what is not done.
    pub(super) fn unfinished(self) -> Option<Begun> {
        match self {
            Self::Begun(begun) => Some(begun),
            Self::Done => None,
        }
    }
}

/// What was taken.
pub(super) struct Taken {
    path: PathBuf,
    file: File,
    /// By fingerprint: how far, and in which line that was said.
    known: HashMap<String, (Progress, u64)>,
    lines: u64,
}

impl Taken {
    /// Reads what was taken by a source.
    ///
    /// # Errors
    /// What the disk answers.
    pub(super) fn load(root: &Path, source: &str) -> Result<Self> {
        let folder = root.join("tape").join("sources");
        let path = folder.join(format!("{source}.taken"));
        let failed = |error| failed(&path, error);
        fs::create_dir_all(&folder).map_err(failed)?;
        let mut known = HashMap::new();
        let mut lines = 0;
        if let Ok(file) = File::open(&path) {
            let mut reader = BufReader::new(file);
            let mut line = Vec::new();
            while Read::take(&mut reader, LINE_LIMIT).read_until(b'\n', &mut line).map_err(failed)? > 0 {
                if let Some((print, progress)) = parse(&line) {
                    known.insert(print, (progress, lines));
                }
                lines += 1;
                line.clear();
            }
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        // A line that a power cut tore must not swallow the next one.
        file.write_all(b"\n").map_err(failed)?;
        Ok(Self { path, file, known, lines })
    }

    /// Returns whether it is time to forget what is not in the folder any more.
    pub(super) fn is_full(&self) -> bool {
        self.known.len() > 2 * GONE_LIMIT || self.lines > LINE_COUNT_LIMIT
    }

    /// Forgets contents that are not among these, but the newest.
    ///
    /// # Errors
    /// What the disk answers.
    pub(super) fn forget_all_but(&mut self, present: &HashSet<&str>) -> Result<()> {
        let mut kept: Vec<(String, (Progress, u64))> = std::mem::take(&mut self.known).into_iter().collect();
        kept.sort_by_key(|(_, (_, line))| std::cmp::Reverse(*line));
        let mut gone = 0;
        kept.retain(|(print, _)| {
            let is_present = present.contains(print.as_str());
            gone += usize::from(!is_present);
            is_present || gone <= GONE_LIMIT
        });
        kept.reverse();
        let text: String = kept.iter().map(|(print, (progress, _))| line_of(print, *progress, Path::new(""))).collect();
        self.lines = kept.len() as u64;
        self.known = kept.into_iter().zip(0..).map(|((print, (progress, _)), line)| (print, (progress, line))).collect();
        let temporary = self.path.with_extension("new");
        let write = || {
            fs::write(&temporary, text)?;
            File::open(&temporary)?.sync_all()?;
            fs::rename(&temporary, &self.path)?;
            OpenOptions::new().append(true).open(&self.path)
        };
        self.file = write().map_err(|error| failed(&self.path, error))?;
        Ok(())
    }

    /// Returns how far a content was taken.
    pub(super) fn progress(&self, print: &str) -> Progress {
        self.known.get(print).map_or(Progress::Begun(Begun::default()), |(progress, _)| *progress)
    }

    /// Notes how much of a content is on the disk.
    ///
    /// # Errors
    /// What the disk answers.
    pub(super) fn note_progress(&mut self, print: &str, begun: Begun) -> Result<()> {
        self.note(print, Progress::Begun(begun), Path::new(""))
    }

    /// Notes that a content is not to be taken again.
    ///
    /// # Errors
    /// What the disk answers.
    pub(super) fn note_done(&mut self, print: &str, path: &Path) -> Result<()> {
        self.note(print, Progress::Done, path)
    }

    fn note(&mut self, print: &str, progress: Progress, path: &Path) -> Result<()> {
        let line = line_of(print, progress, path);
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| failed(&self.path, error))?;
        self.known.insert(print.to_owned(), (progress, self.lines));
        self.lines += 1;
        Ok(())
    }
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("cannot keep in mind which files were taken: {}", path.display()), error)
}

/// What follows the number of messages where not all of them are on the tape.
const NOT_WHOLE: &str = "-not-whole";

/// Writes `<fingerprint> <messages or done> <path, for people>`.
fn line_of(print: &str, progress: Progress, path: &Path) -> String {
    let how_far = match progress {
        Progress::Begun(Begun { messages, is_whole }) => format!("{messages}{}", if is_whole { "" } else { NOT_WHOLE }),
        Progress::Done => "done".to_owned(),
    };
    let path: String = path.display().to_string().chars().filter(|c| !c.is_control()).take(1000).collect();
    format!("{print} {how_far} {path}\n")
}

fn parse(line: &[u8]) -> Option<(String, Progress)> {
    // One without its end is torn.
    let mut words = std::str::from_utf8(line).ok()?.strip_suffix('\n')?.splitn(3, ' ');
    let print = words.next().filter(|print| print.len() == 64 && print.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let progress = match words.next()? {
        "done" => Progress::Done,
        begun => {
            let messages = begun.strip_suffix(NOT_WHOLE);
            Progress::Begun(Begun { messages: messages.unwrap_or(begun).parse().ok()?, is_whole: messages.is_none() })
        }
    };
    words.next()?;
    Some((print.to_owned(), progress))
}

/// Returns what tells a content from others: its size, and its beginning, middle and end.
///
/// # Errors
/// What reading answers.
pub(super) fn fingerprint(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&size.to_le_bytes());
    for at in [0, (size / 2).saturating_sub(PRINT_BYTES / 2), size.saturating_sub(PRINT_BYTES)] {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(at))?;
        Read::take(&mut file, PRINT_BYTES).read_to_end(&mut bytes)?;
        hasher.update(&bytes);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_known_after_a_restart_and_damage() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let begun = |messages, is_whole| Progress::Begun(Begun { messages, is_whole });
        let mut taken = Taken::load(folder.path(), "bags").unwrap();
        assert_eq!(taken.progress(&a), begun(0, true));
        taken.note_progress(&a, Begun { messages: 7, is_whole: false }).unwrap();
        taken.note_done(&b, Path::new("/x\n/b.bag")).unwrap();
        // A power cut in the middle of a line.
        taken.file.write_all(&line_of(&a, Progress::Done, Path::new("")).as_bytes()[..66]).unwrap();
        let mut taken = Taken::load(folder.path(), "bags").unwrap();
        assert_eq!((taken.progress(&a), taken.progress(&b)), (begun(7, false), Progress::Done));
        taken.note_progress(&a, Begun { messages: 9, is_whole: true }).unwrap();
        assert_eq!(Taken::load(folder.path(), "bags").unwrap().progress(&a), begun(9, true));
        taken.note_done(&a, Path::new("/a.bag")).unwrap();
        assert_eq!(Taken::load(folder.path(), "bags").unwrap().progress(&a), Progress::Done);
        assert_eq!(Taken::load(folder.path(), "others").unwrap().progress(&a), begun(0, true));
    }

    #[test]
    fn what_is_in_the_folder_is_never_forgotten_and_of_the_others_the_oldest_are() {
        let folder = tempfile::tempdir().unwrap();
        drop(Taken::load(folder.path(), "bags").unwrap());
        let print = |i: usize| format!("{i:064x}");
        let text: String = (0..=2 * GONE_LIMIT).map(|i| line_of(&print(i), Progress::Done, Path::new(""))).collect();
        fs::write(folder.path().join("tape/sources/bags.taken"), text).unwrap();
        let mut taken = Taken::load(folder.path(), "bags").unwrap();
        assert!(taken.is_full() && taken.progress(&print(0)) == Progress::Done);
        let present = print(0);
        taken.forget_all_but(&HashSet::from([present.as_str()])).unwrap();
        assert!(!taken.is_full());
        taken.note_done(&"f".repeat(64), Path::new("")).unwrap();
        for taken in [taken, Taken::load(folder.path(), "bags").unwrap()] {
            let is_done = [0, 1, GONE_LIMIT, GONE_LIMIT + 1, 2 * GONE_LIMIT].map(|i| taken.progress(&print(i)) == Progress::Done);
            assert_eq!(is_done, [true, false, false, true, true]);
            assert_eq!((taken.known.len(), taken.progress(&"f".repeat(64))), (GONE_LIMIT + 2, Progress::Done));
        }
    }

    #[test]
    fn a_fingerprint_is_that_of_the_content() {
        let folder = tempfile::tempdir().unwrap();
        let print = |content: &[u8]| {
            let path = folder.path().join("x");
            fs::write(&path, content).unwrap();
            fingerprint(&path).unwrap()
        };
        let mut large = vec![1; 1 << 20];
        let first = print(&large);
        assert_eq!(print(&large), first);
        for at in [0, 1 << 19, (1 << 20) - 1] {
            large[at] ^= 1;
            assert_ne!(print(&large), first, "{at}");
            large[at] ^= 1;
        }
        assert_ne!(print(b""), print(b"\0"));
    }
}
