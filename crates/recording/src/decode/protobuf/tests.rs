use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestRng;
use prost_reflect::prost::Message;
use prost_reflect::prost_types::FileDescriptorSet;
use prost_reflect::prost_types::field_descriptor_proto::Type as Proto;
use prost_reflect::{Cardinality, DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value as Dynamic};
use serde_json::{Map, Value, json};

use crate::decode::{Decoder, Scalar};
use crate::message::Topic;
use crate::schema::library::Library;
use crate::schema::protobuf::tests::{schema_of, set};

fn decoder(name: &str) -> Decoder {
    decoder_of(name, &set())
}

fn decoder_of(name: &str, set: &FileDescriptorSet) -> Decoder {
    let schema = Some(std::sync::Arc::new(schema_of(name, set)));
    let topic = Topic { name: "/t".into(), encoding: "protobuf".into(), schema, metadata: BTreeMap::new() };
    Decoder::new(&topic, &Library::standard()).unwrap()
}

fn read(decoder: &Decoder, payload: &[u8]) -> crate::Result<Value> {
    let mut out = Vec::new();
    decoder.json(payload, &mut out).map(|()| serde_json::from_slice(&out).unwrap())
}

fn pool() -> DescriptorPool {
    DescriptorPool::from_file_descriptor_set(set()).unwrap()
}

/// Returns what the JSON of a message should be, read as the JSON itself is: serde_json does not read every number exactly.
fn expected(message: &DynamicMessage) -> Value {
    serde_json::from_str(&expected_message(message).to_string()).unwrap()
}

fn expected_message(message: &DynamicMessage) -> Value {
    let fields = message.descriptor().fields().collect::<Vec<_>>();
    Value::Object(fields.iter().map(|field| (field.name().to_owned(), expected_field(message, field))).collect())
}

fn expected_field(message: &DynamicMessage, field: &FieldDescriptor) -> Value {
    if !message.has_field(field) && field.supports_presence() && field.cardinality() != Cardinality::Required {
        return Value::Null;
    }
    expected_value(message.get_field(field).as_ref(), &field.kind())
}

fn expected_value(value: &Dynamic, kind: &Kind) -> Value {
    match value {
        Dynamic::Bool(value) => json!(value),
        Dynamic::I32(value) => json!(value),
        Dynamic::I64(value) => json!(value),
        Dynamic::U32(value) => json!(value),
        Dynamic::U64(value) => json!(value),
        // The shortest text of the narrow number, not that of its wide twin.
        // Of two shortest texts the standard library may choose the other one.
        Dynamic::F32(value) => number(zmij::Buffer::new().format(*value).parse().unwrap()),
        Dynamic::F64(value) => number(*value),
        Dynamic::String(value) => json!(value),
        Dynamic::Bytes(value) => json!(base64(value)),
        Dynamic::EnumNumber(value) => {
            let Kind::Enum(names) = kind else { panic!("{kind:?}") };
            names.get_value(*value).map_or(json!(value), |found| json!(found.name()))
        }
        Dynamic::Message(message) => expected_message(message),
        Dynamic::List(values) => values.iter().map(|value| expected_value(value, kind)).collect(),
        Dynamic::Map(entries) => {
            let Kind::Message(entry) = kind else { panic!("{kind:?}") };
            let kind = entry.map_entry_value_field().kind();
            let entry = |(key, value): (&MapKey, &Dynamic)| {
                let key = match key {
                    MapKey::String(key) => key.clone(),
                    MapKey::I64(key) => key.to_string(),
                    other => panic!("{other:?}"),
                };
                (key, expected_value(value, &kind))
            };
            Value::Object(entries.iter().map(entry).collect::<Map<_, _>>())
        }
    }
}

fn number(value: f64) -> Value {
    match value {
        _ if value.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        _ => json!(value),
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = bytes.chunks(3).flat_map(|chunk| {
        let bits = (0..3).fold(0, |bits, index| bits << 8 | u32::from(chunk.get(index).copied().unwrap_or(0)));
        (0..4).map(move |index| if index <= chunk.len() { LETTERS[(bits >> (18 - 6 * index)) as usize & 63] as char } else { '=' })
    });
    letters.collect()
}

/// Returns a message with some of its fields.
fn any_message(name: &str, rng: &mut TestRng, depth: usize) -> DynamicMessage {
    let descriptor = pool().get_message_by_name(name).unwrap();
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        if rng.random_ratio(1, 2) && (depth < 3 || !matches!(field.kind(), Kind::Message(_))) {
            message.set_field(&field, any_value(&field, rng, depth));
        }
    }
    message
}

fn any_value(field: &FieldDescriptor, rng: &mut TestRng, depth: usize) -> Dynamic {
    let count = rng.random_range(0..4);
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else { panic!("no entry") };
        let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        let any_entry = |_| {
            let key = any_single(&key.kind(), rng, depth).into_map_key().unwrap();
            (key, any_single(&value.kind(), rng, depth))
        };
        return Dynamic::Map((0..count).map(any_entry).collect());
    }
    if field.is_list() {
        return Dynamic::List((0..count).map(|_| any_single(&field.kind(), rng, depth)).collect());
    }
    any_single(&field.kind(), rng, depth)
}

fn any_single(kind: &Kind, rng: &mut TestRng, depth: usize) -> Dynamic {
    let bits = rng.next_u64() >> rng.random_range(0..64);
    match kind {
        Kind::Double => Dynamic::F64(f64::from_bits(rng.next_u64())),
        Kind::Float => Dynamic::F32(f32::from_bits(rng.next_u32())),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Dynamic::I32(bits as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Dynamic::I64(bits.cast_signed()),
        Kind::Uint32 | Kind::Fixed32 => Dynamic::U32(bits as u32),
        Kind::Uint64 | Kind::Fixed64 => Dynamic::U64(bits),
        Kind::Bool => Dynamic::Bool(bits & 1 == 1),
        Kind::String => Dynamic::String(["", "ü\"\\\n", "text"][bits as usize % 3].into()),
        Kind::Bytes => Dynamic::Bytes(bits.to_le_bytes()[..bits as usize % 9].to_vec().into()),
        Kind::Enum(_) => Dynamic::EnumNumber(bits as i32 % 4),
        Kind::Message(message) => Dynamic::Message(any_message(message.full_name(), rng, depth + 1)),
    }
}

/// Checks that a payload is read as the oracle reads it, in JSON and in columns.
fn check(name: &str, payload: &[u8]) {
    let oracle = DynamicMessage::decode(pool().get_message_by_name(name).unwrap(), payload).unwrap();
    let decoder = decoder(name);
    assert_eq!(read(&decoder, payload).unwrap(), expected(&oracle), "{payload:?}");
    let mut columns = decoder.columns(&[]).unwrap();
    columns.push(payload).unwrap();
    assert_eq!(columns.finish().unwrap().num_rows(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_messages_are_read_as_another_reader_does(seed in any::<[u8; 32]>()) {
        let mut rng = TestRng::from_seed(prop::test_runner::RngAlgorithm::ChaCha, &seed);
        for name in ["rover.Everything", "old.Everything"] {
            let one = any_message(name, &mut rng, 0).encode_to_vec();
            check(name, &one);
            // Two messages, one behind the other, are one that was merged.
            let other = any_message(name, &mut rng, 0).encode_to_vec();
            check(name, &[one, other].concat());
        }
    }

    #[test]
    fn damaged_messages_are_read_as_another_reader_does_or_refused(seed in any::<[u8; 32]>(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut rng = TestRng::from_seed(prop::test_runner::RngAlgorithm::ChaCha, &seed);
        let mut payload = any_message("rover.Everything", &mut rng, 1).encode_to_vec();
        prop_assume!(!payload.is_empty());
        for (at, byte) in damage {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        let decoder = decoder("rover.Everything");
        let found = read(&decoder, &payload);
        if let Ok(oracle) = DynamicMessage::decode(pool().get_message_by_name("rover.Everything").unwrap(), &payload[..]) {
            prop_assert_eq!(found.unwrap(), expected(&oracle));
        }
        let mut columns = decoder.columns(&[]).unwrap();
        let pushed = columns.push(&payload).is_ok();
        prop_assert_eq!(columns.len(), usize::from(pushed));
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let decoder = decoder("rover.Everything");
        let _ = read(&decoder, &payload);
        let _ = decoder.columns(&[]).unwrap().push(&payload);
    }
}

#[test]
fn packed_and_unpacked_lists_are_one_list() {
    let decoder = decoder("rover.Everything");
    // many_int32 = 105: packed 1 and 2, a foreign field, unpacked 3, packed nothing.
    let payload = [0xca, 0x06, 2, 1, 2, 0x92, 0x3f, 1, b'x', 0xc8, 0x06, 3, 0xca, 0x06, 0];
    assert_eq!(read(&decoder, &payload).unwrap()["many_int32"], json!([1, 2, 3]));
}

#[test]
fn only_what_came_last_of_a_choice_is_there() {
    let decoder = decoder("rover.Everything");
    let payload = [0xca, 0x03, 1, b'a', 0xd2, 0x03, 2, 0x08, 2];
    let found = read(&decoder, &payload).unwrap();
    assert_eq!((&found["choice_text"], &found["choice_inner"]["x"]), (&Value::Null, &json!(1)));
    let back = [&payload[..], &[0xca, 0x03, 1, b'b']].concat();
    let found = read(&decoder, &back).unwrap();
    assert_eq!((&found["choice_text"], &found["choice_inner"]), (&json!("b"), &Value::Null));
}

#[test]
fn one_field_is_read_without_the_rest() {
    let decoder = decoder("rover.Everything");
    let payload = [0x28, 7, 0xa2, 0x03, 4, 0x08, 3, 0x12, 0, 0xaa, 0x03, 2, 0x08, 2, 0xaa, 0x03, 1, 0xff];
    let field = |path: &str| decoder.field(path).unwrap().read(&payload);
    assert_eq!(field("a_int32").unwrap(), Scalar::Int(7));
    assert_eq!(field("inner.x").unwrap(), Scalar::Int(-2));
    assert_eq!(field("maybe_int32").unwrap(), Scalar::Null);
    assert_eq!(field("a_string").unwrap(), Scalar::Text("".into()));
    assert!(field("inners[1].x").is_err(), "the second one is malformed");
    assert!(decoder.field("nothing").is_err());
}

#[test]
fn messages_within_messages_end_at_a_limit() {
    let decoder = decoder("rover.Everything");
    let mut payload = Vec::new();
    for _ in 0..200 {
        let mut outer = vec![0xb2, 0x03];
        prost_reflect::prost::encoding::encode_varint(payload.len() as u64, &mut outer);
        outer.extend(&payload);
        payload = outer;
    }
    assert!(read(&decoder, &payload).unwrap_err().to_string().contains("more than 64 messages in each other"));
}

#[test]
fn few_bytes_do_not_become_many_values() {
    let mut set = set();
    let wide = (1..5000).map(|number| crate::schema::protobuf::tests::field(&format!("f{number}"), number, Proto::Int32, "")).collect();
    set.file[0].message_type[0].nested_type[0].field = wide;
    let payload: Vec<u8> = [0xaa, 0x03, 0].repeat(100_000);
    let error = read(&decoder_of("rover.Everything", &set), &payload).unwrap_err();
    assert!(error.to_string().contains("far more values than it has bytes"), "{error}");
}
