//! Whether the last recorder closed the tape: a small file that is there only while somebody records.
//!
//! **Invariant:** a crash leaves the file behind; only closing the tape with everything on disk removes it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use recording::{Loss, Timestamp, time};
use serde::{Deserialize, Serialize};

use super::Inner;
use super::disk::{Disk, read_small, write_atomic};
use super::index::Index;

/// The largest such file that is read.
const FILE_LIMIT: u64 = 4096;
/// What a buffer that leaves syncing to the operating system may lose.
const WITHOUT_SYNC: Duration = Duration::from_secs(60);

/// Who records.
#[derive(Serialize, Deserialize)]
struct Running {
    boot: u64,
    opened_ns: Timestamp,
    /// How long it may take until what was accepted is on the disk.
    durability_ns: i64,
}

/// Returns what a recorder lost that did not close the tape; `None` if the last one did.
pub(super) fn crash_loss(disk: &dyn Disk, root: &Path, index: &Index, now_ns: Timestamp) -> Option<Loss> {
    let running = match read_small(disk, &path(root), FILE_LIMIT) {
        Err(error) if error.kind() == recording::Kind::NotFound => return None,
        read => read.ok().and_then(|json| serde_json::from_slice::<Running>(&json).ok()),
    };
    // Where the file is damaged, it was the boot that recorded last.
    let own = index.all().filter(|meta| running.as_ref().is_none_or(|running| running.boot == meta.name.boot));
    let last_ns = own.map(|meta| meta.corrected_ns(index.correction_ns(meta)).1).filter(|end_ns| *end_ns > i64::MIN).max();
    let durability_ns = running.as_ref().map_or(WITHOUT_SYNC.as_nanos() as i64, |running| running.durability_ns);
    let start_ns = last_ns.map(|last_ns| last_ns.saturating_sub(durability_ns)).or(running.map(|running| running.opened_ns));
    let within = time::format_duration(durability_ns);
    Some(Loss {
        topic: None,
        start_ns,
        end_ns: Some(now_ns).filter(|now_ns| start_ns.is_none_or(|start_ns| start_ns <= *now_ns)),
        messages: None,
        bytes: None,
        reason: format!("crash: the recorder ended without closing the tape; what it accepted in its last {within} may be missing"),
    })
}

fn path(root: &Path) -> PathBuf {
    root.join("tape").join("running")
}

impl Inner {
    /// Says that the tape is open. Where that fails, so does the first write that matters, and that one tells.
    pub(super) fn say_running(&self) {
        let config = self.config.load();
        let durability = config.buffers.iter().map(|buffer| buffer.durability.unwrap_or(WITHOUT_SYNC)).max().unwrap_or_default();
        let running = Running { boot: self.boot, opened_ns: self.opened_ns, durability_ns: durability.as_nanos() as i64 };
        let json = serde_json::to_vec(&running).expect("numbers only");
        let _ = write_atomic(&*self.disk, &path(&self.root), &json);
    }

    /// Says that the tape was closed with everything on disk.
    pub(super) fn say_closed(&self) {
        let path = path(&self.root);
        let _ = self.disk.remove(&path).and_then(|()| self.disk.sync_folder(path.parent().expect("it lies in the tape's folder")));
    }
}
