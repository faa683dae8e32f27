//! Which segments a capture names, and what it misses: a decision, without doing it.
//!
//! For each topic and moment it takes the first listed buffer that still has it. Where a buffer has only some of a topic, because
//! the rest was evicted, was lost, or was in the memory of a recorder that has ended, it takes that, and what the next ones have.
//!
//! **Invariant:** whatever of the span is not in the plan is in `missing`, with a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use recording::manifest::{Kept, Manifest, SegmentRef, Selection};
use recording::{Loss, Span, TopicFilter, time};

use crate::config::{LATCHED_BUFFER, Place, RECORDER_BUFFER};
use crate::tape::segment::SegmentMeta;
use crate::tape::{BufferView, SUPERSEDED_NS, SegmentView, View};

/// How many missing stretches a report lists.
const MISSING_LIMIT: usize = 1_000;
/// How many stretches of a topic are looked at one by one in which something was lost.
const DOUBTS_LIMIT: usize = 100;
/// Silence between two openings of the tape that is not worth a word.
const GAP_NS: i64 = 200_000_000;

/// What a capture does.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) selections: Vec<Selection>,
    pub(crate) segments: Vec<SegmentRef>,
    pub(crate) metas: Vec<Arc<SegmentMeta>>,
    pub(crate) kept: BTreeMap<String, Vec<String>>,
    pub(crate) missing: Vec<Loss>,
}

/// Plans the capture of `span`; an open-ended one takes everything from its start. What was `promised` before stays in it, also where
/// the configuration would not choose it any more.
pub(crate) fn plan(view: &View, span: Span, open_ended: bool, filter: &TopicFilter, promised: &[Kept]) -> Plan {
    let span = if open_ended { Span::new(span.start_ns, i64::MAX) } else { span };
    let mut plan = Plan::default();
    let mut spans: BTreeMap<(usize, i64, i64), Vec<String>> = BTreeMap::new();
    let mut named: BTreeSet<(usize, usize)> = BTreeSet::new();
    let losses = losses_in(view, span);
    for topic in topics_in(view, span) {
        let doubtful = doubtful_spans(&losses, &topic);
        let mut rest = vec![span];
        for (at, buffer) in view.buffers.iter().enumerate() {
            let always = buffer.config.as_ref().is_some_and(|config| config.always);
            let is_promised =
                || promised.iter().any(|kept| *kept.topic == *topic && kept.buffers.iter().any(|name| **name == *buffer.name));
            if !filter.matches(&topic) && !always && !is_promised() {
                continue;
            }
            let holding = || buffer.segments.iter().enumerate().filter(|(_, segment)| segment.meta.holds(&topic));
            let Some(oldest_ns) = holding().map(|(_, segment)| segment.first_ns()).min() else { continue };
            for part in rest.iter().filter_map(|rest| rest.intersect(Span::new(oldest_ns, i64::MAX))) {
                let touching: Vec<usize> = holding().filter(|(_, segment)| segment.touches(part)).map(|(i, _)| i).collect();
                if touching.is_empty() {
                    continue;
                }
                spans.entry((at, part.start_ns, part.end_ns)).or_default().push(topic.to_string());
                let kept = plan.kept.entry(topic.to_string()).or_default();
                if kept.last().is_none_or(|last| **last != *buffer.name) {
                    kept.push(buffer.name.to_string());
                }
                plan.note_filtered(buffer, &topic, part);
                named.extend(touching.into_iter().map(|i| (at, i)));
            }
            let whole = Span::new(whole_from_ns(view, buffer, &topic, oldest_ns), i64::MAX);
            rest = rest.into_iter().flat_map(|rest| not_whole(rest, whole, &doubtful)).collect();
            if rest.is_empty() {
                break;
            }
        }
        rest.into_iter().for_each(|rest| plan.note_expired(view, &topic, filter, rest));
    }
    for ((at, start_ns, end_ns), topics) in spans {
        let spans = vec![Span::new(start_ns, end_ns)];
        plan.selections.push(Selection { buffer: view.buffers[at].name.to_string(), topics, spans });
    }
    for (at, i) in named {
        plan.name(&view.buffers[at].name, &view.buffers[at].segments[i], false);
    }
    plan.add_latched(view, span.start_ns, filter);
    plan.segments.sort_by(|a, b| (!a.latched, a.start_ns, &a.key).cmp(&(!b.latched, b.start_ns, &b.key)));
    plan.note_absent(view, filter);
    plan.note_gaps(view, span);
    plan.note_losses(&losses, filter);
    plan.shorten_missing();
    plan
}

/// Returns the losses that touch a span.
fn losses_in(view: &View, span: Span) -> Vec<&Loss> {
    let inside = |loss: &&Loss| span.touches(loss.start_ns.unwrap_or(i64::MIN), loss.end_ns.unwrap_or(i64::MAX));
    view.losses.iter().filter(inside).collect()
}

/// Returns when some buffer lost messages of a topic, which another one may have.
fn doubtful_spans(losses: &[&Loss], topic: &str) -> Vec<Span> {
    let of_topic = losses.iter().filter(|loss| loss.is_lost() && loss.topic.as_deref().is_none_or(|name| name == topic));
    let span = |loss: &&Loss| Span::new(loss.start_ns.unwrap_or(i64::MIN), loss.end_ns.unwrap_or(i64::MAX).saturating_add(1));
    let mut spans: Vec<Span> = of_topic.map(span).collect();
    spans.sort_unstable_by_key(|span| span.start_ns);
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        let many = merged.len() >= DOUBTS_LIMIT;
        match merged.last_mut() {
            Some(last) if span.start_ns <= last.end_ns || many => last.end_ns = last.end_ns.max(span.end_ns),
            _ => merged.push(span),
        }
    }
    merged
}

/// Returns what of a span a buffer may lack that has all of `whole` but for what was lost.
fn not_whole(span: Span, whole: Span, doubtful: &[Span]) -> Vec<Span> {
    let lost = span.intersect(whole).into_iter().flat_map(|whole| doubtful.iter().filter_map(move |doubt| doubt.intersect(whole)));
    span.without(whole).into_iter().chain(lost).collect()
}

/// Returns from when on a buffer has all of a topic, the oldest segment of which begins at `oldest_ns`.
fn whole_from_ns(view: &View, buffer: &BufferView, topic: &str, oldest_ns: i64) -> i64 {
    let evicted_ns = buffer.gone_until_ns.get(topic).map(|gone_ns| gone_ns.saturating_add(1));
    Some(oldest_ns).max(evicted_ns).max(forgotten_until_ns(view, buffer)).unwrap_or(oldest_ns)
}

/// Returns until when a buffer is forgotten that was in memory: of earlier openings, only what recordings named is there.
fn forgotten_until_ns(view: &View, buffer: &BufferView) -> Option<i64> {
    let earlier = |segment: &SegmentView| segment.meta.name.boot != view.boot;
    let in_memory = buffer.config.as_ref().is_some_and(|config| config.place == Place::Ram)
        || buffer.segments.iter().any(|segment| segment.meta.in_memory && earlier(segment));
    let own = buffer.segments.iter().filter(|segment| !earlier(segment));
    in_memory.then(|| own.map(SegmentView::first_ns).fold(view.opened_ns, i64::min))
}

/// Returns until when messages of a topic went from a buffer, and how to say so. `None` if nobody knows that it had any.
fn went_until(view: &View, buffer: &BufferView, topic: &str, rest: Span) -> Option<(i64, &'static str)> {
    let holding = || buffer.segments.iter().filter(|segment| segment.meta.holds(topic));
    let evicted = buffer.gone_until_ns.get(topic).map(|gone_ns| (gone_ns.saturating_add(1), "goes back to"));
    // What an earlier opening had in memory is gone, if there was one.
    let ran = |until_ns: &i64| view.last_before(view.boot).is_some_and(|last_ns| last_ns.min(*until_ns) > rest.start_ns);
    let had_any = evicted.is_some() || holding().next().is_some();
    let forgotten = forgotten_until_ns(view, buffer).filter(ran).filter(|_| had_any);
    let forgotten = forgotten.map(|until_ns| (until_ns, "is in memory and goes back to"));
    // One that has it from earlier openings, and nothing of it went, has all there was.
    let all = || holding().any(|segment| segment.meta.name.boot != view.boot).then_some((i64::MIN, ""));
    evicted.max(forgotten).or_else(all)
}

/// Returns whether something is on the tape that was recorded around a moment, other than what the recorder says of itself.
fn is_recorded(view: &View, at_ns: i64) -> bool {
    let others = view.buffers.iter().filter(|buffer| &*buffer.name != RECORDER_BUFFER);
    others.flat_map(|buffer| &buffer.segments).any(|segment| segment.touches(Span::new(at_ns, at_ns.saturating_add(1))))
}

/// Returns the topics of the segments that touch a span, and of those that did before they were evicted.
fn topics_in(view: &View, span: Span) -> BTreeSet<Arc<str>> {
    let mut seen: BTreeSet<*const Arc<str>> = BTreeSet::new();
    let gone = view.buffers.iter().flat_map(|buffer| &buffer.gone_until_ns).filter(|(_, until_ns)| **until_ns >= span.start_ns);
    let mut topics: BTreeSet<Arc<str>> = gone.map(|(topic, _)| topic.clone()).collect();
    for segment in view.buffers.iter().flat_map(|buffer| &buffer.segments).filter(|segment| segment.touches(span)) {
        // Most segments share their set of topics with others.
        if seen.insert(segment.meta.topics.as_ptr()) {
            topics.extend(segment.meta.topics.iter().cloned());
        }
    }
    topics
}

impl SegmentView {
    fn first_ns(&self) -> i64 {
        self.meta.corrected_ns(self.correction_ns).0
    }

    fn last_ns(&self) -> i64 {
        self.meta.corrected_ns(self.correction_ns).1
    }

    fn touches(&self, span: Span) -> bool {
        self.meta.touches(span, self.correction_ns)
    }
}

impl Plan {
    /// Makes RAM segments stay until they are written.
    pub(crate) fn want_ram(&self) {
        for ram in self.metas.iter().filter_map(|meta| meta.ram.as_ref()) {
            ram.wanted.store(true, Ordering::Release);
        }
    }

    /// Puts the plan into a manifest.
    pub(crate) fn write_into(self, manifest: &mut Manifest) {
        manifest.selections = self.selections;
        let known: BTreeMap<String, (Option<u64>, Option<String>)> =
            manifest.segments.drain(..).map(|segment| (segment.key, (segment.size_bytes, segment.hash))).collect();
        manifest.segments = self.segments;
        for segment in &mut manifest.segments {
            if let Some((size_bytes, hash)) = known.get(&segment.key).filter(|(_, hash)| hash.is_some()) {
                (segment.size_bytes, segment.hash) = (*size_bytes, hash.clone());
            }
        }
        let kept = |(topic, buffers)| Kept { topic, buffers, messages: None, bytes: None };
        manifest.kept = self.kept.into_iter().map(kept).collect();
        manifest.missing = self.missing;
    }

    fn name(&mut self, buffer: &str, segment: &SegmentView, latched: bool) {
        let meta = &segment.meta;
        self.segments.push(SegmentRef {
            key: meta.key.to_string(),
            buffer: buffer.to_owned(),
            start_ns: meta.start_ns,
            end_ns: meta.end_ns,
            size_bytes: meta.closed.then_some(meta.size_bytes),
            hash: None,
            latched,
            clock_correction_ns: segment.correction_ns,
        });
        self.metas.push(meta.clone());
    }

    /// Names the latched segments that tell the state at `start_ns`.
    fn add_latched(&mut self, view: &View, start_ns: i64, filter: &TopicFilter) {
        let since = |segment: &SegmentView| segment.meta.latched_since_ns.unwrap_or(i64::MAX).saturating_add(segment.correction_ns);
        let begun: Vec<&SegmentView> = view.latched.iter().filter(|segment| since(segment) <= start_ns).collect();
        let mut small = begun.iter().rev().find(|segment| !segment.meta.heavy).copied();
        // Where the next one has gone, values may have changed since; those that are as old in the one after it surely had not.
        let written_ns = |segment: &SegmentView| {
            let born_ns = segment.meta.born_monotonic_ns?.saturating_add(segment.meta.clock_offset_ns);
            Some(born_ns.saturating_add(segment.correction_ns))
        };
        if let Some(last) = small.filter(|last| written_ns(last).is_some_and(|written_ns| written_ns < start_ns)) {
            let mut later = view.latched.iter().filter(|later| !later.meta.heavy && later.meta.name.boot == last.meta.name.boot);
            small = later.find(|later| since(later) > start_ns).or(small);
        }
        // Values that were logged later, with times before the start.
        let late = |segment: &&SegmentView| {
            let late_ns = segment.meta.latched_late_ns.map(|late_ns| late_ns.saturating_add(segment.correction_ns));
            late_ns.is_some_and(|late_ns| late_ns <= start_ns) && since(segment) > start_ns
        };
        let late = view.latched.iter().filter(late);
        // While nothing was recorded that is still there, large values may have come and gone.
        let is_sure = view.now_ns.saturating_sub(start_ns) < SUPERSEDED_NS || is_recorded(view, start_ns);
        let large = begun.iter().filter(|segment| {
            let replaces = |later: &&SegmentView| later.meta.name.number > segment.meta.name.number && later.meta.replaces(&segment.meta);
            segment.meta.heavy && !view.latched.iter().filter(replaces).any(|later| since(later) <= start_ns || !is_sure)
        });
        let mut topics = BTreeSet::new();
        let chosen: Vec<&SegmentView> = small.into_iter().chain(late).chain(large.copied()).collect();
        for segment in chosen {
            let wanted: Vec<String> = segment.meta.topics.iter().filter(|topic| filter.matches(topic)).map(ToString::to_string).collect();
            if !wanted.is_empty() {
                topics.extend(wanted);
                self.name(LATCHED_BUFFER, segment, true);
            }
        }
        if !topics.is_empty() {
            let spans = vec![Span::new(i64::MIN, start_ns)];
            self.selections.push(Selection { buffer: LATCHED_BUFFER.to_owned(), topics: topics.into_iter().collect(), spans });
        }
    }

    fn note_filtered(&mut self, buffer: &BufferView, topic: &str, part: Span) {
        if let Some(interval_ns) = buffer.config.as_ref().and_then(|config| config.min_interval_ns) {
            let reason =
                format!("filtered: buffer '{}' holds at most {:.3} messages per second of a topic", buffer.name, 1e9 / interval_ns as f64);
            self.miss(Some(topic), part.start_ns, part.end_ns, reason);
        }
    }

    /// Notes the part of a topic that no buffer has all of any more.
    fn note_expired(&mut self, view: &View, topic: &str, filter: &TopicFilter, rest: Span) {
        let wanted = |buffer: &&BufferView| filter.matches(topic) || buffer.config.as_ref().is_some_and(|config| config.always);
        let went = view.buffers.iter().filter(wanted).filter_map(|buffer| Some((went_until(view, buffer, topic, rest)?, buffer)));
        // The buffer that goes back furthest has what is younger.
        let Some(((until_ns, why), buffer)) = went.min_by_key(|((until_ns, _), _)| *until_ns) else { return };
        if let Some(gone) = rest.intersect(Span::new(i64::MIN, until_ns)) {
            let reason = format!("expired: buffer '{}' {why} {}", buffer.name, time::format_time(gone.end_ns));
            self.miss(Some(topic), gone.start_ns, gone.end_ns, reason);
        }
    }

    /// Notes topics that were asked for by name and are nowhere.
    fn note_absent(&mut self, view: &View, filter: &TopicFilter) {
        for pattern in filter.patterns() {
            let plain = !pattern.starts_with('!') && !pattern.contains(['*', '?']);
            let seen = || view.buffers.iter().flat_map(|buffer| &buffer.segments).any(|segment| segment.meta.holds(&pattern));
            if plain && !seen() {
                let unwanted = view.unwanted.contains(&pattern);
                let reason =
                    if unwanted { "filtered: no buffer holds this topic" } else { "not seen: no message of this topic is on the tape" };
                self.missing.push(Loss {
                    topic: Some(pattern),
                    start_ns: None,
                    end_ns: None,
                    messages: None,
                    bytes: None,
                    reason: reason.into(),
                });
            }
        }
    }

    /// Notes when nothing was recorded at all: before the tape begins, and between two of its openings.
    fn note_gaps(&mut self, view: &View, span: Span) {
        let mut boots: BTreeMap<u64, (i64, i64)> = BTreeMap::new();
        for segment in view.buffers.iter().flat_map(|buffer| &buffer.segments) {
            let range = boots.entry(segment.meta.name.boot).or_insert((i64::MAX, i64::MIN));
            *range = (range.0.min(segment.first_ns()), range.1.max(segment.last_ns()));
        }
        let end_ns = span.end_ns.min(view.now_ns);
        let Some(first_ns) = boots.values().map(|(first_ns, _)| *first_ns).min() else {
            return self.miss(None, span.start_ns, end_ns, "not recorded: there is nothing on the tape".to_owned());
        };
        let evicted = view.buffers.iter().any(|buffer| buffer.segments.first().is_some_and(|segment| segment.meta.name.number > 0));
        if span.start_ns < first_ns {
            let reason = if evicted { "expired: the tape begins at" } else { "not recorded: the first message on the tape is of" };
            self.miss(None, span.start_ns, first_ns.min(end_ns), format!("{reason} {}", time::format_time(first_ns)));
        }
        // The recorder runs from when it was opened, also while nobody says anything.
        let now = boots.entry(view.boot).or_insert((view.opened_ns, view.opened_ns));
        now.0 = now.0.min(view.opened_ns);
        let mut ranges: Vec<(i64, i64)> = boots.into_values().collect();
        ranges.sort_unstable();
        let mut until_ns = ranges[0].1;
        for (start_ns, last_ns) in ranges {
            if let Some(gap) = span.intersect(Span::new(until_ns, start_ns)).filter(|gap| gap.end_ns - gap.start_ns >= GAP_NS) {
                self.miss(None, gap.start_ns, gap.end_ns, "not recorded: the recorder was not running".to_owned());
            }
            until_ns = until_ns.max(last_ns);
        }
    }

    fn note_losses(&mut self, losses: &[&Loss], filter: &TopicFilter) {
        let wanted = |loss: &&&Loss| loss.topic.as_deref().is_none_or(|topic| filter.matches(topic) || self.kept.contains_key(topic));
        let wanted: Vec<Loss> = losses.iter().filter(wanted).map(|loss| Loss::clone(loss)).collect();
        self.missing.extend(wanted);
    }

    /// Keeps the report readable; what is left out of it is counted.
    fn shorten_missing(&mut self) {
        if self.missing.len() > MISSING_LIMIT {
            let rest = self.missing.split_off(MISSING_LIMIT - 1);
            let kind = if rest.iter().any(Loss::is_lost) { "" } else { "not recorded: " };
            self.miss_any(format!("{kind}{} more stretches, not listed", rest.len()));
        }
    }

    fn miss_any(&mut self, reason: String) {
        self.missing.push(Loss { topic: None, start_ns: None, end_ns: None, messages: None, bytes: None, reason });
    }

    fn miss(&mut self, topic: Option<&str>, start_ns: i64, end_ns: i64, reason: String) {
        let (start_ns, end_ns) = (Some(start_ns), Some(end_ns));
        self.missing.push(Loss { topic: topic.map(str::to_owned), start_ns, end_ns, messages: None, bytes: None, reason });
    }
}
