//! Definitions that people gave, kept in a folder for every recording that is read later.
//!
//! In comes a folder of packages or a recording, out come files of concatenated definitions: `0001-<hash>.ros2msg`, the last goes first.
//!
//! **Invariant:** what is stored is whole or not there, and giving the same definitions again stores nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::set::Set;
use super::{Flavour, Library, folder};
use crate::error::{Error, Result};
use crate::read;
use crate::schema::section::{self, Syntax};
use crate::schema::{parse, ros2};

/// How many files of definitions are read.
const FILE_COUNT_LIMIT: usize = 10_000;

/// How large a file of definitions may be.
const FILE_LIMIT: u64 = 64 << 20;

/// How many digits of a hash name a file.
const HASH_DIGITS: usize = 16;

/// What was stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// The types, by name.
    pub types: Vec<String>,
    /// The files that hold them.
    pub files: Vec<PathBuf>,
    /// Whether any of it was not there before.
    pub is_new: bool,
    /// Types that cannot be read yet, with the reason: a line that is not understood, or a definition that is missing.
    pub unreadable: Vec<String>,
}

/// Stores the definitions of a folder of ROS packages, or those that a recording carries, in `folder`.
///
/// # Errors
/// What reading and writing answer, `NotFound` where there are no definitions.
pub fn store(folder: &Path, from: &Path) -> Result<Stored> {
    let sets = definitions(from)?;
    fs::create_dir_all(folder).map_err(|error| Error::io(format!("cannot make {}", folder.display()), error))?;
    let mut stored = Stored::default();
    for set in &sets {
        let text = write(set);
        let hash: String = blake3::hash(text.as_bytes()).to_hex().chars().take(HASH_DIGITS).collect();
        let ending = format!("-{hash}.{}", extension(set.flavour()));
        let known = files(folder)?;
        let path = match known.iter().find(|path| path.to_string_lossy().ends_with(&ending)) {
            Some(path) => path.clone(),
            None => {
                let number = known.last().and_then(|path| number(path)).unwrap_or(0) + 1;
                let path = folder.join(format!("{number:04}{ending}"));
                write_whole(&path, &text)?;
                stored.is_new = true;
                path
            }
        };
        stored.files.push(path);
        stored.types.extend(set.names().into_iter().map(|(name, _)| name));
    }
    stored.types.sort();
    stored.types.dedup();
    let library = Library::user(folder)?;
    for set in &sets {
        stored.unreadable.extend(unreadable(set, &library));
    }
    Ok(stored)
}

/// Returns what was stored, the oldest first.
pub(super) fn read(folder: &Path) -> Result<Vec<Set>> {
    let mut sets = Vec::new();
    for path in files(folder)? {
        let size = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        if size > FILE_LIMIT {
            return Err(Error::invalid(format!("{size} bytes of definitions; at most {FILE_LIMIT}: {}", path.display())));
        }
        let bytes = fs::read(&path).map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
        let text = String::from_utf8_lossy(&bytes);
        let flavour = match path.extension().and_then(|extension| extension.to_str()) {
            Some("ros1msg") => Some(Flavour::Ros1),
            Some("ros2msg") => Some(Flavour::Ros2),
            _ => None,
        };
        let mut set = Set::new(path.display().to_string(), flavour);
        for section in section::split(&text) {
            set.add(section.name, section.syntax.unwrap_or(Syntax::Msg), section.text.to_owned());
        }
        sets.push(set);
    }
    Ok(sets)
}

/// Returns the definitions that a recording carries, as few sets as its contradictions allow.
pub(super) fn of_recording(path: &Path) -> Result<Vec<Set>> {
    let mut sets: Vec<Set> = Vec::new();
    for topic in read::open(path)?.topics() {
        let Some(set) = topic.schema.as_ref().and_then(|schema| Set::of_schema(schema)) else { continue };
        if !sets.iter_mut().any(|known| known.absorb(&set)) {
            sets.push(set);
        }
    }
    for set in &mut sets {
        set.origin = path.display().to_string();
    }
    Ok(sets)
}

fn definitions(from: &Path) -> Result<Vec<Set>> {
    let mut sets = Vec::new();
    // A bag is a folder too: it is a recording, unless there are packages in it.
    if from.is_dir() {
        match folder::read(from) {
            Ok(set) => return Ok(vec![set]),
            Err(error) if error.kind() == crate::Kind::NotFound => sets.extend(of_recording(from).map_err(|_| error)?),
            Err(error) => return Err(error),
        }
    } else {
        sets.extend(of_recording(from)?);
    }
    if sets.is_empty() {
        return Err(Error::not_found(format!("there are no definitions of ROS types{} in {}", others(from), from.display())));
    }
    Ok(sets)
}

/// Says in which other languages a recording defines its types.
fn others(path: &Path) -> String {
    let Ok(recording) = read::open(path) else { return String::new() };
    let languages = recording.topics().iter().filter_map(|topic| Some(topic.schema.as_ref()?.encoding.as_str()));
    let languages: Vec<&str> = languages.filter(|language| !language.is_empty()).collect::<BTreeSet<_>>().into_iter().collect();
    match languages.is_empty() {
        true => String::new(),
        false => format!(", only in {}, which each recording has to carry itself,", languages.join(" and ")),
    }
}

/// Returns the types of a set that cannot be read, and why.
fn unreadable(set: &Set, library: &Library) -> Vec<String> {
    let mut found = Vec::new();
    for (name, syntax, _) in set.texts() {
        let part = match syntax {
            Syntax::Msg | Syntax::Idl => "",
            Syntax::Srv => "_Event",
            Syntax::Action => "_GetResult_Response",
        };
        let readable = |flavour: Flavour| {
            let schema = library.find(&format!("{name}{part}"), None, flavour)?;
            Some(parse(&schema, "", &Library::empty()).err())
        };
        let flavours = set.flavour().map_or(vec![Flavour::Ros2, Flavour::Ros1], |flavour| vec![flavour]);
        let answers: Vec<_> = flavours.into_iter().map(readable).collect();
        if !answers.iter().any(|answer| matches!(answer, Some(None))) {
            let why = answers.into_iter().flatten().flatten().next().map(|error| error.to_string());
            found.push(why.unwrap_or_else(|| malformed(set, name)));
        }
    }
    found
}

/// Returns why a definition of its own is not understood.
fn malformed(set: &Set, name: &str) -> String {
    let Some(found) = set.find(name, Flavour::Ros2) else { return format!("'{name}' is not understood") };
    let mut definitions = crate::schema::definition::Definitions::default();
    let section = section::Section { syntax: Some(found.syntax), name: &found.name, text: &found.text };
    ros2::add(&mut definitions, &found.name, found.syntax, &section)
        .err()
        .map_or_else(|| format!("'{name}' is not defined by its file"), |error| error.to_string())
}

fn write(set: &Set) -> String {
    let mut text = String::new();
    for (name, syntax, definition) in set.texts() {
        section::write(&mut text, syntax, name, definition);
    }
    text
}

fn extension(flavour: Option<Flavour>) -> &'static str {
    match flavour {
        Some(Flavour::Ros1) => "ros1msg",
        Some(Flavour::Ros2) => "ros2msg",
        None => "rosmsg",
    }
}

/// Returns the files of definitions in a folder, the oldest first.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::io(format!("cannot list {}", folder.display()), error);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if number(&path).is_some() && path.is_file() {
            files.push(path);
        }
        if files.len() > FILE_COUNT_LIMIT {
            return Err(Error::invalid(format!("more than {FILE_COUNT_LIMIT} files of definitions: {}", folder.display())));
        }
    }
    files.sort_by_key(|path| (number(path), path.clone()));
    Ok(files)
}

/// Returns the number in front of a file's name, if it is one of definitions.
fn number(path: &Path) -> Option<u64> {
    let known = ["ros1msg", "ros2msg", "rosmsg"].contains(&path.extension()?.to_str()?);
    path.file_name()?.to_str()?.split_once('-').and_then(|(number, _)| number.parse().ok()).filter(|_| known)
}

fn write_whole(path: &Path, text: &str) -> Result<()> {
    let failed = |error| Error::io(format!("cannot write {}", path.display()), error);
    let partial = path.with_extension("partial");
    fs::write(&partial, text).map_err(failed)?;
    fs::rename(&partial, path).map_err(failed)
}
