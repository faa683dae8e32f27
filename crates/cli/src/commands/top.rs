//! `tapeloop top`: how often every topic comes, how large and how late it is, and how long it was silent.
//!
//! In come two looks at the recorder's counters, out go what changed between them.
//!
//! **Invariant:** looking costs the recorder nothing that grows with the number of messages.

use std::collections::HashMap;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use recording::{Kind, Result, Timestamp, TopicFilter, size, time};
use robot::agent::client::Client;
use robot::status::Topics;
use serde::Serialize;

use crate::argument::Json;
use crate::outcome::Outcome;
use crate::output::{print_json, print_lines};
use crate::screen::Screen;
use crate::text;
use crate::whom::Whom;

/// How often it is drawn, and how far two looks are apart.
const INTERVAL: Duration = Duration::from_secs(1);

/// Show how often topics come, how large and how late they are: live on a terminal (q ends it)
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Top {
    /// Topics or patterns, all topics without
    #[arg(value_name = "TOPIC")]
    topics: Vec<String>,
    /// What comes first
    #[arg(long, value_enum, default_value = "bandwidth", env = "TAPELOOP_SORT")]
    sort: Sort,
    /// Show it once, of one second, also on a terminal
    #[arg(long, env = "TAPELOOP_ONCE", value_parser = FalseyValueParser::new())]
    once: bool,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    whom: Whom,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    Bandwidth,
    Rate,
    Gap,
    Latency,
    Name,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop top
  tapeloop top '/camera/**' --sort rate
  tapeloop top --once --json | jq '.[] | select(.rate_hz == 0) | .topic'

Rates are those of the last second. 'silent' is how long ago the last message came, 'longest gap'
the longest time between two since the recorder began, 'late' how much later than they were
published messages were recorded, on average. With --json it is printed once.";

/// A topic between two looks.
#[derive(Serialize)]
struct Row {
    topic: String,
    #[serde(rename = "type")]
    type_name: String,
    rate_hz: f64,
    bytes_per_s: f64,
    messages: u64,
    bytes: u64,
    last_ns: Option<Timestamp>,
    silent_ns: Option<i64>,
    longest_gap_ns: Option<i64>,
    longest_gap_end_ns: Option<Timestamp>,
    latency_ns: Option<i64>,
    recorded: bool,
}

impl Top {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let filter = TopicFilter::parse(&self.topics)?;
        let client = self.whom.agent()?;
        let mut before = client.topics()?;
        let screen = (!self.once && !self.json.wanted).then(Screen::take).flatten();
        let Some(screen) = screen else {
            std::thread::sleep(INTERVAL);
            let rows = self.rows(&before, &client.topics()?, &filter);
            if self.json.wanted {
                print_json(&rows)?;
            } else {
                print_lines(table(&rows))?;
            }
            return Ok(Outcome::Done);
        };
        screen.draw(&[format!("looking at {}", text::counted(before.topics.len() as u64, "topic"))])?;
        while !screen.wait(INTERVAL) {
            match look(&client) {
                Ok(now) => {
                    screen.draw(&live(table(&self.rows(&before, &now, &filter)), &now))?;
                    before = now;
                }
                // It may come back; the client looks for it again.
                Err(error) if error.kind() == Kind::Unavailable => screen.draw(&[format!("the agent is away: {error}")])?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Outcome::Done)
    }

    fn rows(&self, before: &Topics, now: &Topics, filter: &TopicFilter) -> Vec<Row> {
        let mut rows = rows(before, now);
        rows.retain(|row| filter.matches(&row.topic));
        let key = |row: &Row| match self.sort {
            Sort::Bandwidth => row.bytes_per_s,
            Sort::Rate => row.rate_hz,
            Sort::Gap => row.longest_gap_ns.max(row.silent_ns).unwrap_or(0) as f64,
            Sort::Latency => row.latency_ns.unwrap_or(0) as f64,
            Sort::Name => 0.0,
        };
        rows.sort_by(|a, b| key(b).total_cmp(&key(a)));
        rows
    }
}

fn look(client: &Client) -> Result<Topics> {
    client.topics()
}

/// Returns what changed between two looks, by name. Several publishers of a topic, and versions of its type, are one.
fn rows(before: &Topics, now: &Topics) -> Vec<Row> {
    let seconds = now.monotonic_ns.saturating_sub(before.monotonic_ns).max(1) as f64 / time::SECOND_NS as f64;
    let mut earlier: HashMap<&str, (u64, u64)> = HashMap::new();
    for topic in &before.topics {
        let (messages, bytes) = earlier.entry(&topic.topic).or_default();
        (*messages, *bytes) = (*messages + topic.messages, *bytes + topic.bytes);
    }
    let mut rows: Vec<Row> = Vec::new();
    for same in now.topics.chunk_by(|a, b| a.topic == b.topic) {
        let Some(newest) = same.iter().max_by_key(|topic| topic.last_ns) else { continue };
        let (messages, bytes) = same.iter().fold((0, 0), |(messages, bytes), topic| (messages + topic.messages, bytes + topic.bytes));
        let (messages_before, bytes_before) = earlier.get(newest.topic.as_str()).copied().unwrap_or_default();
        let gap = same.iter().max_by_key(|topic| topic.longest_gap_ns).unwrap_or(newest);
        rows.push(Row {
            topic: newest.topic.clone(),
            type_name: newest.type_name.clone(),
            // An agent that was started anew counts from 0.
            rate_hz: messages.saturating_sub(messages_before) as f64 / seconds,
            bytes_per_s: bytes.saturating_sub(bytes_before) as f64 / seconds,
            messages,
            bytes,
            last_ns: newest.last_ns,
            silent_ns: newest.last_ns.map(|last_ns| {
                let silent_ns = now.utc_ns.saturating_sub(last_ns).max(0);
                // Log times of some programs are late; what came between the looks is not silent.
                if messages > messages_before { silent_ns.min(now.monotonic_ns.saturating_sub(before.monotonic_ns)) } else { silent_ns }
            }),
            longest_gap_ns: gap.longest_gap_ns,
            longest_gap_end_ns: gap.longest_gap_end_ns,
            latency_ns: Some(newest.latency_ns).filter(|latency_ns| *latency_ns != 0),
            recorded: same.iter().any(|topic| topic.recorded),
        });
    }
    rows
}

fn table(rows: &[Row]) -> Vec<String> {
    let heads = ["topic", "Hz", "B/s", "messages", "bytes", "silent", "longest gap", "late", "type"];
    let mut cells = vec![heads.map(str::to_owned).to_vec()];
    let length = |ns: Option<i64>| ns.map_or_else(|| "-".to_owned(), time::format_duration);
    for row in rows {
        let kind = if row.recorded { row.type_name.clone() } else { format!("{} (not recorded)", row.type_name) };
        cells.push(vec![
            row.topic.clone(),
            text::rate(row.rate_hz),
            size::format(row.bytes_per_s as u64),
            text::count(row.messages),
            size::format(row.bytes),
            length(row.silent_ns),
            length(row.longest_gap_ns),
            length(row.latency_ns),
            kind,
        ]);
    }
    text::table(&cells, &[1, 2, 3, 4, 5, 6, 7])
}

fn live(mut lines: Vec<String>, now: &Topics) -> Vec<String> {
    let up = time::format_duration(now.utc_ns.saturating_sub(now.since_ns).max(0) / time::SECOND_NS * time::SECOND_NS);
    lines.insert(0, format!("{}, recording for {up}; q ends this view", text::counted(now.topics.len() as u64, "topic")));
    lines
}
