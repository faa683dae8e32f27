//! The topics that a condition may name, with what their messages are made of.
//!
//! **Invariant:** messages of one variant are read by one decoder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use recording::decode::{Decoder, reads_both};
use recording::read::Recording;
use recording::schema::library::Library;
use recording::{Result, Topic, qos};

/// The topics that there are.
#[derive(Debug, Default)]
pub struct Topics {
    /// By name; `None` where nobody knows which there are.
    known: Option<BTreeMap<String, Vec<Variant>>>,
}

/// Messages of a topic with one definition.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) topic: Arc<Topic>,
    /// What reads them, or why nothing does.
    pub(crate) decoder: std::result::Result<Decoder, String>,
}

impl Topics {
    /// Returns what is said where nobody knows which topics there are: conditions may name any.
    pub fn unknown() -> Self {
        Self::default()
    }

    /// Returns topics by their definitions. Those that they do not bring are looked for in `library`.
    pub fn new(topics: impl IntoIterator<Item = Arc<Topic>>, library: &Library) -> Self {
        Self::with(topics, |topic| Decoder::new(topic, library))
    }

    /// Returns the topics of a recording; only those in `named` can be read.
    pub fn of_recording(recording: &Recording, named: &BTreeSet<&str>, library: &Library) -> Self {
        Self::with(recording.topics().iter().cloned(), |topic| match named.contains(topic.name.as_str()) {
            true => recording.decoder(topic, library),
            false => Err(recording::Error::invalid("no condition names it")),
        })
    }

    fn with(topics: impl IntoIterator<Item = Arc<Topic>>, decoder: impl Fn(&Topic) -> Result<Decoder>) -> Self {
        let mut known: BTreeMap<String, Vec<Variant>> = BTreeMap::new();
        for topic in topics {
            let variants = known.entry(topic.name.clone()).or_default();
            if !variants.iter().any(|variant| reads_both(&variant.topic, &topic)) {
                let decoder = decoder(&topic).map_err(|error| error.to_string());
                variants.push(Variant { topic, decoder });
            }
        }
        Self { known: Some(known) }
    }

    /// Returns whether it is known which there are.
    pub fn are_known(&self) -> bool {
        self.known.is_some()
    }

    /// Returns the variants of a topic; none where it is not known which there are.
    ///
    /// # Errors
    /// The nearest names, where there is no such topic.
    pub(crate) fn variants(&self, name: &str) -> std::result::Result<&[Variant], String> {
        let Some(known) = &self.known else { return Ok(&[]) };
        match known.get(name) {
            Some(variants) => Ok(variants),
            None if known.is_empty() => Err(format!("there is no topic {name}: there are none at all")),
            None => {
                let near = recording::nearest::nearest(name, known.keys().map(String::as_str));
                Err(format!("there is no topic {name}; there are {near}"))
            }
        }
    }

    /// Returns whether a topic's last value counts however old it is.
    pub(crate) fn is_latched(&self, name: &str) -> bool {
        let variants = self.known.as_ref().and_then(|known| known.get(name));
        name == "/tf_static" || variants.is_some_and(|variants| variants.iter().any(|variant| qos::is_latched(&variant.topic)))
    }
}
