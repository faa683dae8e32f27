//! What to do with a message without tags, worked out ahead: runs of fixed size at known places, and what is between them.
//!
//! In comes a layout and what is wanted of it, out come steps. In CDR, where a field stands depends on what lies before it: the plan
//! follows what is known of a place's alignment, and begins a new run only where that is not enough.
//!
//! **Invariant:** steps read what the layout says, in its order; they are for alignments up to 8 (XCDR1) or none, not for XCDR2.

use super::columns::table::{NONE, Node, Store};
use super::layout::{Format, Layout, Struct, Wire};
use super::path;
use super::sink::Number;
use crate::error::{Error, Result};

/// How many elements of an array are unrolled into runs.
const UNROLL_LIMIT: usize = 64;

/// How many steps and leaves a plan may have.
const STEP_LIMIT: usize = 400_000;

/// Something to do.
#[derive(Debug)]
pub(crate) enum Step {
    /// So many bytes, with numbers in them.
    Run {
        align: u8,
        size: u32,
        leaves: std::ops::Range<u32>,
    },
    Text(u32),
    WideText(u32),
    /// A count and numbers: the list, and the column of its numbers.
    Numbers {
        width: u8,
        list: u32,
        element: u32,
    },
    /// A count and numbers of which some are columns.
    PickNumbers {
        width: u8,
        picks: Vec<(u32, u32)>,
    },
    /// A count, if `length` is none, and elements.
    Elements {
        length: Option<u32>,
        least: usize,
        list: u32,
        body: Vec<Step>,
    },
    /// A count, if `length` is none, and elements of which some are columns.
    PickElements {
        length: Option<u32>,
        least: usize,
        picks: Vec<Picked>,
        skip: Vec<Step>,
    },
    /// A count and numbers: goes to one of them, if there are so many.
    EnterNumbers {
        width: u8,
        index: u32,
    },
    /// A count, if `length` is none, and elements: goes to one of them, if there are so many.
    Enter {
        length: Option<u32>,
        least: usize,
        index: u32,
        skip: Vec<Step>,
    },
}

/// An element of a list that is a column.
#[derive(Debug)]
pub(crate) struct Picked {
    pub(crate) index: u32,
    pub(crate) node: u32,
    pub(crate) steps: Vec<Step>,
}

/// Numbers or text in a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf {
    pub(crate) offset: u32,
    pub(crate) length: u32,
    pub(crate) node: u32,
    pub(crate) kind: LeafKind,
}

/// What to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeafKind {
    One1,
    One2,
    One4,
    One8,
    Many,
    /// An array that is a list.
    List,
    Text,
}

/// Makes steps.
#[derive(Debug)]
pub(crate) struct Planner<'n> {
    format: Format,
    /// The columns; empty where nothing is wanted.
    nodes: &'n [Node],
    pub(crate) leaves: Vec<Leaf>,
    count: usize,
    run: Option<Run>,
    known: Known,
}

/// A run that is not finished.
#[derive(Debug)]
struct Run {
    align: u8,
    size: u32,
    first: u32,
}

/// What is known of a place: its remainder by a power of two.
#[derive(Clone, Copy, Debug)]
struct Known {
    modulus: u32,
    rest: u32,
}

impl Known {
    const NOTHING: Self = Self { modulus: 1, rest: 0 };
}

impl<'n> Planner<'n> {
    pub(crate) fn new(layout: &Layout, nodes: &'n [Node]) -> Self {
        // A message begins at a multiple of 8.
        let known = Known { modulus: 8, rest: 0 };
        Self { format: layout.format, nodes, leaves: Vec::new(), count: 0, run: None, known }
    }

    /// Plans reading `wire` into `node` and what hangs below it, or over it, where it is [`NONE`].
    pub(crate) fn wire(&mut self, wire: &Wire, node: u32, out: &mut Vec<Step>) -> Result<()> {
        match wire {
            Wire::Number(number) | Wire::Enum(number, _) => self.number(*number, node, out)?,
            Wire::FixedText(length) => self.fixed(*length, 1, Some((node, LeafKind::Text)), out)?,
            Wire::Padding(length) => self.fixed(*length, 1, None, out)?,
            Wire::Text => {
                self.close(out, Known::NOTHING)?;
                out.push(Step::Text(node));
            }
            Wire::WideText => {
                self.close(out, Known::NOTHING)?;
                out.push(Step::WideText(node));
            }
            Wire::Struct(Struct { fields, .. }) => {
                for (index, wire) in fields {
                    let child = index.map_or(NONE, |index| self.field(node, index));
                    self.wire(wire, child, out)?;
                }
            }
            Wire::List { element, least } => self.list(element, *least, node, out)?,
            Wire::Array { element, length, least } => self.array(element, *length, *least, node, out)?,
        }
        Ok(())
    }

    /// Ends the plan.
    pub(crate) fn finish(&mut self, out: &mut Vec<Step>) -> Result<()> {
        self.close(out, Known::NOTHING)
    }

    /// Plans the way to a value and returns that, if its place is in a message of this layout.
    pub(crate) fn way<'w>(&mut self, mut wire: &'w Wire, steps: &[path::Step], out: &mut Vec<Step>) -> Result<&'w Wire> {
        for step in steps {
            wire = match (wire, step) {
                (Wire::Struct(Struct { fields, .. }), path::Step::Field(wanted)) => {
                    let place = fields.iter().position(|(index, _)| *index == Some(*wanted));
                    let place = place.ok_or_else(|| Error::not_found("there is no such field in the messages"))?;
                    for (_, before) in &fields[..place] {
                        self.wire(before, NONE, out)?;
                    }
                    &fields[place].1
                }
                (Wire::List { element, least }, path::Step::Index(index)) => {
                    self.enter(element, None, *least, *index, out)?;
                    element
                }
                (Wire::Array { element, length, least }, path::Step::Index(index)) => {
                    self.enter(element, Some(*length), *least, *index, out)?;
                    element
                }
                _ => return Err(Error::not_found("there is no such field in the messages")),
            };
        }
        self.close(out, Known::NOTHING)?;
        Ok(wire)
    }

    fn enter(&mut self, element: &Wire, length: Option<u32>, least: usize, index: u32, out: &mut Vec<Step>) -> Result<()> {
        match (element.number(), length) {
            (Some(number), Some(_)) => {
                let width = number.width() as u32;
                self.fixed(index.saturating_mul(width), width, None, out)
            }
            (Some(number), None) => {
                self.close(out, Known::NOTHING)?;
                out.push(Step::EnterNumbers { width: number.width() as u8, index });
                Ok(())
            }
            (None, Some(_)) if (index as usize) <= UNROLL_LIMIT => (0..index).try_for_each(|_| self.wire(element, NONE, out)),
            (None, length) => {
                self.close(out, Known::NOTHING)?;
                let skip = self.body(element, NONE)?;
                out.push(Step::Enter { length, least, index, skip });
                Ok(())
            }
        }
    }

    fn number(&mut self, number: Number, node: u32, out: &mut Vec<Step>) -> Result<()> {
        let kind = one(number);
        self.fixed(number.width() as u32, number.width() as u32, Some((node, kind)), out)
    }

    fn list(&mut self, element: &Wire, least: usize, node: u32, out: &mut Vec<Step>) -> Result<()> {
        if let Some(number) = element.number() {
            let width = number.width() as u8;
            // The count stands at a multiple of 4, and so do numbers behind it.
            let aligned = Known { modulus: u32::from(width).min(4), rest: 0 };
            self.close(out, if self.format == Format::Cdr { aligned } else { Known::NOTHING })?;
            out.push(match self.store(node) {
                Some(Store::List { element, .. }) => Step::Numbers { width, list: node, element: *element },
                Some(Store::Pick(picks)) => Step::PickNumbers { width, picks: picks.clone() },
                _ => Step::Numbers { width, list: NONE, element: NONE },
            });
            return Ok(());
        }
        self.close(out, Known::NOTHING)?;
        let step = self.elements(element, None, least, node)?;
        out.push(step);
        Ok(())
    }

    fn array(&mut self, element: &Wire, length: u32, least: usize, node: u32, out: &mut Vec<Step>) -> Result<()> {
        if let Some(number) = element.number() {
            return self.array_of_numbers(number, length, node, out);
        }
        let is_list = matches!(self.store(node), Some(Store::List { .. }));
        if (length as usize) <= UNROLL_LIMIT && !is_list {
            return (0..length).try_for_each(|index| {
                let node = self.element(node, index);
                self.wire(element, node, out)
            });
        }
        self.close(out, Known::NOTHING)?;
        let step = self.elements(element, Some(length), least, node)?;
        out.push(step);
        Ok(())
    }

    fn array_of_numbers(&mut self, number: Number, length: u32, node: u32, out: &mut Vec<Step>) -> Result<()> {
        let width = number.width() as u32;
        let size = length.saturating_mul(width);
        if length == 0 {
            // Nothing is aligned for nothing; a list of nothing is a row all the same.
            return match self.store(node) {
                Some(Store::List { .. }) => self.fixed(0, 1, Some((node, LeafKind::List)), out),
                _ => Ok(()),
            };
        }
        match self.store(node) {
            Some(Store::FixedList { element, .. }) => self.fixed(size, width, Some((*element, LeafKind::Many)), out),
            Some(Store::List { .. }) => self.fixed(size, width, Some((node, LeafKind::List)), out),
            Some(Store::Pick(picks)) => {
                let picks = picks.clone();
                self.fixed(size, width, None, out)?;
                let end = self.run.as_ref().map_or(0, |run| run.size);
                for (index, node) in picks.into_iter().filter(|(index, _)| *index < length) {
                    let offset = end - size + index * width;
                    self.leaves.push(Leaf { offset, length: width, node, kind: one(number) });
                }
                Ok(())
            }
            _ => self.fixed(size, width, None, out),
        }
    }

    fn elements(&mut self, element: &Wire, length: Option<u32>, least: usize, node: u32) -> Result<Step> {
        let (list, below) = match self.store(node) {
            Some(Store::List { element, .. }) => (node, *element),
            Some(Store::FixedList { element, .. }) => (NONE, *element),
            Some(Store::Pick(picks)) => {
                let picks = picks.clone();
                let steps = |(index, node): (u32, u32)| Ok(Picked { index, node, steps: self.body(element, node)? });
                let picks = picks.into_iter().map(steps).collect::<Result<Vec<_>>>()?;
                let skip = self.body(element, NONE)?;
                return Ok(Step::PickElements { length, least, picks, skip });
            }
            _ => (NONE, NONE),
        };
        let body = self.body(element, below)?;
        Ok(Step::Elements { length, least, list, body })
    }

    /// Plans one element that begins anywhere.
    fn body(&mut self, element: &Wire, node: u32) -> Result<Vec<Step>> {
        let known = std::mem::replace(&mut self.known, Known::NOTHING);
        let mut body = Vec::new();
        self.wire(element, node, &mut body)?;
        self.close(&mut body, known)?;
        Ok(body)
    }

    /// Adds bytes to the run, or begins one.
    fn fixed(&mut self, size: u32, align: u32, leaf: Option<(u32, LeafKind)>, out: &mut Vec<Step>) -> Result<()> {
        let align = if self.format == Format::Cdr { align } else { 1 };
        if align > self.known.modulus {
            self.close(out, Known { modulus: align, rest: 0 })?;
            self.run = Some(Run { align: align as u8, size: 0, first: self.leaves.len() as u32 });
        }
        let run = self.run.get_or_insert(Run { align: 1, size: 0, first: self.leaves.len() as u32 });
        let padding = (align - self.known.rest % align) % align;
        let offset = run.size + padding;
        run.size = offset.checked_add(size).ok_or_else(|| Error::invalid("a message of more than 4 GB"))?;
        self.known.rest = (self.known.rest + padding + size % self.known.modulus) % self.known.modulus;
        if let Some((node, kind)) = leaf.filter(|(node, _)| *node != NONE) {
            self.leaves.push(Leaf { offset, length: size, node, kind });
        }
        self.count()
    }

    /// Ends the run, and says what is known of the place behind what comes next.
    fn close(&mut self, out: &mut Vec<Step>, known: Known) -> Result<()> {
        if let Some(run) = self.run.take() {
            out.push(Step::Run { align: run.align, size: run.size, leaves: run.first..self.leaves.len() as u32 });
        }
        self.known = known;
        self.count()
    }

    fn count(&mut self) -> Result<()> {
        self.count += 1;
        match self.count > STEP_LIMIT {
            true => Err(Error::invalid(format!("decoding such messages takes more than {STEP_LIMIT} steps"))),
            false => Ok(()),
        }
    }

    fn store(&self, node: u32) -> Option<&'n Store> {
        self.nodes.get(node as usize).map(|node| &node.store)
    }

    fn field(&self, node: u32, index: usize) -> u32 {
        match self.store(node) {
            Some(Store::Route(children) | Store::Struct(children)) => children.get(index).copied().unwrap_or(NONE),
            _ => NONE,
        }
    }

    fn element(&self, node: u32, index: u32) -> u32 {
        match self.store(node) {
            Some(Store::FixedList { element, .. }) => *element,
            Some(Store::Pick(picks)) => picks.iter().find(|(other, _)| *other == index).map_or(NONE, |(_, node)| *node),
            _ => NONE,
        }
    }
}

fn one(number: Number) -> LeafKind {
    match number.width() as u8 {
        1 => LeafKind::One1,
        2 => LeafKind::One2,
        4 => LeafKind::One4,
        _ => LeafKind::One8,
    }
}
