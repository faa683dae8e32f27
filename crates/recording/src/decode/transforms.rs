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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::message::Schema;

    /// As ROS 1 writes it, with the seven numbers of a transform in one field.
    const ROS1_TEXT: &str = "T[] transforms\n================\nMSG: tf2_msgs/T\nstd_msgs/Header header\nstring child_frame_id\n\
        float64[7] transform\n================\nMSG: std_msgs/Header\nuint32 seq\ntime stamp\nstring frame_id\n";

    fn topic(encoding: &str, type_name: &str, schema_encoding: &str) -> Topic {
        let text = if encoding == "ros1" { ROS1_TEXT } else { "" };
        let schema = Schema { name: type_name.into(), encoding: schema_encoding.into(), data: Bytes::from_static(text.as_bytes()) };
        let schema = (!type_name.is_empty()).then(|| Arc::new(schema));
        Topic { name: "/tf_static".into(), encoding: encoding.into(), schema, metadata: BTreeMap::new() }
    }

    /// Returns two transforms, with text ended and numbers aligned as in CDR, or neither.
    fn transforms(is_cdr: bool) -> Vec<u8> {
        let mut body = 2u32.to_le_bytes().to_vec();
        let pad = |body: &mut Vec<u8>, to: usize| {
            while is_cdr && !body.len().is_multiple_of(to) {
                body.push(0);
            }
        };
        for frame in ["base", "camera_link"] {
            pad(&mut body, 4);
            // ROS 1 has a sequence number in front.
            body.extend(std::iter::repeat_n(0, if is_cdr { 8 } else { 12 }));
            for text in ["map", frame] {
                pad(&mut body, 4);
                body.extend((text.len() as u32 + u32::from(is_cdr)).to_le_bytes());
                body.extend(text.as_bytes());
                body.extend(is_cdr.then_some(0));
            }
            pad(&mut body, 8);
            body.extend([0; 56]);
        }
        if is_cdr { [&[0, 1, 0, 0][..], &body].concat() } else { body }
    }

    #[test]
    fn child_frames_are_read_from_every_encoding() {
        let library = Library::standard();
        let check = |topic: Topic, payload: &[u8]| {
            let reader = TransformReader::new(&topic, &library).unwrap();
            assert_eq!(reader.child_frames(payload).unwrap(), ["base", "camera_link"], "{}", topic.encoding);
            assert_eq!(reader.child_frames(b"\0\x01"), None);
        };
        check(topic("cdr", "tf2_msgs/msg/TFMessage", "ros2msg"), &transforms(true));
        check(topic("ros1", "tf2_msgs/TFMessage", "ros1msg"), &transforms(false));
        check(topic("json", "", ""), br#"{"transforms":[{"child_frame_id":"base"},{"child_frame_id":"camera_link","x":1}]}"#);
        assert!(TransformReader::new(&topic("cdr", "no/msg/Where", "ros2msg"), &library).is_none());
        assert!(TransformReader::new(&topic("cdr", "std_msgs/msg/String", "ros2msg"), &library).is_none());
    }
}
