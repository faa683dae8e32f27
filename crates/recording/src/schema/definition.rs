//! Definitions as their text has them, and how a set of them becomes a tree.
//!
//! In come definitions under their full names, whose fields name other definitions; out comes the tree of one of them.
//!
//! **Invariant:** every name is resolved before a tree exists, and no definition holds itself, however deep.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::schema::{Constant, DEPTH_LIMIT, Enum, FIELD_LIMIT, Field, FieldKind, TYPE_LIMIT, Tree, Type, TypeId};

/// How long a full name may be.
pub(crate) const NAME_LIMIT: usize = 512;

/// How deeply lists and arrays may nest within one field.
pub(crate) const NEST_LIMIT: usize = 16;

/// How many fields all definitions of one text may have.
const FIELDS_LIMIT: usize = 200_000;

/// How many plain values a message has when its structs are written out and every list counts once.
const LEAF_LIMIT: u64 = 1_000_000;

/// How many missing definitions an error names.
const MISSING_SHOWN: usize = 5;

/// A field of a definition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Its type as the text has it.
    pub(crate) written: String,
    pub(crate) unit: String,
    pub(crate) comment: String,
    pub(crate) default: String,
}

/// What a field of a definition holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Bool,
    /// ROS 2's `byte`, IDL's `octet`.
    Octet,
    /// IDL's `char`.
    Char,
    Int(u8),
    UInt(u8),
    Float(u8),
    Text(Option<u32>),
    WideText(Option<u32>),
    List(Box<Kind>, Option<u32>),
    Array(Box<Kind>, u32),
    /// Another definition, looked for in `scope` and everything around it.
    Named {
        name: String,
        scope: Arc<str>,
    },
    /// Something that is known and not read.
    Refused(&'static str),
}

/// A message's definition.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct Definition {
    pub(crate) members: Vec<Member>,
    pub(crate) constants: Vec<Constant>,
    pub(crate) comment: String,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Meaning {
    Struct(Definition),
    Alias(Kind),
    Enum(Arc<Enum>),
    Refused(&'static str),
}

/// Definitions by their full names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Definitions {
    by_name: BTreeMap<String, Meaning>,
    /// Full names by their last part.
    by_last: BTreeMap<String, BTreeSet<String>>,
    fields: usize,
}

impl Kind {
    /// Returns whether a unit may belong to it.
    pub(crate) fn is_number(&self) -> bool {
        match self {
            Self::Int(_) | Self::UInt(_) | Self::Float(_) => true,
            Self::List(element, _) | Self::Array(element, _) => element.is_number(),
            _ => false,
        }
    }

    /// Returns the kind behind lists and arrays.
    pub(crate) fn innermost(&self) -> &Self {
        match self {
            Self::List(element, _) | Self::Array(element, _) => element.innermost(),
            _ => self,
        }
    }
}

impl Definition {
    /// Adds a field.
    ///
    /// # Errors
    /// `Invalid` for a second field of that name, and for too many.
    pub(crate) fn add(&mut self, member: Member, owner: &str) -> Result<()> {
        if self.members.len() >= FIELD_LIMIT {
            return Err(Error::invalid(format!("'{owner}' has more than {FIELD_LIMIT} fields")));
        }
        self.members.push(member);
        Ok(())
    }

    fn check_names(&self, owner: &str) -> Result<()> {
        let mut seen = BTreeSet::new();
        match self.members.iter().find(|member| !seen.insert(member.name.as_str())) {
            Some(twice) => Err(Error::invalid(format!("'{owner}' has two fields named '{}'", twice.name))),
            None => Ok(()),
        }
    }

    /// Returns whether messages of both have the same bytes for the same values.
    fn has_layout_of(&self, other: &Self) -> bool {
        let layout =
            |definition: &Self| definition.members.iter().map(|member| (member.name.clone(), member.kind.clone())).collect::<Vec<_>>();
        layout(self) == layout(other)
    }
}

impl Definitions {
    /// Adds what a name stands for. A second definition that only says it in other words changes nothing.
    ///
    /// # Errors
    /// `Invalid` for a second definition with other fields, and beyond the limits.
    pub(crate) fn add(&mut self, name: &str, meaning: Meaning) -> Result<()> {
        if name.len() > NAME_LIMIT {
            return Err(Error::invalid(format!("a name of {} characters; at most {NAME_LIMIT}", name.len())));
        }
        if let Some(known) = self.by_name.get(name) {
            let is_same = match (known, &meaning) {
                (Meaning::Struct(known), Meaning::Struct(other)) => known.has_layout_of(other),
                (known, other) => known == other,
            };
            return if is_same { Ok(()) } else { Err(Error::invalid(format!("'{name}' is defined twice, and not with the same fields"))) };
        }
        if let Meaning::Struct(definition) = &meaning {
            definition.check_names(name)?;
            self.fields += definition.members.len();
        }
        if self.by_name.len() >= TYPE_LIMIT || self.fields > FIELDS_LIMIT {
            return Err(Error::invalid(format!("a definition of more than {TYPE_LIMIT} types or {FIELDS_LIMIT} fields")));
        }
        self.by_last.entry(last(name).to_owned()).or_default().insert(name.to_owned());
        self.by_name.insert(name.to_owned(), meaning);
        Ok(())
    }

    /// Adds a constant to a struct that is known already; the first of a name counts.
    ///
    /// # Errors
    /// `Invalid` for too many.
    pub(crate) fn add_constant(&mut self, name: &str, constant: Constant) -> Result<()> {
        let Some(Meaning::Struct(definition)) = self.by_name.get_mut(name) else { return Ok(()) };
        if definition.constants.len() >= FIELD_LIMIT {
            return Err(Error::invalid(format!("'{name}' has more than {FIELD_LIMIT} constants")));
        }
        if definition.constants.iter().all(|known| known.name != constant.name) {
            definition.constants.push(constant);
        }
        Ok(())
    }

    /// Returns what a full name stands for.
    pub(crate) fn get(&self, name: &str) -> Option<&Meaning> {
        self.by_name.get(name)
    }

    /// Returns the full name that a name means: in its scope or around it. A name without a package means the only one that ends so.
    pub(crate) fn resolve(&self, name: &str, scope: &str) -> Option<(&str, &Meaning)> {
        let mut scope = scope;
        while !scope.is_empty() {
            if let Some((name, meaning)) = self.by_name.get_key_value(format!("{scope}/{name}").as_str()) {
                return Some((name, meaning));
            }
            scope = scope.rsplit_once('/').map_or("", |(around, _)| around);
        }
        if let Some((name, meaning)) = self.by_name.get_key_value(name) {
            return Some((name, meaning));
        }
        // Old definitions say `Header` for the one of std_msgs, from any package.
        if last(name) == "Header" {
            let standard = ["std_msgs/Header", "std_msgs/msg/Header"];
            if let Some(found) = standard.into_iter().find_map(|standard| self.by_name.get_key_value(standard)) {
                return Some((found.0, found.1));
            }
        }
        let alike = self.by_last.get(name)?;
        let only = alike.first().filter(|_| alike.len() == 1)?;
        self.by_name.get_key_value(only).map(|(name, meaning)| (name.as_str(), meaning))
    }

    /// Returns what a kind is behind the names that are given to it.
    pub(crate) fn behind<'a>(&'a self, kind: &'a Kind) -> &'a Kind {
        let mut kind = kind;
        for _ in 0..NEST_LIMIT {
            let Kind::Named { name, scope } = kind else { break };
            let Some((_, Meaning::Alias(other))) = self.resolve(name, scope) else { break };
            kind = other;
        }
        kind
    }

    /// Returns the names that `root` needs, directly or not, and that nobody defines; each with who needs it.
    pub(crate) fn missing(&self, root: &str) -> Vec<(String, String)> {
        let mut missing = BTreeMap::new();
        let mut seen = BTreeSet::from([root]);
        let mut open = vec![root];
        while let Some(name) = open.pop() {
            let kinds: Vec<&Kind> = match self.by_name.get(name) {
                Some(Meaning::Struct(definition)) => definition.members.iter().map(|member| member.kind.innermost()).collect(),
                Some(Meaning::Alias(kind)) => vec![kind.innermost()],
                Some(_) => continue,
                None => {
                    missing.entry(name.to_owned()).or_insert_with(String::new);
                    continue;
                }
            };
            for kind in kinds {
                let Kind::Named { name: wanted, scope } = kind else { continue };
                match self.resolve(wanted, scope) {
                    Some((found, _)) if seen.insert(found) => open.push(found),
                    Some(_) => {}
                    None => {
                        let full = if wanted.contains('/') || scope.is_empty() { wanted.clone() } else { format!("{scope}/{wanted}") };
                        missing.entry(full).or_insert_with(|| name.to_owned());
                    }
                }
            }
        }
        missing.into_iter().collect()
    }

    /// Returns the tree of `root`.
    ///
    /// # Errors
    /// `Invalid` for definitions that are missing, hold themselves, are of a kind that is not read, or are beyond the limits.
    pub(crate) fn tree(&self, root: &str) -> Result<Tree> {
        let missing = self.missing(root);
        if !missing.is_empty() {
            return Err(undefined(root, &missing));
        }
        let mut build = Build { definitions: self, types: Vec::new(), done: BTreeMap::new(), path: Vec::new() };
        let (id, leaves) = build.add(root)?;
        if leaves > LEAF_LIMIT {
            return Err(Error::invalid(format!("a message of '{root}' has more than {LEAF_LIMIT} values")));
        }
        Tree::new(build.types, id).ok_or_else(|| Error::invalid(format!("'{root}' has types that are not there")))
    }
}

fn undefined(root: &str, missing: &[(String, String)]) -> Error {
    if let [(name, user)] = missing
        && user.is_empty()
    {
        return Error::invalid(format!("nothing defines '{name}': give its definition with 'tapeloop schema add DIR'"));
    }
    let names: Vec<String> = missing.iter().take(MISSING_SHOWN).map(|(name, user)| format!("'{name}' (in '{user}')")).collect();
    let more = match missing.len().saturating_sub(MISSING_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Error::invalid(format!(
        "'{root}' needs {}{more}, which nothing defines: give the definitions with 'tapeloop schema add DIR'",
        names.join(", ")
    ))
}

/// A tree that grows from its root.
struct Build<'a> {
    definitions: &'a Definitions,
    types: Vec<Type>,
    /// Types that are complete, with their values when written out.
    done: BTreeMap<&'a str, (TypeId, u64)>,
    /// The types that are being added, from the root on.
    path: Vec<&'a str>,
}

impl<'a> Build<'a> {
    /// Adds a struct and everything it holds; returns its id and how many values it has.
    fn add(&mut self, name: &str) -> Result<(TypeId, u64)> {
        let definitions = self.definitions;
        let Some((name, meaning)) = definitions.by_name.get_key_value(name) else {
            return Err(Error::invalid(format!("nothing defines '{name}'")));
        };
        let definition = match meaning {
            Meaning::Struct(definition) => definition,
            Meaning::Refused(what) => return Err(Error::invalid(format!("'{name}' is {what}, which is not read"))),
            Meaning::Alias(_) | Meaning::Enum(_) => return Err(Error::invalid(format!("'{name}' is no struct, so it is no message"))),
        };
        if let Some(done) = self.done.get(name.as_str()) {
            return Ok(*done);
        }
        if let Some(start) = self.path.iter().position(|above| above == name) {
            let cycle = self.path[start..].iter().chain([&name.as_str()]).map(|name| format!("'{name}'")).collect::<Vec<_>>();
            return Err(Error::invalid(format!("a message cannot hold itself: {}", cycle.join(" holds "))));
        }
        if self.path.len() >= DEPTH_LIMIT {
            return Err(Error::invalid(format!("'{name}' is more than {DEPTH_LIMIT} types deep")));
        }
        let id = TypeId(u32::try_from(self.types.len()).expect("there are at most TYPE_LIMIT types"));
        self.types.push(Type {
            name: name.clone(),
            constants: definition.constants.clone(),
            comment: definition.comment.clone(),
            ..Type::default()
        });
        self.path.push(name);
        let mut fields = Vec::with_capacity(definition.members.len());
        let mut leaves = 0_u64;
        for member in &definition.members {
            let (kind, values) = self.kind(&member.kind, name, 0)?;
            leaves = leaves.saturating_add(values);
            fields.push(Field {
                name: member.name.clone(),
                kind,
                optional: false,
                unit: member.unit.clone(),
                comment: member.comment.clone(),
                number: 0,
                default: member.default.clone(),
            });
        }
        self.path.pop();
        self.types[id.0 as usize].fields = fields;
        self.done.insert(name, (id, leaves));
        Ok((id, leaves))
    }

    fn kind(&mut self, kind: &Kind, owner: &str, depth: usize) -> Result<(FieldKind, u64)> {
        if depth > NEST_LIMIT {
            return Err(Error::invalid(format!("a field of '{owner}' nests more than {NEST_LIMIT} deep")));
        }
        let plain = |kind| Ok((kind, 1));
        match kind {
            Kind::Bool => plain(FieldKind::Bool),
            Kind::Octet | Kind::Char => plain(FieldKind::UInt(1)),
            Kind::Int(bytes) => plain(FieldKind::Int(*bytes)),
            Kind::UInt(bytes) => plain(FieldKind::UInt(*bytes)),
            Kind::Float(bytes) => plain(FieldKind::Float(*bytes)),
            Kind::Text(_) => plain(FieldKind::String),
            Kind::WideText(_) => plain(FieldKind::WString),
            Kind::List(element, bound) => {
                let (element, values) = self.kind(element, owner, depth + 1)?;
                Ok((FieldKind::List { element: Box::new(element), bound: *bound }, values))
            }
            Kind::Array(element, length) => {
                let (element, values) = self.kind(element, owner, depth + 1)?;
                Ok((FieldKind::Array { element: Box::new(element), length: *length }, values))
            }
            Kind::Refused(what) => Err(Error::invalid(format!("'{owner}' holds {what}, which is not read"))),
            Kind::Named { name, scope } => {
                let definitions = self.definitions;
                match definitions.resolve(name, scope) {
                    Some((_, Meaning::Alias(kind))) => self.kind(kind, owner, depth + 1),
                    Some((_, Meaning::Enum(names))) => plain(FieldKind::Enum(names.clone())),
                    Some((full, _)) => self.add(full).map(|(id, values)| (FieldKind::Struct(id), values)),
                    None => Err(Error::invalid(format!("'{owner}' needs '{name}', which nothing defines"))),
                }
            }
        }
    }
}

/// Returns the last part of a full name.
pub(crate) fn last(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, last)| last)
}
