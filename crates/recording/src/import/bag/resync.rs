//! Finding the next record behind damage.
//!
//! **Invariant:** a record is believed where every field of its header is: chance does not make an `op=` in a chain of lengths.

use super::record::{self, Parsed, Record};

/// The longest header that a search believes.
pub(super) const SEARCH_HEADER_LIMIT: usize = 8 << 10;

/// The field that every header has, without its value.
const OP: &[u8] = b"\x04\0\0\0op=";

/// Returns the first byte from `from` on where a record begins that `believed` takes.
///
/// Headers that begin in the last [`SEARCH_HEADER_LIMIT`] bytes may be overlooked where more bytes follow.
pub(super) fn find(bytes: &[u8], from: usize, believed: impl Fn(usize, &Record<'_>) -> bool) -> Option<usize> {
    // No header has two of these fields, so that none reaches back over the last one.
    let mut at = from;
    while let Some(hit) = position(bytes, at) {
        let lowest = at.max((hit + 1).saturating_sub(SEARCH_HEADER_LIMIT));
        let first = hit.checked_sub(record::LENGTH).filter(|first| *first >= lowest);
        let found = first.and_then(|first| (lowest..=first).rev().find(|start| begins(bytes, *start, hit, &believed)));
        if found.is_some() {
            return found;
        }
        at = hit + 1;
    }
    None
}

/// Returns whether a record begins at `start` whose header covers `hit`.
fn begins(bytes: &[u8], start: usize, hit: usize, believed: &impl Fn(usize, &Record<'_>) -> bool) -> bool {
    let Some(length) = record::u32_at(bytes, start) else { return false };
    let length = length as usize;
    if length > SEARCH_HEADER_LIMIT || start + record::LENGTH + length < hit + OP.len() + 1 {
        return false;
    }
    matches!(record::parse(&bytes[start..]), Parsed::Record(record) if believed(start, &record))
}

fn position(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(OP.len()).position(|window| window == OP).map(|at| from + at)
}

/// Returns whether bytes still look like the beginning of a header, if perhaps a damaged one: its first field has a name.
pub(super) fn resembles_header(bytes: &[u8]) -> bool {
    let name = bytes.get(2 * record::LENGTH..).unwrap_or_default();
    [&b"op="[..], b"conn=", b"time=", b"topic="].iter().any(|known| name.starts_with(known))
}
