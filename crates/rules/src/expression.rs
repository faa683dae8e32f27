//! The tree of a condition, and its text.
//!
//! **Invariant:** the text of a tree is parsed into an equal tree.

use std::fmt::{self, Display, Formatter, Write};

/// A condition, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// A value that stands in the text.
    Literal(Literal),
    /// A state of the device: `wifi`.
    State(String),
    /// A field of a topic: `/imu.linear_acceleration.x`.
    Signal(Reference),
    /// A part of the element that `any` and `all` look at: `it`, `it.level`.
    Element(Vec<Part>, Place),
    /// True where it is not.
    Not(Box<Expression>),
    /// True where all are; at least two.
    And(Vec<Expression>),
    /// True where one is; at least two.
    Or(Vec<Expression>),
    /// Two values compared.
    Compare(Comparison, Box<Expression>, Box<Expression>),
    /// `x in (1, 2)`.
    In {
        /// What is looked for.
        value: Box<Expression>,
        /// Where.
        list: Vec<Expression>,
        /// Whether it is `not in`.
        negated: bool,
    },
    /// `x like 'a%'`.
    Like {
        /// The text.
        value: Box<Expression>,
        /// What it is like: `%` is any characters, `_` one.
        pattern: String,
        /// Whether it is `not like`.
        negated: bool,
    },
    /// `x between 1 and 2`, both included.
    Between {
        /// The value.
        value: Box<Expression>,
        /// The least.
        low: Box<Expression>,
        /// The most.
        high: Box<Expression>,
        /// Whether it is `not between`.
        negated: bool,
    },
    /// `x is null`.
    IsNull {
        /// The value.
        value: Box<Expression>,
        /// Whether it is `is not null`.
        negated: bool,
    },
    /// Two numbers and a sign between them.
    Arithmetic(Arithmetic, Box<Expression>, Box<Expression>),
    /// `-x`.
    Negate(Box<Expression>),
    /// `any(list, condition)` and `all(list, condition)`.
    Quantified {
        /// Whether the condition must hold for all.
        every: bool,
        /// The list.
        list: Reference,
        /// What must hold for its elements.
        condition: Box<Expression>,
    },
    /// A function of values.
    Call(Function, Vec<Expression>),
    /// `changed(/topic.field)`.
    Changed(Reference),
    /// `delta(/topic.field)`.
    Delta(Reference),
    /// `rate(/topic)`, `rate(/topic, 5s)`.
    Rate {
        /// The topic.
        topic: Reference,
        /// Over which time, if that is said; ns.
        window_ns: Option<i64>,
    },
    /// `age(/topic)`.
    Age(Reference),
}

/// A value that stands in the text.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `true`, `false`.
    Bool(bool),
    /// A whole number, not below 0: a sign is a part of its own.
    Int(i64),
    /// A number, not below 0.
    Float(f64),
    /// `500ms`: a number of seconds; ns.
    Duration(i64),
    /// `'text'`.
    Text(String),
}

/// A topic and the way to something in its messages.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// The topic's name.
    pub topic: String,
    /// The way; empty for the topic itself.
    pub parts: Vec<Part>,
    /// Where it begins in the text.
    pub place: Place,
}

/// A step on the way to something in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// `.name`.
    Field(String),
    /// `[0]`.
    Index(u32),
    /// `['elbow']`: a field, the value of a map, or the element of a list that has this name.
    Name(String),
}

/// Where something stands in the text, in bytes. All places are equal: trees are compared by what they say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place(pub usize);

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`.
    Equal,
    /// `!=`.
    Unequal,
    /// `<`.
    Less,
    /// `<=`.
    AtMost,
    /// `>`.
    Greater,
    /// `>=`.
    AtLeast,
}

/// What is done with two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// `+`.
    Add,
    /// `-`.
    Subtract,
    /// `*`.
    Multiply,
    /// `/`.
    Divide,
    /// `%`.
    Remainder,
}

/// A function of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `abs(x)`.
    Abs,
    /// `sqrt(x)`.
    Sqrt,
    /// `within(lat, lon, lat0, lon0, metres)`.
    Within,
    /// `contains(text, s)`.
    Contains,
    /// `sample(p)`.
    Sample,
}

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

impl Comparison {
    /// Returns its sign.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        }
    }
}

impl Arithmetic {
    /// Returns its sign.
    pub fn sign(self) -> char {
        match self {
            Self::Add => '+',
            Self::Subtract => '-',
            Self::Multiply => '*',
            Self::Divide => '/',
            Self::Remainder => '%',
        }
    }

    fn level(self) -> u8 {
        if matches!(self, Self::Add | Self::Subtract) { SUM } else { PRODUCT }
    }
}

impl Function {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [Self::Abs, Self::Sqrt, Self::Within, Self::Contains, Self::Sample];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Abs => "abs",
            Self::Sqrt => "sqrt",
            Self::Within => "within",
            Self::Contains => "contains",
            Self::Sample => "sample",
        }
    }

    /// Returns how it is written.
    pub(crate) fn usage(self) -> &'static str {
        match self {
            Self::Abs => "abs(x)",
            Self::Sqrt => "sqrt(x)",
            Self::Within => "within(lat, lon, lat0, lon0, metres)",
            Self::Contains => "contains(text, 'part')",
            Self::Sample => "sample(0.01)",
        }
    }

    /// Returns how many values it takes.
    pub(crate) fn arity(self) -> usize {
        match self {
            Self::Abs | Self::Sqrt | Self::Sample => 1,
            Self::Contains => 2,
            Self::Within => 5,
        }
    }
}

impl Expression {
    /// Tells every topic that it names, with the way in its messages.
    pub fn each_reference<'e>(&'e self, tell: &mut impl FnMut(&'e Reference)) {
        match self {
            Self::Literal(_) | Self::State(_) | Self::Element(..) => {}
            Self::Signal(reference) | Self::Changed(reference) | Self::Delta(reference) | Self::Age(reference) => tell(reference),
            Self::Rate { topic, .. } => tell(topic),
            Self::Not(inner) | Self::Negate(inner) => inner.each_reference(tell),
            Self::Like { value, .. } | Self::IsNull { value, .. } => value.each_reference(tell),
            Self::And(parts) | Self::Or(parts) | Self::Call(_, parts) => parts.iter().for_each(|part| part.each_reference(tell)),
            Self::Compare(_, left, right) | Self::Arithmetic(_, left, right) => {
                left.each_reference(tell);
                right.each_reference(tell);
            }
            Self::In { value, list, .. } => {
                value.each_reference(tell);
                list.iter().for_each(|part| part.each_reference(tell));
            }
            Self::Between { value, low, high, .. } => [value, low, high].into_iter().for_each(|part| part.each_reference(tell)),
            Self::Quantified { list, condition, .. } => {
                tell(list);
                condition.each_reference(tell);
            }
        }
    }
}

// How tightly things hold together; what holds less tightly stands in parentheses.
const ANY: u8 = 0;
const CONJUNCTION: u8 = 1;
const NEGATION: u8 = 2;
const COMPARISON: u8 = 3;
const SUM: u8 = 4;
const PRODUCT: u8 = 5;
const SIGN: u8 = 6;
const TIGHTEST: u8 = 7;

impl Expression {
    fn level(&self) -> u8 {
        match self {
            Self::Or(_) => ANY,
            Self::And(_) => CONJUNCTION,
            Self::Not(_) => NEGATION,
            Self::Compare(..) | Self::In { .. } | Self::Like { .. } | Self::Between { .. } | Self::IsNull { .. } => COMPARISON,
            Self::Arithmetic(sign, ..) => sign.level(),
            Self::Negate(_) => SIGN,
            _ => TIGHTEST,
        }
    }

    fn write(&self, f: &mut Formatter<'_>, level: u8) -> fmt::Result {
        if self.level() < level {
            f.write_char('(')?;
            self.write(f, ANY)?;
            return f.write_char(')');
        }
        let not = |negated: &bool| if *negated { "not " } else { "" };
        match self {
            Self::Literal(literal) => write!(f, "{literal}"),
            Self::State(name) => f.write_str(name),
            Self::Signal(reference) => write!(f, "{reference}"),
            Self::Element(parts, _) => {
                f.write_str("it")?;
                write_parts(parts, f)
            }
            Self::Not(inner) => {
                f.write_str("not ")?;
                inner.write(f, NEGATION)
            }
            Self::And(parts) => write_list(parts, " and ", NEGATION, f),
            Self::Or(parts) => write_list(parts, " or ", CONJUNCTION, f),
            Self::Compare(comparison, left, right) => {
                left.write(f, SUM)?;
                write!(f, " {} ", comparison.sign())?;
                right.write(f, SUM)
            }
            Self::In { value, list, negated } => {
                value.write(f, SUM)?;
                write!(f, " {}in (", not(negated))?;
                write_list(list, ", ", SUM, f)?;
                f.write_char(')')
            }
            Self::Like { value, pattern, negated } => {
                value.write(f, SUM)?;
                write!(f, " {}like ", not(negated))?;
                quote(pattern, '\'', f)
            }
            Self::Between { value, low, high, negated } => {
                value.write(f, SUM)?;
                write!(f, " {}between ", not(negated))?;
                low.write(f, SUM)?;
                f.write_str(" and ")?;
                high.write(f, SUM)
            }
            Self::IsNull { value, negated } => {
                value.write(f, SUM)?;
                write!(f, " is {}null", not(negated))
            }
            Self::Arithmetic(sign, left, right) => {
                left.write(f, sign.level())?;
                write!(f, " {} ", sign.sign())?;
                right.write(f, sign.level() + 1)
            }
            Self::Negate(inner) => {
                f.write_char('-')?;
                inner.write(f, SIGN)
            }
            Self::Quantified { every, list, condition } => {
                write!(f, "{}({list}, {condition})", if *every { "all" } else { "any" })
            }
            Self::Call(function, arguments) => {
                write!(f, "{}(", function.name())?;
                write_list(arguments, ", ", SUM, f)?;
                f.write_char(')')
            }
            Self::Changed(reference) => write!(f, "changed({reference})"),
            Self::Delta(reference) => write!(f, "delta({reference})"),
            Self::Rate { topic, window_ns: None } => write!(f, "rate({topic})"),
            Self::Rate { topic, window_ns: Some(window_ns) } => write!(f, "rate({topic}, {})", Literal::Duration(*window_ns)),
            Self::Age(topic) => write!(f, "age({topic})"),
        }
    }
}

impl Display for Expression {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write(f, ANY)
    }
}

impl Display for Reference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match is_plain_topic(&self.topic) {
            true => f.write_str(&self.topic)?,
            false => quote(&self.topic, '"', f)?,
        }
        write_parts(&self.parts, f)
    }
}

/// Units of durations, the largest first.
pub(crate) const UNITS: [(&str, i64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Duration(ns) => {
                let (unit, size) = UNITS.into_iter().find(|(_, size)| ns % size == 0 && *ns != 0).unwrap_or(("s", 1_000_000_000));
                write!(f, "{}{unit}", ns / size)
            }
            Self::Text(text) => quote(text, '\'', f),
        }
    }
}

fn write_list(list: &[Expression], between: &str, level: u8, f: &mut Formatter<'_>) -> fmt::Result {
    for (index, part) in list.iter().enumerate() {
        if index > 0 {
            f.write_str(between)?;
        }
        part.write(f, level)?;
    }
    Ok(())
}

fn write_parts(parts: &[Part], f: &mut Formatter<'_>) -> fmt::Result {
    for part in parts {
        match part {
            Part::Field(name) if is_plain_name(name) => write!(f, ".{name}")?,
            Part::Field(name) => {
                f.write_char('.')?;
                quote(name, '"', f)?;
            }
            Part::Index(index) => write!(f, "[{index}]")?,
            Part::Name(name) => {
                f.write_char('[')?;
                quote(name, '\'', f)?;
                f.write_char(']')?;
            }
        }
    }
    Ok(())
}

fn quote(text: &str, quote: char, f: &mut Formatter<'_>) -> fmt::Result {
    f.write_char(quote)?;
    for c in text.chars() {
        if c == quote || c == '\\' {
            f.write_char('\\')?;
        }
        f.write_char(c)?;
    }
    f.write_char(quote)
}

/// Returns whether a name is written without quotes.
pub(crate) fn is_plain_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(is_word)
}

/// Returns whether a topic's name is written without quotes.
pub(crate) fn is_plain_topic(name: &str) -> bool {
    name.strip_prefix('/').is_some_and(|rest| rest.split('/').all(|part| !part.is_empty() && part.chars().all(is_word)))
}

/// Returns whether names without quotes may have it.
pub(crate) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
