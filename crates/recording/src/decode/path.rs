//! Names of fields: `pose.position.x`, `status[0].name`, `a["odd name"]`.
//!
//! In comes text, out come steps along a tree.
//!
//! **Invariant:** a resolved path fits the tree it was resolved along.

use super::Scalar;
use crate::error::{Error, Result};
use crate::nearest::nearest;
use crate::schema::{DEPTH_LIMIT, Field, FieldKind, Tree};

/// One part of a path as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Name(String),
    Index(u32),
}

/// One step from a value to a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A field of a struct.
    Field(usize),
    /// An element of a list or an array.
    Index(u32),
    /// The value of a map under a key.
    Key(Key),
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Bool(bool),
    Int(i64),
    UInt(u64),
    Text(String),
}

impl Key {
    /// Returns whether a map's key is this one.
    pub(crate) fn is(&self, key: &Scalar<'_>) -> bool {
        match (self, key) {
            (Self::Bool(one), Scalar::Bool(other)) => one == other,
            (Self::Int(one), Scalar::Int(other)) => one == other,
            (Self::Int(one), Scalar::UInt(other)) => u64::try_from(*one).is_ok_and(|one| one == *other),
            (Self::UInt(one), Scalar::UInt(other)) => one == other,
            (Self::UInt(one), Scalar::Int(other)) => i64::try_from(*one).is_ok_and(|one| one == *other),
            (Self::Text(one), Scalar::Text(other)) => one == other,
            _ => false,
        }
    }
}

/// A path that is there.
#[derive(Clone, Debug)]
pub(crate) struct Resolved<'t> {
    pub(crate) steps: Vec<Step>,
    /// What stands at its end.
    pub(crate) kind: &'t FieldKind,
    /// The last field on the way.
    pub(crate) field: &'t Field,
}

/// Finds what `path` names in messages of `tree`'s root.
///
/// # Errors
/// `Invalid` for text that is no path, `NotFound` with the nearest names.
pub(crate) fn resolve<'t>(tree: &'t Tree, path: &str) -> Result<Resolved<'t>> {
    let segments = parse(path)?;
    let mut steps = Vec::with_capacity(segments.len());
    let mut here: Option<(&'t FieldKind, &'t Field)> = None;
    let mut walked = String::new();
    for segment in &segments {
        let (step, kind, field) = match (here, segment) {
            (None, Segment::Name(name)) => find(tree, tree.root_id(), name, &walked)?,
            (None, Segment::Index(_)) => return Err(Error::invalid("a path begins with a field")),
            (Some((FieldKind::Struct(id), _)), Segment::Name(name)) => find(tree, *id, name, &walked)?,
            (Some((FieldKind::List { element, .. }, field)), Segment::Index(index)) => (Step::Index(*index), &**element, field),
            (Some((FieldKind::Array { element, length }, field)), Segment::Index(index)) => {
                if index >= length {
                    return Err(Error::not_found(format!("{walked} has {length} elements, the first is [0]: {path}")));
                }
                (Step::Index(*index), &**element, field)
            }
            (Some((FieldKind::Map { key, value }, field)), segment) => (Step::Key(key_of(key, segment, &walked)?), &**value, field),
            (Some((kind, _)), _) => {
                return Err(Error::not_found(format!("{walked} is {}; it has no part {}", describe(tree, kind), written(segment))));
            }
        };
        steps.push(step);
        here = Some((kind, field));
        if !walked.is_empty() && matches!(segment, Segment::Name(name) if is_plain(name)) {
            walked.push('.');
        }
        walked.push_str(&written(segment));
    }
    let Some((kind, field)) = here else { return Err(Error::invalid("the name of a field is empty")) };
    Ok(Resolved { steps, kind, field })
}

fn find<'t>(tree: &'t Tree, id: crate::schema::TypeId, name: &str, walked: &str) -> Result<(Step, &'t FieldKind, &'t Field)> {
    let fields = &tree.get(id).fields;
    if let Some((index, field)) = fields.iter().enumerate().find(|(_, field)| field.name == name) {
        return Ok((Step::Field(index), &field.kind, field));
    }
    let place = if walked.is_empty() { tree.get(id).name.as_str() } else { walked };
    if fields.is_empty() {
        return Err(Error::not_found(format!("there is no field {name} in {place}: it has none")));
    }
    let near = nearest(name, fields.iter().map(|field| field.name.as_str()));
    Err(Error::not_found(format!("there is no field {name} in {place}; there are {near}")))
}

fn key_of(kind: &FieldKind, segment: &Segment, walked: &str) -> Result<Key> {
    let refused = || Error::invalid(format!("{walked} has no key {}", written(segment)));
    match (kind, segment) {
        (FieldKind::Bool, Segment::Name(name)) => Ok(Key::Bool(name.parse().map_err(|_| refused())?)),
        (FieldKind::Int(_), Segment::Index(index)) => Ok(Key::Int((*index).into())),
        (FieldKind::Int(_), Segment::Name(name)) => Ok(Key::Int(name.parse().map_err(|_| refused())?)),
        (FieldKind::UInt(_), Segment::Index(index)) => Ok(Key::UInt((*index).into())),
        (FieldKind::UInt(_), Segment::Name(name)) => Ok(Key::UInt(name.parse().map_err(|_| refused())?)),
        (FieldKind::String, Segment::Name(name)) => Ok(Key::Text(name.clone())),
        (FieldKind::String, Segment::Index(index)) => Ok(Key::Text(index.to_string())),
        _ => Err(refused()),
    }
}

/// Returns what a kind is, for people.
pub(crate) fn describe(tree: &Tree, kind: &FieldKind) -> String {
    match kind {
        FieldKind::Bool => "a boolean".to_owned(),
        FieldKind::Int(_) | FieldKind::UInt(_) | FieldKind::Float(_) => "a number".to_owned(),
        FieldKind::String | FieldKind::WString | FieldKind::FixedText { .. } => "text".to_owned(),
        FieldKind::Bytes => "bytes".to_owned(),
        FieldKind::Enum(names) => format!("a number with names ({})", names.name),
        FieldKind::Struct(id) => format!("a {}", tree.get(*id).name),
        FieldKind::List { .. } => "a list".to_owned(),
        FieldKind::Array { length, .. } => format!("an array of {length}"),
        FieldKind::Map { .. } => "a map".to_owned(),
        FieldKind::Union(_) => "one of several types".to_owned(),
        FieldKind::Json => "any JSON value".to_owned(),
    }
}

fn is_plain(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_alphabetic() || first == '_') && chars.all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}

fn written(segment: &Segment) -> String {
    match segment {
        Segment::Index(index) => format!("[{index}]"),
        Segment::Name(name) if is_plain(name) => name.clone(),
        Segment::Name(name) => format!("[\"{}\"]", name.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

/// Checks that a text is a path, whether or not there is what it names.
///
/// # Errors
/// `Invalid` with what is wrong.
pub(crate) fn check(path: &str) -> Result<()> {
    parse(path).map(drop)
}

fn parse(path: &str) -> Result<Vec<Segment>> {
    let refused = |why: &str| Error::invalid(format!("{why} in the path {path}"));
    let mut segments = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if segments.len() >= DEPTH_LIMIT {
            return Err(refused("there are too many parts"));
        }
        if let Some(inside) = rest.strip_prefix('[') {
            let (segment, behind) = match inside.chars().next() {
                Some(quote @ ('"' | '\'')) => {
                    let (name, behind) = quoted(&inside[1..], quote).ok_or_else(|| refused("a quote is not closed"))?;
                    (Segment::Name(name), behind)
                }
                _ => {
                    let end = inside.find(']').ok_or_else(|| refused("a bracket is not closed"))?;
                    let index = inside[..end].trim().parse().map_err(|_| refused("an index is no number"))?;
                    (Segment::Index(index), &inside[end..])
                }
            };
            rest = behind.strip_prefix(']').ok_or_else(|| refused("a bracket is not closed"))?;
            segments.push(segment);
            continue;
        }
        if !segments.is_empty() {
            rest = rest.strip_prefix('.').ok_or_else(|| refused("a dot is missing"))?;
        }
        if let Some(inside) = rest.strip_prefix('"') {
            let (name, behind) = quoted(inside, '"').ok_or_else(|| refused("a quote is not closed"))?;
            segments.push(Segment::Name(name));
            rest = behind;
            continue;
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        if end == 0 {
            return Err(refused("a name is empty"));
        }
        segments.push(Segment::Name(rest[..end].to_owned()));
        rest = &rest[end..];
        if rest == "." {
            return Err(refused("a name is empty"));
        }
    }
    match segments.first() {
        Some(Segment::Name(_)) => Ok(segments),
        Some(Segment::Index(index)) => Err(Error::invalid(format!("a path begins with a field, not with [{index}]: {path}"))),
        None => Err(Error::invalid("the name of a field is empty")),
    }
}

/// Returns the text up to the closing quote, and what stands behind that.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '\\' => name.push(chars.next()?.1),
            c if c == quote => return Some((name, &text[index + c.len_utf8()..])),
            c => name.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::test_tree::{field, imu, tree};

    #[track_caller]
    fn check(path: &str, expected: &str) {
        let text = match parse(path) {
            Ok(segments) => segments.iter().map(written).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn paths_are_names_and_indices() {
        check("a.b[0].c", "a b [0] c");
        check("a[1][2]", "a [1] [2]");
        check("a[\"odd name\"].b", "a [\"odd name\"] b");
        check("\"x.y\".z", "[\"x.y\"] z");
        check("a['it\\'s']", "a [\"it's\"]");
        check("a.", "a name is empty in the path a.");
        check("a..b", "a name is empty in the path a..b");
        check("a[x]", "an index is no number in the path a[x]");
        check("a[0", "a bracket is not closed in the path a[0");
        check("a[0]b", "a dot is missing in the path a[0]b");
        check("a[\"b]", "a quote is not closed in the path a[\"b]");
    }

    #[track_caller]
    fn check_found(path: &str, expected: &str) {
        let tree = imu();
        let text = match resolve(&tree, path) {
            Ok(found) => format!("{:?} {}", found.steps, describe(&tree, found.kind)),
            Err(error) => format!("{:?}: {error}", error.kind()),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn paths_are_found_or_the_nearest_names_are_told() {
        check_found("header.stamp.sec", "[Field(0), Field(0), Field(0)] a number");
        check_found("orientation_covariance[8]", "[Field(2), Index(8)] a number");
        check_found("header", "[Field(0)] a std_msgs/msg/Header");
        check_found(
            "orientation_covariance[9]",
            "NotFound: orientation_covariance has 9 elements, the first is [0]: orientation_covariance[9]",
        );
        check_found("header.frame", "NotFound: there is no field frame in header; there are frame_id, stamp");
        check_found("header.frame_id.x", "NotFound: header.frame_id is text; it has no part x");
        check_found("", "Invalid: the name of a field is empty");
        check_found("[0]", "Invalid: a path begins with a field, not with [0]: [0]");
    }

    #[test]
    fn maps_are_walked_by_key() {
        let map = FieldKind::Map { key: Box::new(FieldKind::Int(4)), value: Box::new(FieldKind::Bool) };
        let tree = tree(vec![("m", vec![field("by id", map)])]);
        assert_eq!(resolve(&tree, "[\"by id\"][7]").unwrap().steps, [Step::Field(0), Step::Key(Key::Int(7))]);
        assert!(resolve(&tree, "[\"by id\"].x").is_err());
    }
}
