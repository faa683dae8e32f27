//! Which frames a transform message moves: the last value of each child frame is what a late listener needs.
//!
//! **Invariant:** a message that is no transform message, or cannot be decoded, names no frames.

use serde::Deserialize;

use super::{Decoder, FieldReader};
use crate::message::Topic;
use crate::schema::library::Library;

/// Reads the child frames of `tf2_msgs/TFMessage`, `tf/tfMessage`, `foxglove.FrameTransforms` and what looks like them, in any encoding.
#[derive(Clone, Debug)]
pub struct TransformReader {
    /// How it is read; `None` for JSON that nothing describes, which tells its fields itself.
    transforms: Option<FieldReader>,
}

impl TransformReader {
    /// Returns a reader of a topic's messages, or `None` where they hold no transforms that are known.
    pub fn new(topic: &Topic, library: &Library) -> Option<Self> {
        let decoder = Decoder::new(topic, library).ok()?;
        match decoder.is_undescribed() {
            true => Some(Self { transforms: None }),
            false => Some(Self { transforms: Some(decoder.field("transforms").ok()?) }),
        }
    }

    /// Returns the child frames of a message, in its order; `None` where it has none.
    pub fn child_frames(&self, payload: &[u8]) -> Option<Vec<String>> {
        #[derive(Deserialize)]
        struct Transforms {
            transforms: Vec<Transform>,
        }
        #[derive(Deserialize)]
        struct Transform {
            child_frame_id: String,
        }
        let transforms = match &self.transforms {
            Some(reader) => {
                let mut json = Vec::new();
                reader.json(payload, &mut json).ok()?;
                serde_json::from_slice::<Vec<Transform>>(&json).ok()?
            }
            None => serde_json::from_slice::<Transforms>(payload).ok()?.transforms,
        };
        let frames: Vec<String> = transforms.into_iter().map(|transform| transform.child_frame_id).collect();
        (!frames.is_empty()).then_some(frames)
    }
}
