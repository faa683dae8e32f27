//! What a condition's names are in messages: types, and how they are read.
//!
//! In come the way to something and what messages are made of, out comes a [`Reader`] for each definition that the topic has, and the
//! type of what it reads.
//!
//! **Invariant:** a name that is not there is answered with those that are.

use std::sync::Arc;

use recording::decode::Decoder;
use recording::nearest::nearest;
use recording::schema::{Enum, FieldKind, Tree, TypeId, outline};

use crate::collect::Step;
use crate::expression::{Part, Reference};
use crate::reader::Reader;
use crate::topics::{Topics, Variant};

/// How elements of lists may call their name, the likeliest first.
const NAME_FIELDS: [&str; 3] = ["name", "key", "id"];

/// How a list of names beside a list of values may be called, the likeliest first.
const NAME_LISTS: [&str; 3] = ["name", "names", "joint_names"];

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Type {
    Bool,
    Number,
    Text,
    /// A number with names.
    Named(Arc<Enum>),
    /// Nobody says: JSON, or a topic of which nothing is known.
    Any,
}

impl Type {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Number | Self::Named(_) => "a number",
            Self::Text => "text",
            Self::Any => "any value",
        }
    }
}

/// What a reference is, for each definition that its topic has.
pub(crate) struct Found {
    pub(crate) kind: Type,
    /// By the place of the definition among the topic's.
    pub(crate) readers: Vec<Reader>,
}

type Result<T> = std::result::Result<T, String>;

/// Finds what a reference names; with `element`, that of every element of the list that it names.
///
/// # Errors
/// What is wrong, with the nearest names.
pub(crate) fn find(topics: &Topics, reference: &Reference, element: Option<&[Part]>) -> Result<Found> {
    let mut found: Option<(Found, &Variant)> = None;
    for variant in topics.variants(&reference.topic)? {
        let (kind, reader) = find_in(variant, reference, element).map_err(|why| match topics.variants(&reference.topic) {
            Ok([_]) | Err(_) => why,
            Ok(_) => format!("{why} (the topic has messages of two types; this is of {})", type_name(variant)),
        })?;
        match &mut found {
            None => found = Some((Found { kind, readers: vec![reader] }, variant)),
            Some((found, _)) if found.kind == kind => found.readers.push(reader),
            Some((found, other)) => {
                return Err(format!(
                    "{reference} is {} in messages of {}, and {} in those of {}",
                    found.kind.name(),
                    type_name(other),
                    kind.name(),
                    type_name(variant)
                ));
            }
        }
    }
    Ok(found.map_or(Found { kind: Type::Any, readers: Vec::new() }, |(found, _)| found))
}

fn type_name(variant: &Variant) -> &str {
    match variant.topic.type_name() {
        "" => &variant.topic.encoding,
        name => name,
    }
}

fn find_in(variant: &Variant, reference: &Reference, element: Option<&[Part]>) -> Result<(Type, Reader)> {
    let decoder = variant.decoder.as_ref().map_err(|why| format!("messages of {} cannot be read: {why}", reference.topic))?;
    let tree = decoder.tree();
    let root = FieldKind::Struct(tree.root_id());
    let mut way =
        Way { tree, kind: &root, walked: reference.topic.clone(), path: String::new(), steps: Vec::new(), parallel: None, around: None };
    way.follow(&reference.parts)?;
    if let Some(element) = element {
        way.each()?;
        way.follow(element)?;
    }
    let kind = way.end()?;
    Ok((kind, way.reader(decoder)?))
}

/// A way that is being followed.
struct Way<'t> {
    tree: &'t Tree,
    /// What it has led to.
    kind: &'t FieldKind,
    /// What has been followed, as people write it.
    walked: String,
    /// The part that a plan of a single field goes.
    path: String,
    /// The part behind that.
    steps: Vec<Step>,
    /// The path of the list of names that says which element is meant, and the name.
    parallel: Option<(String, String)>,
    /// The struct that the last field is one of, and the path to it, where a plan of a single field goes there.
    around: Option<(TypeId, String)>,
}

impl<'t> Way<'t> {
    fn follow(&mut self, parts: &[Part]) -> Result<()> {
        for (index, part) in parts.iter().enumerate() {
            self.part(part, index + 1 == parts.len())?;
            self.walked.push_str(&match part {
                Part::Field(name) => format!(".{name}"),
                Part::Index(index) => format!("[{index}]"),
                Part::Name(name) => format!("['{name}']"),
            });
        }
        Ok(())
    }

    fn part(&mut self, part: &Part, is_last: bool) -> Result<()> {
        match (self.kind, part) {
            (FieldKind::Struct(id), Part::Field(name) | Part::Name(name)) => self.field(*id, name),
            (FieldKind::List { element, .. } | FieldKind::Array { element, .. }, Part::Index(index)) => {
                if let FieldKind::Array { length, .. } = self.kind
                    && index >= length
                {
                    return Err(format!("{} has {length} elements, the first is [0]", self.walked));
                }
                self.step(Step::Index(*index), &format!("[{index}]"));
                self.kind = element;
                self.around = None;
                Ok(())
            }
            (FieldKind::List { element, .. } | FieldKind::Array { element, .. }, Part::Name(name)) => match &**element {
                FieldKind::Struct(id) => self.named(*id, element, name, is_last),
                _ => self.parallel(element, name),
            },
            (FieldKind::Map { value, .. }, part) => {
                let key = match part {
                    Part::Field(name) | Part::Name(name) => name.clone(),
                    Part::Index(index) => index.to_string(),
                };
                self.step(Step::Key(key.clone()), &quoted(&key));
                self.kind = value;
                self.around = None;
                Ok(())
            }
            (FieldKind::List { .. } | FieldKind::Array { .. }, Part::Field(name)) => {
                let walked = &self.walked;
                Err(format!("{walked} is a list: name an element, {walked}[0].{name}, or ask for any of them, any({walked}, it.{name} …)"))
            }
            (kind, _) => Err(format!("{} is {}; it has no parts", self.walked, outline::kind(self.tree, kind))),
        }
    }

    /// Notes a step; `text` is how a path has it.
    fn step(&mut self, step: Step, text: &str) {
        match self.steps.is_empty() {
            true => self.path.push_str(text),
            false => self.steps.push(step),
        }
    }

    fn field(&mut self, id: TypeId, name: &str) -> Result<()> {
        let fields = &self.tree.get(id).fields;
        let Some(index) = fields.iter().position(|field| field.name == name) else {
            let place = if self.path.is_empty() { &self.tree.get(id).name } else { &self.walked };
            if fields.is_empty() {
                let remedy = "if it should have some, give its definition with 'tapeloop schema add DIR'";
                return Err(format!("there is no field {name} in {place}: it has none; {remedy}"));
            }
            let near = nearest(name, fields.iter().map(|field| field.name.as_str()));
            return Err(format!("there is no field {name} in {place}; there are {near}"));
        };
        self.around = self.steps.is_empty().then(|| (id, self.path.clone()));
        self.step(Step::Field(index), &quoted(name));
        self.kind = &fields[index].kind;
        Ok(())
    }

    /// Goes to the element of a list of structs that has a name.
    fn named(&mut self, id: TypeId, element: &'t FieldKind, name: &str, is_last: bool) -> Result<()> {
        let fields = &self.tree.get(id).fields;
        let text = |wanted: &str| fields.iter().position(|field| field.name == wanted && is_text(&field.kind));
        let Some(field) = NAME_FIELDS.iter().find_map(|wanted| text(wanted)) else {
            let walked = &self.walked;
            let type_name = &self.tree.get(id).name;
            return Err(format!(
                "elements of {walked} have no text called name, key or id by which '{name}' could be found ({type_name}): {walked}[0]"
            ));
        };
        self.steps.push(Step::Named { field, name: name.to_owned() });
        self.kind = element;
        self.around = None;
        // Of a key and its value, the value is meant.
        if is_last && let [one, other] = fields.as_slice() {
            let (place, value) = if field == 0 { (1, other) } else { (0, one) };
            self.steps.push(Step::Field(place));
            self.kind = &value.kind;
        }
        Ok(())
    }

    /// Goes to the element that stands where a list beside it has a name.
    fn parallel(&mut self, element: &'t FieldKind, name: &str) -> Result<()> {
        let walked = &self.walked;
        let Some((id, around)) = &self.around else {
            return Err(format!("elements of {walked} have no names: name one by its number, {walked}[0]"));
        };
        let fields = &self.tree.get(*id).fields;
        let is_names = |kind: &FieldKind| match kind {
            FieldKind::List { element, .. } | FieldKind::Array { element, .. } => is_text(element),
            _ => false,
        };
        let Some(names) = NAME_LISTS.iter().find(|wanted| fields.iter().any(|field| field.name == **wanted && is_names(&field.kind)))
        else {
            let type_name = &self.tree.get(*id).name;
            return Err(format!("{type_name} has no list of names beside {walked} in which '{name}' could be found: {walked}[0]"));
        };
        self.parallel = Some((format!("{around}{}", quoted(names)), name.to_owned()));
        self.steps.push(Step::Each);
        self.kind = element;
        self.around = None;
        Ok(())
    }

    /// Goes to all elements.
    fn each(&mut self) -> Result<()> {
        match self.kind {
            FieldKind::List { element, .. } | FieldKind::Array { element, .. } if self.parallel.is_none() => {
                self.steps.push(Step::Each);
                (self.kind, self.around) = (element, None);
                self.walked = "it".to_owned();
                Ok(())
            }
            kind => Err(format!("{} is {}; any and all look at a list", self.walked, outline::kind(self.tree, kind))),
        }
    }

    /// Returns what a value at the end of the way is.
    fn end(&self) -> Result<Type> {
        let walked = &self.walked;
        match self.kind {
            FieldKind::Bool => Ok(Type::Bool),
            FieldKind::Int(_) | FieldKind::UInt(_) | FieldKind::Float(_) => Ok(Type::Number),
            FieldKind::Enum(names) => Ok(Type::Named(names.clone())),
            kind if is_text(kind) => Ok(Type::Text),
            FieldKind::Json => Ok(Type::Any),
            FieldKind::Struct(id) => {
                let fields = nearest("", self.tree.get(*id).fields.iter().map(|field| field.name.as_str()));
                Err(format!("{walked} is a {}: name one of its parts, {fields}", self.tree.get(*id).name))
            }
            FieldKind::List { .. } | FieldKind::Array { .. } => {
                Err(format!("{walked} is a list: name an element, {walked}[0], or ask for any of them: any({walked}, it …)"))
            }
            FieldKind::Map { .. } => Err(format!("{walked} is a map: name one of its keys, {walked}['key']")),
            kind => Err(format!("{walked} is {}, which conditions do not look into", outline::kind(self.tree, kind))),
        }
    }

    fn reader(self, decoder: &Decoder) -> Result<Reader> {
        let field = |path: &str| decoder.field(path).map_err(|error| error.to_string());
        Ok(match self.parallel {
            Some((names, wanted)) => Reader::Parallel { names: field(&names)?, wanted, values: field(&self.path)?, steps: self.steps },
            None if self.steps.is_empty() => Reader::Field(field(&self.path)?),
            None => Reader::Steps(field(&self.path)?, self.steps),
        })
    }
}

fn is_text(kind: &FieldKind) -> bool {
    matches!(kind, FieldKind::String | FieldKind::WString | FieldKind::FixedText { .. })
}

/// Returns a name as paths have it, whatever stands in it.
fn quoted(name: &str) -> String {
    format!("[\"{}\"]", name.replace('\\', "\\\\").replace('"', "\\\""))
}
