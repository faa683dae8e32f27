//! `kind = "prometheus"`: asks programs for their metrics, as Prometheus does.
//!
//! In come pages in the text exposition format, fetched over plain HTTP; out goes a message per sample on `/metrics/<name>`, of the
//! shape that OpenTelemetry's metrics have, and one per look on `/metrics/up`. A thread per target, so that one that hangs costs the
//! others nothing.
//!
//! **Invariant:** a target that does not answer is data: `up` is 0, an event says why, and when it is back a loss says from when to when.

mod exposition;
mod fetch;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use recording::{Error, Result, time};
use serde::Deserialize;
use serde_json::json;

use self::exposition::{Page, Sample};
use self::fetch::Target;
use super::json::{comma, special_float, text, unsigned};
use super::record::{NAME_LIMIT, cut, metric_spec, open};
use super::{Intake, Source, options};
use crate::config::SourceConfig;
use crate::stop::StopFlag;
use crate::tape::channel::{Channel, Times};

/// How often it asks unless somebody says otherwise.
const DEFAULT_INTERVAL: &str = "5 s";
/// The shortest interval.
const SHORTEST_NS: i64 = 100_000_000;
/// How long a target has to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many targets one source may have.
const TARGET_LIMIT: usize = 64;
/// How many samples of one target are taken in one look.
const SERIES_LIMIT: usize = 50_000;
/// The topic that says whether targets answer.
const UP: &str = "up";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    targets: Vec<String>,
    interval: Option<String>,
}

struct Prometheus {
    targets: Vec<Target>,
    interval: Duration,
}

pub(super) fn make(config: &SourceConfig) -> Result<Box<dyn Source>> {
    let Options { targets, interval } = options(config)?;
    if targets.is_empty() || targets.len() > TARGET_LIMIT {
        return Err(Error::invalid(format!("{} targets; from 1 to {TARGET_LIMIT}", targets.len())));
    }
    let interval_ns = time::parse_duration(interval.as_deref().unwrap_or(DEFAULT_INTERVAL))?;
    if interval_ns < SHORTEST_NS {
        return Err(Error::invalid("interval is at least 100 ms"));
    }
    let targets = targets.iter().map(|target| Target::parse(target)).collect::<Result<_>>()?;
    Ok(Box::new(Prometheus { targets, interval: Duration::from_nanos(interval_ns as u64) }))
}

impl Source for Prometheus {
    fn run(&mut self, intake: &Arc<Intake>, stop: &StopFlag) -> Result<()> {
        let every = time::format_duration(self.interval.as_nanos() as i64);
        intake.note(format!("asks {} targets every {every}", self.targets.len()));
        let interval = self.interval;
        thread::scope(|scope| {
            let threads: Vec<_> = (self.targets.iter())
                .map(|target| {
                    let thread = thread::Builder::new().name(format!("scrape-{}", target.name));
                    let scrape = || Scraper::new(intake, target).run(interval, stop);
                    thread.spawn_scoped(scope, scrape).map_err(|error| Error::io("cannot start a thread for a target", error))
                })
                .collect();
            // The others go on until the source is to end; then it is told why one of them could not.
            threads.into_iter().try_for_each(|thread| thread?.join().map_err(|_| Error::unavailable("the thread of a target panicked"))?)
        })
    }
}

/// What one target has said.
struct Scraper<'a> {
    intake: &'a Intake,
    target: &'a Target,
    channels: HashMap<String, Arc<Channel>>,
    /// The last value of each counter, by its name and labels as they stand on the page.
    counters: HashMap<String, f64>,
    /// How many samples there were the last time.
    samples: u64,
    /// When it answered the last time, and since then how often it did not.
    answered_ns: i64,
    missed: u64,
    payload: String,
}

impl<'a> Scraper<'a> {
    fn new(intake: &'a Intake, target: &'a Target) -> Self {
        let answered_ns = intake.now_ns();
        let (channels, counters) = (HashMap::new(), HashMap::new());
        Self { intake, target, channels, counters, samples: 0, answered_ns, missed: 0, payload: String::new() }
    }

    fn run(mut self, interval: Duration, stop: &StopFlag) -> Result<()> {
        loop {
            let began_ns = self.intake.monotonic_ns();
            let answer = fetch::fetch(self.target, PATIENCE, &|| self.intake.monotonic_ns(), stop);
            if stop.is_set() {
                break;
            }
            let took_ns = self.intake.monotonic_ns().saturating_sub(began_ns).max(0) as u64;
            match answer {
                Ok(page) => self.take(&String::from_utf8_lossy(&page), took_ns)?,
                Err(error) => self.miss(&error, took_ns)?,
            }
            if stop.wait(interval.saturating_sub(Duration::from_nanos(took_ns))) {
                break;
            }
        }
        self.tell_missed();
        Ok(())
    }

    /// Logs the samples of a page.
    fn take(&mut self, page: &str, took_ns: u64) -> Result<()> {
        if self.missed > 0 {
            let name = &self.target.name;
            self.intake.event("target_back", &format!("'{name}' answers again"), json!({ "target": name, "missed": self.missed }));
        }
        self.tell_missed();
        self.answered_ns = self.intake.now_ns();
        let (mut samples, mut wrong) = (0, 0u64);
        let mut reader = Page::new(page);
        let mut why = String::new();
        while let Some(sample) = reader.next() {
            let taken = match sample {
                Ok(_) if samples >= SERIES_LIMIT as u64 => Err(Error::invalid(format!("more than {SERIES_LIMIT} samples"))),
                Ok(sample) => {
                    samples += 1;
                    let kind = reader.kind_of(sample.name);
                    self.log(&sample, kind)
                }
                Err(wrong) => Err(Error::invalid(wrong)),
            };
            match taken {
                Err(error) if error.kind() == recording::Kind::Invalid => {
                    wrong += 1;
                    if why.is_empty() {
                        why = format!("of '{}': {error}", self.target.name);
                    }
                }
                // What the tape lost is told already.
                _ => {}
            }
        }
        if wrong > 0 {
            self.intake.refuse(&why);
            (1..wrong).for_each(|_| self.intake.refuse_more());
        }
        self.samples = samples;
        self.up(1, took_ns)
    }

    fn log(&mut self, sample: &Sample<'_>, kind: &str) -> Result<()> {
        let channel = self.channel(sample.name)?;
        // A counter that is less than it was began anew: its program did.
        let mut is_reset = false;
        if kind == "counter" && (self.counters.len() < SERIES_LIMIT || self.counters.contains_key(sample.series)) {
            is_reset = self.counters.get(sample.series).is_some_and(|before| sample.value < *before);
            match self.counters.get_mut(sample.series) {
                Some(value) => *value = sample.value,
                None => drop(self.counters.insert(sample.series.to_owned(), sample.value)),
            }
        }
        let out = &mut self.payload;
        out.clear();
        out.push_str("{\"kind\":\"");
        out.push_str(kind);
        out.push_str("\",\"value\":");
        special_float(out, "value", sample.value);
        if is_reset {
            out.push_str(",\"reset\":true");
        }
        out.push_str(",\"attributes\":{");
        for (i, (name, value)) in sample.labels.iter().enumerate() {
            comma(out, i);
            text(out, name);
            out.push(':');
            text(out, value);
        }
        out.push_str("},\"resource\":{\"target\":");
        text(out, &self.target.name);
        out.push_str("}}");
        let publish_time_ns = sample.timestamp_ms.and_then(|ms| ms.checked_mul(1_000_000)).filter(|ns| *ns >= 0);
        let times = Times { log_time_ns: Some(self.intake.now_ns()), publish_time_ns };
        self.intake.log(&channel, self.payload.as_bytes().into(), times)
    }

    fn channel(&mut self, name: &str) -> Result<Arc<Channel>> {
        let name = cut(name, NAME_LIMIT);
        if let Some(channel) = self.channels.get(name) {
            return Ok(channel.clone());
        }
        let channel = open(self.intake, metric_spec(name)?)?;
        self.channels.insert(name.to_owned(), channel.clone());
        Ok(channel)
    }

    fn miss(&mut self, error: &Error, took_ns: u64) -> Result<()> {
        let name = &self.target.name;
        if self.missed == 0 {
            let message = format!("'{name}' does not answer: {error}");
            self.intake.event("target_away", &message, json!({ "target": name, "error": error.to_string() }));
        }
        self.missed += 1;
        self.up(0, took_ns)
    }

    /// Says what was missed while the target was away.
    fn tell_missed(&mut self) {
        let missed = std::mem::take(&mut self.missed);
        if missed > 0 {
            let reason = format!("'{}' did not answer {missed} times", self.target.name);
            let span = (self.answered_ns, self.intake.now_ns());
            self.intake.lose_between(&format!("/metrics/{UP}"), span, Some(missed.saturating_mul(self.samples.max(1))), 0, reason);
        }
    }

    fn up(&mut self, value: u64, took_ns: u64) -> Result<()> {
        let channel = self.channel(UP)?;
        let out = &mut self.payload;
        out.clear();
        out.push_str("{\"kind\":\"gauge\",\"value\":");
        unsigned(out, value);
        out.push_str(",\"attributes\":{\"samples\":");
        unsigned(out, if value > 0 { self.samples } else { 0 });
        out.push_str(",\"took_ns\":");
        unsigned(out, took_ns);
        out.push_str("},\"resource\":{\"target\":");
        text(out, &self.target.name);
        out.push_str("}}");
        // What the tape cannot take is a loss, and no reason to ask this target no more.
        let _ = self.intake.log(&channel, self.payload.as_bytes().into(), Times::default());
        Ok(())
    }
}
