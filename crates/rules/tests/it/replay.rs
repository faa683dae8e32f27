//! Rules over a recording: pauses, latched values, several types of one topic, and rules that fire too often.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use recording::mcap::chunk::{ChunkBuilder, Compression};
use recording::mcap::segment::{Definition, SegmentWriter};
use recording::schema::library::Library;
use recording::{Span, Topic, read};
use rules::{Outcome, PAUSE_NS, Prices, Topics, bytes_kept, replay, rules};
use tempfile::TempDir;

use crate::messages::{Cdr, topic};

const START_NS: i64 = 1_795_348_800_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;

/// Messages of topics with one number: which topic, at which second, and the number.
struct Input {
    folder: TempDir,
    topics: Vec<Arc<Topic>>,
}

impl Input {
    fn new() -> Self {
        let mut latched = Topic::clone(&topic("/m", "demo/msg/Number", "float64 x"));
        latched.metadata.insert("offered_qos_profiles".into(), "- durability: transient_local".into());
        let topics = vec![
            topic("/a", "demo/msg/Number", "float64 x"),
            topic("/b", "demo/msg/Number", "float64 x"),
            Arc::new(latched),
            topic("/a", "demo/msg/Pair", "float64 y\nfloat64 x"),
        ];
        Self { folder: tempfile::tempdir().unwrap(), topics }
    }

    fn write(&self, messages: &[(usize, i64, f64)]) -> PathBuf {
        let mut file = Vec::new();
        let mut writer = SegmentWriter::begin(&mut file, "");
        for (place, topic) in self.topics.iter().enumerate() {
            let (channel_id, schema_id) = (place as u16 + 1, place as u16 + 1);
            writer.define(&mut file, &Definition { channel_id, schema_id, topic: topic.clone() });
        }
        let mut chunk = ChunkBuilder::default();
        for (sequence, (place, second, x)) in messages.iter().enumerate() {
            let time_ns = (START_NS + second * SECOND_NS) as u64;
            let mut cdr = Cdr::new();
            if *place == 3 {
                cdr.f64(-1.0);
            }
            cdr.f64(*x);
            chunk.push(*place as u16 + 1, sequence as u32, time_ns, time_ns, &cdr.done());
        }
        let chunk = chunk.encode(Compression::None);
        writer.chunk(&chunk);
        chunk.parts().iter().for_each(|part| file.extend_from_slice(part));
        writer.finish(&mut file);
        let path = self.folder.path().join("input.mcap");
        std::fs::write(&path, file).unwrap();
        path
    }
}

/// Runs one rule over a file.
fn run(path: &Path, when: &str, keys: &str) -> recording::Result<Outcome> {
    let rules = rules(&format!("[[rule]]\nname = 'r'\nwhen = '{when}'\n{keys}"), "r.toml").unwrap();
    let recording = read::open(path).unwrap();
    let topics = Topics::of_recording(&recording, &["/a", "/b", "/m"].into(), &Library::empty());
    let outcome = replay(&recording, &rules, &topics, Span::ALL, |_| {})?;
    let kept = bytes_kept(&recording, &rules, &outcome, Span::ALL)?;
    assert_eq!(kept.by_rule[0], kept.all);
    Ok(outcome)
}

/// Returns when a rule fired, in seconds.
fn fired(outcome: &Outcome) -> Vec<f64> {
    outcome.rules[0].firings.iter().map(|firing| (firing.time_ns - START_NS) as f64 / 1e9).collect()
}

#[test]
fn nothing_happens_where_nobody_recorded() {
    let input = Input::new();
    // A minute is no pause, ten are one. The second stretch lasts 5 s.
    let path = input.write(&[(0, 0, 6.0), (1, 0, 0.0), (0, 60, 6.0), (0, 660, 6.0), (1, 665, 0.0)]);
    let outcome = run(&path, "age(/a) > 30s", "").unwrap();
    assert_eq!((outcome.pauses, outcome.covered_ns, outcome.messages), (1, PAUSE_NS + 5 * SECOND_NS, 5));
    assert_eq!(fired(&outcome), [30.1]);
    assert!(outcome.rules[0].approximate.is_empty());
    // It has become true anew behind the pause, although it was never seen to be false.
    let outcome = run(&path, "/a.x > 5", "max_age = '1 h'").unwrap();
    assert_eq!(fired(&outcome), [0.0, 660.0]);
    let outcome = run(&path, "/a.x > 5", "max_age = '1 h'\ncooldown = '1 h'").unwrap();
    assert_eq!((fired(&outcome), outcome.rules[0].counts.in_cooldown), (vec![0.0], 1));
    // What is held does not hold over a pause.
    let outcome = run(&path, "/a.x > 5", "max_age = '1 h'\nhold = '61 s'").unwrap();
    assert!(fired(&outcome).is_empty());
    // A day of recording, without the pause.
    let price = Prices::default().of(13, 0.0, run(&path, "/a.x > 5", "").unwrap().covered_ns).unwrap();
    assert!((price.firings_per_day - 13.0 * 86_400.0 / 65.0).abs() < 1e-6);
}

#[test]
fn a_latched_value_counts_for_ever_and_is_missed_where_it_is_not_there() {
    let input = Input::new();
    let path = input.write(&[(2, 0, 6.0), (0, 50, 6.0), (0, 700, 6.0)]);
    let outcome = run(&path, "/m.x > 5 and /a.x > 5", "").unwrap();
    assert_eq!(fired(&outcome), [50.0, 700.0]);
    assert!(outcome.rules[0].approximate.is_empty());
    let path = input.write(&[(0, 0, 6.0), (2, 2, 6.0)]);
    let outcome = run(&path, "/m.x > 5 and /a.x > 5", "").unwrap();
    assert_eq!(
        (fired(&outcome), outcome.rules[0].approximate.as_slice()),
        (vec![2.0], &["the value that /m had at the start was not recorded".to_owned()][..])
    );
}

#[test]
fn messages_of_two_types_on_one_topic_are_read_each_by_its_own() {
    let input = Input::new();
    let path = input.write(&[(0, 0, 1.0), (3, 1, 6.0), (0, 2, 2.0), (3, 3, 7.0)]);
    assert_eq!(fired(&run(&path, "/a.x > 5", "").unwrap()), [1.0, 3.0]);
}

#[test]
fn a_rule_that_fires_without_end_is_refused() {
    let input = Input::new();
    let messages: Vec<(usize, i64, f64)> = (0..210_000).map(|i| (0, i64::from(i / 1000), f64::from(i % 2))).collect();
    let path = input.write(&messages);
    let error = run(&path, "/a.x > 0.5", "").unwrap_err().to_string();
    assert_eq!(error, "rule 'r' fires more than 100000 times: give it a hold, a cooldown or a cap");
    let outcome = run(&path, "/a.x > 0.5", "cap = '3/min'").unwrap();
    assert_eq!((fired(&outcome).len(), outcome.rules[0].counts.over_cap), (12, 104_988));
}
