//! Real recordings, where they are on this machine: played, kept, exported, and compared message by message.

use std::path::{Path, PathBuf};

use crate::input;
use crate::program::Place;

fn data(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("TAPELOOP_TEST_DATA").map_or_else(beside, PathBuf::from);
    let path = folder.join(name);
    if !path.exists() {
        println!("skipped: there is no {} ($TAPELOOP_TEST_DATA names the folder of the recordings)", path.display());
        return None;
    }
    Some(path)
}

/// Plays a file, keeps all of it through the agent and directly on the tape, exports both, and compares.
fn check(name: &str) {
    let Some(path) = data(name) else { return };
    let path_text = path.display().to_string();
    let place = Place::new();
    let original = input::read(&path);
    let agent = place.agent(&["--from", &path_text, "--speed", "max", "--stay"]);
    place.until(&["status"], |status| status["buffers"][0]["messages"].as_u64() == Some(original.len() as u64));
    let online = place.json(&["save", "--before", "30 d"]);
    assert_eq!(agent.stop().0, 0);
    let offline = place.json(&["save", "--before", "30 d", "--data", "tape"]);
    for report in [online, offline] {
        let id = report["recording"].as_str().unwrap();
        let info = place.json(&["info", id, "--data", "tape"]);
        assert_eq!((&info["state"], &info["messages"]), (&"complete".into(), &original.len().into()));
        place.ok(&["export", id, "--data", "tape", "-o", "out.mcap"]);
        input::assert_equal(&original, &input::read(&place.path("out.mcap")));
    }
    assert!(place.ok(&["doctor", "tape"]).ends_with("nothing was lost\n"));
}

#[test]
fn a_humanoid_with_a_camera_is_kept_exactly() {
    check("mcap/g1/g1_ros2_mcap.mcap");
}

#[test]
fn a_car_with_its_can_bus_is_kept_exactly() {
    check("mcap/comma2k19/comma2k19_ros2_mcap.mcap");
}

#[test]
fn real_files_and_folders_are_read() {
    for name in ["mcap/g1", "mcap/custom-camera-model.mcap", "mcap/all-types/tests/test_bags/test_bag_mcap"] {
        let Some(path) = data(name) else { continue };
        let place = Place::new();
        assert!(place.json(&["info", &path.display().to_string()])["messages"].as_u64() > Some(0), "{name}");
    }
    if let Some(path) = data("damaged/custom_camera__trunc50.mcap") {
        let place = Place::new();
        let done = place.run(&["info", &path.display().to_string(), "--json"]);
        assert_eq!(done.code, 3, "{done:?}");
        assert_eq!(place.run(&["doctor", &path.display().to_string()]).code, 3);
    }
}

#[test]
fn doctor_says_in_which_state_a_real_file_is() {
    let check = |name: &str, state: &str, line: &str| {
        let Some(path) = data(name) else { return };
        let (place, path) = (Place::new(), path.display().to_string());
        let findings: serde_json::Value = serde_json::from_str(&place.run(&["doctor", &path, "--json"]).stdout).unwrap();
        assert_eq!(findings["files"][0]["state"], state, "{name}");
        let said = place.run(&["doctor", &path]).stdout;
        assert!(said.contains(line), "{said}");
    };
    check("lerobot/g1_v21_4ep", "ok", "all are whole");
    check("mcap/custom-camera-model.mcap", "ok", "all are whole");
    check("damaged/custom_camera__trunc50.mcap", "damaged", "1 is not whole");
    // A dropout is a loss inside of a whole file.
    check("ulog/sample_log_small.ulg", "incomplete", "and its recorder lost others");
    check("damaged/px4small__trunc50.ulg", "damaged", "in all      at least 0 messages, from ");
}
