//! How a command ends: exit codes, and the words for what went wrong.
//!
//! **Invariant:** 0 ok, 1 failed, 2 usage, 3 data was lost; a reader of stdout that has gone is no failure.

use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use recording::Loss;

use crate::output::complain;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const LOST: u8 = 3;

/// How a command ended that did what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is well.
    Done,
    /// It has said itself what failed, or what differs.
    Failed,
    /// It did what it could, but data was lost.
    Lost,
    /// It ran a program, which ended with this code.
    Code(u8),
}

impl Outcome {
    /// Returns `Lost` if any of these is data that was lost, not only missing.
    pub(crate) fn of<'a>(losses: impl IntoIterator<Item = &'a Loss>) -> Self {
        if losses.into_iter().any(Loss::is_lost) { Self::Lost } else { Self::Done }
    }

    /// Returns `Lost` if either is.
    pub(crate) fn and(self, other: Self) -> Self {
        if self == Self::Lost { self } else { other }
    }
}

/// A request that was refused before anything was done.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Returns the exit code, and says what went wrong.
pub(crate) fn exit_code(result: anyhow::Result<Outcome>) -> ExitCode {
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::from(FAILED),
        Ok(Outcome::Lost) => ExitCode::from(LOST),
        Ok(Outcome::Code(code)) => ExitCode::from(code),
        // `tapeloop cat x | head` is done when head is.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(describe(&error));
            ExitCode::from(if error.is::<Usage>() { USAGE } else { FAILED })
        }
    }
}

/// Says what is wrong with the arguments, or shows the help or the version that was asked for.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A reader that has gone has seen enough.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    complain(text.strip_prefix("error: ").unwrap_or(&text).trim_end());
    ExitCode::from(USAGE)
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    // Only what was written to stdout fails with a bare I/O error.
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Returns the error and its causes in one line.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let mut parts = Vec::new();
    for cause in error.chain() {
        parts.push(cause.to_string());
        // These name their causes themselves.
        if cause.is::<recording::Error>() {
            break;
        }
    }
    parts.join(": ")
}
