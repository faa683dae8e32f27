//! Every key of DESIGN §4: the same below a tape's folder and in a bucket.
//!
//! **Invariant:** every key has a '/', none has `..`, and none can leave the folder it is joined to.

use crate::error::{Error, Result};
use crate::time::{Timestamp, format_day};

/// The longest device, host or buffer name, in bytes.
pub const NAME_LIMIT: usize = 64;

/// Checks the name of a device, host or buffer: letters, digits, `.`, `_` and `-`, not starting with a dot.
///
/// # Errors
/// `Invalid`, naming `what` it is and the value.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > NAME_LIMIT || name.starts_with('.') || !name.chars().all(good) {
        return Err(Error::invalid(format!(
            "not a name for a {what}: '{name}' (use up to {NAME_LIMIT} letters, digits, '.', '_' and '-', not beginning with a '.')"
        )));
    }
    Ok(())
}

/// Returns `name` with every character that a name may not have replaced by `_`.
pub fn to_name(name: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let mut clean: String = name.chars().take(NAME_LIMIT).map(|c| if good(c) { c } else { '_' }).collect();
    if clean.is_empty() || clean.starts_with('.') {
        clean.insert(0, '_');
        clean.truncate(NAME_LIMIT);
    }
    clean
}

/// Returns the folder of a device.
pub fn device(device: &str) -> String {
    format!("devices/{device}")
}

/// Returns the key of a recording's manifest.
pub fn manifest(device: &str, recording_id: &str) -> String {
    format!("devices/{device}/{recording_id}.json")
}

/// Returns the folder of a device's segments.
pub fn segments(device: &str) -> String {
    format!("devices/{device}/segments")
}

/// Returns the key of a segment that began at `start_ns`.
pub fn segment(device: &str, start_ns: Timestamp, name: &SegmentName) -> String {
    format!("devices/{device}/segments/{}/{}", format_day(start_ns), name.file_name())
}

/// The parts of a segment's file name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SegmentName {
    /// The computer.
    pub host: String,
    /// The opening of the tape.
    pub boot: u64,
    /// The buffer.
    pub buffer: String,
    /// The segment's persistent number in its buffer.
    pub number: u64,
}

impl SegmentName {
    /// Returns `<host>-<boot>-<buffer>-<number>.mcap`, with the boot as 12 hexadecimal digits.
    pub fn file_name(&self) -> String {
        format!("{}-{:012x}-{}-{:010}.mcap", self.host, self.boot, self.buffer, self.number)
    }

    /// Parses a file name that [`Self::file_name`] made.
    pub fn parse(file_name: &str) -> Option<Self> {
        let stem = file_name.strip_suffix(".mcap")?;
        let (rest, number) = stem.rsplit_once('-')?;
        let number = number.parse().ok()?;
        // The boot is the first part that looks like one: a host's name must not hold such a part.
        let mut at = 0;
        for part in rest.split('-') {
            let end = at + part.len();
            if at > 0 && is_boot(part) && end < rest.len() {
                let boot = u64::from_str_radix(part, 16).ok()?;
                return Some(Self { host: rest[..at - 1].to_owned(), boot, buffer: rest[end + 1..].to_owned(), number });
            }
            at = end + 1;
        }
        None
    }
}

/// Returns whether a part of a name would be taken for a boot.
pub fn is_boot(part: &str) -> bool {
    part.len() == 12 && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Checks a key that came from outside before it is joined to a folder.
///
/// # Errors
/// `Invalid` for an absolute key, one with `..`, `.` or empty parts, a backslash or a NUL.
pub fn check(key: &str) -> Result<()> {
    let bad_part = |part: &str| part.is_empty() || part == "." || part == "..";
    if !key.contains('/') || key.contains(['\\', '\0']) || key.split('/').any(bad_part) {
        return Err(Error::invalid(format!("not a key: {key:?}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_round_trip() {
        let name = SegmentName { host: "jetson-1".into(), boot: 0xabcdef, buffer: "raw-cameras".into(), number: 42 };
        assert_eq!(name.file_name(), "jetson-1-000000abcdef-raw-cameras-0000000042.mcap");
        assert_eq!(SegmentName::parse(&name.file_name()), Some(name));
        assert_eq!(SegmentName::parse("foo.mcap"), None);
        assert_eq!(SegmentName::parse("a-b-c-1.mcap"), None);
    }

    #[test]
    fn keys_stay_in_their_folder() {
        assert!(check("devices/a/b.json").is_ok());
        for wrong in ["", "x", "/etc/passwd", "a/../b", "a//b", "a/./b", "a\\b/c", "a/"] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
        assert_eq!(to_name("my robot/1"), "my_robot_1");
        assert_eq!(to_name(""), "_");
        assert!(check_name("device", "rover 7").is_err());
    }
}
