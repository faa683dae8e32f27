//! Quality of service: what ROS 2 writes beside a topic, so that whoever plays it back offers the same.
//!
//! In comes the YAML that rosbag2 of any version writes, out come profiles, and YAML as newer and older versions want it.
//!
//! **Invariant:** what cannot be understood is not guessed: the text as it is stays with the topic.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::message::Topic;

/// The key of a channel's metadata that holds it.
pub const KEY: &str = "offered_qos_profiles";

/// The key of a channel's metadata that says that late subscribers get the last value.
pub const LATCHED_KEY: &str = "tapeloop.latched";

/// How many profiles of a topic are read: one per publisher.
const PROFILE_LIMIT: usize = 1000;

/// No deadline, lifespan or lease: ROS 2's infinite duration.
const INFINITE: Length = Length { sec: 9_223_372_036, nsec: 854_775_807 };

/// One publisher's quality of service; names as newer versions write them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// `keep_last`, `keep_all`, `system_default`, `unknown`.
    pub history: String,
    /// How many messages are kept.
    pub depth: u64,
    /// `reliable`, `best_effort`, …
    pub reliability: String,
    /// `volatile`, `transient_local`, …
    pub durability: String,
    /// How long there may be nothing.
    pub deadline: Length,
    /// How long a message counts.
    pub lifespan: Length,
    /// `automatic`, `manual_by_topic`, …
    pub liveliness: String,
    /// How long a publisher may be silent.
    pub lease: Length,
    /// Whether names are as they are.
    pub avoid_ros_namespace_conventions: bool,
}

/// A duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Seconds.
    pub sec: u64,
    /// Nanoseconds.
    pub nsec: u64,
}

const HISTORY: [&str; 4] = ["system_default", "keep_last", "keep_all", "unknown"];
const RELIABILITY: [&str; 5] = ["system_default", "reliable", "best_effort", "unknown", "best_available"];
const DURABILITY: [&str; 5] = ["system_default", "transient_local", "volatile", "unknown", "best_available"];
const LIVELINESS: [&str; 6] = ["system_default", "automatic", "manual_by_node", "manual_by_topic", "unknown", "best_available"];

impl Default for Profile {
    fn default() -> Self {
        Self {
            history: "keep_last".to_owned(),
            depth: 10,
            reliability: "reliable".to_owned(),
            durability: "volatile".to_owned(),
            deadline: INFINITE,
            lifespan: INFINITE,
            liveliness: "automatic".to_owned(),
            lease: INFINITE,
            avoid_ros_namespace_conventions: false,
        }
    }
}

impl Profile {
    /// Returns what ROS 1 calls latched: late subscribers get the last value.
    pub fn latched() -> Self {
        Self { depth: 1, durability: "transient_local".to_owned(), ..Self::default() }
    }
}

/// Reads profiles from a YAML list of maps; `None` for what is not understood, nothing for an empty text.
pub fn parse(yaml: &str) -> Option<Vec<Profile>> {
    let mut profiles: Vec<BTreeMap<String, String>> = Vec::new();
    let (mut group, mut group_indent) = (String::new(), 0);
    for line in yaml.lines().filter(|line| !line.trim().is_empty() && line.trim() != "[]") {
        let mut line = line.to_owned();
        let item = line.trim_start().starts_with("- ");
        if item {
            profiles.push(BTreeMap::new());
            group.clear();
            // The dash takes the place of indentation.
            line = line.replacen("- ", "  ", 1);
        }
        let indent = line.len() - line.trim_start().len();
        if line.trim_start().starts_with(['{', '[']) {
            return None;
        }
        let (key, value) = line.trim().split_once(':')?;
        let value = value.trim().trim_matches(['"', '\'']);
        let profile = profiles.last_mut()?;
        if !group.is_empty() && indent <= group_indent {
            group.clear();
        }
        match value.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
            Some(inner) => {
                for pair in inner.split(',') {
                    let (part, value) = pair.split_once(':')?;
                    profile.insert(format!("{key}.{}", part.trim()), value.trim().to_owned());
                }
            }
            None if value.is_empty() => (group, group_indent) = (key.to_owned(), indent),
            None => {
                let key = if group.is_empty() { key.to_owned() } else { format!("{group}.{key}") };
                profile.insert(key, value.to_owned());
            }
        }
    }
    if profiles.len() > PROFILE_LIMIT {
        return None;
    }
    profiles.iter().map(of_fields).collect()
}

fn of_fields(fields: &BTreeMap<String, String>) -> Option<Profile> {
    let or = Profile::default();
    let name = |key: &str, names: &[&str], otherwise: String| match fields.get(key) {
        None => Some(otherwise),
        Some(text) => match text.parse::<usize>() {
            Ok(number) => Some((*names.get(number).unwrap_or(&"unknown")).to_owned()),
            Err(_) => names.contains(&text.as_str()).then(|| text.clone()),
        },
    };
    let number = |key: &str, otherwise: u64| fields.get(key).map_or(Some(otherwise), |text| text.parse().ok());
    // Old versions write the infinite duration of the middleware, and zeros for none.
    let length = |key: &str| {
        let known = fields.contains_key(&format!("{key}.sec"));
        let (sec, nsec) = (number(&format!("{key}.sec"), 0)?, number(&format!("{key}.nsec"), 0)?);
        Some(if known { Length { sec, nsec } } else { INFINITE })
    };
    Some(Profile {
        history: name("history", &HISTORY, or.history)?,
        depth: number("depth", or.depth)?,
        reliability: name("reliability", &RELIABILITY, or.reliability)?,
        durability: name("durability", &DURABILITY, or.durability)?,
        deadline: length("deadline")?,
        lifespan: length("lifespan")?,
        liveliness: name("liveliness", &LIVELINESS, or.liveliness)?,
        lease: length("liveliness_lease_duration")?,
        avoid_ros_namespace_conventions: fields.get("avoid_ros_namespace_conventions").is_some_and(|value| value == "true"),
    })
}

/// Writes profiles as a YAML list, each line behind `indent` spaces.
pub fn format(profiles: &[Profile], indent: usize) -> String {
    let pad = " ".repeat(indent);
    let mut out = String::new();
    for profile in profiles {
        let Profile { history, depth, reliability, durability, deadline, lifespan, liveliness, lease, .. } = profile;
        let mut line = |text: std::fmt::Arguments<'_>| {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{pad}{text}");
        };
        line(format_args!("- history: {history}"));
        line(format_args!("  depth: {depth}"));
        line(format_args!("  reliability: {reliability}"));
        line(format_args!("  durability: {durability}"));
        for (key, length) in [("deadline", deadline), ("lifespan", lifespan)] {
            line(format_args!("  {key}:"));
            line(format_args!("    sec: {}", length.sec));
            line(format_args!("    nsec: {}", length.nsec));
        }
        line(format_args!("  liveliness: {liveliness}"));
        line(format_args!("  liveliness_lease_duration:"));
        line(format_args!("    sec: {}", lease.sec));
        line(format_args!("    nsec: {}", lease.nsec));
        line(format_args!("  avoid_ros_namespace_conventions: {}", profile.avoid_ros_namespace_conventions));
    }
    out
}

/// Returns whether a topic says of itself that late subscribers get its last value.
pub fn is_latched(topic: &Topic) -> bool {
    let transient_local = |line: &str| {
        let value = line.trim().trim_start_matches("- ").strip_prefix("durability:");
        value.is_some_and(|value| matches!(value.trim(), "1" | "transient_local"))
    };
    topic.name.ends_with("/tf_static")
        || topic.metadata.get(LATCHED_KEY).is_some_and(|value| value == "true")
        || topic.metadata.get("latching").is_some_and(|value| value == "1")
        || topic.metadata.get(KEY).is_some_and(|qos| qos.lines().any(transient_local))
}

/// Returns a topic's metadata with what ROS 1 says of latched topics as ROS 2 says it too.
pub fn translated(topic: &Topic) -> BTreeMap<String, String> {
    let mut metadata = topic.metadata.clone();
    if metadata.get("latching").is_some_and(|value| value == "1") {
        metadata.entry(LATCHED_KEY.to_owned()).or_insert_with(|| "true".to_owned());
    }
    let latched = metadata.get(LATCHED_KEY).is_some_and(|value| value == "true");
    if latched && metadata.get(KEY).is_none_or(String::is_empty) {
        metadata.insert(KEY.to_owned(), format(&[Profile::latched()], 0).trim_end().to_owned());
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_of_all_versions_are_read_and_written() {
        let old = "- history: 1\n  depth: 7\n  reliability: 2\n  durability: 1\n  deadline:\n    sec: 2147483647\n    nsec: 4294967295\n  lifespan:\n    sec: 0\n    nsec: 5\n  liveliness: 1\n  liveliness_lease_duration:\n    sec: 1\n    nsec: 2\n  avoid_ros_namespace_conventions: false\n- history: 2";
        let profiles = parse(old).unwrap();
        assert_eq!(profiles.len(), 2);
        let first = &profiles[0];
        assert_eq!((first.history.as_str(), first.depth, first.reliability.as_str()), ("keep_last", 7, "best_effort"));
        assert_eq!((first.durability.as_str(), first.lifespan, first.lease.nsec), ("transient_local", Length { sec: 0, nsec: 5 }, 2));
        assert_eq!(profiles[1].history, "keep_all");
        assert_eq!(parse(&format(&profiles, 4)).unwrap(), profiles);
        let flow = "- {history: keep_last, depth: 1}";
        assert!(parse(flow).is_none());
        assert_eq!(parse("- history: keep_last\n  deadline: {sec: 3, nsec: 4}").unwrap()[0].deadline, Length { sec: 3, nsec: 4 });
        assert_eq!(parse(""), Some(Vec::new()));
        assert_eq!(parse("[]"), Some(Vec::new()));
        assert_eq!(parse("- durability: sideways"), None);
    }
}
