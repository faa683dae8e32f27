//! What JSON messages are made of, learned from the messages themselves.
//!
//! **Invariant:** the tree holds for every message it was learned from: a whole number among fractions is a fraction, what some
//! messages lack is optional, and what has several kinds is any JSON.

use std::collections::HashMap;

use super::text::{Json, Next, Number};
use super::{Defined, VALUE, field};
use crate::error::{Error, Result};
use crate::schema::room::Room;
use crate::schema::{FIELD_LIMIT, FieldKind, Tree, Type, TypeId};

/// How deeply objects and lists become types; what is deeper is any JSON.
const DEPTH_LIMIT: usize = 16;

/// What values at one place have in common.
#[derive(Debug, Default)]
enum Shape {
    /// Nothing was seen but null.
    #[default]
    Unknown,
    Bool,
    Int,
    UInt,
    Float,
    Text,
    List(Box<Seen>),
    Object(Object),
    Mixed,
}

/// The values at one place.
#[derive(Debug, Default)]
struct Seen {
    shape: Shape,
    is_nullable: bool,
}

#[derive(Debug, Default)]
struct Object {
    keys: HashMap<String, usize>,
    fields: Vec<Property>,
    count: u64,
}

#[derive(Debug)]
struct Property {
    key: String,
    seen: Seen,
    /// In how many objects it was, and the last of them: a key may stand in an object twice.
    count: u64,
    last: u64,
}

/// Returns the tree of JSON messages, learned from some of them.
///
/// Messages that are no objects have one field, `value`.
///
/// # Errors
/// `Corrupt` where a message is no JSON, `Invalid` where they have more fields than a tree may have.
pub fn infer(messages: &[&[u8]]) -> Result<Tree> {
    learn(messages).map(|defined| defined.tree)
}

/// Returns what JSON messages are made of, learned from some of them.
///
/// # Errors
/// As those of [`infer`].
pub(crate) fn learn(messages: &[&[u8]]) -> Result<Defined> {
    let mut seen = Seen::default();
    let mut room = Room::of_a_tree();
    for message in messages {
        let mut json = Json::of(message);
        seen.learn(&mut json, 0, &mut room)?;
        json.end()?;
    }
    let mut types = Vec::new();
    let mut room = Room::of_a_tree();
    let kind = seen.kind("", &mut types, &mut room)?;
    let is_bare = !messages.is_empty() && !matches!(kind, FieldKind::Struct(_));
    let root = match kind {
        FieldKind::Struct(id) => id,
        kind => {
            let fields = if messages.is_empty() { Vec::new() } else { vec![field(VALUE, kind, seen.is_nullable)] };
            types.push(Type { fields, ..Type::default() });
            TypeId(types.len() as u32 - 1)
        }
    };
    let tree = Tree::new(types, root).ok_or_else(|| Error::new(crate::Kind::Internal, "a JSON tree with loose ends"))?;
    Ok(Defined { tree, is_bare })
}

impl Seen {
    fn learn(&mut self, json: &mut Json<'_>, depth: usize, room: &mut Room) -> Result<()> {
        let next = json.peek()?;
        if next == Next::Null {
            self.is_nullable = true;
            return json.skip().map(drop);
        }
        if matches!(self.shape, Shape::Mixed) || depth >= DEPTH_LIMIT {
            self.shape = Shape::Mixed;
            return json.skip().map(drop);
        }
        let scalar = match next {
            Next::Bool => json.bool().map(|_| Shape::Bool)?,
            Next::Text => json.skip().map(|_| Shape::Text)?,
            Next::Number => match json.number()? {
                Number::Int(_) => Shape::Int,
                Number::UInt(_) => Shape::UInt,
                Number::Float(_) => Shape::Float,
            },
            Next::List | Next::Object => return self.learn_inside(json, next, depth, room),
            Next::Null => Shape::Unknown,
        };
        self.shape = match (std::mem::take(&mut self.shape), scalar) {
            (Shape::Unknown, scalar) | (scalar @ Shape::Bool, Shape::Bool) | (scalar @ Shape::Text, Shape::Text) => scalar,
            (Shape::Int, Shape::Int) => Shape::Int,
            (Shape::UInt, Shape::UInt) => Shape::UInt,
            (Shape::Int | Shape::UInt | Shape::Float, Shape::Int | Shape::UInt | Shape::Float) => Shape::Float,
            _ => Shape::Mixed,
        };
        Ok(())
    }

    fn learn_inside(&mut self, json: &mut Json<'_>, next: Next, depth: usize, room: &mut Room) -> Result<()> {
        match (&self.shape, next) {
            (Shape::Unknown, Next::List) => self.shape = Shape::List(Box::default()),
            (Shape::Unknown, _) => self.shape = Shape::Object(Object::default()),
            (Shape::List(_), Next::List) | (Shape::Object(_), Next::Object) => {}
            _ => self.shape = Shape::Mixed,
        }
        match &mut self.shape {
            Shape::List(element) => {
                json.open(b'[')?;
                let mut is_first = true;
                while json.element(&mut is_first)? {
                    element.learn(json, depth + 1, room)?;
                }
                Ok(())
            }
            Shape::Object(object) => {
                json.open(b'{')?;
                object.learn(json, depth, room)
            }
            _ => json.skip().map(drop),
        }
    }

    fn kind(&self, name: &str, types: &mut Vec<Type>, room: &mut Room) -> Result<FieldKind> {
        Ok(match &self.shape {
            Shape::Bool => FieldKind::Bool,
            Shape::Int => FieldKind::Int(8),
            Shape::UInt => FieldKind::UInt(8),
            Shape::Float => FieldKind::Float(8),
            Shape::Text => FieldKind::String,
            Shape::List(element) => {
                // A list with a null among its elements has no columns of its own.
                let kind = if element.is_nullable { FieldKind::Json } else { element.kind(name, types, room)? };
                FieldKind::List { element: Box::new(kind), bound: None }
            }
            Shape::Object(object) if !object.fields.is_empty() => {
                room.take_type(name)?;
                let mut fields = Vec::new();
                for Property { key, seen, count, .. } in &object.fields {
                    room.take_field(key)?;
                    let kind = seen.kind(&super::inner_name(name, key), types, room)?;
                    fields.push(field(key, kind, seen.is_nullable || *count < object.count));
                }
                types.push(Type { name: name.to_owned(), fields, ..Type::default() });
                FieldKind::Struct(TypeId(types.len() as u32 - 1))
            }
            Shape::Unknown | Shape::Object(_) | Shape::Mixed => FieldKind::Json,
        })
    }
}

impl Object {
    fn learn(&mut self, json: &mut Json<'_>, depth: usize, room: &mut Room) -> Result<()> {
        self.count += 1;
        let mut is_first = true;
        while let Some(key) = json.key(&mut is_first)? {
            let index = match self.keys.get(key.as_ref()) {
                Some(index) => *index,
                None if self.fields.len() >= FIELD_LIMIT => {
                    return Err(Error::invalid(format!("JSON objects with more than {FIELD_LIMIT} different keys")));
                }
                None => {
                    room.take_field(&key)?;
                    self.keys.insert(key.clone().into_owned(), self.fields.len());
                    self.fields.push(Property { key: key.into_owned(), seen: Seen::default(), count: 0, last: 0 });
                    self.fields.len() - 1
                }
            };
            let property = &mut self.fields[index];
            property.count += u64::from(property.last != self.count);
            property.last = self.count;
            property.seen.learn(json, depth + 1, room)?;
        }
        Ok(())
    }
}
