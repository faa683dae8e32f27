//! From the program's pipe to the terminal, and to the lines that are recorded.
//!
//! **Invariant:** every byte is passed on as it is and at once; whoever reads it may be slow, the recorder may not.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::Context;
use robot::clock::{Clock, SystemClock};
use rustix::event::{PollFd, PollFlags, poll};

use super::lines::{Lines, Stream};

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;
/// The longest line; what is longer is several.
pub(super) const LINE_LIMIT: usize = 64 << 10;

/// Starts the thread of one stream, which ends when nobody writes it any more.
pub(super) fn start(stream: Stream, from: OwnedFd, to: OwnedFd, lines: &Arc<Lines>) -> anyhow::Result<JoinHandle<()>> {
    let lines = lines.clone();
    let pump = move || {
        pump(stream, File::from(from), File::from(to), &lines);
        lines.end_stream();
    };
    thread::Builder::new().name(format!("tapeloop-{}", stream.name())).spawn(pump).context("no thread for the program's output")
}

fn pump(stream: Stream, mut from: File, mut to: File, lines: &Lines) {
    let mut splitter = Splitter::default();
    let mut bytes = vec![0; READ_BYTES];
    loop {
        let count = match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        lines.begin_passing_on(count);
        let now_ns = SystemClock.utc_ns();
        splitter.split(&bytes[..count], |line, more| lines.push(stream, now_ns, line, more));
        let passed_on = pass_on(&mut to, &bytes[..count]);
        lines.end_passing_on();
        if passed_on.is_err() {
            // Nobody reads any more: with its pipe closed the program hears of it as it would without us.
            break;
        }
    }
    let now_ns = SystemClock.utc_ns();
    splitter.end(|line| lines.push(stream, now_ns, line, false));
}

/// Writes everything, also where somebody made the other end non-blocking.
fn pass_on(to: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let _ = poll(&mut [PollFd::from_borrowed_fd(to.as_fd(), PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes lines of bytes.
#[derive(Default)]
struct Splitter {
    /// A line that has no end yet.
    rest: Vec<u8>,
}

impl Splitter {
    /// Hands on each whole line, without its end, and whether the next one goes on with it.
    fn split(&mut self, bytes: &[u8], mut emit: impl FnMut(&[u8], bool)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (mut text, is_whole) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            while self.rest.len() + text.len() > LINE_LIMIT {
                let (now, later) = text.split_at(LINE_LIMIT - self.rest.len());
                self.rest.extend_from_slice(now);
                // Not within a character: what belongs to the next line goes there.
                let cut = self.rest.len() - unfinished(&self.rest);
                emit(&self.rest[..cut], true);
                self.rest.drain(..cut);
                text = later;
            }
            self.rest.extend_from_slice(text);
            if is_whole {
                emit(self.rest.strip_suffix(b"\r").unwrap_or(&self.rest), false);
                self.rest.clear();
            }
        }
    }

    /// Hands on the last line, if it has no end.
    fn end(&mut self, emit: impl FnOnce(&[u8])) {
        if !self.rest.is_empty() {
            emit(&self.rest);
            self.rest.clear();
        }
    }
}

/// Returns how many bytes at the end are the beginning of a character of UTF-8.
fn unfinished(bytes: &[u8]) -> usize {
    let tail = bytes.iter().rev().take(4).take_while(|byte| **byte & 0xc0 == 0x80).count();
    match bytes.len().checked_sub(tail + 1).map(|at| bytes[at]) {
        Some(0xc0..=0xdf) if tail < 1 => tail + 1,
        Some(0xe0..=0xef) if tail < 2 => tail + 1,
        Some(0xf0..=0xf7) if tail < 3 => tail + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the lines of pieces that come one by one; one that goes on ends with a `+`.
    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
        for piece in pieces {
            splitter.split(piece, |line, more| lines.push(String::from_utf8_lossy(line).into_owned() + if more { "+" } else { "" }));
        }
        splitter.end(|line| lines.push(String::from_utf8_lossy(line).into_owned()));
        lines
    }

    #[test]
    fn lines_are_found_however_they_come() {
        assert_eq!(lines(&[b"a\nb\r\n\n", b"c", b"", b"d\ne"]), ["a", "b", "", "cd", "e"]);
        assert_eq!(lines(&[b"", b"50 %\r100 %\r"]), ["50 %\r100 %\r"]);
        assert!(lines(&[b""]).is_empty());
    }

    #[test]
    fn a_long_line_is_several_and_nothing_of_it_is_lost() {
        let long = "ä".repeat(LINE_LIMIT) + "\nshort\n";
        for step in [1000, LINE_LIMIT - 1, LINE_LIMIT, 3 * LINE_LIMIT] {
            let found = lines(&long.as_bytes().chunks(step).collect::<Vec<_>>());
            assert_eq!(found.concat().replace('+', ""), long.replace('\n', ""));
            assert_eq!(found.iter().filter(|line| line.ends_with('+')).count(), 1, "in steps of {step}");
            assert_eq!(found.last().unwrap(), "short");
        }
        assert_eq!(lines(&[&[b'x'; LINE_LIMIT], b"\n"]).len(), 1);
        // What is no text is cut anywhere, and does not stop it.
        assert_eq!(lines(&[&[0x80; 3 * LINE_LIMIT]]).len(), 3);
    }
}
