//! Quality of service as ROS 2 has it: from a dict to the text that `rosbag2` keeps in a channel's metadata.
//!
//! **Invariant:** the text has the numbers of `rosbag2` up to version 8, which newer ones recognise too.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{Failure, Result};

/// Where `rosbag2` keeps it.
pub(crate) const METADATA_KEY: &str = "offered_qos_profiles";

/// The numbers are those of `rmw`.
const HISTORY: [(&str, u8); 4] = [("system_default", 0), ("keep_last", 1), ("keep_all", 2), ("unknown", 3)];
const RELIABILITY: [(&str, u8); 4] = [("system_default", 0), ("reliable", 1), ("best_effort", 2), ("unknown", 3)];
const DURABILITY: [(&str, u8); 4] = [("system_default", 0), ("transient_local", 1), ("volatile", 2), ("unknown", 3)];
/// How `rosbag2` writes "for ever".
const INFINITE: &str = "sec: 9223372036\n    nsec: 854775807";
const DEFAULT_DEPTH: u32 = 10;

/// Quality of service of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Qos {
    /// What stands in the channel's metadata.
    pub(crate) profiles: String,
    /// Whether a late subscriber gets the last value: what Tapeloop calls latched.
    pub(crate) transient_local: bool,
}

/// Reads `{"reliability": …, "durability": …, "history": …, "depth": …}`; what is missing has ROS 2's default.
///
/// # Errors
/// `Invalid` for an unknown key or value, naming those that are known.
pub(crate) fn parse(dict: &Bound<'_, PyDict>) -> Result<Qos> {
    let (mut history, mut reliability, mut durability, mut depth) = (1, 1, 2, DEFAULT_DEPTH);
    for (key, value) in dict.iter() {
        let key = key.str()?.to_string_lossy().into_owned();
        match key.as_str() {
            "history" => history = number(&key, &value, &HISTORY)?,
            "reliability" => reliability = number(&key, &value, &RELIABILITY)?,
            "durability" => durability = number(&key, &value, &DURABILITY)?,
            "depth" => depth = value.extract().map_err(|_| Failure::invalid(format!("qos depth {value}; a count of messages")))?,
            _ => return Err(Failure::invalid(format!("unknown qos '{key}'; known are history, reliability, durability and depth"))),
        }
    }
    let profiles = format!(
        "- history: {history}\n  depth: {depth}\n  reliability: {reliability}\n  durability: {durability}\n  deadline:\n    {INFINITE}\n  \
         lifespan:\n    {INFINITE}\n  liveliness: 1\n  liveliness_lease_duration:\n    {INFINITE}\n  avoid_ros_namespace_conventions: false"
    );
    Ok(Qos { profiles, transient_local: durability == 1 })
}

fn number(key: &str, value: &Bound<'_, PyAny>, known: &[(&str, u8)]) -> Result<u8> {
    let text = value.str()?.to_string_lossy().to_lowercase();
    known.iter().find(|(name, _)| *name == text).map(|(_, number)| *number).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        Failure::invalid(format!("qos {key} '{value}'; one of {}", names.join(", ")))
    })
}
