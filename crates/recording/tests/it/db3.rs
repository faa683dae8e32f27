//! SQLite files of rosbag2, compared with what Python's sqlite3 reads of them, and damaged.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use recording::container::{Container, Loaded};
use recording::import::db3;
use recording::source::{Fed, ReadAt};

use crate::data;
use crate::db3_expected::EXPECTED;

/// By topic: how many messages, and the CRC-32 of their stamps and bytes.
type Sums = BTreeMap<String, (u64, u32)>;

fn load_all(container: &dyn Container, source: &dyn ReadAt) -> Vec<Loaded> {
    (0..container.index().blocks.len()).map(|block| container.load(source, block, &mut |_, _| true).unwrap().unwrap()).collect()
}

fn sums(container: &dyn Container, source: &dyn ReadAt) -> Sums {
    let topics = &container.index().topics;
    let mut sums: Sums = topics.values().map(|topic| (topic.name.clone(), (0, 0))).collect();
    for (block, loaded) in container.index().blocks.iter().zip(load_all(container, source)) {
        assert_eq!(loaded.losses, []);
        for place in &loaded.places {
            assert!(block.start_ns <= place.log_time_ns && place.log_time_ns <= block.end_ns);
            assert!(block.channels.as_ref().unwrap().contains(&place.channel));
            let sum = sums.get_mut(&topics[&place.channel].name).unwrap();
            let mut crc = crc32fast::Hasher::new_with_initial(sum.1);
            crc.update(&place.log_time_ns.to_le_bytes());
            crc.update(&loaded.bytes[place.payload()]);
            *sum = (sum.0 + 1, crc.finalize());
        }
    }
    sums
}

#[test]
fn real_db3_files_hold_what_sqlite_finds() {
    let Some(folder) = data::path("ros2") else { return };
    let mut lines = EXPECTED.lines().skip(1).peekable();
    let mut files = 0;
    while let Some(name) = lines.next() {
        let source: Bytes = std::fs::read(folder.join(name)).unwrap().into();
        let container = db3::open(&source, None).unwrap();
        assert_eq!((&container.index().losses[..], &container.index().notes[..]), (&[][..], &[][..]), "{name}");
        let mut expected = Sums::new();
        while let Some(line) = lines.next_if(|line| line.starts_with(' ')) {
            let [topic, count, crc] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
            expected.insert(topic.to_owned(), (count.parse().unwrap(), u32::from_str_radix(crc, 16).unwrap()));
        }
        let mut found = sums(container.as_ref(), &source);
        if expected.contains_key("*") {
            assert!(found.values().all(|(count, _)| *count == 2), "{name}");
            let mut crc = crc32fast::Hasher::new();
            let all = load_all(container.as_ref(), &source);
            all.iter()
                .flat_map(|loaded| loaded.places.iter().map(|place| &loaded.bytes[place.payload()]))
                .for_each(|data| crc.update(data));
            found = Sums::from([("*".to_owned(), (found.values().map(|(count, _)| count).sum(), crc.finalize()))]);
        }
        assert_eq!(found, expected, "{name}");
        files += 1;
    }
    assert_eq!(files, data::files(&folder, ".db3").len());
}

#[test]
fn topics_have_their_types_their_definitions_and_their_qos() {
    let Some(folder) = data::path("ros2") else { return };
    let source: Bytes =
        std::fs::read(folder.join("rosbag2-fixtures/rosbag2_cpp/test/rosbag2_cpp/bags/topics_and_services.db3")).unwrap().into();
    let container = db3::open(&source, None).unwrap();
    let index = container.index();
    let topic = index.topics.values().find(|topic| topic.name == "/parameter_events").unwrap();
    let schema = topic.schema.as_ref().unwrap();
    assert_eq!(
        (topic.encoding.as_str(), schema.name.as_str(), schema.encoding.as_str()),
        ("cdr", "rcl_interfaces/msg/ParameterEvent", "ros2msg")
    );
    assert!(!schema.data.is_empty() && topic.metadata["offered_qos_profiles"].starts_with("- history: 3\n"));
    assert_eq!(topic.metadata["type_description_hash"], "RIHS01_043e627780fcad87a22d225bc2a037361dba713fca6a6b9f4b869a5aa0393204");
    let (name, map) = &index.metadata[0];
    assert_eq!((name.as_str(), map["schema_version"].as_str(), map["ros_distro"].as_str()), ("rosbag2", "4", "rolling"));
    assert!(map["serialized_metadata"].starts_with("version: 8\n"));
}

/// Runs a script that makes `bag.db3` in a folder and prints what is in it; `None`, with a reason, where there is no Python.
fn made(folder: &Path, script: &str) -> Option<Sums> {
    let output = match Command::new("python3").arg("-c").arg([PYTHON, script].concat()).arg(folder).output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: no python3 to compare with: {error}");
            return None;
        }
    };
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = |line: &str| {
        let [topic, count, crc] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        (topic.to_owned(), (count.parse().unwrap(), crc.parse().unwrap()))
    };
    Some(text.lines().map(line).collect())
}

const PYTHON: &str = r#"
import os, random, shutil, sqlite3, sys, zlib
random.seed(7)
folder = sys.argv[1]
path = os.path.join(folder, "bag.db3")
MESSAGES = "CREATE TABLE messages(id INTEGER PRIMARY KEY,topic_id INTEGER NOT NULL,timestamp INTEGER NOT NULL, data BLOB NOT NULL)"
INDEX = "CREATE INDEX timestamp_idx ON messages (timestamp ASC)"
TOPICS = "CREATE TABLE topics(id INTEGER PRIMARY KEY,name TEXT NOT NULL,type TEXT NOT NULL,serialization_format TEXT NOT NULL,offered_qos_profiles TEXT NOT NULL)"
NAMES = ["/imu", "/camera/front", "/tf\u00e4"]

def connect(*pragmas):
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in pragmas:
        db.execute("PRAGMA " + pragma)
    return db

def tables(db):
    db.execute(TOPICS); db.execute(MESSAGES); db.execute(INDEX)
    for i, name in enumerate(NAMES):
        db.execute("INSERT INTO topics VALUES (?,?,?,?,?)", (i + 1, name, "std_msgs/msg/String", "cdr", "- history: 1"))

def fill(db, count, size, start=0):
    db.execute("BEGIN")
    for i in range(start, start + count):
        n = size(i)
        data = random.randbytes(n) if n < 5000 else random.randbytes(1000) * (n // 1000)
        db.execute("INSERT INTO messages(topic_id,timestamp,data) VALUES (?,?,?)", (i % 3 + 1, 1_700_000_000_000_000_000 + i * 1000 - (i % 7) * 3000, data))
    db.execute("COMMIT")

def report(db):
    names = dict(db.execute("SELECT id, name FROM topics"))
    found = {name: (0, 0) for name in names.values()}
    for topic, stamp, data in db.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY id"):
        count, crc = found[names[topic]]
        found[names[topic]] = (count + 1, zlib.crc32(data, zlib.crc32(stamp.to_bytes(8, "little", signed=True), crc)))
    for name, (count, crc) in found.items():
        sys.stdout.buffer.write(f"{name}\t{count}\t{crc}\n".encode())
"#;

fn check(script: &str) {
    let folder = tempfile::tempdir().unwrap();
    let Some(expected) = made(folder.path(), script) else { return };
    let source = std::fs::File::open(folder.path().join("bag.db3")).unwrap();
    let wal = std::fs::read(folder.path().join("bag.db3-wal")).ok();
    let container = db3::open(&source, wal.map(|wal| Arc::new(Bytes::from(wal)) as Arc<dyn ReadAt>)).unwrap();
    assert_eq!(container.index().losses, []);
    assert_eq!(sums(container.as_ref(), &source), expected, "{script}");
    assert!(expected.values().any(|(count, _)| *count > 0));
    let mut offset = 0;
    for block in &container.index().blocks {
        assert!(block.offset == offset && block.length <= 5_000_000);
        offset += block.length;
    }
}

#[test]
fn databases_of_every_page_size_are_read() {
    for size in [512, 1024, 4096, 65_536] {
        check(&format!("db = connect('page_size={size}'); tables(db); fill(db, 3000, lambda i: i % 700); report(db)"));
    }
}

#[test]
fn large_messages_are_read_from_their_overflow_pages() {
    check("db = connect(); tables(db); fill(db, 60, lambda i: [0, 10, 4000, 60_000, 1_500_000][i % 5]); report(db)");
    check("db = connect('page_size=512'); tables(db); fill(db, 400, lambda i: i * 7); report(db)");
    check("db = connect('page_size=65536'); tables(db); fill(db, 30, lambda i: 5_000_000 * (i % 2)); report(db)");
}

#[test]
fn deleted_and_moved_rows_do_not_come_back() {
    let rest = "db.execute('DELETE FROM messages WHERE id % 3 = 0 OR id BETWEEN 500 AND 1500')";
    check(&format!("db = connect(); tables(db); fill(db, 4000, lambda i: i % 300); {rest}; report(db)"));
    check(&format!("db = connect(); tables(db); fill(db, 4000, lambda i: i % 300); {rest}; db.execute('VACUUM'); report(db)"));
    check("db = connect(); tables(db); fill(db, 900, lambda i: 100); db.execute('UPDATE messages SET id = 10000 - id'); report(db)");
}

#[test]
fn a_killed_recorders_log_is_read_up_to_its_last_commit() {
    let wal = "db = connect('journal_mode=wal', 'wal_autocheckpoint=0'); tables(db); fill(db, 1000, lambda i: 200)";
    let copy = "[shutil.copy(path + e, path + '2' + e) for e in ('', '-wal')]; report(db)";
    let stay = "db.close(); [os.replace(path + '2' + e, path + e) for e in ('', '-wal')]";
    check(&format!("{wal}; {copy}; {stay}"));
    check(&format!("{wal}; db.execute('PRAGMA wal_checkpoint(TRUNCATE)'); fill(db, 500, lambda i: 9000, 1000); {copy}; {stay}"));
    // What was not committed was never in the recording.
    let open = "db.execute('PRAGMA cache_size=10'); db.execute('BEGIN'); [db.execute('INSERT INTO messages(topic_id,timestamp,data) VALUES (1,1,?)', (b'x' * 5000,)) for _ in range(100)]";
    let undo = "[shutil.copy(path + e, path + '2' + e) for e in ('', '-wal')]; db.execute('ROLLBACK'); report(db)";
    check(&format!("{wal}; {open}; {undo}; {stay}"));
    // A log that was begun again over an older, longer one.
    check(&format!("{wal}; db.execute('PRAGMA wal_checkpoint(RESTART)'); fill(db, 30, lambda i: 50, 1000); {copy}; {stay}"));
}

#[test]
fn texts_in_utf_16_and_columns_added_later_are_read() {
    check("db = connect(\"encoding='UTF-16le'\"); tables(db); fill(db, 50, lambda i: 10); report(db)");
    check("db = connect(\"encoding='UTF-16be'\"); tables(db); fill(db, 50, lambda i: 10); report(db)");
    check(
        "db = connect(); tables(db); db.execute(\"ALTER TABLE topics ADD COLUMN type_description_hash TEXT NOT NULL DEFAULT ''\"); fill(db, 50, lambda i: 10); report(db)",
    );
}

#[test]
fn a_database_without_topics_has_topics_by_number() {
    let folder = tempfile::tempdir().unwrap();
    if made(folder.path(), "db = connect(); tables(db); fill(db, 30, lambda i: 10); db.execute('DROP TABLE topics'); db.close()").is_none()
    {
        return;
    }
    let source: Bytes = std::fs::read(folder.path().join("bag.db3")).unwrap().into();
    let container = db3::open(&source, None).unwrap();
    let found = sums(container.as_ref(), &source);
    assert_eq!(
        found.iter().map(|(name, sum)| (name.as_str(), sum.0)).collect::<Vec<_>>(),
        [("/topic_1", 10), ("/topic_2", 10), ("/topic_3", 10)]
    );
    assert_eq!(container.index().notes, ["3 topics are called /topic_<id> and have no type, because it has no table 'topics'"]);
}

#[test]
fn a_damaged_list_of_tables_costs_nothing_where_every_row_is_found() {
    let Some(path) = data::path("ros2/plotjuggler/datasamples/rosbag2_test/rosbag2_test_0.db3") else { return };
    let mut bytes = std::fs::read(path).unwrap();
    let whole = survivors(&bytes.clone().into()).unwrap();
    bytes[100..4096].fill(0);
    let bytes = Bytes::from(bytes);
    let (mut found, losses, _) = survivors(&bytes).unwrap();
    let mut expected = whole.0;
    expected.sort_unstable();
    found.sort_unstable();
    assert!(found == expected && losses == 0, "{} of {}, {losses} losses", found.len(), expected.len());
    let container = db3::open(&bytes, None).unwrap();
    let notes = &container.index().notes;
    assert!(notes.iter().any(|note| note.starts_with("the list of tables is damaged; nothing is lost")), "{notes:?}");
}

#[test]
fn another_database_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    if made(folder.path(), "db = connect(); db.execute('CREATE TABLE a(b)'); db.close()").is_none() {
        return;
    }
    let source: Bytes = std::fs::read(folder.path().join("bag.db3")).unwrap().into();
    let error = db3::open(&source, None).unwrap_err();
    assert_eq!(error.to_string(), "an SQLite database without a table 'messages': no recording of rosbag2");
    let error = db3::open(&Bytes::from_static(b"#ROSBAG V2.0\n"), None).unwrap_err();
    assert_eq!(error.to_string(), "no SQLite database: its header has 13 of 100 bytes");
}

/// Opens, reads everything and returns the sequence numbers of messages (their stamps) and how many losses were told.
fn survivors(bytes: &Bytes) -> Option<(Vec<i64>, usize, u64)> {
    let container = db3::open(bytes, None).ok()?;
    let index = container.index();
    let mut times = Vec::new();
    let mut losses = index.losses.clone();
    for loaded in load_all(container.as_ref(), bytes) {
        assert!(loaded.bytes.len() as u64 <= bytes.len() as u64 * 4);
        times.extend(loaded.places.iter().map(|place| place.log_time_ns));
        losses.extend(loaded.losses);
    }
    let said = losses.iter().map(|loss| loss.messages.unwrap_or(0)).sum();
    Some((times, losses.len(), said))
}

fn sample(script: &str) -> Option<Bytes> {
    let folder = tempfile::tempdir().unwrap();
    made(folder.path(), script)?;
    Some(std::fs::read(folder.path().join("bag.db3")).unwrap().into())
}

const SMALL: &str = "db = connect('page_size=512'); tables(db); fill(db, 2000, lambda i: i % 90); report(db)";

#[test]
fn a_zeroed_page_costs_the_rows_on_it() {
    let Some(whole) = sample(SMALL) else { return };
    let all = survivors(&whole).unwrap().0.len();
    let (mut leaves, mut others) = (0, 0);
    for page in 0..whole.len() / 512 {
        let mut bytes = whole.to_vec();
        bytes[page * 512..(page + 1) * 512].fill(0);
        let (times, losses, said) = survivors(&bytes.into()).unwrap_or_else(|| panic!("page {}", page + 1));
        assert!(times.len() + 30 >= all, "page {}: {} of {all}", page + 1, times.len());
        assert!(times.len() == all || losses > 0, "page {}", page + 1);
        // How many are lost follows from the numbers of the rows, except at the table's end.
        assert!(said as usize == all - times.len() || page == whole.len() / 512 - 1 || said == 0, "page {}: {said}", page + 1);
        if times.len() == all { others += 1 } else { leaves += 1 }
    }
    println!("{leaves} leaves, {others} other pages");
    assert!(leaves > 100 && others > 5);
}

#[test]
fn a_file_without_its_first_page_is_known_by_its_ending() {
    let Some(whole) = sample(SMALL) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = whole.to_vec();
    bytes[..512].fill(0);
    let recording = recording::read::open(&crate::build::save(folder.path(), "a.db3", &bytes)).unwrap();
    let info = recording.info().unwrap();
    assert_eq!((recording.format(), info.messages), ("db3", survivors(&whole).unwrap().0.len() as u64));
    assert!(recording.notes().iter().any(|note| note.contains("its pages look like 512 bytes")), "{:?}", recording.notes());
    let error = |name: &str, bytes: &[u8]| recording::read::open(&crate::build::save(folder.path(), name, bytes)).unwrap_err();
    // What begins like something else is that, and where nothing is left, that is said.
    assert!(error("b.db3", b"version https://git-lfs.github.com/spec/v1\n").message().contains("git lfs pull"));
    let nothing = error("c.db3", &[0; 100_000]);
    assert_eq!(nothing.kind(), recording::Kind::Corrupt);
    assert!(nothing.message().starts_with("its first page is damaged"), "{nothing}");
    let unknown = error("d.mcap", &bytes);
    assert!(unknown.message().contains("none of the formats that are read"), "{unknown}");
}

#[test]
fn a_truncated_file_keeps_what_is_in_front() {
    let Some(whole) = sample("db = connect(); tables(db); fill(db, 4000, lambda i: i % 200); report(db)") else { return };
    for share in [95, 70, 50, 30, 10] {
        let (times, losses, _) = survivors(&whole.slice(..whole.len() * share / 100)).unwrap();
        println!("{share} %: {} of 4000", times.len());
        assert!(times.len() >= 4000 * (share - 5) / 100 * 9 / 10 && losses > 0, "{share} %: {} messages", times.len());
    }
}

#[test]
fn a_database_is_opened_from_bytes_that_come_later() {
    let Some(whole) = sample(SMALL) else { return };
    let expected = sums(db3::open(&whole, None).unwrap().as_ref(), &whole);
    let fed = Fed::new(whole.len() as u64);
    let mut opening = db3::Opening::new(None);
    let container = loop {
        match opening.step(&fed) {
            Ok(Some(container)) => break container,
            Ok(None) => {}
            Err(error) => {
                let wanted = fed.take_wanted().unwrap_or_else(|| panic!("{error}"));
                fed.feed(wanted.start, whole.slice(wanted.start as usize..wanted.end as usize));
            }
        }
    };
    assert_eq!(sums(container.as_ref(), &whole), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn arbitrary_bytes_are_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..4000), with_magic in any::<bool>()) {
        let mut bytes = bytes;
        if with_magic && bytes.len() > 100 {
            bytes[..16].copy_from_slice(b"SQLite format 3\0");
            bytes[16..24].copy_from_slice(&[2, 0, 1, 1, 0, 64, 32, 32]);
            bytes[56..60].copy_from_slice(&[0, 0, 0, 1]);
        }
        let bytes = Bytes::from(bytes);
        survivors(&bytes);
        let _ = db3::open(&bytes, Some(Arc::new(bytes.clone())));
    }
}

#[test]
fn damage_anywhere_costs_little_and_never_more_than_time() {
    let Some(whole) = sample(SMALL) else { return };
    let Some(large) = sample("db = connect(); tables(db); fill(db, 60, lambda i: i * 700); report(db)") else { return };
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() });
    let change = (0.0..1.0_f64, prop::collection::vec(any::<u8>(), 1..600));
    let changes = (any::<bool>(), prop::collection::vec(change, 1..6), 0.0..1.2_f64);
    let outcome = runner.run(&changes, |(is_large, changes, end)| {
        let mut bytes = if is_large { large.to_vec() } else { whole.to_vec() };
        for (at, with) in changes {
            let at = (bytes.len() as f64 * at) as usize;
            bytes.iter_mut().skip(at).zip(with).for_each(|(byte, with)| *byte = with);
        }
        bytes.truncate((bytes.len() as f64 * end.min(1.0)) as usize);
        survivors(&bytes.into());
        Ok(())
    });
    outcome.unwrap();
}
