//! The ROS 2 types that images and arrays are logged as: their names and their definitions with all dependencies.
//!
//! **Invariant:** a definition is what `rosbag2` stores with a topic of the type, so that any MCAP reader can decode it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use recording::Schema;

/// How the payloads are encoded.
pub(crate) const ENCODING: &str = "cdr";
/// How the definitions are written.
pub(crate) const SCHEMA_ENCODING: &str = "ros2msg";

const SEPARATOR: &str = "================================================================================\n";

const IMAGE: &str = "std_msgs/Header header
uint32 height
uint32 width
string encoding
uint8 is_bigendian
uint32 step
uint8[] data
";

const COMPRESSED_IMAGE: &str = "std_msgs/Header header
string format
uint8[] data
";

const HEADER: &str = "MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
";

const TIME: &str = "MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
";

const LAYOUT: &str = "MSG: std_msgs/MultiArrayLayout
MultiArrayDimension[] dim
uint32 data_offset
";

const DIMENSION: &str = "MSG: std_msgs/MultiArrayDimension
string label
uint32 size
uint32 stride
";

/// Returns the schema of `sensor_msgs/msg/Image`.
pub(crate) fn image() -> Arc<Schema> {
    static SCHEMA: OnceLock<Arc<Schema>> = OnceLock::new();
    SCHEMA.get_or_init(|| schema("sensor_msgs/msg/Image", &[IMAGE, HEADER, TIME])).clone()
}

/// Returns the schema of `sensor_msgs/msg/CompressedImage`.
pub(crate) fn compressed_image() -> Arc<Schema> {
    static SCHEMA: OnceLock<Arc<Schema>> = OnceLock::new();
    SCHEMA.get_or_init(|| schema("sensor_msgs/msg/CompressedImage", &[COMPRESSED_IMAGE, HEADER, TIME])).clone()
}

/// Returns the schema of `std_msgs/msg/<kind>MultiArray`, whose elements are of the ROS type `element`.
pub(crate) fn multi_array(kind: &str, element: &str) -> Arc<Schema> {
    let own = format!("MultiArrayLayout layout\n{element}[] data\n");
    schema(&format!("std_msgs/msg/{kind}MultiArray"), &[&own, LAYOUT, DIMENSION])
}

fn schema(name: &str, parts: &[&str]) -> Arc<Schema> {
    let definition = parts.join(SEPARATOR);
    Arc::new(Schema { name: name.to_owned(), encoding: SCHEMA_ENCODING.to_owned(), data: Bytes::from(definition) })
}
