//! The recordings of a tape: those that are complete, and those that still grow.
//!
//! **Invariant:** a segment that a recording wants is named from the moment of the request on, also after a restart.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use recording::manifest::{Manifest, State};
use recording::{Error, Kind, Loss, Result, Span, TopicFilter, time};

use super::{Leave, SETTLE, count, manifests, plan};
use crate::tape::Tape;
use crate::tape::disk::Disk;
use crate::tape::keeper::Keeper;
use crate::tape::segment::SegmentMeta;

/// How often a recording that waits for its last segments is looked at.
const LOOK_NS: i64 = 300_000_000;
/// How long completing waits for what was accepted to reach its segments; a recorder that is further behind completes later.
const COMPLETE_PATIENCE: Duration = Duration::from_secs(1);
/// How many recordings may be unfinished at a time.
const ACTIVE_LIMIT: usize = 1_000;
/// How much of a segment is read at a time to hash it.
const HASH_STEP: usize = 1 << 20;

/// All recordings of a tape.
pub(crate) struct Captures {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    state: Mutex<Recordings>,
    changed: Condvar,
    turning: Mutex<()>,
    counter: AtomicU64,
    completes: bool,
    /// Manifests that cannot be read, for the first event.
    pub(crate) unreadable: Vec<String>,
}

#[derive(Default)]
struct Recordings {
    active: BTreeMap<String, Active>,
    finished: BTreeMap<String, Manifest>,
    /// How many recordings name a segment.
    named: HashMap<String, Named>,
}

#[derive(Default)]
struct Named {
    recordings: usize,
    size_bytes: u64,
    /// Its hash, once a recording of this opening of the tape has read it: recordings that overlap need not read it again.
    hash: Option<String>,
}

struct Active {
    manifest: Manifest,
    filter: TopicFilter,
    looked_ns: i64,
    cut_short: bool,
}

impl Captures {
    /// Reads the recordings of a tape's folder. Where `resume`, open-ended ones go on; else they ended when the recorder did.
    /// Where not `completes`, nothing is completed: somebody only looks.
    pub(crate) fn load(root: &Path, disk: Arc<dyn Disk>, resume: bool, completes: bool) -> Result<Arc<Self>> {
        let (all, unreadable) = manifests::load(&*disk, root)?;
        let mut recordings = Recordings::default();
        for manifest in all {
            recordings.name(&manifest, true);
            if manifest.is_final() {
                recordings.finished.insert(manifest.recording.clone(), manifest);
                continue;
            }
            let filter = TopicFilter::parse(&manifest.asked.topics)?;
            let cut_short = manifest.state == State::Keeping && !resume;
            recordings.active.insert(manifest.recording.clone(), Active { manifest, filter, looked_ns: 0, cut_short });
        }
        Ok(Arc::new(Self {
            root: root.to_owned(),
            disk,
            state: Mutex::new(recordings),
            changed: Condvar::new(),
            turning: Mutex::default(),
            counter: AtomicU64::new(0),
            completes,
            unreadable,
        }))
    }

    /// Returns an id that no other recording has: the time, this opening of the tape, and a counter.
    pub(super) fn new_id(&self, tape: &Tape) -> String {
        let time: String = time::format_time(tape.clock().utc_ns()).chars().filter(char::is_ascii_alphanumeric).take(15).collect();
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        format!("{time}-{:012x}-{count}", tape.boot())
    }

    pub(super) fn write(&self, _tape: &Tape, manifest: &Manifest) -> Result<()> {
        manifests::write(&*self.disk, &self.root, manifest)
    }

    pub(super) fn add_active(&self, manifest: Manifest, filter: TopicFilter) {
        let mut state = self.state.lock();
        state.name(&manifest, true);
        state.active.insert(manifest.recording.clone(), Active { manifest, filter, looked_ns: 0, cut_short: false });
    }

    pub(super) fn refuse_second_keep(&self, name: &str) -> Result<()> {
        match self.find_keep(name) {
            Some(_) => Err(Error::new(Kind::Conflict, format!("'{name}' is being kept already: stop it first, or choose another name"))),
            None => Ok(()),
        }
    }

    /// Refuses a new recording when the budget of kept bytes is used up.
    pub(super) fn check_budget(&self, tape: &Tape) -> Result<()> {
        let active = self.state.lock().active.len();
        if active >= ACTIVE_LIMIT {
            return Err(Error::unavailable(format!("{active} recordings are unfinished; at most {ACTIVE_LIMIT}")));
        }
        let (kept, limit) = (self.kept_bytes(), tape.config().keep_bytes);
        match limit.filter(|limit| kept >= *limit) {
            Some(limit) => Err(Error::unavailable(format!(
                "recordings take {kept} bytes, and [keep] size is {limit}: remove some with 'tapeloop rm', or raise it"
            ))),
            None => Ok(()),
        }
    }

    fn find_keep(&self, name: &str) -> Option<String> {
        let state = self.state.lock();
        let open = |active: &&Active| active.manifest.state == State::Keeping && active.manifest.name.as_deref() == Some(name);
        state.active.values().find(open).map(|active| active.manifest.recording.clone())
    }

    /// Ends what [`Self::keep_start`] began, `after_ns` from now.
    ///
    /// # Errors
    /// `NotFound` if nothing is kept under that name.
    pub(crate) fn keep_stop(&self, tape: &Tape, name: &str, after_ns: i64) -> Result<Manifest> {
        let missing = || Error::not_found(format!("nothing is being kept under the name '{name}'"));
        let id = self.find_keep(name).ok_or_else(missing)?;
        tape.settle(SETTLE);
        let end_ns = tape.clock().utc_ns().saturating_add(after_ns).saturating_add(1);
        let (mut manifest, filter) = {
            let mut state = self.state.lock();
            let active = state.active.get_mut(&id).ok_or_else(missing)?;
            active.manifest.asked.end_ns = Some(end_ns);
            active.manifest.span = Span::new(active.manifest.span.start_ns, end_ns);
            active.manifest.state = State::Completing;
            (active.manifest.clone(), active.filter.clone())
        };
        let plan = plan::plan(&tape.view(), manifest.span, false, &filter, &manifest.kept);
        plan.want_ram();
        plan.write_into(&mut manifest);
        self.write(tape, &manifest)?;
        self.replace_active(&manifest);
        Ok(manifest)
    }

    fn replace_active(&self, manifest: &Manifest) {
        let mut state = self.state.lock();
        if let Some(old) = state.active.get(&manifest.recording).map(|active| active.manifest.clone()) {
            state.name(manifest, true);
            state.name(&old, false);
            if let Some(active) = state.active.get_mut(&manifest.recording) {
                active.manifest = manifest.clone();
            }
        }
    }

    /// Returns a recording's manifest.
    ///
    /// # Errors
    /// `NotFound` if there is none with that id or name.
    pub(crate) fn get(&self, id: &str) -> Result<Manifest> {
        let state = self.state.lock();
        let by_id = state.active.get(id).map(|active| &active.manifest).or_else(|| state.finished.get(id));
        let named = |manifest: &&Manifest| manifest.name.as_deref() == Some(id);
        let by_name = || state.active.values().map(|active| &active.manifest).chain(state.finished.values().rev()).find(named);
        by_id
            .or_else(by_name)
            .cloned()
            .ok_or_else(|| Error::not_found(format!("no recording '{id}' on this tape: 'tapeloop ls' shows them")))
    }

    /// Returns a recording's manifest as it is now: one that still grows names on disk, too, what has come since it was asked for.
    ///
    /// # Errors
    /// `NotFound` if there is none with that id or name; those of the disk.
    pub(crate) fn latest(&self, tape: &Tape, id: &str) -> Result<Manifest> {
        let id = self.get(id)?.recording;
        if !self.completes || !self.state.lock().active.contains_key(&id) {
            return self.get(&id);
        }
        tape.settle(SETTLE);
        // Nothing is completed meanwhile: a final manifest is never overwritten.
        let _turn = self.turning.lock();
        let known = self.state.lock().active.get(&id).map(|active| (active.manifest.clone(), active.filter.clone()));
        let Some((known, filter)) = known else { return self.get(&id) };
        let plan = plan::plan(&tape.view(), known.span, known.asked.end_ns.is_none(), &filter, &known.kept);
        plan.want_ram();
        let mut manifest = known.clone();
        plan.write_into(&mut manifest);
        let unchanged = |active: &Active| active.manifest.state == known.state && active.manifest.asked == known.asked;
        if manifest != known && self.state.lock().active.get(&id).is_some_and(unchanged) {
            self.write(tape, &manifest)?;
            self.replace_active(&manifest);
        }
        self.get(&id)
    }

    /// Returns all manifests, oldest first.
    pub(crate) fn all(&self) -> Vec<Manifest> {
        let state = self.state.lock();
        let mut all: Vec<Manifest> =
            state.active.values().map(|active| active.manifest.clone()).chain(state.finished.values().cloned()).collect();
        all.sort_by_key(|manifest| manifest.created_ns);
        all
    }

    /// Waits until a recording is final.
    ///
    /// # Errors
    /// `NotFound` without such a recording; `Unavailable` if it takes longer than `timeout`.
    pub(crate) fn wait(&self, tape: &Tape, id: &str, timeout: Duration) -> Result<Manifest> {
        let deadline_ns = tape.clock().monotonic_ns().saturating_add(i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX));
        loop {
            let manifest = self.get(id)?;
            if manifest.is_final() {
                return Ok(manifest);
            }
            let left_ns = deadline_ns.saturating_sub(tape.clock().monotonic_ns());
            if left_ns <= 0 {
                return Err(Error::unavailable(format!("recording '{id}' is still {:?}", manifest.state).to_lowercase()));
            }
            let mut state = self.state.lock();
            self.changed.wait_for(&mut state, Duration::from_nanos(left_ns.min(LOOK_NS) as u64));
        }
    }

    /// Forgets a recording; its segments stay only as long as another one names them, or the tape has room.
    ///
    /// # Errors
    /// `NotFound` without such a recording; those of the disk.
    pub(crate) fn remove(&self, tape: &Tape, id: &str) -> Result<Manifest> {
        let manifest = self.get(id)?;
        manifests::remove(&*self.disk, &self.root, &manifest)?;
        let orphans: Vec<String> = {
            let mut state = self.state.lock();
            state.active.remove(&manifest.recording);
            state.finished.remove(&manifest.recording);
            state.name(&manifest, false);
            manifest.segments.iter().map(|segment| segment.key.clone()).filter(|key| !state.named.contains_key(key)).collect()
        };
        let view = tape.view();
        // The tape knows best when those go that it has, also those in memory that were written to a file.
        let on_tape = |key: &str| {
            let mut known = view.buffers.iter().flat_map(|buffer| &buffer.segments).chain(&view.latched);
            known.any(|segment| &*segment.meta.key == key)
        };
        for key in orphans.iter().filter(|key| !on_tape(key)) {
            let _ = self.disk.remove(&self.root.join(key));
        }
        Ok(manifest)
    }

    /// Ends or leaves what is unfinished, because the tape is closed; returns until when to wait.
    pub(crate) fn leave(&self, tape: &Tape, leave: Leave) -> Option<i64> {
        // What was logged this very nanosecond is part of it.
        let now_ns = tape.clock().utc_ns().saturating_add(1);
        let mut state = self.state.lock();
        let mut until_ns = None;
        for active in state.active.values_mut() {
            let open = active.manifest.state == State::Keeping;
            let future = active.manifest.asked.end_ns.filter(|end_ns| *end_ns > now_ns);
            match leave {
                Leave::Resume => {}
                Leave::Wait if open => active.end_at(now_ns),
                Leave::Wait => until_ns = until_ns.max(future),
                Leave::CutShort if open || future.is_some() => {
                    active.end_at(now_ns);
                    active.cut_short = true;
                }
                Leave::CutShort => {}
            }
        }
        until_ns
    }

    /// Ends a recording now whose end lies in the future.
    ///
    /// # Errors
    /// `NotFound` if there is none with that id or name.
    pub(crate) fn cut_short(&self, tape: &Tape, id: &str) -> Result<Manifest> {
        let manifest = self.get(id)?;
        let now_ns = tape.clock().utc_ns().saturating_add(1);
        let mut state = self.state.lock();
        match state.active.get_mut(&manifest.recording) {
            Some(active) if active.manifest.asked.end_ns.is_none_or(|end_ns| end_ns > now_ns) => {
                active.end_at(now_ns);
                active.cut_short = true;
                Ok(active.manifest.clone())
            }
            _ => Ok(manifest),
        }
    }

    /// Completes what is due. After the tape was closed, `closing` completes all whose end has come.
    pub(crate) fn complete_due(&self, tape: &Tape, closing: bool) {
        if !self.completes {
            return;
        }
        let _turn = self.turning.lock();
        let (now_ns, steady_ns) = (tape.clock().utc_ns(), tape.clock().monotonic_ns());
        let due: Vec<(Manifest, TopicFilter, bool)> = {
            let mut state = self.state.lock();
            let mut due = Vec::new();
            for active in state.active.values_mut() {
                if active.cut_short && active.manifest.asked.end_ns.is_none() {
                    let last_ns = tape.view().last_before(tape.boot());
                    active.end_at(last_ns.unwrap_or(active.manifest.created_ns).max(active.manifest.asked.start_ns));
                }
                // "Until now" ends a nanosecond from now, and a file's clock may stand still.
                let ended = active.cut_short || active.manifest.asked.end_ns.is_some_and(|end_ns| end_ns <= now_ns.saturating_add(1));
                if ended && (closing || steady_ns - active.looked_ns >= LOOK_NS) {
                    active.looked_ns = steady_ns;
                    due.push((active.manifest.clone(), active.filter.clone(), active.cut_short));
                }
            }
            due
        };
        self.write_wanted_ram(tape);
        if due.is_empty() || !(tape.settle_all(COMPLETE_PATIENCE) || closing) {
            return;
        }
        for (manifest, filter, cut_short) in due {
            if let Err(error) = self.complete(tape, manifest, &filter, cut_short) {
                tape.report_event("capture_failed", &error.to_string(), serde_json::Value::Null);
            }
        }
    }

    /// Writes RAM segments that recordings want: closed ones whole, open ones from now on as they grow.
    fn write_wanted_ram(&self, tape: &Tape) {
        for segment in tape.ram_segments() {
            let Some(ram) = &segment.meta.ram else { continue };
            let wanted = ram.is_wanted() || self.wants(&segment.meta, segment.correction_ns);
            if !wanted || ram.is_written() {
                continue;
            }
            ram.wanted.store(true, Ordering::Release);
            if let Err(error) = tape.write_ram(&segment.meta) {
                tape.report_event("capture_failed", &format!("cannot write {}: {error}", segment.meta.key), serde_json::Value::Null);
            }
        }
    }

    fn wants(&self, meta: &SegmentMeta, correction_ns: i64) -> bool {
        self.state.lock().active.values().any(|active| active.wants(meta, correction_ns))
    }

    /// Completes one recording, unless a segment of it is still open.
    fn complete(&self, tape: &Tape, mut manifest: Manifest, filter: &TopicFilter, cut_short: bool) -> Result<()> {
        let plan = plan::plan(&tape.view(), manifest.span, false, filter, &manifest.kept);
        plan.want_ram();
        let ready = |meta: &Arc<SegmentMeta>| meta.closed && meta.ram.as_ref().is_none_or(|ram| ram.is_written());
        if !plan.metas.iter().all(ready) {
            return Ok(());
        }
        plan.write_into(&mut manifest);
        for segment in manifest.segments.iter_mut().filter(|segment| segment.hash.is_none()) {
            let known = self.state.lock().hash_of(&segment.key);
            let (hash, size_bytes) = known.map_or_else(|| self.hash(&segment.key), Ok)?;
            self.state.lock().remember_hash(&segment.key, &hash, size_bytes);
            (segment.hash, segment.size_bytes) = (Some(hash), Some(size_bytes));
        }
        manifest.state = if cut_short { State::CutShort } else { State::Complete };
        if cut_short {
            // Of what had an open end, nobody knows how long it was to go on.
            let start_ns = Some(manifest.span.end_ns);
            let end_ns = manifest.asked.end_ns.filter(|end_ns| *end_ns > manifest.span.end_ns);
            let reason = "cut short: the recorder stopped before the end".to_owned();
            manifest.missing.push(Loss { topic: None, start_ns, end_ns, messages: None, bytes: None, reason });
        }
        self.count(&mut manifest)?;
        self.write(tape, &manifest)?;
        let mut state = self.state.lock();
        if let Some(old) = state.active.remove(&manifest.recording) {
            state.name(&manifest, true);
            state.name(&old.manifest, false);
            state.finished.insert(manifest.recording.clone(), manifest);
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Makes a segment durable, its name too, and returns its hash and size.
    fn hash(&self, key: &str) -> Result<(String, u64)> {
        let path = self.root.join(key);
        let hash = || -> io::Result<(String, u64)> {
            self.disk.open_append(&path)?.syncer()?.sync()?;
            self.disk.sync_folder(path.parent().expect("a key has a folder"))?;
            let file = self.disk.open_read(&path)?;
            let mut hasher = blake3::Hasher::new();
            let mut step = vec![0; HASH_STEP];
            let mut at = 0;
            loop {
                let count = file.read_full_at(at, &mut step)?;
                if count == 0 {
                    return Ok((format!("blake3:{}", hasher.finalize().to_hex()), at));
                }
                hasher.update(&step[..count]);
                at += count as u64;
            }
        };
        hash().map_err(|error| Error::io(format!("cannot read {}", path.display()), error))
    }

    /// Counts what was kept of each topic.
    fn count(&self, manifest: &mut Manifest) -> Result<()> {
        let counts = count::count(manifest, &|key| self.disk.open_read(&self.root.join(key)))?;
        for kept in &mut manifest.kept {
            let (messages, bytes) = counts.get(&kept.topic).copied().unwrap_or((0, 0));
            (kept.messages, kept.bytes) = (Some(messages), Some(bytes));
        }
        manifest.kept.retain(|kept| kept.messages != Some(0));
        Ok(())
    }
}

impl Active {
    fn end_at(&mut self, end_ns: i64) {
        self.manifest.asked.end_ns.get_or_insert(end_ns);
        self.manifest.span = Span::new(self.manifest.span.start_ns, end_ns.max(self.manifest.span.start_ns));
        self.manifest.state = State::Completing;
    }

    fn wants(&self, meta: &SegmentMeta, correction_ns: i64) -> bool {
        let end_ns = self.manifest.asked.end_ns.unwrap_or(i64::MAX);
        let span = Span::new(self.manifest.span.start_ns, end_ns);
        meta.touches(span, correction_ns) && meta.topics.iter().any(|topic| self.filter.matches(topic) || topic.starts_with("/tapeloop/"))
    }
}

impl Recordings {
    /// Names the segments of a manifest, or takes that back.
    fn name(&mut self, manifest: &Manifest, names: bool) {
        for segment in &manifest.segments {
            let named = self.named.entry(segment.key.clone()).or_default();
            named.size_bytes = segment.size_bytes.unwrap_or(named.size_bytes);
            named.recordings = if names { named.recordings + 1 } else { named.recordings.saturating_sub(1) };
            if named.recordings == 0 {
                self.named.remove(&segment.key);
            }
        }
    }

    fn hash_of(&self, key: &str) -> Option<(String, u64)> {
        self.named.get(key).and_then(|named| Some((named.hash.clone()?, named.size_bytes)))
    }

    fn remember_hash(&mut self, key: &str, hash: &str, size_bytes: u64) {
        if let Some(named) = self.named.get_mut(key) {
            (named.hash, named.size_bytes) = (Some(hash.to_owned()), size_bytes);
        }
    }
}

impl Keeper for Captures {
    fn names(&self, segment: &SegmentMeta, correction_ns: i64) -> bool {
        let state = self.state.lock();
        state.named.contains_key(&*segment.key) || state.active.values().any(|active| active.wants(segment, correction_ns))
    }

    fn closed(&self, _segment: &Arc<SegmentMeta>) {}

    fn turn(&self, tape: &Tape) {
        self.complete_due(tape, false);
    }

    fn give_up_one(&self) -> Option<String> {
        let oldest = self.state.lock().finished.values().min_by_key(|manifest| manifest.created_ns).cloned()?;
        manifests::remove(&*self.disk, &self.root, &oldest).ok()?;
        let mut state = self.state.lock();
        state.finished.remove(&oldest.recording);
        state.name(&oldest, false);
        Some(oldest.recording)
    }

    fn kept_bytes(&self) -> u64 {
        self.state.lock().named.values().map(|named| named.size_bytes).sum()
    }
}
