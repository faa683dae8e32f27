//! Reading what is on a simulated disk, the way everybody reads a tape: from files.
//!
//! **Invariant:** reading never changes the simulated disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use recording::key::SegmentName;
use recording::mcap::block::Block;
use recording::mcap::decompress::Decompressor;
use recording::mcap::definitions::Definitions;
use recording::mcap::{linear, scan};
use recording::{Loss, Message, Span, TopicFilter, read};

use crate::disk::SimDisk;

/// A copy of a simulated disk in a real folder.
#[derive(Default)]
pub struct Copy {
    versions: BTreeMap<PathBuf, (u64, u64)>,
}

impl Copy {
    /// Makes the real files equal to the simulated ones, which have the same paths.
    pub fn refresh(&mut self, root: &Path, disk: &SimDisk) {
        std::fs::create_dir_all(root.join("devices")).unwrap();
        let versions = disk.versions();
        for path in self.versions.keys().filter(|path| !versions.contains_key(*path)) {
            std::fs::remove_file(path).unwrap();
        }
        for (path, version) in &versions {
            if self.versions.get(path) != Some(version) {
                std::fs::create_dir_all(path.parent().expect("files lie in folders")).unwrap();
                std::fs::write(path, disk.read(path).expect("it was listed just now")).unwrap();
            }
        }
        self.versions = versions;
    }
}

/// What was read.
pub struct Found {
    /// The messages, without those of the recorder itself.
    pub messages: Vec<Message>,
    /// What is missing.
    pub losses: Vec<Loss>,
}

/// Reads a tape, a recording or a file; checks that messages come in order and each once.
pub fn read_all(path: &Path) -> Found {
    let recording = read::open(path).unwrap_or_else(|error| panic!("cannot be read: {error}"));
    let mut reader = recording.messages(&TopicFilter::all(), Span::ALL).unwrap();
    let mut messages = Vec::new();
    let mut last_ns = i64::MIN;
    let mut seen = std::collections::HashSet::new();
    for message in reader.by_ref() {
        let message = message.unwrap();
        assert!(message.log_time_ns >= last_ns, "out of order: {} after {last_ns}", message.log_time_ns);
        last_ns = message.log_time_ns;
        let identity = message.identity.unwrap_or_else(|| panic!("a message of {} without identity", message.topic.name));
        let first = seen.insert(identity) || message.topic.name.starts_with("/tapeloop/");
        assert!(first, "a message of {} comes twice: {identity:?}", message.topic.name);
        if !message.topic.name.starts_with("/tapeloop/") {
            messages.push(message);
        }
    }
    Found { messages, losses: reader.losses().to_vec() }
}

/// A stretch of a segment and the messages in it, by boot and append sequence.
#[derive(Debug)]
pub struct Stretch {
    /// Where it is.
    pub bytes: std::ops::Range<usize>,
    /// Its messages.
    pub messages: Vec<(u64, u64)>,
    /// The last log time.
    pub end_ns: i64,
}

/// Returns the readable chunks of a segment.
pub fn chunks(path: &Path, content: &[u8]) -> Vec<Stretch> {
    let name = path.file_name().and_then(|name| SegmentName::parse(&name.to_string_lossy())).expect("it is a segment");
    let source = Bytes::copy_from_slice(content);
    let Ok(scan) = scan::scan(&source) else { return Vec::new() };
    let mut stretches = Vec::new();
    for block in Block::of_scan(&scan) {
        let Ok(Ok(records)) = block.load(&source, &mut Decompressor::default()) else { continue };
        let mut places = Vec::new();
        linear::find(&records, 0, &mut Definitions::default(), &mut places, |_, _| true);
        // No simulation appends 2^32 messages, so the field is the whole sequence.
        let messages = places.iter().map(|place| (name.boot, u64::from(place.sequence))).collect();
        let bytes = block.offset as usize..(block.offset + block.length) as usize;
        stretches.push(Stretch { bytes, messages, end_ns: block.end_ns as i64 });
    }
    stretches
}

/// Returns whether a path is that of a segment.
pub fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "mcap") && path.components().any(|part| part.as_os_str() == "segments")
}

/// Returns the buffer of a segment.
pub fn buffer_of(path: &Path) -> String {
    let name = path.file_name().and_then(|name| SegmentName::parse(&name.to_string_lossy()));
    name.map(|name| name.buffer).unwrap_or_default()
}
