//! `tapeloop info`: what a file, a folder, a recording or a tape holds, and what it lost.
//!
//! **Invariant:** every message is read and checked before it is counted, unless the answer says that it was not.

use std::path::PathBuf;

use clap::Args;
use clap::builder::FalseyValueParser;
use recording::read::{self, Outline};
use recording::{size, time};

use crate::argument::Json;
use crate::outcome::Outcome;
use crate::output::{print_json, print_lines};
use crate::whom::Whom;
use crate::{folder, report, text};

/// How many losses are listed for people.
const LOSSES_SHOWN: usize = 50;

/// How long a span must be to say what happens per second in it.
const SHORTEST_SECONDS: f64 = 0.001;

/// Say what a file, a rosbag2 folder, a recording or a tape holds, and what it lost
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Info {
    /// A file, a folder, or the id or name of a recording
    #[arg(value_name = "X")]
    what: PathBuf,
    /// Read only what files say of themselves, of a closed MCAP file its summary; count and check nothing
    #[arg(long, env = "TAPELOOP_FAST", value_parser = FalseyValueParser::new())]
    fast: bool,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    whom: Whom,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop info run.mcap
  tapeloop info run-12
  tapeloop info huge.mcap --fast
  tapeloop info bag/ --json | jq '.topics[] | {topic, messages}'

Exit code 3 says that data was lost; what can be read is counted all the same.";

impl Info {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let path = folder::resolve(&self.what, &self.whom)?;
        let recording = read::open(&path)?;
        if self.fast {
            return self.outline(&recording.outline());
        }
        let info = recording.info()?;
        if self.json.wanted {
            print_json(&info)?;
        } else {
            print_lines(lines(&info))?;
        }
        Ok(Outcome::of(&info.losses))
    }

    fn outline(&self, outline: &Outline) -> anyhow::Result<Outcome> {
        if self.json.wanted {
            print_json(outline)?;
        } else {
            print_lines(outline_lines(outline))?;
        }
        Ok(Outcome::of(&outline.losses))
    }
}

fn outline_lines(outline: &Outline) -> Vec<String> {
    let said = |count: Option<u64>| count.map_or("unknown".to_owned(), text::count);
    let mut lines = vec![format!("{} ({})", outline.path.display(), outline.format)];
    let topics = text::counted(outline.topics.len() as u64, "topic");
    lines.push(match outline.messages {
        Some(messages) => format!("says      {} in {topics}", text::counted(messages, "message")),
        None => format!("says      {topics}"),
    });
    if let (Some(start_ns), Some(end_ns)) = (outline.start_ns, outline.end_ns) {
        lines.push(format!("span      {}", text::span(start_ns, end_ns)));
    }
    lines.extend(outline.notes.iter().map(|note| format!("note      {note}")));
    if !outline.topics.is_empty() {
        lines.push(String::new());
        let mut rows = vec![["topic", "type", "encoding", "messages", "in bytes"].map(str::to_owned).to_vec()];
        rows.extend(outline.topics.iter().map(|topic| {
            let stored = topic.stored_bytes.map_or("unknown".to_owned(), size::format);
            vec![topic.topic.clone(), topic.type_name.clone(), topic.encoding.clone(), said(topic.messages), stored]
        }));
        lines.extend(text::table(&rows, &[3, 4]));
    }
    if !outline.losses.is_empty() {
        lines.push(String::new());
        lines.extend(outline.losses.iter().take(LOSSES_SHOWN).map(|loss| format!("lost      {}", text::loss(loss))));
    }
    lines
}

fn lines(info: &read::Info) -> Vec<String> {
    let mut lines = vec![format!("{} ({})", info.path.display(), info.format)];
    if let Some(recording) = &info.recording {
        let name = recording.name.as_ref().map_or(String::new(), |name| format!(" '{name}'"));
        lines.push(format!("recording {}{name} of {}: {}", recording.recording, recording.device, report::state(recording.state)));
        lines.extend(recording.why.as_ref().map(|why| format!("why       {why}")));
        lines.extend(recording.labels.iter().map(|(key, value)| format!("label     {key}={value}")));
        lines.push(match recording.asked.end_ns {
            Some(end_ns) => format!("asked     {}", text::span(recording.asked.start_ns, end_ns)),
            None => format!("asked     from {} on", text::moment(recording.asked.start_ns)),
        });
    }
    let bytes: u64 = info.topics.iter().map(|topic| topic.bytes).sum();
    let topics = text::counted(info.topics.len() as u64, "topic");
    lines.push(format!("holds     {} in {topics}, {}", text::counted(info.messages, "message"), size::format(bytes)));
    if let (Some(start_ns), Some(end_ns)) = (info.start_ns, info.end_ns) {
        lines.push(format!("span      {}", text::span(start_ns, end_ns)));
    }
    lines.extend(info.notes.iter().map(|note| format!("note      {note}")));
    if !info.topics.is_empty() {
        lines.push(String::new());
        lines.extend(topics_table(info));
    }
    if !(info.losses.is_empty() && info.missing.is_empty()) {
        lines.push(String::new());
        lines.extend(losses(info));
    }
    lines
}

fn topics_table(info: &read::Info) -> Vec<String> {
    let seconds = info.start_ns.zip(info.end_ns).map_or(0.0, |(start_ns, end_ns)| (end_ns - start_ns) as f64 / time::SECOND_NS as f64);
    let mut rows = vec![["topic", "type", "encoding", "messages", "per s", "bytes"].map(str::to_owned).to_vec()];
    rows.extend(info.topics.iter().map(|topic| {
        // Between the first and the last of n messages are n - 1 intervals.
        let rate = topic.messages.saturating_sub(1) as f64 / seconds;
        vec![
            topic.topic.clone(),
            topic.type_name.clone(),
            topic.encoding.clone(),
            text::count(topic.messages),
            if seconds < SHORTEST_SECONDS { "-".to_owned() } else { text::rate(rate) },
            size::format(topic.bytes),
        ]
    }));
    text::table(&rows, &[3, 4, 5])
}

fn losses(info: &read::Info) -> Vec<String> {
    let word = |lost: bool| if lost { "lost     " } else { "missing  " };
    let all = || info.losses.iter().chain(&info.missing);
    let mut lines: Vec<String> = all().take(LOSSES_SHOWN).map(|loss| format!("{} {}", word(loss.is_lost()), text::loss(loss))).collect();
    let more = all().count().saturating_sub(LOSSES_SHOWN);
    if more > 0 {
        lines.push(format!("          and {more} more, which --json lists"));
    }
    lines
}
