//! A place in the bytes of a message that has no tags: CDR, ROS 1, ULog.
//!
//! **Invariant:** nothing behind the end is read, no length is believed before it is compared with what is there, and elements
//! without bytes are counted against a limit.

use std::borrow::Cow;

use super::layout::{EMPTY_ELEMENTS_LIMIT, Format};
use super::sink::read;
use crate::error::{Error, Result};

/// A place in a message.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    pub(crate) big_endian: bool,
    /// The largest alignment: 8, in XCDR2 4, and 1 where nothing is aligned.
    pub(crate) alignment: u8,
    /// Whether strings end with a zero that counts.
    terminated: bool,
    /// How many more elements without bytes a message may have.
    empties: usize,
}

impl<'a> Cursor<'a> {
    /// Returns the start of a message.
    ///
    /// # Errors
    /// `Corrupt` for a payload without its header, `Invalid` for an encapsulation that is not decoded.
    #[inline]
    pub(crate) fn new(format: Format, payload: &'a [u8]) -> Result<Self> {
        let plain = |bytes, big_endian, alignment, terminated| Self {
            bytes,
            at: 0,
            big_endian,
            alignment,
            terminated,
            empties: EMPTY_ELEMENTS_LIMIT,
        };
        match (format, payload) {
            (Format::Ros1, _) => Ok(plain(payload, false, 1, false)),
            (Format::Ulog, _) => Ok(plain(payload, false, 1, false)),
            (Format::Cdr, [0, 1, _, _, body @ ..]) => Ok(plain(body, false, 8, true)),
            (Format::Cdr, [0, 0, _, _, body @ ..]) => Ok(plain(body, true, 8, true)),
            (Format::Cdr, [0, kind @ (6 | 7), _, _, body @ ..]) => Ok(plain(body, *kind == 6, 4, true)),
            (Format::Cdr, _) => Err(no_encapsulation(payload)),
        }
    }

    /// Returns whether it is the newer CDR, in which lists of anything but numbers begin with their size.
    #[inline]
    pub(crate) fn is_xcdr2(&self) -> bool {
        self.alignment == 4
    }

    /// Returns how many bytes there are behind it.
    #[inline]
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Goes on to a multiple of an alignment.
    #[inline]
    pub(crate) fn align(&mut self, to: u8) {
        let to = usize::from(to.min(self.alignment));
        // Behind the end it stays at the end: what is read then fails.
        self.at = ((self.at + to - 1) & !(to - 1)).min(self.bytes.len());
    }

    /// Returns the next bytes and goes on behind them.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        match self.bytes[self.at..].split_at_checked(count) {
            Some((taken, _)) => {
                self.at += count;
                Ok(taken)
            }
            None => Err(self.short(count)),
        }
    }

    /// Reads how long something is.
    #[inline]
    pub(crate) fn length(&mut self) -> Result<usize> {
        self.align(4);
        Ok(read!(u32, self.take(4)?, self.big_endian) as usize)
    }

    /// Reads how many elements there are, each of at least `least` bytes.
    #[inline]
    pub(crate) fn count(&mut self, least: usize) -> Result<usize> {
        let count = self.length()?;
        self.elements(count, least)?;
        Ok(count)
    }

    /// Checks that there can be so many elements.
    #[inline]
    pub(crate) fn elements(&mut self, count: usize, least: usize) -> Result<()> {
        if least == 0 {
            match self.empties.checked_sub(count) {
                Some(left) => self.empties = left,
                None => return Err(too_many(count)),
            }
        } else if count > self.left() / least {
            return Err(self.short(count.saturating_mul(least)));
        }
        Ok(())
    }

    /// Reads the bytes of text, without the zero at its end.
    #[inline]
    pub(crate) fn text(&mut self) -> Result<&'a [u8]> {
        let length = self.length()?;
        let bytes = self.take(length)?;
        match bytes {
            [text @ .., 0] if self.terminated => Ok(text),
            _ => Ok(bytes),
        }
    }

    /// Reads UTF-16 text. In XCDR1 a character takes 4 bytes, and the length counts characters; in XCDR2 it takes 2, and the length
    /// counts bytes.
    pub(crate) fn wide_text(&mut self) -> Result<String> {
        let length = self.length()?;
        let (bytes, width) = match self.is_xcdr2() {
            true => (self.take(length)?, 2),
            false => (self.take(length.saturating_mul(4))?, 4),
        };
        let units = bytes.chunks_exact(width).map(|unit| match width {
            2 => read!(u16, unit, self.big_endian),
            _ => u16::try_from(read!(u32, unit, self.big_endian)).unwrap_or(0xfffd),
        });
        let mut text: String = char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        if text.ends_with('\0') {
            text.pop();
        }
        Ok(text)
    }

    #[cold]
    fn short(&self, needed: usize) -> Error {
        let (at, length) = (self.at, self.bytes.len());
        Error::corrupt(format!("the message ends too early: at byte {at} of {length} something of {needed} bytes begins"))
    }
}

/// Returns bytes as text, with U+FFFD for what is not UTF-8.
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cold]
fn too_many(count: usize) -> Error {
    Error::corrupt(format!("{count} elements without bytes; a message may have {EMPTY_ELEMENTS_LIMIT} of them"))
}

#[cold]
fn no_encapsulation(payload: &[u8]) -> Error {
    let [first, kind, ..] = payload else {
        return Error::corrupt(format!("the message has {} bytes, too few for a CDR header", payload.len()));
    };
    let name = match (first, kind) {
        (0, 2 | 3) => "PL_CDR, a parameter list",
        (0, 8 | 9) => "D_CDR2, XCDR2 with types that may be extended",
        (0, 10 | 11) => "PL_CDR2, an XCDR2 parameter list",
        (0, 4) => "XML",
        (0, 0 | 1 | 6 | 7) => return Error::corrupt(format!("the message has {} bytes, too few for a CDR header", payload.len())),
        _ => return Error::corrupt(format!("the message begins with {first:02x} {kind:02x}, which is no CDR header")),
    };
    Error::invalid(format!("CDR of the kind {name} is not decoded"))
}
