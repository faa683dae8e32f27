//! What messages of a type are made of: one tree of fields, whatever language the definition was written in.
//!
//! In comes the text or the bytes of a definition, out comes a [`Tree`]; decoders, `tapeloop schema` and Arrow columns follow it.
//!
//! **Invariant:** every [`TypeId`] of a tree points into it, and no definition makes a tree larger than its limits.

mod definition;
pub mod difference;
mod dispatch;
pub mod flatbuffer;
pub mod idl;
pub mod json;
pub mod library;
mod line;
pub mod outline;
pub mod protobuf;
mod room;
pub mod ros1;
pub mod ros2;
mod section;
pub mod ulog;
mod unit;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::dispatch::{hash, parse, parse_topic};

/// How many types one tree may have.
pub const TYPE_LIMIT: usize = 10_000;

/// How many fields one type may have.
pub const FIELD_LIMIT: usize = 10_000;

/// How deeply types may nest before a reader stops following them.
pub const DEPTH_LIMIT: usize = 64;

/// How many bytes of definition are parsed.
pub const DEFINITION_LIMIT: usize = 32 << 20;

/// A type in a [`Tree`]: its place among the tree's types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(pub u32);

/// All types that a message is made of. Types may refer to themselves: protobuf's, flatbuffers' and JSON's do.
#[derive(Clone, Debug, PartialEq)]
pub struct Tree {
    types: Vec<Type>,
    root: TypeId,
}

/// A message type: a list of fields.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Type {
    /// Its name as its language writes it in full, e.g. `sensor_msgs/msg/Imu`, `foxglove.CompressedImage`.
    pub name: String,
    /// Its fields, in the order of the definition.
    pub fields: Vec<Field>,
    /// Its constants, in the order of the definition.
    pub constants: Vec<Constant>,
    /// What the definition says about it.
    pub comment: String,
}

/// A field of a type.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: FieldKind,
    /// Whether a message may lack it: it is null then.
    pub optional: bool,
    /// Its unit where the definition tells, e.g. `m/s^2`; else empty.
    pub unit: String,
    /// What the definition says about it; else empty.
    pub comment: String,
    /// Its number in the wire format, where that has numbers: protobuf's tag, flatbuffers' slot.
    pub number: u32,
    /// What it is where nothing else is said, as the definition writes it; else empty.
    pub default: String,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldKind {
    /// True or false.
    Bool,
    /// A signed integer of 1, 2, 4 or 8 bytes.
    Int(u8),
    /// An unsigned integer of 1, 2, 4 or 8 bytes. ROS 1's and ROS 2's `char` and `byte` are `UInt(1)`, a single `char` of ULog too.
    UInt(u8),
    /// A floating-point number of 4 or 8 bytes.
    Float(u8),
    /// UTF-8 text.
    String,
    /// Text in exactly so many bytes, without a length in front; it ends at the first zero: ULog's `char[n]`.
    FixedText {
        /// How many bytes.
        length: u32,
    },
    /// UTF-16 text: `wstring`.
    WString,
    /// Bytes of any length that are no list of numbers: protobuf's `bytes`.
    Bytes,
    /// A number with names: protobuf's and flatbuffers' enums, in as many bytes.
    Enum(Arc<Enum>),
    /// Another type.
    Struct(TypeId),
    /// Any number of elements; at most `bound` where there is one.
    List {
        /// What the elements are.
        element: Box<FieldKind>,
        /// The most there may be.
        bound: Option<u32>,
    },
    /// Exactly so many elements.
    Array {
        /// What the elements are.
        element: Box<FieldKind>,
        /// How many.
        length: u32,
    },
    /// Keys and values: protobuf's maps, JSON objects whose keys are data.
    Map {
        /// What the keys are.
        key: Box<FieldKind>,
        /// What the values are.
        value: Box<FieldKind>,
    },
    /// One of several types, told by another field: flatbuffers' unions.
    Union(Vec<(String, TypeId)>),
    /// Any JSON value: the definition does not say more.
    Json,
}

/// A number with names.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Enum {
    /// Its name.
    pub name: String,
    /// Its names by number.
    pub names: BTreeMap<i64, String>,
    /// How many bytes it has on the wire where that is fixed; else 0.
    pub bytes: u8,
    /// Whether it is signed.
    pub signed: bool,
}

/// A constant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constant {
    /// Its name.
    pub name: String,
    /// Its type as the definition writes it.
    pub type_name: String,
    /// Its value as the definition writes it.
    pub value: String,
    /// What the definition says about it.
    pub comment: String,
}

impl Tree {
    /// Returns a tree of these types, or `None` where an id points outside of them.
    pub fn new(types: Vec<Type>, root: TypeId) -> Option<Self> {
        let tree = Self { types, root };
        let kinds = tree.types.iter().flat_map(|one| &one.fields).map(|field| &field.kind);
        let inside = tree.knows(root) && kinds.into_iter().all(|kind| tree.knows_all(kind));
        inside.then_some(tree)
    }

    fn knows(&self, id: TypeId) -> bool {
        (id.0 as usize) < self.types.len()
    }

    fn knows_all(&self, kind: &FieldKind) -> bool {
        match kind {
            FieldKind::Struct(id) => self.knows(*id),
            FieldKind::List { element, .. } | FieldKind::Array { element, .. } => self.knows_all(element),
            FieldKind::Map { key, value } => self.knows_all(key) && self.knows_all(value),
            FieldKind::Union(types) => types.iter().all(|(_, id)| self.knows(*id)),
            _ => true,
        }
    }

    /// Returns the type of whole messages.
    pub fn root(&self) -> &Type {
        self.get(self.root)
    }

    /// Returns the id of the type of whole messages.
    pub fn root_id(&self) -> TypeId {
        self.root
    }

    /// Returns a type.
    ///
    /// # Panics
    /// Never with an id of this tree.
    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }

    /// Returns all types.
    pub fn types(&self) -> &[Type] {
        &self.types
    }
}

#[cfg(test)]
mod tests;
