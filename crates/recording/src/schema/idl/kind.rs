//! Types of OMG IDL, and the sizes in them.
//!
//! In come words, out come kinds of fields.
//!
//! **Invariant:** a size is a number, or the name of a constant that stands in front of it and is one.

use std::sync::Arc;

use super::Parser;
use super::token::Word;
use crate::error::Result;
use crate::schema::definition::{Kind, NAME_LIMIT, NEST_LIMIT};

impl Parser<'_, '_> {
    pub(super) fn kind(&mut self, depth: usize) -> Result<Kind> {
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
    pub(super) fn lengths(&mut self, kind: Kind) -> Result<Kind> {
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
}
