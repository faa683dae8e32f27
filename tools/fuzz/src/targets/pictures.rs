//! Pictures, raw and compressed, as pixels of every form.
//!
//! **Invariant:** what comes out has as many bytes as its size says.

use recording::Result;
use recording::decode::Decoder;
use recording::frame::{Compressed, Form, Pictures, Pixels, Raw};

use crate::seeds;

const FORMS: [Form; 4] = [Form::Native, Form::Rgb, Form::Bgr, Form::Grey];

/// Reads raw pixels: the name of an encoding, then three numbers, a byte that says their order, and the rows.
pub(super) fn raw(input: &[u8]) {
    let (encoding, picture) = seeds::split(input);
    let Some((numbers, data)) = picture.split_first_chunk::<13>() else { return };
    let number = |at: usize| u32::from_le_bytes([numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3]]);
    let encoding = String::from_utf8_lossy(encoding);
    let raw = Raw { width: number(0), height: number(4), step: number(8), encoding: &encoding, big_endian: numbers[12] & 1 == 1, data };
    FORMS.into_iter().for_each(|form| check(raw.pixels(form)));
}

/// Reads a compressed picture: what the message calls its format, then the file.
pub(super) fn compressed(input: &[u8]) {
    let (format, data) = seeds::split(input);
    let format = String::from_utf8_lossy(format);
    FORMS.into_iter().for_each(|form| check(Compressed { format: &format, data }.pixels(form)));
}

/// Reads the picture of a message, if its type has one.
pub(super) fn of_message(decoder: &Decoder, payload: &[u8]) {
    let Some(pictures) = Pictures::new(decoder) else { return };
    let Ok(picture) = pictures.read(payload) else { return };
    if let Some(pixels) = picture.pixels(Form::Rgb).transpose() {
        check(pixels);
    }
}

fn check(pixels: Result<Pixels>) {
    let Ok(Pixels { width, height, channels, element, data }) = pixels else { return };
    assert_eq!(data.len(), width as usize * height as usize * channels as usize * element.bytes(), "a picture of another size");
}
