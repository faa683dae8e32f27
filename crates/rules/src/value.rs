//! Values of conditions: what they are, and how they are compared.
//!
//! **Invariant:** a comparison with null, with NaN, or of values of two kinds is false, whatever its sign.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use recording::decode::Scalar;

use crate::expression::{Arithmetic, Comparison};

/// A value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// None: a field that a message lacks, a topic that has not come, or not for a while.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text.
    Text(&'a str),
}

/// A value that is held from message to message. Its text's memory is used again.
#[derive(Clone, Debug, Default)]
pub struct Held {
    kind: Kind,
    text: String,
}

#[derive(Clone, Copy, Debug, Default)]
enum Kind {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text,
}

impl Held {
    /// Takes a value that was read.
    #[inline]
    pub(crate) fn set(&mut self, scalar: &Scalar<'_>) {
        self.kind = match scalar {
            Scalar::Null | Scalar::Bytes(_) => Kind::Null,
            Scalar::Bool(value) => Kind::Bool(*value),
            Scalar::Int(value) => Kind::Int(*value),
            Scalar::UInt(value) => unsigned(*value),
            Scalar::Float(value) => Kind::Float(*value),
            Scalar::Text(text) => {
                self.text.clear();
                self.text.push_str(text);
                Kind::Text
            }
        };
    }

    pub(crate) fn clear(&mut self) {
        self.kind = Kind::Null;
    }

    /// Returns it.
    #[inline]
    pub fn get(&self) -> Value<'_> {
        match self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(value),
            Kind::Int(value) => Value::Int(value),
            Kind::Float(value) => Value::Float(value),
            Kind::Text => Value::Text(&self.text),
        }
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl From<Value<'_>> for Held {
    fn from(value: Value<'_>) -> Self {
        let mut held = Self::default();
        held.set(&value.scalar());
        held
    }
}

/// Returns a number that may be larger than the largest signed one.
fn unsigned(value: u64) -> Kind {
    i64::try_from(value).map_or(Kind::Float(value as f64), Kind::Int)
}

impl<'a> Value<'a> {
    /// Returns the scalar that takes it to a [`Held`].
    pub(crate) fn scalar(self) -> Scalar<'a> {
        match self {
            Self::Null => Scalar::Null,
            Self::Bool(value) => Scalar::Bool(value),
            Self::Int(value) => Scalar::Int(value),
            Self::Float(value) => Scalar::Float(value),
            Self::Text(text) => Scalar::Text(Cow::Borrowed(text)),
        }
    }

    /// Returns whether it is not there.
    pub fn is_null(self) -> bool {
        self == Self::Null
    }

    /// Returns whether it is true.
    #[inline]
    pub(crate) fn is_true(self) -> bool {
        self == Self::Bool(true)
    }

    /// Returns a number; null where it is none.
    #[inline]
    pub(crate) fn number(self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(value as f64),
            Self::Float(value) => Some(value),
            _ => None,
        }
    }

    /// Returns how two values stand to each other; `None` where they do not.
    #[inline]
    fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(one), Self::Int(other)) => Some(one.cmp(&other)),
            (Self::Bool(one), Self::Bool(other)) => Some(one.cmp(&other)),
            (Self::Text(one), Self::Text(other)) => Some(one.cmp(other)),
            _ => self.number()?.partial_cmp(&other.number()?),
        }
    }

    /// Compares two values.
    #[inline]
    pub(crate) fn compare(self, comparison: Comparison, other: Self) -> bool {
        self.order(other).is_some_and(|order| match comparison {
            Comparison::Equal => order.is_eq(),
            Comparison::Unequal => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::AtMost => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::AtLeast => order.is_ge(),
        })
    }

    /// Returns whether it is another value than `before`: null is another one than any that is there.
    pub(crate) fn differs(self, before: Self) -> bool {
        self.is_null() != before.is_null() || self.compare(Comparison::Unequal, before)
    }

    /// Does arithmetic. Whole numbers stay whole unless they are divided, or grow too large.
    #[inline]
    pub(crate) fn arithmetic(self, sign: Arithmetic, other: Self) -> Value<'static> {
        if let (Self::Int(one), Self::Int(other)) = (self, other) {
            let exact = match sign {
                Arithmetic::Add => one.checked_add(other),
                Arithmetic::Subtract => one.checked_sub(other),
                Arithmetic::Multiply => one.checked_mul(other),
                Arithmetic::Remainder => one.checked_rem(other),
                Arithmetic::Divide => None,
            };
            if let Some(exact) = exact {
                return Value::Int(exact);
            }
        }
        let (Some(one), Some(other)) = (self.number(), other.number()) else { return Value::Null };
        match sign {
            Arithmetic::Add => Value::Float(one + other),
            Arithmetic::Subtract => Value::Float(one - other),
            Arithmetic::Multiply => Value::Float(one * other),
            Arithmetic::Divide | Arithmetic::Remainder if other == 0.0 => Value::Null,
            Arithmetic::Divide => Value::Float(one / other),
            Arithmetic::Remainder => Value::Float(one % other),
        }
    }

    /// Returns the number with its sign turned round, or without it.
    pub(crate) fn with_sign(self, exact: fn(i64) -> Option<i64>, float: fn(f64) -> f64) -> Value<'static> {
        match self {
            Self::Int(value) => exact(value).map_or(Value::Float(float(value as f64)), Value::Int),
            Self::Float(value) => Value::Float(float(value)),
            _ => Value::Null,
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(text) => write!(f, "'{text}'"),
        }
    }
}

/// Returns whether a text is like a pattern: `%` is any characters, `_` one. It takes time for text times pattern at most.
pub(crate) fn is_like(text: &str, pattern: &str) -> bool {
    let (mut text, mut pattern) = (text.chars(), pattern.chars());
    let mut back: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let rest = text.clone();
        match (text.next(), pattern.next()) {
            (_, Some('%')) => {
                text = rest;
                back = Some((text.clone(), pattern.clone()));
            }
            (None, None) => return true,
            (Some(_), Some('_')) => {}
            (Some(c), Some(d)) if c == d => {}
            _ => match &mut back {
                // A star takes one character more.
                Some((from, behind)) => {
                    if from.next().is_none() {
                        return false;
                    }
                    (text, pattern) = (from.clone(), behind.clone());
                }
                None => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_with_null_nan_and_other_kinds_are_false() {
        use Comparison::*;
        for sign in [Equal, Unequal, Less, AtMost, Greater, AtLeast] {
            for (one, other) in [
                (Value::Null, Value::Null),
                (Value::Null, Value::Int(1)),
                (Value::Float(f64::NAN), Value::Float(f64::NAN)),
                (Value::Float(f64::NAN), Value::Int(1)),
                (Value::Text("1"), Value::Int(1)),
                (Value::Bool(true), Value::Int(1)),
            ] {
                assert!(!one.compare(sign, other) && !other.compare(sign, one), "{one} {} {other}", sign.sign());
            }
        }
        assert!(Value::Int(i64::MAX).compare(Greater, Value::Int(i64::MAX - 1)));
        assert!(Value::Int(1).compare(Equal, Value::Float(1.0)));
        assert!(Value::Text("a").compare(Less, Value::Text("b")));
    }

    #[test]
    fn whole_numbers_stay_whole_as_long_as_they_can() {
        use Arithmetic::*;
        let int = Value::Int;
        assert_eq!(int(7).arithmetic(Remainder, int(4)), int(3));
        assert_eq!(int(7).arithmetic(Divide, int(2)), Value::Float(3.5));
        assert_eq!(int(i64::MAX).arithmetic(Add, int(1)), Value::Float(i64::MAX as f64 + 1.0));
        for sign in [Divide, Remainder] {
            assert_eq!(int(1).arithmetic(sign, int(0)), Value::Null);
        }
        assert_eq!(int(1).arithmetic(Add, Value::Null), Value::Null);
        assert_eq!(int(i64::MIN).with_sign(i64::checked_neg, |value| -value), Value::Float(-(i64::MIN as f64)));
    }

    #[test]
    fn texts_are_like_patterns() {
        for (text, pattern, expected) in [
            ("motor_left", "motor%", true),
            ("motor_left", "%left", true),
            ("motor_left", "motor_left", true),
            ("motor", "m_t%r", true),
            ("motor", "motor_", false),
            ("", "%", true),
            ("", "_", false),
            ("größe", "gr__e", true),
            ("abab", "%ab", true),
            ("Motor", "motor", false),
        ] {
            assert_eq!(is_like(text, pattern), expected, "{text} like {pattern}");
        }
        assert!(!is_like(&"a".repeat(10_000), "%a%a%a%a%a%a%b"));
    }
}
