//! Who is connected to the agent, and what they have sent.
//!
//! **Invariant:** a client is listed from its hello until its connection has been read to the end.

use std::collections::BTreeMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use recording::Timestamp;
use rustix::net::{RecvFlags, recv};
use serde::{Deserialize, Serialize};

use super::protocol::{FrameKind, Header};
use super::stream::send;
use crate::clock::Clock;

/// How many clients there may be.
pub const CLIENT_LIMIT: usize = 256;
/// How long a client may leave an answer unread before it is cut off.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// The same while the agent ends.
const CLOSING_PATIENCE: Duration = Duration::from_millis(10);
/// How often a client that is waited for is asked about.
const PATIENT_STEP: Duration = Duration::from_millis(100);

/// What status says of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// What it calls itself.
    pub name: String,
    /// Its process id, as the kernel says.
    pub pid: u32,
    /// Its user id, as the kernel says.
    pub uid: u32,
    /// Since when it is connected; ns UTC.
    pub since_ns: Timestamp,
    /// How many messages it sent.
    pub messages: u64,
    /// How many payload bytes it sent.
    pub bytes: u64,
    /// How many of its messages were refused.
    pub refused: u64,
}

/// A connected client.
pub(crate) struct ClientEntry {
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    pub(crate) since_ns: Timestamp,
    pub(crate) messages: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// How many of its requests are being answered.
    pub(crate) requests: AtomicUsize,
    /// Held while an answer is written, so that answers do not mix.
    answering: Mutex<()>,
    stream: Arc<UnixStream>,
}

/// All connected clients.
#[derive(Default)]
pub(crate) struct Clients {
    entries: Mutex<BTreeMap<u64, Arc<ClientEntry>>>,
    left: Condvar,
    next: AtomicU64,
}

impl ClientEntry {
    /// Returns a client that sits at the other end of `stream`.
    pub(crate) fn new(name: String, (pid, uid): (u32, u32), since_ns: Timestamp, stream: Arc<UnixStream>) -> Self {
        Self {
            name,
            pid,
            uid,
            since_ns,
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            requests: AtomicUsize::new(0),
            answering: Mutex::new(()),
            stream,
        }
    }

    /// Sends a frame; a client that does not read what it is told is cut off.
    pub(crate) fn send(&self, clock: &dyn Clock, kind: FrameKind, body: &[u8]) {
        if self.send_within(clock, kind, body, ANSWER_PATIENCE).is_err() {
            self.cut_off();
        }
    }

    /// Sends a frame in parts, for as long as that takes while the client is there and `goes_on`; returns whether all of it was sent.
    pub(crate) fn send_patiently(&self, clock: &dyn Clock, parts: &[&[u8]], goes_on: impl Fn() -> bool) -> bool {
        let _answering = self.answering.lock();
        let mut sent = 0;
        loop {
            match send(&self.stream, parts, &mut sent, clock, PATIENT_STEP) {
                Ok(()) => return true,
                Err(error) if error.kind() == io::ErrorKind::TimedOut && goes_on() => {}
                Err(_) => {
                    if sent > 0 {
                        // Behind a part of a frame nothing would be understood.
                        self.cut_off();
                    }
                    return false;
                }
            }
        }
    }

    /// Returns whether the client has closed its side, or says something that nobody asked for.
    pub(crate) fn has_left(&self) -> bool {
        match recv(&*self.stream, &mut [0u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok(_) => true,
            Err(error) => !matches!(error, rustix::io::Errno::AGAIN | rustix::io::Errno::INTR),
        }
    }

    /// Tells the client that the agent ends, if it listens.
    pub(crate) fn announce_end(&self, clock: &dyn Clock) {
        if self.send_within(clock, FrameKind::Closing, &[], CLOSING_PATIENCE).is_err_and(|sent| sent > 0) {
            // Half a frame was sent: nothing that follows would be understood.
            self.cut_off();
        }
    }

    /// Sends a frame, or returns how much of it could be sent.
    fn send_within(&self, clock: &dyn Clock, kind: FrameKind, body: &[u8], patience: Duration) -> Result<(), usize> {
        let header = Header { kind, body_bytes: body.len() }.encode();
        let _answering = self.answering.try_lock_for(patience).ok_or(0usize)?;
        let mut sent = 0;
        send(&self.stream, &[&header, body], &mut sent, clock, patience).map_err(|_| sent)
    }

    /// Takes nothing more than what was sent already.
    pub(crate) fn take_no_more(&self) {
        let _ = self.stream.shutdown(Shutdown::Read);
    }

    /// Ends the connection.
    pub(crate) fn cut_off(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn status(&self) -> ClientStatus {
        ClientStatus {
            name: self.name.clone(),
            pid: self.pid,
            uid: self.uid,
            since_ns: self.since_ns,
            messages: self.messages.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

impl Clients {
    /// Lists a client and returns its number.
    pub(crate) fn add(&self, client: Arc<ClientEntry>) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.entries.lock().insert(number, client);
        number
    }

    /// Removes a client.
    pub(crate) fn remove(&self, number: u64) {
        self.entries.lock().remove(&number);
        self.left.notify_all();
    }

    /// Returns all clients.
    pub(crate) fn all(&self) -> Vec<Arc<ClientEntry>> {
        self.entries.lock().values().cloned().collect()
    }

    /// Returns what status says of them.
    pub(crate) fn status(&self) -> Vec<ClientStatus> {
        self.all().iter().map(|client| client.status()).collect()
    }

    /// Waits until nobody is left, at most for `patience`, and returns whether that is so.
    pub(crate) fn wait_until_gone(&self, patience: Duration) -> bool {
        let mut entries = self.entries.lock();
        !self.left.wait_while_for(&mut entries, |entries| !entries.is_empty(), patience).timed_out() || entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn a_frame_that_was_sent_in_part_is_the_last() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let client = ClientEntry::new("slow".into(), (1, 1), 0, Arc::new(ours));
        // More than the kernel holds.
        let frame = vec![1; 16 << 20];
        assert!(!client.send_patiently(&SystemClock, &[&frame], || false));
        client.send(&SystemClock, FrameKind::Goodbye, &[]);
        theirs.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).unwrap();
        assert!(heard.len() < frame.len() && heard.iter().all(|byte| *byte == 1));
    }
}
