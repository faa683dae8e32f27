//! Columns on a grid: the picked values of a column, interpolated where they lie between two.
//!
//! **Invariant:** a column has as many rows as there are picks; a pick of nothing is null.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, FixedSizeListArray, ListArray, PrimitiveArray, UInt32Array};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, Field};
use arrow_select::take::take;

use super::Pick;
use crate::error::{Error, Kind, Result};

/// Returns the picked values of a column. Where picks lie between two values, numbers are interpolated, integers as 64-bit floats, and
/// so are the elements of lists of equal lengths; anything else is the value before.
///
/// # Errors
/// `Internal` for a pick that points behind the column.
pub fn gather(column: &ArrayRef, picks: &[Option<Pick>]) -> Result<ArrayRef> {
    let failed = |error: ArrowError| Error::new(Kind::Internal, "values cannot be put on a grid").caused_by(error);
    if picks.iter().flatten().any(|pick| pick.before.max(pick.after) as usize >= column.len()) {
        return Err(Error::new(Kind::Internal, format!("a moment was given a value behind all {}", column.len())));
    }
    let before = picks.iter().map(|pick| pick.map(|pick| pick.before)).collect::<UInt32Array>();
    let values = take(column, &before, None).map_err(failed)?;
    if picks.iter().flatten().all(|pick| pick.share == 0.0) || !interpolates(column.data_type()) {
        return Ok(values);
    }
    let length = |index: u32| column.as_list_opt::<i32>().map_or(0, |list| list.value_length(index as usize));
    let partner = |pick: Pick| if length(pick.before) == length(pick.after) { pick.after } else { pick.before };
    let after = picks.iter().map(|pick| pick.map(partner)).collect::<UInt32Array>();
    let others = take(column, &after, None).map_err(failed)?;
    let shares: Vec<f64> = picks.iter().map(|pick| pick.map_or(0.0, |pick| pick.share)).collect();
    between(&values, &others, &shares).map_err(failed)
}

/// Returns whether values of a type have anything between them.
fn interpolates(kind: &DataType) -> bool {
    match kind {
        DataType::List(element) | DataType::FixedSizeList(element, _) => is_number(element.data_type()),
        kind => is_number(kind),
    }
}

fn is_number(kind: &DataType) -> bool {
    kind.is_integer() || matches!(kind, DataType::Float32 | DataType::Float64)
}

/// Returns what lies between two arrays of the same shape.
fn between(before: &ArrayRef, after: &ArrayRef, shares: &[f64]) -> std::result::Result<ArrayRef, ArrowError> {
    match before.data_type() {
        DataType::FixedSizeList(field, size) => {
            let (from, to) = (before.as_fixed_size_list(), after.as_fixed_size_list());
            let repeated: Vec<f64> = shares.iter().flat_map(|share| std::iter::repeat_n(*share, *size as usize)).collect();
            let values = between(from.values(), to.values(), &repeated)?;
            let field = renamed(field, &values);
            Ok(Arc::new(FixedSizeListArray::try_new(field, *size, values, both(before, after))?))
        }
        DataType::List(field) => {
            let (from, to) = (before.as_list::<i32>(), after.as_list::<i32>());
            let lengths = from.offsets().lengths();
            let repeated: Vec<f64> = shares.iter().zip(lengths).flat_map(|(share, length)| std::iter::repeat_n(*share, length)).collect();
            let first = |list: &ListArray| list.values().slice(list.offsets()[0] as usize, repeated.len());
            let values = between(&first(from), &first(to), &repeated)?;
            let offsets = OffsetBuffer::from_lengths(from.offsets().lengths());
            Ok(Arc::new(ListArray::try_new(renamed(field, &values), offsets, values, both(before, after))?))
        }
        DataType::Float32 => Ok(line::<Float32Type>(before, after, shares, |number| number as f32)),
        kind if is_number(kind) => Ok(line::<Float64Type>(before, after, shares, |number| number)),
        _ => Ok(before.clone()),
    }
}

fn both(before: &ArrayRef, after: &ArrayRef) -> Option<NullBuffer> {
    NullBuffer::union(before.nulls(), after.nulls())
}

fn renamed(field: &Arc<Field>, values: &ArrayRef) -> Arc<Field> {
    Arc::new(field.as_ref().clone().with_data_type(values.data_type().clone()))
}

/// Returns numbers as 64-bit floats.
fn numbers(column: &ArrayRef) -> Vec<Option<f64>> {
    macro_rules! widened {
        ($($kind:ident => $native:ident),*) => {
            match column.data_type() {
                $(DataType::$kind => column.as_primitive::<$native>().iter().map(|number| number.map(|number| number as f64)).collect(),)*
                _ => vec![None; column.len()],
            }
        };
    }
    widened!(
        Int8 => Int8Type, Int16 => Int16Type, Int32 => Int32Type, Int64 => Int64Type, UInt8 => UInt8Type, UInt16 => UInt16Type,
        UInt32 => UInt32Type, UInt64 => UInt64Type, Float32 => Float32Type, Float64 => Float64Type
    )
}

/// Returns numbers on the lines between others.
fn line<T: ArrowPrimitiveType>(before: &ArrayRef, after: &ArrayRef, shares: &[f64], narrow: fn(f64) -> T::Native) -> ArrayRef {
    let ends = numbers(before).into_iter().zip(numbers(after));
    let number = |((from, to), share): ((Option<f64>, Option<f64>), &f64)| {
        let (from, to) = from.zip(to)?;
        // A value itself stays as it is, also beside an infinite one.
        Some(narrow(if *share == 0.0 { from } else { from + (to - from) * share }))
    };
    Arc::new(ends.zip(shares).map(number).collect::<PrimitiveArray<T>>())
}
