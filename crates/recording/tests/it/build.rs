//! MCAP files made in code.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use recording::mcap::chunk::{ChunkBuilder, Compression};
use recording::mcap::segment::{Definition, SegmentWriter};
use recording::message::{Schema, Topic};

/// Returns a topic with a schema that is named as given; none for an empty name.
pub(crate) fn topic(name: &str, type_name: &str) -> Arc<Topic> {
    let schema = Schema { name: type_name.into(), encoding: "jsonschema".into(), data: Bytes::from_static(b"{}") };
    let schema = (!type_name.is_empty()).then(|| Arc::new(schema));
    Arc::new(Topic { name: name.into(), encoding: "json".into(), schema, metadata: BTreeMap::new() })
}

/// One chunk of a [`Built`] file.
#[derive(Clone, Debug)]
pub(crate) struct BuiltChunk {
    pub(crate) bytes: Range<u64>,
    pub(crate) with_indexes: Range<u64>,
    /// Sequences of its messages.
    pub(crate) sequences: Range<u32>,
}

/// A file made in code.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) bytes: Vec<u8>,
    pub(crate) chunks: Vec<BuiltChunk>,
    /// Where the data section ends.
    pub(crate) data_end: u64,
}

/// What [`Builder::build`] makes.
#[derive(Clone, Debug)]
pub(crate) struct Builder {
    pub(crate) compression: Compression,
    pub(crate) chunks: u32,
    pub(crate) messages_per_chunk: u32,
    pub(crate) payload: usize,
    /// Whether payloads differ in length, so that no hole leaves a well-formed file behind.
    pub(crate) uneven: bool,
    pub(crate) topics: Vec<Arc<Topic>>,
    pub(crate) closed: bool,
    pub(crate) metadata: Vec<(String, BTreeMap<String, String>)>,
    pub(crate) end_metadata: Vec<(String, BTreeMap<String, String>)>,
    pub(crate) first_sequence: u32,
    pub(crate) first_time_ns: u64,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            compression: Compression::Zstd(1),
            chunks: 8,
            messages_per_chunk: 50,
            payload: 200,
            uneven: false,
            topics: vec![topic("/a", "A"), topic("/b", "B"), topic("/c", "")],
            closed: true,
            metadata: Vec::new(),
            end_metadata: Vec::new(),
            first_sequence: 0,
            first_time_ns: 1_000_000,
        }
    }
}

/// Returns the payload of a message; it does not compress well, and tells its sequence.
pub(crate) fn payload(sequence: u32, length: usize) -> Vec<u8> {
    let mut state = u64::from(sequence) + 1;
    let mut bytes = sequence.to_le_bytes().to_vec();
    while bytes.len() < length.max(4) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.push((state >> 33) as u8);
    }
    bytes
}

impl Builder {
    pub(crate) fn build(&self) -> Built {
        let mut bytes = Vec::new();
        let mut writer = SegmentWriter::begin(&mut bytes, "");
        for (name, map) in &self.metadata {
            writer.metadata(&mut bytes, name, map);
        }
        for (index, topic) in self.topics.iter().enumerate() {
            let channel_id = index as u16 + 1;
            let schema_id = if topic.schema.is_some() { channel_id } else { 0 };
            writer.define(&mut bytes, &Definition { channel_id, schema_id, topic: topic.clone() });
        }
        let mut chunks = Vec::new();
        let mut sequence = self.first_sequence;
        for _ in 0..self.chunks {
            let mut chunk = ChunkBuilder::default();
            let first = sequence;
            for _ in 0..self.messages_per_chunk {
                let id = sequence as usize % self.topics.len() + 1;
                let time = self.first_time_ns + u64::from(sequence - self.first_sequence) * 1000;
                let length = self.payload + if self.uneven { sequence as usize * 37 % 101 } else { 0 };
                chunk.push(id as u16, sequence, time, time - 10, &payload(sequence, length));
                sequence += 1;
            }
            let encoded = chunk.encode(self.compression);
            writer.chunk(&encoded);
            let start = bytes.len() as u64;
            encoded.parts().iter().for_each(|part| bytes.extend_from_slice(part));
            let end = start + encoded.index.length;
            chunks.push(BuiltChunk { bytes: start..end, with_indexes: start..bytes.len() as u64, sequences: first..sequence });
        }
        for (name, map) in &self.end_metadata {
            writer.metadata(&mut bytes, name, map);
        }
        let data_end = bytes.len() as u64;
        if self.closed {
            writer.finish(&mut bytes);
        }
        Built { bytes, chunks, data_end }
    }

    pub(crate) fn messages(&self) -> u64 {
        u64::from(self.chunks * self.messages_per_chunk)
    }
}

/// Returns a map of text.
pub(crate) fn map<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Writes a file into a folder, with the folders above it.
pub(crate) fn save(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}
