//! The first 100 bytes of a database: how its pages and its texts are laid out.
//!
//! **Invariant:** a layout has pages of 512 to 65,536 bytes of which at least 480 are used.

use std::io;

use super::record;
use crate::source::ReadAt;

/// How every database begins.
pub const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// How long the header is.
pub const LENGTH: usize = 100;

/// The fewest bytes of a page that are used.
const USABLE_LEAST: u32 = 480;

/// How much is looked at to tell the size of pages where the header does not.
const GUESS_BYTES: usize = 1 << 20;

/// How texts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8.
    Utf8,
    /// UTF-16, low byte first.
    Utf16Le,
    /// UTF-16, high byte first.
    Utf16Be,
}

/// How a database is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How long a page is.
    pub page_size: u32,
    /// How much of a page is used: an extension may keep some bytes at its end.
    pub usable: u32,
    /// How texts are written.
    pub encoding: Encoding,
    /// How many pages the writer last said there are; 0 where it did not.
    pub pages: u32,
    /// The first page of the list of free pages, or 0.
    pub free: u32,
}

impl Layout {
    /// Returns the layout that a header tells, or in words what is wrong with it.
    pub fn parse(header: &[u8]) -> Result<Self, String> {
        let Some(header) = header.get(..LENGTH) else { return Err(format!("its header has {} of {LENGTH} bytes", header.len())) };
        if !header.starts_with(MAGIC) {
            return Err("it does not begin as an SQLite database does".to_owned());
        }
        let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let page_size = match u32::from(u16::from_be_bytes([header[16], header[17]])) {
            1 => 65_536,
            size => size,
        };
        let layout = Self::sized(page_size, u32::from(header[20]))?;
        let encoding = match number(56) {
            0 | 1 => Encoding::Utf8,
            2 => Encoding::Utf16Le,
            3 => Encoding::Utf16Be,
            other => return Err(format!("its texts have the unknown encoding {other}")),
        };
        // The count of pages is valid only where the writer that last changed the file kept it.
        let pages = if number(24) == number(92) { number(28) } else { 0 };
        Ok(Self { encoding, pages, free: number(32), ..layout })
    }

    fn sized(page_size: u32, reserved: u32) -> Result<Self, String> {
        let usable = page_size.saturating_sub(reserved);
        if !(512..=65_536).contains(&page_size) || !page_size.is_power_of_two() || usable < USABLE_LEAST {
            return Err(format!("its pages have {page_size} bytes with {reserved} reserved, which cannot be"));
        }
        Ok(Self { page_size, usable, encoding: Encoding::Utf8, pages: 0, free: 0 })
    }

    /// Returns the layout that the first pages of a file look like whose header is damaged; `None` where nothing looks like a page.
    ///
    /// # Errors
    /// What reading the source answers.
    pub fn guess(source: &dyn ReadAt) -> io::Result<Option<Self>> {
        let mut start = vec![0; GUESS_BYTES.min(usize::try_from(source.len()?).unwrap_or(GUESS_BYTES))];
        let filled = source.read_full_at(0, &mut start)?;
        let mut best = (0, None);
        for shift in (9..=16).rev() {
            let Ok(layout) = Self::sized(1 << shift, 0) else { continue };
            let pages = start[..filled].chunks(1 << shift).skip(1);
            let fitting = pages.filter(|page| record::looks_like_page(page, layout.page_size)).count();
            // Half the true size finds the same pages: it has to find more.
            if fitting > best.0 + best.0 / 4 {
                best = (fitting, Some(layout));
            }
        }
        Ok(best.1)
    }

    /// Returns a text as it is written in this database; what is no text in it is replaced.
    pub fn text(&self, bytes: &[u8]) -> String {
        let units = |join: fn([u8; 2]) -> u16| {
            let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| join([pair[0], pair[1]])).collect();
            String::from_utf16_lossy(&units)
        };
        match self.encoding {
            Encoding::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            Encoding::Utf16Le => units(u16::from_le_bytes),
            Encoding::Utf16Be => units(u16::from_be_bytes),
        }
    }
}
