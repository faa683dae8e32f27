//! Reading MCAP as it comes: from a pipe, a socket, a browser; no seeking, no summary.
//!
//! In come bytes in pieces of any size, out come records, those of chunks one by one, each checked before it is shown.
//!
//! **Invariant:** memory holds what was fed of one record, and one chunk; a length alone takes none.

use bytes::{Bytes, BytesMut};

use super::decompress::{self, COMPRESSED_LIMIT, Decompressor};
use super::record::{self, MAGIC, RawRecord, Records, opcode};
use super::write::PREFIX_LENGTH;
use crate::error::{Error, Result};
use crate::loss::Loss;

/// The largest record that is read: as a chunk may be, with its header.
const RECORD_LIMIT: u64 = COMPRESSED_LIMIT + (64 << 10);

/// Reads records from bytes that are fed to it.
///
/// ```
/// use recording::mcap::stream::{Next, Stream};
/// use recording::mcap::segment::SegmentWriter;
/// let mut file = Vec::new();
/// SegmentWriter::begin(&mut file, "").finish(&mut file);
/// let mut stream = Stream::new();
/// let mut records = 0;
/// for piece in file.chunks(7) {
///     stream.feed(piece);
///     while let Next::Record(_) = stream.advance()? {
///         records += 1;
///     }
/// }
/// assert_eq!(records, 5);
/// # Ok::<(), recording::Error>(())
/// ```
#[derive(Default)]
pub struct Stream {
    buffer: BytesMut,
    /// Where the buffer begins in the whole.
    offset: u64,
    stage: Stage,
    ended: bool,
    chunk: Option<OpenChunk>,
    decompressor: Decompressor,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Magic,
    Records,
    /// Behind the footer, or behind damage that lost the places of records.
    Done,
}

struct OpenChunk {
    records: Bytes,
    at: usize,
    offset: u64,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// A record; chunks are not shown, but what is in them.
    Record(StreamRecord),
    /// At least so many more bytes are needed.
    Wanted(usize),
    /// Something could not be read; what follows may be.
    Lost(Loss),
    /// Nothing comes any more.
    End,
}

/// A record of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// Its kind.
    pub opcode: u8,
    /// Its content: [`record::parse`] reads it.
    pub body: Bytes,
    /// Where it begins in the whole; of one in a chunk, where the chunk does.
    pub offset: u64,
    /// Whether it stood in a chunk.
    pub in_chunk: bool,
}

impl Stream {
    /// Returns a reader that was fed nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.stage != Stage::Done {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Says that no more bytes come.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    /// Returns what comes next.
    ///
    /// # Errors
    /// `Invalid` for what does not begin like an MCAP file.
    pub fn advance(&mut self) -> Result<Next> {
        loop {
            if let Some(next) = self.in_chunk() {
                return Ok(next);
            }
            match self.stage {
                Stage::Done => return Ok(Next::End),
                Stage::Magic => {
                    let known = self.buffer.len().min(MAGIC.len());
                    if self.buffer[..known] != MAGIC[..known] || (self.ended && known < MAGIC.len()) {
                        return Err(Error::invalid("not an MCAP file: it does not begin like one"));
                    }
                    if known < MAGIC.len() {
                        return Ok(Next::Wanted(MAGIC.len() - known));
                    }
                    self.take(MAGIC.len());
                    self.stage = Stage::Records;
                }
                Stage::Records => {
                    if let Some(next) = self.at_record() {
                        return Ok(next);
                    }
                }
            }
        }
    }

    /// Returns the next record of the chunk at hand.
    fn in_chunk(&mut self) -> Option<Next> {
        let chunk = self.chunk.as_mut()?;
        let mut records = Records::new(&chunk.records[chunk.at..]);
        if let Some(RawRecord { opcode, body, offset }) = records.next() {
            let start = chunk.at + offset + PREFIX_LENGTH;
            let body = chunk.records.slice(start..start + body.len());
            chunk.at += records.position();
            return Some(Next::Record(StreamRecord { opcode, body, offset: chunk.offset, in_chunk: true }));
        }
        let (rest, offset) = (chunk.records.len() - chunk.at, chunk.offset);
        self.chunk = None;
        (rest > 0).then(|| lost(format!("a record is cut at the end of the chunk at byte {offset}: {rest} bytes")))
    }

    /// Returns the next record outside of chunks, or `None` for a chunk that was opened.
    fn at_record(&mut self) -> Option<Next> {
        let Some((kind, length)) = record::parse_prefix(&self.buffer) else {
            return Some(self.want(PREFIX_LENGTH));
        };
        let offset = self.offset;
        if length > RECORD_LIMIT {
            self.stage = Stage::Done;
            self.buffer.clear();
            return Some(lost(format!("a record of {length} bytes at byte {offset}: what follows cannot be told apart")));
        }
        let whole = PREFIX_LENGTH + length as usize;
        if self.buffer.len() < whole {
            return if self.ended && kind == opcode::CHUNK { self.torn_chunk() } else { Some(self.want(whole)) };
        }
        let body = self.take(whole).slice(PREFIX_LENGTH..);
        match kind {
            opcode::CHUNK => self.open_chunk(&body, offset),
            _ => {
                if kind == opcode::FOOTER {
                    self.stage = Stage::Done;
                }
                Some(Next::Record(StreamRecord { opcode: kind, body, offset, in_chunk: false }))
            }
        }
    }

    fn open_chunk(&mut self, body: &Bytes, offset: u64) -> Option<Next> {
        let opened = record::parse_chunk_header(body).map_err(|error| error.to_string()).and_then(|(header, start)| {
            let end = start.checked_add(usize::try_from(header.compressed_size).unwrap_or(usize::MAX));
            let stored = end.filter(|end| *end <= body.len()).map(|end| body.slice(start..end));
            self.decompressor.decompress(&header, stored.ok_or("its sizes do not fit")?)
        });
        match opened {
            Ok(records) => {
                self.chunk = Some(OpenChunk { records, at: 0, offset });
                None
            }
            Err(why) => Some(lost(format!("damaged chunk: {why}, at byte {offset}"))),
        }
    }

    /// Opens what is there of the chunk in which the stream ends.
    fn torn_chunk(&mut self) -> Option<Next> {
        let offset = self.offset;
        let body = self.take(self.buffer.len()).slice(PREFIX_LENGTH..);
        self.stage = Stage::Done;
        let records = record::parse_chunk_header(&body).map(|(header, start)| decompress::torn(&header, body.slice(start..)));
        let records = records.unwrap_or_default();
        let mut whole = Records::new(&records);
        whole.by_ref().for_each(drop);
        let length = whole.position();
        self.chunk = Some(OpenChunk { records: records.slice(..length), at: 0, offset });
        Some(lost(format!("torn chunk at byte {offset}: the stream ends in it")))
    }

    fn want(&mut self, whole: usize) -> Next {
        if !self.ended {
            return Next::Wanted(whole - self.buffer.len());
        }
        self.stage = Stage::Done;
        let rest = self.take(self.buffer.len()).len();
        if rest == 0 { Next::End } else { lost(format!("the stream ends within a record: the last {rest} bytes")) }
    }

    fn take(&mut self, length: usize) -> Bytes {
        self.offset += length as u64;
        self.buffer.split_to(length).freeze()
    }
}

fn lost(reason: String) -> Next {
    Next::Lost(Loss { topic: None, start_ns: None, end_ns: None, messages: None, bytes: None, reason })
}
