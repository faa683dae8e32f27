//! A publisher of ROS 2 as the recorder sees it: its channel on the tape, and the numbers of its samples.
//!
//! In come what it offers and its samples, out go messages and losses.
//!
//! **Invariant:** publishers of one latched topic that live at the same time have channels of their own, so that each has its last
//! value; one that comes after another went takes its place.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use recording::qos::{self, Profile};
use recording::{Kind, Result};
use serde_json::json;

use super::definitions::Definitions;
use super::names::{Name, Role};
use super::sequence::{Missing, Sequence};
use crate::source::Intake;
use crate::tape::channel::{Channel, ChannelSpec, Payload, Times};

/// The key of a channel's metadata that holds the hash of the type, as rosbag2 names it.
const HASH_KEY: &str = "topic_type_hash";
/// The key that holds the type where payloads are not only that.
const TYPE_KEY: &str = "ros2_type";

/// How long samples wait for what their type is made of, and how many do.
const HOLD_NS: i64 = 2_000_000_000;
const HELD_LIMIT: usize = 64;
/// How many bytes wait for that.
const HELD_BYTES: usize = 256 << 10;

/// What a publisher says of itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Offer {
    pub(super) name: Name,
    pub(super) type_name: String,
    /// The hash of the type, where the distribution has hashes.
    pub(super) type_hash: Option<String>,
    /// Its quality of service: none where it is not known, several where it is that of one of several publishers.
    pub(super) profiles: Vec<Profile>,
    /// Whether payloads have something in front of the message, which no definition tells of.
    pub(super) is_wrapped: bool,
}

/// A publisher whose samples are recorded.
pub(super) struct Publisher {
    pub(super) offer: Offer,
    channel: Arc<Channel>,
    place: Option<u32>,
    pub(super) sequence: Sequence,
    /// Whether it is known what its samples are made of.
    pub(super) is_known: bool,
    waiting: Waiting,
}

/// Samples that wait until it is known what they are made of.
#[derive(Default)]
enum Waiting {
    #[default]
    NotYet,
    Until {
        end_ns: i64,
        samples: Vec<(Times, Bytes)>,
    },
    Over,
}

/// Which publishers there are, as far as they need to be told apart.
#[derive(Default)]
pub(super) struct Registry {
    /// The places of latched topics that are taken.
    places: HashMap<String, BTreeSet<u32>>,
    /// The types that topics were published with.
    types: HashMap<String, BTreeSet<String>>,
    /// The channels that there are: publishers come and go, and a source may open a limited number of them.
    channels: HashMap<String, Vec<(ChannelSpec, Arc<Channel>)>>,
    /// Types of which it was said that nothing defines them.
    undefined: BTreeSet<String>,
}

impl Offer {
    fn is_latched(&self) -> bool {
        self.profiles.iter().any(|profile| profile.durability == "transient_local")
    }

    fn spec(&self, definitions: &Definitions, place: Option<u32>) -> (ChannelSpec, bool) {
        let (schema, is_known) = definitions.find(&self.type_name, self.type_hash.as_deref());
        let mut metadata = BTreeMap::new();
        if let Some(hash) = &self.type_hash {
            metadata.insert(HASH_KEY.to_owned(), hash.clone());
        }
        if !self.profiles.is_empty() {
            metadata.insert(qos::KEY.to_owned(), qos::format(&self.profiles, 0).trim_end().to_owned());
        }
        if self.is_wrapped {
            metadata.insert(TYPE_KEY.to_owned(), self.type_name.clone());
        }
        let spec = ChannelSpec {
            topic: self.name.topic.clone(),
            encoding: "cdr".to_owned(),
            schema: (!self.is_wrapped && !self.type_name.is_empty()).then_some(schema),
            metadata,
            latched: self.is_latched(),
            // The first one needs no name: most topics have one publisher.
            publisher: place.filter(|place| *place > 0).map(|place| (place + 1).to_string()).unwrap_or_default(),
        };
        (spec, is_known || self.is_wrapped)
    }
}

impl Registry {
    /// Takes in a publisher: it has a channel from now on.
    ///
    /// # Errors
    /// As [`Intake::channel`].
    pub(super) fn add(&mut self, offer: Offer, definitions: &Definitions, intake: &Intake) -> Result<Publisher> {
        let place = offer.is_latched().then(|| {
            let taken = self.places.entry(offer.name.topic.clone()).or_default();
            let free = (0..).zip(taken.iter()).find_map(|(free, taken)| (free != *taken).then_some(free));
            free.unwrap_or(taken.len() as u32)
        });
        let (spec, is_known) = offer.spec(definitions, place);
        let channel = self.channel(spec, intake)?;
        if let Some(place) = place {
            self.places.entry(offer.name.topic.clone()).or_default().insert(place);
        }
        if !is_known && self.undefined.insert(offer.type_name.clone()) {
            let detail = json!({ "topic": offer.name.topic, "type": offer.type_name, "hash": offer.type_hash });
            let message = format!(
                "nothing defines '{}' as '{}' has it: its messages are recorded, and can be read once 'tapeloop schema add DIR' gave it",
                offer.type_name, offer.name.topic
            );
            intake.event("ros2_type_unknown", &message, detail);
        }
        let types = self.types.entry(offer.name.topic.clone()).or_default();
        if types.insert(offer.type_name.clone()) && types.len() > 1 {
            let detail = json!({ "topic": offer.name.topic, "types": types });
            intake.event("ros2_two_types", &format!("'{}' is published with {} types", offer.name.topic, types.len()), detail);
        }
        Ok(Publisher { offer, channel, place, sequence: Sequence::default(), is_known, waiting: Waiting::default() })
    }

    fn channel(&mut self, spec: ChannelSpec, intake: &Intake) -> Result<Arc<Channel>> {
        let known = self.channels.entry(spec.topic.clone()).or_default();
        if let Some((_, channel)) = known.iter().find(|(other, _)| *other == spec) {
            return Ok(channel.clone());
        }
        let channel = intake.channel(spec.clone())?;
        known.push((spec, channel.clone()));
        Ok(channel)
    }

    /// Gives a publisher another channel, because it turned out to offer something else, or is known by now.
    ///
    /// # Errors
    /// As [`Self::add`]; then it is gone.
    pub(super) fn change(
        &mut self,
        mut publisher: Publisher,
        offer: Offer,
        definitions: &Definitions,
        intake: &Intake,
    ) -> Result<Publisher> {
        self.vacate(&publisher);
        match self.add(offer, definitions, intake) {
            Ok(changed) => {
                let Publisher { sequence, waiting, .. } = publisher;
                let mut publisher = Publisher { sequence, waiting, ..changed };
                if publisher.is_known {
                    publisher.release(intake);
                }
                Ok(publisher)
            }
            Err(error) => {
                publisher.end(intake);
                Err(error)
            }
        }
    }

    /// Lets a publisher go; another one may take its place. Returns its numbers, in case it comes back.
    pub(super) fn remove(&mut self, mut publisher: Publisher, intake: &Intake) -> Sequence {
        publisher.end(intake);
        self.vacate(&publisher);
        publisher.sequence
    }

    fn vacate(&mut self, publisher: &Publisher) {
        if let Some(place) = publisher.place
            && let Some(taken) = self.places.get_mut(&publisher.offer.name.topic)
        {
            taken.remove(&place);
        }
    }
}

impl Publisher {
    /// Logs a sample that arrived: its number, when it was published, and its bytes with their header.
    pub(super) fn arrived(&mut self, number: Option<i64>, publish_time_ns: Option<i64>, payload: Bytes, intake: &Intake) {
        if number.is_none_or(|number| self.sequence.arrived(number, intake.now_ns())) {
            self.log(publish_time_ns, payload, intake);
        }
    }

    /// Logs a sample that the publisher had sent before, unless it is here.
    #[cfg(feature = "ros2-zenoh")]
    pub(super) fn remembered(&mut self, number: i64, publish_time_ns: Option<i64>, payload: Bytes, intake: &Intake) {
        if self.sequence.remembered(number, intake.now_ns()) {
            self.log(publish_time_ns, payload, intake);
        }
    }

    fn log(&mut self, publish_time_ns: Option<i64>, payload: Bytes, intake: &Intake) {
        let Waiting::Until { samples, .. } = &mut self.waiting else {
            return self.pass_on(Times { log_time_ns: None, publish_time_ns }, payload, intake);
        };
        samples.push((Times { log_time_ns: Some(intake.now_ns()), publish_time_ns }, payload));
        if samples.len() >= HELD_LIMIT || samples.iter().map(|(_, payload)| payload.len()).sum::<usize>() >= HELD_BYTES {
            self.release(intake);
        }
    }

    /// Returns whether it waits for what the type with a hash is made of.
    pub(super) fn lacks(&self, hash: &str) -> bool {
        !self.is_known && self.offer.type_hash.as_deref() == Some(hash)
    }

    /// Lets samples wait for what they are made of, because a node was asked. They wait once.
    pub(super) fn hold(&mut self, intake: &Intake) {
        if matches!(self.waiting, Waiting::NotYet) {
            self.waiting = Waiting::Until { end_ns: intake.monotonic_ns().saturating_add(HOLD_NS), samples: Vec::new() };
        }
    }

    /// Logs what waited.
    fn release(&mut self, intake: &Intake) {
        if let Waiting::Until { samples, .. } = std::mem::replace(&mut self.waiting, Waiting::Over) {
            for (times, payload) in samples {
                self.pass_on(times, payload, intake);
            }
        }
    }

    fn pass_on(&self, times: Times, payload: Bytes, intake: &Intake) {
        match intake.log(&self.channel, Payload::Shared(payload), times) {
            Err(error) if error.kind() == Kind::Invalid => intake.refuse(&format!("'{}': {error}", self.offer.name.topic)),
            // What the tape met otherwise is in its losses by now.
            Ok(()) | Err(_) => {}
        }
    }

    /// Says what did not arrive, if it is time, and logs what waited long enough.
    pub(super) fn look_after(&mut self, intake: &Intake) {
        if matches!(self.waiting, Waiting::Until { end_ns, .. } if intake.monotonic_ns() >= end_ns) {
            self.release(intake);
        }
        if let Some(missing) = self.sequence.due(intake.now_ns()) {
            self.lose(missing, intake);
        }
    }

    /// Logs and says what is left.
    fn end(&mut self, intake: &Intake) {
        self.release(intake);
        if let Some(missing) = self.sequence.rest() {
            self.lose(missing, intake);
        }
    }

    fn lose(&self, missing: Missing, intake: &Intake) {
        let reliability = self.offer.profiles.first().map_or("", |profile| profile.reliability.as_str());
        let how = if reliability.is_empty() { String::new() } else { format!(" ({reliability})") };
        let reason = format!("a publisher{how} numbered them, and they did not arrive");
        intake.lose_between(&self.offer.name.topic, (missing.start_ns, missing.end_ns), missing.messages, 0, reason);
    }
}

impl Role {
    /// Returns the role's name, for people.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}
