//! ROS 1 definitions: `ros1msg`, as bags and MCAP files carry them.
//!
//! In comes the text of a `.msg` file with those it needs behind it, out come its tree and its MD5.
//!
//! **Invariant:** the MD5 is the one that ROS 1 itself computes, byte for byte.

use std::collections::BTreeMap;
use std::fmt::Write;

use md5::{Digest, Md5};

use crate::error::{Error, Result};
use crate::message::Schema;
use crate::schema::definition::{Definition, Definitions, Kind, Meaning};
use crate::schema::library::{Flavour, Library};
use crate::schema::line::{self, Dialect};
use crate::schema::section::{self, Section, Syntax};
use crate::schema::{DEPTH_LIMIT, Tree, dispatch};

/// Returns the tree of a `ros1msg` schema; what it does not define itself comes from the library.
///
/// # Errors
/// `Invalid` with the line that is not understood, or the definition that is missing.
pub fn parse(schema: &Schema, library: &Library) -> Result<Tree> {
    let (definitions, root) = complete(schema, library)?;
    definitions.tree(&root)
}

/// Returns the MD5 of a `ros1msg` schema, 32 hexadecimal digits: what ROS 1 tells types apart by.
///
/// # Errors
/// What [`parse`] answers.
pub fn md5(schema: &Schema, library: &Library) -> Result<String> {
    let (definitions, root) = complete(schema, library)?;
    hash(&definitions, &root)
}

fn complete(schema: &Schema, library: &Library) -> Result<(Definitions, String)> {
    let (mut definitions, root) = definitions(schema)?;
    library.complete(&mut definitions, &root, Flavour::Ros1, None);
    Ok((definitions, root))
}

/// Returns everything that a `ros1msg` schema defines, and the full name of its message.
pub(crate) fn definitions(schema: &Schema) -> Result<(Definitions, String)> {
    let text = dispatch::text(schema)?;
    let sections = section::split(&text);
    let mut definitions = Definitions::default();
    let mut root = line::ros1_name(&schema.name);
    for (index, section) in sections.iter().enumerate() {
        let name = if section.name.is_empty() { root.clone() } else { line::ros1_name(section.name) };
        if index == 0 && root.is_empty() {
            root.clone_from(&name);
        }
        add(&mut definitions, &name, section)?;
    }
    Ok((definitions, root))
}

/// Adds a section under its full name.
pub(crate) fn add(definitions: &mut Definitions, name: &str, section: &Section) -> Result<()> {
    if !matches!(section.syntax, None | Some(Syntax::Msg)) {
        let heading = section.syntax.map_or("", Syntax::heading);
        return Err(Error::invalid(format!("'{name}': a section of ROS 1 begins with MSG:, not {heading}:")));
    }
    add_times(definitions)?;
    definitions.add(name, Meaning::Struct(line::definition(section.text, name, Dialect::Ros1)?))
}

/// Adds the two types that ROS 1 has without defining them.
fn add_times(definitions: &mut Definitions) -> Result<()> {
    for (name, text) in [("time", "uint32 sec\nuint32 nsec"), ("duration", "int32 sec\nint32 nsec")] {
        if definitions.get(name).is_none() {
            definitions.add(name, Meaning::Struct(line::definition(text, name, Dialect::Ros1)?))?;
        }
    }
    Ok(())
}

/// Returns the MD5 of a definition.
pub(crate) fn hash(definitions: &Definitions, root: &str) -> Result<String> {
    // The tree is made for its checks: nothing is missing, nothing holds itself.
    definitions.tree(root)?;
    let mut known = BTreeMap::new();
    hash_of(definitions, root, &mut known, 0)
}

fn hash_of(definitions: &Definitions, name: &str, known: &mut BTreeMap<String, String>, depth: usize) -> Result<String> {
    if let Some(hash) = known.get(name) {
        return Ok(hash.clone());
    }
    let Some(Meaning::Struct(definition)) = definitions.get(name).filter(|_| depth <= DEPTH_LIMIT) else {
        return Err(Error::invalid(format!("nothing defines '{name}'")));
    };
    let text = text_to_hash(definitions, definition, known, depth)?;
    let hash = Md5::digest(text.trim().as_bytes()).iter().fold(String::new(), |mut hash, byte| {
        let _ = write!(hash, "{byte:02x}");
        hash
    });
    known.insert(name.to_owned(), hash.clone());
    Ok(hash)
}

/// Returns what is hashed: constants first, then fields, and the hash of a type in the place of its name.
fn text_to_hash(definitions: &Definitions, definition: &Definition, known: &mut BTreeMap<String, String>, depth: usize) -> Result<String> {
    let mut text = String::new();
    for constant in &definition.constants {
        let _ = writeln!(text, "{} {}={}", constant.type_name, constant.name, constant.value);
    }
    for member in &definition.members {
        let written = match member.kind.innermost() {
            Kind::Named { name, scope } if !matches!(name.as_str(), "time" | "duration") => match definitions.resolve(name, scope) {
                Some((full, _)) => hash_of(definitions, full, known, depth + 1)?,
                None => return Err(Error::invalid(format!("nothing defines '{name}'"))),
            },
            _ => member.written.clone(),
        };
        let _ = writeln!(text, "{written} {}", member.name);
    }
    Ok(text)
}
