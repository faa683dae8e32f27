//! Reads frames from a stream: small ones in place, large ones straight into the memory they stay in.
//!
//! **Invariant:** what memory is taken grows with the bytes that arrived, never with a length that somebody claims.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use recording::{Error, Result};

use super::allowance::Allowance;
use super::memory::{Block, PayloadPool};
use super::protocol::{BATCH_LIMIT, ENTRY_BYTES, EntryHead, FrameKind, HEADER_BYTES, Header, Side};
use super::stream::Source;
use crate::clock::Clock;

/// How much is read at once.
const READ_BUFFER: usize = 256 << 10;
/// As much new memory a body gets before its bytes arrive; beyond it, that doubles as they do.
const FIRST_ROOM: usize = 4 << 20;
/// How long a body larger than [`FIRST_ROOM`] may take to arrive, and to wait for memory: it holds what others may need.
const LARGE_BODY_PATIENCE: Duration = Duration::from_secs(30);

/// Reads frames that one side sends.
pub(crate) struct FrameReader<S> {
    source: S,
    sender: Side,
    pool: Arc<PayloadPool>,
    allowance: Arc<Allowance>,
    clock: Arc<dyn Clock>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Whether the last message had a frame of its own: then the next is expected to, and is not read into the buffer.
    large_ahead: bool,
}

/// One frame.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame<'a> {
    /// Its body.
    Small(FrameKind, &'a [u8]),
    /// Its body, which was too long for the buffer.
    Large(FrameKind, Bytes),
    /// A message that has a frame of its own.
    Message(EntryHead, Bytes),
}

impl<S: Source> FrameReader<S> {
    pub(crate) fn new(source: S, sender: Side, pool: Arc<PayloadPool>, allowance: Arc<Allowance>, clock: Arc<dyn Clock>) -> Self {
        let buffer = vec![0; READ_BUFFER].into_boxed_slice();
        Self { source, sender, pool, allowance, clock, buffer, start: 0, end: 0, large_ahead: false }
    }

    /// Returns the source.
    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    /// Returns whether something was read already that no frame was made of yet.
    pub(crate) fn has_more(&self) -> bool {
        self.start < self.end
    }

    /// Returns the next frame, or `None` where the stream ends between two.
    ///
    /// # Errors
    /// `Invalid` for what is no frame; `Unavailable` where the stream breaks, or ends within a frame.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>> {
        if !self.fill(HEADER_BYTES)? {
            return Ok(None);
        }
        let header = Header::parse(self.ahead(), self.sender)?;
        let Header { kind, body_bytes } = header;
        let has_messages = matches!(kind, FrameKind::Log | FrameKind::Heard);
        if has_messages && body_bytes > BATCH_LIMIT {
            self.fill(HEADER_BYTES + ENTRY_BYTES)?;
            self.start += HEADER_BYTES;
            let head = EntryHead::parse_single(self.ahead(), body_bytes)?;
            self.start += ENTRY_BYTES;
            self.large_ahead = true;
            return Ok(Some(Frame::Message(head, self.body(head.payload_bytes)?.into_bytes())));
        }
        if HEADER_BYTES + body_bytes > self.buffer.len() {
            self.start += HEADER_BYTES;
            return Ok(Some(Frame::Large(kind, self.body(body_bytes)?.into_bytes())));
        }
        self.large_ahead &= !has_messages;
        self.fill(HEADER_BYTES + body_bytes)?;
        let body = self.start + HEADER_BYTES..self.start + HEADER_BYTES + body_bytes;
        self.start = body.end;
        Ok(Some(Frame::Small(kind, &self.buffer[body])))
    }

    /// Makes sure that `count` bytes are in the buffer; returns `false` where the stream ends before the first.
    fn fill(&mut self, count: usize) -> Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        while self.end - self.start < count {
            if self.start + count.max(HEADER_BYTES + ENTRY_BYTES) > self.buffer.len() {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            let large_ahead = self.large_ahead && count <= HEADER_BYTES + ENTRY_BYTES;
            let room = if large_ahead { self.start + HEADER_BYTES + ENTRY_BYTES } else { self.buffer.len() };
            match self.source.read(&mut self.buffer[self.end..room]) {
                Ok(0) if self.start == self.end => return Ok(false),
                Ok(0) => return Err(ends_within_a_frame()),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The other side ended with answers unread: as good as an end.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset && self.start == self.end => return Ok(false),
                Err(error) => return Err(broken(error)),
            }
        }
        Ok(true)
    }

    /// Returns the next bytes of the buffer, which [`Self::fill`] put there.
    fn ahead<const N: usize>(&self) -> &[u8; N] {
        self.buffer[self.start..self.end].first_chunk().expect("as many bytes as were asked for")
    }

    /// Reads a body of `length` bytes into memory of its own.
    fn body(&mut self, length: usize) -> Result<Block> {
        let mut body = self.pool.take(length, FIRST_ROOM);
        let buffered = length.min(self.end - self.start);
        body.memory()[..buffered].copy_from_slice(&self.buffer[self.start..self.start + buffered]);
        self.start += buffered;
        let mut filled = buffered;
        self.fill_block(&mut body, &mut filled)?;
        if filled == length {
            return Ok(body);
        }
        let began_ns = self.clock.monotonic_ns();
        let mut held = self.allowance.hold();
        self.source.limit_wait(Some(LARGE_BODY_PATIENCE)).map_err(broken)?;
        while filled < length {
            let waited = Duration::from_nanos(self.clock.monotonic_ns().saturating_sub(began_ns).max(0) as u64);
            let left = LARGE_BODY_PATIENCE.saturating_sub(waited);
            let room = length.min(2 * body.room());
            if left.is_zero() || !held.grow(room - body.room(), left) {
                let seconds = LARGE_BODY_PATIENCE.as_secs();
                return Err(Error::unavailable(format!("a message of {length} bytes did not arrive within {seconds} s")));
            }
            if !body.grow(room) {
                return Err(Error::unavailable(format!("no memory for a message of {length} bytes")));
            }
            self.fill_block(&mut body, &mut filled)?;
        }
        self.source.limit_wait(None).map_err(broken)?;
        Ok(body)
    }

    /// Reads until the room there is so far is filled.
    fn fill_block(&mut self, body: &mut Block, filled: &mut usize) -> Result<()> {
        while *filled < body.room() {
            match self.source.read_all(&mut body.memory()[*filled..]) {
                Ok(0) => return Err(ends_within_a_frame()),
                Ok(read) => *filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(error)),
            }
        }
        Ok(())
    }
}

fn ends_within_a_frame() -> Error {
    Error::unavailable("the connection ended in the middle of a frame")
}

fn broken(error: io::Error) -> Error {
    Error::unavailable("the connection broke").caused_by(error)
}

#[cfg(test)]
mod tests;
