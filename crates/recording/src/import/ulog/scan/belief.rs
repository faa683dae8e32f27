//! Whether bytes are a message, by all that is known so far.
//!
//! **Invariant:** what is unsure is believed only where messages follow it.

use super::super::message::{self, Message, Parsed};
use super::Scan;

/// So many messages in a row that may be some are believed.
const CHAIN: usize = 64;

/// How many bytes searches may look at for each byte of the file, and at least. What repeats itself can look like messages within
/// messages everywhere; from then on only data of known streams ends damage.
const EFFORT: u64 = 256;
const EFFORT_LEAST: u64 = 64 << 20;

/// What bytes begin with, by all that is known so far.
enum Look {
    /// A message, and how long it is.
    Right(usize),
    /// Something that only what follows can confirm.
    Perhaps(usize),
    Wrong,
}

impl Scan {
    /// Returns whether bytes begin with a message that others follow.
    pub(super) fn begins(&self, bytes: &[u8], at_wall: bool) -> bool {
        if self.looked.get() > self.end.saturating_mul(EFFORT).saturating_add(EFFORT_LEAST) {
            return self.is_data(bytes);
        }
        message::is_known(bytes.get(2).copied().unwrap_or_default())
            && matches!(self.look(bytes), Look::Right(length) if length == bytes.len() || self.goes_on(&bytes[length..], at_wall))
    }

    /// Returns whether bytes begin with data of a known stream, and then with more of it or nothing.
    fn is_data(&self, bytes: &[u8]) -> bool {
        let length = |bytes: &[u8]| {
            let look = (bytes.get(2) == Some(&b'D')).then(|| self.look(bytes));
            if let Some(Look::Right(length)) = look { Some(length) } else { None }
        };
        length(bytes).is_some_and(|first| first == bytes.len() || length(&bytes[first..]).is_some())
    }

    /// Returns how long the message is that bytes begin with, if it is one.
    pub(super) fn believe(&self, bytes: &[u8], at_wall: bool) -> Option<usize> {
        match self.look(bytes) {
            Look::Right(length) => Some(length),
            // New kinds of messages may come, and subscriptions may be lost: what follows tells.
            Look::Perhaps(length) if length == bytes.len() => at_wall.then_some(length),
            // Nothing good stands inside of it either: a wrong length leads to a good message by chance.
            Look::Perhaps(length) => {
                let follows = self.goes_on(&bytes[length..], at_wall);
                let alone = || !(1..length).any(|at| self.begins(&bytes[at..], at_wall));
                (follows && alone()).then_some(length)
            }
            Look::Wrong => None,
        }
    }

    /// Returns whether messages follow: a good one, if perhaps behind others that may be some.
    fn goes_on(&self, bytes: &[u8], at_wall: bool) -> bool {
        let mut rest = bytes;
        for _ in 0..CHAIN {
            match self.look(rest) {
                Look::Right(_) => return true,
                Look::Perhaps(length) if length == rest.len() => return at_wall,
                Look::Perhaps(length) => rest = &rest[length..],
                // What the end cuts begins like a message all the same.
                Look::Wrong => return at_wall && rest.len() == bytes.len() && matches!(message::parse(rest), Parsed::Short(_)),
            }
        }
        true
    }

    fn look(&self, bytes: &[u8]) -> Look {
        let parsed = message::parse(bytes);
        // Data is told by its length; all else is read to its end.
        if let Parsed::Message(_, length) | Parsed::Odd(_, length) = parsed
            && bytes.get(2) != Some(&b'D')
        {
            self.looked.set(self.looked.get() + length as u64);
        }
        match parsed {
            Parsed::Message(Message::Data(id, payload), length) => {
                let stream = self.state.ids.get(&id).and_then(|channel| self.streams.get(*channel));
                match stream.map(|stream| stream.fits(payload)) {
                    Some(Some(true)) => Look::Right(length),
                    Some(Some(false)) => Look::Wrong,
                    None | Some(None) => Look::Perhaps(length),
                }
            }
            Parsed::Message(Message::Subscribe { name, .. }, length) if !self.streams.has_format(name) => Look::Perhaps(length),
            Parsed::Message(Message::Unsubscribe(id), length) if !self.state.ids.contains_key(&id) => Look::Perhaps(length),
            Parsed::Message(_, length) => Look::Right(length),
            Parsed::Odd(_, length) => Look::Perhaps(length),
            Parsed::Short(_) | Parsed::Nothing => Look::Wrong,
        }
    }
}
