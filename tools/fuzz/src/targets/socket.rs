//! What programs and the agent tell each other over the socket: frame after frame.
//!
//! **Invariant:** every kind of frame is read as its receiver reads it.

use recording::Loss;
use robot::agent::control::Request;
use robot::agent::protocol::{
    Entries, FrameKind, Goodbye, Header, Hello, Listen, OpenChannel, Outcome, Refusal, Side, Welcome, from_json, parse_token,
};

/// Reads frames of either side.
pub(super) fn frames(input: &[u8]) {
    let mut rest = input;
    while let Some((header, behind)) = rest.split_first_chunk() {
        let Some(header) = [Side::Client, Side::Agent].into_iter().find_map(|side| Header::parse(header, side).ok()) else { return };
        let (body, behind) = behind.split_at(header.body_bytes.min(behind.len()));
        read(header.kind, body);
        rest = behind;
    }
}

fn read(kind: FrameKind, body: &[u8]) {
    let tokened = || parse_token(body).map(|(_, rest)| rest);
    match kind {
        FrameKind::Hello => drop(Hello::parse(body)),
        FrameKind::Welcome => drop(Welcome::parse(body)),
        FrameKind::OpenChannel | FrameKind::HeardChannel => {
            if let Ok(channel) = OpenChannel::parse(body) {
                let again = channel.encode().and_then(|body| OpenChannel::parse(&body));
                assert_eq!(again.map(|again| again.spec.topic).ok(), Some(channel.spec.topic));
            }
        }
        FrameKind::Listen => drop(from_json::<Listen>("a wish", body)),
        FrameKind::Log | FrameKind::Heard => {
            drop(Entries::new(body).map(|entry| entry.map(|entry| entry.payload.len())).collect::<Vec<_>>())
        }
        FrameKind::Flush => drop(tokened()),
        FrameKind::FlushDone | FrameKind::ControlReply => drop(tokened().and_then(|rest| from_json::<Outcome>("an outcome", rest))),
        FrameKind::Control => drop(tokened().and_then(|rest| from_json::<Request>("a request", rest))),
        FrameKind::Error => drop(from_json::<Refusal>("an error", body)),
        FrameKind::Loss => drop(from_json::<Loss>("a loss", body)),
        FrameKind::Closing | FrameKind::Dropped => {}
        FrameKind::Goodbye => drop(from_json::<Goodbye>("a goodbye", body)),
    }
}
