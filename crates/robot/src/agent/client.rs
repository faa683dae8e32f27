//! The socket client: logs into the agent from another process, and asks it for captures.
//!
//! In come messages and requests; small messages travel in batches, large ones as they are. An agent that goes away is found
//! again by later calls: channels are opened again, the last latched values sent again, and what was lost meanwhile is told.
//!
//! **Invariant:** a message that [`ClientChannel::log`] accepted reaches the agent, or is in a loss that the agent is told of.

mod answers;
mod greeting;
mod line;
mod listening;
mod losses;
mod outbox;
mod tail;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use recording::{Error, Kind, Loss, Manifest, Result, topic};
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::line::Line;
pub use self::tail::{Tail, Told};
use super::control::Request;
use super::protocol::{FrameKind, PAYLOAD_LIMIT, encode_loss, encode_token, encode_tokened};
use crate::clock::{Clock, SystemClock};
use crate::status::Topics;
use crate::{ChannelSpec, KeepRequest, Payload, SaveRequest, Status, Times};

/// How long a call waits for an agent that takes nothing, unless its options say otherwise.
pub const SEND_PATIENCE: Duration = Duration::from_secs(10);
/// How long a flush waits for the disk.
pub const FLUSH_PATIENCE: Duration = Duration::from_secs(30);
/// How long a request waits for its answer.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// How long a client that is dropped tries to send what it still has.
pub const FAREWELL_PATIENCE: Duration = Duration::from_secs(1);

/// How a client works.
#[derive(Clone)]
pub struct ClientOptions {
    /// Where times come from.
    pub clock: Arc<dyn Clock>,
    /// How long a call waits for an agent that takes nothing.
    pub send_patience: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), send_patience: SEND_PATIENCE }
    }
}

/// A connection to the agent. Clones share it; it ends with the last of them.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

/// A topic to log into. Clones are handles to the same one; each keeps the connection.
#[derive(Clone)]
pub struct ClientChannel {
    client: Client,
    id: u32,
    topic: Arc<str>,
}

struct Inner {
    line: Arc<Line>,
    flusher: Mutex<Option<JoinHandle<()>>>,
}

impl Client {
    /// Connects to the agent that listens at `socket`; `name` is what its status calls this program.
    ///
    /// # Errors
    /// `Unavailable` if none answers there; `Denied` if this user may not; `Invalid` if the two are too far apart in version.
    pub fn connect(socket: &Path, name: &str) -> Result<Self> {
        Self::connect_with(socket, name, ClientOptions::default())
    }

    /// Connects like [`Self::connect`], as `options` say.
    ///
    /// # Errors
    /// Those of [`Self::connect`].
    pub fn connect_with(socket: &Path, name: &str, options: ClientOptions) -> Result<Self> {
        let line = Line::connect(socket, name, options)?;
        let flusher = line.start_flusher()?;
        Ok(Self { inner: Arc::new(Inner { line, flusher: Mutex::new(Some(flusher)) }) })
    }

    /// Returns the agent's socket.
    pub fn socket(&self) -> &Path {
        self.line().socket()
    }

    /// Returns the robot's name.
    pub fn device(&self) -> String {
        self.line().welcome().device
    }

    /// Returns the folder of the agent's tape, where this process can see it.
    pub fn root(&self) -> Option<PathBuf> {
        Some(PathBuf::from(self.line().welcome().root)).filter(|root| root.is_dir())
    }

    /// Returns the channel of a topic; an equal `spec` gives the same one.
    ///
    /// # Errors
    /// `Invalid` for a bad topic name or too large a definition; `Unavailable` beyond the limit of channels.
    pub fn channel(&self, spec: ChannelSpec) -> Result<ClientChannel> {
        topic::check_name(&spec.topic)?;
        let topic = Arc::from(spec.topic.as_str());
        Ok(ClientChannel { client: self.clone(), id: self.line().channel(spec)?, topic })
    }

    /// Returns when everything logged so far is on the agent's disk.
    ///
    /// # Errors
    /// What the writing met; `Unavailable` if the agent went away or does not answer.
    pub fn flush(&self) -> Result<()> {
        let sent = self.line().ask(FrameKind::Flush, |token| encode_token(token).to_vec())?;
        self.line().answer(&sent, FLUSH_PATIENCE)?;
        self.line().note_flushed(&sent);
        self.line().trouble()
    }

    /// Returns how the tape is.
    ///
    /// # Errors
    /// `Unavailable` if the agent is away.
    pub fn status(&self) -> Result<Status> {
        self.request(&Request::Status)
    }

    /// Returns how the tape, the agent and its clients are, as JSON.
    ///
    /// # Errors
    /// `Unavailable` if the agent is away.
    pub fn agent_status(&self) -> Result<Value> {
        self.request(&Request::Status)
    }

    /// Returns how every topic is doing.
    ///
    /// # Errors
    /// `Unavailable` if the agent is away.
    pub fn topics(&self) -> Result<Topics> {
        self.request(&Request::Topics)
    }

    /// Keeps a span; what was logged before the call is part of it.
    ///
    /// # Errors
    /// Those of the tape; `Unavailable` if the agent is away.
    pub fn save(&self, request: &SaveRequest) -> Result<Manifest> {
        self.request(&Request::Save(request.clone()))
    }

    /// Begins to keep, until [`Self::keep_stop`].
    ///
    /// # Errors
    /// Those of the tape; `Unavailable` if the agent is away.
    pub fn keep_start(&self, request: &KeepRequest) -> Result<Manifest> {
        self.request(&Request::KeepStart(request.clone()))
    }

    /// Ends a keep, `after_ns` from now.
    ///
    /// # Errors
    /// `NotFound` if nothing is kept under that name; `Unavailable` if the agent is away.
    pub fn keep_stop(&self, name: &str, after_ns: Option<i64>) -> Result<Manifest> {
        self.request(&Request::KeepStop { name: name.to_owned(), after_ns })
    }

    /// Returns a recording.
    ///
    /// # Errors
    /// `NotFound` if there is none of that id; `Unavailable` if the agent is away.
    pub fn recording(&self, id: &str) -> Result<Manifest> {
        self.request(&Request::Recording { id: id.to_owned() })
    }

    /// Returns all recordings of the tape.
    ///
    /// # Errors
    /// `Unavailable` if the agent is away.
    pub fn recordings(&self) -> Result<Vec<Manifest>> {
        self.request(&Request::Recordings)
    }

    /// Returns a recording once nothing will be added to it any more.
    ///
    /// # Errors
    /// `Unavailable` if that takes longer than `timeout`, or the agent is away.
    pub fn wait(&self, id: &str, timeout: Duration) -> Result<Manifest> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let patience = timeout.saturating_add(ANSWER_PATIENCE);
        self.request_within(&Request::Wait { id: id.to_owned(), timeout_ms }, patience)
    }

    /// Forgets a recording; its bytes go when nothing else needs them.
    ///
    /// # Errors
    /// `NotFound` if there is none of that id; `Unavailable` if the agent is away.
    pub fn remove_recording(&self, id: &str) -> Result<Manifest> {
        self.request(&Request::Remove { id: id.to_owned() })
    }

    /// Writes an event to the tape.
    ///
    /// # Errors
    /// `Unavailable` if the agent is away.
    pub fn report_event(&self, kind: &str, message: &str, detail: Value) -> Result<()> {
        self.request::<Value>(&Request::ReportEvent { kind: kind.to_owned(), message: message.to_owned(), detail }).map(|_| ())
    }

    /// Tells the tape of a loss that this program noticed.
    ///
    /// # Errors
    /// `Unavailable` if the agent is away.
    pub fn report_loss(&self, loss: &Loss) -> Result<()> {
        self.line().tell(FrameKind::Loss, &encode_loss(loss))
    }

    /// Makes everything durable and ends the connection, for all clones.
    ///
    /// # Errors
    /// Those of [`Self::flush`]; the connection is ended all the same.
    pub fn close(&self) -> Result<()> {
        let flushed = self.flush();
        self.inner.end();
        flushed
    }

    fn line(&self) -> &Line {
        &self.inner.line
    }

    fn request<T: DeserializeOwned>(&self, request: &Request) -> Result<T> {
        self.request_within(request, ANSWER_PATIENCE)
    }

    fn request_within<T: DeserializeOwned>(&self, request: &Request, patience: Duration) -> Result<T> {
        let sent = self.line().ask(FrameKind::Control, |token| encode_tokened(token, request))?;
        let value = self.line().answer(&sent, patience)?;
        serde_json::from_value(value).map_err(|error| Error::new(Kind::Internal, "the agent's answer is not understood").caused_by(error))
    }
}

impl ClientChannel {
    /// Returns whether [`Self::log`] may have to wait: for the socket, or for another thread that does.
    #[inline]
    pub fn may_wait(&self, payload_bytes: usize) -> bool {
        self.client.line().may_wait(payload_bytes)
    }

    /// Returns the topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Accepts a message. Its time is now unless `times` says otherwise.
    ///
    /// # Errors
    /// `Unavailable` while the agent is away or takes nothing, or what the agent met with an earlier message; then this one is
    /// not recorded. `Invalid` for a message above [`PAYLOAD_LIMIT`] or a time before 1970.
    #[inline]
    pub fn log(&self, payload: Payload<'_>, times: Times) -> Result<()> {
        let line = self.client.line();
        let now_ns = line.clock().utc_ns();
        let log_time_ns = times.log_time_ns.unwrap_or(now_ns);
        let publish_time_ns = times.publish_time_ns.unwrap_or(log_time_ns);
        let length = payload.as_slice().len();
        if length > PAYLOAD_LIMIT {
            let topic = &self.topic;
            return Err(Error::invalid(format!("message of {length} bytes on '{topic}'; at most {PAYLOAD_LIMIT} through the agent")));
        }
        if log_time_ns < 0 || publish_time_ns < 0 {
            return Err(Error::invalid(format!("time {} ns is before 1970, which MCAP cannot hold", log_time_ns.min(publish_time_ns))));
        }
        line.log(self.id, payload, log_time_ns, publish_time_ns, now_ns)
    }
}

impl Inner {
    fn end(&self) {
        self.line.end(FAREWELL_PATIENCE);
        if let Some(flusher) = self.flusher.lock().take().filter(|_| self.line.is_same_process()) {
            let _ = flusher.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}
