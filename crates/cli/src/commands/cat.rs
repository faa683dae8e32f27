//! `tapeloop cat`: the messages of a recording, one per line, in order of their log times.
//!
//! **Invariant:** it holds a few messages at a time, and ends quietly when nobody reads on.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use recording::read::{self, json_line};
use recording::{Message, size};

use crate::argument::{Json, Part, Topics};
use crate::outcome::Outcome;
use crate::output::complain;
use crate::whom::Whom;
use crate::{folder, output, text};

/// How many characters of a message are shown to people.
const SHOWN: usize = 300;

/// Print messages, one per line
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Cat {
    /// A file, a folder, or the id or name of a recording
    #[arg(value_name = "X")]
    what: PathBuf,
    #[command(flatten)]
    topics: Topics,
    #[command(flatten)]
    part: Part,
    /// How many messages at most
    #[arg(long, value_name = "N", env = "TAPELOOP_LIMIT")]
    limit: Option<usize>,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    whom: Whom,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop cat run.mcap --topic /imu | head
  tapeloop cat run-12 --topic '/log*' --start '10 s ago'
  tapeloop cat run.mcap --topic /odom --json | jq .message.pose.x

With --json a line is {topic, log_time, publish_time, message}; times are ns UTC. Messages in JSON
are decoded; of others, 'message' is null, and 'encoding' and 'bytes' say what there is.";

impl Cat {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let path = folder::resolve(&self.what, &self.whom)?;
        let recording = read::open(&path)?;
        let filter = self.topics.filter()?;
        if !recording.topics().iter().any(|topic| filter.matches(&topic.name)) && !self.topics.patterns.is_empty() {
            let names: Vec<&str> = recording.topics().iter().map(|topic| topic.name.as_str()).collect();
            complain(format!("no topic matches {}; there are {}", self.topics.patterns.join(", "), names.join(", ")));
        }
        let mut messages = recording.messages(&filter, self.part.of(&recording)?)?;
        let mut out = output::stdout();
        for message in messages.by_ref().take(self.limit.unwrap_or(usize::MAX)) {
            let message = message?;
            if self.json.wanted {
                writeln!(out, "{}", json_line(&message))?;
            } else {
                writeln!(out, "{}", output::harmless(&line(&message)))?;
            }
        }
        out.flush()?;
        for loss in messages.losses() {
            complain(format!("{}: {}", if loss.is_lost() { "lost" } else { "missing" }, text::loss(loss)));
        }
        Ok(Outcome::of(messages.losses()))
    }
}

fn line(message: &Message) -> String {
    let topic = &message.topic;
    let start = format!("{}  {}", text::moment(message.log_time_ns), topic.name);
    let text = (topic.encoding == "json").then(|| std::str::from_utf8(&message.data).ok()).flatten();
    match text {
        Some(text) => {
            let mut shown: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
            if shown.len() < text.len() {
                shown.push('…');
            }
            format!("{start}  {shown}")
        }
        None => {
            let kind = if topic.type_name().is_empty() { "no schema" } else { topic.type_name() };
            format!("{start}  <{kind}, {}, {}>", topic.encoding, size::format(message.data.len() as u64))
        }
    }
}
