//! Reads frames from a stream: small ones in place, large ones straight into the memory they stay in.
//!
//! **Invariant:** memory grows with the bytes that arrived, never with a length that somebody claims.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use recording::{Error, Result};

use super::allowance::Allowance;
use super::protocol::{BATCH_LIMIT, ENTRY_BYTES, EntryHead, FrameKind, HEADER_BYTES, Header, Side};
use super::stream::Source;
use crate::clock::Clock;

/// How much is read at once.
const READ_BUFFER: usize = 256 << 10;
/// As much room a body gets before its bytes arrive; beyond it, room doubles as they do.
const FIRST_ROOM: usize = 4 << 20;
/// How long a body larger than [`FIRST_ROOM`] may take to arrive, and to wait for memory: it holds what others may need.
const LARGE_BODY_PATIENCE: Duration = Duration::from_secs(30);

/// Reads frames that one side sends.
pub(crate) struct FrameReader<S> {
    source: S,
    sender: Side,
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
    Large(FrameKind, Vec<u8>),
    /// A message that has a frame of its own.
    Message(EntryHead, Bytes),
}

impl<S: Source> FrameReader<S> {
    pub(crate) fn new(source: S, sender: Side, allowance: Arc<Allowance>, clock: Arc<dyn Clock>) -> Self {
        let buffer = vec![0; READ_BUFFER].into_boxed_slice();
        Self { source, sender, allowance, clock, buffer, start: 0, end: 0, large_ahead: false }
    }

    /// Returns the source.
    pub(crate) fn source(&self) -> &S {
        &self.source
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
        if kind == FrameKind::Log && body_bytes > BATCH_LIMIT {
            self.fill(HEADER_BYTES + ENTRY_BYTES)?;
            self.start += HEADER_BYTES;
            let head = EntryHead::parse_single(self.ahead(), body_bytes)?;
            self.start += ENTRY_BYTES;
            self.large_ahead = true;
            return Ok(Some(Frame::Message(head, self.body(head.payload_bytes)?.into())));
        }
        if HEADER_BYTES + body_bytes > self.buffer.len() {
            self.start += HEADER_BYTES;
            return Ok(Some(Frame::Large(kind, self.body(body_bytes)?)));
        }
        self.large_ahead &= kind != FrameKind::Log;
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
    fn body(&mut self, length: usize) -> Result<Vec<u8>> {
        let buffered = length.min(self.end - self.start);
        let mut body = Vec::new();
        reserve(&mut body, length.min(FIRST_ROOM))?;
        body.extend_from_slice(&self.buffer[self.start..self.start + buffered]);
        self.start += buffered;
        if length <= FIRST_ROOM {
            self.append(&mut body, length)?;
            return Ok(body);
        }
        let began_ns = self.clock.monotonic_ns();
        let mut held = self.allowance.hold();
        self.source.limit_wait(Some(LARGE_BODY_PATIENCE)).map_err(broken)?;
        let mut room = FIRST_ROOM;
        loop {
            self.append(&mut body, room)?;
            if room == length {
                break;
            }
            let waited = Duration::from_nanos(self.clock.monotonic_ns().saturating_sub(began_ns).max(0) as u64);
            let left = LARGE_BODY_PATIENCE.saturating_sub(waited);
            let next = length.min(room * 2);
            if left.is_zero() || !held.grow(next - room, left) {
                let seconds = LARGE_BODY_PATIENCE.as_secs();
                return Err(Error::unavailable(format!("a message of {length} bytes did not arrive within {seconds} s")));
            }
            reserve(&mut body, next - room)?;
            room = next;
        }
        self.source.limit_wait(None).map_err(broken)?;
        Ok(body)
    }

    /// Reads until `body` has `length` bytes, for which it has room.
    fn append(&mut self, body: &mut Vec<u8>, length: usize) -> Result<()> {
        while body.len() < length {
            match self.source.append(body, length - body.len()) {
                Ok(0) => return Err(ends_within_a_frame()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(error)),
            }
        }
        Ok(())
    }
}

fn reserve(body: &mut Vec<u8>, bytes: usize) -> Result<()> {
    body.try_reserve_exact(bytes).map_err(|error| Error::unavailable(format!("no memory for a message of {bytes} bytes")).caused_by(error))
}

fn ends_within_a_frame() -> Error {
    Error::unavailable("the connection ended in the middle of a frame")
}

fn broken(error: io::Error) -> Error {
    Error::unavailable("the connection broke").caused_by(error)
}

#[cfg(test)]
mod tests;
