//! LeRobot folders of one episode, packed into one input, and what they are made of.
//!
//! **Invariant:** what is made is read without a loss.

use std::sync::Arc;

use arrow_array::types::Float32Type;
use arrow_array::{ArrayRef, BinaryArray, FixedSizeListArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow_schema::DataType;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::pack;

/// The files that a folder can have, by number.
pub(crate) const NAMES: [&str; 9] = [
    "meta/info.json",
    "meta/episodes.jsonl",
    "meta/tasks.jsonl",
    "data/chunk-000/episode_000000.parquet",
    "videos/cam/episode_000000.mp4",
    "meta/tasks.parquet",
    "meta/episodes/chunk-000/file-000.parquet",
    "data/chunk-000/file-000.parquet",
    "videos/cam/chunk-000/file-000.mp4",
];
pub(crate) const INFO: usize = 0;
pub(crate) const EPISODES: usize = 1;
pub(crate) const ROWS: usize = 3;
pub(crate) const VIDEO: usize = 4;

/// How many rows and images there are.
const COUNT: usize = 6;

pub(crate) const EPISODE_LINES: &[u8] =
    b"{\"episode_index\": 0, \"tasks\": [\"pick\"], \"length\": 6}\n{\"episode_index\": 1, \"length\": 0}\n";

/// Returns folders of versions 2.1 and 3.0.
pub(super) fn folders() -> Vec<Vec<u8>> {
    let (rows, video) = (rows(Compression::SNAPPY), video(b"avc1"));
    let tasks = b"{\"task_index\": 0, \"task\": \"pick\"}\n";
    let old = pack(&[(0, &info("v2.1")), (1, EPISODE_LINES), (2, tasks), (3, &rows), (4, &video)]);
    let new = pack(&[(0, &info("v3.0")), (5, &task_table()), (6, &episode_table()), (7, &rows), (8, &video)]);
    vec![old, new, pack(&[(0, &info("v2.0")), (1, EPISODE_LINES)])]
}

/// Returns tables of rows, one for each compression.
pub(super) fn tables() -> Vec<Vec<u8>> {
    let compressions = [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(Default::default())];
    compressions.into_iter().map(rows).chain([equal_rows()]).collect()
}

/// Returns a table of many rows that take no bytes.
fn equal_rows() -> Vec<u8> {
    let numbers = || Arc::new(Int64Array::from(vec![7; 10_000])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("episode_index", numbers()), ("frame_index", numbers())]);
    table(batch, Compression::UNCOMPRESSED)
}

/// Returns videos, one for each way of encoding.
pub(super) fn videos() -> Vec<Vec<u8>> {
    [b"avc1", b"hvc1", b"av01", b"vp09"].into_iter().map(video).collect()
}

/// Returns the description of a real video, behind a little content.
pub(super) fn described(video: &[u8]) -> Option<Vec<u8>> {
    let at = video.windows(4).rposition(|kind| kind == b"moov")?.checked_sub(4)?;
    Some([&part(b"mdat", &[&[7; 256]]), &video[at..]].concat())
}

/// Returns `info.json` of a version.
pub(crate) fn info(version: &str) -> Vec<u8> {
    let (data, video) = if version == "v3.0" {
        (
            "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        )
    } else {
        ("data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet", "videos/{video_key}/episode_{episode_index:06d}.mp4")
    };
    let one = |dtype: &str| serde_json::json!({"dtype": dtype, "shape": [1], "names": null});
    let json = serde_json::json!({
        "codebase_version": version, "fps": 30, "robot_type": "r", "chunks_size": 1000, "data_path": data, "video_path": video,
        "features": {
            "state": {"dtype": "float32", "shape": [3], "names": {"motors": ["x", "y", "z"]}},
            "action": {"dtype": "float32", "shape": [2]},
            "note": one("string"), "reward": one("float64"), "picture": one("image"),
            "cam": {"dtype": "video", "shape": [8, 8, 3], "names": ["height", "width", "channel"]},
        },
    });
    json.to_string().into_bytes()
}

fn rows(compression: Compression) -> Vec<u8> {
    let ints = |value: fn(i64) -> i64| Arc::new((0..COUNT as i64).map(value).collect::<Int64Array>()) as ArrayRef;
    let list = |row: usize| Some(vec![Some(row as f32), None, Some(f32::NAN)]);
    let texts: ArrayRef = Arc::new((0..COUNT).map(|row| Some(format!("n{row}"))).collect::<StringArray>());
    let pictures: ArrayRef = Arc::new(BinaryArray::from(vec![Some(&b"\x89PNG\r\n\x1a\n..."[..]); COUNT]));
    let struct_field = |name: &str, kind: DataType| Arc::new(arrow_schema::Field::new(name, kind, true));
    let picture =
        StructArray::from(vec![(struct_field("bytes", DataType::Binary), pictures), (struct_field("path", DataType::Utf8), texts.clone())]);
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("episode_index", ints(|_| 0), true),
        ("frame_index", ints(|row| row), true),
        ("task_index", ints(|_| 0), true),
        ("state", Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>((0..COUNT).map(list), 3)) as ArrayRef, true),
        ("action", Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>((0..COUNT).map(list))) as ArrayRef, true),
        ("reward", Arc::new(Float64Array::from(vec![Some(0.5); COUNT])) as ArrayRef, true),
        ("note", texts, true),
        ("picture", Arc::new(picture) as ArrayRef, true),
    ]);
    table(batch, compression)
}

fn task_table() -> Vec<u8> {
    let number = Arc::new(Int64Array::from(vec![0, 1])) as ArrayRef;
    let text = Arc::new(StringArray::from(vec!["pick", "place"])) as ArrayRef;
    table(RecordBatch::try_from_iter([("task_index", number), ("task", text)]), Compression::UNCOMPRESSED)
}

fn episode_table() -> Vec<u8> {
    let ints = |value: i64| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
    let reals = |value: f64| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([
        ("episode_index", ints(0)),
        ("length", ints(COUNT as i64)),
        ("data/chunk_index", ints(0)),
        ("data/file_index", ints(0)),
        ("videos/cam/chunk_index", ints(0)),
        ("videos/cam/file_index", ints(0)),
        ("videos/cam/from_timestamp", reals(0.0)),
        ("videos/cam/to_timestamp", reals(0.2)),
    ]);
    table(batch, Compression::UNCOMPRESSED)
}

#[expect(clippy::expect_used, reason = "a table made here fits its own columns, and is written to memory")]
fn table(batch: Result<RecordBatch, arrow_schema::ArrowError>, compression: Compression) -> Vec<u8> {
    let batch = batch.expect("columns of one length");
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).expect("known types");
    writer.write(&batch).expect("its own schema");
    writer.into_inner().expect("writing to memory")
}

fn video(codec: &[u8; 4]) -> Vec<u8> {
    let sample = match codec {
        b"av01" => vec![0x12, 0, 0x0a, 1, 7, 0x32, 1, 7],
        b"vp09" => vec![7; 8],
        _ => [&4_u32.to_be_bytes()[..], &[0x65, 1, 2, 3]].concat(),
    };
    let kind = part(b"ftyp", &[b"isom\0\0\0\0isom"]);
    let data = part(b"mdat", &[&sample.repeat(COUNT)]);
    let first = kind.len() as u32 + 8;
    let config = match codec {
        b"avc1" => part(b"avcC", &[&[1, 66, 0, 30, 0xff, 0xe1, 0, 3, 0x67, 1, 2, 1, 0, 2, 0x68, 1]]),
        b"hvc1" => part(b"hvcC", &[&[1; 21], &[3, 1, 0xa0, 0, 1, 0, 2, 0x40, 1]]),
        b"av01" => part(b"av1C", &[&[0x81, 0, 12, 0, 0x0a, 1, 7]]),
        _ => part(b"vpcC", &[&[1; 8]]),
    };
    let stsd = part(b"stsd", &[&numbers(&[0, 1]), &part(codec, &[&[0; 78], &config])]);
    let count = COUNT as u32;
    let tables = [
        stsd,
        part(b"stts", &[&numbers(&[0, 1, count, 1])]),
        part(b"ctts", &[&numbers(&[0, 2, 1, 0, count - 1, 1])]),
        part(b"stss", &[&numbers(&[0, 1, 1])]),
        part(b"stsc", &[&numbers(&[0, 1, 1, count, 1])]),
        part(b"stsz", &[&numbers(&[0, 0, count]), &numbers(&[sample.len() as u32; COUNT])]),
        part(b"stco", &[&numbers(&[0, 1, first])]),
    ];
    let minf = part(b"minf", &[&part(b"stbl", &[&tables.concat()])]);
    let mdhd = part(b"mdhd", &[&numbers(&[0, 0, 0, 30, count, 0])]);
    let hdlr = part(b"hdlr", &[&numbers(&[0, 0]), b"vide", &[0; 13]]);
    let edts = part(b"edts", &[&part(b"elst", &[&numbers(&[0, 1, count, 0, 0x1_0000])])]);
    let trak = part(b"trak", &[&edts, &part(b"mdia", &[&mdhd, &hdlr, &minf])]);
    [kind, data, part(b"moov", &[&trak])].concat()
}

fn part(kind: &[u8; 4], bodies: &[&[u8]]) -> Vec<u8> {
    let body = bodies.concat();
    [&(body.len() as u32 + 8).to_be_bytes()[..], kind, &body].concat()
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}
