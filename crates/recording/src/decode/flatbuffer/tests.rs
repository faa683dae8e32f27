use std::collections::BTreeMap;
use std::sync::Arc;

use flatbuffers::{FlatBufferBuilder, TableFinishedWIPOffset, WIPOffset};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::decode::{Decoder, Scalar};
use crate::message::Topic;
use crate::schema::flatbuffer::tests::everything;
use crate::schema::library::Library;

fn decoder() -> Decoder {
    let topic = Topic { name: "/t".into(), encoding: "flatbuffer".into(), schema: Some(Arc::new(everything())), metadata: BTreeMap::new() };
    Decoder::new(&topic, &Library::standard()).unwrap()
}

const fn slot(id: u16) -> u16 {
    4 + 2 * id
}

/// A pose at 300, which drives, with the code 7 and 9.
const POSE: u64 = u64::from_le_bytes([0, 0, 0x2c, 1, 1, 0, 7, 9]);

fn inner(builder: &mut FlatBufferBuilder<'static>, x: i32, text: &str) -> WIPOffset<TableFinishedWIPOffset> {
    let text = builder.create_string(text);
    let start = builder.start_table();
    builder.push_slot(slot(0), x, 0);
    builder.push_slot_always(slot(1), text);
    WIPOffset::new(builder.end_table(start).value())
}

/// Returns a message with every field.
fn full() -> Vec<u8> {
    let builder = &mut FlatBufferBuilder::new();
    let name = builder.create_string("rover ü");
    let (one, two) = (inner(builder, 1, "one"), inner(builder, -2, ""));
    let inners = builder.create_vector(&[one, two, one]);
    let poses = builder.create_vector(&[POSE, 0_u64]);
    let data = builder.create_vector(&[1_u8, 255]);
    let texts = [builder.create_string("a"), builder.create_string("")];
    let names = builder.create_vector(&texts);
    let modes = builder.create_vector(&[1_i8, -1, 5]);
    let anys_type = builder.create_vector(&[1_u8, 0, 77]);
    let anys = builder.create_vector(&[two, two, two]);
    let numbers = builder.create_vector(&[0.5_f64, f64::NAN]);
    let start = builder.start_table();
    builder.push_slot_always(slot(0), true);
    builder.push_slot_always(slot(1), -8_i8);
    builder.push_slot_always(slot(2), u64::MAX);
    builder.push_slot_always(slot(3), 0.1_f32);
    builder.push_slot_always(slot(4), 0.1_f64);
    builder.push_slot_always(slot(5), name);
    builder.push_slot_always(slot(6), -1_i8);
    builder.push_slot_always(slot(7), POSE);
    builder.push_slot_always(slot(8), one);
    builder.push_slot_always(slot(9), inners);
    builder.push_slot_always(slot(10), poses);
    builder.push_slot_always(slot(11), data);
    builder.push_slot_always(slot(12), names);
    builder.push_slot_always(slot(13), 1_u8);
    builder.push_slot_always(slot(14), one);
    builder.push_slot_always(slot(15), 99_i32);
    builder.push_slot_always(slot(16), modes);
    builder.push_slot_always(slot(17), 0_i32);
    builder.push_slot_always(slot(18), anys_type);
    builder.push_slot_always(slot(19), anys);
    builder.push_slot_always(slot(21), numbers);
    let end = builder.end_table(start);
    builder.finish(end, None);
    builder.finished_data().to_vec()
}

fn read(payload: &[u8]) -> crate::Result<Value> {
    let mut out = Vec::new();
    decoder().json(payload, &mut out).map(|()| serde_json::from_slice(&out).unwrap())
}

#[test]
fn every_kind_of_field_is_read() {
    let pose = json!({"at": {"x": 300}, "mode": "DRIVING", "code": [7, 9]});
    let (one, two) = (json!({"x": 1, "text": "one"}), json!({"x": -2, "text": ""}));
    let expected = json!({
        "flag": true, "small": -8, "large": u64::MAX, "gain": 0.1, "x": 0.1, "name": "rover ü", "mode": "REVERSING", "pose": pose,
        "inner": one, "inners": [one, two, one], "poses": [pose, {"at": {"x": 0}, "mode": "IDLE", "code": [0, 0]}], "data": [1, 255],
        "names": ["a", ""], "any_type": "Inner", "any": one, "modes": ["DRIVING", "REVERSING", 5], "maybe": 0,
        "anys_type": ["Inner", "NONE", 77], "anys": [two, null, null], "self": null, "numbers": [0.5, "NaN"],
    });
    assert_eq!(read(&full()).unwrap(), expected);
    let decoder = decoder();
    let field = |path: &str| decoder.field(path).unwrap().read(&full()).map(|value| format!("{value:?}"));
    assert_eq!(field("inners[1].x").unwrap(), format!("{:?}", Scalar::Int(-2)));
    assert_eq!(field("pose.at.x").unwrap(), format!("{:?}", Scalar::Int(300)));
    let mut columns = decoder.columns(&[]).unwrap();
    columns.push(&full()).unwrap();
    assert_eq!(columns.finish().unwrap().num_rows(), 1);
}

#[test]
fn absent_fields_are_their_default_or_null() {
    let builder = &mut FlatBufferBuilder::new();
    let start = builder.start_table();
    let end = builder.end_table(start);
    builder.finish(end, None);
    let found = read(builder.finished_data()).unwrap();
    assert_eq!(
        (&found["gain"], &found["mode"], &found["any_type"], &found["flag"]),
        (&json!(1.5), &json!("DRIVING"), &json!("NONE"), &json!(false))
    );
    for absent in ["name", "pose", "inners", "any", "maybe", "numbers"] {
        assert_eq!(found[absent], Value::Null, "{absent}");
    }
}

#[test]
fn tables_that_are_shared_do_not_become_values_without_end() {
    // A table that is its own `self`, by hand: an offset of 2^32 - 4 cannot be, so it refers forward to a second one, and on.
    let mut payload = vec![4, 0, 0, 0];
    for _ in 0..100 {
        // A table, its list of fields behind it, and `self` (field 20) referring to the next table.
        let table = payload.len();
        payload.extend((-8_i32).to_le_bytes());
        payload.extend(50_u32.to_le_bytes());
        payload.extend(46_u16.to_le_bytes());
        payload.extend(8_u16.to_le_bytes());
        payload.extend([0; 40]);
        payload.extend(4_u16.to_le_bytes());
        assert_eq!(payload.len(), table + 54);
    }
    let error = read(&payload).unwrap_err().to_string();
    assert!(error.contains("more than 64 tables in each other"), "{error}");
}

proptest! {
    #[test]
    fn damaged_messages_are_read_or_refused(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in 0_usize..40) {
        let mut payload = full();
        for (at, byte) in damage {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        payload.truncate(payload.len() - cut);
        let mut columns = decoder().columns(&[]).unwrap();
        let pushed = columns.push(&payload).is_ok();
        prop_assert_eq!(pushed, read(&payload).is_ok());
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&payload);
    }
}
