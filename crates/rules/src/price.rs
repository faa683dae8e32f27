//! What rules cost: how much their firings would keep, and what that comes to.
//!
//! **Invariant:** a message that several firings of a rule want counts once.

use recording::read::Recording;
use recording::{Result, Span, TopicFilter};

use crate::replay::{Outcome, Replayed};
use crate::rule::Rule;

/// Of how many spans each is read by itself; beyond that all between the first and the last is read once.
const SPANS_LIMIT: usize = 64;

const DAY_NS: f64 = 86_400e9;
const DAYS_PER_MONTH: f64 = 30.0;
const GB: f64 = 1e9;

/// How many payload bytes rules would keep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// Of each rule, in their order.
    pub by_rule: Vec<u64>,
    /// Of all together: what several rules want counts once.
    pub all: u64,
    /// How many bytes of the files stand for a payload byte: compression makes it less than 1. That of all topics together.
    pub stored_per_byte: f64,
}

/// What keeping costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prices {
    /// How many bytes per second are sent.
    pub bandwidth: Option<f64>,
    /// What keeping a GB for a month costs.
    pub storage: Option<f64>,
    /// What sending a GB costs.
    pub transfer: Option<f64>,
}

/// What a rule comes to, at the rate at which it fired.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// How often it fires in a day of recording.
    pub firings_per_day: f64,
    /// How many bytes it keeps of a day.
    pub bytes_per_day: f64,
    /// How many hours sending those takes, where a bandwidth is given.
    pub upload_hours_per_day: Option<f64>,
    /// What a month's bytes cost, where any price is given: sending them, and keeping them for a month.
    pub cost_per_month: Option<f64>,
}

impl Prices {
    /// Returns what so many firings and bytes come to; `None` where nothing was covered.
    pub fn of(&self, firings: u64, bytes: f64, covered_ns: i64) -> Option<Price> {
        let days = covered_ns as f64 / DAY_NS;
        if days <= 0.0 {
            return None;
        }
        let bytes_per_day = bytes / days;
        let price = [self.storage, self.transfer].into_iter().flatten().reduce(|one, other| one + other);
        Some(Price {
            firings_per_day: firings as f64 / days,
            bytes_per_day,
            upload_hours_per_day: self.bandwidth.map(|bandwidth| bytes_per_day / bandwidth / 3600.0),
            cost_per_month: price.map(|price| bytes_per_day * DAYS_PER_MONTH / GB * price),
        })
    }
}

/// Counts the payload bytes that firings would keep: of the topics that each rule keeps, from `before` to `after` around each firing.
///
/// # Errors
/// What reading answers.
pub fn bytes_kept(recording: &Recording, rules: &[Rule], outcome: &Outcome, span: Span) -> Result<Kept> {
    let mut windows: Vec<Windows<'_>> = rules.iter().zip(&outcome.rules).map(|(rule, one)| Windows::new(rule, one, span)).collect();
    let mut all: Vec<Span> = windows.iter().flat_map(|windows| windows.spans.iter().copied()).collect();
    all.sort_by_key(|span| span.start_ns);
    let mut all = joined(all);
    if all.len() > SPANS_LIMIT
        && let (Some(first), Some(last)) = (all.first().copied(), all.last().copied())
    {
        all = vec![Span::new(first.start_ns, last.end_ns)];
    }
    let stored = recording.cost(&TopicFilter::all(), span)?.bytes;
    let stored_per_byte = if stored == 0 || outcome.bytes == 0 { 1.0 } else { stored as f64 / outcome.bytes as f64 };
    let mut kept = Kept { by_rule: vec![0; rules.len()], all: 0, stored_per_byte };
    for span in all {
        for message in recording.messages(&TopicFilter::all(), span)? {
            let message = message?;
            let bytes = message.data.len() as u64;
            let mut is_kept = false;
            for (windows, sum) in windows.iter_mut().zip(&mut kept.by_rule) {
                if windows.has(message.log_time_ns) && windows.topics.matches(&message.topic.name) {
                    *sum += bytes;
                    is_kept = true;
                }
            }
            kept.all += if is_kept { bytes } else { 0 };
        }
    }
    Ok(kept)
}

/// The spans that a rule keeps, apart from each other and in order.
struct Windows<'r> {
    spans: Vec<Span>,
    topics: &'r TopicFilter,
    /// How many of them are over.
    past: usize,
}

impl<'r> Windows<'r> {
    fn new(rule: &'r Rule, replayed: &Replayed, whole: Span) -> Self {
        let around = replayed.firings.iter().filter_map(|firing| {
            let (start_ns, end_ns) = (firing.time_ns.saturating_sub(rule.before_ns), firing.time_ns.saturating_add(rule.after_ns));
            Span::new(start_ns, end_ns).intersect(whole)
        });
        Self { spans: joined(around.collect()), topics: &rule.topics, past: 0 }
    }

    /// Returns whether a time is in one of them; times never go back.
    fn has(&mut self, time_ns: i64) -> bool {
        while self.spans.get(self.past).is_some_and(|span| span.end_ns <= time_ns) {
            self.past += 1;
        }
        self.spans.get(self.past).is_some_and(|span| span.contains(time_ns))
    }
}

/// Joins spans that touch each other; they come in order of their starts.
fn joined(spans: Vec<Span>) -> Vec<Span> {
    let mut joined: Vec<Span> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.start_ns <= last.end_ns => last.end_ns = last.end_ns.max(span.end_ns),
            _ => joined.push(span),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_touch_are_one() {
        let spans = [(0, 5), (3, 4), (5, 7), (9, 10)].map(|(start_ns, end_ns)| Span::new(start_ns, end_ns));
        assert_eq!(joined(spans.to_vec()), [Span::new(0, 7), Span::new(9, 10)]);
    }

    #[test]
    fn a_price_is_that_of_a_day_and_a_month() {
        let prices = Prices { bandwidth: Some(1e6), storage: Some(0.02), transfer: Some(0.09) };
        let price = prices.of(3, 36e6, 3_600_000_000_000).unwrap();
        assert_eq!((price.firings_per_day, price.bytes_per_day), (72.0, 864e6));
        assert_eq!(price.upload_hours_per_day, Some(0.24));
        assert!((price.cost_per_month.unwrap() - 0.864 * 30.0 * 0.11).abs() < 1e-9);
        assert_eq!(Prices::default().of(3, 36e6, 0), None);
        assert_eq!(Prices::default().of(0, 0.0, 1).unwrap().cost_per_month, None);
    }
}
