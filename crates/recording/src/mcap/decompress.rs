//! Taking chunks apart: from the bytes as stored to the records, checked.
//!
//! **Invariant:** never more than the chunk's declared size comes out, and that is at most [`UNCOMPRESSED_LIMIT`].

use std::io::{self, Read};

use bytes::Bytes;

use super::write::ChunkHeader;

/// The largest chunk that is read, as stored.
pub const COMPRESSED_LIMIT: u64 = 1 << 30;

/// The largest chunk that is read, uncompressed; one message can have 200 MB.
pub const UNCOMPRESSED_LIMIT: u64 = 2 << 30;

/// The best ratio LZ4 can have: a declared size beyond it is a lie.
const LZ4_RATIO_LIMIT: u64 = 256;

/// How many times its stored size a zstd frame may claim to be for its memory to be taken at once; else it is taken as it fills.
const ZSTD_BELIEVED_RATIO: u64 = 512;

/// What a disk writes as one.
const SECTOR: usize = 512;

/// Decompresses chunks one after the other, with the memory of the last one.
#[derive(Default)]
pub struct Decompressor {
    zstd: zstd::bulk::Decompressor<'static>,
}

impl Decompressor {
    /// Returns the records of a chunk, with their checksum checked where there is one.
    ///
    /// # Errors
    /// In words, why the chunk cannot be read.
    pub fn decompress(&mut self, header: &ChunkHeader, stored: Bytes) -> Result<Bytes, String> {
        let size = header.uncompressed_size;
        if stored.len() as u64 > COMPRESSED_LIMIT || size > UNCOMPRESSED_LIMIT {
            return Err(format!("{} bytes, {size} uncompressed, are more than one chunk may have", stored.len()));
        }
        let records = match header.compression.as_str() {
            "" => stored,
            _ if size == 0 && stored.is_empty() => stored,
            "zstd" => self.zstd(&stored, size)?,
            "lz4" => lz4(&stored, size)?,
            other => return Err(format!("unknown compression '{other}' (known are zstd, lz4 and none)")),
        };
        if records.len() as u64 != size {
            return Err(format!("it has {} of {size} bytes", records.len()));
        }
        if header.uncompressed_crc != 0 && crc32fast::hash(&records) != header.uncompressed_crc {
            return Err("its checksum does not fit".to_owned());
        }
        Ok(records)
    }

    fn zstd(&mut self, stored: &[u8], size: u64) -> Result<Bytes, String> {
        if let Ok(Some(content)) = zstd::zstd_safe::get_frame_content_size(stored) {
            if content > size {
                return Err(format!("zstd frame of {content} bytes in a chunk of {size}"));
            }
            if content <= stored.len() as u64 * ZSTD_BELIEVED_RATIO {
                let mut records = reserve(content)?;
                self.zstd.decompress_to_buffer(stored, &mut records).map_err(|error| wrong("zstd", &error))?;
                return Ok(records.into());
            }
        }
        let decoder = zstd::stream::read::Decoder::with_buffer(stored).map_err(|error| wrong("zstd", &error))?;
        read_up_to(decoder, size).1.map_err(|error| wrong("zstd", &error))
    }
}

/// Returns what can be decompressed of a chunk whose end is missing; nothing of it is verified.
pub fn prefix(header: &ChunkHeader, stored: Bytes) -> Bytes {
    let size = header.uncompressed_size.min(UNCOMPRESSED_LIMIT);
    match header.compression.as_str() {
        "" => stored.slice(..stored.len().min(usize::try_from(size).unwrap_or(usize::MAX))),
        "zstd" => zstd::stream::read::Decoder::with_buffer(&stored[..]).map(|decoder| read_up_to(decoder, size).0).unwrap_or_default(),
        "lz4" => read_up_to(lz4_flex::frame::FrameDecoder::new(&stored[..]), size).0,
        _ => Bytes::new(),
    }
}

/// Returns what can be decompressed of a chunk that a power cut may have torn; nothing of it is verified.
///
/// A sector that was not written reads as zeros. So many of them in a chunk, or any at its end, are taken for that: rather lose a
/// message more of a chunk that is torn anyway than show one that was never logged.
pub fn torn(header: &ChunkHeader, stored: Bytes) -> Bytes {
    let mut zeros = 0;
    let hole = stored.iter().position(|byte| {
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        zeros == SECTOR
    });
    let written = hole.map_or(stored.len(), |at| at + 1);
    let written = stored[..written].iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    prefix(header, stored.slice(..written))
}

fn lz4(stored: &[u8], size: u64) -> Result<Bytes, String> {
    if size > stored.len() as u64 * LZ4_RATIO_LIMIT {
        return Err(format!("lz4 cannot make {size} bytes of {}", stored.len()));
    }
    let mut records = reserve(size)?;
    let decoder = lz4_flex::frame::FrameDecoder::new(stored);
    decoder.take(size + 1).read_to_end(&mut records).map_err(|error| wrong("lz4", &error))?;
    Ok(records.into())
}

/// Says what is wrong with data that a library cannot decompress: its own words mean nothing to whoever recorded the file.
pub(crate) fn wrong(name: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => format!("its {name} data ends early"),
        _ => format!("its {name} data is damaged"),
    }
}

fn reserve(size: u64) -> Result<Vec<u8>, String> {
    let mut records = Vec::new();
    let size = usize::try_from(size).map_err(|error| error.to_string())?;
    records.try_reserve_exact(size).map_err(|_| format!("no memory for {size} bytes"))?;
    Ok(records)
}

/// Reads at most `size` bytes (one more says that there are too many); what was read, and the same or the error behind it.
fn read_up_to(decoder: impl Read, size: u64) -> (Bytes, io::Result<Bytes>) {
    let mut records = Vec::new();
    let outcome = decoder.take(size + 1).read_to_end(&mut records);
    let records = Bytes::from(records);
    (records.slice(..records.len().min(usize::try_from(size).unwrap_or(usize::MAX))), outcome.map(|_| records))
}
