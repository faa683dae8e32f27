//! What the agent says: answers, trouble, and its end.
//!
//! **Invariant:** a connection that ends is noted once, with everything that was lost with it.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use recording::{Error, Loss, Result};

use super::line::{AWAY, Away, Line, Link, RETRY_NS, State};
use crate::agent::frames::{Frame, FrameReader};
use crate::agent::protocol::{FrameKind, Outcome, Refusal, from_json, parse_token};

/// How long a client that is told of the agent's end tries to send what it has.
const CLOSING_PATIENCE: Duration = Duration::from_millis(300);
/// Within which time an agent puts messages on the disk, so that the end of one that gives no farewell costs no more.
const DURABILITY_NS: i64 = 1_000_000_000;

impl Line {
    /// Notes that the connection has ended, counts what went with it, and returns what a caller must hear of it.
    pub(super) fn lose_agent(&self, state: &mut State, why: &str) -> Error {
        let Link::Up(up) = &state.link else { return self.away(why) };
        let _ = up.stream.shutdown(Shutdown::Both);
        let (connection, now_ns) = (up.connection, self.clock.utc_ns());
        let (start_ns, messages, reason) = match &up.goodbye {
            Some(goodbye) => (now_ns, Some(up.messages.saturating_sub(goodbye.messages)), "the agent ended before it had read them"),
            None if up.flushed == up.messages => (now_ns, Some(0), ""),
            None => (
                now_ns.saturating_sub(DURABILITY_NS),
                None,
                "the agent ended without a farewell: what it had not yet written may be missing",
            ),
        };
        if messages != Some(0) {
            let (start_ns, end_ns) = (Some(start_ns), Some(now_ns));
            state.outbox.lose_other(Loss { topic: None, start_ns, end_ns, messages, bytes: None, reason: reason.to_owned() });
        }
        let clean = up.goodbye.is_some();
        let lost = state.outbox.lose_all(AWAY);
        let retry_at_ns = self.clock.monotonic_ns();
        state.link = Link::Away(Away { retry_at_ns, retry_after_ns: RETRY_NS, why: why.to_owned() });
        self.answers.fail(connection, "the agent went away before it answered");
        let why = if clean { "it has ended" } else { why };
        let also = if lost > 0 { format!(", and with it {lost} messages that it had not taken") } else { String::new() };
        Error::unavailable(format!("the agent went away ({why}){also}: {}", self.socket.display()))
    }

    /// Starts the thread that reads what the agent says.
    pub(super) fn start_reader(&self, reader: FrameReader<Arc<UnixStream>>, connection: u64) -> Result<JoinHandle<()>> {
        let this = self.this.clone();
        thread::Builder::new()
            .name("tapeloop-answers".into())
            .spawn(move || {
                if let Some(line) = this.upgrade() {
                    line.read_answers(reader, connection);
                }
            })
            .map_err(|error| Error::io("cannot start a thread for the agent's answers", error))
    }

    /// Reads what the agent says, until the connection ends.
    fn read_answers(&self, mut reader: FrameReader<Arc<UnixStream>>, connection: u64) {
        let why = loop {
            match reader.next() {
                Ok(Some(Frame::Small(kind, body))) => {
                    if let Err(error) = self.hear(connection, kind, body) {
                        break error.to_string();
                    }
                }
                Ok(Some(Frame::Large(kind, body))) => {
                    if let Err(error) = self.hear(connection, kind, &body) {
                        break error.to_string();
                    }
                }
                Ok(Some(Frame::Message(..))) => break "the agent sent a message".to_owned(),
                Ok(None) => break "the connection ended".to_owned(),
                Err(error) => break error.to_string(),
            }
        };
        let mut state = self.state.lock();
        if state.position().0 == connection {
            let error = self.lose_agent(&mut state, &why);
            self.note_failure(&state, error);
        }
        self.answers.fail(connection, "the agent went away before it answered");
    }

    fn hear(&self, connection: u64, kind: FrameKind, body: &[u8]) -> Result<()> {
        match kind {
            FrameKind::FlushDone | FrameKind::ControlReply => {
                let (token, body) = parse_token(body)?;
                self.answers.put(token, from_json::<Outcome>("an answer", body)?.into());
            }
            FrameKind::Error => {
                let refusal: Refusal = from_json("a refusal", body)?;
                let (kind, message, refused) = (Error::from(refusal.clone()).kind(), refusal.message, refusal.refused);
                let also = if refused > 0 { format!(" ({refused} messages are not recorded)") } else { String::new() };
                self.set_trouble(Error::new(kind, format!("{message}{also}")));
            }
            FrameKind::Closing => {
                let mut state = self.state.lock();
                if let Err(error) = self.send_batch(&mut state, CLOSING_PATIENCE) {
                    self.note_failure(&state, error);
                }
                if let Link::Up(up) = &mut state.link
                    && up.connection == connection
                {
                    up.closing = true;
                    let _ = up.stream.shutdown(Shutdown::Write);
                }
            }
            FrameKind::Goodbye => {
                let goodbye = from_json("a goodbye", body)?;
                if let Link::Up(up) = &mut self.state.lock().link
                    && up.connection == connection
                {
                    up.goodbye = Some(goodbye);
                }
            }
            _ => return Err(Error::invalid(format!("the agent sent a {kind:?} frame where none belongs"))),
        }
        Ok(())
    }
}
