//! The configuration file: read at the start, and again when it changes.
//!
//! In come looks at the file, out go configurations that are good, or the reason why a new one is not.
//!
//! **Invariant:** what was refused is told once, and the configuration before it stays in force.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use recording::{Error, Result};

use crate::Config;

/// The largest configuration file that is read.
const FILE_LIMIT: u64 = 1 << 20;

/// A configuration file, and what is known of it.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    text: Option<String>,
    /// A text that could not be used: an editor may be in the middle of writing it.
    doubtful: Option<String>,
    gone_told: bool,
}

/// What a look at the file found.
#[derive(Debug)]
pub(crate) enum Look {
    /// Nothing new.
    Same,
    /// A configuration to be put into force.
    New(Box<Config>),
    /// A file that cannot be used.
    Bad(Error),
}

impl ConfigFile {
    /// Reads the file at the start.
    ///
    /// # Errors
    /// If it is not there, or is no good configuration.
    pub(crate) fn open(path: PathBuf) -> Result<(Self, Config)> {
        let text = read(&path)?;
        let config = Config::parse(&text, &path.display().to_string())?;
        Ok((Self { path, text: Some(text), doubtful: None, gone_told: false }, config))
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks whether there is something new. A bad file is believed at the second look, or at once where somebody `insists`.
    pub(crate) fn look(&mut self, insists: bool) -> Look {
        let text = match read(&self.path) {
            Ok(text) => text,
            Err(error) if insists || !self.gone_told => {
                self.gone_told = true;
                return Look::Bad(error);
            }
            Err(_) => return Look::Same,
        };
        self.gone_told = false;
        if !insists && self.text.as_ref() == Some(&text) {
            self.doubtful = None;
            return Look::Same;
        }
        match Config::parse(&text, &self.path.display().to_string()) {
            Ok(config) => {
                self.doubtful = None;
                self.text = Some(text);
                Look::New(Box::new(config))
            }
            Err(error) if insists || self.doubtful.as_ref() == Some(&text) => {
                self.doubtful = None;
                self.text = Some(text);
                Look::Bad(error)
            }
            Err(_) => {
                self.doubtful = Some(text);
                Look::Same
            }
        }
    }
}

fn read(path: &Path) -> Result<String> {
    let failed = |error| Error::io(format!("cannot read the configuration {}", path.display()), error);
    let mut text = String::new();
    fs::File::open(path).map_err(failed)?.take(FILE_LIMIT + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_LIMIT {
        return Err(Error::invalid(format!("a configuration of more than {FILE_LIMIT} bytes: {}", path.display())));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &mut ConfigFile, text: &str, expected: &[&str]) {
        fs::write(&file.path, text).unwrap();
        for expected in expected {
            let found = match file.look(false) {
                Look::Same => "same".to_owned(),
                Look::New(config) => config.device.unwrap_or_default(),
                Look::Bad(error) => error.to_string(),
            };
            assert!(found.contains(expected), "{found} lacks {expected}");
        }
    }

    #[test]
    fn good_files_are_taken_at_once_and_bad_ones_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tapeloop.toml");
        assert!(ConfigFile::open(path.clone()).is_err());
        fs::write(&path, "device = 'a'").unwrap();
        let (mut file, config) = ConfigFile::open(path).unwrap();
        assert_eq!(config.device.as_deref(), Some("a"));
        check(&mut file, "device = 'a'", &["same", "same"]);
        check(&mut file, "device = 'b'", &["b", "same"]);
        check(&mut file, "\ndevcie = 'b'", &["same", "line 2", "same", "same"]);
        check(&mut file, "device = 'c'", &["c", "same"]);
        // Half a file, then the whole: nobody hears of the half.
        check(&mut file, "device = '", &["same"]);
        check(&mut file, "device = 'd'", &["d", "same"]);
        fs::remove_file(&file.path).unwrap();
        assert!(matches!(file.look(false), Look::Bad(_)));
        assert!(matches!(file.look(false), Look::Same));
        check(&mut file, "device = 'e'", &["e", "same"]);
        assert!(matches!(file.look(true), Look::New(_)));
    }
}
