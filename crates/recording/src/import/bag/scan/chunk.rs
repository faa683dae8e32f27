//! Chunks of a scan: whole ones, and those whose length cannot be believed.
//!
//! **Invariant:** a chunk counts where a record follows it, or where it proves itself.

use std::ops::Range;

use bytes::Bytes;

use super::super::content::{self, Damaged, Item};
use super::super::loss::Broken;
use super::super::record::{Record, op};
use super::super::resync;
use super::super::stretch::{Body, Content, Stretch};
use super::super::unpack::{self, Compression, UNPACKED_LIMIT};
use super::{Doing, OVERLAP, Scan, begins};
use crate::error::Result;
use crate::mcap::window;
use crate::source::ReadAt;

/// The largest chunk that is read, as stored.
const STORED_LIMIT: u64 = 1 << 30;

/// A chunk whose length cannot be believed.
#[derive(Clone, Debug)]
pub(super) struct Torn {
    offset: u64,
    start: u64,
    compression: Compression,
    size: u32,
}

impl Scan {
    /// Reads the chunk that begins at `self.at`, with `bytes`.
    pub(super) fn chunk(&mut self, source: &dyn ReadAt, record: &Record<'_>, bytes: &Bytes) -> Result<()> {
        let offset = self.at;
        let (start, end) = (offset + record.data_at as u64, offset + record.length() as u64);
        let compression = Compression::parse(record.header.compression.unwrap_or_default());
        let size = record.header.size.unwrap_or_default();
        let torn = Torn { offset, start, compression, size };
        let plausible = end <= self.end && end - start <= STORED_LIMIT && u64::from(size) <= UNPACKED_LIMIT;
        let followed = plausible && begins(source, end, self.end)?;
        // What does not end where a record begins may still prove itself: by its checksums, or by the chain of its records.
        let proven = plausible && !followed && self.effort >= end - start && {
            let stored = read_exact(source, offset, bytes, start..end)?;
            self.effort -= end - start;
            match torn.compression {
                Compression::None => u64::from(size) == end - start && content::walk(&stored, Damaged::Search, |_| {}).is_empty(),
                _ => unpack::unpack(&torn.compression, stored, size).wrong.is_none(),
            }
        };
        if followed || proven {
            let stored = read_exact(source, offset, bytes, start..end)?;
            self.examined(torn, start..end, stored, end);
            return Ok(());
        }
        if torn.compression != Compression::None {
            self.doing = Doing::ChunkEnd(torn);
        }
        // Without compression its records say themselves where they end.
        self.at = start;
        Ok(())
    }

    /// Searches for what follows the chunk whose length cannot be believed.
    pub(super) fn chunk_end(&mut self, source: &dyn ReadAt, torn: Torn, bytes: &Bytes) -> Result<bool> {
        let base = self.at;
        let found = resync::find(bytes, 0, |at, record| {
            matches!(record.header.op, op::CHUNK | op::INDEX | op::CHUNK_INFO | op::BAG) && self.believed(base + at as u64, record)
        });
        let last = base + bytes.len() as u64 >= self.end;
        let end = match found {
            Some(at) => base + at as u64,
            None if last || base - torn.start > STORED_LIMIT => base + bytes.len() as u64,
            None => {
                self.at += (bytes.len() as u64).saturating_sub(OVERLAP).max(1);
                return Ok(false);
            }
        };
        let stored = window::read(source, torn.start, end - torn.start)?;
        let start = torn.start;
        self.examined(torn, start..end, stored.into(), end);
        self.doing = Doing::Records;
        Ok(true)
    }

    /// Takes what a chunk holds and goes on behind it.
    fn examined(&mut self, torn: Torn, range: Range<u64>, stored: Bytes, next: u64) {
        let Torn { offset, compression, size, .. } = torn;
        let mut stretch = Stretch {
            offset,
            end: range.end,
            body: Body::Chunk { stored: range, compression, size },
            before: self.connections.now(),
            content: Content::default(),
        };
        let unpacked = stretch.unpack(stored);
        let mut read_at = Vec::new();
        let connections = &mut self.connections;
        let content = &mut stretch.content;
        let mut now = connections.now();
        let gaps = content::walk(&unpacked.bytes, unpacked.damaged, |item| match item {
            Item::Message(message) => {
                read_at.push(message.at as u32);
                content.count(message.conn, now.get(message.conn), message.time_ns);
            }
            Item::Connection(header, data) => {
                connections.define(&header, data);
                now = connections.now();
            }
        });
        self.at = next;
        if unpacked.wrong.is_some() || !gaps.is_empty() {
            self.broken.push(Broken::new(&stretch, unpacked.wrong, &gaps, unpacked.bytes.len(), read_at));
            self.open = true;
        }
        if stretch.content.messages() > 0 {
            self.stretches.push(stretch);
        }
    }
}

/// Returns the bytes of a range, from those that were read at `base` where they are among them.
fn read_exact(source: &dyn ReadAt, base: u64, bytes: &Bytes, range: Range<u64>) -> Result<Bytes> {
    let (start, end) = (range.start - base, range.end - base);
    if end <= bytes.len() as u64 {
        return Ok(bytes.slice(start as usize..end as usize));
    }
    Ok(window::read(source, range.start, end - start)?.into())
}
