//! Finding the agent: for the first time, and again after it was away.
//!
//! **Invariant:** a connection is used only when both sides have said who they are, and the agent knows every channel.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use recording::{Error, Kind, Result};

use super::line::{Away, Line, Link, State, Up};
use super::outbox::Outbox;
use crate::agent::allowance::Allowance;
use crate::agent::frames::{Frame, FrameReader};
use crate::agent::protocol::{
    ENTRY_BYTES, EntryHead, FrameKind, Header, Hello, OpenChannel, REPLY_LIMIT, Refusal, Side, VERSION, Welcome, encode_loss, frame,
    from_json,
};
use crate::agent::stream::{Source, connect_to, send};

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
        let stream = connect_to(&self.socket, HELLO_PATIENCE).map_err(|error| self.unreachable(error))?;
        let stream = Arc::new(stream);
        let broken = |error: io::Error| Error::unavailable("the agent does not answer").caused_by(error);
        let hello = Hello { version: VERSION, name: self.name.clone(), pid: self.process, software: env!("CARGO_PKG_VERSION").into() };
        // An agent that turns this client away may have closed its end already; what it said stands to be read all the same.
        let sent = self.send_now(&stream, &frame(FrameKind::Hello, &hello.encode())).map_err(broken);
        let mut reader = FrameReader::new(stream.clone(), Side::Agent, Allowance::new(REPLY_LIMIT), self.clock.clone());
        stream.limit_wait(Some(HELLO_PATIENCE)).map_err(broken)?;
        let welcome = match reader.next()? {
            Some(Frame::Small(FrameKind::Welcome, body)) => Welcome::parse(body)?,
            Some(Frame::Small(FrameKind::Error, body)) => return Err(from_json::<Refusal>("a refusal", body)?.into()),
            _ => return Err(Error::unavailable(format!("the agent did not greet: {}", self.socket.display()))),
        };
        sent?;
        stream.limit_wait(None).map_err(broken)?;
        let is_new_boot = welcome.boot != state.welcome.boot;
        state.welcome = welcome;
        state.connections += 1;
        let up = Up { connection: state.connections, stream, messages: 0, flushed: 0, goodbye: None, closing: false };
        self.catch_up(&mut state.outbox, &up, is_new_boot).map_err(broken)?;
        let sent = if is_new_boot { state.outbox.channels.iter().map(|known| known.latched.len() as u64).sum() } else { 0 };
        state.reader = Some(self.start_reader(reader, up.connection)?);
        state.link = Link::Up(Up { messages: sent, ..up });
        Ok(())
    }

    fn unreachable(&self, error: io::Error) -> Error {
        let socket = self.socket.display();
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

    /// Opens the channels on a new connection, tells what was lost, and sends the latched values to a tape that has none.
    fn catch_up(&self, outbox: &mut Outbox, up: &Up, is_new_boot: bool) -> io::Result<()> {
        for (id, known) in outbox.channels.iter().enumerate() {
            let body = OpenChannel { id: id as u32, spec: known.spec.clone() }.encode().map_err(io::Error::other)?;
            self.send_now(&up.stream, &frame(FrameKind::OpenChannel, &body))?;
        }
        for loss in outbox.losses() {
            self.send_now(&up.stream, &frame(FrameKind::Loss, &encode_loss(&loss)))?;
        }
        outbox.told_losses();
        if !is_new_boot {
            return Ok(());
        }
        for (id, known) in outbox.channels.iter().enumerate() {
            for latched in &known.latched {
                // They are recorded now; they were published when they were.
                let (log_time_ns, publish_time_ns) = (self.clock.utc_ns(), latched.publish_time_ns);
                let head = EntryHead { channel: id as u32, payload_bytes: latched.payload.len(), log_time_ns, publish_time_ns };
                let header = Header { kind: FrameKind::Log, body_bytes: ENTRY_BYTES + head.payload_bytes };
                let parts: [&[u8]; 3] = [&header.encode(), &head.encode(), &latched.payload];
                send(&up.stream, &parts, &mut 0, &*self.clock, self.patience)?;
            }
        }
        Ok(())
    }

    fn send_now(&self, stream: &UnixStream, frame: &[u8]) -> io::Result<()> {
        send(stream, &[frame], &mut 0, &*self.clock, self.patience)
    }
}
