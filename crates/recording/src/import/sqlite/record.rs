//! What stands on a table page: cells, and the values of a row.
//!
//! **Invariant:** every offset and length is checked against the page before it is used.

use std::ops::Range;

use super::header::{LENGTH, Layout};

/// The first byte of a page of a table that points to other pages.
pub const INTERIOR: u8 = 0x05;

/// The first byte of a page of a table that holds rows.
pub const LEAF: u8 = 0x0d;

/// The fewest bytes a cell has.
const CELL_LEAST: usize = 4;

/// A row on a leaf page, or the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Its number.
    pub rowid: i64,
    /// How long its payload is.
    pub length: u64,
    /// Where the part of its payload stands that is on the page.
    pub local: Range<usize>,
    /// The page where its payload goes on, or 0.
    pub overflow: u32,
}

/// Where a value stands in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// What it is: SQLite's serial type.
    pub serial: u64,
    /// Where it begins.
    pub start: u64,
    /// How long it is.
    pub length: u64,
}

/// The fields of a payload.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    header: &'a [u8],
    at: u64,
}

/// Returns where the page's own header begins.
pub fn page_start(number: u32) -> usize {
    if number == 1 { LENGTH } else { 0 }
}

/// Returns whether bytes look like the start of a page of any kind.
pub fn looks_like_page(start: &[u8], page_size: u32) -> bool {
    let [kind, _, _, many, few, content_high, content_low, fragments, ..] = start else { return false };
    let header = match *kind {
        0x02 | INTERIOR => 12,
        0x0a | LEAF => 8,
        _ => return false,
    };
    let cells = usize::from(u16::from_be_bytes([*many, *few]));
    let content = match usize::from(u16::from_be_bytes([*content_high, *content_low])) {
        0 => 65_536,
        content => content,
    };
    let pointers = start.get(header..).unwrap_or_default().chunks_exact(2).take(cells);
    let inside = |pointer: &[u8]| (content..page_size as usize).contains(&usize::from(u16::from_be_bytes([pointer[0], pointer[1]])));
    cells > 0 && header + cells * 2 <= content && content <= page_size as usize && *fragments <= 60 && pointers.into_iter().all(inside)
}

/// Returns how many cells a page says it has; never more than fit.
pub fn cell_count(page: &[u8], number: u32) -> usize {
    let start = page_start(number);
    let Some([high, low]) = page.get(start + 3..start + 5) else { return 0 };
    usize::from(u16::from_be_bytes([*high, *low])).min(page.len() / (CELL_LEAST + 2))
}

/// Returns where a cell begins.
pub fn cell_offset(page: &[u8], number: u32, index: usize) -> Option<usize> {
    let start = page_start(number);
    let header = if *page.get(start)? == INTERIOR { 12 } else { 8 };
    let place = start + header + index * 2;
    let [high, low] = page.get(place..place + 2)? else { return None };
    let offset = usize::from(u16::from_be_bytes([*high, *low]));
    // A page of 65,536 bytes cannot have a cell at its start either.
    (offset >= start + header).then_some(offset)
}

/// Returns a cell of a leaf page, checked to be on it; `None` where it cannot be one.
pub fn cell(page: &[u8], number: u32, index: usize, layout: &Layout) -> Option<Cell> {
    let offset = cell_offset(page, number, index)?;
    let (length, taken) = varint(page.get(offset..)?)?;
    let (rowid, more) = varint(page.get(offset + taken..)?)?;
    let start = offset + taken + more;
    let local = usize::try_from(local_length(length, layout)).ok()?;
    let end = start.checked_add(local).filter(|end| *end <= layout.usable as usize && *end <= page.len())?;
    let overflow = if local as u64 == length {
        0
    } else {
        let number = page.get(end..end + 4).filter(|_| end + 4 <= layout.usable as usize)?;
        u32::from_be_bytes(number.try_into().ok()?)
    };
    Some(Cell { rowid: rowid as i64, length, local: start..end, overflow })
}

/// Returns how much of a payload stands on a table's leaf page.
fn local_length(length: u64, layout: &Layout) -> u64 {
    let usable = u64::from(layout.usable);
    let most = usable - 35;
    if length <= most {
        return length;
    }
    let least = (usable - 12) * 32 / 255 - 23;
    let fitting = least + (length - least) % (usable - 4);
    if fitting <= most { fitting } else { least }
}

/// Returns a variable-length number and how many bytes it has.
pub fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(8).enumerate() {
        value = value << 7 | u64::from(byte & 0x7f);
        if *byte < 0x80 {
            return Some((value, index + 1));
        }
    }
    bytes.get(8).map(|byte| (value << 8 | u64::from(*byte), 9))
}

impl<'a> Fields<'a> {
    /// Returns the fields of a payload whose beginning is given; `None` where the header is not in it.
    pub fn new(payload: &'a [u8]) -> Option<Self> {
        let (length, taken) = varint(payload)?;
        let header = payload.get(taken..usize::try_from(length).ok()?)?;
        Some(Self { header, at: length })
    }
}

impl Iterator for Fields<'_> {
    type Item = Field;

    fn next(&mut self) -> Option<Field> {
        let (serial, taken) = varint(self.header)?;
        let length = match serial {
            0 | 8 | 9 => 0,
            1..=4 => serial,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => (serial - 12) / 2,
        };
        let start = self.at;
        self.at = start.checked_add(length)?;
        self.header = &self.header[taken..];
        Some(Field { serial, start, length })
    }
}

impl Field {
    /// Returns the whole number it is; `None` where it is none, or is not in `payload`.
    pub fn int(&self, payload: &[u8]) -> Option<i64> {
        match self.serial {
            8 => return Some(0),
            9 => return Some(1),
            1..=6 => {}
            _ => return None,
        }
        let bytes = payload.get(usize::try_from(self.start).ok()?..)?.get(..self.length as usize)?;
        let sign = if bytes.first()? & 0x80 == 0 { 0 } else { -1 };
        Some(bytes.iter().fold(sign, |value: i64, byte| value << 8 | i64::from(*byte)))
    }

    /// Returns whether it is a whole number.
    pub fn is_int(&self) -> bool {
        matches!(self.serial, 1..=6 | 8 | 9)
    }

    /// Returns whether it is bytes.
    pub fn is_blob(&self) -> bool {
        self.serial >= 12 && self.serial.is_multiple_of(2)
    }

    /// Returns whether it is text.
    pub fn is_text(&self) -> bool {
        self.serial >= 13 && !self.serial.is_multiple_of(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_to_nine_bytes() {
        assert_eq!(varint(&[0x7f]), Some((127, 1)));
        assert_eq!(varint(&[0x81, 0x00]), Some((128, 2)));
        assert_eq!(varint(&[0xff; 9]), Some((u64::MAX, 9)));
        assert_eq!(varint(&[0xff; 8]), None);
    }

    #[test]
    fn whole_numbers_keep_their_sign() {
        let field = |serial, length| Field { serial, start: 0, length };
        assert_eq!(field(1, 1).int(&[0xff]), Some(-1));
        assert_eq!(field(3, 3).int(&[0x80, 0, 0]), Some(-8_388_608));
        assert_eq!(field(5, 6).int(&[0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!((field(9, 0).int(&[]), field(7, 8).int(&[0; 8]), field(6, 8).int(&[0; 7])), (Some(1), None, None));
    }
}
