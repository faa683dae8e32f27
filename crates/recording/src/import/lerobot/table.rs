//! Parquet files, read a few rows and columns at a time.
//!
//! **Invariant:** no damaged file ends the program: what the parquet reader cannot cope with is an error in words.

use std::io::{self, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};

use crate::source::ReadAt;

/// How many rows are decoded at once.
const BATCH_ROWS: usize = 1024;

/// A parquet file.
#[derive(Clone)]
pub(super) struct Table {
    source: Arc<dyn ReadAt>,
    metadata: ArrowReaderMetadata,
}

/// Rows of a group of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) group: usize,
    pub(super) first: usize,
    pub(super) count: usize,
}

impl Table {
    pub(super) fn open(source: Arc<dyn ReadAt>) -> Result<Self, String> {
        let load = |skip| {
            contained(|| ArrowReaderMetadata::load(&Chunks(source.clone()), ArrowReaderOptions::new().with_skip_arrow_metadata(skip)))
        };
        // What a writer says of its own types may be newer than this reader; the file's types always do.
        let metadata = load(false).or_else(|_| load(true))?;
        Ok(Self { source, metadata })
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    /// Returns how many rows each group has, and how many bytes.
    pub(super) fn groups(&self) -> Vec<(usize, u64)> {
        let groups = self.metadata.metadata().row_groups().iter();
        groups.map(|group| (usize::try_from(group.num_rows()).unwrap_or(0), u64::try_from(group.total_byte_size()).unwrap_or(0))).collect()
    }

    /// Returns the place of a column.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.schema().index_of(name).ok()
    }

    /// Calls `each` with the rows of a slice; only these columns are in them, in the order of the file.
    pub(super) fn read(
        &self,
        columns: &[usize],
        slice: Slice,
        each: &mut dyn FnMut(&RecordBatch) -> Result<(), String>,
    ) -> Result<(), String> {
        let reader = contained(|| {
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(Chunks(self.source.clone()), self.metadata.clone());
            let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
            let builder =
                builder.with_projection(mask).with_row_groups(vec![slice.group]).with_batch_size(slice.count.clamp(1, BATCH_ROWS));
            builder.with_offset(slice.first).with_limit(slice.count).build()
        });
        let mut reader = reader?;
        while let Some(batch) = contained(|| reader.next().transpose().map_err(ParquetError::from))? {
            each(&batch)?;
        }
        Ok(())
    }

    /// Returns all rows of some columns.
    pub(super) fn read_all(&self, columns: &[usize], each: &mut dyn FnMut(&RecordBatch) -> Result<(), String>) -> Result<(), String> {
        for (group, (count, _)) in self.groups().into_iter().enumerate() {
            self.read(columns, Slice { group, first: 0, count }, each)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("groups", &self.groups().len()).finish_non_exhaustive()
    }
}

/// Runs what may panic on damaged files: the parquet reader checks much, but not everything.
fn contained<T>(run: impl FnOnce() -> ParquetResult<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(outcome) => outcome.map_err(|error| wrong(&error)),
        Err(_) => Err("the Parquet file is damaged".to_owned()),
    }
}

/// Says what is wrong with a file that the Parquet library cannot read.
fn wrong(error: &ParquetError) -> String {
    match error {
        ParquetError::External(error) => format!("the Parquet file cannot be read: {error}"),
        error if error.to_string().contains("footer") => "the Parquet file has no footer: it was not closed, or it is cut".to_owned(),
        _ => "the Parquet file is damaged".to_owned(),
    }
}

/// A file that is opened for each reading: a dataset can have 20,000 of them.
#[derive(Debug)]
pub(super) struct AtPath(pub(super) PathBuf);

impl ReadAt for AtPath {
    fn len(&self) -> io::Result<u64> {
        Ok(std::fs::metadata(&self.0)?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        std::fs::File::open(&self.0)?.read_at(offset, buffer)
    }
}

struct Chunks(Arc<dyn ReadAt>);

struct From {
    source: Arc<dyn ReadAt>,
    at: u64,
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.len().unwrap_or(0)
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<From>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(BufReader::with_capacity(64 << 10, From { source: self.0.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        if start.checked_add(length as u64).is_none_or(|end| end > Length::len(self)) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} are not in the file")));
        }
        let mut bytes = vec![0; length];
        let filled = self.0.read_full_at(start, &mut bytes)?;
        if filled < length {
            return Err(ParquetError::EOF(format!("{filled} of {length} bytes at {start}")));
        }
        Ok(bytes.into())
    }
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read_at(self.at, buffer)?;
        // The parquet reader skips as many numbers as a list claims to have, also behind the end, unless that is an error.
        if count == 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends"));
        }
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_behind_the_end_is_an_error() {
        let mut from = From { source: Arc::new(Bytes::from_static(b"abc")), at: 1 };
        assert_eq!(from.read(&mut [0; 8]).unwrap(), 2);
        assert_eq!(from.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(from.read(&mut []).unwrap(), 0);
    }
}
