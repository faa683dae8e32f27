//! The picture in a message: of ROS 1, ROS 2, Foxglove, or any other type that is made like theirs.
//!
//! In come payloads, out come pictures with their stamps. A raw picture is a type with `width`, `height`, `encoding` and `data`; a
//! compressed one has `format` and `data`.
//!
//! **Invariant:** a payload's pixels are not copied where they stand in one piece.

use std::borrow::Cow;

use super::{Compressed, Form, Pixels, Raw};
use crate::decode::json::base64;
use crate::decode::sink::{Number, Numbers, Sink, Width};
use crate::decode::{Decoder, Scalar, StampReader};
use crate::error::{Error, Result};
use crate::schema::{Enum, FieldKind, TypeId};
use crate::time::Timestamp;

/// Finds the pictures in a topic's messages.
#[derive(Debug)]
pub struct Pictures {
    decoder: Decoder,
    stamp: Option<StampReader>,
    /// What each field of the message is.
    parts: Vec<Part>,
    /// Which field of the header is the frame's name.
    frame_id: Option<usize>,
    raw: bool,
    video: bool,
}

/// A message's picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture<'a> {
    /// When it was taken.
    pub stamp_ns: Option<Timestamp>,
    /// The coordinate frame that it was taken in.
    pub frame_id: Cow<'a, str>,
    /// How its bytes are to be understood.
    pub stored: Stored<'a>,
    /// Its bytes.
    pub data: Cow<'a, [u8]>,
}

/// How the bytes of a picture are to be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored<'a> {
    /// Raw pixels.
    Raw {
        /// How many columns.
        width: u32,
        /// How many rows.
        height: u32,
        /// From row to row, in bytes; 0 where rows have no gaps.
        step: u32,
        /// The encoding's name.
        encoding: Cow<'a, str>,
        /// Whether numbers of more than 8 bits have their high byte first.
        big_endian: bool,
    },
    /// A file of this format.
    File(Cow<'a, str>),
    /// A packet of a video with this codec.
    Video(Cow<'a, str>),
}

/// What a field says about a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Part {
    #[default]
    Other,
    Header,
    FrameId,
    Width,
    Height,
    Step,
    Encoding,
    BigEndian,
    Format,
    Data,
}

/// How formats are called that are video.
const CODECS: [&str; 6] = ["h264", "h265", "hevc", "av1", "vp8", "vp9"];

impl Pictures {
    /// Returns the pictures of a topic, or `None` where its type has none.
    pub fn new(decoder: &Decoder) -> Option<Self> {
        let tree = decoder.tree();
        let root = tree.root();
        let part = |name: &str| match name {
            "header" => Part::Header,
            "frame_id" => Part::FrameId,
            "width" => Part::Width,
            "height" => Part::Height,
            "step" => Part::Step,
            "encoding" => Part::Encoding,
            "is_bigendian" => Part::BigEndian,
            "format" => Part::Format,
            "data" => Part::Data,
            _ => Part::Other,
        };
        let parts: Vec<Part> = root.fields.iter().map(|field| part(&field.name)).collect();
        let header = root.fields.iter().zip(&parts).find(|(_, part)| **part == Part::Header).map(|(field, _)| &field.kind);
        let frame_id = match header {
            Some(FieldKind::Struct(id)) => tree.get(*id).fields.iter().position(|field| field.name == "frame_id"),
            _ => None,
        };
        let has = |part: Part| parts.contains(&part);
        let raw = has(Part::Width) && has(Part::Height) && has(Part::Encoding) && has(Part::Data);
        let known = raw || has(Part::Format) && has(Part::Data);
        let video = root.name.ends_with("CompressedVideo");
        known.then(|| Self { decoder: decoder.clone(), stamp: decoder.stamp(), parts, frame_id, raw, video })
    }

    /// Returns whether messages may be packets of a video.
    pub fn may_be_video(&self) -> bool {
        self.video
    }

    /// Returns the picture of a message.
    ///
    /// # Errors
    /// `Corrupt` for a payload that does not fit its type.
    pub fn read<'a>(&self, payload: &'a [u8]) -> Result<Picture<'a>> {
        let mut found = Found::new(self);
        self.decoder.tell(payload, &mut found)?;
        let stamp_ns = match &self.stamp {
            Some(stamp) => stamp.read(payload)?,
            None => None,
        };
        let side = |number: u64| u32::try_from(number).map_err(|_| Error::corrupt(format!("a picture with a side of {number}")));
        let is_video = self.video || CODECS.contains(&found.format.as_ref());
        let stored = match (self.raw, is_video) {
            (true, _) => Stored::Raw {
                width: side(found.width)?,
                height: side(found.height)?,
                step: side(found.step)?,
                encoding: found.encoding,
                big_endian: found.big_endian,
            },
            (false, true) => Stored::Video(found.format),
            (false, false) => Stored::File(found.format),
        };
        Ok(Picture { stamp_ns, frame_id: found.frame_id, stored, data: found.data })
    }
}

impl Picture<'_> {
    /// Returns its pixels in a form; `None` for a packet of a video, which says nothing alone.
    ///
    /// # Errors
    /// As [`Raw::pixels`] and [`Compressed::pixels`].
    pub fn pixels(&self, form: Form) -> Result<Option<Pixels>> {
        match &self.stored {
            Stored::Raw { width, height, step, encoding, big_endian } => {
                let raw = Raw { width: *width, height: *height, step: *step, encoding, big_endian: *big_endian, data: &self.data };
                raw.pixels(form).map(Some)
            }
            Stored::File(format) => Compressed { format, data: &self.data }.pixels(form).map(Some),
            Stored::Video(_) => Ok(None),
        }
    }

    /// Returns how its bytes are encoded: the name of an encoding, a format or a codec.
    pub fn encoding(&self) -> &str {
        match &self.stored {
            Stored::Raw { encoding, .. } => encoding,
            Stored::File(format) | Stored::Video(format) => format,
        }
    }
}

/// What of a message's picture was told so far.
struct Found<'a, 'p> {
    pictures: &'p Pictures,
    /// How many structs, lists and maps are open.
    depth: usize,
    /// What the next value is.
    next: Part,
    frame_id: Cow<'a, str>,
    encoding: Cow<'a, str>,
    format: Cow<'a, str>,
    width: u64,
    height: u64,
    step: u64,
    big_endian: bool,
    data: Cow<'a, [u8]>,
}

impl<'p> Found<'_, 'p> {
    fn new(pictures: &'p Pictures) -> Self {
        let (frame_id, encoding, format, data) = Default::default();
        Self { pictures, depth: 0, next: Part::Other, frame_id, encoding, format, width: 0, height: 0, step: 0, big_endian: false, data }
    }

    fn number(&mut self, number: u64) {
        match self.next {
            Part::Width => self.width = number,
            Part::Height => self.height = number,
            Part::Step => self.step = number,
            Part::BigEndian => self.big_endian = number != 0,
            Part::Data => self.data.to_mut().push(number as u8),
            _ => {}
        }
    }
}

impl<'a> Sink<'a> for Found<'a, '_> {
    fn begin_struct(&mut self, _: TypeId) {
        self.depth += 1;
    }

    fn field(&mut self, index: usize) -> bool {
        self.next = match self.depth {
            1 => self.pictures.parts.get(index).copied().unwrap_or_default(),
            2 if self.pictures.frame_id == Some(index) => Part::FrameId,
            _ => Part::Other,
        };
        self.next != Part::Other
    }

    fn end_struct(&mut self) {
        self.depth -= 1;
    }

    fn begin_list(&mut self) {
        self.depth += 1;
    }

    fn end_list(&mut self) {
        self.depth -= 1;
    }

    fn begin_map(&mut self) {
        self.depth += 1;
    }

    fn key(&mut self, _: Scalar<'a>) {}

    fn end_map(&mut self) {
        self.depth -= 1;
    }

    fn null(&mut self) {}

    fn bool(&mut self, value: bool) {
        self.number(value.into());
    }

    fn int(&mut self, value: i64) {
        self.number(value as u64);
    }

    fn uint(&mut self, value: u64) {
        self.number(value);
    }

    fn float(&mut self, value: f64) {
        self.number(value as u64);
    }

    fn float32(&mut self, value: f32) {
        self.number(value as u64);
    }

    fn enumeration(&mut self, value: i64, _: &Enum) {
        self.number(value as u64);
    }

    fn text(&mut self, value: Cow<'a, str>) {
        match self.next {
            Part::FrameId => self.frame_id = value,
            Part::Encoding => self.encoding = value,
            Part::Format => self.format = value,
            // JSON without a word about it; what is no base64 is nothing, which no picture is.
            Part::Data => self.data = Cow::Owned(base64::decode(&value).unwrap_or_default()),
            _ => {}
        }
    }

    fn bytes(&mut self, value: Cow<'a, [u8]>) {
        if self.next == Part::Data {
            self.data = value;
        }
    }

    fn numbers(&mut self, numbers: Numbers<'a>) {
        match (self.next, numbers.number) {
            (Part::Data, Number::UInt(Width::W1) | Number::Int(Width::W1)) if self.data.is_empty() => {
                self.data = Cow::Borrowed(numbers.bytes)
            }
            _ => numbers.each(self),
        }
    }
}

#[cfg(test)]
mod tests;
