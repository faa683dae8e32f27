//! What is compared, whenever it can be.
//!
//! **Invariant:** a check that passes means that the tape kept its word, not that nobody looked.

use std::collections::{BTreeMap, BTreeSet};

use recording::Message;
use robot::clock::Clock;
use robot::config::{LATCHED_BUFFER, Place};

use super::captures::describe;
use super::{SECOND_NS, World};
use crate::model::{Fate, Holding, Sent, is_told};
use crate::reading::{buffer_of, chunks, is_segment, read_all};

impl World {
    /// Compares a message that was read with the one that was accepted.
    pub(super) fn compare(&self, message: &Message, corrected: bool) -> (usize, &Sent) {
        let identity = message.identity.expect("it was read with one");
        let index = self.model.known.get(&(identity.boot, identity.append_sequence));
        let index = *index.unwrap_or_else(|| panic!("a message of {} that nobody logged: {identity:?}", message.topic.name));
        let sent = &self.model.sent[index];
        assert_eq!(message.topic.name, sent.topic, "{}", describe(sent));
        assert_eq!(message.data, sent.data, "{}", describe(sent));
        let shift_ns = if corrected { self.model.corrected_ns(sent) - sent.log_time_ns } else { 0 };
        assert_eq!(message.log_time_ns, sent.log_time_ns + shift_ns, "{}", describe(sent));
        assert_eq!(message.publish_time_ns, sent.publish_time_ns + shift_ns, "{}", describe(sent));
        assert_eq!(message.topic.publisher(), sent.publisher, "{}", describe(sent));
        (index, sent)
    }

    /// Reads the whole tape from its folder: every promised message is there, and what is missing is told.
    pub fn check_tape(&mut self) {
        self.refresh();
        let found = read_all(self.root());
        let present: BTreeSet<usize> = found.messages.iter().map(|message| self.compare(message, false).0).collect();
        let mut lost = Vec::new();
        for index in 0..self.model.sent.len() {
            let sent = &self.model.sent[index];
            if present.contains(&index) || sent.fate != Fate::There {
                continue;
            }
            let id = (sent.boot, sent.sequence);
            if self.model.evicted.contains(&id) {
                self.model.sent[index].fate = Fate::Evicted;
                continue;
            }
            if sent.holding != Holding::Disk {
                // RAM forgets when the process ends; that is no loss.
                if sent.boot != self.boot {
                    self.model.sent[index].fate = Fate::Lost;
                }
                continue;
            }
            let damaged = self.model.damaged.contains(&id);
            assert!(damaged || !sent.promised, "lost although it was promised: {}", describe(sent));
            let crashed = sent.boot != self.boot;
            assert!(damaged || crashed || sent.uncertain, "lost although nothing happened: {}", describe(sent));
            lost.push(index);
        }
        self.tell(|| format!("{} messages are there, {} are lost", present.len(), lost.len()));
        if !lost.is_empty() {
            self.check_told(&lost);
        }
        self.check_recordings_are_there();
    }

    /// Checks that a recording of everything says what is missing.
    fn check_told(&mut self, lost: &[usize]) {
        for index in lost {
            self.model.sent[*index].fate = Fate::Lost;
        }
        if !self.times_are_plain {
            return;
        }
        let first_ns = self.model.sent.iter().map(|sent| self.model.corrected_ns(sent)).min().unwrap_or(0);
        let Some(id) = self.save(first_ns - SECOND_NS, self.clock.utc_ns() + 1, &[]) else { return };
        self.refresh();
        let found = read_all(&self.manifest_path(&id));
        for index in lost {
            let sent = &self.model.sent[*index];
            let told = sent.own_time || is_told(&found.losses, sent.topic, self.model.corrected_ns(sent));
            assert!(told, "lost in silence: {}\n{:#?}", describe(sent), found.losses);
        }
        self.forget(&id);
    }

    /// Checks that recordings and the segments they name never disappear.
    fn check_recordings_are_there(&self) {
        let tape = self.tape();
        for kept in &self.kept {
            let manifest = tape.recording(&kept.id).unwrap_or_else(|error| panic!("a recording disappeared: {error}"));
            for segment in manifest.segments.iter().filter(|_| manifest.is_final()) {
                let content = self.disk.read(&self.root().join(&segment.key));
                let size = content.unwrap_or_else(|| panic!("{} of {} disappeared", segment.key, kept.id)).len() as u64;
                assert_eq!(Some(size), segment.size_bytes, "{} of {}", segment.key, kept.id);
            }
        }
    }

    /// Checks that buffers are within their budgets, after a time in which nothing was logged.
    pub fn check_budgets(&mut self) {
        self.pass(2 * SECOND_NS);
        let named = self.named();
        let mut bytes: BTreeMap<String, u64> = BTreeMap::new();
        for (path, size) in self.disk.list_all() {
            let key = path.strip_prefix(self.root()).unwrap().to_string_lossy().into_owned();
            if is_segment(&path) && !named.contains(&key) {
                *bytes.entry(buffer_of(&path)).or_default() += size as u64;
            }
        }
        for buffer in self.config.buffers.iter().filter(|buffer| buffer.place == Place::Disk) {
            let used = bytes.get(&buffer.name).copied().unwrap_or(0);
            let limit = buffer.size_bytes.unwrap_or(u64::MAX);
            assert!(used <= limit, "buffer '{}' has {used} unnamed bytes, and may have {limit}", buffer.name);
        }
    }

    fn named(&self) -> BTreeSet<String> {
        let tape = self.tape.as_ref().expect("the tape is open");
        tape.recordings().into_iter().flat_map(|manifest| manifest.segments).map(|segment| segment.key).collect()
    }

    /// Judges what the tape removed: nothing that is named, nothing without need.
    pub(super) fn judge_removed(&mut self) {
        let removed: Vec<_> =
            self.disk.take_removed().into_iter().filter(|removed| is_segment(&removed.path) && !removed.replaced).collect();
        if removed.is_empty() || self.tape.is_none() {
            return;
        }
        let named = self.named();
        let mut batch: BTreeMap<String, u64> = BTreeMap::new();
        for removed in &removed {
            *batch.entry(buffer_of(&removed.path)).or_default() += removed.content.len() as u64;
        }
        for removed in removed {
            let stretches = chunks(&removed.path, &removed.content);
            let key = removed.path.strip_prefix(self.root()).unwrap().to_string_lossy().into_owned();
            let gone: Vec<(u64, u64)> = stretches.iter().flat_map(|stretch| stretch.messages.clone()).collect();
            if gone.is_empty() {
                continue;
            }
            self.tell(|| format!("evicted {key} with {} messages", gone.len()));
            assert!(!named.contains(&key), "a recording names {key}, and it was removed");
            let buffer = buffer_of(&removed.path);
            let in_ram = self.config.buffers.iter().any(|config| config.name == buffer && config.place == Place::Ram);
            if in_ram && gone[0].0 == self.boot {
                // Only recordings had it on the disk; it is still in RAM.
                continue;
            }
            if buffer == LATCHED_BUFFER || in_ram {
                self.model.evicted.extend(gone.into_iter().filter(|_| in_ram));
                continue;
            }
            let end_ns = stretches.iter().map(|stretch| stretch.end_ns).max().unwrap_or(i64::MAX);
            assert!(self.may_go(&buffer, end_ns, batch[&buffer], &named), "{key} was evicted without need");
            self.model.evicted.extend(gone);
        }
    }

    fn may_go(&self, buffer: &str, end_ns: i64, batch_bytes: u64, named: &BTreeSet<String>) -> bool {
        let Some(config) = self.config.buffers.iter().find(|config| config.name == buffer) else { return true };
        if self.was_full || !self.times_are_plain {
            return true;
        }
        let old = config.age_ns.is_some_and(|age_ns| end_ns < self.clock.utc_ns() - age_ns);
        let rest: u64 = self
            .disk
            .list_all()
            .iter()
            .filter(|(path, _)| is_segment(path) && buffer_of(path) == buffer)
            .filter(|(path, _)| !named.contains(&*path.strip_prefix(self.root()).unwrap().to_string_lossy()))
            .map(|(_, size)| *size as u64)
            .sum();
        old || config.size_bytes.is_some_and(|size| rest + batch_bytes > size)
    }
}
