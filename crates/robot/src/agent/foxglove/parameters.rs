//! The recorder's own state, as parameters of a viewer.
//!
//! **Invariant:** they can be read, and not set.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::Tape;

/// Returns every parameter by its name.
pub(super) fn all(tape: &Tape) -> BTreeMap<String, Value> {
    let status = tape.status();
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    let mut put = |name: &str, value: Value| all.insert(format!("tapeloop.{name}"), value);
    put("device", json!(status.device));
    put("host", json!(status.host));
    put("version", json!(env!("CARGO_PKG_VERSION")));
    put("boot", json!(status.boot));
    put("root", json!(status.root));
    put("topics", json!(status.channels));
    put("recordings", json!(status.recordings));
    put("lost_messages", json!(status.lost_messages));
    put("free_bytes", json!(status.disk.free_bytes));
    put("last_error", json!(status.last_error.unwrap_or_default()));
    for buffer in &status.buffers {
        let mut put = |part: &str, value: Value| put(&format!("buffer.{}.{part}", buffer.name), value);
        put("depth_s", json!(buffer.depth_ns / 1_000_000_000));
        put("bytes", json!(buffer.size_bytes));
        put("messages", json!(buffer.messages));
        put("lost_messages", json!(buffer.lost_messages));
    }
    all
}

/// Returns an answer with these parameters.
pub(super) fn answer<'a>(parameters: impl IntoIterator<Item = (&'a String, &'a Value)>, id: Option<&str>) -> Value {
    let parameters: Vec<Value> = parameters.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    let mut answer = json!({ "op": "parameterValues", "parameters": parameters });
    if let Some(id) = id {
        answer["id"] = json!(id);
    }
    answer
}
