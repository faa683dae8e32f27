//! What can go wrong with a disk while the power is on.
//!
//! **Invariant:** every operation that a fault lets fail is counted.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// What a process does with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Creating a file.
    Create,
    /// Opening a file to append to it.
    Open,
    /// Reading, or listing a folder.
    Read,
    /// Appending.
    Write,
    /// Not an operation: appending failed because the disk is full.
    Full,
    /// Cutting a file.
    Truncate,
    /// Making content durable.
    Sync,
    /// Making names durable.
    SyncFolder,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
}

/// An operation that fails, some time from now.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which one.
    pub operation: Operation,
    /// How many times it still works.
    pub after: u64,
    /// How many times it then fails.
    pub times: u64,
    /// Only on paths that contain this.
    pub path_contains: String,
}

impl Failure {
    /// Returns a failure of the next operation, once.
    pub fn next(operation: Operation) -> Self {
        Self { operation, after: 0, times: 1, path_contains: String::new() }
    }
}

pub(super) struct Faults {
    pub(super) capacity: u64,
    pub(super) read_only: bool,
    pub(super) failures: Vec<Failure>,
    pub(super) failed: BTreeMap<Operation, u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { capacity: u64::MAX, read_only: false, failures: Vec::new(), failed: BTreeMap::new() }
    }
}

impl Faults {
    /// Answers with an error if the operation is to fail.
    pub(super) fn check(&mut self, operation: Operation, path: &Path) -> io::Result<()> {
        if self.read_only && operation != Operation::Read {
            self.count(operation);
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let name = path.to_string_lossy();
        for at in 0..self.failures.len() {
            let failure = &mut self.failures[at];
            if failure.operation != operation || !name.contains(&failure.path_contains) {
                continue;
            }
            if failure.after > 0 {
                failure.after -= 1;
                continue;
            }
            failure.times -= 1;
            if failure.times == 0 {
                self.failures.remove(at);
            }
            self.count(operation);
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }

    pub(super) fn count(&mut self, operation: Operation) {
        *self.failed.entry(operation).or_default() += 1;
    }
}
