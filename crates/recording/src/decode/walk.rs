//! A message without tags from its first byte to its last, told to a sink: how JSON is made of it.
//!
//! **Invariant:** it reads a payload once, and takes time for what is there, not for what is claimed.

use super::cursor::{Cursor, lossy};
use super::layout::{Layout, Struct, Wire};
use super::sink::{Numbers, Sink, give};
use crate::error::Result;

impl Layout {
    /// Tells a sink all of a message.
    pub(crate) fn walk<'a, S: Sink<'a>>(&self, payload: &'a [u8], sink: &mut S) -> Result<()> {
        let mut cursor = self.start(payload)?;
        walk(&self.root, &mut cursor, sink)
    }
}

/// Tells a sink the value at the cursor.
pub(crate) fn walk<'a, S: Sink<'a>>(wire: &Wire, cursor: &mut Cursor<'a>, sink: &mut S) -> Result<()> {
    match wire {
        Wire::Number(number) => {
            let width = number.width() as u8;
            cursor.align(width);
            give(*number, cursor.take(width.into())?, cursor.big_endian, sink);
        }
        Wire::Enum(number, names) => {
            let width = number.width() as u8;
            cursor.align(width);
            let value = match super::sink::scalar(*number, cursor.take(width.into())?, cursor.big_endian) {
                super::Scalar::Int(value) => value,
                super::Scalar::UInt(value) => value as i64,
                _ => 0,
            };
            sink.enumeration(value, names);
        }
        Wire::Text => sink.text(lossy(cursor.text()?)),
        Wire::WideText => sink.text(cursor.wide_text()?.into()),
        Wire::FixedText(length) => sink.text(lossy(until_zero(cursor.take(*length as usize)?))),
        Wire::Padding(length) => {
            cursor.take(*length as usize)?;
        }
        Wire::Struct(fields) => {
            sink.begin_struct(fields.id);
            for (index, wire) in &fields.fields {
                match index {
                    Some(index) if sink.field(*index) => walk(wire, cursor, sink)?,
                    _ => skip(wire, cursor)?,
                }
            }
            sink.end_struct();
        }
        Wire::List { element, least } => {
            size_of_elements(element, cursor)?;
            let count = cursor.count(*least)?;
            elements(element, count, cursor, sink)?;
        }
        Wire::Array { element, length, least } => {
            size_of_elements(element, cursor)?;
            cursor.elements(*length as usize, *least)?;
            elements(element, *length as usize, cursor, sink)?;
        }
    }
    Ok(())
}

fn elements<'a, S: Sink<'a>>(element: &Wire, count: usize, cursor: &mut Cursor<'a>, sink: &mut S) -> Result<()> {
    sink.begin_list();
    match element {
        _ if count == 0 => {}
        Wire::Number(number) => {
            cursor.align(number.width() as u8);
            let bytes = cursor.take(count.saturating_mul(number.width() as usize))?;
            sink.numbers(Numbers { bytes, number: *number, big_endian: cursor.big_endian });
        }
        element => {
            for _ in 0..count {
                walk(element, cursor, sink)?;
            }
        }
    }
    sink.end_list();
    Ok(())
}

/// Reads the size that stands in front of elements which are no numbers, in XCDR2.
pub(crate) fn size_of_elements(element: &Wire, cursor: &mut Cursor<'_>) -> Result<()> {
    if cursor.is_xcdr2() && element.number().is_none() {
        cursor.length()?;
    }
    Ok(())
}

/// Goes on behind the value at the cursor.
pub(crate) fn skip(wire: &Wire, cursor: &mut Cursor<'_>) -> Result<()> {
    match wire {
        Wire::Number(number) | Wire::Enum(number, _) => {
            cursor.align(number.width() as u8);
            cursor.take(number.width() as usize)?;
        }
        Wire::Text => {
            cursor.text()?;
        }
        Wire::WideText => {
            let length = cursor.length()?;
            cursor.take(if cursor.is_xcdr2() { length } else { length.saturating_mul(4) })?;
        }
        Wire::FixedText(length) | Wire::Padding(length) => {
            cursor.take(*length as usize)?;
        }
        Wire::Struct(Struct { fields, .. }) => {
            for (_, wire) in fields {
                skip(wire, cursor)?;
            }
        }
        Wire::List { element, least } => {
            size_of_elements(element, cursor)?;
            let count = cursor.count(*least)?;
            skip_elements(element, count, cursor)?;
        }
        Wire::Array { element, length, least } => {
            size_of_elements(element, cursor)?;
            cursor.elements(*length as usize, *least)?;
            skip_elements(element, *length as usize, cursor)?;
        }
    }
    Ok(())
}

fn skip_elements(element: &Wire, count: usize, cursor: &mut Cursor<'_>) -> Result<()> {
    match element.number() {
        _ if count == 0 => {}
        Some(number) => {
            cursor.align(number.width() as u8);
            cursor.take(count.saturating_mul(number.width() as usize))?;
        }
        None => {
            for _ in 0..count {
                skip(element, cursor)?;
            }
        }
    }
    Ok(())
}

/// Returns text up to its first zero.
pub(crate) fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}
