//! Where payloads stand, how much a summary costs, and files that come in pieces.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use recording::container::{Container, Location};
use recording::mcap::chunk::Compression;
use recording::mcap::opening::{self, Opening};
use recording::mcap::record::{self, Record, opcode};
use recording::mcap::stream::{Next, Stream};
use recording::source::{Fed, ReadAt};
use recording::{Span, TopicFilter, read};

use crate::build::{Builder, save};
use crate::data;

/// A source that counts what is read of it.
struct Counted {
    bytes: Bytes,
    read: AtomicU64,
}

impl Counted {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into(), read: AtomicU64::new(0) }
    }

    fn take_read(&self) -> u64 {
        self.read.swap(0, Ordering::Relaxed)
    }
}

impl ReadAt for Counted {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.bytes.read_at(offset, buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Reads a payload as a catalog would: the stored bytes of a chunk, unpacked, or the file itself.
fn at_location(file: &[u8], location: &Location) -> Vec<u8> {
    let range = |bytes: &[u8], offset: u64| bytes[offset as usize..(offset + location.length) as usize].to_vec();
    let Some(chunk) = &location.chunk else { return range(file, location.offset) };
    let stored = &file[chunk.offset as usize..(chunk.offset + chunk.length) as usize];
    let mut unpacked = Vec::new();
    match chunk.compression.as_str() {
        "" => unpacked.extend_from_slice(stored),
        "zstd" => unpacked = zstd::stream::decode_all(stored).unwrap(),
        "lz4" => {
            io::Read::read_to_end(&mut lz4_flex::frame::FrameDecoder::new(stored), &mut unpacked).unwrap();
        }
        "bz2" => {
            io::Read::read_to_end(&mut bzip2::read::BzDecoder::new(stored), &mut unpacked).unwrap();
        }
        other => panic!("compressed as {other}"),
    }
    range(&unpacked, location.offset)
}

/// Compares every payload of a file with the bytes at its location; returns how many had one.
fn check_locations(path: &Path) -> u64 {
    let mut located = 0;
    let recording = read::open(path).unwrap();
    let mut messages = recording.messages(&TopicFilter::all(), Span::ALL).unwrap();
    let mut files = std::collections::HashMap::new();
    let mut number = 0;
    while let Some(next) = messages.next_located() {
        let found = next.unwrap();
        // Unpacking a chunk for each message takes long: of large files, some are looked at.
        number += 1;
        if number > 200 && number % 997 != 0 {
            continue;
        }
        if let (Some(file), Some(location)) = (found.file, &found.location) {
            let bytes = files.entry(file.to_owned()).or_insert_with(|| std::fs::read(file).unwrap());
            assert_eq!(at_location(bytes, location), &found.message.data[..], "{} {location:?}", path.display());
            located += 1;
        }
    }
    located
}

#[test]
fn payloads_stand_where_their_locations_say() {
    let folder = tempfile::tempdir().unwrap();
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd(1)] {
        for closed in [true, false] {
            let built = Builder { compression, closed, ..Builder::default() }.build();
            assert!(check_locations(&save(folder.path(), "x.mcap", &built.bytes)) > 0);
        }
    }
    if let Some(path) = data::path("mcap-conformance/TenMessages/TenMessages.mcap") {
        assert_eq!(check_locations(&path), 10);
    }
}

#[test]
fn payloads_of_real_files_stand_where_their_locations_say() {
    let Some(folder) = data::path("") else { return };
    for ending in [".mcap", ".bag", ".ulg"] {
        for path in data::files(&folder, ending).iter().filter(|path| !path.to_string_lossy().contains("conformance")) {
            if read::open(path).is_ok_and(|recording| recording.format() != "db3") {
                check_locations(path);
            }
        }
    }
}

#[test]
fn the_summary_of_a_large_file_takes_kilobytes() {
    let built = Builder { chunks: 200, payload: 5000, compression: Compression::None, ..Builder::default() };
    let source = Counted::new(built.build().bytes);
    let file = opening::open(&source).unwrap();
    let read = source.take_read();
    assert!(source.bytes.len() > 40_000_000 && read < 400_000, "{read} of {}", source.bytes.len());
    assert_eq!(file.counts().unwrap().values().sum::<u64>(), built.messages());
    assert_eq!(file.index().blocks.len(), 200);
}

#[test]
fn the_outline_of_a_real_file_takes_kilobytes_and_counts_right() {
    for (name, count) in [("mcap/comma2k19/comma2k19_ros2_mcap.mcap", 158_507), ("mcap/g1", 1_494)] {
        let Some(path) = data::path(name) else { return };
        let outline = read::open(&path).unwrap().outline();
        assert_eq!(outline.messages, Some(count));
        let info = read::open(&path).unwrap().info().unwrap();
        assert_eq!((outline.start_ns, outline.end_ns), (info.start_ns, info.end_ns));
        for topic in &info.topics {
            assert!(outline.topics.iter().any(|said| said.topic == topic.topic && said.messages == Some(topic.messages)), "{topic:?}");
        }
        if path.is_file() {
            let source = Counted::new(std::fs::read(&path).unwrap());
            opening::open(&source).unwrap();
            let read = source.take_read();
            assert!(read < 500_000, "{read} of {}", source.bytes.len());
        }
    }
}

#[test]
fn one_topic_of_a_file_that_is_chunked_by_topic_costs_what_it_holds() {
    // The first of a hundred topics is all of one chunk in a hundred.
    let mut bytes = Vec::new();
    let mut writer = recording::mcap::segment::SegmentWriter::begin(&mut bytes, "");
    for id in 1..=100 {
        let topic = crate::build::topic(&format!("/{id}"), "");
        writer.define(&mut bytes, &recording::mcap::segment::Definition { channel_id: id, schema_id: 0, topic });
    }
    for number in 0..300u32 {
        let mut chunk = recording::mcap::chunk::ChunkBuilder::default();
        for step in 0..10u64 {
            chunk.push((number % 100 + 1) as u16, number, u64::from(number) * 10 + step, 0, &crate::build::payload(number, 10_000));
        }
        let chunk = chunk.encode(Compression::None);
        writer.chunk(&chunk);
        chunk.parts().iter().for_each(|part| bytes.extend_from_slice(part));
    }
    writer.finish(&mut bytes);
    let source = Counted::new(bytes);
    let file = opening::open(&source).unwrap();
    let mut messages = 0;
    for (number, block) in file.index().blocks.iter().enumerate() {
        if block.channels.as_ref().is_some_and(|channels| channels.contains(&1)) {
            messages += file.load(&source, number, &mut |channel, _| channel == 1).unwrap().unwrap().places.len();
        }
    }
    let read = source.take_read();
    assert_eq!(messages, 30);
    assert!(read * 100 <= source.bytes.len() as u64 * 3, "{read} of {}", source.bytes.len());
}

/// Opens a file of which only what is asked for is fed, and returns how much that was.
fn open_fed(bytes: &Bytes) -> (Arc<recording::mcap::container::File>, u64) {
    let fed = Fed::new(bytes.len() as u64);
    let mut opening = Opening::new();
    let mut size = 0;
    for _ in 0..100_000 {
        match opening.step(&fed) {
            Ok(Some(file)) => return (file, size),
            Ok(None) => {}
            Err(error) => {
                let wanted = fed.take_wanted().unwrap_or_else(|| panic!("{error}"));
                size += wanted.end - wanted.start;
                fed.feed(wanted.start, bytes.slice(wanted.start as usize..wanted.end as usize));
            }
        }
    }
    panic!("it takes too many steps");
}

#[test]
fn a_file_that_is_fed_is_the_file_that_is_read() {
    for (closed, compression) in [(true, Compression::Zstd(1)), (false, Compression::Lz4), (false, Compression::None)] {
        let built = Builder { closed, compression, chunks: 30, ..Builder::default() }.build();
        for damage in [None, Some(7)] {
            let mut bytes = built.bytes.clone();
            if let Some(chunk) = damage {
                bytes[built.chunks[chunk].bytes.start as usize + 90] ^= 1;
            }
            let bytes = Bytes::from(bytes);
            let (fed, _) = open_fed(&bytes);
            let whole = opening::open(&bytes).unwrap();
            assert_eq!((&fed.index().blocks, &fed.index().losses), (&whole.index().blocks, &whole.index().losses));
            assert_eq!((&fed.index().topics, fed.counts()), (&whole.index().topics, whole.counts()));
        }
    }
}

#[test]
fn messages_are_read_over_bytes_that_are_still_on_their_way() {
    let built = Builder { chunks: 60, payload: 3000, compression: Compression::None, ..Builder::default() }.build();
    let bytes = Bytes::from(built.bytes);
    let fed = Arc::new(Fed::new(bytes.len() as u64));
    let mut size = 0;
    let mut feed = || {
        let wanted = fed.take_wanted().expect("something is wanted");
        size += wanted.end - wanted.start;
        fed.feed(wanted.start, bytes.slice(wanted.start as usize..wanted.end as usize));
    };
    let recording = loop {
        match read::open_source(Path::new("upload.mcap"), fed.clone()) {
            Ok(recording) => break recording,
            Err(_) => feed(),
        }
    };
    let span = Span::new(1_000_000 + 500_000, 1_000_000 + 600_000);
    let mut messages = recording.messages(&TopicFilter::all(), span).unwrap();
    let mut sequences = Vec::new();
    while let Some(next) = messages.next() {
        match next {
            Ok(message) => sequences.push(message.sequence),
            Err(error) => {
                assert!(error.lacks_bytes(), "{error}");
                feed();
            }
        }
    }
    assert_eq!(sequences, (500..600).collect::<Vec<_>>());
    assert!(size * 8 < bytes.len() as u64, "{size} of {}", bytes.len());
}

#[test]
fn a_closed_file_asks_for_its_summary_only() {
    let built = Builder { chunks: 100, payload: 5000, compression: Compression::None, ..Builder::default() }.build();
    let bytes = Bytes::from(built.bytes);
    let (_, size) = open_fed(&bytes);
    assert!(size < 500_000, "{size} of {}", bytes.len());
}

fn stream(bytes: &[u8], piece: usize) -> (Vec<u32>, Vec<recording::Loss>) {
    let (mut sequences, mut losses) = (Vec::new(), Vec::new());
    let mut stream = Stream::new();
    let mut pieces = bytes.chunks(piece);
    loop {
        match stream.advance().unwrap() {
            Next::Record(found) if found.opcode == opcode::MESSAGE => {
                let Ok(Record::Message(message)) = record::parse(found.opcode, &found.body) else { panic!("no message") };
                sequences.push(message.sequence);
            }
            Next::Record(_) => {}
            Next::Lost(loss) => losses.push(loss),
            Next::Wanted(more) => {
                assert!(more > 0);
                match pieces.next() {
                    Some(piece) => stream.feed(piece),
                    None => stream.finish(),
                }
            }
            Next::End => return (sequences, losses),
        }
    }
}

#[test]
fn a_stream_gives_the_same_whatever_the_size_of_its_pieces() {
    let built = Builder::default().build();
    for piece in [1, 7, 4096, built.bytes.len()] {
        assert_eq!(stream(&built.bytes, piece), ((0..400).collect(), Vec::new()), "{piece}");
    }
}

#[test]
fn a_damaged_stream_loses_what_is_damaged() {
    let built = Builder::default().build();
    let mut flipped = built.bytes.clone();
    flipped[built.chunks[2].bytes.start as usize + 100] ^= 1;
    let (found, losses) = stream(&flipped, 1000);
    assert_eq!((found, losses.len()), ((0..100).chain(150..400).collect(), 1));
    let uncompressed = Builder { compression: Compression::None, uneven: true, ..Builder::default() }.build();
    for cut in (0..uncompressed.bytes.len()).step_by(997).skip(1) {
        let (found, losses) = stream(&uncompressed.bytes[..cut], 333);
        let whole = uncompressed.chunks.iter().take_while(|chunk| chunk.bytes.end as usize <= cut).map(|chunk| chunk.sequences.end).max();
        assert!(found.len() as u32 >= whole.unwrap_or(0), "{cut}");
        assert!(found.iter().enumerate().all(|(at, sequence)| at as u32 == *sequence));
        assert!(found.len() == 400 || !losses.is_empty() || whole == Some(found.len() as u32) || found.is_empty(), "{cut}");
    }
}
