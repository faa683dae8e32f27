//! Which segments a capture names, and what it misses: a decision, without doing it.
//!
//! For each topic and moment it takes the first listed buffer that still has it.
//!
//! **Invariant:** whatever of the span is not in the plan is in `missing`, with a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use recording::manifest::{Kept, Manifest, SegmentRef, Selection};
use recording::{Loss, Span, TopicFilter, time};

use crate::config::LATCHED_BUFFER;
use crate::tape::segment::SegmentMeta;
use crate::tape::{BufferView, SegmentView, View};

/// How many missing stretches a report lists.
const MISSING_LIMIT: usize = 1_000;
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

/// Plans the capture of `span`; an open-ended one takes everything from its start.
pub(crate) fn plan(view: &View, span: Span, open_ended: bool, filter: &TopicFilter) -> Plan {
    let span = if open_ended { Span::new(span.start_ns, i64::MAX) } else { span };
    let mut plan = Plan::default();
    let mut spans: BTreeMap<(usize, i64, i64), Vec<String>> = BTreeMap::new();
    let mut named: BTreeSet<(usize, usize)> = BTreeSet::new();
    for topic in topics_in(view, span) {
        let mut rest = span;
        for (at, buffer) in view.buffers.iter().enumerate() {
            let always = buffer.config.as_ref().is_some_and(|config| config.always);
            if !filter.matches(&topic) && !always {
                continue;
            }
            let holding = || buffer.segments.iter().enumerate().filter(|(_, segment)| segment.meta.holds(&topic));
            let Some(oldest_ns) = holding().map(|(_, segment)| segment.first_ns()).min() else { continue };
            let Some(part) = rest.intersect(Span::new(oldest_ns, i64::MAX)) else { continue };
            let touching: Vec<usize> = holding().filter(|(_, segment)| segment.touches(part)).map(|(i, _)| i).collect();
            if !touching.is_empty() {
                spans.entry((at, part.start_ns, part.end_ns)).or_default().push(topic.to_string());
                plan.kept.entry(topic.to_string()).or_default().push(buffer.name.to_string());
                plan.note_filtered(buffer, &topic, part);
                named.extend(touching.into_iter().map(|i| (at, i)));
            }
            rest = Span::new(rest.start_ns, rest.end_ns.min(oldest_ns));
            if rest.start_ns >= rest.end_ns {
                break;
            }
        }
        plan.note_expired(view, &topic, rest);
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
    plan.note_losses(view, span, filter);
    plan.missing.truncate(MISSING_LIMIT);
    plan
}

/// Returns the topics of the segments that touch a span.
fn topics_in(view: &View, span: Span) -> BTreeSet<Arc<str>> {
    let mut seen: BTreeSet<*const Arc<str>> = BTreeSet::new();
    let mut topics = BTreeSet::new();
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
        let small = begun.iter().rev().find(|segment| !segment.meta.heavy);
        let large = begun.iter().enumerate().filter(|(i, segment)| {
            let replaced =
                |later: &&SegmentView| later.meta.topics == segment.meta.topics && later.meta.name.boot == segment.meta.name.boot;
            segment.meta.heavy && !begun[i + 1..].iter().filter(|later| later.meta.heavy).any(replaced)
        });
        let mut topics = BTreeSet::new();
        let chosen: Vec<&SegmentView> = small.into_iter().copied().chain(large.map(|(_, segment)| *segment)).collect();
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

    /// Notes the part of a topic that is on no buffer any more.
    fn note_expired(&mut self, view: &View, topic: &str, rest: Span) {
        if rest.start_ns >= rest.end_ns {
            return;
        }
        let holding = |buffer: &&BufferView| buffer.segments.iter().any(|segment| segment.meta.holds(topic));
        for buffer in view.buffers.iter().filter(holding) {
            let first = buffer.segments.iter().find(|segment| segment.meta.holds(topic));
            let evicted = buffer.segments.first().is_some_and(|segment| segment.meta.name.number > 0);
            // Older segments of light topics that lack this one say that it was silent then.
            let silent = first.is_some_and(|first| {
                !first.meta.heavy && buffer.segments.iter().any(|other| !other.meta.heavy && other.first_ns() < first.first_ns())
            });
            if evicted && !silent {
                let reason = format!("expired: buffer '{}' goes back to {}", buffer.name, time::format_time(rest.end_ns));
                self.miss(Some(topic), rest.start_ns, rest.end_ns, reason);
                return;
            }
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

    fn note_losses(&mut self, view: &View, span: Span, filter: &TopicFilter) {
        let wanted = |loss: &&Loss| loss.topic.as_deref().is_none_or(|topic| filter.matches(topic));
        let inside = |loss: &&Loss| span.touches(loss.start_ns.unwrap_or(i64::MIN), loss.end_ns.unwrap_or(i64::MAX));
        self.missing.extend(view.losses.iter().filter(wanted).filter(inside).cloned());
    }

    fn miss(&mut self, topic: Option<&str>, start_ns: i64, end_ns: i64, reason: String) {
        let (start_ns, end_ns) = (Some(start_ns), Some(end_ns));
        self.missing.push(Loss { topic: topic.map(str::to_owned), start_ns, end_ns, messages: None, bytes: None, reason });
    }
}
