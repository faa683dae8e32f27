//! What every part of the IDL grammar is read with: the next word, the one that must come, names, annotations.
//!
//! In come words, out come names and texts; or the line, what was wanted and what stands there.
//!
//! **Invariant:** every call takes a word or fails at the end, so nothing is read for ever.

use super::Parser;
use super::annotation::Annotations;
use super::token::{self, Token, Word};
use crate::error::{Error, Result};
use crate::schema::line::is_name;

impl<'a> Parser<'a, '_> {
    pub(super) fn annotations(&mut self) -> Result<Annotations> {
        let mut annotations = Annotations::default();
        while self.next.word == Word::Sign("@") {
            let before = std::mem::take(&mut self.next.before);
            self.advance()?;
            let mut name = self.name("an annotation")?;
            while self.optional("::")? {
                name = self.name("an annotation")?;
            }
            let arguments = if self.optional("(")? { self.arguments()? } else { Vec::new() };
            annotations.add(name, arguments, &before);
        }
        Ok(annotations)
    }

    /// Reads what stands between the parentheses of an annotation: texts by their names.
    fn arguments(&mut self) -> Result<Vec<(String, String)>> {
        let mut arguments = vec![(String::new(), String::new())];
        let mut depth = 0_usize;
        loop {
            let token = self.advance()?;
            let Some((name, value)) = arguments.last_mut() else { return Ok(arguments) };
            match token.word {
                Word::Sign(")") if depth == 0 => return Ok(arguments),
                Word::Sign(",") if depth == 0 => arguments.push((String::new(), String::new())),
                Word::Sign("=") if depth == 0 => *name = std::mem::take(value),
                Word::Text(text) => value.push_str(&token::unescape(text)),
                Word::End => return Err(self.error("an annotation does not end".into())),
                Word::Name(word) | Word::Number(word) | Word::Sign(word) => {
                    depth = match word {
                        "(" => depth + 1,
                        ")" => depth.saturating_sub(1),
                        _ => depth,
                    };
                    value.push_str(word);
                }
            }
        }
    }

    /// Returns the full name of what is defined here.
    pub(super) fn full(&self, name: &str) -> String {
        self.modules.iter().copied().chain([name]).collect::<Vec<_>>().join("/")
    }

    /// Returns the text from `start` to the last word.
    pub(super) fn written(&self, start: usize) -> &'a str {
        self.source.get(start..self.end).unwrap_or_default().trim()
    }

    pub(super) fn advance(&mut self) -> Result<Token<'a>> {
        self.end = self.tokens.end();
        let next = self.tokens.next()?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    pub(super) fn optional(&mut self, sign: &str) -> Result<bool> {
        let is_it = matches!(self.next.word, Word::Sign(found) if found == sign);
        if is_it {
            self.advance()?;
        }
        Ok(is_it)
    }

    pub(super) fn optional_name(&mut self, name: &str) -> Result<bool> {
        let is_it = matches!(self.next.word, Word::Name(found) if found == name);
        if is_it {
            self.advance()?;
        }
        Ok(is_it)
    }

    pub(super) fn expect(&mut self, sign: &str) -> Result<()> {
        if self.optional(sign)? { Ok(()) } else { Err(self.unexpected(&format!("'{sign}'"))) }
    }

    pub(super) fn name(&mut self, what: &str) -> Result<&'a str> {
        match self.next.word {
            Word::Name(name) => {
                self.advance()?;
                Ok(name)
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// Reads a name that somebody chose; a keyword is written with an underscore in front.
    pub(super) fn identifier(&mut self) -> Result<&'a str> {
        let name = self.name("a name")?;
        if !is_name(name) {
            return Err(self.error(format!("'{name}' is no name")));
        }
        Ok(name.strip_prefix('_').filter(|rest| KEYWORDS.contains(rest)).unwrap_or(name))
    }

    pub(super) fn unexpected(&self, wanted: &str) -> Error {
        let found = match self.next.word {
            Word::Name(word) | Word::Number(word) | Word::Sign(word) => format!("'{word}'"),
            Word::Text(_) => "a text".into(),
            Word::End => "the end".into(),
        };
        self.error(format!("{wanted} is wanted, not {found}"))
    }

    pub(super) fn error(&self, why: String) -> Error {
        Error::invalid(format!("line {} of an IDL text: {why}", self.next.line))
    }
}

/// Names that IDL keeps for itself.
const KEYWORDS: &[&str] = &[
    "abstract",
    "any",
    "attribute",
    "bitfield",
    "bitmask",
    "bitset",
    "boolean",
    "case",
    "char",
    "component",
    "const",
    "consumes",
    "context",
    "default",
    "double",
    "enum",
    "exception",
    "factory",
    "false",
    "finder",
    "fixed",
    "float",
    "getraises",
    "home",
    "import",
    "in",
    "inout",
    "interface",
    "local",
    "long",
    "manages",
    "map",
    "module",
    "multiple",
    "native",
    "object",
    "octet",
    "oneway",
    "out",
    "port",
    "primarykey",
    "private",
    "provides",
    "public",
    "publishes",
    "raises",
    "readonly",
    "sequence",
    "setraises",
    "short",
    "string",
    "struct",
    "supports",
    "switch",
    "true",
    "truncatable",
    "typedef",
    "typeid",
    "typename",
    "typeprefix",
    "union",
    "unsigned",
    "uses",
    "valuebase",
    "valuetype",
    "void",
    "wchar",
    "wstring",
];
