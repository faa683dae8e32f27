//! What a program uses to record: the agent of its machine, or a tape of its own.
//!
//! In come values and requests; whoever records, the same calls do the same.
//!
//! **Invariant:** a program need not know who records, but can always ask.

use std::any::TypeId;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use recording::manifest::Manifest;
use recording::{Error, Kind, Loss, Result, Schema};
use serde::Serialize;
use serde_json::Value;

use crate::agent::client::{Client, ClientChannel};
use crate::capture::{KeepRequest, Leave, SaveRequest};
use crate::config::Config;
use crate::infer::schema_of;
use crate::places;
use crate::status::Status;
use crate::tape::channel::{Channel, ChannelSpec, Payload, Times};
use crate::tape::{OpenOptions, Tape};

/// Records what a program logs. Clones are handles to the same recorder.
#[derive(Clone)]
pub struct Recorder {
    backend: Backend,
    /// The channels of [`Self::log`], by topic and type.
    typed: Arc<Mutex<HashMap<(String, TypeId), RecorderChannel>>>,
}

#[derive(Clone)]
enum Backend {
    Tape(Tape),
    Agent(Arc<Client>),
}

/// A topic to log into. Clones are handles to the same one.
#[derive(Clone)]
pub struct RecorderChannel(Way);

#[derive(Clone)]
enum Way {
    Tape(Tape, Arc<Channel>),
    Agent(ClientChannel),
}

impl Recorder {
    /// Returns a recorder that logs into the agent at a socket.
    ///
    /// # Errors
    /// `Unavailable` if no agent answers there.
    pub fn agent(socket: &Path, client_name: &str) -> Result<Self> {
        Ok(Self::on(Backend::Agent(Arc::new(Client::connect(socket, client_name)?))))
    }

    /// Returns a recorder with a tape of its own.
    ///
    /// # Errors
    /// As [`Tape::open`].
    pub fn embedded(root: &Path, config: Config) -> Result<Self> {
        Self::embedded_with(root, config, OpenOptions::default())
    }

    /// Returns a recorder with a tape of its own, opened as `options` say.
    ///
    /// # Errors
    /// As [`Tape::open`].
    pub fn embedded_with(root: &Path, config: Config, options: OpenOptions) -> Result<Self> {
        Ok(Self::on(Backend::Tape(Tape::open(root, config, options)?)))
    }

    /// Returns a recorder that logs into the local agent if one answers, else into a tape in the default folder.
    ///
    /// # Errors
    /// As [`Tape::open`], where there is no agent.
    pub fn find(device: &str) -> Result<Self> {
        for socket in places::candidates() {
            match Self::agent(&socket, device) {
                Ok(recorder) => return Ok(recorder),
                // An agent that answers but refuses must not be passed by in silence.
                Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        let options = OpenOptions { device: Some(recording::key::to_name(device)), ..OpenOptions::default() };
        Self::embedded_with(&places::default_data_dir()?, Config::empty(), options)
    }

    fn on(backend: Backend) -> Self {
        Self { backend, typed: Arc::default() }
    }

    /// Returns who records: `agent at <socket>` or `embedded tape in <folder>`.
    pub fn description(&self) -> String {
        match &self.backend {
            Backend::Tape(tape) => format!("embedded tape in {}", tape.root().display()),
            Backend::Agent(client) => format!("agent at {}", client.socket().display()),
        }
    }

    /// Returns whether an agent records.
    pub fn is_agent(&self) -> bool {
        matches!(self.backend, Backend::Agent(_))
    }

    /// Returns the folder of the tape, if it is on this machine.
    pub fn root(&self) -> Option<PathBuf> {
        match &self.backend {
            Backend::Tape(tape) => Some(tape.root().to_owned()),
            Backend::Agent(client) => client.root(),
        }
    }

    /// Returns the channel of a topic; an equal `spec` gives the same one.
    ///
    /// # Errors
    /// As [`Tape::channel`].
    pub fn channel(&self, spec: ChannelSpec) -> Result<RecorderChannel> {
        Ok(RecorderChannel(match &self.backend {
            Backend::Tape(tape) => Way::Tape(tape.clone(), tape.channel(spec)?),
            Backend::Agent(client) => Way::Agent(client.channel(spec)?),
        }))
    }

    /// Logs a typed value as JSON, now; its schema is inferred from the first value of its type.
    ///
    /// # Errors
    /// `Invalid` for a value that JSON cannot hold; what an earlier write met.
    pub fn log<T: Serialize + 'static>(&self, topic: &str, value: &T) -> Result<()> {
        let refuse = |error| Error::invalid(format!("a value for '{topic}' that JSON cannot hold")).caused_by(error);
        let key = (topic.to_owned(), TypeId::of::<T>());
        let known = self.typed.lock().get(&key).cloned();
        let channel = match known {
            Some(channel) => channel,
            None => {
                let name = std::any::type_name::<T>().rsplit("::").next().unwrap_or("value").trim_end_matches('>').to_owned();
                let schema = schema_of(&name, &serde_json::to_value(value).map_err(refuse)?);
                let schema = Schema { name, encoding: "jsonschema".into(), data: schema.to_string().into() };
                let spec =
                    ChannelSpec { topic: topic.into(), encoding: "json".into(), schema: Some(Arc::new(schema)), ..ChannelSpec::default() };
                let channel = self.channel(spec)?;
                self.typed.lock().insert(key, channel.clone());
                channel
            }
        };
        channel.log(serde_json::to_vec(value).map_err(refuse)?.as_slice(), Times::default())
    }

    /// Returns when everything logged so far is on the disk.
    ///
    /// # Errors
    /// What the writing met.
    pub fn flush(&self) -> Result<()> {
        match &self.backend {
            Backend::Tape(tape) => tape.flush(),
            Backend::Agent(client) => client.flush(),
        }
    }

    /// Returns how the tape is doing.
    ///
    /// # Errors
    /// `Unavailable` if the agent went away.
    pub fn status(&self) -> Result<Status> {
        match &self.backend {
            Backend::Tape(tape) => Ok(tape.status()),
            Backend::Agent(client) => client.status(),
        }
    }

    /// Keeps a span of the tape.
    ///
    /// # Errors
    /// As [`Tape::save`].
    pub fn save(&self, request: &SaveRequest) -> Result<Manifest> {
        match &self.backend {
            Backend::Tape(tape) => tape.save(request),
            Backend::Agent(client) => client.save(request),
        }
    }

    /// Keeps everything until [`Self::keep_stop`].
    ///
    /// # Errors
    /// As [`Tape::keep_start`].
    pub fn keep_start(&self, request: &KeepRequest) -> Result<Manifest> {
        match &self.backend {
            Backend::Tape(tape) => tape.keep_start(request),
            Backend::Agent(client) => client.keep_start(request),
        }
    }

    /// Ends what [`Self::keep_start`] began, `after_ns` from now.
    ///
    /// # Errors
    /// As [`Tape::keep_stop`].
    pub fn keep_stop(&self, name: &str, after_ns: Option<i64>) -> Result<Manifest> {
        match &self.backend {
            Backend::Tape(tape) => tape.keep_stop(name, after_ns),
            Backend::Agent(client) => client.keep_stop(name, after_ns),
        }
    }

    /// Returns the manifest of a recording.
    ///
    /// # Errors
    /// `NotFound` without such a recording.
    pub fn recording(&self, id: &str) -> Result<Manifest> {
        match &self.backend {
            Backend::Tape(tape) => tape.recording(id),
            Backend::Agent(client) => client.recording(id),
        }
    }

    /// Returns the manifests of all recordings, oldest first.
    ///
    /// # Errors
    /// `Unavailable` if the agent went away.
    pub fn recordings(&self) -> Result<Vec<Manifest>> {
        match &self.backend {
            Backend::Tape(tape) => Ok(tape.recordings()),
            Backend::Agent(client) => client.recordings(),
        }
    }

    /// Waits until a recording is final.
    ///
    /// # Errors
    /// As [`Tape::wait`].
    pub fn wait(&self, id: &str, timeout: Duration) -> Result<Manifest> {
        match &self.backend {
            Backend::Tape(tape) => tape.wait(id, timeout),
            Backend::Agent(client) => client.wait(id, timeout),
        }
    }

    /// Writes an event to the tape.
    ///
    /// # Errors
    /// `Unavailable` if the agent is away.
    pub fn report_event(&self, kind: &str, message: &str, detail: Value) -> Result<()> {
        match &self.backend {
            Backend::Tape(tape) => tape.report_event(kind, message, detail),
            Backend::Agent(client) => client.report_event(kind, message, detail)?,
        }
        Ok(())
    }

    /// Tells the tape of a loss that this program noticed.
    ///
    /// # Errors
    /// `Unavailable` if the agent is away.
    pub fn report_loss(&self, loss: Loss) -> Result<()> {
        match &self.backend {
            Backend::Tape(tape) => tape.report_loss(loss),
            Backend::Agent(client) => client.report_loss(&loss)?,
        }
        Ok(())
    }

    /// Ends recording: an embedded tape is closed as `leave` says; an agent goes on without this program.
    ///
    /// # Errors
    /// What the writing met.
    pub fn close(&self, leave: Leave) -> Result<()> {
        match &self.backend {
            Backend::Tape(tape) => tape.close(leave),
            Backend::Agent(client) => client.close(),
        }
    }
}

impl RecorderChannel {
    /// Logs a message.
    ///
    /// # Errors
    /// As [`Tape::append`].
    #[inline]
    pub fn log<'a>(&self, payload: impl Into<Payload<'a>>, times: Times) -> Result<()> {
        match &self.0 {
            Way::Tape(tape, channel) => tape.append(channel, payload.into(), times).map(drop),
            Way::Agent(channel) => channel.log(payload.into(), times),
        }
    }

    /// Returns whether [`Self::log`] may have to wait for a disk or for the agent: a hint for callers that hold a lock.
    #[inline]
    pub fn may_wait(&self, payload_bytes: usize) -> bool {
        match &self.0 {
            Way::Tape(tape, channel) => tape.may_wait(channel),
            Way::Agent(channel) => channel.may_wait(payload_bytes),
        }
    }
}
