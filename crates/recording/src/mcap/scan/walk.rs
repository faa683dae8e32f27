//! The walk over a file's data section, record by record and across damage.
//!
//! **Invariant:** the walk only moves forward, so that it ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::damage::{self, Damage};
use super::{ChunkEntry, LooseEntry, MetadataEntry, Scan};
use crate::error::Result;
use crate::mcap::decompress::{self, Decompressor};
use crate::mcap::definitions::Definitions;
use crate::mcap::linear;
use crate::mcap::record::{self, IndexEntries, MAGIC, Record, opcode};
use crate::mcap::resync::{self, Belief, DEFINITION_LIMIT, Effort};
use crate::mcap::summary::Summary;
use crate::mcap::window::{self, Window};
use crate::mcap::write::{ChunkHeader, MESSAGE_PREFIX_LENGTH, PREFIX_LENGTH};
use crate::source::ReadAt;

/// The largest stretch of messages outside of chunks that is read as one.
const LOOSE_LENGTH: u64 = 4 << 20;

/// How far apart messages of one stretch may be.
const LOOSE_GAP: u64 = 64 << 10;

/// How many bytes a newer version of the format may add behind a chunk's records.
const PADDING_LIMIT: u64 = 64;

/// Bytes of a chunk's body that surely hold its header.
pub(super) const CHUNK_HEADER_LENGTH: usize = 128;

/// How much of a file one step walks over, if no record is larger.
const STEP_LENGTH: u64 = 4 << 20;

pub(in crate::mcap) struct Walk<'a> {
    source: &'a dyn ReadAt,
    pub(super) window: Window<'a>,
    summary: Option<Arc<Summary>>,
    extra: Arc<Definitions>,
    depth: Depth,
    /// The lengths of chunks by their offsets, as the summary tells.
    lengths: BTreeMap<u64, u64>,
    decompressor: Decompressor,
    effort: Effort,
    pub(super) scan: Scan,
    pub(super) damages: Vec<Damage>,
    /// Damage that is still to be skipped: its reason, and the header and the end of the chunk that it is in.
    pending: Option<(String, Option<(ChunkHeader, u64)>)>,
    pub(super) at: u64,
    end: u64,
    /// The end of the last record that was checked; records without inner structure behind it may be damage.
    trusted: u64,
    chunked: bool,
}

/// How much of a file is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mcap) enum Depth {
    /// What stands between the chunks that the summary lists.
    Outline,
    /// Everything.
    Full,
}

/// What was found at one place.
enum Step {
    /// A record that ends there; its content was checked.
    Checked(u64),
    /// A record that ends there and could be anything.
    Opaque(u64),
    /// No record, for this reason; with the chunk's header and the record's end where they are believable.
    Damaged(String, Option<(ChunkHeader, u64)>),
    /// The end of the data section, or of a file that was not closed.
    End,
}

impl<'a> Walk<'a> {
    pub(in crate::mcap) fn new(
        source: &'a dyn ReadAt,
        summary: Option<Arc<Summary>>,
        extra: Arc<Definitions>,
        depth: Depth,
    ) -> Result<Self> {
        let mut window = if depth == Depth::Outline { Window::small(source)? } else { Window::new(source)? };
        let at = if window.get(0, MAGIC.len())? == MAGIC { MAGIC.len() as u64 } else { 0 };
        let end = summary.as_ref().map_or(window.length(), |summary| summary.start);
        let scan = Scan { closed: summary.is_some(), clean: true, good_end: at, ..Scan::default() };
        // Definitions from elsewhere are those of a tape's boot, and its segments hold every message in a chunk.
        let chunked = !extra.is_empty() || summary.as_ref().is_some_and(|summary| !summary.chunks.is_empty());
        let effort = Effort::new(window.length());
        let lengths = summary.iter().flat_map(|summary| &summary.chunks).map(|index| (index.offset, index.length));
        let lengths = lengths.filter(|(_, length)| *length >= PREFIX_LENGTH as u64).collect();
        Ok(Self {
            source,
            window,
            summary,
            extra,
            depth,
            lengths,
            decompressor: Decompressor::default(),
            effort,
            scan,
            damages: Vec::new(),
            pending: None,
            at,
            end,
            trusted: at,
            chunked,
        })
    }

    /// Returns the same walk over another source of the same bytes.
    pub(in crate::mcap) fn onto<'b>(self, source: &'b dyn ReadAt) -> Walk<'b> {
        Walk {
            source,
            window: self.window.onto(source),
            summary: self.summary,
            extra: self.extra,
            depth: self.depth,
            lengths: self.lengths,
            decompressor: self.decompressor,
            effort: self.effort,
            scan: self.scan,
            damages: self.damages,
            pending: self.pending,
            at: self.at,
            end: self.end,
            trusted: self.trusted,
            chunked: self.chunked,
        }
    }

    /// Walks to the end.
    pub(super) fn run(mut self) -> Result<Scan> {
        loop {
            if let Some(scan) = self.go_on()? {
                return Ok(scan);
            }
        }
    }

    /// Walks a few megabytes on; returns what was found at the end. Where the source has no bytes yet, nothing has changed and the
    /// same is tried again the next time.
    pub(in crate::mcap) fn go_on(&mut self) -> Result<Option<Scan>> {
        let from = self.at;
        while self.at < self.end {
            if let Some((reason, chunk)) = self.pending.clone() {
                self.skip(reason, chunk)?;
                self.pending = None;
                continue;
            }
            if self.at - from >= STEP_LENGTH {
                return Ok(None);
            }
            match self.step()? {
                Step::Checked(end) => {
                    self.at = end;
                    self.trusted = end;
                    self.scan.good_end = end;
                }
                Step::Opaque(end) => {
                    self.at = end;
                    self.scan.good_end = end;
                }
                Step::Damaged(reason, chunk) => {
                    if self.depth == Depth::Outline {
                        self.scan.clean = false;
                        return Ok(Some(std::mem::take(&mut self.scan)));
                    }
                    self.pending = Some((reason, chunk));
                }
                Step::End => {
                    self.end = self.at;
                    break;
                }
            }
        }
        self.finish().map(Some)
    }

    fn step(&mut self) -> Result<Step> {
        if let (Depth::Outline, Some(index)) = (self.depth, self.summary.as_ref().and_then(|summary| summary.chunk_at(self.at))) {
            let end = self.at + index.length + index.message_index_length;
            self.scan.chunks.push(ChunkEntry::of_index(index));
            return Ok(Step::Checked(end));
        }
        // A closed file tells where its chunks are and how long: their own prefixes may be damaged.
        if let Some(length) = self.lengths.get(&self.at) {
            let end = self.at + length;
            return self.chunk(length - PREFIX_LENGTH as u64, end);
        }
        let damaged = |reason: &str| Ok(Step::Damaged(reason.to_owned(), None));
        let Some((kind, length)) = record::parse_prefix(self.window.get(self.at, PREFIX_LENGTH)?) else {
            let kind = self.window.get(self.at, 1)?.first().copied().unwrap_or(0);
            return self.cut(kind, 0);
        };
        let Some(end) = self.at.checked_add(PREFIX_LENGTH as u64).and_then(|at| at.checked_add(length)) else {
            return damaged("no record");
        };
        if kind != opcode::MESSAGE_INDEX {
            if end <= self.window.length() && self.is_disguised_index(length)? {
                return self.small(opcode::MESSAGE_INDEX, length, end);
            }
            self.miss_indexes();
        }
        if kind == opcode::CHUNK || self.is_disguised_chunk(length)? {
            return self.chunk(length, end);
        }
        if end > self.window.length() {
            return self.cut(kind, length);
        }
        match kind {
            opcode::MESSAGE => self.loose_message(end),
            opcode::HEADER | opcode::SCHEMA | opcode::CHANNEL | opcode::METADATA | opcode::MESSAGE_INDEX => self.small(kind, length, end),
            opcode::ATTACHMENT => {
                let inner = resync::attachment_length(&mut self.window, self.at)?.filter(|inner| *inner <= length);
                let Some(inner) = inner else { return damaged("damaged attachment") };
                self.scan.attachments.push((self.at, end - self.at));
                Ok(if inner == length { Step::Checked(end) } else { Step::Opaque(end) })
            }
            opcode::DATA_END if self.scan.closed && end == self.end && length >= 4 => Ok(Step::End),
            opcode::DATA_END if !self.scan.closed && (length == 4 || length < 64 && resync::plausible(&mut self.window, end)?) => {
                Ok(Step::End)
            }
            opcode::FOOTER | opcode::CHUNK_INDEX..=opcode::SUMMARY_OFFSET if !self.scan.closed => {
                let believed = resync::believable(&mut self.window, self.at, Belief { effort: &self.effort, loose_messages: None })?;
                if believed { Ok(Step::End) } else { damaged("a record of the summary where there is none") }
            }
            0x10.. if resync::plausible(&mut self.window, end)? => Ok(Step::Opaque(end)),
            _ => damaged("no record"),
        }
    }

    /// A record that the file's end cuts: of one that holds no messages, nothing is lost.
    fn cut(&mut self, kind: u8, length: u64) -> Result<Step> {
        let without_messages = matches!(kind, 1..=15) && !matches!(kind, opcode::MESSAGE | opcode::CHUNK) && length <= DEFINITION_LIMIT;
        if without_messages && self.find_next()?.is_none() {
            return Ok(Step::End);
        }
        Ok(Step::Damaged("the file ends within a record".to_owned(), None))
    }

    fn small(&mut self, kind: u8, length: u64, end: u64) -> Result<Step> {
        if length > DEFINITION_LIMIT {
            return Ok(Step::Damaged(format!("a definition of {length} bytes"), None));
        }
        let body = self.window.get(self.at + PREFIX_LENGTH as u64, length as usize)?.to_vec();
        let exact = record::parse_exact(kind, &body).is_some();
        let Ok(record) = record::parse(kind, &body) else {
            return Ok(Step::Damaged("a record that does not hold what it should".to_owned(), None));
        };
        if !self.is_end(end, exact)? {
            return Ok(Step::Damaged("a record that is longer than it should be".to_owned(), None));
        }
        let (offset, length) = (self.at, end - self.at);
        match record {
            Record::Header { profile, library } => self.scan.header = Some((profile.into_owned(), library.into_owned())),
            Record::Metadata { name, map } => self.scan.metadata.push(MetadataEntry { name: name.into_owned(), map, offset, length }),
            Record::MessageIndex { channel_id, entries } => {
                if !self.is_own_index(channel_id, &entries) && !self.is_boundary(end)? && self.find_next()?.is_some_and(|next| next < end) {
                    return Ok(Step::Damaged("a damaged message index".to_owned(), None));
                }
                self.message_index(channel_id, &entries, length);
            }
            record => self.scan.definitions.add(&record, offset),
        }
        Ok(Step::Checked(end))
    }

    /// Takes a message index: of the chunk in front of it, or of one that damage made unreadable.
    fn message_index(&mut self, channel_id: u16, entries: &IndexEntries<'_>, length: u64) {
        if self.is_own_index(channel_id, entries)
            && let Some(chunk) = self.scan.chunks.last_mut()
        {
            chunk.message_index_offsets.insert(channel_id, self.at);
            chunk.message_index_length += length;
            return;
        }
        let follows = self.damages.last().is_some_and(|damage| damage.indexes_end == self.at);
        if !follows {
            // Something is missing between the chunk in front, if there is one, and this index of another.
            let reason = format!("the chunk of the message index is missing, at byte {}", self.at);
            self.damages.push(Damage::new(self.at, self.at, reason));
        }
        if let Some(damage) = self.damages.last_mut() {
            damage.indexes.push((channel_id, self.at));
            damage.indexes_end += length;
        }
    }

    /// Returns whether the record at hand ends at `end`. A wrong length shows in what stands behind it; if that is damaged itself, or
    /// of a kind that nobody knows, the next believable record decides.
    fn is_end(&mut self, end: u64, believable: bool) -> Result<bool> {
        let known = self.window.get(end, 1)?.first().is_none_or(|kind| *kind < 0x10);
        if resync::plausible(&mut self.window, end)? && (known || !believable) {
            return Ok(true);
        }
        Ok(believable && self.find_next()?.is_none_or(|next| next >= end))
    }

    fn loose_message(&mut self, end: u64) -> Result<Step> {
        let head = self.window.get(self.at, MESSAGE_PREFIX_LENGTH)?;
        let fields = head.get(PREFIX_LENGTH..).and_then(record::parse_message);
        let Some(message) = fields.map(|message| record::Message { data: &[], ..message }) else {
            return Ok(Step::Damaged("a message without its fields".to_owned(), None));
        };
        if self.is_disguised_definition(end)? {
            return Ok(Step::Damaged("a definition with a damaged opcode".to_owned(), None));
        }
        if !self.is_end(end, true)? {
            return Ok(Step::Damaged("a damaged message".to_owned(), None));
        }
        let Some(payload) = (end - self.at).checked_sub(MESSAGE_PREFIX_LENGTH as u64) else {
            return Ok(Step::Damaged("a message without its fields".to_owned(), None));
        };
        let fits = |run: &LooseEntry| self.at - run.offset < LOOSE_LENGTH && self.at - (run.offset + run.length) < LOOSE_GAP;
        let apart = self.scan.chunks.last().map_or(0, |chunk| chunk.offset).max(self.damages.last().map_or(0, |damage| damage.from));
        if !self.scan.loose.last().is_some_and(|run| run.offset >= apart && fits(run)) {
            self.scan.loose.push(LooseEntry { offset: self.at, ..LooseEntry::default() });
        }
        if let Some(run) = self.scan.loose.last_mut() {
            run.length = end - run.offset;
            run.content.count(&message, payload);
        }
        Ok(Step::Checked(end))
    }

    fn chunk(&mut self, length: u64, end: u64) -> Result<Step> {
        self.chunked = true;
        let body = self.window.get(self.at + PREFIX_LENGTH as u64, CHUNK_HEADER_LENGTH)?;
        let Ok((header, header_length)) = record::parse_chunk_header(body) else {
            return Ok(Step::Damaged("the file ends within a chunk's header".to_owned(), None));
        };
        let records_at = self.at + (PREFIX_LENGTH + header_length) as u64;
        let believable = resync::plausible_chunk(&header, length);
        let damaged = |why: String| Ok(Step::Damaged(format!("damaged chunk: {why}"), believable.then(|| (header.clone(), end))));
        if header.compressed_size > decompress::COMPRESSED_LIMIT {
            return damaged(format!("its {} bytes are more than one chunk may have", header.compressed_size));
        }
        let records_end = records_at + header.compressed_size;
        if records_end > self.window.length() {
            return if believable { self.torn_chunk(header, records_at, end) } else { damaged("its header does not fit".to_owned()) };
        }
        // The length in front of a chunk is not under its checksum, but what it should be can be told from the sizes that are.
        let padded = records_end < end && end - records_end <= PADDING_LIMIT;
        let good_length = records_end == end || (padded && resync::plausible(&mut self.window, end)?);
        let end = match (good_length, header.uncompressed_crc) {
            (true, _) => end,
            (false, 0) => return damaged("its sizes do not fit".to_owned()),
            (false, _) => records_end,
        };
        let stored = Bytes::from(window::read(self.source, records_at, header.compressed_size)?);
        let records = match self.decompressor.decompress(&header, stored) {
            Ok(records) => records,
            Err(why) => {
                self.effort.spend(header.compressed_size);
                return damaged(why);
            }
        };
        let (content, outcome) = linear::examine(&records, self.at, &mut self.scan.definitions);
        if let Err(why) = outcome {
            return damaged(why);
        }
        self.scan.chunks.push(ChunkEntry::new(self.at, end - self.at, &header, content));
        Ok(Step::Checked(end))
    }

    /// The last chunk of a file that ends in it: its whole messages are readable, if not verified.
    fn torn_chunk(&mut self, header: ChunkHeader, records_at: u64, end: u64) -> Result<Step> {
        if self.find_next()?.is_some() || self.depth == Depth::Outline {
            return Ok(Step::Damaged("damaged chunk: it reaches beyond the end of the file".to_owned(), Some((header, end))));
        }
        let length = self.window.length();
        let stored = Bytes::from(window::read(self.source, records_at, length - records_at)?);
        let records = decompress::torn(&header, stored);
        let (content, _) = linear::examine(&records, self.at, &mut self.scan.definitions);
        let mut damage = Damage::new(self.at, length, format!("torn chunk at byte {}: the file ends in it", self.at));
        damage.torn(&header, &content);
        self.damages.push(damage);
        if content.messages() > 0 {
            let header = ChunkHeader { uncompressed_size: content.length as u64, uncompressed_crc: 0, ..header };
            self.scan.chunks.push(ChunkEntry { partial: true, ..ChunkEntry::new(self.at, length - self.at, &header, content) });
        }
        Ok(Step::End)
    }

    fn find_next(&self) -> Result<Option<u64>> {
        let defines = |id: u16| {
            self.scan.definitions.defines(id) || self.extra.defines(id) || self.summary.as_ref().is_some_and(|s| s.definitions.defines(id))
        };
        let any =
            self.scan.definitions.is_empty() && self.extra.is_empty() && self.summary.as_ref().is_none_or(|s| s.definitions.is_empty());
        let known = |id: u16| any || defines(id);
        let belief = Belief { effort: &self.effort, loose_messages: (!self.chunked).then_some(&known as &dyn Fn(u16) -> bool) };
        resync::find(self.source, self.trusted.min(self.at) + 1, self.end, belief)
    }

    /// Goes on behind damage.
    fn skip(&mut self, reason: String, chunk: Option<(ChunkHeader, u64)>) -> Result<()> {
        let from = self.trusted.min(self.at);
        let trusted_end = match &chunk {
            Some((_, end)) if *end <= self.end && self.is_boundary(*end)? => Some(*end),
            _ => None,
        };
        let to = match trusted_end {
            Some(end) => end,
            None => {
                let listed = self.lengths.range(from + 1..).next().map(|(offset, _)| *offset);
                self.find_next()?.into_iter().chain(listed).min().unwrap_or(self.end)
            }
        };
        let mut damage = Damage::new(from, to, format!("{reason}, at byte {}", self.at));
        damage.header = chunk.map(|(header, _)| header);
        damage.exact = trusted_end.is_some();
        self.damages.push(damage);
        (self.at, self.trusted) = (to, to);
        Ok(())
    }

    /// Returns whether a record that can be told from chance stands at `at`, or nothing at all. A message does not count: it may be
    /// one of an uncompressed chunk that a hole moved there.
    fn is_boundary(&mut self, at: u64) -> Result<bool> {
        Ok(at == self.end || resync::believable(&mut self.window, at, Belief { effort: &self.effort, loose_messages: None })?)
    }

    fn finish(&mut self) -> Result<Scan> {
        let mut definitions = self.scan.definitions.clone();
        definitions.merge(&self.extra, true);
        if let Some(summary) = &self.summary {
            definitions.merge(&summary.definitions, true);
        }
        self.scan.topics = definitions.topics();
        self.scan.clean = self.damages.iter().all(|damage| damage.from >= self.scan.good_end);
        self.scan.losses = damage::losses(self.source, &self.scan, &self.damages, self.summary.as_deref())?;
        self.scan.losses.extend(damage::undefined(&self.scan, &definitions));
        Ok(std::mem::take(&mut self.scan))
    }
}
