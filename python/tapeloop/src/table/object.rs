//! One value of an Arrow column as a Python object: numbers, text, bytes, lists and dicts.
//!
//! **Invariant:** null is `None`, and text that stands for JSON becomes what it says.

use std::cell::RefCell;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use crate::argument::loads;
use crate::error::{Failure, Result};

/// The metadata of text columns that hold JSON.
const JSON_KEY: &str = "tapeloop.json";

/// Makes objects of a column.
pub(crate) struct Maker<'py> {
    py: Python<'py>,
    /// The last text: most columns of text say the same thing over and over.
    last: RefCell<Option<(String, Bound<'py, PyString>)>>,
}

impl<'py> Maker<'py> {
    pub(crate) fn new(py: Python<'py>) -> Self {
        Self { py, last: RefCell::default() }
    }

    /// Returns a row of a column.
    pub(crate) fn object(&self, field: &Field, column: &ArrayRef, row: usize) -> Result<Bound<'py, PyAny>> {
        if column.is_null(row) {
            return Ok(self.py.None().into_bound(self.py));
        }
        macro_rules! number {
            ($kind:ident) => {
                column.as_primitive::<$kind>().value(row).into_pyobject(self.py).map_err(PyErr::from)?.into_any()
            };
        }
        Ok(match column.data_type() {
            DataType::Boolean => column.as_boolean().value(row).into_pyobject(self.py).map_err(PyErr::from)?.to_owned().into_any(),
            DataType::Int8 => number!(Int8Type),
            DataType::Int16 => number!(Int16Type),
            DataType::Int32 => number!(Int32Type),
            DataType::Int64 => number!(Int64Type),
            DataType::UInt8 => number!(UInt8Type),
            DataType::UInt16 => number!(UInt16Type),
            DataType::UInt32 => number!(UInt32Type),
            DataType::UInt64 => number!(UInt64Type),
            DataType::Float32 => number!(Float32Type),
            DataType::Float64 => number!(Float64Type),
            DataType::Timestamp(..) => number!(TimestampNanosecondType),
            DataType::Utf8 if field.metadata().contains_key(JSON_KEY) => loads(self.py, column.as_string::<i32>().value(row))?,
            DataType::Utf8 => self.text(column.as_string::<i32>().value(row)).into_any(),
            DataType::Binary => PyBytes::new(self.py, column.as_binary::<i32>().value(row)).into_any(),
            DataType::Struct(fields) => {
                let dict = PyDict::new(self.py);
                for (field, column) in fields.iter().zip(column.as_struct().columns()) {
                    dict.set_item(self.text(field.name()), self.object(field, column, row)?)?;
                }
                dict.into_any()
            }
            DataType::List(element) if element.data_type() == &DataType::UInt8 => {
                PyBytes::new(self.py, column.as_list::<i32>().value(row).as_primitive::<UInt8Type>().values()).into_any()
            }
            DataType::List(element) => self.list(element, &column.as_list::<i32>().value(row))?,
            DataType::FixedSizeList(element, _) => self.list(element, &column.as_fixed_size_list().value(row))?,
            DataType::Map(entries, _) => self.map(entries, &column.as_map().value(row))?,
            other => return Err(Failure::invalid(format!("a value of type {other} has no Python form"))),
        })
    }

    fn list(&self, field: &Field, values: &ArrayRef) -> Result<Bound<'py, PyAny>> {
        let list = PyList::empty(self.py);
        for row in 0..values.len() {
            list.append(self.object(field, values, row)?)?;
        }
        Ok(list.into_any())
    }

    fn map(&self, entries: &Field, values: &arrow_array::StructArray) -> Result<Bound<'py, PyAny>> {
        let dict = PyDict::new(self.py);
        if let (DataType::Struct(fields), [keys, values]) = (entries.data_type(), values.columns()) {
            for row in 0..keys.len() {
                dict.set_item(self.object(&fields[0], keys, row)?, self.object(&fields[1], values, row)?)?;
            }
        }
        Ok(dict.into_any())
    }

    fn text(&self, text: &str) -> Bound<'py, PyString> {
        let mut last = self.last.borrow_mut();
        match &*last {
            Some((known, object)) if known == text => object.clone(),
            _ => {
                let object = PyString::new(self.py, text);
                *last = Some((text.to_owned(), object.clone()));
                object
            }
        }
    }
}
