//! rosbag2 folders: which files they consist of, and what `metadata.yaml` knows that the files do not.
//!
//! In comes a folder, out come the files in order, how they are compressed, the QoS of topics, and what is missing.
//!
//! **Invariant:** no name that stands in `metadata.yaml` leads out of the folder, and without that file the names of files are enough.

mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use self::yaml::Yaml;
use super::unpacked;
use crate::container::{Block, Chunk, Container, Index, Loaded, Location, Place};
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::message::Topic;
use crate::source::ReadAt;

/// The largest `metadata.yaml` that is read.
const YAML_LIMIT: u64 = 16 << 20;

/// How many files a folder may list.
const FILE_LIMIT: usize = 100_000;

/// What the names of a recording's files end with, where they are not compressed as a whole.
const ENDINGS: [&str; 2] = ["mcap", "db3"];

/// A rosbag2 folder.
#[derive(Clone, Debug, Default)]
pub struct Bag {
    /// Its files that exist, in order.
    pub files: Vec<PathBuf>,
    /// How it is compressed.
    pub compression: Compression,
    /// The `offered_qos_profiles` of topics by name, as one YAML text each.
    pub topics_qos: BTreeMap<String, String>,
    /// The type hashes of topics by name.
    pub topics_hashes: BTreeMap<String, String>,
    /// Files that are missing.
    pub losses: Vec<Loss>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// What the folder says of itself: `rosbag2`, and `rosbag2.custom_data`.
    pub metadata: Vec<(String, BTreeMap<String, String>)>,
}

/// How rosbag2 compressed a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all, or as the files' own format does.
    #[default]
    None,
    /// Each message: see [`unpacked::messages`].
    Message,
    /// Each file as a whole: see [`unpacked::file`].
    File,
}

/// Returns what a rosbag2 folder consists of: by its `metadata.yaml`, or by the names of files where that is missing or damaged.
///
/// # Errors
/// `NotFound` for a folder without files of a recording, `Invalid` for one whose `metadata.yaml` names only files outside of it, and
/// what listing answers.
pub fn files(folder: &Path) -> Result<Bag> {
    let mut bag = Bag::default();
    let listed = match read_yaml(folder) {
        Ok(Some(text)) => bag.take_yaml(folder, &text),
        Ok(None) => 0,
        Err(why) => {
            bag.notes.push(format!("{why}; the files are read in the order of their names"));
            0
        }
    };
    let found = by_name(folder)?;
    if listed == 0 {
        bag.files = found;
    } else {
        let known: BTreeSet<&PathBuf> = bag.files.iter().collect();
        let left_out: Vec<_> = found.iter().filter(|path| !known.contains(path)).filter_map(|path| path.file_name()).collect();
        if let Some(first) = left_out.first() {
            let first = first.to_string_lossy();
            bag.notes.push(format!("{} files are left out that metadata.yaml does not name: {first}, …", left_out.len()));
        }
    }
    if bag.files.iter().any(|file| is_packed(file)) {
        bag.compression = Compression::File;
    }
    match bag.files.is_empty() {
        false => Ok(bag),
        true => Err(match bag.losses.first() {
            Some(loss) => Error::invalid(format!("{}: {}", loss.reason, folder.display())),
            None => Error::not_found(format!("no recording in this folder: no *.mcap and no *.db3 in it: {}", folder.display())),
        }),
    }
}

/// Returns whether a file is compressed as a whole, by its name.
pub fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "zstd")
}

/// Returns the name of a file as it would be if it were not compressed as a whole.
pub fn unpacked_name(path: &Path) -> PathBuf {
    if is_packed(path) { path.with_extension("") } else { path.to_owned() }
}

impl Bag {
    /// Returns a file's container as a part of this folder: with the QoS and the type hashes that the file does not know, and without the
    /// compression of single messages.
    pub fn complete(&self, container: Arc<dyn Container>) -> Arc<dyn Container> {
        let container = if self.compression == Compression::Message { unpacked::messages(container) } else { container };
        let mut topics = container.index().topics.clone();
        let mut changed = false;
        for topic in topics.values_mut() {
            for (key, known) in [("offered_qos_profiles", &self.topics_qos), ("type_description_hash", &self.topics_hashes)] {
                let lacks = topic.metadata.get(key).is_none_or(String::is_empty);
                if let Some(value) = known.get(&topic.name).filter(|_| lacks) {
                    let mut own = Topic::clone(topic);
                    own.metadata.insert(key.to_owned(), value.clone());
                    *topic = Arc::new(own);
                    changed = true;
                }
            }
        }
        if !changed {
            return container;
        }
        let index = Index { topics, ..container.index().clone() };
        Arc::new(Completed { index, container })
    }

    /// Takes what `metadata.yaml` says; returns how many files it lists.
    fn take_yaml(&mut self, folder: &Path, text: &str) -> usize {
        let (yaml, damage) = Yaml::parse(text);
        let empty = Yaml::Map(Vec::new());
        let bag = yaml.get("rosbag2_bagfile_information").unwrap_or(&empty);
        self.compression = match bag.text("compression_mode").to_ascii_uppercase().as_str() {
            "MESSAGE" => Compression::Message,
            "FILE" => Compression::File,
            _ => Compression::None,
        };
        let format = bag.text("compression_format");
        if self.compression != Compression::None && !format.is_empty() && format != "zstd" {
            self.notes.push(format!("compressed with '{format}' (known is zstd)"));
        }
        self.take_topics(bag);
        self.take_metadata(bag);
        let listed = bag.get("relative_file_paths").unwrap_or(&empty).items();
        if let Some(why) = damage {
            self.notes.push(format!("metadata.yaml is damaged ({why}); the files are read in the order of their names"));
            return 0;
        }
        let details = bag.get("files").unwrap_or(&empty).items();
        let details: BTreeMap<&str, &Yaml> = details.iter().rev().map(|file| (file.text("path"), file)).collect();
        let mut known = BTreeSet::new();
        for item in listed.iter().take(FILE_LIMIT) {
            let Yaml::Text { text: name, .. } = item else { continue };
            match inside(folder, name) {
                // A file that is named twice is read once.
                Some(path) if path.exists() => self.files.extend(known.insert(path.clone()).then_some(path)),
                Some(_) => self.losses.push(missing(name, details.get(name.as_str()).copied())),
                None => self.lose(format!("metadata.yaml names a file outside of its folder: '{name}'")),
            }
        }
        if listed.is_empty() {
            self.notes.push("metadata.yaml names no files; they are read in the order of their names".to_owned());
        }
        listed.len()
    }

    fn take_topics(&mut self, bag: &Yaml) {
        for item in bag.get("topics_with_message_count").map(Yaml::items).unwrap_or_default() {
            let Some(topic) = item.get("topic_metadata") else { continue };
            // A text up to version 8, a list from version 9 on.
            let qos = match topic.get("offered_qos_profiles") {
                Some(list @ Yaml::List(_)) => list.write(),
                _ => topic.text("offered_qos_profiles").to_owned(),
            };
            let entries = [(&mut self.topics_qos, qos), (&mut self.topics_hashes, topic.text("type_description_hash").to_owned())];
            for (known, value) in entries.into_iter().filter(|(_, value)| !value.is_empty()) {
                known.entry(topic.text("name").to_owned()).or_insert(value);
            }
        }
    }

    fn take_metadata(&mut self, bag: &Yaml) {
        let own = ["version", "storage_identifier", "ros_distro", "compression_mode", "compression_format", "message_count"];
        let map = own.into_iter().map(|key| (key.to_owned(), bag.text(key).to_owned()));
        let map: BTreeMap<_, _> = map.filter(|(_, value)| !value.is_empty()).collect();
        let custom = bag.get("custom_data").map(Yaml::entries).unwrap_or_default().iter().map(|(key, value)| (key.clone(), value));
        let custom: BTreeMap<_, _> =
            custom.map(|(key, value)| (key, if let Yaml::Text { text, .. } = value { text.clone() } else { value.write() })).collect();
        let both = [("rosbag2", map), ("rosbag2.custom_data", custom)];
        self.metadata.extend(both.into_iter().filter(|(_, map)| !map.is_empty()).map(|(name, map)| (name.to_owned(), map)));
    }

    fn lose(&mut self, reason: String) {
        self.losses.push(Loss { topic: None, start_ns: None, end_ns: None, messages: None, bytes: None, reason });
    }
}

/// Returns the loss of a file, with what `metadata.yaml` says of it.
fn missing(name: &str, details: Option<&Yaml>) -> Loss {
    let start_ns = details.and_then(|file| file.get("starting_time")?.int("nanoseconds_since_epoch"));
    let duration = details.and_then(|file| file.get("duration")?.int("nanoseconds"));
    let end_ns = start_ns.zip(duration).map(|(start, duration)| start.saturating_add(duration));
    let messages = details.and_then(|file| u64::try_from(file.int("message_count")?).ok());
    Loss { topic: None, start_ns, end_ns, messages, bytes: None, reason: format!("a file that metadata.yaml names is not there: '{name}'") }
}

fn read_yaml(folder: &Path) -> Result<Option<String>, String> {
    let path = folder.join("metadata.yaml");
    let size = match std::fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("metadata.yaml cannot be read ({error})")),
    };
    if size > YAML_LIMIT {
        return Err(format!("metadata.yaml has {size} bytes, more than {YAML_LIMIT}"));
    }
    let bytes = std::fs::read(&path).map_err(|error| format!("metadata.yaml cannot be read ({error})"))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Returns the path of a listed file; `None` where it leads out of the folder. Old bags name it with their own folder in front, and a
/// file may have been compressed or decompressed since.
fn inside(folder: &Path, name: &str) -> Option<PathBuf> {
    let relative = Path::new(name);
    if name.is_empty() || name.contains('\0') || !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    {
        return None;
    }
    let file = Path::new(relative.file_name()?);
    let mut tries = Vec::new();
    for relative in [relative, file] {
        let path = folder.join(relative);
        let packed = PathBuf::from(format!("{}.zstd", path.display()));
        tries.extend([path.clone(), packed, unpacked_name(&path)]);
    }
    tries.iter().find(|path| path.exists()).or(tries.first()).cloned()
}

/// Returns the files of one kind, in the order of the numbers in their names. Of a file that is there twice, the one that is not compressed:
/// the recorder was killed while it compressed it.
fn by_name(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |error| Error::io(format!("cannot list {}", folder.display()), error);
    let paths: Result<Vec<PathBuf>> = std::fs::read_dir(folder).map_err(fail)?.map(|entry| Ok(entry.map_err(fail)?.path())).collect();
    let paths = paths?;
    for ending in ENDINGS {
        let is_own = |path: &&PathBuf| unpacked_name(path).extension().is_some_and(|own| own == ending) && path.is_file();
        let files: BTreeMap<PathBuf, &PathBuf> = paths.iter().filter(is_own).fold(BTreeMap::new(), |mut files, path| {
            let name = unpacked_name(path);
            if !is_packed(path) || !files.contains_key(&name) {
                files.insert(name, path);
            }
            files
        });
        if !files.is_empty() {
            let mut files: Vec<PathBuf> = files.into_values().cloned().collect();
            files.sort_by_cached_key(|path| natural(&path.to_string_lossy()));
            return Ok(files);
        }
    }
    Ok(Vec::new())
}

/// Splits a name so that `bag_10` sorts behind `bag_9`.
pub(crate) fn natural(name: &str) -> Vec<(String, u128)> {
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

#[derive(Debug)]
struct Completed {
    index: Index,
    container: Arc<dyn Container>,
}

impl Container for Completed {
    fn index(&self) -> &Index {
        &self.index
    }

    fn load(
        &self,
        source: &dyn ReadAt,
        block: usize,
        wanted: &mut dyn FnMut(u16, i64) -> bool,
    ) -> Result<std::result::Result<Loaded, String>> {
        self.container.load(source, block, wanted)
    }

    fn counts(&self) -> Option<&BTreeMap<u16, u64>> {
        self.container.counts()
    }

    fn losses(&self, source: &dyn ReadAt, block: usize, why: &str) -> Result<Vec<Loss>> {
        self.container.losses(source, block, why)
    }

    fn location(&self, block: &Block, chunk: Option<&Chunk>, place: &Place) -> Option<Location> {
        self.container.location(block, chunk, place)
    }
}
