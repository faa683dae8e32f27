//! Chunks: messages gathered on the hot path, then compressed and indexed off it.
//!
//! In come messages, out come the parts of a Chunk record and its MessageIndex records, ready to be written behind each other.
//!
//! **Invariant:** a payload of [`LARGE_PAYLOAD`] bytes or more is never copied here; it is carried by reference.

use std::io::Write;

use bytes::Bytes;

use super::write::{self, ChunkHeader, ChunkIndex, MESSAGE_PREFIX_LENGTH};

/// Payloads of this size and above have a chunk to themselves and are not copied into it.
pub const LARGE_PAYLOAD: usize = 64 << 10;

/// As much memory a [`Compressor`] keeps; what a large payload needed is given back.
const KEPT_OUTPUT: usize = 1 << 20;

/// How the records of a chunk are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4 frames.
    Lz4,
    /// Zstandard of a level from 1 to 22.
    Zstd(i32),
}

impl Compression {
    /// Returns MCAP's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Lz4 => "lz4",
            Compression::Zstd(_) => "zstd",
        }
    }
}

/// One message of a chunk, as its index needs it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    log_time_ns: u64,
    offset: u32,
    channel_id: u16,
}

/// Messages that will be one chunk.
#[derive(Debug)]
pub struct ChunkBuilder {
    records: Vec<u8>,
    large: Option<Bytes>,
    entries: Vec<Entry>,
    start_ns: u64,
    end_ns: u64,
}

/// What a chunk holds of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelCount {
    /// The channel.
    pub channel_id: u16,
    /// How many messages.
    pub messages: u64,
    /// How many payload bytes.
    pub bytes: u64,
}

/// A chunk as it is written: `prefix`, `body`, `large`, `indexes`, one behind the other.
#[derive(Debug)]
pub struct EncodedChunk {
    /// The Chunk record up to its records.
    pub prefix: Vec<u8>,
    /// The records as stored.
    pub body: Vec<u8>,
    /// The uncompressed payload of a large message, which belongs behind `body`.
    pub large: Option<Bytes>,
    /// The MessageIndex records.
    pub indexes: Vec<u8>,
    /// The chunk's entry in the summary, with offsets from the start of the chunk.
    pub index: ChunkIndex,
    /// What it holds, by channel.
    pub counts: Vec<ChannelCount>,
    /// Memory that the messages were in before they were compressed, for the next chunk.
    pub spare: Vec<u8>,
}

/// Compresses chunk after chunk: the memory that takes is used again.
#[derive(Default)]
pub struct Compressor {
    zstd: Option<(i32, zstd::bulk::Compressor<'static>)>,
    output: Vec<u8>,
}

impl Default for ChunkBuilder {
    fn default() -> Self {
        Self::with_buffer(Vec::new(), 0)
    }
}

impl ChunkBuilder {
    /// Returns an empty chunk that builds in `buffer` and has room for so many messages.
    pub fn with_buffer(mut buffer: Vec<u8>, messages: usize) -> Self {
        buffer.clear();
        Self { records: buffer, large: None, entries: Vec::with_capacity(messages), start_ns: u64::MAX, end_ns: 0 }
    }

    /// Returns a chunk of one large message, whose payload is not copied.
    pub fn large(channel_id: u16, sequence: u32, log_time_ns: u64, publish_time_ns: u64, payload: Bytes) -> Self {
        let mut chunk = Self::default();
        chunk.records.extend_from_slice(&write::message_prefix(channel_id, sequence, log_time_ns, publish_time_ns, payload.len()));
        chunk.note(Entry { log_time_ns, offset: 0, channel_id });
        chunk.large = Some(payload);
        chunk
    }

    /// Appends a message.
    #[inline]
    pub fn push(&mut self, channel_id: u16, sequence: u32, log_time_ns: u64, publish_time_ns: u64, payload: &[u8]) {
        let offset = u32::try_from(self.records.len()).expect("a chunk is closed long before it reaches 4 GiB");
        self.records.reserve(MESSAGE_PREFIX_LENGTH + payload.len());
        self.records.extend_from_slice(&write::message_prefix(channel_id, sequence, log_time_ns, publish_time_ns, payload.len()));
        self.records.extend_from_slice(payload);
        self.note(Entry { log_time_ns, offset, channel_id });
    }

    #[inline]
    fn note(&mut self, entry: Entry) {
        self.start_ns = self.start_ns.min(entry.log_time_ns);
        self.end_ns = self.end_ns.max(entry.log_time_ns);
        self.entries.push(entry);
    }

    /// Returns how many bytes its records have, uncompressed.
    pub fn size(&self) -> usize {
        self.records.len() + self.large.as_ref().map_or(0, Bytes::len)
    }

    /// Returns whether it has no messages.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns how many messages it has.
    pub fn messages(&self) -> usize {
        self.entries.len()
    }

    /// Returns the first and last log time; ns.
    pub fn times_ns(&self) -> (u64, u64) {
        (self.start_ns, self.end_ns)
    }

    /// Compresses and indexes the chunk. Where compression gains less than 3 %, it is stored as it is.
    pub fn encode(self, compression: Compression) -> EncodedChunk {
        self.encode_with(compression, &mut Compressor::default())
    }

    /// Does what [`Self::encode`] does, with memory of earlier chunks.
    pub fn encode_with(mut self, compression: Compression, compressor: &mut Compressor) -> EncodedChunk {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.records);
        if let Some(large) = &self.large {
            crc.update(large);
        }
        let uncompressed_size = self.size() as u64;
        let start_ns = if self.entries.is_empty() { 0 } else { self.start_ns };
        let compressed = compressor.compress(compression, &self.records, self.large.as_deref().unwrap_or(&[]));
        let (stored_as, body, large, spare) = match compressed {
            Some(body) => (compression, body, None, self.records),
            None => (Compression::None, self.records, self.large.take(), Vec::new()),
        };
        let header = ChunkHeader {
            start_ns,
            end_ns: self.end_ns,
            uncompressed_size,
            uncompressed_crc: crc.finalize(),
            compression: stored_as.name().to_owned(),
            compressed_size: (body.len() + large.as_ref().map_or(0, Bytes::len)) as u64,
        };
        let mut prefix = Vec::with_capacity(64);
        write::chunk_prefix(&mut prefix, &header);
        let length = prefix.len() as u64 + header.compressed_size;
        let (indexes, message_index_offsets, counts) = index(&self.entries, uncompressed_size, length);
        let index = ChunkIndex { header, offset: 0, length, message_index_offsets, message_index_length: indexes.len() as u64 };
        EncodedChunk { prefix, body, large, indexes, index, counts, spare }
    }
}

impl EncodedChunk {
    /// Returns how many bytes will be written.
    pub fn size(&self) -> u64 {
        self.index.length + self.index.message_index_length
    }

    /// Returns whether its records are compressed.
    pub fn is_compressed(&self) -> bool {
        !self.index.header.compression.is_empty()
    }

    /// Returns what is to be written, in order.
    pub fn parts(&self) -> [&[u8]; 4] {
        [&self.prefix, &self.body, self.large.as_deref().unwrap_or(&[]), &self.indexes]
    }
}

/// Makes the MessageIndex records, their offsets (from the chunk's start) and the counts, in order of channel ids.
fn index(entries: &[Entry], size: u64, chunk_length: u64) -> (Vec<u8>, Vec<(u16, u64)>, Vec<ChannelCount>) {
    let (order, ends) = by_channel(entries);
    let end_of = |i: u32| entries.get(i as usize + 1).map_or(size, |next| u64::from(next.offset));
    let mut bytes = Vec::with_capacity(entries.len() * 16 + 64);
    let (mut offsets, mut counts) = (Vec::new(), Vec::new());
    let mut at = 0;
    for end in ends {
        let group = &order[at..end as usize];
        at = end as usize;
        let Some(channel_id) = group.first().map(|&i| entries[i as usize].channel_id) else { continue };
        let mut payload = 0;
        offsets.push((channel_id, chunk_length + bytes.len() as u64));
        let times = group.iter().map(|&i| {
            let Entry { log_time_ns, offset, .. } = entries[i as usize];
            payload += end_of(i) - u64::from(offset) - MESSAGE_PREFIX_LENGTH as u64;
            (log_time_ns, u64::from(offset))
        });
        write::message_index(&mut bytes, channel_id, times);
        counts.push(ChannelCount { channel_id, messages: group.len() as u64, bytes: payload });
    }
    (bytes, offsets, counts)
}

/// Returns the entries' places ordered by channel, then as they came, and where each channel's group ends; a group may be empty.
///
/// Counting is linear: with thousands of channels in a chunk, comparing them takes longer than all else.
fn by_channel(entries: &[Entry]) -> (Vec<u32>, Vec<u32>) {
    let ids = || entries.iter().map(|entry| usize::from(entry.channel_id));
    let (Some(lowest), Some(highest)) = (ids().min(), ids().max()) else { return Default::default() };
    let mut next = vec![0; highest - lowest + 1];
    for id in ids() {
        next[id - lowest] += 1;
    }
    let mut start = 0;
    for next in &mut next {
        start += std::mem::replace(next, start);
    }
    let mut order = vec![0; entries.len()];
    for (i, id) in ids().enumerate() {
        let next = &mut next[id - lowest];
        order[*next as usize] = i as u32;
        *next += 1;
    }
    (order, next)
}

impl Compressor {
    /// Takes memory back, for the next chunk that is compressed.
    pub fn recycle(&mut self, memory: Vec<u8>) {
        if memory.capacity() <= KEPT_OUTPUT {
            self.output = memory;
        }
    }

    /// Returns the compressed bytes, or `None` where they would not be worth it.
    fn compress(&mut self, compression: Compression, records: &[u8], large: &[u8]) -> Option<Vec<u8>> {
        if compression == Compression::None {
            return None;
        }
        let size = records.len() + large.len();
        let mut output = std::mem::take(&mut self.output);
        output.clear();
        let compressed = match compression {
            Compression::None => return None,
            Compression::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(output);
                encoder.write_all(records).and_then(|()| encoder.write_all(large)).ok()?;
                encoder.finish().ok()?
            }
            Compression::Zstd(level) if large.is_empty() => {
                output.reserve(zstd::zstd_safe::compress_bound(size));
                self.zstd(level)?.compress_to_buffer(records, &mut output).ok()?;
                output
            }
            Compression::Zstd(level) => {
                let mut encoder = zstd::stream::Encoder::new(output, level).ok()?;
                encoder.set_pledged_src_size(Some(size as u64)).and_then(|()| encoder.include_contentsize(true)).ok()?;
                encoder.write_all(records).and_then(|()| encoder.write_all(large)).ok()?;
                encoder.finish().ok()?
            }
        };
        if compressed.len() + size / 33 < size {
            return Some(compressed);
        }
        self.recycle(compressed);
        None
    }

    fn zstd(&mut self, level: i32) -> Option<&mut zstd::bulk::Compressor<'static>> {
        if self.zstd.as_ref().is_none_or(|(known, _)| *known != level) {
            self.zstd = Some((level, zstd::bulk::Compressor::new(level).ok()?));
        }
        self.zstd.as_mut().map(|(_, compressor)| compressor)
    }
}

/// Returns the CRC-32 that MCAP uses.
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}
