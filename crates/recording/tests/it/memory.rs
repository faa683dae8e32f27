//! Files whose blocks overlap so much that they do not fit into memory.

use recording::mcap::chunk::{ChunkBuilder, Compression};
use recording::mcap::segment::{Definition, SegmentWriter};
use recording::{Span, TopicFilter, read};

use crate::build::{payload, save, topic};

/// Makes a file in which every chunk holds messages of the whole time.
fn overlapping(chunks: u32, messages: u32, size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = SegmentWriter::begin(&mut bytes, "");
    writer.define(&mut bytes, &Definition { channel_id: 1, schema_id: 0, topic: topic("/a", "") });
    for number in 0..chunks {
        let mut chunk = ChunkBuilder::default();
        for step in 0..messages {
            // Every third message has the stamp of the one before.
            let time = u64::from(step - u32::from(step % 3 == 2)) * 1000;
            chunk.push(1, number * messages + step, time, 0, &payload(number * messages + step, size));
        }
        let chunk = chunk.encode(Compression::Zstd(1));
        writer.chunk(&chunk);
        chunk.parts().iter().for_each(|part| bytes.extend_from_slice(part));
    }
    writer.finish(&mut bytes);
    bytes
}

#[test]
fn overlapping_blocks_are_read_in_portions_where_memory_is_short() {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), "x.mcap", &overlapping(20, 60, 3000));
    let recording = read::open(&path).unwrap();
    let read = |limit: Option<usize>| -> Vec<(i64, u32, bytes::Bytes)> {
        let mut messages = recording.messages(&TopicFilter::all(), Span::ALL).unwrap();
        limit.into_iter().for_each(|limit| messages.hold_at_most(limit));
        messages.map(|message| message.unwrap()).map(|message| (message.log_time_ns, message.sequence, message.data)).collect()
    };
    let expected = read(None);
    assert_eq!(expected.len(), 1200);
    assert!(expected.is_sorted_by_key(|(time_ns, ..)| *time_ns));
    for limit in [0, 10_000, 500_000, 2_000_000] {
        assert!(read(Some(limit)) == expected, "{limit}");
    }
}

#[test]
fn messages_read_in_portions_have_their_locations() {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), "x.mcap", &overlapping(5, 30, 1000));
    let recording = read::open(&path).unwrap();
    let locations = |limit: usize| {
        let mut messages = recording.messages(&TopicFilter::all(), Span::ALL).unwrap();
        messages.hold_at_most(limit);
        let mut found = Vec::new();
        while let Some(next) = messages.next_located() {
            found.push(next.unwrap().location.unwrap());
        }
        found
    };
    assert_eq!(locations(5_000), locations(usize::MAX));
}
