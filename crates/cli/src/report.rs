//! What is said of a recording that was just kept: for programs, and for people.
//!
//! **Invariant:** what is missing is always said, with its reason.

use std::path::Path;

use recording::Manifest;
use recording::manifest::State;
use recording::{size, time};
use robot::agent::control::capture_json;
use serde_json::Value;

use crate::folder;
use crate::outcome::Outcome;
use crate::output::{print_json, print_lines};
use crate::text;

/// How many missing stretches are listed for people.
const MISSING_SHOWN: usize = 20;
/// How many topics are listed for people.
const TOPICS_SHOWN: usize = 40;

/// Prints what became of a request to keep something. `note` is said in front, for people.
pub(crate) fn print(manifest: &Manifest, root: Option<&Path>, json: bool, note: Option<String>) -> anyhow::Result<Outcome> {
    if json {
        print_json(&to_json(manifest, root))?;
    } else {
        print_lines(note.into_iter().chain(lines(manifest, root)))?;
    }
    Ok(Outcome::of(&manifest.missing))
}

/// Returns what programs are told of a recording.
pub(crate) fn to_json(manifest: &Manifest, root: Option<&Path>) -> Value {
    let mut report = capture_json(manifest);
    if let (Value::Object(map), Some(root)) = (&mut report, root) {
        map.insert("path".to_owned(), folder::manifest_path(root, manifest).display().to_string().into());
    }
    report
}

/// Returns a state in words.
pub(crate) fn state(state: State) -> &'static str {
    match state {
        State::Keeping => "keeping",
        State::Completing => "completing",
        State::Complete => "complete",
        State::CutShort => "cut short",
    }
}

fn lines(manifest: &Manifest, root: Option<&Path>) -> Vec<String> {
    let id = &manifest.recording;
    let name = manifest.name.as_ref().map_or(String::new(), |name| format!(" '{name}'"));
    let mut lines = vec![format!("recording {id}{name}: {}", state(manifest.state))];
    match manifest.asked.end_ns {
        Some(end_ns) => lines.push(format!("  asked    {}", text::span(manifest.asked.start_ns, end_ns))),
        None => lines.push(format!("  asked    from {} on, until it is stopped", text::moment(manifest.asked.start_ns))),
    }
    if manifest.asked.end_ns != Some(manifest.span.end_ns) || manifest.asked.start_ns != manifest.span.start_ns {
        lines.push(format!("  span     {}", text::span(manifest.span.start_ns, manifest.span.end_ns)));
    }
    lines.push(format!("  kept     {}", segments(manifest)));
    lines.extend(kept(manifest));
    lines.extend(missing(manifest));
    if let Some(root) = root {
        lines.push(format!("  manifest {}", folder::manifest_path(root, manifest).display()));
    }
    lines.push(format!("  next     tapeloop {}", next(manifest)));
    lines
}

fn segments(manifest: &Manifest) -> String {
    let closed: Vec<u64> = manifest.segments.iter().filter_map(|segment| segment.size_bytes).collect();
    let open = manifest.segments.len() - closed.len();
    let known = format!("{}, {}", text::counted(closed.len() as u64, "segment"), size::format(closed.iter().sum()));
    match (closed.len(), open) {
        (0, 0) if manifest.asked.topics.is_empty() => "nothing".to_owned(),
        (0, 0) => format!("nothing: no topic on the tape matches {}", manifest.asked.topics.join(", ")),
        (_, 0) => known,
        (0, open) => format!("{} still open", text::counted(open as u64, "segment")),
        (_, open) => format!("{known}, and {open} still open"),
    }
}

fn kept(manifest: &Manifest) -> Vec<String> {
    let rows: Vec<Vec<String>> = manifest
        .kept
        .iter()
        .take(TOPICS_SHOWN)
        .map(|kept| {
            let amount = kept.messages.map_or(String::new(), |messages| text::counted(messages, "message"));
            let bytes = kept.bytes.map_or(String::new(), size::format);
            vec![kept.topic.clone(), amount, bytes, format!("from {}", kept.buffers.join(", then "))]
        })
        .collect();
    let more = manifest.kept.len().saturating_sub(TOPICS_SHOWN);
    let table = text::table(&rows, &[1, 2]).into_iter().map(|line| format!("           {line}"));
    table.chain((more > 0).then(|| format!("           and {more} more topics"))).collect()
}

fn missing(manifest: &Manifest) -> Vec<String> {
    let shown = manifest.missing.iter().take(MISSING_SHOWN);
    let mut lines: Vec<String> = shown.map(|loss| format!("  missing  {}", text::loss(loss))).collect();
    let more = manifest.missing.len().saturating_sub(MISSING_SHOWN);
    if more > 0 {
        lines.push(format!("           and {more} more: 'tapeloop info {}' lists them", manifest.recording));
    }
    lines
}

fn next(manifest: &Manifest) -> String {
    match (manifest.state, &manifest.name) {
        (State::Keeping, Some(name)) => format!("keep stop {name}"),
        (State::Completing, _) => {
            let ahead = manifest.asked.end_ns.unwrap_or(manifest.created_ns).saturating_sub(manifest.created_ns);
            let when =
                if ahead > time::SECOND_NS { format!("   (complete in about {})", time::format_duration(ahead)) } else { String::new() };
            format!("info {}{when}", manifest.recording)
        }
        _ => format!("info {0} | tapeloop export {0} -o {0}.mcap", manifest.recording),
    }
}
