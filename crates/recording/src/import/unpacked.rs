//! What rosbag2 compressed: single messages, and whole files.
//!
//! In comes a container or the source of a file, out comes the same as if it had not been compressed.
//!
//! **Invariant:** nothing grows beyond its limit, whatever a frame claims, and what is no frame stays as it is.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::container::{Block, Chunk, Container, Index, Loaded, Location, Place};
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::source::ReadAt;

/// The largest message that is decompressed.
pub const MESSAGE_LIMIT: u64 = 256 << 20;

/// The most that the messages of one block may be, decompressed.
pub const BLOCK_LIMIT: u64 = 1 << 30;

/// The largest file that is decompressed.
pub const FILE_LIMIT: u64 = 256 << 30;

/// The best ratio zstd can have: a block of 128 KiB in 4 bytes. A claimed size beyond it is a lie.
const RATIO_LIMIT: u64 = 32 << 10;

/// How a zstd frame begins.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// How far a frame may look back, as a power of two: 128 MiB.
const WINDOW_LOG_LIMIT: u32 = 27;

/// How much is read and written at once.
const PIECE: usize = 1 << 20;

/// Returns a container whose messages are each a zstd frame (`compression_mode: MESSAGE`) as one whose messages are not. A message that
/// is no frame is as it was, so that it does no harm where nothing is compressed.
pub fn messages(container: Arc<dyn Container>) -> Arc<dyn Container> {
    Arc::new(Messages { container })
}

/// Returns a container that reads its own source instead of the one it is given: the decompressed file.
pub fn with_source(container: Arc<dyn Container>, source: Arc<dyn ReadAt>) -> Arc<dyn Container> {
    Arc::new(Elsewhere { container, source })
}

/// Decompresses a whole file (`compression_mode: FILE`) into a temporary one that has no name. Where the file is damaged, what comes before
/// is there, and the reason comes with it.
///
/// # Errors
/// `Invalid` for a file that is not compressed with zstd or is larger than `limit`; what reading and writing answer.
pub fn file(source: &dyn ReadAt, limit: u64) -> Result<(File, Option<String>)> {
    let mut first = [0; 4];
    let filled = source.read_full_at(0, &mut first).map_err(|error| Error::io("cannot read the compressed file", error))?;
    if first[..filled] != ZSTD_MAGIC {
        return Err(Error::invalid("its name says that it is compressed with zstd, and it is not"));
    }
    let write_failed = |error| Error::io("cannot write a temporary file for the decompressed recording", error);
    let mut out = tempfile::tempfile().map_err(write_failed)?;
    let stream = Stream { source, at: 0, failed: None };
    let mut decoder = zstd::stream::read::Decoder::new(stream).map_err(|error| Error::io("cannot decompress", error))?;
    decoder.window_log_max(WINDOW_LOG_LIMIT).map_err(|error| Error::io("cannot decompress", error))?;
    let (mut piece, mut written) = (vec![0; PIECE], 0);
    loop {
        match decoder.read(&mut piece) {
            Ok(0) => return Ok((out, None)),
            Ok(count) => {
                written += count as u64;
                if written > limit {
                    return Err(Error::invalid(format!("decompressed it has more than {limit} bytes: decompress it with 'zstd -d' first")));
                }
                out.write_all(&piece[..count]).map_err(write_failed)?;
            }
            Err(error) => {
                if let Some(kind) = decoder.get_ref().get_ref().failed {
                    return Err(Error::io("cannot read the compressed file", kind.into()));
                }
                return Ok((out, Some(format!("its compression is damaged after {written} decompressed bytes: {error}"))));
            }
        }
    }
}

/// Reads a source front to back.
struct Stream<'a> {
    source: &'a dyn ReadAt,
    at: u64,
    failed: Option<io::ErrorKind>,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read_at(self.at, buffer);
        match &read {
            Ok(count) => self.at += *count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.failed = Some(error.kind()),
        }
        read
    }
}

#[derive(Debug)]
struct Messages {
    container: Arc<dyn Container>,
}

impl Container for Messages {
    fn index(&self) -> &Index {
        self.container.index()
    }

    fn load(
        &self,
        source: &dyn ReadAt,
        block: usize,
        wanted: &mut dyn FnMut(u16, i64) -> bool,
    ) -> Result<std::result::Result<Loaded, String>> {
        let loaded = match self.container.load(source, block, wanted)? {
            Ok(loaded) if loaded.places.iter().any(|place| is_frame(&loaded, place)) => loaded,
            other => return Ok(other),
        };
        let mut decompressor = match zstd::bulk::Decompressor::new() {
            Ok(decompressor) => decompressor,
            Err(error) => return Ok(Err(format!("zstd: {error}"))),
        };
        if let Err(error) = decompressor.window_log_max(WINDOW_LOG_LIMIT) {
            return Ok(Err(format!("zstd: {error}")));
        }
        let mut out = Loaded { losses: loaded.losses.clone(), ..Loaded::default() };
        let mut bytes = Vec::new();
        for place in &loaded.places {
            let stored = &loaded.bytes[place.payload()];
            let start = bytes.len();
            let left = BLOCK_LIMIT.saturating_sub(start as u64).min(MESSAGE_LIMIT);
            let read = if is_frame(&loaded, place) {
                unpack(&mut decompressor, stored, left, &mut bytes)
            } else {
                bytes.extend_from_slice(stored);
                Ok(())
            };
            match read {
                Ok(()) => out.places.push(Place { start: start as u32, length: (bytes.len() - start) as u32, ..*place }),
                Err(why) => {
                    bytes.truncate(start);
                    let topic = self.index().topics.get(&place.channel).map(|topic| topic.name.clone());
                    let time_ns = Some(place.log_time_ns);
                    let reason = format!("a compressed message of {} bytes: {why}", stored.len());
                    let size = Some(stored.len() as u64);
                    out.losses.push(Loss { topic, start_ns: time_ns, end_ns: time_ns, messages: Some(1), bytes: size, reason });
                }
            }
        }
        out.bytes = bytes.into();
        Ok(Ok(out))
    }

    fn losses(&self, source: &dyn ReadAt, block: usize, why: &str) -> Result<Vec<Loss>> {
        self.container.losses(source, block, why)
    }

    fn has_byte_ranges(&self) -> bool {
        self.container.has_byte_ranges()
    }

    fn location(&self, _block: &Block, _chunk: Option<&Chunk>, _place: &Place) -> Option<Location> {
        None
    }
}

fn is_frame(loaded: &Loaded, place: &Place) -> bool {
    loaded.bytes.get(place.payload()).is_some_and(|payload| payload.starts_with(&ZSTD_MAGIC))
}

/// Appends what a frame holds.
fn unpack(decompressor: &mut zstd::bulk::Decompressor<'_>, stored: &[u8], limit: u64, out: &mut Vec<u8>) -> Result<(), String> {
    let claimed = zstd::zstd_safe::get_frame_content_size(stored).ok().flatten();
    let Some(size) = claimed else {
        let decoder = zstd::stream::read::Decoder::with_buffer(stored).map_err(|error| format!("zstd: {error}"))?;
        let read = decoder.take(limit + 1).read_to_end(out).map_err(|error| format!("zstd: {error}"))?;
        return if read as u64 > limit { Err(too_large(limit)) } else { Ok(()) };
    };
    if size > limit {
        return Err(too_large(limit));
    }
    if size > stored.len() as u64 * RATIO_LIMIT {
        return Err(format!("it claims {size} bytes, which cannot be in it"));
    }
    let mut content = Vec::new();
    content.try_reserve_exact(size as usize).map_err(|_| format!("no memory for {size} bytes"))?;
    decompressor.decompress_to_buffer(stored, &mut content).map_err(|error| format!("zstd: {error}"))?;
    out.extend_from_slice(&content);
    Ok(())
}

fn too_large(limit: u64) -> String {
    format!("decompressed it has more than {limit} bytes")
}

#[derive(Clone)]
struct Elsewhere {
    container: Arc<dyn Container>,
    source: Arc<dyn ReadAt>,
}

impl std::fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Elsewhere").field("container", &self.container).finish_non_exhaustive()
    }
}

impl Container for Elsewhere {
    fn index(&self) -> &Index {
        self.container.index()
    }

    fn load(
        &self,
        _source: &dyn ReadAt,
        block: usize,
        wanted: &mut dyn FnMut(u16, i64) -> bool,
    ) -> Result<std::result::Result<Loaded, String>> {
        self.container.load(self.source.as_ref(), block, wanted)
    }

    fn losses(&self, _source: &dyn ReadAt, block: usize, why: &str) -> Result<Vec<Loss>> {
        self.container.losses(self.source.as_ref(), block, why)
    }

    fn has_byte_ranges(&self) -> bool {
        self.container.has_byte_ranges()
    }

    fn location(&self, block: &Block, chunk: Option<&Chunk>, place: &Place) -> Option<Location> {
        self.container.location(block, chunk, place)
    }
}
