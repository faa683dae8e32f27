//! Which contents were taken, and how far: a file of lines in the tape's own folder.
//!
//! **Invariant:** a line is durable before what it says is relied on; a damaged line is as good as none.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use recording::{Error, Result};

/// How many contents are remembered; the oldest are forgotten.
const TAKEN_LIMIT: usize = 50_000;
/// The longest line that is believed.
const LINE_LIMIT: u64 = 8192;
/// How much of a file's beginning, middle and end makes its fingerprint.
const PRINT_BYTES: u64 = 64 << 10;

/// How far a content was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// So many messages of it.
    Messages(u64),
    Done,
}

impl Progress {
    /// Returns how many messages were taken of what is not done.
    pub(super) fn unfinished(self) -> Option<u64> {
        match self {
            Self::Messages(messages) => Some(messages),
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
        let failed = |error| Error::io(format!("cannot keep in mind which files were taken: {}", path.display()), error);
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
        if known.len() > TAKEN_LIMIT || lines > 2 * TAKEN_LIMIT as u64 {
            let mut newest: Vec<(String, (Progress, u64))> = known.into_iter().collect();
            newest.sort_by_key(|(_, (_, line))| std::cmp::Reverse(*line));
            newest.truncate(TAKEN_LIMIT / 2);
            newest.reverse();
            let text: String = newest.iter().map(|(print, (progress, _))| line_of(print, *progress, Path::new(""))).collect();
            let temporary = path.with_extension("new");
            fs::write(&temporary, text).map_err(failed)?;
            File::open(&temporary).and_then(|file| file.sync_all()).map_err(failed)?;
            fs::rename(&temporary, &path).map_err(failed)?;
            lines = newest.len() as u64;
            known = newest.into_iter().collect();
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        // A line that a power cut tore must not swallow the next one.
        file.write_all(b"\n").map_err(failed)?;
        Ok(Self { path, file, known, lines })
    }

    /// Returns how far a content was taken.
    pub(super) fn progress(&self, print: &str) -> Progress {
        self.known.get(print).map_or(Progress::Messages(0), |(progress, _)| *progress)
    }

    /// Notes how many messages of a content are on the disk.
    ///
    /// # Errors
    /// What the disk answers.
    pub(super) fn note_progress(&mut self, print: &str, messages: u64) -> Result<()> {
        self.note(print, Progress::Messages(messages), Path::new(""))
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
        let failed = |error| Error::io(format!("cannot keep in mind which files were taken: {}", self.path.display()), error);
        self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data()).map_err(failed)?;
        self.known.insert(print.to_owned(), (progress, self.lines));
        self.lines += 1;
        Ok(())
    }
}

/// Writes `<fingerprint> <messages or done> <path, for people>`.
fn line_of(print: &str, progress: Progress, path: &Path) -> String {
    let how_far = match progress {
        Progress::Messages(messages) => messages.to_string(),
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
        messages => Progress::Messages(messages.parse().ok()?),
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
        let mut taken = Taken::load(folder.path(), "bags").unwrap();
        assert_eq!(taken.progress(&a), Progress::Messages(0));
        taken.note_progress(&a, 7).unwrap();
        taken.note_done(&b, Path::new("/x\n/b.bag")).unwrap();
        // A power cut in the middle of a line.
        taken.file.write_all(&line_of(&a, Progress::Done, Path::new("")).as_bytes()[..66]).unwrap();
        let mut taken = Taken::load(folder.path(), "bags").unwrap();
        assert_eq!((taken.progress(&a), taken.progress(&b)), (Progress::Messages(7), Progress::Done));
        taken.note_done(&a, Path::new("/a.bag")).unwrap();
        assert_eq!(Taken::load(folder.path(), "bags").unwrap().progress(&a), Progress::Done);
        assert_eq!(Taken::load(folder.path(), "others").unwrap().progress(&a), Progress::Messages(0));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        drop(Taken::load(folder.path(), "bags").unwrap());
        let print = |i: usize| format!("{i:064x}");
        let text: String = (0..=TAKEN_LIMIT).map(|i| line_of(&print(i), Progress::Done, Path::new(""))).collect();
        fs::write(folder.path().join("tape/sources/bags.taken"), text).unwrap();
        for _ in 0..2 {
            let taken = Taken::load(folder.path(), "bags").unwrap();
            assert_eq!((taken.progress(&print(0)), taken.progress(&print(TAKEN_LIMIT))), (Progress::Messages(0), Progress::Done));
            assert_eq!(taken.known.len(), TAKEN_LIMIT / 2);
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
