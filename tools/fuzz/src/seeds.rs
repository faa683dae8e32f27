//! What inputs begin from: files and messages made here, and parts of real recordings where there are some.
//!
//! **Invariant:** without recordings there is still a seed for everything that a target reads.

mod bag;
mod flatbuffer;
pub(crate) mod lerobot;
mod pictures;
mod protobuf;
pub(crate) mod rosbag2;
mod socket;
pub(crate) mod sqlite;
mod texts;
mod ulog;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use recording::mcap::chunk::{ChunkBuilder, Compression};
use recording::mcap::segment::{Definition, SegmentWriter};
use recording::message::{Schema, Topic};
use recording::schema::library::{Flavour, Library};

/// How much is taken of a real recording: all, or this much of its beginning and of its end.
const PART_LIMIT: usize = 48 << 10;

/// How many real recordings are taken.
const FILE_LIMIT: usize = 64;

/// Returns a definition and a message as one input.
pub(crate) fn join(definition: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = (definition.len() as u16).to_le_bytes();
    [&length[..], definition, payload].concat()
}

/// Returns the definition and the message of an input.
pub(crate) fn split(input: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = input.split_first_chunk() else { return (&[], input) };
    rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()))
}

/// Returns files of a folder as one input: each its number, its length and its bytes.
pub(crate) fn pack(files: &[(usize, &[u8])]) -> Vec<u8> {
    files.iter().flat_map(|(number, bytes)| [&[*number as u8][..], &(bytes.len() as u32).to_le_bytes(), bytes].concat()).collect()
}

/// Returns the files of an input, by number; of several with one number, the last.
pub(crate) fn unpack(input: &[u8]) -> BTreeMap<usize, &[u8]> {
    let mut files = BTreeMap::new();
    let mut rest = input;
    while let Some(([number, length @ ..], behind)) = rest.split_first_chunk::<5>() {
        let length = (u32::from_le_bytes(*length) as usize).min(behind.len());
        files.insert(usize::from(*number), &behind[..length]);
        rest = &behind[length..];
    }
    files
}

pub(crate) fn mcap(data: Option<&Path>) -> Vec<Vec<u8>> {
    let made = [Compression::None, Compression::Lz4, Compression::Zstd(1)].into_iter().flat_map(|compression| {
        let whole = segment(compression);
        let open = whole[..whole.len() - 40].to_vec();
        [whole, open]
    });
    made.chain(real(data, &["mcap"])).collect()
}

/// Returns a byte that says the length of pieces in front of each file.
pub(crate) fn mcap_pieces(data: Option<&Path>) -> Vec<Vec<u8>> {
    mcap(data).into_iter().enumerate().map(|(number, file)| [&[number as u8][..], &file].concat()).collect()
}

pub(crate) fn bag_files(data: Option<&Path>) -> Vec<Vec<u8>> {
    bag::files().into_iter().chain(real(data, &["bag"])).collect()
}

pub(crate) fn ulog_files(data: Option<&Path>) -> Vec<Vec<u8>> {
    [ulog::file()].into_iter().chain(real(data, &["ulg"])).collect()
}

pub(crate) fn drec_files(data: Option<&Path>) -> Vec<Vec<u8>> {
    // A header, a message with a parameter, and an end.
    let event = [&[0, 0, 1, b'n', 1, b'o', 2, 0][..], &[5; 16], &[1, 1, b'k', 1, 4, 1, 2, b'h', b'i', 0], &[5; 16]].concat();
    let names = [&[1, 0, b'n', 1, 0, b'o'][..], &7_u64.to_le_bytes(), &(event.len() as u32).to_le_bytes(), &event].concat();
    let start = [&b"DORAREC\0"[..], &2_u16.to_le_bytes(), &5_u64.to_le_bytes(), &[7; 16], &2_u32.to_le_bytes(), b"{}"].concat();
    let end = [&b"DORAEND\0"[..], &1_u64.to_le_bytes(), &9_u64.to_le_bytes()].concat();
    let made = [&start[..], &(names.len() as u32).to_le_bytes(), &names, &end].concat();
    [made].into_iter().chain(real(data, &["drec"])).collect()
}

pub(crate) fn db3_files(data: Option<&Path>) -> Vec<Vec<u8>> {
    let made = [sqlite::database(512, false), sqlite::database(4096, false), sqlite::database(1024, true)];
    made.into_iter().chain(real(data, &["db3"])).collect()
}

pub(crate) fn db3_with_log(_: Option<&Path>) -> Vec<Vec<u8>> {
    let seed = |page_size| {
        let database = sqlite::database(page_size, false);
        pack(&[(0, &database), (1, &sqlite::log(&database, page_size))])
    };
    vec![seed(512), seed(1024)]
}

pub(crate) fn packed(data: Option<&Path>) -> Vec<Vec<u8>> {
    mcap(data).iter().take(8).filter_map(|file| zstd::bulk::compress(file, 1).ok()).collect()
}

/// Returns files of every format.
pub(crate) fn recordings(data: Option<&Path>) -> Vec<Vec<u8>> {
    [mcap(None), bag_files(None), ulog_files(None), drec_files(None), db3_files(None), real(data, &["mcap", "bag", "ulg", "db3"])].concat()
}

pub(crate) fn rosbag2_folders(data: Option<&Path>) -> Vec<Vec<u8>> {
    rosbag2::folders(&real(data, &["yaml"]))
}

pub(crate) fn lerobot_folders(_: Option<&Path>) -> Vec<Vec<u8>> {
    lerobot::folders()
}

pub(crate) fn parquet(data: Option<&Path>) -> Vec<Vec<u8>> {
    lerobot::tables().into_iter().chain(real(data, &["parquet"])).collect()
}

pub(crate) fn mp4(data: Option<&Path>) -> Vec<Vec<u8>> {
    lerobot::videos().into_iter().chain(real(data, &["mp4"]).iter().filter_map(|video| lerobot::described(video))).collect()
}

pub(crate) fn raw_pictures(_: Option<&Path>) -> Vec<Vec<u8>> {
    pictures::raw()
}

pub(crate) fn compressed_pictures(_: Option<&Path>) -> Vec<Vec<u8>> {
    pictures::compressed()
}

pub(crate) fn picture_messages(_: Option<&Path>) -> Vec<Vec<u8>> {
    pictures::messages()
}

pub(crate) fn amounts(_: Option<&Path>) -> Vec<Vec<u8>> {
    texts::AMOUNTS.map(<[u8]>::to_vec).to_vec()
}

pub(crate) fn patterns(_: Option<&Path>) -> Vec<Vec<u8>> {
    texts::patterns()
}

pub(crate) fn paths(_: Option<&Path>) -> Vec<Vec<u8>> {
    texts::PATHS.map(<[u8]>::to_vec).to_vec()
}

pub(crate) fn names(_: Option<&Path>) -> Vec<Vec<u8>> {
    texts::NAMES.map(<[u8]>::to_vec).to_vec()
}

pub(crate) fn qualities(_: Option<&Path>) -> Vec<Vec<u8>> {
    texts::QUALITIES.map(<[u8]>::to_vec).to_vec()
}

pub(crate) fn configurations(_: Option<&Path>) -> Vec<Vec<u8>> {
    vec![texts::CONFIGURATION.to_vec()]
}

pub(crate) fn frames(_: Option<&Path>) -> Vec<Vec<u8>> {
    socket::frames()
}

fn segment(compression: Compression) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = SegmentWriter::begin(&mut bytes, "ros2");
    writer.metadata(&mut bytes, "rosbag2", &BTreeMap::from([("ROS_DISTRO".to_owned(), "jazzy".to_owned())]));
    for channel_id in 1..3 {
        let schema = Schema { name: "a/msg/B".into(), encoding: "ros2msg".into(), data: Bytes::from_static(b"string text") };
        let topic =
            Topic { name: format!("/t{channel_id}"), encoding: "cdr".into(), schema: Some(Arc::new(schema)), metadata: BTreeMap::new() };
        writer.define(&mut bytes, &Definition { channel_id, schema_id: channel_id, topic: Arc::new(topic) });
    }
    for chunk in 0..2_u32 {
        let mut builder = ChunkBuilder::default();
        for message in 0..4_u32 {
            let time = u64::from(chunk * 10 + message);
            builder.push((message % 2) as u16 + 1, chunk * 4 + message, time, time, &message.to_le_bytes());
        }
        let encoded = builder.encode(compression);
        writer.chunk(&encoded);
        encoded.parts().iter().for_each(|part| bytes.extend_from_slice(part));
    }
    writer.finish(&mut bytes);
    bytes
}

pub(crate) fn manifest(data: Option<&Path>) -> Vec<Vec<u8>> {
    let made =
        br#"{"id": "r", "device": "d", "state": "complete", "start_ns": 1, "end_ns": 2, "segments": [{"key": "a/b"}], "losses": []}"#;
    [made.to_vec()].into_iter().chain(real(data, &["json"])).collect()
}

/// Returns definitions that the standard packages have.
fn standard(names: &[&str], flavour: Flavour) -> Vec<Vec<u8>> {
    let library = Library::standard();
    names.iter().filter_map(|name| library.find(name, None, flavour)).map(|schema| schema.data.to_vec()).collect()
}

pub(crate) fn ros1msg(_: Option<&Path>) -> Vec<Vec<u8>> {
    let mut seeds =
        standard(&["sensor_msgs/Imu", "sensor_msgs/JointState", "diagnostic_msgs/DiagnosticArray", "tf2_msgs/TFMessage"], Flavour::Ros1);
    seeds.push(ROS1_TEXT.to_vec());
    seeds
}

pub(crate) fn ros2msg(_: Option<&Path>) -> Vec<Vec<u8>> {
    let mut seeds = standard(&["sensor_msgs/msg/Imu", "sensor_msgs/msg/JointState", "visualization_msgs/msg/Marker"], Flavour::Ros2);
    seeds.push(ROS2_TEXT.to_vec());
    seeds
}

pub(crate) fn ros2idl(_: Option<&Path>) -> Vec<Vec<u8>> {
    vec![IDL_TEXT.to_vec()]
}

pub(crate) fn ulog_formats(_: Option<&Path>) -> Vec<Vec<u8>> {
    vec![ULOG_TEXT.to_vec()]
}

pub(crate) fn protobuf_set(_: Option<&Path>) -> Vec<Vec<u8>> {
    vec![protobuf::set()]
}

pub(crate) fn json_schema(_: Option<&Path>) -> Vec<Vec<u8>> {
    JSON_SCHEMAS.iter().map(|text| text.to_vec()).collect()
}

pub(crate) fn flatbuffer_schema(_: Option<&Path>) -> Vec<Vec<u8>> {
    vec![flatbuffer::schema()]
}

pub(crate) fn cdr(_: Option<&Path>) -> Vec<Vec<u8>> {
    let payload = |header: [u8; 4]| [&header[..], &ROS_PAYLOAD].concat();
    [[0, 1, 0, 0], [0, 0, 0, 0], [0, 7, 0, 0], [0, 0x0b, 0, 0]].iter().map(|header| join(ROS2_TEXT, &payload(*header))).collect()
}

/// Returns a payload of CDR whose parts are put on multiples of 4.
fn cdr_of(parts: &[&[u8]]) -> Vec<u8> {
    let mut payload = vec![0, 1, 0, 0];
    for part in parts {
        payload.resize(payload.len().next_multiple_of(4), 0);
        payload.extend_from_slice(part);
    }
    payload
}

pub(crate) fn ros1(_: Option<&Path>) -> Vec<Vec<u8>> {
    vec![join(ROS1_TEXT, &ROS_PAYLOAD), join(b"", &ROS_PAYLOAD)]
}

pub(crate) fn ulog(_: Option<&Path>) -> Vec<Vec<u8>> {
    vec![join(ULOG_TEXT, &[7; 64])]
}

pub(crate) fn protobuf(_: Option<&Path>) -> Vec<Vec<u8>> {
    protobuf::messages().iter().map(|message| join(&protobuf::set(), message)).collect()
}

pub(crate) fn json(_: Option<&Path>) -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> =
        JSON_SCHEMAS.iter().flat_map(|schema| JSON_MESSAGES.iter().map(|message| join(schema, message))).collect();
    seeds.push(join(b"", JSON_MESSAGES[0]));
    seeds
}

pub(crate) fn json_only(_: Option<&Path>) -> Vec<Vec<u8>> {
    JSON_MESSAGES.iter().flat_map(|first| JSON_MESSAGES.iter().map(|second| join(first, second))).collect()
}

pub(crate) fn flatbuffer(_: Option<&Path>) -> Vec<Vec<u8>> {
    vec![join(&flatbuffer::schema(), &flatbuffer::message())]
}

pub(crate) fn self_test(_: Option<&Path>) -> Vec<Vec<u8>> {
    vec![b" a ".to_vec()]
}

const ROS1_TEXT: &[u8] = b"Header header\nint8 K=-3\nstring S= a # no comment\nuint8 a # [m/s]\ntime t\nstring name\nfloat64[2] two\nC[] many\n\
    string[] names\n================\nMSG: std_msgs/Header\nuint32 seq\ntime stamp\nstring frame_id\n================\nMSG: a/C\nbool x\nduration d\n";

pub(crate) const ROS2_TEXT: &[u8] =
    b"# A type.\nstd_msgs/Header header\nint8 K=-3\nstring S=\"a\"\nstring<=8 name 'x'\nfloat64[2] two\nC[<=3] many\nwstring wide\n\
    uint8[] data [1, 2]\n================\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n================\n\
    MSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n================\nMSG: a/C\nbool x\nfloat32 y\n";

const IDL_TEXT: &[u8] = b"================\nIDL: a/msg/B\n#include \"a/msg/C.idl\"\nmodule a { module msg {\n  typedef double three[3];\n\
    module B_Constants { const int8 K = -3; };\n  @verbatim (language=\"comment\", text=\"A type.\" \"More.\")\n  struct B {\n    \
    @unit (value=\"m\") @default (value=1.5)\n    double x;\n    sequence<a::msg::C, 3> many;\n    three t;\n    string<8> name;\n  };\n}; };\n\
    ================\nIDL: a/msg/C\nmodule a { module msg { struct C { boolean x; sequence<octet> data; }; }; };\n";

const ULOG_TEXT: &[u8] = b"b:uint64_t timestamp;float x;c inner;c[2] two;char[10] name;uint8_t[3] _padding0;\nc:int16_t y;bool z;\n";

/// A header with stamp and frame, then numbers and counts small enough to be believed.
pub(crate) const ROS_PAYLOAD: [u8; 96] = {
    let mut bytes = [0; 96];
    bytes[0] = 1;
    bytes[8] = 4;
    bytes[12] = b'm';
    bytes[13] = b'a';
    bytes[14] = b'p';
    bytes[16] = 2;
    bytes[20] = b'x';
    bytes[40] = 1;
    bytes[64] = 2;
    bytes
};

const JSON_SCHEMAS: [&[u8]; 3] = [
    br##"{"type": "object", "required": ["a"], "properties": {"a": {"type": "integer", "format": "int16"}, "b": {"type": ["number", "null"]},
        "c": {"type": "string", "contentEncoding": "base64"}, "d": {"$ref": "#/$defs/D"}, "e": {"type": "array", "items": {"type": "number"},
        "minItems": 2, "maxItems": 2}, "f": {"additionalProperties": {"$ref": "#"}, "type": "object"}, "g": {}},
        "$defs": {"D": {"allOf": [{"$ref": "#"}, {"properties": {"x": {"oneOf": [{"title": "ON", "const": 1}]}}}]}}}"##,
    br#"{"type": "array", "items": {"enum": ["a", 1, null]}}"#,
    br#"{"properties": {"header": {"properties": {"stamp": {"properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}}}}}}}"#,
];

const JSON_MESSAGES: [&[u8]; 3] = [
    br#"{"a": 1, "b": 1.5e3, "c": "TWFu", "d": {"a": -1, "x": 1, "d": {"a": 2}}, "e": [1, NaN], "f": {"k": {"a": 3}}, "g": [null, {"\u00fc": true}]}"#,
    br#"["a", 1, null]"#,
    br#"{"header": {"stamp": {"nsec": 2, "sec": 1}}, "more": "x"}"#,
];

/// Returns parts of the recordings in a folder whose names end so.
fn real(data: Option<&Path>, endings: &[&str]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    let mut folders: Vec<_> = data.map(Path::to_owned).into_iter().collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let mut paths: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted)) {
                files.push(path);
            }
        }
    }
    files.sort();
    for path in files.iter().take(FILE_LIMIT) {
        let Ok(bytes) = std::fs::read(path) else { continue };
        if bytes.len() <= 2 * PART_LIMIT {
            parts.push(bytes);
        } else {
            parts.push(bytes[..PART_LIMIT].to_vec());
            parts.push([&bytes[..PART_LIMIT], &bytes[bytes.len() - PART_LIMIT..]].concat());
        }
    }
    parts
}
