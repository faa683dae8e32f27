//! From damaged bytes to losses: which topics, which times, how many messages, as far as anything left in the file tells.
//!
//! **Invariant:** every damaged stretch of the data section that could have held messages is in some loss.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Scan;
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::mcap::definitions::Definitions;
use crate::mcap::linear::Content;
use crate::mcap::record::{self, Record, opcode};
use crate::mcap::resync::DEFINITION_LIMIT;
use crate::mcap::summary::Summary;
use crate::mcap::window;
use crate::mcap::write::{ChunkHeader, ChunkIndex, PREFIX_LENGTH};
use crate::message::Topic;
use crate::source::ReadAt;

/// How many chunks in front of damage and behind it tell when lost messages may have been.
const NEIGHBOURS: usize = 16;
/// What a chunk's record has besides its compression's name and its records.
const CHUNK_OVERHEAD: u64 = PREFIX_LENGTH as u64 + 40;

/// A damaged stretch of a file.
pub(super) struct Damage {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) reason: String,
    /// The header of the chunk that begins at `from`.
    pub(super) header: Option<ChunkHeader>,
    /// Whether it is this chunk and nothing else.
    pub(super) exact: bool,
    /// Message indexes directly behind the stretch, which belong to a chunk in it: (channel, offset).
    pub(super) indexes: Vec<(u16, u64)>,
    pub(super) indexes_end: u64,
    /// How many bytes of the chunk's records can be read.
    pub(super) readable: u64,
    /// Whether no message stood there.
    pub(super) harmless: bool,
}

impl Damage {
    pub(super) fn new(from: u64, to: u64, reason: String) -> Self {
        Self { from, to, reason, header: None, exact: false, indexes: Vec::new(), indexes_end: to, readable: 0, harmless: false }
    }

    /// Makes it the rest of a chunk of which `content` could be read.
    pub(super) fn rest_of(&mut self, header: &ChunkHeader, content: &Content) {
        let start_ns = if content.messages() > 0 { content.end_ns.min(header.end_ns) } else { header.start_ns };
        self.readable = content.length as u64;
        self.header = Some(ChunkHeader { start_ns, ..header.clone() });
    }
}

/// Returns what a file lost, and which damage cost nothing.
pub(super) fn losses(source: &dyn ReadAt, scan: &Scan, damages: &[Damage], summary: Option<&Summary>) -> Result<(Vec<Loss>, Vec<String>)> {
    let mut losses = Vec::new();
    let mut harmless = Vec::new();
    let indexed = summary.map_or(&[][..], |summary| &summary.chunks);
    for damage in damages {
        if damage.harmless {
            harmless.push(damage.reason.clone());
            continue;
        }
        let lost: Vec<&ChunkIndex> = indexed
            .iter()
            .filter(|index| index.offset < damage.to && index.offset + index.length > damage.from)
            .filter(|index| {
                let read = scan.chunks.binary_search_by_key(&index.offset, |chunk| chunk.offset);
                read.map_or(true, |at| scan.chunks[at].readable.is_some())
            })
            .collect();
        for index in &lost {
            losses.extend(chunk_losses(source, index, &scan.topics, &damage.reason, damage.readable)?);
        }
        let only_indexes = |index: &ChunkIndex| {
            let start = index.offset + index.length;
            start <= damage.from && damage.to <= start + index.message_index_length
        };
        if lost.is_empty() && indexed.iter().any(only_indexes) {
            harmless.push(format!("damaged message indexes at byte {}", damage.from));
        } else if lost.is_empty() {
            losses.extend(unindexed(source, scan, damage)?);
        }
    }
    let mut unique: Vec<Loss> = Vec::new();
    for loss in losses {
        // Damage in two places of one chunk is one loss.
        let same =
            |old: &Loss| (&old.topic, old.start_ns, old.end_ns, old.messages) == (&loss.topic, loss.start_ns, loss.end_ns, loss.messages);
        if loss.start_ns.is_none() || !unique.iter().any(same) {
            unique.push(loss);
        }
    }
    Ok((unique, harmless))
}

/// Returns the loss of a chunk that an index describes, of which `readable` bytes can be read: by topic, where its message indexes
/// are readable.
pub(crate) fn chunk_losses(
    source: &dyn ReadAt,
    index: &ChunkIndex,
    topics: &BTreeMap<u16, Arc<Topic>>,
    reason: &str,
    readable: u64,
) -> Result<Vec<Loss>> {
    let whole = Loss {
        topic: None,
        start_ns: Some(to_ns(index.header.start_ns)),
        end_ns: Some(to_ns(index.header.end_ns)),
        messages: None,
        bytes: None,
        reason: reason.to_owned(),
    };
    let by_topic = by_topic(source, &index.message_index_offsets, topics, &whole, readable)?;
    Ok(if by_topic.is_empty() { vec![whole] } else { by_topic })
}

/// Returns the loss of a stretch that no summary describes.
fn unindexed(source: &dyn ReadAt, scan: &Scan, damage: &Damage) -> Result<Vec<Loss>> {
    let whole = |start_ns: Option<u64>, end_ns: Option<u64>, reason: String| Loss {
        topic: None,
        start_ns: start_ns.map(to_ns),
        end_ns: end_ns.map(to_ns),
        messages: None,
        bytes: None,
        reason,
    };
    let end = source.len().map_err(|error| Error::io("cannot tell the size of the file", error))?;
    let (first_ns, last_ns) = around(scan, damage);
    let mut losses = Vec::new();
    let mut rest_bytes = damage.to - damage.from;
    if let Some(header) = &damage.header {
        losses.push(whole(Some(header.start_ns), Some(header.end_ns), damage.reason.clone()));
        rest_bytes = rest_bytes.saturating_sub(header.compressed_size + CHUNK_OVERHEAD);
    }
    // What is behind the chunk, or has no header at all, may be several chunks.
    if !damage.exact && rest_bytes > 0 {
        let place = match (&damage.header, damage.from, rest_bytes) {
            (None, 0, bytes) => format!("the first {bytes} bytes"),
            (_, _, bytes) if damage.to == end => format!("the last {bytes} bytes, from byte {} on", damage.to - bytes),
            (_, _, bytes) => format!("{bytes} bytes"),
        };
        losses.push(whole(first_ns, last_ns, format!("{}: {place}", damage.reason)));
    }
    let unsure = losses.last().cloned().unwrap_or_else(|| whole(first_ns, last_ns, damage.reason.clone()));
    let orphans = by_topic(source, &damage.indexes, &scan.topics, &unsure, damage.readable)?;
    if damage.exact && !orphans.is_empty() {
        losses.clear();
    }
    Ok(orphans.into_iter().chain(losses).collect())
}

/// Returns between which times a message may lie that was lost: chunks overlap, but not far.
fn around(scan: &Scan, damage: &Damage) -> (Option<u64>, Option<u64>) {
    let chunks = scan.chunks.iter().map(|chunk| (chunk.offset, chunk.start_ns, chunk.end_ns));
    let runs = scan.loose.iter().map(|run| (run.offset, run.content.start_ns, run.content.end_ns));
    let (mut before, mut behind): (Vec<_>, Vec<_>) = chunks.chain(runs).partition(|(offset, ..)| *offset < damage.from);
    behind.retain(|(offset, ..)| *offset >= damage.to);
    before.sort_unstable_by_key(|(offset, ..)| std::cmp::Reverse(*offset));
    behind.sort_unstable();
    let first_ns = before.iter().take(NEIGHBOURS).map(|(_, start_ns, _)| *start_ns).min();
    (first_ns, behind.iter().take(NEIGHBOURS).map(|(_, _, end_ns)| *end_ns).max())
}

/// Reads message indexes and returns the loss of each topic, of messages behind the first `readable` bytes; nothing if none of them
/// says anything.
fn by_topic(
    source: &dyn ReadAt,
    indexes: &[(u16, u64)],
    topics: &BTreeMap<u16, Arc<Topic>>,
    whole: &Loss,
    readable: u64,
) -> Result<Vec<Loss>> {
    let mut losses = Vec::new();
    for (channel_id, offset) in indexes {
        let topic = topics.get(channel_id).map(|topic| topic.name.clone());
        match read_index(source, *channel_id, *offset, readable)? {
            Some((0, _)) => {}
            Some((messages, times)) => losses.push(Loss {
                topic: topic.or_else(|| Some(format!("channel {channel_id}"))),
                start_ns: times.map_or(whole.start_ns, |(start_ns, _)| Some(to_ns(start_ns))),
                end_ns: times.map_or(whole.end_ns, |(_, end_ns)| Some(to_ns(end_ns))),
                messages: Some(messages),
                ..whole.clone()
            }),
            None => losses.push(Loss { topic, ..whole.clone() }),
        }
    }
    Ok(losses)
}

/// How many messages there are, and the first and last log time where the entries can be believed.
type Indexed = (u64, Option<(u64, u64)>);

/// Returns what an index names behind the first `readable` bytes of its chunk.
fn read_index(source: &dyn ReadAt, channel_id: u16, offset: u64, readable: u64) -> Result<Option<Indexed>> {
    let prefix = window::read(source, offset, PREFIX_LENGTH as u64)?;
    let Some((opcode::MESSAGE_INDEX, length)) = record::parse_prefix(&prefix) else { return Ok(None) };
    if length > DEFINITION_LIMIT {
        return Ok(None);
    }
    let body = window::read(source, offset + PREFIX_LENGTH as u64, length)?;
    if body.len() as u64 != length {
        return Ok(None);
    }
    let Ok(Record::MessageIndex { channel_id: found, entries }) = record::parse(opcode::MESSAGE_INDEX, &body) else { return Ok(None) };
    if found != channel_id {
        return Ok(None);
    }
    // Only the first entry can be all zeros: others were lost. How many there were still stands in front of them.
    let zeroed = entries.skip(1).any(|entry| entry == (0, 0));
    let times = entries.filter(|(_, at)| *at >= readable || zeroed).map(|(time, _)| time);
    let bounds = times.clone().min().zip(times.clone().max()).filter(|_| !zeroed);
    Ok(Some((times.count() as u64, bounds)))
}

/// Returns what cannot be shown because its definition is missing: messages of unknown channels, types of unknown schemas.
pub(super) fn undefined(scan: &Scan, definitions: &Definitions) -> Vec<Loss> {
    let counts = scan.counts();
    let nameless = counts.iter().filter(|(id, _)| !scan.topics.contains_key(id)).map(|(id, (messages, bytes))| Loss {
        topic: None,
        start_ns: None,
        end_ns: None,
        messages: Some(*messages),
        bytes: Some(*bytes),
        reason: format!("the definition of channel {id} is missing"),
    });
    let typeless = definitions.missing_schemas().into_iter().flat_map(|schema_id| {
        definitions.without_schema(schema_id).into_iter().map(move |name| Loss {
            topic: Some(name.to_owned()),
            start_ns: None,
            end_ns: None,
            messages: Some(0),
            bytes: None,
            reason: format!("its schema {schema_id} is missing; the messages are here"),
        })
    });
    nameless.chain(typeless).collect()
}

fn to_ns(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}
