//! ROS 2 without ROS: what nodes publish, taken from the wire of DDS or Zenoh.
//!
//! In come publishers as they are found and samples as they arrive, out go messages in CDR with their types, hashes and quality of
//! service, as rosbag2 would have written them.
//!
//! **Invariant:** payloads are not changed; what a publisher sent and did not arrive is a loss in the data, as far as its numbers tell.

#[cfg(feature = "ros2-dds")]
pub(super) mod dds;
mod definitions;
mod description;
mod names;
mod publisher;
mod sequence;
#[cfg(feature = "ros2-zenoh")]
pub(super) mod zenoh;

use std::path::PathBuf;

use recording::{Result, TopicFilter};
use serde::Deserialize;

/// Which topics are wanted; options that all ways of listening to ROS 2 have.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wishes {
    /// Names with wildcards; those with `!` in front are left out.
    #[serde(default = "everything")]
    topics: Vec<String>,
    /// Whether topics are recorded that ROS hides: those with a part that begins with `_`.
    #[serde(default)]
    hidden: bool,
    /// Whether requests and answers of services are recorded.
    #[serde(default)]
    services: bool,
    /// Folders of packages that define types.
    #[serde(default)]
    definitions: Vec<PathBuf>,
}

/// What of the topics is recorded.
struct Wanted {
    filter: TopicFilter,
    hidden: bool,
    services: bool,
}

fn everything() -> Vec<String> {
    vec!["**".to_owned()]
}

impl Wishes {
    fn wanted(&self) -> Result<Wanted> {
        Ok(Wanted { filter: TopicFilter::parse(&self.topics)?, hidden: self.hidden, services: self.services })
    }
}

impl Wanted {
    fn takes(&self, name: &names::Name) -> bool {
        let role = matches!(name.role, names::Role::Topic) || self.services;
        // The parts of a service are hidden by their own names only.
        role && (self.hidden || !names::is_hidden(name.visible())) && self.filter.matches(&name.topic)
    }
}
