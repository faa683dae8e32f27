//! The `tapeloop` command: records, keeps, looks and exports; one file per command.
//!
//! In come arguments and variables, out go text or JSON on stdout, complaints on stderr, and an exit code.
//!
//! **Invariant:** it decides nothing about data: what a recording holds, keeps or lost is said by the crates below.

mod argument;
mod commands;
mod drive;
mod folder;
mod offline;
mod outcome;
mod output;
mod report;
mod screen;
mod shown;
mod text;
mod whom;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use crate::commands::Command;

/// The flight recorder for robots: records everything, keeps what matters from before it happened.
#[derive(Parser)]
#[command(name = "tapeloop", version, max_term_width = 100, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tapeloop record                                       record everything that programs log
  tapeloop save --before 30s --why 'missed stop sign'   keep the last 30 s
  tapeloop info run.mcap                                what a file holds, and what it lost

Exit codes: 0 ok, 1 failed, 2 usage, 3 data was lost.
Every option can be set by a variable; the help of each command names them.";

fn main() -> ExitCode {
    // Values of variables do not belong into a help text.
    let shown = Arguments::command().mut_subcommands(hide_values);
    match shown.try_get_matches().and_then(|matches| Arguments::from_arg_matches(&matches)) {
        Ok(arguments) => outcome::exit_code(arguments.command.run()),
        Err(error) => outcome::usage(&error),
    }
}

fn hide_values(command: clap::Command) -> clap::Command {
    command.mut_args(|argument| argument.hide_env_values(true)).mut_subcommands(hide_values)
}
