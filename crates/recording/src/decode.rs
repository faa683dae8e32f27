//! From bytes to values: one field, Arrow columns, or JSON, whatever encoding a topic has.
//!
//! In come a topic's definition and payloads, out come [`Scalar`]s, record batches and lines. A [`Decoder`] is made once per topic; what
//! can be worked out ahead is worked out then.
//!
//! **Invariant:** no payload makes a decoder panic, loop, or take more memory than a small multiple of its bytes.

mod allowance;
mod columns;
mod cursor;
mod field;
mod flatbuffer;
pub(crate) mod json;
mod json_writer;
mod latched;
mod layout;
mod path;
mod pick;
mod plan;
mod protobuf;
mod row_plan;
pub mod sink;
mod stamp;
#[cfg(test)]
mod test_tree;
#[cfg(test)]
mod tests;
mod walk;

use std::fmt;
use std::sync::Arc;

pub use self::columns::{BATCH_LIMIT, BATCH_SIZE, Columns};
pub use self::field::{FieldReader, Scalar};
use self::json_writer::{JsonWriter, Names};
pub use self::latched::{LatchedPart, LatchedParts};
use self::layout::{Format, Layout};
use self::sink::Sink;
pub use self::stamp::StampReader;
use crate::error::{Error, Result};
use crate::message::Topic;
use crate::schema::library::Library;
use crate::schema::{self, Tree};

/// The key of a topic's metadata that says when the machine started from which its stamps count; ns UTC.
pub const BOOT_KEY: &str = "boot_ns";

/// Decodes the messages of one topic. Cheap to clone.
#[derive(Clone)]
pub struct Decoder {
    inner: Arc<Inner>,
}

struct Inner {
    tree: Arc<Tree>,
    names: Arc<Names>,
    encoding: String,
    codec: Codec,
    /// When the machine started that counts its times from there; ns UTC.
    boot_ns: i64,
}

/// How an encoding is read.
enum Codec {
    /// One field behind the other, without tags.
    Sequential(Arc<Layout>),
    Protobuf(protobuf::Protobuf),
    Json(json::Json),
    Flatbuffer(flatbuffer::Flatbuffer),
}

impl Codec {
    /// Tells a sink all of a message.
    fn walk<'a, S: Sink<'a>>(&self, payload: &'a [u8], sink: &mut S) -> Result<()> {
        match self {
            Self::Sequential(layout) => layout.walk(payload, sink),
            Self::Protobuf(messages) => messages.walk(payload, sink),
            Self::Json(messages) => messages.walk(payload, sink),
            Self::Flatbuffer(messages) => messages.walk(payload, sink),
        }
    }
}

/// Checks that a text is the path of a field, whether or not there is such a field.
///
/// # Errors
/// `Invalid` with what is wrong.
pub fn check_path(path: &str) -> Result<()> {
    path::check(path)
}

impl Decoder {
    /// Returns a decoder of a topic's messages. Definitions that the topic does not bring are looked for in `library`.
    ///
    /// # Errors
    /// `Invalid` for a topic whose messages cannot be decoded: it says what is missing and what to do about it.
    pub fn new(topic: &Topic, library: &Library) -> Result<Self> {
        let encoding = topic.encoding.as_str();
        let schema = || {
            let missing =
                || Error::invalid(format!("topic '{}' has no schema: {encoding} messages cannot be read without theirs", topic.name));
            topic.schema.as_deref().ok_or_else(missing)
        };
        let (tree, codec) = match encoding {
            "protobuf" => {
                let messages = protobuf::Protobuf::new(schema()?)?;
                (Arc::clone(messages.tree()), Codec::Protobuf(messages))
            }
            "flatbuffer" => {
                let messages = flatbuffer::Flatbuffer::new(schema()?)?;
                (Arc::clone(messages.tree()), Codec::Flatbuffer(messages))
            }
            "json" => {
                let messages = json::Json::described(topic.schema.as_deref())?;
                (Arc::clone(messages.tree()), Codec::Json(messages))
            }
            _ => {
                let decoder = Self::of_tree(encoding, schema::parse_topic(topic, library)?)?;
                return Ok(decoder.with_boot(boot_ns(topic)));
            }
        };
        Ok(Self::with_codec(encoding, tree, codec))
    }

    /// Returns whether nothing tells the fields of messages ahead: they are JSON, and no schema describes them.
    ///
    /// Such messages are written as they are by [`Decoder::json`]; [`Decoder::learn`] gives them fields and columns.
    pub fn is_undescribed(&self) -> bool {
        matches!(self.inner.codec, Codec::Json(_)) && self.inner.tree.root().fields.is_empty()
    }

    /// Returns a decoder of JSON messages like these, with the fields that they have.
    ///
    /// # Errors
    /// `Corrupt` where a message is no JSON, `Invalid` where they have more fields than messages may have.
    pub fn learn(messages: &[&[u8]]) -> Result<Self> {
        let messages = json::Json::inferred(messages)?;
        Ok(Self::with_codec("json", Arc::clone(messages.tree()), Codec::Json(messages)))
    }

    /// Returns a decoder of messages whose definition is known as a tree.
    ///
    /// # Errors
    /// `Invalid` for an encoding that is not decoded, or that cannot hold such messages.
    pub fn of_tree(encoding: &str, tree: Tree) -> Result<Self> {
        let codec = match encoding {
            "cdr" => Codec::Sequential(Arc::new(Layout::new(Format::Cdr, &tree)?)),
            "ros1" => Codec::Sequential(Arc::new(Layout::new(Format::Ros1, &tree)?)),
            "ulog" => Codec::Sequential(Arc::new(Layout::new(Format::Ulog, &tree)?)),
            other => return Err(Error::invalid(format!("messages in the encoding '{other}' are not decoded"))),
        };
        Ok(Self::with_codec(encoding, Arc::new(tree), codec))
    }

    fn with_codec(encoding: &str, tree: Arc<Tree>, codec: Codec) -> Self {
        let names = Arc::new(Names::of(&tree, |name| layout::is_hidden(encoding, name)));
        Self { inner: Arc::new(Inner { tree, names, encoding: encoding.to_owned(), codec, boot_ns: 0 }) }
    }

    fn with_boot(mut self, boot_ns: i64) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.boot_ns = boot_ns;
        }
        self
    }

    /// Returns the fields that messages have.
    pub fn tree(&self) -> &Arc<Tree> {
        &self.inner.tree
    }

    /// Returns the encoding that it decodes.
    pub fn encoding(&self) -> &str {
        &self.inner.encoding
    }

    /// Tells a sink all of a message.
    ///
    /// # Errors
    /// `Corrupt` for a payload that does not fit its type; the sink has been told what stands before the fault.
    pub fn tell<'a, S: Sink<'a>>(&self, payload: &'a [u8], sink: &mut S) -> Result<()> {
        self.inner.codec.walk(payload, sink)
    }

    /// Writes a message as one line of JSON behind what stands in `out`: fields in the order of the definition, numbers that are none
    /// as `"NaN"`, `"Infinity"` and `"-Infinity"`, bytes as base64. After an error `out` is as it was. Messages that are JSON are
    /// written as they are, without white space.
    ///
    /// # Errors
    /// `Corrupt` for a payload that does not fit its type.
    pub fn json(&self, payload: &[u8], out: &mut Vec<u8>) -> Result<()> {
        if let Codec::Json(_) = self.inner.codec {
            return json::line(payload, out);
        }
        let (start, mut open) = (out.len(), Vec::new());
        let mut writer = JsonWriter { out, names: &self.inner.names, open: &mut open };
        let walked = self.inner.codec.walk(payload, &mut writer);
        if walked.is_err() {
            out.truncate(start);
        }
        walked
    }

    /// Returns a reader of one field: `a.b[0].c`, `a["odd name"]`.
    ///
    /// # Errors
    /// `Invalid` for text that is no path, `NotFound` with the nearest names.
    pub fn field(&self, path: &str) -> Result<FieldReader> {
        FieldReader::new(self, path)
    }

    /// Returns empty columns of these fields, or of all where there are none.
    ///
    /// # Errors
    /// As [`Decoder::field`]; `Invalid` for a field that is named twice, or is part of another one, and for types with too many fields.
    pub fn columns(&self, paths: &[&str]) -> Result<Columns> {
        Columns::new(self, paths)
    }

    /// Returns a reader of the stamp, if messages have one.
    pub fn stamp(&self) -> Option<StampReader> {
        StampReader::new(self)
    }

    /// Returns what reads the time that stands at a path, seconds and nanoseconds; nothing if there is none.
    pub fn time_at(&self, path: &str) -> Option<StampReader> {
        StampReader::at(self, path)
    }
}

/// Returns whether one decoder reads the messages of both topics.
pub fn reads_both(one: &Topic, other: &Topic) -> bool {
    one.schema == other.schema && one.encoding == other.encoding && boot_ns(one) == boot_ns(other)
}

/// Returns when the machine started whose stamps count from there; 0 where that is not said.
fn boot_ns(topic: &Topic) -> i64 {
    topic.metadata.get(BOOT_KEY).and_then(|boot_ns| boot_ns.parse().ok()).unwrap_or(0)
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = &self.inner.tree.root().name;
        f.debug_struct("Decoder").field("encoding", &self.inner.encoding).field("type", root).finish_non_exhaustive()
    }
}
