//! A message as a row: what a decoder tells goes into the columns.
//!
//! **Invariant:** every struct that ends has as many rows in each of its columns, whatever the decoder left out or told twice.

use std::borrow::Cow;

use super::super::Scalar;
use super::super::json_writer::JsonWriter;
use super::super::sink::{Number, Numbers, Sink, Width};
use super::table::{Frame, NONE, Store, Table};
use crate::error::{Error, Result};
use crate::schema::{Enum, TypeId};

impl Table {
    /// Begins a message.
    pub(crate) fn begin_row(&mut self) {
        self.row.frames.clear();
        self.row.problem = None;
    }

    /// Ends a message.
    ///
    /// # Errors
    /// `Corrupt` where a value did not fit its column; the row must be taken back.
    pub(crate) fn end_row(&mut self) -> Result<()> {
        if let Some(problem) = self.row.problem.take() {
            return Err(Error::corrupt(problem));
        }
        let full = |id: &u32| self.rows_of(*id).is_none_or(|rows| rows == self.rows + 1);
        if !self.row.frames.is_empty() || !self.top.iter().all(full) {
            return Err(Error::corrupt("the message ends within a value"));
        }
        self.rows += 1;
        Ok(())
    }

    fn target(&self) -> u32 {
        self.row.frames.last().map_or(self.root, |frame| frame.target)
    }

    fn problem(&mut self, node: u32, what: &str) {
        if self.row.problem.is_none() {
            let field = self.nodes.get(node as usize).and_then(|node| node.field.as_ref());
            let column = field.map_or_else(|| "the message".to_owned(), |field| format!("{} ({})", field.name(), field.data_type()));
            self.row.problem = Some(format!("{what} does not fit {column}"));
        }
    }

    fn open(&mut self, node: u32, target: u32) {
        self.row.frames.push(Frame { node, target, count: 0 });
    }

    /// Notes that an element of a list came, and finds where it goes.
    fn element(&mut self) {
        let Some(frame) = self.row.frames.last_mut() else { return };
        if frame.node == NONE {
            return;
        }
        if let Store::Pick(picks) = &self.nodes[frame.node as usize].store {
            frame.target = picks.iter().find(|(index, _)| *index == frame.count).map_or(NONE, |(_, node)| *node);
        }
        frame.count = frame.count.saturating_add(1);
    }

    /// Begins a value: says where it goes, or writes it as JSON where that is what its column holds.
    fn begin(&mut self, write: impl FnOnce(&mut JsonWriter<'_>)) -> Option<u32> {
        if self.row.json.is_none() {
            self.element();
            let target = self.target();
            if target == NONE {
                return Some(NONE);
            }
            if !matches!(self.nodes[target as usize].store, Store::Json(_)) {
                return Some(target);
            }
            self.row.json = Some(target);
        }
        self.write_json(write);
        None
    }

    fn write_json(&mut self, write: impl FnOnce(&mut JsonWriter<'_>)) {
        let row = &mut self.row;
        write(&mut JsonWriter { out: &mut row.json_text, names: &row.names, open: &mut row.json_open });
        let Some(target) = row.json.filter(|_| row.json_open.is_empty()) else { return };
        row.json = None;
        if let Store::Json(slices) = &mut self.nodes[target as usize].store {
            slices.bytes.extend_from_slice(&row.json_text);
            row.json_text.clear();
            if !slices.end_row() {
                self.problem(target, "so much text");
            }
        }
    }

    fn number(&mut self, target: u32, what: &str, convert: impl FnOnce(Number) -> Option<u64>) {
        if target == NONE {
            return;
        }
        if let Store::Number(number, values) = &mut self.nodes[target as usize].store
            && let Some(value) = convert(*number)
        {
            values.push(value);
        } else {
            self.problem(target, what);
        }
    }

    fn integer(&mut self, target: u32, value: i128) {
        self.number(target, "a number", |number| of_integer(number, value));
    }

    fn real(&mut self, target: u32, value: f64) {
        self.number(target, "a number", |number| match number {
            Number::F64 => Some(value.to_bits()),
            Number::F32 => Some((value as f32).to_bits().into()),
            Number::Int(_) | Number::UInt(_) if value == value.trunc() && value.abs() < 2f64.powi(64) => of_integer(number, value as i128),
            Number::Bool | Number::Int(_) | Number::UInt(_) => None,
        });
    }

    fn end_offsets(&mut self, frame: Frame) {
        let below = match &self.nodes[frame.node as usize].store {
            Store::List { element, .. } => *element,
            Store::Map { entry, .. } => *entry,
            _ => return,
        };
        let end = i32::try_from(self.rows_of(below).unwrap_or(0));
        if end.is_err() {
            self.problem(frame.node, "so many elements");
        }
        if let Store::List { offsets, .. } | Store::Map { offsets, .. } = &mut self.nodes[frame.node as usize].store {
            offsets.push(end.unwrap_or(i32::MAX));
        }
    }

    /// Adds null to what a way leads to and did not come.
    fn fill(&mut self, node: u32, rows: usize) {
        for index in 0..self.children(node) {
            let child = self.child(node, index);
            match self.nodes.get(child as usize) {
                None => {}
                Some(_) => match self.rows_of(child) {
                    Some(there) if there == rows => self.push_null(child, rows),
                    Some(there) if there > rows + 1 => self.problem(child, "a second value"),
                    Some(_) => {}
                    None => self.fill(child, rows),
                },
            }
        }
    }
}

/// Returns an integer as a kind of number, where it fits.
fn of_integer(number: Number, value: i128) -> Option<u64> {
    let fits = match number {
        Number::Bool => matches!(value, 0 | 1),
        Number::Int(Width::W1) => i8::try_from(value).is_ok(),
        Number::Int(Width::W2) => i16::try_from(value).is_ok(),
        Number::Int(Width::W4) => i32::try_from(value).is_ok(),
        Number::Int(Width::W8) => i64::try_from(value).is_ok(),
        Number::UInt(Width::W1) => u8::try_from(value).is_ok(),
        Number::UInt(Width::W2) => u16::try_from(value).is_ok(),
        Number::UInt(Width::W4) => u32::try_from(value).is_ok(),
        Number::UInt(Width::W8) => u64::try_from(value).is_ok(),
        Number::F32 => return Some((value as f32).to_bits().into()),
        Number::F64 => return Some((value as f64).to_bits()),
    };
    fits.then_some(value as u64)
}

impl<'a> Sink<'a> for Table {
    fn begin_struct(&mut self, id: TypeId) {
        let Some(target) = self.begin(|json| json.begin_struct(id)) else { return };
        let node = match self.nodes.get(target as usize).map(|node| &node.store) {
            None | Some(Store::Route(_) | Store::Struct(_)) => target,
            Some(_) => {
                self.problem(target, "a struct");
                NONE
            }
        };
        self.open(node, NONE);
    }

    fn field(&mut self, index: usize) -> bool {
        if self.row.json.is_some() {
            let mut wanted = false;
            self.write_json(|json| wanted = json.field(index));
            return wanted;
        }
        let Some(frame) = self.row.frames.last_mut() else { return false };
        frame.target = match self.nodes.get(frame.node as usize).map(|node| &node.store) {
            Some(Store::Route(children) | Store::Struct(children)) => children.get(index).copied().unwrap_or(NONE),
            _ => NONE,
        };
        frame.target != NONE
    }

    fn end_struct(&mut self) {
        if self.row.json.is_some() {
            return self.write_json(|json| json.end_struct());
        }
        let Some(frame) = self.row.frames.pop() else { return };
        match self.nodes.get(frame.node as usize).map(|node| (&node.store, node.rows)) {
            Some((Store::Struct(_), rows)) => {
                self.fill(frame.node, rows);
                self.nodes[frame.node as usize].rows += 1;
            }
            Some((Store::Route(_), _)) => self.fill(frame.node, self.rows),
            _ => {}
        }
    }

    fn begin_list(&mut self) {
        let Some(target) = self.begin(|json| json.begin_list()) else { return };
        let (node, element) = match self.nodes.get(target as usize).map(|node| &node.store) {
            None => (NONE, NONE),
            Some(Store::List { element, .. } | Store::FixedList { element, .. }) => (target, *element),
            Some(Store::Pick(_)) => (target, NONE),
            Some(_) => {
                self.problem(target, "a list");
                (NONE, NONE)
            }
        };
        self.open(node, element);
    }

    fn end_list(&mut self) {
        if self.row.json.is_some() {
            return self.write_json(|json| json.end_list());
        }
        let Some(frame) = self.row.frames.pop() else { return };
        match self.nodes.get(frame.node as usize).map(|node| &node.store) {
            Some(Store::FixedList { length, .. }) => {
                if frame.count != *length {
                    let what = format!("a list of {}", frame.count);
                    self.problem(frame.node, &what);
                }
                self.nodes[frame.node as usize].rows += 1;
            }
            Some(Store::Pick(_)) => self.fill(frame.node, self.rows),
            Some(_) => self.end_offsets(frame),
            None => {}
        }
    }

    fn begin_map(&mut self) {
        let Some(target) = self.begin(|json| json.begin_map()) else { return };
        let node = match self.nodes.get(target as usize).map(|node| &node.store) {
            None | Some(Store::Map { .. } | Store::PickKey(_)) => target,
            Some(_) => {
                self.problem(target, "a map");
                NONE
            }
        };
        self.open(node, NONE);
    }

    fn key(&mut self, given: Scalar<'a>) {
        if self.row.json.is_some() {
            return self.write_json(|json| json.key(given));
        }
        let Some(frame) = self.row.frames.last().copied() else { return };
        let target = match self.nodes.get(frame.node as usize).map(|node| &node.store) {
            Some(Store::PickKey(picks)) => {
                let there = |node: &u32| self.rows_of(*node).is_none_or(|rows| rows == self.rows);
                picks.iter().find(|(key, node)| key.is(&given) && there(node)).map_or(NONE, |(_, node)| *node)
            }
            Some(Store::Map { entry, key, value, .. }) => {
                let (entry, key, value) = (*entry, *key, *value);
                self.put(key, given);
                let rows = self.rows_of(key).unwrap_or(0);
                if self.rows_of(value).is_some_and(|values| values + 1 != rows) {
                    self.problem(value, "a key without a value");
                }
                self.nodes[entry as usize].rows = rows;
                value
            }
            _ => NONE,
        };
        if let Some(frame) = self.row.frames.last_mut() {
            frame.target = target;
        }
    }

    fn end_map(&mut self) {
        if self.row.json.is_some() {
            return self.write_json(|json| json.end_map());
        }
        let Some(frame) = self.row.frames.pop() else { return };
        match self.nodes.get(frame.node as usize).map(|node| &node.store) {
            Some(Store::PickKey(_)) => self.fill(frame.node, self.rows),
            Some(Store::Map { key, value, .. }) => {
                if self.rows_of(*key) != self.rows_of(*value) {
                    self.problem(frame.node, "a key without a value");
                }
                self.end_offsets(frame);
            }
            _ => {}
        }
    }

    fn null(&mut self) {
        // A value of any shape that is null is null itself, not the text "null".
        if self.row.json.is_some() {
            return self.write_json(|json| json.null());
        }
        self.element();
        let target = self.target();
        match self.nodes.get(target as usize).map(|_| self.rows_of(target)) {
            None => {}
            Some(Some(rows)) => self.push_null(target, rows),
            Some(None) => self.fill(target, self.rows),
        }
    }

    fn bool(&mut self, value: bool) {
        let Some(target) = self.begin(|json| json.bool(value)) else { return };
        self.number(target, "a boolean", |number| (number == Number::Bool).then_some(value.into()));
    }

    fn int(&mut self, value: i64) {
        let Some(target) = self.begin(|json| json.int(value)) else { return };
        self.integer(target, value.into());
    }

    fn uint(&mut self, value: u64) {
        let Some(target) = self.begin(|json| json.uint(value)) else { return };
        self.integer(target, value.into());
    }

    fn float(&mut self, value: f64) {
        let Some(target) = self.begin(|json| json.float(value)) else { return };
        self.real(target, value);
    }

    fn float32(&mut self, value: f32) {
        let Some(target) = self.begin(|json| json.float32(value)) else { return };
        self.real(target, value.into());
    }

    fn enumeration(&mut self, value: i64, names: &Enum) {
        let Some(target) = self.begin(|json| json.enumeration(value, names)) else { return };
        self.integer(target, value.into());
    }

    fn text(&mut self, value: Cow<'a, str>) {
        let Some(target) = self.begin(|json| json.text(Cow::Borrowed(&value))) else { return };
        self.slice(target, value.as_bytes(), "text");
    }

    fn bytes(&mut self, value: Cow<'a, [u8]>) {
        let Some(target) = self.begin(|json| json.bytes(Cow::Borrowed(&value))) else { return };
        self.slice(target, &value, "bytes");
    }

    fn numbers(&mut self, numbers: Numbers<'a>) {
        if self.row.json.is_some() {
            return self.write_json(|json| json.numbers(numbers));
        }
        let Some(frame) = self.row.frames.last_mut() else { return };
        let count = numbers.bytes.len() / numbers.number.width() as usize;
        match self.nodes.get_mut(frame.target as usize).map(|node| &mut node.store) {
            Some(Store::Number(number, values)) if *number == numbers.number => {
                values.extend(numbers.bytes, numbers.big_endian);
                frame.count = frame.count.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
            }
            _ => numbers.each(self),
        }
    }
}

impl Table {
    fn slice(&mut self, target: u32, value: &[u8], what: &str) {
        if target == NONE {
            return;
        }
        let fits = match (&mut self.nodes[target as usize].store, what) {
            (Store::Text(slices), "text") | (Store::Bytes(slices), "bytes") => {
                slices.bytes.extend_from_slice(value);
                slices.end_row()
            }
            _ => false,
        };
        if !fits {
            self.problem(target, what);
        }
    }

    fn put(&mut self, target: u32, value: Scalar<'_>) {
        match value {
            Scalar::Null => self.push_null(target, self.rows_of(target).unwrap_or(0)),
            Scalar::Bool(value) => self.number(target, "a boolean", |number| (number == Number::Bool).then_some(value.into())),
            Scalar::Int(value) => self.integer(target, value.into()),
            Scalar::UInt(value) => self.integer(target, value.into()),
            Scalar::Float(value) => self.real(target, value),
            Scalar::Text(value) => self.slice(target, value.as_bytes(), "text"),
            Scalar::Bytes(value) => self.slice(target, &value, "bytes"),
        }
    }
}
