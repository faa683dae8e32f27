//! A simulated rover that logs like a real one, into the agent of this machine or into a tape of its own.
//!
//! It drives down a road, brakes hard at 12 s, misses a stop sign at 20 s and loses its lidar from 26 s to 29 s.
//! Run it with `cargo run -p tapeloop-example-rover -- --help`.
//!
//! **Invariant:** the same seed gives the same messages; only the times they carry depend on when it started.

mod camera;
mod noise;
mod sensors;
mod urdf;
mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use recording::{Error, Result, Schema, time};
use robot::clock::{Clock, SystemClock};
use robot::{ChannelSpec, Config, Leave, Payload, Recorder, RecorderChannel, Times};
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};

use camera::Camera;
use noise::Noise;
use sensors::{SENSORS, Sensor, Stamp, is_due};
use world::{Happening, Level, TICK_S, TICKS_PER_S, World};

/// A simulated rover that logs like a real one.
#[derive(Parser)]
struct Args {
    /// The same seed gives the same messages.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// How long to drive, on the rover's clock.
    #[arg(long, default_value = "40s", value_parser = time::parse_duration)]
    duration: i64,
    /// How many times faster than real time (1 or more), or `max`. The drive then ends now and began in the past.
    #[arg(long, default_value = "1", value_parser = parse_speed)]
    speed: Speed,
    /// The rover's name, where it records into a tape of its own.
    #[arg(long, default_value = "rover-7")]
    device: String,
    /// The agent's socket.
    #[arg(long, value_name = "PATH", conflicts_with = "data")]
    socket: Option<PathBuf>,
    /// The folder of a tape of its own; without this and --socket: the agent of this machine, if one answers.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Speed {
    Times(f64),
    Max,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rover: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let recorder = match (&args.socket, &args.data) {
        (Some(socket), _) => Recorder::agent(socket, "rover")?,
        (None, Some(data)) => Recorder::embedded(data, Config::parse(&format!("device = {:?}", args.device), "")?)?,
        (None, None) => Recorder::find(&args.device)?,
    };
    println!("rover: {} with seed {}, into the {}", time::format_duration(args.duration), args.seed, recorder.description());
    let driven = drive(args, &recorder);
    recorder.close(Leave::Wait)?;
    driven
}

/// Drives until the duration is over or a signal comes, and logs what every sensor says on its way.
fn drive(args: &Args, recorder: &Recorder) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|error| Error::io("cannot catch signals", error))?;
    }
    let clock = SystemClock;
    let start_ns = clock.utc_ns() - in_the_past_ns(args.speed, args.duration);
    let pace = Pace { speed: args.speed, began_ns: clock.monotonic_ns() };
    let mut rover = Rover::new(recorder, args.seed, start_ns)?;
    let ticks = (args.duration as f64 / 1e9 * TICKS_PER_S as f64) as u64;
    while rover.world.tick() < ticks && !stop.load(Ordering::Relaxed) {
        rover.tick()?;
        pace.wait(&clock, rover.world.time_s());
    }
    recorder.flush()
}

/// The world, what looks at it, and where each message goes.
struct Rover {
    world: World,
    start_ns: i64,
    camera: Camera,
    camera_noise: Noise,
    camera_channel: RecorderChannel,
    log_channel: RecorderChannel,
    sensors: Vec<Outlet>,
}

/// A sensor, its noise and its channel.
struct Outlet {
    sensor: &'static Sensor,
    noise: Noise,
    channel: RecorderChannel,
}

impl Rover {
    /// Opens every channel and logs what is known at the start.
    fn new(recorder: &Recorder, seed: u64, start_ns: i64) -> Result<Self> {
        let world = World::new();
        let camera_schema = Schema { name: camera::TYPE_NAME.into(), encoding: "ros2msg".into(), data: camera::SCHEMA.into() };
        let happening = Happening { level: Level::Info, node: "", text: String::new() };
        let log_sample = sensors::log(&happening, Stamp::new(0));
        let mut outlets = Vec::new();
        for sensor in SENSORS {
            let name = format!("{} {}", sensor.topic, sensor.publisher);
            let sample = (sensor.message)(&world, Stamp::new(0), &mut Noise::new(seed, &name)).unwrap_or_default();
            let spec = json_channel(sensor.topic, sensor.type_name, sensor.publisher, &sample);
            outlets.push(Outlet { sensor, noise: Noise::new(seed, &name), channel: recorder.channel(spec)? });
        }
        let rover = Self {
            world,
            start_ns,
            camera: Camera::new(),
            camera_noise: Noise::new(seed, "/camera/front"),
            camera_channel: recorder.channel(ChannelSpec {
                topic: "/camera/front".into(),
                encoding: "cdr".into(),
                schema: Some(Arc::new(camera_schema)),
                metadata: qos(false),
                latched: false,
                publisher: "camera_driver".into(),
            })?,
            log_channel: recorder.channel(json_channel("/log", "rcl_interfaces/msg/Log", "rosout", &log_sample))?,
            sensors: outlets,
        };
        let stamp = Stamp::new(start_ns - 50_000_000);
        for (topic, type_name, publisher, value) in [
            ("/robot_description", "std_msgs/msg/String", "robot_state_publisher", urdf::robot_description()),
            ("/tf_static", "tf2_msgs/msg/TFMessage", "robot_state_publisher", urdf::mounts(stamp)),
            ("/tf_static", "tf2_msgs/msg/TFMessage", "gps_driver", urdf::gps_mount(stamp)),
            ("/map", "nav_msgs/msg/OccupancyGrid", "map_server", urdf::map(stamp)),
        ] {
            let spec = ChannelSpec { latched: true, metadata: qos(true), ..json_channel(topic, type_name, publisher, &value) };
            log_json(&recorder.channel(spec)?, &value, start_ns)?;
        }
        Ok(rover)
    }

    /// Moves the world one tick on and logs what is due.
    fn tick(&mut self) -> Result<()> {
        let happenings = self.world.step();
        let (tick, log_time_ns) = (self.world.tick(), self.start_ns + (self.world.time_s() * 1e9) as i64);
        for outlet in self.sensors.iter_mut().filter(|outlet| is_due(tick, outlet.sensor.rate_hz)) {
            let stamp = Stamp::lagging(log_time_ns, outlet.sensor.lag_ms, &mut outlet.noise);
            if let Some(message) = (outlet.sensor.message)(&self.world, stamp, &mut outlet.noise) {
                log_json(&outlet.channel, &message, log_time_ns)?;
            }
        }
        for happening in &happenings {
            const LOG_LAG_MS: f64 = 22.0;
            let stamp = Stamp::new(log_time_ns - (LOG_LAG_MS * 1e6) as i64);
            log_json(&self.log_channel, &sensors::log(happening, stamp), log_time_ns)?;
            if happening.level != Level::Info {
                println!("{}  t={:.2} s  {}", time::format_time(log_time_ns), self.world.time_s(), happening.text);
            }
        }
        if is_due(tick, camera::RATE_HZ) {
            let stamp = Stamp::lagging(log_time_ns, camera::LAG_MS, &mut self.camera_noise);
            let message =
                self.camera.message(&self.world, stamp).map_err(|error| Error::invalid("cannot encode a frame").caused_by(error))?;
            self.camera_channel.log(Payload::Shared(Bytes::from(message)), at(log_time_ns))?;
        }
        Ok(())
    }
}

/// Keeps the world's clock to the wall's.
struct Pace {
    speed: Speed,
    began_ns: i64,
}

impl Pace {
    fn wait(&self, clock: &impl Clock, world_s: f64) {
        let Speed::Times(speed) = self.speed else { return };
        let due_ns = self.began_ns + (world_s / speed * 1e9) as i64;
        // Sleeping for less than a tick costs more than it brings.
        if let Ok(early_ns @ 1..) = u64::try_from(due_ns - clock.monotonic_ns()) {
            std::thread::sleep(Duration::from_nanos(early_ns).max(Duration::from_secs_f64(TICK_S / 10.0)));
        }
    }
}

/// Returns how far in the past a drive begins that is faster than real time, so that it ends now.
fn in_the_past_ns(speed: Speed, duration_ns: i64) -> i64 {
    match speed {
        Speed::Times(speed) => (duration_ns as f64 * (1.0 - 1.0 / speed)) as i64,
        Speed::Max => duration_ns,
    }
}

fn parse_speed(text: &str) -> Result<Speed, String> {
    match text.parse::<f64>() {
        _ if text == "max" => Ok(Speed::Max),
        Ok(speed) if speed >= 1.0 && speed.is_finite() => Ok(Speed::Times(speed)),
        _ => Err(format!("not a speed: '{text}' (write a number from 1, or max)")),
    }
}

fn json_channel(topic: &str, type_name: &str, publisher: &str, sample: &Value) -> ChannelSpec {
    let schema = Schema { name: type_name.into(), encoding: "jsonschema".into(), data: sensors::schema_of(sample).to_string().into() };
    ChannelSpec {
        topic: topic.into(),
        encoding: "json".into(),
        schema: Some(Arc::new(schema)),
        metadata: qos(false),
        latched: false,
        publisher: publisher.into(),
    }
}

/// Returns the metadata in which rosbag2 keeps the quality of service: reliable, and transient-local where latched.
fn qos(is_latched: bool) -> BTreeMap<String, String> {
    let durability = if is_latched { 1 } else { 2 };
    let profile = format!("- history: 1\n  depth: 10\n  reliability: 1\n  durability: {durability}\n");
    BTreeMap::from([("offered_qos_profiles".to_owned(), profile)])
}

fn log_json(channel: &RecorderChannel, value: &Value, log_time_ns: i64) -> Result<()> {
    let json = serde_json::to_vec(value).map_err(|error| Error::invalid("cannot write a message as JSON").caused_by(error))?;
    channel.log(Payload::Shared(Bytes::from(json)), at(log_time_ns))
}

fn at(log_time_ns: i64) -> Times {
    Times { log_time_ns: Some(log_time_ns), publish_time_ns: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_read_as_people_write_them() {
        assert_eq!(parse_speed("max"), Ok(Speed::Max));
        assert_eq!(parse_speed("4"), Ok(Speed::Times(4.0)));
        for wrong in ["0", "0.5", "-1", "NaN", "inf", "fast"] {
            assert!(parse_speed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_fast_drive_ends_now() {
        assert_eq!(in_the_past_ns(Speed::Times(1.0), 40), 0);
        assert_eq!(in_the_past_ns(Speed::Times(4.0), 40), 30);
        assert_eq!(in_the_past_ns(Speed::Max, 40), 40);
    }
}
