//! Which columns a type, or some of its fields, make.
//!
//! **Invariant:** no type makes more than [`NODE_LIMIT`] nodes, and none makes nodes without end: what repeats itself becomes text.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field as ArrowField, FieldRef, Fields, Schema, SchemaRef};

use super::super::json_writer::Names;
use super::super::path::{self, Step};
use super::super::sink::{Number, Width};
use super::table::{NONE, Node, Row, Slices, Store, Table, Values};
use crate::error::{Error, Result};
use crate::schema::{DEPTH_LIMIT, Enum, Field, FieldKind, Tree, TypeId};

/// How many columns and parts of columns a batch may have.
pub(crate) const NODE_LIMIT: usize = 20_000;

/// How many numbers a row of fixed-size lists may have; longer arrays are lists, so that null costs nothing.
pub(crate) const FIXED_LIST_LIMIT: u64 = 16_384;

/// The metadata key with the names of a number, as JSON.
const ENUM_KEY: &str = "tapeloop.enum";

/// The metadata key of text that is JSON.
const JSON_KEY: &str = "tapeloop.json";

/// The metadata key of the unit.
const UNIT_KEY: &str = "unit";

/// Returns the empty columns of `paths`, or of all fields where there are none, and their schema.
///
/// # Errors
/// `Invalid` and `NotFound` for paths that do not fit the tree, `Invalid` for types that are too large.
pub(crate) fn build(tree: &Tree, names: Arc<Names>, paths: &[&str]) -> Result<(Table, SchemaRef)> {
    let mut builder = Builder { tree, names: &names, nodes: Vec::new(), around: Vec::new() };
    let fields = &tree.root().fields;
    let root = builder.add(Store::Route(vec![NONE; fields.len()]), None)?;
    let mut top = Vec::new();
    if paths.is_empty() {
        builder.around.push(tree.root_id());
        for (index, field) in fields.iter().enumerate().filter(|(index, _)| !names.hides(tree.root_id(), *index)) {
            let column = builder.column(&field.name, field, &field.kind, 1)?;
            builder.connect(root, &Step::Field(index), column);
            top.push(column);
        }
    }
    for path in paths {
        let resolved = path::resolve(tree, path)?;
        top.push(builder.path(root, path, &resolved)?);
    }
    let columns: Vec<FieldRef> = top.iter().filter_map(|id| builder.nodes[*id as usize].field.clone()).collect();
    let nodes = builder.nodes;
    let row = Row { names, ..Row::default() };
    Ok((Table { nodes, root, top, rows: 0, row }, Arc::new(Schema::new(columns))))
}

struct Builder<'t> {
    tree: &'t Tree,
    names: &'t Names,
    nodes: Vec<Node>,
    /// The types that the one being built stands in.
    around: Vec<TypeId>,
}

impl Builder<'_> {
    fn add(&mut self, store: Store, field: Option<FieldRef>) -> Result<u32> {
        if self.nodes.len() >= NODE_LIMIT {
            let name = &self.tree.root().name;
            return Err(Error::invalid(format!("more than {NODE_LIMIT} columns: choose some of the fields of {name}")));
        }
        self.nodes.push(Node { store, nulls: Vec::new(), rows: 0, field });
        Ok(self.nodes.len() as u32 - 1)
    }

    /// Adds the column that a path leads to, and the way to it.
    fn path(&mut self, root: u32, path: &str, resolved: &path::Resolved<'_>) -> Result<u32> {
        let mut here = root;
        for (index, step) in resolved.steps.iter().enumerate() {
            let there = self.find(here, step);
            let next = match resolved.steps.get(index + 1) {
                Some(_) if there != NONE && self.nodes[there as usize].field.is_none() => there,
                _ if there != NONE => return Err(Error::invalid(format!("a field is asked for twice: {path}"))),
                Some(Step::Field(_)) => self.add(Store::Route(Vec::new()), None)?,
                Some(Step::Index(_)) => self.add(Store::Pick(Vec::new()), None)?,
                Some(Step::Key(_)) => self.add(Store::PickKey(Vec::new()), None)?,
                None => self.column(path, resolved.field, resolved.kind, 1)?,
            };
            if there == NONE {
                self.connect(here, step, next);
            }
            here = next;
        }
        Ok(here)
    }

    fn find(&self, from: u32, step: &Step) -> u32 {
        let found = match (&self.nodes[from as usize].store, step) {
            (Store::Route(children), Step::Field(index)) => children.get(*index).copied(),
            (Store::Pick(picks), Step::Index(index)) => picks.iter().find(|(other, _)| other == index).map(|(_, node)| *node),
            (Store::PickKey(picks), Step::Key(key)) => picks.iter().find(|(other, _)| other == key).map(|(_, node)| *node),
            _ => None,
        };
        found.unwrap_or(NONE)
    }

    fn connect(&mut self, from: u32, step: &Step, to: u32) {
        match (&mut self.nodes[from as usize].store, step) {
            (Store::Route(children), Step::Field(index)) => {
                children.resize(children.len().max(index + 1), NONE);
                children[*index] = to;
            }
            (Store::Pick(picks), Step::Index(index)) => picks.push((*index, to)),
            (Store::PickKey(picks), Step::Key(key)) => picks.push((key.clone(), to)),
            _ => {}
        }
    }

    /// Adds the column of a value; `times` is how often it stands in a row of the list that is nearest above it.
    fn column(&mut self, name: &str, field: &Field, kind: &FieldKind, times: u64) -> Result<u32> {
        let mut metadata = HashMap::new();
        if !field.unit.is_empty() && !matches!(kind, FieldKind::Struct(_) | FieldKind::List { .. } | FieldKind::Array { .. }) {
            metadata.insert(UNIT_KEY.to_owned(), field.unit.clone());
        }
        let (store, data_type) = match kind {
            FieldKind::Bool => number(Number::Bool),
            FieldKind::Int(bytes) => number(Number::Int(width(*bytes)?)),
            FieldKind::UInt(bytes) => number(Number::UInt(width(*bytes)?)),
            FieldKind::Float(4) => number(Number::F32),
            FieldKind::Float(_) => number(Number::F64),
            FieldKind::String | FieldKind::WString | FieldKind::FixedText { .. } => (Store::Text(Slices::new()), DataType::Utf8),
            FieldKind::Bytes => (Store::Bytes(Slices::new()), DataType::Binary),
            FieldKind::Enum(names) => {
                let texts: serde_json::Map<_, _> =
                    names.names.iter().map(|(value, name)| (value.to_string(), name.as_str().into())).collect();
                metadata.insert(ENUM_KEY.to_owned(), serde_json::Value::Object(texts).to_string());
                number(enum_number(names)?)
            }
            FieldKind::Struct(id) if !self.around.contains(id) && self.around.len() < DEPTH_LIMIT => self.structure(*id, times)?,
            FieldKind::Array { element, length } if times.saturating_mul((*length).into()) <= FIXED_LIST_LIMIT => {
                let times = times * u64::from((*length).max(1));
                let element = self.nested(|builder| builder.column("item", field, element, times))?;
                let data_type = DataType::FixedSizeList(self.field(element), *length as i32);
                (Store::FixedList { length: *length, element }, data_type)
            }
            FieldKind::List { element, .. } | FieldKind::Array { element, .. } if self.around.len() < DEPTH_LIMIT => {
                let element = self.nested(|builder| builder.column("item", field, element, 1))?;
                (Store::List { offsets: vec![0], element }, DataType::List(self.field(element)))
            }
            FieldKind::Map { key, value } if self.around.len() < DEPTH_LIMIT => self.map(field, key, value)?,
            FieldKind::Struct(_)
            | FieldKind::List { .. }
            | FieldKind::Array { .. }
            | FieldKind::Map { .. }
            | FieldKind::Union(_)
            | FieldKind::Json => {
                metadata.insert(JSON_KEY.to_owned(), "true".to_owned());
                (Store::Json(Slices::new()), DataType::Utf8)
            }
        };
        let arrow = ArrowField::new(name, data_type, true).with_metadata(metadata);
        self.add(store, Some(Arc::new(arrow)))
    }

    fn field(&self, node: u32) -> FieldRef {
        self.nodes[node as usize].field.clone().expect("columns have one; only ways have none")
    }

    /// Builds something one level deeper. Lists count as levels, though they have no type.
    fn nested<T>(&mut self, build: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.around.push(TypeId(NONE));
        let built = build(self);
        self.around.pop();
        built
    }

    fn structure(&mut self, id: TypeId, times: u64) -> Result<(Store, DataType)> {
        self.around.push(id);
        let tree = self.tree;
        let names = self.names;
        let columns = tree.get(id).fields.iter().enumerate().map(|(index, field)| match names.hides(id, index) {
            true => Ok(NONE),
            false => self.column(&field.name, field, &field.kind, times),
        });
        let children = columns.collect::<Result<Vec<u32>>>()?;
        self.around.pop();
        let fields: Fields = children.iter().filter(|child| **child != NONE).map(|child| self.field(*child)).collect();
        Ok((Store::Struct(children), DataType::Struct(fields)))
    }

    fn map(&mut self, field: &Field, key: &FieldKind, value: &FieldKind) -> Result<(Store, DataType)> {
        let (key, value) = self.nested(|builder| Ok((builder.column("key", field, key, 1)?, builder.column("value", field, value, 1)?)))?;
        let fields: Fields = [self.field(key), self.field(value)].into_iter().collect();
        let item = Arc::new(ArrowField::new("item", DataType::Struct(fields), true));
        let entry = self.add(Store::Struct(vec![key, value]), Some(item.clone()))?;
        Ok((Store::Map { offsets: vec![0], entry, key, value }, DataType::List(item)))
    }
}

fn width(bytes: u8) -> Result<Width> {
    Width::of(bytes).ok_or_else(|| Error::invalid(format!("there are no numbers of {bytes} bytes")))
}

/// Returns the number that a number with names is; 4 bytes where its format does not say.
pub(crate) fn enum_number(names: &Enum) -> Result<Number> {
    match (names.bytes, names.signed) {
        (0, _) => Ok(Number::Int(Width::W4)),
        (bytes, true) => Ok(Number::Int(width(bytes)?)),
        (bytes, false) => Ok(Number::UInt(width(bytes)?)),
    }
}

fn number(number: Number) -> (Store, DataType) {
    let data_type = match number {
        Number::Bool => DataType::Boolean,
        Number::Int(Width::W1) => DataType::Int8,
        Number::Int(Width::W2) => DataType::Int16,
        Number::Int(Width::W4) => DataType::Int32,
        Number::Int(Width::W8) => DataType::Int64,
        Number::UInt(Width::W1) => DataType::UInt8,
        Number::UInt(Width::W2) => DataType::UInt16,
        Number::UInt(Width::W4) => DataType::UInt32,
        Number::UInt(Width::W8) => DataType::UInt64,
        Number::F32 => DataType::Float32,
        Number::F64 => DataType::Float64,
    };
    (Store::Number(number, Values::with_capacity(number.width(), 0)), data_type)
}
