//! Damage of every kind in files of every format: cut, holed, flipped, appended to, reordered.
//!
//! What stands outside of the damage is read, in order, and what is missing is said. Each case follows from its number alone.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use recording::container::Location;
use recording::mcap::chunk::Compression;
use recording::{Kind, Span, TopicFilter, read};

use crate::build::{Builder, save};
use crate::data;

/// How many cases there are of each kind of damage for each file.
const CASES: u64 = 12;

/// How far in front of a payload its record may begin.
const RECORD_HEAD: u64 = 64;

/// A message as far as damage must not change it.
type Told = (String, i64, Vec<u8>);

/// What a file holds, and where.
struct Whole {
    bytes: Vec<u8>,
    messages: Vec<(Told, Option<Range<u64>>)>,
}

/// Returns numbers that follow from a seed.
fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below.max(1)
    }
}

fn range(location: &Location) -> Range<u64> {
    match &location.chunk {
        Some(chunk) => chunk.offset.saturating_sub(RECORD_HEAD)..chunk.offset + chunk.length,
        None => location.offset.saturating_sub(RECORD_HEAD)..location.offset + location.length,
    }
}

fn whole(path: &Path) -> Whole {
    let recording = read::open(path).unwrap();
    let mut messages = recording.messages(&TopicFilter::all(), Span::ALL).unwrap();
    let mut found = Vec::new();
    while let Some(next) = messages.next_located() {
        let next = next.unwrap();
        let told = (next.message.topic.name.clone(), next.message.log_time_ns, next.message.data.to_vec());
        found.push((told, next.location.as_ref().map(range)));
    }
    assert!(!found.is_empty(), "{}", path.display());
    Whole { bytes: std::fs::read(path).unwrap(), messages: found }
}

/// Damages a file; returns what was touched. What is touched begins behind `from`.
fn damage(kind: u64, seed: u64, from: u64, bytes: &mut Vec<u8>) -> Vec<Range<u64>> {
    let mut number = numbers(seed);
    let length = bytes.len() as u64;
    let at = from + number(length - from);
    let size = (1 + number(6000)).min(length - at);
    let touched = at..at + size;
    let place = |range: &Range<u64>| range.start as usize..range.end as usize;
    match kind {
        0 => {
            bytes.truncate(at as usize);
            vec![at..length]
        }
        1 => {
            bytes[place(&touched)].fill(0);
            vec![touched]
        }
        2 => {
            bytes[at as usize] ^= 1 << number(8);
            vec![at..at + 1]
        }
        3 => {
            bytes.extend((0..size).map(|_| number(256) as u8));
            vec![]
        }
        _ => {
            // Two stretches of one size change places.
            let other = from + number(length - from - size);
            if other + size > at && at + size > other {
                bytes[place(&touched)].reverse();
                return vec![touched];
            }
            for step in 0..size {
                bytes.swap((at + step) as usize, (other + step) as usize);
            }
            vec![touched, other..other + size]
        }
    }
}

fn check(name: &str, whole: &Whole, folder: &Path) {
    // Definitions stand in front of the first message: without them, what it was cannot be told.
    let from = whole.messages.iter().filter_map(|(_, place)| place.as_ref()).map(|place| place.start + RECORD_HEAD).min();
    for kind in 0..5 {
        for case in 0..CASES {
            let seed = kind * 1000 + case + 1;
            let mut bytes = whole.bytes.clone();
            let touched = damage(kind, seed, from.unwrap_or(4096).min(whole.bytes.len() as u64 / 2), &mut bytes);
            let path = save(folder, "damaged", &bytes);
            check_case(&format!("{name}, damage {kind}, seed {seed}, {touched:?}"), whole, &touched, &path);
        }
    }
}

fn check_case(case: &str, whole: &Whole, touched: &[Range<u64>], path: &Path) {
    let recording = match read::open(path) {
        Ok(recording) => recording,
        Err(error) => panic!("{case}: {error}"),
    };
    let mut messages = recording.messages(&TopicFilter::all(), Span::ALL).unwrap();
    let mut found: HashMap<Told, usize> = HashMap::new();
    let (mut last_ns, mut count) = (i64::MIN, 0);
    for message in messages.by_ref() {
        let message = message.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(message.log_time_ns >= last_ns, "{case}: out of order");
        last_ns = message.log_time_ns;
        count += 1;
        *found.entry((message.topic.name.clone(), message.log_time_ns, message.data.to_vec())).or_default() += 1;
    }
    let losses = messages.losses().to_vec();
    let (mut missing, mut untouched_missing) = (0, 0);
    for (told, place) in &whole.messages {
        match found.get_mut(told).filter(|left| **left > 0) {
            Some(left) => *left -= 1,
            None => {
                missing += 1;
                let apart = |place: &Range<u64>| touched.iter().all(|damage| place.end <= damage.start || damage.end <= place.start);
                untouched_missing += usize::from(place.as_ref().is_some_and(apart));
            }
        }
    }
    assert_eq!(untouched_missing, 0, "{case}: {missing} are missing, {count} found, {losses:?}");
    // A flipped byte of a payload shows only where the format has checksums: then the message is there, if not as it was.
    let changed: usize = found.values().sum();
    // Of a file that is cut between two records, nobody knows whether there was more.
    let open_end = recording.notes().iter().any(|note| note.contains("was not closed"));
    assert!(missing <= changed || !losses.is_empty() || open_end, "{case}: {missing} are missing and nobody says so");
}

#[test]
fn damaged_mcap_files_lose_what_was_touched_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    for (name, compression, closed) in
        [("zstd", Compression::Zstd(1), true), ("lz4", Compression::Lz4, false), ("plain", Compression::None, true)]
    {
        let built = Builder { compression, closed, chunks: 20, uneven: true, ..Builder::default() }.build();
        check(name, &whole(&save(folder.path(), "whole", &built.bytes)), folder.path());
    }
}

#[test]
fn damaged_files_of_other_formats_lose_what_was_touched_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let names = [
        "ros2/plotjuggler/datasamples/rosbag2_test/rosbag2_test_0.db3",
        "ros1/turtlesim/example.bag",
        "ros1/turtlesim/example-lz4.bag",
        "ros1/turtlesim/example-bz2.bag",
        "ulog/sample_log_small.ulg",
    ];
    for name in names {
        let Some(path) = data::path(name) else { return };
        // Formats are added one by one.
        match read::open(&path) {
            Ok(_) => check(name, &whole(&path), folder.path()),
            Err(error) => assert_eq!(error.kind(), Kind::Invalid, "{error}"),
        }
    }
}
