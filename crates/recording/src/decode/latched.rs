//! What a message of a latched topic is the value of: of transforms, each child frame; of everything else, the whole topic.
//!
//! A late listener needs the last value of each part. The recorder and the reader both ask here, so that what one keeps is what the
//! other looks for.
//!
//! **Invariant:** what cannot be decoded replaces nothing but its equals.

use serde::Deserialize;

use super::{Decoder, FieldReader};
use crate::message::Topic;
use crate::schema::library::Library;

/// Of what part of a topic a message is the value: it replaces the one that was there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LatchedPart {
    /// Of all of it.
    Whole,
    /// Of one transform.
    ChildFrame(String),
    /// Transforms that cannot be decoded: each different message counts. This is the hash of one.
    Payload([u8; 32]),
}

/// Tells the parts of one topic's messages: `tf2_msgs/TFMessage`, `tf/tfMessage`, `foxglove.FrameTransforms` and what looks like them,
/// in any encoding, where the topic is called `/tf_static`.
#[derive(Clone, Debug)]
pub struct LatchedParts(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Whole,
    Transforms(FieldReader),
    /// JSON that nothing describes tells its fields itself.
    Json,
    Unknown,
}

impl LatchedParts {
    /// Looks at a topic once. Definitions that it does not bring are looked for in `library`.
    pub fn new(topic: &Topic, library: &Library) -> Self {
        if !topic.name.ends_with("/tf_static") {
            return Self(Kind::Whole);
        }
        let Ok(decoder) = Decoder::new(topic, library) else { return Self(Kind::Unknown) };
        if decoder.is_undescribed() {
            return Self(Kind::Json);
        }
        Self(decoder.field("transforms").map_or(Kind::Whole, Kind::Transforms))
    }

    /// Returns what a message is the value of: one part at least.
    pub fn of(&self, payload: &[u8]) -> Vec<LatchedPart> {
        #[derive(Deserialize)]
        struct Transforms {
            transforms: Vec<Transform>,
        }
        #[derive(Deserialize)]
        struct Transform {
            child_frame_id: String,
        }
        let whole_payload = || vec![LatchedPart::Payload(blake3::hash(payload).into())];
        let transforms = match &self.0 {
            Kind::Whole => return vec![LatchedPart::Whole],
            Kind::Unknown => return whole_payload(),
            Kind::Json => match serde_json::from_slice::<Transforms>(payload) {
                Ok(message) => message.transforms,
                Err(_) => return vec![LatchedPart::Whole],
            },
            Kind::Transforms(reader) => {
                let mut json = Vec::new();
                let read = reader.json(payload, &mut json).ok().and_then(|()| serde_json::from_slice::<Vec<Transform>>(&json).ok());
                match read {
                    Some(transforms) => transforms,
                    None => return whole_payload(),
                }
            }
        };
        if transforms.is_empty() {
            return vec![LatchedPart::Whole];
        }
        transforms.into_iter().map(|transform| LatchedPart::ChildFrame(transform.child_frame_id)).collect()
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
    fn transforms_of_every_encoding_are_told_by_their_child_frames() {
        let library = Library::standard();
        let check = |topic: Topic, payload: &[u8]| {
            let parts = LatchedParts::new(&topic, &library);
            let frames = ["base", "camera_link"].map(|frame| LatchedPart::ChildFrame(frame.to_owned()));
            assert_eq!(parts.of(payload), frames, "{}", topic.encoding);
        };
        check(topic("cdr", "tf2_msgs/msg/TFMessage", "ros2msg"), &transforms(true));
        check(topic("ros1", "tf2_msgs/TFMessage", "ros1msg"), &transforms(false));
        check(topic("json", "", ""), br#"{"transforms":[{"child_frame_id":"base"},{"child_frame_id":"camera_link","x":1}]}"#);
    }

    #[test]
    fn what_cannot_be_decoded_replaces_only_its_equals() {
        let library = Library::standard();
        let part = |topic: Topic, payload: &[u8]| LatchedParts::new(&topic, &library).of(payload);
        let unknown = || topic("cdr", "no/msg/Where", "");
        assert_ne!(part(unknown(), b"a"), part(unknown(), b"b"));
        assert_eq!(part(unknown(), b"a"), part(unknown(), b"a"));
        let damaged = topic("cdr", "tf2_msgs/msg/TFMessage", "ros2msg");
        assert!(matches!(part(damaged, b"\0\x01")[..], [LatchedPart::Payload(_)]));
    }

    #[test]
    fn other_messages_replace_the_one_before() {
        let library = Library::standard();
        let part = |topic: Topic, payload: &[u8]| LatchedParts::new(&topic, &library).of(payload);
        assert_eq!(part(topic("cdr", "std_msgs/msg/String", "ros2msg"), b"a"), [LatchedPart::Whole]);
        assert_eq!(part(topic("json", "", ""), br#"{"index":1}"#), [LatchedPart::Whole]);
        assert_eq!(part(topic("json", "", ""), br#"{"transforms":[]}"#), [LatchedPart::Whole]);
        let map = Topic { name: "/map".into(), ..topic("cdr", "no/msg/Where", "") };
        assert_eq!(part(map, b"a"), [LatchedPart::Whole]);
    }
}
