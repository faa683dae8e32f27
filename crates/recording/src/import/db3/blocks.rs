//! Blocks of messages: which rows of which pages they are, when they were recorded, and where rows are missing.
//!
//! **Invariant:** only what stands on leaf pages is read: of a large message its topic, time and length, not the message.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::container::Block;
use crate::import::sqlite::Database;
use crate::import::sqlite::record::{Cell, Fields, cell, cell_count};
use crate::import::sqlite::row::at_page;
use crate::loss::Loss;

/// When a block is full.
const BLOCK_BYTES: u64 = 1 << 20;
const BLOCK_ROWS: u32 = 32_768;

/// A message that would make a block larger than this begins the next one.
const BLOCK_BYTES_MOST: u64 = 4 << 20;

/// How many times its own size a file's messages may claim to have in all; beyond it pages are used twice.
const CLAIM_FACTOR: u64 = 4;

/// How many losses of single pages are listed; further ones are summed up.
const LOSSES_LISTED: usize = 200;

/// How a message compressed by rosbag2 begins: as every zstd frame does.
pub(super) const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Where the columns of `messages` are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) topic_id: usize,
    pub(super) timestamp: usize,
    pub(super) data: usize,
}

/// Rows of a page: its cells from `from`, up to and without `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) page: u32,
    pub(super) from: u16,
    pub(super) to: u16,
}

/// A message's row.
#[derive(Clone, Copy, Debug)]
pub(super) struct MessageRow {
    pub(super) topic_id: i64,
    pub(super) time_ns: i64,
    /// Where the message begins in the row's payload, and how long it is.
    pub(super) start: u64,
    pub(super) length: u64,
}

/// What a block is made of.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    first_rowid: i64,
    pub(super) runs: Vec<Run>,
    rows: u32,
    bytes: u64,
    start_ns: i64,
    end_ns: i64,
    channels: BTreeSet<u16>,
}

/// Rows that are missing: those above `.0` and up to `.1`.
#[derive(Clone, Debug)]
struct Gap {
    rows: (i64, i64),
    pages: u64,
    first: String,
    before_ns: Option<i64>,
    after_ns: Option<i64>,
    found: u64,
}

/// The channels of topic ids; one that nothing defines gets one when its first message is met.
#[derive(Clone, Debug, Default)]
pub(super) struct Channels {
    pub(super) by_topic_id: HashMap<i64, u16>,
    pub(super) undefined: BTreeMap<u16, i64>,
}

/// Makes blocks of pages.
#[derive(Debug, Default)]
pub(super) struct Builder {
    pub(super) places: Places,
    pub(super) channels: Channels,
    stretches: Vec<Stretch>,
    current: Option<Stretch>,
    gaps: Vec<Gap>,
    losses: Vec<Loss>,
    unlisted: (u64, u64),
    last_ns: Option<i64>,
    claimed: u64,
    pub(super) rows: u64,
    /// The lowest and the highest row number of a message.
    bounds: Option<(i64, i64)>,
    /// How many messages begin as zstd does.
    pub(super) packed: u64,
}

impl Default for Places {
    fn default() -> Self {
        Self { topic_id: 1, timestamp: 2, data: 3 }
    }
}

impl Places {
    /// Returns the message that a cell holds; `None` where it cannot be one.
    pub(super) fn row(&self, page: &[u8], cell: &Cell) -> Option<MessageRow> {
        let payload = page.get(cell.local.clone())?;
        let (mut topic_id, mut time_ns, mut data) = (None, None, None);
        for (place, field) in Fields::new(payload)?.enumerate() {
            if place == self.topic_id {
                topic_id = field.int(payload);
            } else if place == self.timestamp {
                time_ns = field.int(payload);
            } else if place == self.data {
                data = (field.serial == 0 || field.is_blob() || field.is_text()).then_some(field);
            }
        }
        let data = data.filter(|data| data.start.checked_add(data.length).is_some_and(|end| end <= cell.length))?;
        Some(MessageRow { topic_id: topic_id?, time_ns: time_ns?, start: data.start, length: data.length })
    }
}

impl Channels {
    pub(super) fn of(&mut self, topic_id: i64) -> Option<u16> {
        let next = self.by_topic_id.len();
        if let Some(channel) = self.by_topic_id.get(&topic_id) {
            return Some(*channel);
        }
        let channel = u16::try_from(next).ok()?;
        self.by_topic_id.insert(topic_id, channel);
        self.undefined.insert(channel, topic_id);
        Some(channel)
    }
}

impl Builder {
    /// Takes a page whose rows are above `within.0` and up to `within.1`.
    pub(super) fn leaf(&mut self, database: &Database, page: u32, bytes: &[u8], within: (i64, i64)) {
        let before_ns = self.last_ns;
        let (_, bad) = self.rows_of(database, page, bytes, within);
        if bad > 0 {
            let reason = at_page(database, page, &format!("{bad} of the rows on it are damaged"));
            self.lose(Loss { topic: None, start_ns: before_ns, end_ns: self.last_ns, messages: Some(bad), bytes: None, reason });
        }
    }

    /// Takes the rows of a page; returns how many are messages and how many are not.
    fn rows_of(&mut self, database: &Database, page: u32, bytes: &[u8], within: (i64, i64)) -> (u64, u64) {
        let (mut low, mut bad, mut good) = (within.0, 0, 0);
        for index in 0..cell_count(bytes, page) {
            let cell = cell(bytes, page, index, database.layout());
            let cell = cell.filter(|cell| (cell.rowid > low || cell.rowid == i64::MIN) && cell.rowid <= within.1);
            let row = cell.as_ref().and_then(|cell| Some((self.places.row(bytes, cell)?, cell.rowid, cell.local.clone())));
            let row = row.and_then(|(row, rowid, local)| Some((row, rowid, local, self.channels.of(row.topic_id)?)));
            let Some((row, rowid, local, channel)) = row.filter(|(row, ..)| self.can_have(row, database)) else {
                bad += 1;
                continue;
            };
            low = rowid;
            good += 1;
            let payload = bytes.get(local).unwrap_or_default();
            let start = usize::try_from(row.start).unwrap_or(usize::MAX);
            self.packed += u64::from(payload.get(start..).is_some_and(|data| data.starts_with(&ZSTD_MAGIC)));
            self.row(Run { page, from: index as u16, to: index as u16 + 1 }, rowid, &row, channel);
        }
        (good, bad)
    }

    fn can_have(&mut self, row: &MessageRow, database: &Database) -> bool {
        let claimed = self.claimed.saturating_add(row.length);
        let fits = row.length <= database.bytes() && claimed <= database.bytes().saturating_mul(CLAIM_FACTOR);
        if fits {
            self.claimed = claimed;
        }
        fits
    }

    fn row(&mut self, run: Run, rowid: i64, row: &MessageRow, channel: u16) {
        let is_full = |block: &Stretch| {
            let too_large = block.bytes + row.length > BLOCK_BYTES_MOST && block.bytes > 0;
            block.bytes >= BLOCK_BYTES || block.rows >= BLOCK_ROWS || too_large
        };
        if self.current.as_ref().is_some_and(is_full) {
            self.cut();
        }
        let block = self.current.get_or_insert_with(|| Stretch {
            first_rowid: rowid,
            runs: Vec::new(),
            rows: 0,
            bytes: 0,
            start_ns: row.time_ns,
            end_ns: row.time_ns,
            channels: BTreeSet::new(),
        });
        match block.runs.last_mut() {
            Some(last) if last.page == run.page && last.to == run.from => last.to = run.to,
            _ => block.runs.push(run),
        }
        block.rows += 1;
        block.bytes += row.length;
        block.start_ns = block.start_ns.min(row.time_ns);
        block.end_ns = block.end_ns.max(row.time_ns);
        block.channels.insert(channel);
        self.rows += 1;
        self.bounds = Some(self.bounds.map_or((rowid, rowid), |(low, high)| (low.min(rowid), high.max(rowid))));
        if let Some(gap) = self.gaps.last_mut().filter(|gap| gap.after_ns.is_none() && gap.rows.1 < rowid) {
            gap.after_ns = Some(row.time_ns);
        }
        self.last_ns = Some(row.time_ns);
    }

    /// Ends the block.
    pub(super) fn cut(&mut self) {
        self.stretches.extend(self.current.take());
    }

    /// Takes note of a page of the table that cannot be read.
    pub(super) fn broken(&mut self, database: &Database, page: u32, rows: (i64, i64), why: &str) {
        let goes_on = self.current.is_none();
        self.cut();
        match self.gaps.last_mut().filter(|gap| goes_on && gap.after_ns.is_none()) {
            Some(gap) => {
                gap.rows.1 = gap.rows.1.max(rows.1);
                gap.pages += 1;
            }
            None => {
                // Page 0 stands for all pages: those of a table that no list of tables names.
                let first = if page == 0 { "the list of tables is damaged".to_owned() } else { at_page(database, page, why) };
                self.gaps.push(Gap { rows, pages: 1, first, before_ns: self.last_ns, after_ns: None, found: 0 });
            }
        }
    }

    /// Returns whether pages are missing.
    pub(super) fn has_gaps(&self) -> bool {
        !self.gaps.is_empty()
    }

    /// Returns the rows that are missing around a row, if it is missing.
    pub(super) fn missing_around(&self, rowid: i64) -> Option<(i64, i64)> {
        self.gaps.iter().map(|gap| gap.rows).find(|rows| (rowid > rows.0 || rows.0 == i64::MIN) && rowid <= rows.1)
    }

    /// Takes a page that no other page points to; those of its rows that belong into a gap.
    pub(super) fn orphan(&mut self, database: &Database, page: u32, bytes: &[u8], within: (i64, i64)) {
        let (found, _) = self.rows_of(database, page, bytes, within);
        for gap in self.gaps.iter_mut().filter(|gap| gap.rows.0 <= within.0 && within.1 <= gap.rows.1) {
            gap.found += found;
        }
    }

    fn lose(&mut self, loss: Loss) {
        if self.losses.len() < LOSSES_LISTED {
            self.losses.push(loss);
        } else {
            self.unlisted = (self.unlisted.0 + 1, self.unlisted.1 + loss.messages.unwrap_or(0));
        }
    }

    /// Returns the blocks in the order of their rows, with what each is made of.
    pub(super) fn blocks(&mut self) -> (Vec<Block>, Vec<Vec<Run>>) {
        self.cut();
        self.stretches.sort_by_key(|block| block.first_rowid);
        let mut offset = 0;
        let blocks = self.stretches.iter().map(|block| {
            let channels = Some(block.channels.iter().copied().collect());
            let one = Block { offset, length: block.bytes, start_ns: block.start_ns, end_ns: block.end_ns, channels };
            offset += block.bytes;
            one
        });
        let blocks = blocks.collect();
        (blocks, std::mem::take(&mut self.stretches).into_iter().map(|block| block.runs).collect())
    }

    /// Returns what is lost, and what is not although pages are damaged.
    pub(super) fn losses(&mut self) -> (Vec<Loss>, Vec<String>) {
        let mut losses = std::mem::take(&mut self.losses);
        let mut notes = Vec::new();
        for gap in std::mem::take(&mut self.gaps) {
            let bounded = gap.rows.0 != i64::MIN && gap.rows.1 != i64::MAX;
            let mut missing = bounded.then(|| gap.rows.1.abs_diff(gap.rows.0).saturating_sub(gap.found));
            // Where all rows were looked for, their numbers tell: rosbag2 counts them from 1 on.
            if let ((i64::MIN, i64::MAX), Some((1.., high))) = (gap.rows, self.bounds) {
                missing = Some(high.unsigned_abs().saturating_sub(self.rows)).filter(|missing| *missing == 0);
            }
            let others = if gap.pages > 1 { format!(" and {} more pages", gap.pages - 1) } else { String::new() };
            let found = format!("{} messages found by looking at every page", gap.found);
            if missing == Some(0) {
                notes.push(format!("{}{others}; nothing is lost: {found}", gap.first));
                continue;
            }
            let rows = match (missing, gap.rows) {
                (Some(missing), _) => format!("at most {missing} messages, by their row numbers"),
                (None, (i64::MIN, i64::MAX)) => "an unknown number of messages".to_owned(),
                (None, (i64::MIN, high)) => format!("messages up to row {high}"),
                (None, (low, _)) => format!("messages after row {low}, if there were any"),
            };
            let found = if gap.found > 0 { format!("; {found}") } else { String::new() };
            let reason = format!("{}{others}: {rows}{found}", gap.first);
            losses.push(Loss { topic: None, start_ns: gap.before_ns, end_ns: gap.after_ns, messages: missing, bytes: None, reason });
        }
        if self.unlisted.0 > 0 {
            let reason = format!("{} more pages have damaged rows", self.unlisted.0);
            losses.push(Loss { topic: None, start_ns: None, end_ns: None, messages: Some(self.unlisted.1), bytes: None, reason });
        }
        (losses, notes)
    }
}
