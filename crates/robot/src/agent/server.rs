//! Accepts clients, each on a thread of its own, and lets them go in order when the agent ends.
//!
//! **Invariant:** what a client had sent when the agent began to end is read, as far as it comes within the time for that.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use recording::{Error, Result};
use rustix::net::{Shutdown, shutdown};
use serde_json::json;

use super::Shared;
use super::clients::CLIENT_LIMIT;
use super::connection::serve;
use super::protocol::{FrameKind, Refusal, frame, json as to_body};
use super::socket::Socket;
use super::stream::send;

/// How long clients may take to send what they have, once they were told of the end.
const FAREWELL_PATIENCE: Duration = Duration::from_millis(500);
/// How long it may take to read what they had sent by then.
const DRAIN_PATIENCE: Duration = Duration::from_millis(400);
/// How long to wait when the system has no resources for one more client.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listening side of the agent.
pub(crate) struct Server {
    agent: Arc<Shared>,
    socket: Arc<Socket>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Begins to accept clients.
    ///
    /// # Errors
    /// `Unavailable` if there can be no thread for it.
    pub(crate) fn start(agent: Arc<Shared>, socket: Socket) -> Result<Self> {
        let socket = Arc::new(socket);
        let thread = thread::Builder::new().name("agent-accept".into()).spawn({
            let (agent, socket) = (agent.clone(), socket.clone());
            move || accept(&agent, &socket)
        });
        let thread = thread.map_err(|error| Error::io("cannot start a thread for clients", error))?;
        Ok(Self { agent, socket, thread: Some(thread) })
    }

    /// Takes no new clients, reads what those that there are have sent, and lets them go.
    pub(crate) fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.agent.stop.set();
        self.socket.remove();
        let _ = shutdown(&*self.socket, Shutdown::Both);
        let _ = thread.join();
        let clients = &self.agent.clients;
        for client in clients.all() {
            client.announce_end(&*self.agent.clock);
        }
        if clients.wait_until_gone(FAREWELL_PATIENCE) {
            return;
        }
        for client in clients.all() {
            client.take_no_more();
        }
        if !clients.wait_until_gone(DRAIN_PATIENCE) {
            let names: Vec<String> = clients.all().iter().map(|client| client.name.clone()).collect();
            let message = format!("the agent ends before it has read all of: {}", names.join(", "));
            self.agent.report("clients_cut_off", &message, json!({ "clients": names }));
        }
        for client in clients.all() {
            client.cut_off();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Counts a connection for as long as it lives.
struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn accept(agent: &Arc<Shared>, socket: &Socket) {
    let taken = Arc::new(AtomicUsize::new(0));
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    while !agent.stop.is_set() {
        let stream = match socket.listener().accept() {
            Ok((stream, _)) => stream,
            Err(_) => {
                agent.stop.wait(ACCEPT_PAUSE);
                continue;
            }
        };
        for ended in threads.extract_if(.., |thread| thread.is_finished()) {
            let _ = ended.join();
        }
        let seat = Seat(taken.clone());
        if taken.fetch_add(1, Ordering::AcqRel) >= CLIENT_LIMIT {
            turn_away(agent, &stream, &format!("the agent has {CLIENT_LIMIT} clients, which is its limit: end one, see `tapeloop status`"));
            continue;
        }
        let spawned = thread::Builder::new().name("agent-client".into()).spawn({
            let agent = agent.clone();
            move || {
                let _seat = seat;
                serve(&agent, stream);
            }
        });
        match spawned {
            Ok(thread) => threads.push(thread),
            Err(error) => agent.report("client_refused", &format!("no thread for one more client: {error}"), json!({})),
        }
    }
}

fn turn_away(agent: &Shared, stream: &UnixStream, why: &str) {
    let refusal = Refusal { fatal: true, ..Refusal::from(&Error::unavailable(why)) };
    let _ = send(stream, &[&frame(FrameKind::Error, &to_body(&refusal))], &mut 0, &*agent.clock, Duration::ZERO);
    agent.report("client_refused", why, json!({}));
}
