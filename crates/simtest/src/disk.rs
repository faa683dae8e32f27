//! A disk in memory that forgets what was not synced.
//!
//! A tape sees it through [`SimDisk::mount`]; the test sees all of it, breaks it, and cuts its power.
//!
//! **Invariant:** after a power cut there is no byte and no name that a real disk could not have, and every byte and name that
//! was synced.

mod faults;
mod power;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use recording::source::ReadAt;
use robot::tape::disk::{Disk, DiskFile, Listed, Syncer};

use self::faults::Faults;
pub use self::faults::{Failure, Operation};
pub use self::power::PowerCut;
use crate::random::Random;

/// What a file system reads and writes at once.
pub const PAGE: usize = 4096;
/// What a disk writes at once.
pub const SECTOR: usize = 512;

/// A disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    files: Arc<Mutex<Files>>,
}

/// A disk as one process sees it, until that process ends.
struct Mount {
    files: Arc<Mutex<Files>>,
    process: u64,
}

struct Handle {
    mount: Mount,
    path: PathBuf,
    inode: u64,
}

/// All there is on a disk.
struct Files {
    inodes: HashMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// What happened to names since their folder was synced, in order.
    pending: Vec<NameChange>,
    folders: BTreeSet<PathBuf>,
    next_inode: u64,
    process: u64,
    used_bytes: u64,
    faults: Faults,
    random: Random,
    removed: Vec<Removed>,
}

/// A file's content.
#[derive(Clone, Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    /// From where on `content` differs from `durable`.
    dirty_from: usize,
    /// Grows with each change, for whoever copies the file.
    version: u64,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create { path: PathBuf, inode: u64 },
    Rename { from: PathBuf, to: PathBuf, inode: u64 },
    Remove { path: PathBuf },
}

/// A file that somebody removed or replaced, with what was in it.
#[derive(Clone, Debug)]
pub struct Removed {
    /// Its path.
    pub path: PathBuf,
    /// What was in it.
    pub content: Vec<u8>,
    /// Whether another file has its name now.
    pub replaced: bool,
}

impl SimDisk {
    /// Returns an empty disk without faults.
    pub fn new(random: Random) -> Self {
        let files = Files {
            inodes: HashMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
            folders: BTreeSet::new(),
            next_inode: 1,
            process: 0,
            used_bytes: 0,
            faults: Faults::default(),
            random,
            removed: Vec::new(),
        };
        Self { files: Arc::new(Mutex::new(files)) }
    }

    /// Returns the disk for a new process; what an earlier one still holds answers with errors from now on.
    pub fn mount(&self) -> Arc<dyn Disk> {
        let mut files = self.files.lock();
        files.process += 1;
        Arc::new(Mount { files: self.files.clone(), process: files.process })
    }

    /// Ends the process; all it wrote stays.
    pub fn kill(&self) {
        self.files.lock().process += 1;
    }

    /// Ends the process and cuts the power.
    pub fn cut_power(&self, cut: PowerCut) {
        let mut files = self.files.lock();
        files.process += 1;
        power::cut(&mut files, cut);
    }

    /// Limits the disk to `bytes`.
    pub fn set_capacity(&self, bytes: u64) {
        self.files.lock().faults.capacity = bytes;
    }

    /// Makes it read-only, or ends that.
    pub fn set_read_only(&self, read_only: bool) {
        self.files.lock().faults.read_only = read_only;
    }

    /// Lets an operation fail.
    pub fn add_failure(&self, failure: Failure) {
        self.files.lock().faults.failures.push(failure);
    }

    /// Ends all faults that were added.
    pub fn heal(&self) {
        let mut files = self.files.lock();
        files.faults.failures.clear();
        files.faults.capacity = u64::MAX;
        files.faults.read_only = false;
    }

    /// Returns how many operations failed because of faults, by what they were.
    pub fn failed(&self) -> BTreeMap<Operation, u64> {
        self.files.lock().faults.failed.clone()
    }

    /// Returns how many bytes its files have.
    pub fn used_bytes(&self) -> u64 {
        self.files.lock().used_bytes
    }

    /// Returns every file's path and size.
    pub fn list_all(&self) -> Vec<(PathBuf, usize)> {
        let files = self.files.lock();
        files.names.iter().map(|(path, inode)| (path.clone(), files.inodes[inode].content.len())).collect()
    }

    /// Returns every file's path and something that changes when its content does.
    pub fn versions(&self) -> BTreeMap<PathBuf, (u64, u64)> {
        let files = self.files.lock();
        files.names.iter().map(|(path, inode)| (path.clone(), (*inode, files.inodes[inode].version))).collect()
    }

    /// Returns what a process would read.
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let files = self.files.lock();
        files.names.get(path).map(|inode| files.inodes[inode].content.clone())
    }

    /// Fills a page of a file with zeros, on the disk and for readers; returns which bytes that were.
    pub fn zero_page(&self, path: &Path, page: usize) -> Option<Range<usize>> {
        let mut files = self.files.lock();
        let inode = *files.names.get(path)?;
        let inode = files.inodes.get_mut(&inode)?;
        let touched = (page * PAGE).min(inode.content.len())..((page + 1) * PAGE).min(inode.content.len());
        inode.content[touched.clone()].fill(0);
        let durable = touched.start.min(inode.durable.len())..touched.end.min(inode.durable.len());
        inode.durable[durable].fill(0);
        inode.version += 1;
        (!touched.is_empty()).then_some(touched)
    }

    /// Returns the files that were removed since it was asked last.
    pub fn take_removed(&self) -> Vec<Removed> {
        std::mem::take(&mut self.files.lock().removed)
    }
}

impl Files {
    fn change(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.pending.push(change);
    }

    fn retire(&mut self, path: &Path, replaced: bool) {
        let Some(inode) = self.names.get(path) else { return };
        let content = self.inodes[inode].content.clone();
        self.used_bytes -= content.len() as u64;
        self.removed.push(Removed { path: path.to_owned(), content, replaced });
    }
}

impl NameChange {
    fn folder(&self) -> &Path {
        let (NameChange::Create { path, .. } | NameChange::Rename { to: path, .. } | NameChange::Remove { path }) = self;
        path.parent().expect("files lie in folders")
    }
}

fn apply(names: &mut BTreeMap<PathBuf, u64>, change: &NameChange) {
    match change {
        NameChange::Create { path, inode } => {
            names.insert(path.clone(), *inode);
        }
        NameChange::Rename { from, to, inode } => {
            names.remove(from);
            names.insert(to.clone(), *inode);
        }
        NameChange::Remove { path } => {
            names.remove(path);
        }
    }
}

impl Inode {
    fn append(&mut self, bytes: &[u8]) {
        self.dirty_from = self.dirty_from.min(self.content.len());
        self.content.extend_from_slice(bytes);
        self.version += 1;
    }

    fn sync(&mut self) {
        self.durable.truncate(self.dirty_from);
        self.durable.extend_from_slice(&self.content[self.dirty_from..]);
        self.dirty_from = self.content.len();
    }

    /// What a failed sync does on Linux: the pages count as clean, and never reach the disk.
    fn fail_sync(&mut self) {
        self.durable.truncate(self.dirty_from);
        self.durable.resize(self.content.len(), 0);
        self.dirty_from = self.content.len();
    }
}

impl Mount {
    fn same(&self) -> Mount {
        Mount { files: self.files.clone(), process: self.process }
    }

    /// Locks the disk for an operation of this process, unless that fails.
    fn begin(&self, operation: Operation, path: &Path) -> io::Result<parking_lot::MutexGuard<'_, Files>> {
        let mut files = self.files.lock();
        if files.process != self.process {
            return Err(io::Error::other("the process has ended"));
        }
        files.faults.check(operation, path)?;
        Ok(files)
    }
}

impl Disk for Mount {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut files = self.begin(Operation::Create, path)?;
        if files.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        files.folders.extend(path.ancestors().skip(1).map(Path::to_path_buf));
        let inode = files.next_inode;
        files.next_inode += 1;
        files.inodes.insert(inode, Inode::default());
        files.change(NameChange::Create { path: path.to_owned(), inode });
        Ok(Box::new(Handle { mount: self.same(), path: path.to_owned(), inode }))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let files = self.begin(Operation::Open, path)?;
        let inode = *files.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Handle { mount: self.same(), path: path.to_owned(), inode }))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        let files = self.begin(Operation::Read, path)?;
        let inode = *files.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Handle { mount: self.same(), path: path.to_owned(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.begin(Operation::Rename, to)?;
        let inode = *files.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        files.retire(to, true);
        files.change(NameChange::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut files = self.begin(Operation::Remove, path)?;
        if !files.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }

        files.retire(path, false);
        files.change(NameChange::Remove { path: path.to_owned() });
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut files = self.begin(Operation::SyncFolder, path)?;
        if !files.folders.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let files = &mut *files;
        let (synced, pending) = std::mem::take(&mut files.pending).into_iter().partition(|change| change.folder() == path);
        files.pending = pending;
        for change in Vec::from_iter::<Vec<NameChange>>(synced) {
            apply(&mut files.durable_names, &change);
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        let files = self.begin(Operation::Read, path)?;
        let entry = |path: &Path, size: usize, is_folder: bool| Listed {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            size: size as u64,
            is_folder,
        };
        let inside = |child: &Path| child.parent() == Some(path);
        let folders = files.folders.iter().filter(|folder| inside(folder)).map(|folder| entry(folder, 0, true));
        let named =
            files.names.iter().filter(|(name, _)| inside(name)).map(|(name, inode)| entry(name, files.inodes[inode].content.len(), false));
        let mut listed: Vec<Listed> = folders.chain(named).collect();
        // A real folder has no order either.
        listed.sort_by_key(|entry| entry.name.bytes().fold(7u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte))));
        Ok(listed)
    }

    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        let files = self.begin(Operation::Read, path)?;
        let total = files.faults.capacity.min(1 << 40);
        Ok((total.saturating_sub(files.used_bytes), total))
    }
}

impl DiskFile for Handle {
    fn append(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut bytes = parts.concat();
        let begun = self.mount.begin(Operation::Write, &self.path);
        let (mut files, failure) = match begun {
            Ok(files) => (files, None),
            Err(error) => {
                let mut files = self.mount.files.lock();
                if files.process != self.mount.process || error.kind() == io::ErrorKind::ReadOnlyFilesystem {
                    return Err(error);
                }
                // A write that fails may have written some of it.
                let some = files.random.index(bytes.len() + 1);
                bytes.truncate(some);
                (files, Some(error))
            }
        };
        let free = files.faults.capacity.saturating_sub(files.used_bytes);
        let fits = usize::try_from(free).unwrap_or(usize::MAX).min(bytes.len());
        let full = fits < bytes.len();
        let named = files.names.get(&self.path) == Some(&self.inode);
        let inode = files.inodes.get_mut(&self.inode).expect("a file lives as long as its disk");
        inode.append(&bytes[..fits]);
        if named {
            files.used_bytes += fits as u64;
        }
        if full {
            files.faults.count(Operation::Full);
            return Err(io::ErrorKind::StorageFull.into());
        }
        failure.map_or(Ok(()), Err)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut files = self.mount.begin(Operation::Truncate, &self.path)?;
        let named = files.names.get(&self.path) == Some(&self.inode);
        let inode = files.inodes.get_mut(&self.inode).expect("a file lives as long as its disk");
        let before = inode.content.len() as u64;
        inode.content.resize(length as usize, 0);
        inode.dirty_from = inode.dirty_from.min(length as usize);
        inode.version += 1;
        if named {
            files.used_bytes = files.used_bytes + length - before;
        }
        Ok(())
    }

    fn syncer(&self) -> io::Result<Box<dyn Syncer>> {
        Ok(Box::new(Handle { mount: self.mount.same(), path: self.path.clone(), inode: self.inode }))
    }
}

impl Syncer for Handle {
    fn sync(&self) -> io::Result<()> {
        match self.mount.begin(Operation::Sync, &self.path) {
            Ok(mut files) => {
                files.inodes.get_mut(&self.inode).expect("a file lives as long as its disk").sync();
                Ok(())
            }
            Err(error) => {
                let mut files = self.mount.files.lock();
                if files.process == self.mount.process && error.kind() != io::ErrorKind::ReadOnlyFilesystem {
                    files.inodes.get_mut(&self.inode).expect("a file lives as long as its disk").fail_sync();
                }
                Err(error)
            }
        }
    }
}

impl ReadAt for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.mount.begin(Operation::Read, &self.path)?.inodes[&self.inode].content.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let files = self.mount.begin(Operation::Read, &self.path)?;
        let content = &files.inodes[&self.inode].content;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let count = buffer.len().min(content.len() - start);
        buffer[..count].copy_from_slice(&content[start..start + count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
