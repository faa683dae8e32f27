//! The names of raw encodings, as ROS and Foxglove write them.
//!
//! **Invariant:** a name means one layout; what is no name is refused with those that are.

use super::Element;
use crate::error::{Error, Result};

/// How raw pixels lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// All numbers of a pixel side by side.
    Packed { element: Element, channels: u32, colour: Colour },
    /// One number per pixel, behind a filter of red, green and blue. `wide` for 16 bits.
    Bayer { wide: bool, pattern: Pattern },
    /// Four bytes per two pixels; brightness first (YUYV) or colour first (UYVY).
    Yuv422 { luma_first: bool },
    /// Brightness, then a quarter as many pairs of colours: U first (NV12) or V first (NV21).
    Yuv420 { v_first: bool },
    /// Brightness, then as many pairs of colours (NV24).
    Yuv444,
}

/// What the numbers of a packed pixel are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Grey,
    Rgb,
    Bgr,
    /// No colours: depth, vectors, labels.
    Measured,
}

/// Which colours the four pixels of the top left corner see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    Rggb,
    Bggr,
    Gbrg,
    Grbg,
}

/// What one row of a pattern's pixels weighs: used to check sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// The bytes of one row.
    pub(super) row_bytes: usize,
    /// How many rows there are, of all planes.
    pub(super) rows: usize,
}

/// Returns the layout that a name stands for.
pub(super) fn layout(name: &str) -> Result<Layout> {
    use Colour::{Bgr, Grey, Rgb};
    use Element::{U8, U16};
    let packed = |element, channels, colour| Layout::Packed { element, channels, colour };
    Ok(match name.to_ascii_lowercase().as_str() {
        "mono8" => packed(U8, 1, Grey),
        "mono16" => packed(U16, 1, Grey),
        "rgb8" => packed(U8, 3, Rgb),
        "bgr8" => packed(U8, 3, Bgr),
        "rgba8" => packed(U8, 4, Rgb),
        "bgra8" => packed(U8, 4, Bgr),
        "rgb16" => packed(U16, 3, Rgb),
        "bgr16" => packed(U16, 3, Bgr),
        "rgba16" => packed(U16, 4, Rgb),
        "bgra16" => packed(U16, 4, Bgr),
        "yuv422" | "uyvy" => Layout::Yuv422 { luma_first: false },
        "yuv422_yuy2" | "yuyv" => Layout::Yuv422 { luma_first: true },
        "nv12" => Layout::Yuv420 { v_first: false },
        "nv21" => Layout::Yuv420 { v_first: true },
        "nv24" => Layout::Yuv444,
        lower => return bayer(lower).or_else(|| matrix(lower)).ok_or_else(|| unknown(name)),
    })
}

fn unknown(name: &str) -> Error {
    Error::invalid(format!(
        "pixels encoded as '{name}'; known are mono8, mono16, rgb8, bgr8, rgba8, bgra8, their forms of 16 bits, bayer_rggb8 and its like, \
         uyvy, yuyv, nv12, nv21, nv24, and 8UC1 to 64FC4"
    ))
}

fn bayer(name: &str) -> Option<Layout> {
    let rest = name.strip_prefix("bayer_")?;
    let wide = match rest.get(4..)? {
        "8" => false,
        "16" => true,
        _ => return None,
    };
    let pattern = match rest.get(..4)? {
        "rggb" => Pattern::Rggb,
        "bggr" => Pattern::Bggr,
        "gbrg" => Pattern::Gbrg,
        "grbg" => Pattern::Grbg,
        _ => return None,
    };
    Some(Layout::Bayer { wide, pattern })
}

/// The names that OpenCV gives to matrices: `16UC1`, `32FC3`. Of 8 bits they are colours, blue first, as OpenCV has them.
fn matrix(name: &str) -> Option<Layout> {
    let (kind, channels) = name.split_once('c')?;
    let element = match kind {
        "8u" => Element::U8,
        "8s" => Element::I8,
        "16u" => Element::U16,
        "16s" => Element::I16,
        "32s" => Element::I32,
        "32f" => Element::F32,
        "64f" => Element::F64,
        _ => return None,
    };
    let channels: u32 = channels.parse().ok()?;
    const CHANNELS_LIMIT: u32 = 512;
    if channels == 0 || channels > CHANNELS_LIMIT {
        return None;
    }
    let colour = match (element, channels) {
        (Element::U8, 1) => Colour::Grey,
        (Element::U8, 3 | 4) => Colour::Bgr,
        _ => Colour::Measured,
    };
    Some(Layout::Packed { element, channels, colour })
}

impl Layout {
    /// Returns what a picture of this size takes.
    pub(super) fn extent(self, width: usize, height: usize) -> Extent {
        let pair = width.next_multiple_of(2);
        let (row_bytes, rows) = match self {
            Self::Packed { element, channels, .. } => (width.saturating_mul(channels as usize * element.bytes()), height),
            Self::Bayer { wide, .. } => (width * if wide { 2 } else { 1 }, height),
            Self::Yuv422 { .. } => (pair * 2, height),
            Self::Yuv420 { .. } => (pair, height + height.div_ceil(2)),
            Self::Yuv444 => (width, height.saturating_mul(3)),
        };
        Extent { row_bytes, rows }
    }
}
