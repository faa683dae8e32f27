//! `kind = "ros2-dds"`: records the topics of a ROS 2 domain from DDS, without ROS on the machine.
//!
//! In come what participants announce and the samples of their writers, out go messages per topic. Every writer gets a reader that
//! asks for what it offers and no more, so that the quality of service always fits.
//!
//! **Invariant:** a sample is recorded once, whichever readers it reaches: by the one that was made for its writer.

mod inquiry;
mod offer;
mod reader;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use recording::{Error, Result};
use rustdds::discovery::DiscoveredWriterData;
use rustdds::mio1::{Events, Interest, Poll, Token};
use rustdds::no_key::DeserializedCacheChange;
use rustdds::{
    DomainParticipant, DomainParticipantBuilder, DomainParticipantStatusListener, GUID, QosPolicyBuilder, StatusEvented, Subscriber,
};
use serde::Deserialize;
use serde_json::{Value, json};

use self::inquiry::{Inquiry, Outcome};
use self::offer::offer;
use self::reader::{Plan, Reader};
use super::definitions::Definitions;
use super::description::Question;
use super::publisher::{Publisher, Registry};
use super::sequence::Sequence;
use super::{Wanted, Wishes};
use crate::config::SourceConfig;
use crate::source::{Intake, Source, options};
use crate::stop::StopFlag;

/// The highest domain whose ports exist.
const LAST_DOMAIN: u16 = 232;
/// How long it waits for samples before it looks after other things.
const STEP: Duration = Duration::from_millis(100);
/// How often it looks who publishes, even if nobody says that something changed.
const LOOK_NS: i64 = 2_000_000_000;
/// How often it says what did not arrive.
const TELL_NS: i64 = 1_000_000_000;
/// How many readers are made at one look: more than that the middleware does not announce at once.
const READERS_AT_ONCE: usize = 32;
/// How many writers are listened to.
const WRITER_LIMIT: usize = 10_000;
/// How many samples are taken from a reader before others have their turn.
const TURN_LIMIT: usize = 256;
/// How many samples wait at most until it has looked whose they are.
const STRANGER_LIMIT: usize = 64;
/// How many publishers that went may come back and go on counting.
const KEPT_LIMIT: usize = 1_000;
/// How long a reader stays that has no writers: one that comes back is heard from its first sample on.
const IDLE_NS: i64 = 300_000_000_000;
/// How far the clock may go back: received samples are kept by its time, so that later ones would wait for it to come again.
const CLOCK_STEP_NS: i64 = 200_000_000;
/// How many publishers an event names.
const NAMED: usize = 100;
/// What wakes it when participants come or go; readers have the numbers above.
const STATUS: Token = Token(0);

#[derive(Deserialize)]
struct Options {
    /// The domain: `ROS_DOMAIN_ID` of the nodes.
    #[serde(default)]
    domain: u16,
    /// Addresses of the network interfaces to use; all if there are none.
    #[serde(default)]
    interfaces: Vec<IpAddr>,
    #[serde(flatten)]
    wishes: toml::Table,
}

struct Dds {
    domain: u16,
    interfaces: Vec<IpAddr>,
    wishes: Wishes,
}

pub(in crate::source) fn make(config: &SourceConfig) -> Result<Box<dyn Source>> {
    let Options { domain, interfaces, wishes } = options(config)?;
    if domain > LAST_DOMAIN {
        return Err(Error::invalid(format!("domain {domain}: the last one is {LAST_DOMAIN}")));
    }
    let wishes: Wishes = options(&SourceConfig { options: wishes, ..config.clone() })?;
    wishes.wanted()?;
    Ok(Box::new(Dds { domain, interfaces, wishes }))
}

impl Source for Dds {
    fn run(&mut self, intake: &Arc<Intake>, stop: &StopFlag) -> Result<()> {
        let mut session = Session::open(self, intake)?;
        let outcome = session.run(stop);
        session.end();
        outcome
    }
}

/// A writer that is listened to.
struct Writer {
    reader: Token,
    publisher: Publisher,
}

impl Writer {
    /// Records a sample of it. Those that came by at another reader of the topic are taken by the one that was made for it.
    fn take(&mut self, token: Token, sample: DeserializedCacheChange<Bytes>, intake: &Intake) {
        if self.reader == token {
            let published_ns = sample.source_timestamp().and_then(offer::ns_of);
            self.publisher.arrived(Some(i64::from(sample.sequence_number)), published_ns, sample.sample, intake);
        }
    }
}

struct Session<'a> {
    intake: &'a Arc<Intake>,
    domain: u16,
    wanted: Wanted,
    definitions: Definitions,
    participant: DomainParticipant,
    subscriber: Subscriber,
    /// What asks nodes for their types.
    asker: rustdds::Publisher,
    inquiries: Vec<Inquiry>,
    status: DomainParticipantStatusListener,
    poll: Poll,
    events: Events,
    readers: HashMap<Token, Reader>,
    by_plan: HashMap<Plan, Token>,
    writers: HashMap<GUID, Writer>,
    /// Writers that are announced and not listened to, as of the last look.
    passed_over: HashSet<GUID>,
    /// Samples of writers that were not known when they came, and the readers that had them.
    strangers: Vec<(Token, DeserializedCacheChange<Bytes>)>,
    /// The numbers of writers that went: after an outage the same ones come back.
    kept: VecDeque<(GUID, Sequence)>,
    /// Writers of which it was said that they cannot be heard.
    unheard: HashSet<GUID>,
    registry: Registry,
    next_token: usize,
    looked_ns: i64,
    told_ns: i64,
    /// Readers that have more than they were asked for.
    unfinished: Vec<Token>,
    clock_ns: i64,
}

fn failed(what: &str, error: impl std::fmt::Display) -> Error {
    Error::unavailable(format!("{what}: {error}"))
}

impl<'a> Session<'a> {
    fn open(dds: &Dds, intake: &'a Arc<Intake>) -> Result<Self> {
        let definitions = Definitions::open(&dds.wishes.definitions)?;
        let mut builder = DomainParticipantBuilder::new(dds.domain);
        if !dds.interfaces.is_empty() {
            builder = builder.with_only_networks(dds.interfaces.iter().copied());
        }
        let participant = builder.build().map_err(|error| failed(&format!("cannot join domain {}", dds.domain), error))?;
        let subscriber = participant.create_subscriber(&QosPolicyBuilder::new().build());
        let subscriber = subscriber.map_err(|error| failed("cannot subscribe", error))?;
        let asker = participant.create_publisher(&QosPolicyBuilder::new().build());
        let asker = asker.map_err(|error| failed("cannot publish", error))?;
        let mut status = participant.status_listener();
        let poll = Poll::new().map_err(|error| Error::io("cannot wait for samples", error))?;
        let registered = poll.registry().register(status.as_status_source_mio1(), STATUS, Interest::READABLE);
        registered.map_err(|error| Error::io("cannot wait for participants", error))?;
        let mut session = Self {
            intake,
            domain: dds.domain,
            wanted: dds.wishes.wanted()?,
            definitions,
            participant,
            subscriber,
            asker,
            inquiries: Vec::new(),
            status,
            poll,
            events: Events::with_capacity(1024),
            readers: HashMap::new(),
            by_plan: HashMap::new(),
            writers: HashMap::new(),
            passed_over: HashSet::new(),
            strangers: Vec::new(),
            kept: VecDeque::new(),
            unheard: HashSet::new(),
            registry: Registry::default(),
            next_token: STATUS.0 + 1,
            looked_ns: intake.monotonic_ns(),
            told_ns: intake.monotonic_ns(),
            unfinished: Vec::new(),
            clock_ns: intake.now_ns().saturating_sub(intake.monotonic_ns()),
        };
        session.look()?;
        session.say();
        Ok(session)
    }

    fn run(&mut self, stop: &StopFlag) -> Result<()> {
        while !stop.is_set() {
            self.turn()?;
        }
        Ok(())
    }

    /// Waits for something to do, and does it.
    fn turn(&mut self) -> Result<()> {
        let patience = if self.unfinished.is_empty() { STEP } else { Duration::ZERO };
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(Error::io("cannot wait for samples", error)),
            _ => {}
        }
        self.check_clock()?;
        let mut ready = std::mem::take(&mut self.unfinished);
        ready.extend(self.events.iter().map(|event| event.token()).filter(|token| *token != STATUS));
        let changed = self.events.iter().any(|event| event.token() == STATUS);
        ready.sort_unstable();
        ready.dedup();
        let now_ns = self.intake.monotonic_ns();
        if changed {
            while self.status.try_recv_status().is_some() {}
        }
        if changed || now_ns.saturating_sub(self.looked_ns) >= LOOK_NS {
            self.look()?;
            self.drop_idle_readers(now_ns);
        }
        for token in ready {
            self.take(token);
        }
        self.meet_strangers()?;
        self.hear_descriptions(now_ns);
        if now_ns.saturating_sub(self.told_ns) >= TELL_NS {
            self.told_ns = now_ns;
            for writer in self.writers.values_mut() {
                writer.publisher.look_after(self.intake);
            }
        }
        Ok(())
    }

    /// Compares who publishes with who is listened to.
    fn look(&mut self) -> Result<()> {
        self.looked_ns = self.intake.monotonic_ns();
        let announced: HashMap<GUID, DiscoveredWriterData> =
            self.participant.discovered_writers().into_iter().map(|writer| (writer.publication_topic_data.key, writer)).collect();
        let gone: Vec<GUID> = self.writers.keys().filter(|guid| !announced.contains_key(guid)).copied().collect();
        let mut told = Vec::new();
        for guid in gone {
            if let Some(token) = self.writers.get(&guid).map(|writer| writer.reader) {
                // What it sent before it went is here.
                self.take(token);
            }
            if let Some(writer) = self.writers.remove(&guid) {
                told.push(json!({ "publisher": hex(guid), "topic": writer.publisher.offer.name.topic, "gone": true }));
                let sequence = self.registry.remove(writer.publisher, self.intake);
                if self.kept.len() >= KEPT_LIMIT {
                    self.kept.pop_front();
                }
                self.kept.push_back((guid, sequence));
            }
        }
        self.passed_over.clear();
        let readers = self.readers.len();
        for (guid, announced) in &announced {
            if self.writers.contains_key(guid) {
                continue;
            }
            match self.meet(*guid, announced, readers + READERS_AT_ONCE)? {
                Some(told_of) => told.push(told_of),
                None => {
                    self.passed_over.insert(*guid);
                }
            }
        }
        self.ask_for_types(&announced);
        if !told.is_empty() {
            let message = format!("{} publishers came or went", told.len());
            told.truncate(NAMED);
            self.intake.event("ros2_publishers", &message, json!({ "domain": self.domain, "publishers": told }));
            self.say();
        }
        Ok(())
    }

    /// Listens to a writer, and returns what to tell of it; `None` if it is not wanted, or cannot be heard now.
    fn meet(&mut self, guid: GUID, announced: &DiscoveredWriterData, readers_limit: usize) -> Result<Option<Value>> {
        let Some(offer) = offer(announced).filter(|offer| self.wanted.takes(&offer.name)) else { return Ok(None) };
        if offer::has_keys(announced) {
            if self.unheard.len() < WRITER_LIMIT && self.unheard.insert(guid) {
                self.intake.refuse(&format!("samples with keys are not recorded: '{}'", offer.name.topic));
            }
            return Ok(None);
        }
        if self.writers.len() >= WRITER_LIMIT {
            self.intake.refuse(&format!("more than {WRITER_LIMIT} publishers"));
            return Ok(None);
        }
        let plan = Plan::of(announced);
        let reader = match self.by_plan.get(&plan) {
            Some(token) => *token,
            None if self.readers.len() >= readers_limit => {
                // The others come at the next turn.
                self.looked_ns = self.intake.monotonic_ns().saturating_sub(LOOK_NS);
                return Ok(None);
            }
            None => self.make_reader(plan)?,
        };
        let told = json!({ "publisher": hex(guid), "topic": offer.name.topic, "role": offer.name.role.as_str(), "type": offer.type_name });
        let mut publisher = match self.registry.add(offer, &self.definitions, self.intake) {
            Ok(publisher) => publisher,
            Err(error) => {
                self.intake.refuse(&format!("'{}': {error}", announced.publication_topic_data.topic_name));
                return Ok(None);
            }
        };
        let known = self.kept.iter().position(|(kept, _)| *kept == guid);
        if let Some((_, sequence)) = known.and_then(|at| self.kept.remove(at)) {
            publisher.sequence = sequence.resume();
        }
        self.writers.insert(guid, Writer { reader, publisher });
        Ok(Some(told))
    }

    /// Asks nodes for the types of their process that nothing at hand defines.
    fn ask_for_types(&mut self, announced: &HashMap<GUID, DiscoveredWriterData>) {
        let unknown: Vec<(GUID, String, String)> = self
            .writers
            .iter()
            .filter(|(_, writer)| !writer.publisher.is_known)
            .filter_map(|(guid, Writer { publisher, .. })| {
                Some((*guid, publisher.offer.type_name.clone(), publisher.offer.type_hash.clone()?))
            })
            .collect();
        for (guid, type_name, type_hash) in unknown {
            let of_process = announced.iter().filter(|(answers, _)| answers.prefix == guid.prefix);
            for (node, is_cyclone) in of_process.filter_map(|(_, answers)| {
                Some((inquiry::node_of(&answers.publication_topic_data.topic_name)?, offer::is_cyclone(answers)))
            }) {
                let question = Question { node, type_name: type_name.clone(), type_hash: type_hash.clone() };
                if self.inquiries.len() >= inquiry::AT_ONCE || !self.definitions.may_ask(&question) {
                    continue;
                }
                match Inquiry::open(question, is_cyclone, &self.participant, &self.asker, &self.subscriber) {
                    Ok(inquiry) => self.inquiries.push(inquiry),
                    Err(error) => self.intake.refuse(&error.to_string()),
                }
            }
            if self.inquiries.iter().any(|inquiry| inquiry.question.type_hash == type_hash)
                && let Some(writer) = self.writers.get_mut(&guid)
            {
                writer.publisher.hold(self.intake);
            }
        }
    }

    /// Takes what nodes say of types.
    fn hear_descriptions(&mut self, now_ns: i64) {
        let mut told = Vec::new();
        self.inquiries.retain_mut(|inquiry| match inquiry.turn(now_ns) {
            Outcome::Waits => true,
            Outcome::Nothing => false,
            Outcome::Answer(answer) => {
                if self.definitions.hear(&inquiry.question, &answer, self.intake) {
                    told.push(inquiry.question.type_hash.clone());
                }
                false
            }
        });
        for hash in told {
            let guids: Vec<GUID> = self.writers.iter().filter(|(_, writer)| writer.publisher.lacks(&hash)).map(|(guid, _)| *guid).collect();
            for guid in guids {
                let Some(writer) = self.writers.remove(&guid) else { continue };
                let offer = writer.publisher.offer.clone();
                match self.registry.change(writer.publisher, offer, &self.definitions, self.intake) {
                    Ok(publisher) => {
                        self.writers.insert(guid, Writer { publisher, ..writer });
                    }
                    Err(error) => self.intake.refuse(&format!("'{}': {error}", hex(guid))),
                }
            }
        }
    }

    fn make_reader(&mut self, plan: Plan) -> Result<Token> {
        let token = Token(self.next_token);
        self.next_token += 1;
        let mut reader = Reader::new(plan.clone(), &self.participant, &self.subscriber)?;
        let registered = self.poll.registry().register(&mut reader.samples, token, Interest::READABLE);
        registered.map_err(|error| Error::io("cannot wait for samples", error))?;
        self.readers.insert(token, reader);
        self.by_plan.insert(plan, token);
        // What a latched topic had may be here before anybody waits for it.
        self.unfinished.push(token);
        Ok(token)
    }

    /// Records what a reader has.
    fn take(&mut self, token: Token) {
        let Some(reader) = self.readers.get_mut(&token) else { return };
        reader.samples.drain_read_notifications();
        for _ in 0..TURN_LIMIT {
            if self.strangers.len() >= STRANGER_LIMIT {
                break;
            }
            match reader.samples.try_take_one() {
                Ok(None) => return,
                Ok(Some(sample)) => {
                    reader.make_room(&self.participant, sample.sample.len());
                    match self.writers.get_mut(&sample.writer_guid) {
                        Some(writer) => writer.take(token, sample, self.intake),
                        None if self.passed_over.contains(&sample.writer_guid) => {}
                        None => self.strangers.push((token, sample)),
                    }
                }
                Err(error) => self.intake.refuse(&format!("'{}': {error}", reader.plan.topic)),
            }
        }
        self.unfinished.push(token);
    }

    /// Looks who sent what nobody known did: a sample may be here before it was seen that its writer came.
    fn meet_strangers(&mut self) -> Result<()> {
        if self.strangers.is_empty() {
            return Ok(());
        }
        self.look()?;
        for (token, sample) in std::mem::take(&mut self.strangers) {
            let guid = sample.writer_guid;
            match self.writers.get_mut(&guid) {
                Some(writer) => writer.take(token, sample, self.intake),
                // A new reader finds what others of its topic took already.
                None if self.passed_over.contains(&guid) || self.kept.iter().any(|(kept, _)| *kept == guid) => {}
                None => self.intake.refuse("a publisher was gone before it was known what it sends"),
            }
        }
        Ok(())
    }

    fn drop_idle_readers(&mut self, now_ns: i64) {
        let used: HashSet<Token> = self.writers.values().map(|writer| writer.reader).collect();
        for (_, reader) in self.readers.iter_mut().filter(|(token, reader)| used.contains(token) || reader.used_ns == 0) {
            reader.used_ns = now_ns;
        }
        let idle = |reader: &Reader| now_ns.saturating_sub(reader.used_ns) >= IDLE_NS;
        let gone: Vec<Token> = self.readers.iter().filter(|(_, reader)| idle(reader)).map(|(token, _)| *token).collect();
        for token in gone {
            if let Some(mut reader) = self.readers.remove(&token) {
                // It is closed now in any case.
                let _ = self.poll.registry().deregister(&mut reader.samples);
                self.by_plan.remove(&reader.plan);
            }
        }
    }

    fn check_clock(&mut self) -> Result<()> {
        let clock_ns = self.intake.now_ns().saturating_sub(self.intake.monotonic_ns());
        let back_ns = self.clock_ns.saturating_sub(clock_ns);
        self.clock_ns = self.clock_ns.max(clock_ns);
        if back_ns < CLOCK_STEP_NS {
            return Ok(());
        }
        self.clock_ns = clock_ns;
        Err(Error::unavailable(format!("the clock went back by {} ms: everything is discovered anew", back_ns / 1_000_000)))
    }

    fn say(&self) {
        let topics: HashSet<&str> = self.writers.values().map(|writer| writer.publisher.offer.name.topic.as_str()).collect();
        self.intake.note(format!("domain {}: {} topics of {} publishers", self.domain, topics.len(), self.writers.len()));
    }

    fn end(mut self) {
        for (_, writer) in self.writers.drain() {
            self.registry.remove(writer.publisher, self.intake);
        }
    }
}

fn hex(guid: GUID) -> String {
    guid.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: &str) -> String {
        let options: toml::Table = options.parse().unwrap();
        let config = SourceConfig { name: "ros".into(), kind: "ros2-dds".into(), limit_bytes_per_s: None, options, line: 1 };
        make(&config).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn options_that_cannot_be_are_refused() {
        for good in
            ["", "domain = 232\ntopics = ['/a', '!/b']\nhidden = true\nservices = true\ndefinitions = ['/x']", "interfaces = ['127.0.0.1']"]
        {
            assert_eq!(refused(good), "");
        }
        assert!(refused("domain = 233").contains("the last one is 232"));
        assert!(refused("domain = -1").contains("u16"));
        assert!(refused("domian = 3").contains("unknown field `domian`"));
        assert!(refused("interfaces = ['eth0']").contains("IP address"));
    }
}
