//! Whether a condition is true, now.
//!
//! **Invariant:** the same values and times give the same answer, and nothing is allocated.

use crate::compile::{Node, Program};
use crate::expression::{Function, Literal};
use crate::signals::Signals;
use crate::value::{Value, is_like};

/// The mean radius of the earth, in metres.
const EARTH_RADIUS_M: f64 = 6_371_008.8;

/// A second, for which `sample` decides.
const SAMPLE_NS: i64 = 1_000_000_000;

/// What a condition is evaluated with.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'m> {
    pub(crate) program: &'m Program,
    pub(crate) signals: &'m Signals,
    /// Whether each device state is set.
    pub(crate) states: &'m [bool],
    pub(crate) now_ns: i64,
    /// What `sample` decides by, beside the time.
    pub(crate) seed: u64,
    /// Which element of lists is looked at.
    pub(crate) element: usize,
}

impl<'m> Moment<'m> {
    /// Returns whether the condition is true.
    #[inline]
    pub(crate) fn is_true(&self) -> bool {
        self.truth(&self.program.root)
    }

    fn truth(&self, node: &'m Node) -> bool {
        match node {
            Node::And(parts) => parts.iter().all(|part| self.truth(part)),
            Node::Or(parts) => parts.iter().any(|part| self.truth(part)),
            Node::Not(inner) => !self.truth(inner),
            Node::Compare(comparison, both) => self.value(&both.0).compare(*comparison, self.value(&both.1)),
            Node::State(state) => self.states.get(*state).copied().unwrap_or(false),
            Node::Changed(signal) => self.signals.last_two(*signal, self.now_ns).is_some_and(|(before, now)| now.differs(before)),
            Node::Like { value, pattern, negated } => match self.value(value) {
                Value::Text(text) => is_like(text, pattern) != *negated,
                _ => false,
            },
            Node::IsNull(value) => self.value(value).is_null(),
            Node::Quantified { every, column, condition } => {
                let Some(list) = self.signals.list(*column, self.now_ns) else { return false };
                let holds = |element| Moment { element, ..*self }.truth(condition);
                match every {
                    true => (0..list.len()).all(holds),
                    false => (0..list.len()).any(holds),
                }
            }
            Node::Call(Function::Within, arguments) => self.is_within(arguments),
            Node::Call(Function::Contains, arguments) => match arguments.as_slice() {
                [text, part] => match (self.value(text), self.value(part)) {
                    (Value::Text(text), Value::Text(part)) => text.contains(part),
                    _ => false,
                },
                _ => false,
            },
            Node::Call(Function::Sample, arguments) => {
                let part = arguments.first().and_then(|part| self.value(part).number()).unwrap_or(0.0);
                chance(self.seed, self.now_ns.div_euclid(SAMPLE_NS)) < part
            }
            _ => self.value(node).is_true(),
        }
    }

    #[inline]
    fn value(&self, node: &'m Node) -> Value<'m> {
        match node {
            Node::Signal(signal) => self.signals.value(*signal, self.now_ns),
            Node::Constant(literal) => match literal {
                Literal::Bool(value) => Value::Bool(*value),
                Literal::Int(value) => Value::Int(*value),
                Literal::Float(value) => Value::Float(*value),
                Literal::Duration(ns) => Value::Float(*ns as f64 / 1e9),
                Literal::Text(text) => Value::Text(text),
            },
            Node::Column(column) => self.signals.list(*column, self.now_ns).map_or(Value::Null, |list| list.get(self.element)),
            Node::Delta(signal) => match self.signals.last_two(*signal, self.now_ns) {
                Some((before, now)) => now.arithmetic(crate::expression::Arithmetic::Subtract, before),
                None => Value::Null,
            },
            Node::Rate(rate) => self.signals.rate(*rate),
            Node::Age(topic) => self.signals.age(*topic, self.now_ns),
            Node::Arithmetic(sign, both) => self.value(&both.0).arithmetic(*sign, self.value(&both.1)),
            Node::Negate(inner) => self.value(inner).with_sign(i64::checked_neg, |value| -value),
            Node::Call(Function::Abs, arguments) => self.first(arguments).with_sign(i64::checked_abs, f64::abs),
            Node::Call(Function::Sqrt, arguments) => self.first(arguments).number().map_or(Value::Null, |value| Value::Float(value.sqrt())),
            condition => Value::Bool(self.truth(condition)),
        }
    }

    fn first(&self, arguments: &'m [Node]) -> Value<'m> {
        arguments.first().map_or(Value::Null, |node| self.value(node))
    }

    fn is_within(&self, arguments: &'m [Node]) -> bool {
        let [lat, lon, lat0, lon0, metres] = arguments else { return false };
        let number = |node| self.value(node).number();
        let all = || Some((number(lat)?, number(lon)?, number(lat0)?, number(lon0)?, number(metres)?));
        all().is_some_and(|(lat, lon, lat0, lon0, metres)| distance_m(lat, lon, lat0, lon0) <= metres)
    }
}

/// Returns how far two places on the earth are apart, on a sphere; degrees in, metres out.
fn distance_m(lat: f64, lon: f64, lat0: f64, lon0: f64) -> f64 {
    let half_sine = |degrees: f64| (degrees.to_radians() / 2.0).sin();
    let (north, east) = (half_sine(lat - lat0), half_sine(lon - lon0));
    let square = north * north + lat.to_radians().cos() * lat0.to_radians().cos() * east * east;
    // Rounding may go above 1; what is no number stays none.
    let sine = if square > 1.0 { 1.0 } else { square.sqrt() };
    2.0 * EARTH_RADIUS_M * sine.asin()
}

/// Returns a number from 0 to 1, 1 not included, that is another one for each second.
fn chance(seed: u64, second: i64) -> f64 {
    // SplitMix64.
    let mut mixed = seed ^ (second as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_a_sphere() {
        // A degree of latitude, the quarter of the globe, and across the date line.
        assert!((distance_m(48.0, 11.0, 49.0, 11.0) - 111_195.08).abs() < 0.1);
        assert!((distance_m(0.0, 0.0, 90.0, 0.0) - 10_007_557.2).abs() < 1.0);
        assert!((distance_m(0.0, 179.9995, 0.0, -179.9995) - 111.195).abs() < 0.01);
        assert!(distance_m(f64::NAN, 0.0, 0.0, 0.0).is_nan());
        assert!(distance_m(0.0, 0.0, 0.0, 180.0) > 20_000_000.0);
    }

    #[test]
    fn a_part_of_all_seconds_is_chosen() {
        let chosen = (0..100_000).filter(|second| chance(7, *second) < 0.1).count();
        assert!((9_700..10_300).contains(&chosen), "{chosen}");
        assert_ne!(chance(1, 5), chance(2, 5));
    }
}
