//! What each sensor says about the world: one function per message, with the field names of ROS 2.
//!
//! In comes the world, out come JSON values; [`SENSORS`] says how often, on which topic and how late.
//!
//! **Invariant:** a header's stamp is when it was measured: before the log time, by a lag that is the sensor's own.

use serde_json::{Value, json};

use crate::noise::Noise;
use crate::world::{Happening, LIDAR_LOST_S, ROAD_HALF_WIDTH_M, TICKS_PER_S, WHEEL_RADIUS_M, World};

/// A sensor whose messages are JSON.
pub(crate) struct Sensor {
    pub(crate) topic: &'static str,
    pub(crate) type_name: &'static str,
    pub(crate) publisher: &'static str,
    pub(crate) rate_hz: u64,
    /// From the measurement to the log time, in ms; a tenth of it comes and goes.
    pub(crate) lag_ms: f64,
    /// Returns the message, or `None` while the sensor is lost.
    pub(crate) message: fn(&World, Stamp, &mut Noise) -> Option<Value>,
}

/// Every sensor but the camera.
pub(crate) const SENSORS: &[Sensor] = &[
    sensor("/imu", "sensor_msgs/msg/Imu", "imu_driver", 200, 20.0, imu),
    sensor("/odom", "nav_msgs/msg/Odometry", "wheel_odometry", 50, 35.0, odom),
    sensor("/gps/fix", "sensor_msgs/msg/NavSatFix", "gps_driver", 5, 150.0 / JITTER, gps),
    sensor("/scan", "sensor_msgs/msg/LaserScan", "lidar_driver", 10, 60.0, scan),
    sensor("/joint_states", "sensor_msgs/msg/JointState", "joint_state_broadcaster", 50, 25.0, joint_states),
    sensor("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", "diagnostic_aggregator", 1, 100.0, diagnostics),
    sensor("/tf", "tf2_msgs/msg/TFMessage", "wheel_odometry", 50, 40.0, tf_of_odometry),
    sensor("/tf", "tf2_msgs/msg/TFMessage", "localization", 10, 80.0, tf_of_localization),
];

/// How much later than its usual lag a stamp may be.
const JITTER: f64 = 1.1;
const LIDAR_RANGE_M: f64 = 12.0;
const POST_RADIUS_M: f64 = 0.2;
const METRES_PER_DEGREE: f64 = 111_320.0;
const ORIGIN_DEGREES: (f64, f64) = (37.7749, -122.4194);
/// How far localization says that odometry has slipped, per metre.
const ODOMETRY_SLIP: f64 = 0.004;

const fn sensor(
    topic: &'static str,
    type_name: &'static str,
    publisher: &'static str,
    rate_hz: u64,
    lag_ms: f64,
    message: fn(&World, Stamp, &mut Noise) -> Option<Value>,
) -> Sensor {
    Sensor { topic, type_name, publisher, rate_hz, lag_ms, message }
}

/// Returns whether something that happens `rate_hz` times a second happens in this tick.
pub(crate) fn is_due(tick: u64, rate_hz: u64) -> bool {
    (tick * rate_hz) % TICKS_PER_S < rate_hz
}

/// When something was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    time_ns: i64,
}

impl Stamp {
    /// Returns the stamp of a moment in ns UTC.
    pub(crate) fn new(time_ns: i64) -> Self {
        Self { time_ns }
    }

    /// Returns when something logged at `log_time_ns` was measured.
    pub(crate) fn lagging(log_time_ns: i64, lag_ms: f64, noise: &mut Noise) -> Self {
        let lag_ms = lag_ms * (1.0 + (JITTER - 1.0) * noise.next().abs());
        Self::new(log_time_ns - (lag_ms * 1e6) as i64)
    }

    /// Returns seconds and nanoseconds, as ROS splits them.
    pub(crate) fn parts(self) -> (i32, u32) {
        let (sec, nanosec) = (self.time_ns.div_euclid(1_000_000_000), self.time_ns.rem_euclid(1_000_000_000));
        (i32::try_from(sec).unwrap_or(i32::MAX), u32::try_from(nanosec).unwrap_or(0))
    }

    /// Returns a `builtin_interfaces/msg/Time`.
    pub(crate) fn json(self) -> Value {
        let (sec, nanosec) = self.parts();
        json!({ "sec": sec, "nanosec": nanosec })
    }

    /// Returns a `std_msgs/msg/Header`.
    pub(crate) fn header(self, frame_id: &str) -> Value {
        json!({ "stamp": self.json(), "frame_id": frame_id })
    }
}

fn imu(world: &World, stamp: Stamp, noise: &mut Noise) -> Option<Value> {
    let rumble = 0.05 + 0.04 * world.speed;
    let mut around = |value: f64, width: f64| rounded(value + width * noise.next(), 1e4);
    Some(json!({
        "header": stamp.header("imu_link"),
        "orientation": quaternion(world.yaw),
        "orientation_covariance": diagonal(1e-4),
        "angular_velocity": { "x": around(0.0, 0.01), "y": around(0.0, 0.01), "z": around(world.yaw_rate, 0.003) },
        "angular_velocity_covariance": diagonal(1e-5),
        "linear_acceleration": {
            "x": around(world.acceleration, rumble),
            "y": around(world.speed * world.yaw_rate, rumble),
            "z": around(9.81, rumble),
        },
        "linear_acceleration_covariance": diagonal(1e-2),
    }))
}

fn odom(world: &World, stamp: Stamp, noise: &mut Noise) -> Option<Value> {
    Some(json!({
        "header": stamp.header("odom"),
        "child_frame_id": "base_link",
        "pose": {
            "pose": {
                "position": { "x": rounded(world.x_m, 1e4), "y": rounded(world.y_m, 1e4), "z": 0.0 },
                "orientation": quaternion(world.yaw),
            },
        },
        "twist": {
            "twist": {
                "linear": { "x": rounded(world.speed + 0.01 * noise.next(), 1e4), "y": 0.0, "z": 0.0 },
                "angular": { "x": 0.0, "y": 0.0, "z": rounded(world.yaw_rate, 1e5) },
            },
        },
    }))
}

fn gps(world: &World, stamp: Stamp, noise: &mut Noise) -> Option<Value> {
    let (latitude, longitude) = ORIGIN_DEGREES;
    let metres_per_degree_east = METRES_PER_DEGREE * latitude.to_radians().cos();
    let mut around = |metres: f64| metres + 0.4 * noise.next();
    Some(json!({
        "header": stamp.header("gps"),
        "status": { "status": 0, "service": 1 },
        "latitude": latitude + around(world.y_m) / METRES_PER_DEGREE,
        "longitude": longitude + around(world.x_m) / metres_per_degree_east,
        "altitude": rounded(around(16.0), 1e2),
        "position_covariance": diagonal(0.16),
        "position_covariance_type": 2,
    }))
}

fn scan(world: &World, stamp: Stamp, noise: &mut Noise) -> Option<Value> {
    if !world.has_lidar() {
        return None;
    }
    let ranges: Vec<f64> = (0..360)
        .map(|degree| {
            let hit = range_m(world, world.yaw + f64::from(degree - 180).to_radians());
            // JSON has no infinity: nothing hit is the longest range, as many drivers say it too.
            rounded((hit + 0.01 * noise.next()).clamp(0.1, LIDAR_RANGE_M), 1e3)
        })
        .collect();
    Some(json!({
        "header": stamp.header("lidar"),
        "angle_min": -std::f64::consts::PI,
        "angle_max": f64::to_radians(179.0),
        "angle_increment": f64::to_radians(1.0),
        "time_increment": 0.0,
        "scan_time": 0.1,
        "range_min": 0.1,
        "range_max": LIDAR_RANGE_M,
        "ranges": ranges,
        "intensities": [],
    }))
}

/// Returns how far a beam goes in the direction `angle` until it hits a wall or one of the posts along the road.
fn range_m(world: &World, angle: f64) -> f64 {
    let (ahead, left) = (angle.cos(), angle.sin());
    let wall = if left.abs() > 1e-6 { (ROAD_HALF_WIDTH_M * left.signum() - world.y_m) / left } else { f64::INFINITY };
    let mut nearest = wall;
    let post_near = (world.x_m / 10.0).round();
    for post in -1..=1 {
        for side in [-4.5, 4.5] {
            let (dx, dy) = ((post_near + f64::from(post)) * 10.0 - world.x_m, side - world.y_m);
            let along = dx * ahead + dy * left;
            let beside = dx * left - dy * ahead;
            if along > 0.0 && beside.abs() < POST_RADIUS_M {
                nearest = nearest.min(along - (POST_RADIUS_M * POST_RADIUS_M - beside * beside).sqrt());
            }
        }
    }
    nearest
}

fn joint_states(world: &World, stamp: Stamp, noise: &mut Noise) -> Option<Value> {
    let (turned, turning) = (world.travelled_m / WHEEL_RADIUS_M, world.speed / WHEEL_RADIUS_M);
    let mut around = |value: f64| rounded(value + 0.002 * noise.next(), 1e4);
    let effort = around(world.acceleration * 3.1);
    Some(json!({
        "header": stamp.header(""),
        "name": ["wheel_front_left", "wheel_front_right", "wheel_rear_left", "wheel_rear_right", "steering", "mast_pan"],
        "position": [around(turned), around(turned), around(turned), around(turned), around(world.steering()), around(0.4 * (world.time_s() / 3.0).sin())],
        "velocity": [around(turning), around(turning), around(turning), around(turning), 0.0, around(0.4 / 3.0 * (world.time_s() / 3.0).cos())],
        "effort": [effort, effort, effort, effort, 0.0, 0.0],
    }))
}

fn diagnostics(world: &World, stamp: Stamp, _: &mut Noise) -> Option<Value> {
    let status = |name: &str, level: u8, message: String, values: &[(&str, String)]| {
        let values: Vec<Value> = values.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
        json!({ "level": level, "name": name, "message": message, "hardware_id": "rover", "values": values })
    };
    let lidar = match world.has_lidar() {
        true => status("lidar", 0, "OK".into(), &[("rate", "10.0".into())]),
        false => {
            let silent_s = world.time_s() - LIDAR_LOST_S;
            status("lidar", 2, format!("no scan for {silent_s:.1} s"), &[("rate", "0.0".into())])
        }
    };
    let behaviour = match world.since_stop_sign_s() {
        Some(since_s) if since_s < 5.0 => status("behaviour", 1, "stop sign missed".into(), &[("since", format!("{since_s:.1}"))]),
        _ => status("behaviour", 0, "OK".into(), &[]),
    };
    Some(json!({
        "header": stamp.header(""),
        "status": [
            status("motor_left", 0, "OK".into(), &[("temp", format!("{:.1}", world.motor_celsius))]),
            status("motor_right", 0, "OK".into(), &[("temp", format!("{:.1}", world.motor_celsius + 0.7))]),
            status("battery", 0, "OK".into(), &[("charge", format!("{:.3}", world.battery))]),
            lidar,
            behaviour,
        ],
    }))
}

fn tf_of_odometry(world: &World, stamp: Stamp, _: &mut Noise) -> Option<Value> {
    let position = [rounded(world.x_m, 1e4), rounded(world.y_m, 1e4), 0.0];
    Some(json!({ "transforms": [transform(stamp, "odom", "base_link", position, world.yaw)] }))
}

fn tf_of_localization(world: &World, stamp: Stamp, noise: &mut Noise) -> Option<Value> {
    let slip_m = world.travelled_m * ODOMETRY_SLIP + 0.01 * noise.next();
    Some(json!({ "transforms": [transform(stamp, "map", "odom", [rounded(-slip_m, 1e4), 0.0, 0.0], 0.0)] }))
}

/// Returns what happened as a `rcl_interfaces/msg/Log`.
pub(crate) fn log(happening: &Happening, stamp: Stamp) -> Value {
    json!({
        "stamp": stamp.json(),
        "level": happening.level as u8,
        "name": happening.node,
        "msg": happening.text,
        "file": format!("{}.cpp", happening.node),
        "function": "spin_once",
        "line": 1,
    })
}

/// Returns a `geometry_msgs/msg/TransformStamped`.
pub(crate) fn transform(stamp: Stamp, parent: &str, child: &str, [x, y, z]: [f64; 3], yaw: f64) -> Value {
    json!({
        "header": stamp.header(parent),
        "child_frame_id": child,
        "transform": { "translation": { "x": x, "y": y, "z": z }, "rotation": quaternion(yaw) },
    })
}

/// Returns the JSON schema that `value` satisfies.
pub(crate) fn schema_of(value: &Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Number(number) if number.is_f64() => json!({ "type": "number" }),
        Value::Number(_) => json!({ "type": "integer" }),
        Value::String(_) => json!({ "type": "string" }),
        Value::Array(items) => json!({ "type": "array", "items": items.first().map_or(json!({}), schema_of) }),
        Value::Object(fields) => {
            let properties: serde_json::Map<String, Value> = fields.iter().map(|(name, field)| (name.clone(), schema_of(field))).collect();
            json!({ "type": "object", "properties": properties })
        }
    }
}

fn quaternion(yaw: f64) -> Value {
    json!({ "x": 0.0, "y": 0.0, "z": rounded((yaw / 2.0).sin(), 1e6), "w": rounded((yaw / 2.0).cos(), 1e6) })
}

fn diagonal(variance: f64) -> Value {
    json!([variance, 0.0, 0.0, 0.0, variance, 0.0, 0.0, 0.0, variance])
}

fn rounded(value: f64, steps_per_unit: f64) -> f64 {
    (value * steps_per_unit).round() / steps_per_unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world_at(time_s: f64) -> World {
        let mut world = World::new();
        while world.time_s() < time_s {
            world.step();
        }
        world
    }

    fn message(topic: &str, time_s: f64) -> Option<Value> {
        let sensor = SENSORS.iter().find(|sensor| sensor.topic == topic).unwrap();
        (sensor.message)(&world_at(time_s), Stamp::new(0), &mut Noise::new(1, topic))
    }

    #[test]
    fn every_sensor_speaks_as_often_as_its_rate() {
        for rate_hz in [1, 5, 10, 15, 50, 200] {
            assert_eq!((1..=10 * TICKS_PER_S).filter(|tick| is_due(*tick, rate_hz)).count() as u64, 10 * rate_hz, "{rate_hz}");
        }
    }

    #[test]
    fn stamps_lag_by_20_to_150_ms() {
        let log_time_ns = 1_795_348_800_000_000_000;
        for sensor in SENSORS {
            let mut noise = Noise::new(3, sensor.topic);
            for _ in 0..1000 {
                let lag_ms = (log_time_ns - Stamp::lagging(log_time_ns, sensor.lag_ms, &mut noise).time_ns) as f64 / 1e6;
                assert!((20.0..=150.0).contains(&lag_ms), "{} {lag_ms}", sensor.topic);
            }
        }
    }

    #[test]
    fn the_incidents_show_in_the_messages() {
        let acceleration = |time_s| message("/imu", time_s).unwrap()["linear_acceleration"]["x"].as_f64().unwrap();
        assert!(acceleration(12.3) < -6.0 && acceleration(11.0) > -1.0);
        let speed = |time_s| message("/odom", time_s).unwrap()["twist"]["twist"]["linear"]["x"].as_f64().unwrap();
        assert!(speed(11.9) > 7.8 && speed(12.7) < 3.0);
        assert!(message("/scan", 25.0).is_some() && message("/scan", 27.0).is_none() && message("/scan", 29.1).is_some());
        let levels = |time_s| {
            let statuses = message("/diagnostics", time_s).unwrap()["status"].clone();
            statuses.as_array().unwrap().iter().map(|status| status["level"].as_u64().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(levels(19.0), [0, 0, 0, 0, 0]);
        assert_eq!(levels(21.0), [0, 0, 0, 0, 1]);
        assert_eq!(levels(27.0), [0, 0, 0, 2, 0]);
    }

    #[test]
    fn sensors_agree_with_each_other() {
        let (odom, tf) = (message("/odom", 30.0).unwrap(), message("/tf", 30.0).unwrap());
        assert_eq!(odom["pose"]["pose"]["position"], tf["transforms"][0]["transform"]["translation"]);
        assert_eq!(odom["pose"]["pose"]["orientation"], tf["transforms"][0]["transform"]["rotation"]);
        let east_m = (message("/gps/fix", 30.0).unwrap()["longitude"].as_f64().unwrap() - ORIGIN_DEGREES.1)
            * METRES_PER_DEGREE
            * ORIGIN_DEGREES.0.to_radians().cos();
        let x_m = odom["pose"]["pose"]["position"]["x"].as_f64().unwrap();
        assert!((east_m - x_m).abs() < 0.5, "{east_m} {x_m}");
        let turned = message("/joint_states", 30.0).unwrap()["position"][0].as_f64().unwrap();
        assert!((turned * WHEEL_RADIUS_M - world_at(30.0).travelled_m).abs() < 0.1);
    }

    #[test]
    fn scans_have_360_ranges_and_no_number_that_json_lacks() {
        let scan = message("/scan", 5.0).unwrap();
        let ranges = scan["ranges"].as_array().unwrap();
        assert_eq!(ranges.len(), 360);
        assert!(ranges.iter().all(|range| (0.1..=LIDAR_RANGE_M).contains(&range.as_f64().unwrap())));
        // To the left and to the right are the walls, one road's width apart.
        let across = ranges[90].as_f64().unwrap() + ranges[270].as_f64().unwrap();
        assert!(across <= 2.0 * ROAD_HALF_WIDTH_M + 0.1, "{across}");
    }

    #[test]
    fn schemas_name_every_field() {
        let schema = schema_of(&message("/imu", 1.0).unwrap());
        assert_eq!(schema["properties"]["header"]["properties"]["stamp"]["properties"]["nanosec"]["type"], "integer");
        assert_eq!(schema["properties"]["orientation_covariance"]["items"]["type"], "number");
    }
}
