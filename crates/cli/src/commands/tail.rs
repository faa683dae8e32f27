//! `tapeloop tail`: the messages that are being recorded, one per line, as they come.
//!
//! **Invariant:** it slows the recorder never; what it was too slow for is counted and said.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use recording::read::Lines;
use recording::{Message, TopicFilter, time};
use robot::agent::client::{Tail as Listener, Told};
use robot::clock::{Clock, SystemClock};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::schema;
use crate::argument::Json;
use crate::outcome::Outcome;
use crate::output::{self, complain};
use crate::shown::{self, Unread};
use crate::text;
use crate::whom::Whom;

/// What the agent calls this program.
const CLIENT_NAME: &str = "tapeloop tail";
/// How long to wait for a message before what was printed is shown.
const SHOW_AFTER: Duration = Duration::from_millis(20);
/// How long to wait for the next message.
const STEP: Duration = Duration::from_millis(200);

/// Print the messages that are being recorded, as they come
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Tail {
    /// Topics or patterns, all topics without: '*' within a level, '**' across levels, '!' in front excludes
    #[arg(value_name = "TOPIC")]
    topics: Vec<String>,
    #[arg(help = "Only these fields: 'pose.x', 'status[0].name', '\"odd name\".x'")]
    #[arg(long, value_name = "FIELD", num_args = 1.., value_delimiter = ',', env = "TAPELOOP_FIELDS", value_parser = shown::path)]
    fields: Vec<String>,
    /// How many messages, then it ends
    #[arg(short = 'n', long, value_name = "N", env = "TAPELOOP_LIMIT")]
    limit: Option<u64>,
    /// How long, then it ends
    #[arg(long = "for", value_name = "DURATION", env = "TAPELOOP_FOR", value_parser = length)]
    length_ns: Option<i64>,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    whom: Whom,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop tail /imu
  tapeloop tail /odom --fields pose.x,pose.y --json -n 100
  tapeloop tail '/logs/**' '/tapeloop/**' --for 30s

The last values of latched topics come first. Lines are those of 'tapeloop cat'. It ends with
Ctrl-C, with the recorder, at -n or --for; what it was too slow for is counted on stderr. It never
slows the recorder.";

impl Tail {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        TopicFilter::parse(&self.topics)?;
        let ends = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, ends.clone())?;
        }
        let socket = self.whom.agent()?.socket().to_owned();
        let mut listener = Listener::connect(&socket, CLIENT_NAME, &self.topics)?;
        let mut unread = Unread::default();
        let printed = self.print(&mut listener, &ends, &mut unread);
        unread.complain();
        if listener.dropped() > 0 {
            complain(format!("{} came faster than they could be printed, and are left out", text::counted(listener.dropped(), "message")));
        }
        printed.map(|()| Outcome::Done)
    }

    fn print(&self, listener: &mut Listener, ends: &AtomicBool, unread: &mut Unread) -> anyhow::Result<()> {
        let mut lines = Lines::new(schema::library()?, &self.fields);
        let mut out = output::stdout();
        let (clock, mut left, mut shown) = (SystemClock, self.limit.unwrap_or(u64::MAX), true);
        let end_ns = self.length_ns.map(|length_ns| clock.monotonic_ns().saturating_add(length_ns));
        while left > 0 && !ends.load(Ordering::Relaxed) {
            let until_end = end_ns.map_or(STEP, |end_ns| Duration::from_nanos(end_ns.saturating_sub(clock.monotonic_ns()).max(0) as u64));
            if until_end.is_zero() {
                break;
            }
            match listener.next(until_end.min(if shown { STEP } else { SHOW_AFTER }))? {
                Told::Message(message) => {
                    self.print_one(&mut lines, &message, unread, &mut out)?;
                    (left, shown) = (left - 1, false);
                }
                Told::Nothing => {
                    out.flush()?;
                    shown = true;
                }
                Told::End => break,
            }
        }
        Ok(out.flush()?)
    }

    fn print_one(&self, lines: &mut Lines, message: &Message, unread: &mut Unread, out: &mut impl Write) -> anyhow::Result<()> {
        let mut line = Vec::new();
        if self.json.wanted {
            lines.json(message, &mut line);
        } else {
            let text = shown::for_people(lines, message).unwrap_or_else(|why| {
                unread.add(message, why);
                shown::opaque(message)
            });
            line.extend_from_slice(output::harmless(&text).as_bytes());
        }
        line.push(b'\n');
        Ok(out.write_all(&line)?)
    }
}

fn length(text: &str) -> Result<i64, String> {
    time::parse_duration(text).map_err(|error| error.to_string())
}
