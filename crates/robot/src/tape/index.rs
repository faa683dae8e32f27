//! Which closed segments there are, in memory, and in a file that spares a start from opening each of them.
//!
//! **Invariant:** the file is derived: a line that is damaged or missing costs one look into a segment, nothing else.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use recording::key::SegmentName;
use recording::{Loss, Result};
use serde::{Deserialize, Serialize};

use super::disk::{Disk, DiskFile, Syncer, read_small, write_atomic};
use super::segment::{SegmentMeta, TopicSet, TopicSets};

/// How many losses are remembered.
pub(crate) const LOSS_LIMIT: usize = 10_000;
/// The largest index file that is read; a larger one is rebuilt.
const FILE_LIMIT: u64 = 512 << 20;
/// Clock corrections below this are drift, not steps.
pub(crate) const CLOCK_STEP_NS: i64 = 50_000_000;

/// The closed segments, by buffer and number.
#[derive(Default)]
pub(crate) struct Index {
    segments: BTreeMap<Arc<str>, BTreeMap<u64, Arc<SegmentMeta>>>,
    /// Of each buffer and topic, the segment that has gone and ended last: what is older is not all there, even where some of it
    /// is because a recording names it.
    gone: BTreeMap<Arc<str>, HashMap<Arc<str>, Arc<SegmentMeta>>>,
    /// UTC minus monotonic time of each boot, with the monotonic time from which on that is known.
    boot_offsets: HashMap<u64, (i64, i64)>,
    losses: VecDeque<Loss>,
    file: Option<IndexFile>,
}

/// The sets of topics that the file has, and their numbers there, by where they are in memory: equal ones are shared.
type Written = HashMap<usize, (TopicSet, u64)>;

struct IndexFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    sets: Written,
    lines: usize,
    /// Whether it has losses that are not durable.
    unsynced: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Set(u64, Vec<String>),
    Segment(SegmentLine),
    Gone(String),
    /// A segment that has gone, in a file that was written anew since.
    Went(SegmentLine),
    Loss(Loss),
}

#[derive(Serialize, Deserialize)]
struct SegmentLine {
    key: String,
    set: u64,
    start_ns: i64,
    end_ns: i64,
    size_bytes: u64,
    clock_offset_ns: i64,
    #[serde(default)]
    born_monotonic_ns: Option<i64>,
    #[serde(default)]
    file_clock: bool,
    #[serde(default)]
    heavy: bool,
    #[serde(default)]
    in_memory: bool,
    #[serde(default)]
    latched_since_ns: Option<i64>,
    #[serde(default)]
    latched_late_ns: Option<i64>,
    #[serde(default)]
    latched_channel: Option<u16>,
}

/// What an index file said.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) segments: HashMap<String, SegmentMeta>,
    pub(crate) gone: Vec<SegmentMeta>,
    pub(crate) losses: VecDeque<Loss>,
}

impl Index {
    /// Reads an index file; whatever is damaged in it is left out.
    pub(crate) fn load(disk: &dyn Disk, path: &Path, sets: &mut TopicSets) -> Loaded {
        let mut loaded = Loaded::default();
        let Ok(bytes) = read_small(disk, path, FILE_LIMIT) else { return loaded };
        let mut by_id: HashMap<u64, TopicSet> = HashMap::new();
        for line in bytes.split(|byte| *byte == b'\n').filter_map(check_line) {
            match line {
                Line::Set(id, names) => {
                    by_id.insert(id, sets.intern(names.iter().map(|name| Arc::from(name.as_str())).collect()));
                }
                Line::Segment(line) => {
                    loaded.segments.extend(line.into_meta(&by_id).map(|meta| (meta.key.to_string(), meta)));
                }
                Line::Went(line) => loaded.gone.extend(line.into_meta(&by_id)),
                Line::Gone(key) => loaded.gone.extend(loaded.segments.remove(&key)),
                Line::Loss(loss) => remember(&mut loaded.losses, loss),
            }
        }
        loaded
    }

    /// Writes the file anew and goes on appending to it.
    pub(crate) fn save(&mut self, disk: &dyn Disk, path: &Path) -> Result<()> {
        let mut sets = Written::default();
        let mut text = Vec::new();
        let mut lines = 0;
        for meta in self.segments.values().flat_map(BTreeMap::values) {
            lines += push_segment(&mut text, &mut sets, meta, Line::Segment);
        }
        for meta in self.gone_from_disk().values() {
            lines += push_segment(&mut text, &mut sets, meta, Line::Went);
        }
        for loss in &self.losses {
            push_line(&mut text, &Line::Loss(loss.clone()));
            lines += 1;
        }
        write_atomic(disk, path, &text)?;
        let file = disk.open_append(path).map_err(|error| recording::Error::io(format!("cannot open {}", path.display()), error))?;
        self.file = Some(IndexFile { file, path: path.to_owned(), sets, lines, unsynced: false });
        Ok(())
    }

    /// Adds a closed segment.
    pub(crate) fn add(&mut self, meta: Arc<SegmentMeta>) {
        self.put(meta.clone());
        if meta.ram.is_some() {
            return;
        }
        let Some(file) = &mut self.file else { return };
        let mut text = Vec::new();
        file.lines += push_segment(&mut text, &mut file.sets, &meta, Line::Segment);
        let _ = file.file.append(&[&text]);
    }

    /// Adds a closed segment without telling the file.
    pub(crate) fn put(&mut self, meta: Arc<SegmentMeta>) {
        if !meta.file_clock && meta.latched_since_ns.is_none() {
            // The newest one counts, in whatever order segments are found, or are closed.
            let newest = |born_ns: &i64| self.boot_offsets.get(&meta.name.boot).is_none_or(|(known_ns, _)| born_ns >= known_ns);
            if let Some(born_ns) = meta.born_monotonic_ns.filter(newest) {
                self.boot_offsets.insert(meta.name.boot, (born_ns, meta.clock_offset_ns));
            }
        }
        self.segments.entry(meta.name.buffer.as_str().into()).or_default().insert(meta.name.number, meta);
    }

    /// Removes a segment.
    pub(crate) fn remove(&mut self, meta: &Arc<SegmentMeta>) {
        if let Some(segments) = self.segments.get_mut(meta.name.buffer.as_str()) {
            segments.remove(&meta.name.number);
        }
        self.note_gone(meta);
        if let Some(file) = self.file.as_mut().filter(|_| meta.ram.is_none()) {
            let mut text = Vec::new();
            push_line(&mut text, &Line::Gone(meta.key.to_string()));
            file.lines += 1;
            let _ = file.file.append(&[&text]);
        }
    }

    /// Takes note that a segment is on the tape no more.
    pub(crate) fn note_gone(&mut self, meta: &Arc<SegmentMeta>) {
        if meta.latched_since_ns.is_some() || meta.start_ns > meta.end_ns {
            return;
        }
        let end_ns = |meta: &SegmentMeta| meta.end_ns.saturating_add(self.correction_ns(meta));
        let known = self.gone.get(meta.name.buffer.as_str());
        let older = |topic: &Arc<str>| known.and_then(|known| known.get(topic)).is_none_or(|known| end_ns(known) < end_ns(meta));
        let topics: Vec<Arc<str>> = meta.topics.iter().filter(|topic| older(topic)).cloned().collect();
        let gone = self.gone.entry(meta.name.buffer.as_str().into()).or_default();
        gone.extend(topics.into_iter().map(|topic| (topic, meta.clone())));
    }

    /// Returns until when topics of a buffer are not all there, because segments have gone; corrected.
    pub(crate) fn gone_until(&self, buffer: &str) -> HashMap<Arc<str>, i64> {
        let gone = self.gone.get(buffer).into_iter().flatten();
        gone.map(|(topic, meta)| (topic.clone(), meta.end_ns.saturating_add(self.correction_ns(meta)))).collect()
    }

    /// Returns what is remembered of segments that have gone from the disk, by key.
    fn gone_from_disk(&self) -> BTreeMap<&str, &Arc<SegmentMeta>> {
        self.gone.values().flat_map(HashMap::values).filter(|meta| meta.ram.is_none()).map(|meta| (&*meta.key, meta)).collect()
    }

    /// Remembers a loss, unless it is known.
    pub(crate) fn add_loss(&mut self, loss: Loss) {
        if self.losses.contains(&loss) {
            return;
        }
        if let Some(file) = &mut self.file {
            let mut text = Vec::new();
            push_line(&mut text, &Line::Loss(loss.clone()));
            file.lines += 1;
            file.unsynced = true;
            let _ = file.file.append(&[&text]);
        }
        remember(&mut self.losses, loss);
    }

    pub(crate) fn set_losses(&mut self, losses: VecDeque<Loss>) {
        self.losses = losses;
    }

    /// Returns a handle that makes losses durable: of all that the file says, they alone stand nowhere else.
    pub(crate) fn unsynced(&mut self) -> Option<Box<dyn Syncer>> {
        let file = self.file.as_mut().filter(|file| file.unsynced)?;
        file.unsynced = false;
        file.file.syncer().ok()
    }

    pub(crate) fn losses(&self) -> impl Iterator<Item = &Loss> {
        self.losses.iter()
    }

    /// Returns the path of a file that has grown to more than twice what it needs.
    pub(crate) fn needs_saving(&self) -> Option<PathBuf> {
        let needed = self.segments.values().map(BTreeMap::len).sum::<usize>()
            + self.losses.len()
            + self.gone.values().map(HashMap::len).sum::<usize>();
        self.file.as_ref().filter(|file| file.lines > 2 * needed + 10_000).map(|file| file.path.clone())
    }

    /// Returns the segments of a buffer in order of their numbers.
    pub(crate) fn of(&self, buffer: &str) -> impl DoubleEndedIterator<Item = &Arc<SegmentMeta>> {
        self.segments.get(buffer).into_iter().flat_map(BTreeMap::values)
    }

    /// Returns how many segments a buffer has.
    pub(crate) fn count_of(&self, buffer: &str) -> usize {
        self.segments.get(buffer).map_or(0, BTreeMap::len)
    }

    /// Returns the names of the buffers that have segments.
    pub(crate) fn buffers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.segments.iter().filter(|(_, segments)| !segments.is_empty()).map(|(name, _)| name)
    }

    /// Returns every segment.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<SegmentMeta>> {
        self.segments.values().flat_map(BTreeMap::values)
    }

    /// Says how far UTC is ahead of the monotonic clock in a boot, as far as is known at `monotonic_ns`.
    pub(crate) fn set_boot_offset(&mut self, boot: u64, monotonic_ns: i64, offset_ns: i64) {
        self.boot_offsets.insert(boot, (monotonic_ns, offset_ns));
    }

    /// Gives segments whose own clock is not known that of the segment of their boot which is nearest to them in time.
    pub(crate) fn guess_clocks(&mut self) {
        let all = || self.segments.values().flat_map(BTreeMap::values);
        let known: Vec<(u64, i64, i64)> = all()
            .filter(|meta| meta.born_monotonic_ns.is_some() && meta.start_ns <= meta.end_ns)
            .map(|meta| (meta.name.boot, meta.start_ns, meta.clock_offset_ns))
            .collect();
        for meta in self.segments.values_mut().flat_map(BTreeMap::values_mut).filter(|meta| meta.born_monotonic_ns.is_none()) {
            let own = known.iter().filter(|(boot, ..)| *boot == meta.name.boot);
            if let Some((_, _, offset_ns)) = own.min_by_key(|(_, start_ns, _)| start_ns.abs_diff(meta.start_ns)) {
                *meta = Arc::new(SegmentMeta { clock_offset_ns: *offset_ns, ..(**meta).clone() });
            }
        }
    }

    /// Returns what to add to a segment's times, because the clock was set later in the same boot.
    pub(crate) fn correction_ns(&self, meta: &SegmentMeta) -> i64 {
        if meta.file_clock { 0 } else { self.clock_correction_ns(meta.name.boot, meta.clock_offset_ns) }
    }

    /// Returns what to add to a time of a boot at which UTC was `offset_ns` ahead of the monotonic clock.
    pub(crate) fn clock_correction_ns(&self, boot: u64, offset_ns: i64) -> i64 {
        let known = self.boot_offsets.get(&boot).map_or(offset_ns, |(_, offset_ns)| *offset_ns);
        let correction = known.saturating_sub(offset_ns);
        if correction.saturating_abs() < CLOCK_STEP_NS { 0 } else { correction }
    }
}

fn remember(losses: &mut VecDeque<Loss>, loss: Loss) {
    if losses.len() >= LOSS_LIMIT {
        losses.pop_front();
    }
    losses.push_back(loss);
}

/// A line is eight hexadecimal digits of CRC-32, a space, and JSON.
fn push_line(text: &mut Vec<u8>, line: &Line) {
    let json = serde_json::to_vec(line).expect("a line has string keys only");
    text.extend_from_slice(format!("{:08x} ", checksum(&json)).as_bytes());
    text.extend_from_slice(&json);
    text.push(b'\n');
}

fn check_line(line: &[u8]) -> Option<Line> {
    let (digits, json) = line.split_at_checked(9)?;
    let expected = u32::from_str_radix(std::str::from_utf8(digits).ok()?.trim_end(), 16).ok()?;
    (checksum(json) == expected).then(|| serde_json::from_slice(json).ok()).flatten()
}

fn checksum(bytes: &[u8]) -> u32 {
    let digest = blake3::hash(bytes);
    u32::from_le_bytes(digest.as_bytes()[..4].try_into().expect("a digest has 32 bytes"))
}

fn push_segment(text: &mut Vec<u8>, sets: &mut Written, meta: &SegmentMeta, line: fn(SegmentLine) -> Line) -> usize {
    let next = sets.len() as u64;
    let (_, set) = sets.entry(meta.topics.as_ptr().addr()).or_insert_with(|| {
        push_line(text, &Line::Set(next, meta.topics.iter().map(ToString::to_string).collect()));
        (meta.topics.clone(), next)
    });
    let set = *set;
    push_line(
        text,
        &line(SegmentLine {
            key: meta.key.to_string(),
            set,
            start_ns: meta.start_ns,
            end_ns: meta.end_ns,
            size_bytes: meta.size_bytes,
            clock_offset_ns: meta.clock_offset_ns,
            born_monotonic_ns: meta.born_monotonic_ns,
            file_clock: meta.file_clock,
            heavy: meta.heavy,
            in_memory: meta.in_memory,
            latched_since_ns: meta.latched_since_ns,
            latched_late_ns: meta.latched_late_ns,
            latched_channel: meta.latched_channel,
        }),
    );
    1 + usize::from(set == next)
}

impl SegmentLine {
    fn into_meta(self, sets: &HashMap<u64, TopicSet>) -> Option<SegmentMeta> {
        let name = self.key.rsplit('/').next().and_then(SegmentName::parse)?;
        Some(SegmentMeta {
            topics: sets.get(&self.set)?.clone(),
            key: self.key.into(),
            name: Arc::new(name),
            start_ns: self.start_ns,
            end_ns: self.end_ns,
            size_bytes: self.size_bytes,
            clock_offset_ns: self.clock_offset_ns,
            born_monotonic_ns: self.born_monotonic_ns,
            file_clock: self.file_clock,
            heavy: self.heavy,
            in_memory: self.in_memory,
            ram: None,
            latched_since_ns: self.latched_since_ns,
            latched_late_ns: self.latched_late_ns,
            latched_channel: self.latched_channel,
            closed: true,
        })
    }
}
