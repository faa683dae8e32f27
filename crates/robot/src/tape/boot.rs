//! The boot file: every definition of one opening of the tape, in case a segment's own are damaged.
//!
//! **Invariant:** a definition is in the boot file before a segment that uses it is durable.

use std::io;
use std::path::PathBuf;

use recording::mcap::record::MAGIC;
use recording::mcap::segment::{Definition, LIBRARY};
use recording::mcap::write::{self, ChunkHeader};

use super::disk::{Disk, DiskFile};

/// Definitions on their way to the disk.
pub(crate) struct BootFile {
    path: PathBuf,
    pending: Vec<Definition>,
    file: Option<Box<dyn DiskFile>>,
}

impl BootFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, pending: Vec::new(), file: None }
    }

    /// Adds a definition, for the next [`Self::write`].
    pub(crate) fn add(&mut self, definition: Definition) {
        self.pending.push(definition);
    }

    /// Appends what is pending and makes it durable.
    pub(crate) fn write(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let created = self.file.is_none();
        let file = match &mut self.file {
            Some(file) => file,
            empty => {
                let mut file = disk.create(&self.path)?;
                let mut start = MAGIC.to_vec();
                write::header(&mut start, "", LIBRARY);
                file.append(&[&start])?;
                empty.insert(file)
            }
        };
        file.append(&[&chunk_of(&self.pending)])?;
        file.syncer()?.sync()?;
        if created {
            disk.sync_folder(self.path.parent().expect("it lies in the folder of boots"))?;
        }
        self.pending.clear();
        Ok(())
    }
}

/// Returns a chunk with definitions and no message.
fn chunk_of(definitions: &[Definition]) -> Vec<u8> {
    let mut records = Vec::new();
    for definition in definitions {
        if let Some(schema) = &definition.topic.schema {
            write::schema(&mut records, definition.schema_id, schema);
        }
        write::channel(&mut records, definition.channel_id, definition.schema_id, &definition.topic);
    }
    let size = records.len() as u64;
    let mut chunk = Vec::new();
    write::chunk_prefix(
        &mut chunk,
        &ChunkHeader {
            start_ns: 0,
            end_ns: 0,
            uncompressed_size: size,
            uncompressed_crc: recording::mcap::chunk::crc32(&records),
            compression: String::new(),
            compressed_size: size,
        },
    );
    chunk.extend_from_slice(&records);
    chunk
}
