//! Lanes: a buffer's streams of segments. Light topics share one; a busy topic has its own.
//!
//! In come encoded chunks, out go segments on disk or in RAM. Only the buffer's writer calls this.
//!
//! **Invariant:** at most one segment of a lane is open, and what it says of itself matches the bytes behind it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;
use recording::Loss;
use recording::key::SegmentName;
use recording::mcap::chunk::EncodedChunk;
use recording::mcap::segment::{Definition, SegmentWriter};

use super::disk::{Disk, DiskFile, Syncer};
use super::segment::{Piece, RamSegment, SegmentMeta, TopicSets};

/// The version of the segment's own format; newer ones are refused.
pub const SEGMENT_FORMAT: u32 = 1;

/// How busy a topic is, which decides what it shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Shares chunks and segments with other light topics.
    Light = 0,
    /// Has chunks of its own in the shared segments.
    OwnChunks = 1,
    /// Has segments of its own.
    OwnSegments = 2,
}

/// A [`Class`] that threads share.
#[derive(Debug, Default)]
pub(crate) struct ClassCell(AtomicU8);

/// Above this many bytes per second a topic has chunks of its own.
const OWN_CHUNKS_BYTES_PER_S: f64 = 64_000.0;
/// Above this many bytes per second a topic has segments of its own.
const OWN_SEGMENTS_BYTES_PER_S: f64 = 256_000.0;

/// One stream of segments.
pub(crate) struct Lane {
    /// Whether it belongs to one busy topic.
    pub(crate) heavy: bool,
    pub(crate) open: Mutex<Option<OpenSegment>>,
}

/// A segment that is being written.
pub(crate) struct OpenSegment {
    pub(crate) meta: SegmentMeta,
    pub(crate) writer: SegmentWriter,
    pub(crate) opened_monotonic_ns: i64,
    pub(crate) last_sequence: u64,
    path: PathBuf,
    /// How many channels `meta.topics` names.
    named_channels: usize,
    file: Option<Box<dyn DiskFile>>,
    on_disk_bytes: u64,
    synced_bytes: u64,
}

/// What a new segment says of where it comes from.
pub(crate) struct Birth<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) root: &'a std::path::Path,
    pub(crate) device: &'a str,
    pub(crate) name: SegmentName,
    pub(crate) in_ram: bool,
    pub(crate) heavy: bool,
    pub(crate) utc_ns: i64,
    pub(crate) monotonic_ns: i64,
    pub(crate) file_clock: bool,
    pub(crate) first_sequence: u64,
    pub(crate) kernel_boot: &'a str,
    pub(crate) config_hash: &'a str,
    pub(crate) latched_since_ns: Option<i64>,
    pub(crate) latched_late_ns: Option<i64>,
    pub(crate) latched_channel: Option<u16>,
}

impl ClassCell {
    pub(crate) fn get(&self) -> Class {
        match self.0.load(Ordering::Relaxed) {
            0 => Class::Light,
            1 => Class::OwnChunks,
            _ => Class::OwnSegments,
        }
    }

    pub(crate) fn set(&self, class: Class) {
        self.0.store(class as u8, Ordering::Relaxed);
    }
}

impl Class {
    /// Returns the class for a rate; a topic that has been busier keeps its class until it falls below half of the limit.
    pub(crate) fn of(bytes_per_s: f64, before: Class) -> Class {
        let rises = |limit: f64, class: Class| bytes_per_s >= if before >= class { limit / 2.0 } else { limit };
        if rises(OWN_SEGMENTS_BYTES_PER_S, Class::OwnSegments) {
            Class::OwnSegments
        } else if rises(OWN_CHUNKS_BYTES_PER_S, Class::OwnChunks) {
            Class::OwnChunks
        } else {
            Class::Light
        }
    }
}

impl Lane {
    pub(crate) fn new(heavy: bool) -> Arc<Self> {
        Arc::new(Self { heavy, open: Mutex::new(None) })
    }
}

impl OpenSegment {
    /// Begins a segment: creates its file, or its place in RAM, with what it says of itself.
    pub(crate) fn begin(birth: Birth<'_>) -> io::Result<Self> {
        let mut start = Vec::new();
        let mut writer = SegmentWriter::begin(&mut start, "");
        writer.metadata(&mut start, "tapeloop.segment", &birth.metadata());
        let key = SegmentMeta::key(birth.device, birth.utc_ns, &birth.name);
        let path = birth.root.join(&*key);
        let meta = SegmentMeta {
            key,
            name: Arc::new(birth.name),
            topics: Arc::new([]),
            start_ns: i64::MAX,
            end_ns: i64::MIN,
            size_bytes: start.len() as u64,
            clock_offset_ns: birth.utc_ns.saturating_sub(birth.monotonic_ns),
            born_monotonic_ns: Some(birth.monotonic_ns),
            file_clock: birth.file_clock,
            heavy: birth.heavy,
            in_memory: birth.in_ram,
            ram: birth.in_ram.then(Arc::default),
            latched_since_ns: birth.latched_since_ns,
            latched_late_ns: birth.latched_late_ns,
            latched_channel: birth.latched_channel,
            closed: false,
        };
        let mut segment = Self {
            meta,
            writer,
            opened_monotonic_ns: birth.monotonic_ns,
            last_sequence: birth.first_sequence,
            path,
            named_channels: 0,
            file: None,
            on_disk_bytes: 0,
            synced_bytes: 0,
        };
        if !birth.in_ram {
            segment.file = Some(birth.disk.create(&segment.path)?);
        }
        segment.append(&[&start], None)?;
        Ok(segment)
    }

    /// Appends a chunk and, before it, the definitions it needs that the segment lacks.
    pub(crate) fn write(&mut self, chunk: Arc<EncodedChunk>, definitions: &[Definition], last_sequence: u64) -> io::Result<()> {
        let mut before = Vec::new();
        for definition in definitions {
            self.writer.define(&mut before, definition);
        }
        self.append(&[&before], Some(&chunk))?;
        self.writer.chunk(&chunk);
        self.last_sequence = self.last_sequence.max(last_sequence);
        self.meta.start_ns = self.meta.start_ns.min(chunk.index.header.start_ns as i64);
        self.meta.end_ns = self.meta.end_ns.max(chunk.index.header.end_ns as i64);
        self.meta.size_bytes = self.writer.size();
        Ok(())
    }

    /// Returns what is known of it so far.
    ///
    /// Its topics are put together here and not with each chunk, which would take longer than writing where there are thousands.
    pub(crate) fn look(&mut self, sets: &Mutex<TopicSets>) -> &SegmentMeta {
        let ids: Vec<u16> = self.writer.counts().iter().map(|(id, _)| id).collect();
        if ids.len() != self.named_channels {
            self.named_channels = ids.len();
            self.meta.topics = sets.lock().of_channels(ids, self.writer.definitions());
        }
        &self.meta
    }

    /// Appends bytes and a chunk to the file or to RAM; on failure the file is cut back to what it had.
    fn append(&mut self, bytes: &[&[u8]], chunk: Option<&Arc<EncodedChunk>>) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            let mut parts = bytes.to_vec();
            if let Some(chunk) = chunk {
                parts.extend(chunk.parts());
            }
            if let Err(error) = file.append(&parts) {
                // If even this fails, the torn end is found and cut when the tape is opened again.
                let _ = file.truncate(self.on_disk_bytes);
                return Err(error);
            }
            self.on_disk_bytes += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        }
        if let Some(ram) = &self.meta.ram {
            let mut pieces = ram.pieces.lock();
            pieces.extend(bytes.iter().filter(|bytes| !bytes.is_empty()).map(|bytes| Piece::Bytes((*bytes).into())));
            pieces.extend(chunk.cloned().map(Piece::Chunk));
        }
        Ok(())
    }

    /// From now on writes a RAM segment to its file as well, beginning with what it has.
    pub(crate) fn write_through(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let Some(ram) = self.meta.ram.clone().filter(|_| self.file.is_none()) else { return Ok(()) };
        let mut file = create_again(disk, &self.path)?;
        for piece in ram.pieces.lock().iter() {
            piece.append_to(&mut *file)?;
        }
        self.on_disk_bytes = self.meta.size_bytes;
        self.file = Some(file);
        ram.filed.store(true, Ordering::Release);
        Ok(())
    }

    /// Ends the segment: what was lost, the clock, and the summary.
    pub(crate) fn finish(&mut self, utc_ns: i64, monotonic_ns: i64, losses: &[Loss]) -> io::Result<()> {
        let mut end = Vec::new();
        let metadata = end_metadata(&self.writer, utc_ns, monotonic_ns, self.last_sequence, losses);
        self.writer.metadata(&mut end, "tapeloop.end", &metadata);
        self.writer.finish(&mut end);
        self.append(&[&end], None)?;
        self.meta.size_bytes = self.writer.size();
        Ok(())
    }

    /// Returns a handle that syncs what the file has and was not synced yet.
    pub(crate) fn unsynced(&mut self) -> io::Result<Option<Box<dyn Syncer>>> {
        let Some(file) = self.file.as_ref().filter(|_| self.on_disk_bytes > self.synced_bytes) else { return Ok(None) };
        let syncer = file.syncer()?;
        self.synced_bytes = self.on_disk_bytes;
        Ok(Some(syncer))
    }

    /// Returns the path of its file.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Returns whether it has a file.
    pub(crate) fn has_file(&self) -> bool {
        self.file.is_some()
    }
}

/// Returns what a segment's last metadata record says.
pub(crate) fn end_metadata(
    writer: &SegmentWriter,
    utc_ns: i64,
    monotonic_ns: i64,
    last_sequence: u64,
    losses: &[Loss],
) -> BTreeMap<String, String> {
    let topics: BTreeMap<u16, (u64, u64)> = writer.counts().iter().collect();
    let json = |value: serde_json::Result<String>| value.expect("losses and counts have string keys only");
    BTreeMap::from([
        ("clock_utc_ns".to_owned(), utc_ns.to_string()),
        ("clock_monotonic_ns".to_owned(), monotonic_ns.to_string()),
        ("last_append_sequence".to_owned(), last_sequence.to_string()),
        ("losses".to_owned(), json(serde_json::to_string(losses))),
        ("topics".to_owned(), json(serde_json::to_string(&topics))),
    ])
}

impl Birth<'_> {
    fn metadata(&self) -> BTreeMap<String, String> {
        let mut map = BTreeMap::from([
            ("format".to_owned(), SEGMENT_FORMAT.to_string()),
            ("device".to_owned(), self.device.to_owned()),
            ("host".to_owned(), self.name.host.clone()),
            ("boot".to_owned(), format!("{:012x}", self.name.boot)),
            ("kernel_boot".to_owned(), self.kernel_boot.to_owned()),
            ("buffer".to_owned(), self.name.buffer.clone()),
            ("number".to_owned(), self.name.number.to_string()),
            ("first_append_sequence".to_owned(), self.first_sequence.to_string()),
            ("clock".to_owned(), if self.file_clock { "file" } else { "wall" }.to_owned()),
            ("clock_utc_ns".to_owned(), self.utc_ns.to_string()),
            ("clock_monotonic_ns".to_owned(), self.monotonic_ns.to_string()),
            ("software".to_owned(), recording::mcap::segment::LIBRARY.to_owned()),
            ("config_hash".to_owned(), self.config_hash.to_owned()),
            ("heavy".to_owned(), self.heavy.to_string()),
        ]);
        if self.in_ram {
            map.insert("in_memory".to_owned(), "true".to_owned());
        }
        if let Some(since_ns) = self.latched_since_ns {
            map.insert("latched".to_owned(), "true".to_owned());
            map.insert("latched_since_ns".to_owned(), since_ns.to_string());
            map.extend(self.latched_late_ns.map(|late_ns| ("latched_late_ns".to_owned(), late_ns.to_string())));
            map.extend(self.latched_channel.map(|id| ("latched_channel".to_owned(), id.to_string())));
        }
        map
    }
}

impl Piece {
    /// Appends it to a file.
    pub(crate) fn append_to(&self, file: &mut dyn DiskFile) -> io::Result<()> {
        match self {
            Piece::Bytes(bytes) => file.append(&[bytes]),
            Piece::Chunk(chunk) => file.append(&chunk.parts()),
        }
    }
}

/// Writes a closed RAM segment to its file, unless another thread has.
pub(crate) fn write_ram_segment(disk: &dyn Disk, path: &std::path::Path, ram: &RamSegment) -> io::Result<()> {
    let mut file = create_again(disk, path)?;
    let pieces = ram.pieces.lock().clone();
    for piece in &pieces {
        piece.append_to(&mut *file)?;
    }
    file.syncer()?.sync()?;
    disk.sync_folder(path.parent().expect("a key has a folder"))?;
    ram.written.store(true, Ordering::Release);
    Ok(())
}

/// Creates a file, in the place of what an earlier, failed try left.
fn create_again(disk: &dyn Disk, path: &std::path::Path) -> io::Result<Box<dyn DiskFile>> {
    match disk.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(path)?;
            disk.create(path)
        }
        file => file,
    }
}
