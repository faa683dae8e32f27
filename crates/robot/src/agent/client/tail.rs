//! Listening to the agent: what others log, while they do.
//!
//! **Invariant:** a listener that is slow is told how many messages it did not get, and slows nobody down.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use recording::{Error, Message, Result, Topic};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::greeting::meet;
use crate::agent::frames::{Frame, FrameReader};
use crate::agent::protocol::{Entries, EntryHead, FrameKind, Listen, OpenChannel, Refusal, frame, from_json, json};
use crate::agent::stream::send;
use crate::clock::{Clock, SystemClock};

/// How long the agent may take to take the wish.
const SEND_PATIENCE: Duration = Duration::from_secs(2);

/// A connection over which the agent tells what is logged: the latched values as they are, then every message as it comes.
pub struct Tail {
    stream: Arc<UnixStream>,
    reader: FrameReader<Arc<UnixStream>>,
    topics: HashMap<u32, Arc<Topic>>,
    dropped: u64,
}

/// What the agent tells.
#[derive(Debug)]
pub enum Told {
    /// A message.
    Message(Message),
    /// Nothing for now.
    Nothing,
    /// Nothing any more: the agent has ended.
    End,
}

impl Tail {
    /// Listens at the agent's socket to topics; none means all. `name` is what its status calls this program.
    ///
    /// # Errors
    /// Those of [`super::Client::connect`].
    pub fn connect(socket: &Path, name: &str, topics: &[String]) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (stream, reader, _) = meet(socket, name, std::process::id(), &clock, SEND_PATIENCE)?;
        let wish = frame(FrameKind::Listen, &json(&Listen { topics: topics.to_vec() }));
        let broken = |error| Error::unavailable("the agent does not answer").caused_by(error);
        send(&stream, &[&wish], &mut 0, &*clock, SEND_PATIENCE).map_err(broken)?;
        Ok(Self { stream, reader, topics: HashMap::new(), dropped: 0 })
    }

    /// Returns what comes next within `patience`, or earlier if a signal comes.
    ///
    /// # Errors
    /// What the agent refuses, or what the connection met.
    pub fn next(&mut self, patience: Duration) -> Result<Told> {
        if !self.reader.has_more() && !self.is_readable(patience) {
            return Ok(Told::Nothing);
        }
        let Some(frame) = self.reader.next()? else { return Ok(Told::End) };
        match frame {
            Frame::Message(head, data) => message(&self.topics, head, data),
            Frame::Small(FrameKind::Heard, body) => {
                let entry = Entries::new(body).next().ok_or_else(|| Error::invalid("a message that is none"))??;
                message(&self.topics, entry.head, Bytes::copy_from_slice(entry.payload))
            }
            Frame::Small(kind, body) => hear(kind, body, &mut self.topics, &mut self.dropped),
            Frame::Large(kind, body) => hear(kind, &body, &mut self.topics, &mut self.dropped),
        }
    }

    /// Returns how many messages the agent did not tell because this side was slow.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn is_readable(&self, patience: Duration) -> bool {
        let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: i64::from(patience.subsec_nanos()) };
        poll(&mut [PollFd::new(&*self.stream, PollFlags::IN)], Some(&timeout)).is_ok_and(|ready| ready > 0)
    }
}

/// Takes what is no message.
fn hear(kind: FrameKind, body: &[u8], topics: &mut HashMap<u32, Arc<Topic>>, dropped: &mut u64) -> Result<Told> {
    match kind {
        FrameKind::HeardChannel => {
            let OpenChannel { id, spec } = OpenChannel::parse(body)?;
            topics.insert(id, Arc::new(spec.to_topic()));
        }
        FrameKind::Dropped => {
            *dropped = u64::from_le_bytes(body.try_into().map_err(|_| Error::invalid("a number that is none"))?);
        }
        FrameKind::Error => return Err(from_json::<Refusal>("a refusal", body)?.into()),
        FrameKind::Closing => {}
        FrameKind::Goodbye => return Ok(Told::End),
        _ => return Err(Error::invalid(format!("the agent sent a {kind:?} frame where none belongs"))),
    }
    Ok(Told::Nothing)
}

fn message(topics: &HashMap<u32, Arc<Topic>>, head: EntryHead, data: Bytes) -> Result<Told> {
    let topic = topics.get(&head.channel).ok_or_else(|| Error::invalid("a message on a channel that the agent did not tell of"))?;
    Ok(Told::Message(Message {
        topic: topic.clone(),
        log_time_ns: head.log_time_ns,
        publish_time_ns: head.publish_time_ns,
        sequence: 0,
        identity: None,
        data,
    }))
}
