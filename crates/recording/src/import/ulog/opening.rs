//! Opening a log in steps.
//!
//! **Invariant:** a file that lost its first bytes is still read, if messages stand in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::message::{FILE_HEADER, MAGIC};
use super::scan::{Content, Scan, Stretch};
use super::streams::{LOG, PARAMETERS};
use super::{Log, Part, clock, text};
use crate::container::{Block, Container, Index};
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::mcap::window;
use crate::source::ReadAt;
use crate::time::format_duration;

/// The newest version of the format that is known.
const VERSION: u8 = 1;

/// How many names of what nothing defines are told.
const NAMES_TOLD: usize = 5;

/// A log that is being opened.
#[derive(Debug, Default)]
pub struct Opening {
    scan: Option<Box<Scan>>,
    notes: Vec<String>,
    damaged: Option<String>,
}

impl Opening {
    /// Returns the beginning of an opening.
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on; returns the log once it is understood, `None` where there is more to do.
    ///
    /// # Errors
    /// `Invalid` for what is no log; else only what reading the source answers.
    pub fn step(&mut self, source: &dyn ReadAt) -> Result<Option<Arc<dyn Container>>> {
        let Some(scan) = &mut self.scan else {
            self.scan = Some(Box::new(self.begin(source)?));
            return Ok(None);
        };
        if !scan.step(source)? {
            return Ok(None);
        }
        if let Some(start) = &self.damaged
            && scan.stretches.is_empty()
        {
            return Err(Error::invalid(format!("not a PX4 log: it begins with \"{start}\"")));
        }
        let Some(scan) = self.scan.take() else { return Ok(None) };
        Ok(Some(Arc::new(finish(*scan, std::mem::take(&mut self.notes)))))
    }

    fn begin(&mut self, source: &dyn ReadAt) -> Result<Scan> {
        let end = source.len().map_err(|error| Error::io("cannot tell the size of the file", error))?;
        if end == 0 {
            return Err(Error::invalid("an empty file: nothing was recorded in it, or copying it failed"));
        }
        let head = window::read(source, 0, FILE_HEADER)?;
        if !head.starts_with(MAGIC) && !MAGIC.starts_with(&head) {
            self.damaged = Some(head.iter().map(|byte| byte.escape_ascii().to_string()).collect());
            self.notes.push("its first bytes are damaged".to_owned());
            return Ok(Scan::new(0, end));
        }
        if let Some(version) = head.get(MAGIC.len()).filter(|version| **version > VERSION) {
            self.notes.push(format!("version {version} of the format; {VERSION} is the newest that is known"));
        }
        Ok(Scan::new(FILE_HEADER.min(end), end))
    }
}

/// Opens a log.
///
/// # Errors
/// As [`Opening::step`].
pub fn open(source: &dyn ReadAt) -> Result<Arc<dyn Container>> {
    let mut opening = Opening::new();
    loop {
        if let Some(log) = opening.step(source)? {
            return Ok(log);
        }
    }
}

fn finish(scan: Scan, mut notes: Vec<String>) -> Log {
    let boot_ns = scan.clock.boot_ns();
    let (time_base, note) = scan.clock.describe();
    if !scan.stretches.is_empty() {
        notes.push(note);
    }
    notes.extend(observations(&scan));
    let losses = losses(&scan, boot_ns);
    let mut topics = scan.streams.topics(boot_ns);
    let texts: Vec<u16> = scan.stretches.iter().flat_map(|stretch| &stretch.text.channels).copied().collect();
    if texts.contains(&LOG) {
        topics.insert(LOG, text::log_topic());
    }
    if texts.contains(&PARAMETERS) {
        topics.insert(PARAMETERS, text::parameters_topic());
    }
    let [defaults, airframe] = scan.defaults;
    let mut info = scan.info;
    info.extend(scan.parts.into_iter().map(|(key, lists)| (key, serde_json::Value::from(lists).to_string())));
    let maps = [
        ("info", info),
        ("parameters", scan.parameters),
        ("parameters_default", defaults),
        ("parameters_default_airframe", airframe),
        ("time_base", time_base),
    ];
    let metadata: Vec<(String, BTreeMap<String, String>)> =
        maps.into_iter().filter(|(_, map)| !map.is_empty()).map(|(name, map)| (name.to_owned(), map)).collect();
    let told_losses = losses.iter().filter(|loss| loss.reason.starts_with("dropout:")).cloned().collect();
    let mut index = Index { format: "ulog", topics, losses, told_losses, notes, metadata, ..Index::default() };
    let mut blocks = Vec::new();
    for stretch in scan.stretches.into_iter().map(Arc::new) {
        for (content, part) in [(&stretch.data, Part::Data(stretch.clone())), (&stretch.text, Part::Text(stretch.clone()))] {
            if let Some(block) = block(&stretch, content, boot_ns) {
                index.blocks.push(block);
                blocks.push(part);
            }
        }
    }
    Log { index, streams: scan.streams, blocks, boot_ns }
}

fn block(stretch: &Stretch, content: &Content, boot_ns: i64) -> Option<Block> {
    let (first_us, last_us) = content.times_us?;
    Some(Block {
        offset: stretch.offset,
        length: stretch.end - stretch.offset,
        start_ns: clock::to_ns(first_us, boot_ns),
        end_ns: clock::to_ns(last_us, boot_ns),
        channels: Some(content.channels.iter().copied().collect()),
    })
}

/// Returns what a reader should know and what is no loss.
fn observations(scan: &Scan) -> Vec<String> {
    let mut notes = Vec::new();
    for (kind, count) in &scan.odd {
        notes.push(format!("{count} messages of type '{}' were not understood", kind.escape_ascii()));
    }
    if scan.unknown_flags {
        notes.push("its flags say that it has something that is not known".to_owned());
    }
    if let Some(offset) = scan.appended.iter().find(|offset| **offset > scan.end) {
        notes.push(format!("data was appended at byte {offset}, behind the end of the file"));
    }
    let undefined = scan.undefined();
    if !undefined.is_empty() {
        let first: Vec<&str> = undefined.iter().take(NAMES_TOLD).copied().collect();
        let more = undefined.len() - first.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        notes.push(format!("nothing in the file says what messages of {}{more} are made of", first.join(", ")));
    }
    if scan.streams.too_many > 0 {
        notes.push(format!("{} subscriptions are more than a file may have; their messages are not read", scan.streams.too_many));
    }
    if scan.streams.is_full() {
        notes.push("its definitions are too long: some topics have no type".to_owned());
    }
    notes
}

fn losses(scan: &Scan, boot_ns: i64) -> Vec<Loss> {
    let to_ns = |time_us: u64| clock::to_ns(time_us, boot_ns);
    let none = Loss { topic: None, start_ns: None, end_ns: None, messages: None, bytes: None, reason: String::new() };
    let dropouts = scan.dropouts.iter().map(|dropout| {
        let duration_us = u64::from(dropout.duration_ms) * 1000;
        Loss {
            start_ns: Some(to_ns(dropout.at_us)),
            end_ns: Some(to_ns(dropout.at_us.saturating_add(duration_us))),
            reason: format!("dropout: the logger could not keep up ({})", format_duration(duration_us as i64 * 1000)),
            ..none.clone()
        }
    });
    let damages = scan.damages.iter().map(|damage| {
        let bytes = damage.to - damage.from;
        let what = if damage.to == scan.end {
            "cut or damaged: the last"
        } else if scan.appended.contains(&damage.to) {
            "cut in front of what was appended:"
        } else {
            "damaged:"
        };
        Loss {
            start_ns: damage.before_us.map(to_ns),
            end_ns: damage.behind_us.map(to_ns),
            reason: match &damage.definition {
                Some(definition) => format!("{what} {bytes} bytes at byte {}, {definition}", damage.from),
                None => format!("{what} {bytes} bytes at byte {}", damage.from),
            },
            ..none.clone()
        }
    });
    let orphans = scan.orphans.iter().map(|(id, count)| Loss {
        messages: Some(*count),
        reason: format!("nothing in the file says what the messages with id {id} are"),
        ..none.clone()
    });
    dropouts.chain(damages).chain(orphans).collect()
}
