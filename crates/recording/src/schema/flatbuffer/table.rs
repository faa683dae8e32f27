//! Flatbuffers' memory layout, read with every offset checked.
//!
//! **Invariant:** no position is read that is not in the buffer, and a vector is as long as its bytes allow.

use crate::error::{Error, Result};

/// A table in a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table<'a> {
    pub(crate) buffer: &'a [u8],
    at: usize,
    vtable: &'a [u8],
}

/// The elements of a vector, which stand side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vector {
    /// Where the first element is.
    pub(crate) start: usize,
    /// How many there are.
    pub(crate) length: usize,
}

impl<'a> Table<'a> {
    /// Returns the table that a buffer is of.
    ///
    /// # Errors
    /// `Corrupt` where there is none.
    pub(crate) fn root(buffer: &'a [u8]) -> Result<Self> {
        Self::at(buffer, follow(buffer, 0)?)
    }

    /// Returns the table at a position.
    ///
    /// # Errors
    /// `Corrupt` where there is none.
    pub(crate) fn at(buffer: &'a [u8], at: usize) -> Result<Self> {
        let back = i32::from_le_bytes(array(buffer, at)?);
        let start = i64::try_from(at).ok().and_then(|at| usize::try_from(at - i64::from(back)).ok());
        let start = start.ok_or_else(|| malformed("a table without a list of fields", at))?;
        let length = usize::from(u16::from_le_bytes(array(buffer, start)?));
        let vtable = buffer.get(start..).and_then(|rest| rest.get(..length)).filter(|vtable| vtable.len() >= 4);
        Ok(Self { buffer, at, vtable: vtable.ok_or_else(|| malformed("a list of fields that is cut off", start))? })
    }

    /// Returns where a field is, by its place in the list of fields; `None` where the table lacks it.
    #[inline]
    pub(crate) fn field(&self, place: u16) -> Option<usize> {
        let place = usize::from(place).max(4);
        let bytes = self.vtable.get(place..place + 2)?;
        let offset = u16::from_le_bytes([bytes[0], bytes[1]]);
        (offset != 0).then(|| self.at + usize::from(offset))
    }

    /// Returns the bytes of a number, or `None` where the table lacks it.
    ///
    /// # Errors
    /// `Corrupt` where it is cut off.
    pub(crate) fn number<const N: usize>(&self, place: u16) -> Result<Option<[u8; N]>> {
        self.field(place).map(|at| array(self.buffer, at)).transpose()
    }

    /// Returns the table that a field refers to, or `None` where the table lacks it.
    ///
    /// # Errors
    /// `Corrupt` where it is cut off.
    pub(crate) fn table(&self, place: u16) -> Result<Option<Self>> {
        self.field(place).map(|at| Self::at(self.buffer, follow(self.buffer, at)?)).transpose()
    }

    /// Returns the text of a field, or `None` where the table lacks it.
    ///
    /// # Errors
    /// `Corrupt` where it is cut off.
    pub(crate) fn text(&self, place: u16) -> Result<Option<&'a [u8]>> {
        self.field(place).map(|at| text(self.buffer, at)).transpose()
    }

    /// Returns the tables of a vector; none where the table lacks it.
    ///
    /// # Errors
    /// `Corrupt` where it is cut off.
    pub(crate) fn tables(&self, place: u16) -> Result<Tables<'a>> {
        let vector = self.field(place).map(|at| Vector::at(self.buffer, at, 4)).transpose()?;
        Ok(Tables { buffer: self.buffer, vector: vector.unwrap_or(Vector { start: 0, length: 0 }) })
    }
}

/// The tables of a vector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tables<'a> {
    buffer: &'a [u8],
    vector: Vector,
}

impl<'a> Tables<'a> {
    /// Returns how many there are.
    pub(crate) fn len(&self) -> usize {
        self.vector.length
    }

    /// Returns one of them.
    ///
    /// # Errors
    /// `Corrupt` where it is not there.
    pub(crate) fn get(&self, index: usize) -> Result<Table<'a>> {
        if index >= self.vector.length {
            return Err(malformed("an element that a vector does not have", index));
        }
        Table::at(self.buffer, follow(self.buffer, self.vector.start + 4 * index)?)
    }
}

impl Vector {
    /// Returns the vector that the offset at a position refers to, with elements of `stride` bytes.
    ///
    /// # Errors
    /// `Corrupt` where it is cut off.
    pub(crate) fn at(buffer: &[u8], at: usize, stride: usize) -> Result<Self> {
        let position = follow(buffer, at)?;
        let length = u32::from_le_bytes(array(buffer, position)?) as usize;
        let start = position + 4;
        let fits = length.checked_mul(stride.max(1)).is_some_and(|size| size <= buffer.len() - start);
        if fits { Ok(Self { start, length }) } else { Err(malformed("a vector that is cut off", position)) }
    }
}

/// Returns the text that the offset at a position refers to.
///
/// # Errors
/// `Corrupt` where it is cut off.
pub(crate) fn text(buffer: &[u8], at: usize) -> Result<&[u8]> {
    let vector = Vector::at(buffer, at, 1)?;
    Ok(&buffer[vector.start..vector.start + vector.length])
}

/// Returns the position that the offset at a position refers to.
///
/// # Errors
/// `Corrupt` where it is not in the buffer.
pub(crate) fn follow(buffer: &[u8], at: usize) -> Result<usize> {
    let offset = u32::from_le_bytes(array(buffer, at)?) as usize;
    let position = at.checked_add(offset).filter(|position| offset > 0 && *position < buffer.len());
    position.ok_or_else(|| malformed("an offset that leads out of the buffer", at))
}

/// Returns the bytes at a position.
///
/// # Errors
/// `Corrupt` where they are cut off.
#[inline]
pub(crate) fn array<const N: usize>(buffer: &[u8], at: usize) -> Result<[u8; N]> {
    let bytes = buffer.get(at..).and_then(|rest| rest.first_chunk());
    bytes.copied().ok_or_else(|| malformed("a value that is cut off", at))
}

/// Returns an error for a malformed buffer.
pub(crate) fn malformed(what: &str, at: usize) -> Error {
    Error::corrupt(format!("malformed flatbuffer at byte {at}: {what}"))
}
