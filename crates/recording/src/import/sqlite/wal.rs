//! The write-ahead log beside a database: what was committed and not yet copied into it when its writer was killed.
//!
//! **Invariant:** only frames count whose salts and checksums are right, and only up to the last one that commits.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::source::ReadAt;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// How the log begins; the last bit says in which order its checksums read bytes.
const MAGIC: u32 = 0x377f_0682;

/// How much one step reads.
const STEP_BYTES: u64 = 4 << 20;

/// The committed pages of a write-ahead log. It holds its source: a page may stand nowhere else.
#[derive(Clone)]
pub struct Wal {
    source: Arc<dyn ReadAt>,
    /// Where pages stand in the log.
    frames: HashMap<u32, u64>,
    pages: u32,
}

/// A write-ahead log that is being read.
#[derive(Debug)]
pub struct WalScan {
    wal: Wal,
    pending: Vec<(u32, u64)>,
    header: Option<Header>,
    sums: (u32, u32),
    at: u64,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    big_endian: bool,
    page_size: u32,
    salts: [u8; 8],
}

impl Wal {
    /// Returns a page of `size` bytes, where the log has it.
    ///
    /// # Errors
    /// What reading the source answers.
    pub fn page(&self, number: u32, size: usize) -> io::Result<Option<Bytes>> {
        let Some(offset) = self.frames.get(&number) else { return Ok(None) };
        let mut page = vec![0; size];
        let filled = self.source.read_full_at(*offset, &mut page)?;
        page.truncate(filled);
        Ok(Some(page.into()))
    }

    /// Returns how many pages the database had at the last commit.
    pub fn pages(&self) -> u32 {
        self.pages
    }

    /// Returns how many pages stand in the log.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Returns whether nothing was committed in it.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("frames", &self.frames.len()).field("pages", &self.pages).finish_non_exhaustive()
    }
}

impl WalScan {
    /// Returns a scan of a log.
    pub fn new(source: Arc<dyn ReadAt>) -> Self {
        let wal = Wal { source, frames: HashMap::new(), pages: 0 };
        Self { wal, pending: Vec::new(), header: None, sums: (0, 0), at: 0 }
    }

    /// Reads on; returns the log once it was read as far as it is valid. Its page size comes with it.
    ///
    /// # Errors
    /// What reading the source answers.
    pub fn step(&mut self) -> io::Result<Option<(Wal, u32)>> {
        let length = self.wal.source.len()?;
        let header = match self.header {
            Some(header) => header,
            None => {
                let mut bytes = [0; HEADER];
                if self.wal.source.read_full_at(0, &mut bytes)? < HEADER {
                    return Ok(Some(self.finish(0)));
                }
                let Some(header) = Header::parse(&bytes) else { return Ok(Some(self.finish(0))) };
                self.sums = header.checksum((0, 0), &bytes[..24]);
                if bytes[24..] != sums_bytes(self.sums) {
                    return Ok(Some(self.finish(0)));
                }
                self.at = HEADER as u64;
                self.header = Some(header);
                header
            }
        };
        let frame = FRAME_HEADER + header.page_size as usize;
        let count = STEP_BYTES.min(length.saturating_sub(self.at)) as usize / frame;
        let count = if length.saturating_sub(self.at) >= frame as u64 { count.max(1) } else { 0 };
        let mut bytes = vec![0; count * frame];
        let filled = self.wal.source.read_full_at(self.at, &mut bytes)?;
        for frame in bytes[..filled].chunks_exact(frame) {
            let sums = header.checksum(header.checksum(self.sums, &frame[..8]), &frame[FRAME_HEADER..]);
            if frame[8..16] != header.salts || frame[16..24] != sums_bytes(sums) {
                return Ok(Some(self.finish(header.page_size)));
            }
            let number = |at: usize| u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
            self.pending.push((number(0), self.at + FRAME_HEADER as u64));
            if number(4) != 0 {
                self.wal.pages = number(4);
                self.wal.frames.extend(self.pending.drain(..));
            }
            self.sums = sums;
            self.at += frame.len() as u64;
        }
        Ok((count == 0 || filled < bytes.len()).then(|| self.finish(header.page_size)))
    }

    fn finish(&mut self, page_size: u32) -> (Wal, u32) {
        // The count of pages comes from the log alone: one that could not be in it is a lie.
        let mut wal = self.wal.clone();
        wal.frames.retain(|page, _| *page > 0 && *page <= wal.pages);
        wal.pages = wal.frames.keys().copied().max().unwrap_or(0);
        (wal, page_size)
    }
}

impl Header {
    fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let number = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let page_size = number(8);
        if number(0) & !1 != MAGIC || !(512..=65_536).contains(&page_size) || !page_size.is_power_of_two() {
            return None;
        }
        Some(Self { big_endian: number(0) & 1 == 1, page_size, salts: bytes[16..24].try_into().ok()? })
    }

    fn checksum(&self, sums: (u32, u32), bytes: &[u8]) -> (u32, u32) {
        let read = if self.big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        bytes.chunks_exact(8).fold(sums, |(first, second), pair| {
            let first = first.wrapping_add(read([pair[0], pair[1], pair[2], pair[3]])).wrapping_add(second);
            (first, second.wrapping_add(read([pair[4], pair[5], pair[6], pair[7]])).wrapping_add(first))
        })
    }
}

fn sums_bytes(sums: (u32, u32)) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&sums.0.to_be_bytes());
    bytes[4..].copy_from_slice(&sums.1.to_be_bytes());
    bytes
}
