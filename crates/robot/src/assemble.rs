//! Puts the parts together: a tape with its captures and its encoders.
//!
//! **Invariant:** the tape knows neither captures nor encoders; this file introduces them.

use std::path::Path;
use std::time::Duration;

use recording::manifest::Manifest;
use recording::{Error, Result};

use crate::capture::{Captures, KeepRequest, Leave, SaveRequest};
use crate::config::Config;
use crate::encode;
use crate::status::{self, Status};
use crate::tape::keeper::Keeper;
use crate::tape::{OpenOptions, Parts, Tape};

/// How long closing a tape rests between two looks at windows that end in the future.
const CLOSE_STEP: Duration = Duration::from_millis(20);

impl Tape {
    /// Opens the tape in a folder, closing what a crash left open.
    ///
    /// # Errors
    /// `Conflict` if another process records there, `Invalid` for files of a newer format, and those of the disk.
    pub fn open(root: &Path, config: Config, options: OpenOptions) -> Result<Tape> {
        let disk = options.disk.clone();
        let (resume, complete) = (options.resume, options.complete);
        let load = || -> Result<Parts> {
            let captures = Captures::load(root, disk, resume, complete)?;
            Ok(Parts { keeper: captures, transform_for: encode::transform_for })
        };
        let tape = Tape::open_with(root, config, &options, load)?;
        for unreadable in &tape.captures().unreadable {
            tape.report_event("manifest_damaged", unreadable, serde_json::Value::Null);
        }
        Ok(tape)
    }

    fn captures(&self) -> &Captures {
        (self.inner.keeper.as_ref() as &dyn std::any::Any).downcast_ref().expect("every tape is opened with captures")
    }

    /// Keeps a span of the tape: returns at once, and completes by itself.
    ///
    /// # Errors
    /// `Invalid` for a request that makes no sense; `Unavailable` if the budget of kept bytes is used up.
    pub fn save(&self, request: &SaveRequest) -> Result<Manifest> {
        self.captures().save(self, request)
    }

    /// Keeps everything from now on, and from `before`, until [`Self::keep_stop`].
    ///
    /// # Errors
    /// `Conflict` if something is kept under that name now; `Invalid` for a request that makes no sense.
    pub fn keep_start(&self, request: &KeepRequest) -> Result<Manifest> {
        self.captures().keep_start(self, request)
    }

    /// Ends what [`Self::keep_start`] began, `after_ns` from now.
    ///
    /// # Errors
    /// `NotFound` if nothing is kept under that name.
    pub fn keep_stop(&self, name: &str, after_ns: Option<i64>) -> Result<Manifest> {
        self.captures().keep_stop(self, name, after_ns.unwrap_or(0))
    }

    /// Returns the manifest of a recording, by its id or name.
    ///
    /// # Errors
    /// `NotFound` without such a recording.
    pub fn recording(&self, id: &str) -> Result<Manifest> {
        self.captures().latest(self, id)
    }

    /// Returns the manifests of all recordings, oldest first.
    pub fn recordings(&self) -> Vec<Manifest> {
        self.captures().all()
    }

    /// Waits until a recording is final.
    ///
    /// # Errors
    /// `NotFound` without such a recording; `Unavailable` if it takes longer than `timeout`.
    pub fn wait(&self, id: &str, timeout: Duration) -> Result<Manifest> {
        self.captures().wait(self, id, timeout)
    }

    /// Ends a recording now whose end lies in the future, because nothing more will be logged; it is cut short.
    ///
    /// # Errors
    /// `NotFound` without such a recording.
    pub fn cut_short(&self, id: &str) -> Result<Manifest> {
        self.captures().cut_short(self, id)
    }

    /// Forgets a recording; its bytes go when nothing else needs them.
    ///
    /// # Errors
    /// `NotFound` without such a recording; those of the disk.
    pub fn remove_recording(&self, id: &str) -> Result<Manifest> {
        self.captures().remove(self, id)
    }

    /// Returns how the tape is doing.
    pub fn status(&self) -> Status {
        let active = self.recordings().iter().filter(|manifest| !manifest.is_final()).count();
        status::of(self, self.recordings().len(), active, self.captures().kept_bytes())
    }

    /// Ends the tape: unfinished recordings as `leave` says, everything accepted on disk, all segments closed.
    ///
    /// # Errors
    /// What the writing met; the tape is closed all the same.
    pub fn close(&self, leave: Leave) -> Result<()> {
        if self.is_closed() {
            return Ok(());
        }
        if let Some(until_ns) = self.captures().leave(self, leave) {
            // A file's clock stands still once the file is played: waiting for it would take for ever.
            while !self.clock().is_file() && self.clock().utc_ns() < until_ns && !self.is_closed() {
                self.rest(CLOSE_STEP);
            }
            if self.clock().is_file() {
                self.captures().leave(self, Leave::CutShort);
            }
        }
        let closed = self.close_tape();
        self.captures().complete_due(self, true);
        self.release();
        closed.map_err(|error| Error::new(error.kind(), "the tape was closed, but not everything is on disk").caused_by(error))
    }
}
