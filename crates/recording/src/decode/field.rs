//! One field of a message, without decoding the rest.
//!
//! In comes a payload, out comes a [`Scalar`] that borrows from it, or JSON. What lies before the field is worked out ahead: one known
//! distance where sizes are fixed, else steps that only look at counts and lengths.
//!
//! **Invariant:** what a reader answers for a payload is what the whole message's JSON has at that place.

use std::borrow::Cow;
use std::sync::Arc;

use super::cursor::{Cursor, lossy};
use super::json_writer::JsonWriter;
use super::layout::{Layout, Wire};
use super::path::{self, Step as PathStep};
use super::pick::{Pick, Take};
use super::plan::{Planner, Step};
use super::row_plan::{elements, fixed_elements, numbers};
use super::sink::{Number, Sink, Width, scalar};
use super::walk::walk;
use super::{Codec, Decoder};
use crate::error::{Error, Result};

/// A value without parts.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// It is not there: an element behind the end of a list, a field that a message lacks.
    Null,
    /// True or false.
    Bool(bool),
    /// A signed integer, or a number with a name.
    Int(i64),
    /// An unsigned integer.
    UInt(u64),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes, or a list of numbers of one byte, signed or not.
    Bytes(Cow<'a, [u8]>),
}

/// Reads one field of messages of one type.
#[derive(Clone, Debug)]
pub struct FieldReader {
    decoder: Decoder,
    path: Arc<str>,
    way: Vec<PathStep>,
    /// How to get there in encodings without tags; others are walked along.
    plan: Option<Arc<Plan>>,
}

#[derive(Debug)]
struct Plan {
    layout: Arc<Layout>,
    /// What to go over.
    steps: Vec<Step>,
    target: Target,
}

/// What stands at the end of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Number(Number),
    Text,
    /// A list of numbers of one byte; with a length, it is an array.
    Bytes(Option<u32>),
    /// Something that is walked along.
    Other,
}

impl FieldReader {
    pub(super) fn new(decoder: &Decoder, path: &str) -> Result<Self> {
        let way = path::resolve(&decoder.inner.tree, path)?.steps;
        let plan = match &decoder.inner.codec {
            Codec::Sequential(layout) => {
                let mut planner = Planner::new(layout, &[]);
                let mut steps = Vec::new();
                let wire = planner.way(&layout.root, &way, &mut steps)?;
                let target = match wire {
                    Wire::Number(number) => Target::Number(*number),
                    Wire::Text => Target::Text,
                    Wire::List { element, .. } if is_byte(element) => Target::Bytes(None),
                    Wire::Array { element, length, .. } if is_byte(element) => Target::Bytes(Some(*length)),
                    _ => Target::Other,
                };
                Some(Arc::new(Plan { layout: layout.clone(), steps, target }))
            }
            Codec::Protobuf(_) | Codec::Json(_) | Codec::Flatbuffer(_) => None,
        };
        Ok(Self { decoder: decoder.clone(), path: path.into(), way, plan })
    }

    /// Returns the path it was made of.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Reads the field.
    ///
    /// # Errors
    /// `Corrupt` for a payload that does not fit its type, `Invalid` for a field that has parts: those have names of their own.
    #[inline]
    pub fn read<'a>(&self, payload: &'a [u8]) -> Result<Scalar<'a>> {
        let Some(plan) = &self.plan else { return self.read_walking(payload) };
        let mut cursor = Cursor::new(plan.layout.format, payload)?;
        if plan.target == Target::Other || cursor.is_xcdr2() {
            return self.read_walking(payload);
        }
        if !go(&plan.steps, &mut cursor)? {
            return Ok(Scalar::Null);
        }
        match plan.target {
            Target::Number(number) => {
                let width = number.width() as u8;
                cursor.align(width);
                Ok(scalar(number, cursor.take(width.into())?, cursor.big_endian))
            }
            Target::Text => Ok(Scalar::Text(lossy(cursor.text()?))),
            Target::Bytes(length) => {
                let count = elements(length, 1, &mut cursor)?;
                Ok(Scalar::Bytes(Cow::Borrowed(cursor.take(count)?)))
            }
            Target::Other => self.read_walking(payload),
        }
    }

    fn read_walking<'a>(&self, payload: &'a [u8]) -> Result<Scalar<'a>> {
        let mut taken = Take::default();
        self.find(payload, &mut taken)?;
        match taken.parts {
            true => Err(Error::invalid(format!("{} has parts: name one of them", self.path))),
            false => Ok(taken.value.unwrap_or(Scalar::Null)),
        }
    }

    /// Tells a sink the field; nothing where the message lacks it.
    fn find<'a, S: Sink<'a>>(&self, payload: &'a [u8], sink: &mut S) -> Result<bool> {
        let mut pick = Pick::new(&self.way, sink);
        self.decoder.inner.codec.walk(payload, &mut pick)?;
        Ok(pick.found())
    }

    /// Writes the field as JSON behind what stands in `out`; null where the message lacks it. After an error `out` is as it was.
    ///
    /// # Errors
    /// `Corrupt` for a payload that does not fit its type.
    pub fn json(&self, payload: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let (start, mut open) = (out.len(), Vec::new());
        let mut writer = JsonWriter { out, names: &self.decoder.inner.names, open: &mut open };
        match self.tell(payload, &mut writer) {
            Ok(true) => Ok(()),
            Ok(false) => {
                out.extend_from_slice(b"null");
                Ok(())
            }
            Err(error) => {
                out.truncate(start);
                Err(error)
            }
        }
    }

    /// Tells a sink the field, with all its parts; returns false, and tells nothing, where the message lacks it.
    ///
    /// # Errors
    /// `Corrupt` for a payload that does not fit its type; the sink has been told what stands before the fault.
    pub fn tell<'a, S: Sink<'a>>(&self, payload: &'a [u8], sink: &mut S) -> Result<bool> {
        let Some(plan) = &self.plan else { return self.find(payload, sink) };
        let mut cursor = Cursor::new(plan.layout.format, payload)?;
        if cursor.is_xcdr2() {
            return self.find(payload, sink);
        }
        if !go(&plan.steps, &mut cursor)? {
            return Ok(false);
        }
        let wire = plan.layout.at(&self.way).ok_or_else(|| Error::not_found(format!("there is no {}", self.path)))?;
        walk(wire, &mut cursor, sink)?;
        Ok(true)
    }
}

fn is_byte(wire: &Wire) -> bool {
    matches!(wire, Wire::Number(Number::Int(Width::W1) | Number::UInt(Width::W1)))
}

/// Goes over what lies before a value; false where a list is too short to have it.
#[inline]
fn go(steps: &[Step], cursor: &mut Cursor<'_>) -> Result<bool> {
    for step in steps {
        match step {
            Step::Run { align, size, .. } => {
                cursor.align(*align);
                cursor.take(*size as usize)?;
            }
            Step::Text(_) => {
                cursor.text()?;
            }
            Step::WideText(_) => {
                let length = cursor.length()?;
                cursor.take(length.saturating_mul(4))?;
            }
            Step::Numbers { width, .. } | Step::PickNumbers { width, .. } => {
                let count = cursor.length()?;
                numbers(count, *width, cursor)?;
            }
            Step::Elements { length, least, body, .. } | Step::PickElements { length, least, skip: body, .. } => {
                let count = elements(*length, *least, cursor)?;
                go_over(body, count, cursor)?;
            }
            Step::EnterNumbers { width, index } => {
                let count = cursor.count((*width).into())?;
                if *index as usize >= count {
                    return Ok(false);
                }
                numbers(*index as usize, *width, cursor)?;
                cursor.align(*width);
            }
            Step::Enter { length, least, index, skip } => {
                let count = elements(*length, *least, cursor)?;
                if *index as usize >= count {
                    return Ok(false);
                }
                go_over(skip, *index as usize, cursor)?;
            }
        }
    }
    Ok(true)
}

/// Goes over elements.
fn go_over(body: &[Step], count: usize, cursor: &mut Cursor<'_>) -> Result<()> {
    match body {
        [Step::Run { align, size, .. }] => {
            fixed_elements(count, *align, *size, cursor)?;
        }
        [] => {}
        body => {
            for _ in 0..count {
                go(body, cursor)?;
            }
        }
    }
    Ok(())
}
