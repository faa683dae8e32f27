//! Telling MCAP files from what else has their name.
//!
//! **Invariant:** a refusal says what the file is and what to do about it.

use crate::error::{Error, Result};
use crate::mcap::record::{MAGIC, opcode};
use crate::mcap::resync::{self, Belief, Effort};
use crate::mcap::window::Window;
use crate::source::ReadAt;

/// How far a file whose first page is damaged is searched for a record.
const SEARCH_LENGTH: u64 = 64 << 20;

/// What other files begin with, what they are, and what to do.
const OTHERS: [(&[u8], &str); 9] = [
    (b"version https://git-lfs", "a Git LFS pointer and not the recording itself: fetch it with 'git lfs pull'"),
    (b"#ROSBAG", "a ROS 1 bag of another version than 2.0, which is what is read"),
    (b"SQLite format 3", "a SQLite database without its whole header"),
    (b"ULog", "a PX4 log without its whole header"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd twice: decompress it with 'zstd -d' first"),
    (b"\x04\x22\x4d\x18", "compressed with lz4: decompress it with 'lz4 -d' first"),
    (b"\x1f\x8b", "compressed with gzip: decompress it with 'gunzip' first"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"{", "JSON text and no recording"),
];

/// Returns what begins so, and what to do about it, where it is something that is known and not read.
pub fn other_format(start: &[u8]) -> Option<&'static str> {
    OTHERS.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, what)| *what)
}

/// Checks that a source is an MCAP file, if perhaps a damaged one.
///
/// # Errors
/// `Invalid` for an empty file and for anything else, saying what it is where that can be told.
pub fn refuse_other_formats(source: &dyn ReadAt) -> Result<()> {
    let mut window = Window::new(source)?;
    let length = window.length();
    if length == 0 {
        return Err(Error::invalid("an empty file: nothing was recorded in it, or copying it failed"));
    }
    let start = window.get(0, 32)?.to_vec();
    if start.starts_with(MAGIC) || (start.len() < MAGIC.len() && MAGIC.starts_with(&start)) {
        return Ok(());
    }
    if let Some(what) = other_format(&start) {
        return Err(Error::invalid(what));
    }
    if window.get(length.saturating_sub(MAGIC.len() as u64), MAGIC.len())? == MAGIC {
        return Ok(());
    }
    let first = resync::find(source, 0, length.min(SEARCH_LENGTH), Belief { effort: &Effort::new(length), loose_messages: None })?;
    let kind = first.map(|at| window.get(at, 1).map(|kind| kind.first().copied())).transpose()?.flatten();
    if matches!(kind, Some(opcode::CHUNK | opcode::MESSAGE_INDEX | opcode::CHANNEL | opcode::SCHEMA | opcode::METADATA)) {
        return Ok(());
    }
    let shown: String = start.iter().take(16).map(|byte| byte.escape_ascii().to_string()).collect();
    Err(Error::invalid(format!(
        "none of the formats that are read (MCAP, ROS 1 bag, SQLite file of rosbag2, PX4 ULog, dora): it begins with \"{shown}\" and has no \
         MCAP record in its first {}",
        crate::size::format(length.min(SEARCH_LENGTH))
    )))
}
