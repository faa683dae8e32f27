//! Which files a folder's recording consists of.
//!
//! **Invariant:** what is found is in the folder itself: links of names are not followed here.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::import::rosbag2;

/// How the names of recordings end that a folder is searched for; what a file is stands in it.
const ENDINGS: [&str; 9] = ["mcap", "mcap.zstd", "mcap.zst", "bag", "ulg", "db3", "db3.zstd", "bag.zst", "ulg.zst"];

/// Returns the recordings in a folder, by name; `None` for a rosbag2 folder, which says itself what belongs to it.
pub(super) fn of_folder(folder: &Path) -> Result<Option<Vec<PathBuf>>> {
    let mut files: Vec<PathBuf> = list(folder)?.into_iter().filter(|path| ends_with(path, &ENDINGS)).collect();
    let parts = ["mcap", "mcap.zstd", "db3", "db3.zstd"];
    if folder.join("metadata.yaml").is_file() || (!files.is_empty() && files.iter().all(|file| ends_with(file, &parts))) {
        return Ok(None);
    }
    if files.is_empty() {
        let expected = "no *.mcap, *.bag, *.db3 or *.ulg, no metadata.yaml, no meta/info.json and no devices/ in it";
        return Err(Error::not_found(format!("no recording in this folder: {expected}: {}", folder.display())));
    }
    files.sort_by_cached_key(|path| rosbag2::natural(&path.to_string_lossy()));
    Ok(Some(files))
}

fn ends_with(file: &Path, endings: &[&str]) -> bool {
    let name = file.to_string_lossy();
    endings.iter().any(|ending| name.ends_with(&format!(".{ending}")))
}

/// Returns the segments of a tape: of all devices, by name, which begins with the day.
pub(super) fn of_tape(root: &Path) -> Result<Vec<PathBuf>> {
    let mut segments = Vec::new();
    for device in list(&root.join("devices"))? {
        let folder = device.join("segments");
        if !folder.is_dir() {
            continue;
        }
        for day in list(&folder)?.into_iter().filter(|day| day.is_dir()) {
            segments.extend(list(&day)?.into_iter().filter(|path| ends_with(path, &["mcap"])));
        }
    }
    segments.sort();
    Ok(segments)
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |error| Error::io(format!("cannot list {}", folder.display()), error);
    let entries: Result<Vec<PathBuf>> = std::fs::read_dir(folder).map_err(fail)?.map(|entry| Ok(entry.map_err(fail)?.path())).collect();
    entries
}
