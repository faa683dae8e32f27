//! When a message was measured: the stamp in its header.
//!
//! **Invariant:** a stamp is ns UTC; one that no `i64` holds is no stamp.

use super::Decoder;
use super::field::{FieldReader, Scalar};
use crate::error::Result;
use crate::schema::{FieldKind, Tree};
use crate::time::Timestamp;

/// Where stamps stand, the likeliest first.
const PLACES: [&str; 3] = ["header.stamp", "stamp", "timestamp"];

/// Reads the stamp of messages of one type: of `header.stamp`, `stamp` or `timestamp`, unless another place is asked for.
///
/// It is a struct of seconds and nanoseconds (`sec` and `nanosec` or `nsec`, `seconds` and `nanos`). ULog's `timestamp` is
/// a number of microseconds since the machine started, which is when the topic's metadata says (`boot_ns`). A stamp of 0 is one that
/// nobody has set, and stays 0.
#[derive(Clone, Debug)]
pub struct StampReader {
    seconds: FieldReader,
    nanoseconds: Option<FieldReader>,
    scale: i128,
    /// What is added: when the machine started.
    start_ns: i128,
}

impl StampReader {
    pub(super) fn new(decoder: &Decoder) -> Option<Self> {
        PLACES.iter().find_map(|place| Self::at(decoder, place))
    }

    pub(super) fn at(decoder: &Decoder, place: &str) -> Option<Self> {
        let tree: &Tree = decoder.tree();
        match super::path::resolve(tree, place).ok()?.kind {
            FieldKind::Struct(id) => {
                let part = |names: &[&str]| {
                    let fields = &tree.get(*id).fields;
                    let field = fields.iter().find(|field| names.contains(&field.name.as_str()) && is_integer(&field.kind))?;
                    decoder.field(&format!("{place}.{}", field.name)).ok()
                };
                let seconds = part(&["sec", "secs", "seconds"])?;
                Some(Self {
                    seconds,
                    nanoseconds: Some(part(&["nanosec", "nsec", "nsecs", "nanos", "nanoseconds"])?),
                    scale: 1_000_000_000,
                    start_ns: 0,
                })
            }
            FieldKind::UInt(8) if decoder.encoding() == "ulog" => {
                Some(Self { seconds: decoder.field(place).ok()?, nanoseconds: None, scale: 1_000, start_ns: decoder.inner.boot_ns.into() })
            }
            _ => None,
        }
    }

    /// Reads the stamp; `None` where the message lacks it.
    ///
    /// # Errors
    /// `Corrupt` for a payload that does not fit its type.
    pub fn read(&self, payload: &[u8]) -> Result<Option<Timestamp>> {
        let Some(seconds) = integer(&self.seconds.read(payload)?) else { return Ok(None) };
        let nanoseconds = match &self.nanoseconds {
            Some(reader) => integer(&reader.read(payload)?).unwrap_or(0),
            None => 0,
        };
        let stamp = seconds * self.scale + nanoseconds;
        let stamp = if stamp == 0 { 0 } else { stamp + self.start_ns };
        Ok(i64::try_from(stamp).ok())
    }
}

fn is_integer(kind: &FieldKind) -> bool {
    matches!(kind, FieldKind::Int(_) | FieldKind::UInt(_))
}

fn integer(value: &Scalar<'_>) -> Option<i128> {
    match value {
        Scalar::Int(value) => Some((*value).into()),
        Scalar::UInt(value) => Some((*value).into()),
        _ => None,
    }
}
