//! What a tape holds that nobody records into, from the names and sizes of its files and the summaries of some.
//!
//! **Invariant:** no file is changed; the numbers are those of whole segments.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use recording::key::SegmentName;
use recording::{Span, Timestamp, read, size, time};
use serde::Serialize;

use crate::folder;
use crate::text;

/// What a tape holds.
#[derive(Debug, Serialize)]
pub(super) struct Held {
    agent: Option<()>,
    root: PathBuf,
    devices: Vec<String>,
    buffers: Vec<HeldBuffer>,
    recordings: usize,
    unfinished_recordings: usize,
}

/// What a buffer holds.
#[derive(Debug, Serialize)]
struct HeldBuffer {
    name: String,
    segments: usize,
    size_bytes: u64,
    /// From its first segment's first message on.
    oldest_ns: Option<Timestamp>,
    /// To its last segment's last message.
    newest_ns: Option<Timestamp>,
    depth_ns: i64,
}

#[derive(Default)]
struct Files {
    paths: Vec<(u64, PathBuf)>,
    size_bytes: u64,
}

/// Looks at a tape.
pub(super) fn look(root: &Path) -> anyhow::Result<Held> {
    let mut devices = Vec::new();
    let mut buffers: BTreeMap<String, Files> = BTreeMap::new();
    for device in folder::list(&root.join("devices"))? {
        devices.extend(device.file_name().and_then(|name| name.to_str()).map(str::to_owned));
        for day in folder::list(&device.join("segments"))?.into_iter().filter(|day| day.is_dir()) {
            for path in folder::list(&day)? {
                let name = path.file_name().and_then(|name| SegmentName::parse(name.to_str()?));
                let (Some(name), Ok(metadata)) = (name, path.metadata()) else { continue };
                let files = buffers.entry(name.buffer).or_default();
                files.size_bytes += metadata.len();
                files.paths.push((name.number, path));
            }
        }
    }
    let recordings = folder::recordings(root)?;
    let unfinished_recordings = recordings.manifests.iter().filter(|(_, manifest)| !manifest.is_final()).count();
    Ok(Held {
        agent: None,
        root: root.to_owned(),
        devices,
        buffers: buffers.into_iter().map(|(name, files)| files.held(name)).collect(),
        recordings: recordings.manifests.len(),
        unfinished_recordings,
    })
}

impl Files {
    fn held(mut self, name: String) -> HeldBuffer {
        self.paths.sort();
        let first = self.paths.first().and_then(|(_, path)| span(path));
        let last = self.paths.last().and_then(|(_, path)| span(path));
        let (oldest_ns, newest_ns) = (first.map(|span| span.start_ns), last.map(|span| span.end_ns.saturating_sub(1)));
        let depth_ns = oldest_ns.zip(newest_ns).map_or(0, |(oldest_ns, newest_ns)| newest_ns.saturating_sub(oldest_ns));
        HeldBuffer { name, segments: self.paths.len(), size_bytes: self.size_bytes, oldest_ns, newest_ns, depth_ns }
    }
}

fn span(path: &Path) -> Option<Span> {
    // What cannot be read has no times; 'tapeloop doctor' says why.
    read::open(path).ok().map(|segment| segment.span()).filter(|span| span.end_ns > 0)
}

/// Returns it as lines.
pub(super) fn lines(held: &Held) -> Vec<String> {
    let unfinished = if held.unfinished_recordings > 0 { format!(", {} unfinished", held.unfinished_recordings) } else { String::new() };
    let mut lines = vec![
        format!("tape        {} of {}", held.root.display(), held.devices.join(", ")),
        format!("recordings  {}{unfinished}", held.recordings),
        String::new(),
    ];
    let mut rows = vec![["buffer", "segments", "bytes", "depth", "oldest", "newest"].map(str::to_owned).to_vec()];
    rows.extend(held.buffers.iter().map(|buffer| {
        let moment = |time_ns: Option<Timestamp>| time_ns.map_or("-".to_owned(), text::moment);
        vec![
            buffer.name.clone(),
            text::count(buffer.segments as u64),
            size::format(buffer.size_bytes),
            time::format_duration(buffer.depth_ns),
            moment(buffer.oldest_ns),
            moment(buffer.newest_ns),
        ]
    }));
    lines.extend(text::table(&rows, &[1, 2, 3]));
    lines
}
