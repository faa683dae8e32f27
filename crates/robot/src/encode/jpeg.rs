//! Pixels to JPEG.
//!
//! **Invariant:** an image is never enlarged, and its shape never changes.

use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, ImageFormat, ImageReader, Limits, RgbImage};

use super::cdr::Image;
use crate::config::Encode;

/// The largest image that is decoded, in pixels along an edge.
const EDGE_LIMIT: u32 = 16_384;

/// Returns a raw image as JPEG.
pub(super) fn encode(image: &Image<'_>, encode: Encode) -> Result<Vec<u8>, String> {
    let pixels = pixels(image)?;
    write(&fit(&pixels, encode.max_width).unwrap_or(pixels), encode.quality)
}

/// Returns a compressed image as a smaller JPEG, or `None` if it is small enough already.
pub(super) fn shrink(data: &[u8], format: &str, encode: Encode) -> Result<Option<Vec<u8>>, String> {
    let Some(max_width) = encode.max_width else { return Ok(None) };
    let image_format = match format.to_ascii_lowercase() {
        name if name.contains("jpeg") || name.contains("jpg") => ImageFormat::Jpeg,
        name if name.contains("png") => ImageFormat::Png,
        other => return Err(format!("compressed format '{other}'; jpeg and png are known")),
    };
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(EDGE_LIMIT), Some(EDGE_LIMIT));
    let reader = || {
        let mut reader = ImageReader::with_format(std::io::Cursor::new(data), image_format);
        reader.limits(limits.clone());
        reader
    };
    let (width, _) = reader().into_dimensions().map_err(|error| error.to_string())?;
    if width <= max_width {
        return Ok(None);
    }
    let pixels = reader().decode().map_err(|error| error.to_string())?;
    write(&fit(&pixels, encode.max_width).unwrap_or(pixels), encode.quality).map(Some)
}

fn fit(pixels: &DynamicImage, max_width: Option<u32>) -> Option<DynamicImage> {
    let max_width = max_width.filter(|max_width| pixels.width() > *max_width)?;
    let height = (u64::from(pixels.height()) * u64::from(max_width)).div_ceil(u64::from(pixels.width()));
    Some(pixels.resize_exact(max_width, u32::try_from(height).ok()?.max(1), FilterType::Triangle))
}

fn write(pixels: &DynamicImage, quality: u8) -> Result<Vec<u8>, String> {
    let mut jpeg = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut jpeg, quality);
    let written = match pixels {
        DynamicImage::ImageLuma8(gray) => gray.write_with_encoder(encoder),
        other => other.to_rgb8().write_with_encoder(encoder),
    };
    written.map_err(|error| error.to_string())?;
    Ok(jpeg)
}

/// Copies the pixels out of their rows, in red, green, blue or gray.
fn pixels(image: &Image<'_>) -> Result<DynamicImage, String> {
    let bytes_per_pixel = match image.encoding {
        "mono8" | "8UC1" => 1,
        "mono16" | "16UC1" => 2,
        "rgb8" | "bgr8" | "8UC3" => 3,
        "rgba8" | "bgra8" => 4,
        other => return Err(format!("encoding '{other}'; rgb8, bgr8, rgba8, bgra8, mono8 and mono16 are known")),
    };
    let (width, height, step) = (image.width as usize, image.height as usize, image.step as usize);
    if image.width == 0 || image.height == 0 || image.width > EDGE_LIMIT || image.height > EDGE_LIMIT {
        return Err(format!("{width} x {height} pixels; from 1 to {EDGE_LIMIT} along an edge"));
    }
    if step < width * bytes_per_pixel || image.data.len() < step * (height - 1) + width * bytes_per_pixel {
        return Err(format!("step {step} and {} bytes do not hold {width} x {height} pixels of {}", image.data.len(), image.encoding));
    }
    let rows = (0..height).map(|y| &image.data[y * step..y * step + width * bytes_per_pixel]);
    let too_small = || "the pixels do not fill the image".to_owned();
    if bytes_per_pixel <= 2 {
        // The more significant byte of 16 bits is the brightness.
        let significant = if bytes_per_pixel == 2 && !image.is_bigendian { 1 } else { 0 };
        let gray: Vec<u8> = rows.flat_map(|row| row.chunks_exact(bytes_per_pixel).map(|pixel| pixel[significant])).collect();
        return GrayImage::from_raw(image.width, image.height, gray).map(DynamicImage::ImageLuma8).ok_or_else(too_small);
    }
    let swap = image.encoding.starts_with("bgr") || image.encoding == "8UC3";
    let mut rgb = Vec::with_capacity(width * height * 3);
    for pixel in rows.flat_map(|row| row.chunks_exact(bytes_per_pixel)) {
        rgb.extend_from_slice(&if swap { [pixel[2], pixel[1], pixel[0]] } else { [pixel[0], pixel[1], pixel[2]] });
    }
    RgbImage::from_raw(image.width, image.height, rgb).map(DynamicImage::ImageRgb8).ok_or_else(too_small)
}
