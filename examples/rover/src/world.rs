//! The rover and its road: where it is, how fast, and what goes wrong when.
//!
//! In come ticks of [`TICK_S`], out comes the state that every sensor looks at.
//!
//! **Invariant:** speed is the integral of acceleration and position that of speed, so that all sensors agree.

/// The time between two steps: the IMU's 200 Hz.
pub(crate) const TICK_S: f64 = 0.005;
/// Ticks per second.
pub(crate) const TICKS_PER_S: u64 = 200;

/// When the rover brakes hard, in s after the start.
pub(crate) const BRAKE_S: f64 = 12.0;
/// How long it brakes.
pub(crate) const BRAKE_FOR_S: f64 = 0.7;
/// When it passes the stop sign, in s after the start.
pub(crate) const STOP_SIGN_S: f64 = 20.0;
/// When the lidar falls silent, in s after the start.
pub(crate) const LIDAR_LOST_S: f64 = 26.0;
/// When it is back.
pub(crate) const LIDAR_BACK_S: f64 = 29.0;

/// Radius of a wheel in m.
pub(crate) const WHEEL_RADIUS_M: f64 = 0.165;
/// From the road's middle to its walls, in m.
pub(crate) const ROAD_HALF_WIDTH_M: f64 = 6.0;

const BRAKING: f64 = -7.5;
const WHEELBASE_M: f64 = 0.9;
/// The speed towards which it drives, from each second on.
const CRUISE: [(f64, f64); 4] = [(0.0, 8.0), (BRAKE_S + BRAKE_FOR_S, 4.1), (23.0, 6.0), (36.0, 5.0)];

/// How bad a message is, with the numbers that ROS gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Info = 20,
    Warn = 30,
    Error = 40,
}

/// Something that happened in the last tick.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Happening {
    pub(crate) level: Level,
    /// The part of the rover that says so.
    pub(crate) node: &'static str,
    pub(crate) text: String,
}

/// The state of the rover at one moment.
#[derive(Clone, Debug)]
pub(crate) struct World {
    tick: u64,
    /// Position in the odometry frame, in m.
    pub(crate) x_m: f64,
    pub(crate) y_m: f64,
    /// Heading, in rad.
    pub(crate) yaw: f64,
    /// Forward speed, in m/s.
    pub(crate) speed: f64,
    /// Forward acceleration, in m/s².
    pub(crate) acceleration: f64,
    /// Turn rate, in rad/s.
    pub(crate) yaw_rate: f64,
    /// How far it has driven, in m.
    pub(crate) travelled_m: f64,
    /// Where on its way the stop sign stands, in m.
    pub(crate) stop_sign_at_m: f64,
    /// State of charge, 0 to 1.
    pub(crate) battery: f64,
    /// Temperature of the drive motors, in °C.
    pub(crate) motor_celsius: f64,
}

impl World {
    /// Returns the rover standing at the start of its road.
    pub(crate) fn new() -> Self {
        let mut world = Self {
            tick: 0,
            x_m: 0.0,
            y_m: 0.0,
            yaw: 0.0,
            speed: 0.0,
            acceleration: 0.0,
            yaw_rate: 0.0,
            travelled_m: 0.0,
            stop_sign_at_m: f64::INFINITY,
            battery: 0.87,
            motor_celsius: 31.0,
        };
        let mut ahead = world.clone();
        while ahead.time_s() < STOP_SIGN_S {
            ahead.step();
        }
        world.stop_sign_at_m = ahead.travelled_m;
        world
    }

    /// Returns the time since the start.
    pub(crate) fn time_s(&self) -> f64 {
        self.tick as f64 * TICK_S
    }

    /// Returns how many ticks there have been.
    pub(crate) fn tick(&self) -> u64 {
        self.tick
    }

    /// Moves one tick on and returns what happened in it.
    pub(crate) fn step(&mut self) -> Vec<Happening> {
        self.acceleration = self.wanted_acceleration();
        // Turns are as long as the road has them, not as the clock says: a slow rover turns slowly.
        self.yaw_rate = self.speed * 0.003 * (self.travelled_m / 25.0).cos();
        self.speed = (self.speed + self.acceleration * TICK_S).max(0.0);
        self.yaw += self.yaw_rate * TICK_S;
        self.x_m += self.speed * self.yaw.cos() * TICK_S;
        self.y_m += self.speed * self.yaw.sin() * TICK_S;
        self.travelled_m += self.speed * TICK_S;
        self.battery -= (0.000_02 + self.acceleration.max(0.0) * 0.000_05) * TICK_S;
        self.motor_celsius += (self.acceleration.abs() * 0.4 - (self.motor_celsius - 30.0) * 0.02) * TICK_S;
        self.tick += 1;
        self.happenings()
    }

    /// Returns the angle of the front wheels, in rad.
    pub(crate) fn steering(&self) -> f64 {
        if self.speed > 0.1 { (self.yaw_rate * WHEELBASE_M / self.speed).atan() } else { 0.0 }
    }

    /// Returns whether the lidar gives scans.
    pub(crate) fn has_lidar(&self) -> bool {
        !(LIDAR_LOST_S..LIDAR_BACK_S).contains(&self.time_s())
    }

    /// Returns how long ago the stop sign was missed, if it was.
    pub(crate) fn since_stop_sign_s(&self) -> Option<f64> {
        (self.travelled_m >= self.stop_sign_at_m).then(|| self.time_s() - STOP_SIGN_S)
    }

    fn wanted_acceleration(&self) -> f64 {
        let now = self.time_s();
        if (BRAKE_S..BRAKE_S + BRAKE_FOR_S).contains(&now) {
            return BRAKING;
        }
        let cruise = CRUISE.iter().rev().find(|(from_s, _)| *from_s <= now).map_or(0.0, |(_, speed)| *speed);
        ((cruise - self.speed) * 1.5).clamp(-2.0, 2.0)
    }

    fn happenings(&self) -> Vec<Happening> {
        let at = |moment_s: f64| self.tick == (moment_s * TICKS_PER_S as f64).round() as u64;
        let mut happenings = Vec::new();
        let mut say = |level, node, text| happenings.push(Happening { level, node, text });
        if at(TICK_S) {
            say(Level::Info, "bringup", "rover is up, driving the road loop".to_owned());
        }
        if at(BRAKE_S) {
            say(Level::Warn, "safety", format!("hard brake at {:.1} m/s: pedestrian in front", self.speed));
        }
        if at(BRAKE_S + BRAKE_FOR_S) {
            say(Level::Info, "safety", format!("brake released at {:.1} m/s", self.speed));
        }
        if at(STOP_SIGN_S) {
            say(Level::Warn, "behaviour", format!("stop sign passed at {:.1} m/s", self.speed));
        }
        if at(LIDAR_LOST_S) {
            say(Level::Error, "lidar_driver", "no packets from the lidar: connection lost".to_owned());
        }
        if at(LIDAR_BACK_S) {
            say(Level::Info, "lidar_driver", "lidar connected again".to_owned());
        }
        if self.tick.is_multiple_of(2 * TICKS_PER_S) {
            say(
                Level::Info,
                "planner",
                format!("{:.0} m driven, {:.1} m/s, battery {:.1} %", self.travelled_m, self.speed, self.battery * 100.0),
            );
        }
        happenings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drive_to(time_s: f64) -> (World, Vec<String>) {
        let (mut world, mut said) = (World::new(), Vec::new());
        while world.time_s() < time_s {
            said.extend(world.step().into_iter().map(|happening| format!("{:.2} {}", world.time_s(), happening.text)));
        }
        (world, said)
    }

    #[test]
    fn it_brakes_hard_for_six_tenths_of_a_second() {
        let mut world = World::new();
        let (mut braking_ticks, mut fastest) = (0, 0.0f64);
        while world.time_s() < 15.0 {
            world.step();
            fastest = fastest.max(world.speed);
            braking_ticks += u64::from(world.acceleration < -6.0);
        }
        assert!(braking_ticks as f64 * TICK_S >= 0.6, "{braking_ticks}");
        assert!(fastest > 7.9, "{fastest}");
        assert!(drive_to(BRAKE_S + BRAKE_FOR_S).0.speed < 3.0);
    }

    #[test]
    fn it_passes_the_stop_sign_when_and_as_fast_as_the_script_says() {
        let (world, said) = drive_to(STOP_SIGN_S);
        assert_eq!(world.since_stop_sign_s(), Some(0.0));
        assert!(said.contains(&"20.00 stop sign passed at 4.1 m/s".to_owned()), "{said:?}");
        assert_eq!(drive_to(STOP_SIGN_S - 0.01).0.since_stop_sign_s(), None);
    }

    #[test]
    fn it_loses_the_lidar_for_three_seconds() {
        let mut world = World::new();
        let mut silent_ticks = 0;
        while world.time_s() < 40.0 {
            world.step();
            silent_ticks += u64::from(!world.has_lidar());
        }
        assert_eq!(silent_ticks, 3 * TICKS_PER_S);
    }

    #[test]
    fn speed_and_position_are_integrals() {
        let (mut world, mut speed, mut x_m) = (World::new(), 0.0, 0.0);
        for _ in 0..40 * TICKS_PER_S {
            world.step();
            speed += world.acceleration * TICK_S;
            x_m += world.speed * world.yaw.cos() * TICK_S;
        }
        assert!((speed - world.speed).abs() < 1e-6 && (x_m - world.x_m).abs() < 1e-6);
        assert!(world.travelled_m > 150.0 && (0.0..ROAD_HALF_WIDTH_M).contains(&world.y_m), "{} {}", world.travelled_m, world.y_m);
    }
}
