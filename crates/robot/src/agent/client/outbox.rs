//! What a client has still to send: the batch that is being filled, and the frames that the socket has not taken yet.
//!
//! In come messages, out go whole frames. No I/O here.
//!
//! **Invariant:** an accepted message is in the batch, in the frames to send, with the agent, or in the losses.

use std::collections::HashMap;

use bytes::Bytes;
use recording::{Error, Loss, Result};

use super::losses::{Known, LATCHED_LIMIT, Latched};
use crate::agent::protocol::{
    BATCH_LIMIT, CHANNELS_LIMIT, ENTRY_BYTES, Entries, EntryHead, FrameKind, HEADER_BYTES, Header, OpenChannel, encode_loss, frame,
    from_json,
};
use crate::{ChannelSpec, Payload};

/// How many losses wait that belong to no channel.
const LOSSES_LIMIT: usize = 64;

/// What a client has still to send.
pub(super) struct Outbox {
    /// Room for a header, then entries.
    batch: Vec<u8>,
    batch_messages: u64,
    /// When the first message of the batch came; monotonic, then UTC.
    batch_began: (i64, i64),
    /// A frame that is being sent.
    sending: Vec<u8>,
    sending_messages: u64,
    /// How much of it the socket has taken.
    pub(super) sent: usize,
    channels: Vec<Known>,
    /// How many of them are open on this connection.
    opened: usize,
    by_topic: HashMap<String, Vec<u32>>,
    latched_bytes: isize,
    /// Losses that belong to no one channel.
    other_losses: Vec<Loss>,
    /// The channels that lost something that was not told yet.
    lossy: Vec<u32>,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            batch: vec![0; HEADER_BYTES],
            batch_messages: 0,
            batch_began: (0, 0),
            sending: Vec::new(),
            sending_messages: 0,
            sent: 0,
            channels: Vec::new(),
            opened: 0,
            by_topic: HashMap::new(),
            latched_bytes: 0,
            other_losses: Vec::new(),
            lossy: Vec::new(),
        }
    }

    /// Returns the id of a channel; a new one waits to be opened.
    pub(super) fn channel(&mut self, spec: ChannelSpec) -> Result<u32> {
        let same_topic = self.by_topic.get(&spec.topic).map_or(&[][..], Vec::as_slice);
        if let Some(id) = same_topic.iter().find(|id| self.channels[**id as usize].spec == spec) {
            return Ok(*id);
        }
        let id = self.channels.len() as u32;
        if id >= CHANNELS_LIMIT {
            return Err(Error::unavailable(format!("no channel for '{}': a client has at most {CHANNELS_LIMIT}", spec.topic)));
        }
        let open = OpenChannel { id, spec };
        open.encode()?;
        self.by_topic.entry(open.spec.topic.clone()).or_default().push(id);
        self.channels.push(Known::new(open.spec));
        Ok(id)
    }

    /// Has every channel opened again, on a new connection.
    pub(super) fn reopen_channels(&mut self) {
        self.opened = 0;
    }

    /// Makes the definition of a channel that is not open yet the frame that is sent next; returns whether there is one.
    pub(super) fn seal_next_channel(&mut self) -> Result<bool> {
        let Some(known) = self.channels.get(self.opened) else { return Ok(false) };
        let body = OpenChannel { id: self.opened as u32, spec: known.spec.clone() }.encode()?;
        self.opened += 1;
        self.seal(FrameKind::OpenChannel, &body);
        Ok(true)
    }

    /// Returns whether the batch is empty.
    pub(super) fn is_idle(&self) -> bool {
        self.batch.len() == HEADER_BYTES
    }

    /// Returns when the first message of the batch came: by the monotonic clock, and by the wall clock.
    pub(super) fn batch_began(&self) -> (i64, i64) {
        self.batch_began
    }

    pub(super) fn set_batch_began(&mut self, monotonic_ns: i64, utc_ns: i64) {
        self.batch_began = (monotonic_ns, utc_ns);
    }

    /// Returns whether a payload of `length` bytes fits into the batch.
    #[inline]
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.batch.len() + ENTRY_BYTES + length <= HEADER_BYTES + BATCH_LIMIT
    }

    /// Adds a message to the batch, which has room for it.
    #[inline]
    pub(super) fn push(&mut self, head: &EntryHead, payload: &[u8]) {
        self.batch.extend_from_slice(&head.encode());
        self.batch.extend_from_slice(payload);
        self.batch_messages += 1;
    }

    /// Makes the batch the frame that is sent next; only when the one before is gone.
    pub(super) fn seal_batch(&mut self) {
        if self.is_idle() {
            return;
        }
        let header = Header { kind: FrameKind::Log, body_bytes: self.batch.len() - HEADER_BYTES };
        self.batch[..HEADER_BYTES].copy_from_slice(&header.encode());
        std::mem::swap(&mut self.batch, &mut self.sending);
        self.sending_messages = std::mem::take(&mut self.batch_messages);
        self.sent = 0;
        self.batch.clear();
        self.batch.resize(HEADER_BYTES, 0);
    }

    /// Makes another frame the one that is sent next; only when the one before is gone.
    pub(super) fn seal(&mut self, kind: FrameKind, body: &[u8]) {
        self.sending = frame(kind, body);
        self.sent = 0;
    }

    /// Returns the frame that is being sent; empty when there is none.
    pub(super) fn sending(&self) -> &[u8] {
        &self.sending
    }

    /// Notes that the frame is gone, and returns how many messages it had.
    pub(super) fn sent_all(&mut self) -> u64 {
        if self.sending.capacity() > 2 * (HEADER_BYTES + BATCH_LIMIT) {
            // A long definition passed; its memory is not kept.
            self.sending = Vec::new();
        }
        self.sending.clear();
        self.sent = 0;
        std::mem::take(&mut self.sending_messages)
    }

    /// Keeps a latched value for an agent that starts again.
    pub(super) fn remember(&mut self, head: &EntryHead, payload: &Payload<'_>) {
        let Some(known) = self.channels.get_mut(head.channel as usize).filter(|known| known.is_latched) else { return };
        let payload = match payload {
            Payload::Slice(slice) => Bytes::copy_from_slice(slice),
            Payload::Shared(bytes) => bytes.clone(),
        };
        if self.latched_bytes + payload.len() as isize <= LATCHED_LIMIT as isize {
            self.latched_bytes += known.remember(Latched { publish_time_ns: head.publish_time_ns, payload });
        }
    }

    /// Counts a message that could not be delivered.
    pub(super) fn lose(&mut self, head: &EntryHead, reason: &'static str) {
        let known = self.channels.get_mut(head.channel as usize);
        if known.is_some_and(|known| known.lose(head.log_time_ns, head.payload_bytes, reason)) {
            self.lossy.push(head.channel);
        }
    }

    /// Counts a loss that belongs to no one channel.
    pub(super) fn lose_other(&mut self, loss: Loss) {
        if self.other_losses.len() < LOSSES_LIMIT {
            self.other_losses.push(loss);
        }
    }

    /// Counts everything that was not sent as lost; returns how many messages that were.
    pub(super) fn lose_all(&mut self, reason: &'static str) -> u64 {
        let sending = std::mem::take(&mut self.sending);
        let batch = std::mem::replace(&mut self.batch, vec![0; HEADER_BYTES]);
        let header = sending.first_chunk().and_then(|header| Header::parse(header, FrameKind::Log.sender()).ok());
        let entries = match header.map(|header| header.kind) {
            Some(FrameKind::Log) => &sending[HEADER_BYTES..],
            Some(FrameKind::Loss) => {
                // It may have been told, or not: twice is better than never.
                from_json("a loss", &sending[HEADER_BYTES..]).into_iter().for_each(|loss| self.lose_other(loss));
                &[]
            }
            _ => &[],
        };
        let mut lost = 0;
        for entry in Entries::new(entries).chain(Entries::new(&batch[HEADER_BYTES..])).flatten() {
            self.lose(&entry.head, reason);
            lost += 1;
        }
        (self.sent, self.sending_messages, self.batch_messages) = (0, 0, 0);
        lost
    }

    /// Makes a loss that was not told yet the frame that is sent next; returns whether there is one.
    pub(super) fn seal_next_loss(&mut self) -> bool {
        let loss = self.other_losses.pop().or_else(|| self.channels.get_mut(self.lossy.pop()? as usize)?.take_loss());
        let Some(loss) = loss else { return false };
        self.seal(FrameKind::Loss, &encode_loss(&loss));
        true
    }

    /// Returns the latched values that an agent that starts again will want.
    pub(super) fn latched(&self) -> Vec<(u32, Latched)> {
        let mut values = Vec::new();
        for (id, known) in self.channels.iter().enumerate() {
            values.extend(known.latched.iter().map(|value| (id as u32, value.clone())));
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(channel: u32, payload_bytes: usize) -> EntryHead {
        EntryHead { channel, payload_bytes, log_time_ns: 7, publish_time_ns: 7 }
    }

    fn spec(topic: &str) -> ChannelSpec {
        ChannelSpec { topic: topic.into(), encoding: "json".into(), ..ChannelSpec::default() }
    }

    #[test]
    fn equal_specs_are_one_channel() {
        let mut outbox = Outbox::new();
        let first = outbox.channel(spec("/imu")).unwrap();
        assert_eq!(outbox.channel(spec("/imu")).unwrap(), first);
        let other = ChannelSpec { encoding: "cdr".into(), ..spec("/imu") };
        assert_ne!(outbox.channel(other).unwrap(), first);
        let opened = |outbox: &mut Outbox| std::iter::from_fn(|| outbox.seal_next_channel().unwrap().then_some(())).count();
        assert_eq!((opened(&mut outbox), opened(&mut outbox)), (2, 0));
        outbox.reopen_channels();
        assert_eq!(opened(&mut outbox), 2);
    }

    #[test]
    fn a_full_batch_is_one_good_frame() {
        let mut outbox = Outbox::new();
        outbox.channel(spec("/imu")).unwrap();
        let mut messages = 0;
        while outbox.has_room(1000) {
            outbox.push(&head(0, 1000), &[1; 1000]);
            messages += 1;
        }
        outbox.seal_batch();
        assert!(outbox.is_idle());
        let frame = outbox.sending().to_vec();
        let header = Header::parse(frame.first_chunk().unwrap(), FrameKind::Log.sender()).unwrap();
        assert_eq!(header.body_bytes, frame.len() - HEADER_BYTES);
        assert!(header.body_bytes <= BATCH_LIMIT);
        assert_eq!(Entries::new(&frame[HEADER_BYTES..]).filter(Result::is_ok).count(), messages);
        assert_eq!(outbox.sent_all(), messages as u64);
    }

    #[test]
    fn what_was_not_sent_is_lost_and_told_once() {
        let mut outbox = Outbox::new();
        outbox.channel(spec("/a")).unwrap();
        outbox.channel(spec("/b")).unwrap();
        outbox.push(&head(0, 3), b"one");
        outbox.seal_batch();
        outbox.push(&head(1, 3), b"two");
        outbox.push(&head(1, 3), b"two");
        assert_eq!(outbox.lose_all("gone"), 3);
        let told = |outbox: &mut Outbox| {
            let mut losses = Vec::new();
            while outbox.seal_next_loss() {
                let loss: Loss = from_json("a loss", &outbox.sending()[HEADER_BYTES..]).unwrap();
                losses.push((loss.topic.unwrap(), loss.messages.unwrap(), loss.bytes.unwrap()));
            }
            outbox.sent_all();
            losses
        };
        // A loss whose frame was under way when the agent went away is told again.
        assert!(outbox.seal_next_loss());
        outbox.lose_all("gone");
        assert_eq!(told(&mut outbox), [("/b".to_owned(), 2, 6), ("/a".to_owned(), 1, 3)]);
        assert!(told(&mut outbox).is_empty() && outbox.is_idle());
    }
}
