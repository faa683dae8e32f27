//! The peer: crate `re_ros_msg`, which makes a map per message. It makes no Arrow of it; what that would cost is not counted.
//!
//! **Invariant:** it gets the same definition and the same bytes.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use re_cdr::{CdrReader, LittleEndian};
use re_ros_msg::MessageSchema;
use re_ros_msg::deserialize::{MapResolver, Value, decode_message};
use recording::Schema;

/// Returns the peer's understanding of a definition.
pub(crate) fn parse(schema: &Schema) -> Result<MessageSchema> {
    MessageSchema::parse(&schema.name, std::str::from_utf8(&schema.data)?)
}

/// Returns what finds nested types.
pub(crate) fn resolver(schema: &MessageSchema) -> MapResolver<'_> {
    MapResolver::new(schema.dependencies.iter().map(|spec| (spec.name.replace("/msg/", "/"), spec)))
}

/// Decodes a message.
pub(crate) fn decode(schema: &MessageSchema, resolver: &MapResolver<'_>, payload: &[u8]) -> Result<BTreeMap<String, Value>> {
    let mut reader = CdrReader::<LittleEndian>::new(&payload[4..]);
    match decode_message(&mut reader, &schema.spec, resolver)? {
        Value::Message(fields) => Ok(fields),
        other => bail!("{other:?}"),
    }
}
