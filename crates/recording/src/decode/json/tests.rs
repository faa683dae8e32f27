use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::decode::{Decoder, Scalar};
use crate::message::{Schema, Topic};
use crate::schema::library::Library;

fn decoder(schema: Option<&str>) -> Decoder {
    let schema = schema.map(|text| {
        Arc::new(Schema { name: "rover.State".into(), encoding: "jsonschema".into(), data: Bytes::copy_from_slice(text.as_bytes()) })
    });
    let topic = Topic { name: "/t".into(), encoding: "json".into(), schema, metadata: BTreeMap::new() };
    Decoder::new(&topic, &Library::standard()).unwrap()
}

const STATE: &str = r#"{"type": "object", "required": ["x"], "properties": {
    "x": {"type": "number"}, "n": {"type": "integer"}, "name": {"type": "string"}, "image": {"type": "string", "contentEncoding": "base64"},
    "at": {"type": "object", "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer", "format": "uint32"}}},
    "list": {"type": "array", "items": {"type": "integer", "format": "uint8"}},
    "three": {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3},
    "tags": {"type": "object", "additionalProperties": {"type": "string"}}, "any": {},
    "level": {"oneOf": [{"title": "DEBUG", "const": 1}, {"title": "INFO", "const": 2}]}}}"#;

/// Returns a message as it is told to a sink: each of its fields, as JSON.
fn told(decoder: &Decoder, payload: &str) -> crate::Result<Value> {
    decoder
        .tree()
        .root()
        .fields
        .iter()
        .map(|field| {
            let mut out = Vec::new();
            decoder.field(&format!("[\"{}\"]", field.name))?.json(payload.as_bytes(), &mut out)?;
            Ok((field.name.clone(), serde_json::from_slice::<Value>(&out).unwrap()))
        })
        .collect::<crate::Result<serde_json::Map<_, _>>>()
        .map(Value::Object)
}

#[test]
fn fields_are_told_in_the_order_of_the_schema_whatever_theirs() {
    let payload = r#"{"any": {"a": [1, "b", null, {"c": 1.5}]}, "level": 2, "tags": {"k": "v"}, "three": [1, 2.5, NaN], "list": [1, 255],
        "at": {"nsec": 5, "sec": -1, "more": 0}, "image": "TWFu", "name": "\u00fc\n", "n": 1, "n": 2.0, "unknown": [[]], "x": 3}"#;
    let decoder = decoder(Some(STATE));
    assert_eq!(
        told(&decoder, payload).unwrap().to_string(),
        r#"{"x":3,"n":2,"name":"ü\n","image":"TWFu","at":{"sec":-1,"nsec":5},"list":[1,255],"three":[1,2.5,"NaN"],"tags":{"k":"v"},"any":{"a":[1,"b",null,{"c":1.5}]},"level":"INFO"}"#
    );
    let mut columns = decoder.columns(&[]).unwrap();
    columns.push(payload.as_bytes()).unwrap();
    columns.push(br#"{"x": 1}"#).unwrap();
    let batch = columns.finish().unwrap();
    assert_eq!((batch.num_rows(), batch.num_columns()), (2, 10));
    assert_eq!(batch.column_by_name("n").unwrap().null_count(), 1);
}

#[test]
fn the_line_is_the_message_itself() {
    let line = |text: &str| {
        let mut out = Vec::new();
        decoder(Some(STATE)).json(text.as_bytes(), &mut out).map(|()| String::from_utf8(out).unwrap())
    };
    assert_eq!(line("{ \"unknown\" : [ 1,\n 2 ] , \"x\" : \"no number\" }").unwrap(), r#"{"unknown":[1,2],"x":"no number"}"#);
    assert!(line("{\"x\": 1} 2").is_err());
}

#[test]
fn a_value_that_is_not_what_the_schema_says_is_an_error_that_names_the_field() {
    let decoder = decoder(Some(STATE));
    for (payload, expected) in [
        (r#"{"x": "far"}"#, "field x is a text where the schema says a number"),
        (r#"{"at": {"sec": 1.5}}"#, "field at.sec is 1.5 where the schema says a whole number that fits"),
        (r#"{"at": {"nsec": -1}}"#, "field at.nsec is -1 where the schema says a whole number that fits"),
        (r#"{"list": [256]}"#, "field list is 256 where the schema says a whole number that fits"),
        (r#"{"three": [1]}"#, "field three has 1 elements where the schema says 3"),
        (r#"{"image": "%"}"#, "field image is no base64"),
        (r#"{"tags": []}"#, "field tags is a list where the schema says an object"),
        ("[]", "the message is a list where the schema says an object"),
        (r#"{"x": 1"#, "malformed JSON at byte 7: a comma is missing"),
    ] {
        let mut columns = decoder.columns(&[]).unwrap();
        assert_eq!(columns.push(payload.as_bytes()).unwrap_err().to_string(), expected);
        assert_eq!(columns.len(), 0);
    }
}

#[test]
fn one_field_is_read_alone() {
    let decoder = decoder(Some(STATE));
    let payload = br#"{"at": {"nsec": 5, "sec": 7}, "x": "no number", "level": "INFO", "tags": {"k": "v"}}"#;
    let field = |path: &str| decoder.field(path).unwrap().read(payload);
    assert_eq!(field("at.sec").unwrap(), Scalar::Int(7));
    assert_eq!(field("n").unwrap(), Scalar::Null);
    assert_eq!(field("level").unwrap(), Scalar::Int(2));
    assert_eq!(field("tags.k").unwrap(), Scalar::Text("v".into()));
    assert!(field("x").is_err());
}

#[test]
fn messages_without_a_schema_are_lines_and_learn_their_fields() {
    let undescribed = decoder(None);
    assert!(undescribed.is_undescribed() && !decoder(Some(STATE)).is_undescribed());
    let mut out = Vec::new();
    undescribed.json(b"{\"b\": 1}", &mut out).unwrap();
    assert_eq!(out, b"{\"b\":1}");
    let learned = Decoder::learn(&[br#"{"b": 1, "a": "x"}"#, br#"{"b": 2.5}"#]).unwrap();
    let mut columns = learned.columns(&[]).unwrap();
    columns.push(br#"{"a": "y", "b": 7}"#).unwrap();
    assert_eq!(columns.finish().unwrap().num_columns(), 2);
    let bare = Decoder::learn(&[b"[1, 2]"]).unwrap();
    assert_eq!(bare.field("value[1]").unwrap().read(b"[3, 4]").unwrap(), Scalar::Int(4));
}

#[test]
fn a_schema_that_cannot_be_read_is_none() {
    assert!(decoder(Some("{")).is_undescribed());
}

proptest! {
    #[test]
    fn what_was_learned_from_messages_holds_for_them(messages in prop::collection::vec(any_json(), 1..4)) {
        let payloads: Vec<Vec<u8>> = messages.iter().map(|message| serde_json::to_vec(message).unwrap()).collect();
        let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let decoder = Decoder::learn(&payloads).unwrap();
        let mut columns = decoder.columns(&[]).unwrap();
        for payload in &payloads {
            columns.push(payload).unwrap();
            let mut out = Vec::new();
            decoder.json(payload, &mut out).unwrap();
            prop_assert_eq!(&out, payload);
        }
        prop_assert_eq!(columns.finish().unwrap().num_rows(), messages.len());
    }

    #[test]
    fn arbitrary_text_is_read_or_refused(payload in "[\\[\\]{},:\" xnabt0-9.\\-]{0,60}") {
        let decoder = decoder(Some(STATE));
        let _ = decoder.json(payload.as_bytes(), &mut Vec::new());
        let _ = decoder.columns(&[]).unwrap().push(payload.as_bytes());
    }

    #[test]
    fn damaged_messages_are_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut payload = br#"{"x": 1e5, "at": {"sec": 1}, "list": [1, 2], "image": "TWFu", "any": [{}, "\u00fc"]}"#.to_vec();
        let at = at.index(payload.len());
        payload[at] = byte;
        let _ = decoder(Some(STATE)).columns(&[]).unwrap().push(&payload);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(|number: f64| json!(number)),
        "[a-c\"\\\\ü]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-d]", inner), 0..4).prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}
