//! `tapeloop schema`: what messages are made of, what changed, and definitions for those that lack them.
//!
//! **Invariant:** a topic whose definition cannot be read is said, and the others are shown all the same.

mod add;
mod diff;
mod ls;
mod show;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use recording::decode::Decoder;
use recording::read::Recording;
use recording::schema::library::{Flavour, Library};
use recording::schema::{Tree, parse, parse_topic};
use recording::{Topic, TopicFilter, read};
use robot::places;

use crate::argument::Topics;
use crate::folder;
use crate::outcome::{Outcome, Usage};
use crate::output::complain;
use crate::whom::Whom;

/// Show what messages are made of: fields, types, units, constants
#[derive(Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_precedence_over_arg = true)]
pub(crate) struct Schema {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    show: show::Show,
}

#[derive(Subcommand)]
enum Action {
    Diff(diff::Diff),
    Add(add::Add),
    Ls(ls::Ls),
}

const EXAMPLES: &str = "\
Examples:
  tapeloop schema run.mcap --topic /imu
  tapeloop schema sensor_msgs/msg/NavSatFix
  tapeloop schema diff old.mcap new.mcap --topic /odom
  tapeloop schema add ~/ros2_ws/src

A file that is called like one of the commands is written as ./diff.";

impl Schema {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        match self.action {
            Some(Action::Diff(command)) => command.run(),
            Some(Action::Add(command)) => command.run(),
            Some(Action::Ls(command)) => command.run(),
            None => self.show.run(),
        }
    }
}

/// Topics with one definition.
pub(crate) struct Definition {
    /// Its messages.
    pub(crate) tree: Tree,
    /// The topics; none where a type was asked for.
    pub(crate) topics: Vec<String>,
    /// How their messages are written.
    pub(crate) encoding: String,
    /// Whether nothing defines it: its fields are those of the first messages.
    pub(crate) inferred: bool,
    /// The type of the same name of the other ROS, where that has one.
    pub(crate) other: Option<String>,
    /// What the definition is written in.
    pub(crate) language: String,
    /// The hash of the type, where its language has one.
    pub(crate) hash: Option<String>,
}

/// What an argument has, and what could not be read of it.
pub(crate) struct Definitions {
    /// By type name.
    pub(crate) found: Vec<Definition>,
    /// Topics and why their definitions cannot be read.
    pub(crate) unreadable: Vec<String>,
}

impl Definitions {
    /// Returns what a file, a folder, a recording or a type's name has for these topics.
    ///
    /// # Errors
    /// What opening answers, and `NotFound` where there is nothing of these topics.
    pub(crate) fn of(what: &Path, topics: &Topics, whom: &Whom) -> anyhow::Result<Self> {
        let library = library()?;
        if let Some(definition) = of_type(what, &library) {
            return Ok(Self { found: vec![definition?], unreadable: Vec::new() });
        }
        let path = folder::resolve(what, whom).map_err(|error| if names_a_type(what) { unknown_type(what) } else { error })?;
        let recording = read::open(&path)?;
        let filter = topics.filter()?;
        let mut definitions = Self { found: Vec::new(), unreadable: Vec::new() };
        for topic in wanted(recording.topics(), &filter, topics)? {
            definitions.add(&recording, topic, &library);
        }
        definitions.found.sort_by(|a, b| a.tree.root().name.cmp(&b.tree.root().name));
        Ok(definitions)
    }

    fn add(&mut self, recording: &Recording, topic: &Topic, library: &Library) {
        let inferred = infer(recording, topic, library);
        let is_inferred = inferred.is_some();
        let tree = match inferred.map_or_else(|| parse_topic(topic, library), Ok) {
            Ok(tree) => tree,
            Err(error) => return self.unreadable.push(format!("{}: {error}", topic.name)),
        };
        let language = topic.schema.as_ref().map(|schema| schema.encoding.clone()).unwrap_or_default();
        let known =
            self.found.iter_mut().find(|known| known.encoding == topic.encoding && known.language == language && known.tree == tree);
        match known {
            // Two channels of one topic show it once.
            Some(known) if known.topics.contains(&topic.name) => {}
            Some(known) => known.topics.push(topic.name.clone()),
            None => {
                let hash = topic.schema.as_ref().and_then(|schema| recording::schema::hash(schema, &topic.encoding, library));
                self.found.push(Definition {
                    tree,
                    topics: vec![topic.name.clone()],
                    encoding: topic.encoding.clone(),
                    inferred: is_inferred,
                    other: None,
                    language,
                    hash,
                });
            }
        }
    }

    /// Says what could not be read, and whether anything was not.
    pub(crate) fn complain(&self) -> bool {
        self.unreadable.iter().for_each(complain);
        !self.unreadable.is_empty()
    }
}

/// Returns the library of this user: the standard definitions and those that were given.
pub(crate) fn library() -> anyhow::Result<Library> {
    match places::schemas_dir() {
        Ok(folder) => Ok(Library::user(&folder)?),
        // A service without a home has given nothing.
        Err(_) => Ok(Library::standard()),
    }
}

/// Returns the definition of a type that is asked for by its name.
fn of_type(what: &Path, library: &Library) -> Option<anyhow::Result<Definition>> {
    let name = what.to_str().filter(|name| name.contains('/') && !what.exists())?;
    // `pkg/Type` is how ROS 1 writes it, `pkg/msg/Type` how ROS 2 does.
    let is_ros1 = name.split('/').count() == 2;
    let flavours = if is_ros1 { [Flavour::Ros1, Flavour::Ros2] } else { [Flavour::Ros2, Flavour::Ros1] };
    let mut all = flavours.into_iter().filter_map(|flavour| library.find(name, None, flavour));
    let (found, other) = (all.next()?, all.next());
    let definition = parse(&found, "", library).map(|tree| Definition {
        tree,
        topics: Vec::new(),
        encoding: String::new(),
        inferred: false,
        other: other.map(|other| other.name.clone()),
        language: found.encoding.clone(),
        hash: recording::schema::hash(&found, "", library),
    });
    Some(definition.map_err(Into::into))
}

/// Returns whether a text is written like the name of a type: `pkg/msg/Type`, `pkg/Type`.
fn names_a_type(what: &Path) -> bool {
    let parts: Vec<&str> = what.to_str().unwrap_or_default().split('/').collect();
    let is_word = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let is_type = |part: &&str| part.starts_with(|c: char| c.is_ascii_uppercase());
    matches!(parts.len(), 2 | 3) && parts.iter().all(is_word) && parts.last().is_some_and(is_type)
}

fn unknown_type(what: &Path) -> anyhow::Error {
    recording::Error::not_found(format!(
        "no type '{0}' is known, nor is there a file {0}: 'tapeloop schema ls --all' lists the types, 'tapeloop schema add DIR' gives \
         the definitions of others",
        what.display()
    ))
    .into()
}

/// Returns the fields of JSON messages that nothing describes, if there are such messages.
fn infer(recording: &Recording, topic: &Topic, library: &Library) -> Option<Tree> {
    let decoder = Decoder::new(topic, library).ok().filter(Decoder::is_undescribed)?;
    let learned = recording.decoder(topic, library).unwrap_or(decoder);
    (!learned.is_undescribed()).then(|| Tree::clone(learned.tree()))
}

/// Returns the topics that are asked for.
///
/// # Errors
/// `NotFound` with those that there are.
pub(crate) fn wanted<'a>(all: &'a [std::sync::Arc<Topic>], filter: &TopicFilter, topics: &Topics) -> anyhow::Result<Vec<&'a Topic>> {
    let found: Vec<&Topic> = all.iter().map(AsRef::as_ref).filter(|topic| filter.matches(&topic.name)).collect();
    if found.is_empty() && !topics.patterns.is_empty() {
        let names: Vec<&str> = all.iter().map(|topic| topic.name.as_str()).collect();
        let there = if names.is_empty() { "no topics at all".to_owned() } else { names.join(", ") };
        return Err(recording::Error::not_found(format!("no topic matches {}; there are {there}", topics.patterns.join(", "))).into());
    }
    Ok(found)
}

/// Returns the path that clap made optional so that a command may stand in its place.
fn required(what: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    what.ok_or_else(|| Usage("say what to show: tapeloop schema run.mcap, or diff, add, ls (--help shows examples)".into()).into())
}
