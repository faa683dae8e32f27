//! Definitions of real recordings.

use std::collections::BTreeSet;

use recording::schema::library::{Flavour, Library};
use recording::schema::{parse, parse_topic, ros1, ros2};
use recording::{Schema, read};

use crate::data;

#[test]
fn every_definition_of_real_mcap_files_has_a_tree() {
    let Some(folder) = data::path("mcap") else { return };
    let library = Library::standard();
    let mut types = BTreeSet::new();
    for path in data::files(&folder, ".mcap") {
        for topic in read::open(&path).unwrap().topics() {
            let schema = topic.schema.as_ref().unwrap();
            if !schema.encoding.starts_with("ros") {
                continue;
            }
            let tree = parse_topic(topic, &library).unwrap_or_else(|error| panic!("{} of {}: {error}", schema.name, path.display()));
            assert!(tree.root().name.ends_with(schema.name.rsplit('/').next().unwrap()), "{}", schema.name);
            types.insert(schema.name.clone());
        }
    }
    assert!(types.len() > 80, "{types:?}");
}

#[test]
fn definitions_in_recordings_have_the_hashes_of_the_standard_ones() {
    let Some(path) = data::path("mcap/all-types/tests/test_bags/test_bag_mcap/test_bag_mcap.mcap") else { return };
    let library = Library::standard();
    let mut compared = 0;
    for topic in read::open(&path).unwrap().topics() {
        let schema = topic.schema.as_ref().unwrap();
        let hash = ros2::rihs01(schema, &Library::empty()).unwrap();
        match library.find(&schema.name, Some(&hash), Flavour::Ros2) {
            Some(found) => {
                assert_eq!(parse(&found, "cdr", &library).unwrap().types().len(), parse(schema, "cdr", &library).unwrap().types().len())
            }
            // Types that have changed since: their definitions are older than those that are bundled.
            None => assert!(["sensor_msgs/msg/Range"].contains(&schema.name.as_str()), "{}", schema.name),
        }
        compared += 1;
    }
    assert!(compared > 90, "{compared}");
}

#[test]
fn a_recording_teaches_the_definitions_it_has() {
    let Some(path) = data::path("mcap/comma2k19/comma2k19_ros2_mcap.mcap") else { return };
    let frame = Schema { name: "can_msgs/msg/Frame".into(), encoding: String::new(), data: Default::default() };
    assert!(parse(&frame, "cdr", &Library::standard()).is_err());
    let library = Library::standard().with_recording(&path).unwrap();
    assert_eq!(parse(&frame, "cdr", &library).unwrap().root().fields.len(), 7);
}

/// Returns every value of a field of a bag's connections. Only as much of the format as that takes.
fn values(bytes: &[u8], name: &str) -> BTreeSet<String> {
    let mark = format!("{name}=");
    let starts = (4..bytes.len().saturating_sub(mark.len())).filter(|at| bytes[*at..].starts_with(mark.as_bytes()));
    let value = |at: usize| {
        let length = u32::from_le_bytes(bytes[at - 4..at].try_into().unwrap()) as usize;
        Some(String::from_utf8_lossy(bytes.get(at + mark.len()..at + length)?).into_owned())
    };
    starts.filter_map(value).collect()
}

#[test]
fn definitions_of_real_bags_have_the_md5_that_the_bag_says() {
    let Some(folder) = data::path("ros1") else { return };
    let mut hashes = BTreeSet::new();
    // In a compressed chunk there is no text to be found like this.
    let is_plain = |path: &std::path::PathBuf| !["lz4", "bz2"].iter().any(|how| path.to_string_lossy().contains(how));
    for path in data::files(&folder, ".bag").into_iter().filter(is_plain) {
        let bytes = std::fs::read(&path).unwrap();
        let expected = values(&bytes, "md5sum");
        let found: BTreeSet<String> = values(&bytes, "message_definition")
            .into_iter()
            .map(|text| {
                // A definition does not say its own name, so the packages of relative names in it are not known here.
                let schema = Schema { name: "Root".into(), encoding: "ros1msg".into(), data: text.clone().into_bytes().into() };
                ros1::md5(&schema, &Library::empty()).unwrap_or_else(|error| panic!("{error} of {}: {text}", path.display()))
            })
            .collect();
        assert_eq!(found, expected, "{}", path.display());
        hashes.extend(found);
    }
    assert!(hashes.len() >= 8, "{hashes:?}");
}
