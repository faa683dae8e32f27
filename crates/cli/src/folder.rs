//! A tape's folder, read without opening the tape: its recordings, and what an argument means.
//!
//! In comes what somebody wrote, out comes the path of something that can be read.
//!
//! **Invariant:** nothing is written, and a recorder that works there is not disturbed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use recording::manifest::{Manifest, SIZE_LIMIT};
use recording::{Error, key};

use crate::whom::{Recorder, Whom};

/// The recordings of a tape.
#[derive(Debug, Default)]
pub(crate) struct Recordings {
    /// Their manifests, oldest first, with the paths of these.
    pub(crate) manifests: Vec<(PathBuf, Manifest)>,
    /// Manifests that cannot be read, and why.
    pub(crate) unreadable: Vec<(PathBuf, Error)>,
}

/// Returns whether a folder is that of a tape.
pub(crate) fn is_tape(folder: &Path) -> bool {
    folder.join("devices").is_dir()
}

/// Returns the folder, if it is that of a tape.
///
/// # Errors
/// `NotFound` with what to do about it.
pub(crate) fn check_tape(folder: &Path) -> anyhow::Result<&Path> {
    if is_tape(folder) {
        return Ok(folder);
    }
    let what = if folder.exists() { "there is no tape in" } else { "there is no folder" };
    Err(Error::not_found(format!("{what} {}: name that of a tape with --data, or begin one with 'tapeloop record'", folder.display()))
        .into())
}

/// Reads the manifests of a tape.
///
/// # Errors
/// Those of listing folders.
pub(crate) fn recordings(folder: &Path) -> anyhow::Result<Recordings> {
    let mut found = Recordings::default();
    for device in list(&folder.join("devices"))?.into_iter().filter(|device| device.is_dir()) {
        for path in list(&device)?.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
            match read(&path) {
                Ok(manifest) => found.manifests.push((path, manifest)),
                // Somebody may have removed it meanwhile.
                Err(error) if error.kind() == recording::Kind::NotFound => {}
                Err(error) => found.unreadable.push((path, error)),
            }
        }
    }
    found.manifests.sort_by_key(|(_, manifest)| manifest.created_ns);
    Ok(found)
}

fn read(path: &Path) -> recording::Result<Manifest> {
    let failed = |error| Error::io("cannot read it", error);
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > SIZE_LIMIT {
        return Err(Error::invalid(format!("a manifest of {size} bytes; at most {SIZE_LIMIT}")));
    }
    Manifest::parse(&fs::read(path).map_err(failed)?)
}

/// Returns what a folder holds, by name; nothing if there is no such folder.
pub(crate) fn list(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot list {}", folder.display()))?,
    };
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    Ok(paths)
}

impl Recordings {
    /// Returns the manifest with this id or name, or whose id alone begins so; of several with one name the newest.
    ///
    /// # Errors
    /// `Invalid` if several ids begin so.
    pub(crate) fn find(&self, wanted: &str) -> anyhow::Result<Option<&(PathBuf, Manifest)>> {
        let exact = self.manifests.iter().find(|(_, manifest)| manifest.recording == wanted);
        let named = || self.manifests.iter().rev().find(|(_, manifest)| manifest.name.as_deref() == Some(wanted));
        if let Some(found) = exact.or_else(named) {
            return Ok(Some(found));
        }
        let begun: Vec<_> =
            self.manifests.iter().filter(|(_, manifest)| !wanted.is_empty() && manifest.recording.starts_with(wanted)).collect();
        match begun.as_slice() {
            [] => Ok(None),
            [found] => Ok(Some(found)),
            several => {
                let ids: Vec<&str> = several.iter().take(5).map(|(_, manifest)| manifest.recording.as_str()).collect();
                Err(Error::invalid(format!("'{wanted}' may be any of {} recordings: {}", several.len(), ids.join(", "))).into())
            }
        }
    }
}

/// Returns the path of what an argument means: a path, or the id or name of a recording on the tape.
///
/// # Errors
/// `NotFound` with everything that was tried.
pub(crate) fn resolve(wanted: &Path, whom: &Whom) -> anyhow::Result<PathBuf> {
    if wanted.try_exists().with_context(|| format!("cannot look at {}", wanted.display()))? {
        return Ok(wanted.to_owned());
    }
    let shown = wanted.display();
    let id = wanted.to_str().filter(|text| !text.contains('/'));
    let Some(id) = id else { return Err(Error::not_found(format!("there is no file or folder {shown}")).into()) };
    let recorder = whom.find()?;
    let tape = match &recorder {
        Recorder::Agent(client) => format!("the tape of the agent at {}", client.socket().display()),
        Recorder::Folder(folder) => format!("the tape in {}", folder.display()),
    };
    if let Some(folder) = recorder.folder() {
        if let Some((path, _)) = recordings(&folder)?.find(id)? {
            return Ok(path.clone());
        }
        if !is_tape(&folder) {
            let nothing = format!("there is no file or folder '{shown}', nor a tape in {}", folder.display());
            return Err(Error::not_found(format!("{nothing} that could have a recording of that name (--data names another)")).into());
        }
    }
    Err(Error::not_found(format!(
        "there is no file or folder '{shown}', nor a recording of that id or name on {tape}: 'tapeloop ls' shows them"
    ))
    .into())
}

/// Returns where a recording's manifest stands.
pub(crate) fn manifest_path(folder: &Path, manifest: &Manifest) -> PathBuf {
    folder.join(key::manifest(&manifest.device, &manifest.recording))
}
