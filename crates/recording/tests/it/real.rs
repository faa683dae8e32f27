//! Real recordings, compared with what the `mcap` crate reads of them.

use std::collections::BTreeMap;
use std::path::Path;

use recording::{Span, TopicFilter, read};

use crate::data;

type Counts = BTreeMap<String, (u64, u64)>;

/// Counts what the `mcap` crate reads, up to its first error.
fn expected(path: &Path) -> Counts {
    let bytes = std::fs::read(path).unwrap();
    // Of a whole file, topics without messages too.
    let summary = mcap::Summary::read(&bytes).ok().flatten();
    let channels = summary.iter().flat_map(|summary| summary.channels.values());
    let mut counts: Counts = channels.map(|channel| (channel.topic.clone(), (0, 0))).collect();
    for message in mcap::MessageStream::new_with_options(&bytes, mcap::read::Options::IgnoreEndMagic.into()).unwrap().map_while(Result::ok)
    {
        let count = counts.entry(message.channel.topic.clone()).or_default();
        *count = (count.0 + 1, count.1 + message.data.len() as u64);
    }
    counts
}

fn found(path: &Path) -> (Counts, usize) {
    let info = read::open(path).unwrap().info().unwrap();
    let mut counts = Counts::new();
    for topic in info.topics {
        let count = counts.entry(topic.topic).or_default();
        *count = (count.0 + topic.messages, count.1 + topic.bytes);
    }
    (counts, info.losses.len())
}

#[test]
fn real_files_hold_what_another_reader_finds() {
    let Some(folder) = data::path("mcap") else { return };
    for path in data::files(&folder, ".mcap") {
        assert_eq!(found(&path), (expected(&path), 0), "{}", path.display());
    }
}

#[test]
fn real_bags_hold_what_their_files_hold() {
    let Some(folder) = data::path("mcap") else { return };
    for yaml in data::files(&folder, "metadata.yaml") {
        let bag = yaml.parent().unwrap();
        let mut sum = Counts::new();
        for (topic, (messages, bytes)) in data::files(bag, ".mcap").iter().flat_map(|path| expected(path)) {
            let count = sum.entry(topic).or_default();
            *count = (count.0 + messages, count.1 + bytes);
        }
        assert_eq!(found(bag), (sum, 0), "{}", bag.display());
    }
}

#[test]
fn exports_of_real_files_are_equal_in_another_reader() {
    let Some(folder) = data::path("mcap") else { return };
    let out = tempfile::tempdir().unwrap();
    for path in data::files(&folder, ".mcap") {
        let recording = read::open(&path).unwrap();
        let exported = out.path().join("out.mcap");
        read::export(&recording, &TopicFilter::all(), Span::ALL, &exported, Default::default(), &mut |_| {}).unwrap();
        let list = |path: &Path| {
            let bytes = std::fs::read(path).unwrap();
            let messages = mcap::MessageStream::new(&bytes).unwrap().map(Result::unwrap);
            let mut list: Vec<_> = messages
                .map(|m| {
                    let schema =
                        m.channel.schema.as_ref().map(|schema| (schema.name.clone(), schema.encoding.clone(), schema.data.to_vec()));
                    let metadata = m.channel.metadata.clone();
                    (m.log_time, m.channel.topic.clone(), m.publish_time, m.sequence, schema, metadata, m.data.to_vec())
                })
                .collect();
            list.sort();
            list
        };
        assert!(list(&exported) == list(&path), "{}", path.display());
    }
}

#[test]
fn a_truncated_real_file_gives_at_least_what_another_reader_gives() {
    let Some(path) = data::path("damaged/custom_camera__trunc50.mcap") else { return };
    let total = |counts: &Counts| counts.values().map(|(messages, _)| messages).sum::<u64>();
    let (ours, losses) = found(&path);
    println!("ours {} theirs {}", total(&ours), total(&expected(&path)));
    assert!(total(&ours) >= total(&expected(&path)) && total(&ours) > 0);
    // The file ends in its only chunk: that is one loss, and nobody knows of how many bytes.
    let told = read::open(&path).unwrap().info().unwrap().losses;
    assert!(losses == 1 && told[0].bytes.is_none() && told[0].reason.starts_with("torn chunk"), "{told:?}");
}
