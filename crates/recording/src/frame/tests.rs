use std::io::Cursor;

use image::{DynamicImage, ImageFormat};

use super::*;

fn raw<'a>(encoding: &'a str, width: u32, height: u32, data: &'a [u8]) -> Raw<'a> {
    Raw { width, height, step: 0, encoding, big_endian: false, data }
}

fn check(encoding: &str, size: (u32, u32), data: &[u8], form: Form, expected: &[u8]) {
    let pixels = raw(encoding, size.0, size.1, data).pixels(form).unwrap();
    assert_eq!((pixels.width, pixels.height), size, "{encoding}");
    assert_eq!(pixels.data, expected, "{encoding} as {form:?}");
}

#[test]
fn packed_colours_become_each_form() {
    check("rgb8", (1, 1), &[1, 2, 3], Form::Rgb, &[1, 2, 3]);
    check("rgb8", (1, 1), &[1, 2, 3], Form::Bgr, &[3, 2, 1]);
    check("bgr8", (1, 1), &[1, 2, 3], Form::Rgb, &[3, 2, 1]);
    check("bgr8", (1, 1), &[1, 2, 3], Form::Bgr, &[1, 2, 3]);
    check("bgr8", (1, 1), &[1, 2, 3], Form::Native, &[1, 2, 3]);
    check("rgba8", (1, 2), &[1, 2, 3, 4, 5, 6, 7, 8], Form::Rgb, &[1, 2, 3, 5, 6, 7]);
    check("bgra8", (1, 1), &[1, 2, 3, 4], Form::Rgb, &[3, 2, 1]);
    check("mono8", (2, 1), &[7, 9], Form::Rgb, &[7, 7, 7, 9, 9, 9]);
    check("mono8", (2, 1), &[7, 9], Form::Grey, &[7, 9]);
    check("8UC3", (1, 1), &[1, 2, 3], Form::Rgb, &[3, 2, 1]);
    check("rgb8", (3, 1), &[255, 0, 0, 0, 255, 0, 0, 0, 255], Form::Grey, &[76, 150, 29]);
}

#[test]
fn sixteen_bits_follow_their_byte_order() {
    check("mono16", (1, 1), &[0x34, 0x12], Form::Native, &0x1234_u16.to_ne_bytes());
    check("mono16", (1, 1), &[0x34, 0x12], Form::Grey, &[0x12]);
    check("rgb16", (1, 1), &[0, 1, 0, 2, 0, 3], Form::Rgb, &[1, 2, 3]);
    let big = Raw { big_endian: true, ..raw("mono16", 1, 1, &[0x12, 0x34]) };
    assert_eq!(big.pixels(Form::Native).unwrap().data, 0x1234_u16.to_ne_bytes());
    assert_eq!(big.pixels(Form::Grey).unwrap().data, [0x12]);
}

#[test]
fn depth_has_no_colour() {
    let metres = 1.5_f32.to_le_bytes();
    let pixels = raw("32FC1", 1, 1, &metres).pixels(Form::Rgb).unwrap();
    assert_eq!((pixels.element, pixels.channels, pixels.data), (Element::F32, 1, 1.5_f32.to_ne_bytes().to_vec()));
    let pixels = raw("16UC1", 1, 1, &[1, 2]).pixels(Form::Rgb).unwrap();
    assert_eq!((pixels.element, pixels.channels), (Element::U16, 1));
}

#[test]
fn rows_may_have_gaps_and_the_last_may_lack_its_own() {
    let data = [1, 2, 3, 9, 9, 4, 5, 6];
    let picture = Raw { step: 5, ..raw("rgb8", 1, 2, &data) };
    assert_eq!(picture.pixels(Form::Rgb).unwrap().data, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_uniform_mosaic_is_uniform_and_an_edge_keeps_its_colours() {
    for pattern in ["rggb", "bggr", "gbrg", "grbg"] {
        check(&format!("bayer_{pattern}8"), (4, 3), &[50; 12], Form::Rgb, &[50; 36]);
    }
    // Red 200, green 100, blue 40 everywhere: the mosaic of one colour is that colour.
    let row = |even: bool| if even { [200, 100, 200, 100] } else { [100, 40, 100, 40] };
    let mosaic: Vec<u8> = (0..4).flat_map(|y| row(y % 2 == 0)).collect();
    check("bayer_rggb8", (4, 4), &mosaic, Form::Rgb, &[200, 100, 40].repeat(16));
    check("bayer_rggb8", (4, 4), &mosaic, Form::Native, &mosaic);
    let wide: Vec<u8> = mosaic.iter().flat_map(|value| [7, *value]).collect();
    check("bayer_rggb16", (4, 4), &wide, Form::Rgb, &[200, 100, 40].repeat(16));
    check("bayer_bggr8", (1, 1), &[9], Form::Rgb, &[9, 9, 9]);
}

#[test]
fn yuv_is_in_video_range() {
    check("yuyv", (2, 1), &[16, 128, 235, 128], Form::Rgb, &[0, 0, 0, 255, 255, 255]);
    check("uyvy", (2, 1), &[128, 16, 128, 235], Form::Rgb, &[0, 0, 0, 255, 255, 255]);
    check("yuv422", (1, 1), &[128, 16, 128, 235], Form::Rgb, &[0, 0, 0]);
    check("yuv422_yuy2", (2, 1), &[81, 90, 81, 240], Form::Rgb, &[255, 0, 0, 255, 0, 0]);
    check("nv12", (2, 2), &[81, 81, 81, 81, 90, 240], Form::Rgb, &[255, 0, 0].repeat(4));
    check("nv21", (2, 2), &[81, 81, 81, 81, 240, 90], Form::Rgb, &[255, 0, 0].repeat(4));
    check("nv24", (2, 1), &[81, 81, 90, 240, 90, 240], Form::Rgb, &[255, 0, 0].repeat(2));
    check("yuyv", (2, 1), &[81, 90, 81, 240], Form::Native, &[81, 90, 81, 240]);
}

#[test]
fn a_picture_that_says_more_than_it_has_is_corrupt() {
    for encoding in ["mono8", "rgb16", "bayer_rggb8", "uyvy", "nv12", "nv24", "64FC512"] {
        for (width, height) in [(1000, 1000), (u32::MAX, u32::MAX), (u32::MAX, 1), (1, u32::MAX)] {
            let error = raw(encoding, width, height, &[0; 64]).pixels(Form::Rgb).unwrap_err();
            assert_eq!(error.kind(), crate::Kind::Corrupt, "{encoding}");
        }
        for (width, height) in [(0, 0), (0, u32::MAX), (u32::MAX, 0)] {
            assert!(raw(encoding, width, height, &[]).pixels(Form::Rgb).unwrap().data.is_empty());
        }
    }
    let short = Raw { step: 2, ..raw("rgb8", 1, 1, &[1, 2, 3]) };
    assert_eq!(short.pixels(Form::Rgb).unwrap_err().kind(), crate::Kind::Corrupt);
    for unknown in ["", "rgb", "bayer_", "bayer_rgg", "8UC0", "8UC1000", "bayer_ééé8"] {
        assert_eq!(raw(unknown, 1, 1, &[0; 8]).pixels(Form::Rgb).unwrap_err().kind(), crate::Kind::Invalid, "{unknown}");
    }
}

fn file(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.write_to(&mut out, format).unwrap();
    out.into_inner()
}

#[test]
fn a_png_is_what_was_put_into_it() {
    let rgb = image::RgbImage::from_fn(5, 3, |x, y| image::Rgb([x as u8, y as u8, 77]));
    let png = file(&DynamicImage::ImageRgb8(rgb.clone()), ImageFormat::Png);
    let compressed = Compressed { format: "png", data: &png };
    assert_eq!(compressed.pixels(Form::Rgb).unwrap().data, rgb.into_raw());
    assert_eq!(compressed.pixels(Form::Grey).unwrap().channels, 1);
    let depth = image::ImageBuffer::from_fn(4, 2, |x, y| image::Luma([(x * 1000 + y) as u16]));
    let png = file(&DynamicImage::ImageLuma16(depth), ImageFormat::Png);
    let as_said = |format| Compressed { format, data: &png }.pixels(Form::Rgb).unwrap();
    assert_eq!((as_said("16UC1; png").element, as_said("mono16; png").element), (Element::U16, Element::U8));
}

#[test]
fn a_jpeg_is_nearly_what_was_put_into_it() {
    let rgb = image::RgbImage::from_fn(64, 48, |x, y| image::Rgb([(x * 4) as u8, (y * 5) as u8, 77]));
    let jpeg = file(&DynamicImage::ImageRgb8(rgb.clone()), ImageFormat::Jpeg);
    let pixels = Compressed { format: "jpeg", data: &jpeg }.pixels(Form::Rgb).unwrap();
    let furthest = pixels.data.iter().zip(rgb.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(furthest < Some(40), "{furthest:?}");
    for cut in [3, 10, jpeg.len() / 2] {
        // What of a cut file can be shown is up to the decoder; it must only not panic.
        drop(Compressed { format: "jpeg", data: &jpeg[..cut] }.pixels(Form::Rgb));
    }
    assert_eq!(Compressed { format: "webp", data: b"RIFF" }.pixels(Form::Rgb).unwrap_err().kind(), crate::Kind::Invalid);
}

#[test]
fn compressed_depth_is_depth() {
    let depth = image::ImageBuffer::from_fn(3, 1, |x, _| image::Luma([[0_u16, 1, 5000][x as usize]]));
    let mut data = vec![0; 4];
    data.extend_from_slice(&10000_f32.to_le_bytes());
    data.extend_from_slice(&(-1_f32).to_le_bytes());
    data.extend(file(&DynamicImage::ImageLuma16(depth), ImageFormat::Png));
    let pixels = Compressed { format: "16UC1; compressedDepth png", data: &data }.pixels(Form::Rgb).unwrap();
    assert_eq!(pixels.data, [0_u16, 1, 5000].map(u16::to_ne_bytes).concat());
    let pixels = Compressed { format: "32FC1; compressedDepth png", data: &data }.pixels(Form::Rgb).unwrap();
    let metres: Vec<f32> = pixels.data.chunks(4).map(|four| f32::from_ne_bytes(four.try_into().unwrap())).collect();
    assert!(metres[0].is_nan());
    assert_eq!(metres[1..], [5000.0, 10000.0 / 5001.0]);
}

/// Packs numbers as RVL does.
fn rvl(width: u32, height: u32, numbers: &[u32]) -> Vec<u8> {
    let mut groups = Vec::new();
    for number in numbers {
        let mut rest = *number;
        loop {
            let group = rest & 7;
            rest >>= 3;
            groups.push(group | if rest > 0 { 8 } else { 0 });
            if rest == 0 {
                break;
            }
        }
    }
    let mut data = vec![0; 12];
    data.extend_from_slice(&width.to_le_bytes());
    data.extend_from_slice(&height.to_le_bytes());
    for eight in groups.chunks(8) {
        let word = eight.iter().enumerate().fold(0, |word, (at, group)| word | group << (28 - 4 * at));
        data.extend_from_slice(&word.to_le_bytes());
    }
    data
}

#[test]
fn runs_of_depth_are_undone_and_never_leave_the_picture() {
    // Two zeros; 1000 and 998; one zero; 1003.
    let data = rvl(3, 2, &[2, 2, 2000, 3, 1, 1, 10]);
    let compressed = Compressed { format: "16UC1; compressedDepth rvl", data: &data };
    assert_eq!(compressed.pixels(Form::Rgb).unwrap().data, [0_u16, 0, 1000, 998, 0, 1003].map(u16::to_ne_bytes).concat());
    for wrong in [rvl(3, 2, &[9, 9]), rvl(3, 2, &[0, 0]), rvl(3, 2, &[2, 2, 2]), rvl(u32::MAX, u32::MAX, &[1]), vec![0; 5], vec![0; 14]] {
        let compressed = Compressed { format: "16UC1; compressedDepth rvl", data: &wrong };
        assert_eq!(compressed.pixels(Form::Rgb).unwrap_err().kind(), crate::Kind::Corrupt);
    }
}
