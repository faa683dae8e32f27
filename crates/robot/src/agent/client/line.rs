//! The line to the agent: connected, or away and to be found again; and the threads that send late batches and read answers.
//!
//! **Invariant:** only whole frames are left on a connection that lives; whoever holds the outbox may send.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use recording::{Error, Result};
use serde_json::Value;

use super::ClientOptions;
use super::answers::Answers;
use super::outbox::Outbox;
use crate::agent::protocol::{ENTRY_BYTES, EntryHead, FrameKind, Goodbye, HEADER_BYTES, Header, SMALL_PAYLOAD, VERSION, Welcome};
use crate::agent::stream::send;
use crate::clock::Clock;
use crate::{ChannelSpec, Payload};

/// How long a small message may wait for others to travel with.
const BATCH_AGE_NS: i64 = 3_000_000;
/// A batch this old has no thread that sends it: this is another process, after a fork.
const ORPHAN_AGE_NS: i64 = 100_000_000;
/// How long the thread that sends late batches keeps others from logging.
const FLUSHER_PATIENCE: Duration = Duration::from_millis(20);
/// After how long an agent that is away is first looked for again.
pub(super) const RETRY_NS: i64 = 50_000_000;
pub(super) const AWAY: &str = "the agent was away";
const SLOW: &str = "the agent took nothing";

/// A line to one agent.
pub(super) struct Line {
    pub(super) this: Weak<Line>,
    pub(super) socket: PathBuf,
    pub(super) name: String,
    pub(super) process: u32,
    pub(super) clock: Arc<dyn Clock>,
    /// How long a call waits for an agent that takes nothing.
    pub(super) patience: Duration,
    pub(super) state: Mutex<State>,
    wakes_flusher: Condvar,
    pub(super) answers: Answers,
    has_trouble: AtomicBool,
    trouble: Mutex<Option<Error>>,
}

pub(super) struct State {
    pub(super) outbox: Outbox,
    pub(super) link: Link,
    /// What the last welcome said.
    pub(super) welcome: Welcome,
    pub(super) connections: u64,
    /// The thread that reads answers.
    pub(super) reader: Option<JoinHandle<()>>,
    flusher_sleeps: bool,
    pub(super) ended: bool,
}

pub(super) enum Link {
    Up(Up),
    Away(Away),
}

pub(super) struct Up {
    pub(super) connection: u64,
    pub(super) stream: Arc<UnixStream>,
    /// How many messages were sent over this connection.
    pub(super) messages: u64,
    /// How many of them are known to be on the disk.
    pub(super) flushed: u64,
    pub(super) goodbye: Option<Goodbye>,
    /// Whether the agent has said that it ends.
    pub(super) closing: bool,
}

pub(super) struct Away {
    pub(super) retry_at_ns: i64,
    pub(super) retry_after_ns: i64,
    pub(super) why: String,
}

/// A question on its way.
pub(super) struct Sent {
    token: u64,
    connection: u64,
    messages: u64,
}

impl Line {
    /// Connects for the first time.
    pub(super) fn connect(socket: &Path, name: &str, options: ClientOptions) -> Result<Arc<Self>> {
        let no_welcome =
            Welcome { version: VERSION, software: String::new(), device: String::new(), root: String::new(), boot: String::new(), pid: 0 };
        let away = Away { retry_at_ns: 0, retry_after_ns: RETRY_NS, why: String::new() };
        let line = Arc::new_cyclic(|this| Self {
            this: this.clone(),
            socket: socket.to_owned(),
            name: name.to_owned(),
            process: std::process::id(),
            clock: options.clock,
            patience: options.send_patience,
            state: Mutex::new(State {
                outbox: Outbox::new(),
                link: Link::Away(away),
                welcome: no_welcome,
                connections: 0,
                reader: None,
                flusher_sleeps: false,
                ended: false,
            }),
            wakes_flusher: Condvar::new(),
            answers: Answers::default(),
            has_trouble: AtomicBool::new(false),
            trouble: Mutex::new(None),
        });
        line.reach(&mut line.state.lock())?;
        Ok(line)
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(super) fn welcome(&self) -> Welcome {
        self.state.lock().welcome.clone()
    }

    /// Returns whether this is the process that connected.
    pub(super) fn is_same_process(&self) -> bool {
        self.process == std::process::id()
    }

    /// Returns what the agent met with earlier messages, once.
    #[inline]
    pub(super) fn trouble(&self) -> Result<()> {
        if !self.has_trouble.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut trouble = self.trouble.lock();
        self.has_trouble.store(false, Ordering::Relaxed);
        trouble.take().map_or(Ok(()), Err)
    }

    pub(super) fn set_trouble(&self, error: Error) {
        self.trouble.lock().get_or_insert(error);
        self.has_trouble.store(true, Ordering::Relaxed);
    }

    /// Opens a channel.
    pub(super) fn channel(&self, spec: ChannelSpec) -> Result<u32> {
        let mut state = self.lock()?;
        let id = state.outbox.channel(spec)?;
        // On an agent that is away it is opened when that is back.
        if matches!(state.link, Link::Up(_)) {
            self.send_batch(&mut state, self.patience)?;
        }
        Ok(id)
    }

    /// Takes a message.
    #[inline]
    pub(super) fn log(&self, channel: u32, payload: Payload<'_>, log_time_ns: i64, publish_time_ns: i64, now_ns: i64) -> Result<()> {
        self.trouble()?;
        let mut state = self.lock()?;
        let bytes = payload.as_slice();
        let head = EntryHead { channel, payload_bytes: bytes.len(), log_time_ns, publish_time_ns };
        if !matches!(&state.link, Link::Up(up) if !up.closing) {
            self.reach(&mut state).inspect_err(|_| state.outbox.lose(&head, AWAY))?;
        }
        if !state.outbox.is_idle() && now_ns.wrapping_sub(state.outbox.batch_began().1) > ORPHAN_AGE_NS {
            self.check_process()?;
        }
        self.take(&mut state, &head, bytes, now_ns)?;
        state.outbox.remember(&head, &payload);
        Ok(())
    }

    /// Returns whether taking a message of `payload_bytes` may mean to wait: it fills the batch, or somebody else is sending.
    #[inline]
    pub(super) fn may_wait(&self, payload_bytes: usize) -> bool {
        self.state.try_lock().is_none_or(|state| !matches!(state.link, Link::Up(_)) || !state.outbox.has_room(payload_bytes))
    }

    /// Puts a message into the batch, or sends it where it is large.
    #[inline]
    pub(super) fn take(&self, state: &mut State, head: &EntryHead, payload: &[u8], now_ns: i64) -> Result<()> {
        if payload.len() >= SMALL_PAYLOAD {
            return self.send_large(state, head, payload);
        }
        if !state.outbox.has_room(payload.len()) {
            self.send_batch(state, self.patience).inspect_err(|_| state.lose(head))?;
        }
        if state.outbox.is_idle() {
            self.begin_batch(state, now_ns)?;
        }
        state.outbox.push(head, payload);
        Ok(())
    }

    fn begin_batch(&self, state: &mut State, now_ns: i64) -> Result<()> {
        self.check_process()?;
        state.outbox.set_batch_began(self.clock.monotonic_ns(), now_ns);
        if state.flusher_sleeps {
            state.flusher_sleeps = false;
            self.wakes_flusher.notify_one();
        }
        Ok(())
    }

    pub(super) fn check_process(&self) -> Result<()> {
        if self.is_same_process() {
            return Ok(());
        }
        Err(Error::invalid("this client was made before a fork: make a new one in the child process"))
    }

    /// Sends a question; [`Self::answer`] waits for the answer.
    pub(super) fn ask(&self, kind: FrameKind, body: impl FnOnce(u64) -> Vec<u8>) -> Result<Sent> {
        let mut state = self.lock()?;
        self.reach(&mut state)?;
        let (connection, _) = state.position();
        let token = self.answers.expect(connection)?;
        let sent = self.send_frame(&mut state, kind, &body(token));
        let (_, messages) = state.position();
        if let Err(error) = sent {
            self.answers.put(token, Err(error));
        }
        Ok(Sent { token, connection, messages })
    }

    /// Waits for the answer to a question.
    pub(super) fn answer(&self, sent: &Sent, patience: Duration) -> Result<Value> {
        self.answers.wait(sent.token, patience)
    }

    /// Sends something that has no answer.
    pub(super) fn tell(&self, kind: FrameKind, body: &[u8]) -> Result<()> {
        let mut state = self.lock()?;
        self.reach(&mut state)?;
        self.send_frame(&mut state, kind, body)
    }

    /// Notes that everything up to a question is on the disk.
    pub(super) fn note_flushed(&self, sent: &Sent) {
        if let Link::Up(up) = &mut self.state.lock().link
            && up.connection == sent.connection
        {
            up.flushed = up.flushed.max(sent.messages);
        }
    }

    /// Sends what there is, and ends the connection.
    pub(super) fn end(&self, patience: Duration) {
        if !self.is_same_process() {
            // The connection belongs to the parent.
            return;
        }
        let Some(mut state) = self.state.try_lock_for(patience) else { return };
        if std::mem::replace(&mut state.ended, true) {
            return;
        }
        if matches!(state.link, Link::Up(_)) {
            let _ = self.send_batch(&mut state, patience);
        }
        if let Link::Up(up) = &state.link {
            let _ = up.stream.shutdown(Shutdown::Both);
        }
        self.wakes_flusher.notify_all();
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            let _ = reader.join();
        }
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state.try_lock_for(self.patience).ok_or_else(|| {
            let seconds = self.patience.as_secs_f64();
            Error::unavailable(format!("another thread has waited for the agent for {seconds} s: {}", self.socket.display()))
        })?;
        if state.ended {
            return Err(Error::unavailable("this client was closed: make a new one"));
        }
        Ok(state)
    }

    /// Sends a frame behind everything that was logged before it.
    fn send_frame(&self, state: &mut State, kind: FrameKind, body: &[u8]) -> Result<()> {
        self.send_batch(state, self.patience)?;
        state.outbox.seal(kind, body);
        self.send_rest(state, self.patience)
    }

    /// Sends the batch, and what waits before it.
    pub(super) fn send_batch(&self, state: &mut State, patience: Duration) -> Result<()> {
        self.send_rest(state, patience)?;
        while state.outbox.seal_next_channel()? {
            self.send_rest(state, patience)?;
        }
        state.outbox.seal_batch();
        self.send_rest(state, patience)?;
        while state.outbox.seal_next_loss() {
            self.send_rest(state, patience)?;
        }
        Ok(())
    }

    /// Sends what is left of the frame that is being sent.
    fn send_rest(&self, state: &mut State, patience: Duration) -> Result<()> {
        if state.outbox.sending().is_empty() {
            return Ok(());
        }
        self.check_process()?;
        let Link::Up(up) = &mut state.link else { return Err(self.away("it went away")) };
        let mut sent = state.outbox.sent;
        let result = send(&up.stream, &[state.outbox.sending()], &mut sent, &*self.clock, patience);
        state.outbox.sent = sent;
        match result {
            Ok(()) => {
                up.messages += state.outbox.sent_all();
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(self.slow(patience)),
            Err(error) => Err(self.lose_agent(state, &error.to_string())),
        }
    }

    fn send_large(&self, state: &mut State, head: &EntryHead, payload: &[u8]) -> Result<()> {
        self.send_batch(state, self.patience).inspect_err(|_| state.lose(head))?;
        self.check_process()?;
        let Link::Up(up) = &mut state.link else { return Err(self.away("it went away")) };
        let header = Header { kind: FrameKind::Log, body_bytes: ENTRY_BYTES + payload.len() };
        let mut start = [0; HEADER_BYTES + ENTRY_BYTES];
        start[..HEADER_BYTES].copy_from_slice(&header.encode());
        start[HEADER_BYTES..].copy_from_slice(&head.encode());
        let mut sent = 0;
        match send(&up.stream, &[&start, payload], &mut sent, &*self.clock, self.patience) {
            Ok(()) => {
                up.messages += 1;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut && sent == 0 => {
                state.outbox.lose(head, SLOW);
                Err(self.slow(self.patience))
            }
            Err(error) => {
                // Nothing can follow half a message: the connection is given up.
                state.outbox.lose(head, AWAY);
                Err(self.lose_agent(state, &error.to_string()))
            }
        }
    }

    fn slow(&self, patience: Duration) -> Error {
        let waited = patience.as_secs_f64();
        Error::unavailable(format!("the agent took nothing for {waited} s; the message is not recorded: {}", self.socket.display()))
    }

    /// Starts the thread that sends batches that do not fill up.
    pub(super) fn start_flusher(self: &Arc<Self>) -> Result<JoinHandle<()>> {
        let line = self.clone();
        thread::Builder::new()
            .name("tapeloop-flush".into())
            .spawn(move || line.send_late_batches())
            .map_err(|error| Error::io("cannot start a thread for the agent's client", error))
    }

    fn send_late_batches(&self) {
        let mut state = self.state.lock();
        while !state.ended {
            if state.outbox.is_idle() {
                state.flusher_sleeps = true;
                self.wakes_flusher.wait(&mut state);
                continue;
            }
            let age_ns = self.clock.monotonic_ns().saturating_sub(state.outbox.batch_began().0);
            if age_ns < BATCH_AGE_NS {
                self.wakes_flusher.wait_for(&mut state, Duration::from_nanos((BATCH_AGE_NS - age_ns) as u64));
            } else if let Err(error) = self.send_batch(&mut state, FLUSHER_PATIENCE) {
                self.note_failure(&state, error);
                // Others get their turn before the next try.
                self.wakes_flusher.wait_for(&mut state, FLUSHER_PATIENCE);
            }
        }
    }

    /// Has whoever calls next hear of an agent that went away while nobody called; one that is slow may still take everything.
    pub(super) fn note_failure(&self, state: &State, error: Error) {
        if matches!(state.link, Link::Away(_)) && !state.ended {
            self.set_trouble(error);
        }
    }
}

impl State {
    /// Returns the number of the connection, and how many messages were sent over it.
    pub(super) fn position(&self) -> (u64, u64) {
        match &self.link {
            Link::Up(up) => (up.connection, up.messages),
            Link::Away(_) => (0, 0),
        }
    }

    /// Counts a message that is not recorded because of what just happened.
    fn lose(&mut self, head: &EntryHead) {
        let reason = if matches!(self.link, Link::Up(_)) { SLOW } else { AWAY };
        self.outbox.lose(head, reason);
    }
}
