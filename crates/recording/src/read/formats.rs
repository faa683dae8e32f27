//! The kinds of files that can be opened, told apart by how they begin.
//!
//! **Invariant:** what a file is stands in it; its name only says where to look first when its beginning is destroyed.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crate::container::{Container, Index, Loaded};
use crate::error::{Error, Kind, Result};
use crate::import::{self, unpacked};
use crate::loss::Loss;
use crate::mcap;
use crate::mcap::decompress::Decompressor;
use crate::mcap::definitions::Definitions;
use crate::mcap::opening::{self, Opening};
use crate::mcap::record::MAGIC;
use crate::mcap::scan;
use crate::source::ReadAt;

/// How a zstd frame begins.
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// A kind of file besides MCAP.
struct Format {
    magic: &'static [u8],
    /// What its files are called, for those whose beginning is destroyed.
    endings: &'static [&'static str],
    /// Opens a source that stands at a path, beside which other parts of it may stand.
    open: fn(&dyn ReadAt, &Path) -> Result<Arc<dyn Container>>,
}

/// What is none of these is an MCAP file, perhaps one without its first page; or its opening says what it is.
const FORMATS: [Format; 4] = [
    Format { magic: b"#ROSBAG V2.0", endings: &[".bag", ".bag.active"], open: |source, _| import::bag::open(source) },
    Format { magic: b"ULog\x01\x12\x35", endings: &[".ulg", ".ulog"], open: |source, _| import::ulog::open(source) },
    Format { magic: import::drec::MAGIC, endings: &[".drec"], open: |source, _| import::drec::open(source) },
    Format { magic: b"SQLite format 3\0", endings: &[".db3"], open: open_db3 },
];

/// A file that was understood. Tapes and their like are read message by message from MCAP, so that one is called directly.
pub(super) enum Stored {
    Mcap(Arc<mcap::container::File>),
    Other(Arc<dyn Container>),
}

impl Stored {
    pub(super) fn index(&self) -> &Index {
        self.container().index()
    }

    pub(super) fn into_container(self) -> Arc<dyn Container> {
        match self {
            Stored::Mcap(file) => file,
            Stored::Other(container) => container,
        }
    }

    pub(super) fn container(&self) -> &dyn Container {
        match self {
            Stored::Mcap(file) => &**file,
            Stored::Other(container) => &**container,
        }
    }

    /// Loads a block, see [`Container::load`].
    #[inline]
    pub(super) fn load(
        &self,
        source: &dyn ReadAt,
        block: usize,
        decompressor: &mut Decompressor,
        mut wanted: impl FnMut(u16, i64) -> bool,
    ) -> Result<std::result::Result<Loaded, String>> {
        match self {
            Stored::Mcap(file) => file.load_with(source, block, decompressor, wanted),
            Stored::Other(container) => container.load(source, block, &mut wanted),
        }
    }
}

/// Opens a file. `boot` are definitions from elsewhere, asked for where those of an MCAP file may be damaged.
///
/// # Errors
/// `Invalid` for what is no recording, saying what it is, `Corrupt` for what only its name says it is; else what reading answers.
pub(super) fn open(source: &dyn ReadAt, path: &Path, boot: impl FnOnce() -> Arc<Definitions> + Send) -> Result<Stored> {
    let start = start(source)?;
    if let Some(format) = FORMATS.iter().find(|format| start.starts_with(format.magic)) {
        return (format.open)(source, path).map(Stored::Other);
    }
    let mcap = || opening::run(Opening::with_definitions(boot), source).map(Stored::Mcap);
    let is_known = start.starts_with(MAGIC) || scan::other_format(&start).is_some();
    let Some(format) = by_ending(path).filter(|_| !is_known) else { return mcap() };
    let refused = match (format.open)(source, path) {
        Err(error) if error.kind() == Kind::Invalid => error,
        outcome => return outcome.map(Stored::Other),
    };
    match mcap() {
        Err(error) if error.kind() == Kind::Invalid && !start.is_empty() => {
            Err(Error::corrupt(format!("its first page is damaged, and what is left does not tell what it is: {refused}")))
        }
        outcome => outcome,
    }
}

/// Returns what a file should be by its name.
fn by_ending(path: &Path) -> Option<&'static Format> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".zstd").or(name.strip_suffix(".zst")).unwrap_or(&name);
    FORMATS.iter().find(|format| format.endings.iter().any(|ending| name.ends_with(ending)))
}

fn open_db3(source: &dyn ReadAt, path: &Path) -> Result<Arc<dyn Container>> {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    let wal = File::open(name).ok().filter(|wal| wal.metadata().is_ok_and(|metadata| metadata.len() > 0));
    import::db3::open(source, wal.map(|wal| Arc::new(wal) as Arc<dyn ReadAt>))
}

fn start(source: &dyn ReadAt) -> Result<Vec<u8>> {
    let mut start = vec![0; 32];
    let length = source.read_full_at(0, &mut start).map_err(|error| Error::io("cannot read at byte 0", error))?;
    start.truncate(length);
    Ok(start)
}

/// Unpacks a file that is compressed as a whole into one without a name, which is gone when nobody reads it any more, and says what
/// is lost of it; `None` for a file that is not.
///
/// # Errors
/// `Invalid` for one that becomes too large, `Unavailable` and its like where the temporary folder is full.
pub(super) fn unpack(file: &File) -> Result<Option<(File, Option<Loss>)>> {
    if !start(file)?.starts_with(ZSTD) {
        return Ok(None);
    }
    let (unpacked, damage) = unpacked::file(file, unpacked::FILE_LIMIT)?;
    if let (Some(why), Ok(true)) = (&damage, ReadAt::is_empty(&unpacked)) {
        return Err(Error::invalid(format!("compressed with zstd, and nothing of it can be unpacked: {why}")));
    }
    let lost = |reason| Loss { topic: None, start_ns: None, end_ns: None, messages: None, bytes: None, reason };
    Ok(Some((unpacked, damage.map(lost))))
}
