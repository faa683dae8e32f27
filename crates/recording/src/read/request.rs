//! What is wanted of a file: which channels, and when.
//!
//! **Invariant:** a message is wanted if the request's topics and span take it, and a selection of its buffer where there are any.

use std::sync::Arc;

use super::unit::{Content, Role};
use crate::loss::Loss;
use crate::message::Topic;
use crate::time::Span;
use crate::topic::TopicFilter;

/// What a caller asks for.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) filter: TopicFilter,
    pub(super) span: Span,
}

impl Request {
    /// Returns whether a loss concerns what is asked for.
    pub(super) fn concerns(&self, loss: &Loss) -> bool {
        loss.topic.as_ref().is_none_or(|topic| self.filter.matches(topic)) && touches(loss, self.span)
    }

    /// Returns whether a loss of a file concerns what is asked for and what is wanted of the file.
    pub(super) fn concerns_file(&self, loss: &Loss, role: &Role) -> bool {
        let named = |names: &[String]| loss.topic.as_ref().is_none_or(|topic| names.contains(topic));
        let selected = role.selections.as_ref().is_none_or(|selections| {
            let own = selections.iter().filter(|selection| named(&selection.topics));
            own.flat_map(|selection| &selection.spans).any(|span| touches(loss, *span))
        });
        let latched = !role.latched_of_recording() || loss.topic.as_ref().is_none_or(|topic| role.latched_topics.matches(topic));
        self.concerns(loss) && selected && latched
    }
}

/// What is wanted of each channel of a file, by its id.
#[derive(Clone, Default)]
pub(super) struct Table {
    channels: Vec<Option<Channel>>,
}

#[derive(Clone)]
struct Channel {
    topic: Arc<Topic>,
    /// When, in corrected times; empty for never.
    spans: Vec<Span>,
}

impl Table {
    /// Returns the table of a file.
    pub(super) fn new(request: &Request, role: &Role, content: &Content) -> Self {
        let mut table = Self::default();
        for (id, topic) in &content.topics {
            table.set(*id, topic, request, role);
        }
        table
    }

    fn set(&mut self, id: u16, topic: &Arc<Topic>, request: &Request, role: &Role) {
        let id = usize::from(id);
        if self.channels.len() <= id {
            self.channels.resize(id + 1, None);
        }
        self.channels[id] = Some(Channel { topic: topic.clone(), spans: spans(topic, request, role) });
    }

    /// Returns whether anything of a channel between two moments, both included, is wanted.
    pub(super) fn takes(&self, id: u16, start_ns: i64, end_ns: i64) -> bool {
        let channel = self.channels.get(usize::from(id)).and_then(Option::as_ref);
        channel.is_some_and(|channel| channel.spans.iter().any(|span| span.touches(start_ns, end_ns)))
    }

    /// Returns whether there are channels of which nothing is wanted.
    pub(super) fn is_partial(&self) -> bool {
        self.channels.iter().flatten().any(|channel| channel.spans.is_empty())
    }

    /// Returns whether a message is wanted.
    #[inline]
    pub(super) fn wants(&self, id: u16, time_ns: i64) -> bool {
        match self.channels.get(usize::from(id)) {
            Some(Some(channel)) => channel.spans.iter().any(|span| span.contains(time_ns)),
            _ => false,
        }
    }

    /// Returns the topic of a channel.
    #[inline]
    pub(super) fn topic(&self, id: u16) -> Option<&Arc<Topic>> {
        self.channels.get(usize::from(id))?.as_ref().map(|channel| &channel.topic)
    }
}

fn touches(loss: &Loss, span: Span) -> bool {
    let start_ns = loss.start_ns.unwrap_or(i64::MIN);
    span.touches(start_ns, loss.end_ns.unwrap_or(i64::MAX).max(start_ns))
}

fn spans(topic: &Topic, request: &Request, role: &Role) -> Vec<Span> {
    if !request.filter.matches(&topic.name) {
        return Vec::new();
    }
    if role.latched_of_recording() && !role.latched_topics.matches(&topic.name) {
        return Vec::new();
    }
    let Some(selections) = &role.selections else { return vec![request.span] };
    let own = selections.iter().filter(|selection| selection.topics.contains(&topic.name));
    own.flat_map(|selection| &selection.spans).filter_map(|span| span.intersect(request.span)).collect()
}
