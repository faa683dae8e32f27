//! Reading topic by topic with blocks that stay in memory: the same as without.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use recording::read::{self, Recording};
use recording::{Loss, Message, Span, TopicFilter};

use crate::data;

/// Returns the messages of each topic and what is lost of it, topic by topic, and of half of its time.
fn by_topic(recording: &Recording) -> Vec<(Vec<Message>, Vec<Loss>)> {
    let whole = recording.span();
    let half = Span::new(whole.start_ns, whole.start_ns.midpoint(whole.end_ns));
    let mut all = Vec::new();
    for topic in recording.topics() {
        for span in [Span::ALL, half] {
            let mut messages = recording.messages(&TopicFilter::at_least(&topic.name), span).unwrap();
            let found = messages.by_ref().map(Result::unwrap).collect();
            all.push((found, messages.losses().to_vec()));
        }
    }
    all
}

#[track_caller]
fn check(path: &Path) {
    let expected = by_topic(&read::open(path).unwrap());
    for bytes in [0, 1 << 20, 1 << 30] {
        let recording = read::open(path).unwrap().keeping(bytes);
        assert!(by_topic(&recording) == expected, "{} with {bytes} bytes", path.display());
        // Whatever was unpacked ahead, and by whom, is no other.
        let recording = read::open(path).unwrap().keeping(bytes);
        let steps = AtomicUsize::new(0);
        recording.unpack_ahead(&TopicFilter::all(), Span::ALL, || steps.fetch_add(1, Ordering::Relaxed) < 8);
        let first = recording.topics().first().map_or(TopicFilter::all(), |topic| TopicFilter::at_least(&topic.name));
        recording.unpack_ahead(&first, Span::ALL, || true);
        assert!(by_topic(&recording) == expected, "{} with {bytes} bytes, unpacked ahead", path.display());
    }
}

#[test]
fn topics_of_real_files_are_the_same_from_blocks_in_memory() {
    for (folder, ending) in [("mcap", ".mcap"), ("ros1", ".bag"), ("ulog", ".ulg"), ("damaged", "")] {
        let Some(folder) = data::path(folder) else { return };
        let small = |path: &&std::path::PathBuf| path.metadata().unwrap().len() < 3 << 20;
        for path in data::files(&folder, ending).iter().filter(small).filter(|path| read::open(path).is_ok()) {
            check(path);
        }
    }
}
