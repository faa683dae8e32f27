//! A small ROS 1 bag, record by record.
//!
//! **Invariant:** its index says where everything is.

use std::io::Write;

/// Returns bags of every compression, each whole and without its index.
pub(super) fn files() -> Vec<Vec<u8>> {
    ["none", "bz2", "lz4"].into_iter().flat_map(|compression| [file(compression, true), file(compression, false)]).collect()
}

fn file(compression: &str, closed: bool) -> Vec<u8> {
    let connections = [connection(0, "/a"), connection(1, "/b")];
    let mut bytes = b"#ROSBAG V2.0\n".to_vec();
    bytes.extend(header(0));
    let mut infos = Vec::new();
    for chunk in 0..2_u32 {
        let mut records = if chunk == 0 { connections.concat() } else { Vec::new() };
        let mut entries = [Vec::new(), Vec::new()];
        for number in 0..4_u32 {
            let (conn, time) = (number % 2, time(chunk * 10 + number));
            entries[conn as usize].extend([&time[..], &(records.len() as u32).to_le_bytes()].concat());
            records.extend(record(&[("op", &[2]), ("conn", &conn.to_le_bytes()), ("time", &time)], b"\x03\0\0\0abc"));
        }
        let at = (bytes.len() as u64).to_le_bytes();
        let size = (records.len() as u32).to_le_bytes();
        bytes.extend(record(&[("compression", compression.as_bytes()), ("op", &[5]), ("size", &size)], &compress(compression, &records)));
        for (conn, entries) in entries.iter().enumerate() {
            let conn = (conn as u32).to_le_bytes();
            bytes.extend(record(&[("ver", &[1, 0, 0, 0]), ("op", &[4]), ("conn", &conn), ("count", &[2, 0, 0, 0])], entries));
        }
        let (start, end) = (time(chunk * 10), time(chunk * 10 + 3));
        let fields: &[(&str, &[u8])] = &[
            ("chunk_pos", &at),
            ("count", &[2, 0, 0, 0]),
            ("end_time", &end),
            ("op", &[6]),
            ("start_time", &start),
            ("ver", &[1, 0, 0, 0]),
        ];
        infos.push(record(fields, &[0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]));
    }
    if closed {
        let head = header(bytes.len() as u64);
        bytes[13..13 + head.len()].copy_from_slice(&head);
        bytes.extend([connections.concat(), infos.concat()].concat());
    }
    bytes
}

fn header(index_at: u64) -> Vec<u8> {
    let fields: &[(&str, &[u8])] =
        &[("chunk_count", &[2, 0, 0, 0]), ("conn_count", &[2, 0, 0, 0]), ("index_pos", &index_at.to_le_bytes()), ("op", &[3])];
    record(fields, &[b' '; 32])
}

fn connection(conn: u32, topic: &str) -> Vec<u8> {
    let parts: [(&str, &[u8]); 5] = [
        ("topic", topic.as_bytes()),
        ("type", b"std_msgs/String"),
        ("md5sum", b"992ce8a1687cec8c8bd883ec73ca41d1"),
        ("message_definition", b"string data\n"),
        ("latching", b"1"),
    ];
    let data: Vec<u8> = parts.iter().flat_map(|(name, value)| field(name, value)).collect();
    record(&[("op", &[7]), ("conn", &conn.to_le_bytes()), ("topic", topic.as_bytes())], &data)
}

fn record(fields: &[(&str, &[u8])], data: &[u8]) -> Vec<u8> {
    let header: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    [&(header.len() as u32).to_le_bytes()[..], &header, &(data.len() as u32).to_le_bytes(), data].concat()
}

fn field(name: &str, value: &[u8]) -> Vec<u8> {
    [&((name.len() + 1 + value.len()) as u32).to_le_bytes()[..], name.as_bytes(), b"=", value].concat()
}

fn time(sec: u32) -> [u8; 8] {
    let [a, b, c, d] = sec.to_le_bytes();
    [a, b, c, d, 7, 0, 0, 0]
}

#[expect(clippy::expect_used, reason = "writing to memory")]
fn compress(compression: &str, records: &[u8]) -> Vec<u8> {
    match compression {
        "bz2" => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(1));
            encoder.write_all(records).and_then(|()| encoder.finish()).expect("it cannot fail")
        }
        "lz4" => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(records).expect("it cannot fail");
            encoder.finish().expect("it cannot fail")
        }
        _ => records.to_vec(),
    }
}
