//! OMG IDL, as much of it as ROS 2 and MCAP files use: `ros2idl`.
//!
//! In comes a text, out come the structs, enums, names for types and constants that it defines.
//!
//! **Invariant:** what is known and not read (unions, bitmasks, optional members, maps) is refused by name when a message holds it,
//! never taken for something else.

mod annotation;
mod token;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::annotation::Annotations;
use self::token::{Token, Tokens, Word};
use crate::error::{Error, Result};
use crate::schema::definition::{Definition, Definitions, Kind, Meaning, Member, NAME_LIMIT, NEST_LIMIT};
use crate::schema::line::is_name;
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

    fn kind(&mut self, depth: usize) -> Result<Kind> {
        if depth > NEST_LIMIT {
            return Err(self.error(format!("types nest more than {NEST_LIMIT} deep")));
        }
        if self.next.word == Word::Sign("::") {
            self.advance()?;
            let first = self.name("a type")?;
            return self.scoped(first, Arc::from(""));
        }
        Ok(match self.name("a type")? {
            "boolean" => Kind::Bool,
            "octet" => Kind::Octet,
            "char" => Kind::Char,
            "wchar" => Kind::Refused("a wide character"),
            "int8" => Kind::Int(1),
            "uint8" => Kind::UInt(1),
            "short" | "int16" => Kind::Int(2),
            "uint16" => Kind::UInt(2),
            "int32" => Kind::Int(4),
            "uint32" => Kind::UInt(4),
            "int64" => Kind::Int(8),
            "uint64" => Kind::UInt(8),
            "float" => Kind::Float(4),
            "double" => Kind::Float(8),
            "long" if self.optional_name("long")? => Kind::Int(8),
            "long" if self.optional_name("double")? => Kind::Refused("a long double"),
            "long" => Kind::Int(4),
            "unsigned" if self.optional_name("short")? => Kind::UInt(2),
            "unsigned" => match (self.name("a size")?, self.optional_name("long")?) {
                ("long", true) => Kind::UInt(8),
                ("long", false) => Kind::UInt(4),
                _ => return Err(self.error("unsigned what?".into())),
            },
            "string" => Kind::Text(self.bound_in_angles()?),
            "wstring" => Kind::WideText(self.bound_in_angles()?),
            "sequence" => {
                self.expect("<")?;
                let element = self.kind(depth + 1)?;
                let bound = if self.optional(",")? { Some(self.bound()?) } else { None };
                self.expect(">")?;
                Kind::List(Box::new(element), bound)
            }
            "map" => {
                self.expect("<")?;
                self.kind(depth + 1)?;
                self.expect(",")?;
                self.kind(depth + 1)?;
                if self.optional(",")? {
                    self.bound()?;
                }
                self.expect(">")?;
                Kind::Refused("a map")
            }
            "any" => Kind::Refused("an 'any'"),
            first => return self.scoped(first, self.modules.join("/").into()),
        })
    }

    /// Reads the rest of a name like `a::b::c`.
    fn scoped(&mut self, first: &str, scope: Arc<str>) -> Result<Kind> {
        let mut name = first.to_owned();
        while self.optional("::")? {
            name.push('/');
            name.push_str(self.identifier()?);
        }
        if name.len() + scope.len() > NAME_LIMIT {
            return Err(self.error(format!("a name of more than {NAME_LIMIT} characters")));
        }
        Ok(Kind::Named { name, scope })
    }

    /// Reads the lengths behind a name: `a[2][3]` holds two times three.
    fn lengths(&mut self, kind: Kind) -> Result<Kind> {
        let mut lengths = Vec::new();
        while self.optional("[")? {
            lengths.push(self.bound()?);
            self.expect("]")?;
            if lengths.len() > NEST_LIMIT {
                return Err(self.error(format!("an array of more than {NEST_LIMIT} dimensions")));
            }
        }
        Ok(lengths.into_iter().rev().fold(kind, |kind, length| Kind::Array(Box::new(kind), length)))
    }

    fn bound_in_angles(&mut self) -> Result<Option<u32>> {
        if !self.optional("<")? {
            return Ok(None);
        }
        let bound = self.bound()?;
        self.expect(">")?;
        Ok(Some(bound))
    }

    /// Reads a number, or the name of a constant that is one.
    fn bound(&mut self) -> Result<u32> {
        let value = match self.next.word {
            Word::Number(number) => {
                self.advance()?;
                number.to_owned()
            }
            _ => {
                self.optional("::")?;
                let mut name = self.identifier()?.to_owned();
                while self.optional("::")? {
                    name.push('/');
                    name.push_str(self.identifier()?);
                }
                let scopes = (0..=self.modules.len()).rev().map(|depth| self.modules[..depth].join("/"));
                let mut names = scopes.map(|scope| if scope.is_empty() { name.clone() } else { format!("{scope}/{name}") });
                match names.find_map(|full| self.constants.get(&full)) {
                    Some(value) => value.clone(),
                    None => return Err(self.error(format!("'{name}' is no constant"))),
                }
            }
        };
        let number = match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => value.parse(),
        };
        number.map_err(|_| self.error(format!("'{value}' is no size")))
    }

    fn annotations(&mut self) -> Result<Annotations> {
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
    fn full(&self, name: &str) -> String {
        self.modules.iter().copied().chain([name]).collect::<Vec<_>>().join("/")
    }

    /// Returns the text from `start` to the last word.
    fn written(&self, start: usize) -> &'a str {
        self.source.get(start..self.end).unwrap_or_default().trim()
    }

    fn advance(&mut self) -> Result<Token<'a>> {
        self.end = self.tokens.end();
        let next = self.tokens.next()?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    fn optional(&mut self, sign: &str) -> Result<bool> {
        let is_it = matches!(self.next.word, Word::Sign(found) if found == sign);
        if is_it {
            self.advance()?;
        }
        Ok(is_it)
    }

    fn optional_name(&mut self, name: &str) -> Result<bool> {
        let is_it = matches!(self.next.word, Word::Name(found) if found == name);
        if is_it {
            self.advance()?;
        }
        Ok(is_it)
    }

    fn expect(&mut self, sign: &str) -> Result<()> {
        if self.optional(sign)? { Ok(()) } else { Err(self.unexpected(&format!("'{sign}'"))) }
    }

    fn name(&mut self, what: &str) -> Result<&'a str> {
        match self.next.word {
            Word::Name(name) => {
                self.advance()?;
                Ok(name)
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// Reads a name that somebody chose; a keyword is written with an underscore in front.
    fn identifier(&mut self) -> Result<&'a str> {
        let name = self.name("a name")?;
        if !is_name(name) {
            return Err(self.error(format!("'{name}' is no name")));
        }
        Ok(name.strip_prefix('_').filter(|rest| KEYWORDS.contains(rest)).unwrap_or(name))
    }

    fn unexpected(&self, wanted: &str) -> Error {
        let found = match self.next.word {
            Word::Name(word) | Word::Number(word) | Word::Sign(word) => format!("'{word}'"),
            Word::Text(_) => "a text".into(),
            Word::End => "the end".into(),
        };
        self.error(format!("{wanted} is wanted, not {found}"))
    }

    fn error(&self, why: String) -> Error {
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
