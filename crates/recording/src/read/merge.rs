//! Messages in order, from many blocks of many files.
//!
//! **Invariant:** a block is in memory only from when its first message's turn comes until its last one is taken; where too many
//! overlap for that, each is read again for the next portion of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;
use std::sync::Arc;

use super::Inner;
use super::cache::Pass;
use super::cursor::{Cursor, OpenUnit, Portion};
use super::request::{Request, Table};
use super::unit::{Unit, at};
use crate::container::Location;
use crate::error::{Kind, Result};
use crate::loss::Loss;
use crate::mcap::decompress::Decompressor;
use crate::message::{Identity, Message};

/// How many losses one pass lists; a file can be damaged in more places than anybody reads.
const LOSS_LIMIT: usize = 10_000;

/// How many bytes of blocks are held while their messages wait for their turn.
const HELD_LIMIT: usize = 256 << 20;

/// The least that is kept of a block that is read in portions.
const PORTION: usize = 64 << 10;

/// An iterator over messages. [`Messages::losses`] tells, as it goes, what cannot be read.
pub struct Messages {
    inner: Arc<Inner>,
    request: Request,
    /// Files whose turn has not come: (first log time, number), the next one last.
    units: Vec<(i64, usize)>,
    blocks: BinaryHeap<Reverse<WaitingBlock>>,
    cursors: BinaryHeap<Cursor>,
    current: Option<Cursor>,
    /// When the next file or block must be looked at.
    wake_ns: Option<i64>,
    last: Option<Identity>,
    held: usize,
    held_limit: usize,
    decompressor: Decompressor,
    losses: Vec<Loss>,
    /// What it shares with other passes over the recording.
    pass: Option<Pass>,
}

struct WaitingBlock {
    start_ns: i64,
    unit: Arc<OpenUnit>,
    block: usize,
    /// How many of its messages were read.
    skip: usize,
}

/// A message and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Located<'a> {
    /// The message.
    pub message: Message,
    /// The file that holds it; `None` for latched values that were gathered from several.
    pub file: Option<&'a Path>,
    /// Where its payload stands in it; `None` where the format has no byte ranges. Of a file that is compressed as a whole, it is
    /// the place in the uncompressed file.
    pub location: Option<Location>,
}

impl Messages {
    /// Returns the messages of those files that `wanted` takes.
    pub(super) fn new(inner: Arc<Inner>, request: Request, wanted: impl Fn(&Unit) -> bool) -> Self {
        let chosen = inner.units.iter().enumerate().filter(|(_, unit)| wanted(unit) && unit.touches(request.span));
        let mut units: Vec<(i64, usize)> =
            chosen.map(|(number, unit)| (unit.times_ns.map_or(i64::MIN, |(start_ns, _)| start_ns), number)).collect();
        units.sort_unstable_by_key(|unit| Reverse(*unit));
        let losses = inner.losses.iter().filter(|loss| request.concerns(loss)).cloned().collect();
        let mut messages = Self {
            inner,
            request,
            units,
            blocks: BinaryHeap::new(),
            cursors: BinaryHeap::new(),
            current: None,
            wake_ns: None,
            last: None,
            held: 0,
            held_limit: HELD_LIMIT,
            decompressor: Decompressor::default(),
            losses,
            pass: None,
        };
        messages.set_wake();
        messages
    }

    /// Returns what of the asked messages cannot be read, as far as the iteration has come; complete at its end.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// Takes blocks from other passes over the recording, and leaves its own for them.
    pub(super) fn share(&mut self, pass: Option<Pass>) {
        self.pass = pass;
    }

    /// Returns whether it has unpacked blocks that it shares with other passes ([`super::Recording::keeping`]).
    pub fn unpacks(&self) -> bool {
        self.pass.as_ref().is_some_and(|pass| pass.unpacked)
    }

    /// Unpacks blocks for other passes, the last one first, until one is there already or no more are kept.
    pub(super) fn unpack_backwards(mut self, go_on: impl Fn() -> bool) {
        while !self.units.is_empty() {
            if !go_on() || self.open_unit().is_err() {
                return;
            }
        }
        let Some(mut pass) = self.pass else { return };
        // What comes first of a heap stands last in it.
        for Reverse(WaitingBlock { unit, block, .. }) in self.blocks.into_sorted_vec() {
            if !go_on() || !pass.has_room() || pass.get(unit.number, block).is_some() {
                return;
            }
            unit.unpack(block, &mut pass, &mut self.decompressor);
        }
    }

    pub(super) fn add_latched(&mut self, messages: Vec<Message>) {
        self.cursors.extend(Cursor::ready(messages));
    }

    pub(super) fn add_losses(&mut self, losses: Vec<Loss>) {
        for loss in losses {
            if self.losses.len() > LOSS_LIMIT || !self.request.concerns(&loss) || self.losses.contains(&loss) {
                continue;
            }
            if self.losses.len() == LOSS_LIMIT {
                let reason = format!("there are more than {LOSS_LIMIT} losses; the others are not listed");
                self.losses.push(Loss { topic: None, start_ns: None, end_ns: None, messages: None, bytes: None, reason });
                return;
            }
            self.losses.push(loss);
        }
    }

    /// Adds the losses of a file, where they concern what is asked for.
    fn lose(&mut self, losses: &[Loss], unit: &OpenUnit) {
        let corrected = losses.iter().map(|loss| corrected(loss, unit.role.correction_ns));
        let own = corrected.filter(|loss| self.request.concerns_file(loss, &unit.role)).collect();
        self.add_losses(own);
    }

    /// Sets how many bytes of blocks may wait in memory for their turn; of a single block, one message at least does.
    pub fn hold_at_most(&mut self, bytes: usize) {
        self.held_limit = bytes;
    }

    /// Returns the next message and where it stands: what a catalog stores to read it again by its byte range.
    ///
    /// # Errors
    /// What reading answers.
    pub fn next_located(&mut self) -> Option<Result<Located<'_>>> {
        let mut place = None;
        let (message, _) = match self.next_with(|cursor| place = cursor.location())? {
            Ok(next) => next,
            Err(error) => return Some(Err(error)),
        };
        let (unit, location) = place.unzip();
        let file = unit.and_then(|unit: usize| self.inner.units.get(unit)).map(|unit| unit.path.as_path());
        Some(Ok(Located { message, file, location }))
    }

    /// Returns the next message and whether it is a latched value.
    #[inline]
    pub(super) fn next_message(&mut self) -> Option<Result<(Message, bool)>> {
        self.next_with(|_| {})
    }

    /// Returns the next message, after `look` has seen where it is taken from.
    #[inline]
    fn next_with(&mut self, mut look: impl FnMut(&Cursor)) -> Option<Result<(Message, bool)>> {
        loop {
            if let Err(error) = self.settle() {
                return Some(Err(error));
            }
            let cursor = self.current.as_mut()?;
            look(cursor);
            let taken = cursor.take();
            if !cursor.advance() {
                self.held = self.held.saturating_sub(cursor.held());
                self.current = None;
            }
            let Some((message, latched)) = taken else { continue };
            // The same message from another buffer has the same time and sequence and a higher rank: it comes next.
            if message.identity.is_some() && message.identity == self.last {
                continue;
            }
            self.last = message.identity;
            return Some(Ok((message, latched)));
        }
    }

    /// Makes `current` the cursor with the first message of all.
    #[inline]
    fn settle(&mut self) -> Result<()> {
        loop {
            if self.current.is_none() {
                self.current = self.cursors.pop();
            }
            if let Some(wake_ns) = self.wake_ns
                && self.current.as_ref().is_none_or(|cursor| wake_ns <= cursor.key.time_ns)
            {
                let outcome = self.wake();
                self.set_wake();
                outcome?;
                continue;
            }
            if let (Some(current), Some(mut first)) = (&mut self.current, self.cursors.peek_mut())
                && first.key < current.key
            {
                std::mem::swap(current, &mut first);
            }
            return Ok(());
        }
    }

    fn set_wake(&mut self) {
        let unit = self.units.last().map(|(start_ns, _)| *start_ns);
        let block = self.blocks.peek().map(|Reverse(block)| block.start_ns);
        self.wake_ns = [unit, block].into_iter().flatten().min();
    }

    /// Opens the file, or loads the block, whose turn has come.
    fn wake(&mut self) -> Result<()> {
        let block_ns = self.blocks.peek().map(|Reverse(block)| block.start_ns);
        match self.units.last() {
            Some((start_ns, _)) if block_ns.is_none_or(|block_ns| *start_ns <= block_ns) => self.open_unit(),
            _ => self.load_block(),
        }
    }

    fn open_unit(&mut self) -> Result<()> {
        let Some((_, number)) = self.units.pop() else { return Ok(()) };
        let inner = self.inner.clone();
        let unit = &inner.units[number];
        let opened = unit.content().and_then(|content| Ok((content, unit.source()?)));
        let (content, source) = match opened {
            Ok(opened) => opened,
            Err(error) if error.kind() == Kind::NotFound => {
                let (start_ns, end_ns) = unit.times_ns.unzip();
                let reason = format!("the file is gone: {}", unit.path.display());
                self.add_losses(vec![Loss { topic: None, start_ns, end_ns, messages: None, bytes: None, reason }]);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let table = Table::new(&self.request, &unit.role, &content);
        let unit = Arc::new(OpenUnit {
            source,
            table,
            role: unit.role.clone(),
            number,
            latched: unit.latched,
            latched_before_ns: unit.latched_before_ns,
            content,
        });
        self.lose(&unit.content.index().losses, &unit);
        for (index, block) in unit.content.index().blocks.iter().enumerate() {
            let (start_ns, end_ns) = unit.times_ns(block);
            let takes = |channels: &Vec<u16>| channels.iter().any(|id| unit.table.takes(*id, start_ns, end_ns));
            let wanted = block.channels.as_ref().is_none_or(takes);
            if wanted && self.request.span.touches(start_ns, end_ns) {
                self.blocks.push(Reverse(WaitingBlock { start_ns, unit: unit.clone(), block: index, skip: 0 }));
            }
        }
        Ok(())
    }

    fn load_block(&mut self) -> Result<()> {
        let Some(Reverse(WaitingBlock { start_ns, unit, block, skip })) = self.blocks.pop() else { return Ok(()) };
        let path = || &self.inner.units[unit.number].path;
        let room = self.held_limit.saturating_sub(self.held);
        let share = self.held_limit / (self.cursors.len() + 1);
        let portion = Portion { skip, limit: room.max(share).max(PORTION.min(self.held_limit)) };
        let loaded = match Cursor::load(&unit, block, portion, &mut self.decompressor, self.pass.as_mut()) {
            Ok(loaded) => loaded,
            Err(error) => {
                // Once somebody has fed what is missing, the block is loaded after all.
                if error.lacks_bytes() {
                    self.blocks.push(Reverse(WaitingBlock { start_ns, unit: unit.clone(), block, skip }));
                }
                return Err(at(path(), error));
            }
        };
        match loaded {
            Ok(loaded) => {
                if skip == 0 {
                    self.lose(&loaded.losses, &unit);
                }
                if let Some((skip, start_ns)) = loaded.rest {
                    self.blocks.push(Reverse(WaitingBlock { start_ns, unit, block, skip }));
                }
                self.held += loaded.cursor.as_ref().map_or(0, Cursor::held);
                self.cursors.extend(loaded.cursor);
            }
            Err(why) => {
                let losses = unit.content.stored.container().losses(&*unit.source, block, &why).map_err(|error| at(path(), error))?;
                self.lose(&losses, &unit);
            }
        }
        Ok(())
    }
}

fn corrected(loss: &Loss, correction_ns: i64) -> Loss {
    let shift = |time: Option<i64>| time.map(|time| time.saturating_add(correction_ns));
    Loss { start_ns: shift(loss.start_ns), end_ns: shift(loss.end_ns), ..loss.clone() }
}

impl Iterator for Messages {
    type Item = Result<Message>;

    #[inline]
    fn next(&mut self) -> Option<Result<Message>> {
        self.next_message().map(|next| next.map(|(message, _)| message))
    }
}

impl Ord for WaitingBlock {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.start_ns, self.unit.number, self.block).cmp(&(other.start_ns, other.unit.number, other.block))
    }
}

impl PartialOrd for WaitingBlock {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for WaitingBlock {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for WaitingBlock {}
