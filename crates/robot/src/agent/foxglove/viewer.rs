//! One viewer: a task that reads what it says, a thread that hears the tape for it, and a task that writes.
//!
//! **Invariant:** the thread alone decides what the viewer is sent and in which order, so that latched values come first.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use recording::{Error, Result, TopicFilter};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::protocol::{self, Call, Said, Subscription};
use super::{parameters, services};
use crate::Channel;
use crate::agent::Shared;
use crate::tape::{Heard, Tap};

/// How many bytes wait for a viewer that is slow.
const HELD_LIMIT: usize = 32 << 20;
/// How many messages wait for its socket beside: they have no limit of bytes.
const SENDING_LIMIT: usize = 1;
/// How many wishes of a viewer wait.
const WISH_LIMIT: usize = 64;
/// How long to wait for a message before the viewer's wishes are looked at.
const STEP: Duration = Duration::from_millis(20);
/// How often new channels are looked for.
const CHANNELS_NS: i64 = 200_000_000;
/// How often it is told how much was left out, if that changed.
const NEWS_NS: i64 = 1_000_000_000;
/// How often the viewer is asked whether it lives.
const PING_NS: i64 = 20_000_000_000;
/// How many channels are told at once.
const ADVERTISED_AT_ONCE: usize = 50;
/// The status by which a viewer shows how much was left out.
const DROPPED_STATUS: &str = "tapeloop-dropped";

/// Serves a viewer until it leaves.
pub(super) async fn serve(agent: &Arc<Shared>, mut socket: WebSocket) {
    let (wishes, wished) = mpsc::channel(WISH_LIMIT);
    let (out, mut sent) = mpsc::channel(SENDING_LIMIT);
    if let Err(error) = start(agent.clone(), wished, out) {
        agent.report("foxglove_refused", &format!("a viewer is refused: {error}"), json!({}));
        return;
    }
    let mut pending = None;
    loop {
        // While a wish waits for the thread, which may itself wait for something to be sent, nothing more is read.
        tokio::select! {
            place = wishes.reserve(), if pending.is_some() => {
                let Ok(place) = place else { return };
                if let Some(said) = pending.take() {
                    place.send(said);
                }
            }
            said = socket.recv(), if pending.is_none() => match said {
                Some(Ok(Message::Text(text))) => pending = Some(protocol::parse_text(&text)),
                Some(Ok(Message::Binary(bytes))) => pending = Some(protocol::parse_bytes(&bytes)),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
            message = sent.recv() => {
                let Some(message) = message else { return };
                if socket.send(message).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Starts the thread that hears the tape.
fn start(agent: Arc<Shared>, wished: mpsc::Receiver<Result<Said, String>>, out: mpsc::Sender<Message>) -> Result<()> {
    let tap = agent.tape.tap(TopicFilter::exactly::<String>([]), HELD_LIMIT)?;
    let runtime = Handle::current();
    let spawned = thread::Builder::new().name("agent-viewer".into()).spawn(move || {
        let now_ns = agent.clock.monotonic_ns();
        let viewer = Viewer {
            agent,
            tap,
            out,
            runtime,
            channels: HashMap::new(),
            known: 0,
            subscriptions: HashMap::new(),
            latched_until: HashMap::new(),
            told_dropped: 0,
            channels_ns: now_ns,
            news_ns: now_ns,
            ping_ns: now_ns,
        };
        viewer.run(wished);
    });
    spawned.map(drop).map_err(|error| Error::io("no thread for one more viewer", error))
}

struct Viewer {
    agent: Arc<Shared>,
    tap: Tap,
    out: mpsc::Sender<Message>,
    runtime: Handle,
    /// Those that it was told of, by their ids.
    channels: HashMap<u64, Arc<Channel>>,
    /// How many definitions there were when it was told.
    known: usize,
    /// What the viewer calls its subscription to a channel.
    subscriptions: HashMap<u16, u32>,
    /// Up to where messages of a channel were told as latched values.
    latched_until: HashMap<u16, u64>,
    told_dropped: u64,
    channels_ns: i64,
    news_ns: i64,
    ping_ns: i64,
}

/// The viewer has gone.
struct Gone;

impl Viewer {
    fn run(mut self, mut wished: mpsc::Receiver<Result<Said, String>>) {
        // It ends when the viewer has gone, which is noticed when something is sent or asked.
        let _ = self.greet().and_then(|()| {
            while !self.agent.stop.is_set() {
                loop {
                    match wished.try_recv() {
                        Ok(Ok(said)) => self.answer(said)?,
                        Ok(Err(why)) => self.status(2, &why)?,
                        Err(mpsc::error::TryRecvError::Empty) => break,
                        Err(mpsc::error::TryRecvError::Disconnected) => return Err(Gone),
                    }
                }
                // Only where there is room a message is taken from the tap, which drops what is oldest while there is none.
                let room = self.runtime.block_on(self.out.clone().reserve_owned()).map_err(|_| Gone)?;
                match self.tap.next(STEP).and_then(|heard| self.message(&heard)) {
                    Some(message) => drop(room.send(message)),
                    None => drop(room),
                }
                self.tell_news()?;
            }
            Ok(())
        });
    }

    fn greet(&mut self) -> Result<(), Gone> {
        let tape = &self.agent.tape;
        let hello = json!({
            "op": "serverInfo",
            "name": format!("Tapeloop: {} on {}", tape.device(), tape.host()),
            "capabilities": ["services", "parameters"],
            "supportedEncodings": ["json"],
            "metadata": { "device": tape.device(), "host": tape.host(), "tapeloop": env!("CARGO_PKG_VERSION") },
            "sessionId": format!("{:012x}", tape.boot()),
        });
        self.send_json(&hello)?;
        self.send_json(&services::advertised())?;
        self.advertise()
    }

    /// Tells of channels that are new.
    fn advertise(&mut self) -> Result<(), Gone> {
        let count = self.agent.tape.channel_count();
        if count == self.known {
            return Ok(());
        }
        self.known = count;
        let new: Vec<Arc<Channel>> =
            self.agent.tape.channels().into_iter().filter(|channel| !self.channels.contains_key(&u64::from(channel.id()))).collect();
        for some in new.chunks(ADVERTISED_AT_ONCE) {
            let told: Vec<Value> = some.iter().map(|channel| protocol::channel(channel)).collect();
            self.send_json(&json!({ "op": "advertise", "channels": told }))?;
            self.channels.extend(some.iter().map(|channel| (u64::from(channel.id()), channel.clone())));
        }
        Ok(())
    }

    fn answer(&mut self, said: Said) -> Result<(), Gone> {
        match said {
            Said::Subscribe { subscriptions } => subscriptions.iter().try_for_each(|subscription| self.subscribe(subscription)),
            Said::Unsubscribe { subscription_ids } => {
                for id in subscription_ids {
                    self.unsubscribe(id);
                }
                Ok(())
            }
            Said::GetParameters { parameter_names, id } => self.tell_parameters(&parameter_names, id.as_deref()),
            Said::SetParameters { parameters, id } => {
                self.status(1, "the recorder's parameters cannot be set")?;
                let names: Vec<String> = parameters.into_iter().map(|parameter| parameter.name).collect();
                if names.is_empty() { Ok(()) } else { self.tell_parameters(&names, id.as_deref()) }
            }
            Said::Call(call) => self.call(&call),
            Said::Other => self.status(1, "the recorder does not do that"),
        }
    }

    fn subscribe(&mut self, subscription: &Subscription) -> Result<(), Gone> {
        let Some(channel) = self.channels.get(&subscription.channel_id).cloned() else {
            return self.status(1, &format!("there is no channel {}", subscription.channel_id));
        };
        if self.subscriptions.contains_key(&channel.id()) {
            return self.status(1, &format!("'{}' is subscribed to already", channel.topic().name));
        }
        self.subscriptions.insert(channel.id(), subscription.id);
        self.tap.want(&channel, true);
        if channel.is_latched() {
            for value in self.agent.tape.latched_of(&channel) {
                if let Some(message) = self.message(&value) {
                    self.send(message)?;
                }
                self.latched_until.insert(channel.id(), value.sequence);
            }
        }
        Ok(())
    }

    fn unsubscribe(&mut self, id: u32) {
        let Some(channel_id) = self.subscriptions.iter().find_map(|(channel, own)| (*own == id).then_some(*channel)) else { return };
        self.subscriptions.remove(&channel_id);
        self.latched_until.remove(&channel_id);
        if let Some(channel) = self.channels.get(&u64::from(channel_id)) {
            self.tap.want(channel, false);
        }
    }

    /// Returns what the viewer is sent of a message, if it wants it and was not told of it as a latched value.
    fn message(&self, heard: &Heard) -> Option<Message> {
        let id = heard.channel.id();
        let told = self.latched_until.get(&id).is_some_and(|until| heard.sequence <= *until);
        let subscription = self.subscriptions.get(&id).filter(|_| !told)?;
        Some(Message::Binary(protocol::message(*subscription, heard.log_time_ns, &heard.data).into()))
    }

    fn call(&self, call: &Call) -> Result<(), Gone> {
        match services::call(&self.agent, call) {
            Ok(answer) => self.send(Message::Binary(protocol::service_response(call, &answer).into())),
            Err(error) => self.send_json(&json!({
                "op": "serviceCallFailure",
                "serviceId": call.service,
                "callId": call.id,
                "message": error.to_string(),
            })),
        }
    }

    fn tell_parameters(&self, names: &[String], id: Option<&str>) -> Result<(), Gone> {
        let mut all = parameters::all(&self.agent.tape);
        if !names.is_empty() {
            all.retain(|name, _| names.contains(name));
        }
        self.send_json(&parameters::answer(&all, id))
    }

    /// Tells what has changed by itself, from time to time.
    fn tell_news(&mut self) -> Result<(), Gone> {
        let now_ns = self.agent.clock.monotonic_ns();
        if now_ns.saturating_sub(self.channels_ns) >= CHANNELS_NS {
            self.channels_ns = now_ns;
            self.advertise()?;
        }
        if now_ns.saturating_sub(self.ping_ns) >= PING_NS {
            self.ping_ns = now_ns;
            self.send(Message::Ping(Vec::new().into()))?;
        }
        if now_ns.saturating_sub(self.news_ns) < NEWS_NS {
            return Ok(());
        }
        self.news_ns = now_ns;
        if self.out.is_closed() {
            return Err(Gone);
        }
        let dropped = self.tap.dropped();
        if dropped > self.told_dropped {
            self.told_dropped = dropped;
            let message = format!("{dropped} messages are left out here, because they come faster than this viewer takes them");
            self.send_json(&json!({ "op": "status", "level": 1, "message": message, "id": DROPPED_STATUS }))?;
        }
        Ok(())
    }

    /// Says something that the viewer shows: 1 is a warning, 2 an error.
    fn status(&self, level: u8, message: &str) -> Result<(), Gone> {
        self.send_json(&json!({ "op": "status", "level": level, "message": message }))
    }

    fn send_json(&self, value: &Value) -> Result<(), Gone> {
        self.send(Message::Text(value.to_string().into()))
    }

    /// Waits until the viewer takes it; meanwhile the tap drops what is oldest.
    fn send(&self, message: Message) -> Result<(), Gone> {
        self.out.blocking_send(message).map_err(|_| Gone)
    }
}
