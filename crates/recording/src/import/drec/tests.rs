//! Recordings of dora that are built in code, byte by byte as its recorder writes them.

use std::ops::Range;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

/// 2023-11-14, on a whole second.
const START_NS: u64 = 1_700_000_000_000_000_000;

fn header(version: u16) -> Vec<u8> {
    let yaml = b"nodes: []";
    let mut out = MAGIC.to_vec();
    out.extend(version.to_le_bytes());
    out.extend(START_NS.to_le_bytes());
    out.extend([7; 16]);
    out.extend((yaml.len() as u32).to_le_bytes());
    out.extend(yaml);
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

/// Returns a record; `parameters` are in postcard, name by name.
fn record(node: &str, output: &str, offset_ns: u64, parameters: &[(&str, &[u8])], data: Option<&[u8]>) -> Vec<u8> {
    let mut event = vec![0];
    text(&mut event, &[9; 16]);
    text(&mut event, node.as_bytes());
    text(&mut event, output.as_bytes());
    event.push(2);
    // Half a second after the start.
    let sent = (START_NS / 1_000_000_000) << 32 | 1 << 31;
    varint(&mut event, sent);
    event.extend([5; 16]);
    varint(&mut event, parameters.len() as u64);
    for (name, value) in parameters {
        text(&mut event, name.as_bytes());
        event.extend(*value);
    }
    match data {
        None => event.push(0),
        Some(data) => {
            event.push(1);
            text(&mut event, data);
        }
    }
    varint(&mut event, sent);
    event.extend([5; 16]);
    frame(node, output, offset_ns, &event)
}

fn frame(node: &str, output: &str, offset_ns: u64, event: &[u8]) -> Vec<u8> {
    let mut body = (node.len() as u16).to_le_bytes().to_vec();
    body.extend(node.as_bytes());
    body.extend((output.len() as u16).to_le_bytes());
    body.extend(output.as_bytes());
    body.extend(offset_ns.to_le_bytes());
    body.extend((event.len() as u32).to_le_bytes());
    body.extend(event);
    let mut out = (body.len() as u32).to_le_bytes().to_vec();
    out.extend(body);
    out
}

fn end(messages: u64) -> Vec<u8> {
    [b"DORAEND\0".as_slice(), &messages.to_le_bytes(), &99_u64.to_le_bytes()].concat()
}

/// Returns every message: its topic, log and publish time after the start, and payload.
fn messages(file: &[u8]) -> Vec<(String, i64, i64, Vec<u8>)> {
    let source = Bytes::copy_from_slice(file);
    let container = open(&source).unwrap();
    let mut found = Vec::new();
    for block in 0..container.index().blocks.len() {
        let loaded = container.load(&source, block, &mut |_, _| true).unwrap().unwrap();
        assert!(loaded.losses.is_empty());
        for place in &loaded.places {
            let topic = container.index().topics[&place.channel].name.clone();
            let after = |time_ns: i64| time_ns - START_NS as i64;
            found.push((topic, after(place.log_time_ns), after(place.publish_time_ns), loaded.bytes[place.payload()].to_vec()));
        }
    }
    found
}

fn losses(file: &[u8]) -> Vec<(Option<u64>, String)> {
    let container = open(&Bytes::copy_from_slice(file)).unwrap();
    container.index().losses.iter().map(|loss| (loss.messages, loss.reason.clone())).collect()
}

/// Three messages; returns the file and where its records stand.
fn three() -> (Vec<u8>, Vec<Range<usize>>) {
    let mut file = header(2);
    let mut places = Vec::new();
    for (index, payload) in [b"one".as_slice(), b"two", b"three"].into_iter().enumerate() {
        let start = file.len();
        file.extend(record("cam", "image", index as u64 * 10, &[], Some(payload)));
        places.push(start..file.len());
    }
    (file, places)
}

#[test]
fn messages_and_their_parameters_are_topics() {
    let mut file = header(2);
    let mut list = vec![6, 2];
    text(&mut list, b"a");
    text(&mut list, "ü".as_bytes());
    let parameters: [(&str, &[u8]); 6] = [
        ("_wire_size", &[1, 10]),
        ("frame", &[1, 3]),
        ("gain", &[&[4][..], &0.5_f64.to_le_bytes()].concat()),
        ("list", &[3, 2, 2, 4]),
        ("names", &list),
        ("ok", &[0, 1]),
    ];
    file.extend(record("cam", "image", 5, &parameters, Some(b"arrow stream")));
    file.extend(record("cam", "tick", 7, &[], None));
    file.extend(record("cam", "image", 8, &[("__dora_startup_marker", &[0, 1])], Some(b"probe")));
    file.extend(end(3));
    let half = 500_000_000;
    let json = r#"{"frame":-2,"gain":0.5,"list":[1,2],"names":["a","ü"],"ok":true}"#;
    assert_eq!(
        messages(&file),
        [
            ("/cam/image".into(), 5, half, b"arrow stream".to_vec()),
            ("/cam/tick".into(), 7, half, vec![]),
            ("/cam/image/parameters".into(), 5, half, json.as_bytes().to_vec()),
        ]
    );
    let container = open(&Bytes::from(file.clone())).unwrap();
    let index = container.index();
    let encodings: Vec<_> = index.topics.values().map(|topic| (topic.name.as_str(), topic.encoding.as_str())).collect();
    assert_eq!(encodings, [("/cam/image", "arrow"), ("/cam/image/parameters", "json"), ("/cam/tick", "arrow")]);
    assert_eq!((index.metadata[0].1["descriptor"].as_str(), index.is_open), ("nodes: []", false));
    assert!(index.losses.is_empty() && index.notes.is_empty());
    let place = &container.load(&Bytes::from(file.clone()), 0, &mut |_, _| true).unwrap().unwrap().places[0];
    let location = container.location(&index.blocks[0], None, place).unwrap();
    assert_eq!(&file[location.offset as usize..][..location.length as usize], b"arrow stream");
}

#[test]
fn a_recording_without_an_end_is_read_up_to_the_torn_record() {
    let (file, places) = three();
    assert_eq!(messages(&file).len(), 3);
    assert!(open(&Bytes::from(file.clone())).unwrap().index().is_open && losses(&file).is_empty());
    let torn = &file[..places[2].end - 1];
    assert_eq!(messages(torn).len(), 2);
    let rest = places[2].len() - 1;
    assert_eq!(losses(torn), [(None, format!("torn record at byte {}: {rest} bytes", places[2].start))]);
}

#[test]
fn damage_costs_its_record_where_its_length_is_whole() {
    let (file, places) = three();
    let mut damaged = file.clone();
    // The length of the node's name.
    damaged[places[1].start + 4] = 200;
    let read: Vec<_> = messages(&damaged).into_iter().map(|message| message.3).collect();
    assert_eq!(read, [b"one".to_vec(), b"three".to_vec()]);
    assert_eq!(losses(&damaged), [(Some(1), format!("damaged record at byte {}", places[1].start))]);

    let mut damaged = file.clone();
    damaged[places[1].start + 3] = 0xff;
    assert_eq!(messages(&damaged).len(), 1);
    assert!(losses(&damaged)[0].1.starts_with(&format!("damaged from byte {} on", places[1].start)));
    let zeros = [&file[..], &[0; 1000]].concat();
    assert_eq!((messages(&zeros).len(), losses(&zeros).len()), (3, 1));
    let other = [&file[..], &frame("cam", "image", 5, &[1, 0]), &end(4)].concat();
    assert_eq!(losses(&other), [(Some(1), format!("event that is no message at byte {}", file.len()))]);
    let fewer = [&file[..], &end(4)].concat();
    assert_eq!(open(&Bytes::from(fewer)).unwrap().index().notes, ["its end says 4 messages, and it has 3"]);
}

#[test]
fn parameters_are_json_in_their_order_whatever_they_hold() {
    let floats: Vec<u8> = [1.0, f64::NAN, -0.5].iter().flat_map(|value: &f64| value.to_le_bytes()).collect();
    let mut time = vec![7];
    text(&mut time, b"2026-01-01T00:00:00Z");
    let mut quoted = vec![2];
    text(&mut quoted, b"a \"b\"\n");
    let parameters: [(&str, &[u8]); 7] = [
        ("z", &[0, 0]),
        ("a", &[3, 0]),
        ("__dora_route", &[1, 2]),
        ("floats", &[&[5, 3][..], &floats].concat()),
        ("least", &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ("time", &time),
        ("text\"", &quoted),
    ];
    let file =
        [header(2), record("cam", "image", 5, &parameters, None), record("cam", "image", 6, &[("_wire_size", &[1, 2])], None)].concat();
    let json =
        r#"{"z":false,"a":[],"floats":[1.0,null,-0.5],"least":-9223372036854775808,"time":"2026-01-01T00:00:00Z","text\"":"a \"b\"\n"}"#;
    let told: Vec<_> = messages(&file).into_iter().filter(|message| message.0.ends_with("parameters")).collect();
    assert_eq!(told.len(), 1);
    assert_eq!(String::from_utf8(told[0].3.clone()).unwrap(), json);
}

#[test]
fn outputs_of_the_same_name_are_topics_of_their_nodes() {
    let records = [("a", "x"), ("a", "y"), ("b", "x"), ("a", "x")].map(|(node, output)| record(node, output, 0, &[], None));
    let topics: Vec<_> = messages(&[header(2), records.concat()].concat()).into_iter().map(|message| message.0).collect();
    assert_eq!(topics, ["/a/x", "/a/y", "/b/x", "/a/x"]);
}

#[test]
fn a_damaged_length_of_the_description_is_a_loss() {
    let (mut file, _) = three();
    file[34..38].copy_from_slice(&100_000_u32.to_le_bytes());
    let there = file.len() - record::HEADER_BYTES;
    assert!(messages(&file).is_empty());
    let reason = format!("the header says that the dataflow takes 100000 bytes, and {there} are there: no message is read");
    assert_eq!(losses(&file), [(None, reason)]);
}

#[test]
fn what_is_no_recording_or_of_another_version_is_refused() {
    let refused = |file: Vec<u8>| open(&Bytes::from(file)).unwrap_err().to_string();
    assert!(refused(header(1)).contains("version 1"));
    assert!(refused(b"DORAREC".to_vec()).contains("not a recording"));
    let mut huge = header(2);
    huge[34..38].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(refused(huge).contains("4294967295 bytes"));
    assert!(messages(&header(2)).is_empty());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(at in 0_usize..400, byte: u8, rest in proptest::collection::vec(any::<u8>(), 0..60)) {
        let (mut file, _) = three();
        file.extend(record("a", "b", 1, &[("n", &[3, 2, 2, 4])], Some(b"x")));
        let at = at % file.len();
        if at >= MAGIC.len() + 2 {
            file[at] = byte;
        }
        file.extend(rest);
        if let Ok(container) = open(&Bytes::from(file.clone())) {
            for block in 0..container.index().blocks.len() {
                let loaded = container.load(&Bytes::from(file.clone()), block, &mut |_, _| true).unwrap().unwrap();
                prop_assert!(loaded.places.iter().all(|place| place.payload().end <= loaded.bytes.len()));
            }
        }
    }
}
