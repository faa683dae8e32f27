//! What a viewer and the server say to each other: JSON for what is rare, bytes for messages. Integers are little-endian.
//!
//! The protocol is the one that Foxglove's repository `ws-protocol` describes.
//!
//! **Invariant:** no byte of a viewer makes this code panic, or take more memory than the viewer sent.

use recording::Schema;
use recording::json::write_base64;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Channel;

/// The bytes before a payload: what it is, the subscription, and when it was recorded.
pub(super) const MESSAGE_HEAD: usize = 13;
const MESSAGE: u8 = 1;
const SERVICE_REQUEST: u8 = 2;
const SERVICE_RESPONSE: u8 = 3;
/// Definitions in these are no text.
const BINARY_SCHEMAS: [&str; 2] = ["protobuf", "flatbuffer"];

/// What a viewer says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Said {
    /// It wants the messages of channels.
    Subscribe {
        /// Which ones.
        subscriptions: Vec<Subscription>,
    },
    /// It wants them no more.
    Unsubscribe {
        /// Which ones.
        subscription_ids: Vec<u32>,
    },
    /// It wants parameters; none means all.
    GetParameters {
        /// Their names.
        #[serde(default)]
        parameter_names: Vec<String>,
        /// What the answer is to be called.
        #[serde(default)]
        id: Option<String>,
    },
    /// It wants to change parameters.
    SetParameters {
        /// The parameters.
        #[serde(default)]
        parameters: Vec<Parameter>,
        /// What the answer is to be called.
        #[serde(default)]
        id: Option<String>,
    },
    /// It asks for something to be done.
    #[serde(skip)]
    Call(Call),
    /// Something that this server does not do.
    #[serde(other)]
    Other,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Subscription {
    /// What the viewer calls it.
    pub(super) id: u32,
    /// The channel.
    pub(super) channel_id: u64,
}

/// The name of a parameter.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Parameter {
    /// Its name.
    pub(super) name: String,
}

/// A call of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Call {
    /// Which service.
    pub(super) service: u32,
    /// What the viewer calls it.
    pub(super) id: u32,
    /// How the request is written.
    pub(super) encoding: String,
    /// The request.
    pub(super) request: Vec<u8>,
}

/// Reads a text of a viewer.
pub(super) fn parse_text(text: &str) -> Result<Said, String> {
    serde_json::from_str(text).map_err(|error| format!("not understood: {error}"))
}

/// Reads bytes of a viewer.
pub(super) fn parse_bytes(bytes: &[u8]) -> Result<Said, String> {
    let short = || "bytes that end too early".to_owned();
    match bytes.split_first() {
        Some((&SERVICE_REQUEST, rest)) => {
            let (service, rest) = rest.split_first_chunk().ok_or_else(short)?;
            let (id, rest) = rest.split_first_chunk().ok_or_else(short)?;
            let (length, rest) = rest.split_first_chunk().ok_or_else(short)?;
            let (encoding, request) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(short)?;
            Ok(Said::Call(Call {
                service: u32::from_le_bytes(*service),
                id: u32::from_le_bytes(*id),
                encoding: String::from_utf8_lossy(encoding).into_owned(),
                request: request.to_vec(),
            }))
        }
        Some(_) => Ok(Said::Other),
        None => Err(short()),
    }
}

/// Returns a message of a subscription.
pub(super) fn message(subscription: u32, log_time_ns: i64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MESSAGE_HEAD + payload.len());
    bytes.push(MESSAGE);
    bytes.extend_from_slice(&subscription.to_le_bytes());
    bytes.extend_from_slice(&log_time_ns.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Returns the answer to a call.
pub(super) fn service_response(call: &Call, answer: &Value) -> Vec<u8> {
    let encoding = b"json";
    let mut bytes = vec![SERVICE_RESPONSE];
    for number in [call.service, call.id, encoding.len() as u32] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(encoding);
    bytes.extend_from_slice(answer.to_string().as_bytes());
    bytes
}

/// Returns what a viewer is told of a channel.
pub(super) fn channel(channel: &Channel) -> Value {
    let spec = channel.spec();
    let mut told = json!({ "id": channel.id(), "topic": spec.topic, "encoding": spec.encoding, "schemaName": "", "schema": "" });
    if let Some(schema) = &spec.schema {
        told["schemaName"] = json!(schema.name);
        told["schema"] = json!(schema_text(schema));
        told["schemaEncoding"] = json!(schema.encoding);
    }
    if !spec.metadata.is_empty() {
        told["metadata"] = json!(spec.metadata);
    }
    told
}

fn schema_text(schema: &Schema) -> String {
    if BINARY_SCHEMAS.contains(&schema.encoding.as_str()) {
        // Without the quotes around it.
        let mut json = Vec::new();
        write_base64(&mut json, &schema.data);
        String::from_utf8_lossy(json.trim_ascii().strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or_default())
            .into_owned()
    } else {
        String::from_utf8_lossy(&schema.data).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_viewers_say_is_understood() {
        let check = |text: &str, expected: Said| assert_eq!(parse_text(text).unwrap(), expected, "{text}");
        check(
            r#"{"op":"subscribe","subscriptions":[{"id":1,"channelId":7}]}"#,
            Said::Subscribe { subscriptions: vec![Subscription { id: 1, channel_id: 7 }] },
        );
        check(r#"{"op":"unsubscribe","subscriptionIds":[1]}"#, Said::Unsubscribe { subscription_ids: vec![1] });
        check(
            r#"{"op":"getParameters","parameterNames":["a"],"id":"x"}"#,
            Said::GetParameters { parameter_names: vec!["a".into()], id: Some("x".into()) },
        );
        check(r#"{"op":"advertise","channels":[]}"#, Said::Other);
        assert!(parse_text("[").is_err() && parse_text(r#"{"op":"subscribe"}"#).is_err());
        let call = b"\x02\x01\0\0\0\x09\0\0\0\x04\0\0\0json{}";
        let expected = Call { service: 1, id: 9, encoding: "json".into(), request: b"{}".to_vec() };
        assert_eq!(parse_bytes(call).unwrap(), Said::Call(expected));
        for end in 0..call.len() - 2 {
            assert!(parse_bytes(&call[..end]).is_err(), "{end}");
        }
        assert!(parse_bytes(b"\x02\0\0\0\0\0\0\0\0\xff\xff\xff\xff").is_err());
    }

    #[test]
    fn definitions_that_are_no_text_are_base64() {
        let schema = |encoding: &str| Schema { name: "x".into(), encoding: encoding.into(), data: b"foob".as_slice().into() };
        assert_eq!((schema_text(&schema("protobuf")).as_str(), schema_text(&schema("ros2msg")).as_str()), ("Zm9vYg==", "foob"));
    }
}
