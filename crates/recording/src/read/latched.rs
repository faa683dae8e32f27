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

/// How many values are held.
const VALUE_LIMIT: usize = 100_000;
/// How many bytes of them.
const BYTES_LIMIT: usize = 512 << 20;

/// Which value replaces which.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    topic: String,
    publisher: String,
    part: LatchedPart,
}

/// The last values so far.
struct LastValues {
    values: BTreeMap<Slot, (u64, Arc<Message>)>,
    value_limit: usize,
    /// How many bytes their messages have.
    bytes: usize,
    bytes_limit: usize,
    count: u64,
    /// How many messages there was no room for.
    left_out: u64,
    /// What a topic's messages are the values of, by where it stands in memory; it is held, so that no other one comes to stand there.
    parts: BTreeMap<usize, (Arc<Topic>, LatchedParts)>,
}

impl LastValues {
    fn new(value_limit: usize, bytes_limit: usize) -> Self {
        Self { values: BTreeMap::new(), value_limit, bytes: 0, bytes_limit, count: 0, left_out: 0, parts: BTreeMap::new() }
    }

    fn take(&mut self, message: Message) {
        self.count += 1;
        let topic = &message.topic;
        let known = || (topic.clone(), LatchedParts::new(topic, &Library::standard()));
        let (_, parts) = self.parts.entry(Arc::as_ptr(topic) as usize).or_insert_with(known);
        let slot = |part| Slot { topic: topic.name.clone(), publisher: topic.publisher().to_owned(), part };
        let slots: Vec<Slot> = parts.of(&message.data).into_iter().map(slot).collect();
        // Also where there is no room for the new one, the old one is not the last any more.
        let replaced = slots.iter().filter_map(|slot| self.values.remove(slot)).filter_map(|(_, old)| Arc::into_inner(old));
        self.bytes -= replaced.map(|old| old.data.len()).sum::<usize>();
        if self.values.len() + slots.len() > self.value_limit || self.bytes + message.data.len() > self.bytes_limit {
            self.left_out += 1;
            return;
        }
        self.bytes += message.data.len();
        let message = Arc::new(Message { data: compact(&message), ..message });
        self.values.extend(slots.into_iter().map(|slot| (slot, (self.count, message.clone()))));
    }

    /// Returns the messages that hold them, in the order in which they came, and what there was no room for.
    fn into_messages(self) -> (Vec<Message>, Option<Loss>) {
        let by_order: BTreeMap<u64, Arc<Message>> = self.values.into_values().collect();
        let loss = (self.left_out > 0).then(|| Loss {
            topic: None,
            start_ns: None,
            end_ns: None,
            messages: None,
            bytes: None,
            reason: format!(
                "more than {} latched values, or {} bytes of them: {} messages with such values are left out",
                self.value_limit, self.bytes_limit, self.left_out
            ),
        });
        (by_order.into_values().map(Arc::unwrap_or_clone).collect(), loss)
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
    let mut last = LastValues::new(VALUE_LIMIT, BYTES_LIMIT);
    for message in messages.by_ref() {
        last.take(message?);
    }
    let (values, loss) = last.into_messages();
    Ok((values, messages.losses().iter().cloned().chain(loss).collect()))
}

/// Returns the values of latched topics as of a moment, and what there was no room for.
pub(super) fn as_of(recording: &Recording, filter: &TopicFilter, at_ns: Timestamp) -> Result<(Vec<Message>, Option<Loss>)> {
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
        return Ok((Vec::new(), None));
    }
    let mut last = LastValues::new(VALUE_LIMIT, BYTES_LIMIT);
    for message in recording.messages(&TopicFilter::exactly(wanted), Span::new(i64::MIN, at_ns.saturating_add(1)))? {
        last.take(message?);
    }
    Ok(last.into_messages())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_room_for_is_told_and_takes_the_old_value_with_it() {
        let topic = |name: &str| Arc::new(Topic { name: name.into(), encoding: String::new(), schema: None, metadata: BTreeMap::new() });
        let (map, other) = (topic("/map"), topic("/other"));
        let message = |topic: &Arc<Topic>, bytes: usize| Message {
            topic: topic.clone(),
            log_time_ns: 0,
            publish_time_ns: 0,
            sequence: 0,
            identity: None,
            data: vec![0; bytes].into(),
        };
        let lengths = |last: LastValues| {
            let (values, loss) = last.into_messages();
            (values.iter().map(|message| message.data.len()).collect::<Vec<_>>(), loss.map(|loss| loss.reason))
        };
        let mut last = LastValues::new(2, 100);
        [60, 70, 80].into_iter().for_each(|bytes| last.take(message(&map, bytes)));
        last.take(message(&other, 20));
        assert_eq!(last.bytes, 100);
        assert_eq!(lengths(last), (vec![80, 20], None));
        let mut last = LastValues::new(2, 100);
        [message(&map, 60), message(&other, 30), message(&map, 90)].into_iter().for_each(|message| last.take(message));
        assert_eq!(last.bytes, 30);
        last.take(message(&topic("/third"), 1));
        last.take(message(&topic("/fourth"), 1));
        let (values, loss) = lengths(last);
        assert_eq!(values, [30, 1]);
        assert_eq!(loss.unwrap(), "more than 2 latched values, or 100 bytes of them: 2 messages with such values are left out");
    }
}
