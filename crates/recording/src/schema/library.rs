//! Definitions that are known without the recording at hand: the standard ones, and those that people give.
//!
//! In come folders of ROS packages, recordings and schemas; out comes the definition of a type, with everything it needs behind it.
//!
//! **Invariant:** where a hash is asked for, the definition that comes back has that hash. What was given goes before what is standard.

mod folder;
mod noetic;
mod set;
mod standard;
mod stored;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use self::set::{Found, Set};
pub use self::stored::{Stored, store};
use crate::error::Result;
use crate::message::Schema;
use crate::schema::definition::Definitions;
use crate::schema::section::{Section, Syntax};
use crate::schema::{TYPE_LIMIT, ros1, ros2, section};

/// Whose definitions are meant: ROS 1 and ROS 2 have types of equal names and different fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flavour {
    /// ROS 1: `package/Type`, told apart by MD5.
    Ros1,
    /// ROS 2: `package/msg/Type`, told apart by RIHS01.
    Ros2,
}

/// Definitions by the names of their types. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Library {
    /// What goes first stands first.
    sets: Vec<Arc<Set>>,
}

impl Library {
    /// Returns a library that knows nothing.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Returns a library of the standard interface packages of ROS 1 and ROS 2.
    pub fn standard() -> Self {
        Self { sets: standard::sets() }
    }

    /// Returns the standard library with everything before it that [`store`] put into a folder, the last first.
    ///
    /// # Errors
    /// What reading answers; a folder that is not there holds nothing.
    pub fn user(folder: &Path) -> Result<Self> {
        let mut library = Self::standard();
        for set in stored::read(folder)? {
            library.give(set);
        }
        Ok(library)
    }

    /// Returns the library with the definitions in a folder of ROS packages, sources or installed; they go before what it knew.
    ///
    /// # Errors
    /// `NotFound` and its like for a folder that cannot be read.
    pub fn with_folder(mut self, folder: &Path) -> Result<Self> {
        self.give(folder::read(folder)?);
        Ok(self)
    }

    /// Returns the library with the definitions that a recording carries; they go before what it knew.
    ///
    /// # Errors
    /// What opening the recording answers.
    pub fn with_recording(mut self, path: &Path) -> Result<Self> {
        for set in stored::of_recording(path)? {
            self.give(set);
        }
        Ok(self)
    }

    /// Adds what a schema defines, if it is one of ROS; it goes before what was known. Returns whether it is one.
    pub fn add_schema(&mut self, schema: &Schema) -> bool {
        let set = Set::of_schema(schema);
        let is_one = set.is_some();
        if let Some(set) = set {
            self.give(set);
        }
        is_one
    }

    /// Returns the definition of a type with everything it needs behind it, as a `ros1msg`, `ros2msg` or `ros2idl` schema.
    ///
    /// With a hash (MD5 or RIHS01), the definition has that hash; without one, what was given last goes first, and one that is
    /// complete goes before one that refers to what nobody defines.
    pub fn find(&self, type_name: &str, hash: Option<&str>, flavour: Flavour) -> Option<Arc<Schema>> {
        let mut incomplete = None;
        for (index, set) in self.sets.iter().enumerate() {
            let Some(found) = set.find(type_name, flavour) else { continue };
            let Some((schema, is_complete)) = self.assemble(type_name, &found, flavour, index) else { continue };
            match hash {
                Some(hash) if self.hash_of(&schema, flavour).is_none_or(|own| !own.eq_ignore_ascii_case(hash)) => {}
                None if !is_complete => incomplete = incomplete.or(Some(schema)),
                _ => return Some(schema),
            }
        }
        incomplete
    }

    /// Returns the names of all types, each once, and where its definition comes from.
    pub fn types(&self) -> Vec<(String, Flavour, String)> {
        let mut seen = BTreeSet::new();
        let mut types = Vec::new();
        for set in &self.sets {
            for (name, flavour) in set.names() {
                if seen.insert((name.clone(), flavour)) {
                    types.push((name, flavour, set.origin.clone()));
                }
            }
        }
        types.sort();
        types
    }

    /// Adds definitions that are needed and missing, as far as they are known; returns the sections they stand in.
    pub(crate) fn complete(&self, definitions: &mut Definitions, root: &str, flavour: Flavour, first: Option<usize>) -> Vec<Found> {
        let mut used = Vec::new();
        let mut tried = BTreeSet::new();
        while used.len() < TYPE_LIMIT {
            let missing: Vec<String> =
                definitions.missing(root).into_iter().map(|(name, _)| name).filter(|name| tried.insert(name.clone())).collect();
            if missing.is_empty() {
                break;
            }
            for name in missing {
                let own = first.and_then(|index| self.sets.get(index));
                let found = own.into_iter().chain(&self.sets).find_map(|set| set.find(&name, flavour));
                if let Some(found) = found
                    && found.add_to(definitions, flavour).is_ok()
                {
                    used.push(found);
                }
            }
        }
        used
    }

    /// Returns a definition with what it needs behind it, and whether nothing is missing.
    fn assemble(&self, type_name: &str, found: &Found, flavour: Flavour, set: usize) -> Option<(Arc<Schema>, bool)> {
        let mut definitions = Definitions::default();
        found.add_to(&mut definitions, flavour).ok()?;
        let root = flavour.name(type_name);
        let others = self.complete(&mut definitions, &root, flavour, Some(set));
        let mut text = String::new();
        let is_idl = found.syntax == Syntax::Idl;
        if is_idl {
            section::write(&mut text, found.syntax, &found.name, &found.text);
        } else {
            text.push_str(&found.text);
        }
        for other in &others {
            section::write(&mut text, other.syntax, &other.name, &other.text);
        }
        let encoding = match flavour {
            Flavour::Ros1 => "ros1msg",
            Flavour::Ros2 if is_idl => "ros2idl",
            Flavour::Ros2 => "ros2msg",
        };
        let is_complete = definitions.missing(&root).is_empty();
        Some((Arc::new(Schema { name: root, encoding: encoding.into(), data: text.into() }), is_complete))
    }

    fn hash_of(&self, schema: &Schema, flavour: Flavour) -> Option<String> {
        match flavour {
            Flavour::Ros1 => ros1::md5(schema, &Self::empty()).ok(),
            Flavour::Ros2 => ros2::rihs01(schema, &Self::empty()).ok(),
        }
    }

    fn give(&mut self, set: Set) {
        self.sets.insert(0, Arc::new(set));
    }
}

impl Flavour {
    /// Returns a type's full name as this ROS has it.
    pub(crate) fn name(self, name: &str) -> String {
        match self {
            Self::Ros1 => crate::schema::line::ros1_name(name),
            Self::Ros2 => crate::schema::line::ros2_name(name),
        }
    }
}

impl Found {
    fn add_to(&self, definitions: &mut Definitions, flavour: Flavour) -> Result<()> {
        let section = Section { syntax: Some(self.syntax), name: &self.name, text: &self.text };
        // What a service or an action is made of is known by now if one of its parts is.
        match flavour {
            Flavour::Ros1 => ros1::add(definitions, &self.name, &section),
            Flavour::Ros2 => ros2::add(definitions, &self.name, self.syntax, &section),
        }
    }
}
