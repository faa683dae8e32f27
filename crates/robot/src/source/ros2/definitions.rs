//! Definitions of types that come without one: DDS and Zenoh carry a type's name and its hash.
//!
//! In come names and hashes, out come schemas: from folders that the configuration names, then what `tapeloop schema add` stored, then
//! the standard packages.
//!
//! **Invariant:** a definition whose hash is not the one that the publisher names is never written beside its messages.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use recording::schema::library::{Flavour, Library};
use recording::{Result, Schema};

use crate::places;

/// Definitions that are at hand.
pub(super) struct Definitions {
    library: Library,
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
        Ok(Self { library })
    }

    /// Returns the definition of a type, or an empty one under its name, and whether it is known. Whoever reads the recording later
    /// finds the right one by the hash, which is kept beside it.
    pub(super) fn find(&self, type_name: &str, hash: Option<&str>) -> (Arc<Schema>, bool) {
        match self.library.find(type_name, hash, Flavour::Ros2) {
            Some(schema) => (schema, true),
            None => (Arc::new(Schema { name: type_name.to_owned(), encoding: "ros2msg".to_owned(), data: Bytes::new() }), false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_with_another_hash_is_not_taken() {
        let definitions = Definitions { library: Library::standard() };
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
        let with = Definitions { library: Library::empty().with_folder(folder.path()).unwrap() };
        assert!(with.find("my_msgs/msg/Level", None).1);
        assert!(Definitions::open(&[folder.path().join("missing")]).is_err());
    }
}
