//! When a rule fires: its condition over time.
//!
//! In come messages, device states and times, in order; out come firings. The times are those of a clock that is never set: live the
//! monotonic one, over history the log times.
//!
//! **Invariant:** the same messages at the same times give the same firings, whoever feeds them.

use std::collections::VecDeque;

use recording::Topic;

use crate::compile::{Feed, Program};
use crate::evaluate::Moment;
use crate::rule::{Rule, Trigger};
use crate::signals::Signals;
use crate::value::Held;

/// How far the times are apart at which conditions are looked at without any message: all multiples of it.
pub const TICK_NS: i64 = 100_000_000;

/// A rule that runs.
#[derive(Debug)]
pub struct Machine {
    program: Program,
    signals: Signals,
    states: Vec<bool>,
    trigger: Trigger,
    hold_ns: i64,
    cooldown_ns: i64,
    /// How many firings there may be in which time.
    cap: Option<(usize, i64)>,
    seed: u64,
    now_ns: i64,
    next_tick_ns: i64,
    /// Since when the condition is true.
    since_ns: Option<i64>,
    /// When what is true may fire, unless it has.
    due_ns: Option<i64>,
    cooldown_until_ns: Option<i64>,
    /// When it fired last, as often as the cap lets it.
    fired_ns: VecDeque<i64>,
    counts: Counts,
}

/// How often it did not fire, and why; and what could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Because it had fired a short while ago.
    pub in_cooldown: u64,
    /// Because it had fired too often.
    pub over_cap: u64,
    /// Messages that could not be read.
    pub unreadable: u64,
}

/// That a rule fired.
#[derive(Clone, Debug, PartialEq)]
pub struct Firing {
    /// When.
    pub time_ns: i64,
    /// What the condition names, and what it was.
    pub values: Vec<(String, Held)>,
}

impl Machine {
    /// Returns a rule that has seen nothing; messages are waited for from `start_ns` on.
    pub fn new(rule: &Rule, program: Program, start_ns: i64) -> Self {
        Self {
            signals: Signals::new(&program, rule.max_age_ns, start_ns),
            states: vec![false; program.states.len()],
            trigger: rule.trigger,
            hold_ns: rule.hold_ns,
            cooldown_ns: rule.cooldown_ns,
            cap: rule.cap.map(|cap| (cap.firings, cap.window_ns)),
            seed: rule.name.bytes().fold(0xcbf2_9ce4_8422_2325, |seed, byte| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)),
            now_ns: start_ns,
            next_tick_ns: tick_behind(start_ns),
            since_ns: None,
            due_ns: None,
            cooldown_until_ns: None,
            fired_ns: VecDeque::new(),
            counts: Counts::default(),
            program,
        }
    }

    /// Returns its condition.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Returns whether the condition was true when it was looked at last.
    pub fn is_true(&self) -> bool {
        self.since_ns.is_some()
    }

    /// Returns how often it did not fire, and why.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns what messages of a topic are to it, if they are anything.
    pub fn feed(&self, topic: &Topic) -> Option<Feed> {
        self.program.feed(topic)
    }

    /// Lets the time come to `now_ns`: what has been true for long enough fires, and at each tick the condition is looked at. A time
    /// before the last one counts as that.
    #[inline]
    pub fn advance(&mut self, now_ns: i64, fired: &mut Vec<Firing>) {
        while let Some(next_ns) = self.next_ns(now_ns) {
            self.now_ns = next_ns;
            // What was true until now has been true long enough, whatever the tick brings.
            self.settle(fired);
            if self.next_tick_ns == next_ns {
                self.next_tick_ns = next_ns.saturating_add(TICK_NS);
                self.signals.tick();
                self.look(fired);
            }
        }
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// Takes a message of a topic that it names, and looks at the condition.
    #[inline]
    pub fn message(&mut self, feed: Feed, payload: &[u8], now_ns: i64, fired: &mut Vec<Firing>) {
        self.advance(now_ns, fired);
        self.take(feed, payload, self.now_ns);
        self.look(fired);
    }

    /// Takes a message from before the start, a latched one: its value counts from now on.
    pub fn preset(&mut self, feed: Feed, payload: &[u8], time_ns: i64) {
        self.take(feed, payload, time_ns);
    }

    /// Sets a device state, and looks at the condition; one that it does not name is no matter.
    pub fn state(&mut self, name: &str, is_set: bool, now_ns: i64, fired: &mut Vec<Firing>) {
        self.advance(now_ns, fired);
        if let Some(place) = self.program.states.iter().position(|state| state == name) {
            self.states[place] = is_set;
            self.look(fired);
        }
    }

    /// Begins again behind a time in which nobody recorded: values but those of latched topics are forgotten, and whether the condition
    /// was true. Cooldown and cap go on.
    pub fn restart(&mut self, now_ns: i64) {
        self.now_ns = self.now_ns.max(now_ns);
        self.next_tick_ns = tick_behind(self.now_ns);
        (self.since_ns, self.due_ns) = (None, None);
        self.signals.restart(self.now_ns);
    }

    fn take(&mut self, feed: Feed, payload: &[u8], time_ns: i64) {
        if self.signals.take(&self.program, feed, payload, time_ns).is_err() {
            self.counts.unreadable += 1;
        }
    }

    /// Returns when something is to be done next, up to `until_ns`.
    #[inline]
    fn next_ns(&self, until_ns: i64) -> Option<i64> {
        let next_ns = self.due_ns.map_or(self.next_tick_ns, |due_ns| due_ns.min(self.next_tick_ns));
        (next_ns <= until_ns && next_ns < i64::MAX).then_some(next_ns)
    }

    fn moment(&self) -> Moment<'_> {
        let Self { program, signals, states, now_ns, seed, .. } = self;
        Moment { program, signals, states, now_ns: *now_ns, seed: *seed, element: 0 }
    }

    /// Looks at the condition.
    #[inline]
    fn look(&mut self, fired: &mut Vec<Firing>) {
        match self.moment().is_true() {
            false => (self.since_ns, self.due_ns) = (None, None),
            true if self.since_ns.is_none() => {
                self.since_ns = Some(self.now_ns);
                self.due_ns = Some(self.now_ns.saturating_add(self.hold_ns));
                self.settle(fired);
            }
            true => {}
        }
    }

    /// Fires what has become due.
    #[inline]
    fn settle(&mut self, fired: &mut Vec<Firing>) {
        if self.due_ns.is_some_and(|due_ns| due_ns <= self.now_ns) {
            self.due(fired);
        }
    }

    fn due(&mut self, fired: &mut Vec<Firing>) {
        let again_ns = match self.trigger {
            Trigger::Edge => None,
            Trigger::Level => Some(self.now_ns.saturating_add(self.cooldown_ns)),
        };
        if let Some(until_ns) = self.cooldown_until_ns.filter(|until_ns| *until_ns > self.now_ns) {
            self.counts.in_cooldown += 1;
            self.due_ns = again_ns.map(|_| until_ns);
            return;
        }
        self.due_ns = again_ns;
        if let Some((firings, window_ns)) = self.cap {
            while self.fired_ns.front().is_some_and(|first_ns| self.now_ns.saturating_sub(*first_ns) >= window_ns) {
                self.fired_ns.pop_front();
            }
            if self.fired_ns.len() >= firings {
                self.counts.over_cap += 1;
                return;
            }
            self.fired_ns.push_back(self.now_ns);
        }
        self.cooldown_until_ns = Some(self.now_ns.saturating_add(self.cooldown_ns));
        fired.push(Firing { time_ns: self.now_ns, values: self.values() });
    }

    /// Returns what the condition names, and what it is.
    fn values(&self) -> Vec<(String, Held)> {
        let Self { program, signals, now_ns, .. } = self;
        let fields = program.signals.iter().enumerate().filter(|(_, signal)| signal.element.is_none());
        let fields = fields.map(|(place, signal)| (signal.reference.to_string(), signals.value(place, *now_ns).into()));
        let rates = program.rates.iter().enumerate();
        let rates = rates.map(|(place, (topic, _))| (format!("rate({})", program.watched[*topic].name), signals.rate(place).into()));
        let ages = program.watched.iter().enumerate().filter(|(_, topic)| topic.is_aged);
        let ages = ages.map(|(place, topic)| (format!("age({})", topic.name), signals.age(place, *now_ns).into()));
        fields.chain(rates).chain(ages).collect()
    }
}

/// Returns the first tick behind a time.
fn tick_behind(time_ns: i64) -> i64 {
    time_ns.div_euclid(TICK_NS).saturating_add(1).saturating_mul(TICK_NS)
}

#[cfg(test)]
mod tests;
