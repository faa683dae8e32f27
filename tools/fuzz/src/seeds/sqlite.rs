//! A small SQLite database with rosbag2's tables, and a write-ahead log for it, byte by byte.
//!
//! **Invariant:** the database has a page that points to others, and a message that goes on on other pages.

/// Where a log's header ends, and how long that of each of its pages is.
const WAL_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

const SCHEMA: [(&str, u32, &str); 2] = [
    ("topics", 2, "CREATE TABLE topics(id INTEGER PRIMARY KEY,name TEXT,type TEXT,serialization_format TEXT,offered_qos_profiles TEXT)"),
    ("messages", 3, "CREATE TABLE messages(id INTEGER PRIMARY KEY,topic_id INTEGER,timestamp INTEGER, data BLOB)"),
];

enum Value<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Blob(&'a [u8]),
}

use Value::{Blob, Int, Null, Text};

/// Returns a database with pages of a size; `packed` messages are compressed one by one.
pub(super) fn database(page_size: usize, packed: bool) -> Vec<u8> {
    let tables: Vec<Vec<u8>> = (1_u8..)
        .zip(SCHEMA)
        .map(|(row, (name, page, sql))| cell(row, &record(&[Text("table"), Text(name), Text(name), Int(page.into()), Text(sql)])))
        .collect();
    let topics = ["/a", "/b"].map(|name| record(&[Null, Text(name), Text("std_msgs/msg/String"), Text("cdr"), Text("")]));
    let topics: Vec<Vec<u8>> = (1_u8..).zip(&topics).map(|(row, topic)| cell(row, topic)).collect();
    let message = |row: u8, data: &[u8]| {
        let data = if packed { zstd::bulk::compress(data, 1).unwrap_or_default() } else { data.to_vec() };
        record(&[Null, Int(i64::from(row) % 2 + 1), Int(i64::from(row) * 1_000_000_000), Blob(&data)])
    };
    let rows = |range: std::ops::Range<u8>| range.map(|row| cell(row, &message(row, b"\0\x01\0\0\x04\0\0\0abc\0"))).collect::<Vec<_>>();
    // Of a long message as much as is left over from whole pages stands with the row.
    let noise: Vec<u8> = (0..page_size as u32 * 3).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let long = message(9, &noise);
    let (usable, length) = (page_size, long.len());
    let least = (usable - 12) * 32 / 255 - 23;
    let fitting = least + (length - least) % (usable - 4);
    let local = if fitting <= usable - 35 { fitting } else { least };
    let long_cell = [&varint(length as u64)[..], &[9], &long[..local], &6_u32.to_be_bytes()].concat();
    let mut pages = vec![
        page(page_size, 100, 0x0d, &tables, None),
        page(page_size, 0, 0x0d, &topics, None),
        page(page_size, 0, 0x05, &[[&4_u32.to_be_bytes()[..], &[8]].concat()], Some(5)),
        page(page_size, 0, 0x0d, &rows(1..9), None),
        page(page_size, 0, 0x0d, &[long_cell], None),
    ];
    let rest = long[local..].chunks(usable - 4);
    let count = rest.len();
    for (index, part) in rest.enumerate() {
        let next = if index + 1 < count { pages.len() as u32 + 2 } else { 0 };
        let mut page = [&next.to_be_bytes()[..], part].concat();
        page.resize(page_size, 0);
        pages.push(page);
    }
    // A free page that says that there are no more.
    pages.push(vec![0; page_size]);
    let count = pages.len() as u32;
    let header = &mut pages[0];
    header[..16].copy_from_slice(b"SQLite format 3\0");
    header[16..24].copy_from_slice(&[(page_size >> 8) as u8, page_size as u8, 1, 1, 0, 64, 32, 32]);
    for (at, number) in [(24, 1), (28, count), (32, count), (36, 1), (44, 4), (56, 1), (92, 1), (96, 3_040_000)] {
        header[at..at + 4].copy_from_slice(&u32::to_be_bytes(number));
    }
    pages.concat()
}

/// Returns a log that replaces the last page of rows of such a database, and adds nothing.
pub(super) fn log(database: &[u8], page_size: usize) -> Vec<u8> {
    let mut log = Vec::new();
    for number in [0x377f_0682, 3_007_000, page_size as u32, 0, 1, 2, 0, 0] {
        log.extend(number.to_be_bytes());
    }
    let pages = (database.len() / page_size) as u32;
    for (number, commit) in [(5_u32, 0), (4, pages), (5, 0)] {
        for field in [number, commit, 1, 2, 0, 0] {
            log.extend(field.to_be_bytes());
        }
        let start = (number as usize - 1) * page_size;
        log.extend(&database[start..start + page_size]);
    }
    seal(&mut log);
    log
}

/// Makes the checksums of a log right, as far as its header makes sense.
pub(crate) fn seal(log: &mut [u8]) {
    if log.len() < WAL_HEADER {
        return;
    }
    let (header, frames) = log.split_at_mut(WAL_HEADER);
    let page_size = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
    let big_endian = header[3] & 1 == 1;
    let mut sums = checksum(big_endian, (0, 0), &header[..24]);
    header[24..].copy_from_slice(&sums_bytes(sums));
    if page_size == 0 || page_size > frames.len() {
        return;
    }
    for frame in frames.chunks_exact_mut(FRAME_HEADER + page_size) {
        frame[8..16].copy_from_slice(&header[16..24]);
        sums = checksum(big_endian, checksum(big_endian, sums, &frame[..8]), &frame[FRAME_HEADER..]);
        frame[16..24].copy_from_slice(&sums_bytes(sums));
    }
}

fn checksum(big_endian: bool, sums: (u32, u32), bytes: &[u8]) -> (u32, u32) {
    let read = if big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
    bytes.as_chunks::<8>().0.iter().fold(sums, |(first, second), [a, b, c, d, rest @ ..]| {
        let first = first.wrapping_add(read([*a, *b, *c, *d])).wrapping_add(second);
        (first, second.wrapping_add(read(*rest)).wrapping_add(first))
    })
}

fn sums_bytes((first, second): (u32, u32)) -> [u8; 8] {
    (u64::from(first) << 32 | u64::from(second)).to_be_bytes()
}

/// Returns a page of a tree: cells from its end, where each stands from its start.
fn page(size: usize, start: usize, kind: u8, cells: &[Vec<u8>], right: Option<u32>) -> Vec<u8> {
    let mut page = vec![0; size];
    let mut content = size;
    let mut pointers = Vec::new();
    for cell in cells {
        content -= cell.len();
        page[content..content + cell.len()].copy_from_slice(cell);
        pointers.extend((content as u16).to_be_bytes());
    }
    let (count, content) = ((cells.len() as u16).to_be_bytes(), (content as u16).to_be_bytes());
    let right = right.map(|right| right.to_be_bytes().to_vec()).unwrap_or_default();
    let head = [&[kind, 0, 0][..], &count, &content, &[0], &right, &pointers].concat();
    page[start..start + head.len()].copy_from_slice(&head);
    page
}

fn cell(row: u8, record: &[u8]) -> Vec<u8> {
    [&varint(record.len() as u64)[..], &[row], record].concat()
}

fn record(values: &[Value<'_>]) -> Vec<u8> {
    let (mut header, mut body) = (Vec::new(), Vec::new());
    for value in values {
        match value {
            Null => header.push(0),
            Int(number) => {
                header.push(6);
                body.extend(number.to_be_bytes());
            }
            Text(text) => {
                header.extend(varint(text.len() as u64 * 2 + 13));
                body.extend(text.as_bytes());
            }
            Blob(bytes) => {
                header.extend(varint(bytes.len() as u64 * 2 + 12));
                body.extend_from_slice(bytes);
            }
        }
    }
    [&varint(header.len() as u64 + 1)[..], &header, &body].concat()
}

/// Returns a number of up to 21 bits as SQLite writes it.
fn varint(number: u64) -> Vec<u8> {
    let mut bytes = vec![(number & 0x7f) as u8];
    let mut rest = number >> 7;
    while rest > 0 {
        bytes.insert(0, (rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes
}
