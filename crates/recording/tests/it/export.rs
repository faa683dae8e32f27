//! Exports: exact, standalone, and never over their own input.

use std::sync::Arc;

use recording::read::{self, ExportOptions};
use recording::{Kind, Message, Span, TopicFilter};

use crate::build::{Builder, save, topic};

fn all(recording: &read::Recording, span: Span) -> Vec<Message> {
    recording.messages(&TopicFilter::all(), span).unwrap().map(Result::unwrap).collect()
}

#[test]
fn an_export_holds_equal_messages_and_other_readers_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let builder = Builder { metadata: vec![("mine".into(), crate::build::map([("k", "v")]))], ..Builder::default() };
    let path = save(folder.path(), "x.mcap", &builder.build().bytes);
    let recording = read::open(&path).unwrap();
    let out = folder.path().join("out.mcap");
    let mut heard = 0;
    let report = read::export(&recording, &TopicFilter::all(), Span::ALL, &out, ExportOptions::default(), &mut |n| heard = n).unwrap();
    assert_eq!((report.messages, report.latched, heard), (builder.messages(), 0, builder.messages()));
    assert_eq!(report.size_bytes, std::fs::metadata(&out).unwrap().len());
    let exported = read::open(&out).unwrap();
    assert_eq!(all(&exported, Span::ALL), all(&recording, Span::ALL));
    assert!(exported.notes().is_empty());
    let bytes = std::fs::read(&out).unwrap();
    let other: Vec<_> = mcap::MessageStream::new(&bytes).unwrap().map(Result::unwrap).collect();
    for (ours, theirs) in all(&recording, Span::ALL).iter().zip(&other) {
        assert_eq!((ours.log_time_ns as u64, ours.publish_time_ns as u64), (theirs.log_time, theirs.publish_time));
        assert_eq!((&ours.data[..], ours.topic.name.as_str()), (&theirs.data[..], theirs.channel.topic.as_str()));
        assert_eq!(ours.topic.type_name(), theirs.channel.schema.as_ref().map_or("", |schema| &schema.name));
    }
    assert_eq!(other.len(), 400);
    let scan = recording::mcap::scan::scan(&std::fs::File::open(&out).unwrap()).unwrap();
    assert_eq!(scan.metadata("mine").unwrap()["k"], "v");
    assert!(!folder.path().join("out.mcap.part").exists());
}

#[test]
fn latched_values_come_first_and_do_not_widen_the_span() {
    let mut map = topic("/map", "");
    Arc::make_mut(&mut map).metadata = crate::build::map([("offered_qos_profiles", "- durability: transient_local")]);
    let builder = Builder { topics: vec![map, topic("/b", "B")], ..Builder::default() };
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), "x.mcap", &builder.build().bytes);
    let recording = read::open(&path).unwrap();
    let out = folder.path().join("out.mcap");
    let span = Span::new(1_100_500, 1_150_500);
    let report = read::export(&recording, &TopicFilter::all(), span, &out, ExportOptions::default(), &mut |_| {}).unwrap();
    assert_eq!((report.messages, report.latched, report.start_ns), (51, 1, Some(1_101_000)));
    let exported = read::open(&out).unwrap();
    let first = &all(&exported, Span::ALL)[0];
    assert_eq!((first.topic.name.as_str(), first.log_time_ns), ("/map", 1_100_000));
    let info = exported.info().unwrap();
    assert_eq!((info.messages, info.start_ns, info.end_ns), (51, Some(1_101_000), Some(1_150_000)));
    // An export of the export is the same again.
    let again = folder.path().join("again.mcap");
    let report = read::export(&exported, &TopicFilter::all(), Span::ALL, &again, ExportOptions::default(), &mut |_| {}).unwrap();
    assert_eq!((report.messages, report.latched), (51, 1));
    assert_eq!(all(&read::open(&again).unwrap(), Span::ALL), all(&exported, Span::ALL));
    assert_eq!(exported.latched(&TopicFilter::all(), 1_100_600).unwrap().len(), 1);
}

#[test]
fn an_export_never_overwrites_what_it_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), "x.mcap", &Builder::default().build().bytes);
    let recording = read::open(&path).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = read::export(&recording, &TopicFilter::all(), Span::ALL, &path, ExportOptions::default(), &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let nowhere = folder.path().join("no/folder/out.mcap");
    assert!(read::export(&recording, &TopicFilter::all(), Span::ALL, &nowhere, ExportOptions::default(), &mut |_| {}).is_err());
}

#[test]
fn an_export_of_damage_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let built = Builder::default().build();
    let mut damaged = built.bytes.clone();
    damaged[built.chunks[2].bytes.start as usize + 100] ^= 1;
    let recording = read::open(&save(folder.path(), "x.mcap", &damaged)).unwrap();
    let out = folder.path().join("out.mcap");
    let report = read::export(&recording, &TopicFilter::all(), Span::ALL, &out, ExportOptions::default(), &mut |_| {}).unwrap();
    assert_eq!((report.messages, report.losses.len()), (350, 3));
    assert_eq!(read::open(&out).unwrap().info().unwrap().losses, report.losses);
}
