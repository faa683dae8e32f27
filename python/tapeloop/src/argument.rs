//! Arguments in every form that Python programs use: times, durations, topic patterns, labels, QoS.
//!
//! In come Python objects, out come what the crates below understand.
//!
//! **Invariant:** a time never passes through a float, which cannot hold nanoseconds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDateTime, PyDelta, PyDict, PyFloat, PyInt, PyString};
use recording::{Span, TopicFilter, time};
use robot::clock::{Clock, SystemClock};

use crate::error::{Failure, Result};

/// Returns a moment in ns UTC: an `int` of ns, text, a `datetime` (without a zone: local) or a `numpy.datetime64`.
pub(crate) fn time_ns(value: &Bound<'_, PyAny>) -> Result<i64> {
    if value.is_exact_instance_of::<PyInt>() {
        return value.extract().map_err(|_| Failure::invalid(format!("time {value} ns does not fit into 64 bits")));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(time::parse_time(&text.to_string_lossy(), SystemClock.utc_ns(), &TimeZone::system())?);
    }
    if let Ok(moment) = value.cast::<PyDateTime>() {
        return datetime_ns(moment);
    }
    if value.is_instance_of::<PyFloat>() {
        return Err(Failure::invalid(format!(
            "time {value}: a float cannot hold nanoseconds; write an int of ns (time.time_ns()), a datetime or text"
        )));
    }
    let py = value.py();
    if value.get_type().name()? == "datetime64" {
        let ns = value.call_method1(intern!(py, "astype"), ("datetime64[ns]",))?.call_method1(intern!(py, "astype"), ("int64",))?;
        return match ns.call_method0(intern!(py, "item"))?.extract()? {
            i64::MIN => Err(Failure::invalid("time NaT is no moment")),
            ns => Ok(ns),
        };
    }
    match (value.is_instance_of::<PyBool>(), value.extract::<i64>()) {
        (false, Ok(ns)) => Ok(ns),
        _ => Err(Failure::invalid(format!(
            "not a time: {} (write an int of ns, '14:32:10', '10 min ago', RFC 3339 or a datetime)",
            value.repr()?
        ))),
    }
}

fn datetime_ns(moment: &Bound<'_, PyDateTime>) -> Result<i64> {
    static EPOCH: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = moment.py();
    let epoch = EPOCH.get_or_try_init(py, || {
        let utc = py.import("datetime")?.getattr("timezone")?.getattr("utc")?;
        Ok::<_, PyErr>(py.get_type::<PyDateTime>().call1((1970, 1, 1, 0, 0, 0, 0, utc))?.unbind())
    })?;
    let aware = match moment.getattr(intern!(py, "tzinfo"))?.is_none() {
        true => moment.call_method0(intern!(py, "astimezone"))?,
        false => moment.clone().into_any(),
    };
    delta_ns(aware.sub(epoch.bind(py))?.cast::<PyDelta>()?)
}

fn delta_ns(delta: &Bound<'_, PyDelta>) -> Result<i64> {
    let part = |name| delta.getattr(name)?.extract::<i64>();
    let (days, seconds, micros) = (part("days")?, part("seconds")?, part("microseconds")?);
    days.checked_mul(86_400)
        .and_then(|total| total.checked_add(seconds)?.checked_mul(1_000_000)?.checked_add(micros)?.checked_mul(1000))
        .ok_or_else(|| Failure::invalid(format!("{delta} does not fit into 64 bits of nanoseconds")))
}

/// Returns a duration in ns: seconds as a number, text like `30 s`, or a `timedelta`.
pub(crate) fn duration_ns(value: &Bound<'_, PyAny>) -> Result<i64> {
    let ns = if let Ok(text) = value.cast::<PyString>() {
        time::parse_duration(&text.to_string_lossy())?
    } else if let Ok(delta) = value.cast::<PyDelta>() {
        delta_ns(delta)?
    } else {
        let number = match value.is_instance_of::<PyBool>() {
            true => None,
            false => value.extract::<f64>().ok(),
        };
        let Some(seconds) = number else {
            return Err(Failure::invalid(format!("not a duration: {} (write 30, '30 s' or a timedelta)", value.repr()?)));
        };
        // Beyond this `as` would saturate silently.
        if !(-9.2e9..9.2e9).contains(&seconds) {
            return Err(Failure::invalid(format!("duration {seconds} s is beyond 292 years")));
        }
        (seconds * 1e9).round() as i64
    };
    if ns < 0 {
        return Err(Failure::invalid(format!("duration {} is negative", value.str()?)));
    }
    Ok(ns)
}

/// Returns topic patterns: one, or any number of them; none means all.
pub(crate) fn patterns(value: Option<&Bound<'_, PyAny>>) -> Result<Vec<String>> {
    let patterns = texts(value, "topic")?;
    if value.is_some() && patterns.is_empty() {
        return Err(Failure::invalid("an empty list of topics selects nothing; leave it out for all topics"));
    }
    Ok(patterns)
}

/// Returns the names of columns: one, or any number of them; none means all.
pub(crate) fn columns(value: Option<&Bound<'_, PyAny>>) -> Result<Vec<String>> {
    texts(value, "column")
}

/// Returns the name of a column.
pub(crate) fn column(value: &Bound<'_, PyAny>) -> Result<String> {
    let text = value.cast::<PyString>();
    let text = text.map_err(|_| Failure::invalid(format!("a column is text, like 'pose.x', not {value}; to_pandas takes several")))?;
    Ok(text.to_string_lossy().into_owned())
}

/// Returns the path of a file or a folder.
pub(crate) fn path(value: &Bound<'_, PyAny>) -> Result<PathBuf> {
    let refused = |_| Failure::wrong_type(format!("a path is text or a pathlib.Path, not {}", repr(value)));
    value.extract().map_err(refused)
}

fn repr(value: &Bound<'_, PyAny>) -> String {
    value.repr().map_or_else(|_| "this".to_owned(), |text| text.to_string())
}

/// Returns one text, or a list of them.
fn texts(value: Option<&Bound<'_, PyAny>>, noun: &str) -> Result<Vec<String>> {
    let Some(value) = value else { return Ok(Vec::new()) };
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(vec![text.to_string_lossy().into_owned()]);
    }
    let mut texts = Vec::new();
    let items = value.try_iter().map_err(|_| Failure::invalid(format!("{noun}s are text or a list of texts, not {}", repr(value))))?;
    for item in items {
        let item = item?;
        let text = item.cast::<PyString>().map_err(|_| Failure::invalid(format!("a {noun} is text, not {}", repr(&item))))?;
        texts.push(text.to_string_lossy().into_owned());
    }
    Ok(texts)
}

/// Returns a filter of topics.
pub(crate) fn filter(value: Option<&Bound<'_, PyAny>>) -> Result<TopicFilter> {
    Ok(TopicFilter::parse(&patterns(value)?)?)
}

/// Returns the span `[start, end)`; what is not said is open.
pub(crate) fn span(start: Option<&Bound<'_, PyAny>>, end: Option<&Bound<'_, PyAny>>) -> Result<Span> {
    let start_ns = start.map(time_ns).transpose()?.unwrap_or(i64::MIN);
    let end_ns = end.map(time_ns).transpose()?.unwrap_or(i64::MAX);
    if start_ns > end_ns {
        return Err(Failure::invalid(format!(
            "the span ends before it starts: {} to {}",
            time::format_time(start_ns),
            time::format_time(end_ns)
        )));
    }
    Ok(Span::new(start_ns, end_ns))
}

/// Returns labels as text.
pub(crate) fn labels(value: Option<&Bound<'_, PyDict>>) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for (key, value) in value.iter().flat_map(|dict| dict.iter()) {
        labels.insert(key.str()?.to_string_lossy().into_owned(), value.str()?.to_string_lossy().into_owned());
    }
    Ok(labels)
}

/// Returns a Python object made of JSON.
pub(crate) fn from_json<'py>(py: Python<'py>, value: &impl serde::Serialize) -> Result<Bound<'py, PyAny>> {
    let text =
        serde_json::to_string(value).map_err(|error| Failure::Ours(recording::Error::new(recording::Kind::Internal, error.to_string())))?;
    loads(py, &text)
}

/// Returns what JSON text says.
pub(crate) fn loads<'py>(py: Python<'py>, text: &str) -> Result<Bound<'py, PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    Ok(LOADS.import(py, "json", "loads")?.call1((text,))?)
}
