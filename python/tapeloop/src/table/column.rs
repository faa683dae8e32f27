//! Columns as numpy arrays, and as what pandas takes: all rows at once, without an object per number.
//!
//! In come the pieces of a column, batch by batch, out comes one Python object.
//!
//! **Invariant:** a column of one piece without nulls is not copied; numbers are never made less exact unless this says so.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, make_array};
use arrow_buffer::{Buffer, NullBuffer};
use arrow_schema::{DataType, FieldRef};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyList, PySlice};

use super::object::Maker;
use crate::error::{Failure, Result};
use crate::memory::{Memory, numpy, pandas};

/// A column with its name, in the pieces it was read in.
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) field: FieldRef,
    pub(crate) pieces: Vec<ArrayRef>,
}

impl Column {
    /// Returns the column with every struct replaced by its fields, named `struct.field`.
    pub(crate) fn flattened(self) -> Vec<Self> {
        match self.parts() {
            parts if parts.is_empty() => vec![self],
            parts => parts.into_iter().flat_map(Self::flattened).collect(),
        }
    }

    /// Returns the fields of a struct; nothing where it is none.
    pub(crate) fn parts(&self) -> Vec<Self> {
        let DataType::Struct(fields) = self.field.data_type() else { return Vec::new() };
        let part = |(index, field): (usize, &FieldRef)| {
            let piece = |piece: &ArrayRef| {
                let whole = piece.as_struct();
                let column = whole.column(index);
                if whole.null_count() == 0 {
                    return column.clone();
                }
                // A struct that is missing has no parts either; nothing but the nulls changes.
                let nulls = NullBuffer::union(whole.nulls(), column.nulls());
                column.to_data().into_builder().nulls(nulls).build().map_or_else(|_| column.clone(), make_array)
            };
            let name = format!("{}.{}", self.name, field.name());
            Self { name, field: field.clone(), pieces: self.pieces.iter().map(piece).collect() }
        };
        fields.iter().enumerate().map(part).collect()
    }

    /// Returns a numpy array: of one dimension, or of two where every row is a list of as many numbers. Integers and booleans with
    /// nulls among them become 64-bit floats with NaN.
    pub(crate) fn numpy<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        match self.field.data_type() {
            DataType::Struct(fields) => {
                let names: Vec<String> = fields.iter().map(|field| format!("'{}.{}'", self.name, field.name())).collect();
                Err(Failure::invalid(format!("'{}' has parts: choose one of {}", self.name, names.join(", "))))
            }
            DataType::List(_) | DataType::FixedSizeList(..) => match self.width() {
                Some(width) => {
                    let rows = self.pieces.iter().map(|piece| piece.len()).sum::<usize>();
                    let values: Vec<ArrayRef> = self.pieces.iter().filter_map(elements).collect();
                    let flat = numbers(py, &values)?.array(py)?;
                    Ok(flat.call_method1(intern!(py, "reshape"), ((rows, width),))?)
                }
                None => self.objects(py),
            },
            kind if is_number(kind) => {
                let numbers = numbers(py, &self.pieces)?;
                let Some(mask) = &numbers.mask else { return numbers.array(py) };
                let floats = numbers.array(py)?.call_method1(intern!(py, "astype"), (intern!(py, "float64"),))?;
                floats.set_item(bools(py, mask)?, f64::NAN)?;
                Ok(floats)
            }
            _ => self.objects(py),
        }
    }

    /// Returns what a `DataFrame` takes. Integers and booleans with nulls among them become arrays with a mask.
    pub(crate) fn pandas<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        match self.field.data_type() {
            DataType::Timestamp(..) => {
                let kwargs = [("tz", "UTC")].into_py_dict(py)?;
                Ok(pandas(py)?.call_method(intern!(py, "DatetimeIndex"), (numbers(py, &self.pieces)?.array(py)?,), Some(&kwargs))?)
            }
            DataType::Utf8 => Ok(self.list(py)?.into_any()),
            kind if is_number(kind) => {
                let numbers = numbers(py, &self.pieces)?;
                let Some(mask) = &numbers.mask else { return numbers.array(py) };
                let class = if kind == &DataType::Boolean { intern!(py, "BooleanArray") } else { intern!(py, "IntegerArray") };
                Ok(pandas(py)?.getattr(intern!(py, "arrays"))?.call_method1(class, (numbers.array(py)?, bools(py, mask)?))?)
            }
            _ => self.objects(py),
        }
    }

    /// Returns an array of objects.
    fn objects<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        let list = self.list(py)?;
        let array = numpy(py)?.call_method1(intern!(py, "empty"), (list.len(), intern!(py, "object")))?;
        // Not all at once: numpy would make a matrix of lists of the same length.
        for (row, value) in list.iter().enumerate() {
            array.set_item(row, value)?;
        }
        Ok(array)
    }

    /// Returns a list of objects; lists of numbers in it are numpy arrays.
    fn list<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        let maker = Maker::new(py);
        for piece in &self.pieces {
            let Some(values) = elements(piece).filter(|values| is_number(values.data_type()) && values.null_count() == 0) else {
                for row in 0..piece.len() {
                    list.append(maker.object(&self.field, piece, row)?)?;
                }
                continue;
            };
            let flat = numbers(py, &[values])?.array(py)?;
            let mut start = 0_isize;
            for (row, length) in lengths(piece).into_iter().enumerate() {
                let end = start + length as isize;
                match piece.is_null(row) {
                    true => list.append(py.None())?,
                    false => list.append(flat.get_item(PySlice::new(py, start, end, 1))?)?,
                }
                start = end;
            }
        }
        Ok(list)
    }

    /// Returns how many numbers every row has, where that is the same everywhere and nothing is null.
    fn width(&self) -> Option<usize> {
        let whole = |piece: &ArrayRef| {
            piece.null_count() == 0 && elements(piece).is_some_and(|all| is_number(all.data_type()) && all.null_count() == 0)
        };
        let mut lengths = self.pieces.iter().flat_map(lengths);
        let first = lengths.next()?;
        (self.pieces.iter().all(whole) && lengths.all(|length| length == first)).then_some(first)
    }
}

/// Returns the elements of all lists of a column, one behind the other.
fn elements(piece: &ArrayRef) -> Option<ArrayRef> {
    match piece.data_type() {
        DataType::List(_) => {
            let list = piece.as_list::<i32>();
            let (first, last) = (*list.offsets().first()? as usize, *list.offsets().last()? as usize);
            Some(list.values().slice(first, last - first))
        }
        DataType::FixedSizeList(..) => Some(piece.as_fixed_size_list().values().clone()),
        _ => None,
    }
}

/// Returns how many elements each list of a column has.
fn lengths(piece: &ArrayRef) -> Vec<usize> {
    match piece.data_type() {
        DataType::List(_) => piece.as_list::<i32>().offsets().lengths().collect(),
        DataType::FixedSizeList(_, size) => vec![*size as usize; piece.len()],
        _ => Vec::new(),
    }
}

fn is_number(kind: &DataType) -> bool {
    kind.is_integer() || matches!(kind, DataType::Boolean | DataType::Float32 | DataType::Float64 | DataType::Timestamp(..))
}

/// Numbers side by side.
struct Numbers {
    buffer: Buffer,
    count: usize,
    kind: &'static str,
    /// Which of them are null, where their kind has no number for that.
    mask: Option<Vec<u8>>,
}

impl Numbers {
    fn array<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        Memory::of_buffer(self.buffer.clone(), vec![self.count], self.kind).into_array(py)
    }
}

fn bools<'py>(py: Python<'py>, mask: &[u8]) -> Result<Bound<'py, PyAny>> {
    Memory::of_bytes(mask.to_vec(), vec![mask.len()], "|b1").into_array(py)
}

/// Returns the numbers of all pieces: null floats as NaN, null times as NaT.
fn numbers(py: Python<'_>, pieces: &[ArrayRef]) -> Result<Numbers> {
    let Some(first) = pieces.first() else {
        return Ok(Numbers { buffer: Buffer::from_vec(Vec::<u8>::new()), count: 0, kind: "=f8", mask: None });
    };
    py.detach(|| {
        Ok(match first.data_type() {
            DataType::Boolean => {
                let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.as_boolean().values().iter().map(u8::from)).collect();
                Numbers { count: bytes.len(), buffer: Buffer::from_vec(bytes), kind: "|b1", mask: mask(pieces) }
            }
            DataType::Int8 => side_by_side::<Int8Type>(pieces, "|i1", None),
            DataType::Int16 => side_by_side::<Int16Type>(pieces, "=i2", None),
            DataType::Int32 => side_by_side::<Int32Type>(pieces, "=i4", None),
            DataType::Int64 => side_by_side::<Int64Type>(pieces, "=i8", None),
            DataType::UInt8 => side_by_side::<UInt8Type>(pieces, "|u1", None),
            DataType::UInt16 => side_by_side::<UInt16Type>(pieces, "=u2", None),
            DataType::UInt32 => side_by_side::<UInt32Type>(pieces, "=u4", None),
            DataType::UInt64 => side_by_side::<UInt64Type>(pieces, "=u8", None),
            DataType::Float32 => side_by_side::<Float32Type>(pieces, "=f4", Some(f32::NAN)),
            DataType::Float64 => side_by_side::<Float64Type>(pieces, "=f8", Some(f64::NAN)),
            DataType::Timestamp(..) => side_by_side::<TimestampNanosecondType>(pieces, "=M8[ns]", Some(i64::MIN)),
            other => return Err(Failure::invalid(format!("a column of type {other} is no numbers"))),
        })
    })
}

fn side_by_side<T: ArrowPrimitiveType>(pieces: &[ArrayRef], kind: &'static str, null: Option<T::Native>) -> Numbers {
    let count = pieces.iter().map(|piece| piece.len()).sum();
    let nulls = pieces.iter().any(|piece| piece.null_count() > 0);
    let buffer = match (pieces, null) {
        ([piece], _) if !nulls => piece.as_primitive::<T>().values().inner().clone(),
        (_, Some(null)) if nulls => {
            let all = pieces.iter().flat_map(|piece| piece.as_primitive::<T>().iter());
            Buffer::from_vec(all.map(|number| number.unwrap_or(null)).collect::<Vec<_>>())
        }
        _ => Buffer::from_vec(pieces.iter().map(|piece| &piece.as_primitive::<T>().values()[..]).collect::<Vec<_>>().concat()),
    };
    Numbers { buffer, count, kind, mask: if null.is_none() { mask(pieces) } else { None } }
}

fn mask(pieces: &[ArrayRef]) -> Option<Vec<u8>> {
    let nulls = pieces.iter().any(|piece| piece.null_count() > 0);
    nulls.then(|| pieces.iter().flat_map(|piece| (0..piece.len()).map(|row| u8::from(piece.is_null(row)))).collect())
}
