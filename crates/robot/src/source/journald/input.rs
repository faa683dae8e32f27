//! Where the journal's bytes come from: a command's output, a named pipe, or a file.
//!
//! **Invariant:** no read waits longer than it is told to; a command does not outlive its source.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use recording::{Error, Kind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

/// How much of what a command complains about is told.
const COMPLAINT_BYTES: u64 = 2000;

/// What a read gave.
pub(super) enum Read {
    Bytes(usize),
    Nothing,
    End,
}

/// An open input.
pub(super) struct Input {
    name: String,
    file: File,
    child: Option<(Child, File)>,
}

impl Input {
    /// Runs a command.
    ///
    /// # Errors
    /// `NotFound` if there is none of that name.
    pub(super) fn command(command: &[String]) -> Result<Self> {
        let [program, arguments @ ..] = command else { return Err(Error::invalid("the command is empty")) };
        let failed = |error: io::Error| {
            let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Unavailable };
            Error::new(kind, format!("cannot run {program}: {error}"))
        };
        // What it complains about is read when it has ended: a file takes all of it, and a pipe would fill up.
        let complaints = complaints().map_err(failed)?;
        let mut child = Command::new(program);
        child.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(complaints.try_clone().map_err(failed)?);
        let mut child = child.spawn().map_err(failed)?;
        let stdout = child.stdout.take().map(OwnedFd::from).ok_or_else(|| Error::unavailable("a command without output"))?;
        Ok(Self { name: command.join(" "), file: File::from(stdout), child: Some((child, complaints)) })
    }

    /// Opens a file, or a named pipe, which then need not have a writer yet.
    ///
    /// # Errors
    /// Whatever keeps it from being opened.
    pub(super) fn path(path: &Path) -> Result<Self> {
        let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
        let kind = fs::metadata(path).map_err(failed)?.file_type();
        // With a writing end of our own, a pipe does not end when its writer starts anew.
        let file = if kind.is_fifo() {
            OpenOptions::new().read(true).write(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)
        } else {
            File::open(path)
        };
        Ok(Self { name: path.display().to_string(), file: file.map_err(failed)?, child: None })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Reads what there is, or waits for it.
    ///
    /// # Errors
    /// What reading answers.
    pub(super) fn read(&mut self, bytes: &mut [u8], patience: Duration) -> Result<Read> {
        let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
        let ready = poll(&mut [PollFd::from_borrowed_fd(self.file.as_fd(), PollFlags::IN)], Some(&timeout));
        if matches!(ready, Ok(0) | Err(_)) {
            return Ok(Read::Nothing);
        }
        match self.file.read(bytes) {
            Ok(0) => Ok(Read::End),
            Ok(count) => Ok(Read::Bytes(count)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(Read::Nothing),
            Err(error) => Err(Error::io(format!("cannot read {}", self.name), error)),
        }
    }

    /// Returns how it ended.
    ///
    /// # Errors
    /// `Unavailable` for a command that failed, with what it complained about.
    pub(super) fn end(&mut self) -> Result<()> {
        let Some((child, complaints)) = &mut self.child else { return Ok(()) };
        let status = child.wait().map_err(|error| Error::io(format!("cannot wait for {}", self.name), error))?;
        if status.success() {
            return Ok(());
        }
        let mut text = Vec::new();
        let read = complaints.seek(SeekFrom::Start(0)).and_then(|_| complaints.take(COMPLAINT_BYTES).read_to_end(&mut text));
        let why = read.map_or_else(|_| String::new(), |_| String::from_utf8_lossy(&text).trim().replace('\n', "; "));
        Err(Error::unavailable(format!("{} ended with {status}: {why}", self.name)))
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.child {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Returns a file in memory that has no name.
fn complaints() -> io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create("complaints", rustix::fs::MemfdFlags::CLOEXEC)?))
}
