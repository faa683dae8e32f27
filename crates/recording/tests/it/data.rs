//! Where the real recordings are.

use std::path::{Path, PathBuf};

/// Returns a path among the real recordings, or says that the test is skipped.
pub(crate) fn path(relative: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let root = std::env::var_os("TAPELOOP_TEST_DATA").map_or(beside, PathBuf::from);
    let path = root.join(relative);
    if !path.exists() {
        println!("skipped: there are no real recordings at {} (set TAPELOOP_TEST_DATA)", path.display());
        return None;
    }
    Some(path)
}

/// Returns all files below a folder whose name ends with `ending`, in order.
pub(crate) fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}
