//! Numbers that look random and come out the same for the same seed.
//!
//! **Invariant:** no two sensors share a stream, so that one more sensor changes nothing for the others.

/// A stream of noise (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Noise {
    state: u64,
}

impl Noise {
    /// Returns the stream of `name` for a seed.
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        let state = name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self { state }
    }

    /// Returns a number from -1 to 1, near 0 more often than far from it.
    pub(crate) fn next(&mut self) -> f64 {
        let mut uniform = || {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed >> 11) as f64 / (1u64 << 53) as f64
        };
        (uniform() + uniform() + uniform()) / 1.5 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_the_same_for_the_same_seed_and_different_for_another_sensor() {
        let take = |mut noise: Noise| (0..1000).map(|_| noise.next()).collect::<Vec<_>>();
        let imu = take(Noise::new(7, "/imu"));
        assert_eq!(imu, take(Noise::new(7, "/imu")));
        assert_ne!(imu, take(Noise::new(7, "/odom")));
        assert_ne!(imu, take(Noise::new(8, "/imu")));
        assert!(imu.iter().all(|value| value.abs() <= 1.0));
        assert!((imu.iter().sum::<f64>() / 1000.0).abs() < 0.05);
    }
}
