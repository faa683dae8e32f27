//! What the user expects of topics: how often they come, and how long they may be silent.
//!
//! **Invariant:** an expectation that exists expects something, and of topics that can be.

use recording::{Error, Result, TopicFilter, time};
use serde::{Deserialize, Deserializer, de};

/// How many expectations there may be.
pub const EXPECT_LIMIT: usize = 64;
/// How far a rate may be off where the configuration does not say.
const DEFAULT_TOLERANCE: f64 = 0.1;
/// How long nothing is judged after the start, where the configuration does not say.
const DEFAULT_GRACE_NS: i64 = 5 * time::SECOND_NS;
/// The longest name of an expectation that is made of its topics.
const NAME_LIMIT: usize = 64;

/// What is expected of topics.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectConfig {
    /// Its name.
    pub name: String,
    /// The topics.
    pub topics: TopicFilter,
    /// How often each of them comes.
    pub rate: Option<Rate>,
    /// How long each of them may be silent.
    pub max_gap_ns: Option<i64>,
    /// Whether they must come at all: each that is named, or any that fits.
    pub required: bool,
    /// How long nothing is judged after the start.
    pub grace_ns: i64,
}

/// How often messages come, per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// So often, give or take a part of it.
    About {
        /// Messages per second.
        hz: f64,
        /// What part of it.
        tolerance: f64,
    },
    /// So often or more.
    AtLeast(f64),
    /// So often or less.
    AtMost(f64),
}

impl ExpectConfig {
    /// Returns what is expected, in words.
    pub fn text(&self) -> String {
        let rate = self.rate.map(|rate| rate.to_string());
        let gap = self.max_gap_ns.map(|gap_ns| format!("no gap above {}", time::format_duration(gap_ns)));
        let required = self.required.then(|| "required".to_owned());
        [rate, gap, required].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl Rate {
    /// Returns whether so many messages per second are as expected.
    pub fn allows(self, hz: f64) -> bool {
        match self {
            // Half a thousandth is what counting in windows of a clock is off by.
            Self::About { hz: wanted, tolerance } => (hz - wanted).abs() <= wanted * (tolerance + 0.0005),
            Self::AtLeast(least) => hz >= least * 0.9995,
            Self::AtMost(most) => hz <= most * 1.0005,
        }
    }

    /// Returns how long to count, so that one message more or less does not matter.
    pub fn window_ns(self) -> i64 {
        const SHORTEST_NS: f64 = 2e9;
        const LONGEST_NS: f64 = 600e9;
        let (hz, messages) = match self {
            Self::About { hz, tolerance } => (hz, 2.0 / tolerance.max(0.001)),
            Self::AtLeast(hz) | Self::AtMost(hz) => (hz, 10.0),
        };
        (messages / hz * 1e9).clamp(SHORTEST_NS, LONGEST_NS) as i64
    }

    /// Reads `10 Hz ± 20 %`, `10 Hz`, `>= 5 Hz` or `<= 20 Hz`.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = || Error::invalid(format!("not a rate: '{text}' (write it like '10 Hz ± 20 %', '>= 5 Hz' or '<= 20 Hz')"));
        let hertz = |text: &str| {
            let number = text.trim().strip_suffix("Hz").and_then(|number| number.trim().parse().ok());
            number.filter(|hz| (1e-3..=1e6).contains(hz)).ok_or_else(refuse)
        };
        let text = text.trim();
        if let Some(rest) = text.strip_prefix(">=").or(text.strip_prefix('≥')).or(text.strip_prefix('>')) {
            return hertz(rest).map(Self::AtLeast);
        }
        if let Some(rest) = text.strip_prefix("<=").or(text.strip_prefix('≤')).or(text.strip_prefix('<')) {
            return hertz(rest).map(Self::AtMost);
        }
        let Some((rate, tolerance)) = text.split_once('±').or_else(|| text.split_once("+-")).or_else(|| text.split_once("+/-")) else {
            return hertz(text).map(|hz| Self::About { hz, tolerance: DEFAULT_TOLERANCE });
        };
        let percent: Option<f64> = tolerance.trim().strip_suffix('%').and_then(|number| number.trim().parse().ok());
        let percent = percent.filter(|percent| (0.1..100.0).contains(percent)).ok_or_else(refuse)?;
        Ok(Self::About { hz: hertz(rate)?, tolerance: percent / 100.0 })
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::About { hz, tolerance } => write!(f, "{hz} Hz ± {} %", (tolerance * 1000.0).round() / 10.0),
            Self::AtLeast(hz) => write!(f, ">= {hz} Hz"),
            Self::AtMost(hz) => write!(f, "<= {hz} Hz"),
        }
    }
}

/// An expectation as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    name: Option<String>,
    topics: Vec<String>,
    #[serde(default, deserialize_with = "rate")]
    rate: Option<Rate>,
    #[serde(default, deserialize_with = "duration")]
    max_gap: Option<i64>,
    #[serde(default)]
    required: bool,
    #[serde(default, deserialize_with = "duration")]
    grace: Option<i64>,
}

impl Expect {
    pub(super) fn check(self) -> Result<ExpectConfig> {
        if self.topics.is_empty() {
            return Err(Error::invalid("an expectation has no topics: write topics = [\"/imu\"]"));
        }
        if self.rate.is_none() && self.max_gap.is_none() && !self.required {
            return Err(Error::invalid("an expectation expects nothing: give it a rate, a max_gap, or required = true"));
        }
        if self.max_gap == Some(0) {
            return Err(Error::invalid("max_gap = \"0\" cannot be met"));
        }
        let name = self.name.unwrap_or_else(|| self.topics.join(" ").chars().take(NAME_LIMIT).collect());
        let grace_ns = self.grace.unwrap_or(DEFAULT_GRACE_NS);
        let topics = TopicFilter::parse(&self.topics)?;
        Ok(ExpectConfig { name, topics, rate: self.rate, max_gap_ns: self.max_gap, required: self.required, grace_ns })
    }
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Rate>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Rate::parse(&text).map(Some).map_err(de::Error::custom)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<i64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    time::parse_duration(&text).map(Some).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn rates_are_read_as_people_write_them() {
        let about = |hz, tolerance| Rate::About { hz, tolerance };
        for (text, expected) in [
            ("10 Hz ± 20 %", about(10.0, 0.2)),
            ("10Hz±20%", about(10.0, 0.2)),
            ("0.5 Hz +- 50 %", about(0.5, 0.5)),
            ("30 Hz", about(30.0, DEFAULT_TOLERANCE)),
            (">= 5 Hz", Rate::AtLeast(5.0)),
            ("≤20Hz", Rate::AtMost(20.0)),
        ] {
            let rate = Rate::parse(text).unwrap();
            assert_eq!(rate, expected, "{text}");
            assert_eq!(Rate::parse(&rate.to_string()).unwrap(), expected, "{rate}");
        }
        for wrong in ["", "10", "fast", "0 Hz", "-1 Hz", "10 Hz ± 20", "10 Hz ± 0 %", "10 Hz ± 100 %", "NaN Hz", "1e9 Hz"] {
            assert!(Rate::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_window_is_so_long_that_one_message_does_not_matter() {
        for text in ["10 Hz ± 20 %", "1 Hz ± 5 %", "1000 Hz ± 1 %", ">= 5 Hz", "<= 1 Hz"] {
            let rate = Rate::parse(text).unwrap();
            let (hz, seconds) = match rate {
                Rate::About { hz, .. } | Rate::AtLeast(hz) | Rate::AtMost(hz) => (hz, rate.window_ns() as f64 / 1e9),
            };
            let off_by_one = (hz * seconds + 1.0) / seconds;
            assert!(rate.allows(off_by_one) || matches!(rate, Rate::AtMost(_)), "{text}: {off_by_one} in {seconds} s");
        }
    }

    #[test]
    fn mistakes_are_answered_with_their_line() {
        let check = |text: &str, line: usize, part: &str| {
            let error = Config::parse(text, "t.toml").unwrap_err().to_string();
            assert!(error.starts_with(&format!("t.toml line {line}:")) && error.contains(part), "{error}");
        };
        check("\n[[expect]]\ntopics = ['/a']", 2, "expects nothing");
        check("[[expect]]\ntopics = []\nrequired = true", 1, "no topics");
        check("[[expect]]\ntopics = ['/a']\nrate = 'often'", 3, "not a rate: 'often'");
        check("[[expect]]\ntopics = ['/a']\nmax_gap = '5 parsecs'", 3, "parsecs");
        check("[[expect]]\ntopics = ['/a']\nmaxgap = '5 s'", 3, "maxgap");
        check("[[expect]]\nrequired = true", 1, "topics");
        check("[[expect]]\ntopics = ['/a']\nrequired = true\n[[expect]]\ntopics = ['/a']\nrate = '1 Hz'", 4, "another expectation '/a'");
        let config = Config::parse("[[expect]]\ntopics = ['/a']\nrate = '1 Hz ± 5 %'\nmax_gap = '3 s'\nrequired = true", "").unwrap();
        assert_eq!(config.expectations[0].text(), "1 Hz ± 5 %, no gap above 3.0 s, required");
    }
}
