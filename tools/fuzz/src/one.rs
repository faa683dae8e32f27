//! One target: inputs are made, fed and judged until the time is up.
//!
//! **Invariant:** an input stands in a file before it is fed, so that it is there when the process is not.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::coverage::Coverage;
use crate::memory;
use crate::mutate::Mutator;
use crate::now;
use crate::targets::Target;

/// How long one input may take.
const SLOW: Duration = Duration::from_secs(10);

/// How large an input may become.
const INPUT_LIMIT: usize = 256 << 10;

/// How many bytes of memory an input may cost, beside so many for each of its bytes.
const MEMORY_LIMIT: usize = 256 << 20;
const MEMORY_PER_BYTE: usize = 512;

/// How many inputs are kept to be damaged further.
const CORPUS_LIMIT: usize = 20_000;

/// How a target runs.
pub(crate) struct Options<'a> {
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
    pub(crate) findings: &'a Path,
    pub(crate) data: Option<&'a Path>,
}

/// Returns where the input that a target is being fed stands.
pub(crate) fn current(findings: &Path, target: &Target) -> PathBuf {
    findings.join(format!("{}.current", target.name))
}

/// Runs a target; returns whether nothing was found.
pub(crate) fn run(target: &Target, options: &Options<'_>) -> Result<bool> {
    // The reader of parquet panics on damage and is caught where it is called: only panics that get here are told.
    std::panic::set_hook(Box::new(|panic| *last_panic() = panic.to_string()));
    let mut corpus = (target.seeds)(options.data);
    corpus.retain(|seed| seed.len() <= INPUT_LIMIT);
    corpus.push(Vec::new());
    let path = current(options.findings, target);
    let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    let (mut mutator, mut coverage) = (Mutator::new(options.seed, target.name), Coverage::new());
    let end = now() + options.duration;
    let seeds = corpus.len();
    let mut fed = 0_u64;
    while now() < end {
        let is_seed = (fed as usize) < seeds;
        let input = if is_seed { corpus[fed as usize].clone() } else { mutator.make(&corpus, INPUT_LIMIT) };
        file.set_len(0)?;
        file.write_all_at(&input, 0)?;
        fed += 1;
        if !survives(target, &input) {
            let kept = options.findings.join(format!("{}-{fed}.bin", target.name));
            std::fs::write(&kept, &input).with_context(|| format!("writing {}", kept.display()))?;
            eprintln!("{}: see {}; again with --input {} {}", target.name, kept.display(), kept.display(), target.name);
            return Ok(false);
        }
        if coverage.is_new() && !is_seed && corpus.len() < CORPUS_LIMIT {
            corpus.push(input);
        }
    }
    let guided = if coverage.counts() { format!(", {} of them reach something of their own", corpus.len() - seeds) } else { String::new() };
    println!("{}: {fed} inputs from {seeds} seeds{guided}", target.name);
    Ok(true)
}

/// Returns what the last panic said.
fn last_panic() -> MutexGuard<'static, String> {
    static LAST: Mutex<String> = Mutex::new(String::new());
    LAST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Feeds an input to a target; returns whether that was well.
pub(crate) fn survives(target: &Target, input: &[u8]) -> bool {
    memory::forget_peak();
    let (before, begun) = (memory::now(), now());
    if catch_unwind(AssertUnwindSafe(|| (target.feed)(input))).is_err() {
        eprintln!("{}: panics: {}", target.name, last_panic());
        return false;
    }
    let (took, bytes) = (now() - begun, memory::peak().saturating_sub(before));
    let may = MEMORY_LIMIT + MEMORY_PER_BYTE * input.len();
    if took > SLOW {
        eprintln!("{}: takes {took:?} for {} bytes", target.name, input.len());
    }
    if bytes > may {
        eprintln!("{}: takes {bytes} bytes of memory for {} bytes", target.name, input.len());
    }
    took <= SLOW && bytes <= may
}
