//! What a descriptor set defines: every message and enum by its full name, still as bytes.
//!
//! In comes a serialized `FileDescriptorSet`; only what a message needs is taken apart later.
//!
//! **Invariant:** the table of names is bounded, however large the set is.

use std::collections::HashMap;

use super::wire::{Value, Wire};
use crate::error::{Error, Result};

/// How many messages and enums a descriptor set may define.
const NAME_LIMIT: usize = 100_000;

/// How long a full name may be, in bytes.
const NAME_LENGTH_LIMIT: usize = 512;

/// How deeply messages may be defined within messages.
const NESTING_LIMIT: usize = 64;

/// How many comments of a descriptor set are read.
const COMMENT_LIMIT: usize = 100_000;

/// How a field that may be absent is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is null where it is absent.
    Explicit,
    /// It has its default where it is absent.
    Implicit,
    /// It must not be absent.
    Required,
}

/// The features of a definition that its parts inherit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    pub(super) presence: Presence,
}

/// A definition by name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Definition<'a> {
    pub(super) body: &'a [u8],
    pub(super) features: Features,
    pub(super) is_enum: bool,
    /// The file it stands in, and where it stands there.
    pub(super) file: usize,
    pub(super) place: Place,
}

/// Where a definition stands in its file, as the paths of comments write it: at most [`NESTING_LIMIT`] pairs of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

/// Everything that a descriptor set defines.
#[derive(Debug, Default)]
pub(super) struct Descriptors<'a> {
    definitions: HashMap<String, Definition<'a>>,
    /// The name of a message that is defined in a file, in the order of the set.
    names: Vec<String>,
    /// Each place: the one it is in, and the two numbers that it adds.
    places: Vec<(Option<Place>, [u32; 2])>,
    comments: HashMap<(usize, &'a [u8]), &'a [u8]>,
}

/// A message whose nested definitions are to be read.
struct Open<'a> {
    body: &'a [u8],
    name: String,
    features: Features,
    file: usize,
    place: Place,
    depth: usize,
}

impl<'a> Descriptors<'a> {
    /// Reads a descriptor set.
    ///
    /// # Errors
    /// `Corrupt` where it is none, `Invalid` where it is larger than the limits.
    pub(super) fn read(set: &'a [u8]) -> Result<Self> {
        let mut this = Self::default();
        let mut wire = Wire::of(set);
        let mut files = 0;
        while let Some((number, value)) = wire.next()? {
            if let (1, Some(file)) = (number, value.message()) {
                this.read_file(files, file)?;
                files += 1;
            }
        }
        Ok(this)
    }

    /// Returns a definition by its full name.
    pub(super) fn get(&self, name: &str) -> Option<&Definition<'a>> {
        self.definitions.get(name)
    }

    /// Returns a definition by a name that is written in `scope`, and its full name.
    pub(super) fn resolve(&self, name: &str, scope: &str) -> Option<(String, &Definition<'a>)> {
        if let Some(full) = name.strip_prefix('.') {
            return self.get(full).map(|definition| (full.to_owned(), definition));
        }
        let mut scope = scope;
        loop {
            let full = join(scope, name);
            if let Some(definition) = self.get(&full) {
                return Some((full, definition));
            }
            if scope.is_empty() {
                return None;
            }
            scope = scope.rsplit_once('.').map_or("", |(outer, _)| outer);
        }
    }

    /// Returns the names of the messages that are not defined within others, in the order of the set.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Returns what is said about the definition at a place, or about one of its parts.
    pub(super) fn comment(&self, definition: &Definition<'_>, part: Option<[u32; 2]>) -> String {
        if self.comments.is_empty() {
            return String::new();
        }
        let mut pairs: Vec<[u32; 2]> = part.into_iter().collect();
        let mut at = Some(definition.place);
        while let Some((outer, pair)) = at.and_then(|place| self.places.get(place.0 as usize)) {
            pairs.push(*pair);
            at = *outer;
        }
        let mut path = Vec::new();
        pairs.iter().rev().flatten().for_each(|number| push_varint(&mut path, *number));
        let comment = self.comments.get(&(definition.file, path.as_slice())).copied().unwrap_or_default();
        String::from_utf8_lossy(comment).lines().map(str::trim).collect::<Vec<_>>().join("\n").trim().to_owned()
    }

    fn read_file(&mut self, file: usize, body: &'a [u8]) -> Result<()> {
        let (mut package, mut presence, mut options) = (String::new(), Presence::Explicit, &[][..]);
        let mut wire = Wire::of(body);
        while let Some((number, value)) = wire.next()? {
            match (number, value) {
                (2, Value::Sized(name)) => package = text(name)?,
                (8, Value::Sized(bytes)) => options = bytes,
                (9, Value::Sized(info)) => self.read_comments(file, info)?,
                (12, Value::Sized(b"proto3")) => presence = Presence::Implicit,
                _ => {}
            }
        }
        let features = Features { presence }.with(options, 50)?;
        let mut messages = Vec::new();
        let (mut wire, mut seen) = (Wire::of(body), [0; 2]);
        while let Some((number, value)) = wire.next()? {
            let (4 | 5, Value::Sized(definition)) = (number, value) else { continue };
            let index = &mut seen[number as usize - 4];
            let place = self.place(None, [number, *index]);
            *index += 1;
            let name = self.define(&package, definition, Definition { body: definition, features, is_enum: number == 5, file, place })?;
            if number == 4 {
                self.names.push(name.clone());
                messages.push(Open { body: definition, name, features, file, place, depth: 1 });
            }
        }
        while let Some(open) = messages.pop() {
            self.read_nested(open, &mut messages)?;
        }
        Ok(())
    }

    fn read_nested(&mut self, open: Open<'a>, messages: &mut Vec<Open<'a>>) -> Result<()> {
        let mut features = open.features;
        let mut wire = Wire::of(open.body);
        while let Some((number, value)) = wire.next()? {
            if let (7, Value::Sized(options)) = (number, value) {
                features = features.with(options, 12)?;
            }
        }
        if let Some(definition) = self.definitions.get_mut(&open.name) {
            definition.features = features;
        }
        let (mut wire, mut seen) = (Wire::of(open.body), [0; 2]);
        while let Some((number, value)) = wire.next()? {
            let (3 | 4, Value::Sized(body)) = (number, value) else { continue };
            if open.depth >= NESTING_LIMIT {
                return Err(Error::invalid(format!("protobuf messages defined more than {NESTING_LIMIT} deep in each other")));
            }
            let index = &mut seen[number as usize - 3];
            let place = self.place(Some(open.place), [number, *index]);
            *index += 1;
            let name = self.define(&open.name, body, Definition { body, features, is_enum: number == 4, file: open.file, place })?;
            if number == 3 {
                messages.push(Open { body, name, features, file: open.file, place, depth: open.depth + 1 });
            }
        }
        Ok(())
    }

    fn place(&mut self, outer: Option<Place>, pair: [u32; 2]) -> Place {
        self.places.push((outer, pair));
        Place(self.places.len() as u32 - 1)
    }

    fn define(&mut self, scope: &str, body: &'a [u8], definition: Definition<'a>) -> Result<String> {
        let mut wire = Wire::of(body);
        let mut name = "";
        while let Some((number, value)) = wire.next()? {
            if let (1, Value::Sized(bytes)) = (number, value) {
                name = std::str::from_utf8(bytes).map_err(|_| Error::corrupt("a protobuf name that is not UTF-8"))?;
            }
        }
        let full = join(scope, name);
        if full.len() > NAME_LENGTH_LIMIT {
            return Err(Error::invalid(format!("a protobuf name of {} bytes; at most {NAME_LENGTH_LIMIT}", full.len())));
        }
        if self.definitions.len() >= NAME_LIMIT {
            return Err(Error::invalid(format!("a descriptor set with more than {NAME_LIMIT} messages and enums")));
        }
        // The same file may stand in a set twice; the first one counts.
        self.definitions.entry(full.clone()).or_insert(definition);
        Ok(full)
    }

    fn read_comments(&mut self, file: usize, info: &'a [u8]) -> Result<()> {
        let mut locations = Wire::of(info);
        while let Some((number, value)) = locations.next()? {
            let (1, Value::Sized(location)) = (number, value) else { continue };
            let (mut path, mut leading, mut trailing) = (&[][..], &[][..], &[][..]);
            let mut wire = Wire::of(location);
            while let Some((number, value)) = wire.next()? {
                match (number, value) {
                    (1, Value::Sized(bytes)) => path = bytes,
                    (3, Value::Sized(bytes)) => leading = bytes,
                    (4, Value::Sized(bytes)) => trailing = bytes,
                    _ => {}
                }
            }
            let comment = if leading.is_empty() { trailing } else { leading };
            if !comment.is_empty() && self.comments.len() < COMMENT_LIMIT {
                self.comments.insert((file, path), comment);
            }
        }
        Ok(())
    }
}

impl Features {
    /// Returns these features with what `options` say, where `number` is the options' field for features.
    pub(super) fn with(mut self, options: &[u8], number: u32) -> Result<Self> {
        let mut wire = Wire::of(options);
        while let Some((found, value)) = wire.next()? {
            let (true, Value::Sized(features)) = (found == number, value) else { continue };
            let mut features = Wire::of(features);
            while let Some(feature) = features.next()? {
                match feature {
                    (1, Value::Varint(1)) => self.presence = Presence::Explicit,
                    (1, Value::Varint(2)) => self.presence = Presence::Implicit,
                    (1, Value::Varint(3)) => self.presence = Presence::Required,
                    _ => {}
                }
            }
        }
        Ok(self)
    }
}

/// Returns the bytes of a descriptor's text.
pub(super) fn text(bytes: &[u8]) -> Result<String> {
    if bytes.len() > NAME_LENGTH_LIMIT {
        return Err(Error::invalid(format!("a protobuf name of {} bytes; at most {NAME_LENGTH_LIMIT}", bytes.len())));
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::corrupt("a protobuf name that is not UTF-8"))
}

fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

fn push_varint(path: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        path.push(number as u8 | 0x80);
        number >>= 7;
    }
    path.push(number as u8);
}
