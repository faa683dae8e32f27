//! Definitions of types that come without one: DDS and Zenoh carry a type's name and its hash.
//!
//! In come names and hashes, out come schemas: from folders that the configuration names, then what `tapeloop schema add` stored, then
//! the standard packages, then what nodes said.
//!
//! **Invariant:** a definition whose hash is not the one that the publisher names is never written beside its messages.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use recording::schema::library::{Flavour, Library};
use recording::{Error, Kind, Result, Schema};
use serde_json::json;

use super::description::{self, Question};
use crate::places;
use crate::source::Intake;

/// How many nodes are asked for a type, all in all.
const ASKED_LIMIT: usize = 2_000;

/// Definitions that are at hand.
pub(super) struct Definitions {
    library: Library,
    /// What nodes said, by the hashes of the types.
    learned: HashMap<String, Arc<Schema>>,
    /// Which node was asked for which type.
    asked: HashSet<Question>,
}

impl Definitions {
    /// Reads those of this user and of `folders`; the last folder goes first.
    ///
    /// # Errors
    /// What reading a folder answers.
    pub(super) fn open(folders: &[PathBuf]) -> Result<Self> {
        let library = match places::schemas_dir() {
            Ok(folder) => Library::user(&folder)?,
            // Without a home folder there is nothing that a user stored.
            Err(_) => Library::standard(),
        };
        let library = folders.iter().try_fold(library, |library, folder| library.with_folder(folder))?;
        Ok(Self { library, learned: HashMap::new(), asked: HashSet::new() })
    }

    /// Returns the definition of a type, or an empty one under its name, and whether it is known. Whoever reads the recording later
    /// finds the right one by the hash, which is kept beside it.
    pub(super) fn find(&self, type_name: &str, hash: Option<&str>) -> (Arc<Schema>, bool) {
        let learned = || hash.and_then(|hash| self.learned.get(hash)).filter(|schema| schema.name == type_name).cloned();
        match self.library.find(type_name, hash, Flavour::Ros2).or_else(learned) {
            Some(schema) => (schema, true),
            None => (Arc::new(Schema { name: type_name.to_owned(), encoding: "ros2msg".to_owned(), data: Bytes::new() }), false),
        }
    }

    /// Returns whether a node may be asked: each once for a type, and not too many.
    pub(super) fn may_ask(&mut self, question: &Question) -> bool {
        self.asked.len() < ASKED_LIMIT && self.asked.insert(question.clone())
    }

    /// Takes what a node answers, and returns whether the type is known by it.
    pub(super) fn hear(&mut self, question: &Question, answer: &[u8], intake: &Intake) -> bool {
        let Question { node, type_name, type_hash } = question;
        match self.learn(type_name, type_hash, answer) {
            Ok(()) => {
                let detail = json!({ "node": node, "type": type_name, "hash": type_hash });
                intake.event("ros2_type_learned", &format!("'{node}' said what '{type_name}' is made of"), detail);
                true
            }
            // Nodes of one process are asked for the types of all of them.
            Err(error) if error.kind() == Kind::NotFound => false,
            Err(error) => {
                intake.refuse(&format!("what '{node}' says of '{type_name}': {error}"));
                false
            }
        }
    }

    /// Takes what a node says that a type is made of, if it has the hash that its publisher names.
    ///
    /// # Errors
    /// What [`description::sources`] answers, and `Conflict` for another hash.
    fn learn(&mut self, type_name: &str, hash: &str, answer: &[u8]) -> Result<()> {
        let said = description::sources(type_name, answer)?;
        // What it says of other types counts for this one only.
        let mut library = self.library.clone();
        library.add_schema(&said);
        let schema = library.find(type_name, Some(hash), Flavour::Ros2);
        let schema =
            schema.ok_or_else(|| Error::new(Kind::Conflict, format!("it is not the type that is published, which has the hash {hash}")))?;
        self.learned.insert(hash.to_owned(), schema);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_with_another_hash_is_not_taken() {
        let with = |library| Definitions { library, learned: HashMap::new(), asked: HashSet::new() };
        let definitions = with(Library::standard());
        let (schema, known) = definitions.find("std_msgs/msg/String", None);
        assert!(known && !schema.data.is_empty());
        let hash = recording::schema::hash(&schema, "cdr", &Library::empty()).unwrap();
        assert_eq!(definitions.find("std_msgs/msg/String", Some(&hash)), (schema, true));
        let other = format!("RIHS01_{}", "0".repeat(64));
        let (unknown, known) = definitions.find("std_msgs/msg/String", Some(&other));
        assert_eq!(
            (unknown.name.as_str(), unknown.encoding.as_str(), unknown.data.len(), known),
            ("std_msgs/msg/String", "ros2msg", 0, false)
        );
        let folder = tempfile::tempdir().unwrap();
        let package = folder.path().join("my_msgs/msg");
        std::fs::create_dir_all(&package).unwrap();
        std::fs::write(package.join("Level.msg"), "float64 litres\n").unwrap();
        let packages = with(Library::empty().with_folder(folder.path()).unwrap());
        assert!(packages.find("my_msgs/msg/Level", None).1);
        assert!(Definitions::open(&[folder.path().join("missing")]).is_err());
        // What a node says counts if it is what is published.
        let (known, _) = packages.find("my_msgs/msg/Level", None);
        let hash = recording::schema::hash(&known, "cdr", &Library::empty()).unwrap();
        let mut asking = with(Library::standard());
        let says = |text| description::tests::answer(true, "", &[("my_msgs/msg/Level", "msg", text)]);
        let refused = asking.learn("my_msgs/msg/Level", &hash, &says("float32 litres")).unwrap_err();
        assert!(refused.to_string().contains(&hash), "{refused}");
        assert!(!asking.find("my_msgs/msg/Level", Some(&hash)).1);
        asking.learn("my_msgs/msg/Level", &hash, &says("float64 litres")).unwrap();
        assert!(asking.find("my_msgs/msg/Level", Some(&hash)).1);
        assert!(!asking.find("my_msgs/msg/Other", Some(&hash)).1);
        let ask = |node: &str| Question { node: node.to_owned(), type_name: "my_msgs/msg/Level".to_owned(), type_hash: hash.clone() };
        assert!(asking.may_ask(&ask("/tank")) && !asking.may_ask(&ask("/tank")) && asking.may_ask(&ask("/other")));
    }
}
