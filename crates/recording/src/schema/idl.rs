//! OMG IDL, as much of it as ROS 2 and MCAP files use: `ros2idl`.
//!
//! In comes a text, out come the structs, enums, names for types and constants that it defines.
//!
//! **Invariant:** what is known and not read (unions, bitmasks, optional members, maps) is refused by name when a message holds it,
//! never taken for something else.

mod annotation;
mod kind;
mod token;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::annotation::Annotations;
use self::token::{Token, Tokens, Word};
use crate::error::Result;
use crate::schema::definition::{Definition, Definitions, Kind, Meaning, Member};
use crate::schema::{Constant, Enum, FIELD_LIMIT, unit};

/// How deeply modules may nest.
const MODULE_LIMIT: usize = 16;

/// How many constants a text may have.
const CONSTANT_LIMIT: usize = 100_000;

/// What rosidl puts behind a type's name for the module with its constants.
const CONSTANTS: &str = "_Constants";

/// Adds everything that a text defines.
///
/// # Errors
/// `Invalid` with the line that is not understood.
pub(crate) fn read(text: &str, definitions: &mut Definitions) -> Result<()> {
    let mut tokens = Tokens::new(text);
    let first = tokens.next()?;
    let mut parser = Parser {
        source: text,
        tokens,
        next: first,
        end: 0,
        definitions,
        modules: Vec::new(),
        constants: BTreeMap::new(),
        waiting: Vec::new(),
    };
    parser.definitions()?;
    parser.place_constants()
}

struct Parser<'a, 'd> {
    source: &'a str,
    tokens: Tokens<'a>,
    next: Token<'a>,
    /// Where the last word ended.
    end: usize,
    definitions: &'d mut Definitions,
    modules: Vec<&'a str>,
    /// Values by full names, for bounds.
    constants: BTreeMap<String, String>,
    /// Constants, and the type they belong to.
    waiting: Vec<(String, Constant)>,
}

impl<'a> Parser<'a, '_> {
    fn definitions(&mut self) -> Result<()> {
        loop {
            match self.next.word {
                Word::End if self.modules.is_empty() => return Ok(()),
                Word::Sign("}") if self.modules.pop().is_some() => {
                    self.advance()?;
                    self.optional(";")?;
                }
                Word::Sign(";") => drop(self.advance()?),
                _ => self.definition()?,
            }
        }
    }

    fn definition(&mut self) -> Result<()> {
        let annotations = self.annotations()?;
        let comment = annotations.comment(&self.next.before, "");
        match self.name("a definition")? {
            "module" => {
                if self.modules.len() >= MODULE_LIMIT {
                    return Err(self.error(format!("modules are more than {MODULE_LIMIT} deep")));
                }
                let name = self.identifier()?;
                self.modules.push(name);
                self.expect("{")
            }
            "struct" => self.structure(&annotations, comment),
            "typedef" => self.alias(),
            "enum" => self.enumeration(&annotations),
            "const" => self.constant(comment),
            "union" => self.refused("a union"),
            "bitmask" => self.refused("a bitmask"),
            "bitset" => self.refused("a bitset"),
            "interface" => self.refused("an interface"),
            "valuetype" => self.refused("a value type"),
            other => Err(self.error(format!("'{other}' begins no definition that is read"))),
        }
    }

    fn structure(&mut self, annotations: &Annotations, comment: String) -> Result<()> {
        let name = self.identifier()?;
        let full = self.full(name);
        if self.optional(";")? {
            return Ok(());
        }
        if self.next.word == Word::Sign(":") {
            self.skip_body()?;
            return self.definitions.add(&full, Meaning::Refused("a struct that extends another"));
        }
        self.expect("{")?;
        let mut definition = Definition { comment, ..Definition::default() };
        while !self.optional("}")? {
            self.members(&mut definition, &full)?;
        }
        self.expect(";")?;
        let is_mutable = annotations.has("mutable") || annotations.text("extensibility") == "MUTABLE";
        self.definitions.add(&full, if is_mutable { Meaning::Refused("a mutable struct") } else { Meaning::Struct(definition) })
    }

    fn members(&mut self, definition: &mut Definition, owner: &str) -> Result<()> {
        let annotations = self.annotations()?;
        let before = std::mem::take(&mut self.next.before);
        let kind = if annotations.has("optional") {
            self.kind(0)?;
            Kind::Refused("an optional member")
        } else {
            self.kind(0)?
        };
        let start = definition.members.len();
        loop {
            let name = self.identifier()?;
            let kind = self.lengths(kind.clone())?;
            let member = Member {
                name: name.to_owned(),
                kind,
                written: String::new(),
                unit: String::new(),
                comment: String::new(),
                default: annotations.text("default"),
            };
            definition.add(member, owner)?;
            if !self.optional(",")? {
                break;
            }
        }
        if self.next.word != Word::Sign(";") {
            return Err(self.unexpected("';'"));
        }
        let behind = std::mem::take(&mut self.tokens.behind);
        self.advance()?;
        let comment = annotations.comment(&before, &behind);
        for member in &mut definition.members[start..] {
            member.unit = match annotations.text("unit") {
                unit if unit.is_empty() && self.definitions.behind(&member.kind).is_number() => unit::of_comment(&comment),
                unit => unit,
            };
            member.comment.clone_from(&comment);
        }
        Ok(())
    }

    fn alias(&mut self) -> Result<()> {
        let kind = self.kind(0)?;
        loop {
            let name = self.identifier()?;
            let kind = self.lengths(kind.clone())?;
            let full = self.full(name);
            self.definitions.add(&full, Meaning::Alias(kind))?;
            if !self.optional(",")? {
                return self.expect(";");
            }
        }
    }

    fn enumeration(&mut self, annotations: &Annotations) -> Result<()> {
        let name = self.identifier()?;
        let full = self.full(name);
        let bytes = match annotations.text("bit_bound").parse() {
            Ok(1..=8_u32) => 1,
            Ok(9..=16) => 2,
            _ => 4,
        };
        let mut names = BTreeMap::new();
        let mut number = 0_i64;
        self.expect("{")?;
        while !self.optional("}")? {
            let annotations = self.annotations()?;
            let label = self.identifier()?;
            number = annotations.text("value").parse().unwrap_or(number);
            if names.len() >= FIELD_LIMIT || names.insert(number, label.to_owned()).is_some() {
                return Err(self.error(format!("'{full}' gives {number} a second name, or has more than {FIELD_LIMIT}")));
            }
            number = number.saturating_add(1);
            if !self.optional(",")? {
                self.expect("}")?;
                break;
            }
        }
        self.expect(";")?;
        // An enum is written as an unsigned number.
        let meaning = Meaning::Enum(Arc::new(Enum { name: full.clone(), names, bytes, signed: false }));
        self.definitions.add(&full, meaning)
    }

    fn constant(&mut self, comment: String) -> Result<()> {
        let start = self.next.start;
        self.kind(0)?;
        let type_name = self.written(start).to_owned();
        let name = self.identifier()?.to_owned();
        self.expect("=")?;
        let start = self.next.start;
        while !matches!(self.next.word, Word::Sign(";") | Word::End) {
            self.advance()?;
        }
        let value = self.written(start).to_owned();
        self.expect(";")?;
        if self.constants.len() >= CONSTANT_LIMIT {
            return Err(self.error(format!("more than {CONSTANT_LIMIT} constants")));
        }
        if let Some(owner) = self.modules.join("/").strip_suffix(CONSTANTS) {
            self.waiting.push((owner.to_owned(), Constant { name: name.clone(), type_name, value: value.clone(), comment }));
        }
        let full = self.full(&name);
        self.constants.insert(full, value);
        Ok(())
    }

    /// Gives constants to their types, which stand behind them.
    fn place_constants(&mut self) -> Result<()> {
        for (owner, constant) in std::mem::take(&mut self.waiting) {
            self.definitions.add_constant(&owner, constant)?;
        }
        Ok(())
    }

    /// Adds a name for something that is known and not read.
    fn refused(&mut self, what: &'static str) -> Result<()> {
        let name = self.identifier()?;
        let full = self.full(name);
        if self.optional(";")? {
            return Ok(());
        }
        self.skip_body()?;
        self.definitions.add(&full, Meaning::Refused(what))
    }

    /// Skips what follows up to the end of the definition.
    fn skip_body(&mut self) -> Result<()> {
        let mut depth = 0_usize;
        loop {
            match self.advance()?.word {
                Word::Sign("{") => depth += 1,
                Word::Sign("}") => depth = depth.saturating_sub(1),
                Word::Sign(";") if depth == 0 => return Ok(()),
                Word::End => return Err(self.error("a definition does not end".into())),
                _ => {}
            }
        }
    }
}
