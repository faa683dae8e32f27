//! Where a command's words go: stdout for what was asked for, stderr for how it goes.
//!
//! **Invariant:** a closed pipe is an error of the write, never a panic; progress is shown only on a terminal.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Stderr, StdoutLock, Write};

use robot::clock::{Clock, SystemClock};
use serde::Serialize;

/// How often progress is drawn.
const PROGRESS_NS: i64 = 100_000_000;

/// Returns stdout with a buffer; whoever writes flushes it.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// Prints lines.
pub(crate) fn print_lines(lines: impl IntoIterator<Item = impl Display>) -> anyhow::Result<()> {
    let mut out = stdout();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}

/// Prints a value as indented JSON.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    print_lines([text])
}

/// Shows how far a long work has come.
pub(crate) struct Progress {
    stderr: Option<Stderr>,
    drawn_ns: i64,
    shown: bool,
}

impl Progress {
    /// Returns a display that shows nothing unless somebody watches.
    pub(crate) fn new() -> Self {
        let stderr = io::stderr();
        let watched = stderr.is_terminal();
        Self { stderr: watched.then_some(stderr), drawn_ns: SystemClock.monotonic_ns(), shown: false }
    }

    /// Shows a line in place of the one before, if it is time.
    pub(crate) fn show(&mut self, line: impl FnOnce() -> String) {
        let Some(stderr) = &mut self.stderr else { return };
        let now_ns = SystemClock.monotonic_ns();
        if now_ns - self.drawn_ns >= PROGRESS_NS {
            self.drawn_ns = now_ns;
            self.shown = true;
            // What cannot be drawn is not missed.
            let _ = write!(stderr, "\r\x1b[2K{}", line());
            let _ = stderr.flush();
        }
    }
}

impl Drop for Progress {
    /// Removes the line.
    fn drop(&mut self) {
        if let Some(stderr) = self.stderr.as_mut().filter(|_| self.shown) {
            let _ = write!(stderr, "\r\x1b[2K");
        }
    }
}
