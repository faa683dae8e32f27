//! Opening a tape: the lock, what is there, what a crash left of it, and the threads.
//!
//! **Invariant:** damage never makes an opening fail; only another process, the disk, or a newer format does.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use recording::key::{self, SegmentName};
use recording::mcap::definitions::Definitions;
use recording::{Error, Kind, Loss, Result};

use super::boot::BootFile;
use super::buffer::Buffer;
use super::disk::{Disk, RealDisk, read_small, write_atomic};
use super::index::Index;
use super::keeper::Keeper;
use super::latched::Latched;
use super::losses::Losses;
use super::room::Room;
use super::segment::{SegmentMeta, TopicSets};
use super::transform::TransformFor;
use super::upkeep::Upkeep;
use super::{Inner, Tape};
use super::{recovery, running};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, LATCHED_BUFFER};

/// How a tape is opened; the default is the real machine.
#[derive(Clone)]
pub struct OpenOptions {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Whether the tape runs threads of its own; without them, [`Tape::turn`] does their work.
    pub threads: bool,
    /// The robot's name, unless the configuration has one.
    pub device: Option<String>,
    /// The computer's name, unless the configuration has one.
    pub host: Option<String>,
    /// The id of this opening; `None` means a random one.
    pub boot: Option<u64>,
    /// Whether open-ended recordings of the last opening go on; else they ended when it did.
    pub resume: bool,
    /// Whether segments may be evicted. Off for tools that look at a tape, or keep something of it, while no recorder runs.
    pub evict: bool,
    /// Whether unfinished recordings are completed when their time has come. Off for tools that only look.
    pub complete: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            disk: Arc::new(RealDisk),
            clock: Arc::new(SystemClock),
            threads: true,
            device: None,
            host: None,
            boot: None,
            resume: false,
            evict: true,
            complete: true,
        }
    }
}

/// Holds the tape for one process.
pub(crate) struct Lock {
    file: Mutex<Option<File>>,
}

impl Lock {
    /// Lets another process have the tape.
    pub(super) fn release(&self) {
        self.file.lock().take();
    }
}

/// The parts of other modules that a tape works with.
pub(crate) struct Parts {
    pub(crate) keeper: Arc<dyn Keeper>,
    pub(crate) transform_for: TransformFor,
}

/// What was found in the folder.
struct Found {
    index: Index,
    sets: TopicSets,
    losses: Vec<Loss>,
    /// Losses of segments whose times nobody knows yet.
    undated: Vec<(SegmentName, Loss)>,
    repaired: usize,
    unreadable: Vec<String>,
}

impl Tape {
    /// Opens the tape in a folder, with the parts it works with.
    pub(crate) fn open_with(root: &Path, config: Config, options: &OpenOptions, load: impl FnOnce() -> Result<Parts>) -> Result<Tape> {
        let disk = options.disk.clone();
        let lock = lock(root)?;
        let parts = load()?;
        let host = config.host.clone().or_else(|| options.host.clone()).unwrap_or_else(host_name);
        let device = config.device.clone().or_else(|| options.device.clone()).unwrap_or_else(|| host.clone());
        let boot = options.boot.map_or_else(random_boot, Ok)?;
        let mut found = look(&*disk, root)?;
        let opened_ns = options.clock.utc_ns();
        found.losses.extend(running::crash_loss(&*disk, root, &found.index, opened_ns));
        // They are on the disk before the file is gone that told of a crash, and before a damaged one is looked at again.
        found.losses.iter().for_each(|loss| found.index.add_loss(loss.clone()));
        let index_path = index_path(root);
        if let Err(error) = found.index.save(&*disk, &index_path) {
            // The index is only a shortcut: a read-only disk is refused below, by the first write that matters.
            found.unreadable.push(error.to_string());
        }
        let first = |name: &str| found.index.of(name).next_back().map_or(0, |meta| meta.name.number + 1);
        let buffers: Vec<Arc<Buffer>> = config.buffers.iter().map(|config| Buffer::new(config.clone(), first(&config.name))).collect();
        let latched = Latched::starting_at(first(LATCHED_BUFFER));
        let boot_path = root.join(key::device(&device)).join("boots").join(format!("{host}-{boot:012x}.mcap"));
        let tape = Tape {
            inner: Arc::new(Inner {
                root: root.to_owned(),
                device,
                host,
                boot,
                kernel_boot: std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned(),
                opened_ns,
                opened_offset_ns: opened_ns.saturating_sub(options.clock.monotonic_ns()),
                disk,
                clock: options.clock.clone(),
                keeper: parts.keeper,
                threaded: options.threads,
                transform_for: parts.transform_for,
                config: ArcSwap::from_pointee(config),
                sequence: AtomicU64::new(0),
                channels: RwLock::default(),
                buffers: ArcSwap::from_pointee(buffers.clone()),
                index: Mutex::new(found.index),
                sets: Mutex::new(found.sets),
                latched,
                boot_file: Mutex::new(BootFile::new(boot_path)),
                payload_memory: Arc::default(),
                losses: Losses::default(),
                taps: super::tap::Taps::default(),
                expectations: super::expect::Expectations::default(),
                upkeep: Upkeep::new(&*options.clock),
                room: Room::new(options.evict),
                writers: Mutex::default(),
                keepers: Mutex::default(),
                stopping: AtomicBool::new(false),
                closed: AtomicBool::new(false),
                accepting: AtomicU64::new(0),
                lock,
            }),
        };
        for buffer in &buffers {
            tape.inner.start_writer(&tape, buffer)?;
        }
        if options.threads {
            tape.inner.start_upkeep(&tape)?;
        }
        if options.evict {
            tape.inner.remember_config();
        }
        tape.inner.say_running();
        for loss in found.losses {
            tape.inner.losses.add(loss);
        }
        // Before anything else, so that the first recording knows of them.
        tape.inner.tell_losses();
        if found.repaired > 0 || !found.unreadable.is_empty() {
            let message = format!("{} segments were left open and are closed now", found.repaired);
            tape.report_event("recovered", &message, serde_json::json!({ "segments": found.repaired, "unreadable": found.unreadable }));
        }
        Ok(tape)
    }

    /// Ends the tape: everything accepted is on disk, all segments are closed.
    ///
    /// # Errors
    /// What the writing met; the tape is closed all the same.
    pub(crate) fn close_tape(&self) -> Result<()> {
        self.inner.close_all()
    }

    /// Puts a new configuration into force, without losing a message.
    ///
    /// # Errors
    /// `Invalid` for a change of the device's or the host's name; `Unavailable` if there are too many channels.
    pub fn reconfigure(&self, config: Config) -> Result<()> {
        for (what, new, old) in [("device", &config.device, &self.inner.device), ("host", &config.host, &self.inner.host)] {
            if let Some(new) = new.as_ref().filter(|new| *new != old) {
                return Err(Error::invalid(format!("the {what} cannot change from '{old}' to '{new}' while recording: restart the agent")));
            }
        }
        self.inner.reconfigure(self, config)?;
        self.inner.remember_config();
        self.inner.say_running();
        Ok(())
    }
}

/// Returns where the text of the configuration stands that a tape was last recorded with: tools that keep something of it while
/// no recorder runs need to know which of its buffers is the best.
pub fn config_path(root: &Path) -> PathBuf {
    root.join("tape").join("config.toml")
}

/// Returns the path of the index.
pub(super) fn index_path(root: &Path) -> PathBuf {
    root.join("tape").join("index")
}

fn lock(root: &Path) -> Result<Lock> {
    let folder = root.join("tape");
    let failed = |error| Error::io(format!("cannot record in {}", root.display()), error);
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let path = folder.join("lock");
    let file = File::options().create(true).truncate(false).write(true).read(true).open(&path).map_err(failed)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            let _ = file.set_len(0).and_then(|()| std::io::Write::write_all(&mut &file, std::process::id().to_string().as_bytes()));
            Ok(Lock { file: Mutex::new(Some(file)) })
        }
        Err(_) => {
            let owner = std::fs::read_to_string(&path).unwrap_or_default();
            Err(Error::new(Kind::Conflict, format!("process {owner} records there already: {}", root.display())))
        }
    }
}

/// Looks at every segment's name, and into those that the index does not know.
fn look(disk: &dyn Disk, root: &Path) -> Result<Found> {
    let mut sets = TopicSets::default();
    let mut loaded = Index::load(disk, &index_path(root), &mut sets);
    let mut found = Found { index: Index::default(), sets, losses: Vec::new(), undated: Vec::new(), repaired: 0, unreadable: Vec::new() };
    found.index.set_losses(std::mem::take(&mut loaded.losses));
    let mut boots: HashMap<PathBuf, Definitions> = HashMap::new();
    let mut alive = HashSet::new();
    let list = |path: &Path| disk.list(path).map_err(|error| Error::io(format!("cannot read {}", path.display()), error));
    for device in list(&root.join("devices"))?.into_iter().filter(|entry| entry.is_folder) {
        let segments = key::segments(&device.name);
        let boots_folder = root.join(key::device(&device.name)).join("boots");
        let mut days: Vec<String> =
            list(&root.join(&segments))?.into_iter().filter(|entry| entry.is_folder).map(|entry| entry.name).collect();
        days.sort_unstable();
        for day in days {
            let folder = root.join(&segments).join(&day);
            let mut files = list(&folder)?;
            files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            for file in files {
                let path = folder.join(&file.name);
                if file.name.ends_with(".part") {
                    let _ = disk.remove(&path);
                    continue;
                }
                let Some(name) = SegmentName::parse(&file.name) else { continue };
                let key = format!("{segments}/{day}/{}", file.name);
                let boot_path = boots_folder.join(format!("{}-{:012x}.mcap", name.host, name.boot));
                if let Some(meta) = loaded.segments.remove(&key).filter(|meta| meta.size_bytes == file.size) {
                    alive.insert(boot_path);
                    found.index.put(Arc::new(meta));
                    continue;
                }
                let known = boots.entry(boot_path.clone()).or_insert_with(|| recovery::boot_definitions(disk, &boot_path));
                if found.take(disk, &path, &key, name, known)? {
                    alive.insert(boot_path);
                }
            }
        }
        for file in list(&boots_folder)? {
            let path = boots_folder.join(&file.name);
            if !alive.contains(&path) {
                let _ = disk.remove(&path);
            }
        }
    }
    found.index.guess_clocks();
    // A segment of which only the index knows went, too, though nobody could say so any more.
    let gone = loaded.gone.into_iter().chain(loaded.segments.into_values());
    gone.map(Arc::new).for_each(|meta| found.index.note_gone(&meta));
    found.date_losses();
    Ok(found)
}

impl Inner {
    /// Writes the configuration beside the tape. Where that fails, so does the first write that matters, and that one tells.
    fn remember_config(&self) {
        let (path, config) = (config_path(&self.root), self.config.load());
        let same = read_small(&*self.disk, &path, config.text.len() as u64).is_ok_and(|known| known == config.text.as_bytes());
        if !same {
            let _ = write_atomic(&*self.disk, &path, config.text.as_bytes());
        }
    }
}

impl Found {
    /// Looks into a segment; returns whether it stays.
    fn take(&mut self, disk: &dyn Disk, path: &Path, key: &str, name: SegmentName, known: &Definitions) -> Result<bool> {
        match recovery::recover(disk, path, key, name.clone(), known, &mut self.sets) {
            Ok(Some(recovered)) => {
                self.repaired += usize::from(recovered.repaired);
                let (dated, undated): (Vec<Loss>, Vec<Loss>) =
                    recovered.losses.into_iter().partition(|loss| loss.start_ns.is_some() && loss.end_ns.is_some());
                self.losses.extend(dated);
                self.undated.extend(undated.into_iter().map(|loss| (name.clone(), loss)));
                self.unreadable.extend(recovered.unrepaired);
                self.index.put(Arc::new(recovered.meta));
                Ok(true)
            }
            Ok(None) => {
                let _ = disk.remove(path);
                Ok(false)
            }
            Err(error) if error.kind() == Kind::Invalid => Err(error),
            Err(error) => {
                // It stays where it is, for a person to look at; recording goes on.
                self.unreadable.push(error.to_string());
                let bytes = disk.open_read(path).and_then(|file| file.len()).ok();
                let reason = format!("unreadable segment {key}: {}", error.message());
                self.undated.push((name, Loss { topic: None, start_ns: None, end_ns: None, messages: None, bytes, reason }));
                Ok(true)
            }
        }
    }

    /// Gives losses without times those of the segments around them: what is lost lies between the beginning of the one before
    /// and the end of its boot.
    fn date_losses(&mut self) {
        for (name, mut loss) in std::mem::take(&mut self.undated) {
            let boot = || self.index.all().filter(|meta| meta.name.boot == name.boot && meta.start_ns <= meta.end_ns);
            let before = boot().filter(|meta| meta.name.buffer == name.buffer && meta.name.number < name.number);
            let times = |meta: &Arc<SegmentMeta>| meta.corrected_ns(self.index.correction_ns(meta));
            let first_ns = before.max_by_key(|meta| meta.name.number).map(|meta| times(meta).0);
            loss.start_ns = loss.start_ns.or(first_ns).or_else(|| boot().map(|meta| times(meta).0).min());
            loss.end_ns = loss
                .end_ns
                .or_else(|| boot().map(|meta| times(meta).1).max())
                .filter(|end_ns| loss.start_ns.is_none_or(|start_ns| start_ns <= *end_ns));
            self.losses.push(loss);
        }
    }
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let clean = key::to_name(&name);
    // A part that looks like a boot would make the names of segments ambiguous.
    clean.split('-').map(|part| if key::is_boot(part) { "host" } else { part }).collect::<Vec<_>>().join("-")
}

fn random_boot() -> Result<u64> {
    let mut bytes = [0u8; 8];
    let filled = rustix::rand::getrandom(&mut bytes[..6], rustix::rand::GetRandomFlags::empty());
    match filled {
        Ok(6) => Ok(u64::from_le_bytes(bytes)),
        _ => Err(Error::new(Kind::Internal, "the system gives no random numbers")),
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        for buffer in self.buffers.load().iter() {
            buffer.queue.close();
        }
    }
}
