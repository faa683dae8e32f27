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
use crate::mcap::record::{self, MAGIC, Record, Records, opcode};
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

/// How far into a file whose first bytes are none of MCAP its beginning is searched for.
const FRONT_LENGTH: u64 = 1 << 20;

/// How much is looked at at a time to find bytes that are not zero.
const ZEROS_LENGTH: u64 = 1 << 20;

/// How many damaged places that cost nothing are told one by one.
const NOTES_TOLD: usize = 10;

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
    pub(super) end: u64,
    /// The end of the last record that was checked; records without inner structure behind it may be damage.
    trusted: u64,
    chunked: bool,
    /// Whether there are records behind the end of the file: those of another one.
    continued: bool,
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
        let magic = find_magic(source, &mut window)?;
        let at = magic.map_or(0, |at| at + MAGIC.len() as u64);
        let end = summary.as_ref().map_or(window.length(), |summary| summary.start);
        let displaced = magic.filter(|at| *at > 0).map(|_| "something stands in front of it");
        let scan = Scan { closed: summary.is_some(), clean: true, good_end: at, displaced, ..Scan::default() };
        // Definitions from elsewhere are those of a tape's boot, and its segments hold every message in a chunk.
        let chunked = !extra.is_empty() || summary.as_ref().is_some_and(|summary| !summary.chunks.is_empty());
        let effort = Effort::new(window.length());
        let lengths = summary.iter().flat_map(|summary| &summary.chunks).map(|index| (index.offset, index.length));
        let lengths = lengths.filter(|(_, length)| *length >= PREFIX_LENGTH as u64).collect();
        let in_front = magic.filter(|at| *at > 0).map(|at| Damage::new(0, at, "in front of the file".to_owned()));
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
            damages: in_front.into_iter().collect(),
            pending: None,
            at,
            end,
            trusted: at,
            chunked,
            continued: false,
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
            continued: self.continued,
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
            return damaged("damaged");
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
            opcode::DATA_END if length >= 4 => match self.end_of_file(end)? {
                Some(file_end) => self.behind(file_end),
                None if !self.scan.closed && (length == 4 || length < 64 && resync::plausible(&mut self.window, end)?) => Ok(Step::End),
                None => damaged("damaged"),
            },
            opcode::FOOTER | opcode::CHUNK_INDEX..=opcode::SUMMARY_OFFSET if !self.scan.closed => {
                if let Some(file_end) = self.end_of_file(self.at)? {
                    return self.behind(file_end);
                }
                let believed = resync::believable(&mut self.window, self.at, Belief { effort: &self.effort, loose_messages: None })?;
                if believed { Ok(Step::End) } else { damaged("a record of the summary where there is none") }
            }
            0x10.. if resync::plausible(&mut self.window, end)? => Ok(Step::Opaque(end)),
            _ => damaged("damaged"),
        }
    }

    /// A record that the file's end cuts: of one that holds no messages, nothing is lost.
    fn cut(&mut self, kind: u8, length: u64) -> Result<Step> {
        let without_messages = matches!(kind, 1..=15) && !matches!(kind, opcode::MESSAGE | opcode::CHUNK) && length <= DEFINITION_LIMIT;
        let cut = self.find_next()?.is_none();
        if without_messages && cut {
            return Ok(Step::End);
        }
        Ok(Step::Damaged(if cut && matches!(kind, 1..=15) { "the file ends within a record" } else { "damaged" }.to_owned(), None))
    }

    /// Returns where the file ends whose summary or footer begins at `at`, if all of that is there; takes its definitions.
    fn end_of_file(&mut self, mut at: u64) -> Result<Option<u64>> {
        let mut definitions = self.scan.definitions.clone();
        loop {
            let Some((kind, length)) = record::parse_prefix(self.window.get(at, PREFIX_LENGTH)?) else { return Ok(None) };
            let end = (at + PREFIX_LENGTH as u64).checked_add(length).filter(|end| *end <= self.window.length());
            let Some(end) = end else { return Ok(None) };
            match kind {
                opcode::FOOTER => {
                    if length < 20 || self.window.get(end, MAGIC.len())? != MAGIC {
                        return Ok(None);
                    }
                    self.scan.definitions = definitions;
                    return Ok(Some(end + MAGIC.len() as u64));
                }
                opcode::SCHEMA | opcode::CHANNEL if length <= DEFINITION_LIMIT => {
                    let body = self.window.get(at + PREFIX_LENGTH as u64, length as usize)?;
                    if let Ok(record) = record::parse(kind, body) {
                        definitions.add(&record, at);
                    }
                }
                opcode::CHUNK_INDEX | opcode::ATTACHMENT_INDEX | opcode::STATISTICS | opcode::METADATA_INDEX | opcode::SUMMARY_OFFSET => {}
                _ => return Ok(None),
            }
            at = end;
        }
    }

    /// Decides how to go on behind the end of a file, `file_end`: there may be another one, or anything.
    fn behind(&mut self, file_end: u64) -> Result<Step> {
        let rest = self.window.length() - file_end;
        if rest == 0 {
            self.scan.displaced = self.scan.displaced.or(self.continued.then_some("another file stands in front of it"));
            return Ok(Step::End);
        }
        let zeros = is_zero(self.source, file_end)?;
        let again = self.window.get(file_end, MAGIC.len())? == MAGIC;
        let goes_on = again || !zeros && self.is_boundary(file_end)?;
        self.scan.displaced = (!goes_on).then_some("something stands behind its end");
        if zeros {
            self.scan.notes.push(format!("{rest} zeros behind the end of the file, from byte {file_end} on"));
            return Ok(Step::End);
        }
        if goes_on {
            let what = if again { "another MCAP file begins" } else { "records go on" };
            self.scan.notes.push(format!("{what} behind the end of the file, at byte {file_end}"));
            self.continued = true;
            return Ok(Step::Checked(if again { file_end + MAGIC.len() as u64 } else { file_end }));
        }
        (self.at, self.trusted) = (file_end, file_end);
        Ok(Step::Damaged("behind the end of the file".to_owned(), None))
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
                let own = self.is_due(channel_id, &entries);
                // A later version may write more into an index, but none that has nothing else in it.
                if !exact && entries.is_empty() && self.end_of_lost_indexes(self.at)?.is_some() {
                    return Ok(Step::Damaged("a damaged message index".to_owned(), None));
                }
                let intact = own && self.is_intact(&entries);
                if !(intact || self.is_boundary(end)?) && self.find_next()?.is_some_and(|next| next < end) {
                    return Ok(Step::Damaged("a damaged message index".to_owned(), None));
                }
                self.message_index(channel_id, own, own && !intact, length);
            }
            record => self.scan.definitions.add(&record, offset),
        }
        Ok(Step::Checked(end))
    }

    /// Takes a message index: of the chunk in front of it, or of one that damage made unreadable.
    fn message_index(&mut self, channel_id: u16, own: bool, damaged: bool, length: u64) {
        if own && let Some(chunk) = self.scan.chunks.last_mut() {
            chunk.message_index_length += length;
            if damaged {
                let reason = format!("a damaged message index at byte {}", self.at);
                self.damages.push(Damage { harmless: true, ..Damage::new(self.at, self.at + length, reason) });
            } else {
                chunk.message_index_offsets.insert(channel_id, self.at);
            }
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
            // The records in front are what was written: nothing says otherwise, or a checksum says so.
            let mut damage = Damage::new(self.at, end, format!("damaged chunk: {why}, at byte {}", self.at));
            damage.rest_of(&header, &content);
            damage.exact = true;
            self.damages.push(damage);
            if content.messages() > 0 {
                let readable = Some(content.length as u64);
                self.scan.chunks.push(ChunkEntry { readable, ..ChunkEntry::new(self.at, end - self.at, &header, content) });
            }
            return Ok(Step::Checked(end));
        }
        self.scan.chunks.push(ChunkEntry::new(self.at, end - self.at, &header, content));
        Ok(Step::Checked(end))
    }

    /// The last chunk of a file that ends in it: its whole messages are readable, if not verified.
    fn torn_chunk(&mut self, header: ChunkHeader, records_at: u64, end: u64) -> Result<Step> {
        let beyond = || Ok(Step::Damaged("damaged chunk: it reaches beyond the end of the file".to_owned(), Some((header.clone(), end))));
        if self.depth == Depth::Outline {
            return beyond();
        }
        let length = self.window.length();
        let stored = Bytes::from(window::read(self.source, records_at, length - records_at)?);
        // What is not compressed shows its own definitions to a search.
        let own: Vec<u64> = match header.compression.as_str() {
            "" => Records::new(&stored).take_while(|raw| raw.opcode <= opcode::MESSAGE).map(|raw| records_at + raw.offset as u64).collect(),
            _ => Vec::new(),
        };
        let mut next = self.find_next()?;
        while let Some(at) = next.filter(|at| own.binary_search(at).is_ok()) {
            next = self.find_behind(at)?;
        }
        if next.is_some() {
            return beyond();
        }
        let records = decompress::torn(&header, stored);
        let (content, _) = linear::examine(&records, self.at, &mut self.scan.definitions);
        let mut damage = Damage::new(self.at, length, format!("torn chunk at byte {}: the file ends in it", self.at));
        damage.rest_of(&header, &content);
        self.damages.push(damage);
        if content.messages() > 0 {
            let header = ChunkHeader { uncompressed_size: content.length as u64, uncompressed_crc: 0, ..header };
            self.scan.chunks.push(ChunkEntry { partial: true, ..ChunkEntry::new(self.at, length - self.at, &header, content) });
        }
        Ok(Step::End)
    }

    fn find_next(&self) -> Result<Option<u64>> {
        self.find_behind(self.trusted.min(self.at))
    }

    fn find_behind(&self, at: u64) -> Result<Option<u64>> {
        let defines = |id: u16| {
            self.scan.definitions.defines(id) || self.extra.defines(id) || self.summary.as_ref().is_some_and(|s| s.definitions.defines(id))
        };
        let any =
            self.scan.definitions.is_empty() && self.extra.is_empty() && self.summary.as_ref().is_none_or(|s| s.definitions.is_empty());
        let known = |id: u16| any || defines(id);
        let belief = Belief { effort: &self.effort, loose_messages: (!self.chunked).then_some(&known as &dyn Fn(u16) -> bool) };
        resync::find(self.source, at + 1, self.end, belief)
    }

    /// Goes on behind damage.
    fn skip(&mut self, reason: String, chunk: Option<(ChunkHeader, u64)>) -> Result<()> {
        let from = self.trusted.min(self.at);
        if let (None, Some(to)) = (&chunk, self.end_of_lost_indexes(from)?) {
            let reason = format!("damaged message indexes at byte {from}");
            self.damages.push(Damage { harmless: true, ..Damage::new(from, to, reason) });
            (self.at, self.trusted) = (to, to);
            return Ok(());
        }
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
        let mut damage = Damage::new(from, to, reason);
        if chunk.is_some() || from > 0 && to < self.window.length() {
            damage.reason = format!("{}, at byte {}", damage.reason, self.at);
        }
        damage.header = chunk.map(|(header, _)| header);
        damage.exact = trusted_end.is_some();
        self.damages.push(damage);
        (self.at, self.trusted) = (to, to);
        Ok(())
    }

    /// Returns whether a record that can be told from chance stands at `at`, or nothing at all. A message does not count: it may be
    /// one of an uncompressed chunk that a hole moved there.
    pub(super) fn is_boundary(&mut self, at: u64) -> Result<bool> {
        Ok(at == self.end || resync::believable(&mut self.window, at, Belief { effort: &self.effort, loose_messages: None })?)
    }

    fn finish(&mut self) -> Result<Scan> {
        let mut definitions = self.scan.definitions.clone();
        definitions.merge(&self.extra, true);
        if let Some(summary) = &self.summary {
            definitions.merge(&summary.definitions, true);
        }
        self.scan.topics = definitions.topics();
        self.scan.clean = !self.continued && self.damages.iter().all(|damage| damage.from >= self.scan.good_end);
        let (losses, harmless) = damage::losses(self.source, &self.scan, &self.damages, self.summary.as_deref())?;
        self.scan.losses = losses;
        self.scan.notes.extend(harmless.iter().take(NOTES_TOLD).map(|what| format!("{what}: no message is lost")));
        let more = harmless.len().saturating_sub(NOTES_TOLD);
        self.scan.notes.extend((more > 0).then(|| format!("{more} more damaged places at which no message is lost")));
        self.scan.losses.extend(damage::undefined(&self.scan, &definitions));
        Ok(std::mem::take(&mut self.scan))
    }
}

/// Returns where a file begins that may have something else in front of it.
fn find_magic(source: &dyn ReadAt, window: &mut Window<'_>) -> Result<Option<u64>> {
    if window.get(0, MAGIC.len())? == MAGIC {
        return Ok(Some(0));
    }
    let front = window::read(source, 0, FRONT_LENGTH)?;
    let mut begins = front.windows(MAGIC.len() + 1);
    let Some(at) = begins.position(|bytes| bytes.starts_with(MAGIC) && bytes[MAGIC.len()] == opcode::HEADER) else { return Ok(None) };
    // Records in front of it are those of a file whose own beginning is damaged.
    let effort = Effort::new(front.len() as u64);
    let records = resync::find(source, 0, at as u64, Belief { effort: &effort, loose_messages: None })?;
    Ok(records.is_none().then_some(at as u64))
}

/// Returns whether nothing but zeros stands from `at` to the end.
fn is_zero(source: &dyn ReadAt, mut at: u64) -> Result<bool> {
    loop {
        let bytes = window::read(source, at, ZEROS_LENGTH)?;
        if bytes.is_empty() || bytes.iter().any(|byte| *byte != 0) {
            return Ok(bytes.is_empty());
        }
        at += bytes.len() as u64;
    }
}
