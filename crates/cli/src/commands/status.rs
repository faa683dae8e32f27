//! `tapeloop status`: how the recorder is doing, live on a terminal, once for a script.
//!
//! **Invariant:** asking changes nothing; a tape that nobody records into is only looked at.

use std::time::Duration;

use clap::Args;
use clap::builder::FalseyValueParser;
use recording::{Error, Kind};
use robot::agent::client::Client;

use self::view::Poll;
use crate::argument::Json;
use crate::folder;
use crate::outcome::Outcome;
use crate::output::{print_json, print_lines};
use crate::screen::Screen;
use crate::whom::{Recorder, Whom, no_agent};

mod lying;
mod view;

/// How often the view is drawn.
const INTERVAL: Duration = Duration::from_secs(1);

/// Show how the recorder is doing: live on a terminal (q ends it), once elsewhere
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Status {
    /// Show it once, also on a terminal
    #[arg(long, env = "TAPELOOP_ONCE", value_parser = FalseyValueParser::new())]
    once: bool,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    whom: Whom,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop status
  tapeloop status --json | jq '.buffers[] | {name, depth_ns, lost_messages}'
  tapeloop status --data /media/disk/tape      what a tape holds that nobody records into";

impl Status {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        match self.whom.find()? {
            Recorder::Agent(client) => self.of_agent(&client)?,
            Recorder::Folder(folder) if self.whom.data.is_some() => {
                let held = lying::look(folder::check_tape(&folder)?)?;
                if self.json.wanted {
                    print_json(&held)?;
                } else {
                    print_lines([no_agent()].into_iter().chain(lying::lines(&held)))?;
                }
            }
            Recorder::Folder(_) => return Err(Error::unavailable(format!("{}; --data DIR shows what a tape holds", no_agent())).into()),
        }
        Ok(Outcome::Done)
    }

    fn of_agent(&self, client: &Client) -> anyhow::Result<()> {
        if self.json.wanted {
            return print_json(&client.agent_status()?);
        }
        let first = Poll::of(client)?;
        let Some(screen) = (!self.once).then(Screen::take).flatten() else {
            return print_lines(view::lines(&first, None));
        };
        let mut last = first;
        screen.draw(&live(view::lines(&last, None)))?;
        while !screen.wait(INTERVAL) {
            match Poll::of(client) {
                Ok(poll) => {
                    screen.draw(&live(view::lines(&poll, Some(&last))))?;
                    last = poll;
                }
                // It may come back; the client looks for it again.
                Err(error) if error.kind() == Kind::Unavailable => screen.draw(&live(vec![format!("the agent is away: {error}")]))?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn live(mut lines: Vec<String>) -> Vec<String> {
    lines.extend([String::new(), "q ends this view; the recorder goes on".to_owned()]);
    lines
}
