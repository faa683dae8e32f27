//! The configuration: one TOML file, all of it optional.
//!
//! In comes text, out comes a checked [`Config`] or an error that names the line.
//!
//! **Invariant:** a `Config` that exists is usable: names are unique, every buffer has a place and a budget.

mod expect;

use std::collections::HashSet;
use std::time::Duration;

use recording::mcap::chunk::Compression;
use recording::{Error, Result, TopicFilter, key, size, time};
use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

pub use self::expect::{EXPECT_LIMIT, ExpectConfig, Rate};

/// Budget of a disk buffer that names no size: this, or a tenth of the disk if that is less.
pub const DEFAULT_DISK_BYTES: u64 = 20_000_000_000;
/// Budget of a RAM buffer that names no size.
pub const DEFAULT_RAM_BYTES: u64 = 1_000_000_000;
/// The name of the buffer of the recorder's own messages, `/tapeloop/**`.
pub const RECORDER_BUFFER: &str = "recorder";
/// The name under which latched values are kept.
pub const LATCHED_BUFFER: &str = "latched";
/// The name of the buffer of what [`TELEMETRY`] tells, where there are sources.
pub const TELEMETRY_BUFFER: &str = "telemetry";
/// The topics that tell how the robot is doing: they join every recording.
pub const TELEMETRY: [&str; 4] = ["/logs/**", "/metrics/**", "/traces/**", "/host/**"];
/// How many buffers there may be.
pub const BUFFER_LIMIT: usize = 64;
/// How many sources there may be.
pub const SOURCE_LIMIT: usize = 64;

/// What the recorder does.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The robot's name; `None` means the host's.
    pub device: Option<String>,
    /// The computer's name; `None` means the one the system has.
    pub host: Option<String>,
    /// The buffers, best first; the recorder's own is the last.
    pub buffers: Vec<BufferConfig>,
    /// Topics whose last value joins every recording, beside those that say so themselves.
    pub latched: TopicFilter,
    /// How many bytes named segments may take.
    pub keep_bytes: Option<u64>,
    /// How many bytes stay free on the disk; `None` means the smaller of 1 GB and 5 % of it.
    pub floor_bytes: Option<u64>,
    /// When a segment ends.
    pub segment: SegmentLimits,
    /// Where the agent listens.
    pub agent: AgentConfig,
    /// What feeds the tape from outside.
    pub sources: Vec<SourceConfig>,
    /// What is expected of topics.
    pub expectations: Vec<ExpectConfig>,
    /// What is known but not active yet, for the user's eyes.
    pub notes: Vec<String>,
    /// The text it was parsed from.
    pub text: String,
    /// A hash of the text.
    pub hash: String,
}

/// How a set of topics is held.
#[derive(Clone, Debug, PartialEq)]
pub struct BufferConfig {
    /// Its name.
    pub name: String,
    /// Its topics.
    pub topics: TopicFilter,
    /// RAM or disk.
    pub place: Place,
    /// How old a message gets, unless it is named.
    pub age_ns: Option<i64>,
    /// How many bytes there may be; `None` on disk means [`DEFAULT_DISK_BYTES`] or a tenth of the disk.
    pub size_bytes: Option<u64>,
    /// How chunks are compressed.
    pub compression: Compression,
    /// How images are encoded.
    pub encode: Option<Encode>,
    /// The shortest time between two messages of a topic.
    pub min_interval_ns: Option<i64>,
    /// Whether it joins every capture, whatever topics that asks for.
    pub always: bool,
    /// When what was appended is on the disk; `None` leaves that to the operating system.
    pub durability: Option<Duration>,
    /// What happens when messages come faster than they can be written.
    pub when_full: WhenFull,
    /// How many bytes may wait to be written.
    pub queue_bytes: u64,
}

/// Where a buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In memory, until a capture names it.
    Ram,
    /// On disk.
    Disk,
}

/// What to do when a queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The logging program waits, up to [`crate::tape::QUEUE_WAIT`]; then the message is lost and counted.
    Block,
    /// The oldest waiting messages are lost and counted.
    DropOldest,
}

/// How images are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encode {
    /// JPEG quality, 1 to 100.
    pub quality: u8,
    /// Images that are wider are made this wide.
    pub max_width: Option<u32>,
}

/// What feeds the tape from outside. Which options there are is its kind's business. Two are equal wherever they stand in the file.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Its name.
    pub name: String,
    /// What it is: `ros2-dds`, `otlp`, …
    pub kind: String,
    /// How many payload bytes a second it may log.
    pub limit_bytes_per_s: Option<u64>,
    /// Everything else.
    pub options: toml::Table,
    /// Where it stands in the file.
    pub line: usize,
}

/// When a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentLimits {
    /// At this size.
    pub size_bytes: u64,
    /// At this age.
    pub age_ns: i64,
}

/// Where the agent listens.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// The socket's path.
    pub socket: Option<String>,
    /// The HTTP address, or `off`.
    pub http: Option<String>,
    /// The address for Foxglove, or `off`.
    pub foxglove: Option<String>,
    /// What a viewer must show, which then may be on another machine.
    pub foxglove_token: Option<String>,
    /// The group that may use the socket.
    pub group: Option<String>,
}

impl PartialEq for SourceConfig {
    fn eq(&self, other: &Self) -> bool {
        let Self { name, kind, limit_bytes_per_s, options, line: _ } = self;
        (name, kind, limit_bytes_per_s, options) == (&other.name, &other.kind, &other.limit_bytes_per_s, &other.options)
    }
}

impl Default for SegmentLimits {
    fn default() -> Self {
        Self { size_bytes: 16 << 20, age_ns: 10 * time::SECOND_NS }
    }
}

impl Config {
    /// Returns the configuration of an empty file: every topic, on disk, in zstd.
    pub fn empty() -> Self {
        Self::parse("", "").expect("an empty file is a good configuration")
    }

    /// Returns a configuration with one disk buffer that keeps every topic for `age_ns`.
    pub fn one_disk_buffer(age_ns: i64) -> Self {
        let mut config = Self::empty();
        config.buffers[0].age_ns = Some(age_ns);
        config
    }

    /// Parses a configuration; `path` stands in errors.
    ///
    /// # Errors
    /// `Invalid`, naming the line.
    pub fn parse(text: &str, path: &str) -> Result<Self> {
        let file: wire::File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            Error::invalid(format!("{} line {line}: {}", place(path), error.message().replace('\n', "; ")))
        })?;
        let refuse = |at: usize, message: String| Error::invalid(format!("{} line {}: {message}", place(path), line_of(text, at)));
        for (what, name) in [("device", &file.device), ("host", &file.host)] {
            if let Some(name) = name {
                key::check_name(what, name.get_ref()).map_err(|error| refuse(name.span().start, error.to_string()))?;
            }
        }
        if let Some(host) = file.host.as_ref().filter(|host| host.get_ref().split('-').any(key::is_boot)) {
            return Err(refuse(host.span().start, "a host's name must not have a part of 12 hexadecimal digits".into()));
        }
        if file.buffer.len() > BUFFER_LIMIT {
            return Err(Error::invalid(format!("{}: {} buffers; at most {BUFFER_LIMIT}", place(path), file.buffer.len())));
        }
        let sources = file.sources(text).map_err(|(at, message)| refuse(at, message))?;
        if file.expect.len() > EXPECT_LIMIT {
            return Err(Error::invalid(format!("{}: {} expectations; at most {EXPECT_LIMIT}", place(path), file.expect.len())));
        }
        let mut expectations: Vec<ExpectConfig> = Vec::new();
        for expect in file.expect {
            let at = expect.span().start;
            let expect = expect.into_inner().check().map_err(|error| refuse(at, error.to_string()))?;
            if expectations.iter().any(|other| other.name == expect.name) {
                return Err(refuse(at, format!("there is another expectation '{}': give one of them a name = \"…\"", expect.name)));
            }
            expectations.push(expect);
        }
        let mut names = HashSet::from([RECORDER_BUFFER.to_owned(), LATCHED_BUFFER.to_owned()]);
        let mut buffers = Vec::new();
        for buffer in file.buffer {
            let at = buffer.name.span().start;
            let buffer = buffer.check().map_err(|error| refuse(at, error.to_string()))?;
            if !names.insert(buffer.name.clone()) {
                return Err(refuse(at, format!("there is another buffer '{}', or the name is the recorder's own", buffer.name)));
            }
            buffers.push(buffer);
        }
        // Without sources nothing has these topics but programs, whose buffer is the one for everything.
        let has_telemetry = !sources.is_empty() && !names.contains(TELEMETRY_BUFFER);
        if buffers.is_empty() {
            let topics = if has_telemetry { all_but_telemetry() } else { TopicFilter::all() };
            buffers.push(BufferConfig { name: "all".into(), topics, ..BufferConfig::default() });
        }
        if has_telemetry {
            buffers.push(telemetry_buffer());
        }
        buffers.push(recorder_buffer());
        let mut notes = Vec::new();
        for rule in &file.rule {
            notes.push(format!("rule '{}' is not yet active: for now, 'tapeloop rule test' runs rules over recordings", rule.name));
        }
        for location in &file.location {
            notes.push(format!("location '{}' is not yet active: this version does not upload", location.name));
        }
        Ok(Self {
            device: file.device.map(Spanned::into_inner),
            host: file.host.map(Spanned::into_inner),
            buffers,
            latched: TopicFilter::parse(&file.latched)?,
            keep_bytes: file.keep.size,
            floor_bytes: file.disk.floor,
            segment: SegmentLimits {
                size_bytes: file.segment.size.unwrap_or(SegmentLimits::default().size_bytes),
                age_ns: file.segment.age.unwrap_or(SegmentLimits::default().age_ns),
            },
            agent: file.agent,
            sources,
            expectations,
            notes,
            text: text.to_owned(),
            hash: blake3::hash(text.as_bytes()).to_hex()[..16].to_owned(),
        })
    }

    /// Returns whether a topic's last value joins every recording although the topic does not say so.
    pub fn is_latched(&self, topic: &str) -> bool {
        !self.latched.patterns().is_empty() && self.latched.matches(topic)
    }
}

impl Default for BufferConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            topics: TopicFilter::all(),
            place: Place::Disk,
            age_ns: None,
            size_bytes: None,
            compression: Compression::Zstd(1),
            encode: None,
            min_interval_ns: None,
            always: false,
            durability: Some(Duration::from_secs(1)),
            when_full: WhenFull::Block,
            queue_bytes: 32 << 20,
        }
    }
}

fn recorder_buffer() -> BufferConfig {
    BufferConfig {
        name: RECORDER_BUFFER.into(),
        topics: TopicFilter::parse(&["/tapeloop/**"]).expect("a constant pattern"),
        age_ns: Some(30 * 86_400 * time::SECOND_NS),
        size_bytes: Some(64_000_000),
        always: true,
        ..BufferConfig::default()
    }
}

fn telemetry_buffer() -> BufferConfig {
    BufferConfig {
        name: TELEMETRY_BUFFER.into(),
        topics: TopicFilter::parse(&TELEMETRY).expect("constant patterns"),
        age_ns: Some(7 * 86_400 * time::SECOND_NS),
        size_bytes: Some(1_000_000_000),
        always: true,
        ..BufferConfig::default()
    }
}

fn all_but_telemetry() -> TopicFilter {
    let patterns: Vec<String> = std::iter::once("**".to_owned()).chain(TELEMETRY.map(|pattern| format!("!{pattern}"))).collect();
    TopicFilter::parse(&patterns).expect("constant patterns")
}

fn place(path: &str) -> &str {
    if path.is_empty() { "configuration" } else { path }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

/// The tables as they stand in the file.
mod wire {
    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct File {
        pub(super) device: Option<Spanned<String>>,
        pub(super) host: Option<Spanned<String>>,
        #[serde(default)]
        pub(super) latched: Vec<String>,
        #[serde(default)]
        pub(super) buffer: Vec<Buffer>,
        #[serde(default)]
        source: Vec<Spanned<toml::Table>>,
        #[serde(default)]
        pub(super) expect: Vec<Spanned<super::expect::Expect>>,
        #[serde(default)]
        pub(super) rule: Vec<NotYet>,
        #[serde(default)]
        pub(super) location: Vec<NotYet>,
        #[serde(default)]
        pub(super) keep: Keep,
        #[serde(default)]
        pub(super) disk: DiskTable,
        #[serde(default)]
        pub(super) segment: Segment,
        #[serde(default)]
        pub(super) agent: AgentConfig,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Buffer {
        pub(super) name: Spanned<String>,
        topics: Option<Vec<String>>,
        #[serde(default)]
        ram: Option<Depth>,
        #[serde(default)]
        disk: Option<Depth>,
        #[serde(default, deserialize_with = "compression")]
        compression: Option<Compression>,
        #[serde(default, deserialize_with = "encode")]
        encode: Option<Encode>,
        #[serde(default, deserialize_with = "max_rate")]
        max_rate: Option<i64>,
        #[serde(default)]
        always: bool,
        #[serde(default, deserialize_with = "durability")]
        durability: Option<Option<Duration>>,
        when_full: Option<WhenFull>,
        #[serde(default, deserialize_with = "size")]
        queue: Option<u64>,
    }

    impl File {
        /// Takes the sources out, or returns what is wrong with one and where it stands.
        pub(super) fn sources(&self, text: &str) -> std::result::Result<Vec<SourceConfig>, (usize, String)> {
            if self.source.len() > SOURCE_LIMIT {
                return Err((0, format!("{} sources; at most {SOURCE_LIMIT}", self.source.len())));
            }
            let mut sources: Vec<SourceConfig> = Vec::new();
            for table in &self.source {
                let at = table.span().start;
                let source = source(table.get_ref(), line_of(text, at)).map_err(|error| (at, error.to_string()))?;
                if sources.iter().any(|other| other.name == source.name) {
                    return Err((at, format!("there is another source '{}': give one of them a name = \"…\"", source.name)));
                }
                sources.push(source);
            }
            Ok(sources)
        }
    }

    fn source(table: &toml::Table, line: usize) -> Result<SourceConfig> {
        let mut options = table.clone();
        let mut text = |name: &str| match options.remove(name) {
            None => Ok(None),
            Some(toml::Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(Error::invalid(format!("{name} = {other} is no text"))),
        };
        let kind = text("kind")?.ok_or_else(|| Error::invalid("a source needs a kind = \"…\""))?;
        let name = text("name")?.unwrap_or_else(|| kind.clone());
        key::check_name("source", &name)?;
        let limit = text("limit")?.map(|limit| size::parse(limit.trim_end_matches("/s").trim())).transpose()?;
        if limit == Some(0) {
            return Err(Error::invalid("limit = \"0\" would take nothing; leave the source out"));
        }
        Ok(SourceConfig { name, kind, limit_bytes_per_s: limit, options, line })
    }

    impl Buffer {
        pub(super) fn check(self) -> Result<BufferConfig> {
            let name = self.name.into_inner();
            key::check_name("buffer", &name)?;
            let (place, depth) = match (self.ram, self.disk) {
                (Some(ram), None) => (Place::Ram, ram),
                (None, Some(disk)) => (Place::Disk, disk),
                (None, None) => return Err(Error::invalid(format!("buffer '{name}' needs a depth: ram = \"30 s\" or disk = \"24 h\""))),
                (Some(_), Some(_)) => {
                    return Err(Error::invalid(format!("buffer '{name}' is in RAM or on disk, not both: make two buffers")));
                }
            };
            let topics = self.topics.unwrap_or_else(|| vec!["**".into()]);
            if topics.is_empty() {
                return Err(Error::invalid(format!("buffer '{name}' has no topics: write topics = [\"**\"] for all")));
            }
            let topics = TopicFilter::parse(&topics)?;
            let default = BufferConfig::default();
            let size_bytes = depth.size.or((place == Place::Ram).then_some(DEFAULT_RAM_BYTES));
            Ok(BufferConfig {
                name,
                topics,
                place,
                age_ns: depth.age,
                size_bytes,
                compression: self.compression.unwrap_or(if place == Place::Ram { Compression::None } else { default.compression }),
                encode: self.encode,
                min_interval_ns: self.max_rate,
                always: self.always,
                durability: self.durability.unwrap_or(default.durability),
                when_full: self.when_full.unwrap_or(default.when_full),
                queue_bytes: self.queue.unwrap_or(default.queue_bytes),
            })
        }
    }

    /// A depth: `"30 s"`, `"2 GB"` or `{ age = "30 s", size = "2 GB" }`.
    #[derive(Default)]
    pub(super) struct Depth {
        pub(super) age: Option<i64>,
        pub(super) size: Option<u64>,
    }

    impl<'de> Deserialize<'de> for Depth {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
            #[derive(Deserialize)]
            #[serde(untagged, expecting = "a depth like \"30 s\", \"2 GB\" or { age = \"30 s\", size = \"2 GB\" }")]
            enum Form {
                Text(String),
                Table(Table),
            }
            #[derive(Deserialize)]
            #[serde(deny_unknown_fields)]
            struct Table {
                age: Option<String>,
                size: Option<String>,
            }
            let (age, bytes) = match Form::deserialize(deserializer)? {
                Form::Text(text) if time::parse_duration(&text).is_ok() => (Some(text), None),
                Form::Text(text) => (None, Some(text)),
                Form::Table(table) if table.age.is_none() && table.size.is_none() => {
                    return Err(de::Error::custom("a depth needs an age, a size, or both"));
                }
                Form::Table(table) => (table.age, table.size),
            };
            let age = age.map(|text| positive(time::parse_duration(&text), &text)).transpose().map_err(de::Error::custom)?;
            let size = bytes.map(|text| positive(size::parse(&text), &text)).transpose().map_err(de::Error::custom)?;
            Ok(Self { age, size })
        }
    }

    #[derive(Deserialize)]
    pub(super) struct NotYet {
        pub(super) name: String,
    }

    #[derive(Deserialize, Default)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Keep {
        #[serde(default, deserialize_with = "size")]
        pub(super) size: Option<u64>,
    }

    #[derive(Deserialize, Default)]
    #[serde(deny_unknown_fields)]
    pub(super) struct DiskTable {
        #[serde(default, deserialize_with = "size")]
        pub(super) floor: Option<u64>,
    }

    #[derive(Deserialize, Default)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Segment {
        #[serde(default, deserialize_with = "segment_size")]
        pub(super) size: Option<u64>,
        #[serde(default, deserialize_with = "segment_age")]
        pub(super) age: Option<i64>,
    }

    fn positive<T: PartialEq + Default>(value: Result<T>, text: &str) -> Result<T> {
        match value? {
            value if value == T::default() => Err(Error::invalid(format!("'{text}' would keep nothing"))),
            value => Ok(value),
        }
    }

    type Parsed<T, E> = std::result::Result<Option<T>, E>;

    fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Parsed<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        size::parse(&text).map(Some).map_err(de::Error::custom)
    }

    fn segment_size<'de, D: Deserializer<'de>>(deserializer: D) -> Parsed<u64, D::Error> {
        match size(deserializer)? {
            Some(bytes) if !(4096..=1 << 32).contains(&bytes) => Err(de::Error::custom("a segment has from 4 KiB to 4 GiB")),
            bytes => Ok(bytes),
        }
    }

    fn segment_age<'de, D: Deserializer<'de>>(deserializer: D) -> Parsed<i64, D::Error> {
        let age = time::parse_duration(&String::deserialize(deserializer)?).map_err(de::Error::custom)?;
        if !(100_000_000..=3600 * time::SECOND_NS).contains(&age) {
            return Err(de::Error::custom("a segment lasts from 100 ms to 1 h"));
        }
        Ok(Some(age))
    }

    fn compression<'de, D: Deserializer<'de>>(deserializer: D) -> Parsed<Compression, D::Error> {
        let text = String::deserialize(deserializer)?;
        let level = text.strip_prefix("zstd(").and_then(|rest| rest.strip_suffix(')')).map(|level| level.trim().parse::<i32>());
        match (text.as_str(), level) {
            ("none", _) => Ok(Some(Compression::None)),
            ("lz4", _) => Ok(Some(Compression::Lz4)),
            ("zstd", _) => Ok(Some(Compression::Zstd(1))),
            (_, Some(Ok(level @ 1..=22))) => Ok(Some(Compression::Zstd(level))),
            _ => Err(de::Error::custom(format!("unknown compression '{text}' (none, lz4, zstd or zstd(1) to zstd(22))"))),
        }
    }

    fn encode<'de, D: Deserializer<'de>>(deserializer: D) -> Parsed<Encode, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_encode(&text).map(Some).map_err(de::Error::custom)
    }

    fn parse_encode(text: &str) -> Result<Encode> {
        let refuse = || Error::invalid(format!("unknown encoding '{text}' (write it like 'jpeg(quality=85, max_width=640)')"));
        let mut encode = Encode { quality: 85, max_width: None };
        let arguments = match text.strip_prefix("jpeg").ok_or_else(refuse)?.trim() {
            "" => "",
            rest => rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).ok_or_else(refuse)?,
        };
        for argument in arguments.split(',').map(str::trim).filter(|argument| !argument.is_empty()) {
            match argument.split_once('=').map(|(name, value)| (name.trim(), value.trim())) {
                Some(("quality", value)) => encode.quality = value.parse().ok().filter(|q| (1..=100).contains(q)).ok_or_else(refuse)?,
                Some(("max_width", value)) => {
                    encode.max_width = Some(value.parse().ok().filter(|w| (8..=65_535).contains(w)).ok_or_else(refuse)?)
                }
                _ => return Err(refuse()),
            }
        }
        Ok(encode)
    }

    fn max_rate<'de, D: Deserializer<'de>>(deserializer: D) -> Parsed<i64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let rate: Option<f64> = text.trim().strip_suffix("Hz").and_then(|number| number.trim().parse().ok());
        match rate.filter(|rate| (1e-6..=1e6).contains(rate)) {
            Some(rate) => Ok(Some((1e9 / rate).round() as i64)),
            None => Err(de::Error::custom(format!("not a rate: '{text}' (write it like '10 Hz')"))),
        }
    }

    fn durability<'de, D: Deserializer<'de>>(deserializer: D) -> Parsed<Option<Duration>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "none" {
            return Ok(Some(None));
        }
        match time::parse_duration(&text).map_err(de::Error::custom)? {
            ns @ 10_000_000..=60_000_000_000 => Ok(Some(Some(Duration::from_nanos(ns as u64)))),
            _ => Err(de::Error::custom(format!("durability of '{text}' (from 10 ms to 60 s, or 'none')"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"
device = "rover-7"
[[buffer]]
name = "raw-cameras"
topics = ["/camera/**"]
ram = { age = "30 s", size = "2 GB" }
[[buffer]]
name = "jpeg-cameras"
topics = ["/camera/**"]
disk = { age = "30 min", size = "40 GB" }
encode = "jpeg(quality=85, max_width=640)"
max_rate = "10 Hz"
[[buffer]]
name = "rest"
topics = ["**", "!/camera/**"]
disk = { age = "24 h", size = "20 GB" }
compression = "zstd"
[[rule]]
name = "hard-brake"
when = "/imu.linear_acceleration.x < -6"
hold = "200 ms"
[[location]]
name = "cloud"
url = "s3://fleet-logs/prod"
"#;

    #[test]
    fn the_sample_of_the_design_is_understood() {
        let config = Config::parse(SAMPLE, "tapeloop.toml").unwrap();
        let names: Vec<&str> = config.buffers.iter().map(|buffer| buffer.name.as_str()).collect();
        assert_eq!(names, ["raw-cameras", "jpeg-cameras", "rest", "recorder"]);
        assert_eq!(config.buffers[0].place, Place::Ram);
        assert_eq!(config.buffers[1].encode, Some(Encode { quality: 85, max_width: Some(640) }));
        assert_eq!(config.buffers[1].min_interval_ns, Some(100_000_000));
        assert_eq!(config.buffers[2].size_bytes, Some(20_000_000_000));
        assert_eq!(config.notes.len(), 2);
        assert!(config.notes[0].contains("not yet active"));
    }

    #[test]
    fn mistakes_are_answered_with_their_line() {
        let check = |text: &str, line: usize, part: &str| {
            let error = Config::parse(text, "t.toml").unwrap_err().to_string();
            assert!(error.starts_with(&format!("t.toml line {line}:")) && error.contains(part), "{error}");
        };
        check("\ndevise = 'x'", 2, "devise");
        check("device = 'my robot'", 1, "my robot");
        check("[[buffer]]\nname = 'a'", 2, "needs a depth");
        check("[[buffer]]\nname = 'a'\nram = '1 s'\ndisk = '1 s'", 2, "not both");
        check("[[buffer]]\nname = 'a'\ndisk = '0 s'", 3, "keep nothing");
        check("[[buffer]]\nname = 'a'\ndisk = '12 parsecs'", 3, "12 parsecs");
        check("[[buffer]]\nname = 'a'\ndisk = '1 h'\n[[buffer]]\nname = 'a'\ndisk = '1 h'", 5, "another buffer");
        check("[[buffer]]\nname = 'a'\ndisk = '1 h'\ncompression = 'rar'", 4, "rar");
        check("[[buffer]]\nname = 'a'\ndisk = '1 h'\nencode = 'jpeg(quality=0)'", 4, "quality=0");
        check("[[buffer]]\nname = 'a'\ndisk = '1 h'\ntopics = []", 2, "no topics");
        check("[segment]\nsize = '1 B'", 2, "4 KiB");
        check("[[buffer]]\nname = 'recorder'\ndisk = '1 h'", 2, "recorder's own");
        check("device = ", 1, "");
    }

    #[test]
    fn an_empty_file_keeps_everything() {
        let config = Config::empty();
        assert_eq!(config.buffers.len(), 2);
        assert!(config.buffers[0].topics.matches("/anything"));
        assert!(!config.is_latched("/imu"));
    }
}
