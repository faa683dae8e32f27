//! The topics of one recorder: from a name and a message's shape to the channel that takes it.
//!
//! In come names and fingerprints, out come channels; what was found is remembered, by the address of the name's object
//! first, so that a topic written as a literal costs one comparison.
//!
//! **Invariant:** no lock of this file is held while Python code runs or while the interpreter's lock is given up.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyString;
use recording::Schema;
use robot::{ChannelSpec, RecorderChannel};

use crate::error::Result;
use crate::fingerprint::{Fingerprint, hash, mix};
use crate::qos::{self, Qos};
use crate::shape::{Shape, permissive_schema};

/// How many shapes of JSON messages a topic may have; all further ones share a schema that permits everything.
pub(crate) const SHAPES_LIMIT: usize = 64;
/// How many ways to a channel are remembered per topic.
const KEYS_LIMIT: usize = 4096;
/// How many topic names are found by the address of their object.
const RECENT_LIMIT: usize = 256;

/// The topics of one recorder.
pub(crate) struct Topics {
    recent: Mutex<Vec<Option<Recent>>>,
    by_name: Mutex<HashMap<String, Arc<Topic>>>,
}

/// A topic whose name was used lately, as the object that it was.
type Recent = (Py<PyString>, Arc<Topic>);

/// One topic of one recorder.
pub(crate) struct Topic {
    /// Its name.
    pub(crate) name: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    settings: Settings,
    last: Option<(u64, Arc<RecorderChannel>)>,
    by_key: HashMap<u64, Arc<RecorderChannel>>,
    shapes: Vec<Known>,
}

/// What holds for every message of a topic until somebody says otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    pub(crate) latched: bool,
    pub(crate) qos: Option<Qos>,
}

/// A shape of JSON messages that has a channel.
struct Known {
    type_name: String,
    publisher: String,
    shape: Shape,
    channel: Arc<RecorderChannel>,
}

impl Topics {
    pub(crate) fn new() -> Self {
        Self { recent: Mutex::new((0..RECENT_LIMIT).map(|_| None).collect()), by_name: Mutex::default() }
    }

    /// Returns the topic called `name`.
    #[inline]
    pub(crate) fn get(&self, name: &Bound<'_, PyString>) -> Result<Arc<Topic>> {
        let place = (name.as_ptr() as usize >> 4) % RECENT_LIMIT;
        if let Some((known, topic)) = &self.recent.lock()[place]
            && known.as_ptr() == name.as_ptr()
        {
            return Ok(topic.clone());
        }
        self.get_by_name(name, place)
    }

    fn get_by_name(&self, name: &Bound<'_, PyString>, place: usize) -> Result<Arc<Topic>> {
        let text = name.to_str()?;
        let found = self.by_name.lock().get(text).cloned();
        let topic = match found {
            Some(topic) => topic,
            None => {
                recording::topic::check_name(text)?;
                let topic = Arc::new(Topic { name: text.to_owned(), state: Mutex::default() });
                self.by_name.lock().entry(text.to_owned()).or_insert(topic).clone()
            }
        };
        // The name is held, so that its address cannot become another's. (A subclass could say something else each time.)
        let replaced =
            name.is_exact_instance_of::<PyString>().then(|| self.recent.lock()[place].replace((name.clone().unbind(), topic.clone())));
        drop(replaced);
        Ok(topic)
    }
}

/// Where the channel of a JSON message comes from.
pub(crate) enum Found {
    /// It is there.
    Channel(Arc<RecorderChannel>),
    /// It must be made.
    Make { spec: ChannelSpec, shape: Option<Shape> },
}

impl Topic {
    /// Returns the channel that was remembered for `key`.
    #[inline]
    pub(crate) fn channel(&self, key: u64) -> Option<Arc<RecorderChannel>> {
        let mut state = self.state.lock();
        if let Some((last, channel)) = &state.last
            && *last == key
        {
            return Some(channel.clone());
        }
        let channel = state.by_key.get(&key)?.clone();
        state.last = Some((key, channel.clone()));
        Some(channel)
    }

    /// Remembers the channel for `key`, and the shape of its messages.
    pub(crate) fn remember(&self, key: u64, spec: ChannelSpec, shape: Option<Shape>, channel: RecorderChannel) -> Arc<RecorderChannel> {
        let channel = Arc::new(channel);
        let mut state = self.state.lock();
        if let (Some(shape), Some(schema)) = (shape, spec.schema) {
            let type_name = schema.name.clone();
            state.shapes.push(Known { type_name, publisher: spec.publisher, shape, channel: channel.clone() });
        }
        state.note(key, &channel);
        channel
    }

    /// Returns the channel for JSON messages of `shape`, or how to make it.
    pub(crate) fn find_shape(&self, key: u64, shape: Shape, type_name: Option<&str>, publisher: &str) -> Found {
        let type_name = type_name.unwrap_or_else(|| default_type_name(&self.name));
        let mut state = self.state.lock();
        let mut same = state.shapes.iter().filter(|known| known.type_name == type_name && known.publisher == publisher);
        if let Some(channel) = same.find(|known| known.shape.covers(&shape)).map(|known| known.channel.clone()) {
            state.note(key, &channel);
            return Found::Channel(channel);
        }
        let full = state.shapes.len() >= SHAPES_LIMIT;
        let schema = if full { permissive_schema() } else { shape.schema() };
        let schema = Schema { name: type_name.to_owned(), encoding: "jsonschema".to_owned(), data: Bytes::from(schema.to_string()) };
        let spec = state.settings.spec(&self.name, "json", Some(Arc::new(schema)), publisher);
        // The permissive schema covers whatever comes, so that it is the last one of its type and publisher.
        Found::Make { spec, shape: Some(if full { Shape::Mixed } else { shape }) }
    }

    /// Returns how to make the channel of messages with a given schema and encoding.
    pub(crate) fn spec(&self, encoding: &str, schema: Option<Arc<Schema>>, publisher: &str) -> ChannelSpec {
        self.state.lock().settings.spec(&self.name, encoding, schema, publisher)
    }

    /// Changes what holds for every message from now on.
    pub(crate) fn set(&self, latched: Option<bool>, qos: Option<Qos>) {
        let mut state = self.state.lock();
        let mut settings = state.settings.clone();
        if let Some(qos) = qos {
            settings.latched |= qos.transient_local;
            settings.qos = Some(qos);
        }
        settings.latched = latched.unwrap_or(settings.latched);
        if settings != state.settings {
            *state = State { settings, ..State::default() };
        }
    }
}

impl State {
    fn note(&mut self, key: u64, channel: &Arc<RecorderChannel>) {
        if self.by_key.len() >= KEYS_LIMIT {
            self.by_key.clear();
        }
        self.by_key.insert(key, channel.clone());
        self.last = Some((key, channel.clone()));
    }
}

impl Settings {
    fn spec(&self, topic: &str, encoding: &str, schema: Option<Arc<Schema>>, publisher: &str) -> ChannelSpec {
        let metadata: BTreeMap<String, String> = self.qos.iter().map(|qos| (qos::METADATA_KEY.to_owned(), qos.profiles.clone())).collect();
        ChannelSpec {
            topic: topic.to_owned(),
            encoding: encoding.to_owned(),
            schema,
            metadata,
            latched: self.latched,
            publisher: publisher.to_owned(),
        }
    }
}

/// Returns the key of a JSON message's channel.
#[inline]
pub(crate) fn json_key(fingerprint: Fingerprint, type_name: Option<&str>, publisher: &str) -> u64 {
    let named = type_name.map_or(0, |name| hash(name.as_bytes()));
    let published = if publisher.is_empty() { 0 } else { hash(publisher.as_bytes()).rotate_left(32) };
    fingerprint ^ named ^ published
}

/// Returns the key of the channel of a given schema and encoding.
#[inline]
pub(crate) fn payload_key(schema: u64, encoding: &str, publisher: &str) -> u64 {
    mix(schema ^ hash(encoding.as_bytes()), hash(publisher.as_bytes()))
}

/// Returns the type name of messages that have none: the topic's, without the slash in front.
fn default_type_name(topic: &str) -> &str {
    let name = topic.trim_start_matches('/');
    if name.is_empty() { topic } else { name }
}
