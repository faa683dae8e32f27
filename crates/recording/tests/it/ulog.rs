//! PX4 logs: real ones, odd ones, damaged ones.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use recording::container::Container;
use recording::decode::Decoder;
use recording::import::ulog;
use recording::schema::library::Library;
use recording::source::{Fed, ReadAt};
use sha2::{Digest, Sha256};

use crate::data;

/// What a reader gets: topic, log time and payload of each message, in the order of the file, and what it is told of losses.
#[derive(Debug, PartialEq, Default)]
struct Read {
    messages: Vec<(String, i64, Bytes)>,
    losses: Vec<recording::Loss>,
    notes: Vec<String>,
}

impl Read {
    fn of(&self, topic: &str) -> Vec<(i64, String)> {
        let text = |data: &Bytes| String::from_utf8(data.to_vec()).unwrap();
        self.messages.iter().filter(|(name, ..)| name == topic).map(|(_, time_ns, data)| (*time_ns, text(data))).collect()
    }

    /// Counts data messages.
    fn data(&self) -> usize {
        self.messages.iter().filter(|(name, ..)| name != "/log" && name != "/parameters").count()
    }

    fn by_topic(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        self.messages.iter().for_each(|(topic, ..)| *counts.entry(topic.as_str()).or_default() += 1);
        counts
    }
}

fn read_all(source: &dyn ReadAt, container: &dyn Container) -> Read {
    let index = container.index();
    let mut read = Read { losses: index.losses.clone(), notes: index.notes.clone(), ..Read::default() };
    for (number, block) in index.blocks.iter().enumerate() {
        let loaded = container.load(source, number, &mut |_, _| true).unwrap().unwrap();
        for place in &loaded.places {
            assert!((block.start_ns..=block.end_ns).contains(&place.log_time_ns));
            assert!(block.channels.as_ref().is_none_or(|channels| channels.contains(&place.channel)));
            read.messages.push((index.topics[&place.channel].name.clone(), place.log_time_ns, loaded.bytes.slice(place.payload())));
        }
        assert_eq!(loaded.losses, []);
    }
    read
}

fn read_bytes(bytes: &[u8]) -> Read {
    let source = Bytes::copy_from_slice(bytes);
    let container = ulog::open(&source).unwrap();
    read_all(&source, &*container)
}

fn read_file(relative: &str) -> Option<(Arc<dyn Container>, Read)> {
    let file = File::open(data::path(relative)?).unwrap();
    let container = ulog::open(&file).unwrap();
    let read = read_all(&file, &*container);
    Some((container, read))
}

#[test]
fn a_real_log_is_read() {
    let Some((container, read)) = read_file("ulog/sample_log_small.ulg") else { return };
    let counts = read.by_topic();
    println!("{counts:?}\n{:?}\n{:?}", read.losses, read.notes);
    assert_eq!((read.data(), counts["/log"], counts["/vehicle_gps_position"]), (14604, 3, 32));
    assert_eq!(read.losses.len(), 1);
    assert_eq!(read.losses[0].reason, "dropout: the logger could not keep up (30 ms)");
    let index = container.index();
    assert_eq!(counts.len(), 70 + 1);
    let metadata: BTreeMap<_, _> = index.metadata.iter().cloned().collect();
    assert_eq!((metadata["info"].len(), metadata["parameters"].len()), (17, 980));
    assert_eq!(metadata["info"]["ver_hw"], "CUBEPILOT_CUBEORANGE");
    let counters: Vec<Vec<String>> = serde_json::from_str(&metadata["info"]["perf_counter_preflight"]).unwrap();
    assert_eq!((counters.len(), counters[0].len()), (1, 89));
    // The first GPS message with a fix: 2021-04-21 06:30:58 at 20.47 s after the boot.
    assert_eq!(metadata["time_base"]["source"], "gps");
    assert_eq!(metadata["time_base"]["topic"], "vehicle_gps_position");
    assert_eq!(metadata["time_base"]["boot_ns"], "1618986638128697000");
    let log = read.of("/log");
    assert_eq!(log[0].1, r#"{"level":"INFO","message":"[commander] Takeoff detected"}"#);
    assert_eq!((log[0].0 - 1_618_986_638_128_697_000) / 1_000_000_000, 22);
}

#[test]
fn a_truncated_real_log_gives_at_least_what_another_reader_gives() {
    let Some((_, read)) = read_file("damaged/px4small__trunc50.ulg") else { return };
    println!("{} {:?}", read.data(), read.losses);
    assert!(read.data() >= 6731);
    assert_eq!(read.losses.len(), 2);
}

#[test]
fn appended_data_of_a_real_log_is_read() {
    let Some((container, read)) = read_file("ulog/sample_appended_multiple.ulg") else { return };
    println!("{:?}\n{:?}", read.losses, read.notes);
    assert_eq!((read.data(), read.of("/log").len()), (6852, 1));
    let metadata: BTreeMap<_, _> = container.index().metadata.iter().cloned().collect();
    assert_eq!((metadata["info"].len(), metadata["parameters"].len()), (90, 750));
    let faults: Vec<Vec<String>> = serde_json::from_str(&metadata["info"]["hardfault_plain"]).unwrap();
    assert_eq!(faults.len(), 3);
    assert_eq!(metadata["time_base"]["source"], "boot");
}

#[test]
fn times_of_real_logs_are_what_another_reader_reads() {
    // Computed with what `pyulog` 1.3.0 reads: of each instance its name, number, and how many times there are, their sum and the last.
    let expected = [
        ("sample_log_small", "906162020e6e9bfe3a3deae0f27df1f69e9ce02b5909843bdf1332d2450b1392"),
        ("sample_appended_multiple", "eefd3af793a8082d600a250fc4fc3b5e1745fdb0c9fe13765832453a58931c00"),
    ];
    for (name, expected) in expected {
        let Some(path) = data::path(&format!("ulog/{name}.ulg")) else { return };
        let file = File::open(path).unwrap();
        let container = ulog::open(&file).unwrap();
        let index = container.index();
        let boot_ns: i64 = index.metadata.iter().find(|(name, _)| name == "time_base").unwrap().1["boot_ns"].parse().unwrap();
        let mut all: BTreeMap<u16, (u64, u64, u64)> = BTreeMap::new();
        for number in 0..index.blocks.len() {
            let loaded = container.load(&file, number, &mut |_, _| true).unwrap().unwrap();
            for place in loaded.places {
                let time_us = ((place.log_time_ns - boot_ns) / 1000) as u64;
                let entry = all.entry(place.channel).or_default();
                *entry = (entry.0 + 1, entry.1 + time_us, entry.2.max(time_us));
            }
        }
        let mut lines: Vec<String> = Vec::new();
        for (channel, (count, sum, last)) in all {
            let topic = &index.topics[&channel];
            if topic.encoding == "ulog" {
                lines.push(format!("{} {} {count} {sum} {last}", topic.type_name(), topic.metadata["multi_id"]));
            }
        }
        lines.sort();
        let hash: String = Sha256::digest(lines.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, expected, "{name}: {lines:#?}");
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u16).to_le_bytes()[..], &[kind], body].concat()
}

fn format(text: &str) -> Vec<u8> {
    message(b'F', text.as_bytes())
}

fn subscribe(name: &str, instance: u8, id: u16) -> Vec<u8> {
    message(b'A', &[&[instance][..], &id.to_le_bytes(), name.as_bytes()].concat())
}

fn entry(key: &str, value: &[u8]) -> Vec<u8> {
    [&[key.len() as u8][..], key.as_bytes(), value].concat()
}

fn sync() -> Vec<u8> {
    message(b'S', &[0x2f, 0x73, 0x13, 0x20, 0x25, 0x0c, 0xbb, 0x12])
}

fn text(time_us: u64, text: &str) -> Vec<u8> {
    message(b'L', &[b"6", &time_us.to_le_bytes()[..], text.as_bytes()].concat())
}

fn sample(id: u16, time_us: u64, number: u32) -> Vec<u8> {
    message(b'D', &[&id.to_le_bytes()[..], &payload(time_us, number)].concat())
}

/// A payload that a damaged one can be told from.
fn payload(time_us: u64, number: u32) -> Vec<u8> {
    let mut payload = [&time_us.to_le_bytes()[..], &number.to_le_bytes()].concat();
    payload.extend((0..40u32).map(|at| (number.wrapping_mul(31).wrapping_add(at * at) % 251) as u8));
    payload.extend([0, 0, 0, 0x5a]);
    payload
}

const IMU: &str = "imu:uint64_t timestamp;uint32_t number;uint8_t[44] noise;uint8_t[4] _padding0;";

fn head(start: u64) -> Vec<u8> {
    [b"ULog\x01\x12\x35\x01", &start.to_le_bytes()[..]].concat()
}

/// A log of 300 samples on two instances, with text and synchronisation in between; where each sample stands.
fn log() -> (Vec<u8>, Vec<std::ops::Range<u64>>) {
    let mut bytes = head(7);
    bytes.extend(message(b'I', &entry("char[3] sys_name", b"PX4")));
    bytes.extend(format(IMU));
    bytes.extend(message(b'P', &entry("float GAIN", &0.5f32.to_le_bytes())));
    bytes.extend(subscribe("imu", 0, 3));
    bytes.extend(subscribe("imu", 1, 9));
    let mut places = Vec::new();
    for number in 0..300u32 {
        let sample = sample(if number % 2 == 0 { 3 } else { 9 }, u64::from(number) * 1000, number);
        places.push(bytes.len() as u64..(bytes.len() + sample.len()) as u64);
        bytes.extend(sample);
        match number % 20 {
            5 => bytes.extend(sync()),
            11 => bytes.extend(text(u64::from(number) * 1000, "hello")),
            _ => {}
        }
    }
    (bytes, places)
}

fn numbers(read: &Read) -> Vec<u32> {
    let samples = read.messages.iter().filter(|(topic, ..)| topic.starts_with("/imu"));
    samples.map(|(_, _, data)| u32::from_le_bytes(data[8..12].try_into().unwrap())).collect()
}

#[test]
fn everything_of_a_log_becomes_messages_or_metadata() {
    let mut bytes = log().0;
    bytes.extend(message(b'P', &entry("float GAIN", &0.25f32.to_le_bytes())));
    bytes.extend(message(b'P', &entry("int32_t MODE", &3i32.to_le_bytes())));
    bytes.extend(message(b'Q', &[&[3][..], &entry("int32_t MODE", &1i32.to_le_bytes())].concat()));
    bytes.extend(message(b'M', &[&[0][..], &entry("char[2] boot", b"ab")].concat()));
    bytes.extend(message(b'M', &[&[1][..], &entry("char[1] boot", b"c")].concat()));
    bytes.extend(message(b'M', &[&[0][..], &entry("char[1] boot", b"d")].concat()));
    bytes.extend(message(b'C', &[&b"4"[..], &7u16.to_le_bytes(), &300_000u64.to_le_bytes(), b"odd \"text\""].concat()));
    bytes.extend(message(b'O', &25u16.to_le_bytes()));
    bytes.extend(message(b'Z', b"from the future"));
    bytes.extend(subscribe("late", 0, 4));
    let source = Bytes::from(bytes);
    let container = ulog::open(&source).unwrap();
    let index = container.index();
    let read = read_all(&source, &*container);
    assert_eq!(numbers(&read), (0..300).collect::<Vec<_>>());
    assert_eq!(read.by_topic(), [("/imu/0", 150), ("/imu/1", 150), ("/log", 16), ("/parameters", 2)].into());
    assert_eq!(read.of("/parameters")[0], (299_000_000, r#"{"name":"GAIN","value":0.25}"#.to_owned()));
    assert_eq!(read.of("/parameters")[1].1, r#"{"name":"MODE","value":3}"#);
    assert_eq!(read.of("/log")[15], (300_000_000, r#"{"level":"WARNING","message":"odd \"text\"","tag":7}"#.to_owned()));
    let metadata: BTreeMap<_, _> = index.metadata.iter().cloned().collect();
    let map =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>();
    assert_eq!(metadata["info"], map(&[("sys_name", "PX4"), ("boot", r#"[["ab","c"],["d"]]"#)]));
    assert_eq!(metadata["parameters"], map(&[("GAIN", "0.5")]));
    assert_eq!(
        (&metadata["parameters_default"], &metadata["parameters_default_airframe"]),
        (&map(&[("MODE", "1")]), &map(&[("MODE", "1")]))
    );
    assert_eq!(read.losses.len(), 1);
    assert_eq!((read.losses[0].start_ns, read.losses[0].end_ns), (Some(299_000_000), Some(324_000_000)));
    assert_eq!(read.notes.len(), 2);
    assert_eq!(read.notes[1], "1 messages of type 'Z' were not understood");
    let imu = index.topics.values().find(|topic| topic.name == "/imu/1").unwrap();
    let schema = imu.schema.as_ref().unwrap();
    assert_eq!((schema.name.as_str(), schema.encoding.as_str()), ("imu", "ulog"));
    assert_eq!(schema.data, format!("{IMU}\n"));
    assert!(index.topics.values().any(|topic| topic.name == "/late" && topic.schema.is_none()));
    // Payloads of data stand in the file itself.
    let loaded = container.load(&source, 0, &mut |_, time_ns| time_ns == 5_000_000).unwrap().unwrap();
    let place = loaded.places[0];
    let at = index.blocks[0].offset as usize + place.start as usize;
    assert_eq!((loaded.places.len(), loaded.chunk), (1, None));
    assert_eq!(source[at..at + place.length as usize], payload(5000, 5)[..]);
}

#[test]
fn nested_types_and_trailing_padding_have_their_sizes() {
    let mut bytes = head(0);
    bytes.extend(format("inner:uint16_t x;uint8_t[2] _padding0;"));
    bytes.extend(format("outer:inner[2] parts;uint64_t timestamp;uint8_t flag;uint8_t[7] _padding0;"));
    bytes.extend(subscribe("outer", 0, 0));
    for length in [17, 24] {
        let mut payload = vec![1; length];
        payload[8..16].copy_from_slice(&(length as u64).to_le_bytes());
        bytes.extend(message(b'D', &[&[0, 0][..], &payload].concat()));
    }
    let read = read_bytes(&bytes);
    assert_eq!(read.messages.iter().map(|(_, time_ns, data)| (*time_ns, data.len())).collect::<Vec<_>>(), [(17_000, 17), (24_000, 24)]);
    // One byte less is damage.
    bytes.extend(message(b'D', &[0; 18]));
    assert_eq!(read_bytes(&bytes).losses.len(), 1);
}

#[test]
fn a_gps_fix_tells_utc() {
    let gps = "sensor_gps:uint64_t timestamp;uint64_t time_utc_usec;uint8_t fix_type;";
    let fix =
        |time_us: u64, utc_us: u64, fix: u8| message(b'D', &[&[0, 0][..], &time_us.to_le_bytes(), &utc_us.to_le_bytes(), &[fix]].concat());
    let utc = 1_700_000_000_000_000u64;
    let log = |fixes: &[Vec<u8>]| read_bytes(&[head(0), format(gps), subscribe("sensor_gps", 0, 0), fixes.concat()].concat());
    let read = log(&[fix(1_000_000, 0, 0), fix(2_000_000, utc + 9_000_000, 1), fix(3_000_000, utc, 3), fix(4_000_000, utc + 5, 3)]);
    assert_eq!(read.messages[2].1, 1_700_000_000_000_000_000);
    assert_eq!(read.messages[0].1, 1_699_999_998_000_000_000);
    assert_eq!(read.notes, ["its times count from the boot at 2023-11-14T22:13:17Z, by the GPS time in 'sensor_gps'"]);
    let unsure = log(&[fix(2_000_000, utc, 1)]);
    assert_eq!(unsure.notes, ["its times count from the boot at 2023-11-14T22:13:18Z, by the GPS time in 'sensor_gps', which had no fix"]);
    assert_eq!(log(&[fix(2_000_000, 5, 3)]).messages[0].1, 2_000_000_000);
}

#[test]
fn definitions_of_a_log_are_not_kept_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = crate::build::save(folder.path(), "x.ulg", &log().0);
    let error = recording::schema::library::store(&folder.path().join("kept"), &path).unwrap_err().to_string();
    let expected = "there are no definitions of ROS types, only in jsonschema and ulog, which each recording has to carry itself, in ";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn stamps_count_from_the_same_boot_as_times() {
    let gps = "sensor_gps:uint64_t timestamp;uint64_t time_utc_usec;uint8_t fix_type;";
    let fix = |time_us: u64, utc_us: u64| message(b'D', &[&[0, 0][..], &time_us.to_le_bytes(), &utc_us.to_le_bytes(), &[3]].concat());
    let with_fix = |utc_us| [head(0), format(gps), subscribe("sensor_gps", 0, 0), fix(3_000_000, utc_us), fix(0, 0)].concat();
    let stamps = |bytes: Vec<u8>| {
        let source = Bytes::from(bytes);
        let container = ulog::open(&source).unwrap();
        let topic = container.index().topics.values().next().unwrap().clone();
        let reader = Decoder::new(&topic, &Library::empty()).unwrap().stamp().unwrap();
        let read = read_all(&source, &*container);
        read.messages.iter().map(|(_, time_ns, data)| (*time_ns, reader.read(data).unwrap().unwrap())).collect::<Vec<_>>()
    };
    let utc_ns = 1_700_000_000_000_000_000;
    // A stamp of 0 is one that nobody has set.
    assert_eq!(stamps(with_fix(1_700_000_000_000_000)), [(utc_ns, utc_ns), (utc_ns - 3_000_000_000, 0)]);
    assert_eq!(stamps(with_fix(0)), [(3_000_000_000, 3_000_000_000), (0, 0)]);
}

#[test]
fn a_cut_definition_is_named_and_what_is_in_front_of_it_is_read() {
    let front = [head(0), message(b'I', &entry("char[3] sys_name", b"PX4")), format(IMU)].concat();
    let info = message(b'I', &entry("char[20] ver_hw", &[b'x'; 20]));
    let parameter = message(b'P', &entry("float GAIN", &0.5f32.to_le_bytes()));
    let cases = [(format("gyro:uint64_t timestamp;float x;"), "the definition of 'gyro'"), (info, "the information 'ver_hw'")];
    for (cut, expected) in cases.into_iter().chain([(parameter, "the parameter 'GAIN'")]) {
        let source = Bytes::from([&front[..], &cut[..cut.len() - 2]].concat());
        let container = ulog::open(&source).unwrap();
        let index = container.index();
        assert_eq!(index.metadata[0].1["sys_name"], "PX4");
        assert_eq!(index.losses.len(), 1);
        assert!(index.losses[0].reason.ends_with(&format!("at byte {}, in {expected}", front.len())), "{:?}", index.losses);
    }
    // Not even its name is there.
    let nameless = Bytes::from([&front[..], &format("gyro:x")[..5]].concat());
    assert!(ulog::open(&nameless).unwrap().index().losses[0].reason.ends_with(&format!("at byte {}", front.len())));
}

#[test]
fn appended_data_begins_where_the_flags_say() {
    let (bytes, _) = log();
    let flags = |offset: u64| {
        let mut body = vec![0; 40];
        body[8] = 1;
        body[16..24].copy_from_slice(&offset.to_le_bytes());
        message(b'B', &body)
    };
    // The logger died in the middle of a message.
    let cut = bytes.len() - 20;
    let offset = (cut + flags(0).len()) as u64;
    let crash = message(b'M', &[&[0][..], &entry("char[5] hardfault_plain", b"stack")].concat());
    let all = [&bytes[..16], &flags(offset), &bytes[16..cut], &crash].concat();
    let source = Bytes::from(all);
    let container = ulog::open(&source).unwrap();
    let read = read_all(&source, &*container);
    assert_eq!(numbers(&read), (0..299).collect::<Vec<_>>());
    assert_eq!(container.index().metadata[0].1["hardfault_plain"], r#"[["stack"]]"#);
    assert!(read.losses[0].reason.starts_with("cut in front of what was appended:"), "{:?}", read.losses);
}

#[test]
fn definitions_that_refer_to_a_long_one_cost_little() {
    let mut bytes = head(7);
    bytes.extend(format(&format!("long:{}", "float a;".repeat(8000))));
    for number in 0..4000_u16 {
        bytes.extend(format(&format!("f{number}:long x;")));
        bytes.extend(subscribe(&format!("f{number}"), 0, number));
    }
    let source = Bytes::from(bytes);
    let container = ulog::open(&source).unwrap();
    let topics = container.index().topics.values();
    let length: usize = topics.filter_map(|topic| topic.schema.as_ref()).map(|schema| schema.data.len()).sum();
    assert!(length < 17 << 20, "{length}");
    let notes = &container.index().notes;
    assert!(notes.iter().any(|note| note == "its definitions are too long: some topics have no type"), "{notes:?}");
}

#[test]
fn what_looks_like_messages_at_every_byte_takes_little_time() {
    // Each second byte begins a subscription of 21,060 bytes, none of which is defined.
    let source =
        Bytes::from([head(7), format(IMU), subscribe("imu", 0, 3), b"AR".repeat(500_000), sample(3, 5, 1), sample(3, 6, 2)].concat());
    let container = ulog::open(&source).unwrap();
    assert_eq!(numbers(&read_all(&source, &*container)), [1, 2]);
}

#[test]
fn what_is_no_log_is_refused() {
    let refused = |bytes: &[u8]| ulog::open(&Bytes::copy_from_slice(bytes)).unwrap_err().to_string();
    assert_eq!(refused(b""), "an empty file: nothing was recorded in it, or copying it failed");
    assert_eq!(refused(&[b'x'; 3000]), "not a PX4 log: it begins with \"xxxxxxxxxxxxxxxx\"");
    assert_eq!(read_bytes(&head(0)), Read::default());
}

#[test]
fn subscriptions_that_are_missing_or_used_again_are_defined() {
    let samples = |id: u16, range: std::ops::Range<u32>| range.flat_map(|number| sample(id, number.into(), number)).collect::<Vec<u8>>();
    let orphan = read_bytes(&[head(0), format(IMU), subscribe("imu", 0, 1), samples(1, 0..3), samples(2, 3..8), samples(1, 8..9)].concat());
    assert_eq!(numbers(&orphan), [0, 1, 2, 8]);
    assert_eq!((orphan.losses[0].messages, orphan.losses.len()), (Some(5), 1));

    let other = IMU.replace("imu", "gyro");
    let defined = [head(0), format(IMU), format(&other)].concat();
    let again = read_bytes(&[defined, subscribe("imu", 0, 1), samples(1, 0..2), subscribe("gyro", 0, 1), samples(1, 2..3)].concat());
    assert_eq!(again.by_topic(), [("/gyro", 1), ("/imu", 2)].into());

    // A format that is not defined: the payload is there, nobody can take it apart.
    let unknown = read_bytes(&[head(0), subscribe("imu", 0, 1), samples(1, 0..3)].concat());
    assert_eq!(numbers(&unknown), [0, 1, 2]);
    assert_eq!(unknown.notes[1], "nothing in the file says what messages of imu are made of");
}

#[test]
fn a_log_is_read_the_same_when_it_is_fed() {
    let (mut bytes, _) = log();
    bytes[9000..9500].fill(0xee);
    let fed = Fed::new(bytes.len() as u64);
    let mut opening = ulog::Opening::new();
    let container = loop {
        match opening.step(&fed) {
            Ok(Some(container)) => break container,
            Ok(None) => {}
            Err(_) => {
                let wanted = fed.take_wanted().unwrap();
                let end = wanted.end.min(wanted.start + 700);
                fed.feed(wanted.start, Bytes::copy_from_slice(&bytes[wanted.start as usize..end as usize]));
            }
        }
    };
    assert_eq!(read_all(&Bytes::copy_from_slice(&bytes), &*container), read_bytes(&bytes));
}

#[test]
fn large_logs_have_many_blocks() {
    let mut bytes = [head(0), format(IMU), subscribe("imu", 0, 1)].concat();
    for number in 0..60_000u32 {
        bytes.extend(sample(1, number.into(), number));
    }
    let source = Bytes::from(bytes);
    let container = ulog::open(&source).unwrap();
    let blocks = &container.index().blocks;
    assert!((3..6).contains(&blocks.len()) && blocks.iter().all(|block| block.length <= (1 << 20) + 100));
    assert!(blocks.windows(2).all(|pair| pair[0].offset + pair[0].length == pair[1].offset && pair[0].end_ns < pair[1].start_ns));
    assert_eq!(numbers(&read_all(&source, &*container)), (0..60_000).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn everything_outside_of_damage_is_read(place in 0.0..1.0f64, harm in crate::harm::harm()) {
        let (bytes, places) = log();
        let at = (bytes.len() as f64 * place) as usize;
        let (damaged, touched) = harm.apply(&bytes, at);
        let source = Bytes::copy_from_slice(&damaged);
        let Ok(container) = ulog::open(&source) else {
            prop_assert!(at < 20, "{harm:?} at {at}");
            return Ok(());
        };
        let read = read_all(&source, &*container);
        let definitions = touched.start < places[0].start;
        let exact: std::collections::BTreeSet<u32> = read.messages.iter().filter_map(|(_, _, data)| {
            let number = u32::from_le_bytes(data.get(8..12)?.try_into().ok()?);
            (data[..] == payload(u64::from(number) * 1000, number)).then_some(number)
        }).collect();
        let mut hurt = 0;
        for (number, range) in places.iter().enumerate() {
            let apart = range.end <= touched.start || touched.end <= range.start;
            if apart {
                prop_assert!(exact.contains(&(number as u32)) || definitions, "{number} is missing: {harm:?} at {at}, {:?}", read.losses);
            } else {
                hurt += 1;
            }
        }
        let shown = read.messages.iter().filter(|(_, _, data)| data.len() == 56).count();
        prop_assert!(shown <= exact.len() + hurt || definitions, "{shown} shown, {} right: {harm:?} at {at}", exact.len());
        prop_assert!(exact.len() == 300 || !read.losses.is_empty() || hurt > 0, "nobody says so: {harm:?} at {at}");
    }
}
