//! `tapeloop schema`: what messages are made of, what changed, and definitions for those that lack them.
//!
//! **Invariant:** a topic whose definition cannot be read is said, and the others are shown all the same.

mod add;
mod diff;
mod ls;
mod show;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
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
        let recording = read::open(&folder::resolve(what, whom)?)?;
        let filter = topics.filter()?;
        let mut definitions = Self { found: Vec::new(), unreadable: Vec::new() };
        for topic in wanted(recording.topics(), &filter, topics)? {
            definitions.add(topic, &library);
        }
        definitions.found.sort_by(|a, b| a.tree.root().name.cmp(&b.tree.root().name));
        Ok(definitions)
    }

    fn add(&mut self, topic: &Topic, library: &Library) {
        let tree = match parse_topic(topic, library) {
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
                self.found.push(Definition { tree, topics: vec![topic.name.clone()], encoding: topic.encoding.clone(), language, hash });
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
    Ok(Library::user(&places::schemas_dir()?)?)
}

/// Returns the definition of a type that is asked for by its name.
fn of_type(what: &Path, library: &Library) -> Option<anyhow::Result<Definition>> {
    let name = what.to_str().filter(|name| name.contains('/') && !what.exists())?;
    let found = [Flavour::Ros2, Flavour::Ros1].into_iter().find_map(|flavour| library.find(name, None, flavour))?;
    let definition = parse(&found, "", library).map(|tree| Definition {
        tree,
        topics: Vec::new(),
        encoding: String::new(),
        language: found.encoding.clone(),
        hash: recording::schema::hash(&found, "", library),
    });
    Some(definition.map_err(Into::into))
}

fn wanted<'a>(all: &'a [std::sync::Arc<Topic>], filter: &TopicFilter, topics: &Topics) -> anyhow::Result<Vec<&'a Topic>> {
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
