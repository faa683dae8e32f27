//! Manifests on disk: one beside the segments, for everybody, and a copy in the tape's own folder, in case the first is damaged.
//!
//! **Invariant:** a recording exists if either of its two manifests is readable.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use recording::manifest::{Manifest, SIZE_LIMIT};
use recording::{Error, Kind, Result, key};

use crate::tape::disk::{Disk, read_small, write_atomic};

/// Writes a manifest and its copy.
///
/// # Errors
/// Those of the disk.
pub(crate) fn write(disk: &dyn Disk, root: &Path, manifest: &Manifest) -> Result<()> {
    let json = manifest.to_json();
    write_atomic(disk, &copy_path(root, &manifest.recording), &json)?;
    write_atomic(disk, &path(root, manifest), &json)
}

/// Removes a manifest and its copy; the copy first, so that it cannot bring the other one back.
///
/// # Errors
/// Those of the disk.
pub(crate) fn remove(disk: &dyn Disk, root: &Path, manifest: &Manifest) -> Result<()> {
    for path in [copy_path(root, &manifest.recording), path(root, manifest)] {
        match disk.remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(format!("cannot remove {}", path.display()), error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reads all manifests; what is damaged or missing is restored from its copy. Returns what could not be read beside them.
///
/// # Errors
/// Those of the disk; `Invalid` for a manifest of a newer format.
pub(crate) fn load(disk: &dyn Disk, root: &Path) -> Result<(Vec<Manifest>, Vec<String>)> {
    let mut found: BTreeMap<String, Manifest> = BTreeMap::new();
    let mut damaged = Vec::new();
    let mut folders: Vec<PathBuf> = list(disk, &root.join("devices"))?.into_iter().map(|name| root.join("devices").join(name)).collect();
    // The copies come last: they only fill gaps.
    folders.push(root.join("tape").join("recordings"));
    for folder in folders {
        for name in list(disk, &folder)?.into_iter().filter(|name| name.ends_with(".json")) {
            let file = folder.join(&name);
            match read_small(disk, &file, SIZE_LIMIT).and_then(|json| Manifest::parse(&json)) {
                Ok(manifest) => {
                    found.entry(manifest.recording.clone()).or_insert(manifest);
                }
                Err(error) if error.kind() == Kind::Invalid => return Err(Error::invalid(format!("{error}: {}", file.display()))),
                Err(error) => damaged.push((name, error.to_string())),
            }
        }
    }
    let lost = |(name, error): (String, String)| {
        let id = name.trim_end_matches(".json");
        (!found.contains_key(id)).then(|| format!("{name}: {error}"))
    };
    let restored = damaged.iter().filter_map(|(name, _)| found.get(name.trim_end_matches(".json")));
    for manifest in restored {
        write(disk, root, manifest)?;
    }
    let unreadable = damaged.clone().into_iter().filter_map(lost).collect();
    Ok((found.into_values().collect(), unreadable))
}

fn list(disk: &dyn Disk, folder: &Path) -> Result<Vec<String>> {
    let entries = disk.list(folder).map_err(|error| Error::io(format!("cannot read {}", folder.display()), error))?;
    Ok(entries.into_iter().map(|entry| entry.name).collect())
}

fn path(root: &Path, manifest: &Manifest) -> PathBuf {
    root.join(key::manifest(&manifest.device, &manifest.recording))
}

fn copy_path(root: &Path, recording_id: &str) -> PathBuf {
    root.join("tape").join("recordings").join(format!("{recording_id}.json"))
}
