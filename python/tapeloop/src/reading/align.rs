//! Fields of many topics on one grid of time.
//!
//! In come the wanted fields and a rate, out comes one batch: the grid's times, and a column per field.
//!
//! **Invariant:** a topic is read once, and only its wanted fields are decoded.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampNanosecondType;
use arrow_array::{Array, ArrayRef, PrimitiveArray, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};
use arrow_select::{concat::concat_batches, take::take_record_batch};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use recording::align::{self, Method};
use recording::{Error, Kind, Span, Topic, read};

use super::plan::{Plan, leaves};
use super::rows::{Losses, Rows, STAMP, TIME};
use crate::argument::{duration_ns, filter, patterns};
use crate::error::{Failure, Result};

/// Which fields of which topics; no fields means those that are signals.
pub(super) struct Wanted {
    topics: Vec<(Vec<Arc<Topic>>, Vec<String>)>,
    /// Whether topics that cannot be put onto the grid are left out.
    lenient: bool,
}

/// Which time of messages counts.
pub(super) enum TimeBase {
    Log,
    Stamp,
    /// What a clock said last when they were logged; its topics, which have one name.
    Clock(Vec<Arc<Topic>>),
}

/// How streams are put onto a grid.
pub(super) struct Options {
    hz: f64,
    base: TimeBase,
    method: Method,
    max_age_ns: Option<i64>,
    span: Span,
}

impl TimeBase {
    /// Reads the name of a time, or of the topic that tells it.
    pub(super) fn parse(time: &str, all: &[Arc<Topic>]) -> Result<Self> {
        match time {
            "log_time" => Ok(Self::Log),
            "header.stamp" | "stamp" => Ok(Self::Stamp),
            _ if time.starts_with('/') => match of_name(time, all) {
                topics if topics.is_empty() => Err(Failure::Ours(Error::not_found(format!("time='{time}': no such topic here")))),
                topics => Ok(Self::Clock(topics)),
            },
            _ => Err(Failure::invalid(format!("time='{time}'; one of 'log_time', 'header.stamp' and a topic of clocks as '/clock'"))),
        }
    }
}

impl Options {
    pub(super) fn parse(hz: f64, base: TimeBase, method: &str, max_age: Option<&Bound<'_, PyAny>>, span: Span) -> Result<Self> {
        let method = match method {
            "previous" => Method::Previous,
            "nearest" => Method::Nearest,
            "linear" => Method::Linear,
            _ => return Err(Failure::invalid(format!("method='{method}'; one of 'previous', 'nearest' and 'linear'"))),
        };
        // What is wrong with the rate is told before anything is read.
        align::grid(0, 0, hz)?;
        Ok(Self { hz, base, method, max_age_ns: max_age.map(duration_ns).transpose()?, span })
    }

    /// Returns when messages must be that can matter for the grid.
    fn reading_span(&self) -> Span {
        if !matches!(self.base, TimeBase::Log) || self.method != Method::Previous {
            return Span::ALL;
        }
        let start_ns = self.max_age_ns.map_or(i64::MIN, |age_ns| self.span.start_ns.saturating_sub(age_ns));
        Span::new(start_ns, self.span.end_ns)
    }
}

impl Wanted {
    /// Returns what is wanted of these topics: patterns, and columns as `/topic.field` or as a dict of topics and fields.
    pub(super) fn parse(topics: Option<&Bound<'_, PyAny>>, columns: Option<&Bound<'_, PyAny>>, all: &[Arc<Topic>]) -> Result<Self> {
        let of_name = |name: &str| of_name(name, all);
        let Some(columns) = columns else {
            let filter = filter(topics)?;
            let mut names: Vec<&str> = all.iter().map(|topic| topic.name.as_str()).filter(|name| filter.matches(name)).collect();
            names.sort_unstable();
            names.dedup();
            if names.is_empty() && topics.is_some() {
                return Err(Failure::Ours(Error::not_found(format!("no topic matches {}", filter.patterns().join(", ")))));
            }
            return Ok(Self { topics: names.into_iter().map(|name| (of_name(name), Vec::new())).collect(), lenient: topics.is_none() });
        };
        if topics.is_some() {
            return Err(Failure::invalid("columns name their topics: leave topics out"));
        }
        let mut wanted: Vec<(String, Vec<String>)> = Vec::new();
        if let Ok(dict) = columns.cast::<PyDict>() {
            for (name, fields) in dict {
                let fields = if fields.is_none() { Vec::new() } else { patterns(Some(&fields))? };
                wanted.push((name.cast::<PyString>()?.to_string_lossy().into_owned(), fields));
            }
        } else {
            for column in patterns(Some(columns))? {
                let names = all.iter().map(|topic| topic.name.as_str());
                let own = names.filter(|name| column.strip_prefix(name).is_some_and(|rest| rest.starts_with('.') && rest.len() > 1));
                // Names of topics may have dots: the longest is meant.
                let Some(name) = own.max_by_key(|name| name.len()) else {
                    let wrong = match of_name(&column).is_empty() {
                        true => format!("'{column}' begins with no topic here; columns are '/topic.field'"),
                        false => format!(
                            "'{column}' is a topic, and names no field of it: write '{column}.<field>', or {{'{column}': None}} for all signals"
                        ),
                    };
                    return Err(Failure::Ours(Error::not_found(wrong)));
                };
                let field = column[name.len() + 1..].to_owned();
                match wanted.iter_mut().find(|(known, _)| known == name) {
                    Some((_, fields)) => fields.push(field),
                    None => wanted.push((name.to_owned(), vec![field])),
                }
            }
        }
        let found = wanted.into_iter().map(|(name, fields)| match of_name(&name) {
            topics if topics.is_empty() => Err(Failure::Ours(Error::not_found(format!("no topic '{name}' here")))),
            topics => Ok((topics, fields)),
        });
        Ok(Self { topics: found.collect::<Result<_>>()?, lenient: false })
    }
}

fn of_name(name: &str, all: &[Arc<Topic>]) -> Vec<Arc<Topic>> {
    all.iter().filter(|topic| topic.name == name).cloned().collect()
}

/// What a clock says, by log time.
struct Clock {
    log_ns: Vec<i64>,
    says_ns: Vec<i64>,
}

impl Clock {
    /// Reads what the messages of a topic say; returns what could not be read as well.
    fn read(recording: &read::Recording, topics: &[Arc<Topic>]) -> Result<(Self, Losses)> {
        let plan = Plan::of_clock(recording, topics)?;
        let name = topics.first().map_or("", |topic| topic.name.as_str());
        if !plan.has_stamps() {
            return Err(Failure::invalid(format!("messages on '{name}' tell no time: time='/topic' takes rosgraph_msgs/Clock")));
        }
        let rows = Rows::new(recording, name, Span::ALL, plan);
        let mut clock = Self { log_ns: Vec::new(), says_ns: Vec::new() };
        for batch in rows.read()? {
            let batch = batch.map_err(failed)?;
            let (log, says) = (times(&batch, TIME)?, times(&batch, STAMP)?);
            let told = log.iter().zip(says.iter()).filter_map(|(log, says)| log.zip(says));
            for (log_ns, says_ns) in told {
                clock.log_ns.push(log_ns);
                clock.says_ns.push(says_ns);
            }
        }
        if let Some(order) = align::order(&clock.log_ns) {
            let sorted = |times: &[i64]| order.iter().map(|at| times[*at as usize]).collect();
            clock = Self { log_ns: sorted(&clock.log_ns), says_ns: sorted(&clock.says_ns) };
        }
        Ok((clock, rows.losses()))
    }

    /// Returns what it had said last at a log time. Before its first message it said nothing; what is latched counts from there.
    fn at(&self, log_ns: i64, is_latched: bool) -> Option<i64> {
        let passed = self.log_ns.partition_point(|time| *time <= log_ns);
        self.says_ns.get(if is_latched { passed.saturating_sub(1) } else { passed.checked_sub(1)? }).copied()
    }
}

/// A topic's wanted fields, in the order of their times.
struct Stream {
    name: String,
    times_ns: Vec<i64>,
    rows: RecordBatch,
    latched: bool,
    losses: Losses,
}

/// Fields on their grid, and what each topic lacks.
pub(super) struct Aligned {
    pub(super) batch: RecordBatch,
    pub(super) losses: Vec<(String, Losses)>,
}

/// Returns the fields on their grid: from the first time of any of them to the last, or as the span says.
pub(super) fn align(recording: &read::Recording, wanted: Wanted, options: &Options) -> Result<Aligned> {
    let mut streams = Vec::new();
    let clock = match &options.base {
        TimeBase::Clock(topics) => Some(Clock::read(recording, topics)?),
        TimeBase::Log | TimeBase::Stamp => None,
    };
    for (topics, fields) in &wanted.topics {
        match stream(recording, topics, fields, options, clock.as_ref().map(|(clock, _)| clock)) {
            Ok(stream) => streams.extend(stream),
            Err(_) if wanted.lenient => {}
            Err(error) => return Err(error),
        }
    }
    let first = streams.iter().filter_map(|stream| stream.times_ns.first()).min().copied();
    let last = streams.iter().filter_map(|stream| stream.times_ns.last()).max().copied();
    let start_ns = if options.span.start_ns == i64::MIN { first } else { Some(options.span.start_ns) };
    let end_ns = if options.span.end_ns == i64::MAX { last } else { Some(options.span.end_ns.saturating_sub(1)) };
    let grid = match start_ns.zip(end_ns) {
        Some((start_ns, end_ns)) => align::grid(start_ns, end_ns, options.hz)?,
        None => Vec::new(),
    };
    let time_type = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let mut fields = vec![Arc::new(Field::new(TIME, time_type, false))];
    let mut columns: Vec<ArrayRef> = Vec::new();
    for stream in &streams {
        // The last value of a latched topic holds until there is another.
        let max_age_ns = options.max_age_ns.filter(|_| !stream.latched);
        let picks = align::pick(&stream.times_ns, &grid, options.method, max_age_ns);
        for (field, column) in stream.rows.schema().fields().iter().zip(stream.rows.columns()) {
            let column = align::gather(column, &picks)?;
            let name = format!("{}.{}", stream.name, field.name());
            fields.push(Arc::new(field.as_ref().clone().with_name(name).with_data_type(column.data_type().clone()).with_nullable(true)));
            columns.push(column);
        }
    }
    let times = PrimitiveArray::<TimestampNanosecondType>::from(grid).with_timezone("UTC");
    columns.insert(0, Arc::new(times));
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(failed)?;
    let mut losses: Vec<(String, Losses)> = streams.into_iter().map(|stream| (stream.name, stream.losses)).collect();
    if let (TimeBase::Clock(topics), Some((_, lost))) = (&options.base, clock)
        && let Some(topic) = topics.first().filter(|topic| losses.iter().all(|(name, _)| *name != topic.name))
    {
        losses.push((topic.name.clone(), lost));
    }
    Ok(Aligned { batch, losses })
}

fn failed(error: ArrowError) -> Failure {
    crate::table::failure(error)
}

/// Reads a topic's wanted fields; `None` where it has none.
fn stream(
    recording: &read::Recording,
    topics: &[Arc<Topic>],
    fields: &[String],
    options: &Options,
    clock: Option<&Clock>,
) -> Result<Option<Stream>> {
    let Some(topic) = topics.first() else { return Ok(None) };
    let plan = match fields.is_empty() {
        false => Plan::new(recording, topics, fields)?,
        true => {
            let all = leaves(Plan::new(recording, topics, &[])?.fields());
            let signals: Vec<String> = all.into_iter().filter(|leaf| leaf.is_signal()).map(|leaf| leaf.path).collect();
            if signals.is_empty() {
                return Ok(None);
            }
            Plan::new(recording, topics, &signals)?
        }
    };
    if matches!(options.base, TimeBase::Stamp) && !plan.has_stamps() {
        return Err(Failure::invalid(format!(
            "messages on '{}' have no stamp: align by time='log_time', or leave the topic out",
            topic.name
        )));
    }
    let rows = Rows::new(recording, &topic.name, options.reading_span(), plan);
    let schema = rows.schema();
    let batches = rows.read()?.collect::<std::result::Result<Vec<_>, _>>().map_err(failed)?;
    let whole = concat_batches(&schema, &batches).map_err(failed)?;
    let losses = rows.losses();
    let latched = topics.iter().any(|topic| recording::qos::is_latched(topic));
    let (times_ns, whole) = match (&options.base, clock) {
        // A stamp of 0 is one that nobody has set.
        (TimeBase::Stamp, _) => in_order(whole, STAMP, |stamp_ns| Some(stamp_ns).filter(|stamp_ns| *stamp_ns != 0))?,
        (TimeBase::Clock(_), Some(clock)) => in_order(whole, TIME, |log_ns| clock.at(log_ns, latched))?,
        (TimeBase::Log | TimeBase::Clock(_), _) => in_order(whole, TIME, Some)?,
    };
    Ok(Some(Stream { name: topic.name.clone(), times_ns, rows: without_times(&whole)?, latched, losses }))
}

fn times<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a PrimitiveArray<TimestampNanosecondType>> {
    let column = rows.column_by_name(name).ok_or_else(|| Error::new(Kind::Internal, format!("rows without {name}")))?;
    Ok(column.as_primitive())
}

/// Returns rows in the order of what a column of times stands for, those for which it stands for nothing left out.
fn in_order(rows: RecordBatch, name: &str, time_of: impl Fn(i64) -> Option<i64>) -> Result<(Vec<i64>, RecordBatch)> {
    let column = times(&rows, name)?;
    let timed = (0..).zip(column.iter()).filter_map(|(row, time)| Some((row, time_of(time?)?)));
    let (kept, times_ns): (Vec<u32>, Vec<i64>) = timed.unzip();
    let order = align::order(&times_ns);
    if order.is_none() && kept.len() == column.len() {
        return Ok((times_ns, rows));
    }
    let (times_ns, places): (Vec<i64>, Vec<u32>) = match order {
        None => (times_ns, kept),
        Some(order) => order.into_iter().map(|at| (times_ns[at as usize], kept[at as usize])).unzip(),
    };
    let rows = take_record_batch(&rows, &UInt32Array::from(places)).map_err(failed)?;
    Ok((times_ns, rows))
}

fn without_times(rows: &RecordBatch) -> Result<RecordBatch> {
    const TIMES: usize = 3;
    rows.project(&(TIMES..rows.num_columns()).collect::<Vec<_>>()).map_err(failed)
}
