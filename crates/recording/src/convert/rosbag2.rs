//! A rosbag2 folder: `<name>_0.mcap` and its `metadata.yaml`.
//!
//! **Invariant:** a topic is in it only if `ros2 bag play` can publish it: encoded as CDR, with a type, under one type only.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::Options;
use crate::error::{Error, Kind, Result};
use crate::message::Topic;
use crate::qos::{self, Profile};
use crate::read::export::{finish_name, part_of, refuse_own_input, write as write_mcap};
use crate::read::{ExportOptions, ExportReport, Recording};

/// The layout of `metadata.yaml` that is written.
const VERSION: u32 = 9;

/// Where files have the hash of a topic's type: rosbag2's MCAP files, and its metadata.
const TYPE_HASH_KEYS: [&str; 2] = ["topic_type_hash", "type_description_hash"];

/// How many topics are named that cannot be written.
const NAMED: usize = 10;

/// What the metadata says of one topic.
struct Entry {
    type_name: String,
    hash: String,
    profiles: Vec<Profile>,
    messages: u64,
}

/// Writes the folder.
pub(super) fn write(recording: &Recording, options: &Options, out: &Path, progress: &mut dyn FnMut(u64)) -> Result<ExportReport> {
    refuse_own_input(recording, out)?;
    if std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) || out.is_file() {
        return Err(Error::new(Kind::Conflict, format!("there is something already; choose another name than {}", out.display())));
    }
    refuse_foreign_topics(recording, options)?;
    let part = part_of(out)?;
    std::fs::create_dir(&part).map_err(|error| Error::io(format!("cannot create {}", part.display()), error))?;
    let written = write_into(&part, recording, options, out, progress).and_then(|report| {
        // An empty folder of that name may be there, and gives way.
        let _ = std::fs::remove_dir(out);
        finish_name(&part, out)?;
        Ok(ExportReport { path: out.to_owned(), ..report })
    });
    if written.is_err() {
        // The error that is returned says more than a failing removal.
        let _ = std::fs::remove_dir_all(&part);
    }
    written
}

fn write_into(folder: &Path, recording: &Recording, options: &Options, out: &Path, progress: &mut dyn FnMut(u64)) -> Result<ExportReport> {
    let base = out.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = format!("{base}_0.mcap");
    let packing = ExportOptions { compression: options.compression };
    let (report, counts) = write_mcap(recording, &options.topics, options.span, &folder.join(&name), "ros2", packing, progress)?;
    let yaml = metadata(&name, &report, &counts);
    let path = folder.join("metadata.yaml");
    let failed = |error| Error::io(format!("cannot write {}", path.display()), error);
    let mut file = File::create(&path).map_err(failed)?;
    file.write_all(yaml.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(ExportReport { size_bytes: report.size_bytes + yaml.len() as u64, ..report })
}

/// Refuses topics that a rosbag2 folder cannot hold, by name.
fn refuse_foreign_topics(recording: &Recording, options: &Options) -> Result<()> {
    let wanted: Vec<&Arc<Topic>> = recording.topics().iter().filter(|topic| options.topics.matches(&topic.name)).collect();
    let refuse = |names: Vec<String>, why: &str| {
        let more = names.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let first = names[..names.len().min(NAMED)].join(", ");
        Error::invalid(format!("{why}: {first}{more}; leave them out with --topics, or write an .mcap file"))
    };
    let foreign: Vec<String> =
        wanted.iter().filter(|topic| topic.encoding != "cdr").map(|topic| format!("{} ({})", topic.name, topic.encoding)).collect();
    if !foreign.is_empty() {
        let ros1 = if wanted.iter().any(|topic| topic.encoding == "ros1") { ", and ROS 1 messages are not transcoded" } else { "" };
        return Err(refuse(foreign, &format!("a rosbag2 folder holds messages in CDR only{ros1}")));
    }
    let typeless: Vec<String> = wanted.iter().filter(|topic| topic.type_name().is_empty()).map(|topic| topic.name.clone()).collect();
    if !typeless.is_empty() {
        return Err(refuse(typeless, "a rosbag2 folder needs to know the type of each topic"));
    }
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let mut doubled = Vec::new();
    for topic in &wanted {
        if *types.entry(&topic.name).or_insert(topic.type_name()) != topic.type_name() {
            doubled.push(topic.name.clone());
        }
    }
    if !doubled.is_empty() {
        return Err(refuse(doubled, "a rosbag2 folder can have one type under a name"));
    }
    Ok(())
}

/// Returns the text of `metadata.yaml`.
fn metadata(file: &str, report: &ExportReport, counts: &[(Arc<Topic>, u64)]) -> String {
    let mut entries: BTreeMap<&str, Entry> = BTreeMap::new();
    for (topic, messages) in counts {
        let metadata = qos::translated(topic);
        let entry = entries.entry(&topic.name).or_insert_with(|| Entry {
            type_name: topic.type_name().to_owned(),
            hash: TYPE_HASH_KEYS.iter().find_map(|key| metadata.get(*key)).cloned().unwrap_or_default(),
            profiles: Vec::new(),
            messages: 0,
        });
        entry.messages += messages;
        let offered = metadata.get(qos::KEY).and_then(|yaml| qos::parse(yaml)).unwrap_or_default();
        for profile in offered {
            if !entry.profiles.contains(&profile) {
                entry.profiles.push(profile);
            }
        }
    }
    let (start_ns, end_ns) = (report.first_ns.unwrap_or(0), report.end_ns.or(report.first_ns).unwrap_or(0));
    let duration_ns = end_ns.saturating_sub(start_ns).max(0);
    let mut yaml = format!(
        "rosbag2_bagfile_information:\n  version: {VERSION}\n  storage_identifier: mcap\n  duration:\n    nanoseconds: {duration_ns}\n  \
         starting_time:\n    nanoseconds_since_epoch: {start_ns}\n  message_count: {}\n",
        report.messages
    );
    yaml.push_str(if entries.is_empty() { "  topics_with_message_count: []\n" } else { "  topics_with_message_count:\n" });
    for (name, entry) in &entries {
        let Entry { type_name, hash, profiles, messages } = entry;
        let (name, type_name, hash) = (scalar(name), scalar(type_name), scalar(hash));
        // Writing to a string cannot fail.
        let _ = write!(yaml, "    - topic_metadata:\n        name: {name}\n        type: {type_name}\n        serialization_format: cdr\n");
        if profiles.is_empty() {
            yaml.push_str("        offered_qos_profiles: []\n");
        } else {
            yaml.push_str("        offered_qos_profiles:\n");
            yaml.push_str(&qos::format(profiles, 10));
        }
        let _ = write!(yaml, "        type_description_hash: {hash}\n      message_count: {messages}\n");
    }
    let file = scalar(file);
    let _ = write!(
        yaml,
        "  compression_format: \"\"\n  compression_mode: \"\"\n  relative_file_paths:\n    - {file}\n  files:\n    - path: {file}\n      \
         starting_time:\n        nanoseconds_since_epoch: {start_ns}\n      duration:\n        nanoseconds: {duration_ns}\n      \
         message_count: {}\n  custom_data: ~\n  ros_distro: unknown\n",
        report.messages
    );
    yaml
}

/// Returns a text as YAML reads it back: in double quotes unless it is plain.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_');
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let word = matches!(text.to_ascii_lowercase().as_str(), "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n");
    if begins && !word && text.chars().all(plain) {
        return text.to_owned();
    }
    serde_json::to_string(text).expect("text is always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_yaml_would_read_something_else() {
        assert_eq!(scalar("/imu/data_raw"), "/imu/data_raw");
        assert_eq!(scalar("sensor_msgs/msg/Imu"), "sensor_msgs/msg/Imu");
        assert_eq!(scalar(""), "\"\"");
        assert_eq!(scalar("a: b\n"), "\"a: b\\n\"");
        assert_eq!(scalar("on"), "\"on\"");
        assert_eq!(scalar("bag 1_0.mcap"), "\"bag 1_0.mcap\"");
    }
}
