//! numpy arrays inside of a JSON message: nested lists.
//!
//! **Invariant:** every element is a number, a truth value or `null`, as its type says.

use pyo3::prelude::*;

use super::{DEPTH_LIMIT, Encoded, Refusal, SIZE_LIMIT, refuse};
use crate::buffer::{Buffer, Element};
use crate::fingerprint::{BOOL, NOTHING, NUMBER, seal_list};

/// Writes a numpy array inside of a message as nested lists.
pub(super) fn write_array(array: &Bound<'_, PyAny>, out: &mut Vec<u8>, depth: usize) -> Encoded {
    let buffer = Buffer::get(array).map_err(|_| unreadable(array))?;
    let Ok(element) = buffer.element() else { return Err(unreadable(array)) };
    let mut bytes = Vec::new();
    buffer.view().append_to(&mut bytes);
    // The shortest element takes two characters.
    if out.len() + bytes.len() / element.size() * 2 > SIZE_LIMIT {
        return Err(refuse("an array too large for JSON; log it as a topic of its own".to_owned()));
    }
    let shape: Vec<usize> = buffer.shape().iter().map(|&size| size as usize).collect();
    if depth + shape.len() > DEPTH_LIMIT {
        return Err(refuse(format!("an array of {} dimensions, nested deeper than {DEPTH_LIMIT} levels", shape.len())));
    }
    let mut elements = bytes.chunks_exact(element.size());
    write_nested(&shape, &mut elements, element, out);
    let leaf = if bytes.is_empty() {
        NOTHING
    } else if element == Element::Bool {
        BOOL
    } else {
        NUMBER
    };
    Ok(shape.iter().fold(leaf, |inner, _| seal_list(inner)))
}

fn unreadable(array: &Bound<'_, PyAny>) -> Box<Refusal> {
    let kind = array.getattr("dtype").and_then(|kind| kind.str().map(|text| text.to_string())).unwrap_or_default();
    refuse(format!("an array of {kind}; bool, integers of 8 to 64 bits, float32 and float64 can be logged"))
}

fn write_nested(shape: &[usize], elements: &mut std::slice::ChunksExact<'_, u8>, element: Element, out: &mut Vec<u8>) {
    let Some((&count, inner)) = shape.split_first() else {
        if let Some(bytes) = elements.next() {
            write_element(bytes, element, out);
        }
        return;
    };
    out.push(b'[');
    for index in 0..count {
        if index > 0 {
            out.push(b',');
        }
        write_nested(inner, elements, element, out);
    }
    out.push(b']');
}

fn write_element(bytes: &[u8], element: Element, out: &mut Vec<u8>) {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    let integer = i64::from_ne_bytes(word);
    let (mut digits, mut decimal) = (itoa::Buffer::new(), zmij::Buffer::new());
    let text = match element {
        Element::Bool => {
            if integer == 0 {
                "false"
            } else {
                "true"
            }
        }
        // As the shortest decimal of the 32 bits: 0.1 stays 0.1.
        Element::F32 if f32::from_bits(integer as u32).is_finite() => decimal.format_finite(f32::from_bits(integer as u32)),
        Element::F64 if f64::from_bits(integer as u64).is_finite() => decimal.format_finite(f64::from_bits(integer as u64)),
        Element::F32 | Element::F64 => "null",
        Element::I8 => digits.format(integer as i8),
        Element::I16 => digits.format(integer as i16),
        Element::I32 => digits.format(integer as i32),
        Element::I64 => digits.format(integer),
        Element::U8 => digits.format(integer as u8),
        Element::U16 => digits.format(integer as u16),
        Element::U32 => digits.format(integer as u32),
        Element::U64 => digits.format(integer as u64),
    };
    out.extend_from_slice(text.as_bytes());
}
