//! What is known of topics: the latest values of the fields that a condition names, how old they are, and how often messages come.
//!
//! In come messages and times, out come values.
//!
//! **Invariant:** taking a message allocates nothing once texts and lists were as long before.

use recording::Result;

use crate::collect::Cells;
use crate::compile::{Feed, Program};
use crate::machine::TICK_NS;
use crate::value::{Held, Value};

/// Over which time `rate` counts where nothing is said.
pub(crate) const RATE_WINDOW_NS: i64 = 2_000_000_000;

/// Over how many ticks `rate` may count.
const RATE_TICKS_LIMIT: i64 = 600;

/// Says what is wrong with a window of `rate`.
///
/// # Errors
/// What windows there are.
pub(crate) fn check_window(window_ns: i64) -> std::result::Result<(), String> {
    match window_ns % TICK_NS == 0 && (TICK_NS..=TICK_NS * RATE_TICKS_LIMIT).contains(&window_ns) {
        true => Ok(()),
        false => Err("rate counts over 100ms to 60s, in steps of 100ms".to_owned()),
    }
}

/// The latest values.
#[derive(Debug)]
pub(crate) struct Signals {
    /// When each watched topic came last.
    last_ns: Vec<Option<i64>>,
    /// How many ns a topic's values count; of latched ones for ever.
    max_age_ns: Vec<i64>,
    slots: Vec<Slot>,
    rates: Vec<Rate>,
    scratch: Cells,
    /// Since when messages are waited for.
    start_ns: i64,
}

/// A field's values.
#[derive(Debug, Default)]
struct Slot {
    topic: usize,
    is_list: bool,
    keeps_previous: bool,
    now: Held,
    before: Held,
    /// Whether there was a message before the last one.
    has_before: bool,
    has_now: bool,
    list: Cells,
}

/// Counts messages from tick to tick.
#[derive(Debug)]
struct Rate {
    topic: usize,
    /// How many came between ticks, the last of them at `next - 1`.
    counts: Box<[u32]>,
    next: usize,
    /// How many ticks were counted since the start, up to all.
    filled: usize,
    sum: u64,
    current: u32,
    /// Whether what is being counted began behind a tick, and so is no whole step.
    is_part: bool,
}

impl Signals {
    pub(crate) fn new(program: &Program, max_age_ns: i64, start_ns: i64) -> Self {
        let slot = |signal: &crate::compile::Signal| Slot {
            topic: signal.topic,
            is_list: signal.element.is_some(),
            keeps_previous: signal.keeps_previous,
            ..Slot::default()
        };
        let rate = |(topic, window_ns): &(usize, i64)| Rate {
            topic: *topic,
            counts: vec![0; (window_ns / TICK_NS).clamp(1, RATE_TICKS_LIMIT) as usize].into(),
            next: 0,
            filled: 0,
            sum: 0,
            current: 0,
            is_part: false,
        };
        let mut signals = Self {
            last_ns: vec![None; program.watched.len()],
            max_age_ns: program.watched.iter().map(|topic| if topic.latched { i64::MAX } else { max_age_ns }).collect(),
            slots: program.signals.iter().map(slot).collect(),
            rates: program.rates.iter().map(rate).collect(),
            scratch: Cells::default(),
            start_ns,
        };
        signals.restart(start_ns);
        signals
    }

    /// Forgets everything but the values of latched topics.
    pub(crate) fn restart(&mut self, start_ns: i64) {
        self.start_ns = start_ns;
        for (last_ns, max_age_ns) in self.last_ns.iter_mut().zip(&self.max_age_ns) {
            if *max_age_ns != i64::MAX {
                *last_ns = None;
            }
        }
        for slot in &mut self.slots {
            if self.last_ns[slot.topic].is_none() {
                (slot.has_now, slot.has_before) = (false, false);
            }
        }
        for rate in &mut self.rates {
            rate.counts.fill(0);
            (rate.next, rate.filled, rate.sum, rate.current) = (0, 0, 0, 0);
            rate.is_part = start_ns.rem_euclid(TICK_NS) != 0;
        }
    }

    /// Takes a message.
    ///
    /// # Errors
    /// The first of what went wrong; what could not be read is null.
    #[inline]
    pub(crate) fn take(&mut self, program: &Program, feed: Feed, payload: &[u8], now_ns: i64) -> Result<()> {
        let Some(reads) = program.feeds.get(feed.0) else { return Ok(()) };
        self.last_ns[reads.watched] = Some(now_ns);
        for rate in self.rates.iter_mut().filter(|rate| rate.topic == reads.watched) {
            rate.current = rate.current.saturating_add(1);
        }
        let mut outcome = Ok(());
        for (signal, reader) in &reads.readers {
            let slot = &mut self.slots[*signal];
            if slot.keeps_previous {
                std::mem::swap(&mut slot.now, &mut slot.before);
                slot.has_before = slot.has_now;
            }
            slot.has_now = true;
            let read = match slot.is_list {
                false => reader.one(payload, &mut slot.now, &mut self.scratch),
                true => reader.all(payload, &mut slot.list),
            };
            if read.is_err() {
                slot.now.clear();
                slot.list.clear();
                outcome = outcome.and(read);
            }
        }
        outcome
    }

    /// Notes that a tick has come.
    pub(crate) fn tick(&mut self) {
        for rate in &mut self.rates {
            let count = std::mem::take(&mut rate.current);
            if std::mem::take(&mut rate.is_part) {
                continue;
            }
            let oldest = std::mem::replace(&mut rate.counts[rate.next], count);
            rate.sum = rate.sum + u64::from(count) - u64::from(oldest);
            rate.next = (rate.next + 1) % rate.counts.len();
            rate.filled = (rate.filled + 1).min(rate.counts.len());
        }
    }

    fn is_fresh(&self, topic: usize, now_ns: i64) -> bool {
        self.last_ns[topic].is_some_and(|last_ns| now_ns.saturating_sub(last_ns) <= self.max_age_ns[topic])
    }

    #[inline]
    pub(crate) fn value(&self, signal: usize, now_ns: i64) -> Value<'_> {
        let slot = &self.slots[signal];
        match self.is_fresh(slot.topic, now_ns) {
            true => slot.now.get(),
            false => Value::Null,
        }
    }

    /// Returns a field's last two values, if there are two.
    pub(crate) fn last_two(&self, signal: usize, now_ns: i64) -> Option<(Value<'_>, Value<'_>)> {
        let slot = &self.slots[signal];
        (slot.has_before && self.is_fresh(slot.topic, now_ns)).then(|| (slot.before.get(), slot.now.get()))
    }

    /// Returns the values of a list; `None` where there is none, or it is too old.
    pub(crate) fn list(&self, signal: usize, now_ns: i64) -> Option<&Cells> {
        let slot = &self.slots[signal];
        (slot.list.has_list() && self.is_fresh(slot.topic, now_ns)).then_some(&slot.list)
    }

    /// Returns how many messages per second come; null until it was counted for the whole window.
    pub(crate) fn rate(&self, rate: usize) -> Value<'static> {
        let rate = &self.rates[rate];
        match rate.filled == rate.counts.len() {
            true => Value::Float(rate.sum as f64 / (rate.counts.len() as f64 * TICK_NS as f64 / 1e9)),
            false => Value::Null,
        }
    }

    /// Returns for how many seconds a topic has not come, since it is waited for.
    pub(crate) fn age(&self, topic: usize, now_ns: i64) -> Value<'static> {
        Value::Float(now_ns.saturating_sub(self.last_ns[topic].unwrap_or(self.start_ns)) as f64 / 1e9)
    }
}
