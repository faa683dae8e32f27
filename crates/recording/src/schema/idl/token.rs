//! The words of OMG IDL.
//!
//! In comes a text, out come names, numbers, texts and signs, each with the comments around it.
//!
//! **Invariant:** preprocessor lines say nothing here, and a comment belongs to the word behind it, or to the one before it on its line.

use crate::error::{Error, Result};

/// A word.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) word: Word<'a>,
    /// Where it begins.
    pub(super) start: usize,
    /// The line it stands on.
    pub(super) line: usize,
    /// The comments in front of it, on lines of their own.
    pub(super) before: String,
}

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Word<'a> {
    Name(&'a str),
    Number(&'a str),
    /// What stands between the quotes, as it is written.
    Text(&'a str),
    Sign(&'a str),
    End,
}

/// Reads a text word by word.
pub(super) struct Tokens<'a> {
    length: usize,
    rest: &'a str,
    /// Where the last word ended.
    end: usize,
    line: usize,
    /// Whether nothing but spaces stood on the line so far.
    is_line_start: bool,
    /// The comment behind the last word, on its line.
    pub(super) behind: String,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            length: text.len(),
            end: 0,
            rest: text.strip_prefix('\u{feff}').unwrap_or(text),
            line: 1,
            is_line_start: true,
            behind: String::new(),
        }
    }

    /// Returns the next word.
    ///
    /// # Errors
    /// `Invalid` for a comment or a text that does not end, and for a sign that IDL does not have.
    pub(super) fn next(&mut self) -> Result<Token<'a>> {
        self.behind.clear();
        let before = self.skip()?;
        let (line, start) = (self.line, self.length - self.rest.len());
        let Some(first) = self.rest.chars().next() else { return Ok(Token { word: Word::End, start, line, before }) };
        self.is_line_start = false;
        let word = if first.is_alphabetic() || first == '_' {
            Word::Name(self.take(|c| c.is_alphanumeric() || c == '_'))
        } else if first.is_ascii_digit() || (first == '.' || first == '-' || first == '+') && self.digit_follows() {
            Word::Number(self.number())
        } else if first == '"' || first == '\'' {
            Word::Text(self.quoted(first)?)
        } else if self.rest.starts_with("::") {
            Word::Sign(self.cut(2))
        } else if "{}()[]<>;:,=@|&+-*/%~^".contains(first) {
            Word::Sign(self.cut(1))
        } else {
            return Err(self.error(format!("'{first}' is no sign of IDL")));
        };
        self.end = self.length - self.rest.len();
        self.behind = self.comment_behind()?;
        Ok(Token { word, start, line, before })
    }

    /// Returns where the last word ended.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Skips spaces, comments and preprocessor lines; returns the comments.
    fn skip(&mut self) -> Result<String> {
        let mut before = String::new();
        loop {
            let spaces = self.take(char::is_whitespace);
            let lines = spaces.matches('\n').count();
            if lines > 0 {
                self.is_line_start = true;
            }
            if lines > 1 {
                // An empty line parts a comment from what follows.
                before.clear();
            }
            if self.rest.starts_with('#') && self.is_line_start {
                self.preprocessor();
            } else if let Some(comment) = self.comment()? {
                add(&mut before, &comment);
            } else {
                return Ok(before);
            }
        }
    }

    /// Takes a comment that begins here.
    fn comment(&mut self) -> Result<Option<String>> {
        if self.rest.starts_with("//") {
            let text = self.take(|c| c != '\n');
            return Ok(Some(text.trim_start_matches(['/', '!', '<']).trim().to_owned()));
        }
        if self.rest.starts_with("/*") {
            let Some(length) = self.rest[2..].find("*/") else { return Err(self.error("a comment does not end".into())) };
            let text = self.cut(length + 4);
            let inside = text[2..length + 2].trim_start_matches(['*', '!', '<']);
            let lines: Vec<&str> =
                inside.lines().map(|line| line.trim().trim_start_matches('*').trim()).filter(|line| !line.is_empty()).collect();
            return Ok(Some(lines.join("\n")));
        }
        Ok(None)
    }

    /// Takes the comment that follows on the same line.
    fn comment_behind(&mut self) -> Result<String> {
        let spaces = self.rest.len() - self.rest.trim_start_matches([' ', '\t']).len();
        if self.rest[spaces..].starts_with("//") {
            self.cut(spaces);
            return Ok(self.comment()?.unwrap_or_default());
        }
        Ok(String::new())
    }

    fn preprocessor(&mut self) {
        loop {
            let line = self.take(|c| c != '\n');
            if !line.trim_end_matches('\r').ends_with('\\') || self.rest.is_empty() {
                return;
            }
            self.cut(1);
        }
    }

    /// Returns whether a sign or a point begins a number.
    fn digit_follows(&self) -> bool {
        let mut behind = self.rest.chars().skip(1);
        match behind.next() {
            Some('.') => behind.next().is_some_and(|c| c.is_ascii_digit()),
            next => next.is_some_and(|c| c.is_ascii_digit()),
        }
    }

    fn number(&mut self) -> &'a str {
        let bytes = self.rest.as_bytes();
        let mut length = 1;
        while let Some(&byte) = bytes.get(length) {
            let is_exponent_sign = matches!(byte, b'+' | b'-') && matches!(bytes[length - 1], b'e' | b'E') && !self.rest.starts_with("0x");
            if !(byte.is_ascii_alphanumeric() || byte == b'.' || is_exponent_sign) {
                break;
            }
            length += 1;
        }
        self.cut(length)
    }

    fn quoted(&mut self, quote: char) -> Result<&'a str> {
        let mut is_escaped = false;
        for (offset, c) in self.rest.char_indices().skip(1) {
            match c {
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = true,
                _ if c == quote => return Ok(&self.cut(offset + 1)[1..offset]),
                _ => {}
            }
        }
        Err(self.error("a text does not end".into()))
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        self.cut(self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len()))
    }

    fn cut(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn error(&self, why: String) -> Error {
        Error::invalid(format!("line {} of an IDL text: {why}", self.line))
    }
}

/// Returns a text with its escapes resolved.
pub(super) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match if c == '\\' { characters.next() } else { None } {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => {}
            Some(other) => out.push(other),
            None => out.push(c),
        }
    }
    out
}

/// Adds a line to a comment.
pub(super) fn add(comment: &mut String, line: &str) {
    if !comment.is_empty() && !line.is_empty() {
        comment.push('\n');
    }
    comment.push_str(line);
}
