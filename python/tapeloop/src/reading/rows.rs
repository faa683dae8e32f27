//! The messages of a topic as rows: read and decoded batch by batch, without the interpreter.
//!
//! In come messages and a plan, out come record batches: log time, publish time, stamp, and the plan's columns.
//!
//! **Invariant:** what cannot be decoded is a loss and no row; only a topic of which nothing can be decoded is an error.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::types::TimestampNanosecondType;
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch, RecordBatchReader, UInt32Array};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow_select::{concat::concat_batches, take::take_record_batch};
use parking_lot::Mutex;
use recording::decode::Columns;
use recording::{Kind, Loss, Message, Span, TopicFilter, read};

use super::ahead::Ahead;
use super::plan::{Plan, Variant};
use crate::error::Result;

/// The column of log times.
pub(crate) const TIME: &str = "_time";
/// The column of publish times.
pub(crate) const PUBLISH_TIME: &str = "_publish_time";
/// The column of the times when messages say that they were measured.
pub(crate) const STAMP: &str = "_stamp";

/// How many rows a batch has at most.
const BATCH_ROWS: usize = 1 << 16;
/// How many payload bytes make a batch, unless one message is larger.
const BATCH_BYTES: usize = 16 << 20;
/// How many payloads that cannot be decoded are told one by one.
const LOSSES_LIMIT: usize = 100;

/// The rows of one topic in a span.
pub(crate) struct Rows {
    recording: read::Recording,
    name: String,
    span: Span,
    plan: Arc<Plan>,
    schema: SchemaRef,
    losses: Arc<Mutex<Losses>>,
}

/// What is missing among rows.
#[derive(Clone, Default)]
pub(crate) struct Losses {
    /// What could not be decoded, one by one as far as that is told, and what the recording lacks.
    pub(crate) all: Vec<Loss>,
    /// How many messages could not be decoded, and why the first of them.
    pub(crate) undecoded: u64,
    pub(crate) reason: String,
}

impl Rows {
    pub(crate) fn new(recording: &read::Recording, name: &str, span: Span, plan: Plan) -> Self {
        let time = |name, nullable| Field::new(name, DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), nullable);
        let mut fields = vec![Arc::new(time(TIME, false)), Arc::new(time(PUBLISH_TIME, false)), Arc::new(time(STAMP, true))];
        fields.extend(plan.fields().iter().cloned());
        let schema = Arc::new(Schema::new(fields));
        Self { recording: recording.clone(), name: name.to_owned(), span, plan: Arc::new(plan), schema, losses: Arc::default() }
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Returns the name of the topic.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns what was missing when the rows were last read.
    pub(crate) fn losses(&self) -> Losses {
        self.losses.lock().clone()
    }

    /// Begins to read them.
    pub(crate) fn read(&self) -> Result<Reader> {
        let groups = self.plan.variants().iter().map(Variant::columns);
        let filter = TopicFilter::at_least(&self.name);
        *self.losses.lock() = Losses::default();
        Ok(Reader {
            messages: self.recording.messages(&filter, self.span)?,
            request: (self.recording.clone(), filter, self.span),
            ahead: None,
            name: self.name.clone(),
            plan: self.plan.clone(),
            schema: self.schema.clone(),
            groups: groups.collect::<Result<_>>()?,
            known: HashMap::new(),
            held: None,
            bytes: 0,
            times: Times::default(),
            decoded: 0,
            first_failure: None,
            losses: self.losses.clone(),
            ended: false,
        })
    }
}

/// Reads rows.
pub(crate) struct Reader {
    messages: read::Messages,
    /// What `messages` are of.
    request: (read::Recording, TopicFilter, Span),
    /// Who unpacks for it, once it has seen that there is something to unpack.
    ahead: Option<Ahead>,
    name: String,
    plan: Arc<Plan>,
    schema: SchemaRef,
    groups: Vec<Columns>,
    /// The group of each topic, by address: topics live as long as the recording.
    known: HashMap<usize, Option<usize>>,
    /// A message that did not fit into the last batch.
    held: Option<(usize, Message)>,
    bytes: usize,
    times: Times,
    decoded: u64,
    first_failure: Option<recording::Error>,
    losses: Arc<Mutex<Losses>>,
    ended: bool,
}

/// The times of a batch's rows, and which group has each.
#[derive(Default)]
struct Times {
    log: Vec<i64>,
    publish: Vec<i64>,
    stamp: Vec<Option<i64>>,
    group: Vec<u32>,
}

impl Reader {
    /// Fills the batch; returns false behind the last message.
    fn fill(&mut self) -> recording::Result<bool> {
        while self.times.log.len() < BATCH_ROWS && self.bytes < BATCH_BYTES {
            let next = match self.held.take() {
                Some(held) => Some(held),
                None => self.next_message()?,
            };
            let Some((group, message)) = next else { return Ok(false) };
            if !self.push(group, &message) {
                self.held = Some((group, message));
                break;
            }
        }
        Ok(true)
    }

    fn next_message(&mut self) -> recording::Result<Option<(usize, Message)>> {
        while let Some(message) = self.messages.next().transpose()? {
            if self.ahead.is_none() && self.messages.unpacks() {
                let (recording, filter, span) = &self.request;
                self.ahead = Some(Ahead::start(recording, filter, *span));
            }
            if message.topic.name != self.name {
                continue;
            }
            let plan = &self.plan;
            let group = self.known.entry(Arc::as_ptr(&message.topic) as usize).or_insert_with(|| plan.variant_of(&message.topic));
            match *group {
                Some(group) => return Ok(Some((group, message))),
                None => self.lose(&message, "its schema is not among those of the topic".to_owned()),
            }
        }
        Ok(None)
    }

    /// Adds a message; returns false where the batch must be finished first.
    fn push(&mut self, number: usize, message: &Message) -> bool {
        match self.groups[number].push(&message.data) {
            Ok(()) => {
                self.decoded += 1;
                self.bytes += message.data.len();
                self.times.log.push(message.log_time_ns);
                self.times.publish.push(message.publish_time_ns);
                self.times.stamp.push(self.plan.variants()[number].stamp(&message.data));
                self.times.group.push(number as u32);
                true
            }
            Err(error) if error.kind() == Kind::Conflict && !self.times.log.is_empty() => false,
            Err(error) => {
                self.lose(message, error.to_string());
                self.first_failure.get_or_insert(error);
                true
            }
        }
    }

    fn lose(&mut self, message: &Message, reason: String) {
        let mut losses = self.losses.lock();
        if losses.undecoded == 0 {
            losses.reason.clone_from(&reason);
        }
        losses.undecoded += 1;
        if losses.all.len() < LOSSES_LIMIT {
            losses.all.push(Loss {
                topic: Some(self.name.clone()),
                start_ns: Some(message.log_time_ns),
                end_ns: Some(message.log_time_ns),
                messages: Some(1),
                bytes: Some(message.data.len() as u64),
                reason,
            });
        }
    }

    fn finish(&mut self) -> std::result::Result<RecordBatch, ArrowError> {
        self.bytes = 0;
        let times = std::mem::take(&mut self.times);
        let external = |error: recording::Error| ArrowError::ExternalError(Box::new(error));
        let mut parts = Vec::new();
        // Where each group's rows begin among all that are put behind each other.
        let mut starts = Vec::with_capacity(self.groups.len());
        let mut rows = 0;
        for (columns, variant) in self.groups.iter_mut().zip(self.plan.variants()) {
            starts.push(rows);
            if columns.is_empty() {
                continue;
            }
            let batch = columns.finish().map_err(external)?;
            rows += batch.num_rows() as u32;
            parts.push((batch.num_rows(), variant.widen(&batch, self.plan.fields())));
        }
        let own = Arc::new(Schema::new(self.plan.fields().to_vec()));
        let mut columns = match &mut parts[..] {
            [(_, columns)] => std::mem::take(columns),
            parts => {
                let batches = parts.iter_mut().map(|(count, columns)| {
                    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(*count));
                    RecordBatch::try_new_with_options(own.clone(), std::mem::take(columns), &options)
                });
                let batches: Vec<RecordBatch> = batches.collect::<std::result::Result<_, _>>()?;
                let order = times.group.iter().map(|group| {
                    let start = &mut starts[*group as usize];
                    *start += 1;
                    *start - 1
                });
                take_record_batch(&concat_batches(&own, &batches)?, &order.collect::<UInt32Array>())?.columns().to_vec()
            }
        };
        let time = |times: PrimitiveArray<TimestampNanosecondType>| Arc::new(times.with_timezone("UTC")) as ArrayRef;
        let mut all = vec![time(times.log.into()), time(times.publish.into()), time(times.stamp.into())];
        all.append(&mut columns);
        RecordBatch::try_new(self.schema.clone(), all)
    }
}

impl Iterator for Reader {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.fill() {
            Ok(true) => {}
            Ok(false) => {
                self.ended = true;
                self.losses.lock().all.extend(self.messages.losses().iter().cloned());
                if let Some(error) = self.first_failure.take().filter(|_| self.decoded == 0) {
                    return Some(Err(ArrowError::ExternalError(Box::new(error))));
                }
            }
            Err(error) => {
                self.ended = true;
                return Some(Err(ArrowError::ExternalError(Box::new(error))));
            }
        }
        if self.times.log.is_empty() {
            return if self.ended { None } else { self.next() };
        }
        Some(self.finish())
    }
}

impl RecordBatchReader for Reader {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}
