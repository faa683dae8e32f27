//! Conditions over encoded messages against the same conditions over the messages' JSON, where they are evaluated the slow way.

use proptest::prelude::*;
use recording::decode::Decoder;
use recording::schema::library::Library;
use rules::{Arithmetic, Comparison, Expression, Function, Literal, Machine, Part, Reference, Topics, parse, rules};
use serde_json::Value as Json;

use crate::messages::{Cdr, topic};

const DEFINITION: &str = "\
bool b
int32 i
float64 f
string t
float32[] list
Item[] items
Pair[] pairs
string[] name
float64[] position
================================================================================
MSG: demo/Item
uint8 level
string name
bool ok
================================================================================
MSG: demo/Pair
string key
string value
";

const NAMES: [&str; 3] = ["a", "b", "ab"];

#[derive(Clone, Debug)]
struct Message {
    b: bool,
    i: i32,
    f: f64,
    t: usize,
    list: Vec<f32>,
    items: Vec<(u8, usize, bool)>,
    pairs: Vec<(usize, usize)>,
    name: Vec<usize>,
    position: Vec<f64>,
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        let mut cdr = Cdr::new();
        cdr.bool(self.b);
        cdr.i32(self.i);
        cdr.f64(self.f);
        cdr.text(NAMES[self.t]);
        cdr.count(self.list.len());
        self.list.iter().for_each(|value| cdr.f32(*value));
        cdr.count(self.items.len());
        for (level, name, ok) in &self.items {
            cdr.u8(*level);
            cdr.text(NAMES[*name]);
            cdr.bool(*ok);
        }
        cdr.count(self.pairs.len());
        for (key, value) in &self.pairs {
            cdr.text(NAMES[*key]);
            cdr.text(NAMES[*value]);
        }
        cdr.count(self.name.len());
        self.name.iter().for_each(|name| cdr.text(NAMES[*name]));
        cdr.count(self.position.len());
        self.position.iter().for_each(|value| cdr.f64(*value));
        cdr.done()
    }
}

/// Numbers that JSON and floats of four bytes hold as they are.
fn quarter() -> impl Strategy<Value = f64> {
    (-8..8i32).prop_map(|quarters| f64::from(quarters) / 4.0)
}

fn message() -> impl Strategy<Value = Message> {
    let text = 0..NAMES.len();
    let number = prop_oneof![9 => quarter(), 1 => Just(f64::NAN)];
    let first = (any::<bool>(), -2..3i32, number, text.clone(), prop::collection::vec(quarter().prop_map(|value| value as f32), 0..4));
    let items = prop::collection::vec((0..3u8, text.clone(), any::<bool>()), 0..4);
    let pairs = prop::collection::vec((text.clone(), text.clone()), 0..3);
    let names = prop::collection::vec(text, 0..4);
    (first, items, pairs, names, prop::collection::vec(quarter(), 0..4))
        .prop_map(|((b, i, f, t, list), items, pairs, name, position)| Message { b, i, f, t, list, items, pairs, name, position })
}

fn choice(all: &[&str]) -> impl Strategy<Value = String> {
    prop::sample::select(all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>())
}

fn number() -> impl Strategy<Value = String> {
    let fields = choice(&[
        "/t.i",
        "/t.f",
        "/t.list[0]",
        "/t.list[2]",
        "/t.items['b'].level",
        "/t.items[1].level",
        "/t.position['a']",
        "delta(/t.i)",
        "delta(/t.f)",
    ]);
    prop_oneof![quarter().prop_map(|value| format!("({value})")), fields].prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), choice(&["+", "-", "*", "/", "%"]), inner.clone()).prop_map(|(a, sign, b)| format!("({a} {sign} {b})")),
            (choice(&["abs", "sqrt"]), inner.clone()).prop_map(|(name, value)| format!("{name}({value})")),
            inner.prop_map(|value| format!("-{value}")),
        ]
    })
}

fn text() -> impl Strategy<Value = String> {
    choice(&["'a'", "'b'", "'ab'", "/t.t", "/t.items[0].name", "/t.items['ab'].name", "/t.pairs['a']", "/t.pairs['b'].value", "/t.name[1]"])
}

fn sign() -> impl Strategy<Value = String> {
    choice(&["==", "!=", "<", "<=", ">", ">="])
}

fn condition() -> impl Strategy<Value = String> {
    let not = || choice(&["", "not "]);
    let leaf = prop_oneof![
        choice(&["/t.b", "changed(/t.t)", "changed(/t.f)", "/t.items['a'].ok"]),
        (number(), sign(), number()).prop_map(|(a, sign, b)| format!("{a} {sign} {b}")),
        (text(), sign(), text()).prop_map(|(a, sign, b)| format!("{a} {sign} {b}")),
        (number(), not(), number(), number()).prop_map(|(a, not, b, c)| format!("{a} {not}between {b} and {c}")),
        (number(), not(), number(), number()).prop_map(|(a, not, b, c)| format!("{a} {not}in ({b}, {c})")),
        (text(), not(), choice(&["'a%'", "'_'", "'%b'"])).prop_map(|(a, not, b)| format!("{a} {not}like {b}")),
        (number(), not()).prop_map(|(a, not)| format!("{a} is {not}null")),
        (text(), text()).prop_map(|(a, b)| format!("contains({a}, {b})")),
        (choice(&["any", "all"]), sign(), number()).prop_map(|(name, sign, a)| format!("{name}(/t.list, it {sign} {a})")),
        (choice(&["any", "all"]), sign(), number(), text())
            .prop_map(|(name, sign, a, b)| format!("{name}(/t.items, it.level {sign} {a} and (it.ok or it.name == {b}))")),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} and {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} or {b})")),
            inner.prop_map(|a| format!("not ({a})")),
        ]
    })
}

/// The last two messages as JSON, and the element that is looked at.
#[derive(Clone, Copy)]
struct Slow<'j> {
    before: Option<&'j Json>,
    now: &'j Json,
    element: Option<&'j Json>,
}

/// What JSON has where a number is none.
fn number_of(value: &Json) -> Option<f64> {
    if value == "NaN" { Some(f64::NAN) } else { value.as_f64() }
}

fn at<'j>(value: &'j Json, parts: &[Part]) -> Option<&'j Json> {
    let mut here = value;
    let mut around = value;
    for (place, part) in parts.iter().enumerate() {
        let next = match part {
            Part::Field(name) => here.get(name)?,
            Part::Index(index) => here.get(*index as usize)?,
            Part::Name(name) if here.as_array()?.iter().all(Json::is_object) && around.get("position") != Some(here) => {
                let list = here.as_array()?;
                let named = |one: &&Json| one.get("name").or(one.get("key")).is_some_and(|text| text == name);
                let found = list.iter().find(named)?;
                if found.get("key").is_some() && place + 1 == parts.len() { found.get("value")? } else { found }
            }
            Part::Name(name) => {
                let place = around.get("name")?.as_array()?.iter().position(|one| one == name)?;
                here.get(place)?
            }
        };
        (around, here) = (here, next);
    }
    Some(here)
}

impl Slow<'_> {
    fn read(&self, reference: &Reference) -> Json {
        at(self.now, &reference.parts).cloned().unwrap_or(Json::Null)
    }

    fn truth(&self, expression: &Expression) -> bool {
        let compare = |sign: Comparison, a: &Json, b: &Json| {
            let order = match (a, b) {
                (Json::Bool(a), Json::Bool(b)) => Some(a.cmp(b)),
                _ => match (number_of(a), number_of(b)) {
                    (Some(a), Some(b)) => a.partial_cmp(&b),
                    _ => a.as_str().zip(b.as_str()).map(|(a, b)| a.cmp(b)),
                },
            };
            order.is_some_and(|order| match sign {
                Comparison::Equal => order.is_eq(),
                Comparison::Unequal => order.is_ne(),
                Comparison::Less => order.is_lt(),
                Comparison::AtMost => order.is_le(),
                Comparison::Greater => order.is_gt(),
                Comparison::AtLeast => order.is_ge(),
            })
        };
        match expression {
            Expression::And(parts) => parts.iter().all(|part| self.truth(part)),
            Expression::Or(parts) => parts.iter().any(|part| self.truth(part)),
            Expression::Not(inner) => !self.truth(inner),
            Expression::Compare(sign, a, b) => compare(*sign, &self.value(a), &self.value(b)),
            Expression::In { value, list, negated } => {
                let value = self.value(value);
                match negated {
                    false => list.iter().any(|one| compare(Comparison::Equal, &value, &self.value(one))),
                    true => list.iter().all(|one| compare(Comparison::Unequal, &value, &self.value(one))),
                }
            }
            Expression::Between { value, low, high, negated } => {
                let (value, low, high) = (self.value(value), self.value(low), self.value(high));
                match negated {
                    false => compare(Comparison::AtLeast, &value, &low) && compare(Comparison::AtMost, &value, &high),
                    true => compare(Comparison::Less, &value, &low) || compare(Comparison::Greater, &value, &high),
                }
            }
            Expression::Like { value, pattern, negated } => self.value(value).as_str().is_some_and(|text| {
                let is_like = match pattern.as_str() {
                    "a%" => text.starts_with('a'),
                    "%b" => text.ends_with('b'),
                    _ => text.chars().count() == 1,
                };
                is_like != *negated
            }),
            Expression::IsNull { value, negated } => self.value(value).is_null() != *negated,
            Expression::Changed(reference) => self.before.is_some_and(|before| {
                let (before, now) = (at(before, &reference.parts).cloned().unwrap_or(Json::Null), self.read(reference));
                before.is_null() != now.is_null() || compare(Comparison::Unequal, &before, &now)
            }),
            Expression::Call(Function::Contains, arguments) => {
                let (text, part) = (self.value(&arguments[0]), self.value(&arguments[1]));
                text.as_str().zip(part.as_str()).is_some_and(|(text, part)| text.contains(part))
            }
            Expression::Quantified { every, list, condition } => {
                let list = self.read(list);
                let holds = |element: &Json| Slow { element: Some(element), ..*self }.truth(condition);
                let list = list.as_array().unwrap();
                if *every { list.iter().all(holds) } else { list.iter().any(holds) }
            }
            value => self.value(value) == Json::Bool(true),
        }
    }

    fn value(&self, expression: &Expression) -> Json {
        let number = |expression: &Expression| number_of(&self.value(expression));
        // A number that is none is told as messages tell it.
        let json = |value: f64| if value.is_nan() { Json::from("NaN") } else { Json::from(value) };
        match expression {
            Expression::Literal(Literal::Bool(value)) => (*value).into(),
            Expression::Literal(Literal::Int(value)) => (*value).into(),
            Expression::Literal(Literal::Float(value)) => (*value).into(),
            Expression::Literal(Literal::Text(text)) => text.as_str().into(),
            Expression::Signal(reference) => self.read(reference),
            Expression::Element(parts, _) => at(self.element.unwrap(), parts).cloned().unwrap_or(Json::Null),
            Expression::Negate(inner) => number(inner).map_or(Json::Null, |value| json(-value)),
            Expression::Call(Function::Abs, arguments) => number(&arguments[0]).map_or(Json::Null, |value| json(value.abs())),
            Expression::Call(Function::Sqrt, arguments) => number(&arguments[0]).map_or(Json::Null, |value| json(value.sqrt())),
            Expression::Delta(reference) => {
                let before = self.before.and_then(|before| number_of(at(before, &reference.parts)?));
                let now = number_of(&self.read(reference));
                now.zip(before).map_or(Json::Null, |(now, before)| json(now - before))
            }
            Expression::Arithmetic(sign, a, b) => {
                let Some((a, b)) = number(a).zip(number(b)) else { return Json::Null };
                match sign {
                    Arithmetic::Add => json(a + b),
                    Arithmetic::Subtract => json(a - b),
                    Arithmetic::Multiply => json(a * b),
                    Arithmetic::Divide | Arithmetic::Remainder if b == 0.0 => Json::Null,
                    Arithmetic::Divide => json(a / b),
                    Arithmetic::Remainder => json(a % b),
                }
            }
            condition => self.truth(condition).into(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_true_of_bytes_is_true_of_json(condition in condition(), messages in prop::collection::vec(message(), 1..4)) {
        let topic = topic("/t", "demo/msg/All", DEFINITION);
        let decoder = Decoder::new(&topic, &Library::empty()).unwrap();
        let rule = rules(&format!("[[rule]]\nname = 'r'\nwhen = \"{condition}\""), "r.toml").unwrap().swap_remove(0);
        prop_assert_eq!(&rule.condition, &parse(&condition).unwrap());
        let program = rule.program(&Topics::new([topic.clone()], &Library::empty())).unwrap();
        let mut machine = Machine::new(&rule, program, 0);
        // Some conditions name no field at all.
        let Some(feed) = machine.feed(&topic) else { return Ok(()) };
        let mut before: Option<Json> = None;
        for (place, message) in messages.iter().enumerate() {
            let payload = message.encode();
            machine.message(feed, &payload, 1 + place as i64, &mut Vec::new());
            let mut json = Vec::new();
            decoder.json(&payload, &mut json).unwrap();
            let now: Json = serde_json::from_slice(&json).unwrap();
            let slow = Slow { before: before.as_ref(), now: &now, element: None };
            prop_assert_eq!(machine.is_true(), slow.truth(&rule.condition), "{} of {}", condition, now);
            before = Some(now);
        }
        prop_assert_eq!(machine.counts().unreadable, 0);
    }

    #[test]
    fn no_payload_makes_a_rule_fail(condition in condition(), payload in prop::collection::vec(any::<u8>(), 0..80)) {
        let topic = topic("/t", "demo/msg/All", DEFINITION);
        let rule = rules(&format!("[[rule]]\nname = 'r'\nwhen = \"{condition}\""), "r.toml").unwrap().swap_remove(0);
        let program = rule.program(&Topics::new([topic.clone()], &Library::empty())).unwrap();
        let mut machine = Machine::new(&rule, program, 0);
        // Some conditions name no field at all.
        let Some(feed) = machine.feed(&topic) else { return Ok(()) };
        machine.message(feed, &[&[0, 1, 0, 0], payload.as_slice()].concat(), 1, &mut Vec::new());
        machine.message(feed, &payload, 2, &mut Vec::new());
    }
}
