//! One file of a recording, and the part it plays in it.
//!
//! **Invariant:** a unit is understood as a whole when it is opened; its messages are read later, a block at a time.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::formats::{self, Stored};
use super::{Inner, Recording};
use crate::container::{Container, Index};
use crate::error::{Error, Result};
use crate::import::rosbag2::{self, Bag};
use crate::import::unpacked;
use crate::key::SegmentName;
use crate::loss::Loss;
use crate::manifest::{Manifest, SegmentRef, Selection};
use crate::mcap::definitions::Definitions;
use crate::mcap::scan;
use crate::message::Topic;
use crate::qos;
use crate::source::ReadAt;
use crate::time::Span;
use crate::topic::TopicFilter;

/// How many blocks are remembered from opening to reading; files beyond that are opened again.
const REMEMBERED_BLOCKS: usize = 100_000;

/// How a file's messages count.
#[derive(Clone, Debug, Default)]
pub(super) struct Role {
    /// What is added to its times.
    pub(super) correction_ns: i64,
    /// Of the same message in two files, the one with the lower rank is shown; or the larger one, by size.
    pub(super) rank: u64,
    pub(super) by_size: bool,
    /// What is wanted of it; `None` for everything.
    pub(super) selections: Option<Vec<Selection>>,
    /// Where it holds latched values: those as of this moment count.
    pub(super) latched_as_of_ns: Option<i64>,
    /// Which topics of latched values count.
    pub(super) latched_topics: TopicFilter,
}

/// A file of a recording.
pub(super) struct Unit {
    pub(super) path: PathBuf,
    pub(super) format: &'static str,
    pub(super) role: Role,
    /// First and last log time, corrected; `None` without messages.
    pub(super) times_ns: Option<(i64, i64)>,
    /// Whether it is a tape's latched segment.
    pub(super) latched: bool,
    /// Messages before this moment are latched values: of exports.
    pub(super) latched_before_ns: Option<i64>,
    pub(super) content: Option<Arc<Content>>,
    /// Its bytes where they are not those of the file at its path: it was compressed as a whole, or is no local file.
    own_source: Option<Arc<dyn ReadAt>>,
}

/// What is known of a file.
pub(super) struct Content {
    pub(super) stored: Stored,
    /// Its topics by channel, each the one that is equal among all files.
    pub(super) topics: BTreeMap<u16, Arc<Topic>>,
    /// The boot and the first append sequence of a segment.
    pub(super) identity: Option<(u64, u64)>,
}

/// Opens files and remembers what they share.
#[derive(Default)]
pub(super) struct Opener {
    topics: HashMap<String, Vec<Arc<Topic>>>,
    boots: HashMap<PathBuf, Arc<Definitions>>,
    blocks: usize,
    pub(super) notes: Vec<String>,
    pub(super) losses: Vec<Loss>,
    /// What folders say of themselves, by name.
    pub(super) metadata: Vec<(String, BTreeMap<String, String>)>,
    /// The rosbag2 folder whose files are being opened.
    pub(super) bag: Option<Bag>,
}

impl Role {
    /// Returns the role of a segment that a manifest names.
    pub(super) fn of_segment(manifest: &Manifest, segment: &SegmentRef) -> Self {
        let own = |selection: &&Selection| selection.buffer == segment.buffer;
        let rank = manifest.selections.iter().position(|selection| own(&selection)).unwrap_or(manifest.selections.len());
        let selections: Vec<Selection> = manifest.selections.iter().filter(own).cloned().collect();
        let correction_ns = segment.clock_correction_ns;
        if segment.latched {
            let latched_topics = latched_topics(manifest, &selections);
            let latched_as_of_ns = Some(manifest.span.start_ns);
            return Self { correction_ns, rank: u64::MAX, latched_as_of_ns, latched_topics, ..Self::default() };
        }
        Self { correction_ns, rank: rank as u64, selections: Some(selections), ..Self::default() }
    }

    pub(super) fn latched_of_recording(&self) -> bool {
        self.latched_as_of_ns.is_some()
    }
}

/// Returns which topics of latched segments a recording wants: those its selections name, else what was asked for.
fn latched_topics(manifest: &Manifest, own: &[Selection]) -> TopicFilter {
    if own.is_empty() {
        return TopicFilter::parse(&manifest.asked.topics).unwrap_or_default();
    }
    TopicFilter::exactly(own.iter().flat_map(|selection| selection.topics.iter().cloned()))
}

impl Opener {
    /// Opens a file.
    pub(super) fn open(&mut self, path: &Path, role: Role) -> Result<Unit> {
        let file = File::open(path).map_err(|error| Error::io(format!("cannot open {}", path.display()), error))?;
        let (unpacked, damage) = formats::unpack(&file).map_err(|error| at(path, error))?.unzip();
        if let Some(loss) = damage.flatten() {
            let reason = format!("{}: {}", loss.reason, path.display());
            self.losses.push(Loss { reason, ..loss });
        }
        let source = unpacked.as_ref().unwrap_or(&file);
        let stored = formats::open(source, path, || self.boot(path)).map_err(|error| at(path, error))?;
        let unit = self.take(path, stored, role, false);
        Ok(Unit { own_source: unpacked.map(|file| Arc::new(file) as Arc<dyn ReadAt>), ..unit })
    }

    /// Opens a source that is no local file; `name` is what it is called.
    pub(super) fn open_source(&mut self, name: &Path, source: Arc<dyn ReadAt>, role: Role) -> Result<Unit> {
        let stored = formats::open(&*source, name, Arc::default).map_err(|error| at(name, error))?;
        Ok(Unit { own_source: Some(source), ..self.take(name, stored, role, true) })
    }

    /// Takes a file that somebody else opened.
    pub(super) fn take_open(&mut self, path: &Path, container: Arc<dyn Container>, role: Role) -> Unit {
        self.take(path, Stored::Other(container), role, true)
    }

    fn take(&mut self, path: &Path, stored: Stored, role: Role, remember: bool) -> Unit {
        let packed = self.bag.as_ref().is_some_and(|bag| bag.compression == rosbag2::Compression::Message);
        let stored = if packed { Stored::Other(unpacked::messages(stored.into_container())) } else { stored };
        let mut content = Content::new(path, stored);
        for topic in content.topics.values_mut() {
            self.bag.iter().for_each(|bag| complete(bag, topic));
            *topic = self.intern(topic);
        }
        let remember = remember || self.bag.is_some();
        let index = content.index();
        self.notes.extend(index.notes.iter().map(|note| format!("{note}: {}", path.display())));
        let shift = |time_ns: i64| time_ns.saturating_add(role.correction_ns);
        let start_ns = index.blocks.iter().map(|block| shift(block.start_ns)).min();
        let end_ns = index.blocks.iter().map(|block| shift(block.end_ns)).max();
        let latched = content.metadata("tapeloop.segment").is_some_and(|map| map.get("latched").is_some_and(|value| value == "true"));
        let latched_before_ns = content.metadata("tapeloop.export").and_then(|map| map.get("start_ns")?.parse().ok());
        self.blocks += index.blocks.len();
        let format = index.format;
        let content = Some(Arc::new(content)).filter(|_| remember || self.blocks <= REMEMBERED_BLOCKS);
        let path = path.to_owned();
        Unit { path, format, role, times_ns: start_ns.zip(end_ns), latched, latched_before_ns, content, own_source: None }
    }

    /// Returns the definitions of the boot that a segment belongs to.
    fn boot(&mut self, path: &Path) -> Arc<Definitions> {
        let Some(boot) = boot_path(path) else { return Arc::default() };
        self.boots.entry(boot).or_insert_with_key(|boot| read_boot(boot)).clone()
    }

    /// Returns the one topic that is equal to `topic`.
    fn intern(&mut self, topic: &Arc<Topic>) -> Arc<Topic> {
        let known = self.topics.entry(topic.name.clone()).or_default();
        if let Some(same) = known.iter().find(|same| same == &topic) {
            return same.clone();
        }
        known.push(topic.clone());
        topic.clone()
    }

    /// Takes note of a file that cannot be opened; the error names it.
    pub(super) fn lose_file(&mut self, error: &Error) {
        let reason = error.to_string();
        self.losses.push(Loss { topic: None, start_ns: None, end_ns: None, messages: None, bytes: None, reason });
    }

    /// Takes note of a segment that cannot be opened.
    pub(super) fn lose_segment(&mut self, segment: &SegmentRef, error: &Error) {
        let shift = |time: i64| Some(time.saturating_add(segment.clock_correction_ns));
        let reason = format!("segment {}: {error}", segment.key);
        let (start_ns, end_ns) = (shift(segment.start_ns), shift(segment.end_ns));
        self.losses.push(Loss { topic: None, start_ns, end_ns, messages: None, bytes: segment.size_bytes, reason });
    }

    /// Returns the recording of these files.
    pub(super) fn finish(self, path: &Path, format: &'static str, units: Vec<Unit>, manifest: Option<Manifest>) -> Recording {
        let mut topics: Vec<Arc<Topic>> = self.topics.into_values().flatten().collect();
        topics.sort_by(|a, b| (&a.name, a.type_name(), &a.encoding, &a.metadata).cmp(&(&b.name, b.type_name(), &b.encoding, &b.metadata)));
        let inner = Inner {
            path: path.to_owned(),
            format,
            units,
            topics,
            manifest,
            losses: self.losses,
            notes: self.notes,
            metadata: self.metadata,
        };
        Recording { inner: Arc::new(inner), cache: None }
    }
}

impl Unit {
    /// Returns what is known of the file, opening it again where that was forgotten.
    pub(super) fn content(&self) -> Result<Arc<Content>> {
        if let Some(content) = &self.content {
            return Ok(content.clone());
        }
        let boot = || boot_path(&self.path).map(|path| read_boot(&path)).unwrap_or_default();
        let stored = formats::open(&*self.source()?, &self.path, boot).map_err(|error| at(&self.path, error))?;
        Ok(Arc::new(Content::new(&self.path, stored)))
    }

    /// Returns its bytes.
    pub(super) fn source(&self) -> Result<Arc<dyn ReadAt>> {
        if let Some(source) = &self.own_source {
            return Ok(source.clone());
        }
        let file = File::open(&self.path).map_err(|error| Error::io(format!("cannot open {}", self.path.display()), error))?;
        Ok(Arc::new(file))
    }

    /// Returns whether its messages may lie in `span`.
    pub(super) fn touches(&self, span: Span) -> bool {
        self.times_ns.is_none_or(|(first_ns, last_ns)| span.touches(first_ns, last_ns))
    }
}

/// Adds what a rosbag2 folder knows of a topic and its file does not.
fn complete(bag: &Bag, topic: &mut Arc<Topic>) {
    for (key, known) in [(qos::KEY, &bag.topics_qos), ("type_description_hash", &bag.topics_hashes)] {
        if let Some(value) = known.get(&topic.name)
            && topic.metadata.get(key).is_none_or(String::is_empty)
        {
            Arc::make_mut(topic).metadata.insert(key.to_owned(), value.clone());
        }
    }
}

impl Content {
    fn new(path: &Path, stored: Stored) -> Self {
        let topics = stored.index().topics.clone();
        let identity = identity(path, &stored);
        Self { stored, topics, identity }
    }

    pub(super) fn index(&self) -> &Index {
        self.stored.index()
    }

    /// Returns the metadata of that name that stands last.
    pub(super) fn metadata(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        metadata(self.index(), name)
    }
}

fn metadata<'a>(index: &'a Index, name: &str) -> Option<&'a BTreeMap<String, String>> {
    index.metadata.iter().rev().find(|(known, _)| known == name).map(|(_, map)| map)
}

/// Returns the boot and the first append sequence of a segment, or one near it where the segment's own words are damaged.
fn identity(path: &Path, stored: &Stored) -> Option<(u64, u64)> {
    let Stored::Mcap(file) = stored else { return None };
    let index = stored.index();
    if let Some(map) = metadata(index, "tapeloop.segment") {
        let boot = u64::from_str_radix(map.get("boot")?, 16).ok()?;
        return Some((boot, map.get("first_append_sequence")?.parse().ok()?));
    }
    let name = SegmentName::parse(path.file_name()?.to_str()?).filter(|_| metadata(index, "tapeloop.export").is_none())?;
    let last = metadata(index, "tapeloop.end").and_then(|map| map.get("last_append_sequence")?.parse().ok());
    Some((name.boot, last.or_else(|| file.scan().chunks.first().map(|chunk| u64::from(chunk.first_sequence)))?))
}

/// Returns where the definitions of a segment's boot stand: `boots/<host>-<boot>.mcap` of its device.
fn boot_path(segment: &Path) -> Option<PathBuf> {
    let name = SegmentName::parse(segment.file_name()?.to_str()?)?;
    let device = segment.ancestors().nth(3)?;
    Some(device.join("boots").join(format!("{}-{:012x}.mcap", name.host, name.boot)))
}

fn read_boot(path: &Path) -> Arc<Definitions> {
    let scan = File::open(path).ok().and_then(|file| scan::scan(&file).ok());
    Arc::new(scan.map(|scan| scan.definitions).unwrap_or_default())
}

/// Adds the path to an error.
pub(super) fn at(path: &Path, error: Error) -> Error {
    // Whoever feeds bytes looks for that cause.
    if error.lacks_bytes() {
        return error;
    }
    Error::new(error.kind(), format!("{error}: {}", path.display()))
}
