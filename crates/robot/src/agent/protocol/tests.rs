use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn specs() -> impl Strategy<Value = ChannelSpec> {
    let schema = proptest::option::of((".{0,20}", ".{0,8}", vec(any::<u8>(), 0..300)));
    ("/[a-zä/ ]{0,30}", ".{0,8}", schema, btree_map(".{0,8}", ".{0,8}", 0..4), any::<bool>(), ".{0,8}").prop_map(
        |(topic, encoding, schema, metadata, latched, publisher)| ChannelSpec {
            topic,
            encoding,
            schema: schema.map(|(name, encoding, data)| Arc::new(Schema { name, encoding, data: data.into() })),
            metadata,
            latched,
            publisher,
        },
    )
}

fn heads() -> impl Strategy<Value = EntryHead> {
    (any::<u32>(), any::<i64>(), any::<i64>()).prop_map(|(channel, log_time_ns, publish_time_ns)| EntryHead {
        channel,
        payload_bytes: 0,
        log_time_ns,
        publish_time_ns,
    })
}

proptest! {
    #[test]
    fn headers_round_trip(kind in 0..FRAME_KINDS.len(), length in any::<u32>()) {
        let kind = FRAME_KINDS[kind];
        let header = Header { kind, body_bytes: length as usize % (kind.body_limit() + 1) };
        prop_assert_eq!(Header::parse(&header.encode(), kind.sender()).unwrap(), header);
    }

    #[test]
    fn hellos_and_welcomes_round_trip(name in ".{0,40}", version in any::<u32>(), pid in any::<u32>()) {
        let hello = Hello { version, name: name.clone(), pid, software: "0.1.0".into() };
        prop_assert_eq!(Hello::parse(&hello.encode()).unwrap(), hello);
        let welcome = Welcome { version: VERSION, software: "1".into(), device: name.clone(), root: name.clone(), boot: name, pid };
        prop_assert_eq!(Welcome::parse(&welcome.encode()).unwrap(), welcome);
    }

    #[test]
    fn channels_round_trip(id in 0..CHANNELS_LIMIT, spec in specs()) {
        let open = OpenChannel { id, spec };
        prop_assert_eq!(OpenChannel::parse(&open.encode().unwrap()).unwrap(), open);
    }

    #[test]
    fn messages_round_trip(messages in vec((heads(), vec(any::<u8>(), 0..200)), 0..20)) {
        let mut body = Vec::new();
        for (head, payload) in &messages {
            body.extend_from_slice(&EntryHead { payload_bytes: payload.len(), ..*head }.encode());
            body.extend_from_slice(payload);
        }
        let entries: Vec<Entry> = Entries::new(&body).collect::<Result<_>>().unwrap();
        prop_assert_eq!(entries.len(), messages.len());
        for (entry, (head, payload)) in entries.iter().zip(&messages) {
            prop_assert_eq!(entry.payload, payload);
            prop_assert_eq!(EntryHead { payload_bytes: 0, ..entry.head }, *head);
        }
    }

    #[test]
    fn answers_losses_and_refusals_round_trip(token in any::<u64>(), text in ".{0,40}", count in proptest::option::of(any::<u64>())) {
        let refusal = Refusal { kind: "denied".into(), message: text.clone(), refused: count.unwrap_or(0), fatal: true };
        for outcome in [Outcome::Ok(json!({ "a": [text.clone(), null] })), Outcome::Error(refusal.clone())] {
            let body = encode_tokened(token, &outcome);
            let (read, rest) = parse_token(&body).unwrap();
            prop_assert_eq!(read, token);
            prop_assert_eq!(from_json::<Outcome>("an answer", rest).unwrap(), outcome);
        }
        prop_assert_eq!(from_json::<Refusal>("a refusal", &json(&refusal)).unwrap(), refusal);
        let loss = Loss { topic: Some(text.clone()), start_ns: Some(-1), end_ns: None, messages: count, bytes: count, reason: text };
        prop_assert_eq!(from_json::<Loss>("a loss", &encode_loss(&loss)).unwrap(), loss);
        let goodbye = Goodbye { messages: token };
        prop_assert_eq!(from_json::<Goodbye>("a goodbye", &json(&goodbye)).unwrap(), goodbye);
        let flush = encode_token(token);
        prop_assert_eq!(parse_token(&flush).unwrap(), (token, &[][..]));
    }

    #[test]
    fn garbage_is_refused_without_a_panic(bytes in vec(any::<u8>(), 0..400)) {
        if let Some(header) = bytes.first_chunk() {
            for side in [Side::Client, Side::Agent] {
                if let Ok(header) = Header::parse(header, side) {
                    prop_assert!(header.body_bytes <= header.kind.body_limit());
                }
            }
        }
        let _ = Hello::parse(&bytes);
        let _ = Hello::parse(&[&MAGIC[..], &bytes].concat());
        let _ = Welcome::parse(&bytes);
        let _ = OpenChannel::parse(&bytes);
        let _ = parse_token(&bytes);
        prop_assert!(Entries::new(&bytes).map(|entry| entry.map_or(0, |entry| entry.payload.len())).sum::<usize>() <= bytes.len());
    }

    #[test]
    fn cut_frames_are_refused_without_a_panic(spec in specs(), cut in any::<prop::sample::Index>()) {
        let body = OpenChannel { id: 3, spec }.encode().unwrap();
        let _ = OpenChannel::parse(&body[..cut.index(body.len())]);
    }
}

#[test]
fn a_length_beyond_its_kinds_limit_is_refused() {
    let mut header = Header { kind: FrameKind::Log, body_bytes: 0 }.encode();
    header[4..].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = Header::parse(&header, Side::Client).unwrap_err();
    assert_eq!(error.message(), "a Log frame of 4294967295 bytes; at most 268435480");
}

#[test]
fn a_side_may_not_speak_for_the_other() {
    let header = Header { kind: FrameKind::Welcome, body_bytes: 2 }.encode();
    assert!(Header::parse(&header, Side::Client).is_err());
    assert!(Header::parse(&header, Side::Agent).is_ok());
}

#[test]
fn a_newer_agent_is_refused_with_what_to_update() {
    let body = br#"{"version": 2, "software": "9.0", "device": "", "root": "", "boot": "", "pid": 1, "new": true}"#;
    let error = Welcome::parse(body).unwrap_err();
    assert_eq!(error.message(), "the agent (tapeloop 9.0) speaks protocol 2, this program up to 1: update tapeloop in this program");
}

#[test]
fn a_message_that_leaves_its_frame_ends_the_frame() {
    let head = EntryHead { channel: 1, payload_bytes: 5, log_time_ns: 2, publish_time_ns: 3 };
    let body = [&head.encode()[..], b"1234"].concat();
    let mut entries = Entries::new(&body);
    assert!(entries.next().is_some_and(|entry| entry.is_err()));
    assert!(entries.next().is_none());
    assert!(EntryHead::parse_single(&head.encode(), ENTRY_BYTES + 5).is_ok());
    assert!(EntryHead::parse_single(&head.encode(), ENTRY_BYTES + 6).is_err());
}

#[test]
fn errors_keep_their_kind() {
    for (kind, _) in KINDS {
        let error = Error::new(kind, "no").caused_by(std::io::Error::other("why"));
        let back = Error::from(Refusal::from(&error));
        assert_eq!((back.kind(), back.message()), (kind, "no: why"));
    }
}
