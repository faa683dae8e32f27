//! Input that is odd, hostile or no recording at all: each has a defined answer.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use recording::mcap::chunk::{ChunkBuilder, Compression};
use recording::mcap::record::{MAGIC, opcode};
use recording::mcap::write;
use recording::read::Recording;
use recording::{Kind, Loss, Message, Span, TopicFilter};

use crate::build::{Builder, payload, save, topic};
use crate::data;

fn open(bytes: &[u8]) -> recording::Result<(tempfile::TempDir, Recording)> {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), "x.mcap", bytes);
    recording::read::open(&path).map(|recording| (folder, recording))
}

fn read(bytes: &[u8]) -> (Vec<Message>, Vec<Loss>) {
    let (_folder, recording) = open(bytes).unwrap();
    let mut messages = recording.messages(&TopicFilter::all(), Span::ALL).unwrap();
    let found: Vec<Message> = messages.by_ref().map(Result::unwrap).collect();
    let losses = messages.losses().to_vec();
    (found, losses)
}

/// A file of single records, without chunks.
fn start() -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    write::header(&mut out, "", "a test");
    out
}

fn message(out: &mut Vec<u8>, channel_id: u16, sequence: u32, time: u64, payload: &[u8]) {
    out.extend_from_slice(&write::message_prefix(channel_id, sequence, time, time, payload.len()));
    out.extend_from_slice(payload);
}

fn close(out: &mut Vec<u8>) {
    write::data_end(out, 0);
    write::footer(out, 0, 0, &[]);
    out.extend_from_slice(MAGIC);
}

#[test]
fn what_is_no_recording_is_refused_by_name() {
    let check = |bytes: &[u8], part: &str| {
        let error = open(bytes).err().unwrap();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.message().contains(part), "{error}");
        assert!(error.message().ends_with("x.mcap"), "{error}");
    };
    check(b"", "an empty file");
    check(
        b"hello, this is just some text that nobody recorded",
        "none of the formats that are read (MCAP, ROS 1 bag, SQLite file of rosbag2, PX4 ULog, dora): it begins with \"hello, this is j",
    );
    check(b"version https://git-lfs.github.com/spec/v1\noid sha256:73b8\nsize 12345\n", "git lfs pull");
    check(b"#ROSBAG V1.2\n", "ROS 1 bag of another version");
    check(&[0; 100_000], "none of the formats that are read");
    assert_eq!(recording::read::open(Path::new("/nowhere/x.mcap")).err().unwrap().kind(), Kind::NotFound);
    let folder = tempfile::tempdir().unwrap();
    assert!(recording::read::open(folder.path()).err().unwrap().message().contains("no recording in this folder"));
    save(folder.path(), "metadata.yaml", b"rosbag2_bagfile_information:\n  relative_file_paths:\n  - ../../x.mcap\n");
    assert!(recording::read::open(folder.path()).err().unwrap().message().contains("outside of its folder"));
}

#[test]
fn a_file_without_its_beginning_is_looked_for_by_its_ending() {
    let Some(root) = data::path(".") else { return };
    let folder = tempfile::tempdir().unwrap();
    let count = |name: &str, bytes: &[u8]| {
        let info = recording::read::open(&save(folder.path(), name, bytes)).unwrap().info().unwrap();
        (info.format, info.messages)
    };
    let db3 = "ros2/rosbag2-fixtures/rosbag2_py/test/resources/sqlite3/wbag/wbag_0.db3";
    for (file, ending, least) in [("ros1/turtlesim/example.bag", "bag", 100), (db3, "db3", 100), ("ulog/sample_log_small.ulg", "ulg", 99)] {
        let whole = std::fs::read(root.join(file)).unwrap();
        let (format, messages) = count(&format!("whole.{ending}"), &whole);
        let zeros = [&[0; 4096], &whole[4096..]].concat();
        let noise = [&payload(7, 512), &whole[512..]].concat();
        let longer = [&payload(9, 100), &whole[..]].concat();
        for (what, bytes) in [("zeros", &zeros), ("noise", &noise), ("longer", &longer)] {
            if (what, ending) == ("longer", "db3") {
                continue;
            }
            let (found_format, found) = count(&format!("{what}.{ending}"), bytes);
            println!("{file} {what}: {found} of {messages}");
            assert_eq!(found_format, format);
            assert!(found <= messages && found * 100 >= messages * least, "{file} {what}: {found} of {messages}");
        }
        // Compressed as a whole it is the same.
        let packed = zstd::stream::encode_all(&zeros[..], 1).unwrap();
        assert!(count(&format!("packed.{ending}.zstd"), &packed).1 > 0);
    }
    // A split of a folder that cannot be read is told once.
    let split = tempfile::tempdir().unwrap();
    save(split.path(), "a_0.db3", b"this is text and no database");
    save(split.path(), "a_1.db3", &std::fs::read(root.join(db3)).unwrap());
    let info = recording::read::open(split.path()).unwrap().info().unwrap();
    assert_eq!(info.losses[0].reason.matches("a_0.db3").count(), 1, "{:?}", info.losses);
}

#[test]
fn the_git_lfs_pointer_is_told() {
    let Some(path) = data::path("damaged/lfs_pointer.mcap") else { return };
    let error = recording::read::open(&path).err().unwrap();
    assert!(error.message().contains("git lfs pull"), "{error}");
}

#[test]
fn a_file_of_only_a_magic_holds_nothing() {
    assert_eq!(read(MAGIC), (vec![], vec![]));
    let (_folder, recording) = open(&start()).unwrap();
    let info = recording.info().unwrap();
    assert_eq!((info.messages, info.start_ns, info.end_ns), (0, None, None));
    let json = serde_json::to_value(&info).unwrap();
    assert!(json["start_ns"].is_null() && json["losses"].as_array().unwrap().is_empty());
}

#[test]
fn an_unknown_compression_is_a_loss_that_names_it() {
    let mut built = Builder { closed: false, ..Builder::default() }.build();
    let at = built.bytes.windows(4).position(|bytes| bytes == b"zstd").unwrap();
    built.bytes[at..at + 4].copy_from_slice(b"zst9");
    let (found, losses) = read(&built.bytes);
    assert_eq!(found.len(), 350);
    assert!(losses.iter().all(|loss| loss.reason.contains("unknown compression 'zst9'")), "{losses:?}");
}

#[test]
fn a_channel_without_schema_is_a_topic_without_type() {
    let mut out = start();
    write::channel(&mut out, 1, 0, &topic("/text", ""));
    message(&mut out, 1, 0, 5, b"hello");
    close(&mut out);
    let (found, losses) = read(&out);
    assert_eq!((found[0].topic.type_name(), &found[0].data[..]), ("", &b"hello"[..]));
    assert!(losses.is_empty());
}

#[test]
fn messages_of_an_undefined_channel_are_a_loss() {
    let mut out = start();
    write::channel(&mut out, 1, 0, &topic("/a", ""));
    message(&mut out, 1, 0, 5, b"a");
    message(&mut out, 9, 0, 6, b"bc");
    close(&mut out);
    let (found, losses) = read(&out);
    assert_eq!(found.len(), 1);
    assert_eq!((losses[0].messages, losses[0].bytes), (Some(1), Some(2)));
    assert!(losses[0].reason.contains("channel 9"));
}

#[test]
fn a_missing_schema_is_told_and_costs_no_message() {
    let mut out = start();
    write::channel(&mut out, 1, 7, &topic("/a", ""));
    message(&mut out, 1, 0, 5, b"a");
    close(&mut out);
    let (found, losses) = read(&out);
    assert_eq!(found.len(), 1);
    assert_eq!(losses[0].messages, Some(0));
    assert!(losses[0].reason.contains("schema 7"), "{losses:?}");
}

#[test]
fn an_id_that_is_defined_again_starts_a_new_topic() {
    let mut out = start();
    let (old, new) = (topic("/a", "Old"), topic("/a", "New"));
    write::schema(&mut out, 1, old.schema.as_ref().unwrap());
    write::channel(&mut out, 1, 1, &old);
    message(&mut out, 1, 0, 5, b"old");
    // Another stretch, as a chunk is between them.
    let chunk = {
        let mut chunk = ChunkBuilder::default();
        chunk.push(1, 1, 6, 6, b"old too");
        chunk.encode(Compression::None)
    };
    chunk.parts().iter().for_each(|part| out.extend_from_slice(part));
    write::schema(&mut out, 1, new.schema.as_ref().unwrap());
    let chunk = {
        let mut chunk = ChunkBuilder::default();
        chunk.push(1, 2, 7, 7, b"new");
        chunk.encode(Compression::None)
    };
    chunk.parts().iter().for_each(|part| out.extend_from_slice(part));
    close(&mut out);
    let (found, losses) = read(&out);
    let types: Vec<&str> = found.iter().map(|message| message.topic.type_name()).collect();
    assert_eq!(types, ["Old", "Old", "New"]);
    assert!(losses.is_empty());
    let (_folder, recording) = open(&out).unwrap();
    let info = recording.info().unwrap();
    let topics: Vec<(&str, &str, u64)> = info.topics.iter().map(|topic| (&*topic.topic, &*topic.type_name, topic.messages)).collect();
    assert_eq!(topics, [("/a", "New", 1), ("/a", "Old", 2)]);
}

#[test]
fn equal_times_keep_their_order_and_odd_orders_are_sorted() {
    let mut out = start();
    write::channel(&mut out, 1, 0, &topic("/a", ""));
    for (sequence, time) in [(0, 9), (1, 5), (2, 5), (3, 5), (4, 1)] {
        message(&mut out, 1, sequence, time, b"x");
    }
    let mut chunk = ChunkBuilder::default();
    for (sequence, time) in [(5, 5), (6, 2), (7, 9)] {
        chunk.push(1, sequence, time, time, b"x");
    }
    chunk.encode(Compression::Lz4).parts().iter().for_each(|part| out.extend_from_slice(part));
    close(&mut out);
    let (found, _) = read(&out);
    let order: Vec<(i64, u32)> = found.iter().map(|message| (message.log_time_ns, message.sequence)).collect();
    assert_eq!(order, [(1, 4), (2, 6), (5, 1), (5, 2), (5, 3), (5, 5), (9, 0), (9, 7)]);
}

#[test]
fn lying_lengths_take_no_memory_and_no_time() {
    // A chunk that says it has an exabyte, one whose zstd frame says so, and a map that says it has 4 GiB.
    let mut built = Builder { closed: false, compression: Compression::None, ..Builder::default() }.build();
    let at = built.chunks[2].bytes.start as usize;
    built.bytes[at + 1..at + 9].copy_from_slice(&(1u64 << 60).to_le_bytes());
    built.bytes[at + 9 + 16..at + 9 + 24].copy_from_slice(&(1u64 << 60).to_le_bytes());
    let (found, losses) = read(&built.bytes);
    assert_eq!(found.len(), 350);
    assert_eq!(losses.iter().filter_map(|loss| loss.messages).sum::<u64>(), 50, "{losses:?}");
    let mut out = start();
    out.push(opcode::METADATA);
    out.extend_from_slice(&40u64.to_le_bytes());
    out.extend_from_slice(&u32::MAX.to_le_bytes());
    out.extend_from_slice(&[1; 36]);
    close(&mut out);
    assert_eq!(read(&out).1.len(), 1);
}

#[test]
fn a_bomb_is_not_decompressed_beyond_its_declared_size() {
    let header = write::ChunkHeader {
        start_ns: 1,
        end_ns: 1,
        uncompressed_size: 1000,
        uncompressed_crc: 0,
        compression: "zstd".into(),
        compressed_size: 0,
    };
    let bomb = Bytes::from(zstd::bulk::compress(&vec![0; 50 << 20], 1).unwrap());
    let mut decompressor = recording::mcap::decompress::Decompressor::default();
    assert!(decompressor.decompress(&header, bomb.clone()).unwrap_err().contains("52428800 bytes in a chunk of 1000"));
    assert_eq!(recording::mcap::decompress::prefix(&header, bomb).len(), 1000);
}

#[test]
fn a_message_of_200_mb_is_read() {
    let payload = Bytes::from(vec![7; 200_000_000]);
    let mut out = start();
    write::channel(&mut out, 1, 0, &topic("/big", ""));
    ChunkBuilder::large(1, 0, 5, 5, payload.clone()).encode(Compression::None).parts().iter().for_each(|part| out.extend_from_slice(part));
    close(&mut out);
    let (found, losses) = read(&out);
    assert!(found[0].data == payload && losses.is_empty());
}

#[test]
fn a_newer_format_is_refused() {
    let about = crate::build::map([("format", "2")]);
    let built = Builder { metadata: vec![("tapeloop.segment".into(), about)], ..Builder::default() }.build();
    assert!(open(&built.bytes).err().unwrap().message().contains("update tapeloop"));
}

#[test]
fn files_without_chunks_survive_damage_too() {
    let mut out = start();
    write::channel(&mut out, 1, 0, &topic("/a", ""));
    for sequence in 0..1000 {
        message(&mut out, 1, sequence, u64::from(sequence) + 1, &[sequence as u8; 100]);
    }
    close(&mut out);
    let whole = read(&out);
    assert_eq!((whole.0.len(), whole.1.len()), (1000, 0));
    out[50_000..54_096].fill(0);
    let (found, losses) = read(&out);
    assert!(found.len() > 960 && found.len() < 1000, "{}", found.len());
    assert_eq!(losses.len(), 1);
}

#[test]
fn files_of_other_writers_read_equally() {
    for (compression, chunked) in [(None, true), (Some(mcap::Compression::Zstd), true), (Some(mcap::Compression::Lz4), true), (None, false)]
    {
        let mut out = Cursor::new(Vec::new());
        let options = mcap::WriteOptions::new().compression(compression).chunk_size(Some(2000)).use_chunks(chunked);
        let mut writer = options.create(&mut out).unwrap();
        let channel = Arc::new(mcap::Channel {
            id: 1,
            topic: "/a".into(),
            schema: None,
            message_encoding: "json".into(),
            metadata: Default::default(),
        });
        for sequence in 0..500 {
            let time = u64::from(sequence) * 10;
            let data = format!("{{\"n\": {sequence}}}").into_bytes();
            writer
                .write(&mcap::Message { channel: channel.clone(), sequence, log_time: time, publish_time: time, data: data.into() })
                .unwrap();
        }
        writer.finish().unwrap();
        drop(writer);
        let (found, losses) = read(out.get_ref());
        assert!(found.iter().map(|message| message.sequence).eq(0..500) && losses.is_empty(), "{compression:?} {chunked}");
    }
}

/// Changes a record of the summary and takes the summary's checksum away, as a careless writer would.
fn with_summary_record(bytes: &[u8], kind: u8, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let start = recording::mcap::summary::read(&Bytes::copy_from_slice(&bytes)).unwrap().unwrap().start as usize;
    let found = recording::mcap::record::Records::new(&bytes[start..]).find(|record| record.opcode == kind).unwrap();
    let body = start + found.offset + 9..start + found.offset + 9 + found.body.len();
    change(&mut bytes[body]);
    let crc = bytes.len() - MAGIC.len() - 4;
    bytes[crc..crc + 4].fill(0);
    bytes
}

#[test]
fn a_summary_that_contradicts_itself_is_not_believed() {
    let built = Builder::default().build();
    let check = |bytes: Vec<u8>| {
        let (_folder, recording) = open(&bytes).unwrap();
        assert!(recording.notes()[0].contains("read front to back"), "{:?}", recording.notes());
        assert_eq!(recording.info().unwrap().messages, 400);
    };
    // One message more than the indexes have; a chunk that is longer than it is; an index of another channel.
    check(with_summary_record(&built.bytes, opcode::STATISTICS, |body| body[0] = body[0].wrapping_add(1)));
    check(with_summary_record(&built.bytes, opcode::CHUNK_INDEX, |body| body[24] = body[24].wrapping_add(1)));
    check(with_summary_record(&built.bytes, opcode::CHUNK_INDEX, |body| body[36] = 99));
    // An index that points elsewhere costs nothing: the chunk is found where it is.
    let elsewhere = with_summary_record(&built.bytes, opcode::CHUNK_INDEX, |body| body[16] = body[16].wrapping_sub(1));
    assert_eq!(read(&elsewhere).0.len(), 400);
    let (_folder, recording) = open(&elsewhere).unwrap();
    assert!(recording.notes()[0].contains("its index points elsewhere: no chunk begins at byte "), "{:?}", recording.notes());
}

#[test]
fn a_chunk_that_contradicts_the_summary_is_a_loss_and_not_shown_as_something_else() {
    let mut chunk = Vec::new();
    write::channel(&mut chunk, 1, 0, &topic("/other", ""));
    let second = chunk.len();
    message(&mut chunk, 1, 7, 9, b"{}");
    let header = write::ChunkHeader {
        start_ns: 9,
        end_ns: 9,
        uncompressed_size: chunk.len() as u64,
        uncompressed_crc: 0,
        compression: String::new(),
        compressed_size: chunk.len() as u64,
    };
    let mut out = Vec::new();
    let mut writer = recording::mcap::segment::SegmentWriter::begin(&mut out, "");
    let definition = recording::mcap::segment::Definition { channel_id: 1, schema_id: 0, topic: topic("/a", "") };
    writer.define(&mut out, &definition);
    let mut good = ChunkBuilder::default();
    good.push(1, 0, 5, 5, b"{}");
    let mut odd = ChunkBuilder::default();
    odd.push(1, 7, 9, 9, b"{}");
    for (builder, records) in [(good, None), (odd, Some(chunk))] {
        let mut encoded = builder.encode(Compression::None);
        if let Some(records) = records {
            let mut prefix = Vec::new();
            write::chunk_prefix(&mut prefix, &header);
            let mut indexes = Vec::new();
            write::message_index(&mut indexes, 1, [(9, second as u64)].into_iter());
            encoded.index.length = (prefix.len() + records.len()) as u64;
            encoded.index.header = header.clone();
            encoded.index.message_index_offsets = vec![(1, encoded.index.length)];
            (encoded.prefix, encoded.body, encoded.indexes) = (prefix, records, indexes);
        }
        writer.chunk(&encoded);
        encoded.parts().iter().for_each(|part| out.extend_from_slice(part));
    }
    writer.finish(&mut out);
    let (found, losses) = read(&out);
    assert_eq!(found.len(), 1);
    assert!(losses.len() == 1 && losses[0].messages == Some(1), "{losses:?}");
    assert!(losses[0].reason.contains("defines channel 1 otherwise than the file's summary"), "{losses:?}");
    // Without a summary the chunk's own definition holds from there on.
    let cut = &out[..recording::mcap::summary::read(&Bytes::copy_from_slice(&out)).unwrap().unwrap().start as usize];
    let (_folder, recording) = open(cut).unwrap();
    let names: Vec<String> = recording
        .messages(&recording::TopicFilter::all(), recording::Span::ALL)
        .unwrap()
        .map(|message| message.unwrap().topic.name.clone())
        .collect();
    assert_eq!(names, ["/a", "/other"]);
}

#[test]
fn two_channels_of_one_name_with_different_schemas_are_two_topics() {
    let topics = vec![topic("/a", "One"), topic("/a", "Two")];
    let built = Builder { topics, ..Builder::default() }.build();
    for bytes in [&built.bytes[..], &built.bytes[..built.data_end as usize]] {
        let (_folder, recording) = open(bytes).unwrap();
        let info = recording.info().unwrap();
        let topics: Vec<(&str, &str, u64)> = info.topics.iter().map(|topic| (&*topic.topic, &*topic.type_name, topic.messages)).collect();
        assert_eq!(topics, [("/a", "One", 200), ("/a", "Two", 200)]);
        assert!(info.losses.is_empty());
        let of_second = |message: &Message| message.sequence % 2 == 1;
        assert!(read(bytes).0.iter().all(|message| message.topic.type_name() == if of_second(message) { "Two" } else { "One" }));
    }
}

#[test]
fn a_message_longer_than_its_chunk_costs_what_is_behind_it() {
    let builder = Builder { compression: Compression::None, topics: vec![topic("/a", "A")], ..Builder::default() };
    let built = builder.build();
    let record = 31 + builder.payload;
    let chunk = built.chunks[2].bytes.start as usize;
    let length_at = chunk + 9 + 40 + 20 * record + 1;
    let mut bytes = built.bytes.clone();
    bytes[length_at..length_at + 8].copy_from_slice(&1_000_000u64.to_le_bytes());
    let check = |bytes: &[u8], messages: usize, lost: u64, start_ns: i64| {
        let (found, losses) = read(bytes);
        assert_eq!((found.len(), losses.len()), (messages, 1), "{losses:?}");
        assert_eq!((losses[0].topic.as_deref(), losses[0].messages), (Some("/a"), Some(lost)), "{losses:?}");
        assert_eq!(losses[0].start_ns, Some(start_ns));
    };
    // The checksum forbids to believe any of it.
    check(&bytes, 350, 50, 1_100_000);
    // Without one, what stands in front is read: 20 of 50. With an index and without it the same.
    let crc_at = chunk + 9 + 24;
    bytes[crc_at..crc_at + 4].fill(0);
    check(&bytes, 370, 30, 1_120_000);
    check(&bytes[..built.data_end as usize], 370, 30, 1_120_000);
}

#[test]
fn zero_stamps_are_times_like_others() {
    let mut loose = start();
    write::channel(&mut loose, 1, 0, &topic("/a", ""));
    message(&mut loose, 1, 0, 0, b"x");
    close(&mut loose);
    let (found, losses) = read(&loose);
    assert_eq!((found.len(), found[0].log_time_ns, losses.len()), (1, 0, 0));
    let mut out = start();
    write::channel(&mut out, 1, 0, &topic("/a", ""));
    let mut chunk = ChunkBuilder::default();
    (0..5).for_each(|sequence| chunk.push(1, sequence, 0, 0, b"x"));
    let encoded = chunk.encode(Compression::None);
    let chunk_at = out.len();
    encoded.parts().iter().for_each(|part| out.extend_from_slice(part));
    let (found, losses) = read(&out);
    assert!(found.len() == 5 && found.iter().all(|message| message.log_time_ns == 0) && losses.is_empty());
    // What is lost of them has that time too.
    out[chunk_at + 9 + 40 + 31] ^= 1;
    let (found, losses) = read(&out);
    assert_eq!((found.len(), losses[0].messages, losses[0].start_ns, losses[0].end_ns), (0, Some(5), Some(0), Some(0)));
}
