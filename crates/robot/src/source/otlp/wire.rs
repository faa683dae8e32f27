//! Protobuf's wire format: the fields of a message, one after the other, without taking it apart.
//!
//! **Invariant:** nothing is allocated, and every byte is looked at once.

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field<'a> {
    /// A number of any width.
    Number,
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
}

/// The bytes are no message.
#[derive(Debug, PartialEq)]
pub(super) struct Broken;

/// Iterates over the fields of a message, with their numbers. Ends after the first mistake.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => self.varint().map(|_| Field::Number)?,
            1 => self.bytes(8).map(|_| Field::Number)?,
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.bytes(length)?)
            }
            5 => self.bytes(4).map(|_| Field::Number)?,
            _ => return None,
        };
        Some((tag >> 3, field)).filter(|(number, _)| *number > 0)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for (i, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i as u32).min(63);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[i + 1..];
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self, length: u64) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field.ok_or(Broken))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_come_with_their_numbers() {
        let read = |bytes: &'static [u8]| Fields::new(bytes).collect::<Result<Vec<_>, _>>();
        let message = b"\x08\x96\x01\x12\x02hi\x19\0\0\0\0\0\0\0\0\x25\0\0\0\0";
        assert_eq!(read(message).unwrap(), [(1, Field::Number), (2, Field::Bytes(b"hi")), (3, Field::Number), (4, Field::Number)]);
        for broken in
            [b"\x12\x05hi".as_slice(), b"\x08", b"\x0b", b"\x02\x00", &[0xff; 12], b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
        {
            assert_eq!(read(broken), Err(Broken), "{broken:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(Fields::new(&bytes).count() <= bytes.len());
        }
    }
}
