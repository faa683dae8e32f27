//! Pictures: what cameras put into messages, as pixels.
//!
//! In comes a picture as a message has it (raw pixels of some encoding, JPEG, PNG), out come [`Pixels`]: as they are, or as RGB, BGR
//! or grey.
//!
//! **Invariant:** what a picture says of its size is checked against its bytes, or against [`PIXEL_LIMIT`], before memory is taken.

mod bayer;
mod compressed;
mod depth;
mod encoding;
mod message;
mod raw;
mod yuv;

pub use self::compressed::Compressed;
pub use self::message::{Picture, Pictures, Stored};
pub use self::raw::Raw;

/// How many pixels a compressed picture may unpack to.
pub const PIXEL_LIMIT: u64 = 1 << 27;

/// The number that one value of a pixel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// 8 bits, unsigned.
    U8,
    /// 8 bits, signed.
    I8,
    /// 16 bits, unsigned.
    U16,
    /// 16 bits, signed.
    I16,
    /// 32 bits, signed.
    I32,
    /// 32 bits, floating point.
    F32,
    /// 64 bits, floating point.
    F64,
}

/// What pixels are wanted as. Depth and other measurements have no colour: they stay as they are in every form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// As the message has them: 16 bits, four channels, a mosaic, YUV.
    Native,
    /// 8 bits of red, green and blue.
    Rgb,
    /// 8 bits of blue, green and red.
    Bgr,
    /// 8 bits of brightness.
    Grey,
}

/// Unpacked pixels: rows from the top, without gaps, numbers in this machine's byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// How many columns.
    pub width: u32,
    /// How many rows.
    pub height: u32,
    /// How many numbers per pixel.
    pub channels: u32,
    /// What each number is.
    pub element: Element,
    /// `height * width * channels` numbers.
    pub data: Vec<u8>,
}

impl Element {
    /// Returns its size.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

impl Pixels {
    fn new(width: u32, height: u32, channels: u32, element: Element, data: Vec<u8>) -> Self {
        debug_assert_eq!(data.len(), width as usize * height as usize * channels as usize * element.bytes());
        Self { width, height, channels, element, data }
    }

    /// Returns RGB of 8 bits in a form of 8 bits.
    fn of_rgb(width: u32, height: u32, mut rgb: Vec<u8>, form: Form) -> Self {
        match form {
            Form::Native | Form::Rgb => Self::new(width, height, 3, Element::U8, rgb),
            Form::Bgr => {
                rgb.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
                Self::new(width, height, 3, Element::U8, rgb)
            }
            Form::Grey => {
                let grey = rgb.chunks_exact(3).map(|pixel| brightness(pixel[0], pixel[1], pixel[2])).collect();
                Self::new(width, height, 1, Element::U8, grey)
            }
        }
    }

    /// Returns grey of 8 bits in a form of 8 bits.
    fn of_grey(width: u32, height: u32, grey: Vec<u8>, form: Form) -> Self {
        match form {
            Form::Native | Form::Grey => Self::new(width, height, 1, Element::U8, grey),
            Form::Rgb | Form::Bgr => {
                let mut rgb = Vec::with_capacity(grey.len() * 3);
                grey.iter().for_each(|value| rgb.extend_from_slice(&[*value; 3]));
                Self::new(width, height, 3, Element::U8, rgb)
            }
        }
    }
}

/// Returns the brightness of a colour (ITU-R 601), as most programs round it.
fn brightness(red: u8, green: u8, blue: u8) -> u8 {
    ((u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471 + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests;
