//! Small pictures, raw and compressed.
//!
//! **Invariant:** of every encoding that has a name there is one.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};

use super::{cdr_of, join};

const WIDTH: u32 = 4;
const HEIGHT: u32 = 4;

/// Encodings, and how many bytes a row of four pixels has.
const ENCODINGS: [(&str, u32); 12] = [
    ("mono8", 4),
    ("mono16", 8),
    ("bgr8", 12),
    ("rgba8", 16),
    ("rgba16", 32),
    ("bayer_rggb8", 4),
    ("bayer_grbg16", 8),
    ("uyvy", 8),
    ("yuyv", 8),
    ("nv21", 4),
    ("nv24", 4),
    ("32FC2", 32),
];

/// Returns raw pictures, each behind the name of its encoding.
pub(super) fn raw() -> Vec<Vec<u8>> {
    let picture = |(encoding, step): (&str, u32)| {
        let head = [WIDTH, HEIGHT, step].map(u32::to_le_bytes).concat();
        let rows: Vec<u8> = (0..step * HEIGHT * 3).map(|at| at as u8).collect();
        join(encoding.as_bytes(), &[&head[..], &[0], &rows].concat())
    };
    ENCODINGS.into_iter().map(picture).collect()
}

/// Returns compressed pictures, each behind what a message calls its format.
pub(super) fn compressed() -> Vec<Vec<u8>> {
    let colours = DynamicImage::new_rgb8(WIDTH, HEIGHT);
    let forms = [
        ("png", ImageFormat::Png, colours.clone()),
        ("png", ImageFormat::Png, colours.to_rgba16().into()),
        ("png", ImageFormat::Png, colours.to_luma_alpha8().into()),
        ("mono16; png compressed", ImageFormat::Png, colours.to_luma16().into()),
        ("jpeg", ImageFormat::Jpeg, colours.clone()),
        ("jpeg", ImageFormat::Jpeg, colours.to_luma8().into()),
    ];
    let mut pictures: Vec<Vec<u8>> = forms.iter().map(|(name, format, image)| join(name.as_bytes(), &file(image, *format))).collect();
    let header = [&[0; 4][..], &100_f32.to_le_bytes(), &0.1_f32.to_le_bytes()].concat();
    let depth = file(&colours.to_luma16().into(), ImageFormat::Png);
    pictures.push(join(b"16UC1; compressedDepth png", &[&header[..], &depth].concat()));
    // Two zeros, two differences; and so on.
    let runs = [&header[..], &[4, 0, 0, 0, 1, 0, 0, 0], &0x2223_1000_u32.to_le_bytes()].concat();
    pictures.push(join(b"32FC1; compressedDepth rvl", &runs));
    pictures
}

/// Returns messages with pictures, each behind its definition.
pub(super) fn messages() -> Vec<Vec<u8>> {
    let raw = b"uint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\nuint8[] data\n";
    let numbers = [2, 2].map(u32::to_le_bytes).concat();
    let payload = cdr_of(&[&numbers, &6_u32.to_le_bytes(), b"mono8\0\0", &2_u32.to_le_bytes(), &4_u32.to_le_bytes(), &[1, 2, 3, 4]]);
    let file = file(&DynamicImage::new_luma8(1, 1), ImageFormat::Png);
    let compressed = cdr_of(&[&4_u32.to_le_bytes(), b"png\0", &(file.len() as u32).to_le_bytes(), &file]);
    vec![join(raw, &payload), join(b"string format\nuint8[] data\n", &compressed)]
}

#[expect(clippy::expect_used, reason = "writing to memory")]
fn file(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, format).expect("a form that the format has");
    file.into_inner()
}
