//! Open recorders, their channels, and their end: by a call, with the process, or in the child of a fork.
//!
//! **Invariant:** in a forked child nothing of the parent's recorders is used or freed: their threads stayed in the parent.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Once};

use parking_lot::Mutex;
use recording::{Error, Kind, Result, key, size, time};
use robot::{ChannelSpec, Config, Leave, Recorder, RecorderChannel, places};

use crate::argument::optional_text;
use crate::failure::guard;
use crate::handles::Handles;
use crate::options::OpenOptions;

static RECORDERS: Handles<Session> = Handles::new("recorder");
static CHANNELS: Handles<Logs> = Handles::new("channel");
/// How often this process is the child of a fork.
static FORKS: AtomicUsize = AtomicUsize::new(0);

/// An open recorder.
pub(crate) struct Session {
    recorder: ManuallyDrop<Recorder>,
    forks: usize,
    closed: AtomicBool,
    /// The handles of its channels, by topic.
    channels: Mutex<HashMap<String, Vec<(ChannelSpec, usize)>>>,
}

/// A channel of an open recorder.
pub(crate) struct Logs {
    session: Arc<Session>,
    channel: ManuallyDrop<RecorderChannel>,
}

/// Opens a recorder as `options` say.
///
/// # Safety
/// The options' texts are null or end with a zero.
pub(crate) unsafe fn open(options: &OpenOptions) -> Result<*mut c_void> {
    // SAFETY: the caller promises it.
    let (device, data, keep, config, socket) = unsafe {
        (
            optional_text("device", options.device)?,
            optional_text("data", options.data)?,
            optional_text("keep", options.keep)?,
            optional_text("config", options.config)?,
            optional_text("socket", options.socket)?,
        )
    };
    device.map_or(Ok(()), |device| key::check_name("device", device))?;
    let client_name = || device.map_or_else(|| key::to_name(&program_name()), str::to_owned);
    let own_tape = data.is_some() || keep.is_some() || config.is_some();
    let recorder = match socket {
        Some(_) if own_tape => {
            return Err(Error::invalid("data, keep and config are for a tape of this process, and socket is an agent's: say one of them"));
        }
        Some(socket) => Recorder::agent(Path::new(socket), &client_name())?,
        None if !own_tape => Recorder::find(&client_name())?,
        None => {
            let mut chosen = match (config, keep) {
                (Some(_), Some(_)) => {
                    return Err(Error::invalid("keep makes a configuration of one buffer: say either keep or config"));
                }
                (Some(config), None) => read_config(config)?,
                (None, Some(keep)) => one_buffer(keep)?,
                (None, None) => Config::empty(),
            };
            chosen.device = device.map(str::to_owned).or(chosen.device);
            let root = data.map_or_else(places::default_data_dir, |data| Ok(data.into()))?;
            let root = std::path::absolute(&root).map_err(|error| Error::io(format!("no folder {}", root.display()), error))?;
            Recorder::embedded(&root, chosen)?
        }
    };
    watch_process();
    let session = Session {
        recorder: ManuallyDrop::new(recorder),
        forks: FORKS.load(Ordering::Relaxed),
        closed: AtomicBool::new(false),
        channels: Mutex::default(),
    };
    Ok(RECORDERS.add(Arc::new(session)))
}

/// Returns the recorder of a handle.
pub(crate) fn session(handle: *mut c_void) -> Result<Arc<Session>> {
    RECORDERS.get(handle)
}

/// Returns the channel of a handle.
#[inline]
pub(crate) fn channel(handle: *mut c_void) -> Result<Arc<Logs>> {
    CHANNELS.get(handle)
}

/// Returns the handle of a channel; that of an equal one, if there is one.
pub(crate) fn channel_of(session: &Arc<Session>, spec: ChannelSpec) -> Result<*mut c_void> {
    let mut channels = session.channels.lock();
    let recorder = session.recorder()?;
    if let Some((_, handle)) = channels.get(&spec.topic).and_then(|same| same.iter().find(|(known, _)| *known == spec)) {
        return Ok(std::ptr::without_provenance_mut(*handle));
    }
    let channel = ManuallyDrop::new(recorder.channel(spec.clone())?);
    let handle = CHANNELS.add(Arc::new(Logs { session: session.clone(), channel }));
    channels.entry(spec.topic.clone()).or_default().push((spec, handle.addr()));
    Ok(handle)
}

/// Closes a recorder; in the child of a fork only its handle ends.
pub(crate) fn close(handle: *mut c_void, leave: Leave) -> Result<()> {
    RECORDERS.take(handle)?.close(leave)
}

impl Session {
    /// Returns the recorder.
    #[inline]
    pub(crate) fn recorder(&self) -> Result<&Recorder> {
        if self.is_forked() {
            return Err(Error::new(
                Kind::Conflict,
                "this recorder was opened before a fork, and its threads are in the parent process; open one in the child",
            ));
        }
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::unavailable("the recorder is closed; open another one"));
        }
        Ok(&self.recorder)
    }

    fn close(&self, leave: Leave) -> Result<()> {
        let is_first = !self.closed.swap(true, Ordering::Relaxed);
        // In the child of a fork another thread of the parent may hold the lock for ever.
        if self.is_forked() || !is_first {
            return Ok(());
        }
        let channels = std::mem::take(&mut *self.channels.lock());
        for (_, handle) in channels.into_values().flatten() {
            // One that another thread is logging into ends with that call.
            let _ = CHANNELS.take(std::ptr::without_provenance_mut(handle));
        }
        self.recorder.close(leave)
    }

    fn is_forked(&self) -> bool {
        self.forks != FORKS.load(Ordering::Relaxed)
    }
}

impl Logs {
    /// Returns what to log into.
    #[inline]
    pub(crate) fn logs(&self) -> Result<&RecorderChannel> {
        self.session.recorder()?;
        Ok(&self.channel)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.is_forked() {
            // SAFETY: it is not used again: this is the end of the session.
            unsafe { ManuallyDrop::drop(&mut self.recorder) };
        }
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        if !self.session.is_forked() {
            // SAFETY: it is not used again: this is the end of the channel.
            unsafe { ManuallyDrop::drop(&mut self.channel) };
        }
    }
}

/// Returns the configuration of one disk buffer for every topic: so much time, or so many bytes.
fn one_buffer(keep: &str) -> Result<Config> {
    match (time::parse_duration(keep), size::parse(keep)) {
        (Ok(0), _) => Err(Error::invalid("keep of nothing; write how much to keep, like '10 min' or '20 GB'")),
        (Ok(age_ns), _) => Ok(Config::one_disk_buffer(age_ns)),
        (Err(_), Ok(size_bytes)) => {
            let mut config = Config::empty();
            config.buffers[0].size_bytes = Some(size_bytes);
            Ok(config)
        }
        (Err(_), Err(_)) => Err(Error::invalid(format!("keep '{keep}'; write how much to keep, like '10 min' or '20 GB'"))),
    }
}

/// Reads a configuration: TOML text, or the path of a file.
fn read_config(config: &str) -> Result<Config> {
    // A path has no line breaks and no assignments; an empty text is an empty configuration.
    if config.contains(['\n', '=']) || config.trim().is_empty() {
        return Config::parse(config, "config");
    }
    let text = std::fs::read_to_string(config).map_err(|error| Error::io(format!("cannot read the configuration {config}"), error))?;
    Config::parse(&text, config)
}

fn program_name() -> String {
    let program = std::env::current_exe().ok().and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()));
    program.unwrap_or_else(|| "c".to_owned())
}

/// Has the end of the process close what is open, and its forked children leave it alone.
fn watch_process() {
    unsafe extern "C" {
        fn atexit(handler: extern "C" fn()) -> c_int;
        fn pthread_atfork(prepare: Option<extern "C" fn()>, parent: Option<extern "C" fn()>, child: Option<extern "C" fn()>) -> c_int;
    }
    extern "C" fn after_fork() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    extern "C" fn close_all() {
        for session in RECORDERS.take_all() {
            // Nobody is left to tell: what the last write met is in the tape's losses.
            let _ = guard(|| session.close(Leave::Resume));
        }
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: both take functions that live as long as the library, and may be called at any time. Without memory for them
        // the process ends without closing, which a tape survives.
        unsafe {
            let _ = (atexit(close_all), pthread_atfork(None, None, Some(after_fork)));
        }
    });
}
