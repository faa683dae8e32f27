//! Definitions that belong together: a distribution's, a folder's, a recording's.
//!
//! In come sections under the names of their types, out comes the section that a type stands in.
//!
//! **Invariant:** within a set a name has one definition.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::Flavour;
use crate::message::Schema;
use crate::schema::section::{self, Syntax};
use crate::schema::{dispatch, line, ros2};

/// Definitions that belong together.
#[derive(Debug, Default)]
pub(super) struct Set {
    /// Where they come from, for people.
    pub(super) origin: String,
    /// Whose they are; `None` where a folder does not tell.
    flavour: Option<Flavour>,
    /// What each type, service and action is written in, and its text; by names as ROS 2 writes them.
    texts: BTreeMap<String, (Syntax, Cow<'static, str>)>,
}

/// The section that a type stands in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    pub(crate) syntax: Syntax,
    /// The full name of the type, or of the service or action that it is a part of.
    pub(crate) name: String,
    pub(crate) text: Cow<'static, str>,
}

impl Set {
    pub(super) fn new(origin: impl Into<String>, flavour: Option<Flavour>) -> Self {
        Self { origin: origin.into(), flavour, texts: BTreeMap::new() }
    }

    /// Returns what a schema defines, if it is one of ROS and defines anything.
    pub(super) fn of_schema(schema: &Schema) -> Option<Self> {
        let (flavour, own) = match schema.encoding.as_str() {
            "ros1msg" => (Flavour::Ros1, Syntax::Msg),
            "ros2msg" => (Flavour::Ros2, Syntax::Msg),
            "ros2idl" => (Flavour::Ros2, Syntax::Idl),
            _ => return None,
        };
        let text = dispatch::text(schema).ok()?;
        let mut set = Self::new(schema.name.clone(), Some(flavour));
        for section in section::split(&text) {
            let syntax = section.syntax.unwrap_or_else(|| ros2::own_syntax(own, &schema.name, section.text));
            let name = if section.name.is_empty() { &schema.name } else { section.name };
            set.add(name, syntax, section.text.to_owned());
        }
        (!set.texts.is_empty()).then_some(set)
    }

    /// Adds a definition; the first of a name counts. Returns whether it is new or the same.
    pub(super) fn add(&mut self, name: &str, syntax: Syntax, text: impl Into<Cow<'static, str>>) -> bool {
        let name = key(name, syntax);
        let text = text.into();
        if name.is_empty() || !line::is_path(&name) {
            return false;
        }
        let known = self.texts.entry(name).or_insert_with(|| (syntax, text.clone()));
        *known == (syntax, text)
    }

    /// Adds what another set has, unless both say different things of a name. Returns whether it did.
    pub(super) fn absorb(&mut self, other: &Self) -> bool {
        let agrees = other.texts.iter().all(|(name, text)| self.texts.get(name).is_none_or(|own| own == text));
        let does = agrees && self.flavour == other.flavour;
        if does {
            self.texts.extend(other.texts.iter().map(|(name, text)| (name.clone(), text.clone())));
        }
        does
    }

    /// Returns whose definitions they are, if that is known.
    pub(super) fn flavour(&self) -> Option<Flavour> {
        self.flavour
    }

    /// Returns the section that a type stands in.
    pub(super) fn find(&self, type_name: &str, flavour: Flavour) -> Option<Found> {
        if self.flavour.is_some_and(|own| own != flavour) {
            return None;
        }
        let key = line::ros2_name(type_name);
        let (key, (syntax, text)) = self.texts.get_key_value(&key).or_else(|| self.texts.get_key_value(ros2::whole(&key)))?;
        let is_msg = *syntax == Syntax::Msg;
        let name = if flavour == Flavour::Ros1 { line::ros1_name(key) } else { key.clone() };
        (is_msg || flavour == Flavour::Ros2).then(|| Found { syntax: *syntax, name, text: text.clone() })
    }

    /// Returns the names of all types.
    pub(super) fn names(&self) -> Vec<(String, Flavour)> {
        let flavours = match self.flavour {
            Some(flavour) => vec![flavour],
            None => vec![Flavour::Ros2],
        };
        self.texts.keys().flat_map(|key| flavours.iter().map(move |flavour| (flavour.name(key), *flavour))).collect()
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, Syntax, &str)> {
        self.texts.iter().map(|(name, (syntax, text))| (name.as_str(), *syntax, text.as_ref()))
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }
}

/// Returns the name under which a section is known.
fn key(name: &str, syntax: Syntax) -> String {
    match syntax {
        Syntax::Srv | Syntax::Action => ros2::full_name(ros2::whole(name), syntax),
        Syntax::Msg | Syntax::Idl => line::ros2_name(name),
    }
}
