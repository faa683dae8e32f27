//! How large a tree may still grow while a definition is read.
//!
//! Definitions come with recordings and are not trusted: two bytes of one can ask for hundreds of bytes of tree.
//!
//! **Invariant:** what was taken of a [`Room`] is never more than its limits.

use super::TYPE_LIMIT;
use crate::error::{Error, Result};

/// How many fields, constants and enum names a whole tree may have.
pub(crate) const TREE_FIELD_LIMIT: usize = 200_000;

/// How many bytes of names and comments a whole tree may have.
pub(crate) const TREE_TEXT_LIMIT: usize = 16 << 20;

/// What is left for a tree.
#[derive(Debug)]
pub(crate) struct Room {
    types: usize,
    fields: usize,
    text: usize,
}

impl Room {
    /// Returns the room of a whole tree.
    pub(crate) fn of_a_tree() -> Self {
        Self { types: TYPE_LIMIT, fields: TREE_FIELD_LIMIT, text: TREE_TEXT_LIMIT }
    }

    /// Takes the room of a type.
    ///
    /// # Errors
    /// `Invalid` where the definition asks for more than the limits.
    pub(crate) fn take_type(&mut self, name: &str) -> Result<()> {
        take(&mut self.types, 1, "types", TYPE_LIMIT)?;
        self.take_text(name)
    }

    /// Takes the room of a field, a constant or the name of a number.
    ///
    /// # Errors
    /// `Invalid` where the definition asks for more than the limits.
    pub(crate) fn take_field(&mut self, name: &str) -> Result<()> {
        take(&mut self.fields, 1, "fields", TREE_FIELD_LIMIT)?;
        self.take_text(name)
    }

    /// Takes the room of a text.
    ///
    /// # Errors
    /// `Invalid` where the definition asks for more than the limits.
    pub(crate) fn take_text(&mut self, text: &str) -> Result<()> {
        take(&mut self.text, text.len(), "bytes of names and comments", TREE_TEXT_LIMIT)
    }
}

fn take(left: &mut usize, wanted: usize, what: &str, limit: usize) -> Result<()> {
    *left = left.checked_sub(wanted).ok_or_else(|| Error::invalid(format!("a definition with more than {limit} {what}")))?;
    Ok(())
}
