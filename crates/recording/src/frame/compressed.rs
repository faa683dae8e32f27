//! Compressed pictures: JPEG, PNG, and what ROS calls `compressedDepth`.
//!
//! **Invariant:** the bytes say what a picture is; what the message calls its format decides only what the bytes leave open.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, ImageReader, Limits};

use super::{Element, Form, PIXEL_LIMIT, Pixels, depth};
use crate::error::{Error, Result};

/// How long the side of a compressed picture may be.
const SIDE_LIMIT: u32 = 1 << 16;

/// A compressed picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compressed<'a> {
    /// What the message calls its format: `jpeg`, `bgr8; jpeg compressed bgr8`, `16UC1; compressedDepth`.
    pub format: &'a str,
    /// The file's bytes.
    pub data: &'a [u8],
}

impl Compressed<'_> {
    /// Returns the pixels in a form.
    ///
    /// # Errors
    /// `Invalid` for a format that is not read here, `Corrupt` for damaged bytes.
    pub fn pixels(&self, form: Form) -> Result<Pixels> {
        if self.format.contains("compressedDepth") {
            return depth::pixels(self.format, self.data);
        }
        let image = decode(self.format, self.data)?;
        // Sixteen bits of grey are depth, unless the message says that they are grey.
        let depth = image.color() == image::ColorType::L16 && !self.format.starts_with("mono16");
        Ok(if depth { native(image) } else { in_form(image, form) })
    }
}

/// Returns the picture of a JPEG or PNG file.
pub(super) fn decode(format: &str, data: &[u8]) -> Result<DynamicImage> {
    let known = match data {
        [0xff, 0xd8, 0xff, ..] => ImageFormat::Jpeg,
        [0x89, b'P', b'N', b'G', ..] => ImageFormat::Png,
        _ => return Err(unknown(format, data)),
    };
    let mut reader = ImageReader::with_format(Cursor::new(data), known);
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_LIMIT);
    limits.max_image_height = Some(SIDE_LIMIT);
    // Decoders may need the picture twice.
    limits.max_alloc = Some(PIXEL_LIMIT * 4);
    reader.limits(limits);
    // Its causes say the same again.
    reader.decode().map_err(|error| Error::corrupt(format!("picture of {} bytes cannot be unpacked: {error}", data.len())))
}

fn unknown(format: &str, data: &[u8]) -> Error {
    let begin: Vec<String> = data.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    Error::invalid(format!("a picture of format '{format}' that begins with {}; JPEG and PNG are read", begin.join(" ")))
}

fn in_form(image: DynamicImage, form: Form) -> Pixels {
    let (width, height) = (image.width(), image.height());
    match form {
        Form::Native => native(image),
        _ if !image.color().has_color() => Pixels::of_grey(width, height, image.into_luma8().into_raw(), form),
        _ => Pixels::of_rgb(width, height, image.into_rgb8().into_raw(), form),
    }
}

fn native(image: DynamicImage) -> Pixels {
    let (width, height) = (image.width(), image.height());
    let wide = |channels, numbers: Vec<u16>| {
        let data = numbers.into_iter().flat_map(u16::to_ne_bytes).collect();
        Pixels::new(width, height, channels, Element::U16, data)
    };
    let narrow = |channels, data| Pixels::new(width, height, channels, Element::U8, data);
    match image {
        DynamicImage::ImageLuma8(image) => narrow(1, image.into_raw()),
        DynamicImage::ImageLumaA8(image) => narrow(2, image.into_raw()),
        DynamicImage::ImageRgba8(image) => narrow(4, image.into_raw()),
        DynamicImage::ImageLuma16(image) => wide(1, image.into_raw()),
        DynamicImage::ImageLumaA16(image) => wide(2, image.into_raw()),
        DynamicImage::ImageRgb16(image) => wide(3, image.into_raw()),
        DynamicImage::ImageRgba16(image) => wide(4, image.into_raw()),
        other => narrow(3, other.into_rgb8().into_raw()),
    }
}
