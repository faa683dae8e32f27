//! `tapeloop.Table`: columns with times, as Arrow, as a data frame, or one as a numpy array.
//!
//! In come rows that are read when they are asked for, or batches that are there; out come Arrow streams and Python objects.
//!
//! **Invariant:** a table holds no rows that are still in a file: each stream reads them again, batch by batch.

pub(crate) mod column;
pub(crate) mod object;

use std::ffi::CString;
use std::sync::Arc;

use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{RecordBatch, RecordBatchIterator, RecordBatchReader};
use arrow_schema::ffi::FFI_ArrowSchema;
use arrow_schema::{ArrowError, Field, SchemaRef};
use pyo3::exceptions::PyUserWarning;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict};
use recording::{Error, Kind, Loss};

use self::column::Column;
use crate::argument;
use crate::error::{Failure, Result};
use crate::memory::pandas;
use crate::reading::rows::{Losses, Rows};

/// Columns with times.
#[pyclass(frozen, weakref, module = "tapeloop")]
pub(crate) struct Table {
    source: Source,
    schema: SchemaRef,
}

enum Source {
    /// Of a topic: read when they are asked for.
    Topic(Arc<Rows>),
    /// And what is missing in it.
    Ready(Vec<RecordBatch>, Vec<Loss>),
}

impl Table {
    /// Returns the table of a topic's messages.
    pub(crate) fn of_rows(rows: Rows) -> Self {
        Self { schema: rows.schema(), source: Source::Topic(Arc::new(rows)) }
    }

    /// Returns a table of a batch, and what is missing in it.
    pub(crate) fn of_batch(batch: RecordBatch, losses: Vec<Loss>) -> Self {
        Self { schema: batch.schema(), source: Source::Ready(vec![batch], losses) }
    }

    fn reader(&self) -> Result<Box<dyn RecordBatchReader + Send>> {
        Ok(match &self.source {
            Source::Topic(rows) => Box::new(rows.read()?),
            Source::Ready(batches, _) => Box::new(RecordBatchIterator::new(batches.clone().into_iter().map(Ok), self.schema.clone())),
        })
    }

    /// Reads everything, and warns of what cannot be decoded; there is at least one batch.
    fn batches(&self, py: Python<'_>) -> Result<Vec<RecordBatch>> {
        let mut reader = py.detach(|| self.reader())?;
        let mut batches = Vec::new();
        loop {
            py.check_signals()?;
            match py.detach(|| reader.next()) {
                Some(Ok(batch)) => batches.push(batch),
                Some(Err(error)) => return Err(failure(error)),
                None => break,
            }
        }
        if let Source::Topic(rows) = &self.source {
            warn(py, rows.name(), &rows.losses())?;
        }
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(self.schema.clone()));
        }
        Ok(batches)
    }

    fn column(&self, batches: &[RecordBatch], index: usize) -> Column {
        let field = self.schema.fields()[index].clone();
        Column { name: field.name().clone(), field, pieces: batches.iter().map(|batch| batch.column(index).clone()).collect() }
    }

    /// Returns a `DataFrame`: times first, structs as their fields.
    pub(crate) fn pandas<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        let pandas = pandas(py)?;
        let batches = self.batches(py)?;
        let columns = PyDict::new(py);
        for index in 0..self.schema.fields().len() {
            for column in self.column(&batches, index).flattened() {
                columns.set_item(&column.name, column.pandas(py)?)?;
            }
        }
        let frame = pandas.call_method1(intern!(py, "DataFrame"), (columns,))?;
        frame.getattr(intern!(py, "attrs"))?.set_item("losses", self.losses(py)?)?;
        Ok(frame)
    }

    /// Returns one column as a numpy array.
    pub(crate) fn numpy<'py>(&self, py: Python<'py>, name: &str) -> Result<Bound<'py, PyAny>> {
        let parts = (0..self.schema.fields().len()).filter(|index| {
            let field = self.schema.field(*index).name();
            name == field || name.strip_prefix(field.as_str()).is_some_and(|rest| rest.starts_with('.'))
        });
        let parts: Vec<usize> = parts.collect();
        let batches = self.batches(py)?;
        for index in &parts {
            let mut columns = vec![self.column(&batches, *index)];
            while let Some(column) = columns.pop() {
                if column.name == name {
                    return column.numpy(py);
                }
                if name.strip_prefix(&column.name).is_some_and(|rest| rest.starts_with('.')) {
                    columns.extend(column.parts());
                }
            }
        }
        let names: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        Err(Failure::Ours(Error::not_found(format!("no column '{name}' here; there are {}", names.join(", ")))))
    }
}

#[pymethods]
impl Table {
    /// The names of its columns.
    #[getter]
    fn columns(&self) -> Vec<&str> {
        self.schema.fields().iter().map(|field| field.name().as_str()).collect()
    }

    /// The schema, for the Arrow PyCapsule interface.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.schema.as_ref()).map_err(failure)?;
        Ok(PyCapsule::new_with_value(py, schema, c"arrow_schema")?)
    }

    /// The rows, for the Arrow PyCapsule interface: read batch by batch while they are consumed.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(&self, py: Python<'py>, requested_schema: Option<&Bound<'py, PyAny>>) -> Result<Bound<'py, PyCapsule>> {
        // Who asks for another schema converts what comes: the interface allows that.
        let _ = requested_schema;
        let reader = py.detach(|| self.reader())?;
        Ok(PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(reader), c"arrow_array_stream")?)
    }

    /// Returns a pandas `DataFrame`: times first, structs as their fields (`a.b`).
    #[pyo3(name = "to_pandas")]
    fn py_pandas<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        self.pandas(py)
    }

    /// Returns one column as a numpy array.
    #[pyo3(name = "to_numpy", signature = (column))]
    fn py_numpy<'py>(&self, py: Python<'py>, column: &Bound<'py, PyAny>) -> Result<Bound<'py, PyAny>> {
        self.numpy(py, &argument::column(column)?)
    }

    /// What could not be read or decoded when its rows were last read; complete when all of them were.
    #[getter]
    fn losses<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        match &self.source {
            Source::Topic(rows) => argument::from_json(py, &rows.losses().all),
            Source::Ready(_, losses) => argument::from_json(py, losses),
        }
    }

    fn __repr__(&self) -> String {
        const SHOWN: usize = 8;
        let fields = self.schema.fields();
        let shown: Vec<String> = fields.iter().take(SHOWN).map(|field| describe(field)).collect();
        let more = if fields.len() > SHOWN { format!(", … {} more", fields.len() - SHOWN) } else { String::new() };
        format!("<tapeloop.Table: {}{more}>", shown.join(", "))
    }
}

/// Warns of the messages of a topic that cannot be decoded.
pub(crate) fn warn(py: Python<'_>, topic: &str, losses: &Losses) -> Result<()> {
    if losses.undecoded == 0 {
        return Ok(());
    }
    let messages = if losses.undecoded == 1 { "message" } else { "messages" };
    let text = format!("{} {messages} on '{topic}' could not be decoded and are left out: {}", losses.undecoded, losses.reason);
    let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
    Ok(PyErr::warn(py, &py.get_type::<PyUserWarning>(), &text, 1)?)
}

fn describe(field: &Field) -> String {
    format!("{}: {}", field.name(), kind_name(field.data_type()))
}

/// Returns a short name of a type.
pub(crate) fn kind_name(kind: &arrow_schema::DataType) -> String {
    use arrow_schema::DataType as Arrow;
    match kind {
        Arrow::Utf8 => "text".to_owned(),
        Arrow::Binary => "bytes".to_owned(),
        Arrow::Boolean => "bool".to_owned(),
        Arrow::Timestamp(..) => "time".to_owned(),
        Arrow::Struct(_) => "struct".to_owned(),
        Arrow::List(element) => format!("list of {}", kind_name(element.data_type())),
        Arrow::FixedSizeList(element, size) => format!("{size} of {}", kind_name(element.data_type())),
        Arrow::Map(..) => "map".to_owned(),
        other => other.to_string().to_lowercase(),
    }
}

/// Returns an error of Arrow as ours: what a reader of rows met is inside of it.
pub(crate) fn failure(error: ArrowError) -> Failure {
    match error {
        ArrowError::ExternalError(inner) => match inner.downcast::<Error>() {
            Ok(ours) => Failure::Ours(*ours),
            Err(other) => Failure::Ours(Error::new(Kind::Internal, "Arrow failed").caused_by(other)),
        },
        error => Failure::Ours(Error::new(Kind::Internal, "Arrow failed").caused_by(error)),
    }
}
