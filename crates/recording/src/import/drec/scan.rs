//! Reading all of a recording once: which topics there are, where their messages stand, and what is damaged.
//!
//! **Invariant:** no more than one record is held at a time.

use std::collections::{BTreeMap, BTreeSet};

use super::record::{self, HEADER_BYTES, Header, LENGTH_BYTES, Parsed, RECORD_LIMIT, VERSION};
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::mcap::window::{self, Window};
use crate::source::ReadAt;

/// A stretch ends with the record that makes it this long.
const STRETCH_LENGTH: u64 = 4 << 20;
/// How many places with damage are told one by one.
const LOSSES_LIMIT: usize = 1000;
/// How many topics a recording may have: channels are counted in 16 bits, and each topic has two.
const TOPICS_LIMIT: usize = 30_000;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) header: Header,
    pub(super) topics: Topics,
    pub(super) stretches: Vec<Stretch>,
    pub(super) losses: Vec<Loss>,
    pub(super) notes: Vec<String>,
    /// Whether the recorder ended it.
    pub(super) is_ended: bool,
}

/// Records that are read as one.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) offset: u64,
    pub(super) end: u64,
    pub(super) data: Content,
    pub(super) parameters: Content,
}

/// What a stretch has of one kind.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    pub(super) messages: u64,
    pub(super) channels: BTreeSet<u16>,
}

/// The channels of outputs: one for messages, and one for their parameters where there are any.
#[derive(Debug, Default)]
pub(super) struct Topics {
    /// By the node, then by its output.
    by_output: BTreeMap<String, BTreeMap<String, u16>>,
    count: usize,
    with_parameters: BTreeSet<u16>,
}

impl Topics {
    /// Returns the channels of an output's messages and of their parameters.
    pub(super) fn find(&self, node: &str, output: &str) -> Option<(u16, u16)> {
        let channel = *self.by_output.get(node)?.get(output)?;
        Some((channel, channel + 1))
    }

    fn add(&mut self, node: &str, output: &str) -> Option<(u16, u16)> {
        if let Some(known) = self.find(node, output) {
            return Some(known);
        }
        if self.count >= TOPICS_LIMIT {
            return None;
        }
        let channel = self.count as u16 * 2;
        self.count += 1;
        self.by_output.entry(node.to_owned()).or_default().insert(output.to_owned(), channel);
        Some((channel, channel + 1))
    }

    /// Returns every channel that has messages: its number, its topic, and whether it is one of parameters.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, String, bool)> {
        let outputs =
            self.by_output.iter().flat_map(|(node, outputs)| outputs.iter().map(move |(output, channel)| (node, output, channel)));
        outputs.flat_map(|(node, output, channel)| {
            let name = format!("/{node}/{output}");
            let parameters = channel + 1;
            let said = self.with_parameters.contains(&parameters).then(|| (parameters, format!("{name}/parameters"), true));
            std::iter::once((*channel, name, false)).chain(said)
        })
    }
}

impl Content {
    fn new() -> Self {
        Self { start_ns: i64::MAX, end_ns: i64::MIN, messages: 0, channels: BTreeSet::new() }
    }

    fn add(&mut self, channel: u16, time_ns: i64) {
        self.start_ns = self.start_ns.min(time_ns);
        self.end_ns = self.end_ns.max(time_ns);
        self.messages += 1;
        self.channels.insert(channel);
    }
}

/// Reads a recording from its first to its last byte.
pub(super) fn scan(source: &dyn ReadAt) -> Result<Scan> {
    let mut scan = Scan::default();
    let Some((header, length)) = record::header(&window::read(source, 0, HEADER_BYTES as u64)?) else {
        return Err(Error::invalid("not a recording of dora: its first bytes are not those of one"));
    };
    if header.version != VERSION {
        let version = header.version;
        return Err(Error::invalid(format!("version {version} of dora's recordings; {VERSION} is the one that is known: record again")));
    }
    if length > RECORD_LIMIT {
        return Err(Error::invalid(format!("not a recording of dora: its dataflow takes {length} bytes, and {RECORD_LIMIT} are allowed")));
    }
    scan.header = header;
    let mut window = Window::new(source)?;
    let there = window.length().saturating_sub(HEADER_BYTES as u64);
    scan.header.descriptor = window::read(source, HEADER_BYTES as u64, there.min(length as u64))?;
    if there < length as u64 {
        let reason = format!("the header says that the dataflow takes {length} bytes, and {there} are there: no message is read");
        scan.losses.push(damage(None, reason));
    }
    let mut at = (HEADER_BYTES + length) as u64;
    let mut stretch: Option<Stretch> = None;
    let (mut messages, mut dropped, mut odd) = (0, 0, Odd::default());
    while at < window.length() {
        let needed = match record::parse(window.get(at, LENGTH_BYTES)?) {
            Parsed::Short(needed) => needed,
            _ => LENGTH_BYTES,
        };
        match record::parse(window.get(at, needed)?) {
            Parsed::Record(found, length) => {
                messages += 1;
                odd.end(&mut scan.losses);
                let time_ns = scan.header.start_ns.saturating_add_unsigned(found.offset_ns);
                if !found.is_marker {
                    match scan.topics.add(found.node, found.output) {
                        Some((data, parameters)) => {
                            let stretch = stretch.get_or_insert_with(|| Stretch::new(at));
                            stretch.data.add(data, time_ns);
                            if found.has_parameters {
                                scan.topics.with_parameters.insert(parameters);
                                stretch.parameters.add(parameters, time_ns);
                            }
                        }
                        None => dropped += 1,
                    }
                }
                at += length as u64;
            }
            Parsed::Odd(why, length) => {
                // A stretch holds whole, good records only.
                scan.stretches.extend(stretch.take());
                odd.add(why, at);
                at += length as u64;
                messages += 1;
                continue;
            }
            Parsed::End(told) => {
                scan.is_ended = true;
                if told != messages {
                    scan.notes.push(format!("its end says {told} messages, and it has {messages}"));
                }
                break;
            }
            Parsed::Short(_) => {
                let rest = window.length() - at;
                scan.losses.push(damage(None, format!("torn record at byte {at}: {rest} bytes")));
                break;
            }
            Parsed::Nothing => {
                let rest = window.length() - at;
                scan.losses.push(damage(None, format!("damaged from byte {at} on: no record stands there, {rest} bytes are not read")));
                break;
            }
        }
        if let Some(current) = &mut stretch {
            current.end = at;
            if at - current.offset >= STRETCH_LENGTH {
                scan.stretches.extend(stretch.take());
            }
        }
    }
    odd.end(&mut scan.losses);
    scan.stretches.extend(stretch);
    if dropped > 0 {
        scan.losses.push(damage(Some(dropped), format!("more than {TOPICS_LIMIT} topics")));
    }
    Ok(scan)
}

impl Stretch {
    fn new(offset: u64) -> Self {
        Self { offset, end: offset, data: Content::new(), parameters: Content::new() }
    }
}

/// Records without a good one between them that are no messages.
#[derive(Debug, Default)]
struct Odd {
    first: Option<(&'static str, u64)>,
    records: u64,
}

impl Odd {
    fn add(&mut self, why: &'static str, at: u64) {
        self.first.get_or_insert((why, at));
        self.records += 1;
    }

    fn end(&mut self, losses: &mut Vec<Loss>) {
        let Some((why, at)) = self.first.take() else { return };
        let records = std::mem::take(&mut self.records);
        let is_full = losses.len() >= LOSSES_LIMIT;
        match losses.last_mut().filter(|_| is_full) {
            // The last one stands for all that follow.
            Some(last) => last.messages = last.messages.map(|messages| messages + records),
            None => losses.push(damage(Some(records), format!("{why} at byte {at}"))),
        }
    }
}

fn damage(messages: Option<u64>, reason: String) -> Loss {
    Loss { topic: None, start_ns: None, end_ns: None, messages, bytes: None, reason }
}
