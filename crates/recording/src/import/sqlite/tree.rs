//! Walking the tree of pages that a table is, leaf by leaf, in the order of its rows.
//!
//! **Invariant:** a page is visited at most once, however pages point to each other, and the depth has a limit.

use std::io;

use bytes::Bytes;

use super::Reader;
use super::record::{INTERIOR, LEAF, cell_count, cell_offset, page_start, varint};

/// How deep a tree may be; SQLite has the same limit.
const DEPTH_LIMIT: usize = 20;

/// A set of pages.
#[derive(Clone, Debug, Default)]
pub struct PageSet {
    bits: Vec<u64>,
}

/// A walk over a table. What it has visited stays known.
#[derive(Debug)]
pub struct Walk {
    pending: Vec<Child>,
}

/// What a walk meets.
#[derive(Debug)]
pub enum Visit {
    /// A page with rows.
    Leaf {
        /// Its number.
        page: u32,
        /// What stands on it.
        bytes: Bytes,
        /// The rows that stand on it are above `.0` and up to `.1`.
        rows: (i64, i64),
    },
    /// A page that cannot be read. It may have been one with rows or one that points to many.
    Broken {
        /// Its number.
        page: u32,
        /// The rows that stood on it or below it were above `.0` and up to `.1`.
        rows: (i64, i64),
        /// What is wrong with it.
        why: String,
    },
}

#[derive(Clone, Copy, Debug)]
struct Child {
    page: u32,
    depth: usize,
    rows: (i64, i64),
}

impl PageSet {
    /// Adds a page; returns whether it was not in the set.
    pub fn insert(&mut self, page: u32) -> bool {
        let (word, bit) = (page as usize / 64, 1_u64 << (page % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        let is_new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        is_new
    }

    /// Returns whether a page is in the set.
    pub fn contains(&self, page: u32) -> bool {
        self.bits.get(page as usize / 64).is_some_and(|word| word & 1_u64 << (page % 64) != 0)
    }
}

impl Walk {
    /// Returns a walk that begins at a table's first page.
    pub fn new(root: u32) -> Self {
        Self { pending: vec![Child { page: root, depth: 0, rows: (i64::MIN, i64::MAX) }] }
    }

    /// Returns the next leaf or what is broken, or `None` at the end. Where reading fails it has not moved.
    ///
    /// # Errors
    /// What reading the source answers.
    pub fn next(&mut self, reader: &mut Reader<'_>, visited: &mut PageSet) -> io::Result<Option<Visit>> {
        while let Some(child) = self.pending.last().copied() {
            let Child { page, rows, depth } = child;
            let broken = |why: &str| Ok(Some(Visit::Broken { page, rows, why: why.to_owned() }));
            let Some(bytes) = reader.page(page, 0)? else {
                self.pending.pop();
                return broken(if page == 0 { "it is page 0" } else { "the file ends before it" });
            };
            self.pending.pop();
            if !visited.insert(page) {
                return broken("it is used twice");
            }
            match bytes.get(page_start(page)) {
                Some(&LEAF) => return Ok(Some(Visit::Leaf { page, bytes, rows })),
                Some(&INTERIOR) if depth < DEPTH_LIMIT => match children(&bytes, child) {
                    Some(children) => self.pending.extend(children.into_iter().rev()),
                    None => return broken("the file ends in it"),
                },
                Some(&INTERIOR) => return broken("the tree is too deep"),
                Some(0) => return broken("it is empty or damaged"),
                _ => return broken("it is no page of a table"),
            }
        }
        Ok(None)
    }
}

/// Returns the pages that a page points to, with the rows that each can have as far as the keys make sense.
fn children(bytes: &[u8], parent: Child) -> Option<Vec<Child>> {
    let start = page_start(parent.page);
    let count = cell_count(bytes, parent.page);
    let mut children = Vec::with_capacity(count + 1);
    let mut low = parent.rows.0;
    let depth = parent.depth + 1;
    for index in 0..count {
        let cell = cell_offset(bytes, parent.page, index).and_then(|offset| bytes.get(offset..));
        let pointer = cell.and_then(|cell| cell.get(..4)).and_then(|pointer| pointer.try_into().ok());
        let page = pointer.map_or(0, u32::from_be_bytes);
        let key = cell.and_then(|cell| varint(cell.get(4..)?)).map(|(key, _)| key as i64);
        match key.filter(|key| *key >= low && *key <= parent.rows.1) {
            Some(key) => {
                children.push(Child { page, depth, rows: (low, key) });
                low = key;
            }
            None => children.push(Child { page, depth, rows: (low, parent.rows.1) }),
        }
    }
    let right = bytes.get(start + 8..start + 12)?.try_into().ok()?;
    children.push(Child { page: u32::from_be_bytes(right), depth, rows: (low, parent.rows.1) });
    Some(children)
}
