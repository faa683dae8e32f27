//! Looking for rows on pages that no readable page points to.
//!
//! **Invariant:** free pages and pages of other tables are left out, and a row comes back only where one is missing.

use std::io;

use super::blocks::{Builder, Places};
use super::topics::Small;
use crate::import::sqlite::Reader;
use crate::import::sqlite::record::{Fields, LEAF, cell, cell_count, page_start};
use crate::import::sqlite::row::read_row;
use crate::import::sqlite::tree::PageSet;

/// How many pages one step looks at.
const STEP_PAGES: u32 = 512;

/// The longest row of a small table that is taken back.
const ROW_LIMIT: u64 = 16 << 20;

/// A search through all pages.
#[derive(Debug)]
pub(super) struct Search {
    free: Option<u32>,
    next: u32,
    orphans: Vec<Orphan>,
    place: usize,
    last_rowid: i64,
    /// How many columns a message has.
    columns: usize,
    /// Whether rows of small tables are wanted.
    small: bool,
}

/// A page of messages that no other page points to.
#[derive(Clone, Copy, Debug)]
struct Orphan {
    page: u32,
    first_rowid: i64,
    within: (i64, i64),
}

impl Search {
    pub(super) fn new(free: u32, columns: usize, small: bool) -> Self {
        Self { free: Some(free), next: 1, orphans: Vec::new(), place: 0, last_rowid: i64::MIN, columns, small }
    }

    /// Goes on; returns whether it is at its end.
    pub(super) fn step(
        &mut self,
        reader: &mut Reader<'_>,
        visited: &mut PageSet,
        builder: &mut Builder,
        tables: &mut Small,
    ) -> io::Result<bool> {
        if let Some(page) = self.free {
            self.free = leave_out_free(reader, visited, page)?;
            return Ok(false);
        }
        for _ in 0..STEP_PAGES {
            if self.next > reader.database().pages() {
                return self.bring_back(reader, builder);
            }
            if !visited.contains(self.next) {
                self.look_at(reader, builder, tables)?;
            }
            self.next += 1;
        }
        Ok(false)
    }

    fn look_at(&mut self, reader: &mut Reader<'_>, builder: &Builder, tables: &mut Small) -> io::Result<()> {
        let page = self.next;
        let Some(bytes) = reader.page(page, 0)?.filter(|bytes| bytes.get(page_start(page)) == Some(&LEAF)) else { return Ok(()) };
        let layout = *reader.database().layout();
        let count = cell_count(&bytes, page);
        let messages: Vec<i64> =
            (0..count).filter_map(|index| message(&bytes, page, index, &builder.places, self.columns, &layout)).collect();
        if messages.len() * 2 > count {
            let missing = messages.iter().find_map(|rowid| Some((*rowid, builder.missing_around(*rowid)?)));
            self.orphans.extend(missing.map(|(first_rowid, within)| Orphan { page, first_rowid, within }));
        } else if self.small {
            for index in 0..count {
                if let Ok((row, _)) = read_row(reader, page, &bytes, index, ROW_LIMIT)? {
                    tables.adopt(row);
                }
            }
        }
        Ok(())
    }

    /// Gives the builder the pages that were found, in the order of their rows.
    fn bring_back(&mut self, reader: &mut Reader<'_>, builder: &mut Builder) -> io::Result<bool> {
        if self.place == 0 {
            self.orphans.sort_by_key(|orphan| orphan.first_rowid);
        }
        for _ in 0..STEP_PAGES {
            let Some(orphan) = self.orphans.get(self.place).copied() else { return Ok(true) };
            let bytes = reader.page(orphan.page, 0)?.unwrap_or_default();
            // Two pages with the same rows: one is what the other was before it was split.
            let within = (orphan.within.0.max(self.last_rowid), orphan.within.1);
            if self.place > 0 && self.orphans[self.place - 1].within != orphan.within {
                builder.cut();
            }
            builder.orphan(reader.database(), orphan.page, &bytes, within);
            let layout = reader.database().layout();
            let last = (0..cell_count(&bytes, orphan.page)).rev().find_map(|index| cell(&bytes, orphan.page, index, layout));
            self.last_rowid = self.last_rowid.max(last.map_or(i64::MIN, |cell| cell.rowid.min(within.1)));
            self.place += 1;
        }
        Ok(false)
    }
}

/// Returns the row number of a message, if a cell looks like one.
fn message(
    bytes: &[u8],
    page: u32,
    index: usize,
    places: &Places,
    columns: usize,
    layout: &crate::import::sqlite::header::Layout,
) -> Option<i64> {
    let cell = cell(bytes, page, index, layout)?;
    let row = places.row(bytes, &cell)?;
    let mut fields = Fields::new(bytes.get(cell.local.clone())?)?;
    let has_key = fields.clone().next().is_some_and(|first| first.serial == 0 || first.is_int());
    let has_data = fields.clone().nth(places.data).is_some_and(|data| data.is_blob());
    let fits = fields.by_ref().count() == columns && row.start + row.length == cell.length;
    (has_key && has_data && fits).then_some(cell.rowid)
}

/// Marks a page of the list of free pages, and those it lists, as visited; returns the next one.
fn leave_out_free(reader: &mut Reader<'_>, visited: &mut PageSet, page: u32) -> io::Result<Option<u32>> {
    let Some(bytes) = reader.page(page, 0)?.filter(|bytes| bytes.len() >= 8) else { return Ok(None) };
    if !visited.insert(page) {
        return Ok(None);
    }
    let mut numbers = bytes.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    let next = numbers.next().filter(|next| *next != 0);
    let count = numbers.next().unwrap_or(0) as usize;
    for free in numbers.take(count).filter(|free| *free <= reader.database().pages()) {
        visited.insert(free);
    }
    Ok(next)
}
