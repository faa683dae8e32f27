//! What a recording says of itself, without reading its messages.
//!
//! **Invariant:** what files do not say is not guessed: it is unknown.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::Recording;
use super::unit::Content;
use crate::error::Result;
use crate::loss::Loss;
use crate::time::{Span, Timestamp};
use crate::topic::TopicFilter;

/// What files say of themselves: `tapeloop info --fast --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outline {
    /// Where it is.
    pub path: PathBuf,
    /// As [`Recording::format`].
    pub format: String,
    /// How many messages the files say they hold; `None` where one of them does not say it.
    pub messages: Option<u64>,
    /// First log time, latched values not counted; `None` without messages.
    pub start_ns: Option<Timestamp>,
    /// Last log time, latched values not counted; `None` without messages.
    pub end_ns: Option<Timestamp>,
    /// Every topic that is defined; one with two schemas is here twice.
    pub topics: Vec<TopicOutline>,
    /// What is known to be lost without a look at the messages.
    pub losses: Vec<Loss>,
    /// What a reader should know and what is no loss.
    pub notes: Vec<String>,
}

/// What the files say of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicOutline {
    /// Its name.
    pub topic: String,
    /// The type of its messages; empty without a schema.
    #[serde(rename = "type")]
    pub type_name: String,
    /// How payloads are written.
    pub encoding: String,
    /// How many messages; `None` where nobody says it. Of a tape, one that several buffers hold counts in each of them.
    pub messages: Option<u64>,
    /// How many bytes of the files hold it, other topics in the same chunks included; `None` where nobody says it.
    pub stored_bytes: Option<u64>,
}

/// What files say of a topic, added up.
#[derive(Clone, Copy)]
struct Sum {
    messages: Option<u64>,
    stored_bytes: Option<u64>,
}

/// How much must be read for some topics and a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// How many bytes the blocks have that hold them.
    pub bytes: u64,
    /// How many bytes all blocks have.
    pub of_bytes: u64,
    /// How many of the blocks that are read hold other topics too, or may.
    pub shared_blocks: u64,
}

/// Returns how much must be read.
pub(super) fn cost(recording: &Recording, filter: &TopicFilter, span: Span) -> Result<Cost> {
    let mut cost = Cost::default();
    for unit in &recording.inner.units {
        let content = unit.content()?;
        let wanted = |channel: &u16| content.topics.get(channel).is_some_and(|topic| filter.matches(&topic.name));
        for block in &content.index().blocks {
            cost.of_bytes += block.length;
            let shift = |time_ns: i64| time_ns.saturating_add(unit.role.correction_ns);
            let touched = span.touches(shift(block.start_ns), shift(block.end_ns));
            if touched && block.channels.as_ref().is_none_or(|channels| channels.iter().any(wanted)) {
                cost.bytes += block.length;
                cost.shared_blocks += u64::from(block.channels.as_ref().is_none_or(|channels| !channels.iter().all(wanted)));
            }
        }
    }
    Ok(cost)
}

/// Adds up what the files say.
pub(super) fn outline(recording: &Recording) -> Outline {
    let mut topics: BTreeMap<(String, String, String), Sum> = BTreeMap::new();
    let mut losses = recording.inner.losses.clone();
    let mut shared = false;
    for unit in &recording.inner.units {
        // What was forgotten since it was opened is read once more: there are only so many files that are remembered.
        match unit.content() {
            Ok(content) => {
                shared |= add(&content, &mut topics);
                losses.extend(content.index().losses.iter().cloned());
            }
            Err(error) => {
                let reason = error.to_string();
                losses.push(Loss { topic: None, start_ns: None, end_ns: None, messages: None, bytes: None, reason });
            }
        }
    }
    let span = recording.span();
    let known = (span.start_ns < span.end_ns).then_some(span);
    let mut notes = recording.notes().to_vec();
    if shared {
        notes.push("topics share chunks: whoever reads one of them reads others too".to_owned());
    }
    notes.push("only what the files say of themselves was read; 'tapeloop info' counts and checks every message".to_owned());
    Outline {
        path: recording.path().to_owned(),
        format: recording.format().to_owned(),
        messages: topics.values().map(|sum| sum.messages).sum(),
        start_ns: known.map(|span| span.start_ns),
        end_ns: known.map(|span| span.end_ns - 1),
        topics: topics
            .into_iter()
            .map(|((topic, type_name, encoding), Sum { messages, stored_bytes })| TopicOutline {
                topic,
                type_name,
                encoding,
                messages,
                stored_bytes,
            })
            .collect(),
        losses,
        notes,
    }
}

/// Adds what a file says; returns whether its topics share chunks.
fn add(content: &Content, topics: &mut BTreeMap<(String, String, String), Sum>) -> bool {
    let index = content.index();
    let mut stored: BTreeMap<u16, u64> = BTreeMap::new();
    let mut told = content.stored.container().has_byte_ranges();
    for block in &index.blocks {
        match &block.channels {
            Some(channels) => channels.iter().for_each(|channel| *stored.entry(*channel).or_default() += block.length),
            None => told = false,
        }
    }
    for (channel, topic) in &content.topics {
        let key = (topic.name.clone(), topic.type_name().to_owned(), topic.encoding.clone());
        let sum = topics.entry(key).or_insert(Sum { messages: Some(0), stored_bytes: Some(0) });
        let messages = content.stored.container().counts().map(|counts| counts.get(channel).copied().unwrap_or(0));
        let bytes = told.then(|| stored.get(channel).copied().unwrap_or(0));
        sum.messages = sum.messages.zip(messages).map(|(a, b)| a + b);
        sum.stored_bytes = sum.stored_bytes.zip(bytes).map(|(a, b)| a.saturating_add(b));
    }
    index.blocks.iter().any(|block| block.channels.as_ref().is_none_or(|channels| channels.len() > 1))
}
