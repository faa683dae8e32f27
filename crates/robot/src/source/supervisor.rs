//! Runs the sources, each on a thread of its own, and runs them again when they fail.
//!
//! **Invariant:** what runs is what the configuration in force says; a source that does not end when it is told to is left behind.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use recording::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Source;
use super::intake::Intake;
use crate::Tape;
use crate::config::SourceConfig;
use crate::stop::StopFlag;

/// How long a source rests after it failed for the first time; each time it is twice as long.
const FIRST_REST: Duration = Duration::from_millis(500);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// How long a source must have run for its earlier failures to be forgotten.
const GOOD_RUN_NS: i64 = 60_000_000_000;
/// How long sources have to end.
const END_PATIENCE: Duration = Duration::from_secs(3);

/// The options that name a file with a secret.
const SECRET_FILES: [&str; 2] = ["token_file", "password_file"];
/// How much of such a file is looked at.
const SECRET_LIMIT: u64 = 1 << 20;

/// What a source is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// It feeds.
    #[default]
    Running,
    /// It failed, and is run again soon.
    Waiting,
    /// It has nothing left to feed.
    Ended,
}

/// What status says of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// What it is doing.
    pub state: SourceState,
    /// What it says of itself, e.g. where it listens.
    pub note: Option<String>,
    /// How many messages it logged.
    pub messages: u64,
    /// How many payload bytes.
    pub bytes: u64,
    /// How many messages it knows not to have.
    pub lost: u64,
    /// How many pieces of input it could not use.
    pub refused: u64,
    /// When it logged the last time; ns UTC.
    pub last_ns: Option<Timestamp>,
    /// How often it failed.
    pub failures: u64,
    /// Why it failed the last time.
    pub last_error: Option<String>,
}

/// Makes a source from its configuration.
type Make = fn(&SourceConfig) -> Result<Box<dyn Source>>;

/// All sources of a tape.
pub(crate) struct Sources {
    tape: Tape,
    make: Make,
    running: Mutex<BTreeMap<String, Running>>,
}

struct Running {
    config: SourceConfig,
    secret: Option<blake3::Hash>,
    intake: Arc<Intake>,
    life: Arc<Mutex<Life>>,
    stop: StopFlag,
    ended: StopFlag,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Life {
    state: SourceState,
    failures: u64,
    last_error: Option<String>,
}

impl Sources {
    pub(crate) fn new(tape: Tape) -> Self {
        Self { tape, make: super::make, running: Mutex::default() }
    }

    /// Returns whether all of these can be made.
    ///
    /// # Errors
    /// `Invalid`, naming the line.
    pub(crate) fn check(configs: &[SourceConfig]) -> Result<()> {
        configs.iter().try_for_each(|config| super::make(config).map(drop))
    }

    /// Starts what is new in `configs`, and ends what is not there any more. What stays as it was goes on, unless the secret that it
    /// has in a file is another one.
    ///
    /// # Errors
    /// `Unavailable` if there can be no thread.
    pub(crate) fn apply(&self, configs: &[SourceConfig]) -> Result<()> {
        let mut running = self.running.lock();
        let (stay, go): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut *running).into_iter().partition(|(_, source)| source.stays(configs));
        *running = stay;
        self.end(go);
        for config in configs {
            if !running.contains_key(&config.name) {
                running.insert(config.name.clone(), self.start(config.clone())?);
            }
        }
        Ok(())
    }

    /// Ends all.
    pub(crate) fn stop(&self) {
        let all = std::mem::take(&mut *self.running.lock());
        self.end(all);
    }

    /// Returns what status says of them.
    pub(crate) fn status(&self) -> Vec<SourceStatus> {
        self.running.lock().values().map(Running::status).collect()
    }

    fn start(&self, config: SourceConfig) -> Result<Running> {
        let intake = Arc::new(Intake::new(self.tape.clone(), config.name.clone(), config.limit_bytes_per_s));
        let secret = secret_of(&config);
        let (life, stop, ended) = (Arc::<Mutex<Life>>::default(), StopFlag::default(), StopFlag::default());
        let run = Run { make: self.make, config: config.clone(), intake: intake.clone(), life: life.clone(), stop: stop.clone() };
        let (tape, at_end) = (self.tape.clone(), ended.clone());
        let thread = thread::Builder::new().name(format!("source-{}", config.name)).spawn(move || {
            run.until_stopped(&tape);
            run.intake.end();
            at_end.set();
        });
        let thread = thread.map_err(|error| Error::io("cannot start a thread for a source", error))?;
        Ok(Running { config, secret, intake, life, stop, ended, thread })
    }

    /// Tells sources to end, and waits for them a little.
    fn end(&self, sources: BTreeMap<String, Running>) {
        for source in sources.values() {
            source.stop.set();
        }
        let until_ns = self.tape.clock().monotonic_ns().saturating_add(END_PATIENCE.as_nanos() as i64);
        for (name, source) in sources {
            let left_ns = until_ns.saturating_sub(self.tape.clock().monotonic_ns()).max(0);
            if source.ended.wait(Duration::from_nanos(left_ns as u64)) {
                let _ = source.thread.join();
            } else {
                let message = format!("source '{name}' does not end and is left behind");
                self.tape.report_event("source_hangs", &message, json!({ "source": name }));
            }
        }
    }
}

impl Running {
    fn stays(&self, configs: &[SourceConfig]) -> bool {
        configs.contains(&self.config) && self.secret == secret_of(&self.config)
    }

    fn status(&self) -> SourceStatus {
        let (life, counters) = (self.life.lock(), &self.intake.counters);
        let last_ns = counters.last_ns.load(Ordering::Relaxed);
        SourceStatus {
            name: self.config.name.clone(),
            kind: self.config.kind.clone(),
            state: life.state,
            note: self.intake.note.lock().clone(),
            messages: counters.messages.load(Ordering::Relaxed),
            bytes: counters.bytes.load(Ordering::Relaxed),
            lost: counters.lost.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            last_ns: (last_ns > 0).then_some(last_ns),
            failures: life.failures,
            last_error: life.last_error.clone(),
        }
    }
}

/// What the thread of a source has.
struct Run {
    make: Make,
    config: SourceConfig,
    intake: Arc<Intake>,
    life: Arc<Mutex<Life>>,
    stop: StopFlag,
}

impl Run {
    fn until_stopped(&self, tape: &Tape) {
        let mut rest = FIRST_REST;
        while !self.stop.is_set() {
            let began_ns = tape.clock().monotonic_ns();
            self.life.lock().state = SourceState::Running;
            let outcome = catch_unwind(AssertUnwindSafe(|| (self.make)(&self.config)?.run(&self.intake, &self.stop)));
            let error = match outcome {
                _ if self.stop.is_set() => return,
                Ok(Ok(())) => {
                    self.life.lock().state = SourceState::Ended;
                    return;
                }
                Ok(Err(error)) => error.to_string(),
                Err(panic) => format!("panicked: {}", panic_text(&*panic)),
            };
            if tape.clock().monotonic_ns().saturating_sub(began_ns) >= GOOD_RUN_NS {
                rest = FIRST_REST;
            }
            self.tell_failure(tape, &error, rest);
            if self.stop.wait(with_jitter(rest, began_ns)) {
                return;
            }
            rest = (rest * 2).min(LONGEST_REST);
        }
    }

    fn tell_failure(&self, tape: &Tape, error: &str, rest: Duration) {
        let name = &self.config.name;
        // It does not listen there any more, nor is it connected.
        *self.intake.note.lock() = None;
        let failures = {
            let mut life = self.life.lock();
            life.state = SourceState::Waiting;
            life.failures += 1;
            life.last_error = Some(error.to_owned());
            life.failures
        };
        let message = format!("source '{name}' failed and is run again in about {:.1} s: {error}", rest.as_secs_f64());
        tape.report_event("source_failed", &message, json!({ "source": name, "error": error, "failures": failures }));
    }
}

/// Returns the hash of what stands in the file that an option of the source names as its secret.
fn secret_of(config: &SourceConfig) -> Option<blake3::Hash> {
    let path = SECRET_FILES.iter().find_map(|option| config.options.get(*option)?.as_str())?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path).ok()?.take(SECRET_LIMIT)).ok()?;
    Some(hasher.finalize())
}

/// Returns a rest that is up to a quarter shorter, so that robots that lost the same server do not come back together.
fn with_jitter(rest: Duration, seed_ns: i64) -> Duration {
    let share = seed_ns.rem_euclid(1000) as f64 / 1000.0;
    rest.mul_f64(1.0 - share / 4.0)
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::tape::channel::Times;
    use crate::{Leave, OpenOptions};

    /// Does what its name says.
    struct Odd(String);

    impl Source for Odd {
        fn run(&mut self, intake: &Arc<Intake>, stop: &StopFlag) -> Result<()> {
            match self.0.as_str() {
                "panics" => panic!("on purpose"),
                "fails" => Err(Error::unavailable("the broker is away")),
                "ends" => Ok(()),
                "hangs" => loop {
                    thread::park();
                },
                _ => {
                    let channel = intake.json_channel("/good", "Good", &json!({ "x": 1 }))?;
                    while !stop.wait(Duration::from_millis(1)) {
                        intake.log(&channel, b"{}".as_slice().into(), Times::default())?;
                    }
                    Ok(())
                }
            }
        }
    }

    fn config(name: &str, line: usize) -> SourceConfig {
        SourceConfig { name: name.into(), kind: "odd".into(), limit_bytes_per_s: None, options: toml::Table::new(), line }
    }

    fn until(what: &str, mut is_so: impl FnMut() -> bool) {
        // Patience, and no measurement: everything here takes milliseconds.
        assert!((0..20_000).any(|_| is_so() || StopFlag::default().wait(Duration::from_millis(1))), "waited in vain until {what}");
    }

    #[test]
    fn one_that_fails_or_hangs_costs_the_others_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        let options = OpenOptions { device: Some("rover".into()), ..OpenOptions::default() };
        let tape = Tape::open(folder.path().join("tape").as_path(), Config::empty(), options).unwrap();
        let sources = Sources { make: |config| Ok(Box::new(Odd(config.name.clone()))), ..Sources::new(tape.clone()) };
        let names = ["ends", "fails", "good", "hangs", "panics"];
        sources.apply(&names.map(|name| config(name, 1))).unwrap();
        let of = |name: &str| sources.status().into_iter().find(|source| source.name == name).unwrap();
        until("those that fail have failed twice", || of("fails").failures >= 2 && of("panics").failures >= 2);
        assert_eq!(of("fails").last_error.unwrap(), "the broker is away");
        assert_eq!(of("panics").last_error.unwrap(), "panicked: on purpose");
        assert_eq!((of("ends").state, of("hangs").state), (SourceState::Ended, SourceState::Running));
        let before = of("good").messages;
        until("the good one goes on", || of("good").messages > before);
        // What changed is started anew, what stays goes on wherever it stands in the file, what went is gone.
        let with_token = |line| {
            let options = toml::Table::from_iter([("token_file".into(), token.display().to_string().into())]);
            SourceConfig { options, ..config("fails", line) }
        };
        std::fs::write(&token, "first").unwrap();
        sources.apply(&[config("good", 2), with_token(3)]).unwrap();
        assert_eq!(sources.status().iter().map(|source| source.name.as_str()).collect::<Vec<_>>(), ["fails", "good"]);
        assert!(of("good").messages > before && of("fails").failures <= 1);
        // So is one whose token in a file is another one.
        let lives = || sources.running.lock().values().map(|source| source.life.clone()).collect::<Vec<_>>();
        let first = lives();
        let goes_on = |index: usize| Arc::ptr_eq(&first[index], &lives()[index]);
        sources.apply(&[with_token(4), config("good", 5)]).unwrap();
        assert!(goes_on(0) && goes_on(1));
        std::fs::write(&token, "second").unwrap();
        sources.apply(&[with_token(4), config("good", 5)]).unwrap();
        assert!(!goes_on(0) && goes_on(1));
        sources.stop();
        tape.close(Leave::CutShort).unwrap();
    }
}
