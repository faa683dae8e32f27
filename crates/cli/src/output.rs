//! Where a command's words go: stdout for what was asked for, stderr for how it goes.
//!
//! **Invariant:** a closed pipe is an error of the write, never a panic; progress is shown only on a terminal.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, Stderr, StdoutLock, Write};

use robot::clock::{Clock, SystemClock};
use serde::Serialize;

/// How often progress is drawn.
const PROGRESS_NS: i64 = 100_000_000;

/// Returns stdout with a buffer; whoever writes flushes it.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// Prints lines. What files say of themselves stands in them, so what could steer a terminal is taken out.
pub(crate) fn print_lines(lines: impl IntoIterator<Item = impl AsRef<str>>) -> anyhow::Result<()> {
    let mut out = stdout();
    for line in lines {
        writeln!(out, "{}", harmless(line.as_ref()))?;
    }
    Ok(out.flush()?)
}

/// Returns a text without control characters.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) { text.replace(char::is_control, "\u{fffd}").into() } else { text.into() }
}

/// Says something on stderr.
pub(crate) fn complain(text: impl AsRef<str>) {
    let lines: Vec<Cow<'_, str>> = text.as_ref().lines().map(harmless).collect();
    // Nobody is left to hear it where this fails.
    let _ = writeln!(io::stderr(), "tapeloop: {}", lines.join("\n"));
}

/// Prints a value as indented JSON.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = stdout();
    serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(out.flush()?)
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
