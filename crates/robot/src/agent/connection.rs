//! One client's connection, on a thread of its own: reads its frames into the tape and sends it answers.
//!
//! **Invariant:** messages are appended in the order they were sent; what was refused is told to the client, with the reason.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use recording::{Error, Kind, Loss, Result};
use rustix::net::sockopt::socket_peercred;
use serde_json::{Value, json};

use super::Shared;
use super::clients::ClientEntry;
use super::control::{Request, answer};
use super::frames::{Frame, FrameReader};
use super::protocol::{
    Entries, EntryHead, FrameKind, Goodbye, Hello, Listen, OpenChannel, Outcome, REPLY_LIMIT, Refusal, Side, VERSION, Welcome,
    encode_tokened, from_json, json as to_body, parse_token,
};
use super::stream::{Source, widen};
use super::tell;
use crate::{Channel, Payload, Times};

/// How long a client may take to say who it is.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);
/// How many requests of one client are answered at the same time.
pub(crate) const REQUEST_LIMIT: usize = 16;
/// The longest client name that is shown.
const NAME_LIMIT: usize = 128;

/// Serves a client until it leaves, is thrown out, or the agent ends.
pub(crate) fn serve(agent: &Arc<Shared>, stream: UnixStream) {
    let peer = socket_peercred(&stream).map_or((0, 0), |peer| (peer.pid.as_raw_nonzero().get() as u32, peer.uid.as_raw()));
    widen(&stream);
    let stream = Arc::new(stream);
    let entry = |name: String| Arc::new(ClientEntry::new(name, peer, agent.clock.utc_ns(), stream.clone()));
    let mut reader = FrameReader::new(stream.clone(), Side::Client, agent.payloads.clone(), agent.allowance.clone(), agent.clock.clone());
    let hello = match greet(agent, &mut reader) {
        Ok(Some(hello)) => hello,
        Ok(None) => return,
        Err(error) => return refuse(agent, &entry("unknown".into()), &error),
    };
    let client = entry(hello.name.chars().filter(|c| !c.is_control()).take(NAME_LIMIT).collect());
    let number = agent.clients.add(client.clone());
    client.send(&*agent.clock, FrameKind::Welcome, &agent.welcome().encode());
    if agent.stop.is_set() {
        // It came between the announcement of the end and the end.
        client.announce_end(&*agent.clock);
    }
    let mut connection = Connection { agent, client: &client, channels: Vec::new(), listens: false };
    let result = connection.run(&mut reader);
    match result {
        Ok(()) => {
            let messages = client.messages.load(Ordering::Relaxed);
            client.send(&*agent.clock, FrameKind::Goodbye, &to_body(&Goodbye { messages }));
        }
        Err(error) if error.kind() == Kind::Unavailable => {
            let Refusal { message, .. } = Refusal::from(&error);
            agent.report("client_broken", &format!("client '{}' (pid {}): {message}", client.name, client.pid), about(&client));
        }
        Err(error) => refuse(agent, &client, &error),
    }
    client.cut_off();
    agent.clients.remove(number);
}

/// Waits for the hello.
fn greet(agent: &Shared, reader: &mut FrameReader<Arc<UnixStream>>) -> Result<Option<Hello>> {
    let failed = |error| Error::io("cannot wait for a hello", error);
    reader.source().limit_wait(Some(HELLO_PATIENCE)).map_err(failed)?;
    let hello = match reader.next()? {
        Some(Frame::Small(FrameKind::Hello, body)) => Hello::parse(body)?,
        Some(_) => return Err(Error::invalid("a connection that does not begin with a hello")),
        None => return Ok(None),
    };
    reader.source().limit_wait(None).map_err(failed)?;
    if hello.version > VERSION {
        let Hello { version, software, name, .. } = hello;
        let (ours, socket) = (env!("CARGO_PKG_VERSION"), &agent.about.socket);
        return Err(Error::invalid(format!(
            "'{name}' (tapeloop {software}) speaks protocol {version}, the agent (tapeloop {ours}) up to {VERSION}: update the agent: {socket}"
        )));
    }
    Ok(Some(hello))
}

/// Tells a client why it is thrown out.
fn refuse(agent: &Shared, client: &ClientEntry, error: &Error) {
    let refusal = Refusal { fatal: true, ..Refusal::from(error) };
    agent.report(
        "client_refused",
        &format!("client '{}' (pid {}) is refused: {}", client.name, client.pid, refusal.message),
        about(client),
    );
    client.send(&*agent.clock, FrameKind::Error, &to_body(&refusal));
    client.cut_off();
}

fn about(client: &ClientEntry) -> Value {
    json!({ "client": client.name, "pid": client.pid, "uid": client.uid, "messages": client.messages.load(Ordering::Relaxed) })
}

struct Connection<'a> {
    agent: &'a Arc<Shared>,
    client: &'a Arc<ClientEntry>,
    channels: Vec<Opened>,
    /// Whether it was told what is logged, and is done.
    listens: bool,
}

/// What became of a channel that the client opened.
enum Opened {
    NotYet,
    Channel(Arc<Channel>),
    Refused(Refusal),
}

/// What went wrong with the messages of one frame.
#[derive(Default)]
struct Trouble {
    first: Option<Refusal>,
    refused: u64,
}

impl Connection<'_> {
    /// Reads frames until the client closes its side.
    fn run(&mut self, reader: &mut FrameReader<Arc<UnixStream>>) -> Result<()> {
        while let Some(frame) = reader.next()? {
            match frame {
                Frame::Small(FrameKind::Log, body) => self.log(body)?,
                Frame::Message(head, payload) => {
                    let bytes = payload.len() as u64;
                    let mut trouble = Trouble::default();
                    self.append(head, Payload::Shared(payload), &mut trouble)?;
                    self.count(1, bytes, trouble);
                }
                Frame::Small(kind, body) => self.request(kind, body)?,
                Frame::Large(kind, body) => self.request(kind, &body)?,
            }
            if self.listens {
                break;
            }
        }
        Ok(())
    }

    /// Appends the messages of a frame.
    fn log(&self, body: &[u8]) -> Result<()> {
        let (mut messages, mut bytes) = (0, 0);
        let mut trouble = Trouble::default();
        let mut result = Ok(());
        for entry in Entries::new(body) {
            result = entry.and_then(|entry| {
                self.append(entry.head, Payload::Slice(entry.payload), &mut trouble)?;
                messages += 1;
                bytes += entry.payload.len() as u64;
                Ok(())
            });
            if result.is_err() {
                break;
            }
        }
        self.count(messages, bytes, trouble);
        result
    }

    /// Appends a message; only a client that breaks the protocol is an error, the rest is noted in `trouble`.
    #[inline]
    fn append(&self, head: EntryHead, payload: Payload<'_>, trouble: &mut Trouble) -> Result<()> {
        let channel = match self.channels.get(head.channel as usize) {
            Some(Opened::Channel(channel)) => channel,
            Some(Opened::Refused(refusal)) => {
                trouble.refused(refusal.clone());
                return Ok(());
            }
            Some(Opened::NotYet) | None => return Err(Error::invalid(format!("a message on channel {}, which is not open", head.channel))),
        };
        let times = Times { log_time_ns: Some(head.log_time_ns), publish_time_ns: Some(head.publish_time_ns) };
        if let Err(error) = self.agent.tape.append(channel, payload.clone(), times) {
            // It may be what an earlier message met: then it is told, and this message is still good.
            match self.agent.tape.append(channel, payload, times) {
                Ok(_) => trouble.noted(Refusal::from(&error)),
                Err(error) => trouble.refused(Refusal::from(&error)),
            }
        }
        Ok(())
    }

    /// Counts what a frame brought, and tells the client what went wrong.
    fn count(&self, messages: u64, bytes: u64, trouble: Trouble) {
        self.client.messages.fetch_add(messages, Ordering::Relaxed);
        self.client.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(first) = trouble.first {
            self.client.refused.fetch_add(trouble.refused, Ordering::Relaxed);
            let refusal = Refusal { refused: trouble.refused, ..first };
            self.client.send(&*self.agent.clock, FrameKind::Error, &to_body(&refusal));
        }
    }

    fn request(&mut self, kind: FrameKind, body: &[u8]) -> Result<()> {
        match kind {
            FrameKind::OpenChannel => self.open(OpenChannel::parse(body)?),
            FrameKind::Loss => self.agent.tape.report_loss(from_json::<Loss>("a loss", body)?),
            FrameKind::Flush => self.flush(parse_token(body)?.0),
            FrameKind::Listen => {
                self.listens = true;
                if let Err(error) = tell::tell(self.agent, self.client, &from_json::<Listen>("a wish to listen", body)?) {
                    refuse(self.agent, self.client, &error);
                }
            }
            FrameKind::Control => {
                let (token, body) = parse_token(body)?;
                self.control(token, from_json("a request that this agent knows", body));
            }
            _ => return Err(Error::invalid(format!("a {kind:?} frame where none belongs"))),
        }
        Ok(())
    }

    fn open(&mut self, open: OpenChannel) {
        let at = open.id as usize;
        if self.channels.len() <= at {
            self.channels.resize_with(at + 1, || Opened::NotYet);
        }
        self.channels[at] = match self.agent.tape.channel(open.spec) {
            Ok(channel) => Opened::Channel(channel),
            Err(error) => {
                let refusal = Refusal::from(&error);
                self.client.send(&*self.agent.clock, FrameKind::Error, &to_body(&refusal));
                Opened::Refused(refusal)
            }
        };
    }

    /// Makes everything so far durable; messages go on being read meanwhile.
    fn flush(&self, token: u64) {
        let agent = self.agent.clone();
        let client = self.client.clone();
        let work = move || {
            let outcome = Outcome::from(agent.tape.flush().map(|()| Value::Null));
            client.send(&*agent.clock, FrameKind::FlushDone, &encode_tokened(token, &outcome));
        };
        if let Err(work) = self.beside(work) {
            work();
        }
    }

    /// Answers a request; messages go on being read meanwhile.
    fn control(&self, token: u64, request: Result<Request>) {
        let agent = self.agent.clone();
        let client = self.client.clone();
        let work = move || {
            let outcome = Outcome::from(request.and_then(|request| answer(&agent, request)));
            client.send(&*agent.clock, FrameKind::ControlReply, &reply(token, &outcome));
        };
        if self.beside(work).is_err() {
            let error =
                Error::unavailable(format!("this client has {REQUEST_LIMIT} requests that are not answered yet, which is the limit"));
            self.client.send(&*self.agent.clock, FrameKind::ControlReply, &reply(token, &Outcome::from(Err(error))));
        }
    }

    /// Runs something on a thread of its own, or gives it back if this client has enough of them.
    fn beside<W: FnOnce() + Send + 'static>(&self, work: W) -> Result<(), W> {
        let client = self.client.clone();
        if client.requests.fetch_add(1, Ordering::AcqRel) >= REQUEST_LIMIT {
            client.requests.fetch_sub(1, Ordering::AcqRel);
            return Err(work);
        }
        // The work is handed over through a slot, so that it comes back if no thread can be had.
        let slot = Arc::new(parking_lot::Mutex::new(Some(work)));
        let taken = slot.clone();
        let spawned = thread::Builder::new().name("agent-request".into()).spawn(move || {
            if let Some(work) = taken.lock().take() {
                work();
            }
            client.requests.fetch_sub(1, Ordering::AcqRel);
        });
        if spawned.is_err() {
            self.client.requests.fetch_sub(1, Ordering::AcqRel);
            return slot.lock().take().map_or(Ok(()), Err);
        }
        Ok(())
    }
}

fn reply(token: u64, outcome: &Outcome) -> Vec<u8> {
    let body = encode_tokened(token, outcome);
    if body.len() <= REPLY_LIMIT {
        return body;
    }
    let error = Error::unavailable(format!("an answer of {} bytes; at most {REPLY_LIMIT}", body.len()));
    encode_tokened(token, &Outcome::from(Err(error)))
}

impl Trouble {
    fn noted(&mut self, refusal: Refusal) {
        self.first.get_or_insert(refusal);
    }

    fn refused(&mut self, refusal: Refusal) {
        self.refused += 1;
        self.noted(refusal);
    }
}

impl Shared {
    /// Returns what a client hears first.
    fn welcome(&self) -> Welcome {
        Welcome {
            version: VERSION,
            software: env!("CARGO_PKG_VERSION").into(),
            device: self.tape.device().into(),
            root: self.tape.root().display().to_string(),
            boot: format!("{:012x}", self.tape.boot()),
            pid: self.about.pid,
        }
    }
}
