//! From a condition's tree to what is evaluated for each message: every name is a place, every type fits.
//!
//! **Invariant:** a [`Program`] names nothing that is not there, and compares nothing that cannot be compared.

use std::sync::Arc;

use recording::decode::reads_both;
use recording::{Result, Topic};

use crate::check::{Found, Type, find};
use crate::expression::{Arithmetic, Comparison, Expression, Function, Literal, Part, Reference};
use crate::lex::refuse;
use crate::reader::Reader;
use crate::topics::Topics;

/// A condition that is ready to be evaluated.
#[derive(Debug)]
pub struct Program {
    pub(crate) root: Node,
    pub(crate) watched: Vec<Watched>,
    pub(crate) signals: Vec<Signal>,
    /// Windows of `rate`: of which topic, and how many ns.
    pub(crate) rates: Vec<(usize, i64)>,
    pub(crate) feeds: Vec<Reads>,
    /// Names of device states.
    pub(crate) states: Vec<String>,
}

/// A step of the evaluation.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Constant(Literal),
    State(usize),
    Signal(usize),
    /// The element of a list that is looked at.
    Column(usize),
    Changed(usize),
    Delta(usize),
    Rate(usize),
    Age(usize),
    Not(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Compare(Comparison, Box<(Node, Node)>),
    Arithmetic(Arithmetic, Box<(Node, Node)>),
    Negate(Box<Node>),
    Like {
        value: Box<Node>,
        pattern: String,
        negated: bool,
    },
    IsNull(Box<Node>),
    Quantified {
        every: bool,
        column: usize,
        condition: Box<Node>,
    },
    Call(Function, Vec<Node>),
}

/// A topic that the condition names.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) name: String,
    /// Whether its last value counts however old it is.
    pub(crate) latched: bool,
    /// Whether the condition asks how old it is.
    pub(crate) is_aged: bool,
}

/// A field that the condition names.
#[derive(Debug)]
pub(crate) struct Signal {
    /// Its topic's place among those that are watched.
    pub(crate) topic: usize,
    pub(crate) reference: Reference,
    /// The part of each element, where it is the values of a list.
    pub(crate) element: Option<Vec<Part>>,
    /// Whether the value before the last one counts too.
    pub(crate) keeps_previous: bool,
}

/// What is read of messages of one definition.
#[derive(Debug)]
pub(crate) struct Reads {
    topic: Arc<Topic>,
    pub(crate) watched: usize,
    /// Which signals, and how.
    pub(crate) readers: Vec<(usize, Reader)>,
}

/// What messages of one definition are to a [`Program`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feed(pub(crate) usize);

impl Program {
    /// Checks a condition against the topics that there are. `text` is what it was parsed from, for errors.
    ///
    /// # Errors
    /// `Invalid` with the place in the text, what is wrong there, and the nearest names.
    pub fn new(expression: &Expression, text: &str, topics: &Topics) -> Result<Self> {
        let program = Self {
            root: Node::And(Vec::new()),
            watched: Vec::new(),
            signals: Vec::new(),
            rates: Vec::new(),
            feeds: Vec::new(),
            states: Vec::new(),
        };
        let mut compiler = Compiler { program, topics, text, list: None };
        let root = compiler.condition(expression)?;
        Ok(Self { root, ..compiler.program })
    }

    /// Returns what messages of a topic are to this condition, if they are anything.
    pub fn feed(&self, topic: &Topic) -> Option<Feed> {
        self.feeds.iter().position(|feed| feed.topic.name == topic.name && reads_both(&feed.topic, topic)).map(Feed)
    }

    /// Returns the names of the topics that it names.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.watched.iter().map(|topic| topic.name.as_str())
    }

    /// Returns the names of the topics that it names and whose last value counts however old it is.
    pub fn latched(&self) -> impl Iterator<Item = &str> {
        self.watched.iter().filter(|topic| topic.latched).map(|topic| topic.name.as_str())
    }

    /// Returns the device states that it names.
    pub fn states(&self) -> &[String] {
        &self.states
    }
}

struct Compiler<'c> {
    program: Program,
    topics: &'c Topics,
    text: &'c str,
    /// The list whose elements are looked at, and the last column of it.
    list: Option<(&'c Reference, Option<usize>)>,
}

impl<'c> Compiler<'c> {
    fn refuse(&self, at: usize, message: impl AsRef<str>) -> recording::Error {
        refuse(self.text, at, message)
    }

    /// Compiles what must be true or false.
    fn condition(&mut self, expression: &'c Expression) -> Result<Node> {
        let (node, kind) = self.node(expression)?;
        match kind {
            Type::Bool | Type::Any => Ok(node),
            kind => Err(mismatch(format!("{expression} is {}, and no condition: compare it with something", kind.name()))),
        }
    }

    fn number(&mut self, expression: &'c Expression) -> Result<Node> {
        let (node, kind) = self.node(expression)?;
        match kind {
            Type::Number | Type::Named(_) | Type::Any => Ok(node),
            kind => Err(mismatch(format!("{expression} is {}, and no number", kind.name()))),
        }
    }

    fn text(&mut self, expression: &'c Expression) -> Result<Node> {
        let (node, kind) = self.node(expression)?;
        match kind {
            Type::Text | Type::Any => Ok(node),
            kind => Err(mismatch(format!("{expression} is {}, and no text", kind.name()))),
        }
    }

    fn conditions(&mut self, parts: &'c [Expression]) -> Result<Vec<Node>> {
        parts.iter().map(|part| self.condition(part)).collect()
    }

    fn node(&mut self, expression: &'c Expression) -> Result<(Node, Type)> {
        Ok(match expression {
            Expression::Literal(literal) => literal_node(literal),
            Expression::State(name) => (Node::State(place(&mut self.program.states, name.clone())), Type::Bool),
            Expression::Signal(reference) => {
                let (signal, kind) = self.signal(reference, None)?;
                (Node::Signal(signal), kind)
            }
            Expression::Element(parts, at) => {
                let Some((list, _)) = self.list else { return Err(self.refuse(at.0, "there is no list whose element 'it' could be")) };
                let (column, kind) = self.signal(list, Some(parts))?;
                self.list = Some((list, Some(column)));
                (Node::Column(column), kind)
            }
            Expression::Not(inner) => (Node::Not(Box::new(self.condition(inner)?)), Type::Bool),
            Expression::And(parts) => (Node::And(self.conditions(parts)?), Type::Bool),
            Expression::Or(parts) => (Node::Or(self.conditions(parts)?), Type::Bool),
            Expression::Compare(comparison, left, right) => (self.comparison(*comparison, left, right)?, Type::Bool),
            Expression::In { value, list, negated } => (self.membership(value, list, *negated)?, Type::Bool),
            Expression::Like { value, pattern, negated } => {
                (Node::Like { value: Box::new(self.text(value)?), pattern: pattern.clone(), negated: *negated }, Type::Bool)
            }
            Expression::Between { value, low, high, negated } => {
                let least = self.comparison(Comparison::AtLeast, value, low)?;
                let most = self.comparison(Comparison::AtMost, value, high)?;
                let node = match negated {
                    false => Node::And(vec![least, most]),
                    true => {
                        Node::Or(vec![self.comparison(Comparison::Less, value, low)?, self.comparison(Comparison::Greater, value, high)?])
                    }
                };
                (node, Type::Bool)
            }
            Expression::IsNull { value, negated } => {
                let node = Node::IsNull(Box::new(self.node(value)?.0));
                (if *negated { Node::Not(Box::new(node)) } else { node }, Type::Bool)
            }
            Expression::Arithmetic(sign, left, right) => {
                (Node::Arithmetic(*sign, Box::new((self.number(left)?, self.number(right)?))), Type::Number)
            }
            Expression::Negate(inner) => (Node::Negate(Box::new(self.number(inner)?)), Type::Number),
            Expression::Quantified { every, list, condition } => (self.quantified(*every, list, condition)?, Type::Bool),
            Expression::Call(function, arguments) => self.call(*function, arguments)?,
            Expression::Changed(reference) => {
                let (signal, _) = self.signal(reference, None)?;
                self.program.signals[signal].keeps_previous = true;
                (Node::Changed(signal), Type::Bool)
            }
            Expression::Delta(reference) => {
                let (signal, kind) = self.signal(reference, None)?;
                if !matches!(kind, Type::Number | Type::Named(_) | Type::Any) {
                    return Err(mismatch(format!("{reference} is {}, and no number: delta takes a number", kind.name())));
                }
                self.program.signals[signal].keeps_previous = true;
                (Node::Delta(signal), Type::Number)
            }
            Expression::Rate { topic, window_ns } => {
                let watched = self.watch(topic)?;
                let rate = (watched, window_ns.unwrap_or(crate::signals::RATE_WINDOW_NS));
                (Node::Rate(place(&mut self.program.rates, rate)), Type::Number)
            }
            Expression::Age(topic) => {
                let watched = self.watch(topic)?;
                self.program.watched[watched].is_aged = true;
                (Node::Age(watched), Type::Number)
            }
        })
    }

    fn comparison(&mut self, comparison: Comparison, left: &'c Expression, right: &'c Expression) -> Result<Node> {
        let (mut one, one_kind) = self.node(left)?;
        let (mut other, other_kind) = self.node(right)?;
        match (&one_kind, &other_kind) {
            (Type::Named(names), Type::Text) => other = by_name(names, other, right)?,
            (Type::Text, Type::Named(names)) => one = by_name(names, one, left)?,
            (Type::Bool, Type::Bool) if !matches!(comparison, Comparison::Equal | Comparison::Unequal) => {
                return Err(mismatch(format!("{left} is true or false: write == or != for {}", comparison.sign())));
            }
            (Type::Any, _) | (_, Type::Any) => {}
            (one, other) if one.name() == other.name() => {}
            (one, other) => {
                let (one, other) = (one.name(), other.name());
                return Err(mismatch(format!("{left} is {one} and {right} is {other}: the two cannot be compared")));
            }
        }
        Ok(Node::Compare(comparison, Box::new((one, other))))
    }

    /// Compiles `in` and `not in` as what they stand for.
    fn membership(&mut self, value: &'c Expression, list: &'c [Expression], negated: bool) -> Result<Node> {
        let sign = if negated { Comparison::Unequal } else { Comparison::Equal };
        let nodes = list.iter().map(|item| self.comparison(sign, value, item)).collect::<Result<Vec<_>>>()?;
        Ok(if negated { Node::And(nodes) } else { Node::Or(nodes) })
    }

    fn quantified(&mut self, every: bool, list: &'c Reference, condition: &'c Expression) -> Result<Node> {
        let around = self.list.replace((list, None));
        let node = self.condition(condition)?;
        let column = std::mem::replace(&mut self.list, around).and_then(|(_, column)| column);
        match column {
            Some(column) => Ok(Node::Quantified { every, column, condition: Box::new(node) }),
            None => Err(self.refuse(
                list.place.0,
                format!("{condition} says nothing of the elements: write 'it' for an element, 'it.name' for a part of it"),
            )),
        }
    }

    fn call(&mut self, function: Function, arguments: &'c [Expression]) -> Result<(Node, Type)> {
        let nodes = match function {
            Function::Contains => arguments.iter().map(|argument| self.text(argument)).collect::<Result<Vec<_>>>()?,
            _ => arguments.iter().map(|argument| self.number(argument)).collect::<Result<Vec<_>>>()?,
        };
        if function == Function::Sample {
            let part = match nodes.as_slice() {
                [Node::Constant(Literal::Int(part))] => *part as f64,
                [Node::Constant(Literal::Float(part))] => *part,
                _ => f64::NAN,
            };
            if !(0.0..=1.0).contains(&part) {
                return Err(mismatch(format!("sample takes a part from 0 to 1, such as sample(0.01), and not {}", arguments[0])));
            }
        }
        let kind = if matches!(function, Function::Abs | Function::Sqrt) { Type::Number } else { Type::Bool };
        Ok((Node::Call(function, nodes), kind))
    }

    /// Returns the place of a topic among those that are watched.
    fn watch(&mut self, reference: &Reference) -> Result<usize> {
        let variants = self.topics.variants(&reference.topic).map_err(|message| self.refuse(reference.place.0, message))?;
        if let Some(known) = self.program.watched.iter().position(|watched| watched.name == reference.topic) {
            return Ok(known);
        }
        let watched = self.program.watched.len();
        self.program.watched.push(Watched {
            name: reference.topic.clone(),
            latched: self.topics.is_latched(&reference.topic),
            is_aged: false,
        });
        let feeds = variants.iter().map(|variant| Reads { topic: variant.topic.clone(), watched, readers: Vec::new() });
        self.program.feeds.extend(feeds);
        Ok(watched)
    }

    /// Returns the place of a field among the signals, and what it is.
    fn signal(&mut self, reference: &Reference, element: Option<&[Part]>) -> Result<(usize, Type)> {
        let topic = self.watch(reference)?;
        let Found { kind, readers } = find(self.topics, reference, element).map_err(|message| self.refuse(reference.place.0, message))?;
        let same = |signal: &Signal| signal.reference == *reference && signal.element.as_deref() == element;
        if let Some(known) = self.program.signals.iter().position(same) {
            return Ok((known, kind));
        }
        let place = self.program.signals.len();
        self.program.signals.push(Signal {
            topic,
            reference: reference.clone(),
            element: element.map(<[Part]>::to_vec),
            keeps_previous: false,
        });
        let feeds = self.program.feeds.iter_mut().filter(|feed| feed.watched == topic);
        feeds.zip(readers).for_each(|(feed, reader)| feed.readers.push((place, reader)));
        Ok((place, kind))
    }
}

fn mismatch(message: String) -> recording::Error {
    recording::Error::invalid(message)
}

/// Returns the place of something in a list; it is added where it is not there yet.
fn place<T: PartialEq>(list: &mut Vec<T>, wanted: T) -> usize {
    let known = list.iter().position(|known| *known == wanted);
    known.unwrap_or_else(|| {
        list.push(wanted);
        list.len() - 1
    })
}

fn literal_node(literal: &Literal) -> (Node, Type) {
    let kind = match literal {
        Literal::Bool(_) => Type::Bool,
        Literal::Text(_) => Type::Text,
        Literal::Int(_) | Literal::Float(_) | Literal::Duration(_) => Type::Number,
    };
    let literal = match literal {
        Literal::Duration(ns) => Literal::Float(*ns as f64 / 1e9),
        other => other.clone(),
    };
    (Node::Constant(literal), kind)
}

/// Returns the number that has a name.
fn by_name(names: &recording::schema::Enum, node: Node, written: &Expression) -> Result<Node> {
    let Node::Constant(Literal::Text(text)) = &node else {
        return Err(mismatch(format!(
            "{written} is text: a number with names ({}) is compared with one of them, in single quotes",
            names.name
        )));
    };
    let number = names.names.iter().find(|(_, name)| *name == text).map(|(number, _)| *number);
    let near = || recording::nearest::nearest(text, names.names.values().map(String::as_str));
    let number = number.ok_or_else(|| mismatch(format!("{} has no name '{text}'; there are {}", names.name, near())))?;
    Ok(Node::Constant(Literal::Int(number)))
}
