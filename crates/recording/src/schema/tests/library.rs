//! Hashes and the library.

use super::{fields, schema};
use crate::message::Topic;
use crate::schema::library::{Flavour, Library};
use crate::schema::{parse, parse_topic, ros1, ros2};

/// Distribution, type and hash, as another program computes them; for the two types with a `char`, as ROS 2's generated code has them:
/// a `char` of a `.msg` file is a uint8 there, and the other program hashes it as a char.
const RIHS01: &str = include_str!("rihs01.txt");

/// Types that the dependency does not carry.
const NOT_CARRIED: &[&str] = &["rmw_dds_common/", "actionlib_msgs/"];

#[test]
fn standard_types_of_ros2_have_their_official_hashes() {
    let library = Library::standard();
    let mut checked = 0;
    for line in RIHS01.lines() {
        let [_, name, hash] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        if NOT_CARRIED.iter().any(|package| name.starts_with(package)) {
            continue;
        }
        let hash = format!("RIHS01_{hash}");
        let found = library.find(name, Some(&hash), Flavour::Ros2).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(ros2::rihs01(&found, &Library::empty()).unwrap(), hash, "{line}");
        assert_eq!(parse(&found, "cdr", &Library::empty()).unwrap().root().name, name);
        checked += 1;
    }
    assert!(checked > 300, "{checked}");
}

#[test]
fn every_standard_type_has_a_tree() {
    let library = Library::standard();
    let types = library.types();
    assert!(types.len() > 300, "{}", types.len());
    for (name, flavour, origin) in types {
        let parts: &[&str] = match () {
            () if name.contains("/srv/") => &["_Request", "_Response", "_Event"],
            () if name.contains("/action/") => &["_Goal", "_Result", "_FeedbackMessage", "_SendGoal_Request", "_GetResult_Event"],
            () => &[""],
        };
        for part in parts {
            let full = format!("{name}{part}");
            let found = library.find(&full, None, flavour).unwrap_or_else(|| panic!("{full} of {origin}"));
            parse(&found, "", &Library::empty()).unwrap_or_else(|error| panic!("{full} of {origin}: {error}"));
        }
    }
}

#[test]
fn an_empty_definition_is_taken_from_the_library() {
    let library = Library::standard();
    let empty = |name: &str, encoding: &str| schema(encoding, name, "");
    let names = |tree: crate::schema::Tree| tree.root().fields.iter().map(|field| field.name.clone()).collect::<Vec<_>>();
    let ros2 = names(parse(&empty("std_msgs/msg/Header", ""), "cdr", &library).unwrap());
    assert_eq!(ros2, ["stamp", "frame_id"]);
    assert_eq!(names(parse(&empty("std_msgs/Header", ""), "ros1", &library).unwrap()), ["seq", "stamp", "frame_id"]);
    assert_eq!(names(parse(&empty("std_msgs/msg/Header", "ros2msg"), "cdr", &library).unwrap()), ros2);
    assert_eq!(names(parse(&empty("std_msgs/msg/Empty", "ros2msg"), "cdr", &library).unwrap()), Vec::<String>::new());
    // What nobody defines has no hash.
    let hash = |name: &str| crate::schema::hash(&empty(name, "ros2msg"), "cdr", &library);
    assert!(hash("std_msgs/msg/Empty").is_some());
    assert_eq!(hash("my_pkg/msg/Foo"), None);
    // What a definition lacks comes from the library too.
    let partial = schema("ros2msg", "a/msg/T", "std_msgs/Header header\nint8 x");
    assert_eq!(fields(&parse(&partial, "cdr", &library).unwrap()), ["header: std_msgs/msg/Header", "x: i8"]);
}

#[test]
fn a_hash_tells_which_definition_is_meant() {
    let mut library = Library::standard();
    let old = schema("ros2msg", "a/msg/T", "int8 x");
    let new = schema("ros2msg", "a/msg/T", "int8 x\nint8 y");
    let hash = ros2::rihs01(&old, &library).unwrap();
    assert!(library.add_schema(&old) && library.add_schema(&new));
    assert!(!library.add_schema(&schema("protobuf", "a.T", "x")));
    let mut topic =
        Topic { name: "/t".into(), encoding: "cdr".into(), schema: Some(schema("", "a/msg/T", "").into()), metadata: [].into() };
    assert_eq!(fields(&parse_topic(&topic, &library).unwrap()), ["x: i8", "y: i8"]);
    topic.metadata.insert("topic_type_hash".into(), hash);
    assert_eq!(fields(&parse_topic(&topic, &library).unwrap()), ["x: i8"]);
    topic.metadata.insert("topic_type_hash".into(), format!("RIHS01_{}", "0".repeat(64)));
    assert!(parse_topic(&topic, &library).is_err());
}

#[test]
fn the_md5_is_made_of_constants_first_and_of_the_text_as_it_is() {
    // Computed with another program over the same texts.
    for (text, hash) in KNOWN_MD5 {
        assert_eq!(ros1::md5(&schema("ros1msg", "p/T", text), &Library::standard()).unwrap(), *hash, "{text}");
    }
}

const KNOWN_MD5: &[(&str, &str)] = &[
    ("", "d41d8cd98f00b204e9800998ecf8427e"),
    ("string data", "992ce8a1687cec8c8bd883ec73ca41d1"),
    ("Header header", "d7be0bb39af8fb9129d5a76e6b63a290"),
];
