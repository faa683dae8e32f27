//! Lines that wait to be recorded.
//!
//! In come lines from the threads that read the program, out they go to the one that records.
//!
//! **Invariant:** whoever has a line never waits: what finds no room is counted, by stream, and told.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::tell::Ended;

/// How many bytes of lines wait at most; a line counts for a little more than its bytes.
const QUEUE_LIMIT: usize = 32 << 20;
const LINE_OVERHEAD: usize = 64;
/// How many of the last lines an event tells.
const TAIL_LINES: usize = 20;
/// How much of each of them.
const TAIL_BYTES: usize = 1000;

/// Where a line was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub(super) const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) stream: Stream,
    /// When it was read; ns UTC.
    pub(super) at_ns: i64,
    pub(super) bytes: Vec<u8>,
    /// Whether the next one of the stream goes on with it.
    pub(super) more: bool,
}

/// Lines that found no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) lines: u64,
    pub(super) bytes: u64,
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
}

/// What comes next.
pub(super) enum Next {
    Line(Line),
    Lost(Stream, Lost),
    /// The program ended, with these last lines.
    Ended(Ended, Vec<String>),
}

/// The queue.
#[derive(Default)]
pub(super) struct Lines {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Line>,
    waiting_bytes: usize,
    lost: [Lost; 2],
    tail: VecDeque<String>,
    bytes_read: u64,
    /// How many streams are being passed on right now.
    passing_on: usize,
    streams_ended: usize,
    ended: Option<Ended>,
    discards: bool,
}

impl Lines {
    /// Takes a line, if there is room.
    pub(super) fn push(&self, stream: Stream, at_ns: i64, bytes: &[u8], more: bool) {
        let mut state = self.state.lock();
        if state.tail.len() == TAIL_LINES {
            state.tail.pop_front();
        }
        state.tail.push_back(String::from_utf8_lossy(&bytes[..bytes.len().min(TAIL_BYTES)]).into_owned());
        if state.discards {
            return;
        }
        let size = bytes.len() + LINE_OVERHEAD;
        if state.waiting_bytes + size > QUEUE_LIMIT {
            let lost = &mut state.lost[stream as usize];
            if lost.lines == 0 {
                lost.start_ns = at_ns;
            }
            lost.lines += 1;
            lost.bytes += bytes.len() as u64;
            lost.end_ns = at_ns;
            return;
        }
        state.waiting_bytes += size;
        state.queue.push_back(Line { stream, at_ns, bytes: bytes.to_vec(), more });
        self.changed.notify_all();
    }

    /// Waits for what comes next. What was lost is told when there is room again: behind the lines before it.
    pub(super) fn next(&self) -> Next {
        let mut state = self.state.lock();
        loop {
            if let Some(line) = state.queue.pop_front() {
                state.waiting_bytes -= line.bytes.len() + LINE_OVERHEAD;
                return Next::Line(line);
            }
            if let Some(stream) = Stream::ALL.into_iter().find(|stream| state.lost[*stream as usize].lines > 0) {
                return Next::Lost(stream, std::mem::take(&mut state.lost[stream as usize]));
            }
            if let Some(ended) = state.ended.clone() {
                return Next::Ended(ended, state.tail.iter().cloned().collect());
            }
            self.changed.wait(&mut state);
        }
    }

    /// Throws lines away: nobody records them.
    pub(super) fn discard(&self) {
        let mut state = self.state.lock();
        state.discards = true;
        state.queue = VecDeque::new();
    }

    /// Notes that the program ended; there are no lines after this.
    pub(super) fn close(&self, ended: Ended) {
        self.state.lock().ended = Some(ended);
        self.changed.notify_all();
    }

    /// Notes bytes that were read and are passed on now.
    pub(super) fn begin_passing_on(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.bytes_read += bytes as u64;
        state.passing_on += 1;
    }

    /// Notes that they were passed on.
    pub(super) fn end_passing_on(&self) {
        self.state.lock().passing_on -= 1;
    }

    /// Returns how many bytes were read, if none of them are being passed on: whoever takes those may be slow.
    pub(super) fn at_rest(&self) -> Option<u64> {
        let state = self.state.lock();
        (state.passing_on == 0).then_some(state.bytes_read)
    }

    /// Notes that a stream ended.
    pub(super) fn end_stream(&self) {
        self.state.lock().streams_ended += 1;
        self.changed.notify_all();
    }

    /// Waits a while until so many streams have ended; returns whether they have.
    pub(super) fn wait_for_ends(&self, streams: usize, patience: Duration) -> bool {
        let mut state = self.state.lock();
        let _ = self.changed.wait_while_for(&mut state, |state| state.streams_ended < streams, patience);
        state.streams_ended >= streams
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorder_that_does_not_come_costs_lines_and_no_time() {
        let lines = Lines::default();
        for i in 0..50_000 {
            lines.push(Stream::Stdout, i, &[b'x'; 1000], false);
        }
        lines.push(Stream::Stderr, 50_000, b"last", false);
        lines.close(Ended::NotStarted { why: String::new() });
        let mut kept = 0u64;
        let lost = loop {
            match lines.next() {
                Next::Line(line) => kept += u64::from(line.stream == Stream::Stdout),
                Next::Lost(stream, lost) => break (stream, lost),
                Next::Ended(..) => panic!("nothing was lost"),
            }
        };
        assert!(kept > 30_000, "{kept}");
        // Those that found room are the first ones.
        let rest = 50_000 - kept;
        assert_eq!((lost.0, lost.1.lines, lost.1.bytes), (Stream::Stdout, rest, rest * 1000));
        assert_eq!((lost.1.start_ns, lost.1.end_ns), (50_000 - rest as i64, 49_999));
        // The last line may have found room, or not.
        let tail = loop {
            match lines.next() {
                Next::Lost(Stream::Stderr, _) => {}
                Next::Ended(_, tail) => break tail,
                _ => panic!("the end comes last"),
            }
        };
        assert_eq!((tail.len(), tail.last().map(String::as_str)), (20, Some("last")));
    }
}
