//! `tapeloop export`: a span and some topics of a recording as one MCAP file that stands alone.
//!
//! **Invariant:** the file has its name only when it is complete.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use recording::mcap::chunk::Compression;
use recording::read::{self, ExportOptions, ExportReport};
use recording::size;

use crate::argument::{Json, Part, Topics};
use crate::outcome::Outcome;
use crate::output::{Progress, print_json, print_lines};
use crate::whom::Whom;
use crate::{folder, text};

/// Write one standalone MCAP file: latched values first, then the messages, exact
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Export {
    /// A file, a folder, or the id or name of a recording
    #[arg(value_name = "X")]
    what: PathBuf,
    /// The file to write
    #[arg(short, long = "output", value_name = "FILE", env = "TAPELOOP_OUTPUT")]
    out: PathBuf,
    #[command(flatten)]
    topics: Topics,
    #[command(flatten)]
    part: Part,
    /// How its chunks are compressed
    #[arg(long, value_enum, default_value = "zstd", env = "TAPELOOP_COMPRESSION")]
    compression: Packing,
    #[command(flatten)]
    json: Json,
    #[command(flatten)]
    whom: Whom,
}

#[derive(Clone, Copy, ValueEnum)]
enum Packing {
    None,
    Lz4,
    Zstd,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop export run-12 -o run-12.mcap
  tapeloop export run.mcap --start 14:32:10 --end 14:32:40 --topics '/camera/**' /imu -o brake.mcap

Exit code 3 says that data of the span was lost; the file holds all that could be read.";

impl From<Packing> for ExportOptions {
    fn from(packing: Packing) -> Self {
        match packing {
            Packing::None => Self { compression: Compression::None },
            Packing::Lz4 => Self { compression: Compression::Lz4 },
            Packing::Zstd => Self::default(),
        }
    }
}

impl Export {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let path = folder::resolve(&self.what, &self.whom)?;
        let recording = read::open(&path)?;
        let (filter, span) = (self.topics.filter()?, self.part.of(&recording)?);
        let mut progress = Progress::new();
        let mut show = |messages| progress.show(|| format!("{} written", text::counted(messages, "message")));
        let report = read::export(&recording, &filter, span, &self.out, self.compression.into(), &mut show)?;
        drop(progress);
        if self.json.wanted {
            print_json(&report)?;
        } else {
            print_lines(lines(&report))?;
        }
        Ok(Outcome::of(&report.losses))
    }
}

/// Says what was written.
pub(super) fn lines(report: &ExportReport) -> Vec<String> {
    let latched =
        if report.latched > 0 { format!(", {} of them latched values of before", text::count(report.latched)) } else { String::new() };
    let mut lines = vec![
        format!("{}: {}", report.path.display(), size::format(report.size_bytes)),
        format!("holds     {}{latched}", text::counted(report.messages, "message")),
    ];
    if let (Some(start_ns), Some(end_ns)) = (report.start_ns, report.end_ns) {
        lines.push(format!("span      {}", text::span(start_ns, end_ns)));
    }
    let word = |lost: bool| if lost { "lost     " } else { "missing  " };
    lines.extend(report.losses.iter().map(|loss| format!("{} {}", word(loss.is_lost()), text::loss(loss))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packing_has_its_compression() {
        assert_eq!(ExportOptions::from(Packing::None).compression, Compression::None);
        assert_eq!(ExportOptions::from(Packing::Lz4).compression, Compression::Lz4);
        assert!(matches!(ExportOptions::from(Packing::Zstd).compression, Compression::Zstd(_)));
    }
}
