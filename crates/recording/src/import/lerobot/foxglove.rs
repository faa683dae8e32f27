//! Images and video frames as Foxglove's protobuf messages, which viewers know.
//!
//! **Invariant:** a payload decodes by the descriptors that stand beside it.

use std::sync::Arc;

use prost::encoding::{WireType, encode_key, encode_varint};

use crate::message::Schema;
use crate::time::SECOND_NS;

/// The numbers of a message's fields; all messages have the same four.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    name: &'static str,
    frame_id: u32,
    data: u32,
    format: u32,
}

/// `foxglove.CompressedVideo`.
pub(super) const VIDEO: Kind = Kind { name: "CompressedVideo", frame_id: 2, data: 3, format: 4 };

/// `foxglove.CompressedImage`.
pub(super) const IMAGE: Kind = Kind { name: "CompressedImage", frame_id: 4, data: 2, format: 3 };

/// The number of the stamp in every kind.
const TIMESTAMP: u32 = 1;

/// The numbers that descriptors have for types, and for a field that is there at most once.
const INT64: u64 = 3;
const INT32: u64 = 5;
const STRING: u64 = 9;
const MESSAGE: u64 = 11;
const BYTES: u64 = 12;
const OPTIONAL: u64 = 1;

impl Kind {
    /// Returns its definition: a set of two files, this kind's and that of the stamp.
    pub(super) fn schema(self) -> Arc<Schema> {
        let stamp = [field("seconds", 1, INT64, ""), field("nanos", 2, INT32, "")];
        let stamp = file("google/protobuf/timestamp.proto", "google.protobuf", "", &message("Timestamp", &stamp));
        let mut fields = [
            (TIMESTAMP, field("timestamp", TIMESTAMP, MESSAGE, ".google.protobuf.Timestamp")),
            (self.frame_id, field("frame_id", self.frame_id, STRING, "")),
            (self.data, field("data", self.data, BYTES, "")),
            (self.format, field("format", self.format, STRING, "")),
        ];
        fields.sort_by_key(|(number, _)| *number);
        let own = message(self.name, &fields.map(|(_, field)| field));
        let own = file(&format!("foxglove/{}.proto", self.name), "foxglove", "google/protobuf/timestamp.proto", &own);
        let mut data = Vec::new();
        bytes(1, &[&stamp], &mut data);
        bytes(1, &[&own], &mut data);
        Arc::new(Schema { name: format!("foxglove.{}", self.name), encoding: "protobuf".to_owned(), data: data.into() })
    }

    /// Appends a message.
    pub(super) fn write(self, time_ns: i64, frame_id: &str, format: &str, data: &[&[u8]], out: &mut Vec<u8>) {
        let mut stamp = Vec::new();
        for (number, value) in [(1, time_ns.div_euclid(SECOND_NS)), (2, time_ns.rem_euclid(SECOND_NS))] {
            if value != 0 {
                int(number, value as u64, &mut stamp);
            }
        }
        bytes(TIMESTAMP, &[&stamp], out);
        bytes(self.frame_id, &[frame_id.as_bytes()], out);
        bytes(self.data, data, out);
        bytes(self.format, &[format.as_bytes()], out);
    }
}

fn bytes(number: u32, parts: &[&[u8]], out: &mut Vec<u8>) {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
    out.reserve(length);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

fn int(number: u32, value: u64, out: &mut Vec<u8>) {
    encode_key(number, WireType::Varint, out);
    encode_varint(value, out);
}

/// Returns a `FileDescriptorProto`.
fn file(name: &str, package: &str, import: &str, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(1, &[name.as_bytes()], &mut out);
    bytes(2, &[package.as_bytes()], &mut out);
    if !import.is_empty() {
        bytes(3, &[import.as_bytes()], &mut out);
    }
    bytes(4, &[message], &mut out);
    bytes(12, &[b"proto3"], &mut out);
    out
}

/// Returns a `DescriptorProto`.
fn message(name: &str, fields: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(1, &[name.as_bytes()], &mut out);
    fields.iter().for_each(|field| bytes(2, &[field], &mut out));
    out
}

/// Returns a `FieldDescriptorProto` of one value.
fn field(name: &str, number: u32, kind: u64, type_name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(1, &[name.as_bytes()], &mut out);
    int(3, u64::from(number), &mut out);
    int(4, OPTIONAL, &mut out);
    int(5, kind, &mut out);
    if !type_name.is_empty() {
        bytes(6, &[type_name.as_bytes()], &mut out);
    }
    out
}

/// Returns the format of an image by its first bytes; empty where it is none that is known.
pub(super) fn image_format(image: &[u8]) -> &'static str {
    match image {
        [0x89, b'P', b'N', b'G', ..] => "png",
        [0xff, 0xd8, 0xff, ..] => "jpeg",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "webp",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use prost_reflect::{DescriptorPool, DynamicMessage};

    #[test]
    fn messages_decode_by_their_own_descriptors() {
        for kind in [VIDEO, IMAGE] {
            let schema = kind.schema();
            let pool = DescriptorPool::decode(schema.data.clone()).unwrap();
            let mut payload = Vec::new();
            kind.write(1_500_000_000, "cam", "h264", &[b"ab", b"c"], &mut payload);
            let message = DynamicMessage::decode(pool.get_message_by_name(&schema.name).unwrap(), Bytes::from(payload)).unwrap();
            let text = |name: &str| message.get_field_by_name(name).unwrap().as_str().map(str::to_owned);
            assert_eq!((text("frame_id").as_deref(), text("format").as_deref()), (Some("cam"), Some("h264")));
            assert_eq!(message.get_field_by_name("data").unwrap().as_bytes().unwrap(), &Bytes::from_static(b"abc"));
            let stamp = message.get_field_by_name("timestamp").unwrap().into_owned();
            let nanos = stamp.as_message().unwrap().get_field_by_name("nanos").unwrap().as_i32();
            assert_eq!((message.unknown_fields().count(), nanos), (0, Some(500_000_000)));
        }
    }
}
