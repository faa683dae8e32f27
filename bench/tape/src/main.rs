//! One run of one measurement per call; what it measured goes to stdout as one JSON object.
//!
//! A program of its own per run, so that memory and CPU time are those of that run. `bench/run` repeats the runs, mixes them
//! with the peers', and makes the table.
//!
//! **Invariant:** a run that lost a message, or read back another number than it logged, fails.

mod append;
mod capture;
mod clients;
mod load;
mod measure;
mod payload;
mod reading;
mod reopen;
mod sources;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "One run of one measurement; prints one JSON object")]
struct Arguments {
    #[command(subcommand)]
    case: Case,
}

#[derive(Subcommand)]
enum Case {
    /// Appends messages as fast as they are taken, to a disk buffer.
    Append(append::Arguments),
    /// The same with the `mcap` crate's writer, to one file.
    AppendMcap(append::Arguments),
    /// Plays a load at its own pace, as many small topics and large ones as said.
    Load(load::Arguments),
    /// Fills a disk buffer with 60 s of data, and keeps them several times while recording goes on.
    Capture(capture::Arguments),
    /// Makes a tape of many small segments and ends as `kill -9` does.
    MakeSegments(reopen::MakeArguments),
    /// Opens a tape and logs one message.
    Reopen(reopen::Arguments),
    /// Reads a file, or some topics of it.
    Read(reading::Arguments),
    /// Reads a file with the `mcap` crate.
    ReadMcap(reading::Arguments),
    /// Writes a file of a hundred topics, each in chunks of its own.
    MakeTopics(reading::MakeArguments),
    /// Logs through the agent.
    Agent(clients::Arguments),
    /// Posts log records or points to a source of an agent in this process.
    Sources(sources::Arguments),
}

fn main() -> Result<()> {
    let report = match Arguments::parse().case {
        Case::Append(arguments) => append::tape(&arguments)?,
        Case::AppendMcap(arguments) => append::mcap(&arguments)?,
        Case::Load(arguments) => load::run(&arguments)?,
        Case::Capture(arguments) => capture::run(&arguments)?,
        Case::MakeSegments(arguments) => reopen::make(&arguments)?,
        Case::Reopen(arguments) => reopen::run(&arguments)?,
        Case::Read(arguments) => reading::run(&arguments)?,
        Case::ReadMcap(arguments) => reading::mcap(&arguments)?,
        Case::MakeTopics(arguments) => reading::make(&arguments)?,
        Case::Agent(arguments) => clients::run(&arguments)?,
        Case::Sources(arguments) => sources::run(&arguments)?,
    };
    println!("{report}");
    Ok(())
}
