//! What a program and the agent say to each other over the socket: frames, and the bodies in them.
//!
//! A frame is a kind (1 byte), three zero bytes, the length of its body (u32), and the body; integers are little-endian.
//! What is rare is JSON, so that it can grow; messages are packed, so that they are cheap. Bytes in, values out: no I/O here.
//!
//! **Invariant:** no byte of a stranger makes this code panic, and no length is believed beyond the limit of its kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use recording::{Error, Kind, Loss, Result, Schema, topic};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ChannelSpec;

/// The version of the protocol that this program speaks, and the newest it understands.
pub const VERSION: u32 = 1;
/// The first bytes of a program's hello.
pub const MAGIC: [u8; 8] = *b"TAPELOOP";
/// How long a frame's header is.
pub const HEADER_BYTES: usize = 8;
/// How long the part of a log entry before its payload is.
pub const ENTRY_BYTES: usize = 24;
/// The largest payload of one message.
pub const PAYLOAD_LIMIT: usize = 256 << 20;
/// Payloads below this share frames; larger ones have a frame each, and travel without a copy.
pub const SMALL_PAYLOAD: usize = 64 << 10;
/// The largest body of a frame of several messages.
pub const BATCH_LIMIT: usize = SMALL_PAYLOAD + ENTRY_BYTES;
/// The largest definition of a channel, schema included.
pub const CHANNEL_LIMIT: usize = 16 << 20;
/// How many channels a client may open; a tape has no more ids than this.
pub const CHANNELS_LIMIT: u32 = 1 << 16;
/// The largest control request, hello or loss report.
pub const REQUEST_LIMIT: usize = 1 << 20;
/// The largest answer to a control request.
pub const REPLY_LIMIT: usize = 64 << 20;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// A program says who it is: [`Hello`].
    Hello = 1,
    /// The agent says who it is: [`Welcome`].
    Welcome = 2,
    /// A program defines a channel: [`OpenChannel`].
    OpenChannel = 3,
    /// Messages: [`Entry`] after [`Entry`], or a single large one.
    Log = 4,
    /// A program asks for everything so far to be made durable: a token.
    Flush = 5,
    /// The agent answers a flush: token and [`Outcome`].
    FlushDone = 6,
    /// A program asks for something: token and JSON.
    Control = 7,
    /// The agent answers: token and [`Outcome`].
    ControlReply = 8,
    /// The agent says that something went wrong: [`Refusal`].
    Error = 9,
    /// A program says what it could not deliver: a [`Loss`].
    Loss = 10,
    /// The agent is about to end: send what you have, then close your half.
    Closing = 11,
    /// The agent's last word: [`Goodbye`].
    Goodbye = 12,
    /// A program asks to be told what is logged from now on, and says nothing more: [`Listen`].
    Listen = 13,
    /// The agent defines a channel of which it tells messages: [`OpenChannel`].
    HeardChannel = 14,
    /// The agent tells one message: [`Entry`].
    Heard = 15,
    /// The agent says how many messages it did not tell so far, because the program is slow: a number of 8 bytes.
    Dropped = 16,
}

const FRAME_KINDS: [FrameKind; 16] = [
    FrameKind::Hello,
    FrameKind::Welcome,
    FrameKind::OpenChannel,
    FrameKind::Log,
    FrameKind::Flush,
    FrameKind::FlushDone,
    FrameKind::Control,
    FrameKind::ControlReply,
    FrameKind::Error,
    FrameKind::Loss,
    FrameKind::Closing,
    FrameKind::Goodbye,
    FrameKind::Listen,
    FrameKind::HeardChannel,
    FrameKind::Heard,
    FrameKind::Dropped,
];

/// Who may say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A program that logs.
    Client,
    /// The agent.
    Agent,
}

/// The start of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the body is.
    pub kind: FrameKind,
    /// How long the body is.
    pub body_bytes: usize,
}

/// Who a program is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol version it speaks.
    pub version: u32,
    /// What it calls itself.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// Its version of Tapeloop.
    #[serde(default)]
    pub software: String,
}

/// Who the agent is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The protocol version that both will speak.
    pub version: u32,
    /// The agent's version of Tapeloop.
    pub software: String,
    /// The robot.
    pub device: String,
    /// The tape's folder.
    pub root: String,
    /// The opening of the tape, as 12 hexadecimal digits.
    pub boot: String,
    /// The agent's process id.
    pub pid: u32,
}

/// A channel, under the id by which the client's messages name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenChannel {
    /// Chosen by the client, from 0.
    pub id: u32,
    /// What it is.
    pub spec: ChannelSpec,
}

/// What a program wants to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Topic patterns; none means all.
    pub topics: Vec<String>,
}

/// One message in a [`FrameKind::Log`] frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What stands before the payload.
    pub head: EntryHead,
    /// The payload.
    pub payload: &'a [u8],
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHead {
    /// The channel's id.
    pub channel: u32,
    /// How long the payload is.
    pub payload_bytes: usize,
    /// When it was recorded; ns UTC.
    pub log_time_ns: i64,
    /// When it was published; ns UTC.
    pub publish_time_ns: i64,
}

/// The messages of a [`FrameKind::Log`] frame, in order; ends behind the first that is malformed.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

/// An error on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What the client can do about it: the name of a [`Kind`].
    pub kind: String,
    /// What failed.
    pub message: String,
    /// How many messages were not recorded because of it.
    #[serde(default)]
    pub refused: u64,
    /// Whether the agent closes the connection.
    #[serde(default)]
    pub fatal: bool,
}

/// What came of a request: JSON, or an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The answer.
    Ok(serde_json::Value),
    /// It failed.
    Error(Refusal),
}

/// The agent's last word to a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// How many messages it took from this connection, refused ones included.
    pub messages: u64,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<Self> {
        FRAME_KINDS.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Returns who may send it.
    pub fn sender(self) -> Side {
        match self {
            Self::Hello | Self::OpenChannel | Self::Log | Self::Flush | Self::Control | Self::Loss | Self::Listen => Side::Client,
            Self::Welcome | Self::FlushDone | Self::ControlReply | Self::Error | Self::Closing | Self::Goodbye => Side::Agent,
            Self::HeardChannel | Self::Heard | Self::Dropped => Side::Agent,
        }
    }

    /// Returns how long its body may be.
    pub fn body_limit(self) -> usize {
        match self {
            Self::Log | Self::Heard => ENTRY_BYTES + PAYLOAD_LIMIT,
            Self::OpenChannel | Self::HeardChannel => CHANNEL_LIMIT,
            Self::Hello | Self::Welcome | Self::Control | Self::Loss | Self::Error | Self::FlushDone | Self::Listen => REQUEST_LIMIT,
            Self::ControlReply => REPLY_LIMIT,
            Self::Flush | Self::Dropped => 8,
            Self::Closing => 0,
            Self::Goodbye => 1024,
        }
    }
}

impl Header {
    /// Reads a header that `sender` sent.
    ///
    /// # Errors
    /// `Invalid` for anything that is no header, for what that side may not say, and for a length beyond the kind's limit.
    pub fn parse(bytes: &[u8; HEADER_BYTES], sender: Side) -> Result<Self> {
        let kind = FrameKind::from_byte(bytes[0]).filter(|kind| bytes[1..4] == [0; 3] && kind.sender() == sender);
        let kind = kind.ok_or_else(|| Error::invalid(format!("not a frame of tapeloop's protocol: it begins with {bytes:02x?}")))?;
        let body_bytes = u32_at(bytes, 4) as usize;
        if body_bytes > kind.body_limit() {
            let limit = kind.body_limit();
            return Err(Error::invalid(format!("a {kind:?} frame of {body_bytes} bytes; at most {limit}")));
        }
        Ok(Self { kind, body_bytes })
    }

    /// Returns the header's bytes.
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = self.kind as u8;
        bytes[4..].copy_from_slice(&(self.body_bytes as u32).to_le_bytes());
        bytes
    }
}

/// Returns a whole frame.
pub fn frame(kind: FrameKind, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
    frame.extend_from_slice(&Header { kind, body_bytes: body.len() }.encode());
    frame.extend_from_slice(body);
    frame
}

impl Hello {
    /// Returns the body of a hello.
    pub fn encode(&self) -> Vec<u8> {
        [&MAGIC[..], &json(self)].concat()
    }

    /// Reads the body of a hello; a newer version is for the caller to refuse.
    ///
    /// # Errors
    /// `Invalid` if it is none.
    pub fn parse(body: &[u8]) -> Result<Self> {
        let rest = body.strip_prefix(&MAGIC[..]).ok_or_else(|| Error::invalid("a hello that does not begin with TAPELOOP"))?;
        from_json("a hello", rest)
    }
}

impl Welcome {
    /// Returns the body of a welcome.
    pub fn encode(&self) -> Vec<u8> {
        json(self)
    }

    /// Reads the body of a welcome.
    ///
    /// # Errors
    /// `Invalid` if it is none, or if it is newer than this program.
    pub fn parse(body: &[u8]) -> Result<Self> {
        let welcome: Self = from_json("a welcome", body)?;
        if welcome.version > VERSION {
            let Self { version, software, .. } = welcome;
            return Err(Error::invalid(format!(
                "the agent (tapeloop {software}) speaks protocol {version}, this program up to {VERSION}: update tapeloop in this program"
            )));
        }
        Ok(welcome)
    }
}

impl OpenChannel {
    /// Returns the body that opens a channel.
    ///
    /// # Errors
    /// `Invalid` if it is larger than [`CHANNEL_LIMIT`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        let Self { id, spec } = self;
        let head = json(&ChannelHead {
            id: *id,
            topic: spec.topic.clone(),
            encoding: spec.encoding.clone(),
            schema: spec.schema.as_ref().map(|schema| SchemaHead { name: schema.name.clone(), encoding: schema.encoding.clone() }),
            metadata: spec.metadata.clone(),
            latched: spec.latched,
            publisher: spec.publisher.clone(),
        });
        let schema = spec.schema.as_ref().map_or(&[][..], |schema| &schema.data);
        let body = [&(head.len() as u32).to_le_bytes()[..], &head, schema].concat();
        if body.len() > CHANNEL_LIMIT {
            let (topic, bytes) = (&spec.topic, body.len());
            return Err(Error::invalid(format!("topic {topic}: a schema and metadata of {bytes} bytes; at most {CHANNEL_LIMIT}")));
        }
        Ok(body)
    }

    /// Reads the body that opens a channel.
    ///
    /// # Errors
    /// `Invalid` for anything else, for an id beyond [`CHANNELS_LIMIT`] and for a name that no topic can have.
    pub fn parse(body: &[u8]) -> Result<Self> {
        let too_short = || Error::invalid("a channel that ends too early");
        let (length, rest) = body.split_first_chunk().ok_or_else(too_short)?;
        let (head, data) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(too_short)?;
        let head: ChannelHead = from_json("a channel", head)?;
        if head.id >= CHANNELS_LIMIT {
            return Err(Error::invalid(format!("channel {}; a client has at most {CHANNELS_LIMIT}", head.id)));
        }
        topic::check_name(&head.topic)?;
        let schema =
            head.schema.map(|schema| Arc::new(Schema { name: schema.name, encoding: schema.encoding, data: Bytes::copy_from_slice(data) }));
        let spec = ChannelSpec {
            topic: head.topic,
            encoding: head.encoding,
            schema,
            metadata: head.metadata,
            latched: head.latched,
            publisher: head.publisher,
        };
        Ok(Self { id: head.id, spec })
    }
}

#[derive(Serialize, Deserialize)]
struct ChannelHead {
    id: u32,
    topic: String,
    #[serde(default)]
    encoding: String,
    schema: Option<SchemaHead>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(default)]
    latched: bool,
    #[serde(default)]
    publisher: String,
}

#[derive(Serialize, Deserialize)]
struct SchemaHead {
    name: String,
    encoding: String,
}

impl EntryHead {
    /// Returns its bytes.
    #[inline]
    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[0..4].copy_from_slice(&self.channel.to_le_bytes());
        bytes[4..8].copy_from_slice(&(self.payload_bytes as u32).to_le_bytes());
        bytes[8..16].copy_from_slice(&self.log_time_ns.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.publish_time_ns.to_le_bytes());
        bytes
    }

    /// Reads it.
    #[inline]
    pub fn parse(bytes: &[u8; ENTRY_BYTES]) -> Self {
        Self {
            channel: u32_at(bytes, 0),
            payload_bytes: u32_at(bytes, 4) as usize,
            log_time_ns: i64_at(bytes, 8),
            publish_time_ns: i64_at(bytes, 16),
        }
    }

    /// Reads the head of the only message of a frame whose body is too long to be shared.
    ///
    /// # Errors
    /// `Invalid` if its payload does not fill the rest of the body.
    pub fn parse_single(bytes: &[u8; ENTRY_BYTES], body_bytes: usize) -> Result<Self> {
        let head = Self::parse(bytes);
        if head.payload_bytes + ENTRY_BYTES != body_bytes {
            let bytes = head.payload_bytes;
            return Err(Error::invalid(format!("a message of {bytes} bytes in a frame of {body_bytes} bytes, which it must fill")));
        }
        Ok(head)
    }
}

impl<'a> Entries<'a> {
    /// Returns the messages of a body.
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.rest.split_first_chunk().and_then(|(head, rest)| {
            let head = EntryHead::parse(head);
            let (payload, rest) = rest.split_at_checked(head.payload_bytes)?;
            Some((Entry { head, payload }, rest))
        });
        let Some((entry, rest)) = entry else {
            let left = std::mem::take(&mut self.rest).len();
            return Some(Err(Error::invalid(format!("a message that does not fit into the last {left} bytes of its frame"))));
        };
        self.rest = rest;
        Some(Ok(entry))
    }
}

/// Returns the body of a [`FrameKind::Flush`].
pub fn encode_token(token: u64) -> [u8; 8] {
    token.to_le_bytes()
}

/// Returns the body of a frame that is a token and JSON.
pub fn encode_tokened(token: u64, value: &impl Serialize) -> Vec<u8> {
    [&token.to_le_bytes()[..], &json(value)].concat()
}

/// Reads a token and returns what follows.
///
/// # Errors
/// `Invalid` if the body is shorter.
pub fn parse_token(body: &[u8]) -> Result<(u64, &[u8])> {
    let (token, rest) = body.split_first_chunk().ok_or_else(|| Error::invalid("a frame without its token"))?;
    Ok((u64::from_le_bytes(*token), rest))
}

/// Reads a JSON body; `what` names it in the error.
///
/// # Errors
/// `Invalid` if it is something else.
pub fn from_json<T: DeserializeOwned>(what: &str, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| Error::invalid(format!("not {what}")).caused_by(error))
}

/// Returns a JSON body.
pub fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("what is sent has string keys only")
}

/// Returns the body that reports a loss.
pub fn encode_loss(loss: &Loss) -> Vec<u8> {
    json(loss)
}

const KINDS: [(Kind, &str); 7] = [
    (Kind::Invalid, "invalid"),
    (Kind::NotFound, "not_found"),
    (Kind::Conflict, "conflict"),
    (Kind::Denied, "denied"),
    (Kind::Unavailable, "unavailable"),
    (Kind::Corrupt, "corrupt"),
    (Kind::Internal, "internal"),
];

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        let (_, kind) = KINDS.into_iter().find(|(kind, _)| *kind == error.kind()).unwrap_or((Kind::Internal, "internal"));
        Self { kind: kind.to_owned(), message: error.to_string(), refused: 0, fatal: false }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        // A kind that a newer agent made up is a fault that this program can only report.
        let kind = KINDS.into_iter().find(|(_, name)| *name == refusal.kind).map_or(Kind::Internal, |(kind, _)| kind);
        Error::new(kind, refusal.message)
    }
}

impl From<Result<serde_json::Value>> for Outcome {
    fn from(result: Result<serde_json::Value>) -> Self {
        match result {
            Ok(value) => Self::Ok(value),
            Err(error) => Self::Error(Refusal::from(&error)),
        }
    }
}

impl From<Outcome> for Result<serde_json::Value> {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok(value) => Ok(value),
            Outcome::Error(refusal) => Err(refusal.into()),
        }
    }
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of four bytes"))
}

#[inline]
fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of eight bytes"))
}

#[cfg(test)]
mod tests;
