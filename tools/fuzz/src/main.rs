//! Feeds damaged and invented bytes to every parser and decoder of foreign bytes.
//!
//! Each target runs in a process of its own, so that one that dies or hangs is a finding like any other. In a build that counts
//! which code was reached (`make fuzz`), inputs that reach new code are kept and damaged further; else the seeds are.
//!
//! **Invariant:** the same target, seed and number of inputs give the same inputs, in a build that does not count; every finding
//! leaves its input in a file that reproduces it.

mod coverage;
mod memory;
mod mutate;
mod one;
mod seeds;
mod targets;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::targets::{SELF_TESTS, TARGETS, Target};

/// How much longer than it should a target's process may take before it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often processes are looked at.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Parser)]
#[command(about = "Feeds damaged and invented bytes to every parser and decoder")]
struct Arguments {
    /// Only targets with this in their names; without any, all.
    targets: Vec<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What random numbers begin with.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many targets run at once.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Where inputs that were findings are left.
    #[arg(long, default_value = "fuzz-findings")]
    findings: PathBuf,
    /// A folder with recordings to begin from.
    #[arg(long, env = "TAPELOOP_TEST_DATA")]
    data: Option<PathBuf>,
    /// Feed one file to the targets instead.
    #[arg(long)]
    input: Option<PathBuf>,
    /// Run in this process: what a child is told.
    #[arg(long, hide = true)]
    here: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("tapeloop-fuzz: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs the targets; returns whether nothing was found.
fn run(arguments: &Arguments) -> Result<bool> {
    let is_chosen = |target: &&Target| arguments.targets.is_empty() || arguments.targets.iter().any(|name| target.name.contains(name));
    let is_named = |target: &&Target| arguments.targets.iter().any(|name| target.name == name);
    let mut chosen: Vec<&Target> = TARGETS.iter().filter(is_chosen).chain(SELF_TESTS.iter().filter(is_named)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        bail!("no such target; there are {}", names.join(", "));
    }
    if let Some(path) = &arguments.input {
        let input = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        return Ok(chosen.iter().all(|target| one::survives(target, &input)));
    }
    if arguments.here {
        let options = one::Options {
            duration: Duration::from_secs(arguments.seconds),
            seed: arguments.seed,
            findings: &arguments.findings,
            data: arguments.data.as_deref(),
        };
        // Names of others may begin with its name.
        let target = chosen.iter().find(|target| is_named(target)).unwrap_or(&chosen[0]);
        return one::run(target, &options);
    }
    std::fs::create_dir_all(&arguments.findings).with_context(|| format!("making {}", arguments.findings.display()))?;
    chosen.reverse();
    let mut running = Vec::new();
    let mut is_clean = true;
    while !chosen.is_empty() || !running.is_empty() {
        while running.len() < arguments.jobs.max(1)
            && let Some(target) = chosen.pop()
        {
            running.push(Running::start(target, arguments)?);
        }
        std::thread::sleep(LOOK);
        let mut left = Vec::new();
        for mut one in running {
            match one.ended()? {
                Some(was_clean) => is_clean &= was_clean,
                None => left.push(one),
            }
        }
        running = left;
    }
    Ok(is_clean)
}

/// A target in a process of its own.
struct Running<'a> {
    target: &'a Target,
    child: Child,
    deadline: Instant,
    findings: &'a Path,
}

impl<'a> Running<'a> {
    fn start(target: &'a Target, arguments: &'a Arguments) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--here", "--seconds", &arguments.seconds.to_string(), "--seed", &arguments.seed.to_string(), "--findings"]);
        command.arg(&arguments.findings).arg(target.name);
        if let Some(data) = &arguments.data {
            command.arg("--data").arg(data);
        }
        let child = command.spawn().with_context(|| format!("starting {}", target.name))?;
        let deadline = now() + Duration::from_secs(arguments.seconds) + PATIENCE;
        Ok(Self { target, child, deadline, findings: &arguments.findings })
    }

    /// Returns whether nothing was found, once the process has ended.
    fn ended(&mut self) -> Result<Option<bool>> {
        let input = one::current(self.findings, self.target);
        if let Some(status) = self.child.try_wait()? {
            if status.code().is_some_and(|code| code < 2) {
                // The input is left only where the process did not end by itself.
                let _ = std::fs::remove_file(&input);
                return Ok(Some(status.success()));
            }
            eprintln!("{}: died ({status}), see {}", self.target.name, input.display());
            return Ok(Some(false));
        }
        if now() < self.deadline {
            return Ok(None);
        }
        self.child.kill()?;
        self.child.wait()?;
        eprintln!("{}: hangs, see {}", self.target.name, input.display());
        Ok(Some(false))
    }
}

/// Returns the time.
#[expect(clippy::disallowed_methods, reason = "how long a program runs is what it is asked for")]
fn now() -> Instant {
    Instant::now()
}
