//! Decoders of a recording's topics; of JSON that nothing describes, the fields are learned from its first messages.
//!
//! **Invariant:** only so many messages and bytes are learned from; what is no JSON among them teaches nothing.

use super::Recording;
use crate::decode::Decoder;
use crate::error::{Kind, Result};
use crate::message::Topic;
use crate::schema::library::Library;
use crate::time::Span;
use crate::topic::TopicFilter;

/// From how many messages fields are learned.
const MESSAGES_LIMIT: usize = 1000;

/// From how many bytes of messages fields are learned, unless the first is larger.
const BYTES_LIMIT: usize = 1 << 20;

/// Returns a decoder of a topic's messages.
pub(super) fn decoder(recording: &Recording, topic: &Topic, library: &Library) -> Result<Decoder> {
    let decoder = Decoder::new(topic, library)?;
    if !decoder.is_undescribed() {
        return Ok(decoder);
    }
    let mut bytes = 0;
    // Copies: a message may hold on to the whole chunk that it was in.
    let mut sample: Vec<Vec<u8>> = Vec::new();
    for message in recording.messages(&TopicFilter::at_least(&topic.name), Span::ALL)? {
        let message = message?;
        let own = &message.topic;
        if (&own.name, &own.encoding, &own.schema) != (&topic.name, &topic.encoding, &topic.schema) {
            continue;
        }
        bytes += message.data.len();
        sample.push(message.data.to_vec());
        if sample.len() >= MESSAGES_LIMIT || bytes >= BYTES_LIMIT {
            break;
        }
    }
    let learn = |sample: &[Vec<u8>]| Decoder::learn(&sample.iter().map(Vec::as_slice).collect::<Vec<_>>());
    match learn(&sample) {
        Err(error) if error.kind() == Kind::Corrupt => {
            sample.retain(|message| Decoder::learn(&[message]).is_ok());
            learn(&sample)
        }
        learned => learned,
    }
}
