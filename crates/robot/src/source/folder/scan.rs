//! Which files of a folder are finished.
//!
//! In come looks at the folder, out go files of known endings of which nothing has changed for a while.
//!
//! **Invariant:** whether a file rests is judged by looks at it, never by its own times, which are another machine's on a network's file
//! system; a file is told once per change; a tape's own folder is never looked into.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How the names of recordings end.
const ENDINGS: [&str; 10] = ["mcap", "mcap.zst", "mcap.zstd", "bag", "bag.zst", "db3", "db3.zst", "db3.zstd", "ulg", "ulg.zst"];
/// How deep folders are looked into.
const DEPTH_LIMIT: usize = 8;
/// How many files are looked at.
pub(super) const FILE_LIMIT: usize = 50_000;
/// After how long a file is told again that could not be taken; each time it is twice as long.
const FIRST_REST_NS: i64 = 10_000_000_000;
/// The longest such time.
const LONGEST_REST_NS: i64 = 3_600_000_000_000;

/// A file as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    state: State,
}

impl Found {
    /// Returns whether it is still as it was seen.
    pub(super) fn is_unchanged(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|metadata| State::of(&self.path, &metadata) == self.state)
    }

    /// Returns whether it is a database with a log of writes that are not in it yet.
    pub(super) fn has_log(&self) -> bool {
        self.state.log.is_some_and(|log| log.size > 0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    file: Stamp,
    /// That of the write-ahead log of SQLite.
    log: Option<Stamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed_ns: i64,
}

impl State {
    fn of(path: &Path, metadata: &Metadata) -> Self {
        let log = path.extension().filter(|ending| ending.eq_ignore_ascii_case("db3")).and_then(|_| {
            let mut log = path.as_os_str().to_owned();
            log.push("-wal");
            fs::symlink_metadata(log).ok()
        });
        Self { file: Stamp::of(metadata), log: log.map(|log| Stamp::of(&log)) }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let changed_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Self { device: metadata.dev(), inode: metadata.ino(), size: metadata.len(), changed_ns }
    }
}

struct Seen {
    state: State,
    /// Since when it is like this; monotonic.
    since_ns: i64,
    /// From when on it is told; `None` if it need not be told again unless it changes.
    next_ns: Option<i64>,
    /// How long it rests when it could not be taken.
    rest_ns: i64,
    is_told: bool,
    /// The fingerprint of its content.
    print: Option<String>,
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
    /// When it looked for the first time; monotonic.
    first_ns: Option<i64>,
    /// Whether there are more files than it looks at.
    pub(super) is_over: bool,
}

impl Scan {
    pub(super) fn new(folder: PathBuf, except: Option<PathBuf>, settle_ns: i64) -> Self {
        Self { folder, except, settle_ns, seen: BTreeMap::new(), arrived: HashSet::new(), first_ns: None, is_over: false }
    }

    /// Notes files that were renamed into place: they are finished.
    pub(super) fn arrived(&mut self, names: Vec<OsString>) {
        self.arrived.extend(names.into_iter().take(FILE_LIMIT).map(|name| self.folder.join(name)));
    }

    /// Returns the files that are finished and not done yet, those that were changed first at first.
    ///
    /// # Errors
    /// `NotFound` and its like for the folder itself.
    pub(super) fn finished(&mut self, monotonic_ns: i64) -> io::Result<Vec<Found>> {
        let files;
        (files, self.is_over) = list(&self.folder, self.except.as_deref(), FILE_LIMIT)?;
        self.first_ns.get_or_insert(monotonic_ns);
        let mut seen = BTreeMap::new();
        let mut finished = Vec::new();
        for Found { path, state } in files {
            let entry = self.seen.remove(&path).filter(|before| before.state == state).unwrap_or_else(|| {
                let has_arrived = self.arrived.contains(&path);
                let next_ns = if has_arrived { monotonic_ns } else { monotonic_ns.saturating_add(self.settle_ns) };
                Seen { state, since_ns: monotonic_ns, next_ns: Some(next_ns), rest_ns: FIRST_REST_NS, is_told: false, print: None }
            });
            if entry.next_ns.is_some_and(|next_ns| monotonic_ns >= next_ns) {
                finished.push(Found { path: path.clone(), state });
            }
            seen.insert(path, entry);
        }
        self.seen = seen;
        self.arrived.clear();
        finished.sort_by(|a, b| (a.state.file.changed_ns, &a.path).cmp(&(b.state.file.changed_ns, &b.path)));
        Ok(finished)
    }

    /// Notes that a file need not be told again unless it changes.
    pub(super) fn done(&mut self, found: &Found, print: Option<String>) {
        if let Some(seen) = self.seen.get_mut(&found.path) {
            (seen.is_told, seen.next_ns, seen.print) = (true, None, print);
        }
    }

    /// Notes that a file is to be told again after a while.
    pub(super) fn later(&mut self, found: &Found, print: Option<String>, monotonic_ns: i64) {
        if let Some(seen) = self.seen.get_mut(&found.path) {
            (seen.is_told, seen.print) = (true, print);
            seen.next_ns = Some(monotonic_ns.saturating_add(seen.rest_ns));
            seen.rest_ns = seen.rest_ns.saturating_mul(2).min(LONGEST_REST_NS);
        }
    }

    /// Returns the fingerprints of what is in the folder, once all that was there at first was told, or has changed since.
    pub(super) fn prints(&self) -> Option<HashSet<&str>> {
        let is_known = |seen: &Seen| seen.is_told || Some(seen.since_ns) != self.first_ns;
        self.seen.values().all(is_known).then(|| self.seen.values().filter_map(|seen| seen.print.as_deref()).collect())
    }
}

/// Returns at most so many files, and whether there are more.
fn list(folder: &Path, except: Option<&Path>, limit: usize) -> io::Result<(Vec<Found>, bool)> {
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
            } else if let (true, true, Ok(metadata)) = (kind.is_file(), is_recording(&path), entry.metadata()) {
                if found.len() >= limit {
                    return Ok((found, true));
                }
                let state = State::of(&path, &metadata);
                found.push(Found { path, state });
            }
        }
    }
    Ok((found, false))
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
        let mut scan = Scan::new(folder.path().to_owned(), None, 5 * SECOND);
        write("a.bag", "1");
        write("b.mcap", "1");
        // One that says to be old may be written right now, by a machine whose clock is behind.
        fs::File::open(folder.path().join("b.mcap")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        for other in ["c.txt", ".d.bag", "e.bag.active", "bag"] {
            write(other, "1");
        }
        assert!(scan.finished(0).unwrap().is_empty());
        write("b.mcap", "12");
        assert!(scan.finished(4 * SECOND).unwrap().is_empty());
        let found = scan.finished(5 * SECOND).unwrap();
        assert_eq!(names(&found), ["a.bag"]);
        assert!(scan.prints().is_none(), "one that was there at first was not told yet");
        scan.done(&found[0], Some("of a".into()));
        assert_eq!(scan.prints().unwrap(), HashSet::from(["of a"]), "the other one has changed");
        assert_eq!(names(&scan.finished(9 * SECOND).unwrap()), ["b.mcap"]);
        // One that changes is told again; another file of its name, too.
        assert!(found[0].is_unchanged());
        write("a.bag", "123");
        assert!(!found[0].is_unchanged());
        assert_eq!(names(&scan.finished(10 * SECOND).unwrap()), ["b.mcap"]);
        let found = scan.finished(15 * SECOND).unwrap();
        assert_eq!(found.len(), 2);
        let modified = fs::metadata(&found[1].path).unwrap().modified().unwrap();
        write("other", "123");
        fs::File::open(folder.path().join("other")).unwrap().set_modified(modified).unwrap();
        fs::rename(folder.path().join("other"), &found[1].path).unwrap();
        assert!(!found[1].is_unchanged());
    }

    #[test]
    fn what_cannot_be_taken_is_told_again_less_and_less_often() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.bag"), "1").unwrap();
        let mut scan = Scan::new(folder.path().to_owned(), None, 0);
        let mut told = Vec::new();
        for second in 0..100 {
            for found in scan.finished(second * SECOND).unwrap() {
                told.push(second);
                scan.later(&found, None, second * SECOND);
            }
        }
        assert_eq!(told, [0, 10, 30, 70]);
    }

    #[test]
    fn files_that_were_renamed_are_finished_at_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.bag"), "1").unwrap();
        let mut scan = Scan::new(folder.path().to_owned(), None, 5 * SECOND);
        scan.arrived(vec!["a.bag".into()]);
        assert_eq!(scan.finished(0).unwrap().len(), 1);
        assert!(Scan::new(folder.path().join("nowhere"), None, 0).finished(0).is_err());
    }

    #[test]
    fn a_database_is_not_at_rest_while_its_log_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let mut scan = Scan::new(folder.path().to_owned(), None, 5 * SECOND);
        write("a.db3", "1");
        write("a.db3-wal", "1");
        assert!(scan.finished(0).unwrap().is_empty());
        write("a.db3-wal", "12");
        assert!(scan.finished(5 * SECOND).unwrap().is_empty());
        let found = scan.finished(10 * SECOND).unwrap();
        assert!(found.len() == 1 && found[0].has_log());
        scan.done(&found[0], None);
        fs::remove_file(folder.path().join("a.db3-wal")).unwrap();
        assert!(!found[0].is_unchanged() && scan.finished(11 * SECOND).unwrap().is_empty());
        assert!(!scan.finished(16 * SECOND).unwrap()[0].has_log());
    }

    #[test]
    fn folders_below_are_looked_into_but_no_tapes() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["run/a.mcap", "tape/devices/x/b.mcap", "own/c.mcap"] {
            fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            fs::write(folder.path().join(name), "1").unwrap();
        }
        let mut scan = Scan::new(folder.path().to_owned(), Some(folder.path().join("own")), 0);
        assert_eq!(names(&scan.finished(0).unwrap()), ["a.mcap"]);
        for (limit, is_over) in [(0, true), (1, false)] {
            assert_eq!(list(folder.path(), Some(&folder.path().join("own")), limit).unwrap().1, is_over);
        }
    }
}
