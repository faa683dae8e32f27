//! Damage of every kind: nothing panics, every chunk that is not touched is read, and what is lost is said.

use std::collections::BTreeSet;
use std::ops::Range;

use bytes::Bytes;
use proptest::prelude::*;
use recording::mcap::chunk::Compression;
use recording::mcap::decompress::Decompressor;
use recording::mcap::{block::Block, scan};
use recording::{Span, TopicFilter};

use crate::build::{Builder, Built, payload, save};

/// Returns the sequences of all messages that a reader gets, with their payloads checked, and how many losses it tells.
fn read(bytes: &[u8], touched: &Range<u64>) -> (BTreeSet<u32>, usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), "x.mcap", bytes);
    let recording = recording::read::open(&path).unwrap();
    let mut messages = recording.messages(&TopicFilter::all(), Span::ALL).unwrap();
    let mut found = BTreeSet::new();
    let mut last_ns = i64::MIN;
    for message in messages.by_ref() {
        let message = message.unwrap();
        assert!(message.log_time_ns >= last_ns, "out of order");
        last_ns = message.log_time_ns;
        assert_eq!(message.data, payload(message.sequence, message.data.len()), "a damaged payload was shown");
        assert!(found.insert(message.sequence), "a message was shown twice");
    }
    let losses = messages.losses().to_vec();
    let info = recording.info().unwrap();
    assert_eq!(info.messages, found.len() as u64);
    assert_eq!(info.losses, losses);
    // What a scan says is what a reader gets.
    let scan = scan::scan(&Bytes::copy_from_slice(bytes)).unwrap();
    let known: u64 = scan.counts().iter().filter(|(id, _)| scan.topics.contains_key(id)).map(|(_, (messages, _))| messages).sum();
    assert_eq!(known, found.len() as u64, "damage {touched:?}");
    (found, losses.len())
}

/// Returns the sequences of the chunks that `touched` does not touch.
fn untouched(built: &Built, touched: &Range<u64>) -> BTreeSet<u32> {
    let apart = |range: &Range<u64>| range.end <= touched.start || touched.end <= range.start;
    built.chunks.iter().filter(|chunk| apart(&chunk.bytes)).flat_map(|chunk| chunk.sequences.clone()).collect()
}

fn check(built: &Built, damaged: &[u8], touched: Range<u64>) {
    let (found, losses) = read(damaged, &touched);
    let expected = untouched(built, &touched);
    let missing: Vec<_> = expected.difference(&found).collect();
    assert!(missing.is_empty(), "chunks that were not touched are missing: {missing:?}, damage {touched:?}, {:?}", built.chunks);
    let all = built.chunks.iter().map(|chunk| chunk.sequences.len()).sum::<usize>();
    assert!(
        found.len() == all || losses > 0,
        "messages are missing and nobody says so: {} of {all}, damage {touched:?}, {:?}",
        found.len(),
        built.chunks
    );
}

fn builders() -> impl Strategy<Value = Builder> {
    let compression = prop_oneof![Just(Compression::None), Just(Compression::Lz4), Just(Compression::Zstd(1))];
    (compression, 2u32..10, 1u32..60, 8usize..400, any::<bool>()).prop_map(|(compression, chunks, messages_per_chunk, payload, closed)| {
        Builder { compression, chunks, messages_per_chunk, payload, uneven: true, closed, ..Builder::default() }
    })
}

/// Damage must leave the definitions in front alone, unless the summary or the boot file has them.
fn spared(builder: &Builder, built: &Built) -> u64 {
    if builder.closed { 0 } else { built.chunks[0].bytes.start }
}

/// Returns whether a hole leaves a well-formed file behind, so that nobody can tell that there was one.
fn seamless(built: &Built, hole: &Range<u64>) -> bool {
    let phases = |at: u64| -> BTreeSet<i64> {
        let edges = built.chunks.iter().flat_map(|chunk| [chunk.bytes.start, chunk.bytes.end, chunk.with_indexes.end]);
        edges.map(|edge| at as i64 - edge as i64).filter(|distance| distance.abs() < 40).collect()
    };
    !phases(hole.start).is_disjoint(&phases(hole.end))
}

fn place(from: u64, to: u64, fraction: f64) -> u64 {
    from + ((to - from) as f64 * fraction) as u64
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_zeroed_page_costs_the_chunks_it_touches(builder in builders(), at in 0.0..1.0f64, aligned: bool) {
        let built = builder.build();
        let mut start = place(spared(&builder, &built), built.data_end, at);
        if aligned && start / 4096 * 4096 >= spared(&builder, &built) {
            start = start / 4096 * 4096;
        }
        let end = (start + 4096).min(built.data_end);
        let mut damaged = built.bytes.clone();
        damaged[start as usize..end as usize].fill(0);
        check(&built, &damaged, start..end);
    }

    #[test]
    fn a_flipped_byte_costs_one_chunk_at_most(builder in builders(), at in 0.0..1.0f64, flip in 1u8..) {
        let built = builder.build();
        let start = place(spared(&builder, &built), built.data_end, at);
        let mut damaged = built.bytes.clone();
        damaged[start as usize] ^= flip;
        check(&built, &damaged, start..start + 1);
    }

    #[test]
    fn a_cut_file_keeps_all_in_front_of_the_cut(builder in builders(), at in 0.0..1.0f64) {
        let built = builder.build();
        let start = place(built.chunks[0].bytes.start, built.bytes.len() as u64, at);
        let damaged = &built.bytes[..start as usize];
        let (found, _) = read(damaged, &(0..0));
        let expected = untouched(&built, &(start..built.bytes.len() as u64));
        prop_assert!(expected.is_subset(&found));
    }

    #[test]
    fn inserted_garbage_costs_the_chunk_it_is_in(builder in builders(), at in 0.0..1.0f64, garbage in prop::collection::vec(any::<u8>(), 1..6000)) {
        let built = builder.build();
        let spared = built.chunks[0].bytes.start;
        let start = place(spared, built.data_end, at) as usize;
        let damaged = [&built.bytes[..start], &garbage, &built.bytes[start..]].concat();
        let inside = built.chunks.iter().any(|chunk| chunk.bytes.start < start as u64 && (start as u64) < chunk.bytes.end);
        check(&built, &damaged, if inside { start as u64..start as u64 + 1 } else { 0..0 });
    }

    #[test]
    fn a_hole_costs_the_chunks_it_was_cut_from(builder in builders(), at in 0.0..1.0f64, length in 1u64..6000) {
        let built = builder.build();
        let spared = built.chunks[0].bytes.start;
        // A hole that reaches the last chunk of a file leaves one behind that could have been torn there.
        let last = built.chunks[built.chunks.len() - 1].bytes.start;
        let start = place(spared, last, at);
        let end = (start + length).min(last);
        prop_assume!(!seamless(&built, &(start..end)));
        let damaged = [&built.bytes[..start as usize], &built.bytes[end as usize..]].concat();
        check(&built, &damaged, start..end);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000), at in 0usize..2000) {
        let mut file = Builder { chunks: 2, ..Builder::default() }.build().bytes;
        file.splice(at.min(file.len())..(at + bytes.len()).min(file.len()), bytes.iter().copied());
        let file = Bytes::from(file);
        if let Ok(scan) = scan::scan(&file) {
            for block in Block::of_scan(&scan) {
                prop_assert!(block.load(&file, &mut Decompressor::default()).unwrap().is_ok());
            }
        }
        let _ = scan::scan(&Bytes::from(bytes));
    }
}

#[test]
fn a_torn_last_chunk_gives_its_whole_messages() {
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd(1)] {
        // Compressed in several blocks, so that there is a prefix to find.
        let builder = Builder { compression, chunks: 3, messages_per_chunk: 4000, payload: 2000, closed: false, ..Builder::default() };
        let built = builder.build();
        let last = &built.chunks[2].bytes;
        let cut = (last.start + last.end) / 2;
        let damaged = &built.bytes[..cut as usize];
        let (found, losses) = read(damaged, &(0..0));
        assert!(found.len() > 9000 && found.len() < 12000, "{compression:?} {}", found.len());
        assert_eq!(losses, 1);
        let scan = scan::scan(&Bytes::copy_from_slice(damaged)).unwrap();
        assert_eq!(scan.good_end, built.chunks[1].with_indexes.end);
        assert!(scan.clean && !scan.closed && scan.chunks[2].partial && !scan.chunks[2].verified);
        assert!(scan.losses[0].reason.contains("torn chunk"), "{:?}", scan.losses);
        // How many payload bytes a torn chunk had, nobody knows.
        assert_eq!(scan.losses[0].bytes, None);
    }
}

#[test]
fn a_damaged_chunk_is_lost_by_topic_and_time() {
    for closed in [true, false] {
        let builder = Builder { closed, ..Builder::default() };
        let built = builder.build();
        let mut damaged = built.bytes.clone();
        let chunk = &built.chunks[3];
        damaged[(chunk.bytes.start + 200) as usize] ^= 1;
        let scan = scan::scan(&Bytes::from(damaged)).unwrap();
        assert_eq!(scan.chunks.len(), 7);
        assert!(!scan.clean);
        let of = |topic: &str| scan.losses.iter().find(|loss| loss.topic.as_deref() == Some(topic)).unwrap();
        assert_eq!(scan.losses.iter().map(|loss| loss.messages.unwrap()).sum::<u64>(), 50);
        assert_eq!(of("/a").start_ns, Some(1_000_000 + 150 * 1000));
        assert!(of("/b").reason.starts_with("damaged chunk"), "{:?}", of("/b"));
    }
}

#[test]
fn a_damaged_closed_file_reads_the_same_with_and_without_its_index() {
    let built = Builder::default().build();
    let mut damaged = built.bytes.clone();
    damaged[(built.chunks[3].bytes.start + 200) as usize] ^= 1;
    let (found, losses) = read(&damaged, &(0..0));
    assert_eq!((found.len(), losses), (350, 3));
    // Without a footer.
    damaged.truncate(damaged.len() - 20);
    let (found, losses) = read(&damaged, &(0..0));
    assert_eq!((found.len(), losses), (350, 3));
}

#[test]
fn damage_that_cost_no_message_is_no_loss() {
    // In the message indexes of a chunk, in a closed file.
    let built = Builder::default().build();
    let mut damaged = built.bytes.clone();
    damaged[built.chunks[3].bytes.end as usize..built.chunks[3].with_indexes.end as usize].fill(0);
    let scan = scan::scan(&Bytes::from(damaged.clone())).unwrap();
    assert!(!scan.clean && scan.losses.is_empty(), "{:?}", scan.losses);
    assert_eq!(read(&damaged, &(0..0)), ((0..400).collect(), 0));
    // In the summary.
    let mut damaged = built.bytes.clone();
    let middle = (built.data_end as usize + damaged.len()) / 2;
    damaged[middle] ^= 1;
    assert_eq!(read(&damaged, &(0..0)), ((0..400).collect(), 0));
    // A file that was never closed, and one that ends within a record without messages.
    for end in [built.data_end, built.data_end + 5, built.data_end + 40] {
        assert_eq!(read(&built.bytes[..end as usize], &(0..0)), ((0..400).collect(), 0), "{end}");
    }
}

#[test]
fn a_lost_first_page_costs_only_what_is_in_it() {
    for compression in [Compression::None, Compression::Zstd(1)] {
        let builder = Builder { compression, chunks: 20, ..Builder::default() };
        let built = builder.build();
        let mut damaged = built.bytes.clone();
        damaged[..4096].fill(0);
        check(&built, &damaged, 0..4096);
    }
}

#[test]
fn a_writer_can_go_on_behind_the_last_good_record() {
    let builder = Builder { closed: false, ..Builder::default() };
    let built = builder.build();
    let cut = built.chunks[6].bytes.start as usize + 30;
    let bytes = Bytes::copy_from_slice(&built.bytes[..cut]);
    let scan = scan::scan(&bytes).unwrap();
    assert_eq!(scan.good_end, built.chunks[5].with_indexes.end);
    let mut repaired = bytes[..scan.good_end as usize].to_vec();
    let whole = scan.chunks.iter().filter(|chunk| !chunk.partial);
    let mut writer = recording::mcap::segment::SegmentWriter::resume(
        scan.good_end,
        scan.definitions.to_list(),
        whole.map(|chunk| chunk.to_index()).collect(),
        Vec::new(),
        scan.counts(),
    );
    writer.finish(&mut repaired);
    let found = mcap::MessageStream::new(&repaired).unwrap().map(|message| message.unwrap().sequence).collect::<Vec<_>>();
    assert_eq!(found, (0..300).collect::<Vec<_>>());
    let summary = mcap::Summary::read(&repaired).unwrap().unwrap();
    assert_eq!(summary.stats.unwrap().message_count, 300);
    assert_eq!(read(&repaired, &(0..0)), ((0..300).collect(), 0));
}

/// A file whose chunks are not compressed, of one topic.
fn plain() -> Builder {
    Builder { compression: Compression::None, topics: vec![crate::build::topic("/a", "A")], ..Builder::default() }
}

fn open(bytes: &[u8]) -> (tempfile::TempDir, recording::read::Recording) {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), "x.mcap", bytes);
    let recording = recording::read::open(&path).unwrap();
    (folder, recording)
}

#[test]
fn a_damaged_message_index_behind_its_chunk_costs_nothing() {
    for closed in [true, false] {
        let built = Builder { closed, ..Builder::default() }.build();
        let chunk = &built.chunks[3];
        let (start, end) = (chunk.bytes.end as usize, chunk.with_indexes.end as usize);
        // Entries, the beginning of an index, all of them.
        for hole in [start + 40..start + 100, start + 2..start + 60, start..end] {
            let mut damaged = built.bytes.clone();
            damaged[hole.clone()].fill(0);
            let scan = scan::scan(&Bytes::from(damaged.clone())).unwrap();
            assert!(scan.losses.is_empty() && !scan.clean, "{hole:?} {:?}", scan.losses);
            assert!(scan.notes[0].ends_with("no message is lost"), "{:?}", scan.notes);
            assert_eq!(read(&damaged, &(0..0)), ((0..400).collect(), 0));
        }
    }
}

#[test]
fn a_loss_does_not_begin_in_1970_because_an_index_was_zeroed() {
    let built = Builder { closed: false, ..plain() }.build();
    let chunk = &built.chunks[3];
    let mut damaged = built.bytes.clone();
    damaged[chunk.bytes.start as usize + 200] ^= 1;
    damaged[chunk.bytes.end as usize + 400..chunk.bytes.end as usize + 600].fill(0);
    let scan = scan::scan(&Bytes::from(damaged)).unwrap();
    assert_eq!(scan.losses.iter().filter_map(|loss| loss.messages).sum::<u64>(), 50, "{:?}", scan.losses);
    assert!(scan.losses.iter().all(|loss| loss.start_ns.is_none_or(|start_ns| start_ns >= 1_000_000)), "{:?}", scan.losses);
}

#[test]
fn a_torn_chunk_that_is_not_compressed_is_one_loss() {
    // Definitions in the chunk, as some writers have them.
    let mut records = Vec::new();
    recording::mcap::write::channel(&mut records, 1, 0, &crate::build::topic("/a", ""));
    for sequence in 0..10u32 {
        records.extend_from_slice(&recording::mcap::write::message_prefix(1, sequence, 5, 5, 1000));
        records.extend_from_slice(&payload(sequence, 1000));
    }
    let header = recording::mcap::write::ChunkHeader {
        start_ns: 5,
        end_ns: 5,
        uncompressed_size: records.len() as u64,
        uncompressed_crc: recording::mcap::chunk::crc32(&records),
        compression: String::new(),
        compressed_size: records.len() as u64,
    };
    let mut bytes = recording::mcap::record::MAGIC.to_vec();
    recording::mcap::write::header(&mut bytes, "", "a test");
    recording::mcap::write::chunk_prefix(&mut bytes, &header);
    bytes.extend_from_slice(&records);
    let (found, losses) = read(&bytes[..bytes.len() - 5000], &(0..0));
    assert_eq!((found.len(), losses), (5, 1));
}

#[test]
fn what_stands_behind_the_end_is_read_or_told() {
    for closed in [true, false] {
        let first = Builder { closed: true, ..Builder::default() }.build().bytes;
        let second = Builder { closed, first_sequence: 400, first_time_ns: 2_000_000, ..Builder::default() }.build().bytes;
        let both = [&first[..], &second].concat();
        assert_eq!(read(&both, &(0..0)), ((0..800).collect(), 0));
        let (_folder, recording) = open(&both);
        let told = format!("another MCAP file begins behind the end of the file, at byte {}", first.len());
        assert!(recording.notes().iter().any(|note| note.contains(&told)), "{:?}", recording.notes());
        assert_eq!(recording.is_open().unwrap(), !closed);
    }
    let whole = Builder::default().build().bytes;
    let noise: Vec<u8> = (0..5000u32).map(|number| (number * 7919 % 251) as u8 | 0x80).collect();
    let (_folder, recording) = open(&[&whole[..], &noise].concat());
    let info = recording.info().unwrap();
    assert_eq!((info.messages, info.losses.len(), recording.is_open().unwrap()), (400, 1, false));
    let reason = format!("behind the end of the file: the last 5000 bytes, from byte {} on", whole.len());
    assert_eq!((&info.losses[0].reason, info.losses[0].bytes), (&reason, None));
    assert!(info.notes[0].starts_with("read front to back, because something stands behind its end"), "{:?}", info.notes);
    // Zeros are what copying adds, and no messages.
    let (_folder, recording) = open(&[&whole[..], &[0; 5000]].concat());
    let info = recording.info().unwrap();
    assert_eq!((info.messages, info.losses.len(), recording.is_open().unwrap()), (400, 0, false));
    assert!(info.notes[1].starts_with("5000 zeros behind the end of the file"), "{:?}", info.notes);
}

#[test]
fn what_stands_in_front_of_a_file_is_one_loss_of_its_length() {
    let whole = Builder::default().build().bytes;
    let (_folder, recording) = open(&[&[0xa5; 100], &whole[..]].concat());
    let info = recording.info().unwrap();
    assert_eq!((info.messages, info.losses.len()), (400, 1));
    assert_eq!(info.losses[0].reason, "in front of the file: the first 100 bytes");
    let mut zeroed = whole;
    zeroed[..20].fill(0);
    let (_folder, recording) = open(&zeroed);
    let info = recording.info().unwrap();
    assert_eq!(info.messages, 400);
    assert!(info.losses[0].reason.starts_with("damaged: the first "), "{:?}", info.losses);
}

#[test]
fn a_note_names_why_a_file_is_read_front_to_back() {
    let built = Builder::default().build();
    let check = |bytes: &[u8], why: &str| {
        let (_folder, recording) = open(bytes);
        let expected = format!("read front to back, because {why}");
        assert!(recording.notes()[0].starts_with(&expected), "{:?}", recording.notes());
    };
    check(&built.bytes[..built.data_end as usize], "it was not closed or its end is damaged: there is no footer");
    let mut flipped = built.bytes.clone();
    flipped[(built.data_end as usize + built.bytes.len()) / 2] ^= 1;
    check(&flipped, "the checksum of its summary does not fit");
    let mut damaged = built.bytes.clone();
    damaged[built.chunks[0].bytes.start as usize - 20] ^= 0xff;
    let (_folder, recording) = open(&damaged);
    assert!(recording.notes().iter().all(|note| !note.contains("was not closed")), "{:?}", recording.notes());
    // One wrong checksum of a chunk is a loss, and no reason to doubt the file.
    let mut wrong = built.bytes.clone();
    wrong[built.chunks[2].bytes.start as usize + 9 + 24] ^= 1;
    let (_folder, recording) = open(&wrong);
    assert!(recording.notes().is_empty() && !recording.is_open().unwrap(), "{:?}", recording.notes());
    assert_eq!(recording.info().unwrap().messages, 350);
}

#[test]
fn what_is_wrong_with_compressed_data_is_said_in_plain_words() {
    for (compression, name) in [(Compression::Zstd(1), "zstd"), (Compression::Lz4, "lz4")] {
        let built = Builder { compression, closed: false, ..Builder::default() }.build();
        let chunk = built.chunks[2].bytes.clone();
        let mut damaged = built.bytes.clone();
        let from = chunk.start as usize + 9 + 40 + name.len() + 4;
        damaged[from..from + 300].fill(0);
        let scan = scan::scan(&Bytes::from(damaged)).unwrap();
        let expected = format!("damaged chunk: its {name} data is damaged, at byte {}", chunk.start);
        assert!(scan.losses.iter().all(|loss| loss.reason == expected), "{:?}", scan.losses);
        assert!(!scan.losses.is_empty());
    }
}
