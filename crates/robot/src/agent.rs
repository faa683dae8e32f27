//! The agent: one process that owns the tape of a robot and records what other processes send it.
//!
//! In come messages over a Unix socket and requests over that or HTTP; out go answers. It loads its configuration again when
//! the file changes, and ends in order.
//!
//! **Invariant:** a client that dies, floods or sends garbage costs the others nothing; what was taken is on disk at the end.

pub mod client;
pub mod clients;
pub mod control;
pub mod protocol;

mod allowance;
mod connection;
mod events;
#[cfg_attr(not(feature = "foxglove"), path = "agent/no_foxglove.rs")]
mod foxglove;
mod frames;
mod http;
mod memory;
mod metrics;
mod page;
mod reload;
mod server;
mod service;
mod socket;
mod stream;
mod tell;
mod watch;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use recording::{Error, Kind, Result};
use rustix::process::Resource;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::allowance::Allowance;
use self::clients::Clients;
use self::events::Events;
use self::foxglove::Foxglove;
use self::http::HttpServer;
use self::memory::PayloadPool;
use self::reload::ConfigFile;
use self::server::Server;
use self::socket::Socket;
use self::watch::Watch;
use crate::clock::Clock;
use crate::config::Config;
use crate::source::{Sources, host_check};
pub use crate::stop::StopFlag;
use crate::tape::{ExpectationStatus, Lost};
use crate::{Leave, OpenOptions, Tape, places};

/// Where HTTP is served unless somebody says otherwise.
pub const DEFAULT_HTTP: &str = "127.0.0.1:8621";
/// Where Foxglove is served unless somebody says otherwise.
pub const DEFAULT_FOXGLOVE: &str = "127.0.0.1:8765";
/// How much memory large messages that are still arriving may take together.
pub const ARRIVING_LIMIT: usize = 512 << 20;
/// How much memory of payloads that are gone is kept for the next ones.
pub const IDLE_PAYLOAD_LIMIT: usize = 24 << 20;
/// How often the configuration file is looked at.
pub const CONFIG_INTERVAL: Duration = Duration::from_secs(1);

/// What feeds a tape from inside the agent, e.g. a recorded file; it ends early when the flag is set.
pub type Drive = Box<dyn FnOnce(Tape, StopFlag) -> Result<()> + Send>;

/// How the agent runs; what is `None` comes from the configuration, or is the default.
pub struct AgentOptions {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// The tape's folder.
    pub data: Option<PathBuf>,
    /// The socket.
    pub socket: Option<PathBuf>,
    /// The HTTP address, or `off`.
    pub http: Option<String>,
    /// The address for Foxglove, or `off`.
    pub foxglove: Option<String>,
    /// The group that may use the socket.
    pub group: Option<String>,
    /// How the tape is opened.
    pub open: OpenOptions,
    /// What feeds the tape from inside.
    pub drive: Option<Drive>,
    /// Whether the agent goes on when the drive has ended.
    pub stay: bool,
    /// After how long it ends by itself.
    pub run_for: Option<Duration>,
    /// Whether a topic that is required must have come by the end.
    pub strict: bool,
    /// What happens to unfinished recordings at the end.
    pub leave: Leave,
    /// How often the configuration file is looked at.
    pub config_interval: Duration,
}

impl Default for AgentOptions {
    fn default() -> Self {
        Self {
            config: None,
            data: None,
            socket: None,
            http: None,
            foxglove: None,
            group: None,
            open: OpenOptions::default(),
            drive: None,
            stay: false,
            run_for: None,
            strict: false,
            leave: Leave::Resume,
            config_interval: CONFIG_INTERVAL,
        }
    }
}

/// What an agent says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Its socket.
    pub socket: String,
    /// Its HTTP address, if it has one.
    pub http: Option<String>,
    /// Its address for Foxglove, if it has one.
    #[serde(default)]
    pub foxglove: Option<String>,
    /// What did not work when it started, and is not needed to record.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Its configuration file, if it has one.
    pub config: Option<String>,
}

/// What the parts of an agent share.
pub(crate) struct Shared {
    tape: Tape,
    clock: Arc<dyn Clock>,
    clients: Clients,
    events: Events,
    sources: Sources,
    payloads: Arc<PayloadPool>,
    allowance: Arc<Allowance>,
    about: About,
    stop: StopFlag,
}

/// What makes an agent end.
enum Ending {
    Signal,
    /// What feeds it has ended, well or not.
    Drive {
        is_well: bool,
    },
}

/// What came of a run.
#[derive(Debug)]
pub struct Ended {
    /// How the expectations did.
    pub expectations: Vec<ExpectationStatus>,
    /// What was lost meanwhile, until all was on the disk.
    pub lost: Lost,
}

/// A running agent. Dropping it stops it.
pub struct Agent {
    shared: Arc<Shared>,
    server: Server,
    http: Option<HttpServer>,
    foxglove: Foxglove,
    watch: Watch,
    drive: Option<JoinHandle<Result<()>>>,
    endings: Receiver<Ending>,
    ends: SyncSender<Ending>,
    stay: bool,
    run_for: Option<Duration>,
    /// What the tape said of recorders before.
    lost_before: Lost,
    closed: bool,
}

/// Runs an agent until a signal, the end of its drive or of its time, and prints where it listens and records.
///
/// # Errors
/// What kept it from starting; what the drive met; what the last writes met.
pub fn run(options: AgentOptions) -> Result<Ended> {
    let (leave, strict) = (options.leave, options.strict);
    memory::keep_large_blocks_apart();
    raise_file_limit();
    let mut agent = Agent::start(options)?;
    let signals = agent.listen_to_signals()?;
    let _ = writeln!(io::stdout(), "{}", agent.description());
    service::notify("READY=1");
    agent.wait();
    service::notify("STOPPING=1");
    if strict {
        agent.tape().judge_finally();
    }
    let (tape, before) = (agent.tape().clone(), agent.lost_before);
    let expectations = tape.status().expectations;
    let stopped = agent.stop(leave);
    signals.close();
    stopped.map(|()| Ended { expectations, lost: tape.lost().since(before) })
}

impl Agent {
    /// Opens the tape and begins to listen.
    ///
    /// # Errors
    /// `Conflict` if another agent has the tape, the socket or the port; `Invalid` for a bad configuration, naming its line.
    pub fn start(options: AgentOptions) -> Result<Self> {
        let path = options.config.or_else(places::default_config);
        let (file, config) = match path {
            Some(path) => ConfigFile::open(path).map(|(file, config)| (Some(file), config))?,
            None => (None, Config::empty()),
        };
        let socket = options.socket.or_else(|| config.agent.socket.clone().map(PathBuf::from)).unwrap_or_else(places::default_socket);
        let group = options.group.or_else(|| config.agent.group.clone());
        let data = options.data.map_or_else(places::default_data_dir, Ok)?;
        let http = options.http.or_else(|| config.agent.http.clone()).unwrap_or_else(|| DEFAULT_HTTP.to_owned());
        // All that may be in use already is taken before the tape is opened, which may have a lot to repair.
        let socket = Socket::listen(&socket, group.as_deref())?;
        let http = (http != "off").then(|| http::listen(&http)).transpose()?;
        let mut foxglove = Foxglove::listen(options.foxglove.as_deref(), &config.agent)?;
        let clock = options.open.clock.clone();
        Sources::check(&config.sources)?;
        let sources = config.sources.clone();
        for note in &config.notes {
            say(io::stderr(), note);
        }
        let tape = Tape::open(&data, config, options.open)?;
        let lost_before = tape.lost();
        let about = About {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            socket: socket.path().display().to_string(),
            http: http.as_ref().map(|(_, address)| address.to_string()),
            foxglove: foxglove.address(),
            notes: foxglove.trouble().into_iter().collect(),
            config: file.as_ref().map(|file| file.path().display().to_string()),
        };
        let shared = Arc::new(Shared {
            events: Events::new(tape.clone()),
            sources: Sources::new(tape.clone()),
            tape,
            clock,
            clients: Clients::default(),
            payloads: PayloadPool::new(IDLE_PAYLOAD_LIMIT),
            allowance: Allowance::new(ARRIVING_LIMIT),
            about,
            stop: StopFlag::default(),
        });
        let server = Server::start(shared.clone(), socket)?;
        let http = http.map(|(listener, _)| HttpServer::start(shared.clone(), listener)).transpose()?;
        for note in &shared.about.notes {
            shared.report("foxglove_off", note, Value::Null);
        }
        foxglove.start(&shared)?;
        let watch = Watch::start(shared.clone(), file, options.config_interval)?;
        shared.sources.apply(&sources)?;
        let (ends, endings) = sync_channel(4);
        let mut agent = Self {
            shared,
            server,
            http,
            foxglove,
            watch,
            drive: None,
            endings,
            ends,
            stay: options.stay,
            run_for: options.run_for,
            lost_before,
            closed: false,
        };
        agent.drive = options.drive.map(|drive| agent.start_drive(drive)).transpose()?;
        Ok(agent)
    }

    /// Returns where it listens and records, in one line.
    pub fn description(&self) -> String {
        let About { version, socket, http, foxglove, .. } = &self.shared.about;
        let http = http.as_ref().map_or(String::new(), |http| format!(" and http://{http}"));
        let foxglove = foxglove.as_ref().map_or(String::new(), |foxglove| format!(" and ws://{foxglove} (Foxglove)"));
        let tape = &self.shared.tape;
        format!("tapeloop-agent {version} records '{}' in {}, listens at {socket}{http}{foxglove}", tape.device(), tape.root().display())
    }

    /// Returns the tape.
    pub fn tape(&self) -> &Tape {
        &self.shared.tape
    }

    /// Returns what it says of itself.
    pub fn about(&self) -> &About {
        &self.shared.about
    }

    /// Loads the configuration file again, as SIGHUP does.
    pub fn reload(&self) {
        self.watch.reload();
    }

    /// Stops listening, takes what clients have sent, and closes the tape.
    ///
    /// # Errors
    /// What the drive met; what the last writes met.
    pub fn stop(mut self, leave: Leave) -> Result<()> {
        let drive = self.stop_parts();
        self.closed = true;
        let closed = self.shared.tape.close(leave);
        drive.and(closed)
    }

    /// Ends all but the tape, and returns how the drive ended.
    fn stop_parts(&mut self) -> Result<()> {
        self.watch.stop();
        self.shared.sources.stop();
        self.server.stop();
        if let Some(http) = self.http.take() {
            http.stop();
        }
        self.foxglove.stop();
        let panicked = |_| Err(Error::new(Kind::Internal, "what feeds the tape panicked"));
        self.drive.take().map_or(Ok(()), |drive| drive.join().unwrap_or_else(panicked))
    }

    fn start_drive(&self, drive: Drive) -> Result<JoinHandle<Result<()>>> {
        let (tape, stop, ends) = (self.shared.tape.clone(), self.shared.stop.clone(), self.ends.clone());
        thread::Builder::new()
            .name("agent-drive".into())
            .spawn(move || {
                let ended = drive(tape, stop);
                let _ = ends.try_send(Ending::Drive { is_well: ended.is_ok() });
                ended
            })
            .map_err(|error| Error::io("cannot start a thread for what feeds the tape", error))
    }

    /// Waits for what makes the agent end.
    fn wait(&mut self) {
        let clock = &self.shared.clock;
        let end_ns = self.run_for.map(|run_for| clock.monotonic_ns().saturating_add(run_for.as_nanos() as i64));
        loop {
            let ending = match end_ns.map(|end_ns| end_ns.saturating_sub(clock.monotonic_ns()).max(0) as u64) {
                Some(left_ns) => self.endings.recv_timeout(Duration::from_nanos(left_ns)).ok(),
                None => self.endings.recv().ok(),
            };
            match ending {
                Some(Ending::Drive { is_well: true }) if self.stay => {}
                Some(Ending::Drive { .. } | Ending::Signal) | None => return,
            }
        }
    }

    fn listen_to_signals(&self) -> Result<SignalThread> {
        let failed = |error| Error::io("cannot listen to signals", error);
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(failed)?;
        let handle = signals.handle();
        let (ends, reload) = (self.ends.clone(), self.watch.reloader());
        let thread = thread::Builder::new().name("agent-signals".into()).spawn(move || {
            for signal in &mut signals {
                if signal == SIGHUP {
                    reload.reload();
                } else if ends.try_send(Ending::Signal).is_err() {
                    // It was told several times and does not end: it must not outlive a user's patience.
                    std::process::exit(1);
                }
            }
        });
        Ok(SignalThread { handle, thread: Some(thread.map_err(failed)?) })
    }
}

/// The thread that waits for signals.
struct SignalThread {
    handle: signal_hook::iterator::Handle,
    thread: Option<JoinHandle<()>>,
}

impl SignalThread {
    fn close(mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !self.closed {
            // Nobody is left to hear of an error; the tape has it among its losses.
            let _ = self.stop_parts();
            let _ = self.shared.tape.close(Leave::Resume);
        }
    }
}

impl Shared {
    /// Writes an event to the tape and a line to the log.
    fn report(&self, kind: &str, message: &str, detail: Value) {
        self.events.report(&*self.clock, kind, message, detail);
    }
}

/// Writes a line to the log; where nobody reads that any more, recording goes on.
fn say(mut log: impl Write, line: &str) {
    let _ = writeln!(log, "tapeloop-agent: {line}");
}

/// Lets the process have as many files as it may: clients, connections and open segments each need one.
fn raise_file_limit() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is not allowed, the limit stays what it is.
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);
}
