//! One open recorder: the recorder below, its topics, and its end.
//!
//! In come topics and values, out go messages to the recorder below, which is the agent's or an embedded tape.
//!
//! **Invariant:** in a forked child nothing of a recorder is used or freed: its threads stayed in the parent.

mod log;

use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyString;
use recording::{Error, Kind, Manifest, time};
use robot::Leave;
use robot::clock::{Clock, SystemClock};

pub(crate) use self::log::Meta;
use crate::error::{Failure, Result};
use crate::topics::{Topic, Topics};

/// How long the end of the process waits for windows that end in the future; what ends later is cut short.
pub(crate) const EXIT_WAIT: Duration = Duration::from_secs(60);
/// How long a wait is before it says on stderr what it waits for.
const QUIET_WAIT: Duration = Duration::from_secs(2);
/// How often a wait looks for Ctrl-C.
pub(crate) const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);
/// How often this process is the child of a fork.
static FORKS: AtomicU64 = AtomicU64::new(0);
/// Every recorder that may still be open.
static OPEN: Mutex<Vec<Weak<Session>>> = Mutex::new(Vec::new());
/// Recorders that nobody holds any more, but whose recordings have not ended yet.
static LINGERING: Mutex<Vec<Arc<Session>>> = Mutex::new(Vec::new());

/// An open recorder.
pub(crate) struct Session {
    recorder: ManuallyDrop<robot::Recorder>,
    topics: ManuallyDrop<Topics>,
    forks: u64,
    closed: AtomicBool,
    /// Recordings that had not ended when they were asked for.
    pending: Mutex<Vec<String>>,
}

/// What to do about recordings that have not ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pending {
    /// Wait for them; those that end later than the limit are cut short.
    Wait { limit: Option<Duration> },
    /// Do not wait.
    Leave(Leave),
}

impl Session {
    /// Returns the session of a recorder that was just opened.
    pub(crate) fn new(recorder: robot::Recorder) -> Arc<Self> {
        let session = Arc::new(Self {
            recorder: ManuallyDrop::new(recorder),
            topics: ManuallyDrop::new(Topics::new()),
            forks: FORKS.load(Ordering::Relaxed),
            closed: AtomicBool::new(false),
            pending: Mutex::default(),
        });
        let mut open = OPEN.lock();
        open.retain(|session| session.strong_count() > 0);
        open.push(Arc::downgrade(&session));
        session
    }

    /// Returns the recorder below.
    ///
    /// # Errors
    /// `Conflict` in a forked child; `Unavailable` once closed.
    #[inline]
    pub(crate) fn recorder(&self) -> Result<&robot::Recorder> {
        if self.forks != FORKS.load(Ordering::Relaxed) {
            return Err(forked());
        }
        if self.closed.load(Ordering::Relaxed) {
            return Err(Failure::Ours(Error::unavailable("the recorder is closed; open another one")));
        }
        Ok(&self.recorder)
    }

    /// Returns the folder of the tape, also of one that is closed.
    pub(crate) fn root(&self) -> Option<PathBuf> {
        self.recorder.root()
    }

    /// Returns which recorder this is.
    pub(crate) fn description(&self) -> String {
        self.recorder.description()
    }

    /// Returns whether it is closed, or another process's.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed) || self.is_forked()
    }

    fn is_forked(&self) -> bool {
        self.forks != FORKS.load(Ordering::Relaxed)
    }

    /// Returns the topic called `name`.
    #[inline]
    pub(crate) fn topic(&self, name: &Bound<'_, PyString>) -> Result<Arc<Topic>> {
        self.topics.get(name)
    }

    /// Remembers a recording whose end may lie in the future.
    pub(crate) fn note_pending(&self, manifest: &Manifest) {
        let now_ns = SystemClock.utc_ns();
        if !manifest.is_final() && manifest.asked.end_ns.is_none_or(|end_ns| end_ns > now_ns) {
            self.pending.lock().push(manifest.recording.clone());
        }
    }

    /// Returns when the last of the pending recordings ends, or `None` where nothing is to be waited for.
    fn pending_until(&self, now_ns: i64) -> Option<i64> {
        let ids = self.pending.lock().clone();
        // An open keep ends with the recorder: only windows with an end are waited for.
        let ends = ids.iter().filter_map(|id| self.recorder.recording(id).ok()).filter(|manifest| !manifest.is_final());
        ends.filter_map(|manifest| manifest.asked.end_ns).filter(|end_ns| *end_ns > now_ns).max()
    }

    /// Closes the recorder; a second time does nothing.
    ///
    /// # Errors
    /// What writing the rest met; `KeyboardInterrupt`, after cutting short what was waited for.
    pub(crate) fn close(&self, py: Python<'_>, pending: Pending) -> Result<()> {
        if self.is_forked() || self.closed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut interrupted = None;
        let leave = match pending {
            Pending::Leave(leave) => leave,
            Pending::Wait { limit } => match self.wait_for_windows(py, limit) {
                Ok(true) => Leave::Wait,
                Ok(false) => Leave::CutShort,
                Err(signal) => {
                    interrupted = Some(signal);
                    Leave::CutShort
                }
            },
        };
        if self.closed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        py.detach(|| self.recorder.close(leave))?;
        interrupted.map_or(Ok(()), Err)
    }

    /// Waits until all windows have ended; returns whether they will within `limit`.
    fn wait_for_windows(&self, py: Python<'_>, limit: Option<Duration>) -> Result<bool> {
        let (begun_ns, mut said) = (SystemClock.utc_ns(), false);
        if self.recorder.is_agent() {
            return Ok(true);
        }
        loop {
            let now_ns = SystemClock.utc_ns();
            let Some(until_ns) = py.detach(|| self.pending_until(now_ns)) else { return Ok(true) };
            if limit.is_some_and(|limit| until_ns.saturating_sub(begun_ns) > limit.as_nanos() as i64) {
                return Ok(false);
            }
            let rest = Duration::from_nanos(until_ns.saturating_sub(now_ns).max(0) as u64);
            if rest > QUIET_WAIT && !std::mem::replace(&mut said, true) {
                say(
                    py,
                    &format!("tapeloop: waiting for a recording that ends at {} (Ctrl-C cuts it short)\n", time::format_time(until_ns)),
                );
            }
            py.detach(|| std::thread::sleep(rest.min(SIGNAL_INTERVAL)));
            py.check_signals()?;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.is_forked() {
            return;
        }
        // SAFETY: neither is used again: this is the end of the session.
        let (recorder, topics) = unsafe { (ManuallyDrop::take(&mut self.recorder), ManuallyDrop::take(&mut self.topics)) };
        drop(topics);
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let rest = Session {
            recorder: ManuallyDrop::new(recorder),
            topics: ManuallyDrop::new(Topics::new()),
            forks: self.forks,
            closed: AtomicBool::new(false),
            pending: Mutex::new(std::mem::take(&mut *self.pending.lock())),
        };
        Python::try_attach(|py| {
            let now_ns = SystemClock.utc_ns();
            if !rest.recorder.is_agent() && py.detach(|| rest.pending_until(now_ns)).is_some() {
                LINGERING.lock().push(Arc::new(rest));
            } else {
                // Nobody is left to tell: what the last write met is in the tape's losses.
                let _ = rest.close(py, Pending::Leave(Leave::Wait));
            }
        });
    }
}

/// Writes to `sys.stderr`, which a program may have closed or replaced: then there is nobody to tell.
pub(crate) fn say(py: Python<'_>, line: &str) {
    let written = py.import("sys").and_then(|sys| sys.getattr("stderr")).and_then(|stderr| stderr.call_method1("write", (line,)));
    drop(written);
}

#[cold]
fn forked() -> Failure {
    Failure::Ours(Error::new(
        Kind::Conflict,
        "this recorder was opened before a fork, and its threads are in the parent process; open one in the child",
    ))
}

/// Notes that this process is the child of a fork: recorders of the parent are not used and not freed here.
pub(crate) fn after_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Closes every recorder that is still open: at the end of the process.
pub(crate) fn close_all(py: Python<'_>) -> Result<()> {
    let mut sessions = std::mem::take(&mut *LINGERING.lock());
    sessions.extend(OPEN.lock().drain(..).filter_map(|session| session.upgrade()));
    let mut outcome = Ok(());
    for session in sessions {
        outcome = outcome.and(session.close(py, Pending::Wait { limit: Some(EXIT_WAIT) }));
    }
    outcome
}
