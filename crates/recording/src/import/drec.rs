//! Recordings of dora (`.drec`): records one after the other, without an index, each the event that carried a message.
//!
//! `record` takes bytes apart, `scan` reads all of a file once. A message's payload, an Arrow IPC stream, stands in the file as it
//! is; its parameters become JSON on a topic of their own.
//!
//! **Invariant:** only a failing source, or something that is no recording of dora, is an error.

mod record;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::record::Parsed;
use self::scan::{Scan, Stretch, Topics};
use crate::container::{Block, Chunk, Container, Index, Loaded, Place};
use crate::error::Result;
use crate::loss::Loss;
use crate::mcap::window;
use crate::message::Topic;
use crate::source::ReadAt;

pub use self::record::MAGIC;

/// How the chunk of parameters is called: their payloads are made, they do not stand in the file.
const MADE: &str = "drec";

/// A recording that was understood.
#[derive(Debug)]
struct Recording {
    index: Index,
    topics: Topics,
    blocks: Vec<Part>,
    start_ns: i64,
}

/// What a block takes of a stretch of the file.
#[derive(Clone, Debug)]
enum Part {
    /// The messages themselves.
    Data(Arc<Stretch>),
    /// Their parameters.
    Parameters(Arc<Stretch>),
}

/// Opens a recording.
///
/// # Errors
/// `Invalid` for what is none, or is of another version; else what reading the source answers.
pub fn open(source: &dyn ReadAt) -> Result<Arc<dyn Container>> {
    let scan = scan::scan(source)?;
    Ok(Arc::new(finish(scan)))
}

fn finish(scan: Scan) -> Recording {
    let header = &scan.header;
    let metadata = BTreeMap::from([
        ("dataflow_id".to_owned(), header.dataflow_id.clone()),
        ("descriptor".to_owned(), String::from_utf8_lossy(&header.descriptor).into_owned()),
    ]);
    let mut index = Index {
        format: "drec",
        losses: scan.losses,
        is_open: !scan.is_ended,
        notes: scan.notes,
        metadata: vec![("dora".to_owned(), metadata)],
        ..Index::default()
    };
    let mut blocks = Vec::new();
    for stretch in scan.stretches {
        let stretch = Arc::new(stretch);
        for (span, part) in [(&stretch.data, Part::Data(stretch.clone())), (&stretch.parameters, Part::Parameters(stretch.clone()))] {
            if span.messages > 0 {
                index.blocks.push(Block {
                    offset: stretch.offset,
                    length: stretch.end - stretch.offset,
                    start_ns: span.start_ns,
                    end_ns: span.end_ns,
                    channels: Some(span.channels.iter().copied().collect()),
                });
                blocks.push(part);
            }
        }
    }
    for (channel, name, of_parameters) in scan.topics.iter() {
        let encoding = if of_parameters { "json" } else { "arrow" };
        let topic = Topic { name, encoding: encoding.to_owned(), schema: None, metadata: BTreeMap::new() };
        index.topics.insert(channel, Arc::new(topic));
    }
    Recording { index, topics: scan.topics, blocks, start_ns: header.start_ns }
}

impl Container for Recording {
    fn index(&self) -> &Index {
        &self.index
    }

    fn load(
        &self,
        source: &dyn ReadAt,
        block: usize,
        wanted: &mut dyn FnMut(u16, i64) -> bool,
    ) -> Result<std::result::Result<Loaded, String>> {
        let Some(part) = self.blocks.get(block) else { return Ok(Err(format!("there is no block {block}"))) };
        let (Part::Data(stretch) | Part::Parameters(stretch)) = part;
        let bytes = window::read(source, stretch.offset, stretch.end - stretch.offset)?;
        let is_data = matches!(part, Part::Data(_));
        let expected = if is_data { stretch.data.messages } else { stretch.parameters.messages };
        let mut made = Vec::new();
        let mut places = Vec::new();
        let mut messages = 0;
        let mut at = 0;
        while let Parsed::Record(record, length) = record::parse(&bytes[at..]) {
            let begins = at;
            at += length;
            let Some((data, parameters)) = self.topics.find(record.node, record.output) else { continue };
            if record.is_marker || (!is_data && !record.has_parameters) {
                continue;
            }
            let channel = if is_data { data } else { parameters };
            messages += 1;
            let log_time_ns = self.start_ns.saturating_add_unsigned(record.offset_ns);
            if !wanted(channel, log_time_ns) {
                continue;
            }
            let (start, length) = if is_data {
                (begins + record.data.start, record.data.len())
            } else {
                let start = made.len();
                record.write_parameters(&mut made);
                (start, made.len() - start)
            };
            // A block is little longer than its longest record, and JSON at most six times that: both fit.
            places.push(Place {
                log_time_ns,
                publish_time_ns: record.sent_ns,
                start: start as u32,
                length: length as u32,
                sequence: 0,
                channel,
            });
        }
        let chunk = Chunk { offset: stretch.offset, length: stretch.end - stretch.offset, compression: MADE.to_owned() };
        let (bytes, chunk) = if is_data { (bytes, None) } else { (made, Some(chunk)) };
        Ok(Ok(Loaded { bytes: bytes.into(), places, losses: changed(stretch, expected.saturating_sub(messages)), chunk }))
    }
}

fn changed(stretch: &Stretch, missing: u64) -> Vec<Loss> {
    let reason = format!("the file changed at byte {}", stretch.offset);
    let loss = Loss { topic: None, start_ns: None, end_ns: None, messages: Some(missing), bytes: None, reason };
    (missing > 0).then_some(loss).into_iter().collect()
}
