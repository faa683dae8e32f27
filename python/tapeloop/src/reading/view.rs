//! `tapeloop.TopicView`: one topic of a recording, as messages, as columns, as pictures.
//!
//! **Invariant:** making a view reads nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use recording::latency::Latency;
use recording::read::{self, Info};
use recording::{Error, Span, TopicFilter};

use super::Messages;
use super::html;
use super::messages::described;
use super::plan::{Plan, leaves};
use super::rows::{PUBLISH_TIME, Rows, STAMP, TIME};
use crate::argument::{self, from_json, span};
use crate::error::{Failure, Result};
use crate::frames::Frames;
use crate::schema::Schema;
use crate::table::Table;

/// One topic of a recording.
#[pyclass(frozen, weakref, module = "tapeloop")]
pub(crate) struct TopicView {
    inner: read::Recording,
    info: Option<Arc<Info>>,
    /// More than one where its schema changed.
    topics: Vec<Arc<recording::Topic>>,
}

impl TopicView {
    pub(super) fn new(inner: read::Recording, info: Option<Arc<Info>>, topics: Vec<Arc<recording::Topic>>) -> Self {
        Self { inner, info, topics }
    }

    fn unique<'a>(&'a self, text: impl Fn(&'a recording::Topic) -> &'a str) -> String {
        let mut texts: Vec<&str> = Vec::new();
        for topic in &self.topics {
            if !texts.contains(&text(topic)) {
                texts.push(text(topic));
            }
        }
        texts.join(", ")
    }

    fn name(&self) -> &str {
        self.topics.first().map_or("", |topic| &topic.name)
    }

    fn filter(&self) -> TopicFilter {
        TopicFilter::at_least(self.name())
    }

    /// Returns how it becomes columns; the times are always there.
    fn plan(&self, mut columns: Vec<String>) -> Result<Plan> {
        let asked = !columns.is_empty();
        columns.retain(|column| !is_time(column));
        match asked && columns.is_empty() {
            true => Plan::of_times(&self.inner, &self.topics),
            false => Plan::new(&self.inner, &self.topics, &columns),
        }
    }

    fn table(&self, py: Python<'_>, columns: Vec<String>, span: Span) -> Result<Table> {
        let plan = py.detach(|| self.plan(columns))?;
        Ok(Table::of_rows(Rows::new(&self.inner, self.name(), span, plan)))
    }

    fn latency_of(&self) -> Result<Option<Latency>> {
        let plan = Plan::new(&self.inner, &self.topics, &[])?;
        let mut times = Vec::new();
        for message in self.inner.messages(&self.filter(), Span::ALL)? {
            let message = message?;
            if message.topic.name != self.name() {
                continue;
            }
            let stamp = plan.variant_of(&message.topic).and_then(|variant| plan.variants()[variant].stamp(&message.data));
            times.push((message.log_time_ns, stamp));
        }
        Ok(Latency::of(times))
    }
}

fn is_time(column: &str) -> bool {
    [TIME, PUBLISH_TIME, STAMP].contains(&column)
}

#[pymethods]
impl TopicView {
    /// The topic's name.
    #[getter(name)]
    fn py_name(&self) -> &str {
        self.name()
    }

    /// The name of its type; several where its schema changed.
    #[getter(r#type)]
    fn type_name(&self) -> String {
        self.unique(|topic| topic.type_name())
    }

    /// How its payloads are encoded: `json`, `cdr`, …
    #[getter]
    fn encoding(&self) -> String {
        self.unique(|topic| &topic.encoding)
    }

    /// Its schemas, in the order of the channels.
    #[getter]
    fn schemas(&self) -> Vec<Schema> {
        self.topics.iter().filter_map(|topic| topic.schema.clone()).map(Schema::from).collect()
    }

    /// What else is known of it, e.g. its `offered_qos_profiles`.
    #[getter]
    fn metadata(&self) -> BTreeMap<String, String> {
        self.topics.iter().flat_map(|topic| topic.metadata.clone()).collect()
    }

    /// The fields of its messages, as paths, with their types.
    #[getter]
    fn fields<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>> {
        let fields = PyDict::new(py);
        for leaf in leaves(Plan::new(&self.inner, &self.topics, &[])?.fields()) {
            fields.set_item(leaf.path, leaf.kind)?;
        }
        Ok(fields)
    }

    /// Iterates over its messages in the order of their log times.
    #[pyo3(signature = (*, start=None, end=None, raw=false))]
    fn messages(&self, py: Python<'_>, start: Option<&Bound<'_, PyAny>>, end: Option<&Bound<'_, PyAny>>, raw: bool) -> Result<Messages> {
        Messages::new(py, &self.inner, &self.filter(), span(start, end)?, raw, Some(self.name().to_owned()))
    }

    /// Returns its messages as Arrow columns, which are read when somebody takes them.
    #[pyo3(signature = (columns=None, *, start=None, end=None))]
    fn to_arrow(
        &self,
        py: Python<'_>,
        columns: Option<&Bound<'_, PyAny>>,
        start: Option<&Bound<'_, PyAny>>,
        end: Option<&Bound<'_, PyAny>>,
    ) -> Result<Table> {
        self.table(py, argument::columns(columns)?, span(start, end)?)
    }

    /// Returns its messages as a pandas `DataFrame`.
    #[pyo3(signature = (columns=None, *, start=None, end=None))]
    fn to_pandas<'py>(
        &self,
        py: Python<'py>,
        columns: Option<&Bound<'py, PyAny>>,
        start: Option<&Bound<'py, PyAny>>,
        end: Option<&Bound<'py, PyAny>>,
    ) -> Result<Bound<'py, PyAny>> {
        self.table(py, argument::columns(columns)?, span(start, end)?)?.pandas(py)
    }

    /// Returns one field of its messages as a numpy array.
    #[pyo3(signature = (column, *, start=None, end=None))]
    fn to_numpy<'py>(
        &self,
        py: Python<'py>,
        column: &Bound<'py, PyAny>,
        start: Option<&Bound<'py, PyAny>>,
        end: Option<&Bound<'py, PyAny>>,
    ) -> Result<Bound<'py, PyAny>> {
        let column = argument::column(column)?;
        self.table(py, vec![column.clone()], span(start, end)?)?.numpy(py, &column)
    }

    /// Iterates over its pictures, as numpy arrays.
    #[pyo3(signature = (*, start=None, end=None, format="rgb"))]
    fn frames(&self, py: Python<'_>, start: Option<&Bound<'_, PyAny>>, end: Option<&Bound<'_, PyAny>>, format: &str) -> Result<Frames> {
        Frames::new(py, &self.inner, &self.filter(), span(start, end)?, Some(self.name()), format)
    }

    /// Returns how late its messages are, from their stamps to their log times.
    fn latency<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>> {
        from_json(py, &py.detach(|| self.latency_of())?)
    }

    fn __iter__(&self, py: Python<'_>) -> Result<Messages> {
        self.messages(py, None, None, false)
    }

    fn __len__(&self, py: Python<'_>) -> Result<usize> {
        let info = match &self.info {
            Some(info) => info.clone(),
            None => Arc::new(py.detach(|| self.inner.info())?),
        };
        let own = info.topics.iter().filter(|topic| topic.topic == self.name());
        Ok(own.map(|topic| topic.messages as usize).sum())
    }

    fn __bool__(&self) -> bool {
        true
    }

    fn __repr__(&self) -> String {
        format!("<tapeloop.TopicView {}: {}>", self.name(), described(&self.type_name(), &self.encoding()))
    }

    fn _repr_html_(&self) -> String {
        let fields = Plan::new(&self.inner, &self.topics, &[]).map(|plan| leaves(plan.fields())).map_err(reason);
        html::topic(&self.__repr__(), fields)
    }
}

fn reason(failure: Failure) -> Error {
    match failure {
        Failure::Ours(error) => error,
        Failure::Python(error) => Error::invalid(error.to_string()),
    }
}
