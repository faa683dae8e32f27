//! `tapeloop convert`: recordings of any format, merged, cut and filtered, as one MCAP file or one rosbag2 folder.
//!
//! **Invariant:** payloads stay as they are, and what is written has its name only when it is complete.

use std::path::PathBuf;

use clap::Args;
use recording::convert::{self, Options, Target};
use recording::mcap::chunk::Compression;
use recording::read;

use super::export;
use crate::argument::{self, Json, Part, Topics};
use crate::outcome::Outcome;
use crate::output::{Progress, print_json, print_lines};
use crate::whom::Whom;
use crate::{folder, text};

/// Write recordings of any format anew: merged, cut, filtered, compressed otherwise
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Convert {
    /// Files, folders, or ids or names of recordings; of several, messages come in order of time
    #[arg(value_name = "IN", required = true)]
    what: Vec<PathBuf>,
    /// What to write: a file that ends with .mcap, else a rosbag2 folder
    #[arg(short, long = "output", value_name = "OUT", env = "TAPELOOP_OUTPUT")]
    out: PathBuf,
    #[command(flatten)]
    topics: Topics,
    #[command(flatten)]
    part: Part,
    /// How chunks are compressed: none, lz4, zstd or zstd(LEVEL)
    #[arg(long, value_name = "HOW", default_value = "zstd", env = "TAPELOOP_COMPRESSION", value_parser = argument::compression)]
    compression: Compression,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    whom: Whom,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop convert run.bag -o run.mcap
  tapeloop convert morning.mcap evening.mcap -o day.mcap --compression 'zstd(9)'
  tapeloop convert flight.db3 --topics /tf /tf_static '/camera/**' -o flight-rosbag2

Payloads are written as they are: a rosbag2 folder takes topics in CDR only, and ROS 1 messages are
not transcoded. Exit code 3 says that data was lost; what is written holds all that could be read.";

impl Convert {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let paths = self.what.iter().map(|what| folder::resolve(what, &self.whom)).collect::<anyhow::Result<Vec<_>>>()?;
        let recording = read::open_all(&paths)?;
        let (topics, span) = (self.topics.filter()?, self.part.of(&recording)?);
        let options = Options { topics, span, compression: self.compression, target: Target::of(&self.out) };
        let mut progress = Progress::new();
        let mut show = |messages| progress.show(|| format!("{} written", text::counted(messages, "message")));
        let report = convert::convert(&recording, &options, &self.out, &mut show)?;
        drop(progress);
        if self.json.wanted {
            print_json(&report)?;
        } else {
            print_lines(export::lines(&report))?;
        }
        Ok(Outcome::of(&report.losses))
    }
}
