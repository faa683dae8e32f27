//! Raw pixels as messages have them: rows with a step, in an encoding with a name.
//!
//! **Invariant:** no pixel is read outside of the picture's bytes, whatever it says of its size.

use super::encoding::{Colour, Layout, layout};
use super::{Element, Form, Pixels, bayer, yuv};
use crate::error::{Error, Result};

/// Raw pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a> {
    /// How many columns.
    pub width: u32,
    /// How many rows.
    pub height: u32,
    /// From the begin of one row to that of the next, in bytes; 0 where rows have no gaps.
    pub step: u32,
    /// The encoding's name, e.g. `rgb8`.
    pub encoding: &'a str,
    /// Whether numbers of more than 8 bits have their high byte first.
    pub big_endian: bool,
    /// The rows.
    pub data: &'a [u8],
}

impl Raw<'_> {
    /// Returns the pixels in a form. A mosaic is interpolated linearly; YUV is taken as ITU-R 601 in video range, as OpenCV does.
    ///
    /// # Errors
    /// `Invalid` for an encoding that nobody knows, `Corrupt` for a picture with fewer bytes than it says.
    pub fn pixels(&self, form: Form) -> Result<Pixels> {
        let layout = layout(self.encoding)?;
        let rows = self.rows(layout)?;
        let (width, height) = (self.width, self.height);
        Ok(match layout {
            Layout::Packed { element, channels, colour } => self.packed(&rows, element, channels, colour, form),
            Layout::Bayer { wide, .. } if form == Form::Native => {
                let element = if wide { Element::U16 } else { Element::U8 };
                Pixels::new(width, height, 1, element, self.numbers(&rows, element))
            }
            Layout::Bayer { wide, pattern } => {
                let mosaic = if wide { high_bytes(&self.numbers(&rows, Element::U16)) } else { rows.concat() };
                Pixels::of_rgb(width, height, bayer::rgb(&mosaic, width as usize, rows.len(), pattern), form)
            }
            Layout::Yuv422 { luma_first } => match form {
                Form::Native => {
                    let bytes = width as usize * 2;
                    Pixels::new(width, height, 2, Element::U8, rows.iter().flat_map(|row| &row[..bytes]).copied().collect())
                }
                _ => Pixels::of_rgb(width, height, yuv::rgb_of_422(&rows, width as usize, luma_first), form),
            },
            Layout::Yuv420 { .. } | Layout::Yuv444 if form == Form::Native => {
                let bytes = rows.first().map_or(0, |row| row.len());
                Pixels::new(bytes as u32, rows.len() as u32, 1, Element::U8, rows.concat())
            }
            Layout::Yuv420 { v_first } => {
                Pixels::of_rgb(width, height, yuv::rgb_of_420(&rows, width as usize, height as usize, v_first), form)
            }
            Layout::Yuv444 => Pixels::of_rgb(width, height, yuv::rgb_of_444(&rows, width as usize, height as usize), form),
        })
    }

    /// Returns the rows of all planes without what lies between them.
    fn rows(&self, layout: Layout) -> Result<Vec<&[u8]>> {
        let extent = layout.extent(self.width as usize, self.height as usize);
        if extent.row_bytes == 0 || extent.rows == 0 {
            return Ok(Vec::new());
        }
        let step = if self.step == 0 { extent.row_bytes } else { self.step as usize };
        let needed = step.checked_mul(extent.rows - 1).and_then(|bytes| bytes.checked_add(extent.row_bytes));
        // The gap behind the last row may be left out.
        if step < extent.row_bytes || needed.is_none_or(|needed| needed > self.data.len()) {
            return Err(Error::corrupt(format!(
                "{} bytes in rows of {step} are no picture of {}x{} as {}",
                self.data.len(),
                self.width,
                self.height,
                self.encoding
            )));
        }
        Ok((0..extent.rows).map(|row| &self.data[row * step..][..extent.row_bytes]).collect())
    }

    /// Returns all numbers in this machine's byte order.
    fn numbers(&self, rows: &[&[u8]], element: Element) -> Vec<u8> {
        let mut data = rows.concat();
        if self.big_endian != cfg!(target_endian = "big") && element.bytes() > 1 {
            data.chunks_exact_mut(element.bytes()).for_each(<[u8]>::reverse);
        }
        data
    }

    fn packed(&self, rows: &[&[u8]], element: Element, channels: u32, colour: Colour, form: Form) -> Pixels {
        let (width, height) = (self.width, self.height);
        let data = self.numbers(rows, element);
        if form == Form::Native || colour == Colour::Measured {
            return Pixels::new(width, height, channels, element, data);
        }
        let data = if element == Element::U16 { high_bytes(&data) } else { data };
        let pixels = data.chunks_exact(channels as usize);
        match (colour, channels) {
            (Colour::Grey, _) => Pixels::of_grey(width, height, data, form),
            (Colour::Rgb, 3) => Pixels::of_rgb(width, height, data, form),
            (Colour::Rgb, _) => Pixels::of_rgb(width, height, pixels.flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(), form),
            (Colour::Bgr | Colour::Measured, _) => {
                Pixels::of_rgb(width, height, pixels.flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect(), form)
            }
        }
    }
}

/// Returns the high bytes of numbers of 16 bits.
fn high_bytes(numbers: &[u8]) -> Vec<u8> {
    numbers.chunks_exact(2).map(|pair| (u16::from_ne_bytes([pair[0], pair[1]]) >> 8) as u8).collect()
}
