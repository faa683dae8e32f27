//! A plan carried out: payloads without tags as rows of columns.
//!
//! **Invariant:** only what the columns want is copied, and that once; a failed row is taken back by whoever asked for it.

use std::sync::Arc;

use super::columns::table::{NONE, Store, Table, Values};
use super::cursor::Cursor;
use super::layout::{Layout, Wire};
use super::plan::{Leaf, LeafKind, Planner, Step};
use super::sink::read;
use crate::error::Result;

/// How rows are made of payloads.
#[derive(Debug)]
pub(crate) struct RowPlan {
    layout: Arc<Layout>,
    steps: Vec<Step>,
    leaves: Vec<Leaf>,
}

impl RowPlan {
    /// Plans the columns of a table.
    pub(crate) fn new(layout: &Arc<Layout>, table: &Table) -> Result<Self> {
        let mut planner = Planner::new(layout, &table.nodes);
        let mut steps = Vec::new();
        let fields = match &layout.root {
            Wire::Struct(root) => root.fields.as_slice(),
            _ => &[],
        };
        let wanted = |index: &Option<usize>| match (&table.nodes[table.root as usize].store, index) {
            (Store::Route(children), Some(index)) => children.get(*index).copied().unwrap_or(NONE),
            _ => NONE,
        };
        // What stands behind the last column is not looked at.
        let end = fields.iter().rposition(|(index, _)| wanted(index) != NONE).map_or(0, |last| last + 1);
        for (index, wire) in &fields[..end] {
            planner.wire(wire, wanted(index), &mut steps)?;
        }
        planner.finish(&mut steps)?;
        Ok(Self { layout: layout.clone(), leaves: planner.leaves, steps })
    }

    /// Adds a message as a row; after an error the table must be truncated.
    pub(crate) fn push(&self, payload: &[u8], table: &mut Table) -> Result<()> {
        let mut cursor = self.layout.start(payload)?;
        if cursor.is_xcdr2() {
            // It is rare and aligned otherwise: it is walked along. The table counts rows for that.
            table.truncate(table.rows);
            table.begin_row();
            self.layout.walk(payload, table)?;
            return table.end_row();
        }
        self.run(&self.steps, &mut cursor, table)?;
        table.rows += 1;
        Ok(())
    }

    fn run(&self, steps: &[Step], cursor: &mut Cursor<'_>, table: &mut Table) -> Result<()> {
        for step in steps {
            match step {
                Step::Run { align, size, leaves } => {
                    cursor.align(*align);
                    let bytes = cursor.take(*size as usize)?;
                    copy(&self.leaves[leaves.start as usize..leaves.end as usize], bytes, cursor.big_endian, table);
                }
                Step::Text(node) => {
                    let bytes = cursor.text()?;
                    add_text(*node, bytes, table);
                }
                Step::WideText(node) => {
                    let text = cursor.wide_text()?;
                    add_text(*node, text.as_bytes(), table);
                }
                Step::Numbers { width, list, element } => {
                    let count = cursor.count((*width).into())?;
                    let bytes = numbers(count, *width, cursor)?;
                    if *list != NONE {
                        add_offset(*list, count, table);
                        if let Store::Number(_, values) = &mut table.nodes[*element as usize].store {
                            values.extend(bytes, cursor.big_endian);
                        }
                    }
                }
                Step::PickNumbers { width, picks } => {
                    let count = cursor.count((*width).into())?;
                    let bytes = numbers(count, *width, cursor)?;
                    for (index, node) in picks {
                        let at = *index as usize * usize::from(*width);
                        match (bytes.get(at..at + usize::from(*width)), &mut table.nodes[*node as usize].store) {
                            (Some(bytes), Store::Number(_, values)) => values.extend(bytes, cursor.big_endian),
                            _ => table.push_null(*node, table.rows),
                        }
                    }
                }
                Step::Elements { length, least, list, body } => {
                    let count = elements(*length, *least, cursor)?;
                    if *list != NONE {
                        add_offset(*list, count, table);
                    }
                    self.repeat(body, count, cursor, table)?;
                }
                Step::PickElements { length, least, picks, skip } => {
                    let count = elements(*length, *least, cursor)?;
                    for index in 0..count {
                        let picked = picks.iter().find(|picked| picked.index as usize == index);
                        self.run(picked.map_or(skip, |picked| &picked.steps), cursor, table)?;
                    }
                    for absent in picks.iter().filter(|picked| picked.index as usize >= count) {
                        table.push_null(absent.node, table.rows);
                    }
                }
                // Only ways to one value have those.
                Step::EnterNumbers { .. } | Step::Enter { .. } => {}
            }
        }
        Ok(())
    }

    /// Reads elements of a list.
    fn repeat(&self, body: &[Step], count: usize, cursor: &mut Cursor<'_>, table: &mut Table) -> Result<()> {
        let [Step::Run { align, size, leaves }] = body else {
            return (0..count).try_for_each(|_| self.run(body, cursor, table));
        };
        // All are of one size, so they are taken at once.
        let Some((bytes, stride)) = fixed_elements(count, *align, *size, cursor)? else { return Ok(()) };
        let leaves = &self.leaves[leaves.start as usize..leaves.end as usize];
        if !leaves.is_empty() {
            for index in 0..count {
                copy(leaves, &bytes[index * stride..], cursor.big_endian, table);
            }
        }
        Ok(())
    }
}

/// Returns the bytes of elements of a fixed size, and how far apart they begin; `None` where there are none.
pub(super) fn fixed_elements<'a>(count: usize, align: u8, size: u32, cursor: &mut Cursor<'a>) -> Result<Option<(&'a [u8], usize)>> {
    let Some(others) = count.checked_sub(1) else { return Ok(None) };
    let align_to = usize::from(align);
    let stride = (size as usize).next_multiple_of(align_to);
    cursor.align(align);
    // Behind the last one nothing is aligned.
    let length = others.saturating_mul(stride).saturating_add(size as usize);
    Ok(Some((cursor.take(length)?, stride)))
}

/// Reads or checks how many elements there are.
#[inline]
pub(super) fn elements(length: Option<u32>, least: usize, cursor: &mut Cursor<'_>) -> Result<usize> {
    match length {
        Some(length) => {
            cursor.elements(length as usize, least)?;
            Ok(length as usize)
        }
        None => cursor.count(least),
    }
}

/// Returns the bytes of so many numbers.
#[inline]
pub(super) fn numbers<'a>(count: usize, width: u8, cursor: &mut Cursor<'a>) -> Result<&'a [u8]> {
    if count == 0 {
        return Ok(&[]);
    }
    cursor.align(width);
    cursor.take(count.saturating_mul(width.into()))
}

/// Copies the numbers of a run.
#[inline]
fn copy(leaves: &[Leaf], bytes: &[u8], big_endian: bool, table: &mut Table) {
    match big_endian {
        true => copy_as::<true>(leaves, bytes, table),
        false => copy_as::<false>(leaves, bytes, table),
    }
}

#[inline]
fn copy_as<const BIG: bool>(leaves: &[Leaf], bytes: &[u8], table: &mut Table) {
    for leaf in leaves {
        let bytes = &bytes[leaf.offset as usize..];
        let store = &mut table.nodes[leaf.node as usize].store;
        match (leaf.kind, store) {
            (LeafKind::One8, Store::Number(_, Values::W8(values))) => values.push(read!(u64, bytes, BIG)),
            (LeafKind::One4, Store::Number(_, Values::W4(values))) => values.push(read!(u32, bytes, BIG)),
            (LeafKind::One2, Store::Number(_, Values::W2(values))) => values.push(read!(u16, bytes, BIG)),
            (LeafKind::One1, Store::Number(_, Values::W1(values))) => values.push(read!(u8, bytes, BIG)),
            (LeafKind::Many, Store::Number(_, values)) => values.extend(&bytes[..leaf.length as usize], BIG),
            _ => copy_other(leaf, bytes, BIG, table),
        }
    }
}

/// Copies what is rare.
fn copy_other(leaf: &Leaf, bytes: &[u8], big_endian: bool, table: &mut Table) {
    let bytes = &bytes[..leaf.length as usize];
    match (leaf.kind, &mut table.nodes[leaf.node as usize].store) {
        (LeafKind::Text, Store::Text(_)) => add_text(leaf.node, super::walk::until_zero(bytes), table),
        (LeafKind::List, Store::List { element, .. }) => {
            let element = *element;
            if let Store::Number(number, values) = &mut table.nodes[element as usize].store {
                values.extend(bytes, big_endian);
                let count = leaf.length as usize / number.width() as usize;
                add_offset(leaf.node, count, table);
            }
        }
        _ => {}
    }
}

/// A batch has fewer bytes than an offset can count: see [`super::columns::BATCH_LIMIT`].
#[inline]
fn add_offset(list: u32, count: usize, table: &mut Table) {
    if let Store::List { offsets, .. } = &mut table.nodes[list as usize].store {
        offsets.push(offsets.last().copied().unwrap_or(0).saturating_add(count as i32));
    }
}

#[inline]
fn add_text(node: u32, text: &[u8], table: &mut Table) {
    if let Some(Store::Text(slices)) = table.nodes.get_mut(node as usize).map(|node| &mut node.store) {
        slices.bytes.extend_from_slice(text);
        slices.end_row();
    }
}
