//! How the messages of a type lie in memory, in the encodings that have no tags: CDR, ROS 1, ULog.
//!
//! In comes a tree, out comes what to read one after the other. Nothing in it depends on a payload; what does (byte order, the kind of
//! CDR) is the cursor's.
//!
//! **Invariant:** a layout is finite: types that hold themselves, or unfold to more than [`PART_LIMIT`] parts, are refused.
//!
//! # Odd payloads
//! A payload that ends too early, or a length that goes beyond it, is an error; bytes behind the end are not: DDS pads, and a type
//! may have got fields since. A boolean is true unless it is 0. Text that is no UTF-8 is read with U+FFFD where it is not. Text
//! without its trailing zero is taken as it is. In CDR a struct without fields has one byte, as ROS 2 gives it one.

use std::sync::Arc;

use super::columns::enum_number;
use super::cursor::Cursor;
use super::path::Step;
use super::sink::{Number, Width};
use crate::error::{Error, Result};
use crate::schema::{DEPTH_LIMIT, Enum, FieldKind, Tree, TypeId};

/// How many fields a type may have when all types within it are counted as often as they are used.
pub(crate) const PART_LIMIT: usize = 100_000;

/// How many elements without bytes the lists of a message may have: nothing else limits them.
pub(crate) const EMPTY_ELEMENTS_LIMIT: usize = 1024;

/// How many bytes a CDR message without fields may have behind its header: the one that stands for them, and padding.
const EMPTY_CDR_LIMIT: usize = 4;

/// How a field is called that only fills space in ULog.
const PADDING: &str = "_padding";

/// An encoding without tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Cdr,
    Ros1,
    Ulog,
}

/// How the messages of a type lie in memory.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) format: Format,
    pub(crate) root: Wire,
    /// The name of its type.
    name: String,
    /// Whether there are lists of elements without bytes.
    pub(crate) empties: bool,
}

/// Something that lies in memory.
#[derive(Debug)]
pub(crate) enum Wire {
    Number(Number),
    Enum(Number, Arc<Enum>),
    /// A length and text.
    Text,
    /// A length and UTF-16.
    WideText,
    /// Text in so many bytes.
    FixedText(u32),
    /// Bytes that mean nothing.
    Padding(u32),
    Struct(Struct),
    /// A count and elements of at least `least` bytes.
    List {
        element: Box<Wire>,
        least: usize,
    },
    Array {
        element: Box<Wire>,
        length: u32,
        least: usize,
    },
}

/// Fields that lie one behind the other.
#[derive(Debug)]
pub(crate) struct Struct {
    pub(crate) id: TypeId,
    /// The place of each in its type, which is `None` for what is no field.
    pub(crate) fields: Vec<(Option<usize>, Wire)>,
}

impl Layout {
    /// Returns the layout of messages of a tree.
    ///
    /// # Errors
    /// `Invalid` for types that the encoding cannot have.
    pub(crate) fn new(format: Format, tree: &Tree) -> Result<Self> {
        let mut maker = Maker { format, tree, around: Vec::new(), parts: 0, empties: false };
        let root = maker.wire(&FieldKind::Struct(tree.root_id()))?;
        // A message without fields may leave out the byte that stands for them.
        let root = match root {
            Wire::Struct(Struct { id, fields }) if fields.iter().all(|(index, _)| index.is_none()) => {
                Wire::Struct(Struct { id, fields: Vec::new() })
            }
            root => root,
        };
        Ok(Self { format, root, name: tree.root().name.clone(), empties: maker.empties })
    }
}

impl Layout {
    /// Returns the start of a message.
    ///
    /// # Errors
    /// Those of [`Cursor::new`], and `Invalid` for bytes in a message whose type has no fields: then it is not its type.
    #[inline]
    pub(crate) fn start<'a>(&self, payload: &'a [u8]) -> Result<Cursor<'a>> {
        let cursor = Cursor::new(self.format, payload)?;
        match &self.root {
            Wire::Struct(root) if root.fields.is_empty() && cursor.left() > self.format.room_without_fields() => Err(self.unknown(payload)),
            _ => Ok(cursor),
        }
    }

    #[cold]
    fn unknown(&self, payload: &[u8]) -> Error {
        Error::invalid(format!(
            "the definition of '{}' has no fields, but its message has {} bytes: give its definition with 'tapeloop schema add DIR'",
            self.name,
            payload.len()
        ))
    }

    /// Returns what lies at the end of a way.
    pub(crate) fn at(&self, way: &[Step]) -> Option<&Wire> {
        way.iter().try_fold(&self.root, |wire, step| match (wire, step) {
            (Wire::Struct(one), Step::Field(wanted)) => one.fields.iter().find(|(index, _)| *index == Some(*wanted)).map(|(_, wire)| wire),
            (Wire::List { element, .. } | Wire::Array { element, .. }, Step::Index(_)) => Some(&**element),
            _ => None,
        })
    }
}

impl Wire {
    /// Returns how many bytes it has at least, padding not counted.
    fn least(&self) -> usize {
        match self {
            Self::Number(number) | Self::Enum(number, _) => number.width() as usize,
            Self::Text | Self::WideText | Self::List { .. } => 4,
            Self::FixedText(length) | Self::Padding(length) => *length as usize,
            Self::Struct(fields) => fields.fields.iter().fold(0, |sum, (_, wire)| sum.saturating_add(wire.least())),
            Self::Array { length, least, .. } => least.saturating_mul(*length as usize),
        }
    }

    /// Returns the number it is.
    pub(crate) fn number(&self) -> Option<Number> {
        match self {
            Self::Number(number) | Self::Enum(number, _) => Some(*number),
            _ => None,
        }
    }
}

struct Maker<'t> {
    format: Format,
    tree: &'t Tree,
    around: Vec<TypeId>,
    parts: usize,
    empties: bool,
}

impl Maker<'_> {
    fn wire(&mut self, kind: &FieldKind) -> Result<Wire> {
        self.parts += 1;
        if self.parts > PART_LIMIT || self.around.len() > DEPTH_LIMIT {
            return Err(Error::invalid(format!("{} has more than {PART_LIMIT} fields, or nests too deeply", self.tree.root().name)));
        }
        Ok(match kind {
            FieldKind::Bool => Wire::Number(Number::Bool),
            FieldKind::Int(bytes) => Wire::Number(Number::Int(width(*bytes)?)),
            FieldKind::UInt(bytes) => Wire::Number(Number::UInt(width(*bytes)?)),
            FieldKind::Float(4) => Wire::Number(Number::F32),
            FieldKind::Float(8) => Wire::Number(Number::F64),
            FieldKind::Enum(names) => Wire::Enum(enum_number(names)?, names.clone()),
            FieldKind::String if self.format != Format::Ulog => Wire::Text,
            FieldKind::WString if self.format == Format::Cdr => Wire::WideText,
            FieldKind::FixedText { length } => Wire::FixedText(*length),
            FieldKind::Struct(id) => Wire::Struct(self.structure(*id)?),
            FieldKind::List { element, .. } if self.format != Format::Ulog => {
                let element = self.nested(element)?;
                Wire::List { least: element.least(), element }
            }
            FieldKind::Array { element, length } => {
                let element = self.nested(element)?;
                Wire::Array { least: element.least(), element, length: *length }
            }
            _ => {
                let what = super::path::describe(self.tree, kind);
                return Err(Error::invalid(format!("{} holds {what}, which {} cannot", self.tree.root().name, self.format.name())));
            }
        })
    }

    /// Returns the layout of elements.
    fn nested(&mut self, kind: &FieldKind) -> Result<Box<Wire>> {
        self.around.push(TypeId(u32::MAX));
        let element = self.wire(kind)?;
        self.around.pop();
        self.empties |= element.least() == 0;
        Ok(Box::new(element))
    }

    fn structure(&mut self, id: TypeId) -> Result<Struct> {
        let tree = self.tree;
        let one = tree.get(id);
        if self.around.contains(&id) {
            return Err(Error::invalid(format!("{} holds itself, which {} cannot", one.name, self.format.name())));
        }
        self.around.push(id);
        let mut fields = Vec::with_capacity(one.fields.len());
        for (index, field) in one.fields.iter().enumerate() {
            let wire = self.wire(&field.kind)?;
            match self.format == Format::Ulog && field.name.starts_with(PADDING) {
                true => fields.push((None, Wire::Padding(u32::try_from(wire.least()).unwrap_or(u32::MAX)))),
                false => fields.push((Some(index), wire)),
            }
        }
        self.around.pop();
        if fields.is_empty() && self.format == Format::Cdr {
            fields.push((None, Wire::Padding(1)));
        }
        // The padding at a message's end may be cut.
        while self.around.is_empty() && matches!(fields.last(), Some((None, _))) {
            fields.pop();
        }
        Ok(Struct { id, fields })
    }
}

impl Format {
    /// Returns how many bytes a message without fields may have, behind its header.
    fn room_without_fields(self) -> usize {
        match self {
            Self::Cdr => EMPTY_CDR_LIMIT,
            Self::Ros1 => 0,
            Self::Ulog => usize::MAX,
        }
    }

    /// Returns what people call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cdr => "CDR",
            Self::Ros1 => "ROS 1",
            Self::Ulog => "ULog",
        }
    }
}

fn width(bytes: u8) -> Result<Width> {
    Width::of(bytes).ok_or_else(|| Error::invalid(format!("there are no numbers of {bytes} bytes")))
}

/// Returns whether a field only fills space, and is shown nowhere.
pub(crate) fn is_hidden(encoding: &str, name: &str) -> bool {
    encoding == "ulog" && name.starts_with(PADDING)
}
