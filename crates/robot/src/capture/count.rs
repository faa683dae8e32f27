//! How many messages and bytes a recording holds of each topic.
//!
//! Segments that lie wholly inside say it themselves; only those at the edges are read, and those of topics of which several
//! buffers have the same messages.
//!
//! **Invariant:** what is counted is what a reader of the recording finds.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

use recording::key::SegmentName;
use recording::manifest::{Manifest, SegmentRef};
use recording::mcap::block::Block;
use recording::mcap::decompress::Decompressor;
use recording::mcap::definitions::Definitions;
use recording::mcap::linear;
use recording::mcap::scan::{self, Scan};
use recording::source::ReadAt;
use recording::{Error, Result, Span};

/// Messages and bytes by topic.
pub(super) type Counts = BTreeMap<String, (u64, u64)>;

/// Messages that were counted, by boot, the low bits of the append sequence, and log time.
type Seen = HashSet<(u64, u32, u64)>;

/// What is counted of one segment.
struct Tally<'a> {
    segment: &'a SegmentRef,
    spans: &'a dyn Fn(&str) -> Vec<Span>,
    shared: &'a HashSet<&'a str>,
    seen: &'a mut Seen,
    counts: &'a mut Counts,
}

/// Counts what a manifest selects; `open` opens a segment by its key.
///
/// # Errors
/// Those of opening and reading.
pub(super) fn count(manifest: &Manifest, open: &dyn Fn(&str) -> io::Result<Box<dyn ReadAt>>) -> Result<Counts> {
    let mut wanted: HashMap<(&str, &str), Vec<Span>> = HashMap::new();
    for selection in &manifest.selections {
        for topic in &selection.topics {
            wanted.entry((&selection.buffer, topic)).or_default().extend(&selection.spans);
        }
    }
    let shared = shared_topics(manifest);
    let mut seen = Seen::new();
    let mut counts = Counts::new();
    // Of a message in several buffers a reader shows the best, which is that of the first selection.
    let rank = |segment: &&SegmentRef| manifest.selections.iter().position(|selection| selection.buffer == segment.buffer);
    let mut segments: Vec<&SegmentRef> = manifest.segments.iter().filter(|segment| !segment.latched).collect();
    segments.sort_by_key(rank);
    for segment in segments {
        let failed = |error| Error::io(format!("cannot read {}", segment.key), error);
        let source = open(&segment.key).map_err(failed)?;
        let spans = |topic: &str| -> Vec<Span> { wanted.get(&(segment.buffer.as_str(), topic)).cloned().unwrap_or_default() };
        let mut tally = Tally { segment, spans: &spans, shared: &shared, seen: &mut seen, counts: &mut counts };
        tally.count(&*source)?;
    }
    Ok(counts)
}

/// Returns the topics that several buffers are to have at one moment: a message of theirs counts once.
fn shared_topics(manifest: &Manifest) -> HashSet<&str> {
    let mut spans: HashMap<&str, Vec<(&str, Span)>> = HashMap::new();
    let mut shared = HashSet::new();
    for selection in &manifest.selections {
        for topic in &selection.topics {
            let known = spans.entry(topic).or_default();
            for span in &selection.spans {
                if known.iter().any(|(buffer, other)| *buffer != selection.buffer && other.intersect(*span).is_some()) {
                    shared.insert(topic.as_str());
                }
                known.push((&selection.buffer, *span));
            }
        }
    }
    shared
}

impl Tally<'_> {
    fn count(&mut self, source: &dyn ReadAt) -> Result<()> {
        let scan = match scan::outline(source, &Definitions::default())? {
            Some(outline) => outline,
            None => scan::scan(source)?,
        };
        let said: HashMap<u16, (u64, u64)> =
            scan.metadata("tapeloop.end").and_then(|end| serde_json::from_str(end.get("topics")?).ok()).unwrap_or_default();
        let mut to_read = HashMap::new();
        for (id, topic) in &scan.topics {
            let spans = (self.spans)(&topic.name);
            let alone = !self.shared.contains(topic.name.as_str()) && self.is_inside(&spans);
            if let Some((messages, bytes)) = said.get(id).filter(|_| alone) {
                self.add(&topic.name, *messages, *bytes);
            } else if !spans.is_empty() {
                to_read.insert(*id, (topic.name.as_str(), spans));
            }
        }
        if to_read.is_empty() { Ok(()) } else { self.count_messages(&scan, source, &to_read) }
    }

    fn is_inside(&self, spans: &[Span]) -> bool {
        let correction_ns = self.segment.clock_correction_ns;
        let (start_ns, end_ns) = (self.segment.start_ns + correction_ns, self.segment.end_ns + correction_ns);
        spans.iter().any(|span| span.contains(start_ns) && span.contains(end_ns))
    }

    fn count_messages(&mut self, scan: &Scan, source: &dyn ReadAt, wanted: &HashMap<u16, (&str, Vec<Span>)>) -> Result<()> {
        let boot = self.segment.key.rsplit('/').next().and_then(SegmentName::parse).map_or(0, |name| name.boot);
        let mut decompressor = Decompressor::default();
        let mut places = Vec::new();
        for block in Block::of_scan(scan) {
            if block.channels.as_ref().is_some_and(|ids| !ids.iter().any(|id| wanted.contains_key(id))) {
                continue;
            }
            let Ok(records) = block.load(source, &mut decompressor)? else { continue };
            places.clear();
            linear::find(&records, 0, &mut Definitions::default(), &mut places, |id, _| wanted.contains_key(&id));
            for place in &places {
                let Some((topic, spans)) = wanted.get(&place.channel_id) else { continue };
                let time_ns = (place.log_time_ns as i64).saturating_add(self.segment.clock_correction_ns);
                if !spans.iter().any(|span| span.contains(time_ns)) {
                    continue;
                }
                let is_new = !self.shared.contains(topic) || self.seen.insert((boot, place.sequence, place.log_time_ns));
                if is_new {
                    self.add(topic, 1, place.payload().len() as u64);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, topic: &str, messages: u64, bytes: u64) {
        let count = self.counts.entry(topic.to_owned()).or_default();
        *count = (count.0 + messages, count.1 + bytes);
    }
}
