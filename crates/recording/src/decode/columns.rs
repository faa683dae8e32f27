//! Messages as rows of Arrow columns.
//!
//! In come payloads, out come record batches: all fields of a type, or those that paths name, each as one column.
//!
//! **Invariant:** a message that cannot be decoded leaves no trace in the columns.

mod build;
mod finish;
mod row;
pub(super) mod table;

use std::fmt;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

pub(super) use self::build::{build, enum_number};
use self::table::Table;
use super::layout::EMPTY_ELEMENTS_LIMIT;
use super::row_plan::RowPlan;
use super::{Codec, Decoder};
use crate::error::{Error, Result};

/// How many bytes of payload a batch takes at most: with 32-bit offsets no column of it can overflow.
pub const BATCH_LIMIT: usize = 512 << 20;

/// How many bytes of payload make a batch large enough to be finished.
pub const BATCH_SIZE: usize = 16 << 20;

/// A batch that grows message by message.
///
/// Columns are named after fields, or after the paths that were asked for; everything may be null. Times are the structs that they
/// are. Text that is no UTF-8 has U+FFFD where it is not. Types that hold themselves, unions and any JSON are text with metadata
/// `tapeloop.json`; numbers with names have those in `tapeloop.enum`; units are in `unit`. Arrays of more than 16,384 numbers are
/// lists.
pub struct Columns {
    decoder: Decoder,
    table: Table,
    schema: SchemaRef,
    /// How encodings without tags are read; others tell the table as a sink.
    plan: Option<RowPlan>,
    /// How many bytes of payload there are, and how many elements there may be beside them.
    bytes: usize,
    /// What a message counts beside its bytes.
    cost: usize,
}

impl Columns {
    pub(super) fn new(decoder: &Decoder, paths: &[&str]) -> Result<Self> {
        let inner = &decoder.inner;
        let (table, schema) = build(&inner.tree, inner.names.clone(), paths)?;
        let (plan, cost) = match &inner.codec {
            Codec::Sequential(layout) => {
                let empties = if layout.empties { EMPTY_ELEMENTS_LIMIT } else { 0 };
                (Some(RowPlan::new(layout, &table)?), 1 + empties)
            }
            Codec::Protobuf(_) | Codec::Json(_) | Codec::Flatbuffer(_) => (None, 1),
        };
        Ok(Self { decoder: decoder.clone(), table, schema, plan, bytes: 0, cost })
    }

    /// Returns the columns' names and types.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Adds a message as a row. In encodings without tags, what stands behind the last wanted field is not looked at.
    ///
    /// # Errors
    /// `Corrupt` for a payload that does not fit its type, `Conflict` where the batch is full: [`Columns::finish`] it. There is no
    /// half of a row then.
    pub fn push(&mut self, payload: &[u8]) -> Result<()> {
        if self.bytes + payload.len() + self.cost > BATCH_LIMIT {
            let message = format!("a batch takes {BATCH_LIMIT} bytes, it has {} and is given {}", self.bytes, payload.len());
            return Err(Error::new(crate::Kind::Conflict, message));
        }
        let rows = self.table.rows;
        let pushed = match &self.plan {
            Some(plan) => plan.push(payload, &mut self.table),
            None => {
                self.table.begin_row();
                self.decoder.inner.codec.walk(payload, &mut self.table).and_then(|()| self.table.end_row())
            }
        };
        match pushed {
            Ok(()) => self.bytes += payload.len() + self.cost,
            Err(_) => self.table.truncate(rows),
        }
        pushed
    }

    /// Returns how many rows there are.
    pub fn len(&self) -> usize {
        self.table.rows
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether the batch is large enough to be finished: it holds [`BATCH_SIZE`] bytes.
    pub fn is_full(&self) -> bool {
        self.bytes >= BATCH_SIZE
    }

    /// Returns the rows as a batch, and begins the next one.
    ///
    /// # Errors
    /// `Internal` where Arrow refuses them.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        self.bytes = 0;
        self.table.finish(&self.schema)
    }
}

impl fmt::Debug for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Columns").field("schema", &self.schema).field("len", &self.len()).finish_non_exhaustive()
    }
}
