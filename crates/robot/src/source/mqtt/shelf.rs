//! The channels of a broker's topics.
//!
//! In comes a topic and a payload, out goes a message on the channel for payloads of that form.
//!
//! **Invariant:** messages of one topic are on channels of one name, of which there are few: one per form, each latched or not.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use recording::{Error, Result, Schema};
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

/// Channels by topic.
pub(super) struct Shelf {
    prefix: String,
    broker: String,
    topics: HashMap<String, Entry>,
}

#[derive(Default)]
struct Entry {
    /// Whether the broker retains it.
    latched: bool,
    channels: HashMap<Form, Arc<Channel>>,
}

impl Shelf {
    pub(super) fn new(prefix: String, broker: String) -> Self {
        Self { prefix, broker, topics: HashMap::new() }
    }

    /// Returns the topics on the tape that something came on.
    pub(super) fn topics(&self) -> Vec<String> {
        self.topics.keys().filter_map(|topic| topic_of(&self.prefix, topic)).take(GAP_TOPICS).collect()
    }

    /// Logs a message.
    ///
    /// # Errors
    /// `Invalid` for a topic that makes none; what the tape answers.
    pub(super) fn take(&mut self, intake: &Intake, topic: &str, payload: &bytes::Bytes, retained: bool) -> Result<()> {
        let form = Form::of(payload);
        let entry = match self.topics.get_mut(topic) {
            Some(entry) => entry,
            None => self.topics.entry(topic.to_owned()).or_default(),
        };
        if retained && !entry.latched {
            // From now on its last value joins every recording, whoever sends it.
            entry.latched = true;
            entry.channels.clear();
        }
        let channel = match entry.channels.get(&form) {
            Some(channel) => channel.clone(),
            None => {
                let spec = spec(&self.prefix, &self.broker, topic, form, payload, entry.latched)?;
                let channel = intake.channel(spec)?;
                entry.channels.insert(form, channel.clone());
                channel
            }
        };
        intake.log(&channel, payload.clone().into(), Times::default())
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
    use super::*;

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
