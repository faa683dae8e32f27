//! Arrays and images as ROS 2 messages: `sensor_msgs/msg/Image`, `CompressedImage` and `std_msgs/msg/<T>MultiArray` in CDR.
//!
//! In comes memory, out goes one message; the pixels are copied once, without the interpreter's lock where there are many.
//!
//! **Invariant:** an array of `uint8` or `uint16` that looks like an image is one (HxW, or HxWx1, HxWx3, HxWx4 of `uint8`);
//! every other array keeps its dimensions and its type.

use std::sync::Arc;

use bytes::Bytes;
use pyo3::intern;
use pyo3::prelude::*;
use recording::Schema;

use crate::buffer::{Buffer, Element, View};
use crate::cdr::Writer;
use crate::error::{Failure, Result};
use crate::ros;

/// From how many bytes on other Python threads run while memory is copied.
pub(crate) const DETACH_BYTES: usize = 64 << 10;

/// The room that everything but the elements takes, at most (a longer frame id only makes the buffer grow).
const ENVELOPE_BYTES: usize = 512;

/// What an image's header says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header<'a> {
    /// When it was measured; ns UTC.
    pub(crate) stamp_ns: i64,
    /// The coordinate frame.
    pub(crate) frame_id: &'a str,
}

/// How pixels lie in an image.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pixels {
    height: u32,
    width: u32,
    encoding: &'static str,
    pixel_bytes: u32,
}

/// Returns whether an array of this kind is logged as an image, which has a header.
pub(crate) fn is_image(buffer: &Buffer<'_>) -> bool {
    buffer.element().ok().and_then(|element| pixels(buffer.shape(), element)).is_some()
}

/// Returns the message of an array, and its schema.
///
/// # Errors
/// `Invalid` for elements that ROS 2 has no array of, and for more than 2^32 elements.
pub(crate) fn encode(py: Python<'_>, buffer: &Buffer<'_>, header: Header<'_>) -> Result<(Bytes, Arc<Schema>)> {
    let element = buffer.element().map_err(|format| {
        Failure::invalid(format!("an array of '{format}'; bool, integers of 8 to 64 bits, float32 and float64 can be logged"))
    })?;
    let count = u32::try_from(buffer.len_bytes() / element.size())
        .map_err(|_| Failure::invalid(format!("an array of {} bytes; at most 2^32 elements fit into a message", buffer.len_bytes())))?;
    match pixels(buffer.shape(), element) {
        Some(pixels) => {
            let mut writer = Writer::with_capacity(buffer.len_bytes() + ENVELOPE_BYTES);
            write_header(&mut writer, header);
            write_pixels(&mut writer, pixels, count * element.size() as u32);
            Ok((append(py, writer.finish(), buffer.view(), buffer.len_bytes()), ros::image()))
        }
        None => {
            let mut writer = Writer::with_capacity(buffer.len_bytes() + ENVELOPE_BYTES);
            write_layout(&mut writer, buffer.shape());
            writer.sequence(count, element.size());
            Ok((append(py, writer.finish(), buffer.view(), buffer.len_bytes()), array_schema(element)))
        }
    }
}

/// Returns the message of a PIL image, and its schema: `L`, `I;16`, `RGB` and `RGBA` as they are, others as `RGB`.
///
/// # Errors
/// Whatever PIL raises, e.g. for a file that it cannot decode.
pub(crate) fn encode_pil(image: &Bound<'_, PyAny>, header: Header<'_>) -> Result<(Bytes, Arc<Schema>)> {
    let py = image.py();
    let mode: String = image.getattr(intern!(py, "mode"))?.extract()?;
    let kept = match mode.as_str() {
        "L" => Some(("mono8", 1)),
        "I;16" => Some(("mono16", 2)),
        "RGB" => Some(("rgb8", 3)),
        "RGBA" => Some(("rgba8", 4)),
        _ => None,
    };
    let converted = match kept {
        Some(_) => image.clone(),
        None => image.call_method1(intern!(py, "convert"), ("RGB",))?,
    };
    let (encoding, pixel_bytes) = kept.unwrap_or(("rgb8", 3));
    let bytes = converted.call_method0(intern!(py, "tobytes"))?;
    let data = bytes.cast::<pyo3::types::PyBytes>()?.as_bytes();
    let (width, height): (u32, u32) = converted.getattr(intern!(py, "size"))?.extract()?;
    let size = u32::try_from(data.len()).map_err(|_| Failure::invalid(format!("an image of {} bytes; at most 4 GiB", data.len())))?;
    let mut writer = Writer::with_capacity(data.len() + ENVELOPE_BYTES);
    write_header(&mut writer, header);
    write_pixels(&mut writer, Pixels { height, width, encoding, pixel_bytes }, size);
    writer.raw().extend_from_slice(data);
    Ok((Bytes::from(writer.finish()), ros::image()))
}

/// Returns the message of an image that is already compressed, and its schema.
///
/// # Errors
/// `Invalid` for more than 4 GiB.
pub(crate) fn encode_compressed(format: &str, data: &[u8], header: Header<'_>) -> Result<(Bytes, Arc<Schema>)> {
    let size = u32::try_from(data.len()).map_err(|_| Failure::invalid(format!("an image of {} bytes; at most 4 GiB", data.len())))?;
    let mut writer = Writer::with_capacity(data.len() + ENVELOPE_BYTES);
    write_header(&mut writer, header);
    writer.string(format);
    writer.sequence(size, 1);
    writer.raw().extend_from_slice(data);
    Ok((Bytes::from(writer.finish()), ros::compressed_image()))
}

fn pixels(shape: &[isize], element: Element) -> Option<Pixels> {
    let (&[height, width], channels) = shape.split_first_chunk::<2>()?;
    let (encoding, pixel_bytes) = match (channels, element) {
        ([] | [1], Element::U8) => ("mono8", 1),
        ([] | [1], Element::U16) => ("mono16", 2),
        ([3], Element::U8) => ("rgb8", 3),
        ([4], Element::U8) => ("rgba8", 4),
        _ => return None,
    };
    Some(Pixels { height: u32::try_from(height).ok()?, width: u32::try_from(width).ok()?, encoding, pixel_bytes })
}

fn write_header(writer: &mut Writer, header: Header<'_>) {
    writer.time(header.stamp_ns);
    writer.string(header.frame_id);
}

fn write_pixels(writer: &mut Writer, pixels: Pixels, size_bytes: u32) {
    writer.u32(pixels.height);
    writer.u32(pixels.width);
    writer.string(pixels.encoding);
    writer.u8(u8::from(cfg!(target_endian = "big")));
    writer.u32(pixels.width * pixels.pixel_bytes);
    writer.sequence(size_bytes, 1);
}

fn write_layout(writer: &mut Writer, shape: &[isize]) {
    writer.u32(shape.len() as u32);
    for (index, &size) in shape.iter().enumerate() {
        writer.string(&format!("dim{index}"));
        writer.u32(size as u32);
        // As `std_msgs` defines it: the elements from this dimension on.
        writer.u32(shape[index..].iter().map(|&size| size as u32).product());
    }
    writer.u32(0);
}

/// Returns a copy of a buffer's bytes.
pub(crate) fn copy(py: Python<'_>, buffer: &Buffer<'_>) -> Bytes {
    append(py, Vec::with_capacity(buffer.len_bytes()), buffer.view(), buffer.len_bytes())
}

/// Appends the elements and returns the message.
fn append(py: Python<'_>, mut message: Vec<u8>, view: View<'_>, size_bytes: usize) -> Bytes {
    if size_bytes < DETACH_BYTES {
        view.append_to(&mut message);
    } else {
        py.detach(|| {
            let view = view;
            view.append_to(&mut message);
        });
    }
    Bytes::from(message)
}

fn array_schema(element: Element) -> Arc<Schema> {
    let (kind, name) = match element {
        Element::Bool | Element::U8 => ("UInt8", "uint8"),
        Element::I8 => ("Int8", "int8"),
        Element::I16 => ("Int16", "int16"),
        Element::I32 => ("Int32", "int32"),
        Element::I64 => ("Int64", "int64"),
        Element::U16 => ("UInt16", "uint16"),
        Element::U32 => ("UInt32", "uint32"),
        Element::U64 => ("UInt64", "uint64"),
        Element::F32 => ("Float32", "float32"),
        Element::F64 => ("Float64", "float64"),
    };
    ros::multi_array(kind, name)
}
