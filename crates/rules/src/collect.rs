//! Values out of a list or a struct, for ways that no plan of a single field goes: elements by name, and all elements.
//!
//! In come the calls of a decoder and the steps of a way, out come the values at its end.
//!
//! **Invariant:** a way over all elements gives one value for each of them, null where an element lacks it; any other way one or none.

use std::borrow::Cow;

use recording::decode::Scalar;
use recording::decode::sink::Sink;
use recording::schema::{Enum, TypeId};

use crate::value::Value;

/// How many elements of a list are held.
pub(crate) const ELEMENT_LIMIT: usize = 1_000_000;

/// How many bytes of text a list's elements may have together.
pub(crate) const TEXT_LIMIT: usize = 16 << 20;

/// A step from a value to a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A field of a struct.
    Field(usize),
    /// An element of a list.
    Index(u32),
    /// The value of a map under a key.
    Key(String),
    /// The element, the first one, of which this field is this text.
    Named { field: usize, name: String },
    /// Every element.
    Each,
}

/// Values, with their texts in one place. Its memory is used again.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    cells: Vec<Cell>,
    text: String,
    frames: Vec<Frame>,
    /// Whether there were more than are held.
    overflows: bool,
    /// Whether there was a list to take them of, be it empty.
    has_list: bool,
}

#[derive(Clone, Copy, Debug)]
enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text { start: usize, end: usize },
}

/// A list, a struct or a map on the way.
#[derive(Clone, Copy, Debug)]
struct Frame {
    /// How many steps lead to it.
    level: usize,
    kind: Container,
    /// How many elements of a list have begun.
    count: u32,
    /// How many values there were when its last element began.
    mark: usize,
    /// Whether a list of which all elements are taken had been there then.
    had_list: bool,
    /// Whether the element has the name that is looked for.
    matched: bool,
    /// Whether an element before it had.
    found: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Struct,
    List,
    Map,
}

impl Cells {
    pub(crate) fn clear(&mut self) {
        self.cells.clear();
        self.text.clear();
        self.frames.clear();
        (self.overflows, self.has_list) = (false, false);
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(crate) fn has_list(&self) -> bool {
        self.has_list
    }

    pub(crate) fn overflows(&self) -> bool {
        self.overflows
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Value<'_> {
        match self.cells.get(index) {
            None | Some(Cell::Null) => Value::Null,
            Some(Cell::Bool(value)) => Value::Bool(*value),
            Some(Cell::Int(value)) => Value::Int(*value),
            Some(Cell::Float(value)) => Value::Float(*value),
            Some(Cell::Text { start, end }) => Value::Text(self.text.get(*start..*end).unwrap_or_default()),
        }
    }

    fn push(&mut self, cell: Cell) {
        match self.cells.len() < ELEMENT_LIMIT {
            true => self.cells.push(cell),
            false => self.overflows = true,
        }
    }

    fn push_text(&mut self, text: &str) {
        if self.text.len() + text.len() > TEXT_LIMIT {
            self.overflows = true;
            return;
        }
        let start = self.text.len();
        self.text.push_str(text);
        self.push(Cell::Text { start, end: self.text.len() });
    }
}

/// Takes the values at the end of some steps.
pub(crate) struct Collect<'c> {
    out: &'c mut Cells,
    steps: &'c [Step],
    /// How many steps lead to the value that comes next, where it is on the way.
    next: Option<usize>,
    /// Whether the value that comes next may be the name of an element.
    is_name: bool,
    /// How many values that are not wanted have begun.
    skipping: usize,
}

impl<'c> Collect<'c> {
    pub(crate) fn new(steps: &'c [Step], out: &'c mut Cells) -> Self {
        out.clear();
        Self { out, steps, next: Some(0), is_name: false, skipping: 0 }
    }

    /// Returns how many steps lead to the value that begins now, if it is on the way.
    fn begin_value(&mut self) -> Option<usize> {
        if self.skipping > 0 {
            return None;
        }
        let (mark, had_list) = (self.out.cells.len(), self.out.has_list);
        let Some(list) = self.out.frames.last_mut().filter(|frame| frame.kind == Container::List) else { return self.next.take() };
        let index = list.count;
        list.count = list.count.saturating_add(1);
        (list.mark, list.had_list, list.matched) = (mark, had_list, false);
        let wanted = match &self.steps[list.level] {
            Step::Each => true,
            Step::Index(wanted) => *wanted == index,
            Step::Named { .. } => !list.found,
            Step::Field(_) | Step::Key(_) => false,
        };
        wanted.then_some(list.level + 1)
    }

    /// Notes that a value has ended.
    fn end_value(&mut self) {
        let Some(list) = self.out.frames.last_mut().filter(|frame| frame.kind == Container::List) else { return };
        match &self.steps[list.level] {
            Step::Each if self.out.cells.len() == list.mark => self.out.push(Cell::Null),
            Step::Named { .. } if list.matched => list.found = true,
            Step::Named { .. } if !list.found => {
                self.out.cells.truncate(list.mark);
                self.out.has_list = list.had_list;
            }
            _ => {}
        }
    }

    fn begin(&mut self, kind: Container) {
        self.is_name = false;
        let level = self.begin_value();
        let wanted = |step: &Step| match step {
            Step::Field(_) => Container::Struct,
            Step::Key(_) => Container::Map,
            Step::Each | Step::Index(_) | Step::Named { .. } => Container::List,
        };
        let leads_on = |level: &usize| self.steps.get(*level).is_some_and(|step| wanted(step) == kind);
        match level.filter(leads_on) {
            Some(level) => {
                self.out.has_list |= self.steps.get(level) == Some(&Step::Each);
                self.out.frames.push(Frame { level, kind, count: 0, mark: 0, had_list: false, matched: false, found: false });
            }
            None => self.skipping += 1,
        }
    }

    fn end(&mut self) {
        match self.skipping {
            0 => {
                self.out.frames.pop();
            }
            _ => self.skipping -= 1,
        }
        if self.skipping == 0 {
            self.end_value();
        }
    }

    fn scalar(&mut self, cell: Cell) {
        self.is_name = false;
        let level = self.begin_value();
        if level == Some(self.steps.len()) {
            self.out.push(cell);
        }
        if self.skipping == 0 {
            self.end_value();
        }
    }

    /// Returns which field of the elements that the struct which began last is one of has their names, and the name that is wanted.
    fn name(&self) -> Option<(usize, &'c str)> {
        let [.., list, element] = self.out.frames.as_slice() else { return None };
        match self.steps.get(list.level)? {
            Step::Named { field, name } if element.kind == Container::Struct && list.kind == Container::List => Some((*field, name)),
            _ => None,
        }
    }
}

impl<'a> Sink<'a> for Collect<'_> {
    fn begin_struct(&mut self, _: TypeId) {
        self.begin(Container::Struct);
    }

    fn field(&mut self, index: usize) -> bool {
        if self.skipping > 0 {
            return false;
        }
        let Some(frame) = self.out.frames.last().filter(|frame| frame.kind == Container::Struct) else { return false };
        self.next = (self.steps.get(frame.level) == Some(&Step::Field(index))).then_some(frame.level + 1);
        self.is_name = self.name().is_some_and(|(field, _)| field == index);
        self.next.is_some() || self.is_name
    }

    fn end_struct(&mut self) {
        self.end();
    }

    fn begin_list(&mut self) {
        self.begin(Container::List);
    }

    fn end_list(&mut self) {
        self.end();
    }

    fn begin_map(&mut self) {
        self.begin(Container::Map);
    }

    fn key(&mut self, key: Scalar<'a>) {
        let Some(frame) = self.out.frames.last().filter(|_| self.skipping == 0) else { return };
        let Some(Step::Key(wanted)) = self.steps.get(frame.level) else { return };
        let is_it = match &key {
            Scalar::Text(text) => text == wanted,
            Scalar::Int(number) => wanted.parse() == Ok(*number),
            Scalar::UInt(number) => wanted.parse() == Ok(*number),
            Scalar::Bool(value) => wanted.parse() == Ok(*value),
            _ => false,
        };
        self.next = is_it.then_some(frame.level + 1);
    }

    fn end_map(&mut self) {
        self.end();
    }

    fn null(&mut self) {
        self.scalar(Cell::Null);
    }

    fn bool(&mut self, value: bool) {
        self.scalar(Cell::Bool(value));
    }

    fn int(&mut self, value: i64) {
        self.scalar(Cell::Int(value));
    }

    fn uint(&mut self, value: u64) {
        self.scalar(i64::try_from(value).map_or(Cell::Float(value as f64), Cell::Int));
    }

    fn float(&mut self, value: f64) {
        self.scalar(Cell::Float(value));
    }

    fn float32(&mut self, value: f32) {
        self.scalar(Cell::Float(value.into()));
    }

    fn enumeration(&mut self, value: i64, _: &Enum) {
        self.scalar(Cell::Int(value));
    }

    fn text(&mut self, value: Cow<'a, str>) {
        if std::mem::take(&mut self.is_name)
            && self.skipping == 0
            && self.name().is_some_and(|(_, name)| name == value)
            && let [.., list, _] = self.out.frames.as_mut_slice()
        {
            list.matched = true;
        }
        let level = self.begin_value();
        if level == Some(self.steps.len()) {
            self.out.push_text(&value);
        }
        if self.skipping == 0 {
            self.end_value();
        }
    }

    fn bytes(&mut self, _: Cow<'a, [u8]>) {
        self.scalar(Cell::Null);
    }
}
