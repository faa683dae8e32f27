//! Folders of ROS packages: `package/msg/Type.msg`, `package/srv/Name.srv`, `package/action/Name.action`, `.idl`.
//!
//! In comes a path, out come the definitions below it.
//!
//! **Invariant:** nothing outside of the folder is read, and no folder makes it read without end.

use std::fs;
use std::path::{Path, PathBuf};

use super::set::Set;
use crate::error::{Error, Result};
use crate::schema::section::Syntax;

/// How deep folders are looked into.
const DEPTH_LIMIT: usize = 16;

/// How many files and folders are looked at.
const ENTRY_LIMIT: usize = 500_000;

/// How many definitions are taken.
const DEFINITION_LIMIT: usize = 20_000;

/// How large a file with a definition may be.
const FILE_LIMIT: u64 = 1 << 20;

/// Returns the definitions below a folder.
pub(super) fn read(folder: &Path) -> Result<Set> {
    let root = folder.canonicalize().map_err(|error| Error::io(format!("cannot open {}", folder.display()), error))?;
    let mut set = Set::new(folder.display().to_string(), None);
    let mut open = vec![(root.clone(), 0)];
    let mut seen = 0_usize;
    let mut generated = Vec::new();
    while let Some((folder, depth)) = open.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(Error::io(format!("cannot list {}", folder.display()), error)),
            // A folder below that may not be read holds nothing for us.
            Err(_) => continue,
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).take(ENTRY_LIMIT + 1).collect();
        paths.sort();
        for path in paths {
            seen += 1;
            if seen > ENTRY_LIMIT || set.len() + generated.len() >= DEFINITION_LIMIT {
                return Err(Error::invalid(format!(
                    "more than {ENTRY_LIMIT} files or {DEFINITION_LIMIT} definitions: name a package, not a whole disk: {}",
                    root.display()
                )));
            }
            let Ok(kind) = fs::symlink_metadata(&path) else { continue };
            if kind.is_dir() {
                if depth < DEPTH_LIMIT && !is_hidden(&path) {
                    open.push((path, depth + 1));
                }
            } else if let Some((name, syntax)) = definition(&path) {
                if syntax == Syntax::Idl {
                    generated.push((path, name));
                } else {
                    add(&mut set, &root, &path, &name, syntax)?;
                }
            }
        }
    }
    // Installed packages have an .idl beside each .msg that it was made from.
    for (path, name) in generated {
        add(&mut set, &root, &path, &name, Syntax::Idl)?;
    }
    if set.len() == 0 {
        return Err(Error::not_found(format!("there are no .msg, .srv, .action or .idl files below {}", folder.display())));
    }
    Ok(set)
}

fn add(set: &mut Set, root: &Path, path: &Path, name: &str, syntax: Syntax) -> Result<()> {
    // Installed packages are often links; those that lead out of the folder are not followed.
    let Ok(real) = path.canonicalize() else { return Ok(()) };
    let is_inside = real.starts_with(root);
    let size = fs::metadata(&real).map_or(u64::MAX, |metadata| metadata.len());
    if !is_inside || !real.is_file() {
        return Ok(());
    }
    if size > FILE_LIMIT {
        return Err(Error::invalid(format!("a definition of {size} bytes; at most {FILE_LIMIT}: {}", path.display())));
    }
    let bytes = fs::read(&real).map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
    set.add(name, syntax, String::from_utf8_lossy(&bytes).into_owned());
    Ok(())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'))
}

/// Returns the full name of the type that a file defines, if it defines one.
fn definition(path: &Path) -> Option<(String, Syntax)> {
    let syntax = match path.extension()?.to_str()? {
        "msg" => Syntax::Msg,
        "srv" => Syntax::Srv,
        "action" => Syntax::Action,
        "idl" => Syntax::Idl,
        _ => return None,
    };
    let name = path.file_stem()?.to_str()?;
    // package/msg/Type.msg; PX4 has package/msg/versioned/Type.msg.
    let folder = path
        .ancestors()
        .skip(1)
        .find(|folder| folder.file_name().is_some_and(|name| name == "msg" || name == "srv" || name == "action"))?;
    let kind = folder.file_name()?.to_str()?;
    let package = package(folder.parent()?)?;
    Some((format!("{package}/{kind}/{name}"), syntax))
}

/// Returns a package's name: what its `package.xml` says, else what its folder is called.
fn package(folder: &Path) -> Option<String> {
    let manifest = folder.join("package.xml");
    let is_small = fs::symlink_metadata(&manifest).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= FILE_LIMIT);
    let text = is_small.then(|| fs::read_to_string(&manifest).ok()).flatten().unwrap_or_default();
    let named = text.split_once("<name>").and_then(|(_, rest)| rest.split_once("</name>")).map(|(name, _)| name.trim().to_owned());
    named.filter(|name| !name.is_empty()).or_else(|| Some(folder.file_name()?.to_str()?.to_owned()))
}
