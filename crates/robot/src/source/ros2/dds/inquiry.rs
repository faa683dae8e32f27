//! Asking nodes over DDS what their types are made of.
//!
//! In come questions and the turns of the loop, out come answers. How a request is tied to its answer is not in the standard that all
//! follow: Cyclone writes a number of the client and one of the request in front of both messages, Fast DDS writes beside the answer
//! which sample asked.
//!
//! **Invariant:** whoever is asked never holds up the recording: nothing here waits.

use bytes::Bytes;
use recording::{Error, Result};
use rustdds::no_key::DataWriter;
use rustdds::policy::{Durability, History, Reliability};
use rustdds::{
    DomainParticipant, Duration, Publisher, QosPolicies, QosPolicyBuilder, RTPSEntity, SampleIdentity, Subscriber, TopicKind,
    WriteOptionsBuilder,
};

use super::reader::{Plan, Raw, Reader};
use crate::source::ros2::description::{CDR_HEADER, Question, SERVICE, TYPE, request};

/// How many nodes are asked at a time: each has a reader and a writer meanwhile.
pub(super) const AT_ONCE: usize = 16;
/// How long it waits for an answer before it asks again: a node that has just heard of the reader may have answered before that.
const AGAIN_NS: i64 = 500_000_000;
/// How often it asks.
const TRIES: i64 = 8;
/// How many bytes Cyclone writes in front of requests and answers.
const WRAPPER_BYTES: usize = 16;
/// How long a request may wait for room.
const BLOCKING_MS: i64 = 10;

/// A node that is asked.
pub(super) struct Inquiry {
    pub(super) question: Question,
    writer: DataWriter<Bytes, Raw>,
    reader: Reader,
    /// What Cyclone's messages begin with; `None` where it is not Cyclone.
    client: Option<[u8; 8]>,
    sent: Vec<SampleIdentity>,
    next_ns: i64,
}

/// What came of it so far.
pub(super) enum Outcome {
    Waits,
    Answer(Bytes),
    Nothing,
}

/// Returns the node whose answers are on a topic of DDS, if it is that of the service.
pub(super) fn node_of(dds_topic: &str) -> Option<String> {
    let node = dds_topic.strip_prefix("rr/")?.strip_suffix("Reply")?.strip_suffix(SERVICE)?;
    node.strip_suffix('/').filter(|node| !node.is_empty()).map(|node| format!("/{node}"))
}

impl Inquiry {
    /// Begins to ask a node.
    ///
    /// # Errors
    /// What the middleware answers.
    pub(super) fn open(
        question: Question,
        is_cyclone: bool,
        participant: &DomainParticipant,
        publisher: &Publisher,
        subscriber: &Subscriber,
    ) -> Result<Self> {
        let failed = |error| Error::unavailable(format!("cannot ask '{}' for its types: {error}", question.node));
        let service = format!("{}/{SERVICE}", question.node.trim_start_matches('/'));
        let qos = qos();
        let requests = participant.create_topic(format!("rq/{service}Request"), format!("{TYPE}Request_"), &qos, TopicKind::NoKey);
        let writer = publisher.create_datawriter_no_key(&requests.map_err(failed)?, Some(qos)).map_err(failed)?;
        let plan = Plan::reliable(format!("rr/{service}Reply"), format!("{TYPE}Response_"));
        let reader = Reader::new(plan, participant, subscriber)?;
        let guid = blake3::hash(&writer.guid().to_bytes());
        let client = is_cyclone.then(|| std::array::from_fn(|index| guid.as_bytes()[index]));
        Ok(Self { question, writer, reader, client, sent: Vec::new(), next_ns: 0 })
    }

    /// Asks if it is time to, and returns what came.
    pub(super) fn turn(&mut self, now_ns: i64) -> Outcome {
        self.reader.samples.drain_read_notifications();
        while let Ok(Some(sample)) = self.reader.samples.try_take_one() {
            let answer = match self.client {
                Some(client) => unwrapped(&sample.sample, client),
                None => sample.related_sample_identity().filter(|related| self.sent.contains(related)).map(|_| sample.sample),
            };
            if let Some(answer) = answer {
                return Outcome::Answer(answer);
            }
        }
        if now_ns < self.next_ns {
            return Outcome::Waits;
        }
        if self.sent.len() as i64 >= TRIES {
            return Outcome::Nothing;
        }
        self.next_ns = now_ns.saturating_add(AGAIN_NS);
        let mut body = Vec::new();
        if let Some(client) = self.client {
            body.extend_from_slice(&client);
            body.extend_from_slice(&(self.sent.len() as i64 + 1).to_le_bytes());
        }
        body.extend(request(&self.question));
        match self.writer.write_with_options(body.into(), WriteOptionsBuilder::new().build()) {
            Ok(identity) => {
                self.sent.push(identity);
                Outcome::Waits
            }
            Err(_) => Outcome::Nothing,
        }
    }
}

fn qos() -> QosPolicies {
    QosPolicyBuilder::new()
        .reliability(Reliability::Reliable { max_blocking_time: Duration::from_millis(BLOCKING_MS) })
        .durability(Durability::Volatile)
        .history(History::KeepLast { depth: TRIES as i32 })
        .build()
}

/// Returns the answer behind Cyclone's wrapper, if it is one to this client.
fn unwrapped(sample: &[u8], client: [u8; 8]) -> Option<Bytes> {
    let (header, body) = sample.split_at_checked(CDR_HEADER.len())?;
    let (wrapper, message) = body.split_at_checked(WRAPPER_BYTES)?;
    let is_little_endian = header.get(1).is_some_and(|encoding| encoding & 1 == 1);
    let mut asked = [0; 8];
    asked.copy_from_slice(wrapper.get(..8)?);
    if !is_little_endian {
        asked.reverse();
    }
    (asked == client).then(|| [header, message].concat().into())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use rustdds::{DomainParticipantBuilder, SequenceNumber};

    use super::*;
    use crate::stop::StopFlag;

    #[test]
    fn the_service_of_a_node_is_known_by_its_topic() {
        assert_eq!(node_of("rr/arm/driver/get_type_descriptionReply").as_deref(), Some("/arm/driver"));
        for other in [
            "rr/get_type_descriptionReply",
            "rq/a/get_type_descriptionRequest",
            "rr/a/get_parametersReply",
            "rr/a/xget_type_descriptionReply",
        ] {
            assert_eq!(node_of(other), None, "{other}");
        }
    }

    #[test]
    fn an_answer_of_cyclone_names_its_client() {
        let client = *b"abcdefgh";
        let little = [&CDR_HEADER[..], b"abcdefgh", &1_i64.to_le_bytes(), b"rest"].concat();
        let big = [&[0, 0, 0, 0], &b"hgfedcba"[..], &1_i64.to_be_bytes(), b"rest"].concat();
        assert_eq!(unwrapped(&little, client).unwrap(), [&CDR_HEADER[..], b"rest"].concat());
        assert_eq!(unwrapped(&big, client).unwrap(), b"\0\0\0\0rest"[..]);
        assert_eq!(unwrapped(&little, *b"abcdefgx"), None);
        for end in 0..20 {
            assert_eq!(unwrapped(&little[..end], client), None, "{end}");
        }
    }

    /// A node on Fast DDS: it answers beside the sample, by the identity of the one that asked.
    struct Node {
        reader: Reader,
        writer: DataWriter<Bytes, Raw>,
        _participant: DomainParticipant,
    }

    fn participant(domain: u16) -> (DomainParticipant, Publisher, Subscriber) {
        let builder = DomainParticipantBuilder::new(domain).with_only_networks([IpAddr::from([127, 0, 0, 1])]);
        let participant = builder.build().unwrap();
        let (publisher, subscriber) = (participant.create_publisher(&qos()), participant.create_subscriber(&qos()));
        (participant, publisher.unwrap(), subscriber.unwrap())
    }

    impl Node {
        fn new(domain: u16) -> Self {
            let (participant, publisher, subscriber) = participant(domain);
            let plan = Plan::reliable(format!("rq/arm/{SERVICE}Request"), format!("{TYPE}Request_"));
            let reader = Reader::new(plan, &participant, &subscriber).unwrap();
            let (name, kind) = (format!("rr/arm/{SERVICE}Reply"), format!("{TYPE}Response_"));
            let replies = participant.create_topic(name, kind, &qos(), TopicKind::NoKey).unwrap();
            let writer = publisher.create_datawriter_no_key(&replies, Some(qos())).unwrap();
            Self { reader, writer, _participant: participant }
        }

        fn turn(&self, asked: &Question) {
            self.reader.samples.drain_read_notifications();
            while let Ok(Some(sample)) = self.reader.samples.try_take_one() {
                assert!(sample.sample[CDR_HEADER.len()..].starts_with(&request(asked)));
                let identity = SampleIdentity { writer_guid: sample.writer_guid, sequence_number: sample.sequence_number };
                // Another client's answer comes by first.
                let other = SampleIdentity { sequence_number: SequenceNumber::from(99), ..identity };
                for (related, body) in [(other, b"other"), (identity, b"right")] {
                    let options = WriteOptionsBuilder::new().related_sample_identity(related).build();
                    self.writer.write_with_options(Bytes::from_static(body), options).unwrap();
                }
            }
        }
    }

    #[test]
    fn an_answer_of_fast_dds_names_the_sample_that_asked() {
        let domain = 20 + (std::process::id() % 200) as u16;
        let node = Node::new(domain);
        let (participant, publisher, subscriber) = participant(domain);
        let question = Question { node: "/arm".to_owned(), type_name: "a/msg/B".to_owned(), type_hash: "RIHS01_0".to_owned() };
        let mut inquiry = Inquiry::open(question.clone(), false, &participant, &publisher, &subscriber).unwrap();
        let (mut now_ns, idle) = (0, StopFlag::default());
        let answer = loop {
            // Slower than the clock, so that it has the time to be discovered.
            now_ns += 1_000_000;
            match inquiry.turn(now_ns) {
                Outcome::Answer(answer) => break answer,
                Outcome::Waits => node.turn(&question),
                Outcome::Nothing => panic!("nobody answered"),
            }
            idle.wait(std::time::Duration::from_millis(5));
        };
        assert_eq!(answer[CDR_HEADER.len()..][..5], b"right"[..]);
    }
}
