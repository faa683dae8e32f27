//! Files and folders: opened as a reader opens them, and everything read that they say they have.
//!
//! **Invariant:** nothing is read that stands outside of the input, and folders are gone when the input is.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use recording::container::Container;
use recording::import::{db3, lerobot, unpacked};
use recording::mcap::record;
use recording::mcap::stream::{Next, Stream};
use recording::read::{self, Lines, Recording};
use recording::source::ReadAt;
use recording::{Span, TopicFilter};

use super::LIBRARY;
use crate::seeds::{self, lerobot as dataset, rosbag2, sqlite};

/// How much a compressed file may become.
const UNPACKED_LIMIT: u64 = 16 << 20;

/// Opens a file and reads everything that it says it has.
pub(super) fn contained<C: Container + ?Sized>(input: &[u8], open: fn(&dyn ReadAt) -> recording::Result<Arc<C>>) {
    let source = Bytes::copy_from_slice(input);
    if let Ok(file) = open(&source) {
        load(&*file, &source);
    }
}

fn load<C: Container + ?Sized>(file: &C, source: &dyn ReadAt) {
    for block in 0..file.index().blocks.len() {
        let Ok(Ok(loaded)) = file.load(source, block, &mut |_, _| true) else { continue };
        for place in &loaded.places {
            assert!(loaded.bytes.get(place.payload()).is_some(), "a message outside of its block");
        }
    }
}

/// Reads a file as a stream, in pieces of a length that its first byte says.
pub(super) fn streamed(input: &[u8]) {
    let Some((length, bytes)) = input.split_first() else { return };
    let mut stream = Stream::new();
    for piece in bytes.chunks(usize::from(*length) * 16 + 1) {
        stream.feed(piece);
        if !drained(&mut stream) {
            return;
        }
    }
    stream.finish();
    drained(&mut stream);
}

/// Reads what a stream has so far; returns whether it is one.
fn drained(stream: &mut Stream) -> bool {
    loop {
        match stream.advance() {
            Ok(Next::Record(found)) => drop(record::parse(found.opcode, &found.body)),
            Ok(Next::Lost(_)) => {}
            Ok(Next::Wanted(_) | Next::End) => return true,
            Err(_) => return false,
        }
    }
}

/// Reads a database with the write-ahead log beside it, whose checksums are made right: else no damage gets past them.
pub(super) fn logged(input: &[u8]) {
    let files = seeds::unpack(input);
    let part = |number: usize| files.get(&number).copied().unwrap_or_default().to_vec();
    let source = Bytes::from(part(0));
    let mut wal = part(1);
    sqlite::seal(&mut wal);
    if let Ok(file) = db3::open(&source, Some(Arc::new(Bytes::from(wal)))) {
        load(&*file, &source);
    }
}

/// Decompresses a file.
pub(super) fn decompressed(input: &[u8]) {
    let _ = unpacked::file(&Bytes::copy_from_slice(input), UNPACKED_LIMIT);
}

/// Reads a file of any format in every way that people read one.
pub(super) fn file(input: &[u8]) {
    if let Ok(recording) = read::open_source(Path::new("a.mcap"), Arc::new(Bytes::copy_from_slice(input))) {
        told(&recording);
    }
}

/// Reads a rosbag2 folder.
pub(super) fn bag(input: &[u8]) {
    in_folder(&rosbag2::NAMES, input, |folder| {
        if let Ok(recording) = read::open(folder) {
            told(&recording);
        }
    });
}

/// Reads a LeRobot folder.
pub(super) fn robot(input: &[u8]) {
    in_folder(&dataset::NAMES, input, |folder| {
        let Ok(dataset) = lerobot::open(folder) else { return };
        for (path, container) in &dataset.files {
            if let Ok(source) = File::open(path) {
                load(&**container, &source);
            }
        }
    });
}

/// Reads a LeRobot folder in which one file is the input.
pub(super) fn robot_with(name: usize, input: &[u8]) {
    let mut files = vec![(dataset::INFO, dataset::info("v2.1")), (dataset::EPISODES, dataset::EPISODE_LINES.to_vec())];
    files.push((name, input.to_vec()));
    let files: Vec<(usize, &[u8])> = files.iter().map(|(number, bytes)| (*number, &bytes[..])).collect();
    robot(&seeds::pack(&files));
}

/// Makes a folder of an input's files and reads it.
#[expect(clippy::expect_used, reason = "without a folder there is nothing to feed")]
fn in_folder(names: &[&str], input: &[u8], read: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (number, bytes) in seeds::unpack(input) {
        let Some(name) = names.get(number) else { continue };
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(folder.path())).expect("a folder in it");
        std::fs::write(path, bytes).expect("a file in it");
    }
    read(folder.path());
}

/// Reads a recording in every way that people read one.
fn told(recording: &Recording) {
    let all = TopicFilter::all();
    let _ = recording.info();
    let _ = recording.outline();
    let _ = recording.cost(&all, Span::ALL);
    let _ = recording.latched(&all, i64::MAX);
    let Ok(messages) = recording.messages(&all, Span::ALL) else { return };
    let mut lines = Lines::new(LIBRARY.clone(), &[]);
    let (mut line, mut last_ns) = (Vec::new(), i64::MIN);
    for message in messages.map_while(Result::ok) {
        assert!(message.log_time_ns >= last_ns, "messages out of order");
        last_ns = message.log_time_ns;
        line.clear();
        lines.json(&message, &mut line);
        assert!(!line.contains(&b'\n'), "a line with a line break");
    }
}
