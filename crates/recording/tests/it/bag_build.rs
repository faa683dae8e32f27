//! Bags made in memory, well-formed or odd on purpose.

use std::io::Write;
use std::ops::Range;

/// How many bytes everything in front of the first chunk has.
pub(crate) const HEAD: usize = 13 + 4096;

/// A message: connection, log time in ns, payload.
pub(crate) type Message = (u32, i64, Vec<u8>);

pub(crate) fn field(name: &str, value: &[u8]) -> Vec<u8> {
    [&((name.len() + 1 + value.len()) as u32).to_le_bytes()[..], name.as_bytes(), b"=", value].concat()
}

pub(crate) fn record(fields: &[(&str, &[u8])], data: &[u8]) -> Vec<u8> {
    let header: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    [&(header.len() as u32).to_le_bytes()[..], &header, &(data.len() as u32).to_le_bytes(), data].concat()
}

pub(crate) fn time(ns: i64) -> [u8; 8] {
    let (sec, nsec) = ((ns / 1_000_000_000) as u32, (ns % 1_000_000_000) as u32);
    [sec.to_le_bytes(), nsec.to_le_bytes()].concat().try_into().unwrap()
}

pub(crate) fn message(conn: u32, time_ns: i64, payload: &[u8]) -> Vec<u8> {
    record(&[("op", &[2]), ("conn", &conn.to_le_bytes()), ("time", &time(time_ns))], payload)
}

pub(crate) fn connection(conn: u32, topic: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut data = [field("topic", topic.as_bytes()), field("type", b"std_msgs/String"), field("md5sum", b"992c")].concat();
    data.extend(field("message_definition", b"string data\n"));
    more.iter().for_each(|(name, value)| data.extend(field(name, value.as_bytes())));
    record(&[("op", &[7]), ("conn", &conn.to_le_bytes()), ("topic", topic.as_bytes())], &data)
}

pub(crate) fn compress(compression: &str, records: &[u8]) -> Vec<u8> {
    match compression {
        "bz2" => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(1));
            encoder.write_all(records).unwrap();
            encoder.finish().unwrap()
        }
        "lz4" => {
            let info = lz4_flex::frame::FrameInfo::new().content_checksum(true).block_size(lz4_flex::frame::BlockSize::Max1MB);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(records).unwrap();
            encoder.finish().unwrap()
        }
        _ => records.to_vec(),
    }
}

pub(crate) fn chunk(compression: &str, records: &[u8]) -> Vec<u8> {
    let size = (records.len() as u32).to_le_bytes();
    record(&[("compression", compression.as_bytes()), ("op", &[5]), ("size", &size)], &compress(compression, records))
}

pub(crate) fn bag_header(index_at: u64, conns: u32, chunks: u32) -> Vec<u8> {
    let fields: &[(&str, &[u8])] = &[
        ("chunk_count", &chunks.to_le_bytes()),
        ("conn_count", &conns.to_le_bytes()),
        ("index_pos", &index_at.to_le_bytes()),
        ("op", &[3]),
    ];
    let header = record(fields, b"");
    record(fields, &vec![b' '; 4096 - header.len()])
}

/// A bag on its way.
pub(crate) struct Builder {
    compression: &'static str,
    bytes: Vec<u8>,
    topics: Vec<Vec<u8>>,
    infos: Vec<Vec<u8>>,
    chunks: Vec<ChunkAt>,
}

/// Where a chunk stands.
pub(crate) struct ChunkAt {
    /// The record with the chunk.
    pub(crate) bytes: Range<u64>,
    /// Its indexes behind it.
    pub(crate) indexes: Range<u64>,
    /// Its messages; with no compression, where each record stands in the file.
    pub(crate) messages: Vec<(Message, Range<u64>)>,
}

pub(crate) struct Built {
    pub(crate) bytes: Vec<u8>,
    pub(crate) chunks: Vec<ChunkAt>,
    pub(crate) index_at: u64,
}

impl Builder {
    pub(crate) fn new(compression: &'static str, topics: &[&str]) -> Self {
        let topics = topics.iter().enumerate().map(|(conn, topic)| connection(conn as u32, topic, &[])).collect();
        let bytes = [b"#ROSBAG V2.0\n".to_vec(), bag_header(0, 0, 0)].concat();
        Self { compression, bytes, topics, infos: Vec::new(), chunks: Vec::new() }
    }

    /// Appends a chunk with connections of its own in front of its messages.
    pub(crate) fn chunk(&mut self, connections: &[Vec<u8>], messages: &[Message]) {
        let mut records: Vec<u8> = connections.concat();
        let at = self.bytes.len() as u64;
        let mut places = Vec::new();
        for (conn, time_ns, payload) in messages {
            let record = message(*conn, *time_ns, payload);
            places.push((records.len(), record.len(), *conn, *time_ns));
            records.extend(record);
        }
        let chunk = chunk(self.compression, &records);
        let data_at = at + (chunk.len() - compress(self.compression, &records).len()) as u64;
        self.bytes.extend(&chunk);
        let end = self.bytes.len() as u64;
        let mut conns: Vec<u32> = messages.iter().map(|message| message.0).collect();
        conns.sort_unstable();
        conns.dedup();
        let mut counts = Vec::new();
        for conn in &conns {
            let of_conn: Vec<_> = places.iter().filter(|place| place.2 == *conn).collect();
            let entry = |place: &&(usize, usize, u32, i64)| [&time(place.3)[..], &(place.0 as u32).to_le_bytes()].concat();
            let entries: Vec<u8> = of_conn.iter().flat_map(entry).collect();
            let count = (of_conn.len() as u32).to_le_bytes();
            counts.extend([conn.to_le_bytes(), count].concat());
            self.bytes.extend(record(&[("ver", &[1, 0, 0, 0]), ("op", &[4]), ("conn", &conn.to_le_bytes()), ("count", &count)], &entries));
        }
        let times = || messages.iter().map(|message| message.1);
        let fields: &[(&str, &[u8])] = &[
            ("chunk_pos", &at.to_le_bytes()),
            ("count", &(conns.len() as u32).to_le_bytes()),
            ("end_time", &time(times().max().unwrap_or_default())),
            ("op", &[6]),
            ("start_time", &time(times().min().unwrap_or_default())),
            ("ver", &[1, 0, 0, 0]),
        ];
        self.infos.push(record(fields, &counts));
        let place = |place: &(usize, usize, u32, i64)| data_at + place.0 as u64..data_at + (place.0 + place.1) as u64;
        self.chunks.push(ChunkAt {
            bytes: at..end,
            indexes: end..self.bytes.len() as u64,
            messages: messages.iter().cloned().zip(places.iter().map(place)).collect(),
        });
    }

    pub(crate) fn connections(&self) -> Vec<Vec<u8>> {
        self.topics.clone()
    }

    /// Appends anything.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// Ends the bag with its index.
    pub(crate) fn finish(mut self) -> Built {
        let index_at = self.bytes.len() as u64;
        self.bytes.extend(self.topics.concat());
        self.bytes.extend(self.infos.concat());
        self.bytes[13..HEAD].copy_from_slice(&bag_header(index_at, self.topics.len() as u32, self.infos.len() as u32));
        Built { bytes: self.bytes, chunks: self.chunks, index_at }
    }

    /// Ends the bag as one that was never closed.
    pub(crate) fn unfinished(self) -> Built {
        Built { index_at: self.bytes.len() as u64, bytes: self.bytes, chunks: self.chunks }
    }
}
