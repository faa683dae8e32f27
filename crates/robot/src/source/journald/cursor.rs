//! How far the journal was read: an entry's cursor, and the file that it is saved in.
//!
//! **Invariant:** the file is replaced as a whole; a damaged one is as good as none.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use recording::{Error, Result};

/// The longest cursor that is believed.
const CURSOR_LIMIT: u64 = 4096;

/// The place of an entry in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) text: String,
    /// Which journal, and the entry's number in it.
    place: Option<(String, u64)>,
}

impl Cursor {
    /// Parses `s=<journal>;i=<number in hex>;…`; another text is a cursor that only equals itself.
    pub(super) fn parse(text: &str) -> Self {
        let part = |key: &str| text.split(';').find_map(|part| part.strip_prefix(key));
        let number = part("i=").and_then(|number| u64::from_str_radix(number, 16).ok());
        Self { text: text.to_owned(), place: part("s=").map(str::to_owned).zip(number) }
    }

    /// Returns whether it is `other`, or before it in the same journal.
    pub(super) fn is_up_to(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (Some((journal, number)), Some((other_journal, other_number))) => journal == other_journal && number <= other_number,
            _ => self.text == other.text,
        }
    }
}

/// Where the cursor of a source is saved: in the tape's own folder.
pub(super) struct Saved {
    path: PathBuf,
}

impl Saved {
    pub(super) fn new(root: &Path, source: &str) -> Self {
        Self { path: root.join("tape").join("sources").join(format!("{source}.cursor")) }
    }

    pub(super) fn load(&self) -> Option<Cursor> {
        let size = fs::metadata(&self.path).ok()?.len();
        let text = fs::read_to_string(&self.path).ok().filter(|_| size <= CURSOR_LIMIT)?;
        let text = text.trim();
        // What journalctl is given must be a cursor, and not what it might take for something else.
        let is_one = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_one.then(|| Cursor::parse(text))
    }

    /// Saves a cursor, so that after a power cut there is the old or the new one.
    ///
    /// # Errors
    /// What the disk answers.
    pub(super) fn store(&self, cursor: &Cursor) -> Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let temporary = self.path.with_extension("new");
        let write = || {
            fs::create_dir_all(folder)?;
            let mut file = fs::File::create(&temporary)?;
            file.write_all(cursor.text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)?;
            fs::File::open(folder)?.sync_all()
        };
        write().map_err(|error| Error::io(format!("cannot save how far the journal was read in {}", self.path.display()), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_before_the_cursor_were_read() {
        let after = Cursor::parse("s=ab;i=1f;b=1;m=2;t=3;x=4");
        for (text, is_read) in [("s=ab;i=1f;b=9", true), ("s=ab;i=1e", true), ("s=ab;i=20", false), ("s=cd;i=1", false), ("x", false)] {
            assert_eq!(Cursor::parse(text).is_up_to(&after), is_read, "{text}");
        }
        assert!(Cursor::parse("odd").is_up_to(&Cursor::parse("odd")));
    }

    #[test]
    fn a_cursor_is_found_again_and_a_damaged_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let saved = Saved::new(folder.path(), "journal");
        assert_eq!(saved.load(), None);
        let cursor = Cursor::parse("s=ab;i=1f");
        saved.store(&cursor).unwrap();
        saved.store(&cursor).unwrap();
        assert_eq!(saved.load(), Some(cursor));
        for damage in [b"".as_slice(), b"\xff\xfe", b"a b", &[b'x'; 5000]] {
            fs::write(&saved.path, damage).unwrap();
            assert_eq!(saved.load(), None);
        }
    }
}
