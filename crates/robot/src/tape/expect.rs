//! Whether topics come as they are expected to: how often, without gaps, at all.
//!
//! In come the counters of channels, ten times a second; out go events, losses and what the status says. What is not as expected begins
//! once and ends once: it ends when all was well for a while.
//!
//! **Invariant:** judging costs messages nothing; a violation that ended, or was cut off by the end of the recorder, is among the losses.

mod check;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use recording::{Loss, Timestamp, time};
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::check::{Check, Now};
use super::Inner;
use super::channel::Channel;
use crate::config::Config;

/// How far the wall clock may go another way than the steady one between two looks, before times before it are not compared any more.
const CLOCK_STEP_NS: u64 = 500_000_000;
/// How many violations of one expectation are listed in the status.
const LISTED_LIMIT: usize = 20;

/// How an expectation is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpectationStatus {
    /// Its name.
    pub name: String,
    /// Its topics.
    pub topics: Vec<String>,
    /// What is expected, in words.
    pub expected: String,
    /// How it is doing.
    pub state: ExpectationState,
    /// Since when it is violated; ns UTC.
    pub since_ns: Option<Timestamp>,
    /// What violates it now; the first of them.
    pub violated: Vec<Violated>,
    /// How often it was violated, by all of its topics, since the recorder began or the configuration changed.
    pub violations: u64,
    /// Whether what came could be compared with it: not before the grace is over, nor before there was enough to tell a rate.
    #[serde(default)]
    pub judged: bool,
}

/// How an expectation is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpectationState {
    /// As expected.
    Ok,
    /// Not as expected.
    Violated,
    /// None of its topics came yet.
    NeverSeen,
}

/// What violates an expectation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Violated {
    /// The topic.
    pub topic: String,
    /// What of the expectation: `rate`, `max_gap` or `required`.
    pub what: String,
    /// Since when; ns UTC.
    pub since_ns: Timestamp,
    /// What was seen instead, in words.
    pub seen: String,
}

impl ExpectationStatus {
    /// Returns whether it was not met at some time, or does not seem to be.
    pub fn has_failed(&self) -> bool {
        self.violations > 0 || self.state == ExpectationState::Violated
    }
}

/// All expectations of a tape.
#[derive(Default)]
pub(super) struct Expectations {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    config: Option<Arc<Config>>,
    checks: Vec<Check>,
    /// How many definitions of channels there were when they were looked through.
    known: usize,
    /// The channels that some check is about.
    watched: Vec<Arc<Channel>>,
    /// Whether the recorder ends, and nothing is judged any more.
    ended: bool,
    /// UTC minus monotonic time at the last look.
    offset_ns: Option<i64>,
}

/// The longest gaps of channels since the last look, with their ends.
type Gaps = HashMap<u16, (i64, Timestamp)>;

/// What happened to an expectation.
enum News {
    Began(Violated),
    Ended { violated: Violated, end_ns: Timestamp, cut_off: bool },
}

impl Inner {
    /// Compares what came with what is expected. What is required and did not come is missing after its time, or `finally`.
    pub(super) fn check_expectations(&self, finally: bool) {
        let config = self.config.load_full();
        let mut state = self.expectations.state.lock();
        if state.ended || config.expectations.is_empty() && state.checks.is_empty() {
            return;
        }
        let mut now = self.expectation_time(&mut state);
        let mut news: Vec<(String, String, News)> = Vec::new();
        if !state.config.as_ref().is_some_and(|known| known.expectations == config.expectations) {
            news.extend(state.checks.iter_mut().flat_map(|check| check.end(now.utc_ns)));
            state.checks = config.expectations.iter().map(|expect| Check::new(expect.clone(), now)).collect();
            state.config = Some(config.clone());
            state.known = 0;
            state.watched.clear();
            now.is_new_time = true;
        }
        let known = self.channels.read().definitions.len();
        if known != state.known {
            state.known = known;
            let mut channels: Vec<Arc<Channel>> = self.channels.read().by_topic.values().flatten().cloned().collect();
            state.checks.iter_mut().for_each(|check| check.meet(&channels, now.utc_ns));
            channels.retain(|channel| config.expectations.iter().any(|expect| expect.topics.matches(&channel.spec.topic)));
            state.watched = channels;
        }
        // A channel tells its gap once, and several checks may be about it.
        let gap = |channel: &Arc<Channel>| Some((channel.id(), channel.traffic.pulse.take_recent_gap()?));
        let gaps: Gaps = state.watched.iter().filter_map(gap).collect();
        news.extend(state.checks.iter_mut().flat_map(|check| check.look(now, &gaps, finally)));
        drop(state);
        self.tell_expectations(news);
    }

    /// Ends what is violated, because the recorder ends; it still takes messages.
    pub(super) fn end_expectations(&self) {
        self.check_expectations(false);
        let now_ns = self.clock.utc_ns();
        let news: Vec<_> = {
            let mut state = self.expectations.state.lock();
            state.ended = true;
            state.checks.iter_mut().flat_map(|check| check.end(now_ns)).collect()
        };
        if !news.is_empty() {
            self.tell_expectations(news);
            self.tell_losses();
        }
    }

    /// Returns how every expectation is doing.
    pub(crate) fn expectation_status(&self) -> Vec<ExpectationStatus> {
        self.expectations.state.lock().checks.iter().map(Check::status).collect()
    }

    /// Returns what time it is, and whether what was before can be compared with it.
    fn expectation_time(&self, state: &mut State) -> Now {
        let (utc_ns, monotonic_ns) = (self.clock.utc_ns(), self.clock.monotonic_ns());
        let offset_ns = utc_ns.saturating_sub(monotonic_ns);
        let stepped = state.offset_ns.replace(offset_ns).is_some_and(|before_ns| offset_ns.abs_diff(before_ns) > CLOCK_STEP_NS);
        // The clock of a file goes as fast as the file is played.
        let steady_ns = if self.clock.is_file() { utc_ns } else { monotonic_ns };
        Now { utc_ns, steady_ns, is_new_time: stepped && !self.clock.is_file() }
    }

    fn tell_expectations(&self, news: Vec<(String, String, News)>) {
        for (name, expected, news) in news {
            let (violated, end_ns) = match &news {
                News::Began(violated) => (violated, None),
                News::Ended { violated, end_ns, .. } => (violated, Some(*end_ns)),
            };
            let Violated { topic, what, since_ns, seen } = violated;
            let detail = json!({
                "expectation": name, "topic": topic, "what": what, "expected": expected, "seen": seen, "start_ns": since_ns, "end_ns": end_ns,
            });
            match news {
                News::Began(_) => {
                    let message = format!("'{topic}' is not as expected ({expected}): {seen}");
                    self.write_event("expectation_violated", &message, detail);
                }
                News::Ended { cut_off, .. } => {
                    let lasted = time::format_duration(end_ns.unwrap_or(*since_ns).saturating_sub(*since_ns));
                    let message = if cut_off {
                        format!("'{topic}' was not as expected for {lasted}, when the recorder ended: {seen}")
                    } else {
                        format!("'{topic}' is as expected again, after {lasted}: {seen}")
                    };
                    self.write_event("expectation_met", &message, detail);
                    self.losses.pass_on(Loss {
                        topic: Some(topic.clone()),
                        start_ns: Some(*since_ns),
                        end_ns,
                        messages: None,
                        bytes: None,
                        reason: format!("expected: {expected}; {seen}"),
                    });
                }
            }
        }
    }
}

/// Returns how many messages came on channels.
fn messages(channels: &[Arc<Channel>]) -> u64 {
    channels.iter().map(|channel| channel.traffic.messages.load(Ordering::Relaxed)).sum()
}
