//! Which files a folder's recording consists of.
//!
//! **Invariant:** no name that stands in a file leads out of the folder.

use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// The largest `metadata.yaml` that is read.
const YAML_LIMIT: u64 = 16 << 20;

/// How the names of recordings end that a folder is searched for; what a file is stands in it.
const ENDINGS: [&str; 9] = ["mcap", "mcap.zstd", "mcap.zst", "bag", "ulg", "db3", "db3.zstd", "bag.zst", "ulg.zst"];

/// Returns what a folder is and the files of it: those of its `metadata.yaml`, in that order, or all recordings by name.
pub(super) fn of_folder(folder: &Path) -> Result<(&'static str, Vec<PathBuf>)> {
    let yaml = folder.join("metadata.yaml");
    let text = match std::fs::metadata(&yaml) {
        Ok(metadata) if metadata.len() <= YAML_LIMIT => std::fs::read(&yaml).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).ok(),
        _ => None,
    };
    let listed = text.as_deref().map(listed_files).unwrap_or_default();
    if text.as_deref().and_then(|text| value(text, "compression_mode")).is_some_and(|mode| mode.eq_ignore_ascii_case("message")) {
        return Err(Error::invalid(format!("rosbag2 message compression is not read by this version: {}", folder.display())));
    }
    let files = if listed.is_empty() { by_name(folder)? } else { listed.iter().map(|name| inside(folder, name)).collect::<Result<_>>()? };
    if files.is_empty() {
        let expected = "no *.mcap, *.bag, *.db3 or *.ulg, no metadata.yaml with files and no devices/ in it";
        return Err(Error::not_found(format!("no recording in this folder: {expected}: {}", folder.display())));
    }
    let rosbag2 = text.is_some() || files.iter().all(|file| ends_with(file, &["mcap", "mcap.zstd"]));
    Ok((if rosbag2 || files.iter().all(|file| ends_with(file, &["db3", "db3.zstd"])) { "rosbag2" } else { "folder" }, files))
}

fn ends_with(file: &Path, endings: &[&str]) -> bool {
    let name = file.to_string_lossy();
    endings.iter().any(|ending| name.ends_with(&format!(".{ending}")))
}

/// Returns the items of `relative_file_paths:`, a list of plain or quoted scalars.
fn listed_files(yaml: &str) -> Vec<String> {
    let mut lines = yaml.lines();
    let Some(key) = lines.by_ref().find(|line| line.trim_start().starts_with("relative_file_paths:")) else { return Vec::new() };
    let inline = key.trim_start().trim_start_matches("relative_file_paths:").trim();
    if let Some(items) = inline.strip_prefix('[').and_then(|items| items.strip_suffix(']')) {
        return items.split(',').map(unquote).filter(|item| !item.is_empty()).collect();
    }
    lines.map_while(|line| line.trim_start().strip_prefix("- ")).map(unquote).collect()
}

fn value(yaml: &str, key: &str) -> Option<String> {
    let line = yaml.lines().find_map(|line| line.trim_start().strip_prefix(key)?.strip_prefix(':'))?;
    Some(unquote(line))
}

fn unquote(scalar: &str) -> String {
    let scalar = scalar.trim();
    let quoted = |quote: char| scalar.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    quoted('"').or_else(|| quoted('\'')).unwrap_or(scalar).to_owned()
}

/// Returns the path of a listed file. Old bags name it with their own folder in front.
fn inside(folder: &Path, name: &str) -> Result<PathBuf> {
    let relative = Path::new(name);
    if name.is_empty() || !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(Error::invalid(format!("metadata.yaml names a file outside of its folder: '{name}', in {}", folder.display())));
    }
    let path = folder.join(relative);
    let old = relative.file_name().map(|file| folder.join(file));
    Ok(if path.exists() { path } else { old.filter(|old| old.exists()).unwrap_or(path) })
}

fn by_name(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = list(folder)?.into_iter().filter(|path| ends_with(path, &ENDINGS)).collect();
    files.sort_by_key(|path| natural(&path.to_string_lossy()));
    Ok(files)
}

/// Splits a name so that `bag_10` sorts behind `bag_9`.
fn natural(name: &str) -> Vec<(String, u128)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let end = rest[digits..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |length| digits + length);
        parts.push((rest[..digits].to_owned(), rest[digits..end].parse().unwrap_or(0)));
        rest = &rest[end..];
    }
    parts
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_in_every_way_yaml_writes_a_list() {
        assert_eq!(
            listed_files("a:\n  relative_file_paths:\n    - a_0.mcap\n    - \"b 1.mcap\"\n  files:\n  - path: x\n"),
            ["a_0.mcap", "b 1.mcap"]
        );
        assert_eq!(listed_files("relative_file_paths:\n- a.mcap\nx: 1\n"), ["a.mcap"]);
        assert_eq!(listed_files("relative_file_paths: ['a.mcap', b.mcap]\n"), ["a.mcap", "b.mcap"]);
        assert!(listed_files("relative_file_paths: []\n").is_empty() && listed_files("").is_empty());
        assert_eq!(value("  compression_mode: 'MESSAGE'\n", "compression_mode").as_deref(), Some("MESSAGE"));
    }

    #[test]
    fn listed_files_stay_in_their_folder_and_names_sort_by_number() {
        for wrong in ["../x.mcap", "/etc/passwd", "a/../../x.mcap", ""] {
            assert!(inside(Path::new("bag"), wrong).is_err(), "{wrong}");
        }
        let mut names = ["bag_10.mcap", "bag_9.mcap", "bag_1.mcap"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["bag_1.mcap", "bag_9.mcap", "bag_10.mcap"]);
    }
}
