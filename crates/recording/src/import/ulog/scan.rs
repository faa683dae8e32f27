//! Reading a log front to back, in steps of about a megabyte.
//!
//! A block is a chain of whole messages without damage in it, so that loading it needs no search.
//!
//! **Invariant:** a step that fails has changed nothing; every byte of the file is in a message or in a loss.

mod belief;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::clock::Clock;
use super::message::{self, HEADER, Message, Parsed};
use super::streams::{Ids, LOG, PARAMETERS, Streams};
use super::values::Entry;
use crate::error::Result;
use crate::mcap::window;
use crate::source::ReadAt;

/// How much of a file a step reads.
const SLAB: u64 = 1 << 20;

/// How long a block becomes.
const BLOCK_LENGTH: u64 = 1 << 20;

/// How much must follow a message, where anything does, to tell whether it is one: three of the largest.
const LOOK_AHEAD: usize = 3 * (HEADER + u16::MAX as usize);

/// How many damaged places are told one by one.
const DAMAGE_LIMIT: usize = 10_000;

/// How many bytes of information are kept.
const INFO_LIMIT: usize = 16 << 20;

/// How many dropouts are kept.
const DROPOUT_LIMIT: usize = 100_000;

/// So many zeros where a message should begin are a hole.
const HOLE: usize = 16;

/// What a block of messages means for what follows.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    pub(super) ids: Arc<Ids>,
    /// Whether data has begun: parameters change then.
    pub(super) started: bool,
    /// The time of the last message.
    pub(super) last_us: u64,
}

/// A chain of messages.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    pub(super) offset: u64,
    pub(super) end: u64,
    pub(super) before: Before,
    pub(super) data: Content,
    /// Logged text and changes of parameters.
    pub(super) text: Content,
}

/// What a stretch holds of one kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) channels: BTreeSet<u16>,
    pub(super) times_us: Option<(u64, u64)>,
    pub(super) messages: u64,
}

impl Content {
    fn count(&mut self, channel: u16, time_us: u64) {
        self.channels.insert(channel);
        self.times_us = Some(self.times_us.map_or((time_us, time_us), |(first, last)| (first.min(time_us), last.max(time_us))));
        self.messages += 1;
    }
}

/// Bytes in which no message was found.
#[derive(Clone, Debug)]
pub(super) struct Damage {
    pub(super) from: u64,
    pub(super) to: u64,
    /// The times of the last message in front of it and of the first one behind it.
    pub(super) before_us: Option<u64>,
    pub(super) behind_us: Option<u64>,
    /// What a definition is about that it cuts, where it begins in one.
    pub(super) definition: Option<String>,
}

/// A time in which the logger could not keep up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dropout {
    pub(super) at_us: u64,
    pub(super) duration_ms: u16,
}

/// A data message that counts once what follows it is known.
#[derive(Clone, Copy, Debug)]
struct Pending {
    offset: u64,
    channel: u16,
    time_us: u64,
    ends_in_zero: bool,
}

/// A scan on its way, and what it found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    at: u64,
    pub(super) end: u64,
    /// Where appended data begins: whatever stands in front of it ends there.
    pub(super) appended: Vec<u64>,
    searching: Option<u64>,
    /// What the definition is about that the damage begins in.
    cut: Option<String>,
    /// How many bytes searches have looked at.
    looked: Cell<u64>,
    pending: Option<Pending>,
    state: Before,
    open: Option<Stretch>,
    pub(super) streams: Streams,
    pub(super) stretches: Vec<Stretch>,
    pub(super) damages: Vec<Damage>,
    pub(super) dropouts: Vec<Dropout>,
    pub(super) clock: Clock,
    pub(super) info: BTreeMap<String, String>,
    /// Information in parts: lists of parts by key.
    pub(super) parts: BTreeMap<String, Vec<Vec<String>>>,
    info_length: usize,
    pub(super) parameters: BTreeMap<String, String>,
    pub(super) defaults: [BTreeMap<String, String>; 2],
    /// Messages of types that nobody knows, by type.
    pub(super) odd: BTreeMap<u8, u64>,
    /// Data messages of subscriptions that are missing, by id.
    pub(super) orphans: BTreeMap<u16, u64>,
    pub(super) unknown_flags: bool,
}

impl Scan {
    /// Returns a scan from a byte of the file on.
    pub(super) fn new(at: u64, end: u64) -> Self {
        Self { at, end, ..Self::default() }
    }

    /// Reads on; returns whether the end is reached.
    ///
    /// # Errors
    /// Only what reading the source answers.
    pub(super) fn step(&mut self, source: &dyn ReadAt) -> Result<bool> {
        if self.at >= self.end {
            return Ok(true);
        }
        let length = (SLAB + LOOK_AHEAD as u64).min(self.end - self.at);
        let bytes = window::read(source, self.at, length)?;
        if (bytes.len() as u64) < length {
            // The file became shorter.
            self.end = self.at + bytes.len() as u64;
        }
        let base = self.at;
        while self.at < self.end && (self.at - base < SLAB || base + bytes.len() as u64 == self.end) {
            let wall = self.appended.iter().copied().find(|wall| *wall > self.at).unwrap_or(self.end).min(self.end);
            let visible = wall.min(base + bytes.len() as u64) - base;
            let (before, rest) = bytes[..visible as usize].split_at((self.at - base) as usize);
            let at_wall = base + visible == wall;
            match self.searching {
                Some(_) => self.search(rest, at_wall),
                None => self.message(before, rest, at_wall),
            }
            if self.at == wall {
                self.take_pending();
                self.close_damage();
                self.close();
            }
        }
        Ok(self.at >= self.end)
    }

    /// Returns the names of streams with messages whose format is lost.
    pub(super) fn undefined(&self) -> BTreeSet<&str> {
        let channels = self.stretches.iter().flat_map(|stretch| &stretch.data.channels);
        let streams = channels.filter_map(|channel| self.streams.get(*channel));
        streams.filter(|stream| !stream.is_defined()).map(|stream| stream.name.as_str()).collect()
    }

    /// Reads the message at the beginning of `bytes`, which end at a wall or reach far enough; `before` stands in front of them.
    fn message(&mut self, before: &[u8], bytes: &[u8], at_wall: bool) {
        let length = match self.believe(bytes, at_wall) {
            Some(length) => length,
            None => {
                self.damaged(before, bytes, at_wall);
                return;
            }
        };
        self.take_pending();
        let open = self.open.get_or_insert_with(|| Stretch {
            offset: self.at,
            end: self.at,
            before: self.state.clone(),
            data: Content::default(),
            text: Content::default(),
        });
        open.end = self.at + length as u64;
        match message::parse(bytes) {
            Parsed::Message(message, _) => self.take(&message, bytes.get(length - 1) == Some(&0)),
            Parsed::Odd(kind, _) => *self.odd.entry(kind).or_default() += 1,
            Parsed::Short(_) | Parsed::Nothing => {}
        }
        self.at += length as u64;
        if self.open.as_ref().is_some_and(|open| open.end - open.offset >= BLOCK_LENGTH) {
            self.take_pending();
            self.close();
        }
    }

    /// Finds out where the damage begins that shows here, and begins the search for its end.
    fn damaged(&mut self, before: &[u8], bytes: &[u8], at_wall: bool) {
        self.cut = if matches!(message::parse(bytes), Parsed::Short(_)) { message::cut_definition(bytes) } else { None };
        let hole = bytes.iter().take(HOLE).all(|byte| *byte == 0);
        let length = self.pending.map_or(0, |pending| (self.at - pending.offset) as usize).min(before.len());
        let tail = [&before[before.len() - length..], &bytes[..bytes.len().min(LOOK_AHEAD)]].concat();
        // Where bytes are missing, a message takes the beginning of the next one for its own end.
        let inside = (1..length).find(|at| self.begins(&tail[*at..], at_wall && bytes.len() <= LOOK_AHEAD));
        let (from, next) = match (self.pending, inside) {
            (Some(pending), Some(inside)) => (pending.offset, self.at - (length - inside) as u64),
            // A hole of zeros that begins inside of a message goes on behind it.
            (Some(pending), None) if hole && pending.ends_in_zero => (pending.offset, self.at + 1),
            _ => (self.at, self.at + 1),
        };
        if from < self.at {
            self.pending = None;
        }
        self.take_pending();
        if let Some(open) = &mut self.open {
            open.end = from;
        }
        self.close();
        self.searching = Some(from);
        self.at = next;
        if inside.is_some() {
            self.close_damage();
        }
    }

    /// Searches for the end of damage.
    fn search(&mut self, bytes: &[u8], at_wall: bool) {
        let far = if at_wall { bytes.len() } else { bytes.len().saturating_sub(LOOK_AHEAD).max(1) };
        let found = (0..far).find(|at| self.begins(&bytes[*at..], at_wall));
        match found {
            Some(at) => {
                self.at += at as u64;
                self.close_damage();
            }
            None => self.at += far as u64,
        }
    }

    fn take(&mut self, message: &Message<'_>, ends_in_zero: bool) {
        match *message {
            Message::Data(id, payload) => {
                let Some(channel) = self.state.ids.get(&id).copied() else {
                    *self.orphans.entry(id).or_default() += 1;
                    return;
                };
                let Some(stream) = self.streams.get(channel) else { return };
                let time_us = stream.time_us(payload).unwrap_or(self.state.last_us);
                if self.clock.is_open()
                    && let Some((utc_us, fix)) = stream.utc(payload)
                {
                    self.clock.tell(&stream.name, time_us, utc_us, fix);
                }
                self.pending = Some(Pending { offset: self.at, channel, time_us, ends_in_zero });
            }
            Message::Text { time_us, .. } => self.text(LOG, time_us),
            Message::Parameter(_) if self.state.started => self.text(PARAMETERS, self.state.last_us),
            Message::Parameter(entry) => {
                self.parameters.insert(entry.key.to_owned(), entry.to_text());
            }
            Message::Default(entry, kinds) => {
                for (bit, defaults) in self.defaults.iter_mut().enumerate().filter(|(bit, _)| kinds & (1 << bit) != 0) {
                    debug_assert!(bit < 2);
                    defaults.insert(entry.key.to_owned(), entry.to_text());
                }
            }
            Message::Info(entry) => self.info(entry, None),
            Message::InfoPart(entry, continued) => self.info(entry, Some(continued)),
            Message::Format(text) => self.streams.format(text),
            Message::Dropout(duration_ms) if self.dropouts.len() < DROPOUT_LIMIT => {
                self.dropouts.push(Dropout { at_us: self.state.last_us, duration_ms });
            }
            Message::Flags { incompatible, appended } if self.at == message::FILE_HEADER => {
                if incompatible[0] & 1 != 0 {
                    self.appended = appended.into_iter().filter(|offset| *offset > self.at).collect();
                    self.appended.sort_unstable();
                }
                self.unknown_flags = incompatible[0] & !1 != 0 || incompatible[1..] != [0; 7];
            }
            Message::Subscribe { name, instance, id } => {
                if let Some(channel) = self.streams.subscribe(name, instance)
                    && self.state.ids.get(&id) != Some(&channel)
                {
                    Arc::make_mut(&mut self.state.ids).insert(id, channel);
                }
            }
            Message::Unsubscribe(id) => {
                Arc::make_mut(&mut self.state.ids).remove(&id);
            }
            Message::Flags { .. } | Message::Dropout(_) | Message::Sync => {}
        }
        self.state.started |= starts(message);
    }

    fn info(&mut self, entry: Entry<'_>, part: Option<bool>) {
        let text = entry.to_text();
        self.info_length += entry.key.len() + text.len();
        if self.info_length > INFO_LIMIT {
            return;
        }
        let Some(continued) = part else {
            self.info.insert(entry.key.to_owned(), text);
            return;
        };
        let lists = self.parts.entry(entry.key.to_owned()).or_default();
        match lists.last_mut().filter(|_| continued) {
            Some(list) => list.push(text),
            None => lists.push(vec![text]),
        }
    }

    fn text(&mut self, channel: u16, time_us: u64) {
        if let Some(open) = &mut self.open {
            open.text.count(channel, time_us);
        }
    }

    fn take_pending(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        self.state.last_us = pending.time_us;
        if let Some(open) = &mut self.open {
            open.data.count(pending.channel, pending.time_us);
        }
        if let Some(damage) = self.damages.last_mut().filter(|damage| damage.behind_us.is_none()) {
            damage.behind_us = Some(pending.time_us);
        }
    }

    fn close(&mut self) {
        self.stretches.extend(self.open.take().filter(|open| open.data.messages + open.text.messages > 0));
    }

    fn close_damage(&mut self) {
        let Some(from) = self.searching.take() else { return };
        let before_us = self.state.started.then_some(self.state.last_us);
        let definition = self.cut.take();
        let full = self.damages.len() >= DAMAGE_LIMIT;
        match self.damages.last_mut().filter(|last| full || last.to == from) {
            Some(last) => last.to = self.at,
            None => self.damages.push(Damage { from, to: self.at, before_us, behind_us: None, definition }),
        }
    }
}

/// Returns whether with this message the data begins.
pub(super) fn starts(message: &Message<'_>) -> bool {
    matches!(message, Message::Subscribe { .. } | Message::Data(..) | Message::Text { .. })
}
