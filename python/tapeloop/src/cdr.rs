//! Values in CDR, as ROS 2 writes them: little-endian, aligned to their own size from behind the 4-byte header.
//!
//! **Invariant:** what is written here, `rclpy` reads.

/// How a ROS 2 message begins: plain CDR, little-endian.
const HEADER: [u8; 4] = [0, 1, 0, 0];

/// A message that is being written.
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// Returns a writer with room for a message of `size_bytes`.
    pub(crate) fn with_capacity(size_bytes: usize) -> Self {
        let mut out = Vec::with_capacity(size_bytes + HEADER.len());
        out.extend_from_slice(&HEADER);
        Self { out }
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.align(4);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.u32(value as u32);
    }

    /// Writes a string with its length and its final zero.
    pub(crate) fn string(&mut self, text: &str) {
        self.u32(text.len() as u32 + 1);
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(0);
    }

    /// Writes `builtin_interfaces/Time`.
    pub(crate) fn time(&mut self, time_ns: i64) {
        let second = 1_000_000_000;
        // ROS 2 counts seconds in 32 bits: what lies outside of 1901–2038 becomes the nearest moment inside.
        self.i32(time_ns.div_euclid(second).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32);
        self.u32(time_ns.rem_euclid(second) as u32);
    }

    /// Begins a sequence of `count` elements of `element_bytes` each.
    pub(crate) fn sequence(&mut self, count: u32, element_bytes: usize) {
        self.u32(count);
        if count > 0 {
            self.align(element_bytes);
        }
    }

    /// Returns where raw elements are appended.
    pub(crate) fn raw(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Returns the message.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }

    fn align(&mut self, size: usize) {
        let used = self.out.len() - HEADER.len();
        self.out.resize(HEADER.len() + used.next_multiple_of(size), 0);
    }
}
