//! What a recording holds, counted message by message.
//!
//! **Invariant:** the counts are of what can be read; everything else is in the losses.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::Recording;
use crate::error::Result;
use crate::loss::Loss;
use crate::manifest::{Asked, Cause, Manifest, State};
use crate::message::Topic;
use crate::time::{Span, Timestamp};
use crate::topic::TopicFilter;

/// What a recording holds and what is missing: `tapeloop info --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Info {
    /// Where it is.
    pub path: PathBuf,
    /// `mcap`, `rosbag2`, `recording` or `tape`.
    pub format: String,
    /// How many messages can be read.
    pub messages: u64,
    /// First log time, latched values not counted; `None` without messages.
    pub start_ns: Option<Timestamp>,
    /// Last log time, latched values not counted; `None` without messages.
    pub end_ns: Option<Timestamp>,
    /// What there is of each topic, also of those without messages; a topic with two schemas is here twice.
    pub topics: Vec<TopicInfo>,
    /// What cannot be read, or was lost when it was recorded.
    pub losses: Vec<Loss>,
    /// What is not there although nothing went wrong: it expired, was filtered, or was never recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Loss>,
    /// What a reader should know and what is no loss; there even where it is empty.
    pub notes: Vec<String>,
    /// What its manifest says.
    #[serde(flatten)]
    pub recording: Option<RecordingInfo>,
}

/// What there is of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicInfo {
    /// Its name.
    pub topic: String,
    /// The type of its messages; empty without a schema.
    #[serde(rename = "type")]
    pub type_name: String,
    /// How payloads are written.
    pub encoding: String,
    /// How many messages.
    pub messages: u64,
    /// How many payload bytes.
    pub bytes: u64,
}

/// What a manifest says of a recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecordingInfo {
    /// Its id.
    pub recording: String,
    /// The name somebody gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The robot.
    pub device: String,
    /// The computer.
    pub host: String,
    /// How far it has come.
    pub state: State,
    /// What was asked for.
    pub asked: Asked,
    /// The span it holds.
    pub span: Span,
    /// What asked for it.
    pub cause: Cause,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl From<&Manifest> for RecordingInfo {
    fn from(manifest: &Manifest) -> Self {
        let manifest = manifest.clone();
        Self {
            recording: manifest.recording,
            name: manifest.name,
            device: manifest.device,
            host: manifest.host,
            state: manifest.state,
            asked: manifest.asked,
            span: manifest.span,
            cause: manifest.cause,
            why: manifest.why,
            labels: manifest.labels,
        }
    }
}

/// Counts every message of a recording.
pub(super) fn info(recording: &Recording) -> Result<Info> {
    let mut messages = recording.messages(&TopicFilter::all(), Span::ALL)?;
    // By address, which is unique as long as the topics live, as they do in the recording.
    let mut counts: HashMap<*const Topic, (Arc<Topic>, u64, u64)> = HashMap::new();
    let mut times_ns: Option<(i64, i64)> = None;
    let mut total = 0;
    while let Some(next) = messages.next_message() {
        let (message, latched) = next?;
        total += 1;
        if !latched {
            let time_ns = message.log_time_ns;
            let (start_ns, end_ns) = times_ns.unwrap_or((time_ns, time_ns));
            times_ns = Some((start_ns.min(time_ns), end_ns.max(time_ns)));
        }
        let count = counts.entry(Arc::as_ptr(&message.topic)).or_insert_with(|| (message.topic.clone(), 0, 0));
        (count.1, count.2) = (count.1 + 1, count.2 + message.data.len() as u64);
    }
    let mut topics: BTreeMap<(&str, &str, &str), (u64, u64)> =
        recording.wanted_topics().map(|topic| ((topic.name.as_str(), topic.type_name(), topic.encoding.as_str()), (0, 0))).collect();
    for (topic, messages, bytes) in counts.values() {
        let count = topics.entry((&topic.name, topic.type_name(), &topic.encoding)).or_default();
        *count = (count.0 + messages, count.1 + bytes);
    }
    let topics = topics.into_iter().map(|((topic, type_name, encoding), (messages, bytes))| TopicInfo {
        topic: topic.to_owned(),
        type_name: type_name.to_owned(),
        encoding: encoding.to_owned(),
        messages,
        bytes,
    });
    let (losses, missing) = messages.losses().iter().cloned().partition(Loss::is_lost);
    Ok(Info {
        path: recording.path().to_owned(),
        format: recording.format().to_owned(),
        messages: total,
        start_ns: times_ns.map(|(start_ns, _)| start_ns),
        end_ns: times_ns.map(|(_, end_ns)| end_ns),
        topics: topics.collect(),
        losses,
        missing,
        notes: recording.notes().to_vec(),
        recording: recording.manifest().map(RecordingInfo::from),
    })
}
