//! Which files were renamed into a folder, as the system tells it.
//!
//! **Invariant:** where the system does not tell, as on a network's file system, there are none, and nothing else is different.

use std::ffi::OsString;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

/// How much is read at once; a name has at most 255 bytes.
const READ_BYTES: usize = 16 << 10;

/// Watches a folder, without those below it.
pub(super) struct Arrivals {
    watch: Option<OwnedFd>,
}

impl Arrivals {
    pub(super) fn watch(folder: &Path) -> Self {
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok();
        let watch = watch.filter(|watch| inotify::add_watch(watch, folder, WatchFlags::MOVED_TO).is_ok());
        Self { watch }
    }

    /// Returns the names that came since the last call.
    pub(super) fn names(&mut self) -> Vec<OsString> {
        let Some(watch) = &self.watch else { return Vec::new() };
        let mut buffer = [MaybeUninit::uninit(); READ_BYTES];
        let (mut events, mut names) = (Reader::new(watch, &mut buffer), Vec::new());
        while let Ok(event) = events.next() {
            let is_file = event.events().contains(ReadFlags::MOVED_TO) && !event.events().contains(ReadFlags::ISDIR);
            names.extend(event.file_name().filter(|_| is_file).map(|name| OsString::from_vec(name.to_bytes().to_vec())));
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_is_renamed_into_place_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let mut arrivals = Arrivals::watch(&inner);
        fs::write(inner.join("written"), "x").unwrap();
        fs::write(folder.path().join("renamed"), "x").unwrap();
        fs::rename(folder.path().join("renamed"), inner.join("renamed")).unwrap();
        assert_eq!(arrivals.names(), ["renamed"]);
        assert!(arrivals.names().is_empty());
        assert!(Arrivals::watch(Path::new("/nowhere")).names().is_empty());
    }
}
