//! How a tape ends that nobody closes, and how it begins again.
//!
//! **Invariant:** after every crash the tape opens, and the whole of it is checked.

use std::path::PathBuf;

use super::{SECOND_NS, World};
use crate::disk::{PAGE, PowerCut};
use crate::reading::{buffer_of, chunks, is_segment};

/// How a process or a machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed; what it wrote stays.
    Kill,
    /// The power is cut.
    Power(PowerCut),
}

impl World {
    /// Ends the tape without closing it.
    pub fn crash(&mut self, crash: Crash) {
        self.tell(|| format!("{crash:?}"));
        self.tape = None;
        match crash {
            Crash::Kill => {
                self.disk.kill();
                self.clock.advance(SECOND_NS / 2);
            }
            Crash::Power(cut) => {
                self.disk.cut_power(cut);
                self.clock.reboot(20 * SECOND_NS, None);
            }
        }
    }

    /// Opens the tape again and checks all of it; open-ended recordings go on if `resume`.
    pub fn reopen(&mut self, resume: bool) {
        if !resume {
            self.cut_unfinished(|end_ns, _| end_ns.is_none());
        }
        self.open(resume);
        self.check_tape();
    }

    /// Fills any page of any file of the tape with zeros, while nobody has it open.
    pub fn damage_a_page(&mut self) -> Option<PathBuf> {
        let files: Vec<(PathBuf, usize)> = self.disk.list_all().into_iter().filter(|(_, size)| *size > 0).collect();
        if files.is_empty() {
            return None;
        }
        // Segments first: they are what counts, and the many small files would get all the damage.
        let segments: Vec<(PathBuf, usize)> = files.iter().filter(|(path, _)| is_segment(path)).cloned().collect();
        let several = if !segments.is_empty() && self.random.chance(70) { &segments } else { &files };
        let (path, size) = self.random.pick(several).clone();
        let page = if self.random.chance(30) { 0 } else { self.random.index(size.div_ceil(PAGE)) };
        self.damage(path, page)
    }

    /// Fills a page of a file with zeros.
    pub fn damage(&mut self, path: PathBuf, page: usize) -> Option<PathBuf> {
        let before = self.disk.read(&path)?;
        let touched = self.disk.zero_page(&path, page)?;
        self.tell(|| format!("bytes {touched:?} of {} in {} are zeros now", before.len(), path.display()));
        if is_segment(&path) {
            let hit =
                chunks(&path, &before).into_iter().filter(|stretch| stretch.bytes.start < touched.end && touched.start < stretch.bytes.end);
            self.model.damaged.extend(hit.flat_map(|stretch| stretch.messages));
            self.latched_damaged |= buffer_of(&path) == robot::config::LATCHED_BUFFER;
        }
        Some(path)
    }
}
