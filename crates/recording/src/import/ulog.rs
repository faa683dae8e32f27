//! PX4 logs: read front to back, since nothing in them says where anything is, with everything that damage leaves.
//!
//! `message` and `values` take bytes apart, `streams` knows what is subscribed to, `clock` turns boot times into UTC.
//!
//! **Invariant:** only a failing source, or something that is no log at all, is an error.

mod clock;
mod message;
mod opening;
mod scan;
mod streams;
mod text;
mod values;

use std::sync::Arc;

pub use self::message::MAGIC;
use self::message::{HEADER, Message, Parsed};
pub use self::opening::{Opening, open};
use self::scan::Stretch;
use self::streams::{LOG, PARAMETERS, Streams};
use crate::container::{Chunk, Container, Index, Loaded, Place};
use crate::error::Result;
use crate::loss::Loss;
use crate::mcap::window;
use crate::source::ReadAt;

/// How the chunk of logged text and parameters is called: their payloads are made, they do not stand in the file.
const MADE: &str = "ulog";

/// A log that was understood.
#[derive(Debug)]
struct Log {
    index: Index,
    streams: Streams,
    blocks: Vec<Part>,
    /// The UTC time of the boot; ns.
    boot_ns: i64,
}

/// What a block takes of a stretch of the file.
#[derive(Clone, Debug)]
enum Part {
    /// Data messages, which stand there.
    Data(Arc<Stretch>),
    /// Logged text and changes of parameters, which become messages.
    Text(Arc<Stretch>),
}

impl Container for Log {
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
        let (Part::Data(stretch) | Part::Text(stretch)) = part;
        let bytes = window::read(source, stretch.offset, stretch.end - stretch.offset)?;
        let loaded = match part {
            Part::Data(_) => self.data(stretch, bytes, wanted),
            Part::Text(_) => self.text(stretch, &bytes, wanted),
        };
        Ok(Ok(loaded))
    }
}

impl Log {
    fn data(&self, stretch: &Stretch, bytes: Vec<u8>, wanted: &mut dyn FnMut(u16, i64) -> bool) -> Loaded {
        let mut places = Vec::new();
        let mut messages = 0;
        self.walk(stretch, &bytes, |at, message, channel, time_us| {
            let Message::Data(_, payload) = message else { return };
            messages += 1;
            let time_ns = clock::to_ns(time_us, self.boot_ns);
            if wanted(channel, time_ns) {
                // Blocks are small, so that both fit.
                let start = (at + HEADER + size_of::<u16>()) as u32;
                let length = payload.len() as u32;
                places.push(Place { log_time_ns: time_ns, publish_time_ns: time_ns, start, length, sequence: 0, channel });
            }
        });
        let losses = self.changed(stretch, stretch.data.messages.saturating_sub(messages));
        Loaded { bytes: bytes.into(), places, losses, chunk: None }
    }

    fn text(&self, stretch: &Stretch, bytes: &[u8], wanted: &mut dyn FnMut(u16, i64) -> bool) -> Loaded {
        let mut made = Vec::new();
        let mut places = Vec::new();
        let mut messages = 0;
        self.walk(stretch, bytes, |_, message, channel, time_us| {
            let start = made.len();
            match *message {
                Message::Text { level, tag, text, .. } => text::write_log(&mut made, level, tag, text),
                Message::Parameter(entry) => text::write_parameter(&mut made, entry),
                _ => return,
            }
            messages += 1;
            let time_ns = clock::to_ns(time_us, self.boot_ns);
            if !wanted(channel, time_ns) {
                made.truncate(start);
                return;
            }
            let (length, start) = ((made.len() - start) as u32, start as u32);
            places.push(Place { log_time_ns: time_ns, publish_time_ns: time_ns, start, length, sequence: 0, channel });
        });
        let losses = self.changed(stretch, stretch.text.messages.saturating_sub(messages));
        let chunk = Chunk { offset: stretch.offset, length: stretch.end - stretch.offset, compression: MADE.to_owned() };
        Loaded { bytes: made.into(), places, losses, chunk: Some(chunk) }
    }

    /// Gives each message of a stretch that becomes one to `each`: where it begins, what it is, its channel and time since boot.
    #[inline]
    fn walk<'a>(&self, stretch: &Stretch, bytes: &'a [u8], mut each: impl FnMut(usize, &Message<'a>, u16, u64)) {
        let mut state = stretch.before.clone();
        let mut at = 0;
        while at < bytes.len() {
            let (message, length) = match message::parse(&bytes[at..]) {
                Parsed::Message(message, length) => (message, length),
                Parsed::Odd(_, length) => {
                    at += length;
                    continue;
                }
                Parsed::Short(_) | Parsed::Nothing => return,
            };
            match message {
                Message::Data(id, payload) => {
                    let channel = state.ids.get(&id).copied();
                    if let Some((channel, stream)) = channel.and_then(|channel| Some((channel, self.streams.get(channel)?))) {
                        let time_us = stream.time_us(payload).unwrap_or(state.last_us);
                        each(at, &message, channel, time_us);
                        state.last_us = time_us;
                    }
                }
                Message::Text { time_us, .. } => each(at, &message, LOG, time_us),
                Message::Parameter(_) if state.started => each(at, &message, PARAMETERS, state.last_us),
                Message::Subscribe { name, instance, id } => {
                    if let Some(channel) = self.streams.find(name, instance).filter(|channel| state.ids.get(&id) != Some(channel)) {
                        Arc::make_mut(&mut state.ids).insert(id, channel);
                    }
                }
                Message::Unsubscribe(id) => {
                    Arc::make_mut(&mut state.ids).remove(&id);
                }
                _ => {}
            }
            state.started |= scan::starts(&message);
            at += length;
        }
    }

    fn changed(&self, stretch: &Stretch, missing: u64) -> Vec<Loss> {
        let reason = format!("the file changed at byte {}", stretch.offset);
        let loss = Loss { topic: None, start_ns: None, end_ns: None, messages: Some(missing), bytes: None, reason };
        (missing > 0).then_some(loss).into_iter().collect()
    }
}
