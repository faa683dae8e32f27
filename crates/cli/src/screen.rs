//! The terminal as a screen that is drawn again and again, with plain ANSI sequences.
//!
//! **Invariant:** the terminal is as it was when this is dropped.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio::stdin;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGTERM};

use crate::output::harmless;

const CTRL_C: u8 = 3;
/// The rows and columns of a terminal that does not say how large it is.
const USUAL_SIZE: (usize, usize) = (24, 80);
/// Another screen, so that what was there comes back; and no cursor.
const BEGIN: &str = "\x1b[?1049h\x1b[?25l";
const END: &str = "\x1b[?25h\x1b[?1049l";

/// A screen of the terminal's size.
pub(crate) struct Screen {
    before: Option<Termios>,
    ended: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal; `None` if stdout is none.
    pub(crate) fn take() -> Option<Self> {
        if !io::stdout().is_terminal() {
            return None;
        }
        let ended = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, ended.clone()).ok()?;
        }
        // Keys are read one by one; without a terminal to read from, only a signal ends it.
        let before = tcgetattr(stdin()).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
            raw.special_codes[SpecialCodeIndex::VMIN] = 0;
            raw.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(stdin(), OptionalActions::Now, &raw).ok()?;
        }
        write(BEGIN).ok()?;
        Some(Self { before, ended })
    }

    /// Draws lines, as many and as much of them as fit.
    pub(crate) fn draw(&self, lines: &[String]) -> io::Result<()> {
        let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
        let (rows, columns) = size.map_or(USUAL_SIZE, |size| (usize::from(size.ws_row), usize::from(size.ws_col)));
        let mut text = String::from("\x1b[H");
        for (row, line) in lines.iter().take(rows).enumerate() {
            if row > 0 {
                text.push_str("\r\n");
            }
            // Names of topics stand in it, which anybody chooses.
            text.extend(harmless(line).chars().take(columns));
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J");
        write(&text)
    }

    /// Waits, and returns whether somebody wants to end it.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: i64::from(patience.subsec_nanos()) };
        let stdin = stdin();
        let watched = self.before.is_some();
        let mut files = [PollFd::new(&stdin, PollFlags::IN)];
        // A signal wakes it as well.
        let ready = poll(if watched { &mut files } else { &mut [] }, Some(&timeout)).unwrap_or(0);
        let mut keys = [0; 64];
        let count = if ready > 0 { rustix::io::read(stdin, &mut keys).unwrap_or(0) } else { 0 };
        // A terminal that has gone is readable and has nothing.
        let gone = ready > 0 && count == 0;
        gone || self.ended.load(Ordering::Relaxed) || keys[..count].iter().any(|key| matches!(key, b'q' | b'Q' | &CTRL_C))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = write(END);
        if let Some(before) = &self.before {
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
