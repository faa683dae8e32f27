//! How many messages and bytes a recording holds of each topic.
//!
//! Segments that lie wholly inside say it themselves; only those at the edges are read.
//!
//! **Invariant:** what is counted is what a reader of the recording finds.

use std::collections::{BTreeMap, HashMap};
use std::io;

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
    let mut counts = Counts::new();
    for segment in manifest.segments.iter().filter(|segment| !segment.latched) {
        let failed = |error| Error::io(format!("cannot read {}", segment.key), error);
        let source = open(&segment.key).map_err(failed)?;
        let spans = |topic: &str| -> Vec<Span> { wanted.get(&(segment.buffer.as_str(), topic)).cloned().unwrap_or_default() };
        count_segment(segment, &*source, &spans, &mut counts)?;
    }
    Ok(counts)
}

fn count_segment(segment: &SegmentRef, source: &dyn ReadAt, spans: &dyn Fn(&str) -> Vec<Span>, counts: &mut Counts) -> Result<()> {
    let scan = match scan::outline(source, &Definitions::default())? {
        Some(outline) => outline,
        None => scan::scan(source)?,
    };
    let correction_ns = segment.clock_correction_ns;
    let inside = |topic: &str| {
        let holds = |span: &Span| span.contains(segment.start_ns + correction_ns) && span.contains(segment.end_ns + correction_ns);
        spans(topic).iter().any(holds)
    };
    let said: HashMap<u16, (u64, u64)> =
        scan.metadata("tapeloop.end").and_then(|end| serde_json::from_str(end.get("topics")?).ok()).unwrap_or_default();
    let mut at_edge = Vec::new();
    for (id, topic) in &scan.topics {
        match said.get(id).filter(|_| inside(&topic.name)) {
            Some((messages, bytes)) => add(counts, &topic.name, *messages, *bytes),
            None if !spans(&topic.name).is_empty() => at_edge.push(*id),
            None => {}
        }
    }
    if !at_edge.is_empty() {
        count_messages(&scan, source, &at_edge, correction_ns, spans, counts)?;
    }
    Ok(())
}

fn count_messages(
    scan: &Scan,
    source: &dyn ReadAt,
    channels: &[u16],
    correction_ns: i64,
    spans: &dyn Fn(&str) -> Vec<Span>,
    counts: &mut Counts,
) -> Result<()> {
    let wanted: HashMap<u16, (&str, Vec<Span>)> =
        channels.iter().filter_map(|id| scan.topics.get(id).map(|topic| (*id, (topic.name.as_str(), spans(&topic.name))))).collect();
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
            let time_ns = (place.log_time_ns as i64).saturating_add(correction_ns);
            if spans.iter().any(|span| span.contains(time_ns)) {
                add(counts, topic, 1, place.payload().len() as u64);
            }
        }
    }
    Ok(())
}

fn add(counts: &mut Counts, topic: &str, messages: u64, bytes: u64) {
    let count = counts.entry(topic.to_owned()).or_default();
    *count = (count.0 + messages, count.1 + bytes);
}
