//! A conversation of a program with the agent, frame after frame.
//!
//! **Invariant:** every kind of frame is in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use recording::Schema;
use robot::ChannelSpec;
use robot::agent::protocol::{EntryHead, FrameKind, Hello, OpenChannel, VERSION, encode_token, encode_tokened, frame};
use serde_json::json;

/// Returns what both sides say.
pub(super) fn frames() -> Vec<Vec<u8>> {
    let hello = Hello { version: VERSION, name: "drive".into(), pid: 7, software: "1".into() };
    let schema = Schema { name: "a/msg/B".into(), encoding: "ros2msg".into(), data: Bytes::from_static(b"string text") };
    let spec = ChannelSpec {
        topic: "/a".into(),
        encoding: "cdr".into(),
        schema: Some(Arc::new(schema)),
        metadata: BTreeMap::from([("a".into(), "b".into())]),
        latched: true,
        publisher: "drive".into(),
    };
    let head = EntryHead { channel: 3, payload_bytes: 4, log_time_ns: 5, publish_time_ns: 6 }.encode();
    let span = json!({"op": "save", "before_ns": 10_000_000_000_i64, "topics": ["/a"], "name": "n"});
    let client = [
        frame(FrameKind::Hello, &hello.encode()),
        frame(FrameKind::OpenChannel, &OpenChannel { id: 3, spec }.encode().unwrap_or_default()),
        frame(FrameKind::Log, &[&head[..], b"abcd", &head, b"efgh"].concat()),
        frame(FrameKind::Flush, &encode_token(9)),
        frame(FrameKind::Control, &encode_tokened(9, &span)),
        frame(FrameKind::Control, &encode_tokened(10, &json!({"op": "wait", "id": "r", "timeout_ms": 5}))),
        frame(FrameKind::Loss, br#"{"topic": "/a", "start_ns": 1, "end_ns": 2, "messages": 3, "bytes": null, "reason": "full"}"#),
    ];
    let welcome = json!({"version": VERSION, "software": "1", "device": "d", "root": "r", "boot": "b", "pid": 1});
    let refusal = json!({"kind": "invalid", "message": "m", "refused": 1, "fatal": true});
    let agent = [
        frame(FrameKind::Welcome, welcome.to_string().as_bytes()),
        frame(FrameKind::FlushDone, &encode_tokened(9, &json!({"ok": null}))),
        frame(FrameKind::ControlReply, &encode_tokened(9, &json!({"error": refusal}))),
        frame(FrameKind::Error, refusal.to_string().as_bytes()),
        frame(FrameKind::Closing, b""),
        frame(FrameKind::Goodbye, br#"{"messages": 2}"#),
    ];
    vec![client.concat(), agent.concat()]
}
