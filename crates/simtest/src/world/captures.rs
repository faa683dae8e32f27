//! Recordings that a scenario asks for, and what must be in them.
//!
//! **Invariant:** what a complete recording holds is exactly what was accepted in its span, as far as nothing took it before.

use std::collections::{BTreeMap, BTreeSet};

use recording::manifest::{Manifest, State};
use recording::{Message, Span, TopicFilter};
use robot::clock::Clock;
use robot::{KeepRequest, SaveRequest, When};

use super::{SECOND_NS, World};
use crate::model::{Fate, Holding, Sent, is_told};
use crate::reading::{Found, read_all};

/// How long a recording may take to complete once its end has come.
const COMPLETES_WITHIN_NS: i64 = 30 * SECOND_NS;

/// A recording that was asked for.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its id.
    pub id: String,
    /// Its name, while it is kept until somebody stops it.
    pub name: Option<String>,
    /// Its topics.
    pub filter: TopicFilter,
    /// From when.
    pub start_ns: i64,
    /// Until when, as far as that is known.
    pub end_ns: Option<i64>,
    /// The opening of the tape in which it was asked for.
    pub boot: u64,
    /// The messages on the tape that it must hold.
    must: BTreeSet<usize>,
    /// How many messages there were, and what the wall clock said.
    from: usize,
    asked_ns: i64,
    /// How many messages there were when it ended against its will.
    cut_at: Option<usize>,
    checked: bool,
}

impl World {
    /// Keeps a span. `None` if the tape refuses, which it may where faults were injected.
    pub fn save(&mut self, start_ns: i64, end_ns: i64, topics: &[&str]) -> Option<String> {
        self.tell(|| format!("save {:.3} s to {:.3} s of now, {topics:?}", self.ago(start_ns), self.ago(end_ns)));
        let request = SaveRequest {
            start: Some(When::Ns(start_ns)),
            end: Some(When::Ns(end_ns)),
            topics: topics.iter().map(ToString::to_string).collect(),
            ..SaveRequest::default()
        };
        self.note_asked(topics, None, |tape| tape.save(&request))
    }

    /// Keeps a span around now.
    pub fn save_around(&mut self, before_ns: i64, after_ns: i64, topics: &[&str]) -> Option<String> {
        self.tell(|| format!("save {before_ns} ns before to {after_ns} ns after now, {topics:?}"));
        let request = SaveRequest {
            before: Some(robot::Length::Text(format!("{before_ns} ns"))),
            after: Some(robot::Length::Text(format!("{after_ns} ns"))),
            topics: topics.iter().map(ToString::to_string).collect(),
            ..SaveRequest::default()
        };
        self.note_asked(topics, None, |tape| tape.save(&request))
    }

    /// Keeps everything from `before_ns` ago on.
    pub fn keep_start(&mut self, name: &str, before_ns: i64, topics: &[&str]) -> Option<String> {
        self.tell(|| format!("keep start {name}, {before_ns} ns before, {topics:?}"));
        let request = KeepRequest {
            name: name.into(),
            before: Some(robot::Length::Text(format!("{before_ns} ns"))),
            topics: topics.iter().map(ToString::to_string).collect(),
            ..KeepRequest::default()
        };
        self.note_asked(topics, Some(name.into()), |tape| tape.keep_start(&request))
    }

    fn ago(&self, time_ns: i64) -> f64 {
        (time_ns - self.clock.utc_ns()) as f64 / 1e9
    }

    fn note_asked(
        &mut self,
        topics: &[&str],
        name: Option<String>,
        ask: impl FnOnce(&robot::Tape) -> robot::Result<Manifest>,
    ) -> Option<String> {
        let answer = ask(&self.tape());
        let manifest = match answer {
            Ok(manifest) => manifest,
            Err(error) => {
                self.note_error("save", &error);
                self.watch();
                return None;
            }
        };
        let filter = TopicFilter::parse(topics).unwrap();
        let (start_ns, end_ns) = (manifest.asked.start_ns, manifest.asked.end_ns);
        let span = Span::new(start_ns, end_ns.unwrap_or(i64::MAX));
        let must = (0..self.model.sent.len()).filter(|index| self.is_on_tape(*index) && self.is_wanted(*index, &filter, span)).collect();
        self.kept.push(Kept {
            id: manifest.recording.clone(),
            name,
            filter,
            start_ns,
            end_ns,
            boot: self.boot,
            must,
            from: self.model.sent.len(),
            asked_ns: self.clock.utc_ns(),
            cut_at: None,
            checked: false,
        });
        self.watch();
        Some(manifest.recording)
    }

    /// Returns whether a message must be on the tape now.
    fn is_on_tape(&self, index: usize) -> bool {
        let sent = &self.model.sent[index];
        let held = match sent.holding {
            Holding::Disk => true,
            Holding::Ram => sent.boot == self.boot && self.ram_is_deep,
            Holding::Perhaps => false,
        };
        held && sent.fate == Fate::There && !self.model.evicted.contains(&(sent.boot, sent.sequence))
    }

    fn is_wanted(&self, index: usize, filter: &TopicFilter, span: Span) -> bool {
        let sent = &self.model.sent[index];
        filter.matches(sent.topic) && span.contains(self.model.corrected_ns(sent))
    }

    /// Ends what was kept under a name.
    pub fn keep_stop(&mut self, name: &str, after_ns: i64) {
        self.tell(|| format!("keep stop {name}, {after_ns} ns after"));
        let answer = self.tape().keep_stop(name, Some(after_ns));
        match answer {
            Ok(manifest) => {
                let kept = self.kept.iter_mut().find(|kept| kept.id == manifest.recording).expect("it was started");
                (kept.name, kept.end_ns) = (None, manifest.asked.end_ns);
            }
            Err(error) => self.note_error("keep stop", &error),
        }
        self.watch();
    }

    /// Forgets a recording.
    pub fn forget(&mut self, id: &str) {
        self.tell(|| format!("remove {id}"));
        self.kept.retain(|kept| kept.id != id);
        if let Err(error) = self.tape().remove_recording(id) {
            self.note_error("remove", &error);
        }
        self.watch();
    }

    /// Takes note that unfinished recordings with such an end (and what the clock says) ended now.
    pub(super) fn cut_unfinished(&mut self, ends: impl Fn(Option<i64>, i64) -> bool) {
        let (now_ns, length) = (self.clock.utc_ns(), self.model.sent.len());
        for kept in self.kept.iter_mut().filter(|kept| ends(kept.end_ns, now_ns)) {
            kept.cut_at.get_or_insert(length);
            kept.name = None;
        }
    }

    /// Waits until all recordings are final that have an end, and checks each.
    pub fn complete_all(&mut self) {
        let unfinished = |world: &Self| {
            let open = world.kept.iter().filter(|kept| kept.name.is_none() && !kept.checked);
            open.map(|kept| kept.id.clone()).filter(|id| !world.tape().recording(id).unwrap().is_final()).collect::<Vec<_>>()
        };
        let last_ns = self.kept.iter().filter_map(|kept| kept.end_ns).max().unwrap_or(0);
        let limit_ns = (last_ns - self.clock.utc_ns()).clamp(0, 3600 * SECOND_NS) + COMPLETES_WITHIN_NS;
        let mut waited_ns = 0;
        while !unfinished(self).is_empty() {
            assert!(
                waited_ns < limit_ns,
                "never complete: {:?}",
                unfinished(self).iter().map(|id| self.tape().recording(id)).collect::<Vec<_>>()
            );
            self.pass(SECOND_NS / 2);
            waited_ns += SECOND_NS / 2;
        }
        self.check_final();
    }

    /// Checks every recording that is final and was not checked.
    pub fn check_final(&mut self) {
        for at in 0..self.kept.len() {
            let manifest = self.tape().recording(&self.kept[at].id);
            let manifest = manifest.unwrap_or_else(|error| panic!("a recording disappeared: {error}"));
            if manifest.is_final() && !self.kept[at].checked {
                self.check_recording(at, &manifest);
                self.kept[at].checked = true;
            }
        }
    }

    fn check_recording(&mut self, at: usize, manifest: &Manifest) {
        self.tell(|| format!("check {} ({:?})", manifest.recording, manifest.state));
        self.refresh();
        let found = read_all(&self.manifest_path(&manifest.recording));
        let kept = self.kept[at].clone();
        let present = self.check_messages(&kept, manifest, &found);
        self.check_nothing_is_missing(&kept, manifest, &found, &present);
        self.check_latched(&kept, manifest, &present);
        self.check_counts(manifest, &found);
        let cut_short =
            kept.cut_at.is_some() && manifest.state == State::CutShort || kept.cut_at.is_none() && manifest.state == State::Complete;
        assert!(cut_short || kept.cut_at.is_some(), "{} is {:?}", kept.id, manifest.state);
    }

    /// Compares what a recording says of itself with what was read.
    fn check_counts(&self, manifest: &Manifest, found: &Found) {
        if self.model.damaged.iter().any(|id| self.model.known.contains_key(id)) {
            return;
        }
        // The state at the start is not counted; a message of this very moment may be there only as that.
        let as_state = |message: &Message, sent: &Sent| message.log_time_ns == manifest.span.start_ns && self.may_be_only_latched(sent);
        let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for message in found.messages.iter().filter(|message| message.log_time_ns >= manifest.span.start_ns) {
            let (least, most) = counts.entry(&message.topic.name).or_default();
            *least += u64::from(!as_state(message, self.compare(message, true).1));
            *most += 1;
        }
        let said = manifest.kept.iter().filter(|kept| !kept.topic.starts_with("/tapeloop/"));
        let said: BTreeMap<&str, u64> = said.map(|kept| (kept.topic.as_str(), kept.messages.expect("it is final"))).collect();
        let right = counts.iter().all(|(topic, (least, most))| (*least..=*most).contains(said.get(topic).unwrap_or(&0)));
        let known = said.keys().all(|topic| counts.contains_key(topic));
        assert!(right && known, "the report of {} says {said:?}, and there is {counts:?}", manifest.recording);
    }

    /// Returns whether a crash may have taken a message from its buffer before it was promised, while a latched segment has it: so it
    /// is readable on the tape, but such segments tell recordings only the state at their start.
    fn may_be_only_latched(&self, sent: &Sent) -> bool {
        !sent.slots.is_empty() && !sent.promised && sent.boot != self.boot
    }

    /// Compares what was read with what was accepted; returns which messages are there.
    fn check_messages(&self, kept: &Kept, manifest: &Manifest, found: &Found) -> BTreeSet<usize> {
        let mut present = BTreeSet::new();
        for message in &found.messages {
            let (index, sent) = self.compare(message, true);
            let inside = manifest.span.contains(message.log_time_ns);
            let latched = message.log_time_ns < manifest.span.start_ns && !sent.slots.is_empty();
            assert!(
                inside || latched,
                "{} has a message of {} at {}, outside of {:?}",
                kept.id,
                sent.topic,
                message.log_time_ns,
                manifest.span
            );
            assert!(kept.filter.matches(sent.topic), "{} has a message of {}", kept.id, sent.topic);
            present.insert(index);
        }
        present
    }

    fn check_nothing_is_missing(&self, kept: &Kept, manifest: &Manifest, found: &Found, present: &BTreeSet<usize>) {
        let end_ns = kept.end_ns.unwrap_or(i64::MAX);
        let span = Span::new(kept.start_ns, end_ns);
        let until = kept.cut_at.unwrap_or(self.model.sent.len());
        let since = (kept.from..until).filter(|index| {
            let sent = &self.model.sent[*index];
            sent.wall_ns > kept.asked_ns && sent.wall_ns < end_ns && self.is_wanted(*index, &kept.filter, span)
        });
        let later = since.filter(|index| match self.model.sent[*index].holding {
            Holding::Disk => true,
            Holding::Ram => self.ram_is_deep && self.model.sent[*index].boot == self.boot,
            Holding::Perhaps => false,
        });
        for index in kept.must.iter().copied().chain(later).filter(|index| !present.contains(index)) {
            let sent = &self.model.sent[index];
            let damaged = self.model.damaged.contains(&(sent.boot, sent.sequence));
            let excused = sent.fate == Fate::Lost || sent.uncertain || damaged || self.may_be_only_latched(sent);
            assert!(excused, "{} {:?} lacks {}\nit was asked at {}", kept.id, manifest.span, describe(sent), kept.asked_ns);
            let told = is_told(&found.losses, sent.topic, self.model.corrected_ns(sent));
            assert!(
                told || sent.own_time || !self.times_are_plain,
                "{} lacks {} and does not say so: {:#?}",
                kept.id,
                describe(sent),
                found.losses
            );
        }
    }

    /// Checks that latched topics have at the start the values they had then.
    fn check_latched(&self, kept: &Kept, manifest: &Manifest, present: &BTreeSet<usize>) {
        let start_ns = manifest.span.start_ns;
        if self.latched_damaged || !self.times_are_plain || start_ns < self.model.opened_ns[&kept.boot] {
            return;
        }
        let is_sure = |index: usize| {
            let sent = &self.model.sent[index];
            !sent.uncertain && sent.fate == Fate::There && (kept.boot == self.boot || sent.promised)
        };
        for index in self.model.latched_as_of(kept.boot, start_ns, &kept.filter, |_| true) {
            let sent = &self.model.sent[index];
            assert!(!is_sure(index) || present.contains(&index), "{} from {start_ns} lacks the latched {}", kept.id, describe(sent));
        }
        // What a crash took replaces nothing, because nobody knows of it any more.
        let is_known = |index: usize| is_sure(index) || present.contains(&index);
        let as_of = |at_ns: i64| self.model.latched_as_of(kept.boot, at_ns, &kept.filter, is_known);
        // A value that was replaced just at the start is the one from before it.
        let (expected, just_before) = (as_of(start_ns), as_of(start_ns - 1));
        for index in present {
            let sent = &self.model.sent[*index];
            let before = sent.boot == kept.boot && sent.log_time_ns < start_ns;
            assert!(
                !before || expected.contains(index) || just_before.contains(index),
                "{} from {start_ns} has the latched {}, which was replaced",
                kept.id,
                describe(sent)
            );
        }
    }
}

/// Returns a message in words.
pub(super) fn describe(sent: &Sent) -> String {
    format!(
        "message {} of boot {:x} on {} of {} bytes at {} (accepted after {:.3} s; promised: {}, uncertain: {}, {:?}, {:?})",
        sent.sequence,
        sent.boot,
        sent.topic,
        sent.data.len(),
        sent.log_time_ns,
        sent.accepted_ns as f64 / 1e9,
        sent.promised,
        sent.uncertain,
        sent.holding,
        sent.fate
    )
}
