//! Finding the agent: for the first time, and again after it was away.
//!
//! **Invariant:** a connection is used only when both sides have said who they are, and the agent knows every channel.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use recording::{Error, Kind, Result};

use super::line::{Away, Line, Link, State, Up};
use crate::agent::allowance::Allowance;
use crate::agent::frames::{Frame, FrameReader};
use crate::agent::memory::PayloadPool;
use crate::agent::protocol::{EntryHead, FrameKind, Hello, PAYLOAD_LIMIT, Refusal, Side, VERSION, Welcome, frame, from_json};
use crate::agent::stream::{Source, connect_to, send};
use crate::clock::Clock;

/// How long the agent may take to accept and to greet.
const HELLO_PATIENCE: Duration = Duration::from_secs(2);
/// The longest wait between two looks for an agent that is away; it doubles from the first.
const RETRY_LIMIT_NS: i64 = 2_000_000_000;

impl Line {
    /// Makes sure that the agent is connected: where it is away, looks for it, but not too often.
    pub(super) fn reach(&self, state: &mut State) -> Result<()> {
        let away = match &state.link {
            Link::Up(up) if up.closing => return Err(self.away("it ends")),
            Link::Up(_) => return Ok(()),
            Link::Away(away) => away,
        };
        self.check_process()?;
        let now_ns = self.clock.monotonic_ns();
        if now_ns < away.retry_at_ns {
            return Err(self.away(&away.why));
        }
        let retry_after_ns = away.retry_after_ns;
        let Err(error) = self.greet(state) else { return Ok(()) };
        state.link = Link::Away(Away {
            retry_at_ns: self.clock.monotonic_ns().saturating_add(retry_after_ns),
            retry_after_ns: (retry_after_ns * 2).min(RETRY_LIMIT_NS),
            why: error.to_string(),
        });
        // Who connects for the first time can act on the reason; later it is one of many reasons to be away.
        Err(if state.connections == 0 { error } else { self.away(&error.to_string()) })
    }

    pub(super) fn away(&self, why: &str) -> Error {
        Error::unavailable(format!("the agent is away ({why}); it is looked for again: {}", self.socket.display()))
    }

    /// Connects, and tells the agent all that it needs to know.
    fn greet(&self, state: &mut State) -> Result<()> {
        let (stream, reader, welcome) = meet(&self.socket, &self.name, self.process, &self.clock, self.patience)?;
        let is_new_boot = welcome.boot != state.welcome.boot;
        state.welcome = welcome;
        state.connections += 1;
        let connection = state.connections;
        state.reader = Some(self.start_reader(reader, connection)?);
        state.link = Link::Up(Up { connection, stream, messages: 0, flushed: 0, goodbye: None, closing: false });
        state.outbox.reopen_channels();
        let caught_up = self.send_batch(state, self.patience).and_then(|()| if is_new_boot { self.send_latched(state) } else { Ok(()) });
        caught_up.inspect_err(|error| {
            self.lose_agent(state, &error.to_string());
            // The next connection begins all of this anew.
            state.welcome.boot.clear();
        })
    }

    /// Sends the last latched values to a tape that has none yet.
    fn send_latched(&self, state: &mut State) -> Result<()> {
        for (channel, value) in state.outbox.latched() {
            // It is recorded now; it was published when it was.
            let (log_time_ns, publish_time_ns) = (self.clock.utc_ns(), value.publish_time_ns);
            let head = EntryHead { channel, payload_bytes: value.payload.len(), log_time_ns, publish_time_ns };
            self.take(state, &head, &value.payload, log_time_ns)?;
        }
        self.send_batch(state, self.patience)
    }
}

/// Connects to the agent at `socket`, and has both say who they are.
///
/// # Errors
/// `Unavailable` if none answers there; `Denied` if this user may not; `Invalid` if the two are too far apart in version.
pub(super) fn meet(
    socket: &Path,
    name: &str,
    process: u32,
    clock: &Arc<dyn Clock>,
    patience: Duration,
) -> Result<(Arc<UnixStream>, FrameReader<Arc<UnixStream>>, Welcome)> {
    let stream = Arc::new(connect_to(socket, HELLO_PATIENCE).map_err(|error| unreachable(socket, error))?);
    let broken = |error: io::Error| Error::unavailable("the agent does not answer").caused_by(error);
    let hello = Hello { version: VERSION, name: name.to_owned(), pid: process, software: env!("CARGO_PKG_VERSION").into() };
    // An agent that turns this client away may have closed its end already; what it said stands to be read all the same.
    let hello = frame(FrameKind::Hello, &hello.encode());
    let sent = send(&stream, &[&hello], &mut 0, &**clock, patience).map_err(broken);
    let allowance = Allowance::new(PAYLOAD_LIMIT);
    let mut reader = FrameReader::new(stream.clone(), Side::Agent, PayloadPool::new(0), allowance, clock.clone());
    stream.limit_wait(Some(HELLO_PATIENCE)).map_err(broken)?;
    let welcome = match reader.next()? {
        Some(Frame::Small(FrameKind::Welcome, body)) => Welcome::parse(body)?,
        Some(Frame::Small(FrameKind::Error, body)) => return Err(from_json::<Refusal>("a refusal", body)?.into()),
        _ => return Err(Error::unavailable(format!("the agent did not greet: {}", socket.display()))),
    };
    sent?;
    stream.limit_wait(None).map_err(broken)?;
    Ok((stream, reader, welcome))
}

fn unreachable(socket: &Path, error: io::Error) -> Error {
    let socket = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            Error::unavailable(format!("no agent answers: start one with `tapeloop record`: {socket}"))
        }
        io::ErrorKind::PermissionDenied => {
            Error::new(Kind::Denied, format!("this user may not use the agent: join its group (see --group): {socket}"))
        }
        _ => Error::unavailable(format!("cannot connect to the agent: {socket}")).caused_by(error),
    }
}
