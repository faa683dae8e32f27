//! Latched values: the last one of each topic and publisher, and of transforms the last one per child frame.
//!
//! **Invariant:** a message is kept as long as it holds the last value of anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::merge::Messages;
use super::request::Request;
use super::{Inner, Recording};
use crate::decode::{LatchedPart, LatchedParts};
use crate::error::Result;
use crate::loss::Loss;
use crate::message::{Message, Topic};
use crate::qos::is_latched;
use crate::schema::library::Library;
use crate::time::{Span, Timestamp};
use crate::topic::TopicFilter;

/// How many values are held; later ones take the place of nothing then.
const VALUE_LIMIT: usize = 100_000;

/// Which value replaces which.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    topic: String,
    publisher: String,
    part: LatchedPart,
}

/// The last values so far.
#[derive(Default)]
struct LastValues {
    values: BTreeMap<Slot, (u64, Arc<Message>)>,
    count: u64,
    /// What a topic's messages are the values of, by where it stands in memory; it is held, so that no other one comes to stand there.
    parts: BTreeMap<usize, (Arc<Topic>, LatchedParts)>,
}

impl LastValues {
    fn take(&mut self, message: Message) {
        let message = Arc::new(Message { data: compact(&message), ..message });
        self.count += 1;
        let topic = &message.topic;
        let known = || (topic.clone(), LatchedParts::new(topic, &Library::standard()));
        let (_, parts) = self.parts.entry(Arc::as_ptr(topic) as usize).or_insert_with(known);
        for part in parts.of(&message.data) {
            let slot = Slot { topic: message.topic.name.clone(), publisher: message.topic.publisher().to_owned(), part };
            if self.values.len() < VALUE_LIMIT || self.values.contains_key(&slot) {
                self.values.insert(slot, (self.count, message.clone()));
            }
        }
    }

    /// Returns the messages that hold them, in the order in which they came.
    fn into_messages(self) -> Vec<Message> {
        let by_order: BTreeMap<u64, Arc<Message>> = self.values.into_values().collect();
        by_order.into_values().map(Arc::unwrap_or_clone).collect()
    }
}

/// Copies a payload out of its chunk, which would stay in memory with it.
fn compact(message: &Message) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&message.data)
}

/// Returns the values in a recording's latched segments as of its start.
pub(super) fn of_segments(inner: &Arc<Inner>, filter: &TopicFilter) -> Result<(Vec<Message>, Vec<Loss>)> {
    let as_of_ns = inner.units.iter().filter_map(|unit| unit.role.latched_as_of_ns).max().unwrap_or(i64::MAX);
    let request = Request { filter: filter.clone(), span: Span::new(i64::MIN, as_of_ns.saturating_add(1)) };
    let mut messages = Messages::new(inner.clone(), request, |unit| unit.role.latched_of_recording());
    let mut last = LastValues::default();
    for message in messages.by_ref() {
        last.take(message?);
    }
    Ok((last.into_messages(), messages.losses().to_vec()))
}

/// Returns the values of latched topics as of a moment.
pub(super) fn as_of(recording: &Recording, filter: &TopicFilter, at_ns: Timestamp) -> Result<Vec<Message>> {
    let inner = &recording.inner;
    let mut names: BTreeSet<&str> = inner.topics.iter().filter(|topic| is_latched(topic)).map(|topic| topic.name.as_str()).collect();
    let latched_units = inner.units.iter().filter(|unit| unit.latched || unit.role.latched_of_recording());
    let contents = latched_units.map(|unit| unit.content()).collect::<Result<Vec<_>>>()?;
    names.extend(contents.iter().flat_map(|content| content.topics.values()).map(|topic| topic.name.as_str()));
    let exported = inner.units.iter().filter_map(|unit| unit.latched_before_ns).max();
    let before_export = exported.map(|before_ns| recording.messages(filter, Span::new(i64::MIN, before_ns))).transpose()?;
    let before_export: BTreeSet<String> = before_export.into_iter().flatten().flatten().map(|message| message.topic.name.clone()).collect();
    names.extend(before_export.iter().map(String::as_str));
    let wanted: Vec<&str> = names.into_iter().filter(|name| filter.matches(name)).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut last = LastValues::default();
    for message in recording.messages(&TopicFilter::parse(&wanted)?, Span::new(i64::MIN, at_ns.saturating_add(1)))? {
        last.take(message?);
    }
    Ok(last.into_messages())
}
