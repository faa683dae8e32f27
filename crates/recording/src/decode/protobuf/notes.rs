//! Where the fields of a protobuf message stand: what is noted when it is looked through.
//!
//! **Invariant:** there is one note for each field that the payload holds, and none of a message that was closed.

use std::collections::HashMap;
use std::ops::Range;

use crate::error::Result;
use crate::schema::Type;
use crate::schema::protobuf::wire::{Value, Wire};
use crate::schema::protobuf::{Coding, Writing};

/// No note.
pub(super) const NONE: u32 = u32::MAX;

/// Field numbers up to this one are found by their place in a table.
const DENSE_LIMIT: u32 = 256;

/// How the fields of a type are found by their numbers.
#[derive(Debug)]
pub(super) struct Plan {
    /// By number: the index of the field, or `NONE`.
    dense: Vec<u32>,
    /// Numbers above those, sorted, with the index of the field.
    sparse: Vec<(u32, u32)>,
    /// By index: the list of fields of which only the last one counts, or `NONE`.
    oneofs: Vec<u32>,
    oneof_count: usize,
}

impl Plan {
    pub(super) fn of(one: &Type, codings: &[Coding]) -> Self {
        let mut plan = Self { dense: Vec::new(), sparse: Vec::new(), oneofs: Vec::new(), oneof_count: 0 };
        let mut known = HashMap::new();
        for (index, (field, coding)) in (0..).zip(one.fields.iter().zip(codings)) {
            if field.number < DENSE_LIMIT {
                let place = field.number as usize;
                plan.dense.resize(plan.dense.len().max(place + 1), NONE);
                plan.dense[place] = index;
            } else {
                plan.sparse.push((field.number, index));
            }
            let next = known.len() as u32;
            plan.oneofs.push(coding.oneof.map_or(NONE, |oneof| *known.entry(oneof).or_insert(next)));
        }
        plan.sparse.sort_unstable();
        plan.oneof_count = known.len();
        plan
    }

    #[inline]
    fn index(&self, number: u32) -> Option<usize> {
        let index = match self.dense.get(number as usize) {
            Some(index) => *index,
            None => self.sparse.binary_search_by_key(&number, |(number, _)| *number).map_or(NONE, |place| self.sparse[place].1),
        };
        (index != NONE).then_some(index as usize)
    }
}

/// A field that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// The number itself, or where bytes start and end.
    bits: u64,
    /// The next one of the same field.
    pub(super) next: u32,
    holds: Holds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Varint,
    Fixed64,
    Fixed32,
    Sized,
    Group,
}

impl Found {
    /// Returns a note of bytes between two places of the payload.
    pub(super) fn sized(start: u32, end: u32) -> Self {
        Self { bits: u64::from(start) << 32 | u64::from(end), next: NONE, holds: Holds::Sized }
    }

    /// Returns a note of a value in a payload.
    pub(super) fn of(value: Value<'_>, payload: &[u8]) -> Self {
        let range = |bytes: &[u8]| {
            let start = (bytes.as_ptr() as usize).saturating_sub(payload.as_ptr() as usize).min(payload.len() - bytes.len());
            (start as u64) << 32 | (start + bytes.len()) as u64
        };
        let (bits, holds) = match value {
            Value::Varint(bits) => (bits, Holds::Varint),
            Value::Fixed64(bits) => (bits, Holds::Fixed64),
            Value::Fixed32(bits) => (u64::from(bits), Holds::Fixed32),
            Value::Sized(bytes) => (range(bytes), Holds::Sized),
            Value::Group(bytes) => (range(bytes), Holds::Group),
        };
        Self { bits, next: NONE, holds }
    }

    /// Returns the note without those that follow.
    pub(super) fn alone(self) -> Self {
        Self { next: NONE, ..self }
    }

    /// Returns where its bytes are.
    pub(super) fn range(&self) -> Range<usize> {
        match self.holds {
            Holds::Sized | Holds::Group => (self.bits >> 32) as usize..(self.bits as u32) as usize,
            _ => 0..0,
        }
    }

    /// Returns what it holds.
    pub(super) fn value<'a>(&self, payload: &'a [u8]) -> Value<'a> {
        match self.holds {
            Holds::Varint => Value::Varint(self.bits),
            Holds::Fixed64 => Value::Fixed64(self.bits),
            Holds::Fixed32 => Value::Fixed32(self.bits as u32),
            Holds::Sized => Value::Sized(&payload[self.range()]),
            Holds::Group => Value::Group(&payload[self.range()]),
        }
    }
}

/// The notes of one field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) first: u32,
    pub(super) last: u32,
}

const EMPTY: Slot = Slot { first: NONE, last: NONE };

/// The notes of the messages that are open: each within the one before.
#[derive(Debug, Default)]
pub(super) struct Notes {
    found: Vec<Found>,
    /// For each open message a slot for each field, and then one for each `oneof`: in `first` the field that is there.
    slots: Vec<Slot>,
}

/// Where the notes of an open message begin.
#[derive(Debug)]
pub(super) struct Opened {
    found: usize,
    slots: usize,
}

impl Notes {
    /// Keeps a note until the message that is open is closed, or until [`Self::drop_last`].
    pub(super) fn keep(&mut self, found: Found) -> u32 {
        self.found.push(found);
        self.found.len() as u32 - 1
    }

    pub(super) fn drop_last(&mut self) {
        self.found.pop();
    }

    pub(super) fn found(&self, at: u32) -> Found {
        self.found[at as usize]
    }

    pub(super) fn slot(&self, opened: &Opened, index: usize) -> Slot {
        self.slots[opened.slots + index]
    }

    pub(super) fn open(&mut self, plan: &Plan) -> Opened {
        let opened = Opened { found: self.found.len(), slots: self.slots.len() };
        self.slots.resize(opened.slots + plan.oneofs.len() + plan.oneof_count, EMPTY);
        opened
    }

    pub(super) fn close(&mut self, opened: Opened) {
        self.found.truncate(opened.found);
        self.slots.truncate(opened.slots);
    }

    /// Notes the fields in a part of the message that is open.
    pub(super) fn look_through(
        &mut self,
        payload: &[u8],
        range: Range<usize>,
        plan: &Plan,
        codings: &[Coding],
        opened: &Opened,
    ) -> Result<()> {
        let mut wire = Wire::of(&payload[range]);
        while let Some((number, value)) = wire.next()? {
            let Some(index) = plan.index(number) else { continue };
            let coding = &codings[index];
            let is_packed = matches!(value, Value::Sized(_)) && coding.is_list;
            if !is_packed && !fits(coding.held(), value) {
                continue;
            }
            let at = self.keep(Found::of(value, payload));
            let oneof = plan.oneofs[index];
            if oneof != NONE {
                let there = opened.slots + plan.oneofs.len() + oneof as usize;
                let before = std::mem::replace(&mut self.slots[there].first, index as u32);
                if before != index as u32 && before != NONE {
                    self.slots[opened.slots + before as usize] = EMPTY;
                }
            }
            let slot = &mut self.slots[opened.slots + index];
            let last = std::mem::replace(&mut slot.last, at);
            if last == NONE {
                slot.first = at;
            } else {
                self.found[last as usize].next = at;
            }
        }
        Ok(())
    }
}

/// Returns whether a value can be of a field that is written so; if not, it is an unknown field.
pub(super) fn fits(writing: Writing, value: Value<'_>) -> bool {
    match writing {
        Writing::Bool | Writing::Signed | Writing::Unsigned | Writing::Zigzag | Writing::Enum => matches!(value, Value::Varint(_)),
        Writing::Fixed32 => matches!(value, Value::Fixed32(_)),
        Writing::Fixed64 => matches!(value, Value::Fixed64(_)),
        Writing::String => matches!(value, Value::Sized(_)),
        Writing::Bytes | Writing::Message => matches!(value, Value::Sized(_) | Value::Group(_)),
    }
}
