//! Protobuf's wire format: tags and what they carry, borrowed from the bytes they stand in.
//!
//! **Invariant:** nothing is read behind the end, and nested groups cost no stack.

use crate::error::{Error, Result};

/// How deeply groups may nest within one field.
const GROUP_DEPTH_LIMIT: usize = 100;

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const SIZED: u64 = 2;
const GROUP: u64 = 3;
const END_GROUP: u64 = 4;
const FIXED32: u64 = 5;

/// What one tag carries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    /// Text, bytes, an embedded message or packed numbers.
    Sized(&'a [u8]),
    /// What stands between the start and the end of a group.
    Group(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// Returns the bytes of an embedded message, whichever way it is embedded.
    pub(crate) fn message(self) -> Option<&'a [u8]> {
        match self {
            Self::Sized(bytes) | Self::Group(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Returns the number of a varint.
    pub(crate) fn varint(self) -> Option<u64> {
        if let Self::Varint(number) = self { Some(number) } else { None }
    }
}

/// A message being read, tag by tag.
#[derive(Clone, Debug)]
pub(crate) struct Wire<'a> {
    rest: &'a [u8],
}

impl<'a> Wire<'a> {
    /// Returns the tags of a message.
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns how many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Reads the next number and what it carries; `None` at the end.
    ///
    /// # Errors
    /// `Corrupt` where the bytes are no protobuf message.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = number_of(tag)?;
        let value = match tag & 7 {
            VARINT => Value::Varint(self.varint()?),
            FIXED64 => Value::Fixed64(self.fixed64()?),
            SIZED => Value::Sized(self.sized()?),
            GROUP => Value::Group(self.group(number)?),
            FIXED32 => Value::Fixed32(self.fixed32()?),
            _ => return Err(malformed("a wire type that protobuf does not have")),
        };
        Ok(Some((number, value)))
    }

    /// Reads a variable-length number.
    ///
    /// # Errors
    /// `Corrupt` where it does not end within 10 bytes.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64> {
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64> {
        let mut number = 0;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(number);
            }
        }
        Err(malformed("a number without an end"))
    }

    /// Reads 8 bytes.
    ///
    /// # Errors
    /// `Corrupt` where there are fewer.
    #[inline]
    pub(crate) fn fixed64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads 4 bytes.
    ///
    /// # Errors
    /// `Corrupt` where there are fewer.
    #[inline]
    pub(crate) fn fixed32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(|| malformed("a number that is cut off"))?;
        self.rest = rest;
        Ok(*array)
    }

    fn sized(&mut self) -> Result<&'a [u8]> {
        let length = self.varint()?;
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (bytes, rest) = split.ok_or_else(|| malformed(format!("a field of {length} bytes where {} are left", self.rest.len())))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Reads up to and with the end of a group whose start was read; returns what stands between.
    fn group(&mut self, number: u32) -> Result<&'a [u8]> {
        let start = self.rest;
        let mut open = vec![number];
        while let Some(innermost) = open.last().copied() {
            let end = start.len() - self.rest.len();
            let tag = self.varint()?;
            let number = number_of(tag)?;
            match tag & 7 {
                VARINT => drop(self.varint()?),
                FIXED64 => drop(self.fixed64()?),
                SIZED => drop(self.sized()?),
                FIXED32 => drop(self.fixed32()?),
                GROUP if open.len() < GROUP_DEPTH_LIMIT => open.push(number),
                END_GROUP if number == innermost => {
                    open.pop();
                    if open.is_empty() {
                        return Ok(&start[..end]);
                    }
                }
                _ => return Err(malformed("a group that is not closed as it was opened")),
            }
        }
        Err(malformed("a group without an end"))
    }
}

fn number_of(tag: u64) -> Result<u32> {
    match u32::try_from(tag >> 3) {
        Ok(number @ 1..=0x1fff_ffff) => Ok(number),
        _ => Err(malformed("a field number that protobuf does not have")),
    }
}

fn malformed(what: impl std::fmt::Display) -> Error {
    Error::corrupt(format!("malformed protobuf: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>> {
        let mut wire = Wire::of(bytes);
        std::iter::from_fn(|| wire.next().transpose()).collect()
    }

    #[test]
    fn every_wire_type_is_read() {
        let bytes = [0x08, 0x96, 0x01, 0x11, 1, 0, 0, 0, 0, 0, 0, 0, 0x1a, 2, b'h', b'i', 0x25, 7, 0, 0, 0, 0x2b, 0x08, 0x01, 0x2c];
        let expected = [
            (1, Value::Varint(150)),
            (2, Value::Fixed64(1)),
            (3, Value::Sized(b"hi")),
            (4, Value::Fixed32(7)),
            (5, Value::Group(&[0x08, 0x01])),
        ];
        assert_eq!(all(&bytes).unwrap(), expected);
    }

    #[test]
    fn what_is_cut_or_odd_is_malformed() {
        for wrong in [&[0x08][..], &[0x1a, 5, 1], &[0x00, 1], &[0x0e], &[0x2b, 0x34], &[0x0c], &[0xff; 20], &[0x2b; 300]] {
            assert!(all(wrong).is_err(), "{wrong:?}");
        }
    }
}
