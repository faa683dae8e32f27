//! `kind = "prometheus"`: asks programs for their metrics, as Prometheus does.
//!
//! In come pages in the text exposition format, fetched over plain HTTP; out goes a message per sample on `/metrics/<name>`, of the
//! shape that OpenTelemetry's metrics have, and one per look on `/metrics/up`. A thread per target, so that one that hangs costs the
//! others nothing.
//!
//! **Invariant:** a target that does not answer is data: `up` is 0, an event says why, and when it is back losses of its topics say
//! from when to when.

mod exposition;
mod fetch;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use recording::{Error, Result, time};
use serde::Deserialize;
use serde_json::json;

use self::exposition::{Page, Sample};
use self::fetch::Target;
use super::http::runtime;
use super::json::{comma, special_float, text, unsigned};
use super::record::{Channels, NAME_LIMIT, cut, metric_spec, open};
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
/// How often it looks whether it is to end, or one of its threads did.
const STEP: Duration = Duration::from_millis(200);
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
        // Opened first: whether targets answer is told also when there is no room for another topic.
        let up = open(intake, metric_spec(UP)?)?;
        let end = StopFlag::default();
        thread::scope(|scope| {
            let threads: Result<Vec<_>> = (self.targets.iter())
                .map(|target| {
                    let thread = thread::Builder::new().name(format!("scrape-{}", target.name));
                    let scraper = Scraper::new(intake, target, up.clone());
                    let spawned = thread.spawn_scoped(scope, || scraper.run(interval, &end));
                    spawned.map_err(|error| Error::io("cannot start a thread for a target", error))
                })
                .collect();
            let threads = threads.inspect_err(|_| end.set())?;
            // If one of them ends by itself, all are run again.
            while !stop.wait(STEP) && !threads.iter().any(ScopedJoinHandle::is_finished) {}
            end.set();
            let panicked = |_| Err(Error::unavailable("the thread of a target panicked"));
            let ended: Vec<Result<()>> = threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect();
            ended.into_iter().collect()
        })
    }
}

/// What one target has said.
struct Scraper<'a> {
    intake: &'a Intake,
    target: &'a Target,
    up: Arc<Channel>,
    channels: Channels,
    /// The channels of the last page, with how many samples each had.
    on_page: HashMap<u16, (Arc<Channel>, u64)>,
    /// The value of each counter of the last page, by its name and labels as they stand there; and of the page before.
    counters: HashMap<String, f64>,
    counters_before: HashMap<String, f64>,
    /// How many samples there were the last time.
    samples: u64,
    /// When it answered the last time, and since then how often it did not.
    answered_ns: i64,
    missed: u64,
    payload: String,
}

impl<'a> Scraper<'a> {
    fn new(intake: &'a Intake, target: &'a Target, up: Arc<Channel>) -> Self {
        Self {
            intake,
            target,
            up,
            channels: Channels::default(),
            on_page: HashMap::new(),
            counters: HashMap::new(),
            counters_before: HashMap::new(),
            samples: 0,
            answered_ns: intake.now_ns(),
            missed: 0,
            payload: String::new(),
        }
    }

    fn run(mut self, interval: Duration, stop: &StopFlag) -> Result<()> {
        let runtime = runtime()?;
        loop {
            let began_ns = self.intake.monotonic_ns();
            let answer = runtime.block_on(async {
                tokio::select! {
                    answer = fetch::fetch(self.target, PATIENCE) => Some(answer),
                    () = stop.until_set() => None,
                }
            });
            let took_ns = self.intake.monotonic_ns().saturating_sub(began_ns).max(0) as u64;
            match answer {
                None => break,
                Some(Ok(page)) => self.take(&String::from_utf8_lossy(&page), took_ns),
                Some(Err(error)) => self.miss(&error, took_ns),
            }
            if stop.wait(interval.saturating_sub(Duration::from_nanos(took_ns))) {
                break;
            }
        }
        self.tell_missed();
        // Nobody waits for a name that is still being looked up.
        runtime.shutdown_background();
        Ok(())
    }

    /// Logs the samples of a page.
    fn take(&mut self, page: &str, took_ns: u64) {
        if self.missed > 0 {
            let name = &self.target.name;
            self.intake.event("target_back", &format!("'{name}' answers again"), json!({ "target": name, "missed": self.missed }));
        }
        self.tell_missed();
        self.answered_ns = self.intake.now_ns();
        self.on_page.clear();
        std::mem::swap(&mut self.counters, &mut self.counters_before);
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
            self.intake.refuse_many(&why, wrong);
        }
        self.counters_before.clear();
        self.samples = samples;
        self.up(1, took_ns);
    }

    fn log(&mut self, sample: &Sample<'_>, kind: &str) -> Result<()> {
        let name = cut(sample.name, NAME_LIMIT);
        let channel = self.channels.get(self.intake, name, || metric_spec(name))?;
        self.on_page.entry(channel.id()).or_insert_with(|| (channel.clone(), 0)).1 += 1;
        // A counter that is less than it was began anew: its program did.
        let mut is_reset = false;
        if kind == "counter" {
            let before = self.counters_before.remove_entry(sample.series);
            is_reset = before.as_ref().is_some_and(|(_, before)| sample.value < *before);
            let series = before.map_or_else(|| sample.series.to_owned(), |(series, _)| series);
            self.counters.insert(series, sample.value);
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

    fn miss(&mut self, error: &Error, took_ns: u64) {
        let name = &self.target.name;
        if self.missed == 0 {
            let message = format!("'{name}' does not answer: {error}");
            self.intake.event("target_away", &message, json!({ "target": name, "error": error.to_string() }));
        }
        self.missed += 1;
        self.up(0, took_ns);
    }

    /// Says what was missed while the target was away, of each topic that it had before.
    fn tell_missed(&mut self) {
        let missed = std::mem::take(&mut self.missed);
        let span = (self.answered_ns, self.intake.now_ns());
        for (channel, samples) in self.on_page.values().filter(|_| missed > 0) {
            let reason = format!("'{}' did not answer {missed} times", self.target.name);
            self.intake.lose_between(&channel.topic().name, span, Some(missed.saturating_mul(*samples)), 0, reason);
        }
    }

    fn up(&mut self, value: u64, took_ns: u64) {
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
        let _ = self.intake.log(&self.up, self.payload.as_bytes().into(), Times::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::{Leave, OpenOptions, Tape};

    #[test]
    fn an_outage_is_a_loss_of_the_topics_that_have_the_hole() {
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions { device: Some("rover".into()), threads: false, ..OpenOptions::default() };
        let tape = Tape::open(folder.path(), Config::empty(), options).unwrap();
        let intake = Intake::new(tape.clone(), "prometheus".into(), None);
        let target = Target::parse("127.0.0.1:9100").unwrap();
        let up = open(&intake, metric_spec(UP).unwrap()).unwrap();
        let mut scraper = Scraper::new(&intake, &target, up);
        scraper.miss(&Error::unavailable("not yet there"), 1);
        scraper.take("old 1\n", 1);
        scraper.take("# TYPE laps counter\nlaps{track=\"a\"} 7\nlaps{track=\"b\"} 8\nload 0.5\n", 1);
        assert_eq!(scraper.counters.len(), 2);
        scraper.miss(&Error::unavailable("gone"), 1);
        scraper.miss(&Error::unavailable("gone"), 1);
        scraper.take("# TYPE laps counter\nlaps{track=\"a\"} 1\n", 1);
        // Counters that are not on the page any more are forgotten.
        assert_eq!((scraper.counters.len(), scraper.counters_before.len()), (1, 0));
        tape.turn();
        let mut lost: Vec<(String, u64)> =
            tape.view().losses.into_iter().map(|loss| (loss.topic.unwrap(), loss.messages.unwrap())).collect();
        lost.sort();
        assert_eq!(lost, [("/metrics/laps".into(), 4), ("/metrics/load".into(), 2)]);
        tape.close(Leave::CutShort).unwrap();
    }

    #[test]
    fn a_target_that_says_nothing_does_not_keep_it_from_ending() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions { device: Some("rover".into()), ..OpenOptions::default() };
        let tape = Tape::open(folder.path(), Config::empty(), options).unwrap();
        let intake = Arc::new(Intake::new(tape.clone(), "prometheus".into(), None));
        let target = Target::parse(&silent.local_addr().unwrap().to_string()).unwrap();
        let stop = StopFlag::default();
        let mut source = Prometheus { targets: vec![target], interval: Duration::from_secs(3600) };
        thread::scope(|scope| {
            let running = scope.spawn(|| source.run(&intake, &stop));
            let _connection = silent.accept().unwrap();
            stop.set();
            running.join().unwrap().unwrap();
        });
        // It was not waited for: a miss would have been told.
        assert_eq!(intake.counters.messages.load(std::sync::atomic::Ordering::Relaxed), 0);
        tape.close(Leave::CutShort).unwrap();
    }
}
