//! A message as a line of JSON: `tapeloop cat --json`.
//!
//! **Invariant:** a line is one line: payloads with line breaks are written anew.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::message::Message;

/// Returns `{topic, log_time, publish_time, message}` without a line break. `message` is the payload where its encoding is `json`
/// and it is valid; else it is null, and `encoding` and `bytes` say what there is: other encodings are not decoded yet.
pub fn json_line(message: &Message) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        topic: &'a str,
        log_time: i64,
        publish_time: i64,
        message: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        encoding: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        bytes: Option<usize>,
    }
    let topic = &*message.topic;
    let decoded = if topic.encoding == "json" { decode(&message.data) } else { None };
    let opaque = decoded.is_none();
    let line = Line {
        topic: &topic.name,
        log_time: message.log_time_ns,
        publish_time: message.publish_time_ns,
        message: decoded.as_deref(),
        encoding: opaque.then_some(topic.encoding.as_str()),
        bytes: opaque.then_some(message.data.len()),
    };
    serde_json::to_string(&line).expect("it has string keys only")
}

fn decode(payload: &[u8]) -> Option<Box<RawValue>> {
    let raw: &RawValue = serde_json::from_slice(payload).ok()?;
    if !raw.get().contains(['\n', '\r']) {
        return Some(raw.to_owned());
    }
    // Line breaks stand only between tokens in valid JSON, where a space does as well.
    RawValue::from_string(raw.get().replace(['\n', '\r'], " ")).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::message::Topic;

    fn check(encoding: &str, payload: &'static [u8], expected: &str) {
        let topic = Topic { name: "/a".into(), encoding: encoding.into(), schema: None, metadata: BTreeMap::new() };
        let data = Bytes::from_static(payload);
        let message = Message { topic: Arc::new(topic), log_time_ns: 2, publish_time_ns: 1, sequence: 0, identity: None, data };
        assert_eq!(json_line(&message), expected);
    }

    #[test]
    fn payloads_are_embedded_as_they_are_or_described() {
        check("json", b"{\"x\": 1.50}", r#"{"topic":"/a","log_time":2,"publish_time":1,"message":{"x": 1.50}}"#);
        check("json", b"{\n \"x\": \"a\\nb\"\r\n}", r#"{"topic":"/a","log_time":2,"publish_time":1,"message":{  "x": "a\nb"  }}"#);
        check("json", b"{oops", r#"{"topic":"/a","log_time":2,"publish_time":1,"message":null,"encoding":"json","bytes":5}"#);
        check("cdr", b"\0\x01", r#"{"topic":"/a","log_time":2,"publish_time":1,"message":null,"encoding":"cdr","bytes":2}"#);
        check("json", b"\xff", r#"{"topic":"/a","log_time":2,"publish_time":1,"message":null,"encoding":"json","bytes":1}"#);
    }
}
