//! What a buffer may do to a message before it holds it: another quality of the same message.
//!
//! **Invariant:** a transform sees one message at a time and keeps its identity and times.

use std::sync::Arc;

use bytes::Bytes;
use recording::message::Schema;

use super::channel::ChannelSpec;
use crate::config::Encode;

/// Makes another quality of a channel's messages.
pub trait Transform: Send + Sync {
    /// Returns the encoding and schema of what comes out.
    fn output(&self) -> (String, Option<Arc<Schema>>);

    /// Returns the transformed payload, or why there is none; the message is then kept as it is.
    fn apply(&self, payload: &Bytes) -> Result<Bytes, String>;
}

/// Returns the transform of `encode` for a channel, or `None` where its messages stay as they are.
pub type TransformFor = fn(&Encode, &ChannelSpec) -> Option<Arc<dyn Transform>>;
