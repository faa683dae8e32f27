//! Rules over recordings: what they would have done.
//!
//! In come a recording and rules, out come firings, and what makes them less than exact.
//!
//! **Invariant:** messages are taken in the order of their log times, equal ones as they were appended; nothing else has a say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use recording::loss::Damage;
use recording::read::Recording;
use recording::{Error, Loss, Message, Result, Span, Timestamp, Topic, TopicFilter};

use crate::compile::Feed;
use crate::machine::{Counts, Firing, Machine};
use crate::rule::Rule;
use crate::topics::Topics;

/// After how long without any message nobody is taken to have recorded.
pub const PAUSE_NS: i64 = 60_000_000_000;

/// How often a rule may fire in a replay.
pub const FIRING_LIMIT: usize = 100_000;

/// Of how many topics it is remembered what they are to the rules.
const KNOWN_LIMIT: usize = 10_000;

/// How reasons of losses begin by which messages are missing between others.
const LEFT_OUT: [&str; 2] = ["filtered:", "expired:"];

/// How many of these are told of a rule.
const REASONS_LIMIT: usize = 10;

/// What rules would have done.
#[derive(Debug)]
pub struct Outcome {
    /// Of each rule, in their order.
    pub rules: Vec<Replayed>,
    /// How many messages were looked at, those of all topics.
    pub messages: u64,
    /// How many bytes their payloads have.
    pub bytes: u64,
    /// The first and the last log time.
    pub times_ns: Option<(Timestamp, Timestamp)>,
    /// How long was recorded, without pauses.
    pub covered_ns: i64,
    /// How often nobody recorded for a while.
    pub pauses: u64,
    /// What is missing in the recording.
    pub losses: Vec<Loss>,
}

/// What a rule would have done.
#[derive(Debug, Default)]
pub struct Replayed {
    /// When it fired.
    pub firings: Vec<Firing>,
    /// How often it did not.
    pub counts: Counts,
    /// What makes that less than exact; empty where it is.
    pub approximate: Vec<String>,
}

/// Runs rules over a part of a recording. `progress` hears how far it has come.
///
/// # Errors
/// Those of [`Rule::program`] and of reading; `Invalid` for a rule that fires more than [`FIRING_LIMIT`] times.
pub fn replay(recording: &Recording, rules: &[Rule], topics: &Topics, span: Span, mut progress: impl FnMut(Timestamp)) -> Result<Outcome> {
    let held = recording.span();
    let start_ns = span.start_ns.max(held.start_ns);
    let machines = rules.iter().map(|rule| Ok(Machine::new(rule, rule.program(topics)?, start_ns))).collect::<Result<Vec<_>>>()?;
    let mut run = Run::new(rules, machines, start_ns);
    run.preset(recording)?;
    let mut messages = recording.messages(&TopicFilter::all(), Span::new(start_ns, span.end_ns))?;
    for message in messages.by_ref() {
        let message = message?;
        progress(message.log_time_ns);
        run.message(&message)?;
    }
    Ok(run.finish(messages.losses().to_vec()))
}

/// What a topic's messages are to the rules, by their places.
type Feeds = Vec<(usize, Feed)>;

struct Run<'r> {
    rules: &'r [Rule],
    machines: Vec<Machine>,
    fired: Vec<Vec<Firing>>,
    /// What topics are to the rules, by where they stand in memory; they are held, so that no other comes to stand there.
    known: HashMap<usize, (Arc<Topic>, Feeds)>,
    /// The first message of each latched topic.
    latched: BTreeMap<String, Timestamp>,
    /// How many messages of each topic a rule names were appended before one with an earlier time.
    late: BTreeMap<String, u64>,
    last_sequence: Option<(u64, u64)>,
    /// Since when messages are waited for.
    start_ns: Timestamp,
    messages: u64,
    bytes: u64,
    times_ns: Option<(Timestamp, Timestamp)>,
    covered_ns: i64,
    pauses: u64,
}

impl<'r> Run<'r> {
    fn new(rules: &'r [Rule], machines: Vec<Machine>, start_ns: Timestamp) -> Self {
        Self {
            start_ns,
            fired: rules.iter().map(|_| Vec::new()).collect(),
            rules,
            machines,
            known: HashMap::new(),
            latched: BTreeMap::new(),
            late: BTreeMap::new(),
            last_sequence: None,
            messages: 0,
            bytes: 0,
            times_ns: None,
            covered_ns: 0,
            pauses: 0,
        }
    }

    /// Gives the rules the values of latched topics as of the start.
    fn preset(&mut self, recording: &Recording) -> Result<()> {
        let names: BTreeSet<&str> = self.machines.iter().flat_map(|machine| machine.program().latched()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let filters = names.into_iter().map(TopicFilter::at_least).collect::<Vec<_>>();
        for message in recording.latched(&TopicFilter::all(), self.start_ns.saturating_sub(1))? {
            if filters.iter().any(|filter| filter.matches(&message.topic.name)) {
                self.latched.entry(message.topic.name.clone()).or_insert(message.log_time_ns);
                for (machine, feed) in feeds(&self.machines, &message.topic) {
                    self.machines[machine].preset(feed, &message.data, message.log_time_ns);
                }
            }
        }
        Ok(())
    }

    fn message(&mut self, message: &Message) -> Result<()> {
        let now_ns = message.log_time_ns;
        self.messages += 1;
        self.bytes += message.data.len() as u64;
        let (first_ns, last_ns) = self.times_ns.unwrap_or((now_ns, self.start_ns));
        let gap_ns = now_ns.saturating_sub(last_ns);
        if gap_ns > PAUSE_NS {
            self.pauses += u64::from(self.times_ns.is_some());
            self.machines.iter_mut().for_each(|machine| machine.restart(now_ns));
        } else {
            self.covered_ns += gap_ns.max(0);
        }
        self.times_ns = Some((first_ns, now_ns.max(last_ns)));
        for (machine, fired) in self.machines.iter_mut().zip(&mut self.fired) {
            machine.advance(now_ns, fired);
        }
        let place = Arc::as_ptr(&message.topic) as usize;
        if !self.known.contains_key(&place) {
            if self.known.len() >= KNOWN_LIMIT {
                self.known.clear();
            }
            self.known.insert(place, (message.topic.clone(), feeds(&self.machines, &message.topic)));
        }
        let Some((_, feeds)) = self.known.get(&place).filter(|(_, feeds)| !feeds.is_empty()) else { return self.check() };
        for (machine, feed) in feeds {
            self.machines[*machine].message(*feed, &message.data, now_ns, &mut self.fired[*machine]);
        }
        self.latched.entry(message.topic.name.clone()).or_insert(now_ns);
        if let Some(identity) = message.identity {
            let sequence = (identity.boot, identity.append_sequence);
            if self.last_sequence.is_some_and(|last| last.0 == sequence.0 && last.1 > sequence.1) {
                *self.late.entry(message.topic.name.clone()).or_default() += 1;
            }
            self.last_sequence = self.last_sequence.max(Some(sequence));
        }
        self.check()
    }

    fn check(&self) -> Result<()> {
        match self.rules.iter().zip(&self.fired).find(|(_, fired)| fired.len() > FIRING_LIMIT) {
            None => Ok(()),
            Some((rule, _)) => {
                let name = &rule.name;
                Err(Error::invalid(format!("rule '{name}' fires more than {FIRING_LIMIT} times: give it a hold, a cooldown or a cap")))
            }
        }
    }

    fn finish(self, losses: Vec<Loss>) -> Outcome {
        let why: Vec<Vec<String>> = self.machines.iter().map(|machine| self.approximate(machine, &losses)).collect();
        let rules = self.machines.iter().zip(self.fired).zip(why);
        Outcome {
            rules: rules.map(|((machine, firings), approximate)| Replayed { firings, counts: machine.counts(), approximate }).collect(),
            messages: self.messages,
            bytes: self.bytes,
            times_ns: self.times_ns,
            covered_ns: self.covered_ns,
            pauses: self.pauses,
            losses,
        }
    }

    /// Returns what makes a rule's firings less than exact.
    fn approximate(&self, machine: &Machine, losses: &[Loss]) -> Vec<String> {
        let program = machine.program();
        let mut why = Vec::new();
        let names: BTreeSet<&str> = program.topics().collect();
        let concerns = |loss: &&Loss| loss.topic.as_ref().is_none_or(|topic| names.contains(topic.as_str()));
        let lost: Vec<Loss> = losses.iter().filter(|loss| loss.is_lost()).filter(concerns).cloned().collect();
        if let Some(damage) = Damage::of(&lost) {
            let of = if damage.any_topic { "any topic".to_owned() } else { damage.topics.join(", ") };
            why.push(match (damage.messages, damage.exact) {
                (0, _) => format!("messages of {of} were lost, nobody knows how many"),
                (messages, true) => format!("{messages} messages of {of} were lost"),
                (messages, false) => format!("at least {messages} messages of {of} were lost"),
            });
        }
        let left_out = losses.iter().filter(|loss| LEFT_OUT.iter().any(|reason| loss.reason.starts_with(reason)));
        let left_out = left_out.filter_map(|loss| Some((loss.topic.as_deref().filter(|topic| names.contains(topic))?, &loss.reason)));
        why.extend(left_out.collect::<BTreeSet<_>>().into_iter().take(REASONS_LIMIT).map(|(topic, reason)| format!("{topic}: {reason}")));
        let late = names.iter().filter_map(|topic| self.late.get_key_value(*topic));
        why.extend(late.map(|(topic, count)| format!("{count} messages of {topic} were logged later than their times say")));
        for topic in program.latched() {
            if self.latched.get(topic).is_none_or(|first_ns| *first_ns > self.start_ns) {
                why.push(format!("the value that {topic} had at the start was not recorded"));
            }
        }
        if machine.counts().unreadable > 0 {
            why.push(format!("{} messages could not be read", machine.counts().unreadable));
        }
        why.extend(program.states().iter().map(|state| format!("the device state {state} is in no recording: it counts as not set")));
        why
    }
}

/// Returns which of the rules name a topic, and what its messages are to them.
fn feeds(machines: &[Machine], topic: &Topic) -> Feeds {
    machines.iter().enumerate().filter_map(|(place, machine)| Some((place, machine.feed(topic)?))).collect()
}
