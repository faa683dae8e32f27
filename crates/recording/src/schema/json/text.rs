//! JSON text, read from left to right without building values.
//!
//! `NaN`, `Infinity` and `-Infinity` are numbers here: Python's `json` writes them, and so robots log them.
//!
//! **Invariant:** nesting costs no stack, and no value is deeper than [`NESTING_LIMIT`].

use std::borrow::Cow;

use crate::error::{Error, Result};

/// How deeply lists and objects may nest.
pub(crate) const NESTING_LIMIT: usize = 128;

/// What kind of value comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Null,
    Bool,
    Number,
    Text,
    List,
    Object,
}

impl Next {
    /// Returns what to call it in a message.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }
}

/// A number in the narrowest kind that holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Int(i64),
    /// A whole number above those of `Int`.
    UInt(u64),
    Float(f64),
}

/// JSON text being read.
#[derive(Clone, Debug)]
pub(crate) struct Json<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Json<'a> {
    /// Returns the text of a whole value.
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Returns the text from a place on.
    pub(crate) fn from(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at: at.min(bytes.len()) }
    }

    /// Returns the place of what comes next.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Returns the kind of the value that comes next.
    ///
    /// # Errors
    /// `Corrupt` where there is none.
    pub(crate) fn peek(&mut self) -> Result<Next> {
        match self.byte() {
            Some(b'n') => Ok(Next::Null),
            Some(b't' | b'f') => Ok(Next::Bool),
            Some(b'-' | b'0'..=b'9' | b'N' | b'I') => Ok(Next::Number),
            Some(b'"') => Ok(Next::Text),
            Some(b'[') => Ok(Next::List),
            Some(b'{') => Ok(Next::Object),
            _ => Err(self.malformed("a value is missing")),
        }
    }

    /// Checks that nothing comes behind the value.
    ///
    /// # Errors
    /// `Corrupt` where there is more.
    pub(crate) fn end(&mut self) -> Result<()> {
        if self.byte().is_some() { Err(self.malformed("more text behind the value")) } else { Ok(()) }
    }

    /// Reads a null, if one comes next.
    pub(crate) fn null(&mut self) -> bool {
        self.byte() == Some(b'n') && self.word(b"null")
    }

    /// Reads a boolean.
    ///
    /// # Errors
    /// `Corrupt` where none comes next.
    pub(crate) fn bool(&mut self) -> Result<bool> {
        self.byte();
        if self.word(b"true") {
            Ok(true)
        } else if self.word(b"false") {
            Ok(false)
        } else {
            Err(self.malformed("neither true nor false"))
        }
    }

    /// Reads a number.
    ///
    /// # Errors
    /// `Corrupt` where none comes next.
    pub(crate) fn number(&mut self) -> Result<Number> {
        let text = self.number_text()?;
        Ok(match text {
            "NaN" => Number::Float(f64::NAN),
            "Infinity" => Number::Float(f64::INFINITY),
            "-Infinity" => Number::Float(f64::NEG_INFINITY),
            _ => match (text.parse(), text.parse()) {
                (Ok(number), _) => Number::Int(number),
                (_, Ok(number)) => Number::UInt(number),
                _ => Number::Float(text.parse().map_err(|_| self.malformed("no number"))?),
            },
        })
    }

    /// Reads a text.
    ///
    /// # Errors
    /// `Corrupt` where none comes next, or it is no UTF-8.
    pub(crate) fn text(&mut self) -> Result<Cow<'a, str>> {
        let raw = self.text_bytes()?;
        if !raw.contains(&b'\\') {
            return std::str::from_utf8(raw).map(Cow::Borrowed).map_err(|_| self.malformed("a text that is not UTF-8"));
        }
        let quoted = &self.bytes[self.at - raw.len() - 2..self.at];
        serde_json::from_slice(quoted).map(Cow::Owned).map_err(|error| self.malformed("a malformed text").caused_by(error))
    }

    /// Reads the start of a list or an object; `open` is its bracket.
    ///
    /// # Errors
    /// `Corrupt` where none comes next.
    pub(crate) fn open(&mut self, open: u8) -> Result<()> {
        if self.byte() != Some(open) {
            return Err(self.malformed("a bracket is missing"));
        }
        self.at += 1;
        Ok(())
    }

    /// Reads up to the next element of a list, or past its end: `false`. `is_first` is true for the first one and set to false.
    ///
    /// # Errors
    /// `Corrupt` where neither comes next.
    pub(crate) fn element(&mut self, is_first: &mut bool) -> Result<bool> {
        self.part(is_first, b']')
    }

    /// Reads the next key of an object, up to its value, or past the end of the object: `None`.
    ///
    /// # Errors
    /// `Corrupt` where neither comes next.
    pub(crate) fn key(&mut self, is_first: &mut bool) -> Result<Option<Cow<'a, str>>> {
        if !self.part(is_first, b'}')? {
            return Ok(None);
        }
        self.byte();
        let key = self.text()?;
        self.colon()?;
        Ok(Some(key))
    }

    /// Reads any value; returns its text.
    ///
    /// # Errors
    /// `Corrupt` where it is malformed or nests too deeply.
    pub(crate) fn skip(&mut self) -> Result<&'a [u8]> {
        self.byte();
        let start = self.at;
        self.walk(|_| {})?;
        Ok(&self.bytes[start..self.at])
    }

    /// Reads any value and writes it without white space, with quotes around the numbers that JSON does not have.
    ///
    /// # Errors
    /// `Corrupt` where it is malformed or nests too deeply; `out` then has a part of it.
    pub(crate) fn copy(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.walk(|part| match part {
            b"NaN" => out.extend_from_slice(b"\"NaN\""),
            b"Infinity" => out.extend_from_slice(b"\"Infinity\""),
            b"-Infinity" => out.extend_from_slice(b"\"-Infinity\""),
            part => out.extend_from_slice(part),
        })
    }

    /// Reads any value, and tells its parts as they come: brackets, commas, colons and scalars.
    fn walk(&mut self, mut each: impl FnMut(&'a [u8])) -> Result<()> {
        // One bit for each open bracket: set for an object.
        let (mut objects, mut depth) = (0_u128, 0);
        loop {
            let next = self.peek()?;
            let start = self.at;
            match next {
                Next::List | Next::Object => {
                    if depth == NESTING_LIMIT {
                        return Err(self.malformed("lists and objects that nest too deeply"));
                    }
                    self.at += 1;
                    let close = if next == Next::List { b']' } else { b'}' };
                    if self.byte() == Some(close) {
                        each(&self.bytes[start..start + 1]);
                        each(&self.bytes[self.at..self.at + 1]);
                        self.at += 1;
                    } else {
                        each(&self.bytes[start..start + 1]);
                        (objects, depth) = (objects << 1 | u128::from(next == Next::Object), depth + 1);
                        if next == Next::Object {
                            self.name(&mut each)?;
                        }
                        continue;
                    }
                }
                Next::Text => {
                    self.text_bytes()?;
                    each(&self.bytes[start..self.at]);
                }
                Next::Number => {
                    self.number_text()?;
                    each(&self.bytes[start..self.at]);
                }
                Next::Bool => {
                    self.bool()?;
                    each(&self.bytes[start..self.at]);
                }
                Next::Null => {
                    if !self.null() {
                        return Err(self.malformed("no null"));
                    }
                    each(&self.bytes[start..self.at]);
                }
            }
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let is_object = objects & 1 == 1;
                let close = if is_object { b'}' } else { b']' };
                let found = self.byte();
                if found != Some(b',') && found != Some(close) {
                    return Err(self.malformed("a comma is missing"));
                }
                each(&self.bytes[self.at..self.at + 1]);
                self.at += 1;
                if found == Some(b',') {
                    if is_object {
                        self.name(&mut each)?;
                    }
                    break;
                }
                (objects, depth) = (objects >> 1, depth - 1);
            }
        }
    }

    fn name(&mut self, each: &mut impl FnMut(&'a [u8])) -> Result<()> {
        self.byte();
        let start = self.at;
        self.text_bytes()?;
        each(&self.bytes[start..self.at]);
        self.colon()?;
        each(b":");
        Ok(())
    }

    fn colon(&mut self) -> Result<()> {
        if self.byte() != Some(b':') {
            return Err(self.malformed("a colon is missing"));
        }
        self.at += 1;
        Ok(())
    }

    fn part(&mut self, is_first: &mut bool, close: u8) -> Result<bool> {
        let found = self.byte();
        let was_first = std::mem::replace(is_first, false);
        if found == Some(close) {
            self.at += 1;
            return Ok(false);
        }
        if was_first {
            return Ok(true);
        }
        if found != Some(b',') {
            return Err(self.malformed("a comma is missing"));
        }
        self.at += 1;
        Ok(true)
    }

    /// Returns the next byte that is no white space.
    #[inline]
    fn byte(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    fn word(&mut self, word: &[u8]) -> bool {
        let is_there = self.bytes[self.at..].starts_with(word);
        if is_there {
            self.at += word.len();
        }
        is_there
    }

    fn number_text(&mut self) -> Result<&'a str> {
        self.byte();
        let rest = &self.bytes[self.at..];
        let word = [&b"NaN"[..], b"Infinity", b"-Infinity"].into_iter().find(|word| rest.starts_with(word));
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = word.map_or_else(|| rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len()), <[u8]>::len);
        let text = &rest[..length];
        if word.is_none() && !is_number(text) {
            return Err(self.malformed("no number"));
        }
        self.at += length;
        std::str::from_utf8(text).map_err(|_| self.malformed("no number"))
    }

    /// Reads a text; returns what stands between its quotes, escapes and all.
    fn text_bytes(&mut self) -> Result<&'a [u8]> {
        if self.byte() != Some(b'"') {
            return Err(self.malformed("a text is missing"));
        }
        let start = self.at + 1;
        let mut at = start;
        loop {
            let rest = self.bytes.get(at..).unwrap_or_default();
            let Some(found) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)) else {
                return Err(self.malformed("a text without an end"));
            };
            match rest[found] {
                b'"' => {
                    self.at = at + found + 1;
                    return Ok(&self.bytes[start..at + found]);
                }
                b'\\' if is_escape(&rest[found + 1..]) => at += found + 2,
                _ => return Err(self.malformed("a control character or an escape that JSON does not have")),
            }
        }
    }

    fn malformed(&self, what: &str) -> Error {
        Error::corrupt(format!("malformed JSON at byte {}: {what}", self.at))
    }
}

fn is_escape(rest: &[u8]) -> bool {
    match rest {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => true,
        [b'u', digits @ ..] => digits.len() >= 4 && digits[..4].iter().all(u8::is_ascii_hexdigit),
        _ => false,
    }
}

/// Returns whether a text is a number as JSON writes it.
fn is_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(text);
    if whole == 0 || whole > 1 && text[0] == b'0' {
        return false;
    }
    let mut rest = &text[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = digits(fraction);
        if length == 0 {
            return false;
        }
        rest = &fraction[length..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = exponent.strip_prefix(b"-").or(exponent.strip_prefix(b"+")).unwrap_or(exponent);
        return !exponent.is_empty() && digits(exponent) == exponent.len();
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn copied(text: &[u8]) -> Result<String> {
        let mut json = Json::of(text);
        let mut out = Vec::new();
        json.copy(&mut out)?;
        json.end()?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn white_space_is_left_out_and_odd_numbers_are_quoted() {
        let text = b" { \"a b\" : [ 1 , -2.5e+3 , { } , [ ] , NaN , -Infinity ] ,\n\"c\\\"\" : null , \"d\":true} ";
        assert_eq!(copied(text).unwrap(), r#"{"a b":[1,-2.5e+3,{},[],"NaN","-Infinity"],"c\"":null,"d":true}"#);
    }

    #[test]
    fn what_json_does_not_have_is_malformed() {
        for wrong in
            ["", "{", "[1 2]", "[1,]", "{\"a\"}", "{\"a\":}", "01", "1.", "-", "nul", "\"\n\"", "\"\\x\"", "\"\\u12\"", "1 1", "+1"]
        {
            assert!(copied(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(copied("[".repeat(1000).as_bytes()).is_err());
        let deep = "[".repeat(NESTING_LIMIT) + &"]".repeat(NESTING_LIMIT);
        assert!(copied(deep.as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn what_serde_json_reads_is_read_and_what_it_refuses_is_refused(text in "[\\[\\]{},:\" \\\\a0-9.eE\\-u+ntf]{0,24}") {
            let oracle = serde_json::from_str::<Box<serde_json::value::RawValue>>(&text);
            prop_assert_eq!(copied(text.as_bytes()).is_ok(), oracle.is_ok(), "{}", text);
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = copied(&bytes);
        }
    }
}
