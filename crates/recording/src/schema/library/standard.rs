//! The standard interface packages, from a dependency that carries them: nothing has to be installed.
//!
//! In comes what the build script found, out come its sets, one per distribution.
//!
//! **Invariant:** no text of a definition stands in this repository.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use super::set::Set;
use super::{Flavour, noetic};
use crate::schema::section::Syntax;

/// Distributions, with the full name, the kind and the text of each definition; made by the build script.
type Distributions = &'static [(&'static str, &'static [(&'static str, &'static str, &'static str)])];

const DISTRIBUTIONS: Distributions = include!(concat!(env!("OUT_DIR"), "/standard.rs"));

/// Returns the sets, made once. Old distributions go first: files without definitions are mostly theirs.
pub(super) fn sets() -> Vec<Arc<Set>> {
    static SETS: OnceLock<Vec<Arc<Set>>> = OnceLock::new();
    SETS.get_or_init(|| {
        let mut sets: Vec<Set> = DISTRIBUTIONS.iter().map(|(name, definitions)| distribution(name, definitions)).collect();
        let noetic = noetic::derive(&sets);
        sets.push(noetic);
        sets.into_iter().map(Arc::new).collect()
    })
    .clone()
}

fn distribution(name: &str, definitions: &'static [(&'static str, &'static str, &'static str)]) -> Set {
    let mut set = Set::new(format!("standard, {name}"), Some(Flavour::Ros2));
    for (name, kind, text) in definitions {
        let syntax = match *kind {
            "srv" => Syntax::Srv,
            "action" => Syntax::Action,
            _ => Syntax::Msg,
        };
        set.add(name, syntax, Cow::Borrowed(*text));
    }
    set
}
