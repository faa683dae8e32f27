//! The standard interface packages, from a dependency that carries them: nothing has to be installed.
//!
//! In comes what the build script found, out come its sets, one per distribution.
//!
//! **Invariant:** no text of a definition stands in this repository.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use super::set::Set;
use super::{Flavour, noetic};
use crate::schema::section::Syntax;

/// Distributions, with the full name, the kind and the text of each definition that an earlier one does not have just so; made by
/// the build script.
type Distributions = &'static [(&'static str, &'static [(&'static str, &'static str, &'static str)])];

const DISTRIBUTIONS: Distributions = include!(concat!(env!("OUT_DIR"), "/standard.rs"));

/// Where the dependency's text is not the official one, as hashes tell: distribution, type, its line, the official line.
const CORRECTIONS: &[(&str, &str, &str, &str)] =
    &[("jazzy", "lifecycle_msgs/msg/TransitionEvent", "builtin_interfaces/Time timestamp", "uint64 timestamp")];

/// Returns the sets, made once. Old distributions go first: files without definitions are mostly theirs.
pub(super) fn sets() -> Vec<Arc<Set>> {
    static NOETIC: LazyLock<Set> = LazyLock::new(|| {
        let messages = DISTRIBUTIONS.iter().flat_map(|(_, definitions)| *definitions).filter(|(_, kind, _)| *kind == "msg");
        noetic::derive(messages.map(|(name, _, text)| (*name, *text)))
    });
    static SETS: LazyLock<Vec<Arc<Set>>> = LazyLock::new(|| {
        let ros2 = DISTRIBUTIONS.iter().map(|(name, definitions)| distribution(name, definitions));
        // Most readers never ask for a type of ROS 1.
        ros2.chain([Set::later("standard, noetic", Flavour::Ros1, &NOETIC)]).map(Arc::new).collect()
    });
    SETS.clone()
}

fn distribution(distribution: &str, definitions: &'static [(&'static str, &'static str, &'static str)]) -> Set {
    let mut set = Set::new(format!("standard, {distribution}"), Some(Flavour::Ros2));
    for (name, kind, text) in definitions {
        let syntax = match *kind {
            "srv" => Syntax::Srv,
            "action" => Syntax::Action,
            _ => Syntax::Msg,
        };
        let wrong = CORRECTIONS.iter().find(|(of, corrected, ..)| *of == distribution && corrected == name);
        set.add(name, syntax, wrong.map_or(Cow::Borrowed(*text), |(.., line, official)| text.replace(line, official).into()));
    }
    set
}
