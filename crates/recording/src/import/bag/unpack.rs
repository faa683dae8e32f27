//! Decompressing chunks, and what of a damaged one can still be trusted.
//!
//! **Invariant:** what comes out was checked, or is marked as doubtful; it never grows beyond [`UNPACKED_LIMIT`].

use std::io::Read;

use bytes::Bytes;

use super::content::Damaged;
use super::record::{self, Parsed};
use super::{blocks, lz4};
use crate::mcap::decompress;

/// The largest chunk that is read, decompressed; one message can have 200 MB.
pub(super) const UNPACKED_LIMIT: u64 = 2 << 30;

/// How much memory is taken for a chunk before any of it is decompressed.
const RESERVE_LIMIT: usize = 16 << 20;

/// How large a chunk may become whose size field says less.
const WRONG_SIZE_LIMIT: u64 = 64 << 20;

/// How much in front of the place where LZ4 does not go on may be damaged already: it notices late.
const LZ4_DOUBT: usize = 4 << 10;

/// How a chunk is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Bz2,
    Lz4,
    Unknown(String),
}

impl Compression {
    pub(super) fn parse(name: &[u8]) -> Self {
        match name {
            b"none" | b"" => Self::None,
            b"bz2" => Self::Bz2,
            b"lz4" => Self::Lz4,
            other => Self::Unknown(super::record::text(&other[..other.len().min(32)])),
        }
    }

    /// Returns its name as [`crate::container::Chunk`] has it.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::None => "",
            Self::Bz2 => "bz2",
            Self::Lz4 => "lz4",
            Self::Unknown(name) => name,
        }
    }
}

/// The records of a chunk.
pub(super) struct Unpacked {
    pub(super) bytes: Bytes,
    /// What a walk does at damage in them.
    pub(super) damaged: Damaged,
    /// Why there are not more of them.
    pub(super) wrong: Option<String>,
}

/// Decompresses a chunk as far as it can be trusted.
pub(super) fn unpack(compression: &Compression, stored: Bytes, size: u32) -> Unpacked {
    let wrong = |bytes: Vec<u8>, damaged, why: String| Unpacked { bytes: bytes.into(), damaged, wrong: Some(why) };
    match compression {
        // The records say themselves where they end.
        Compression::None => Unpacked { bytes: stored, damaged: Damaged::Search, wrong: None },
        Compression::Unknown(_) if stored.starts_with(b"BZh") => unpack(&Compression::Bz2, stored, size),
        Compression::Unknown(_) if stored.starts_with(&lz4::MAGIC) => unpack(&Compression::Lz4, stored, size),
        Compression::Unknown(_) if matches!(record::parse(&stored), Parsed::Record(_)) => unpack(&Compression::None, stored, size),
        Compression::Unknown(name) => {
            wrong(Vec::new(), Damaged::Search, format!("unknown compression '{name}' (known are none, bz2 and lz4)"))
        }
        Compression::Bz2 => match read("bz2", bzip2::read::BzDecoder::new(&stored[..]), size) {
            Ok(bytes) => Unpacked { bytes: bytes.into(), damaged: Damaged::Search, wrong: None },
            Err(why) => wrong(blocks::leading(&stored, limit(size)), Damaged::Search, why),
        },
        Compression::Lz4 => match read("lz4", lz4_flex::frame::FrameDecoder::new(&stored[..]), size) {
            // A frame that ends early ends without an error.
            Ok(bytes) if bytes.len() == size as usize => Unpacked { bytes: bytes.into(), damaged: Damaged::Search, wrong: None },
            Ok(bytes) if lz4::is_complete(&stored) => Unpacked { bytes: bytes.into(), damaged: Damaged::Search, wrong: None },
            outcome => {
                let why = outcome.err().unwrap_or_else(|| "its lz4 data ends early".to_owned());
                let (bytes, stopped) = lz4::leading(&stored, limit(size));
                // Where every block can be decompressed and the checksum does not fit, nobody knows which bytes are wrong.
                let bytes = if stopped { bytes } else { Vec::new() };
                wrong(bytes, Damaged::Stop(LZ4_DOUBT), why)
            }
        },
    }
}

/// Returns how much may come out of a chunk that says it has `size` bytes.
fn limit(size: u32) -> usize {
    usize::try_from(u64::from(size).clamp(WRONG_SIZE_LIMIT, UNPACKED_LIMIT)).unwrap_or(usize::MAX)
}

fn read(name: &str, decoder: impl Read, size: u32) -> Result<Vec<u8>, String> {
    let limit = limit(size);
    let mut bytes = Vec::new();
    // One byte more than expected shows the decoder its end without another allocation.
    let reserved = (size as usize).saturating_add(1).min(RESERVE_LIMIT);
    bytes.try_reserve_exact(reserved).map_err(|_| format!("no memory for {reserved} bytes"))?;
    decoder.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|error| decompress::wrong(name, &error))?;
    if bytes.len() > limit {
        return Err(format!("more than {limit} bytes come out of a chunk of {size}"));
    }
    Ok(bytes)
}
