//! A page for people: how the recorder is doing, what comes, the last pictures, and a button that keeps the past.
//!
//! It is plain HTML, and asks the same addresses as scripts do.
//!
//! **Invariant:** the browser is told to load nothing from anywhere else, and to run no script but this one.

use std::collections::HashMap;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, RgbImage};
use parking_lot::Mutex;
use recording::frame::{Element, Form, Pictures, Pixels, Stored};
use recording::schema::library::Library;
use recording::{Error, Kind, Result, Topic, TopicFilter};

use crate::{Channel, Tape};

/// How long to wait for the next picture of a topic.
const PICTURE_PATIENCE: Duration = Duration::from_millis(700);
/// How many bytes of pictures wait meanwhile.
const HELD_LIMIT: usize = 32 << 20;
/// How wide a picture of raw pixels is shown.
const WIDTH_LIMIT: u32 = 640;
/// How good the JPEG of one is.
const QUALITY: u8 = 80;
/// What the browser may load.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Returns the page.
pub(crate) async fn html() -> Response {
    guarded("text/html; charset=utf-8", include_str!("page/page.html"))
}

/// Returns its script.
pub(crate) async fn script() -> Response {
    guarded("text/javascript; charset=utf-8", include_str!("page/page.js"))
}

/// Returns its looks.
pub(crate) async fn style() -> Response {
    guarded("text/css; charset=utf-8", include_str!("page/page.css"))
}

/// Returns the sign of its tab.
pub(crate) async fn icon() -> Response {
    guarded("image/svg+xml", include_str!("page/icon.svg"))
}

/// Returns something for a browser, with what that may do with it.
pub(crate) fn guarded(content_type: &'static str, body: impl IntoResponse) -> Response {
    let headers: [(HeaderName, &'static str); 5] = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let mut response = body.into_response();
    for (name, value) in headers {
        // Text says of itself that it is plain.
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Which channels have pictures, as far as somebody asked: to look into a definition takes long, and it never changes.
#[derive(Default)]
pub(crate) struct PictureTopics {
    by_channel: Mutex<HashMap<u16, bool>>,
}

impl PictureTopics {
    /// Returns the topics that have pictures.
    pub(crate) fn names(&self, tape: &Tape) -> Vec<String> {
        let library = Library::standard();
        let mut known = self.by_channel.lock();
        let mut shows = |channel: &Channel| {
            let looks = || pictures(channel.topic(), &library).is_some();
            *known.entry(channel.id()).or_insert_with(looks)
        };
        let channels = tape.channels();
        let mut names: Vec<String> = channels.iter().filter(|channel| shows(channel)).map(|channel| channel.topic().name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// Returns the newest picture of a topic and its type: the next one that comes, or the latched one.
///
/// # Errors
/// `NotFound` if there is no such topic or none comes in time, `Invalid` for what no browser shows.
pub(crate) fn picture(tape: &Tape, name: &str) -> Result<(&'static str, Vec<u8>)> {
    let library = Library::standard();
    let no_picture = || Error::invalid(format!("the messages of '{name}' are no pictures"));
    let mut channels = tape.channels();
    channels.retain(|channel| channel.topic().name == name);
    if channels.is_empty() {
        return Err(Error::not_found(format!("there is no topic '{name}'")));
    }
    channels.retain(|channel| pictures(channel.topic(), &library).is_some());
    if channels.is_empty() {
        return Err(no_picture());
    }
    let tap = tape.tap(TopicFilter::exactly::<String>([]), HELD_LIMIT)?;
    channels.iter().for_each(|channel| tap.want(channel, true));
    let latched = || channels.iter().flat_map(|channel| tape.latched_of(channel)).max_by_key(|heard| heard.sequence);
    let heard = tap.next(PICTURE_PATIENCE).or_else(latched).ok_or_else(|| Error::not_found(format!("no picture came on '{name}'")))?;
    let pictures = pictures(heard.channel.topic(), &library).ok_or_else(no_picture)?;
    let picture = pictures.read(&heard.data)?;
    if let (Stored::File(_), Some(kind)) = (&picture.stored, file_kind(&picture.data)) {
        return Ok((kind, picture.data.into_owned()));
    }
    let native = picture.pixels(Form::Native)?.ok_or_else(no_picture)?;
    let is_measurement = native.channels == 1 && native.element != Element::U8;
    let pixels = if is_measurement { native } else { picture.pixels(Form::Rgb)?.ok_or_else(no_picture)? };
    Ok(("image/jpeg", jpeg(pixels)?))
}

fn pictures(topic: &Topic, library: &Library) -> Option<Pictures> {
    let decoder = recording::decode::Decoder::new(topic, library).ok()?;
    Pictures::new(&decoder).filter(|pictures| !pictures.may_be_video())
}

/// Returns what a file is that every browser shows.
fn file_kind(data: &[u8]) -> Option<&'static str> {
    match data {
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

fn jpeg(pixels: Pixels) -> Result<Vec<u8>> {
    let failed = |what: &str| Error::new(Kind::Corrupt, format!("a picture that cannot be shown: {what}"));
    let (width, height) = (pixels.width, pixels.height);
    let image = match (pixels.element, pixels.channels) {
        (Element::U8, 3) => RgbImage::from_raw(width, height, pixels.data).map(DynamicImage::ImageRgb8),
        (Element::U8, 1) => GrayImage::from_raw(width, height, pixels.data).map(DynamicImage::ImageLuma8),
        (_, 1) => GrayImage::from_raw(width, height, shades(&pixels)).map(DynamicImage::ImageLuma8),
        _ => None,
    };
    let image = image.filter(|_| width > 0 && height > 0).ok_or_else(|| failed("it has no colours"))?;
    let image = if width > WIDTH_LIMIT { image.resize(WIDTH_LIMIT, u32::MAX, FilterType::Triangle) } else { image };
    let mut out = Vec::new();
    image.write_with_encoder(JpegEncoder::new_with_quality(&mut out, QUALITY)).map_err(|error| failed(&error.to_string()))?;
    Ok(out)
}

/// Returns a measurement per pixel, such as depth, as shades between the least and the greatest.
fn shades(pixels: &Pixels) -> Vec<u8> {
    let numbers: Vec<f64> = pixels.data.chunks_exact(pixels.element.bytes()).map(|bytes| number(pixels.element, bytes)).collect();
    let finite = || numbers.iter().copied().filter(|number| number.is_finite());
    let (least, greatest) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let range = (greatest - least).max(f64::MIN_POSITIVE);
    // What is no number is black.
    numbers.iter().map(|number| ((number - least) / range * 255.0) as u8).collect()
}

fn number(element: Element, bytes: &[u8]) -> f64 {
    let two = || [bytes[0], bytes[1]];
    let four = || [bytes[0], bytes[1], bytes[2], bytes[3]];
    match element {
        Element::U8 => f64::from(bytes[0]),
        Element::I8 => f64::from(bytes[0] as i8),
        Element::U16 => f64::from(u16::from_ne_bytes(two())),
        Element::I16 => f64::from(i16::from_ne_bytes(two())),
        Element::I32 => f64::from(i32::from_ne_bytes(four())),
        Element::F32 => f64::from(f32::from_ne_bytes(four())),
        Element::F64 => bytes.try_into().map_or(f64::NAN, f64::from_ne_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_shown_in_shades() {
        let data: Vec<u8> = [0.5f32, 1.5, f32::NAN, 1.0].into_iter().flat_map(f32::to_ne_bytes).collect();
        let pixels = Pixels { width: 2, height: 2, channels: 1, element: Element::F32, data };
        assert_eq!(shades(&pixels), [0, 255, 0, 127]);
        assert!(jpeg(pixels).unwrap().starts_with(&[0xff, 0xd8]));
        let nothing = Pixels { width: 0, height: 0, channels: 3, element: Element::U8, data: Vec::new() };
        assert!(jpeg(nothing).is_err());
    }
}
