//! The columns of a batch while it grows: one node per column, part of a column, or way to one.
//!
//! **Invariant:** after a whole message every top column has as many rows as there were messages; [`Table::truncate`] makes it so
//! again after half of one, without having noted anything before.

use arrow_schema::FieldRef;

use super::super::json_writer::{Names, Open};
use super::super::path::Key;
use super::super::sink::{Number, Width};

/// The node that is none: what is not wanted.
pub(crate) const NONE: u32 = u32::MAX;

/// All nodes of a batch.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) nodes: Vec<Node>,
    /// The node that whole messages go into: a [`Store::Route`].
    pub(crate) root: u32,
    /// Top columns, in the order in which they were asked for.
    pub(crate) top: Vec<u32>,
    /// How many whole messages there are.
    pub(crate) rows: usize,
    pub(super) row: Row,
}

/// Where a sink stands within a message.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) frames: Vec<Frame>,
    /// What was wrong first.
    pub(super) problem: Option<String>,
    /// The column that takes a value as JSON, and that value so far.
    pub(super) json: Option<u32>,
    pub(super) json_text: Vec<u8>,
    pub(super) json_open: Vec<Open>,
    pub(super) names: std::sync::Arc<Names>,
}

/// Something that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) node: u32,
    /// Where the next value goes.
    pub(super) target: u32,
    /// How many elements or entries there were.
    pub(super) count: u32,
}

/// A column, a part of one, or a way to one.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) store: Store,
    /// The rows that are null, by rising number.
    pub(crate) nulls: Vec<u32>,
    /// How many rows there are, of structs and fixed lists that a sink fills; others know by themselves.
    pub(crate) rows: usize,
    /// What Arrow calls it; `None` for ways.
    pub(crate) field: Option<FieldRef>,
}

/// What a node holds.
#[derive(Debug)]
pub(crate) enum Store {
    /// A struct that is no column: where each of its fields goes.
    Route(Vec<u32>),
    /// A list of which only some elements are columns, by index.
    Pick(Vec<(u32, u32)>),
    /// A map of which only some values are columns.
    PickKey(Vec<(Key, u32)>),
    Number(Number, Values),
    Text(Slices),
    Bytes(Slices),
    /// Text that is the JSON of a value of any shape.
    Json(Slices),
    Struct(Vec<u32>),
    List {
        offsets: Vec<i32>,
        element: u32,
    },
    /// A list of entries: structs of `key` and `value`.
    Map {
        offsets: Vec<i32>,
        entry: u32,
        key: u32,
        value: u32,
    },
    FixedList {
        length: u32,
        element: u32,
    },
}

/// Numbers as they stand in memory, whatever their sign or kind.
#[derive(Debug)]
pub(crate) enum Values {
    W1(Vec<u8>),
    W2(Vec<u16>),
    W4(Vec<u32>),
    W8(Vec<u64>),
}

/// Bytes of any length per row.
#[derive(Debug)]
pub(crate) struct Slices {
    pub(crate) offsets: Vec<i32>,
    pub(crate) bytes: Vec<u8>,
}

impl Slices {
    pub(crate) fn new() -> Self {
        Self { offsets: vec![0], bytes: Vec::new() }
    }

    /// Returns what there is, and begins anew with as much room.
    pub(super) fn take(&mut self) -> Self {
        let mut offsets = Vec::with_capacity(self.offsets.len());
        offsets.push(0);
        let next = Self { offsets, bytes: Vec::with_capacity(self.bytes.len()) };
        std::mem::replace(self, next)
    }

    /// Ends a row; false where there is more than Arrow can count.
    #[inline]
    pub(crate) fn end_row(&mut self) -> bool {
        let end = i32::try_from(self.bytes.len());
        self.offsets.push(end.unwrap_or(i32::MAX));
        end.is_ok()
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.bytes.truncate(self.offsets.last().map_or(0, |end| *end as usize));
    }
}

impl Values {
    pub(crate) fn with_capacity(width: Width, rows: usize) -> Self {
        match width {
            Width::W1 => Self::W1(Vec::with_capacity(rows)),
            Width::W2 => Self::W2(Vec::with_capacity(rows)),
            Width::W4 => Self::W4(Vec::with_capacity(rows)),
            Width::W8 => Self::W8(Vec::with_capacity(rows)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::W1(values) => values.len(),
            Self::W2(values) => values.len(),
            Self::W4(values) => values.len(),
            Self::W8(values) => values.len(),
        }
    }

    fn truncate(&mut self, rows: usize) {
        match self {
            Self::W1(values) => values.truncate(rows),
            Self::W2(values) => values.truncate(rows),
            Self::W4(values) => values.truncate(rows),
            Self::W8(values) => values.truncate(rows),
        }
    }

    /// Adds the low bytes of a number.
    #[inline]
    pub(crate) fn push(&mut self, value: u64) {
        match self {
            Self::W1(values) => values.push(value as u8),
            Self::W2(values) => values.push(value as u16),
            Self::W4(values) => values.push(value as u32),
            Self::W8(values) => values.push(value),
        }
    }

    /// Adds numbers that stand one behind the other. Bytes of booleans become 0 or 1 when the batch is finished.
    #[inline]
    pub(crate) fn extend(&mut self, bytes: &[u8], big_endian: bool) {
        macro_rules! extend {
            ($values:expr, $type:ty) => {{
                let (numbers, _) = bytes.as_chunks();
                match big_endian {
                    true => $values.extend(numbers.iter().map(|one| <$type>::from_be_bytes(*one))),
                    false => $values.extend(numbers.iter().map(|one| <$type>::from_le_bytes(*one))),
                }
            }};
        }
        match self {
            Self::W1(values) => values.extend_from_slice(bytes),
            Self::W2(values) => extend!(values, u16),
            Self::W4(values) => extend!(values, u32),
            Self::W8(values) => extend!(values, u64),
        }
    }
}

impl Table {
    /// Returns how many rows a node has. Ways have none; of structs and fixed lists only those that a sink filled are known.
    pub(super) fn rows_of(&self, node: u32) -> Option<usize> {
        let node = &self.nodes[node as usize];
        match &node.store {
            Store::Route(_) | Store::Pick(_) | Store::PickKey(_) => None,
            Store::Number(_, values) => Some(values.len()),
            Store::Text(slices) | Store::Bytes(slices) | Store::Json(slices) => Some(slices.offsets.len() - 1),
            Store::List { offsets, .. } | Store::Map { offsets, .. } => Some(offsets.len() - 1),
            Store::Struct(_) | Store::FixedList { .. } => Some(node.rows),
        }
    }

    /// Adds null as row number `row` of a node, and of every column that it leads to.
    pub(crate) fn push_null(&mut self, id: u32, row: usize) {
        let node = &mut self.nodes[id as usize];
        if node.field.is_some() {
            node.nulls.push(row as u32);
        }
        node.rows = row + 1;
        match &mut node.store {
            Store::Number(_, values) => values.push(0),
            Store::Text(slices) | Store::Bytes(slices) | Store::Json(slices) => {
                slices.end_row();
            }
            Store::List { offsets, .. } | Store::Map { offsets, .. } => offsets.push(offsets.last().copied().unwrap_or(0)),
            Store::FixedList { length, element } => {
                let (length, element) = (*length as usize, *element);
                for index in 0..length {
                    self.push_null(element, row * length + index);
                }
            }
            Store::Route(_) | Store::Pick(_) | Store::PickKey(_) | Store::Struct(_) => {
                for child in 0..self.children(id) {
                    let child = self.child(id, child);
                    if child != NONE {
                        self.push_null(child, row);
                    }
                }
            }
        }
    }

    /// Returns how many nodes hang below a struct or a way.
    pub(super) fn children(&self, id: u32) -> usize {
        match &self.nodes[id as usize].store {
            Store::Route(children) | Store::Struct(children) => children.len(),
            Store::Pick(picks) => picks.len(),
            Store::PickKey(picks) => picks.len(),
            _ => 0,
        }
    }

    pub(super) fn child(&self, id: u32, index: usize) -> u32 {
        match &self.nodes[id as usize].store {
            Store::Route(children) | Store::Struct(children) => children[index],
            Store::Pick(picks) => picks[index].1,
            Store::PickKey(picks) => picks[index].1,
            _ => NONE,
        }
    }

    /// Takes back everything behind the first `rows` messages.
    pub(crate) fn truncate(&mut self, rows: usize) {
        self.rows = rows;
        for index in 0..self.top.len() {
            self.truncate_node(self.top[index], rows);
        }
        self.row.frames.clear();
        self.row.json = None;
        self.row.json_open.clear();
    }

    fn truncate_node(&mut self, id: u32, rows: usize) {
        let node = &mut self.nodes[id as usize];
        let kept = node.nulls.partition_point(|row| (*row as usize) < rows);
        node.nulls.truncate(kept);
        node.rows = rows;
        match &mut node.store {
            Store::Route(_) | Store::Pick(_) | Store::PickKey(_) => {}
            Store::Number(_, values) => values.truncate(rows),
            Store::Text(slices) | Store::Bytes(slices) | Store::Json(slices) => slices.truncate(rows),
            Store::List { offsets, element: below } | Store::Map { offsets, entry: below, .. } => {
                offsets.truncate(rows + 1);
                let (below, kept) = (*below, offsets.last().map_or(0, |end| *end as usize));
                self.truncate_node(below, kept);
            }
            Store::FixedList { length, element } => {
                let (element, kept) = (*element, rows * *length as usize);
                self.truncate_node(element, kept);
            }
            Store::Struct(_) => {
                for child in 0..self.children(id) {
                    let child = self.child(id, child);
                    if child != NONE {
                        self.truncate_node(child, rows);
                    }
                }
            }
        }
    }
}
