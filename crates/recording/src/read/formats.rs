//! The kinds of files that can be opened, told apart by how they begin.
//!
//! **Invariant:** a name says nothing: what a file is stands in it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use crate::container::{Container, Index, Loaded};
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::mcap;
use crate::mcap::decompress::Decompressor;
use crate::mcap::definitions::Definitions;
use crate::mcap::opening::{self, Opening};
use crate::source::ReadAt;

/// How large a file that is compressed as a whole may become.
const UNPACKED_LIMIT: u64 = 1 << 40;

/// How much is unpacked at a time.
const STEP: usize = 1 << 20;

/// How a zstd frame begins.
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// A kind of file besides MCAP.
struct Format {
    magic: &'static [u8],
    open: fn(&dyn ReadAt) -> Result<Arc<dyn Container>>,
}

/// What is neither of these is an MCAP file, perhaps one without its first page; or its opening says what it is.
const FORMATS: [Format; 0] = [];

/// A file that was understood. Tapes and their like are read message by message from MCAP, so that one is called directly.
pub(super) enum Stored {
    Mcap(Arc<mcap::container::File>),
    Other(Arc<dyn Container>),
}

impl Stored {
    pub(super) fn index(&self) -> &Index {
        self.container().index()
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
/// `Invalid` for what is no recording, saying what it is; else what reading answers.
pub(super) fn open(source: &dyn ReadAt, boot: impl FnOnce() -> Arc<Definitions> + Send) -> Result<Stored> {
    let start = start(source)?;
    match FORMATS.iter().find(|format| start.starts_with(format.magic)) {
        Some(format) => (format.open)(source).map(Stored::Other),
        None => opening::run(Opening::with_definitions(boot), source).map(Stored::Mcap),
    }
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
    let failed = |error| Error::io("cannot unpack it into the temporary folder", error);
    let mut unpacked = tempfile::tempfile().map_err(failed)?;
    let mut decoder = zstd::stream::read::Decoder::new(Reader { file, at: 0 }).map_err(failed)?;
    let mut buffer = vec![0; STEP];
    let (mut size, mut damage) = (0, None);
    loop {
        let count = match decoder.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // What there is in front of the damage is read as a file that was cut.
            Err(error) if size > 0 => {
                let reason = format!("the compressed file is damaged: {error}; it is read up to its uncompressed byte {size}");
                damage = Some(Loss { topic: None, start_ns: None, end_ns: None, messages: None, bytes: None, reason });
                break;
            }
            Err(error) => return Err(Error::invalid("compressed with zstd, but damaged from its beginning on").caused_by(error)),
        };
        size += count as u64;
        if size > UNPACKED_LIMIT {
            return Err(Error::invalid(format!("compressed with zstd, and more than {} inside", crate::size::format(UNPACKED_LIMIT))));
        }
        unpacked.write_all(&buffer[..count]).map_err(failed)?;
    }
    unpacked.seek(SeekFrom::Start(0)).map_err(failed)?;
    Ok(Some((unpacked, damage)))
}

struct Reader<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = ReadAt::read_at(self.file, self.at, buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}
