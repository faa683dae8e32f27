//! An MCAP file as readers of all formats see it.
//!
//! In comes a scan or an outline, out come blocks and topics under numbers that mean one thing in the whole file.
//!
//! **Invariant:** a message is shown under the definition that held where it stands, or is a loss.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::block::Block;
use super::decompress::Decompressor;
use super::definitions::Definitions;
use super::linear;
use super::record::{self, RawRecord};
use super::scan::Scan;
use crate::container::{self, Container, Index, Loaded, Place};
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::message::Topic;
use crate::source::ReadAt;

/// The newest format of segments and exports that this version reads.
const FORMAT: u64 = 1;

/// An MCAP file that was understood as a whole.
#[derive(Debug)]
pub struct File {
    index: Index,
    scan: Scan,
    blocks: Vec<Block>,
    /// By channel id, what else it meant: (until which byte, its number there), in order.
    earlier: BTreeMap<u16, Vec<(u64, Option<u16>)>>,
    /// What the file was opened with, where chunks were not looked into: they may say otherwise.
    believed: Option<Definitions>,
    counts: Option<BTreeMap<u16, u64>>,
}

impl File {
    /// Returns the container of a file. `believed` are the definitions of a file whose chunks were not read, and `counts` how many
    /// messages it says that its channels have.
    ///
    /// # Errors
    /// `Invalid` for a file of a newer version of Tapeloop.
    pub fn new(mut scan: Scan, believed: Option<Definitions>, counts: Option<BTreeMap<u16, u64>>, mut notes: Vec<String>) -> Result<Self> {
        for map in ["tapeloop.segment", "tapeloop.export"].iter().filter_map(|name| scan.metadata(name)) {
            let format = map.get("format").and_then(|format| format.parse().ok()).unwrap_or(FORMAT);
            if format > FORMAT {
                return Err(Error::invalid(format!("file of format {format}; this version reads up to {FORMAT}: update tapeloop")));
            }
        }
        let said = scan.metadata("tapeloop.end").and_then(|map| map.get("losses"));
        let told_losses: Vec<Loss> = said.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        let mut losses = told_losses.clone();
        losses.append(&mut scan.losses);
        notes.append(&mut scan.notes);
        let mut topics = std::mem::take(&mut scan.topics);
        let earlier = number_earlier(&scan.definitions, &mut topics, &mut losses);
        let blocks = Block::of_scan(&scan);
        let index = Index {
            format: "mcap",
            topics,
            blocks: blocks.iter().map(|block| seen(block, &earlier)).collect(),
            losses,
            told_losses,
            is_open: !scan.closed && scan.displaced.is_none(),
            notes,
            metadata: scan.metadata.iter().map(|entry| (entry.name.clone(), entry.map.clone())).collect(),
        };
        Ok(Self { index, scan, blocks, earlier, believed, counts })
    }

    /// Returns what was found in the file besides what is in its index: topics and losses are there.
    pub fn scan(&self) -> &Scan {
        &self.scan
    }

    /// Does what [`Container::load`] does, with memory of earlier blocks and without an indirect call for each message.
    ///
    /// # Errors
    /// Only what reading the source answers.
    #[inline]
    pub fn load_with(
        &self,
        source: &dyn ReadAt,
        block: usize,
        decompressor: &mut Decompressor,
        mut wanted: impl FnMut(u16, i64) -> bool,
    ) -> Result<std::result::Result<Loaded, String>> {
        let Some(block) = self.blocks.get(block) else { return Ok(Err("there is no such block".to_owned())) };
        let (records, chunk) = match block.load_chunk(source, decompressor)? {
            Ok(loaded) => loaded,
            Err(why) => return Ok(Err(why)),
        };
        let mut places = Vec::new();
        let mut strangers: BTreeMap<u16, u64> = BTreeMap::new();
        let mut define = |raw: RawRecord<'_>| self.note_strangers(raw, &mut strangers);
        let plain = self.earlier.is_empty();
        let whole = linear::visit(&records, &mut define, |message, start| {
            let channel = if plain { Some(message.channel_id) } else { self.number(message.channel_id, block.offset) };
            let log_time_ns = to_ns(message.log_time_ns);
            let Some(channel) = channel.filter(|channel| wanted(*channel, log_time_ns)) else { return };
            places.push(Place {
                log_time_ns,
                publish_time_ns: to_ns(message.publish_time_ns),
                // Chunks are at most 2 GiB, so that both fit.
                start: start as u32,
                length: message.data.len() as u32,
                sequence: message.sequence,
                channel,
            });
        });
        let mut losses = if strangers.is_empty() { Vec::new() } else { self.leave_out(block, &strangers, &mut places) };
        if !whole {
            let (content, outcome) = linear::examine(&records, block.offset, &mut Definitions::default());
            let why = outcome.err().unwrap_or_default();
            losses.extend(block.losses(source, &self.scan, &self.index.topics, &why, content.length as u64)?);
        }
        Ok(Ok(Loaded { bytes: records, places, losses, chunk }))
    }

    /// Returns the number of what a channel id means at a byte of the file.
    fn number(&self, id: u16, offset: u64) -> Option<u16> {
        let Some(meanings) = self.earlier.get(&id) else { return Some(id) };
        let behind = meanings.partition_point(|(until, _)| *until <= offset);
        meanings.get(behind).map_or(Some(id), |(_, number)| *number)
    }

    /// Takes note of channels that a chunk defines otherwise than the summary, by which the file was opened.
    fn note_strangers(&self, raw: RawRecord<'_>, strangers: &mut BTreeMap<u16, u64>) {
        let Some(believed) = &self.believed else { return };
        if let Ok(record) = record::parse(raw.opcode, raw.body) {
            strangers.extend(believed.channels_changed_by(&record).into_iter().map(|id| (id, 0)));
        }
    }

    fn leave_out(&self, block: &Block, strangers: &BTreeMap<u16, u64>, places: &mut Vec<Place>) -> Vec<Loss> {
        let mut counts = strangers.clone();
        places.retain(|place| match counts.get_mut(&place.channel) {
            Some(count) => {
                *count += 1;
                false
            }
            None => true,
        });
        let lost = counts.into_iter().filter(|(_, count)| *count > 0);
        let loss = |(id, count): (u16, u64)| Loss {
            topic: self.index.topics.get(&id).map(|topic| topic.name.clone()),
            start_ns: Some(to_ns(block.start_ns)),
            end_ns: Some(to_ns(block.end_ns)),
            messages: Some(count),
            bytes: None,
            reason: format!("the chunk at byte {} defines channel {id} otherwise than the file's summary does", block.offset),
        };
        lost.map(loss).collect()
    }
}

impl Container for File {
    fn index(&self) -> &Index {
        &self.index
    }

    fn load(
        &self,
        source: &dyn ReadAt,
        block: usize,
        wanted: &mut dyn FnMut(u16, i64) -> bool,
    ) -> Result<std::result::Result<Loaded, String>> {
        self.load_with(source, block, &mut Decompressor::default(), wanted)
    }

    fn counts(&self) -> Option<&BTreeMap<u16, u64>> {
        self.counts.as_ref()
    }

    fn losses(&self, source: &dyn ReadAt, block: usize, why: &str) -> Result<Vec<Loss>> {
        let Some(block) = self.blocks.get(block) else { return Ok(Vec::new()) };
        block.losses(source, &self.scan, &self.index.topics, why, 0)
    }
}

/// Gives a number to each topic that an id had before it was defined again: one that no channel of the file has.
fn number_earlier(
    definitions: &Definitions,
    topics: &mut BTreeMap<u16, Arc<Topic>>,
    losses: &mut Vec<Loss>,
) -> BTreeMap<u16, Vec<(u64, Option<u16>)>> {
    let mut earlier: BTreeMap<u16, Vec<(u64, Option<u16>)>> = BTreeMap::new();
    if definitions.earlier().is_empty() {
        return earlier;
    }
    let own: BTreeSet<u16> = definitions.earlier().iter().map(|(_, id, _)| *id).chain(topics.keys().copied()).collect();
    let mut free = (0..=u16::MAX).rev().filter(|number| !own.contains(number));
    let mut by_name: HashMap<String, Vec<u16>> = HashMap::new();
    topics.iter().for_each(|(number, topic)| by_name.entry(topic.name.clone()).or_default().push(*number));
    for (until, id, topic) in definitions.earlier() {
        let namesakes = by_name.entry(topic.name.clone()).or_default();
        let known = namesakes.iter().copied().find(|number| topics.get(number) == Some(topic));
        let number = known.or_else(|| free.next());
        match number {
            Some(number) if known.is_none() => {
                namesakes.push(number);
                topics.insert(number, topic.clone());
            }
            Some(_) => {}
            None => losses.push(Loss {
                topic: Some(topic.name.clone()),
                start_ns: None,
                end_ns: None,
                messages: None,
                bytes: None,
                reason: format!("more than 65536 definitions of channels: what channel {id} was before byte {until} is left out"),
            }),
        }
        earlier.entry(*id).or_default().push((*until, number));
    }
    earlier
}

/// Returns a block as readers see it.
fn seen(block: &Block, earlier: &BTreeMap<u16, Vec<(u64, Option<u16>)>>) -> container::Block {
    // Where ids change their meaning, nobody counts them.
    let channels = block.channels.clone().filter(|_| earlier.is_empty());
    container::Block { offset: block.offset, length: block.length, start_ns: to_ns(block.start_ns), end_ns: to_ns(block.end_ns), channels }
}

fn to_ns(time: u64) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}
