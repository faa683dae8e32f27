//! From damaged bytes to losses: which topics, which times, how many messages, as far as anything left in the bag tells.
//!
//! A chunk's messages are counted twice more: in the indexes behind it and in the chunk infos at the end of the bag.
//!
//! **Invariant:** every damaged stretch that could have held messages is in some loss.

use std::collections::BTreeMap;
use std::ops::Range;

use super::record::{self, Header};
use super::scan::Scan;
use super::stretch::{Body, Content, Stretch};
use crate::loss::Loss;

/// Bytes of a message in an index, of a connection in a chunk info, and of an index record around its messages.
pub(super) const INDEX_ENTRY: usize = 12;
pub(super) const COUNT_ENTRY: usize = 8;
const INDEX_FRAME: u64 = 55;

/// How many losses are told one by one.
const LOSS_LIMIT: usize = 10_000;

/// What the end of a bag says of a chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ChunkInfo {
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    /// Messages by connection.
    pub(super) counts: BTreeMap<u32, u64>,
}

impl ChunkInfo {
    /// Reads a chunk info record: where the chunk stands, and what is in it.
    pub(super) fn parse(header: &Header<'_>, data: &[u8]) -> Option<(u64, Self)> {
        let mut counts = BTreeMap::new();
        for entry in data.chunks_exact(COUNT_ENTRY) {
            *counts.entry(record::u32_at(entry, 0)?).or_default() += u64::from(record::u32_at(entry, 4)?);
        }
        counts.retain(|_, count| *count > 0);
        let info = Self { start_ns: header.start_ns.unwrap_or_default(), end_ns: header.end_ns.unwrap_or_default(), counts };
        Some((header.position?, info))
    }

    /// Returns how many bytes the indexes behind the chunk have.
    pub(super) fn index_length(&self) -> u64 {
        self.counts.values().map(|count| INDEX_FRAME + count * INDEX_ENTRY as u64).sum()
    }
}

/// Bytes of the file in which no record was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) from: u64,
    pub(super) to: u64,
}

/// A chunk of which not everything can be read.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    offset: u64,
    /// Where its bytes in the file end.
    end: u64,
    reason: String,
    /// Where in the chunk the messages begin that were read, in order.
    read_at: Vec<u32>,
    content: Content,
    /// By connection, what its indexes name and was not read: how many, first and last log time.
    lost: BTreeMap<u32, (u64, i64, i64)>,
    indexed: bool,
}

impl Broken {
    pub(super) fn new(stretch: &Stretch, wrong: Option<String>, gaps: &[Range<usize>], unpacked: usize, read_at: Vec<u32>) -> Self {
        let places = || {
            let in_file = matches!(&stretch.body, Body::Chunk { stored, .. } if stored.end - stored.start == unpacked as u64);
            let shift = if in_file { stretch.stored().start } else { 0 };
            let places: Vec<String> =
                gaps.iter().take(4).map(|gap| format!("{} bytes at {}", gap.len(), shift + gap.start as u64)).collect();
            let more = if gaps.len() > 4 { ", …" } else { "" };
            format!("{}{more}{}", places.join(", "), if in_file { "" } else { " of its records" })
        };
        let why = wrong.unwrap_or_else(places);
        Self {
            offset: stretch.offset,
            end: stretch.end,
            reason: format!("damaged chunk at byte {}: {why}", stretch.offset),
            read_at,
            content: stretch.content.clone(),
            lost: BTreeMap::new(),
            indexed: false,
        }
    }

    /// Takes note of an index that belongs to the chunk.
    pub(super) fn take_index(&mut self, header: &Header<'_>, data: &[u8]) {
        let Some(conn) = header.conn.filter(|_| header.version.is_none_or(|version| version == 1)) else { return };
        self.indexed = true;
        for entry in data.chunks_exact(INDEX_ENTRY) {
            let (Some(time_ns), Some(at)) = (record::time_at(entry, 0), record::u32_at(entry, 8)) else { return };
            if self.read_at.binary_search(&at).is_err() {
                let lost = self.lost.entry(conn).or_insert((0, time_ns, time_ns));
                *lost = (lost.0 + 1, lost.1.min(time_ns), lost.2.max(time_ns));
            }
        }
    }

    fn losses(&self, scan: &Scan) -> Vec<Loss> {
        let whole = Loss { topic: None, start_ns: None, end_ns: None, messages: None, bytes: None, reason: self.reason.clone() };
        if self.indexed {
            let of_topic = |(conn, (count, start_ns, end_ns)): (&u32, &(u64, i64, i64))| Loss {
                topic: scan.connections.name(*conn),
                start_ns: Some(*start_ns),
                end_ns: Some(*end_ns),
                messages: Some(*count),
                bytes: None,
                reason: self.reason.clone(),
            };
            return self.lost.iter().map(of_topic).collect();
        }
        match scan.infos.get(&self.offset) {
            Some(info) => info_losses(scan, info, &self.content.counts, self.content.times, &self.reason),
            None => {
                let (start_ns, end_ns) = around(scan, self.offset, self.offset + 1);
                let start_ns = self.content.times.map(|(_, last)| last).or(start_ns);
                vec![Loss { start_ns, end_ns, reason: format!("{} (how many messages is unknown)", self.reason), ..whole }]
            }
        }
    }
}

/// Returns what a chunk lost of which `read` messages were read, by topic.
fn info_losses(scan: &Scan, info: &ChunkInfo, read: &BTreeMap<u16, u64>, times: Option<(i64, i64)>, reason: &str) -> Vec<Loss> {
    let mut read = read.clone();
    let mut losses = Vec::new();
    for (conn, expected) in &info.counts {
        let channel = scan.connections.now().get(*conn).or_else(|| scan.connections.first(*conn));
        let there = channel.and_then(|channel| read.get_mut(&channel)).map_or(0, |left| {
            let taken = (*left).min(*expected);
            *left -= taken;
            taken
        });
        if there < *expected {
            losses.push(Loss {
                topic: scan.connections.name(*conn),
                start_ns: Some(info.start_ns),
                end_ns: Some(info.end_ns.max(times.map_or(i64::MIN, |(_, last)| last))),
                messages: Some(expected - there),
                bytes: None,
                reason: reason.to_owned(),
            });
        }
    }
    losses
}

/// Returns what of a range of the file a scan that ended at `end` lost; what is no loss comes as a note.
pub(super) fn of_scan(scan: &Scan, range: &Range<u64>, end: u64) -> (Vec<Loss>, Vec<String>) {
    let cut = scan.whole && scan.index_at > end;
    // What the cut took of a chunk is part of what it took of the file.
    let torn = scan.broken.last().filter(|broken| cut && broken.end >= end && !broken.indexed && !scan.infos.contains_key(&broken.offset));
    let broken = scan.broken.iter().filter(|broken| range.contains(&broken.offset));
    let told_alone = broken.filter(|broken| torn.is_none_or(|torn| torn.offset != broken.offset));
    let mut losses: Vec<Loss> = told_alone.flat_map(|broken| broken.losses(scan)).collect();
    let mut notes = Vec::new();
    let mut told = false;
    let mut rest = (0u64, 0u64);
    for damage in scan.damages.iter().filter(|damage| range.contains(&damage.from)) {
        let length = damage.to - damage.from;
        if let Some(what) = harmless(scan, damage) {
            notes.push(format!("{length} damaged bytes at byte {}: {what}, no message is lost", damage.from));
            continue;
        }
        let reason = match damage.to == end && scan.whole {
            true if cut => format!("cut: the file ends at byte {end} and had at least {} bytes", scan.index_at),
            true => format!("cut or damaged: the last {length} bytes, from byte {} on", damage.from),
            false => format!("damaged: {length} bytes at byte {}", damage.from),
        };
        if losses.len() >= LOSS_LIMIT && damage.to < end {
            rest.0 += 1;
            rest.1 += length;
            continue;
        }
        told |= cut && damage.to == end;
        losses.extend(damage_losses(scan, damage, &reason));
    }
    if rest.0 > 0 {
        let reason = format!("damaged: {} more places, {} bytes", rest.0, rest.1);
        losses.push(Loss { topic: None, start_ns: None, end_ns: None, messages: None, bytes: None, reason });
    }
    if cut && !told {
        let within = torn.map_or(String::new(), |torn| format!(", within the chunk at byte {},", torn.offset));
        let reason = format!("cut: the file ends at byte {end}{within} and had at least {} bytes", scan.index_at);
        let start_ns = scan.stretches.last().and_then(|stretch| stretch.content.times).map(|(_, last)| last);
        losses.push(Loss { topic: None, start_ns, end_ns: None, messages: None, bytes: None, reason });
    }
    losses.extend(undefined(scan, range));
    if scan.connections.too_many > 0 {
        notes.push(format!("{} connections are more than a file may have; their messages are not read", scan.connections.too_many));
    }
    (losses, notes)
}

/// Returns what stood in a damaged stretch if it was not messages.
fn harmless(scan: &Scan, damage: &Damage) -> Option<&'static str> {
    if scan.index_at > 0 && damage.from >= scan.index_at {
        return Some("the index at the end");
    }
    let at = scan.stretches.partition_point(|stretch| stretch.end <= damage.from);
    let before = scan.stretches[..at].last()?;
    let indexes: u64 = before.content.counts.values().map(|count| INDEX_FRAME + count * INDEX_ENTRY as u64).sum();
    let within = matches!(before.body, Body::Chunk { .. }) && damage.to <= before.end + indexes;
    within.then_some("the index of a chunk")
}

fn damage_losses(scan: &Scan, damage: &Damage, reason: &str) -> Vec<Loss> {
    let mut losses = Vec::new();
    for (position, info) in scan.infos.range(damage.from..damage.to) {
        let next = scan.infos.range(position + 1..).next().map_or(u64::MAX, |(next, _)| *next);
        let first = scan.stretches.partition_point(|stretch| stretch.offset < *position);
        let inside = scan.stretches[first..].iter().take_while(|stretch| stretch.offset < next);
        let mut read: BTreeMap<u16, u64> = BTreeMap::new();
        for (channel, count) in inside.flat_map(|stretch| &stretch.content.counts) {
            *read.entry(*channel).or_default() += count;
        }
        losses.extend(info_losses(scan, info, &read, None, reason));
    }
    if losses.is_empty() {
        let (start_ns, end_ns) = around(scan, damage.from, damage.to);
        losses.push(Loss { topic: None, start_ns, end_ns, messages: None, bytes: None, reason: reason.to_owned() });
    }
    losses
}

/// Returns between which times a message may lie that stood in a range of the file: about, for chunks may overlap.
fn around(scan: &Scan, from: u64, to: u64) -> (Option<i64>, Option<i64>) {
    let before = scan.stretches.partition_point(|stretch| stretch.offset < from);
    let behind = scan.stretches.partition_point(|stretch| stretch.offset < to);
    let times = |stretch: Option<&Stretch>| stretch.and_then(|stretch| stretch.content.times);
    let last = times(before.checked_sub(1).and_then(|at| scan.stretches.get(at))).map(|(_, last)| last);
    (last, times(scan.stretches.get(behind)).map(|(first, _)| first))
}

/// Returns the messages whose connection nothing in the file defines.
fn undefined(scan: &Scan, range: &Range<u64>) -> Vec<Loss> {
    let mut all: BTreeMap<u32, (u64, Option<(i64, i64)>)> = BTreeMap::new();
    for stretch in scan.stretches.iter().filter(|stretch| range.contains(&stretch.offset)) {
        for (conn, count) in &stretch.content.unknown {
            let entry = all.entry(*conn).or_default();
            entry.0 += count;
            entry.1 = match (entry.1, stretch.content.times) {
                (Some(old), Some(new)) => Some((old.0.min(new.0), old.1.max(new.1))),
                (old, new) => old.or(new),
            };
        }
    }
    let loss = |(conn, (count, times)): (u32, (u64, Option<(i64, i64)>))| Loss {
        topic: None,
        start_ns: times.map(|(first, _)| first),
        end_ns: times.map(|(_, last)| last),
        messages: Some(count),
        bytes: None,
        reason: format!("nothing in the file says what connection {conn} is"),
    };
    all.into_iter().map(loss).collect()
}
