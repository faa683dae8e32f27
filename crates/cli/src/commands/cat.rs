//! `tapeloop cat`: the messages of a recording, one per line, in order of their log times.
//!
//! **Invariant:** it holds a few messages at a time, and ends quietly when nobody reads on.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clap::builder::FalseyValueParser;
use recording::read::{self, Lines, Recording};
use recording::{Message, TopicFilter, size};

use super::schema;
use crate::argument::{Json, Part, Topics};
use crate::outcome::{Outcome, Usage};
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
    #[arg(help = "Only these fields: 'pose.x', 'status[0].name', '\"odd name\".x'")]
    #[arg(long, value_name = "FIELD", num_args = 1.., value_delimiter = ',', env = "TAPELOOP_FIELDS")]
    fields: Vec<String>,
    /// Print comma-separated values: topic, times, and the fields
    #[arg(long, env = "TAPELOOP_CSV", value_parser = FalseyValueParser::new(), conflicts_with = "wanted")]
    csv: bool,
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
  tapeloop cat run.bag --topic /imu --fields header.stamp.sec,linear_acceleration.x --csv

With --json a line is {topic, log_time, publish_time, message}; times are ns UTC. With --fields,
'message' is an object of those that the topic's type has, by path. Of messages that cannot be
decoded 'message' is null, and 'encoding', 'bytes' and 'error' say what there is and why.
With --csv and without --fields, every field of the one topic is a column.";

impl Cat {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let path = folder::resolve(&self.what, &self.whom)?;
        let recording = read::open(&path)?;
        let filter = self.topics.filter()?;
        if !recording.topics().iter().any(|topic| filter.matches(&topic.name)) && !self.topics.patterns.is_empty() {
            let names: Vec<&str> = recording.topics().iter().map(|topic| topic.name.as_str()).collect();
            complain(format!("no topic matches {}; there are {}", self.topics.patterns.join(", "), names.join(", ")));
        }
        let mut lines = self.lines(&recording, &filter)?;
        let mut messages = recording.messages(&filter, self.part.of(&recording)?)?;
        let mut out = output::stdout();
        let mut line = Vec::new();
        if self.csv {
            lines.csv_header(&mut line);
            line.push(b'\n');
            out.write_all(&line)?;
        }
        let mut unread: Option<(u64, String)> = None;
        for message in messages.by_ref().take(self.limit.unwrap_or(usize::MAX)) {
            let message = message?;
            line.clear();
            if self.csv {
                if let Err(why) = lines.csv(&message, &mut line) {
                    unread.get_or_insert((0, why)).0 += 1;
                }
            } else if self.json.wanted {
                lines.json(&message, &mut line);
            } else {
                line.extend_from_slice(output::harmless(&for_people(&mut lines, &message)).as_bytes());
            }
            line.push(b'\n');
            out.write_all(&line)?;
        }
        out.flush()?;
        if let Some((count, why)) = unread {
            complain(format!("{} could not be decoded: {why}", text::counted(count, "message")));
        }
        for loss in messages.losses() {
            complain(format!("{}: {}", if loss.is_lost() { "lost" } else { "missing" }, text::loss(loss)));
        }
        Ok(Outcome::of(messages.losses()))
    }

    /// Returns what writes the lines, with the fields that are wanted.
    fn lines(&self, recording: &Recording, filter: &TopicFilter) -> anyhow::Result<Lines> {
        let mut lines = Lines::new(schema::library()?, &self.fields);
        let topics: Vec<_> = recording.topics().iter().filter(|topic| filter.matches(&topic.name)).collect();
        lines.check(topics.iter().copied())?;
        if self.csv && self.fields.is_empty() {
            match topics.as_slice() {
                [] => {}
                [topic] => lines.spread(topic)?,
                [first, rest @ ..] if rest.iter().all(|topic| topic.name == first.name && topic.schema == first.schema) => {
                    lines.spread(first)?
                }
                _ => return Err(Usage("--csv takes one topic, or --fields that say which columns there are".to_owned()).into()),
            }
        }
        Ok(lines)
    }
}

fn for_people(lines: &mut Lines, message: &Message) -> String {
    let topic = &message.topic;
    let start = format!("{}  {}", text::moment(message.log_time_ns), topic.name);
    let mut json = Vec::new();
    match lines.message(message, &mut json) {
        Ok(()) => {
            let text = String::from_utf8_lossy(&json);
            let mut shown: String = text.chars().take(SHOWN).collect();
            if shown.len() < text.len() {
                shown.push('…');
            }
            format!("{start}  {shown}")
        }
        Err(_) => {
            let kind = if topic.type_name().is_empty() { "no schema" } else { topic.type_name() };
            format!("{start}  <{kind}, {}, {}>", topic.encoding, size::format(message.data.len() as u64))
        }
    }
}
