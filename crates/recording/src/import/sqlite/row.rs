//! The rows of a small table, with all their values.
//!
//! **Invariant:** values are read up to [`BYTE_LIMIT`] in all; what is beyond it is said, not read.

use std::io;

use bytes::Bytes;

use super::record::{Fields, cell, cell_count};
use super::schema::Columns;
use super::tree::{PageSet, Visit, Walk};
use super::{Database, Reader};

/// How many bytes of values are read of one table: of topics, definitions and the like.
pub const BYTE_LIMIT: u64 = 256 << 20;

/// After how many damaged pages and rows a small table is given up.
const BROKEN_LIMIT: usize = 1000;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// None.
    Null,
    /// A whole number.
    Int(i64),
    /// A number.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// The values of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its number.
    pub rowid: i64,
    /// Its values, by column; fewer than there are columns where columns were added later.
    pub values: Vec<Value>,
}

/// The rows of a table while they are read.
#[derive(Debug)]
pub struct Rows {
    walk: Walk,
    /// The page whose rows are being read, and the next of them.
    leaf: Option<(u32, Bytes, usize)>,
    /// What was read.
    pub rows: Vec<Row>,
    /// In words, what could not be read.
    pub broken: Vec<String>,
    bytes: u64,
}

impl Rows {
    /// Returns the rows of the table that begins at a page, none of them read yet.
    pub fn new(root: u32) -> Self {
        Self { walk: Walk::new(root), leaf: None, rows: Vec::new(), broken: Vec::new(), bytes: 0 }
    }

    /// Reads the rows of one more page; returns whether there are no more. Where reading fails it goes on there when called again.
    ///
    /// # Errors
    /// What reading the source answers.
    pub fn step(&mut self, reader: &mut Reader<'_>, visited: &mut PageSet) -> io::Result<bool> {
        if self.leaf.is_none() {
            match self.walk.next(reader, visited)? {
                None => return Ok(true),
                Some(Visit::Broken { page, why, .. }) => self.broken.push(at_page(reader.database(), page, &why)),
                Some(Visit::Leaf { page, bytes, .. }) => self.leaf = Some((page, bytes, 0)),
            }
        }
        while let Some((page, bytes, index)) = self.leaf.take_if(|(page, bytes, index)| *index < cell_count(bytes, *page)) {
            self.leaf = Some((page, bytes.clone(), index));
            let read = read_row(reader, page, &bytes, index, BYTE_LIMIT.saturating_sub(self.bytes))?;
            self.leaf = Some((page, bytes, index + 1));
            match read {
                Ok((row, length)) => {
                    self.bytes += length;
                    self.rows.push(row);
                }
                Err(why) => self.broken.push(at_page(reader.database(), page, &why)),
            }
        }
        self.leaf = None;
        Ok(self.broken.len() > BROKEN_LIMIT)
    }
}

/// Returns a row and how long it is; or, in words, why it cannot be read.
///
/// # Errors
/// What reading the source answers.
pub fn read_row(reader: &mut Reader<'_>, page: u32, bytes: &[u8], index: usize, limit: u64) -> io::Result<Result<(Row, u64), String>> {
    let Some(cell) = cell(bytes, page, index, reader.database().layout()) else { return Ok(Err(format!("row {index} on it is damaged"))) };
    if cell.length > limit.min(reader.database().bytes()) {
        return Ok(Err(format!("row {} claims {} bytes", cell.rowid, cell.length)));
    }
    let mut payload = Vec::new();
    if let Err(why) = reader.payload(bytes, &cell, 0..cell.length, &mut payload)? {
        return Ok(Err(format!("row {}: {why}", cell.rowid)));
    }
    let values = values(&payload, reader.database());
    Ok(values.map(|values| (Row { rowid: cell.rowid, values }, cell.length)).ok_or_else(|| format!("row {} is damaged", cell.rowid)))
}

/// Returns what is wrong with a page, in words.
pub fn at_page(database: &Database, page: u32, why: &str) -> String {
    format!("page {page} at byte {}: {why}", database.offset(page))
}

/// Returns the values of a payload.
fn values(payload: &[u8], database: &Database) -> Option<Vec<Value>> {
    Fields::new(payload)?
        .map(|field| {
            let start = usize::try_from(field.start).ok()?;
            let bytes = payload.get(start..start.checked_add(usize::try_from(field.length).ok()?)?)?;
            Some(match field.serial {
                0 => Value::Null,
                7 => Value::Real(f64::from_be_bytes(bytes.try_into().ok()?)),
                _ if field.is_int() => Value::Int(field.int(payload)?),
                _ if field.is_blob() => Value::Blob(bytes.to_vec()),
                _ => Value::Text(database.layout().text(bytes)),
            })
        })
        .collect()
}

impl Row {
    /// Returns a value as a whole number; the number of the row where the column is that.
    pub fn int(&self, columns: &Columns, name: &str) -> Option<i64> {
        let place = columns.place(name)?;
        match self.values.get(place)? {
            Value::Int(value) => Some(*value),
            Value::Null if columns.rowid == Some(place) => Some(self.rowid),
            _ => None,
        }
    }

    /// Returns a value as text; empty where there is none.
    pub fn text(&self, columns: &Columns, name: &str) -> &str {
        match columns.place(name).and_then(|place| self.values.get(place)) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }
}
