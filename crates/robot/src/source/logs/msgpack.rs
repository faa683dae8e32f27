//! MessagePack: a body as the records in it.
//!
//! In come values one after the other, or arrays of them; out come slices, one per record, and what each of them says. `[time, record]`
//! and `[[time, metadata], record]` are records with their time, as Fluent Bit and Fluentd send them.
//!
//! **Invariant:** no claimed length makes an allocation, and what is read at a time has at most [`VALUE_LIMIT`] values.

use jiff::Timestamp;
use recording::{Error, Result};
use serde_json::{Map, Value, json};

use crate::source::http::unit_by_size;
use crate::source::json::hex;

/// How many values one record may have: each takes a byte of the body, and a hundred bytes of memory.
const VALUE_LIMIT: usize = 100_000;
/// How deep values may be nested, as in JSON.
const DEPTH_LIMIT: usize = 128;

/// Returns the records of a body, up to one more than `limit`; the last one is an error where the rest cannot be understood.
pub(super) fn pieces(body: &[u8], limit: usize) -> Vec<Result<&[u8]>> {
    let mut reader = Reader { rest: body };
    let mut pieces = Vec::new();
    while !reader.rest.is_empty() && pieces.len() <= limit {
        let Some(whole) = reader.piece() else {
            pieces.push(Err(Error::invalid("not MessagePack, or not all of it")));
            break;
        };
        let mut inside = Reader { rest: whole };
        match inside.head() {
            Some(Head::Array(_)) if event(whole).is_none() => {
                let room = limit + 1 - pieces.len();
                pieces.extend(std::iter::from_fn(|| inside.piece()).take(room).map(Ok));
            }
            _ => pieces.push(Ok(whole)),
        }
    }
    pieces
}

/// Returns what a record says, and its time if that stands beside it; ns UTC.
///
/// # Errors
/// `Invalid` for too many values, or too deep ones.
pub(super) fn read(piece: &[u8]) -> Result<(Option<i64>, Value)> {
    let values = Reader { rest: piece }.skip().unwrap_or_default();
    if values > VALUE_LIMIT {
        return Err(Error::invalid(format!("a record of {values} values; at most {VALUE_LIMIT}")));
    }
    match event(piece) {
        Some((time_ns, record)) => Ok((Some(time_ns), Reader { rest: record }.value(0)?)),
        None => Ok((None, Reader { rest: piece }.value(0)?)),
    }
}

/// Returns time and record of an event.
fn event(piece: &[u8]) -> Option<(i64, &[u8])> {
    let mut reader = Reader { rest: piece };
    let Head::Array(2) = reader.head()? else { return None };
    let mut time = Reader { rest: reader.piece()? };
    let time_ns = match time.head()? {
        // Beside the time stands what is known of the event.
        Head::Array(2) => time_of(&time.head()?)?,
        head => time_of(&head)?,
    };
    let record = reader.rest;
    matches!(reader.head()?, Head::Map(_)).then_some((time_ns, record))
}

fn time_of(head: &Head<'_>) -> Option<i64> {
    match *head {
        Head::Unsigned(number) => {
            let number = i64::try_from(number).ok()?;
            number.checked_mul(unit_by_size(number))
        }
        Head::Float(number) => Some((number * unit_by_size(number as i64) as f64) as i64),
        Head::Extension(kind, bytes) => stamp(kind, bytes),
        _ => None,
    }
}

/// Returns the time that an extension is: MessagePack's own, or Fluentd's.
fn stamp(kind: i8, bytes: &[u8]) -> Option<i64> {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let (seconds, ns) = match (kind, bytes.len()) {
        (0, 8) => (number(&bytes[..4]), number(&bytes[4..])),
        (-1, 4) => (number(bytes), 0),
        (-1, 8) => (number(bytes) & 0x3_ffff_ffff, number(bytes) >> 34),
        (-1, 12) => (number(&bytes[4..]), number(&bytes[..4])),
        _ => return None,
    };
    (seconds as i64).checked_mul(1_000_000_000)?.checked_add(ns as i64)
}

/// How a value begins; texts, bytes and extensions are whole.
#[derive(Debug, PartialEq)]
enum Head<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Extension(i8, &'a [u8]),
    Array(usize),
    Map(usize),
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn head(&mut self) -> Option<Head<'a>> {
        let marker = *self.bytes(1)?.first()?;
        Some(match marker {
            0x00..=0x7f => Head::Unsigned(marker.into()),
            0x80..=0x8f => Head::Map(usize::from(marker & 0x0f)),
            0x90..=0x9f => Head::Array(usize::from(marker & 0x0f)),
            0xa0..=0xbf => Head::Text(self.bytes(usize::from(marker & 0x1f))?),
            0xc0 => Head::Nil,
            0xc1 => return None,
            0xc2 | 0xc3 => Head::Bool(marker == 0xc3),
            0xc4..=0xc6 => Head::Bytes(self.counted(1 << (marker - 0xc4))?),
            0xc7..=0xc9 => {
                let length = self.length(1 << (marker - 0xc7))?;
                self.extension(length)?
            }
            0xca => Head::Float(f32::from_bits(self.number(4)? as u32).into()),
            0xcb => Head::Float(f64::from_bits(self.number(8)?)),
            0xcc..=0xcf => Head::Unsigned(self.number(1 << (marker - 0xcc))?),
            0xd0..=0xd3 => {
                let width = 1 << (marker - 0xd0);
                let unused = 64 - 8 * width as u32;
                Head::Signed((self.number(width)? << unused) as i64 >> unused)
            }
            0xd4..=0xd8 => self.extension(1 << (marker - 0xd4))?,
            0xd9..=0xdb => Head::Text(self.counted(1 << (marker - 0xd9))?),
            0xdc | 0xdd => Head::Array(self.length(2 << (marker - 0xdc))?),
            0xde | 0xdf => Head::Map(self.length(2 << (marker - 0xde))?),
            0xe0..=0xff => Head::Signed((marker as i8).into()),
        })
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    fn number(&mut self, width: usize) -> Option<u64> {
        Some(self.bytes(width)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self, width: usize) -> Option<usize> {
        usize::try_from(self.number(width)?).ok()
    }

    fn counted(&mut self, width: usize) -> Option<&'a [u8]> {
        let length = self.length(width)?;
        self.bytes(length)
    }

    fn extension(&mut self, length: usize) -> Option<Head<'a>> {
        let kind = self.number(1)? as u8 as i8;
        Some(Head::Extension(kind, self.bytes(length)?))
    }

    /// Returns the bytes of the next value.
    fn piece(&mut self) -> Option<&'a [u8]> {
        let before = self.rest;
        self.skip()?;
        Some(&before[..before.len() - self.rest.len()])
    }

    /// Passes over a value, and returns how many there are in it.
    fn skip(&mut self) -> Option<usize> {
        let (mut left, mut passed) = (1usize, 0usize);
        while left > 0 {
            let inside = match self.head()? {
                Head::Array(length) => length,
                Head::Map(length) => length.checked_mul(2)?,
                _ => 0,
            };
            left = (left - 1).checked_add(inside)?;
            passed += 1;
        }
        Some(passed)
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        if depth > DEPTH_LIMIT {
            return Err(Error::invalid(format!("a record is nested more than {DEPTH_LIMIT} deep")));
        }
        Ok(match self.head().ok_or_else(|| Error::invalid("not MessagePack"))? {
            Head::Nil => Value::Null,
            Head::Bool(value) => value.into(),
            Head::Unsigned(value) => value.into(),
            Head::Signed(value) => value.into(),
            Head::Float(value) => value.into(),
            Head::Text(bytes) => String::from_utf8_lossy(bytes).into(),
            Head::Bytes(bytes) => std::str::from_utf8(bytes).map_or_else(|_| digits(bytes), str::to_owned).into(),
            Head::Extension(kind, bytes) => {
                let moment = stamp(kind, bytes).and_then(|ns| Timestamp::from_nanosecond(ns.into()).ok());
                moment.map_or_else(|| json!({ "extension": kind, "bytes": digits(bytes) }), |moment| moment.to_string().into())
            }
            Head::Array(length) => (0..length).map(|_| self.value(depth + 1)).collect::<Result<_>>()?,
            Head::Map(length) => {
                let mut map = Map::new();
                for _ in 0..length {
                    let key = match self.value(depth + 1)? {
                        Value::String(key) => key,
                        other => other.to_string(),
                    };
                    map.insert(key, self.value(depth + 1)?);
                }
                map.into()
            }
        })
    }
}

fn digits(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    hex(&mut digits, bytes);
    digits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(body: &[u8]) -> Vec<Result<(Option<i64>, Value), String>> {
        pieces(body, 100).into_iter().map(|piece| piece.and_then(read).map_err(|error| error.to_string())).collect()
    }

    #[test]
    fn values_of_every_type_are_read() {
        let body = b"\x8f\xa1a\xc0\xa1b\xc3\xa1c\xcc\xff\xa1d\xd1\xff\xfe\xa1e\xe0\xa1f\xca\x3f\x00\x00\x00\xa1g\xcb\x7f\xf8\0\0\0\0\0\0\
            \xa1h\xc4\x02hi\xa1i\xc4\x01\xff\xa1j\xd9\x01x\xa1k\xdc\x00\x01\x05\xa1l\xde\x00\x01\x07\x08\
            \xa1m\xd6\xff\x65\x53\xf1\x00\xa1n\xd4\x05\x01\xa1o\xd3\xff\xff\xff\xff\xff\xff\xff\xff";
        let expected = json!({
            "a": null, "b": true, "c": 255, "d": -2, "e": -32, "f": 0.5, "g": null, "h": "hi", "i": "ff", "j": "x", "k": [5],
            "l": { "7": 8 }, "m": "2023-11-14T22:13:20Z", "n": { "extension": 5, "bytes": "01" }, "o": -1,
        });
        assert_eq!(all(body), [Ok((None, expected))]);
    }

    #[test]
    fn records_stand_one_after_the_other_in_arrays_and_beside_their_times() {
        let record = (None, json!({ "a": 1 }));
        assert_eq!(all(b"\x81\xa1a\x01\x81\xa1a\x01"), [Ok(record.clone()), Ok(record.clone())]);
        assert_eq!(all(b"\x92\x81\xa1a\x01\x81\xa1a\x01"), [Ok(record.clone()), Ok(record.clone())]);
        // Fluentd's time, the same with metadata, MessagePack's in three lengths, seconds as a number; also in an array.
        let at = |ns| Ok((Some(ns), json!({ "a": 1 })));
        let body = b"\x92\xd7\x00\x65\x53\xf1\x00\0\0\0\x07\x81\xa1a\x01\x92\x92\xd7\x00\x65\x53\xf1\x00\0\0\0\x08\x80\x81\xa1a\x01";
        assert_eq!(all(body), [at(1_700_000_000_000_000_007), at(1_700_000_000_000_000_008)]);
        let short = b"\x91\x92\xd6\xff\x65\x53\xf1\x00\x81\xa1a\x01\x92\xd7\xff\x00\x00\x00\x04\x65\x53\xf1\x00\x81\xa1a\x01";
        assert_eq!(all(short), [at(1_700_000_000_000_000_000), at(1_700_000_000_000_000_001)]);
        let long = b"\x92\xc7\x0c\xff\0\0\0\x02\0\0\0\0\x65\x53\xf1\x00\x81\xa1a\x01\x92\xce\x65\x53\xf1\x00\x81\xa1a\x01";
        assert_eq!(all(long), [at(1_700_000_000_000_000_002), at(1_700_000_000_000_000_000)]);
        // What is behind the mistake is not understood, what is before it is.
        for broken in [b"\x81\xa1a\x01\xc1".as_slice(), b"\x81\xa1a\x01\x92\x80", b"\x81\xa1a\x01\xdd\xff\xff\xff\xff\x80"] {
            assert_eq!(all(broken), [Ok(record.clone()), Err("not MessagePack, or not all of it".into())]);
        }
    }

    #[test]
    fn small_bodies_do_not_become_large_values() {
        let many = [b"\xdd\x00\x28\x00\x00".as_slice(), &b"\x81\xa0\xc0".repeat(0x28_0000)].concat();
        assert_eq!(pieces(&many, 1000).len(), 1001);
        let nested = [b"\x81\xa0".as_slice(), &many].concat();
        assert_eq!(all(&nested), [Err(format!("a record of {} values; at most {VALUE_LIMIT}", 3 * 0x28_0000 + 3))]);
        // Deep nesting must not use up the stack.
        let deep = [[0x81, 0xa0].repeat(50_000), vec![0xc0]].concat();
        assert!(all(&deep)[0].as_ref().unwrap_err().contains("values"));
        let deep = [[0x81, 0xa0].repeat(1000), vec![0xc0]].concat();
        assert!(all(&deep)[0].as_ref().unwrap_err().contains("nested"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(pieces(&bytes, 1000).into_iter().all(|piece| piece.map_or(true, |piece| read(piece).is_ok() || !piece.is_empty())));
        }
    }
}
