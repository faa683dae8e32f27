//! The standard types of ROS 1, derived from those of ROS 2 where both have the same fields.
//!
//! In come the definitions of ROS 2, out comes the set of ROS 1.
//!
//! **Invariant:** only types whose MD5 is the official one are in it; `noetic.txt` lists those.

use super::Flavour;
use super::set::Set;
use crate::schema::definition::{Definitions, Kind, Member};
use crate::schema::line::{self, Dialect};
use crate::schema::ros1;
use crate::schema::section::{Section, Syntax};

/// Official MD5s, one type per line.
const OFFICIAL: &str = include_str!("noetic.txt");

/// What only ROS 1 has, or what it calls otherwise: a type's name and its fields.
const OWN: &[(&str, &str)] = &[
    ("std_msgs/Header", "uint32 seq\ntime stamp\nstring frame_id\n"),
    ("std_msgs/Time", "time data\n"),
    ("std_msgs/Duration", "duration data\n"),
];

/// Where ROS 1 differs in more than how it writes times and headers.
const DIFFERENT: &[(&str, Difference)] = &[
    ("sensor_msgs/CameraInfo", Difference { capitals: &["d", "k", "r", "p"], ..Difference::NONE }),
    ("stereo_msgs/DisparityImage", Difference { capitals: &["t"], ..Difference::NONE }),
    (
        "sensor_msgs/BatteryState",
        Difference { newer: &["POWER_SUPPLY_TECHNOLOGY_TERNARY", "POWER_SUPPLY_TECHNOLOGY_VRLA"], ..Difference::NONE },
    ),
    ("sensor_msgs/NavSatStatus", Difference { newer: &["STATUS_UNKNOWN", "SERVICE_UNKNOWN"], ..Difference::NONE }),
    ("sensor_msgs/Range", Difference { newer: &["variance"], ..Difference::NONE }),
    ("shape_msgs/SolidPrimitive", Difference { newer: &["PRISM", "PRISM_HEIGHT", "polygon"], ..Difference::NONE }),
    ("visualization_msgs/ImageMarker", Difference { constants: "uint8", ..Difference::NONE }),
    (
        "visualization_msgs/Marker",
        Difference {
            newer: &["ARROW_STRIP", "texture_resource", "texture", "uv_coordinates", "mesh_file"],
            constants: "uint8",
            ..Difference::NONE
        },
    ),
];

struct Difference {
    /// Fields with names in capitals in ROS 1.
    capitals: &'static [&'static str],
    /// Fields and constants that ROS 1 does not have.
    newer: &'static [&'static str],
    /// What type constants have in ROS 1, if another one.
    constants: &'static str,
}

impl Difference {
    const NONE: Self = Self { capitals: &[], newer: &[], constants: "" };
}

/// Returns the types of ROS 1 that follow from those of ROS 2.
pub(super) fn derive<'a>(ros2: impl Iterator<Item = (&'a str, &'a str)>) -> Set {
    let mut definitions = Definitions::default();
    let mut texts = Vec::new();
    let own = OWN.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let derived = ros2.filter_map(|(name, text)| Some((line::ros1_name(name), ros1_text(&line::ros1_name(name), text)?)));
    for (name, text) in own.chain(derived) {
        let section = Section { syntax: None, name: &name, text: &text };
        // The first of a name counts; a second one with other fields is refused here.
        if definitions.get(&name).is_none() && ros1::add(&mut definitions, &name, &section).is_ok() {
            texts.push((name, text));
        }
    }
    let mut set = Set::new("standard, noetic", Some(Flavour::Ros1));
    for (name, text) in texts {
        if official(&name).is_some_and(|hash| ros1::hash(&definitions, &name).is_ok_and(|own| own == hash)) {
            set.add(&name, Syntax::Msg, text);
        }
    }
    set
}

fn official(name: &str) -> Option<&'static str> {
    OFFICIAL.lines().filter_map(|line| line.split_once(' ')).find(|(known, _)| *known == name).map(|(_, hash)| hash)
}

/// Returns a definition of ROS 2 as ROS 1 would have it.
fn ros1_text(name: &str, text: &str) -> Option<String> {
    let mut definition = line::definition(text, &line::ros2_name(name), Dialect::Ros2).ok()?;
    let different = DIFFERENT.iter().find(|(known, _)| *known == name).map_or(&Difference::NONE, |(_, difference)| difference);
    definition.members.retain(|member| !different.newer.contains(&member.name.as_str()));
    definition.constants.retain(|constant| !different.newer.contains(&constant.name.as_str()));
    for constant in definition.constants.iter_mut().filter(|_| !different.constants.is_empty()) {
        constant.type_name = different.constants.to_owned();
    }
    for member in &mut definition.members {
        member.default.clear();
        if different.capitals.contains(&member.name.as_str()) {
            member.name = member.name.to_uppercase();
        }
    }
    Some(line::write(&definition, ros1_type))
}

fn ros1_type(member: &Member) -> String {
    let (element, brackets) = match member.written.split_once('[') {
        // ROS 1 has no bounds.
        Some((element, size)) if size.starts_with("<=") => (element, "[]".to_owned()),
        Some((element, size)) => (element, format!("[{size}")),
        None => (member.written.as_str(), String::new()),
    };
    let Kind::Named { name, .. } = member.kind.innermost() else { return format!("{element}{brackets}") };
    let name = match name.as_str() {
        "builtin_interfaces/msg/Time" => "time".to_owned(),
        "builtin_interfaces/msg/Duration" => "duration".to_owned(),
        other => line::ros1_name(other),
    };
    format!("{name}{brackets}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::OFFICIAL;
    use crate::schema::library::{Flavour, Library};
    use crate::schema::ros1;

    #[test]
    fn types_of_ros1_have_their_official_hashes() {
        let library = Library::standard();
        let mut missing = Vec::new();
        for (name, hash) in OFFICIAL.lines().filter_map(|line| line.split_once(' ')) {
            match library.find(name, None, Flavour::Ros1) {
                Some(schema) => {
                    assert_eq!(ros1::md5(&schema, &Library::empty()).unwrap(), hash, "{name}");
                    assert_eq!(library.find(name, Some(hash), Flavour::Ros1), Some(schema));
                }
                None => missing.push(name),
            }
        }
        let packages: BTreeSet<&str> = missing.iter().filter_map(|name| name.split('/').next()).collect();
        let known = ["actionlib", "actionlib_msgs", "bond", "dynamic_reconfigure", "nav_msgs", "roscpp", "rosgraph_msgs"];
        assert_eq!(packages, known.into());
        assert!(missing.iter().all(|name| !name.starts_with("nav_msgs/") || name.contains("GetMap")), "{missing:?}");
    }
}
