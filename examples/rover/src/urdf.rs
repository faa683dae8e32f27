//! What does not change while the rover drives: its description, its fixed transforms and the map of its road.
//!
//! **Invariant:** each of these is logged once, at the start, on a latched topic.

use serde_json::{Value, json};

use crate::sensors::{self, Stamp};
use crate::world::{ROAD_HALF_WIDTH_M, WHEEL_RADIUS_M};

/// Where each part sits on the rover: (link, x, y, z) in m.
pub(crate) const MOUNTS: [(&str, [f64; 3]); 7] = [
    ("camera_front", [0.42, 0.0, 0.55]),
    ("imu_link", [0.0, 0.0, 0.2]),
    ("lidar", [0.1, 0.0, 0.8]),
    ("wheel_front_left", [0.45, 0.31, 0.0]),
    ("wheel_front_right", [0.45, -0.31, 0.0]),
    ("wheel_rear_left", [-0.45, 0.31, 0.0]),
    ("wheel_rear_right", [-0.45, -0.31, 0.0]),
];

const MAP_CELLS: usize = 220;
const MAP_RESOLUTION_M: f64 = 0.5;

/// Returns the rover as URDF in a `std_msgs/msg/String`.
pub(crate) fn robot_description() -> Value {
    let mut urdf = String::from("<?xml version=\"1.0\"?>\n<robot name=\"rover\">\n");
    urdf += "  <link name=\"base_link\"><visual><geometry><box size=\"1.1 0.6 0.3\"/></geometry></visual></link>\n";
    for (link, [x, y, z]) in MOUNTS {
        let (kind, shape) = match link.starts_with("wheel") {
            true => ("continuous", format!("<cylinder radius=\"{WHEEL_RADIUS_M}\" length=\"0.1\"/>")),
            false => ("fixed", "<box size=\"0.08 0.08 0.06\"/>".to_owned()),
        };
        urdf += &format!("  <link name=\"{link}\"><visual><geometry>{shape}</geometry></visual></link>\n");
        urdf += &format!("  <joint name=\"{link}_joint\" type=\"{kind}\">\n    <parent link=\"base_link\"/><child link=\"{link}\"/>\n");
        urdf += &format!("    <origin xyz=\"{x} {y} {z}\" rpy=\"0 0 0\"/>\n  </joint>\n");
    }
    urdf += "</robot>\n";
    json!({ "data": urdf })
}

/// Returns where the parts sit, as the robot's state publisher says.
pub(crate) fn mounts(stamp: Stamp) -> Value {
    let transforms: Vec<Value> =
        MOUNTS.iter().map(|(link, position)| sensors::transform(stamp, "base_link", link, *position, 0.0)).collect();
    json!({ "transforms": transforms })
}

/// Returns where the antenna sits, as the GPS driver says.
pub(crate) fn gps_mount(stamp: Stamp) -> Value {
    json!({ "transforms": [sensors::transform(stamp, "base_link", "gps", [-0.3, 0.0, 0.9], 0.0)] })
}

/// Returns the map: a free road between walls, the rest unknown.
pub(crate) fn map(stamp: Stamp) -> Value {
    let cell = |row: usize| {
        let from_middle_m = (row as f64 + 0.5 - MAP_CELLS as f64 / 2.0) * MAP_RESOLUTION_M;
        match from_middle_m.abs() - ROAD_HALF_WIDTH_M {
            behind if behind > 1.0 => -1,
            wall if wall > 0.0 => 100,
            _ => 0,
        }
    };
    let data: Vec<i8> = (0..MAP_CELLS * MAP_CELLS).map(|index| cell(index / MAP_CELLS)).collect();
    json!({
        "header": stamp.header("map"),
        "info": {
            "map_load_time": stamp.json(),
            "resolution": MAP_RESOLUTION_M,
            "width": MAP_CELLS,
            "height": MAP_CELLS,
            "origin": {
                "position": { "x": -5.0, "y": -(MAP_CELLS as f64) * MAP_RESOLUTION_M / 2.0, "z": 0.0 },
                "orientation": { "x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0 },
            },
        },
        "data": data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_has_the_size_of_a_real_one() {
        let map = map(Stamp::new(0));
        assert_eq!(map["data"].as_array().unwrap().len(), MAP_CELLS * MAP_CELLS);
        assert!((90_000..200_000).contains(&map.to_string().len()));
    }

    #[test]
    fn every_mount_is_a_link_and_a_transform() {
        let urdf = robot_description()["data"].as_str().unwrap().to_owned();
        for (link, _) in MOUNTS {
            assert!(urdf.contains(&format!("<link name=\"{link}\">")));
        }
        assert_eq!(mounts(Stamp::new(0))["transforms"].as_array().unwrap().len(), MOUNTS.len());
    }
}
