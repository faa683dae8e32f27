//! What a recording is: time, topic, message, manifest, key, and the MCAP files that hold the messages.
//!
//! In come bytes and plain values, out go bytes and plain values: this crate has no clock, no network and no async.
//! The only I/O is reading and writing local files behind [`source::ReadAt`].
//!
//! **Invariant:** nothing here knows what a robot, a lake or a server is.

pub mod align;
pub mod container;
pub mod convert;
pub mod decode;
pub mod error;
pub mod frame;
pub mod import;
pub mod json;
pub mod key;
pub mod latency;
pub mod loss;
pub mod manifest;
pub mod mcap;
pub mod message;
pub mod nearest;
pub mod qos;
pub mod read;
pub mod schema;
pub mod size;
pub mod source;
pub mod time;
pub mod topic;

pub use error::{Error, Kind, Result};
pub use loss::Loss;
pub use manifest::Manifest;
pub use message::{Message, Schema, Topic};
pub use time::{Span, Timestamp};
pub use topic::TopicFilter;
