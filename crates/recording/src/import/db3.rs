//! rosbag2's SQLite files: `.db3`, of all versions of its tables.
//!
//! In comes a source of bytes, with its write-ahead log where there is one, out comes a [`Container`].
//!
//! **Invariant:** a damaged page costs the rows on it, and every message is where its row is: the format has no byte ranges.

mod blocks;
mod salvage;
mod topics;

use std::io;
use std::sync::Arc;

use self::blocks::{Builder, Places, Run};
use self::salvage::Search;
use self::topics::Small;
use crate::container::{Container, Index, Loaded, Place};
use crate::error::{Error, Result};
use crate::import::sqlite::cache::Cache;
use crate::import::sqlite::header::{LENGTH, Layout};
use crate::import::sqlite::record::{cell, cell_count};
use crate::import::sqlite::row::{Rows, at_page};
use crate::import::sqlite::schema::Columns;
use crate::import::sqlite::tree::{PageSet, Visit, Walk};
use crate::import::sqlite::wal::{Wal, WalScan};
use crate::import::sqlite::{Database, Reader};
use crate::import::unpacked;
use crate::loss::Loss;
use crate::source::ReadAt;

/// How many pages one step of opening reads.
const STEP_PAGES: usize = 256;

/// How many columns `messages` has.
const MESSAGE_COLUMNS: usize = 4;

/// Opens a db3 file; `wal` is the file beside it with `-wal` behind its name, if it is there and not empty.
///
/// # Errors
/// What reading answers, and `Invalid` for what is no SQLite database, or one without messages of ROS.
pub fn open(source: &dyn ReadAt, wal: Option<Arc<dyn ReadAt>>) -> Result<Arc<dyn Container>> {
    let mut opening = Opening::new(wal);
    loop {
        if let Some(container) = opening.step(source)? {
            return Ok(container);
        }
    }
}

/// A db3 file that is being opened.
#[derive(Debug)]
pub struct Opening {
    phase: Phase,
    wal: Option<Wal>,
    wal_page_size: u32,
    database: Option<Arc<Database>>,
    cache: Cache,
    visited: PageSet,
    /// Small tables that are still to read: name and first page.
    pending: Vec<(String, u32)>,
    messages: Option<u32>,
    columns: usize,
    tables: Small,
    builder: Builder,
    has_topics: bool,
    broken: Vec<String>,
    notes: Vec<String>,
}

#[derive(Debug)]
enum Phase {
    Log(Box<WalScan>),
    Header,
    Catalog(Rows),
    Table(String, Rows),
    Messages(Walk),
    Search(Search),
    Done,
}

impl Opening {
    /// Returns an opening that has read nothing yet.
    pub fn new(wal: Option<Arc<dyn ReadAt>>) -> Self {
        Self {
            phase: wal.map_or(Phase::Header, |wal| Phase::Log(Box::new(WalScan::new(wal)))),
            wal: None,
            wal_page_size: 0,
            database: None,
            cache: Cache::default(),
            visited: PageSet::default(),
            pending: Vec::new(),
            messages: None,
            columns: MESSAGE_COLUMNS,
            tables: Small::default(),
            builder: Builder::default(),
            has_topics: false,
            broken: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Goes on; returns the container once everything is known, `None` where there is more to do. Where bytes are missing it goes on
    /// there when called again.
    ///
    /// # Errors
    /// What reading answers, and `Invalid` for what is no SQLite database, or one without messages of ROS.
    pub fn step(&mut self, source: &dyn ReadAt) -> Result<Option<Arc<dyn Container>>> {
        if matches!(self.phase, Phase::Header) {
            return self.header(source).map(|()| None);
        }
        self.advance(source).map_err(|error| Error::io("cannot read the database", error))?;
        if !matches!(self.phase, Phase::Done) {
            return Ok(None);
        }
        self.finish().map(Some)
    }

    fn header(&mut self, source: &dyn ReadAt) -> Result<()> {
        let failed = |error| Error::io("cannot read the database", error);
        let length = source.len().map_err(failed)?;
        let mut first = [0; LENGTH];
        let filled = match self.wal.as_ref().map(|wal| wal.page(1, LENGTH)).transpose().map_err(failed)?.flatten() {
            Some(page) => {
                let filled = first.len().min(page.len());
                first[..filled].copy_from_slice(&page[..filled]);
                filled
            }
            None => source.read_full_at(0, &mut first).map_err(failed)?,
        };
        let layout = match Layout::parse(&first[..filled]) {
            Ok(layout) => layout,
            Err(why) => match Layout::guess(source).map_err(failed)? {
                Some(layout) => {
                    self.broken.push(format!("{why}; its pages look like {} bytes", layout.page_size));
                    layout
                }
                None => return Err(Error::invalid(format!("no SQLite database: {why}"))),
            },
        };
        if self.wal_page_size != 0 && self.wal_page_size != layout.page_size {
            self.notes.push("the write-ahead log beside it is not its own and is left out".to_owned());
            self.wal = None;
        }
        let database = Database::new(layout, length, self.wal.take());
        if database.pages_in_wal() > 0 {
            let pages = database.pages_in_wal();
            self.notes.push(format!("its recorder was killed: {pages} committed pages come from the write-ahead log beside it"));
        }
        if layout.pages > database.pages() {
            self.notes.push(format!("the file ends after {} of {} pages", database.pages(), layout.pages));
        }
        self.database = Some(Arc::new(database));
        self.phase = Phase::Catalog(Rows::new(1));
        Ok(())
    }

    fn advance(&mut self, source: &dyn ReadAt) -> io::Result<()> {
        if let Phase::Log(scan) = &mut self.phase {
            if let Some((wal, page_size)) = scan.step()? {
                (self.wal, self.wal_page_size) = (Some(wal).filter(|wal| !wal.is_empty()), page_size);
                self.phase = Phase::Header;
            }
            return Ok(());
        }
        let Some(database) = self.database.clone() else { return Ok(()) };
        let mut reader = database.reader(source, &mut self.cache);
        match &mut self.phase {
            Phase::Log(_) | Phase::Header | Phase::Done => {}
            Phase::Catalog(rows) => {
                if rows.step(&mut reader, &mut self.visited)? {
                    let rows = std::mem::replace(rows, Rows::new(0));
                    self.catalog(rows);
                    self.next_table();
                }
            }
            Phase::Table(name, rows) => {
                if rows.step(&mut reader, &mut self.visited)? {
                    self.broken.extend(std::mem::take(&mut rows.broken).into_iter().map(|why| format!("table {name}: {why}")));
                    if let Some(table) = self.tables.table(name) {
                        table.rows = std::mem::take(&mut rows.rows);
                    }
                    self.next_table();
                }
            }
            Phase::Messages(walk) => {
                for _ in 0..STEP_PAGES {
                    match walk.next(&mut reader, &mut self.visited)? {
                        Some(Visit::Leaf { page, bytes, rows }) => self.builder.leaf(&database, page, &bytes, rows),
                        Some(Visit::Broken { page, rows, why }) => self.builder.broken(&database, page, rows, &why),
                        None => {
                            self.builder.cut();
                            self.search(&database);
                            break;
                        }
                    }
                }
            }
            Phase::Search(search) => {
                if search.step(&mut reader, &mut self.visited, &mut self.builder, &mut self.tables)? {
                    self.phase = Phase::Done;
                }
            }
        }
        Ok(())
    }

    /// Takes what the catalog of tables says.
    fn catalog(&mut self, rows: Rows) {
        self.broken.extend(rows.broken.iter().map(|why| format!("the list of tables: {why}")));
        let columns = Columns::parse("(type, name, tbl_name, rootpage, sql)");
        for row in rows.rows.iter().filter(|row| row.text(&columns, "type") == "table") {
            let name = row.text(&columns, "name");
            let Some(root) = row.int(&columns, "rootpage").and_then(|root| u32::try_from(root).ok()) else { continue };
            let own = Columns::parse(row.text(&columns, "sql"));
            if own.without_rowid {
                self.broken.push(format!("table {name}: it is kept as an index (WITHOUT ROWID), which is not read"));
            } else if name == "messages" {
                let place = |name| own.place(name);
                match (place("topic_id"), place("timestamp"), place("data")) {
                    (Some(topic_id), Some(timestamp), Some(data)) => self.builder.places = Places { topic_id, timestamp, data },
                    _ => self.notes.push("its table 'messages' has other columns than rosbag2's; read in rosbag2's order".to_owned()),
                }
                self.columns = own.len().max(MESSAGE_COLUMNS);
                self.messages = Some(root);
            } else if let Some(table) = self.tables.table(name) {
                table.columns = own;
                self.has_topics |= name == "topics";
                self.pending.push((name.to_owned(), root));
            }
        }
    }

    fn next_table(&mut self) {
        self.phase = match self.pending.pop() {
            Some((name, root)) => Phase::Table(name, Rows::new(root)),
            None => {
                self.builder.channels = self.tables.channels();
                // Without a list of tables, page 0 stands for all messages: a page that cannot be read.
                Phase::Messages(Walk::new(self.messages.unwrap_or(0)))
            }
        };
    }

    /// Begins the search for rows that are missing, if any are.
    fn search(&mut self, database: &Database) {
        let is_complete = self.broken.is_empty() && (!self.builder.has_gaps() || self.messages.is_none());
        self.phase = if is_complete {
            Phase::Done
        } else {
            let small = !self.broken.is_empty();
            Phase::Search(Search::new(database.layout().free, self.columns, small))
        };
    }

    fn finish(&mut self) -> Result<Arc<dyn Container>> {
        let Some(database) = self.database.take() else { return Err(Error::new(crate::Kind::Internal, "a database without a header")) };
        let (blocks, runs) = self.builder.blocks();
        if self.messages.is_none() && (self.broken.is_empty() || blocks.is_empty()) {
            return Err(Error::invalid("an SQLite database without a table 'messages': no recording of rosbag2"));
        }
        let places = self.builder.places;
        let (losses, notes) = self.builder.losses();
        // Topics that a search found come after messages were given channels by their ids.
        let mut channels = std::mem::take(&mut self.builder.channels);
        let named: Vec<i64> = self.tables.topics.rows.iter().filter_map(|row| row.int(&self.tables.topics.columns, "id")).collect();
        channels.undefined.retain(|_, id| !named.contains(id));
        self.notes.extend(notes);
        self.notes.extend(std::mem::take(&mut self.broken).into_iter().map(|why| format!("damaged: {why}")));
        if !channels.undefined.is_empty() {
            let why = if self.has_topics { "its table 'topics' does not name them" } else { "it has no table 'topics'" };
            self.notes.push(format!("{} topics are called /topic_<id> and have no type, because {why}", channels.undefined.len()));
        }
        let topics = self.tables.topics(&channels);
        let metadata = self.tables.metadata();
        // CDR never begins like zstd: rosbag2 compressed each message.
        let is_cdr = topics.values().any(|topic| topic.encoding == "cdr");
        let is_packed = is_cdr && self.builder.rows > 0 && self.builder.packed == self.builder.rows;
        if is_packed {
            self.notes.push("each message is compressed (rosbag2's compression_mode MESSAGE)".to_owned());
        }
        let index = Index { format: "db3", topics, blocks, losses, notes: std::mem::take(&mut self.notes), metadata, ..Index::default() };
        let channels = channels.by_topic_id;
        let db3 = Arc::new(Db3 { index, database, places, channels, runs });
        Ok(if is_packed { unpacked::messages(db3) } else { db3 })
    }
}

/// A db3 file.
#[derive(Debug)]
struct Db3 {
    index: Index,
    database: Arc<Database>,
    places: Places,
    channels: std::collections::HashMap<i64, u16>,
    /// What each block is made of.
    runs: Vec<Vec<Run>>,
}

impl Container for Db3 {
    fn index(&self) -> &Index {
        &self.index
    }

    fn load(
        &self,
        source: &dyn ReadAt,
        block: usize,
        wanted: &mut dyn FnMut(u16, i64) -> bool,
    ) -> Result<std::result::Result<Loaded, String>> {
        let Some(runs) = self.runs.get(block) else { return Ok(Err(format!("there is no block {block}"))) };
        let mut cache = Cache::default();
        let mut reader = self.database.reader(source, &mut cache);
        let mut out = Out::default();
        for run in runs {
            self.load_run(&mut reader, *run, wanted, &mut out).map_err(|error| Error::io("cannot read the database", error))?;
        }
        Ok(Ok(Loaded { bytes: out.bytes.into(), places: out.places, losses: out.losses, chunk: None }))
    }

    fn has_byte_ranges(&self) -> bool {
        false
    }
}

#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    places: Vec<Place>,
    losses: Vec<Loss>,
}

impl Db3 {
    fn load_run(&self, reader: &mut Reader<'_>, run: Run, wanted: &mut dyn FnMut(u16, i64) -> bool, out: &mut Out) -> io::Result<()> {
        let page = reader.page(run.page, 0)?.unwrap_or_default();
        for index in run.from..run.to.min(u16::try_from(cell_count(&page, run.page)).unwrap_or(u16::MAX)) {
            let cell = cell(&page, run.page, usize::from(index), self.database.layout());
            let found = cell.and_then(|cell| Some((self.places.row(&page, &cell)?, cell)));
            let channel = found.as_ref().and_then(|(row, _)| self.channels.get(&row.topic_id));
            let (Some((row, cell)), Some(channel)) = (found, channel) else {
                let reason = at_page(&self.database, run.page, &format!("row {index} on it has changed since the file was opened"));
                out.losses.push(Loss { topic: None, start_ns: None, end_ns: None, messages: Some(1), bytes: None, reason });
                continue;
            };
            if !wanted(*channel, row.time_ns) {
                continue;
            }
            let start = out.bytes.len();
            let read = reader.payload(&page, &cell, row.start..row.start.saturating_add(row.length), &mut out.bytes)?;
            let place = |start: usize| Some((u32::try_from(start).ok()?, u32::try_from(row.length).ok()?));
            match (read, place(start)) {
                (Ok(()), Some((start, length))) => out.places.push(Place {
                    log_time_ns: row.time_ns,
                    publish_time_ns: row.time_ns,
                    start,
                    length,
                    sequence: 0,
                    channel: *channel,
                }),
                (read, _) => {
                    out.bytes.truncate(start);
                    let why = read.err().unwrap_or_else(|| format!("{} bytes are too many", row.length));
                    let topic = self.index.topics.get(channel).map(|topic| topic.name.clone());
                    let reason = at_page(&self.database, run.page, &format!("row {}: {why}", cell.rowid));
                    let time_ns = Some(row.time_ns);
                    out.losses.push(Loss { topic, start_ns: time_ns, end_ns: time_ns, messages: Some(1), bytes: Some(row.length), reason });
                }
            }
        }
        Ok(())
    }
}
