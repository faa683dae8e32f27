//! The agent, through its real socket and port, in this process and as a process of its own.

mod clients;
mod http;
mod lifetime;
mod live;
mod process;
mod reload;
mod sources;
mod sources_http;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use recording::{Message, Span, TopicFilter};
use robot::agent::client::{Client, ClientChannel};
use robot::agent::protocol::{FrameKind, HEADER_BYTES, Header, Hello, Side, VERSION, frame};
use robot::agent::{Agent, AgentOptions};
use robot::clock::{Clock, SystemClock};
use robot::{ChannelSpec, Leave, Times};
use tempfile::TempDir;

/// How long a test waits for something that must happen.
const PATIENCE_NS: i64 = 30_000_000_000;

/// A folder with room for an agent: its tape, socket and configuration.
pub(super) struct Place {
    folder: TempDir,
}

impl Place {
    pub(super) fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        place.configure("");
        place
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("tape")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("tapeloop.toml")
    }

    fn configure(&self, text: &str) {
        std::fs::write(self.config(), text).unwrap();
    }

    fn options(&self) -> AgentOptions {
        AgentOptions {
            config: Some(self.config()),
            data: Some(self.root()),
            socket: Some(self.socket()),
            http: Some("127.0.0.1:0".into()),
            foxglove: Some("off".into()),
            config_interval: Duration::from_millis(5),
            ..AgentOptions::default()
        }
    }

    fn start(&self) -> Agent {
        Agent::start(self.options()).unwrap()
    }

    fn client(&self, name: &str) -> Client {
        Client::connect(&self.socket(), name).unwrap()
    }

    /// Connects without the client, and says hello.
    fn stranger(&self) -> UnixStream {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        let hello = Hello { version: VERSION, name: "stranger".into(), pid: 1, software: "test".into() };
        stream.write_all(&frame(FrameKind::Hello, &hello.encode())).unwrap();
        assert_eq!(read_frame(&mut stream).unwrap().0, FrameKind::Welcome);
        stream
    }

    fn messages(&self) -> Vec<Message> {
        let recording = recording::read::open(&self.root()).unwrap();
        recording.messages(&TopicFilter::all(), Span::ALL).unwrap().collect::<recording::Result<_>>().unwrap()
    }

    /// Returns the payloads of a topic, as text.
    fn payloads(&self, topic: &str) -> Vec<String> {
        let of_topic = self.messages().into_iter().filter(|message| message.topic.name == topic);
        of_topic.map(|message| String::from_utf8_lossy(&message.data).into_owned()).collect()
    }

    /// Returns the agent's events, by kind.
    fn events(&self) -> BTreeMap<String, Vec<String>> {
        let mut events: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for text in self.payloads("/tapeloop/events") {
            let event: serde_json::Value = serde_json::from_str(&text).unwrap();
            let part = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            events.entry(part("kind")).or_default().push(part("message"));
        }
        events
    }
}

pub(super) fn text_channel(client: &Client, topic: &str) -> ClientChannel {
    client.channel(ChannelSpec { topic: topic.into(), encoding: "text".into(), ..ChannelSpec::default() }).unwrap()
}

pub(super) fn log(channel: &ClientChannel, text: &str) -> robot::Result<()> {
    channel.log(text.as_bytes().into(), Times::default())
}

/// Reads one frame of the agent; `None` where the connection ends.
fn read_frame(stream: &mut UnixStream) -> Option<(FrameKind, Vec<u8>)> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).ok()?;
    let header = Header::parse(&header, Side::Agent).unwrap();
    let mut body = vec![0; header.body_bytes];
    stream.read_exact(&mut body).ok()?;
    Some((header.kind, body))
}

/// Waits until something is so.
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began_ns = SystemClock.monotonic_ns();
    while !is_so() {
        assert!(SystemClock.monotonic_ns() - began_ns < PATIENCE_NS, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Numbers as texts.
fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Stops an agent, and expects no error.
fn stop(agent: Agent) {
    agent.stop(Leave::CutShort).unwrap();
}

fn exists(path: &Path) -> bool {
    path.exists()
}
