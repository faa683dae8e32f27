//! All commands.
//!
//! **Invariant:** a command is one file, with its arguments on top and what it does below.

mod cat;
mod convert;
mod doctor;
mod export;
mod info;
mod keep;
mod ls;
mod record;
mod rm;
mod rule;
mod run;
mod save;
mod schema;
mod status;
mod tail;
mod top;

use clap::Subcommand;

use crate::outcome::Outcome;

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    Record(record::Record),
    Run(run::Run),
    Save(save::Save),
    Keep(keep::Keep),
    Rm(rm::Rm),
    Status(status::Status),
    Tail(tail::Tail),
    Top(top::Top),
    Ls(ls::Ls),
    Info(info::Info),
    Cat(cat::Cat),
    Schema(schema::Schema),
    #[command(name = "rule")]
    Rules(rule::Rules),
    Export(export::Export),
    Convert(convert::Convert),
    Doctor(doctor::Doctor),
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// What kept it from being done.
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        match self {
            Self::Record(command) => command.run(),
            Self::Run(command) => command.run(),
            Self::Save(command) => command.run(),
            Self::Keep(command) => command.run(),
            Self::Rm(command) => command.run(),
            Self::Status(command) => command.run(),
            Self::Tail(command) => command.run(),
            Self::Top(command) => command.run(),
            Self::Ls(command) => command.run(),
            Self::Info(command) => command.run(),
            Self::Cat(command) => command.run(),
            Self::Schema(command) => command.run(),
            Self::Rules(command) => command.run(),
            Self::Export(command) => command.run(),
            Self::Convert(command) => command.run(),
            Self::Doctor(command) => command.run(),
        }
    }
}
