//! The channels of a broker's topics.
//!
//! In comes a topic and a payload, out goes a message on the channel for payloads of that form.
//!
//! **Invariant:** messages of one topic are on channels of one name, of which there are few: one per form, each latched or not.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use recording::{Error, Kind, Result, Schema};
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::infer::schema_of;
use crate::source::Intake;
use crate::source::record::topic_of;
use crate::tape::channel::{Channel, ChannelSpec, Times};

/// How many topics a gap is told of.
const GAP_TOPICS: usize = 1000;

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    /// A JSON object: it gets a schema.
    Object,
    /// Other JSON: a number, a text in quotes, a list.
    Json,
    Text,
    Bytes,
}

/// Channels by topic. It outlives a connection, so that a topic goes on with the schema that it has.
pub(super) struct Shelf {
    prefix: String,
    broker: String,
    /// Only topics that have a channel, of which one source has so many at most.
    topics: HashMap<String, Entry>,
    /// Why there are no more channels, if so.
    full: Option<String>,
}

#[derive(Default)]
struct Entry {
    /// Whether the broker retains it.
    latched: bool,
    channels: HashMap<Form, Arc<Channel>>,
}

impl Shelf {
    pub(super) fn new(prefix: String, broker: String) -> Self {
        Self { prefix, broker, topics: HashMap::new(), full: None }
    }

    /// Returns the topics on the tape that something came on.
    pub(super) fn topics(&self) -> Vec<String> {
        self.topics.keys().filter_map(|topic| self.name_of(topic)).take(GAP_TOPICS).collect()
    }

    /// Returns a broker's topic as it is on the tape, if that can be.
    pub(super) fn name_of(&self, topic: &str) -> Option<String> {
        topic_of(&self.prefix, topic)
    }

    /// Logs a message. One that no channel can be opened for is refused and counted; what else the tape does not take is in its losses.
    ///
    /// # Errors
    /// What a closed tape answers.
    pub(super) fn take(&mut self, intake: &Intake, topic: &str, payload: &bytes::Bytes, retained: bool) -> Result<()> {
        let logged = match self.channel(intake, topic, payload, retained) {
            Ok(channel) => intake.log(&channel, payload.clone().into(), Times::default()),
            Err(error) => Err(Error::invalid(format!("'{topic}': {error}"))),
        };
        match logged {
            Err(error) if intake.tape().is_closed() => return Err(error),
            Err(error) if error.kind() == Kind::Invalid => intake.refuse(error.message()),
            Err(_) | Ok(()) => {}
        }
        Ok(())
    }

    fn channel(&mut self, intake: &Intake, topic: &str, payload: &[u8], retained: bool) -> Result<Arc<Channel>> {
        let form = Form::of(payload);
        let known = self.topics.get(topic);
        // Once the broker retains it, its last value joins every recording, whoever sends it.
        let latched = retained || known.is_some_and(|entry| entry.latched);
        let before = known.and_then(|entry| Some((entry.latched, entry.channels.get(&form)?.clone())));
        if let Some((was_latched, channel)) = &before
            && (*was_latched == latched || self.full.is_some())
        {
            return Ok(channel.clone());
        }
        if let Some(why) = &self.full {
            return Err(Error::unavailable(why.clone()));
        }
        let channel = match intake.channel(spec(&self.prefix, &self.broker, topic, form, payload, latched)?) {
            Ok(channel) => channel,
            Err(error) => {
                // There will not be more of them before the tape is opened anew: what describes them need not be worked out any more.
                self.full = Some(error.to_string()).filter(|_| error.kind() == Kind::Unavailable);
                return before.map_or(Err(error), |(_, channel)| Ok(channel));
            }
        };
        let entry = self.topics.entry(topic.to_owned()).or_default();
        if latched && !entry.latched {
            entry.latched = true;
            entry.channels.clear();
        }
        entry.channels.insert(form, channel.clone());
        Ok(channel)
    }
}

impl Form {
    fn of(payload: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(payload) else { return Self::Bytes };
        match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) if text.trim_ascii_start().starts_with('{') => Self::Object,
            Ok(_) => Self::Json,
            Err(_) => Self::Text,
        }
    }

    fn encoding(self) -> &'static str {
        match self {
            Self::Object | Self::Json => "json",
            Self::Text => "text/plain",
            Self::Bytes => "application/octet-stream",
        }
    }
}

fn spec(prefix: &str, broker: &str, topic: &str, form: Form, example: &[u8], latched: bool) -> Result<ChannelSpec> {
    let name = topic_of(prefix, topic).ok_or_else(|| Error::invalid(format!("a message on '{topic}', which makes no topic")))?;
    let schema = match form {
        Form::Object => {
            let value: Value = serde_json::from_slice(example).map_err(|error| Error::invalid("no JSON").caused_by(error))?;
            let title = name.trim_start_matches('/').replace('/', ".");
            let data = schema_of(&title, &value).to_string().into();
            Some(Arc::new(Schema { name: title, encoding: "jsonschema".into(), data }))
        }
        _ => None,
    };
    let metadata = BTreeMap::from([("mqtt.topic".into(), topic.to_owned()), ("mqtt.broker".into(), broker.to_owned())]);
    Ok(ChannelSpec { topic: name, encoding: form.encoding().into(), schema, metadata, latched, publisher: String::new() })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::source::intake::CHANNEL_LIMIT;
    use crate::{Config, Leave, OpenOptions, Tape};

    #[test]
    fn topics_that_find_no_channel_are_refused_and_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let tape = Tape::open(folder.path(), Config::empty(), OpenOptions::default()).unwrap();
        let intake = Intake::new(tape.clone(), "mqtt".into(), None);
        let mut shelf = Shelf::new("/mqtt".into(), "b:1883".into());
        let mut take = |topic: &str, retained| shelf.take(&intake, topic, &bytes::Bytes::from_static(b"{}"), retained).unwrap();
        take("//", false);
        for i in 0..CHANNEL_LIMIT + 5 {
            take(&format!("rpc/reply/{i}"), false);
        }
        // Those that are known go on, also if the broker retains them now.
        take("rpc/reply/0", false);
        take("rpc/reply/0", true);
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!((count(&intake.counters.messages), count(&intake.counters.refused)), (CHANNEL_LIMIT as u64 + 2, 6));
        assert_eq!(shelf.topics.len(), CHANNEL_LIMIT);
        tape.close(Leave::CutShort).unwrap();
        assert!(shelf.take(&intake, "rpc/reply/0", &bytes::Bytes::new(), false).is_err());
    }

    #[test]
    fn payloads_tell_what_they_are() {
        for (payload, form) in [
            (b" {\"a\": 1}".as_slice(), Form::Object),
            (b"{broken", Form::Text),
            (b"23.5", Form::Json),
            (b"[1, 2]", Form::Json),
            (b"\"on\"", Form::Json),
            (b"true", Form::Json),
            (b"ON", Form::Text),
            (b"", Form::Text),
            (b"\xff\x00", Form::Bytes),
            (b"{\"a\": \"\xff\"}", Form::Bytes),
        ] {
            assert_eq!(Form::of(payload), form, "{}", payload.escape_ascii());
        }
        // Deep nesting must not use up the stack.
        assert_eq!(Form::of(&[b'['; 1 << 20]), Form::Text);
    }

    #[test]
    fn an_object_is_described_by_its_first_message() {
        let spec = spec("/mqtt", "b:1883", "arm/state one", Form::Object, br#"{"angle": 1.5}"#, true).unwrap();
        assert_eq!((spec.topic.as_str(), spec.encoding.as_str(), spec.latched), ("/mqtt/arm/state_one", "json", true));
        let schema: Value = serde_json::from_slice(&spec.schema.unwrap().data).unwrap();
        assert_eq!(schema["properties"]["angle"]["type"], "number");
        assert_eq!(spec.metadata["mqtt.topic"], "arm/state one");
        assert!(super::spec("", "b", "//", Form::Text, b"", false).is_err());
    }
}
