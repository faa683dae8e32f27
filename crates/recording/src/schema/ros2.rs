//! ROS 2 definitions: `ros2msg`, and `ros2idl` where both are mixed; services and actions as the messages they are made of.
//!
//! In comes the text of a file with those it needs behind it, out come its tree and its RIHS01 hash.
//!
//! **Invariant:** a name is always `package/msg/Type` (`srv`, `action`), however the text writes it.

pub(crate) mod rihs01;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::message::Schema;
use crate::schema::definition::{Definition, Definitions, Kind, Meaning, Member, last};
use crate::schema::library::{Flavour, Library};
use crate::schema::line::{self, Dialect};
use crate::schema::section::{self, Section, Syntax};
use crate::schema::{Tree, dispatch, idl};

/// Returns the tree of a `ros2msg` or `ros2idl` schema; what it does not define itself comes from the library.
///
/// # Errors
/// `Invalid` with the line that is not understood, or the definition that is missing.
pub fn parse(schema: &Schema, library: &Library) -> Result<Tree> {
    let (definitions, root) = complete(schema, library)?;
    definitions.tree(&root)
}

/// Returns the hash of a `ros2msg` or `ros2idl` schema as REP-2011 defines it: `RIHS01_` and 64 hexadecimal digits.
///
/// # Errors
/// What [`parse`] answers, and `Invalid` for what the hash has no number for.
pub fn rihs01(schema: &Schema, library: &Library) -> Result<String> {
    let (definitions, root) = complete(schema, library)?;
    rihs01::hash(&definitions, &root)
}

fn complete(schema: &Schema, library: &Library) -> Result<(Definitions, String)> {
    let (mut definitions, root) = definitions(schema)?;
    library.complete(&mut definitions, &root, Flavour::Ros2, None);
    Ok((definitions, root))
}

/// Returns everything that a schema defines, and the full name of its message.
pub(crate) fn definitions(schema: &Schema) -> Result<(Definitions, String)> {
    let text = dispatch::text(schema)?;
    let own = if schema.encoding == "ros2idl" { Syntax::Idl } else { Syntax::Msg };
    let sections = section::split(&text);
    let mut definitions = Definitions::default();
    let mut root = line::ros2_name(&schema.name);
    for section in &sections {
        let syntax = section.syntax.unwrap_or_else(|| own_syntax(own, &root, section.text));
        let name = match (section.name.is_empty(), syntax) {
            (true, Syntax::Srv | Syntax::Action) => whole(&root).to_owned(),
            (true, _) => root.clone(),
            (false, _) => full_name(section.name, syntax),
        };
        if root.is_empty() {
            root.clone_from(&name);
        }
        add(&mut definitions, &name, syntax, section)?;
    }
    if let Some(kind) = definitions.get(&root).is_none().then(|| parts_of(&definitions, &root)).flatten() {
        return Err(Error::invalid(format!("'{root}' is no message: its messages are {kind}")));
    }
    if definitions.get(&root).is_none() {
        // IDL has other scopes than those of ROS, or none.
        let written = schema.name.replace("::", "/");
        let found = definitions.get(&written).is_some().then_some(written);
        let found = found.or_else(|| definitions.resolve(last(&root), "").map(|(name, _)| name.to_owned()));
        root = found.unwrap_or(root);
    }
    Ok((definitions, root))
}

/// Adds a section under its full name.
pub(crate) fn add(definitions: &mut Definitions, name: &str, syntax: Syntax, section: &Section) -> Result<()> {
    match syntax {
        Syntax::Msg => definitions.add(name, Meaning::Struct(line::definition(section.text, name, Dialect::Ros2)?)),
        Syntax::Srv => add_service(definitions, name, section.text),
        Syntax::Action => add_action(definitions, name, section.text),
        Syntax::Idl => idl::read(section.text, definitions),
    }
}

/// Returns what a text without a heading is written in: rosbag2 gives a service's event its `.srv` file.
pub(crate) fn own_syntax(own: Syntax, root: &str, text: &str) -> Syntax {
    match text.lines().filter(|line| is_separator(line)).count() {
        0 => own,
        _ if own == Syntax::Idl => own,
        1 if !root.contains("/action/") => Syntax::Srv,
        _ => Syntax::Action,
    }
}

/// Returns the full name that a heading says.
pub(crate) fn full_name(name: &str, syntax: Syntax) -> String {
    let folder = match syntax {
        Syntax::Srv => "srv",
        Syntax::Action => "action",
        Syntax::Msg | Syntax::Idl => "msg",
    };
    match name.split_once('/') {
        Some((package, last)) if !last.contains('/') => format!("{package}/{folder}/{last}"),
        _ => name.replace("::", "/"),
    }
}

/// What a service's and an action's messages are called behind its name.
const PARTS: [&str; 13] = [
    "_SendGoal_Request",
    "_SendGoal_Response",
    "_SendGoal_Event",
    "_GetResult_Request",
    "_GetResult_Response",
    "_GetResult_Event",
    "_FeedbackMessage",
    "_Request",
    "_Response",
    "_Event",
    "_Feedback",
    "_Goal",
    "_Result",
];

/// Returns the name of the service or action that a message is a part of.
pub(crate) fn whole(name: &str) -> &str {
    PARTS.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name)
}

fn parts_of(definitions: &Definitions, name: &str) -> Option<String> {
    let found: Vec<String> = PARTS
        .iter()
        .map(|part| format!("{name}{part}"))
        .filter(|part| definitions.get(part).is_some())
        .map(|part| format!("'{part}'"))
        .collect();
    (!name.is_empty() && !found.is_empty()).then(|| found.join(", "))
}

fn is_separator(line: &str) -> bool {
    line.trim_end() == "---"
}

/// Returns the parts of a `.srv` or `.action` text.
fn split_parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for line in text.lines() {
        if is_separator(line) {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    parts
}

fn add_service(definitions: &mut Definitions, name: &str, text: &str) -> Result<()> {
    let parts = split_parts(text);
    let [request, response] = parts.as_slice() else {
        return Err(Error::invalid(format!("the service '{name}' has {} parts, not 2", parts.len())));
    };
    for (part, text) in [("_Request", request), ("_Response", response)] {
        let full = format!("{name}{part}");
        definitions.add(&full, Meaning::Struct(line::definition(text, &full, Dialect::Ros2)?))?;
    }
    add_event(definitions, name)
}

fn add_action(definitions: &mut Definitions, name: &str, text: &str) -> Result<()> {
    let parts = split_parts(text);
    let [goal, result, feedback] = parts.as_slice() else {
        return Err(Error::invalid(format!("the action '{name}' has {} parts, not 3", parts.len())));
    };
    for (part, text) in [("_Goal", goal), ("_Result", result), ("_Feedback", feedback)] {
        let full = format!("{name}{part}");
        definitions.add(&full, Meaning::Struct(line::definition(text, &full, Dialect::Ros2)?))?;
    }
    let id = || member("goal_id", named("unique_identifier_msgs/msg/UUID"));
    let own = |part: &str| named(&format!("{name}{part}"));
    for (part, members) in [
        ("_FeedbackMessage", vec![id(), member("feedback", own("_Feedback"))]),
        ("_SendGoal_Request", vec![id(), member("goal", own("_Goal"))]),
        ("_SendGoal_Response", vec![member("accepted", Kind::Bool), member("stamp", named("builtin_interfaces/msg/Time"))]),
        ("_GetResult_Request", vec![id()]),
        ("_GetResult_Response", vec![member("status", Kind::Int(1)), member("result", own("_Result"))]),
    ] {
        definitions.add(&format!("{name}{part}"), Meaning::Struct(Definition { members, ..Definition::default() }))?;
    }
    add_event(definitions, &format!("{name}_SendGoal"))?;
    add_event(definitions, &format!("{name}_GetResult"))
}

/// Adds what rosidl makes of every service: its event, with at most one request and one response.
fn add_event(definitions: &mut Definitions, name: &str) -> Result<()> {
    let at_most_one = |part: &str| Kind::List(Box::new(named(&format!("{name}{part}"))), Some(1));
    let members = vec![
        member("info", named("service_msgs/msg/ServiceEventInfo")),
        member("request", at_most_one("_Request")),
        member("response", at_most_one("_Response")),
    ];
    definitions.add(&format!("{name}_Event"), Meaning::Struct(Definition { members, ..Definition::default() }))
}

fn named(name: &str) -> Kind {
    Kind::Named { name: name.to_owned(), scope: Arc::from("") }
}

fn member(name: &str, kind: Kind) -> Member {
    Member { name: name.into(), kind, written: String::new(), unit: String::new(), comment: String::new(), default: String::new() }
}
