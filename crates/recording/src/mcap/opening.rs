//! Opening an MCAP file step by step, over bytes that may still be on their way.
//!
//! In comes the same source at each step, out comes, at the last one, the file as a container.
//!
//! **Invariant:** a step that lacks bytes has changed nothing, and none does the work of an earlier one again.

use std::sync::Arc;

use bytes::Bytes;

use super::container::File;
use super::definitions::Definitions;
use super::scan::{self, Depth, Scan, Walk};
use super::summary::{self, Summary};
use crate::error::{Error, Result};
use crate::source::ReadAt;

/// How often a file that grows while it is read is read again, so that a chunk in the middle of being written is no loss.
const GROWING_TRIES: usize = 3;

/// What a walk stands on between two steps.
static NOTHING: Bytes = Bytes::new();

/// An MCAP file that is being opened.
pub struct Opening<'a> {
    definitions: Option<Box<dyn FnOnce() -> Arc<Definitions> + Send + 'a>>,
    known: Arc<Definitions>,
    summary: Option<Arc<Summary>>,
    /// Why the summary does not tell what the file holds.
    why: String,
    stage: Stage,
    tries: usize,
}

enum Stage {
    Kind,
    Summary,
    BeginOutline,
    Outline(Box<Walk<'static>>),
    Begin,
    /// With the length that the file had at its beginning.
    Scan(Box<Walk<'static>>, u64),
    Done,
}

impl Default for Opening<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Opening<'a> {
    /// Begins.
    pub fn new() -> Self {
        Self { definitions: None, known: Arc::default(), summary: None, why: String::new(), stage: Stage::Kind, tries: GROWING_TRIES }
    }

    /// Begins; `definitions` are asked for where the file's own may be damaged, and win over them then.
    pub fn with_definitions(definitions: impl FnOnce() -> Arc<Definitions> + Send + 'a) -> Self {
        Self { definitions: Some(Box::new(definitions)), ..Self::new() }
    }

    /// Does the next step; `None` says that there is more to do.
    ///
    /// # Errors
    /// `Invalid` for what is no MCAP file, else what reading the source answers: where that has bytes later, the step is done again.
    pub fn step(&mut self, source: &dyn ReadAt) -> Result<Option<Arc<File>>> {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Kind => {
                self.stage = Stage::Kind;
                scan::refuse_other_formats(source)?;
                self.stage = Stage::Summary;
            }
            Stage::Summary => {
                self.stage = Stage::Summary;
                match summary::read(source)? {
                    Ok(summary) => {
                        self.why = "its summary does not count its messages".to_owned();
                        self.summary = Some(Arc::new(summary));
                    }
                    Err(why) => (self.summary, self.why) = (None, why),
                }
                let tells = self.summary.as_ref().is_some_and(|summary| summary.statistics.is_some());
                self.stage = if tells { Stage::BeginOutline } else { Stage::Begin };
            }
            Stage::BeginOutline => {
                self.stage = Stage::BeginOutline;
                let walk = Walk::new(source, self.summary.clone(), Arc::default(), Depth::Outline)?;
                self.stage = Stage::Outline(Box::new(walk.onto(&NOTHING)));
            }
            Stage::Outline(walk) => {
                let mut walk = walk.onto(source);
                let outcome = walk.go_on();
                self.stage = Stage::Outline(Box::new(walk.onto(&NOTHING)));
                if let Some(scan) = outcome? {
                    self.stage = Stage::Begin;
                    if let Some(summary) = &self.summary {
                        match scan::why_unusable(&scan, summary) {
                            None => {
                                self.stage = Stage::Done;
                                return outlined(scan, summary).map(Some);
                            }
                            Some(why) => self.why = why,
                        }
                    }
                }
            }
            Stage::Begin => {
                self.stage = Stage::Begin;
                if let Some(definitions) = self.definitions.take() {
                    self.known = definitions();
                }
                let walk = Walk::new(source, self.summary.clone(), self.known.clone(), Depth::Full)?;
                self.stage = Stage::Scan(Box::new(walk.onto(&NOTHING)), length(source)?);
            }
            Stage::Scan(walk, began_with) => {
                let mut walk = walk.onto(source);
                let outcome = walk.go_on();
                self.stage = Stage::Scan(Box::new(walk.onto(&NOTHING)), began_with);
                let Some(scan) = outcome? else { return Ok(None) };
                self.tries = self.tries.saturating_sub(1);
                // Somebody is writing a file that grows and ends in damage.
                if !scan.closed && !scan.losses.is_empty() && self.tries > 0 && length(source)? != began_with {
                    self.stage = Stage::Summary;
                    return Ok(None);
                }
                self.stage = Stage::Done;
                return scanned(scan, &self.why).map(Some);
            }
            Stage::Done => return Err(Error::new(crate::Kind::Internal, "a file that is open already was opened again")),
        }
        Ok(None)
    }
}

/// Opens an MCAP file.
///
/// # Errors
/// `Invalid` for what is no MCAP file, else what reading the source answers; damage is in the index.
pub fn open(source: &dyn ReadAt) -> Result<Arc<File>> {
    run(Opening::new(), source)
}

/// Does all the steps that are left.
///
/// # Errors
/// Those of the steps.
pub fn run(mut opening: Opening<'_>, source: &dyn ReadAt) -> Result<Arc<File>> {
    loop {
        if let Some(file) = opening.step(source)? {
            return Ok(file);
        }
    }
}

fn length(source: &dyn ReadAt) -> Result<u64> {
    source.len().map_err(|error| Error::io("cannot tell the size of the file", error))
}

fn outlined(scan: Scan, summary: &Summary) -> Result<Arc<File>> {
    let mut believed = scan.definitions.clone();
    believed.merge(&summary.definitions, true);
    let counts = summary.statistics.as_ref().map(|statistics| statistics.channel_message_counts.clone());
    File::new(scan, Some(believed), counts, Vec::new()).map(Arc::new)
}

fn scanned(scan: Scan, why: &str) -> Result<Arc<File>> {
    let notes = vec![format!("read front to back, because {}", scan.displaced.unwrap_or(why))];
    let counts = scan.definitions.earlier().is_empty().then(|| scan.counts());
    let counts = counts.map(|counts| counts.into_iter().map(|(id, (messages, _))| (id, messages)).collect());
    File::new(scan, None, counts, notes).map(Arc::new)
}
