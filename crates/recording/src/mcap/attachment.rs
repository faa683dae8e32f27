//! Attachments: files inside of a file, copied from one MCAP file into another in pieces.
//!
//! **Invariant:** an attachment whose checksum does not fit is not handed on as if it were whole.

use super::record::{self, opcode};
use super::window;
use super::write::{AttachmentHeader, PREFIX_LENGTH};
use crate::error::Result;
use crate::source::ReadAt;

/// How much of an attachment is held at a time.
const PIECE: u64 = 1 << 20;

/// The longest name and media type together.
const NAMES_LIMIT: u64 = 64 << 10;

/// An attachment in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// What it says of itself.
    pub header: AttachmentHeader,
    /// Where its record begins.
    pub offset: u64,
    /// How long its record is, without what a newer version of the format may have added.
    pub length: u64,
    /// The checksum of everything in front of the checksum.
    pub crc: u32,
}

/// Reads what an Attachment record at `offset` says, and checks all of it; or says why it cannot be used.
///
/// # Errors
/// Only what reading the source answers.
pub fn check(source: &dyn ReadAt, offset: u64, length: u64) -> Result<std::result::Result<Attachment, String>> {
    let start = window::read(source, offset, length.min(NAMES_LIMIT))?;
    let Some((header, data_at)) = parse_header(&start) else { return Ok(Err("it does not hold what it should".to_owned())) };
    let covered = (data_at as u64 - PREFIX_LENGTH as u64).checked_add(header.size);
    let Some(covered) = covered.filter(|covered| covered.checked_add(PREFIX_LENGTH as u64 + 4).is_some_and(|end| end <= length)) else {
        return Ok(Err(format!("it says that it has {} bytes, which are more than there are", header.size)));
    };
    let mut hasher = crc32fast::Hasher::new();
    let whole = pieces(source, offset + PREFIX_LENGTH as u64, covered, &mut |piece| {
        hasher.update(piece);
        Ok(())
    })?;
    let stored = window::read(source, offset + PREFIX_LENGTH as u64 + covered, 4)?;
    let (Some(stored), true) = (stored.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)), whole) else {
        return Ok(Err("the file ends within it".to_owned()));
    };
    let crc = hasher.finalize();
    if stored != 0 && stored != crc {
        return Ok(Err("its checksum does not fit".to_owned()));
    }
    Ok(Ok(Attachment { header, offset, length: PREFIX_LENGTH as u64 + covered + 4, crc }))
}

/// Hands the record of a checked attachment to `write`, in pieces.
///
/// # Errors
/// What reading the source and `write` answer.
pub fn copy(source: &dyn ReadAt, attachment: &Attachment, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut prefix = vec![opcode::ATTACHMENT];
    prefix.extend_from_slice(&(attachment.length - PREFIX_LENGTH as u64).to_le_bytes());
    write(&prefix)?;
    pieces(source, attachment.offset + PREFIX_LENGTH as u64, attachment.length - PREFIX_LENGTH as u64 - 4, write)?;
    write(&attachment.crc.to_le_bytes())
}

/// Returns whether all of the bytes were there.
fn pieces(source: &dyn ReadAt, from: u64, length: u64, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
    let mut at = 0;
    while at < length {
        let piece = window::read(source, from + at, PIECE.min(length - at))?;
        if piece.is_empty() {
            return Ok(false);
        }
        take(&piece)?;
        at += piece.len() as u64;
    }
    Ok(true)
}

/// Returns the fields in front of the data, and where that begins in the record.
fn parse_header(bytes: &[u8]) -> Option<(AttachmentHeader, usize)> {
    let (kind, _) = record::parse_prefix(bytes)?;
    let rest = bytes.get(PREFIX_LENGTH..).filter(|_| kind == opcode::ATTACHMENT)?;
    let (log_time, rest) = rest.split_first_chunk()?;
    let (create_time, rest) = rest.split_first_chunk()?;
    let (name, rest) = text(rest)?;
    let (media_type, rest) = text(rest)?;
    let (size, rest) = rest.split_first_chunk()?;
    let header = AttachmentHeader {
        log_time_ns: u64::from_le_bytes(*log_time),
        create_time_ns: u64::from_le_bytes(*create_time),
        name,
        media_type,
        size: u64::from_le_bytes(*size),
    };
    Some((header, bytes.len() - rest.len()))
}

fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((String::from_utf8_lossy(text).into_owned(), rest))
}
