//! What a decoder tells while it walks along a message: the values, in the shape of its [`crate::schema::Tree`].
//!
//! In come calls of a decoder, out come a line of JSON ([`super::json_writer`]), a row of Arrow columns ([`super::columns`]), or
//! one picked value ([`super::pick`]).
//!
//! **Invariant:** a sink never believes a decoder: calls that do not fit its tree make the message an error, never a half row.
//!
//! # What a decoder calls
//! A message is one `begin_struct(root) … end_struct()`. Inside of a struct, each field that the message has is offered with
//! [`Sink::field`]; if that answers true, exactly one value follows, else none does and the decoder skips the field.
//! A value is one scalar, `null()`, or `begin_x … end_x`.
//!
//! - **Order.** Fields are offered by rising index, each at most once, and JSON then has them in the order of the definition. A
//!   wire format whose fields come in any order and more than once (protobuf, JSON) is looked through first: a decoder notes where
//!   each field stands in a list that it keeps from message to message, and then walks along the tree. Of fields that it reads
//!   only once it reads the last; a repeated field is one list, wherever its elements stand.
//! - **Absent fields** are left out: they are null. A format that says what an absent field is (proto3's zero) gives that value.
//! - **Unions** are the struct that is there. **Any JSON value** (`FieldKind::Json`) is scalars, lists and maps with text keys.
//! - **Errors.** A decoder that fails returns and leaves things as they are; whoever called it takes back what the sink got.
//!   Depth is the decoder's to limit, to [`crate::schema::DEPTH_LIMIT`].

use std::borrow::Cow;

use super::Scalar;
use crate::schema::{Enum, TypeId};

/// What takes the values of a message; see the module for the rules. `'a` is the payload's life.
pub trait Sink<'a> {
    /// Begins a value of a type of the tree.
    fn begin_struct(&mut self, id: TypeId);

    /// Offers a field of the struct that began last, and returns whether its value is wanted.
    fn field(&mut self, index: usize) -> bool;

    /// Ends the struct that began last. Fields that were not offered are null.
    fn end_struct(&mut self);

    /// Begins a list or an array. Its values follow one after the other; nothing else need be said.
    fn begin_list(&mut self);

    /// Ends the list that began last.
    fn end_list(&mut self);

    /// Begins a map: [`Sink::key`] and a value, as often as there are entries.
    fn begin_map(&mut self);

    /// Gives the key of the value that comes next.
    fn key(&mut self, key: Scalar<'a>);

    /// Ends the map that began last.
    fn end_map(&mut self);

    /// Gives a value that is not there.
    fn null(&mut self);

    /// Gives a boolean.
    fn bool(&mut self, value: bool);

    /// Gives a signed integer.
    fn int(&mut self, value: i64);

    /// Gives an unsigned integer.
    fn uint(&mut self, value: u64);

    /// Gives a number of 8 bytes.
    fn float(&mut self, value: f64);

    /// Gives a whole number that stands where a fraction may: it is printed as it was written.
    fn whole(&mut self, value: i64) {
        self.float(value as f64);
    }

    /// Gives a number of 4 bytes: it is printed as one.
    fn float32(&mut self, value: f32);

    /// Gives a number that may have a name.
    fn enumeration(&mut self, value: i64, names: &Enum);

    /// Gives text. Invalid UTF-8 was replaced by the decoder.
    fn text(&mut self, value: Cow<'a, str>);

    /// Gives bytes that are no list of numbers.
    fn bytes(&mut self, value: Cow<'a, [u8]>);

    /// Gives several elements of the list that began last at once.
    fn numbers(&mut self, numbers: Numbers<'a>) {
        numbers.each(self);
    }
}

/// Numbers that stand one behind the other.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a> {
    /// Their bytes; what is left at the end of whole numbers is ignored.
    pub bytes: &'a [u8],
    /// What they are.
    pub number: Number,
    /// Whether the most significant byte comes first.
    pub big_endian: bool,
}

/// A kind of number of a fixed size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// A byte; all but 0 is true.
    Bool,
    /// A signed integer.
    Int(Width),
    /// An unsigned integer.
    UInt(Width),
    /// A floating-point number of 4 bytes.
    F32,
    /// A floating-point number of 8 bytes.
    F64,
}

/// How many bytes a number has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One.
    W1 = 1,
    /// Two.
    W2 = 2,
    /// Four.
    W4 = 4,
    /// Eight.
    W8 = 8,
}

impl Width {
    /// Returns the width of so many bytes.
    pub fn of(bytes: u8) -> Option<Self> {
        match bytes {
            1 => Some(Self::W1),
            2 => Some(Self::W2),
            4 => Some(Self::W4),
            8 => Some(Self::W8),
            _ => None,
        }
    }
}

impl Number {
    /// Returns how many bytes it has.
    #[inline]
    pub fn width(self) -> Width {
        match self {
            Self::Bool => Width::W1,
            Self::Int(width) | Self::UInt(width) => width,
            Self::F32 => Width::W4,
            Self::F64 => Width::W8,
        }
    }
}

/// Returns the number in the first bytes of `$bytes`; 0 where there are too few, which callers have checked.
macro_rules! read {
    ($type:ty, $bytes:expr, $big_endian:expr) => {{
        let bytes = $bytes.first_chunk().copied().unwrap_or_default();
        if $big_endian { <$type>::from_be_bytes(bytes) } else { <$type>::from_le_bytes(bytes) }
    }};
}

pub(crate) use read;

impl<'a> Numbers<'a> {
    /// Gives them one by one.
    pub fn each<S: Sink<'a> + ?Sized>(self, sink: &mut S) {
        for bytes in self.bytes.chunks_exact(self.number.width() as usize) {
            give(self.number, bytes, self.big_endian, sink);
        }
    }
}

/// Gives the number that `bytes` begins with.
#[inline]
pub(crate) fn give<'a, S: Sink<'a> + ?Sized>(number: Number, bytes: &[u8], big_endian: bool, sink: &mut S) {
    match scalar(number, bytes, big_endian) {
        Scalar::Bool(value) => sink.bool(value),
        Scalar::Int(value) => sink.int(value),
        Scalar::UInt(value) => sink.uint(value),
        Scalar::Float(value) if number == Number::F32 => sink.float32(value as f32),
        Scalar::Float(value) => sink.float(value),
        Scalar::Null | Scalar::Text(_) | Scalar::Bytes(_) => {}
    }
}

/// Returns the number that `bytes` begins with.
#[inline]
pub(crate) fn scalar<'a>(number: Number, bytes: &[u8], big_endian: bool) -> Scalar<'a> {
    match number {
        Number::Bool => Scalar::Bool(read!(u8, bytes, false) != 0),
        Number::Int(Width::W1) => Scalar::Int(read!(i8, bytes, false).into()),
        Number::Int(Width::W2) => Scalar::Int(read!(i16, bytes, big_endian).into()),
        Number::Int(Width::W4) => Scalar::Int(read!(i32, bytes, big_endian).into()),
        Number::Int(Width::W8) => Scalar::Int(read!(i64, bytes, big_endian)),
        Number::UInt(Width::W1) => Scalar::UInt(read!(u8, bytes, false).into()),
        Number::UInt(Width::W2) => Scalar::UInt(read!(u16, bytes, big_endian).into()),
        Number::UInt(Width::W4) => Scalar::UInt(read!(u32, bytes, big_endian).into()),
        Number::UInt(Width::W8) => Scalar::UInt(read!(u64, bytes, big_endian)),
        Number::F32 => Scalar::Float(read!(f32, bytes, big_endian).into()),
        Number::F64 => Scalar::Float(read!(f64, bytes, big_endian)),
    }
}
