//! SQLite database files, read without SQLite: pages, tables, rows, and what can still be found of them in damaged files.
//!
//! In comes any source of bytes, with its write-ahead log where there is one; out come rows. See `docs/adr/0006-own-sqlite-reader.md`.
//!
//! **Invariant:** nothing is written, no page is believed before it is checked, and every walk visits a page at most once.

pub mod cache;
pub mod header;
pub mod record;
pub mod row;
pub mod schema;
pub mod tree;
pub mod wal;

use std::io;
use std::ops::Range;

use bytes::Bytes;

use self::cache::Cache;
use self::header::Layout;
use self::record::Cell;
use self::wal::Wal;
use crate::source::ReadAt;

/// A database: how it is laid out and where its pages are. It holds no file.
#[derive(Debug)]
pub struct Database {
    layout: Layout,
    /// How long the file is.
    length: u64,
    /// How many pages there should be: of the file and of the write-ahead log.
    pages: u32,
    wal: Option<Wal>,
}

/// A database with the source of its bytes.
pub struct Reader<'a> {
    database: &'a Database,
    source: &'a dyn ReadAt,
    cache: &'a mut Cache,
}

impl Database {
    /// Returns a database of this layout.
    pub fn new(layout: Layout, length: u64, wal: Option<Wal>) -> Self {
        let in_file = u32::try_from(length.div_ceil(u64::from(layout.page_size))).unwrap_or(u32::MAX);
        // Every page stands in the file or in the log: a number beyond that is a lie.
        let in_both = wal.as_ref().map_or(0, |wal| wal.pages().min(in_file.saturating_add(u32::try_from(wal.len()).unwrap_or(u32::MAX))));
        let pages = in_file.max(in_both);
        Self { layout, length, pages, wal }
    }

    /// Returns how it is laid out.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns how many pages it has at most.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// Returns how many bytes there are, of the file and of its write-ahead log.
    pub fn bytes(&self) -> u64 {
        u64::from(self.pages) * u64::from(self.layout.page_size)
    }

    /// Returns how many of its pages stand in the write-ahead log.
    pub fn pages_in_wal(&self) -> usize {
        self.wal.as_ref().map_or(0, Wal::len)
    }

    /// Returns where a page begins in the file.
    pub fn offset(&self, page: u32) -> u64 {
        u64::from(page.saturating_sub(1)) * u64::from(self.layout.page_size)
    }

    /// Returns it with the source of its bytes.
    pub fn reader<'a>(&'a self, source: &'a dyn ReadAt, cache: &'a mut Cache) -> Reader<'a> {
        Reader { database: self, source, cache }
    }
}

impl<'a> Reader<'a> {
    /// Returns the database.
    pub fn database(&self) -> &'a Database {
        self.database
    }

    /// Returns a page: shorter where the file ends in it, `None` where there is no such page. `ahead` is how many bytes are wanted
    /// soon, from its start.
    ///
    /// # Errors
    /// What reading the source answers.
    pub fn page(&mut self, number: u32, ahead: u64) -> io::Result<Option<Bytes>> {
        if number == 0 || number > self.database.pages {
            return Ok(None);
        }
        let size = self.database.layout.page_size as usize;
        if let Some(wal) = &self.database.wal
            && let Some(page) = wal.page(number, size)?
        {
            return Ok(Some(page));
        }
        let offset = self.database.offset(number);
        let Some(left) = self.database.length.checked_sub(offset).filter(|left| *left > 0) else { return Ok(None) };
        let length = size.min(usize::try_from(left).unwrap_or(size));
        self.cache.read(self.source, offset, length, ahead.min(left)).map(Some)
    }

    /// Appends `wanted` of a cell's payload to `out`, or says why it cannot be read; then a part of it may have been appended.
    ///
    /// # Errors
    /// What reading the source answers.
    pub fn payload(&mut self, page: &[u8], cell: &Cell, wanted: Range<u64>, out: &mut Vec<u8>) -> io::Result<Result<(), String>> {
        let local = page.get(cell.local.clone()).unwrap_or_default();
        let mut at = local.len() as u64;
        out.extend_from_slice(part(local, 0, &wanted));
        let capacity = u64::from(self.database.layout.usable) - 4;
        let mut next = cell.overflow;
        // Brent's way of noticing a cycle: a page to compare with, which moves on at every power of two.
        let (mut marker, mut steps, mut power) = (0, 0_u64, 1_u64);
        while at < wanted.end {
            let ahead = (wanted.end - at).div_ceil(capacity) * u64::from(self.database.layout.page_size);
            if next == marker && steps > 0 {
                return Ok(Err(format!("its overflow pages go round in circles at page {next}")));
            }
            if steps == power {
                (marker, power) = (next, power * 2);
            }
            steps += 1;
            let Some(bytes) = self.page(next, ahead)?.filter(|bytes| bytes.len() >= 4) else {
                return Ok(Err(if next == 0 {
                    format!("it ends after {at} of {} bytes", cell.length)
                } else {
                    format!("its overflow page {next} is not in the file")
                }));
            };
            let following = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            let content = &bytes[4..bytes.len().min(capacity as usize + 4)];
            out.extend_from_slice(part(content, at, &wanted));
            at += content.len() as u64;
            if (content.len() as u64) < capacity && at < wanted.end {
                return Ok(Err(format!("the file ends in its overflow page {next}")));
            }
            next = following;
        }
        Ok(Ok(()))
    }
}

/// Returns what of `wanted` stands in `bytes`, which begin at `at`.
fn part<'a>(bytes: &'a [u8], at: u64, wanted: &Range<u64>) -> &'a [u8] {
    let place = |position: u64| usize::try_from(position.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(place(wanted.start)..place(wanted.end)).unwrap_or_default()
}
