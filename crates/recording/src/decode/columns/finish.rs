//! Columns that have grown as Arrow arrays.
//!
//! **Invariant:** numbers and text move into the batch without being copied, but for booleans, which become bits.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeListArray, ListArray, PrimitiveArray, RecordBatch, RecordBatchOptions, StringArray,
    StructArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, SchemaRef};

use super::super::sink::{Number, Width};
use super::table::{NONE, Slices, Store, Table, Values};
use crate::error::{Error, Kind, Result};

impl Table {
    /// Returns all rows as a batch and begins a new one.
    ///
    /// # Errors
    /// `Internal` where Arrow refuses the columns, which would be a fault of ours.
    pub(crate) fn finish(&mut self, schema: &SchemaRef) -> Result<RecordBatch> {
        let rows = std::mem::take(&mut self.rows);
        let fault = |error: ArrowError| Error::new(Kind::Internal, "cannot make a batch").caused_by(error);
        let columns = (0..self.top.len()).map(|index| self.array(self.top[index], rows)).collect::<Result<Vec<_>, _>>().map_err(fault)?;
        RecordBatch::try_new_with_options(schema.clone(), columns, &RecordBatchOptions::new().with_row_count(Some(rows))).map_err(fault)
    }

    fn array(&mut self, id: u32, rows: usize) -> Result<ArrayRef, ArrowError> {
        let node = &mut self.nodes[id as usize];
        let nulls = null_buffer(std::mem::take(&mut node.nulls), rows);
        node.rows = 0;
        let data_type = node.field.as_ref().map_or(DataType::Null, |field| field.data_type().clone());
        match (&mut node.store, data_type) {
            (Store::Number(number, values), _) => {
                let next = Values::with_capacity(number.width(), values.len());
                numbers(*number, std::mem::replace(values, next), nulls)
            }
            (Store::Text(slices) | Store::Json(slices), _) => text(slices.take(), nulls),
            (Store::Bytes(slices), _) => {
                let slices = slices.take();
                Ok(Arc::new(BinaryArray::try_new(offset_buffer(slices.offsets), Buffer::from_vec(slices.bytes), nulls)?))
            }
            (Store::List { offsets, element: below } | Store::Map { offsets, entry: below, .. }, DataType::List(field)) => {
                let (below, offsets) = (*below, std::mem::replace(offsets, vec![0]));
                let values = self.array(below, offsets.last().map_or(0, |end| *end as usize))?;
                Ok(Arc::new(ListArray::try_new(field, offset_buffer(offsets), values, nulls)?))
            }
            (Store::FixedList { element, length }, DataType::FixedSizeList(field, size)) => {
                let (element, length) = (*element, *length as usize);
                let values = self.array(element, rows * length)?;
                Ok(Arc::new(FixedSizeListArray::try_new_with_length(field, size, values, nulls, rows)?))
            }
            (Store::Struct(children), DataType::Struct(fields)) => {
                let children = children.clone();
                let columns =
                    children.iter().filter(|child| **child != NONE).map(|child| self.array(*child, rows)).collect::<Result<Vec<_>, _>>()?;
                Ok(Arc::new(StructArray::try_new_with_length(fields, columns, nulls, rows)?))
            }
            (_, data_type) => Err(ArrowError::SchemaError(format!("no column holds {data_type}"))),
        }
    }
}

fn null_buffer(rows: Vec<u32>, length: usize) -> Option<NullBuffer> {
    if rows.is_empty() {
        return None;
    }
    let mut bits = vec![0xff; length.div_ceil(8)];
    for row in rows {
        if let Some(byte) = bits.get_mut(row as usize / 8) {
            *byte &= !(1u8 << (row % 8));
        }
    }
    Some(NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, length)))
}

fn offset_buffer(offsets: Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}

fn numbers(number: Number, values: Values, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
    let length = values.len();
    let bytes = match values {
        Values::W1(values) if number == Number::Bool => {
            let bits = BooleanBuffer::collect_bool(length, |index| values[index] != 0);
            return Ok(Arc::new(BooleanArray::new(bits, nulls)));
        }
        Values::W1(values) => Buffer::from_vec(values),
        Values::W2(values) => Buffer::from_vec(values),
        Values::W4(values) => Buffer::from_vec(values),
        Values::W8(values) => Buffer::from_vec(values),
    };
    match number {
        Number::Bool | Number::UInt(Width::W1) => primitive::<UInt8Type>(bytes, length, nulls),
        Number::UInt(Width::W2) => primitive::<UInt16Type>(bytes, length, nulls),
        Number::UInt(Width::W4) => primitive::<UInt32Type>(bytes, length, nulls),
        Number::UInt(Width::W8) => primitive::<UInt64Type>(bytes, length, nulls),
        Number::Int(Width::W1) => primitive::<Int8Type>(bytes, length, nulls),
        Number::Int(Width::W2) => primitive::<Int16Type>(bytes, length, nulls),
        Number::Int(Width::W4) => primitive::<Int32Type>(bytes, length, nulls),
        Number::Int(Width::W8) => primitive::<Int64Type>(bytes, length, nulls),
        Number::F32 => primitive::<Float32Type>(bytes, length, nulls),
        Number::F64 => primitive::<Float64Type>(bytes, length, nulls),
    }
}

fn primitive<T: ArrowPrimitiveType>(bytes: Buffer, length: usize, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(PrimitiveArray::<T>::try_new(ScalarBuffer::new(bytes, 0, length), nulls)?))
}

/// Checks all text of a column at once: invalid UTF-8 is rare, and replaced when it is met.
fn text(slices: Slices, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
    let (offsets, bytes) = (offset_buffer(slices.offsets), Buffer::from_vec(slices.bytes));
    if let Ok(valid) = StringArray::try_new(offsets.clone(), bytes.clone(), nulls.clone()) {
        return Ok(Arc::new(valid));
    }
    let mut replaced = Slices::new();
    for range in offsets.windows(2) {
        let bytes = bytes.get(range[0] as usize..range[1] as usize).unwrap_or_default();
        replaced.bytes.extend_from_slice(String::from_utf8_lossy(bytes).as_bytes());
        if !replaced.end_row() {
            return Err(ArrowError::OffsetOverflowError(replaced.bytes.len()));
        }
    }
    Ok(Arc::new(StringArray::try_new(offset_buffer(replaced.offsets), Buffer::from_vec(replaced.bytes), nulls)?))
}
