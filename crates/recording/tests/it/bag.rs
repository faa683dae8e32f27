//! ROS 1 bags: real ones, odd ones, damaged ones.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use recording::container::Container;
use recording::import::bag;
use recording::source::{Fed, ReadAt};
use sha2::{Digest, Sha256};

use crate::bag_build::{Builder, HEAD, Message, bag_header, chunk, connection, message, record};
use crate::data;

/// What a reader gets: topic, log time and payload of each message, in the order of the file, and what it is told of losses.
#[derive(Debug, PartialEq, Default)]
struct Read {
    messages: Vec<(String, i64, Bytes)>,
    losses: Vec<recording::Loss>,
    notes: Vec<String>,
}

impl Read {
    fn by_topic(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        self.messages.iter().for_each(|(topic, ..)| *counts.entry(topic.as_str()).or_default() += 1);
        counts
    }

    fn lost(&self) -> u64 {
        self.losses.iter().filter_map(|loss| loss.messages).sum()
    }
}

fn read_all(source: &dyn ReadAt, container: &dyn Container) -> Read {
    let index = container.index();
    let mut read = Read { losses: index.losses.clone(), notes: index.notes.clone(), ..Read::default() };
    for number in 0..index.blocks.len() {
        let loaded = container.load(source, number, &mut |_, _| true).unwrap().unwrap();
        for place in &loaded.places {
            let topic = &index.topics[&place.channel];
            read.messages.push((topic.name.clone(), place.log_time_ns, loaded.bytes.slice(place.payload())));
        }
        read.losses.extend(loaded.losses);
    }
    read
}

/// Checks that blocks hold what they are listed with. A bag has no checksums: damage may change a time, and nobody can tell.
fn check_blocks(source: &dyn ReadAt, container: &dyn Container) {
    for (number, block) in container.index().blocks.iter().enumerate() {
        let loaded = container.load(source, number, &mut |_, _| true).unwrap().unwrap();
        for place in &loaded.places {
            assert!((block.start_ns..=block.end_ns).contains(&place.log_time_ns));
            assert!(block.channels.as_ref().is_none_or(|channels| channels.contains(&place.channel)));
        }
    }
}

fn read_bytes(bytes: &[u8]) -> Read {
    let source = Bytes::copy_from_slice(bytes);
    let container = bag::open(&source).unwrap();
    read_all(&source, &*container)
}

fn read_file(relative: &str) -> Option<(Arc<dyn Container>, Read)> {
    let file = File::open(data::path(relative)?).unwrap();
    let container = bag::open(&file).unwrap();
    let read = read_all(&file, &*container);
    if read.losses.is_empty() {
        check_blocks(&file, &*container);
    }
    Some((container, read))
}

const TURTLESIM: [(&str, usize); 9] = [
    ("/rosout", 10),
    ("/tf", 2688),
    ("/tf_static", 1),
    ("/turtle1/cmd_vel", 357),
    ("/turtle1/color_sensor", 1351),
    ("/turtle1/pose", 1344),
    ("/turtle2/cmd_vel", 208),
    ("/turtle2/color_sensor", 1344),
    ("/turtle2/pose", 1344),
];

const HUSKY: [(&str, usize); 3] = [("/fix", 989), ("/husky_velocity_controller/odom", 3952), ("/imu/data", 11865)];

#[test]
fn a_real_bag_is_read_by_its_index() {
    let Some((container, read)) = read_file("ros1/husky-gps/test1.bag") else { return };
    assert_eq!(read.by_topic(), HUSKY.into());
    assert_eq!((read.losses.len(), read.notes.len()), (0, 0));
    let index = container.index();
    assert_eq!((index.format, index.blocks.len()), ("bag", 10));
    let imu = index.topics.values().find(|topic| topic.name == "/imu/data").unwrap();
    assert_eq!((imu.encoding.as_str(), imu.type_name()), ("ros1", "sensor_msgs/Imu"));
    assert_eq!(imu.metadata["md5sum"], "6a62c6daae103f4ff57a132d6f95cec2");
    assert_eq!(imu.schema.as_ref().unwrap().encoding, "ros1msg");
    assert_eq!(imu.schema.as_ref().unwrap().data.len(), 2297);
}

#[test]
fn three_compressions_of_one_recording_are_equal() {
    let expected: BTreeMap<&str, usize> = TURTLESIM.into();
    let mut all = Vec::new();
    for name in ["example", "example-lz4", "example-bz2"] {
        let Some((_, read)) = read_file(&format!("ros1/turtlesim/{name}.bag")) else { return };
        assert_eq!((read.by_topic(), read.losses.len(), read.notes.len()), (expected.clone(), 0, 0), "{name}");
        // They were converted one into the other, not in the same order.
        let mut messages = read.messages;
        messages.sort();
        all.push(messages);
    }
    assert!(all[0] == all[1] && all[0] == all[2]);
}

#[test]
fn a_latched_topic_of_a_real_bag_is_latched() {
    let Some((container, _)) = read_file("ros1/turtlesim/example.bag") else { return };
    let index = container.index();
    assert_eq!(index.topics.values().filter(|topic| topic.name == "/rosout").count(), 3);
    let tf = index.topics.values().find(|topic| topic.name == "/tf_static").unwrap();
    assert_eq!(tf.metadata["tapeloop.latched"], "true");
    assert!(tf.metadata["callerid"].starts_with("/static_transform_publisher"));
    let color = index.topics.values().find(|topic| topic.name == "/turtle1/color_sensor").unwrap();
    assert!(!color.metadata.contains_key("tapeloop.latched") && color.metadata["latching"] == "0");
}

#[test]
fn a_truncated_real_bag_gives_every_whole_chunk() {
    let Some((_, read)) = read_file("damaged/husky_gps__trunc50.bag") else { return };
    println!("{:?} {:#?} {:?}", read.by_topic(), read.losses, read.notes);
    // The fifth chunk is one bz2 block without its end.
    assert_eq!(read.messages.len(), 7025);
    assert!(read.losses.len() == 1 && read.notes.len() == 1);
    // The cut is told once, and how many payload bytes it took nobody knows.
    let loss = &read.losses[0];
    assert!(loss.bytes.is_none() && loss.reason.starts_with("cut: the file ends at byte 735417, within the chunk at byte 613625,"));
}

#[test]
fn a_hole_in_a_real_bag_costs_the_chunk_it_is_in() {
    let Some((_, read)) = read_file("damaged/husky_gps__hole4k.bag") else { return };
    println!("{:?} {:#?} {:?}", read.by_topic(), read.losses, read.notes);
    assert_eq!(read.messages.len() as u64 + read.lost(), 16806);
    assert!(read.messages.len() > 15000);
    assert!(read.losses.iter().all(|loss| loss.reason.ends_with("its bz2 data is damaged")), "{:?}", read.losses);
}

#[test]
fn small_real_bags_are_read() {
    let Some((_, images)) = read_file("ros1/fiducials/aruco_images.bag") else { return };
    assert_eq!(images.by_topic(), [("/raspicam_node/camera_info", 15), ("/raspicam_node/image/compressed", 1)].into());
    let Some((container, read)) = read_file("ros1/fiducials/aruco_transforms.bag") else { return };
    assert_eq!(read.by_topic(), [("/fiducial_transforms", 1)].into());
    assert_eq!(container.index().topics[&0].type_name(), "fiducial_msgs/FiducialTransformArray");
    let Some((_, empty)) = read_file("ros1/turtlesim/no-messages.bag") else { return };
    assert_eq!(empty, Read::default());
}

/// Returns one hash of all messages: topics, times and payloads.
fn hash(read: &Read) -> String {
    let mut lines: Vec<(&[u8], i64, Vec<u8>)> =
        read.messages.iter().map(|(topic, time_ns, data)| (topic.as_bytes(), *time_ns, Sha256::digest(data).to_vec())).collect();
    lines.sort();
    let mut hasher = Sha256::new();
    for (topic, time_ns, digest) in lines {
        hasher.update([topic, &[0][..], &time_ns.to_le_bytes(), &digest].concat());
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_byte_of_real_bags_is_what_another_reader_reads() {
    // Computed with what `rosbags` 0.11.9 reads.
    let expected = [
        ("husky-gps/test1", "4ede0637ba25b53f6b3b0c1a76aca67078735a9a6007068de78e302e381a32f2"),
        ("turtlesim/example", "e849b85f6a55fc492c934004909e832d66bd968d189fa65a370a223a0c248b80"),
        ("turtlesim/example-lz4", "e849b85f6a55fc492c934004909e832d66bd968d189fa65a370a223a0c248b80"),
        ("turtlesim/example-bz2", "e849b85f6a55fc492c934004909e832d66bd968d189fa65a370a223a0c248b80"),
        ("fiducials/aruco_images", "55eb3cab730d28ce4758008be7969e170627675f2580d4abff19d4202a3a546a"),
        ("fiducials/aruco_transforms", "21f22ed720932b74581de46c29d75f75041f4dedc86680b272d17c3b81a66e88"),
    ];
    for (name, expected) in expected {
        let Some((_, read)) = read_file(&format!("ros1/{name}.bag")) else { return };
        assert_eq!(hash(&read), expected, "{name}");
    }
}

fn refused(bytes: &[u8]) -> String {
    bag::open(&Bytes::copy_from_slice(bytes)).unwrap_err().to_string()
}

#[test]
fn what_is_no_bag_is_refused() {
    assert_eq!(refused(b""), "an empty file: nothing was recorded in it, or copying it failed");
    assert_eq!(refused(b"#ROSBAG V1.2\nxyz"), "a ROS 1 bag of version 1.2: only 2.0 can be read (convert it with 'rosbag fix')");
    assert!(refused(&vec![b'x'; 100_000]).starts_with("not a ROS 1 bag: it begins with \"xxxxxxxxxxxxxxxx\""));
    let header = record(&[("op", &[3]), ("index_pos", &[0; 8]), ("encryptor", b"rosbag/AesCbcEncryptor")], b"");
    assert!(refused(&[b"#ROSBAG V2.0\n".to_vec(), header].concat()).contains("encrypted with 'rosbag/AesCbcEncryptor'"));
}

/// Payloads that tell a damaged message from a whole one: they end in something else than zero.
fn payload(number: u32, length: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut payload = number.to_le_bytes().to_vec();
    payload.extend((0..length).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Compressible, as sensor data is.
        [0, 1, 2, 255, (state >> 24) as u8][(state >> 16) as usize % 5]
    }));
    payload.push(0x5a);
    payload
}

/// A bag of 6 chunks with 20 messages on two topics each.
fn sample(compression: &'static str) -> Builder {
    let mut builder = Builder::new(compression, &["/a", "/b"]);
    let connections = builder.connections();
    for part in 0..6u32 {
        let messages: Vec<Message> = (0..20)
            .map(|number| part * 20 + number)
            .map(|number| (number % 2, i64::from(number) * 1_000_000, payload(number, 100 + number as usize * 7 % 400)))
            .collect();
        builder.chunk(if part == 0 { &connections } else { &[] }, &messages);
    }
    builder
}

fn numbers(read: &Read) -> Vec<u32> {
    let number = |(_, time_ns, data): &(String, i64, Bytes)| {
        let number = u32::from_le_bytes(data[..4].try_into().unwrap());
        assert_eq!(data[..], payload(number, data.len() - 5), "a damaged payload was shown");
        assert_eq!(*time_ns, i64::from(number) * 1_000_000);
        number
    };
    read.messages.iter().map(number).collect()
}

#[test]
fn a_bag_without_an_index_is_read_front_to_back() {
    for compression in ["none", "bz2", "lz4"] {
        let read = read_bytes(&sample(compression).unfinished().bytes);
        assert_eq!(numbers(&read), (0..120).collect::<Vec<_>>(), "{compression}");
        assert_eq!(read.losses, []);
        assert_eq!(read.notes, ["it was never closed and has no index: all of the file was read"]);
        let closed = read_bytes(&sample(compression).finish().bytes);
        assert_eq!((closed.messages, closed.losses, closed.notes.len()), (read.messages, vec![], 0));
    }
}

#[test]
fn opening_by_the_index_touches_no_chunk() {
    let built = sample("bz2").finish();
    let fed = Fed::new(built.bytes.len() as u64);
    let mut opening = bag::Opening::new();
    let mut asked = Vec::new();
    let container = loop {
        match opening.step(&fed) {
            Ok(Some(container)) => break container,
            Ok(None) => {}
            Err(_) => {
                let wanted = fed.take_wanted().unwrap();
                fed.feed(wanted.start, Bytes::copy_from_slice(&built.bytes[wanted.start as usize..wanted.end as usize]));
                asked.push(wanted);
            }
        }
    };
    assert_eq!(asked, [0..8192, built.index_at..built.bytes.len() as u64]);
    let blocks = &container.index().blocks;
    assert_eq!((blocks.len(), blocks[1].start_ns, blocks[1].end_ns), (6, 20_000_000, 39_000_000));
    assert_eq!((blocks[1].offset, blocks[1].channels.as_deref()), (built.chunks[1].bytes.start, Some(&[0, 1][..])));
    let source = Bytes::from(built.bytes);
    let loaded = container.load(&source, 1, &mut |channel, time_ns| channel == 1 && time_ns > 30_000_000).unwrap().unwrap();
    assert_eq!(loaded.places.iter().map(|place| place.log_time_ns / 1_000_000).collect::<Vec<_>>(), [31, 33, 35, 37, 39]);
    let chunk = loaded.chunk.unwrap();
    assert_eq!((chunk.compression.as_str(), chunk.offset + chunk.length), ("bz2", built.chunks[1].bytes.end));
}

#[test]
fn a_damaged_bag_is_read_the_same_when_it_is_fed() {
    let mut bytes = sample("lz4").unfinished().bytes;
    bytes[6000..6400].fill(0);
    let fed = Fed::new(bytes.len() as u64);
    let mut opening = bag::Opening::new();
    let container = loop {
        match opening.step(&fed) {
            Ok(Some(container)) => break container,
            Ok(None) => {}
            Err(_) => {
                // As little as possible at a time.
                let wanted = fed.take_wanted().unwrap();
                let end = wanted.end.min(wanted.start + 1000);
                fed.feed(wanted.start, Bytes::copy_from_slice(&bytes[wanted.start as usize..end as usize]));
            }
        }
    };
    assert_eq!(read_all(&Bytes::copy_from_slice(&bytes), &*container), read_bytes(&bytes));
}

#[test]
fn an_index_that_points_elsewhere_is_not_used() {
    let built = sample("none").finish();
    let check = |change: &dyn Fn(&mut Vec<u8>), note: &str| {
        let mut bytes = built.bytes.clone();
        change(&mut bytes);
        let read = read_bytes(&bytes);
        assert_eq!(numbers(&read), (0..120).collect::<Vec<_>>(), "{note}");
        assert_eq!(read.losses, [], "{note}");
        assert_eq!(read.notes.first().map(String::as_str), Some(format!("{note}: all of the file was read instead").as_str()));
    };
    let head = |index_at: u64, conns: u32, chunks: u32| {
        move |bytes: &mut Vec<u8>| bytes[13..HEAD].copy_from_slice(&bag_header(index_at, conns, chunks))
    };
    let second = built.chunks[1].bytes.start;
    check(&head(second, 2, 6), &format!("its index has something else at byte {second}"));
    check(&head(second + 1, 2, 6), &format!("its index is damaged at byte {}", second + 1));
    check(&head(5, 2, 6), "its header says that the index stands at byte 5");
    check(&head(built.index_at, 2, 7), "its header counts 7 chunks and its index 6");
    check(&head(built.index_at, 1, 6), "its header counts 1 connections and its index 2");
    // Where the chunk info of the first chunk says that it stands.
    let place = |bytes: &[u8], number: usize| {
        let name = b"chunk_pos=";
        let hits: Vec<usize> = (0..bytes.len() - 10).filter(|at| bytes[*at..].starts_with(name)).collect();
        hits[number] + name.len()
    };
    let at = place(&built.bytes, 0);
    check(&|bytes| bytes[at..at + 8].copy_from_slice(&9999u64.to_le_bytes()), "its index points elsewhere");
    let (third, fourth) = (place(&built.bytes, 2), built.chunks[3].bytes.start);
    check(
        &|bytes| bytes[third..third + 8].copy_from_slice(&fourth.to_le_bytes()),
        &format!("its index names the chunk at byte {fourth} twice"),
    );
}

#[test]
fn a_chunk_is_found_where_the_index_misses_it_a_little() {
    let built = sample("bz2").finish();
    let at = built.bytes.windows(10).enumerate().filter(|(_, bytes)| bytes == b"chunk_pos=").nth(2).unwrap().0 + 10;
    for shift in [-300i64, -1, 1, 40, 200, 3000] {
        let mut bytes = built.bytes.clone();
        let position = built.chunks[2].bytes.start.checked_add_signed(shift).unwrap();
        bytes[at..at + 8].copy_from_slice(&position.to_le_bytes());
        let read = read_bytes(&bytes);
        let mut found = numbers(&read);
        found.sort_unstable();
        assert_eq!(found, (0..120).collect::<Vec<_>>(), "{shift}: {:?}", read.losses);
    }
}

#[test]
fn chunks_in_another_order_than_the_index_has_are_all_read() {
    for compression in ["none", "lz4"] {
        let built = sample(compression).finish();
        let (first, second) = (&built.chunks[1], &built.chunks[3]);
        let part = |from: u64, to: u64| built.bytes[from as usize..to as usize].to_vec();
        let bytes = [
            part(0, first.bytes.start),
            part(second.bytes.start, second.indexes.end),
            part(first.indexes.end, second.bytes.start),
            part(first.bytes.start, first.indexes.end),
            part(second.indexes.end, built.bytes.len() as u64),
        ]
        .concat();
        assert_eq!(bytes.len(), built.bytes.len());
        let mut found = numbers(&read_bytes(&bytes));
        found.sort_unstable();
        assert_eq!(found, (0..120).collect::<Vec<_>>(), "{compression}");
    }
}

#[test]
fn odd_records_are_defined() {
    let connections = |builder: &Builder| builder.connections().concat();
    let text = |number: u32| message(0, i64::from(number) * 1_000_000, &payload(number, 100));
    let read = |records: Vec<Vec<u8>>| {
        let mut builder = Builder::new("none", &["/a"]);
        builder.raw(&records.concat());
        read_bytes(&builder.unfinished().bytes)
    };
    let defined = connections(&Builder::new("none", &["/a"]));

    // A message in front of its connection, and outside of any chunk.
    let early = read(vec![text(0), chunk("none", &[text(1), defined.clone(), text(2)].concat())]);
    assert_eq!((numbers(&early), early.losses), (vec![0, 1, 2], vec![]));

    // A connection that nothing defines.
    let orphan = read(vec![chunk("lz4", &[text(0), text(1)].concat())]);
    assert_eq!((numbers(&orphan), orphan.losses.len()), (vec![0, 1], 0));
    assert_eq!(orphan.by_topic(), [("/connection/0", 2)].into());
    assert_eq!(orphan.notes[1], "nothing in the file says what connection 0 is: its messages are '/connection/0'");

    // An id that is used again.
    let other = connection(0, "/b", &[("callerid", "/x")]);
    let again = read(vec![chunk("bz2", &[defined.clone(), text(0), other, text(1)].concat()), chunk("none", &text(2))]);
    let topics: Vec<&str> = again.messages.iter().map(|(topic, ..)| topic.as_str()).collect();
    assert_eq!((topics, again.losses.len()), (vec!["/a", "/b", "/b"], 0));

    // A chunk inside of a chunk: what is not compressed is read as if it stood there.
    let nested = read(vec![chunk("none", &[defined.clone(), text(0), chunk("none", &text(1)), text(2)].concat())]);
    assert_eq!((numbers(&nested), nested.losses.len()), (vec![0, 1, 2], 1));

    // Zero timestamps, and empty payloads.
    let zero = read(vec![chunk("lz4", &[defined.clone(), message(0, 0, b""), message(0, 0, b"x")].concat())]);
    assert_eq!((zero.messages.len(), zero.messages[0].1, zero.losses.len()), (2, 0, 0));

    // A compression that nobody knows, and a wrong name of a known one.
    let named = |name: &str, data: &[u8]| record(&[("op", &[5]), ("compression", name.as_bytes()), ("size", &9u32.to_le_bytes())], data);
    let unknown = read(vec![named("xz", b"\xfd7zXZ"), chunk("none", &[defined.clone(), text(0)].concat())]);
    assert_eq!((numbers(&unknown), unknown.losses.len()), (vec![0], 1));
    assert!(unknown.losses[0].reason.contains("unknown compression 'xz' (known are none, bz2 and lz4)"));
    let renamed = read(vec![named("nome", &[defined.clone(), text(0)].concat())]);
    assert_eq!((numbers(&renamed), renamed.losses.len()), (vec![0], 0));

    // A bag behind a bag.
    let tail = sample("bz2").finish().bytes;
    let two = read(vec![chunk("none", &[defined, text(0)].concat()), tail]);
    assert_eq!((two.messages.len(), two.losses.len()), (121, 0));
}

#[test]
fn sizes_that_lie_take_no_memory() {
    for size in [0, 1, u32::MAX] {
        for length in [0u32, 1, 0x7fff_ffff, u32::MAX] {
            for compression in ["none", "bz2", "lz4"] {
                let mut builder = sample(compression);
                let fields: &[(&str, &[u8])] = &[("op", &[5]), ("compression", compression.as_bytes()), ("size", &size.to_le_bytes())];
                let mut lie = record(fields, b"");
                let end = lie.len();
                lie[end - 4..].copy_from_slice(&length.to_le_bytes());
                builder.raw(&lie);
                let mut bytes = builder.unfinished().bytes;
                bytes.extend(message(0, 120_000_000, &payload(120, 10)));
                let read = read_bytes(&bytes);
                assert!(numbers(&read).starts_with(&(0..120).collect::<Vec<_>>()), "{size} {length} {compression}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn everything_outside_of_damage_is_read(
        compression in prop::sample::select(vec!["none", "bz2", "lz4"]),
        closed in any::<bool>(),
        place in 0.0..1.0f64,
        harm in crate::harm::harm(),
    ) {
        let built = if closed { sample(compression).finish() } else { sample(compression).unfinished() };
        let at = (built.bytes.len() as f64 * place) as usize;
        let (bytes, touched) = harm.apply(&built.bytes, at);
        let source = Bytes::copy_from_slice(&bytes);
        let Ok(container) = bag::open(&source) else {
            prop_assert!(at <= 4200, "{harm:?} at {at}");
            return Ok(());
        };
        let read = read_all(&source, &*container);
        let apart = |range: &std::ops::Range<u64>| range.end <= touched.start || touched.end <= range.start;
        // What stands directly in front of damage may be taken for a part of it.
        let before = |range: &std::ops::Range<u64>| range.end <= touched.start && range.end + 64 > touched.start;
        let exact: std::collections::BTreeSet<u32> = read.messages.iter().filter_map(|(_, time_ns, data)| {
            let number = u32::from_le_bytes(data.get(..4)?.try_into().ok()?);
            (number < 120 && *time_ns == i64::from(number) * 1_000_000 && data[..] == payload(number, 100 + number as usize * 7 % 400)).then_some(number)
        }).collect();
        // Nobody can know how long a bag was that was never closed.
        let unknown = matches!(harm, crate::harm::Harm::Cut) && !closed;
        let mut hurt = 0;
        let connections_hurt = !apart(&(built.chunks[0].bytes.start..built.chunks[0].messages[0].1.start)) && !closed;
        for chunk in &built.chunks {
            for ((_, time_ns, _), range) in &chunk.messages {
                let range = if compression == "none" { range } else { &chunk.bytes };
                let number = (time_ns / 1_000_000) as u32;
                if !apart(range) || before(range) {
                    hurt += 1;
                } else {
                    prop_assert!(exact.contains(&number) || connections_hurt, "{number} is missing: {harm:?} at {at}, {:?}", read.losses);
                }
            }
        }
        prop_assert!(read.messages.len() <= exact.len() + hurt, "{} shown, {} right: {harm:?} at {at}", read.messages.len(), exact.len());
        prop_assert!(exact.len() == 120 || !read.losses.is_empty() || connections_hurt || unknown || (hurt > 0 && compression == "none"), "nobody says so: {harm:?} at {at}");
        prop_assert!(read.messages.len() <= 121, "messages twice: {harm:?} at {at}");
    }
}
