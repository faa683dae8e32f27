//! A reader of DDS that asks for what a writer offers, and takes samples as they are.
//!
//! In comes what a writer announced, out come its samples in CDR, behind the header that says how they are written.
//!
//! **Invariant:** the bytes behind the header are those of the writer.

use std::convert::Infallible;

use bytes::Bytes;
use recording::{Error, Result};
use rustdds::discovery::DiscoveredWriterData;
use rustdds::no_key::{Decode, DefaultDecoder, DeserializerAdapter, SerializerAdapter, SimpleDataReader};
use rustdds::policy::{DataRepresentation, Durability, History, Reliability, ResourceLimits};
use rustdds::{DomainParticipant, Duration, QosPolicies, QosPolicyBuilder, RepresentationIdentifier, Subscriber, TopicKind};

/// How many samples the middleware keeps for us at first. It keeps them after they were taken, too.
const ROOM: i32 = 32;
/// How many of a topic that hands out its last values to late readers.
const LATCHED_ROOM: i32 = 1024;
/// How many bytes of samples it may keep once their size is known.
const ROOM_BYTES: usize = 16 << 20;
/// The most samples it keeps.
const MOST_ROOM: usize = 4096;
/// All ways of writing data that there are; the header says which it was.
const REPRESENTATIONS: [i16; 3] = [0, 2, 1];

/// What writers have in common that one reader can hear.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Plan {
    pub(super) topic: String,
    type_name: String,
    is_reliable: bool,
    is_durable: bool,
}

/// A reader.
pub(super) struct Reader {
    pub(super) plan: Plan,
    pub(super) samples: SimpleDataReader<Bytes, Raw>,
    /// When it had a writer the last time; 0 stands for never.
    pub(super) used_ns: i64,
    room: i32,
}

impl Plan {
    pub(super) fn of(writer: &DiscoveredWriterData) -> Self {
        let announced = &writer.publication_topic_data;
        Self {
            topic: announced.topic_name.clone(),
            type_name: announced.type_name.clone(),
            is_reliable: !matches!(announced.reliability, Some(Reliability::BestEffort)),
            is_durable: announced.durability.is_some_and(|durability| durability >= Durability::TransientLocal),
        }
    }

    /// Returns that of a topic whose writers are reliable and keep nothing.
    pub(super) fn reliable(topic: String, type_name: String) -> Self {
        Self { topic, type_name, is_reliable: true, is_durable: false }
    }

    fn qos(&self, room: i32) -> QosPolicies {
        let reliability = match self.is_reliable {
            true => Reliability::Reliable { max_blocking_time: Duration::from_millis(100) },
            false => Reliability::BestEffort,
        };
        let durability = if self.is_durable { Durability::TransientLocal } else { Durability::Volatile };
        let limits = ResourceLimits { max_samples: room, max_instances: room, max_samples_per_instance: room };
        QosPolicyBuilder::new()
            .reliability(reliability)
            .durability(durability)
            .history(History::KeepLast { depth: room })
            .resource_limits(limits)
            .build()
            .with_data_representation(DataRepresentation { value: REPRESENTATIONS.to_vec() })
    }
}

impl Reader {
    pub(super) fn new(plan: Plan, participant: &DomainParticipant, subscriber: &Subscriber) -> Result<Self> {
        let failed = |error| Error::unavailable(format!("cannot read '{}': {error}", plan.topic));
        let room = if plan.is_durable { LATCHED_ROOM } else { ROOM };
        let qos = plan.qos(room);
        let topic = participant.create_topic(plan.topic.clone(), plan.type_name.clone(), &qos, TopicKind::NoKey).map_err(failed)?;
        let samples = subscriber.create_simple_datareader_no_key(&topic, Some(qos)).map_err(failed)?;
        Ok(Self { plan, samples, used_ns: 0, room })
    }

    /// Lets the middleware keep more samples, if they are small: then it costs nothing to be late.
    pub(super) fn make_room(&mut self, participant: &DomainParticipant, sample_bytes: usize) {
        let room = (ROOM_BYTES / sample_bytes.max(1)).clamp(ROOM as usize, MOST_ROOM) as i32;
        if room > self.room && room / 2 >= self.room {
            self.room = room;
            // The limits of a topic are raised by naming it again; it is the same one.
            let _ = participant.create_topic(self.plan.topic.clone(), self.plan.type_name.clone(), &self.plan.qos(room), TopicKind::NoKey);
        }
    }
}

/// Takes samples as they are, and sends those that have no header yet.
#[derive(Clone)]
pub(super) struct Raw;

impl DeserializerAdapter<Bytes> for Raw {
    type Error = Infallible;
    type Decoded = Bytes;

    fn supported_encodings() -> &'static [RepresentationIdentifier] {
        const ALL: &[RepresentationIdentifier] = &[
            RepresentationIdentifier::CDR_LE,
            RepresentationIdentifier::CDR_BE,
            RepresentationIdentifier::PL_CDR_LE,
            RepresentationIdentifier::PL_CDR_BE,
            RepresentationIdentifier::XML,
            RepresentationIdentifier::CDR2_BE,
            RepresentationIdentifier::CDR2_LE,
            RepresentationIdentifier::PL_CDR2_BE,
            RepresentationIdentifier::PL_CDR2_LE,
            RepresentationIdentifier::D_CDR_BE,
            RepresentationIdentifier::D_CDR_LE,
            RepresentationIdentifier::XCDR2_BE,
            RepresentationIdentifier::XCDR2_LE,
            RepresentationIdentifier::D_CDR2_BE,
            RepresentationIdentifier::D_CDR2_LE,
            RepresentationIdentifier::PL_XCDR2_BE,
            RepresentationIdentifier::PL_XCDR2_LE,
        ];
        ALL
    }

    fn transform_decoded(decoded: Bytes) -> Bytes {
        decoded
    }
}

impl SerializerAdapter<Bytes> for Raw {
    type Error = Infallible;

    fn output_encoding() -> RepresentationIdentifier {
        RepresentationIdentifier::CDR_LE
    }

    fn to_bytes(body: &Bytes) -> std::result::Result<Bytes, Infallible> {
        Ok(body.clone())
    }
}

impl DefaultDecoder<Bytes> for Raw {
    type Decoder = Self;
    const DECODER: Self = Self;
}

impl Decode<'_, Bytes> for Raw {
    type Error = Infallible;

    fn decode_bytes(self, body: &[u8], encoding: RepresentationIdentifier) -> std::result::Result<Bytes, Infallible> {
        let [first, second] = encoding.to_bytes();
        let mut payload = Vec::with_capacity(4 + body.len());
        payload.extend_from_slice(&[first, second, 0, 0]);
        payload.extend_from_slice(body);
        Ok(payload.into())
    }
}
