//! The conditions of the guide fit the types that it names, and what does not fit is answered with the nearest names.

use recording::schema::library::Library;
use rules::{Program, Topics, parse};

use crate::messages::topic;

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/rules.md");

/// Returns the conditions of the guide's table, with the topics and types beside each.
fn conditions(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let table = text.split("## Twenty conditions").nth(1).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let types = cells.get(2).unwrap_or(&"").split(", ").filter_map(|one| one.split_once("` "));
        let types = types.map(|(topic, kind)| (topic.trim_start_matches('`').to_owned(), kind.trim_end_matches([' ', '|']).to_owned()));
        (cells[1].trim_matches('`').to_owned(), types.collect())
    })
    .collect()
}

#[test]
fn every_condition_of_the_guide_fits_the_types_it_names() {
    let text = std::fs::read_to_string(GUIDE).unwrap();
    let library = Library::standard();
    let conditions = conditions(&text);
    assert_eq!(conditions.len(), 20);
    for (condition, types) in conditions {
        let topics = Topics::new(types.iter().map(|(name, type_name)| topic(name, type_name, "")), &library);
        let expression = parse(&condition).unwrap();
        let program = Program::new(&expression, &condition, &topics).unwrap_or_else(|error| panic!("{condition}: {error}"));
        let mut named: Vec<&str> = program.topics().collect();
        named.sort_unstable();
        assert_eq!(named, types.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), "{condition}");
    }
}

#[track_caller]
fn check(condition: &str, expected: &str) {
    let library = Library::standard();
    let types = [
        ("/imu", "sensor_msgs/msg/Imu"),
        ("/imu/raw", "sensor_msgs/msg/Imu"),
        ("/joint_states", "sensor_msgs/msg/JointState"),
        ("/scan", "sensor_msgs/msg/LaserScan"),
        ("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray"),
        ("/note", "std_msgs/msg/String"),
        ("/on", "std_msgs/msg/Bool"),
        ("/path", "nav_msgs/msg/Path"),
        ("/odd", "demo/msg/Nowhere"),
    ];
    let mut topics: Vec<_> = types.map(|(name, kind)| topic(name, kind, "")).to_vec();
    topics.extend([topic("/two", "demo/msg/Old", "float64 x\nint32 y"), topic("/two", "demo/msg/New", "float64 x\nstring y\nstring z")]);
    let expression = parse(condition).unwrap();
    let found = match Program::new(&expression, condition, &Topics::new(topics, &library)) {
        Ok(_) => "fits".to_owned(),
        Err(error) => error.to_string(),
    };
    assert!(found.contains(expected), "{condition}: {found}");
}

#[test]
fn names_that_are_not_there_are_answered_with_the_nearest() {
    check("/imuu.x > 1", "at character 1, '/imuu.x > 1': there is no topic /imuu; there are /imu, /imu/raw, ");
    check("rate(/scn) > 1", "there is no topic /scn; there are /scan, ");
    check(
        "/imu.linear_accelerationn.x > 1",
        "there is no field linear_accelerationn in sensor_msgs/msg/Imu; there are linear_acceleration, ",
    );
    check("/imu.linear_acceleration.w > 1", "there is no field w in /imu.linear_acceleration; there are x, y, z");
    check("/imu.linear_acceleration > 1", "/imu.linear_acceleration is a geometry_msgs/msg/Vector3: name one of its parts, x, y, z");
    check("/scan.ranges > 1", "/scan.ranges is a list: name an element, /scan.ranges[0], or ask for any of them: any(/scan.ranges, it …)");
    check("/scan.ranges['x'] > 1", "sensor_msgs/msg/LaserScan has no list of names beside /scan.ranges in which 'x' could be found");
    check("/path.poses['x'].pose.position.x > 1", "have no text called name, key or id");
    check("/imu.orientation_covariance[9] > 1", "/imu.orientation_covariance has 9 elements, the first is [0]");
    check(
        "/diagnostics.status.level > 1",
        "/diagnostics.status is a list: name an element, /diagnostics.status[0].level, or ask for any of them",
    );
    check("any(/imu.orientation, it.x > 1)", "any and all look at a list");
    check("any(/diagnostics.status, it.values['x'] == 'y' and it.nme == 'z')", "there is no field nme in it; there are name, ");
    check("any(/scan.ranges, /imu.orientation.x > 1)", "says nothing of the elements: write 'it'");
    check("/odd.x > 1", "there is no field x in demo/msg/Nowhere: it has none; if it should have some, give its definition with");
    check("/note.data.x > 1", "/note.data is string; it has no parts");
}

#[test]
fn types_must_fit() {
    check("/note.data > 1", "/note.data is text and 1 is a number: the two cannot be compared");
    check("/on.data > true", "/on.data is true or false: write == or != for >");
    check("/imu.orientation.x", "/imu.orientation.x is a number, and no condition: compare it with something");
    check("/note.data + 1 > 2", "/note.data is text, and no number");
    check("/on.data and contains(/imu.orientation.x, 'a')", "/imu.orientation.x is a number, and no text");
    check("/imu.orientation.x like 'a%'", "/imu.orientation.x is a number, and no text");
    check("/imu.orientation.x in (1, 'a')", "/imu.orientation.x is a number and 'a' is text");
    check("delta(/note.data) > 1", "delta takes a number");
    check("sample(2)", "sample takes a part from 0 to 1, such as sample(0.01), and not 2");
    check("/on.data and changed(/note.data) or not mission", "fits");
}

#[test]
fn one_topic_may_have_two_types_as_long_as_the_field_is_of_one_kind() {
    check("/two.x > 1", "fits");
    check("/two.y > 1", "/two.y is a number in messages of demo/msg/Old, and text in those of demo/msg/New");
    check(
        "/two.z == 'a'",
        "there is no field z in demo/msg/Old; there are x, y (the topic has messages of two types; this is of demo/msg/Old)",
    );
    check("age(/two) > 1s", "fits");
}

#[test]
fn without_topics_any_may_be_named() {
    let condition = "/a.b['c'].d > 1 and any(/e.f, it == 'g') and rate(/h) > 2 and 'x' == /a.z";
    let program = Program::new(&parse(condition).unwrap(), condition, &Topics::unknown()).unwrap();
    assert_eq!(program.topics().collect::<Vec<_>>(), ["/a", "/e", "/h"]);
    let condition = "/a.b > 1 + 'x'";
    assert!(Program::new(&parse(condition).unwrap(), condition, &Topics::unknown()).is_err());
}
