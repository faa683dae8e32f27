//! ROS's `compressedDepth`: a small header, then depth as a PNG of 16 bits, or as runs of differences (RVL).
//!
//! **Invariant:** no run writes outside of the picture; a picture is no larger than its bytes can tell.

use image::DynamicImage;

use super::{Element, PIXEL_LIMIT, Pixels, compressed};
use crate::error::{Error, Result};

/// A number of 4 bytes that nobody reads, then the two parameters that metres were quantised with.
const HEADER_BYTES: usize = 12;

/// Returns the depth: 16-bit numbers as they are, metres as 32-bit floats with NaN where there is none.
pub(super) fn pixels(format: &str, data: &[u8]) -> Result<Pixels> {
    let Some((header, rest)) = data.split_at_checked(HEADER_BYTES) else {
        return Err(Error::corrupt(format!("compressed depth of {} bytes has no header", data.len())));
    };
    let (width, height, numbers) = if format.contains("rvl") { rvl(rest)? } else { png(format, rest)? };
    if !format.trim_start().starts_with("32FC1") {
        let data = numbers.into_iter().flat_map(u16::to_ne_bytes).collect();
        return Ok(Pixels::new(width, height, 1, Element::U16, data));
    }
    let parameter = |at: usize| f32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (a, b) = (parameter(4), parameter(8));
    let metres = |number: u16| if number == 0 { f32::NAN } else { a / (f32::from(number) - b) };
    let data = numbers.into_iter().flat_map(|number| metres(number).to_ne_bytes()).collect();
    Ok(Pixels::new(width, height, 1, Element::F32, data))
}

fn png(format: &str, data: &[u8]) -> Result<(u32, u32, Vec<u16>)> {
    match compressed::decode(format, data)? {
        DynamicImage::ImageLuma16(image) => Ok((image.width(), image.height(), image.into_raw())),
        other => Err(Error::corrupt(format!("compressed depth is {:?} and not 16 bits of grey", other.color()))),
    }
}

/// Undoes RVL: how many zeros, how many differences, the differences; in groups of 3 bits, the high half of each 32-bit word first.
fn rvl(data: &[u8]) -> Result<(u32, u32, Vec<u16>)> {
    let cut = || Error::corrupt(format!("compressed depth of {} bytes ends too early", data.len()));
    let Some((sizes, words)) = data.split_at_checked(8) else { return Err(cut()) };
    let size = |at: usize| u32::from_le_bytes([sizes[at], sizes[at + 1], sizes[at + 2], sizes[at + 3]]);
    let (width, height) = (size(0), size(4));
    let count = u64::from(width) * u64::from(height);
    if count > PIXEL_LIMIT {
        return Err(Error::corrupt(format!("compressed depth of {width}x{height}; at most {PIXEL_LIMIT} pixels")));
    }
    let count = count as usize;
    let mut groups = words.chunks_exact(4).flat_map(|word| {
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        (0..8).map(move |group| (word >> (28 - 4 * group)) & 0xf)
    });
    let mut number = || {
        let mut value = 0_u32;
        for shift in (0..u32::BITS).step_by(3) {
            let group = groups.next()?;
            value |= (group & 7) << shift;
            if group & 8 == 0 {
                return Some(value);
            }
        }
        None
    };
    let mut numbers: Vec<u16> = Vec::new();
    let mut previous = 0_i32;
    while numbers.len() < count {
        let zeros = number().ok_or_else(cut)? as usize;
        let differences = number().ok_or_else(cut)? as usize;
        let room = count - numbers.len();
        // A group that says nothing would be followed by others for as long as there are bytes.
        if zeros.saturating_add(differences) > room || zeros + differences == 0 {
            return Err(Error::corrupt(format!("a run of compressed depth is longer than its {width}x{height} pixels")));
        }
        numbers.resize(numbers.len() + zeros, 0);
        for _ in 0..differences {
            let zigzag = number().ok_or_else(cut)?;
            previous = previous.wrapping_add((zigzag >> 1) as i32 ^ -((zigzag & 1) as i32));
            numbers.push(previous as u16);
        }
    }
    Ok((width, height, numbers))
}
