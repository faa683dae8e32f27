//! One expectation, and how the topics it is about are doing.
//!
//! **Invariant:** counters and a time go in, what began and what ended comes out; nothing here asks the clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use recording::{Timestamp, time};

use super::{ExpectationState, ExpectationStatus, Gaps, LISTED_LIMIT, News, Violated, messages};
use crate::config::{ExpectConfig, Rate};
use crate::tape::channel::Channel;

/// How many topics one expectation watches.
const TOPIC_LIMIT: usize = 1000;
/// How long all must be well before a violation has ended; at least three times the gap that is allowed.
const CALM_NS: i64 = time::SECOND_NS;

/// How far two looks may be apart, and so a message's log time from the look that finds it.
const LOOKS_NS: i64 = 500_000_000;

/// What time it is.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub(super) utc_ns: Timestamp,
    /// A time that is never set.
    pub(super) steady_ns: i64,
    /// Whether times before cannot be compared with it: the clock was set.
    pub(super) is_new_time: bool,
}

/// One expectation.
pub(super) struct Check {
    config: ExpectConfig,
    expected: String,
    since_ns: Timestamp,
    /// The same by the time that is never set.
    began_ns: i64,
    topics: BTreeMap<String, Watched>,
    /// Topics that are required and did not come.
    missing: BTreeMap<String, Timestamp>,
    violations: u64,
    /// Whether it was past its grace at some look.
    is_past_grace: bool,
}

/// One topic.
#[derive(Default)]
struct Watched {
    channels: Vec<Arc<Channel>>,
    /// From when on silence counts.
    from_ns: Timestamp,
    /// How many messages there were at the last look, and when a look found more. Log times do not tell that: those of some programs
    /// are late.
    count: u64,
    heard_ns: Timestamp,
    window: Option<Window>,
    /// Whether there ever was enough to tell its rate.
    rate_judged: bool,
    rate: Option<Trouble>,
    gap: Option<Trouble>,
}

/// Counts messages for a while.
struct Window {
    start_ns: Timestamp,
    messages: u64,
}

/// A violation that has not ended.
struct Trouble {
    since_ns: Timestamp,
    last_bad_ns: Timestamp,
    /// The longest gap in ns, or the rate that is furthest off.
    worst: f64,
}

type Told = (String, String, News);

impl Check {
    pub(super) fn new(config: ExpectConfig, now: Now) -> Self {
        Self {
            expected: config.text(),
            config,
            since_ns: now.utc_ns,
            began_ns: now.steady_ns,
            topics: BTreeMap::new(),
            missing: BTreeMap::new(),
            violations: 0,
            is_past_grace: false,
        }
    }

    /// Takes up channels that it did not know.
    pub(super) fn meet(&mut self, channels: &[Arc<Channel>], now_ns: Timestamp) {
        for channel in channels {
            let name = &channel.topic().name;
            let full = self.topics.len() >= TOPIC_LIMIT && !self.topics.contains_key(name);
            if full || !self.config.topics.matches(name) {
                continue;
            }
            let watched = self.topics.entry(name.clone()).or_insert_with(|| Watched { from_ns: now_ns, ..Watched::default() });
            if !watched.channels.iter().any(|known| known.id() == channel.id()) {
                watched.channels.push(channel.clone());
                watched.channels.sort_by_key(|channel| channel.id());
            }
        }
    }

    /// Looks at everything, and returns what began and what ended. `finally` also judges what is still being counted.
    pub(super) fn look(&mut self, now: Now, gaps: &Gaps, finally: bool) -> Vec<Told> {
        let passed_ns = now.steady_ns.saturating_sub(self.began_ns);
        if now.is_new_time {
            self.since_ns = now.utc_ns.saturating_sub(passed_ns);
        }
        let judges = passed_ns >= self.config.grace_ns;
        self.is_past_grace |= judges;
        let mut news = Vec::new();
        for (topic, watched) in &mut self.topics {
            if let Some(max_gap_ns) = self.config.max_gap_ns {
                watched.look_at_gap(topic, max_gap_ns, now, gaps, judges, &mut news);
            }
            if let Some(rate) = self.config.rate {
                watched.look_at_rate(topic, rate, now, judges, &mut news);
                if finally && judges && !now.is_new_time {
                    watched.judge_open_window(topic, rate, now, &mut news);
                }
            }
        }
        if judges || finally {
            self.look_for_missing(now.utc_ns, &mut news);
        }
        self.violations += news.iter().filter(|news| matches!(news, News::Began(_))).count() as u64;
        news.into_iter().map(|news| (self.config.name.clone(), self.expected.clone(), news)).collect()
    }

    /// Ends everything that is violated.
    pub(super) fn end(&mut self, now_ns: Timestamp) -> Vec<Told> {
        let violated = self.violated();
        for watched in self.topics.values_mut() {
            (watched.gap, watched.rate) = (None, None);
        }
        self.missing.clear();
        let told = |violated| {
            let news = News::Ended { violated, end_ns: now_ns, cut_off: true };
            (self.config.name.clone(), self.expected.clone(), news)
        };
        violated.into_iter().map(told).collect()
    }

    pub(super) fn status(&self) -> ExpectationStatus {
        let mut violated = self.violated();
        let seen = self.topics.values().any(|watched| messages(&watched.channels) > 0);
        let state = match violated.is_empty() {
            false => ExpectationState::Violated,
            true if seen => ExpectationState::Ok,
            true => ExpectationState::NeverSeen,
        };
        let since_ns = violated.iter().map(|violated| violated.since_ns).min();
        violated.truncate(LISTED_LIMIT);
        ExpectationStatus {
            name: self.config.name.clone(),
            topics: self.config.topics.patterns(),
            expected: self.expected.clone(),
            state,
            since_ns,
            violated,
            violations: self.violations,
            judged: self.is_judged(),
        }
    }

    /// Returns whether what came could be compared with what is expected; what did not come is a matter of `required` alone.
    fn is_judged(&self) -> bool {
        let mut came = self.topics.values().filter(|watched| messages(&watched.channels) > 0).peekable();
        let counted = self.config.rate.is_none() || came.peek().is_none() || came.any(|watched| watched.rate_judged);
        let compares = self.config.rate.is_some() || self.config.max_gap_ns.is_some();
        !compares || self.is_past_grace && counted
    }

    fn violated(&self) -> Vec<Violated> {
        let of_topics = self.topics.iter().flat_map(|(topic, watched)| {
            let gap = watched.gap.as_ref().map(|gap| gap.violated(topic, "max_gap"));
            let rate = watched.rate.as_ref().map(|rate| rate.violated(topic, "rate"));
            gap.into_iter().chain(rate)
        });
        of_topics.chain(self.missing.iter().map(|(topic, since_ns)| missing(topic, *since_ns))).collect()
    }

    /// Looks for topics that are required and did not come: each that is named, or any that fits a pattern.
    fn look_for_missing(&mut self, now_ns: Timestamp, news: &mut Vec<News>) {
        if !self.config.required {
            return;
        }
        let came = |topic: &str| self.topics.get(topic).is_some_and(|watched| messages(&watched.channels) > 0);
        let any = self.topics.keys().any(|topic| came(topic));
        let names: Vec<&str> = self.config.topics.names().collect();
        let all = self.config.topics.patterns().join(" ");
        let wanted: Vec<(&str, bool)> =
            if names.is_empty() { vec![(&all, any)] } else { names.into_iter().map(|name| (name, came(name))).collect() };
        for (topic, came) in wanted {
            match (came, self.missing.contains_key(topic)) {
                (false, false) => {
                    self.missing.insert(topic.to_owned(), self.since_ns);
                    news.push(News::Began(missing(topic, self.since_ns)));
                }
                (true, true) => {
                    let since_ns = self.missing.remove(topic).unwrap_or(now_ns);
                    news.push(News::Ended { violated: missing(topic, since_ns), end_ns: now_ns, cut_off: false });
                }
                _ => {}
            }
        }
    }
}

fn missing(topic: &str, since_ns: Timestamp) -> Violated {
    Violated { topic: topic.to_owned(), what: "required".into(), since_ns, seen: "it did not come".into() }
}

impl Watched {
    fn look_at_gap(&mut self, topic: &str, max_gap_ns: i64, now: Now, gaps: &Gaps, judges: bool, news: &mut Vec<News>) {
        let recent = self.channels.iter().filter_map(|channel| gaps.get(&channel.id()).copied()).max();
        let Some(last_ns) = self.channels.iter().filter_map(|channel| channel.traffic.pulse.last_ns()).max() else { return };
        let count = messages(&self.channels);
        if count != std::mem::replace(&mut self.count, count) || now.is_new_time || !judges {
            self.heard_ns = now.utc_ns;
        }
        if now.is_new_time || !judges {
            self.from_ns = now.utc_ns;
            return;
        }
        // Of several channels of one topic only the silence of all is one.
        let ended = recent.filter(|(length_ns, end_ns)| {
            self.channels.len() == 1 && *length_ns > max_gap_ns && end_ns.saturating_sub(*length_ns) >= self.from_ns
        });
        let is_heard = (0..LOOKS_NS).contains(&self.heard_ns.saturating_sub(last_ns)) && last_ns >= self.from_ns;
        let silent_ns = now.utc_ns.saturating_sub(if is_heard { last_ns } else { self.heard_ns });
        let lasting = (silent_ns > max_gap_ns).then_some((silent_ns, now.utc_ns));
        for (length_ns, end_ns) in ended.into_iter().chain(lasting) {
            let bad = |began_ns: Timestamp| Trouble { since_ns: began_ns, last_bad_ns: end_ns, worst: length_ns as f64 };
            match &mut self.gap {
                Some(trouble) => {
                    trouble.last_bad_ns = trouble.last_bad_ns.max(end_ns);
                    trouble.worst = trouble.worst.max(length_ns as f64);
                }
                None => {
                    let trouble = self.gap.insert(bad(end_ns.saturating_sub(length_ns)));
                    news.push(News::Began(trouble.violated(topic, "max_gap")));
                }
            }
        }
        let calm_ns = max_gap_ns.saturating_mul(3).max(CALM_NS);
        if let Some(trouble) = self.gap.take_if(|trouble| now.utc_ns.saturating_sub(trouble.last_bad_ns) >= calm_ns) {
            // Until a message came the silence lasted; the looks at it came a little earlier.
            let end_ns = trouble.last_bad_ns;
            news.push(News::Ended { violated: trouble.violated(topic, "max_gap"), end_ns, cut_off: false });
        }
    }

    fn look_at_rate(&mut self, topic: &str, rate: Rate, now: Now, judges: bool, news: &mut Vec<News>) {
        let count = messages(&self.channels);
        let fresh = Window { start_ns: now.utc_ns, messages: count };
        let Some(window) = self.window.as_mut().filter(|_| judges && !now.is_new_time) else {
            // Counting begins with the first message.
            self.window = (count > 0).then_some(fresh);
            return;
        };
        let passed_ns = now.utc_ns.saturating_sub(window.start_ns);
        if passed_ns < rate.window_ns() {
            return;
        }
        let hz = count.saturating_sub(window.messages) as f64 / (passed_ns as f64 / 1e9);
        let start_ns = std::mem::replace(window, fresh).start_ns;
        self.rate_judged = true;
        if !rate.allows(hz) {
            self.is_off(topic, rate, hz, (start_ns, now.utc_ns), news);
        } else if let Some(trouble) = self.rate.take() {
            news.push(News::Ended { violated: trouble.violated(topic, "rate"), end_ns: start_ns, cut_off: false });
        }
    }

    /// Judges a window that will not be full, where one message more or less than there should be does not matter.
    fn judge_open_window(&mut self, topic: &str, rate: Rate, now: Now, news: &mut Vec<News>) {
        let Some(window) = &self.window else { return };
        let seconds = now.utc_ns.saturating_sub(window.start_ns) as f64 / 1e9;
        if seconds <= 0.0 {
            return;
        }
        let count = messages(&self.channels).saturating_sub(window.messages) as f64;
        let allows = |count: f64| {
            let (least, most) = ((count - 1.0).max(0.0) / seconds, (count + 1.0) / seconds);
            let nearest = match rate {
                Rate::About { hz, .. } => hz.clamp(least, most),
                Rate::AtLeast(_) => most,
                Rate::AtMost(_) => least,
            };
            rate.allows(nearest)
        };
        // Where even silence would pass, it is too short to say anything.
        self.rate_judged |= !allows(0.0) || matches!(rate, Rate::AtMost(_));
        if !allows(count) {
            let start_ns = window.start_ns;
            self.is_off(topic, rate, count / seconds, (start_ns, now.utc_ns), news);
        }
    }

    /// Takes note of a rate that is not as expected, from a first to a last moment.
    fn is_off(&mut self, topic: &str, rate: Rate, hz: f64, (start_ns, end_ns): (Timestamp, Timestamp), news: &mut Vec<News>) {
        let off = |hz: f64| match rate {
            Rate::About { hz: wanted, .. } | Rate::AtLeast(wanted) | Rate::AtMost(wanted) => (hz - wanted).abs(),
        };
        match &mut self.rate {
            Some(trouble) => {
                trouble.last_bad_ns = end_ns;
                trouble.worst = if off(hz) > off(trouble.worst) { hz } else { trouble.worst };
            }
            None => {
                let trouble = self.rate.insert(Trouble { since_ns: start_ns, last_bad_ns: end_ns, worst: hz });
                news.push(News::Began(trouble.violated(topic, "rate")));
            }
        }
    }
}

impl Trouble {
    fn violated(&self, topic: &str, what: &str) -> Violated {
        let seen = match what {
            "rate" => format!("it came at {:.4} Hz", self.worst).replace(".0000", ""),
            _ => format!("nothing came for {}", time::format_duration(self.worst as i64)),
        };
        Violated { topic: topic.to_owned(), what: what.to_owned(), since_ns: self.since_ns, seen }
    }
}
