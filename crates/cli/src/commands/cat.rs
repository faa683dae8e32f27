//! `tapeloop cat`: the messages of a recording, one per line, in order of their log times.
//!
//! **Invariant:** it holds a few messages at a time, and ends quietly when nobody reads on.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clap::builder::FalseyValueParser;
use recording::read::{self, Lines, Recording};
use recording::{Loss, Topic};

use super::schema;
use crate::argument::{Json, Part, Topics};
use crate::outcome::{Outcome, Usage};
use crate::output::complain;
use crate::shown::{self, Unread};
use crate::whom::Whom;
use crate::{folder, output, text};

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
    #[arg(long, value_name = "FIELD", num_args = 1.., value_delimiter = ',', env = "TAPELOOP_FIELDS", value_parser = shown::path)]
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
With --csv and without --fields, every field of the one topic is a column; those of JSON that no
schema describes are the fields of its first messages. What people see of messages that cannot be
decoded is their type and size; stderr says why.";

impl Cat {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let path = folder::resolve(&self.what, &self.whom)?;
        let recording = read::open(&path)?;
        let topics = schema::wanted(recording.topics(), &self.topics.filter()?, &self.topics)?;
        let mut unread = Unread::default();
        let printed = self.print(&recording, &topics, &mut unread);
        unread.complain();
        let losses = printed?;
        for loss in &losses {
            complain(format!("{}: {}", if loss.is_lost() { "lost" } else { "missing" }, text::loss(loss)));
        }
        Ok(Outcome::of(&losses))
    }

    /// Prints the messages, and returns what is missing.
    fn print(&self, recording: &Recording, topics: &[&Topic], unread: &mut Unread) -> anyhow::Result<Vec<Loss>> {
        let mut lines = self.lines(recording, topics)?;
        let mut messages = recording.messages(&self.topics.filter()?, self.part.of(recording)?)?;
        let mut out = output::stdout();
        let mut line = Vec::new();
        if self.csv {
            lines.csv_header(&mut line);
            line.push(b'\n');
            out.write_all(&line)?;
        }
        for message in messages.by_ref().take(self.limit.unwrap_or(usize::MAX)) {
            let message = message?;
            line.clear();
            if self.csv {
                lines.csv(&message, &mut line).unwrap_or_else(|why| unread.add(&message, why));
            } else if self.json.wanted {
                lines.json(&message, &mut line);
            } else {
                let text = shown::for_people(&mut lines, &message).unwrap_or_else(|why| {
                    unread.add(&message, why);
                    shown::opaque(&message)
                });
                line.extend_from_slice(output::harmless(&text).as_bytes());
            }
            line.push(b'\n');
            out.write_all(&line)?;
        }
        out.flush()?;
        Ok(messages.losses().to_vec())
    }

    /// Returns what writes the lines, with the fields that are wanted.
    fn lines(&self, recording: &Recording, topics: &[&Topic]) -> anyhow::Result<Lines> {
        let mut lines = Lines::new(schema::library()?, &self.fields);
        lines.check(topics.iter().copied())?;
        if self.csv && self.fields.is_empty() {
            match topics {
                [] => {}
                [first, rest @ ..] if rest.iter().all(|topic| topic.name == first.name && topic.schema == first.schema) => {
                    lines.spread(recording, first)?
                }
                _ => return Err(Usage("--csv takes one topic, or --fields that say which columns there are".to_owned()).into()),
            }
        }
        Ok(lines)
    }
}
