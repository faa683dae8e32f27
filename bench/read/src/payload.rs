//! Messages in CDR as a robot sends them.
//!
//! **Invariant:** numbers stand at multiples of their size, counted from behind the header.

/// The last acceleration of [`imu`].
pub(crate) const GRAVITY: f64 = 9.81;

/// The last number of the others.
pub(crate) const LAST: f64 = 0.25;

/// Writes a message.
struct Message(Vec<u8>);

impl Message {
    fn new() -> Self {
        Self(vec![0, 1, 0, 0])
    }

    fn align(&mut self, to: usize) {
        while !(self.0.len() - 4).is_multiple_of(to) {
            self.0.push(0);
        }
    }

    fn number(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u32 + 1);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn floats(&mut self, values: &[f64]) {
        for value in values {
            self.align(8);
            self.0.extend(value.to_le_bytes());
        }
    }

    fn header(&mut self, frame: &str) {
        self.number(1_700_000_000);
        self.number(123_456_789);
        self.text(frame);
    }
}

/// Returns a `sensor_msgs/msg/Imu`.
pub(crate) fn imu() -> Vec<u8> {
    let mut message = Message::new();
    message.header("imu_link");
    let covariance = [0.01, 0.0, 0.0, 0.0, 0.01, 0.0, 0.0, 0.0, 0.01];
    message.floats(&[0.1, 0.2, 0.3, 0.9]);
    message.floats(&covariance);
    message.floats(&[0.01, -0.02, 0.03]);
    message.floats(&covariance);
    message.floats(&[0.5, -0.25, GRAVITY]);
    message.floats(&covariance);
    message.0
}

/// Returns a `sensor_msgs/msg/JointState` of an arm with six joints.
pub(crate) fn joint_state() -> Vec<u8> {
    let mut message = Message::new();
    message.header("base_link");
    message.number(6);
    for name in ["shoulder_pan_joint", "shoulder_lift_joint", "elbow_joint", "wrist_1_joint", "wrist_2_joint", "wrist_3_joint"] {
        message.text(name);
    }
    for _ in 0..3 {
        message.number(6);
        message.floats(&[0.1, -1.5, 1.2, -0.3, 0.7, LAST]);
    }
    message.0
}

/// Returns a `geometry_msgs/msg/PoseWithCovariance`.
pub(crate) fn pose_with_covariance() -> Vec<u8> {
    let mut message = Message::new();
    message.floats(&[1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 1.0]);
    message.floats(&[0.5; 35]);
    message.floats(&[LAST]);
    message.0
}

/// Returns a `diagnostic_msgs/msg/DiagnosticStatus` of a level.
pub(crate) fn diagnostic_status(level: u8) -> Vec<u8> {
    let mut message = Message::new();
    message.0.push(level);
    for text in ["motor_left", "running", "42"] {
        message.text(text);
    }
    message.number(1);
    message.text("temp");
    message.text("51.5");
    message.0
}
