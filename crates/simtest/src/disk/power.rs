//! What a power cut leaves of a disk.
//!
//! **Invariant:** only what was not synced changes.

use std::collections::HashSet;

use super::{Files, Inode, NameChange, PAGE, SECTOR, apply};
use crate::random::Random;

/// How bad a power cut is for what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerCut {
    /// All of it is gone.
    Drop,
    /// Of each file a random length is there; of names those that changed first.
    Prefix,
    /// Some of the sectors are there, in no order; some of the names.
    Torn,
    /// Each file and each name fares differently.
    Mixed,
}

pub(super) fn cut(files: &mut Files, cut: PowerCut) {
    let mut random = files.random.fork();
    let mut names = files.durable_names.clone();
    for change in surviving(std::mem::take(&mut files.pending), cut, &mut random) {
        apply(&mut names, &change);
    }
    let alive: HashSet<u64> = names.values().copied().collect();
    files.inodes.retain(|inode, _| alive.contains(inode));
    // In order of their names, so that a seed gives the same result each time.
    for inode in names.values() {
        let inode = files.inodes.get_mut(inode).expect("every name has a file");
        let own = match cut {
            PowerCut::Mixed => *random.pick(&[PowerCut::Drop, PowerCut::Prefix, PowerCut::Torn]),
            cut => cut,
        };
        inode.cut(own, &mut random);
    }
    files.durable_names = names.clone();
    files.names = names;
    files.used_bytes = files.names.values().map(|inode| files.inodes[inode].content.len() as u64).sum();
    files.removed.clear();
}

fn surviving(changes: Vec<NameChange>, cut: PowerCut, random: &mut Random) -> Vec<NameChange> {
    match cut {
        PowerCut::Drop => Vec::new(),
        PowerCut::Prefix => {
            let count = random.index(changes.len() + 1);
            changes.into_iter().take(count).collect()
        }
        // What happens to one name happens in order: a file is not removed before it is created.
        PowerCut::Torn | PowerCut::Mixed => {
            let mut lost = HashSet::new();
            changes
                .into_iter()
                .filter(|change| {
                    let paths = match change {
                        NameChange::Create { path, .. } | NameChange::Remove { path } => vec![path.clone()],
                        NameChange::Rename { from, to, .. } => vec![from.clone(), to.clone()],
                    };
                    let survives = !paths.iter().any(|path| lost.contains(path)) && random.chance(60);
                    if !survives {
                        lost.extend(paths);
                    }
                    survives
                })
                .collect()
        }
    }
}

impl Inode {
    fn cut(&mut self, cut: PowerCut, random: &mut Random) {
        let from = self.dirty_from;
        let cut_back = self.durable.len() > from;
        if cut == PowerCut::Drop || self.content.len() == from && !cut_back || cut_back && random.chance(50) {
            self.content = self.durable.clone();
        } else if cut == PowerCut::Prefix {
            let kept = random.index(self.content.len() - from + 1);
            self.content.truncate(from + kept);
        } else {
            self.tear(from, random);
        }
        self.durable = self.content.clone();
        self.dirty_from = self.content.len();
        self.version += 1;
    }

    /// Leaves some of the sectors behind `from`; the others have zeros.
    fn tear(&mut self, from: usize, random: &mut Random) {
        let length = from + random.index(self.content.len() - from + 1);
        let length = if random.chance(50) { length.next_multiple_of(PAGE).min(self.content.len()) } else { length };
        self.content.truncate(length);
        let kept = random.within(10..100);
        for sector in from / SECTOR..length.div_ceil(SECTOR) {
            if !random.chance(kept) {
                let end = ((sector + 1) * SECTOR).min(length);
                self.content[(sector * SECTOR).max(from)..end].fill(0);
            }
        }
    }
}
