//! `kind = "ros2-zenoh"`: records the topics of a ROS 2 domain from `rmw_zenoh`, without ROS on the machine.
//!
//! In come samples under `<domain>/<topic>/<type>/<hash>` and the tokens of who publishes them, out go messages per topic.
//!
//! **Invariant:** every sample under a key of that form is recorded, whether or not anybody says that its publisher exists.

mod attachment;
mod token;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use recording::qos::Profile;
use recording::{Error, Result};
use serde::Deserialize;
use serde_json::json;
use zenoh::handlers::{FifoChannel, FifoChannelHandler};
use zenoh::pubsub::Subscriber;
use zenoh::query::{ConsolidationMode, QueryTarget, Reply, ReplyKeyExpr};
use zenoh::sample::{Sample, SampleKind};
use zenoh::{Session, Wait};

use self::attachment::{Attachment, Gid};
use self::token::Token;
use super::definitions::Definitions;
use super::description::{self, CDR_HEADER, Question};
use super::names::{self, Name, Role};
use super::publisher::{Offer, Publisher, Registry};
use super::{Wanted, Wishes};
use crate::config::SourceConfig;
use crate::source::{Intake, Source, options};
use crate::stop::StopFlag;

/// Where the router of `rmw_zenoh` listens.
const ENDPOINT: &str = "tcp/localhost:7447";
/// How long it tries to reach the router before it says that it cannot.
const CONNECT_MS: u64 = 3_000;
/// How long it waits for samples before it looks after other things.
const STEP: Duration = Duration::from_millis(100);
/// How many samples wait for us; more wait in the network, and then at the publisher.
const WAITING_SAMPLES: usize = 256;
/// How many tokens and how many answers wait.
const WAITING_TOKENS: usize = 4096;
/// How many samples are taken before other things have their turn.
const TURN_LIMIT: usize = 256;
/// How long publishers have to hand out what they sent before.
const HISTORY_PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks whether the router is there, and who is gone.
const LOOK_NS: i64 = 1_000_000_000;
/// How long publishers have to come back after the router did: they try again after up to 4 s.
const SETTLE_NS: i64 = 10_000_000_000;
/// How long a node has to describe a type.
const DESCRIPTION_PATIENCE: Duration = Duration::from_secs(5);
/// How many of its answers wait.
const WAITING_ANSWERS: usize = 16;
/// How many nodes are asked at a time.
const QUESTIONS_AT_ONCE: usize = 32;
/// How many publishers there may be at a time.
const PUBLISHER_LIMIT: usize = 10_000;
/// How many keys are remembered that nobody wants.
const UNWANTED_LIMIT: usize = 10_000;

#[derive(Deserialize)]
struct Options {
    /// Where the router, or a peer, listens.
    connect: Option<String>,
    /// The domain: `ROS_DOMAIN_ID` of the nodes.
    #[serde(default)]
    domain: u16,
    #[serde(flatten)]
    wishes: toml::Table,
}

struct Zenoh {
    connect: String,
    domain: u16,
    wishes: Wishes,
}

pub(in crate::source) fn make(config: &SourceConfig) -> Result<Box<dyn Source>> {
    let Options { connect, domain, wishes } = options(config)?;
    let wishes: Wishes = options(&SourceConfig { options: wishes, ..config.clone() })?;
    if wishes.services {
        return Err(Error::invalid("services of rmw_zenoh are queries, which only those see who answer them: leave services out"));
    }
    wishes.wanted()?;
    let connect = connect.unwrap_or_else(|| ENDPOINT.to_owned());
    connect.parse::<zenoh::config::EndPoint>().map_err(|error| Error::invalid(format!("connect = \"{connect}\": {error}")))?;
    Ok(Box::new(Zenoh { connect, domain, wishes }))
}

impl Source for Zenoh {
    fn run(&mut self, intake: &Arc<Intake>, stop: &StopFlag) -> Result<()> {
        let mut listener = Listener::open(self, intake)?;
        let outcome = listener.run(stop);
        listener.end();
        outcome
    }
}

struct Listener<'a> {
    intake: &'a Arc<Intake>,
    connect: String,
    domain: u16,
    wanted: Wanted,
    definitions: Definitions,
    session: Session,
    samples: Subscriber<FifoChannelHandler<Sample>>,
    changes: Subscriber<FifoChannelHandler<Sample>>,
    /// Publishers that say they are there, by the keys of their tokens.
    tokens: BTreeMap<String, Token>,
    publishers: HashMap<Gid, Known>,
    unwanted: HashSet<String>,
    /// Publishers whose token is gone, their keys, and since when.
    gone: Vec<(Gid, String, i64)>,
    /// Those whose token went with the router.
    away: HashMap<Gid, String>,
    /// When they have had the time to come back.
    settled_ns: i64,
    histories: Vec<FifoChannelHandler<Reply>>,
    /// What nodes were asked.
    questions: Vec<(Question, FifoChannelHandler<Reply>)>,
    registry: Registry,
    is_connected: bool,
    looked_ns: i64,
}

/// A publisher that was heard.
struct Known {
    key: String,
    /// Whether its version names the fields of attachments.
    is_labelled: bool,
    publisher: Publisher,
}

fn failed(what: &str, error: impl std::fmt::Display) -> Error {
    Error::unavailable(format!("{what}: {error}"))
}

impl<'a> Listener<'a> {
    fn open(zenoh: &Zenoh, intake: &'a Arc<Intake>) -> Result<Self> {
        let definitions = Definitions::open(&zenoh.wishes.definitions)?;
        let session = zenoh::open(config(&zenoh.connect)?).wait();
        let session = session.map_err(|error| failed(&format!("there is no router at {}", zenoh.connect), error))?;
        let changes = session.liveliness().declare_subscriber(format!("{}/{}/**", token::SPACE, zenoh.domain));
        let changes = changes.history(true).with(FifoChannel::new(WAITING_TOKENS)).wait();
        let changes = changes.map_err(|error| failed("cannot hear who publishes", error))?;
        let samples = session.declare_subscriber(format!("{}/**", zenoh.domain)).with(FifoChannel::new(WAITING_SAMPLES)).wait();
        let samples = samples.map_err(|error| failed("cannot subscribe", error))?;
        let listener = Self {
            intake,
            connect: zenoh.connect.clone(),
            domain: zenoh.domain,
            wanted: zenoh.wishes.wanted()?,
            definitions,
            session,
            samples,
            changes,
            tokens: BTreeMap::new(),
            publishers: HashMap::new(),
            unwanted: HashSet::new(),
            gone: Vec::new(),
            away: HashMap::new(),
            settled_ns: 0,
            histories: Vec::new(),
            questions: Vec::new(),
            registry: Registry::default(),
            is_connected: true,
            looked_ns: intake.monotonic_ns(),
        };
        listener.say();
        Ok(listener)
    }

    fn run(&mut self, stop: &StopFlag) -> Result<()> {
        while !stop.is_set() {
            self.turn()?;
        }
        Ok(())
    }

    /// Waits for something to do, and does it.
    fn turn(&mut self) -> Result<()> {
        let ended = |error| failed("the session ended", error);
        let first = self.samples.handler().recv_timeout(STEP).map_err(ended)?;
        self.hear_changes()?;
        if let Some(sample) = first {
            self.take(&sample, true);
            for _ in 1..TURN_LIMIT {
                let Some(sample) = self.samples.handler().try_recv().map_err(ended)? else { break };
                self.take(&sample, true);
            }
        }
        self.remember();
        self.hear_descriptions();
        let now_ns = self.intake.monotonic_ns();
        if now_ns.saturating_sub(self.looked_ns) >= LOOK_NS {
            self.looked_ns = now_ns;
            self.look(now_ns);
            for known in self.publishers.values_mut() {
                known.publisher.look_after(self.intake);
            }
        }
        Ok(())
    }

    /// Takes in who came and who went.
    fn hear_changes(&mut self) -> Result<()> {
        let mut changed = false;
        while let Some(change) = self.changes.handler().try_recv().map_err(|error| failed("the session ended", error))? {
            let key = change.key_expr().as_str();
            if change.kind() == SampleKind::Delete {
                if let Some(token) = self.tokens.remove(key) {
                    self.gone.push((token.gid, token.key, self.intake.monotonic_ns()));
                    changed = true;
                }
                continue;
            }
            let Some(token) = Token::read(key).filter(|_| self.tokens.len() < PUBLISHER_LIMIT) else { continue };
            self.gone.retain(|(gid, ..)| *gid != token.gid);
            self.away.remove(&token.gid);
            if !self.offer(&token.key, Vec::new()).is_some_and(|offer| self.wanted.takes(&offer.name)) {
                continue;
            }
            if token.profile.durability == "transient_local" {
                self.ask_for_history(&token.key);
            }
            let told = json!({ "domain": self.domain, "node": token.node, "key": token.key });
            self.intake.event("ros2_publisher", &format!("'{}' publishes", token.node), told);
            let topic = token.key.clone();
            self.tokens.insert(key.to_owned(), token);
            self.offer_anew(&topic)?;
            self.ask_for_type(&topic);
            changed = true;
        }
        if changed {
            self.say();
        }
        Ok(())
    }

    /// Gives publishers of a key that were heard before their tokens came what these say.
    fn offer_anew(&mut self, key: &str) -> Result<()> {
        let gids: Vec<Gid> = self.publishers.iter().filter(|(_, known)| known.key == key).map(|(gid, _)| *gid).collect();
        for gid in gids {
            let Some(offer) = self.offer(key, self.profiles(key, gid)) else { continue };
            let Some(known) = self.publishers.remove(&gid) else { continue };
            let publisher = match known.publisher.offer == offer {
                true => known.publisher,
                false => self.registry.change(known.publisher, offer, &self.definitions, self.intake)?,
            };
            self.publishers.insert(gid, Known { publisher, ..known });
        }
        Ok(())
    }

    /// Asks publishers for what they sent before, in the two ways that versions of `rmw_zenoh` keep it.
    fn ask_for_history(&mut self, key: &str) {
        for selector in [format!("{key}/@adv/**"), format!("*/{key}")] {
            let answers = self
                .session
                .get(selector)
                .target(QueryTarget::All)
                .consolidation(ConsolidationMode::None)
                .accept_replies(ReplyKeyExpr::Any)
                .timeout(HISTORY_PATIENCE)
                .with(FifoChannel::new(WAITING_SAMPLES))
                .wait();
            match answers {
                Ok(answers) => self.histories.push(answers),
                Err(error) => self.intake.refuse(&format!("cannot ask for what '{key}' had: {error}")),
            }
        }
    }

    /// Asks the nodes that publish under a key what its type is made of, if nothing that is at hand tells.
    fn ask_for_type(&mut self, key: &str) {
        let unknown = |known: &&Known| known.key == key && !known.publisher.is_known;
        let Some(Known { is_labelled, publisher, .. }) = self.publishers.values().find(unknown) else { return };
        let (is_labelled, type_name) = (*is_labelled, publisher.offer.type_name.clone());
        let Some(type_hash) = publisher.offer.type_hash.clone() else { return };
        let nodes: BTreeSet<&String> = self.tokens.values().filter(|token| token.key == key).map(|token| &token.node).collect();
        for node in nodes {
            let question = Question { node: node.clone(), type_name: type_name.clone(), type_hash: type_hash.clone() };
            if self.questions.len() >= QUESTIONS_AT_ONCE || !self.definitions.may_ask(&question) {
                continue;
            }
            let attachment = Attachment { number: 1, published_ns: self.intake.now_ns(), gid: nobody(node), is_labelled };
            let answers = self
                .session
                .get(format!("{}{node}/{}/{}/*", self.domain, description::SERVICE, description::TYPE))
                .target(QueryTarget::All)
                .consolidation(ConsolidationMode::None)
                .accept_replies(ReplyKeyExpr::Any)
                .timeout(DESCRIPTION_PATIENCE)
                .payload([&CDR_HEADER[..], &description::request(&question)].concat())
                .attachment(attachment.write())
                .with(FifoChannel::new(WAITING_ANSWERS))
                .wait();
            match answers {
                Ok(answers) => self.questions.push((question, answers)),
                Err(error) => self.intake.refuse(&format!("cannot ask '{node}' for '{type_name}': {error}")),
            }
        }
        if self.questions.iter().any(|(question, _)| question.type_hash == type_hash) {
            let lacking = self.publishers.values_mut().filter(|known| known.publisher.lacks(&type_hash));
            lacking.for_each(|known| known.publisher.hold(self.intake));
        }
    }

    /// Takes what nodes say of types.
    fn hear_descriptions(&mut self) {
        let mut told = Vec::new();
        self.questions.retain(|(question, answers)| {
            loop {
                match answers.try_recv() {
                    Ok(Some(reply)) => {
                        if let Ok(sample) = reply.result()
                            && self.definitions.hear(question, &sample.payload().to_bytes(), self.intake)
                        {
                            told.push(question.type_hash.clone());
                        }
                    }
                    Ok(None) => return true,
                    Err(_) => return false,
                }
            }
        });
        for hash in told {
            let gids: Vec<Gid> = self.publishers.iter().filter(|(_, known)| known.publisher.lacks(&hash)).map(|(gid, _)| *gid).collect();
            for gid in gids {
                let Some(known) = self.publishers.remove(&gid) else { continue };
                let offer = known.publisher.offer.clone();
                match self.registry.change(known.publisher, offer, &self.definitions, self.intake) {
                    Ok(publisher) => {
                        self.publishers.insert(gid, Known { publisher, ..known });
                    }
                    Err(error) => self.intake.refuse(&format!("'{}': {error}", known.key)),
                }
            }
        }
    }

    /// Takes what publishers sent before.
    fn remember(&mut self) {
        let mut histories = std::mem::take(&mut self.histories);
        histories.retain(|history| {
            loop {
                match history.try_recv() {
                    Ok(Some(reply)) => {
                        if let Ok(sample) = reply.result() {
                            self.take(sample, false);
                        }
                    }
                    Ok(None) => return true,
                    // All who had something answered.
                    Err(_) => return false,
                }
            }
        });
        self.histories.append(&mut histories);
    }

    fn take(&mut self, sample: &Sample, is_live: bool) {
        let key = sample.key_expr().as_str();
        if sample.kind() != SampleKind::Put || self.unwanted.contains(key) {
            return;
        }
        let attachment = sample.attachment().and_then(|attachment| Attachment::read(&attachment.to_bytes()));
        let (gid, is_labelled) = attachment.map_or_else(|| (nobody(key), false), |attachment| (attachment.gid, attachment.is_labelled));
        if self.publishers.get(&gid).is_none_or(|known| known.key != key) {
            if !self.meet(key, gid, is_labelled) {
                return;
            }
            self.ask_for_type(key);
        }
        let Some(Known { publisher, .. }) = self.publishers.get_mut(&gid) else { return };
        let payload = match sample.payload().to_bytes() {
            Cow::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            // One in fragments was put together here.
            Cow::Owned(bytes) => Bytes::from(bytes),
        };
        let published_ns = attachment.map(|attachment| attachment.published_ns).filter(|published_ns| *published_ns > 0);
        match attachment.map(|attachment| attachment.number) {
            Some(number) if !is_live => publisher.remembered(number, published_ns, payload, self.intake),
            number if is_live => publisher.arrived(number, published_ns, payload, self.intake),
            // Without a number nobody knows whether it is here.
            _ => {}
        }
    }

    /// Takes in a publisher that is heard for the first time; returns whether it is wanted.
    fn meet(&mut self, key: &str, gid: Gid, is_labelled: bool) -> bool {
        let Some(offer) = self.offer(key, self.profiles(key, gid)).filter(|offer| self.wanted.takes(&offer.name)) else {
            if self.unwanted.len() >= UNWANTED_LIMIT {
                self.unwanted.clear();
            }
            self.unwanted.insert(key.to_owned());
            return false;
        };
        // One that came after another one of this key went takes its place.
        self.let_go(|gone| gone == key);
        if let Some(other) = self.publishers.remove(&gid) {
            self.registry.remove(other.publisher, self.intake);
        }
        if self.publishers.len() >= PUBLISHER_LIMIT {
            self.intake.refuse(&format!("more than {PUBLISHER_LIMIT} publishers"));
            return false;
        }
        match self.registry.add(offer, &self.definitions, self.intake) {
            Ok(publisher) => {
                self.publishers.insert(gid, Known { key: key.to_owned(), is_labelled, publisher });
                self.say();
                true
            }
            Err(error) => {
                self.intake.refuse(&format!("'{key}': {error}"));
                false
            }
        }
    }

    /// Returns what a key says, if it is one of a topic.
    fn offer(&self, key: &str, profiles: Vec<Profile>) -> Option<Offer> {
        let (_domain, rest) = key.split_once('/')?;
        let (rest, hash) = rest.rsplit_once('/')?;
        let (topic, type_name) = rest.rsplit_once('/')?;
        Some(Offer {
            name: Name { topic: format!("/{topic}"), role: Role::Topic },
            type_name: names::type_name(type_name),
            type_hash: names::hash(hash),
            profiles,
            is_wrapped: false,
        })
    }

    /// Returns the profile of a publisher: that of its token, else those of all tokens of its key.
    fn profiles(&self, key: &str, gid: Gid) -> Vec<Profile> {
        let mut profiles: Vec<Profile> = Vec::new();
        for token in self.tokens.values().filter(|token| token.key == key) {
            if token.gid == gid {
                return vec![token.profile.clone()];
            }
            if !profiles.contains(&token.profile) {
                profiles.push(token.profile.clone());
            }
        }
        profiles
    }

    fn look(&mut self, now_ns: i64) {
        let info = self.session.info();
        let is_connected = info.routers_zid().wait().next().is_some() || info.peers_zid().wait().next().is_some();
        if is_connected != self.is_connected {
            self.is_connected = is_connected;
            let what = if is_connected { "is back" } else { "is gone" };
            let detail = json!({ "connect": self.connect, "connected": is_connected });
            self.intake.event("ros2_router", &format!("the router at {} {what}", self.connect), detail);
            self.say();
        }
        if !is_connected {
            // Their tokens went with the router: they go on counting, so that what is missing is known when it is back.
            self.away.extend(self.gone.drain(..).map(|(gid, key, _)| (gid, key)));
            self.settled_ns = now_ns.saturating_add(SETTLE_NS);
        } else if now_ns >= self.settled_ns {
            self.gone.extend(self.away.drain().map(|(gid, key)| (gid, key, now_ns.saturating_sub(LOOK_NS))));
        }
        if self.gone.iter().any(|(_, _, since_ns)| now_ns.saturating_sub(*since_ns) >= LOOK_NS) {
            self.let_go(|_| true);
            self.say();
        }
    }

    /// Lets those go whose tokens are gone and whose keys are meant. With versions up to 0.2.3 samples do not tell whose token is theirs:
    /// where a key has no token any more, all of its publishers go.
    fn let_go(&mut self, which: impl Fn(&str) -> bool) {
        let gone: Vec<_> = self.gone.extract_if(.., |(_, key, _)| which(key)).collect();
        if gone.is_empty() {
            return;
        }
        let gids: HashSet<Gid> = gone.iter().map(|(gid, ..)| *gid).collect();
        let mut keys: HashSet<&str> = gone.iter().map(|(_, key, _)| key.as_str()).collect();
        for token in self.tokens.values() {
            keys.remove(token.key.as_str());
        }
        for (_, known) in self.publishers.extract_if(|gid, known| gids.contains(gid) || keys.contains(known.key.as_str())) {
            self.registry.remove(known.publisher, self.intake);
        }
    }

    fn say(&self) {
        let topics: HashSet<&str> = self.publishers.values().map(|known| known.publisher.offer.name.topic.as_str()).collect();
        let heard = format!("domain {}: {} topics of {} publishers", self.domain, topics.len(), self.publishers.len());
        let how = if self.is_connected { "by way of" } else { "waits for the router at" };
        self.intake.note(format!("{heard}, {how} {}", self.connect));
    }

    fn end(mut self) {
        for (_, known) in self.publishers.drain() {
            self.registry.remove(known.publisher, self.intake);
        }
        // Whoever does not hear of it notices when the connection ends.
        let _ = self.session.close().wait();
    }
}

/// Returns what stands for the publisher of samples that do not name one.
fn nobody(key: &str) -> Gid {
    let mut gid = Gid::default();
    gid.copy_from_slice(&blake3::hash(key.as_bytes()).as_bytes()[..attachment::GID_BYTES]);
    gid
}

/// Returns the configuration of a client of a router: it listens nowhere, and searches for nobody.
fn config(connect: &str) -> Result<zenoh::Config> {
    let mut config = zenoh::Config::default();
    let settings = [
        ("mode", json!("client")),
        ("connect/endpoints", json!([connect])),
        ("connect/timeout_ms", json!(CONNECT_MS)),
        ("connect/exit_on_failure", json!(true)),
        ("scouting/multicast/enabled", json!(false)),
        ("listen/endpoints", json!([])),
    ];
    for (key, value) in settings {
        config.insert_json5(key, &value.to_string()).map_err(|error| Error::invalid(format!("{key}: {error}")))?;
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: &str) -> String {
        let options: toml::Table = options.parse().unwrap();
        let config = SourceConfig { name: "ros".into(), kind: "ros2-zenoh".into(), limit_bytes_per_s: None, options, line: 1 };
        make(&config).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn options_that_cannot_be_are_refused() {
        for good in ["", "connect = 'tcp/10.0.0.7:7447'\ndomain = 7\ntopics = ['/a', '!/b']\nhidden = true"] {
            assert_eq!(refused(good), "");
        }
        assert!(refused("connect = 'localhost'").contains("connect = \"localhost\""));
        assert!(refused("services = true").contains("leave services out"));
        assert!(refused("tokpics = []").contains("unknown field `tokpics`"));
        assert!(config("tcp/localhost:7447").is_ok());
    }
}
