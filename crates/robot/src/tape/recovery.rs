//! What a power cut or `kill -9` left: segments without an end, with a torn tail, or with damage in the middle.
//!
//! In comes a segment's file, out comes a closed segment, and what it lost. A clean file gets its end appended; one that is
//! damaged where an MCAP reader would stumble is written anew from its good chunks, under the same key.
//!
//! **Invariant:** nothing that can be read is removed: a rewritten file replaces the old one only when it is durable.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use recording::key::SegmentName;
use recording::mcap::chunk::{ChunkBuilder, Compression, EncodedChunk};
use recording::mcap::definitions::Definitions;
use recording::mcap::scan::{self, ChunkEntry, Scan};
use recording::mcap::segment::{Definition, SegmentWriter};
use recording::mcap::write::PREFIX_LENGTH;
use recording::mcap::{decompress, linear, record};
use recording::source::ReadAt;
use recording::{Error, Kind, Loss, Result};

use super::disk::{Disk, DiskFile};
use super::lane::{SEGMENT_FORMAT, end_metadata};
use super::segment::{SegmentMeta, TopicSets};
use crate::config::LATCHED_BUFFER;

/// A segment that was looked at.
pub(crate) struct Recovered {
    pub(crate) meta: SegmentMeta,
    pub(crate) losses: Vec<Loss>,
    pub(crate) repaired: bool,
    /// Why it could not be repaired.
    pub(crate) unrepaired: Option<String>,
}

/// Looks at a segment's file and closes it if it is open; `None` if there is no message in it, so that it can go.
///
/// # Errors
/// Those of the disk; `Invalid` for a segment of a newer format.
pub(crate) fn recover(
    disk: &dyn Disk,
    path: &Path,
    key: &str,
    name: SegmentName,
    known: &Definitions,
    sets: &mut TopicSets,
) -> Result<Option<Recovered>> {
    let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
    let source = disk.open_read(path).map_err(failed)?;
    let size_bytes = source.len().map_err(failed)?;
    if size_bytes == 0 {
        return Ok(None);
    }
    let not_ours = |error: Error| match error.kind() {
        // Somebody else's file, or one of which nothing is left: it stays for a person to look at.
        Kind::Invalid => Error::corrupt(format!("no segment can be read in {}", path.display())).caused_by(error),
        _ => error,
    };
    if let Some(outline) = scan::outline(&*source, known).map_err(not_ours)? {
        let meta = meta_of(&outline, key, name, size_bytes, sets)?;
        return Ok(Some(Recovered { meta, losses: Vec::new(), repaired: false, unrepaired: None }));
    }
    let scan = scan::scan_with(&*source, known).map_err(not_ours)?;
    if scan.chunks.is_empty() {
        return Ok(if scan.losses.is_empty() { None } else { Some(lost_whole(scan, key, name, size_bytes, sets)) });
    }
    let mut recovered =
        Recovered { meta: meta_of(&scan, key, name, size_bytes, sets)?, losses: scan.losses.clone(), repaired: false, unrepaired: None };
    if !scan.closed {
        let losses = &recovered.losses;
        let repair =
            || if can_go_on(&scan) { go_on(disk, path, &*source, &scan, losses) } else { rewrite(disk, path, &*source, &scan, losses) };
        match repair() {
            Ok(size_bytes) => {
                recovered.meta.size_bytes = size_bytes;
                recovered.repaired = true;
            }
            // Readers salvage it as it is.
            Err(error) => recovered.unrepaired = Some(format!("cannot repair {}: {error}", path.display())),
        }
    }
    Ok(Some(recovered))
}

fn lost_whole(scan: Scan, key: &str, name: SegmentName, size_bytes: u64, sets: &mut TopicSets) -> Recovered {
    let meta = SegmentMeta {
        key: key.into(),
        name: Arc::new(name),
        topics: sets.intern(Vec::new()),
        start_ns: i64::MAX,
        end_ns: i64::MIN,
        size_bytes,
        clock_offset_ns: 0,
        born_monotonic_ns: None,
        file_clock: false,
        heavy: false,
        in_memory: false,
        ram: None,
        latched_since_ns: None,
        latched_late_ns: None,
        latched_channel: None,
        closed: true,
    };
    Recovered { meta, losses: scan.losses, repaired: false, unrepaired: None }
}

fn meta_of(scan: &Scan, key: &str, name: SegmentName, size_bytes: u64, sets: &mut TopicSets) -> Result<SegmentMeta> {
    let said = scan.metadata("tapeloop.segment").cloned().unwrap_or_default();
    let number = |key: &str| said.get(key).and_then(|value| value.parse::<i64>().ok());
    if let Some(format) = number("format").filter(|format| *format > i64::from(SEGMENT_FORMAT)) {
        return Err(Error::invalid(format!(
            "segment of format {format}; this version reads up to {SEGMENT_FORMAT}: update tapeloop ({key})"
        )));
    }
    let counts = scan.counts();
    let ids: Vec<u16> = if counts.is_empty() {
        scan.chunks.iter().flat_map(|chunk| chunk.message_index_offsets.keys().copied()).collect()
    } else {
        counts.keys().copied().collect()
    };
    let clock = clock_of(&said).or_else(|| clock_of(scan.metadata("tapeloop.end")?));
    let topics = ids.iter().filter_map(|id| scan.topics.get(id)).map(|topic| Arc::from(topic.name.as_str())).collect();
    Ok(SegmentMeta {
        key: key.into(),
        name: Arc::new(name),
        topics: sets.intern(topics),
        start_ns: scan.chunks.iter().map(|chunk| chunk.start_ns as i64).min().unwrap_or(i64::MAX),
        end_ns: scan.chunks.iter().map(|chunk| chunk.end_ns as i64).max().unwrap_or(i64::MIN),
        size_bytes,
        clock_offset_ns: clock.map_or(0, |(utc_ns, monotonic_ns)| utc_ns.saturating_sub(monotonic_ns)),
        born_monotonic_ns: clock.map(|(_, monotonic_ns)| monotonic_ns),
        file_clock: said.get("clock").is_some_and(|clock| clock == "file"),
        heavy: said.get("heavy").is_some_and(|heavy| heavy == "true"),
        in_memory: said.get("in_memory").is_some_and(|in_memory| in_memory == "true"),
        ram: None,
        latched_since_ns: number("latched_since_ns"),
        latched_late_ns: number("latched_late_ns"),
        latched_channel: said.get("latched_channel").and_then(|id| id.parse().ok()),
        closed: true,
    })
}

/// Returns what UTC and the monotonic clock were, as a metadata record says.
fn clock_of(said: &BTreeMap<String, String>) -> Option<(i64, i64)> {
    said.get("clock_utc_ns")?.parse().ok().zip(said.get("clock_monotonic_ns")?.parse().ok())
}

/// Returns whether the file can be ended where its last good record ends, so that any reader reads it.
fn can_go_on(scan: &Scan) -> bool {
    let whole = |chunk: &ChunkEntry| !chunk.partial && chunk.message_index_offsets.len() == chunk.counts.len();
    let (last, others) = scan.chunks.split_last().expect("it is called for files with chunks");
    scan.header.is_some() && scan.metadata("tapeloop.segment").is_some() && others.iter().all(whole) && (scan.clean || whole(last))
}

/// Cuts the torn end and appends the end of a segment.
fn go_on(disk: &dyn Disk, path: &Path, source: &dyn ReadAt, scan: &Scan, losses: &[Loss]) -> io::Result<u64> {
    let mut chunks = scan.chunks.clone();
    let mut end = scan.good_end;
    let mut rescued = None;
    if let Some(last) = chunks.pop_if(|chunk| chunk.partial || chunk.message_index_offsets.len() != chunk.counts.len()) {
        end = last.offset;
        rescued = chunk_again(source, &last)?;
    }
    let mut counts: BTreeMap<u16, (u64, u64)> = BTreeMap::new();
    for (id, (messages, bytes)) in chunks.iter().flat_map(|chunk| &chunk.counts) {
        let count = counts.entry(*id).or_default();
        *count = (count.0 + messages, count.1 + bytes);
    }
    let metadata = scan.metadata.iter().filter(|entry| entry.offset < end).map(|entry| (entry.name.clone(), entry.offset, entry.length));
    let indexes = chunks.iter().map(ChunkEntry::to_index).collect();
    let mut writer = SegmentWriter::resume(end, definitions_of(scan), indexes, metadata.collect(), counts);
    let mut file = disk.open_append(path)?;
    file.truncate(end)?;
    append_end(&mut *file, &mut writer, rescued, scan, losses)?;
    file.syncer()?.sync()?;
    Ok(writer.size())
}

/// Writes the good chunks into a new file that takes the place of the old one.
fn rewrite(disk: &dyn Disk, path: &Path, source: &dyn ReadAt, scan: &Scan, losses: &[Loss]) -> io::Result<u64> {
    let temporary = path.with_extension("part");
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = disk.create(&temporary)?;
    let mut start = Vec::new();
    let mut writer = SegmentWriter::begin(&mut start, "");
    let said = scan.metadata("tapeloop.segment").cloned().unwrap_or_else(|| said_by_name(path, scan));
    writer.metadata(&mut start, "tapeloop.segment", &said);
    for definition in definitions_of(scan) {
        writer.define(&mut start, &definition);
    }
    file.append(&[&start])?;
    for entry in &scan.chunks {
        if let Some(chunk) = chunk_again(source, entry)? {
            file.append(&chunk.parts())?;
            writer.chunk(&chunk);
        }
    }
    append_end(&mut *file, &mut writer, None, scan, losses)?;
    file.syncer()?.sync()?;
    disk.rename(&temporary, path)?;
    disk.sync_folder(path.parent().expect("a key has a folder"))?;
    Ok(writer.size())
}

/// Returns what a segment's name tells of it, where its own words are damaged.
fn said_by_name(path: &Path, scan: &Scan) -> BTreeMap<String, String> {
    let name = path.file_name().and_then(|name| SegmentName::parse(name.to_str()?)).expect("only files with such a name are recovered");
    let first = scan.chunks.first().expect("it is called for files with chunks").first_sequence;
    let mut said = BTreeMap::from([
        ("format".to_owned(), SEGMENT_FORMAT.to_string()),
        ("boot".to_owned(), format!("{:012x}", name.boot)),
        ("first_append_sequence".to_owned(), first.to_string()),
        ("number".to_owned(), name.number.to_string()),
    ]);
    if name.buffer == LATCHED_BUFFER {
        said.insert("latched".to_owned(), "true".to_owned());
    }
    said.extend([("host".to_owned(), name.host), ("buffer".to_owned(), name.buffer)]);
    said
}

fn append_end(
    file: &mut dyn DiskFile,
    writer: &mut SegmentWriter,
    rescued: Option<EncodedChunk>,
    scan: &Scan,
    losses: &[Loss],
) -> io::Result<()> {
    if let Some(chunk) = rescued {
        file.append(&chunk.parts())?;
        writer.chunk(&chunk);
    }
    let said = scan.metadata("tapeloop.segment").cloned().unwrap_or_default();
    let number = |key: &str| said.get(key).and_then(|value| value.parse::<i64>().ok()).unwrap_or(0);
    let last_sequence = scan.chunks.iter().map(|chunk| u64::from(chunk.last_sequence)).max().unwrap_or(0);
    let mut end = Vec::new();
    let metadata = end_metadata(writer, number("clock_utc_ns"), number("clock_monotonic_ns"), last_sequence, losses);
    writer.metadata(&mut end, "tapeloop.end", &metadata);
    writer.finish(&mut end);
    file.append(&[&end])
}

fn definitions_of(scan: &Scan) -> Vec<Definition> {
    let mut definitions: Vec<Definition> = scan.definitions.to_list();
    for (channel_id, topic) in &scan.topics {
        match definitions.iter_mut().find(|definition| definition.channel_id == *channel_id) {
            // What the summary or the boot file says is protected by a checksum.
            Some(definition) => definition.topic = topic.clone(),
            None => {
                let schema_id = if topic.schema.is_some() { *channel_id } else { 0 };
                definitions.push(Definition { channel_id: *channel_id, schema_id, topic: topic.clone() });
            }
        }
    }
    renumber_schemas(&mut definitions);
    definitions
}

/// Gives equal schemas one id and different ones different ids.
fn renumber_schemas(definitions: &mut [Definition]) {
    let mut ids = std::collections::HashMap::new();
    for definition in definitions {
        definition.schema_id = match &definition.topic.schema {
            None => 0,
            Some(schema) => {
                let next = ids.len() as u16 + 1;
                *ids.entry(schema.clone()).or_insert(next)
            }
        };
    }
}

/// Reads a chunk's messages and makes a whole chunk of them.
fn chunk_again(source: &dyn ReadAt, entry: &ChunkEntry) -> io::Result<Option<EncodedChunk>> {
    let mut bytes = vec![0; usize::try_from(entry.length).map_err(io::Error::other)?];
    let count = source.read_full_at(entry.offset, &mut bytes)?;
    bytes.truncate(count);
    let body = Bytes::from(bytes).slice(PREFIX_LENGTH.min(count)..);
    let Ok((header, at)) = record::parse_chunk_header(&body) else { return Ok(None) };
    let stored = body.slice(at..);
    let records = if entry.partial { decompress::torn(&header, stored) } else { decompress::prefix(&header, stored) };
    let (content, _) = linear::examine(&records, 0, &mut Definitions::default());
    let mut places = Vec::new();
    linear::find(&records[..content.length], 0, &mut Definitions::default(), &mut places, |_, _| true);
    let mut chunk = ChunkBuilder::default();
    for place in &places {
        chunk.push(place.channel_id, place.sequence, place.log_time_ns, place.publish_time_ns, &records[place.payload()]);
    }
    let compression = match header.compression.as_str() {
        "zstd" => Compression::Zstd(1),
        "lz4" => Compression::Lz4,
        _ => Compression::None,
    };
    Ok((!chunk.is_empty()).then(|| chunk.encode(compression)))
}

/// Returns what a boot file defines, as far as it is readable.
pub(crate) fn boot_definitions(disk: &dyn Disk, path: &Path) -> Definitions {
    disk.open_read(path).ok().and_then(|source| scan::scan(&*source).ok()).map(|scan| scan.definitions).unwrap_or_default()
}
