//! Reading recordings: a file, a rosbag2 folder, a manifest or a whole tape, all with one face.
//!
//! In comes a path, out come messages in order of their log time, counts, latched values, and what is missing.
//!
//! **Invariant:** damage is a loss, never an end: everything else is still read, in bounded memory.

mod cache;
mod cursor;
pub(crate) mod export;
mod files;
mod formats;
mod info;
mod latched;
mod learn;
mod line;
mod merge;
mod outline;
mod output;
mod request;
mod unit;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::cache::Cache;
pub use self::export::{ExportOptions, ExportReport, export};
pub use self::info::{Info, TopicInfo};
pub use self::line::Lines;
pub use self::merge::{Located, Messages};
pub use self::outline::{Cost, Outline, TopicOutline};
use self::request::Request;
use self::unit::{Opener, Role, Unit};
use crate::decode::Decoder;
use crate::error::{Error, Result};
use crate::import::{lerobot, rosbag2};
use crate::loss::Loss;
use crate::manifest::{Manifest, SIZE_LIMIT};
use crate::message::{Message, Topic};
use crate::schema::library::Library;
use crate::source::ReadAt;
use crate::time::{Span, Timestamp};
use crate::topic::TopicFilter;

/// Of how many files blocks are unpacked ahead; a tape has thousands of small ones.
const AHEAD_LIMIT: usize = 64;

/// An open recording. Cheap to clone.
#[derive(Clone)]
pub struct Recording {
    inner: Arc<Inner>,
    /// Blocks that one pass unpacked for the next.
    cache: Option<Arc<Cache>>,
}

pub(crate) struct Inner {
    path: PathBuf,
    format: &'static str,
    units: Vec<Unit>,
    topics: Vec<Arc<Topic>>,
    manifest: Option<Manifest>,
    losses: Vec<Loss>,
    notes: Vec<String>,
    metadata: Vec<(String, BTreeMap<String, String>)>,
}

/// Opens a file of any known format, a rosbag2 folder, a folder of recordings, the manifest of a recording on a tape, or the
/// folder of a tape.
///
/// # Errors
/// `NotFound` and its like for what cannot be read, `Invalid` for what is no recording: it says what it is.
pub fn open(path: &Path) -> Result<Recording> {
    let mut opener = Opener::default();
    let opened = gather(path, &mut opener)?;
    Ok(opener.finish(path, opened.format, opened.units, opened.manifest))
}

/// Opens several recordings as one: their messages come in order of time.
///
/// # Errors
/// Those of [`open`], for each of them.
pub fn open_all(paths: &[PathBuf]) -> Result<Recording> {
    let [path] = paths else {
        let first = paths.first().ok_or_else(|| Error::invalid("no recording to open"))?;
        let mut opener = Opener::default();
        let mut units = Vec::new();
        for path in paths {
            units.extend(gather(path, &mut opener)?.units);
        }
        return Ok(opener.finish(first, "files", units, None));
    };
    open(path)
}

/// Opens bytes that are no local file: those of a bucket, or what a browser uploads; `name` is what they are called.
///
/// Where the source has not all bytes yet ([`crate::source::Fed`]), opening is tried again from its beginning; a container that is
/// opened in steps does not do so. Reading messages goes on where it was: [`Error::lacks_bytes`] tells.
///
/// # Errors
/// As [`open`].
pub fn open_source(name: &Path, source: Arc<dyn ReadAt>) -> Result<Recording> {
    let mut opener = Opener::default();
    let unit = opener.open_source(name, source, Role::default())?;
    Ok(opener.finish(name, unit.format, vec![unit], None))
}

/// What stands behind a path.
struct Opened {
    format: &'static str,
    units: Vec<Unit>,
    manifest: Option<Manifest>,
}

fn gather(path: &Path, opener: &mut Opener) -> Result<Opened> {
    let metadata = std::fs::metadata(path).map_err(|error| Error::io(format!("cannot open {}", path.display()), error))?;
    if metadata.is_dir() {
        return if path.join("devices").is_dir() { gather_tape(path, opener) } else { gather_folder(path, opener) };
    }
    if path.extension().is_some_and(|extension| extension == "json") {
        return gather_manifest(path, metadata.len(), opener);
    }
    if path.file_name().is_some_and(|name| name == "metadata.yaml") {
        return gather_folder(path.parent().unwrap_or(Path::new(".")), opener);
    }
    let unit = opener.open(path, Role::default())?;
    Ok(Opened { format: unit.format, units: vec![unit], manifest: None })
}

fn gather_folder(path: &Path, opener: &mut Opener) -> Result<Opened> {
    if lerobot::is_dataset(path) {
        return gather_dataset(path, opener);
    }
    let (format, files) = match files::of_folder(path)? {
        Some(files) => ("folder", files),
        None => {
            let mut bag = rosbag2::files(path)?;
            let files = std::mem::take(&mut bag.files);
            opener.losses.append(&mut bag.losses);
            opener.notes.extend(bag.notes.drain(..).map(|note| format!("{note}: {}", path.display())));
            opener.metadata.append(&mut bag.metadata);
            opener.bag = Some(bag);
            ("rosbag2", files)
        }
    };
    let mut units = Vec::new();
    for file in files {
        match opener.open(&file, Role::default()) {
            Ok(unit) => units.push(unit),
            Err(error) => opener.lose_file(&error),
        }
    }
    opener.bag = None;
    Ok(Opened { format, units, manifest: None })
}

fn gather_dataset(path: &Path, opener: &mut Opener) -> Result<Opened> {
    let mut dataset = lerobot::open(path)?;
    opener.losses.append(&mut dataset.losses);
    opener.notes.extend(dataset.notes.into_iter().map(|note| format!("{note}: {}", path.display())));
    opener.metadata.append(&mut dataset.metadata);
    let files = dataset.files.into_iter();
    let units = files.map(|(file, container)| opener.take_open(&file, container, Role::default())).collect();
    Ok(Opened { format: "lerobot", units, manifest: None })
}

fn gather_tape(path: &Path, opener: &mut Opener) -> Result<Opened> {
    let mut units = Vec::new();
    for file in files::of_tape(path)? {
        match opener.open(&file, Role { by_size: true, ..Role::default() }) {
            Ok(unit) => units.push(unit),
            // The recorder may have evicted it since the folder was listed.
            Err(error) if error.kind() == crate::Kind::NotFound => {}
            Err(error) if error.kind() == crate::Kind::Invalid && error.message().contains("update tapeloop") => return Err(error),
            Err(error) => opener.lose_file(&error),
        }
    }
    Ok(Opened { format: "tape", units, manifest: None })
}

fn gather_manifest(path: &Path, size: u64, opener: &mut Opener) -> Result<Opened> {
    if size > SIZE_LIMIT {
        return Err(Error::invalid(format!("a manifest of {size} bytes; at most {SIZE_LIMIT}: {}", path.display())));
    }
    let json = std::fs::read(path).map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
    let manifest = Manifest::parse(&json).map_err(|error| unit::at(path, error))?;
    // <root>/devices/<device>/<id>.json
    let absolute = std::path::absolute(path).map_err(|error| Error::io(format!("cannot find {}", path.display()), error))?;
    let root = absolute.ancestors().nth(3).unwrap_or(Path::new("/")).to_owned();
    let mut units = Vec::new();
    for segment in &manifest.segments {
        let file = root.join(&segment.key);
        match opener.open(&file, Role::of_segment(&manifest, segment)) {
            Ok(unit) => units.push(unit),
            Err(error) => opener.lose_segment(segment, &error),
        }
    }
    opener.losses.extend(manifest.missing.iter().cloned());
    Ok(Opened { format: "recording", units, manifest: Some(manifest) })
}

impl Recording {
    /// Returns where it was opened.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Returns the format of a file (`mcap`, `bag`, `db3`, `ulog`), or `rosbag2`, `lerobot`, `folder`, `files`, `recording`, `tape`.
    pub fn format(&self) -> &'static str {
        self.inner.format
    }

    /// Returns all topics that are defined, by name.
    pub fn topics(&self) -> &[Arc<Topic>] {
        &self.inner.topics
    }

    /// Returns the topics that it is about: of a manifest's recording those that were asked for, else all that are defined.
    pub(crate) fn wanted_topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        let asked = self.manifest().map(|manifest| TopicFilter::parse(&manifest.asked.topics).unwrap_or_default());
        self.topics().iter().filter(move |topic| asked.as_ref().is_none_or(|asked| asked.matches(&topic.name)))
    }

    /// Returns the manifest, where it was opened by one.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.inner.manifest.as_ref()
    }

    /// Returns the span that it holds, as far as that is known without reading messages; latched values do not widen it.
    pub fn span(&self) -> Span {
        export::held(self)
    }

    /// Returns what a reader should know and what is no loss, e.g. that a file was not closed.
    pub fn notes(&self) -> &[String] {
        &self.inner.notes
    }

    /// Returns whether one of its files has no end, or a damaged one: it was not closed.
    ///
    /// # Errors
    /// Those of opening files again that were forgotten.
    pub fn is_open(&self) -> Result<bool> {
        self.inner.units.iter().try_fold(false, |open, unit| Ok(open || unit.content()?.index().is_open))
    }

    /// Returns the losses that the recorders of its files told of: there the files are whole.
    ///
    /// # Errors
    /// Those of opening files again that were forgotten.
    pub fn told_losses(&self) -> Result<Vec<Loss>> {
        let mut told = Vec::new();
        for unit in &self.inner.units {
            told.extend(unit.content()?.index().told_losses.iter().cloned());
        }
        Ok(told)
    }

    /// Returns what its files and folders say of themselves, by name: MCAP's metadata records, `rosbag2`, `lerobot`, …
    pub fn metadata(&self) -> Vec<(String, BTreeMap<String, String>)> {
        let contents = self.inner.units.iter().filter_map(|unit| unit.content.as_ref());
        let mut all = self.inner.metadata.clone();
        for entry in contents.flat_map(|content| &content.index().metadata) {
            if !all.contains(entry) {
                all.push(entry.clone());
            }
        }
        all
    }

    /// Returns the files that hold it, in order.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.inner.units.iter().map(|unit| unit.path.as_path())
    }

    /// Returns the messages of `filter`'s topics with a log time in `span`: in order of log time, equal ones as they were appended,
    /// each once and in the best quality there is. Latched values of a recording come with the stamps they have, before its start.
    ///
    /// # Errors
    /// What reading latched values answers.
    pub fn messages(&self, filter: &TopicFilter, span: Span) -> Result<Messages> {
        let request = Request { filter: filter.clone(), span };
        let mut messages = Messages::new(self.inner.clone(), request, |unit| !unit.role.latched_of_recording());
        messages.share(self.cache.as_ref().map(Cache::begin));
        if self.inner.units.iter().any(|unit| unit.role.latched_of_recording()) {
            let (values, losses) = latched::of_segments(&self.inner, filter)?;
            messages.add_latched(values.into_iter().filter(|message| span.contains(message.log_time_ns)).collect());
            messages.add_losses(losses);
        }
        Ok(messages)
    }

    /// Returns the same recording, which keeps up to `bytes` of what it unpacks: whoever then reads topic by topic unpacks each block
    /// once. Clones share them.
    #[must_use]
    pub fn keeping(self, bytes: usize) -> Self {
        Self { cache: Some(Arc::new(Cache::new(bytes))), ..self }
    }

    /// Unpacks blocks ahead of somebody who reads `filter`'s topics, on a thread of the caller: from the last one backwards, until it
    /// comes to what was unpacked already, `go_on` says no, or [`Self::keeping`] keeps no more. What cannot be read is left to the reader.
    pub fn unpack_ahead(&self, filter: &TopicFilter, span: Span, go_on: impl Fn() -> bool) {
        if self.cache.is_some() && self.inner.units.len() <= AHEAD_LIMIT {
            let request = Request { filter: filter.clone(), span };
            let mut messages = Messages::new(self.inner.clone(), request, |unit| !unit.role.latched_of_recording());
            messages.share(self.cache.as_ref().map(Cache::join));
            messages.unpack_backwards(go_on);
        }
    }

    /// Returns the values of latched topics as of `at_ns`: of each topic and publisher the last one, of `/tf_static` the last one
    /// per child frame. Latched are topics whose QoS is transient-local, `/tf_static`, and those of latched segments. There are limits
    /// of what is held; an export tells of what is beyond them.
    ///
    /// # Errors
    /// What reading answers.
    pub fn latched(&self, filter: &TopicFilter, at_ns: Timestamp) -> Result<Vec<Message>> {
        latched::as_of(self, filter, at_ns).map(|(values, _)| values)
    }

    /// Returns a decoder of a topic's messages. Definitions that the topic does not bring are looked for in `library`. Of JSON that no
    /// schema describes, the fields are those of its first messages.
    ///
    /// # Errors
    /// As [`Decoder::new`], and what reading answers.
    pub fn decoder(&self, topic: &Topic, library: &Library) -> Result<Decoder> {
        learn::decoder(self, topic, library)
    }

    /// Returns what the files say of themselves, without reading messages: of a closed MCAP file that takes its summary.
    pub fn outline(&self) -> Outline {
        outline::outline(self)
    }

    /// Returns how much of the files must be read for some topics and a span, where each chunk that holds one of them counts.
    ///
    /// # Errors
    /// Those of opening files again that were forgotten.
    pub fn cost(&self, filter: &TopicFilter, span: Span) -> Result<Cost> {
        outline::cost(self, filter, span)
    }

    /// Counts every message, checking all of it.
    ///
    /// # Errors
    /// What reading answers; damage is in [`Info::losses`].
    pub fn info(&self) -> Result<Info> {
        info::info(self)
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("path", &self.inner.path).field("format", &self.inner.format).finish_non_exhaustive()
    }
}
