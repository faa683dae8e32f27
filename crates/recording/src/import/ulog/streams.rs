//! What a log subscribes to: message names and instances, with the channels they become.
//!
//! **Invariant:** a stream keeps its channel; an id may change its stream, and what stands in front of that keeps the old one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::clock;
use crate::decode::BOOT_KEY;
use crate::message::{Schema, Topic};
use crate::schema::ulog::Format;

/// The channels of what the logger itself says.
pub(super) const LOG: u16 = 0;
pub(super) const PARAMETERS: u16 = 1;

/// How many streams a log may have; instances and names have 16 bits of ids.
const STREAM_LIMIT: usize = u16::MAX as usize - 2;

/// How many formats are kept.
const FORMAT_LIMIT: usize = 10_000;

/// How many bytes the definitions of all streams may have together: each has those that it refers to. Real logs have one megabyte.
const DEFINITIONS_LIMIT: usize = 16 << 20;

/// Streams by the id that their data has.
pub(super) type Ids = BTreeMap<u16, u16>;

/// One instance of a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream {
    pub(super) name: String,
    instance: u8,
    schema: Option<Arc<Schema>>,
    layout: Option<Layout>,
}

/// Where things stand in the payloads of a stream.
#[derive(Clone, Debug)]
struct Layout {
    least: usize,
    whole: usize,
    time: Option<(usize, usize)>,
    utc: Option<(usize, usize)>,
    fix: Option<(usize, usize)>,
}

/// All formats and streams of a log.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams {
    formats: BTreeMap<String, String>,
    streams: Vec<Stream>,
    channels: HashMap<(String, u8), u16>,
    /// How many subscriptions found no place.
    pub(super) too_many: usize,
    definitions_length: usize,
}

impl Streams {
    /// Takes note of a format.
    pub(super) fn format(&mut self, text: &str) {
        if let Some((name, fields)) = text.split_once(':')
            && self.formats.len() < FORMAT_LIMIT
        {
            self.formats.insert(name.to_owned(), fields.to_owned());
        }
    }

    /// Returns whether a message of this name has a format.
    pub(super) fn has_format(&self, name: &str) -> bool {
        self.formats.contains_key(name)
    }

    /// Returns the channel of an instance of a message, which is new if need be.
    pub(super) fn subscribe(&mut self, name: &str, instance: u8) -> Option<u16> {
        let channel = match self.find(name, instance) {
            Some(channel) => channel,
            None if self.streams.len() >= STREAM_LIMIT => {
                self.too_many += 1;
                return None;
            }
            None => {
                self.streams.push(Stream { name: name.to_owned(), instance, ..Stream::default() });
                let channel = u16::try_from(self.streams.len() + 1).ok()?;
                self.channels.insert((name.to_owned(), instance), channel);
                channel
            }
        };
        let at = usize::from(channel) - 2;
        if self.streams[at].layout.is_none()
            && !self.is_full()
            && let Some(schema) = self.schema(name)
        {
            self.definitions_length += schema.data.len();
            self.streams[at].layout = Layout::of(&schema);
            self.streams[at].schema = Some(Arc::new(schema));
        }
        Some(channel)
    }

    /// Returns whether definitions are too long for further streams to get theirs.
    pub(super) fn is_full(&self) -> bool {
        self.definitions_length >= DEFINITIONS_LIMIT
    }

    /// Returns the channel of an instance of a message.
    pub(super) fn find(&self, name: &str, instance: u8) -> Option<u16> {
        self.channels.get(&(name.to_owned(), instance)).copied()
    }

    /// Returns the stream of a channel.
    #[inline]
    pub(super) fn get(&self, channel: u16) -> Option<&Stream> {
        self.streams.get(usize::from(channel).checked_sub(2)?)
    }

    /// Returns the format of a message and of everything in it.
    fn schema(&self, name: &str) -> Option<Schema> {
        let mut text = String::new();
        let mut told: BTreeSet<&str> = BTreeSet::new();
        let mut open = vec![name];
        while let Some(name) = open.pop() {
            let Some((name, fields)) = self.formats.get_key_value(name) else { continue };
            if !told.insert(name) {
                continue;
            }
            text.extend([name, ":", fields, "\n"]);
            let kinds = fields.split(';').filter_map(|field| field.split([' ', '[']).next());
            open.extend(kinds.filter(|kind| self.formats.contains_key(*kind) && !told.contains(kind)));
        }
        (!text.is_empty()).then(|| Schema { name: name.to_owned(), encoding: "ulog".to_owned(), data: text.into() })
    }

    /// Returns the topics by channel; `boot_ns` is when their times begin, 0 where that is not known.
    pub(super) fn topics(&self, boot_ns: i64) -> BTreeMap<u16, Arc<Topic>> {
        let mut instances: BTreeMap<&str, usize> = BTreeMap::new();
        self.streams.iter().for_each(|stream| *instances.entry(&stream.name).or_default() += 1);
        let topic = |(at, stream): (usize, &Stream)| {
            let alone = stream.instance == 0 && instances.get(stream.name.as_str()) == Some(&1);
            let name = if alone { format!("/{}", stream.name) } else { format!("/{}/{}", stream.name, stream.instance) };
            let mut metadata = BTreeMap::from([("multi_id".to_owned(), stream.instance.to_string())]);
            if boot_ns != 0 {
                metadata.insert(BOOT_KEY.to_owned(), boot_ns.to_string());
            }
            let topic = Topic { name, encoding: "ulog".to_owned(), schema: stream.schema.clone(), metadata };
            Some((u16::try_from(at + 2).ok()?, Arc::new(topic)))
        };
        self.streams.iter().enumerate().filter_map(topic).collect()
    }
}

impl Stream {
    /// Returns whether its format is known.
    pub(super) fn is_defined(&self) -> bool {
        self.layout.is_some()
    }

    /// Returns whether a payload can be one of its; `None` where its format is not known.
    #[inline]
    pub(super) fn fits(&self, payload: &[u8]) -> Option<bool> {
        self.layout.as_ref().map(|layout| (layout.least..=layout.whole).contains(&payload.len()))
    }

    /// Returns the time since boot in a payload; µs.
    #[inline]
    pub(super) fn time_us(&self, payload: &[u8]) -> Option<u64> {
        match &self.layout {
            Some(layout) => number(payload, layout.time?),
            // Every message of PX4 begins with it.
            None => number(payload, (0, 8)),
        }
    }

    /// Returns UTC and the kind of fix, where it is a GPS topic; µs.
    pub(super) fn utc(&self, payload: &[u8]) -> Option<(u64, Option<u64>)> {
        let layout = self.layout.as_ref()?;
        Some((number(payload, layout.utc?)?, layout.fix.and_then(|fix| number(payload, fix))))
    }
}

impl Layout {
    fn of(schema: &Schema) -> Option<Self> {
        let format = Format::parse(schema).ok()?;
        let gps = clock::TOPICS.contains(&schema.name.as_str());
        Some(Self {
            least: format.least,
            whole: format.whole,
            time: format.number_at("timestamp"),
            utc: format.number_at(clock::UTC_FIELD).filter(|_| gps),
            fix: format.number_at(clock::FIX_FIELD).filter(|_| gps),
        })
    }
}

/// Reads an unsigned number of `size` bytes.
#[inline]
fn number(payload: &[u8], (at, size): (usize, usize)) -> Option<u64> {
    let bytes = payload.get(at..at + size)?;
    if let Ok(bytes) = bytes.try_into() {
        return Some(u64::from_le_bytes(bytes));
    }
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}
