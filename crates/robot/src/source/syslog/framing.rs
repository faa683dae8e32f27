//! Messages in a stream, as RFC 6587 has them: counted by octets, or one per line.
//!
//! In come bytes as they arrive, out go messages. Each message tells by its beginning which of the two it is.
//!
//! **Invariant:** no more than the limit is held of a message, whatever length it claims; the rest is counted and skipped.

/// How many digits a length has at most.
const DIGITS: usize = 9;

/// Finds messages.
pub(super) struct Frames {
    limit: usize,
    frame: Vec<u8>,
    /// How many bytes of the frame were over the limit.
    cut: u64,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Start,
    /// A length, or a line that begins with digits, which are in the frame.
    Count,
    /// A counted message of which so many octets are still to come.
    Octets(u64),
    Line,
}

impl Frames {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, frame: Vec::new(), cut: 0, state: State::Start }
    }

    /// Takes bytes; hands on each message that is whole, and how many bytes of it are missing.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut emit: impl FnMut(&[u8], u64)) {
        while let Some(&first) = bytes.first() {
            let taken = match self.state {
                State::Start if first.is_ascii_whitespace() || first == 0 => 1,
                State::Start => {
                    self.state = if first.is_ascii_digit() && first != b'0' { State::Count } else { State::Line };
                    0
                }
                State::Count if first.is_ascii_digit() && self.frame.len() < DIGITS => self.push(&bytes[..1]),
                State::Count if first == b' ' && !self.frame.contains(&b' ') => self.push(&bytes[..1]),
                State::Count => {
                    // Only a message begins like this: anything else is a line with a number in front.
                    let length = self.frame.strip_suffix(b" ").filter(|_| first == b'<').and_then(number);
                    self.state = length.map_or(State::Line, State::Octets);
                    if length.is_some() {
                        self.frame.clear();
                    }
                    0
                }
                State::Octets(left) => {
                    let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.push(&bytes[..count]);
                    self.state = State::Octets(left - count as u64);
                    if left == count as u64 {
                        self.finish(&mut emit);
                    }
                    count
                }
                State::Line => match bytes.iter().position(|byte| matches!(byte, b'\n' | b'\0')) {
                    Some(at) => {
                        self.push(&bytes[..at]);
                        self.finish(&mut emit);
                        at + 1
                    }
                    None => self.push(bytes),
                },
            };
            bytes = &bytes[taken..];
        }
    }

    /// Hands on what has no end.
    pub(super) fn end(&mut self, mut emit: impl FnMut(&[u8], u64)) {
        if let State::Octets(left) = self.state {
            self.cut += left;
        }
        self.finish(&mut emit);
    }

    fn push(&mut self, bytes: &[u8]) -> usize {
        let kept = bytes.len().min(self.limit - self.frame.len());
        self.frame.extend_from_slice(&bytes[..kept]);
        self.cut += (bytes.len() - kept) as u64;
        bytes.len()
    }

    fn finish(&mut self, emit: &mut impl FnMut(&[u8], u64)) {
        let text = self.frame.trim_ascii_end();
        if !text.is_empty() {
            emit(text, self.cut);
        }
        self.frame.clear();
        (self.cut, self.state) = (0, State::Start);
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(limit: usize, pieces: &[&[u8]]) -> Vec<(String, u64)> {
        let (mut frames, mut found) = (Frames::new(limit), Vec::new());
        let mut emit = |frame: &[u8], cut| found.push((String::from_utf8_lossy(frame).into_owned(), cut));
        pieces.iter().for_each(|piece| frames.feed(piece, &mut emit));
        frames.end(&mut emit);
        found
    }

    #[test]
    fn both_framings_are_told_apart_message_by_message() {
        let stream = b"<13>one\r\n6 <13>ab<13>two\n\n9 <13>a\nbc\n12 angry men\n2026-01-01 x\0<1>last";
        let expected = ["<13>one", "<13>ab", "<13>two", "<13>a\nbc", "12 angry men", "2026-01-01 x", "<1>last"];
        for size in [1, 2, 3, 7, stream.len()] {
            let pieces: Vec<&[u8]> = stream.chunks(size).collect();
            let found: Vec<String> = frames(1000, &pieces).into_iter().map(|(text, _)| text).collect();
            assert_eq!(found, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn no_length_makes_it_hold_more_than_the_limit() {
        let line = [b"<13>".as_slice(), &[b'x'; 100], b"\n<13>next\n"].concat();
        assert_eq!(frames(10, &[&line]), [("<13>xxxxxx".into(), 94), ("<13>next".into(), 0)]);
        let counted = [b"104 <13>".as_slice(), &[b'x'; 100], b"8 <13>next"].concat();
        assert_eq!(frames(10, &[&counted]), [("<13>xxxxxx".into(), 94), ("<13>next".into(), 0)]);
        // A length that lies swallows what follows, and says so.
        assert_eq!(frames(10, &[b"999999999 <13>abc"]), [("<13>abc".into(), 999_999_992)]);
        assert_eq!(frames(10, &[b"99999999999999999999 <13>abc\n"]).len(), 1);
    }
}
