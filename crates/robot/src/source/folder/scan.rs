//! Which files of a folder are finished.
//!
//! In come looks at the folder, out go files of known endings whose size and time have not changed for a while.
//!
//! **Invariant:** a file is told once per change; a tape's own folder is never looked into.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How the names of recordings end.
const ENDINGS: [&str; 10] = ["mcap", "mcap.zst", "mcap.zstd", "bag", "bag.zst", "db3", "db3.zst", "db3.zstd", "ulg", "ulg.zst"];
/// How deep folders are looked into.
const DEPTH_LIMIT: usize = 8;
/// How many files are looked at.
const FILE_LIMIT: usize = 100_000;

/// A file as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    size: u64,
    changed_ns: i64,
}

#[derive(Clone, Copy)]
struct Seen {
    state: State,
    /// Since when it is like this; monotonic.
    since_ns: i64,
    is_done: bool,
}

/// Looks at a folder again and again.
pub(super) struct Scan {
    folder: PathBuf,
    /// The tape's folder.
    except: Option<PathBuf>,
    settle_ns: i64,
    seen: BTreeMap<PathBuf, Seen>,
    /// Files that were renamed into place.
    arrived: HashSet<PathBuf>,
}

impl Scan {
    pub(super) fn new(folder: PathBuf, except: Option<PathBuf>, settle_ns: i64) -> Self {
        Self { folder, except, settle_ns, seen: BTreeMap::new(), arrived: HashSet::new() }
    }

    /// Notes files that were renamed into place: they are finished.
    pub(super) fn arrived(&mut self, names: Vec<OsString>) {
        self.arrived.extend(names.into_iter().take(FILE_LIMIT).map(|name| self.folder.join(name)));
    }

    /// Returns the files that are finished and not done yet, those that were changed first at first.
    ///
    /// # Errors
    /// `NotFound` and its like for the folder itself.
    pub(super) fn finished(&mut self, now_ns: i64, monotonic_ns: i64) -> io::Result<Vec<Found>> {
        let files = list(&self.folder, self.except.as_deref())?;
        let mut seen = BTreeMap::new();
        let mut finished = Vec::new();
        for Found { path, state } in files {
            let before = self.seen.get(&path).filter(|before| before.state == state);
            let entry = before.copied().unwrap_or(Seen { state, since_ns: monotonic_ns, is_done: false });
            // A file that was copied or moved with its time may be as old as it says.
            let is_old = now_ns.saturating_sub(state.changed_ns) >= self.settle_ns;
            let is_settled = monotonic_ns.saturating_sub(entry.since_ns) >= self.settle_ns;
            let has_arrived = self.arrived.remove(&path);
            seen.insert(path.clone(), entry);
            if !entry.is_done && (is_settled || is_old || has_arrived) {
                finished.push(Found { path, state });
            }
        }
        self.seen = seen;
        self.arrived.clear();
        finished.sort_by(|a, b| (a.state.changed_ns, &a.path).cmp(&(b.state.changed_ns, &b.path)));
        Ok(finished)
    }

    /// Notes that a file need not be told again unless it changes.
    pub(super) fn done(&mut self, found: &Found) {
        if let Some(seen) = self.seen.get_mut(&found.path) {
            seen.is_done = true;
        }
    }
}

fn list(folder: &Path, except: Option<&Path>) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(error),
            // It has gone again, or may not be looked into.
            Err(_) => continue,
        };
        for entry in entries.flatten() {
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
            if kind.is_dir() {
                // Any tape's own files are no finished recordings.
                let is_tape = Some(path.as_path()) == except || path.join("devices").is_dir();
                if depth < DEPTH_LIMIT && !is_tape {
                    folders.push((path, depth + 1));
                }
            } else if let (true, true, Ok(metadata)) = (kind.is_file(), is_recording(&path), entry.metadata())
                && found.len() < FILE_LIMIT
            {
                let changed_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
                found.push(Found { path, state: State { size: metadata.len(), changed_ns } });
            }
        }
    }
    Ok(found)
}

/// Returns whether a name is that of a recording: hidden ones and others are still being written.
fn is_recording(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    !name.starts_with('.') && ENDINGS.iter().any(|ending| name.strip_suffix(ending).is_some_and(|name| name.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn names(found: &[Found]) -> Vec<String> {
        found.iter().map(|found| found.path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_file_is_finished_when_it_rests() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        // A moment before everything was written: no file is old.
        let now_ns = 0;
        let mut scan = Scan::new(folder.path().to_owned(), None, 5 * SECOND);
        write("a.bag", "1");
        write("b.mcap", "1");
        for other in ["c.txt", ".d.bag", "e.bag.active", "bag"] {
            write(other, "1");
        }
        assert!(scan.finished(now_ns, 0).unwrap().is_empty());
        write("b.mcap", "12");
        assert!(scan.finished(now_ns, 4 * SECOND).unwrap().is_empty());
        let found = scan.finished(now_ns, 5 * SECOND).unwrap();
        assert_eq!(names(&found), ["a.bag"]);
        scan.done(&found[0]);
        assert_eq!(names(&scan.finished(now_ns, 9 * SECOND).unwrap()), ["b.mcap"]);
        // One that changes is told again.
        write("a.bag", "123");
        assert_eq!(names(&scan.finished(now_ns, 10 * SECOND).unwrap()), ["b.mcap"]);
        assert_eq!(scan.finished(now_ns, 15 * SECOND).unwrap().len(), 2);
    }

    #[test]
    fn old_files_and_those_that_were_renamed_are_finished_at_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.bag"), "1").unwrap();
        let mut scan = Scan::new(folder.path().to_owned(), None, 5 * SECOND);
        assert_eq!(scan.finished(i64::MAX, 0).unwrap().len(), 1);
        let mut scan = Scan::new(folder.path().to_owned(), None, 5 * SECOND);
        scan.arrived(vec!["a.bag".into()]);
        assert_eq!(scan.finished(0, 0).unwrap().len(), 1);
        assert!(Scan::new(folder.path().join("nowhere"), None, 0).finished(0, 0).is_err());
    }

    #[test]
    fn folders_below_are_looked_into_but_no_tapes() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["run/a.mcap", "tape/devices/x/b.mcap", "own/c.mcap"] {
            fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            fs::write(folder.path().join(name), "1").unwrap();
        }
        let mut scan = Scan::new(folder.path().to_owned(), Some(folder.path().join("own")), 0);
        assert_eq!(names(&scan.finished(0, 0).unwrap()), ["a.mcap"]);
    }
}
