//! Schemas, topics and messages, as MCAP has them.
//!
//! **Invariant:** a payload is never changed between where it was logged and where it is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The definition of a message type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Schema {
    /// Type name, e.g. `sensor_msgs/msg/Imu`.
    pub name: String,
    /// How `data` is written: `ros2msg`, `ros1msg`, `protobuf`, `jsonschema`, `flatbuffer`, …; empty when unknown.
    pub encoding: String,
    /// The definition itself; empty when it is not known (yet).
    pub data: Bytes,
}

/// The metadata key of a topic that tells several publishers of one name apart.
pub const PUBLISHER_KEY: &str = "tapeloop.publisher";

/// A stream of messages: MCAP calls it a channel. Two schemas on one name are two topics with that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The name, e.g. `/camera/front`.
    pub name: String,
    /// How payloads are written: `json`, `cdr`, `protobuf`, `ros1`, …
    pub encoding: String,
    /// The definition of the payload, if there is one.
    pub schema: Option<Arc<Schema>>,
    /// Everything else about the topic, e.g. `offered_qos_profiles`.
    pub metadata: BTreeMap<String, String>,
}

/// Who a message is: the same in every buffer that holds it, so that a reader shows it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The opening of the tape it was appended in.
    pub boot: u64,
    /// Its place in the order in which that tape accepted messages.
    pub append_sequence: u64,
}

/// One message of a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The topic it belongs to.
    pub topic: Arc<Topic>,
    /// When it was recorded; ns UTC.
    pub log_time_ns: i64,
    /// When it was published; ns UTC.
    pub publish_time_ns: i64,
    /// MCAP's sequence field: on a tape the low 32 bits of the append sequence.
    pub sequence: u32,
    /// Its identity, where the file is a tape's segment.
    pub identity: Option<Identity>,
    /// The payload.
    pub data: Bytes,
}

impl Topic {
    /// Returns the type name, or an empty string where there is no schema.
    pub fn type_name(&self) -> &str {
        self.schema.as_ref().map_or("", |schema| schema.name.as_str())
    }

    /// Returns who publishes it, or an empty string where that is not told.
    pub fn publisher(&self) -> &str {
        self.metadata.get(PUBLISHER_KEY).map_or("", String::as_str)
    }
}
