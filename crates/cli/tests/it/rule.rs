//! `tapeloop rule`: what is said of rules, and what they would have done.

use std::fs;

use crate::input::{self, START_NS, STEP_NS};
use crate::program::Place;

/// `/imu` has a counter `i`, and `x`, which is 7919 times that until it begins again; every tenth message is on `/log`.
const RULES: &str = "\
[[rule]]
name = 'low'
when = '/imu.x < 5000'
before = '50 ms'
after = '50 ms'
topics = ['/imu']

[[rule]]
name = 'busy'
when = 'rate(/log) > 5'
event = 'too-busy'
";

#[test]
fn rules_are_checked_against_the_topics_that_there_are() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 300);
    fs::write(place.path("rules.toml"), RULES).unwrap();
    let shown = place.ok(&["rule", "check", "rules.toml", "--over", "a.mcap"]);
    assert!(shown.contains("2 of 2 rules fit the topics of a.mcap\n  low "), "{shown}");
    // Without recordings and without a tape.
    let shown = place.ok(&["rule", "check", "rules.toml"]);
    assert!(shown.contains("2 of 2 rules can be read; whether their topics are there"), "{shown}");
    let json = place.json(&["rule", "check", "rules.toml", "--over", "a.mcap"]);
    assert_eq!((&json["ok"], &json["over"], &json["rules"][1]["event"]), (&true.into(), &"a.mcap".into(), &"too-busy".into()));
    assert_eq!(json["rules"][0]["topics"], serde_json::json!(["/imu"]));

    fs::write(place.path("wrong.toml"), format!("{RULES}to = ['cloud']\n[[rule]]\nname = 'w'\nwhen = '/imv.x > 1 and /log.i > 1'\n"))
        .unwrap();
    let done = place.run(&["rule", "check", "wrong.toml", "--over", "a.mcap"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("wrong.toml line 15: rule 'w', at character 1, '/imv.x > 1"), "{}", done.stderr);
    assert!(done.stderr.contains("there is no topic /imv; there are /imu, /log, /map"), "{}", done.stderr);
    assert!(done.stdout.contains("2 of 3 rules fit") && done.stdout.contains("to not yet active"), "{}", done.stdout);
    let done = place.run(&["rule", "test", "wrong.toml", "--over", "a.mcap"]);
    assert!(done.code == 1 && done.stderr.contains("there is no topic /imv") && done.stdout.is_empty(), "{done:?}");
}

#[test]
fn what_is_no_file_of_rules_is_answered_with_its_line() {
    let place = Place::new();
    let check = |text: &str, expected: &str| {
        fs::write(place.path("r.toml"), text).unwrap();
        let done = place.run(&["rule", "check", "r.toml"]);
        assert!(done.code == 1 && done.stderr.contains(expected), "{done:?}");
    };
    check("[[rule]]\nname = 'a'\nwhen = 'x'\nholt = '1 s'", "r.toml line 4: unknown field `holt`");
    check("[[rul]]\nname = 'a'\nwhen = 'x'", "r.toml line 1: unknown field `rul`");
    check("device = 'rover-7'", "there is no [[rule]] in r.toml");
    let done = place.run(&["rule", "test", "nope.toml", "--over", "a.mcap"]);
    assert!(done.code == 1 && done.stderr.contains("nope.toml"), "{done:?}");
    assert_eq!(place.run(&["rule", "test", "r.toml"]).code, 2);
    let done = place.run(&["rule", "test", "r.toml", "--over", "a.mcap", "--bandwidth", "20 MB"]);
    assert!(done.code == 2 && done.stderr.contains("write it like '20 MB/s'"), "{done:?}");
}

#[test]
fn rules_are_tried_on_what_was_recorded() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 300);
    fs::write(place.path("rules.toml"), RULES).unwrap();
    let arguments = ["rule", "test", "rules.toml", "--over", "a.mcap", "--bandwidth", "1 MB/s", "--storage-price", "0.02"];
    let shown = place.ok(&arguments);
    for expected in [
        "low  2 firings\n  2026-11-22T12:00:00.000Z  /imu.x = 0\n",
        "/imu.x = 3501",
        "  exact  ",
        "h of upload",
        "a month   costs ",
        "all rules  3 firings",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let json = place.json(&arguments);
    let rule = &json["rules"][0];
    let at = |i: u64| START_NS + i * STEP_NS;
    let firings: Vec<u64> = rule["firings"].as_array().unwrap().iter().map(|firing| firing["time_ns"].as_u64().unwrap()).collect();
    assert_eq!(firings, [at(0), at(253)]);
    // Counted by another reader: 50 ms before and behind each firing.
    let messages = input::read(&place.path("a.mcap"));
    let kept = messages.iter().filter(|one| one.topic == "/imu" && (one.log_time < at(5) || (at(248)..at(258)).contains(&one.log_time)));
    assert_eq!(rule["bytes_kept"], kept.map(|one| one.data.len()).sum::<usize>());
    assert_eq!((&rule["exact"], &json["rules"][1]["firings"][0]["values"]), (&true.into(), &serde_json::json!({ "rate(/log)": 10.0 })));
    assert_eq!((json["messages"].as_u64(), json["covered_ns"].as_u64()), (Some(301), Some(299 * STEP_NS)));
    assert!(rule["cost_per_month"].as_f64().unwrap() > 0.0);
}

#[test]
fn what_is_less_than_exact_is_said() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 3000);
    input::damage(&place.path("a.mcap"));
    fs::write(place.path("rules.toml"), "[[rule]]\nname = 'low'\nwhen = '/imu.x < 5000 and not mission'\n").unwrap();
    let done = place.run(&["rule", "test", "rules.toml", "--over", "a.mcap"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.stdout.contains("were lost") && done.stdout.contains("the device state mission is in no recording"), "{}", done.stdout);
}

#[test]
fn the_end_of_a_tape_is_meant_by_its_length() {
    let place = Place::new();
    input::write(&place.path("a.mcap"), 300);
    fs::write(place.path("rules.toml"), RULES).unwrap();
    place.ok(&["record", "--from", "a.mcap", "--speed", "max", "--data", "tape"]);
    let json = place.json(&["rule", "test", "rules.toml", "--over", "1s", "--data", "tape"]);
    let firings = json["rules"][0]["firings"].as_array().unwrap();
    // The last second; what is true at its first look has become true.
    assert_eq!(firings.iter().map(|firing| firing["time_ns"].as_u64().unwrap()).collect::<Vec<_>>(), [START_NS + 253 * STEP_NS], "{json}");
    let shown = place.ok(&["rule", "check", "rules.toml", "--data", "tape"]);
    assert!(shown.contains("2 of 2 rules fit the topics of tape"), "{shown}");
    let done = place.run(&["rule", "test", "rules.toml", "--over", "1s", "--data", "nowhere"]);
    assert!(done.code == 1 && done.stderr.contains("there is no folder nowhere"), "{done:?}");
}
