//! The journal's export format: fields of an entry, as text or with their size in front; an empty line ends it.
//!
//! In come bytes as they arrive, out go entries.
//!
//! **Invariant:** of an entry no more than the limits is held, whatever sizes it claims; one that is damaged costs itself.

use std::borrow::Cow;

/// How much of a field is kept; the rest is skipped, and counted.
const FIELD_LIMIT: usize = 1 << 20;
/// How much of an entry is kept.
const ENTRY_LIMIT: usize = 4 << 20;
/// How many fields of an entry are kept.
const FIELDS_LIMIT: usize = 1024;
/// The longest name of a field; the journal has 64.
const NAME_LIMIT: usize = 256;
/// A field that claims to be larger is damage: the journal's own limit is lower.
const SIZE_LIMIT: u64 = 1 << 30;

const DAMAGED: &str = "a damaged entry of the journal";
const TORN: &str = "an entry of the journal that has no end";

/// An entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) fields: Vec<(String, Vec<u8>)>,
    /// How many bytes were over the limits.
    pub(super) cut_bytes: u64,
}

impl Entry {
    /// Returns a field's first value as text.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| String::from_utf8_lossy(value))
    }
}

/// Finds entries.
#[derive(Default)]
pub(super) struct Entries {
    entry: Entry,
    held_bytes: usize,
    /// The line, the size or the value that is being read.
    part: Vec<u8>,
    name: String,
    state: State,
}

#[derive(Clone, Copy, Default)]
enum State {
    /// `NAME=value`, or `NAME` before a size.
    #[default]
    Line,
    Size,
    Value(u64),
    /// The line's end behind a value with a size.
    Newline,
    /// Damage: nothing is believed until an empty line. Whether the line is empty so far.
    Skip(bool),
}

impl Entries {
    /// Takes bytes; hands on each entry that is whole, or why one is none.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut emit: impl FnMut(Result<Entry, &'static str>)) {
        while let Some(&first) = bytes.first() {
            let taken = match self.state {
                State::Line => self.line(bytes, &mut emit),
                State::Size => {
                    let count = bytes.len().min(8 - self.part.len());
                    self.part.extend_from_slice(&bytes[..count]);
                    if let Ok(size) = <[u8; 8]>::try_from(self.part.as_slice()) {
                        self.part.clear();
                        self.state = match u64::from_le_bytes(size) {
                            0 => self.end_value(),
                            size @ ..=SIZE_LIMIT => State::Value(size),
                            _ => self.skip(false, &mut emit),
                        };
                    }
                    count
                }
                State::Value(left) => {
                    let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.keep(&bytes[..count]);
                    self.state = if left == count as u64 { self.end_value() } else { State::Value(left - count as u64) };
                    count
                }
                State::Newline => {
                    self.state = if first == b'\n' { State::Line } else { self.skip(false, &mut emit) };
                    usize::from(first == b'\n')
                }
                State::Skip(is_empty) => {
                    self.state = match first {
                        b'\n' if is_empty => State::Line,
                        other => State::Skip(other == b'\n'),
                    };
                    1
                }
            };
            bytes = &bytes[taken..];
        }
    }

    /// Hands on what is left: an entry that lacks only its empty line is whole.
    pub(super) fn end(&mut self, mut emit: impl FnMut(Result<Entry, &'static str>)) {
        let is_whole = matches!(self.state, State::Line) && self.part.is_empty();
        if matches!(self.state, State::Skip(_)) {
            // It was told when it began.
        } else if is_whole {
            self.finish(&mut emit);
        } else {
            emit(Err(TORN));
        }
        *self = Self::default();
    }

    fn line(&mut self, bytes: &[u8], emit: &mut impl FnMut(Result<Entry, &'static str>)) -> usize {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        self.keep_line(&bytes[..end.unwrap_or(bytes.len())]);
        let Some(end) = end else { return bytes.len() };
        let line = std::mem::take(&mut self.part);
        match line.iter().position(|byte| *byte == b'=') {
            _ if line.is_empty() => self.finish(emit),
            Some(at) => match name(&line[..at]) {
                Some(name) => self.add(name, line[at + 1..].to_vec()),
                None => self.state = self.skip(true, emit),
            },
            None => match name(&line) {
                Some(name) => (self.name, self.state) = (name, State::Size),
                None => self.state = self.skip(true, emit),
            },
        }
        end + 1
    }

    /// Keeps a part of a line, with room for a name in front of the longest value.
    fn keep_line(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min((FIELD_LIMIT + NAME_LIMIT).saturating_sub(self.part.len()));
        self.part.extend_from_slice(&bytes[..kept]);
        self.entry.cut_bytes += (bytes.len() - kept) as u64;
    }

    fn keep(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(FIELD_LIMIT.saturating_sub(self.part.len()));
        self.part.extend_from_slice(&bytes[..kept]);
        self.entry.cut_bytes += (bytes.len() - kept) as u64;
    }

    fn end_value(&mut self) -> State {
        let (name, value) = (std::mem::take(&mut self.name), std::mem::take(&mut self.part));
        self.add(name, value);
        State::Newline
    }

    fn add(&mut self, name: String, value: Vec<u8>) {
        let size = name.len() + value.len();
        if self.entry.fields.len() == FIELDS_LIMIT || self.held_bytes + size > ENTRY_LIMIT {
            self.entry.cut_bytes += size as u64;
            return;
        }
        self.held_bytes += size;
        self.entry.fields.push((name, value));
    }

    fn skip(&mut self, at_line_start: bool, emit: &mut impl FnMut(Result<Entry, &'static str>)) -> State {
        *self = Self::default();
        emit(Err(DAMAGED));
        State::Skip(at_line_start)
    }

    fn finish(&mut self, emit: &mut impl FnMut(Result<Entry, &'static str>)) {
        let entry = std::mem::take(&mut self.entry);
        self.held_bytes = 0;
        if !entry.fields.is_empty() {
            emit(Ok(entry));
        }
    }
}

/// Returns a field's name, if it is one.
fn name(bytes: &[u8]) -> Option<String> {
    let good = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let is_one = !bytes.is_empty() && bytes.len() <= NAME_LIMIT && bytes.iter().all(good);
    is_one.then(|| String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(name: &str, value: &[u8]) -> Vec<u8> {
        [name.as_bytes(), b"\n", &(value.len() as u64).to_le_bytes(), value, b"\n"].concat()
    }

    fn read(bytes: &[u8], step: usize) -> Vec<Result<Entry, &'static str>> {
        let (mut entries, mut found) = (Entries::default(), Vec::new());
        bytes.chunks(step).for_each(|piece| entries.feed(piece, |entry| found.push(entry)));
        entries.end(|entry| found.push(entry));
        found
    }

    fn messages(bytes: &[u8], step: usize) -> Vec<Result<String, &'static str>> {
        read(bytes, step).into_iter().map(|entry| entry.map(|entry| entry.text("MESSAGE").unwrap_or_default().into_owned())).collect()
    }

    #[test]
    fn entries_are_found_however_they_come() {
        let value = b"two\n\nlines\0=\xff";
        let bytes = [b"__CURSOR=s=1;i=2\nMESSAGE=one\n\n".as_slice(), &binary("MESSAGE", value), b"A=1\nA=2\n\n\nMESSAGE=three\n"].concat();
        for step in [1, 2, 3, 5, 8, 13, bytes.len()] {
            let entries: Vec<Entry> = read(&bytes, step).into_iter().map(Result::unwrap).collect();
            assert_eq!(entries[0].text("__CURSOR").unwrap(), "s=1;i=2");
            assert_eq!((&entries[1].fields[0].1[..], entries[1].fields.len()), (value.as_slice(), 3));
            assert_eq!((entries.len(), entries[2].text("MESSAGE").unwrap().as_ref()), (3, "three"));
        }
        assert_eq!(read(&binary("A", b""), 4)[0].as_ref().unwrap().fields, [("A".to_owned(), Vec::new())]);
        assert!(read(b"\n\n\n", 1).is_empty());
    }

    #[test]
    fn damage_costs_the_entry_that_it_is_in() {
        let huge = [b"MESSAGE=a\nMESSAGE\n".as_slice(), &u64::MAX.to_le_bytes(), b"x\n\nMESSAGE=b\n\n"].concat();
        assert_eq!(messages(&huge, 7), [Err(DAMAGED), Ok("b".into())]);
        assert_eq!(messages(b"MESSAGE=a\nno name=1\n\nMESSAGE=b\n\n", 3), [Err(DAMAGED), Ok("b".into())]);
        let short = [b"MESSAGE\n".as_slice(), &2u64.to_le_bytes(), b"abc\n\nMESSAGE=b\n\n"].concat();
        assert_eq!(messages(&short, 4), [Err(DAMAGED), Ok("b".into())]);
    }

    #[test]
    fn a_torn_end_is_told() {
        let whole = [b"MESSAGE=a\n\n".as_slice(), &binary("MESSAGE", b"bcd"), b"\n"].concat();
        for end in 12..whole.len() - 1 {
            assert_eq!(messages(&whole[..end], 100), [Ok("a".into()), Err(TORN)], "{end}");
        }
        assert_eq!(messages(&whole[..whole.len() - 1], 100), [Ok("a".into()), Ok("bcd".into())]);
    }

    #[test]
    fn what_is_too_large_is_cut_and_counted() {
        let value = vec![b'x'; FIELD_LIMIT + 10];
        let bytes = [binary("MESSAGE", &value), [b"B=".as_slice(), &value, b"\n\nMESSAGE=next\n\n"].concat()].concat();
        let entries = read(&bytes, 1 << 16);
        let first = entries[0].as_ref().unwrap();
        assert_eq!((first.fields[0].1.len(), first.cut_bytes >= 10), (FIELD_LIMIT, true));
        assert_eq!(entries[1].as_ref().unwrap().text("MESSAGE").unwrap(), "next");
        let many = "A=1\n".repeat(FIELDS_LIMIT + 5) + "\n";
        let entry = &read(many.as_bytes(), 1000)[0];
        assert_eq!((entry.as_ref().unwrap().fields.len(), entry.as_ref().unwrap().cut_bytes), (FIELDS_LIMIT, 10));
    }
}
