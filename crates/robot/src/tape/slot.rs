//! A slot: the chunk that is being filled, on the hot path.
//!
//! In come messages, out goes a full chunk to the buffer's queue.
//!
//! **Invariant:** a message that [`Slot::push`] accepted is in the slot or in the queue, never in between.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use recording::mcap::chunk::{ChunkBuilder, LARGE_PAYLOAD};
use recording::mcap::write::MESSAGE_PREFIX_LENGTH;

use super::channel::{Payload, Stamp};
use super::lane::Lane;

/// A chunk closes when it has this many bytes.
pub(crate) const CHUNK_SIZE: usize = 768 << 10;

/// A chunk under construction, of one lane.
pub(crate) struct Slot {
    pub(crate) lane: Arc<Lane>,
    /// How many bytes its chunks are expected to have.
    expected: usize,
    chunk: Mutex<Filling>,
}

#[derive(Default)]
struct Filling {
    chunk: ChunkBuilder,
    first_sequence: u64,
    last_sequence: u64,
    /// How many the last chunk had.
    expected_messages: usize,
}

/// A chunk that is full, with the append sequences it spans.
pub(crate) struct FullChunk {
    pub(crate) lane: Arc<Lane>,
    pub(crate) chunk: ChunkBuilder,
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
}

impl Slot {
    pub(crate) fn new(lane: Arc<Lane>, expected: usize) -> Self {
        Self { lane, expected, chunk: Mutex::new(Filling::default()) }
    }

    /// Adds a message; `submit` takes a chunk that is full now, and `buffer` gives an empty one to build in, of an expected size.
    #[inline]
    pub(crate) fn push(
        &self,
        channel_id: u16,
        stamp: Stamp,
        payload: &Payload<'_>,
        buffer: impl FnOnce(usize) -> Vec<u8>,
        submit: impl FnOnce(FullChunk),
    ) {
        let (log_time, publish_time, sequence) = (stamp.log_time_ns as u64, stamp.publish_time_ns as u64, stamp.sequence as u32);
        if payload.as_slice().len() >= LARGE_PAYLOAD {
            let shared: Bytes = payload.to_shared();
            let chunk = ChunkBuilder::large(channel_id, sequence, log_time, publish_time, shared);
            submit(FullChunk { lane: self.lane.clone(), chunk, first_sequence: stamp.sequence, last_sequence: stamp.sequence });
            return;
        }
        let mut filling = self.chunk.lock();
        if filling.chunk.is_empty() {
            filling.chunk = ChunkBuilder::with_buffer(buffer(self.expected), filling.expected_messages);
            filling.first_sequence = stamp.sequence;
        }
        filling.chunk.push(channel_id, sequence, log_time, publish_time, payload.as_slice());
        filling.last_sequence = stamp.sequence;
        if filling.chunk.size() + MESSAGE_PREFIX_LENGTH >= CHUNK_SIZE {
            submit(self.take(&mut filling));
        }
    }

    /// Hands over what there is, full or not, while the slot is locked.
    pub(crate) fn seal(&self, submit: impl FnOnce(FullChunk)) {
        let mut filling = self.chunk.lock();
        if !filling.chunk.is_empty() {
            submit(self.take(&mut filling));
        }
    }

    fn take(&self, filling: &mut Filling) -> FullChunk {
        filling.expected_messages = filling.chunk.messages();
        FullChunk {
            lane: self.lane.clone(),
            chunk: std::mem::take(&mut filling.chunk),
            first_sequence: filling.first_sequence,
            last_sequence: filling.last_sequence,
        }
    }
}
