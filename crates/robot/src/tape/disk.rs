//! The disk below a tape: what it needs of a file system, and the real one.
//!
//! **Invariant:** a name is durable only after [`Disk::sync_folder`] of its folder, content only after [`Syncer::sync`].

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};

use recording::source::ReadAt;
use recording::{Error, Result};

/// A file that is appended to.
pub trait DiskFile: Send + Sync {
    /// Appends all `parts`, one behind the other.
    fn append(&mut self, parts: &[&[u8]]) -> io::Result<()>;

    /// Cuts the file to `length` bytes and goes on from there.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Returns a handle that makes what was appended durable, from any thread.
    fn syncer(&self) -> io::Result<Box<dyn Syncer>>;
}

/// Makes a file's content durable.
pub trait Syncer: Send + Sync {
    /// Returns when all that was appended before the call is on the disk.
    fn sync(&self) -> io::Result<()>;
}

/// A file system.
pub trait Disk: Send + Sync {
    /// Creates a file that must not exist yet, and its folders.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an existing file to append to it.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file to read.
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadAt>>;

    /// Renames a file, replacing what has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Tells that a file, which is in sync, will hardly be read soon: memory need not hold what is on the disk.
    fn let_go(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Makes the names in a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// Returns name, size and whether it is a folder, of everything in a folder; nothing if there is no such folder.
    fn list(&self, path: &Path) -> io::Result<Vec<Listed>>;

    /// Returns (free, total) bytes where `path` is.
    fn space(&self, path: &Path) -> io::Result<(u64, u64)>;
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// Reads a small file whole.
///
/// # Errors
/// Those of the disk, and `Corrupt` for more than `limit` bytes.
pub fn read_small(disk: &dyn Disk, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
    let file = disk.open_read(path).map_err(failed)?;
    let size = file.len().map_err(failed)?;
    if size > limit {
        return Err(Error::corrupt(format!("file of {size} bytes, expected at most {limit}: {}", path.display())));
    }
    let mut bytes = vec![0; size as usize];
    let count = file.read_full_at(0, &mut bytes).map_err(failed)?;
    bytes.truncate(count);
    Ok(bytes)
}

/// Writes a file so that after a power cut there is the old or the new one: temporary name, sync, rename, sync of the folder.
///
/// # Errors
/// Those of the disk.
pub fn write_atomic(disk: &dyn Disk, path: &Path, content: &[u8]) -> Result<()> {
    let temporary = path.with_extension("part");
    let folder = path.parent().expect("a path of a file has a folder");
    let write = || -> io::Result<()> {
        match disk.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = disk.create(&temporary)?;
        file.append(&[content])?;
        file.syncer()?.sync()?;
        disk.rename(&temporary, path)?;
        disk.sync_folder(folder)
    };
    write().map_err(|error| Error::io(format!("cannot write {}", path.display()), error))
}

/// The machine's own file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

struct RealFile(File);

struct RealSync(File);

impl DiskFile for RealFile {
    fn append(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            match self.0.write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut rest, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn syncer(&self) -> io::Result<Box<dyn Syncer>> {
        Ok(Box::new(RealSync(self.0.try_clone()?)))
    }
}

impl Syncer for RealSync {
    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            create_folders(folder)?;
        }
        // Appending, so that a truncate is followed by writes at the new end.
        Ok(Box::new(RealFile(OpenOptions::new().append(true).create_new(true).open(path)?)))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(OpenOptions::new().append(true).open(path)?)))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(File::open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn let_go(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::fadvise(File::open(path)?, 0, None, rustix::fs::Advice::DontNeed)?)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(metadata) = entry.metadata() else { continue };
            let Ok(name) = entry.file_name().into_string() else { continue };
            listed.push(Listed { name, size: metadata.len(), is_folder: metadata.is_dir() });
        }
        Ok(listed)
    }

    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::statvfs(path)?;
        Ok((stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize))
    }
}

/// Creates folders and makes each new name durable.
fn create_folders(folder: &Path) -> io::Result<()> {
    let mut missing: Vec<PathBuf> = folder.ancestors().take_while(|path| !path.exists()).map(Path::to_path_buf).collect();
    fs::create_dir_all(folder)?;
    while let Some(created) = missing.pop() {
        if let Some(parent) = created.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
    }
    Ok(())
}
