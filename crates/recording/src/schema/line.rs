//! The `.msg` language, line by line, in the dialects of ROS 1 and ROS 2.
//!
//! In comes the text of one file, out comes its definition: fields, constants and what the comments say of them.
//!
//! **Invariant:** a line that is not understood is an error that names the line; none is skipped.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::schema::definition::{Definition, Kind, Member, NAME_LIMIT};
use crate::schema::{Constant, FIELD_LIMIT, unit};

/// Whose `.msg` files they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Ros1,
    Ros2,
}

/// What a comment further down may still belong to.
enum Place {
    Nothing,
    Field,
    Constant,
}

/// Returns the definition that a `.msg` text says, of the type with this full name.
///
/// # Errors
/// `Invalid` with the line that is not understood.
pub(crate) fn definition(text: &str, name: &str, dialect: Dialect) -> Result<Definition> {
    let mut reader = Reader { dialect, owner: name, definition: Definition::default(), waiting: String::new(), place: Place::Nothing };
    for (index, line) in text.lines().enumerate() {
        reader.line(line).map_err(|why| Error::invalid(format!("line {} of '{name}': {why}: '{}'", index + 1, shown(line))))?;
    }
    reader.end()
}

struct Reader<'a> {
    dialect: Dialect,
    owner: &'a str,
    definition: Definition,
    /// Comment lines whose field has not come yet.
    waiting: String,
    place: Place,
}

impl Reader<'_> {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let content = line.trim_matches(is_space);
        if content.is_empty() {
            self.blank();
            return Ok(());
        }
        if let Some(comment) = content.strip_prefix('#') {
            self.comment(comment, line.starts_with(is_space));
            return Ok(());
        }
        let content = without_annotations(content)?;
        if content.is_empty() || content.starts_with('#') {
            return Ok(());
        }
        let (written, rest) = content.split_once(is_space).ok_or("a type and a name are wanted")?;
        let rest = rest.trim_start_matches(is_space);
        let (name, rest) = rest.split_at(rest.find(|c: char| !is_word(c)).unwrap_or(rest.len()));
        if !is_name(name) {
            return Err("the name must begin with a letter and have only letters, digits and _".into());
        }
        let kind = kind(written, self.owner, self.dialect)?;
        match rest.trim_start_matches(is_space).strip_prefix('=') {
            Some(value) => self.constant(written, &kind, name, value),
            None if rest.is_empty() || rest.starts_with(is_space) || rest.starts_with('#') => self.field(written, kind, name, rest),
            None => Err("a space is wanted behind the name".into()),
        }
    }

    fn constant(&mut self, written: &str, kind: &Kind, name: &str, value: &str) -> Result<(), String> {
        let is_text = matches!(kind, Kind::Text(_) | Kind::WideText(_));
        if matches!(kind, Kind::List(..) | Kind::Array(..) | Kind::Named { .. }) {
            return Err("only numbers, bools and strings can be constants".into());
        }
        if self.definition.constants.len() >= FIELD_LIMIT {
            return Err(format!("more than {FIELD_LIMIT} constants"));
        }
        let value = value.trim_matches(is_space);
        // In ROS 1 a string goes to the end of the line, whatever is in it.
        let (value, comment) = if is_text && self.dialect == Dialect::Ros1 { (value, "") } else { split_comment(value) };
        if value.is_empty() && !is_text {
            return Err("a value is wanted behind =".into());
        }
        let comment = self.take_comment(comment);
        self.definition.constants.push(Constant { name: name.into(), type_name: written.into(), value: value.into(), comment });
        self.place = Place::Constant;
        Ok(())
    }

    fn field(&mut self, written: &str, kind: Kind, name: &str, rest: &str) -> Result<(), String> {
        let (default, comment) = split_comment(rest.trim_matches(is_space));
        if self.dialect == Dialect::Ros1 && !default.is_empty() {
            return Err("ROS 1 fields have a type and a name and nothing else".into());
        }
        let comment = self.take_comment(comment);
        let member = Member { name: name.into(), kind, written: written.into(), unit: String::new(), comment, default: default.into() };
        self.definition.add(member, self.owner).map_err(|error| error.message().to_owned())?;
        self.place = Place::Field;
        Ok(())
    }

    fn blank(&mut self) {
        let is_head = self.definition.members.is_empty() && self.definition.constants.is_empty();
        let waiting = std::mem::take(&mut self.waiting);
        if is_head && self.definition.comment.is_empty() {
            self.definition.comment = waiting;
        }
        self.place = Place::Nothing;
    }

    fn comment(&mut self, comment: &str, is_indented: bool) {
        let comment = tidy(comment);
        if is_indented && self.waiting.is_empty() {
            // An indented comment goes on with the one at the end of the line above.
            let above = match self.place {
                Place::Field => self.definition.members.last_mut().map(|member| &mut member.comment),
                Place::Constant => self.definition.constants.last_mut().map(|constant| &mut constant.comment),
                Place::Nothing => None,
            };
            if let Some(above) = above {
                return append(above, comment);
            }
        }
        append(&mut self.waiting, comment);
    }

    fn take_comment(&mut self, behind: &str) -> String {
        let mut comment = std::mem::take(&mut self.waiting);
        append(&mut comment, tidy(behind));
        comment
    }

    fn end(mut self) -> Result<Definition> {
        self.blank();
        for member in self.definition.members.iter_mut().filter(|member| member.kind.is_number()) {
            member.unit = unit::of_comment(&member.comment);
        }
        Ok(self.definition)
    }
}

/// Returns what a type's text means in the definition of `owner`.
fn kind(written: &str, owner: &str, dialect: Dialect) -> Result<Kind, String> {
    let Some((element, brackets)) = written.split_once('[') else { return single(written, owner, dialect) };
    let size = brackets.strip_suffix(']').ok_or("a ] is wanted at the end of the type")?;
    let element = Box::new(single(element, owner, dialect)?);
    if size.is_empty() {
        return Ok(Kind::List(element, None));
    }
    match size.strip_prefix("<=") {
        Some(bound) if dialect == Dialect::Ros2 => Ok(Kind::List(element, Some(number(bound)?))),
        Some(_) => Err("ROS 1 has no bounds".into()),
        None => Ok(Kind::Array(element, number(size)?)),
    }
}

fn single(written: &str, owner: &str, dialect: Dialect) -> Result<Kind, String> {
    let is_ros2 = dialect == Dialect::Ros2;
    Ok(match written {
        "bool" => Kind::Bool,
        // ROS 1 reads a byte as int8 and writes it as it is; as a byte nothing is lost.
        "byte" => Kind::Octet,
        "char" | "uint8" => Kind::UInt(1),
        "int8" => Kind::Int(1),
        "int16" => Kind::Int(2),
        "uint16" => Kind::UInt(2),
        "int32" => Kind::Int(4),
        "uint32" => Kind::UInt(4),
        "int64" => Kind::Int(8),
        "uint64" => Kind::UInt(8),
        "float32" => Kind::Float(4),
        "float64" => Kind::Float(8),
        "string" => Kind::Text(None),
        "wstring" if is_ros2 => Kind::WideText(None),
        _ => match written.split_once("<=") {
            Some(("string", bound)) if is_ros2 => Kind::Text(Some(number(bound)?)),
            Some(("wstring", bound)) if is_ros2 => Kind::WideText(Some(number(bound)?)),
            _ => Kind::Named { name: reference(written, owner, dialect)?, scope: Arc::from("") },
        },
    })
}

/// Returns the full name that a field's type means.
fn reference(written: &str, owner: &str, dialect: Dialect) -> Result<String, String> {
    if !is_path(written) {
        return Err("the type is no name".into());
    }
    Ok(match (written, dialect) {
        ("time" | "duration", Dialect::Ros1) => written.to_owned(),
        ("time", Dialect::Ros2) => "builtin_interfaces/msg/Time".to_owned(),
        ("duration", Dialect::Ros2) => "builtin_interfaces/msg/Duration".to_owned(),
        ("Header", Dialect::Ros1) => "std_msgs/Header".to_owned(),
        // A type of the same package, which is a message even in a service or an action.
        (_, _) if !written.contains('/') => match (owner.split_once('/'), dialect) {
            (Some((package, _)), Dialect::Ros1) => format!("{package}/{written}"),
            (Some((package, _)), Dialect::Ros2) => format!("{package}/msg/{written}"),
            (None, _) => written.to_owned(),
        },
        (_, Dialect::Ros1) => ros1_name(written),
        (_, Dialect::Ros2) => ros2_name(written),
    })
}

/// Returns a full name as ROS 1 has it: `package/Type`.
pub(crate) fn ros1_name(name: &str) -> String {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        [package, "msg", last] => format!("{package}/{last}"),
        _ => name.to_owned(),
    }
}

/// Returns a full name as ROS 2 has it: `package/msg/Type`.
pub(crate) fn ros2_name(name: &str) -> String {
    let name = name.replace("::", "/");
    match name.split('/').collect::<Vec<_>>().as_slice() {
        [package, last] => format!("{package}/msg/{last}"),
        _ => name,
    }
}

/// Returns whether every part of a type's name is one.
pub(crate) fn is_path(name: &str) -> bool {
    name.len() <= NAME_LIMIT && name.split('/').all(is_name)
}

/// Returns whether a text is a name: a letter or _, then letters, digits and _.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= NAME_LIMIT && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(is_word)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

fn number(text: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or_else(|| format!("'{}' is no size", shown(text)))
}

/// Returns a line without `@key` and its like in front, which say nothing about the layout.
fn without_annotations(mut content: &str) -> Result<&str, String> {
    while let Some(rest) = content.strip_prefix('@') {
        let (word, rest) = rest.split_at(rest.find(|c: char| !is_word(c)).unwrap_or(rest.len()));
        if word != "key" {
            return Err(format!("the annotation @{word} is not read"));
        }
        content = rest.trim_start_matches(is_space);
    }
    Ok(content)
}

/// Returns a value and the comment behind it; a `#` between quotes belongs to the value.
fn split_comment(text: &str) -> (&str, &str) {
    let mut quote = None;
    let mut is_escaped = false;
    for (offset, c) in text.char_indices() {
        match quote {
            _ if is_escaped => is_escaped = false,
            Some(_) if c == '\\' => is_escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '#' => return (text[..offset].trim_end_matches(is_space), &text[offset + 1..]),
            None => {}
        }
    }
    (text, "")
}

fn tidy(comment: &str) -> &str {
    comment.trim_start_matches('#').trim_matches(is_space)
}

fn append(comment: &mut String, line: &str) {
    if !comment.is_empty() && !line.is_empty() {
        comment.push('\n');
    }
    comment.push_str(line);
}

/// Returns the start of a line, for an error.
fn shown(line: &str) -> String {
    line.trim().chars().take(80).collect()
}

/// Writes a definition as a `.msg` file: constants first, then fields, comments in front of each.
pub(crate) fn write(definition: &Definition, type_of: impl Fn(&Member) -> String) -> String {
    let mut out = String::new();
    let comment = |out: &mut String, text: &str| text.lines().for_each(|line| out.push_str(&format!("# {line}\n")));
    if !definition.comment.is_empty() {
        comment(&mut out, &definition.comment);
        out.push('\n');
    }
    for constant in &definition.constants {
        comment(&mut out, &constant.comment);
        out.push_str(&format!("{} {}={}\n", constant.type_name, constant.name, constant.value));
    }
    for member in &definition.members {
        comment(&mut out, &member.comment);
        out.push_str(&type_of(member));
        out.push(' ');
        out.push_str(&member.name);
        if !member.default.is_empty() {
            out.push(' ');
            out.push_str(&member.default);
        }
        out.push('\n');
    }
    out
}
