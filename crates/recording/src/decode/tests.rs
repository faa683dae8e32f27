//! Random types and values: whatever a small encoder writes is read back the same in every way there is.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::columns::build;
use super::test_tree::{array, field, imu, list, tree};
use super::{Decoder, Scalar};
use crate::Kind;
use crate::schema::{Field, FieldKind, Tree, Type, TypeId};

/// Random numbers that a seed tells.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ self.0 >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ mixed >> 32
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// A value of any kind.
#[derive(Clone, Debug)]
enum Val {
    Bits(u64),
    Text(String),
    Struct(Vec<Val>),
    List(Vec<Val>),
}

/// A way to write values.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Encoding {
    CdrLittle,
    CdrBig,
    Xcdr2,
    Ros1,
}

impl Encoding {
    const ALL: [Self; 4] = [Self::CdrLittle, Self::CdrBig, Self::Xcdr2, Self::Ros1];

    fn name(self) -> &'static str {
        if self == Self::Ros1 { "ros1" } else { "cdr" }
    }

    fn header(self) -> &'static [u8] {
        match self {
            Self::CdrLittle => &[0, 1, 0, 0],
            Self::CdrBig => &[0, 0, 0, 0],
            Self::Xcdr2 => &[0, 7, 0, 0],
            Self::Ros1 => &[],
        }
    }

    fn align(self) -> usize {
        match self {
            Self::CdrLittle | Self::CdrBig => 8,
            Self::Xcdr2 => 4,
            Self::Ros1 => 1,
        }
    }
}

/// Writes values.
struct Writer<'t> {
    encoding: Encoding,
    tree: &'t Tree,
    body: Vec<u8>,
}

impl Writer<'_> {
    fn bits(&mut self, bits: u64, width: usize) {
        let to = width.min(self.encoding.align());
        while !self.body.len().is_multiple_of(to) {
            self.body.push(0xee);
        }
        let mut bytes = bits.to_le_bytes()[..width].to_vec();
        if self.encoding == Encoding::CdrBig {
            bytes.reverse();
        }
        self.body.extend(bytes);
    }

    fn write(&mut self, kind: &FieldKind, value: &Val) {
        match (kind, value) {
            (FieldKind::Bool, Val::Bits(bits)) => self.bits(*bits, 1),
            (FieldKind::Int(width) | FieldKind::UInt(width) | FieldKind::Float(width), Val::Bits(bits)) => {
                self.bits(*bits, (*width).into())
            }
            (FieldKind::String, Val::Text(text)) => {
                let zero = self.encoding != Encoding::Ros1;
                self.bits(text.len() as u64 + u64::from(zero), 4);
                self.body.extend(text.as_bytes());
                self.body.extend(zero.then_some(0));
            }
            (FieldKind::WString, Val::Text(text)) => {
                let units: Vec<u16> = text.encode_utf16().collect();
                let (length, width) = if self.encoding == Encoding::Xcdr2 { (units.len() * 2, 2) } else { (units.len(), 4) };
                self.bits(length as u64, 4);
                for unit in units {
                    self.bits(unit.into(), width);
                }
            }
            (FieldKind::Struct(id), Val::Struct(values)) => {
                let fields = &self.tree.get(*id).fields;
                for (field, value) in fields.iter().zip(values) {
                    self.write(&field.kind, value);
                }
                if fields.is_empty() && self.encoding != Encoding::Ros1 {
                    self.body.push(0);
                }
            }
            (FieldKind::List { element, .. }, Val::List(values)) => {
                self.size_of(element);
                self.bits(values.len() as u64, 4);
                values.iter().for_each(|value| self.write(element, value));
            }
            (FieldKind::Array { element, .. }, Val::List(values)) => {
                self.size_of(element);
                values.iter().for_each(|value| self.write(element, value));
            }
            other => panic!("{other:?}"),
        }
    }

    fn size_of(&mut self, element: &FieldKind) {
        let is_number = matches!(element, FieldKind::Bool | FieldKind::Int(_) | FieldKind::UInt(_) | FieldKind::Float(_));
        if self.encoding == Encoding::Xcdr2 && !is_number {
            self.bits(0, 4);
        }
    }
}

fn encode(tree: &Tree, encoding: Encoding, value: &Val) -> Vec<u8> {
    let mut writer = Writer { encoding, tree, body: Vec::new() };
    writer.write(&FieldKind::Struct(tree.root_id()), value);
    [encoding.header(), &writer.body].concat()
}

fn random_kind(random: &mut Random, types: usize, depth: usize, encoding: Encoding) -> FieldKind {
    let widths = [1, 2, 4, 8];
    match random.below(if depth > 2 { 9 } else { 14 }) {
        0 => FieldKind::Bool,
        1 | 2 => FieldKind::Int(widths[random.below(4) as usize]),
        3 | 4 => FieldKind::UInt(widths[random.below(4) as usize]),
        5 => FieldKind::Float(4),
        6 => FieldKind::Float(8),
        7 if encoding != Encoding::Ros1 => FieldKind::WString,
        7 | 8 => FieldKind::String,
        9 | 10 => list(random_kind(random, types, depth + 1, encoding)),
        11 => {
            let lengths = [0, 1, 2, 3, 9, 70, 20_000];
            let element = random_kind(random, types, depth + 2, encoding);
            // What may have no bytes may not be there so often.
            let shown = match element {
                _ if depth > 0 => 5,
                FieldKind::Array { .. } | FieldKind::Struct(_) => 6,
                _ => 7,
            };
            array(element, lengths[random.below(shown) as usize])
        }
        _ if types > 0 => FieldKind::Struct(TypeId(random.below(types as u64) as u32)),
        _ => FieldKind::Float(8),
    }
}

/// Returns types that only refer to earlier ones, the last of which is the root.
fn random_tree(random: &mut Random, encoding: Encoding) -> Tree {
    let mut types: Vec<Type> = Vec::new();
    for index in 0..1 + random.below(4) as usize {
        let count = random.below(if index == 0 { 4 } else { 7 });
        let fields = (0..count).map(|place| {
            let kind = random_kind(random, index, 0, encoding);
            field(&format!("f{place}"), kind)
        });
        let fields: Vec<Field> = fields.collect();
        types.push(Type { name: format!("T{index}"), fields, ..Type::default() });
    }
    let root = TypeId(types.len() as u32 - 1);
    Tree::new(types, root).unwrap()
}

fn random_value(random: &mut Random, tree: &Tree, kind: &FieldKind) -> Val {
    match kind {
        FieldKind::Bool => Val::Bits(random.below(2)),
        FieldKind::Int(width) | FieldKind::UInt(width) => Val::Bits(random.next() >> (64 - 8 * u32::from(*width))),
        FieldKind::Float(4) => Val::Bits((random.next() as u32).into()),
        FieldKind::Float(_) => Val::Bits(random.next()),
        FieldKind::String | FieldKind::WString => {
            Val::Text((0..random.below(9)).map(|_| ['a', 'é', '"', '\n', '😀'][random.below(5) as usize]).collect())
        }
        FieldKind::Struct(id) => Val::Struct(tree.get(*id).fields.iter().map(|field| random_value(random, tree, &field.kind)).collect()),
        FieldKind::List { element, .. } => Val::List((0..random.below(5)).map(|_| random_value(random, tree, element)).collect()),
        FieldKind::Array { element, length } => Val::List((0..*length).map(|_| random_value(random, tree, element)).collect()),
        other => panic!("{other:?}"),
    }
}

/// Returns what a number's shortest text is when `serde_json` reads it, which is not always that number.
fn float(value: f64, shortest: &str) -> Value {
    match value {
        value if value.is_nan() => "NaN".into(),
        value if value.is_infinite() => (if value > 0.0 { "Infinity" } else { "-Infinity" }).into(),
        _ => serde_json::from_str(shortest).unwrap(),
    }
}

fn float32(value: f32) -> Value {
    float(value.into(), zmij::Buffer::new().format(value))
}

fn float64(value: f64) -> Value {
    float(value, zmij::Buffer::new().format(value))
}

/// Returns what a value is in JSON.
fn expected(tree: &Tree, kind: &FieldKind, value: &Val) -> Value {
    match (kind, value) {
        (FieldKind::Bool, Val::Bits(bits)) => (*bits != 0).into(),
        (FieldKind::Int(width), Val::Bits(bits)) => {
            let unused = 64 - 8 * u32::from(*width);
            ((bits << unused) as i64 >> unused).into()
        }
        (FieldKind::UInt(_), Val::Bits(bits)) => (*bits).into(),
        (FieldKind::Float(4), Val::Bits(bits)) => float32(f32::from_bits(*bits as u32)),
        (FieldKind::Float(_), Val::Bits(bits)) => float64(f64::from_bits(*bits)),
        (_, Val::Text(text)) => text.as_str().into(),
        (FieldKind::Struct(id), Val::Struct(values)) => {
            let fields = tree.get(*id).fields.iter().zip(values);
            Value::Object(fields.map(|(field, value)| (field.name.clone(), expected(tree, &field.kind, value))).collect())
        }
        (FieldKind::List { element, .. } | FieldKind::Array { element, .. }, Val::List(values)) => {
            values.iter().map(|value| expected(tree, element, value)).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// Returns a value of an Arrow array as JSON.
fn arrow_value(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    let items = |items: &dyn Array| (0..items.len()).map(|index| arrow_value(items, index)).collect();
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float32 => float32(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => float64(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::Binary => array.as_binary::<i32>().value(row).into(),
        DataType::List(_) => items(&*array.as_list::<i32>().value(row)),
        DataType::FixedSizeList(..) => items(&*array.as_fixed_size_list().value(row)),
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            Value::Object(columns.map(|(field, column)| (field.name().clone(), arrow_value(column, row))).collect())
        }
        other => panic!("{other}"),
    }
}

fn batch_rows(batch: &RecordBatch) -> Vec<Value> {
    let row = |row| {
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns());
        Value::Object(columns.map(|(field, column)| (field.name().clone(), arrow_value(column, row))).collect::<Map<_, _>>())
    };
    (0..batch.num_rows()).map(row).collect()
}

fn scalar_value(scalar: &Scalar<'_>, is_float32: bool) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Bool(value) => (*value).into(),
        Scalar::Int(value) => (*value).into(),
        Scalar::UInt(value) => (*value).into(),
        Scalar::Float(value) if is_float32 => float32(*value as f32),
        Scalar::Float(value) => float64(*value),
        Scalar::Text(value) => value.as_ref().into(),
        Scalar::Bytes(value) => value.as_ref().into(),
    }
}

/// Lists the paths of a value's parts with what they are.
fn paths(tree: &Tree, kind: &FieldKind, value: &Val, path: &str, found: &mut Vec<(String, FieldKind, Value)>) {
    let mut note = |path: String, kind: &FieldKind, value: &Val| {
        found.push((path.clone(), kind.clone(), expected(tree, kind, value)));
        paths(tree, kind, value, &path, found);
    };
    match (kind, value) {
        (FieldKind::Struct(id), Val::Struct(values)) => {
            for (field, value) in tree.get(*id).fields.iter().zip(values) {
                let dot = if path.is_empty() { "" } else { "." };
                note(format!("{path}{dot}{}", field.name), &field.kind, value);
            }
        }
        (FieldKind::List { element, .. } | FieldKind::Array { element, .. }, Val::List(values)) => {
            for (index, value) in values.iter().enumerate().take(3) {
                note(format!("{path}[{index}]"), element, value);
            }
            if matches!(kind, FieldKind::List { .. }) {
                found.push((format!("{path}[{}]", values.len()), FieldKind::Json, Value::Null));
            }
        }
        _ => {}
    }
}

fn is_scalar(kind: &FieldKind) -> bool {
    !matches!(kind, FieldKind::Struct(_) | FieldKind::List { .. } | FieldKind::Array { .. })
}

fn json_of(decoder: &Decoder, payload: &[u8]) -> crate::Result<Value> {
    let mut out = b"kept".to_vec();
    match decoder.json(payload, &mut out) {
        Ok(()) => Ok(serde_json::from_slice(&out[4..]).unwrap()),
        Err(error) => {
            assert_eq!(out, b"kept");
            Err(error)
        }
    }
}

/// Returns the rows that a sink makes of payloads, the slow way.
fn walked_rows(decoder: &Decoder, payloads: &[Vec<u8>]) -> Vec<Value> {
    let (mut table, schema) = build(decoder.tree(), decoder.inner.names.clone(), &[]).unwrap();
    for payload in payloads {
        table.begin_row();
        decoder.inner.codec.walk(payload, &mut table).unwrap();
        table.end_row().unwrap();
    }
    batch_rows(&table.finish(&schema).unwrap())
}

fn check(seed: u64, encoding: Encoding) {
    let mut random = Random(seed);
    let tree = random_tree(&mut random, encoding);
    let root = FieldKind::Struct(tree.root_id());
    let values: Vec<Val> = (0..3).map(|_| random_value(&mut random, &tree, &root)).collect();
    let payloads: Vec<Vec<u8>> = values.iter().map(|value| encode(&tree, encoding, value)).collect();
    let rows: Vec<Value> = values.iter().map(|value| expected(&tree, &root, value)).collect();
    let decoder = Decoder::of_tree(encoding.name(), tree.clone()).unwrap();
    let mut columns = decoder.columns(&[]).unwrap();
    for (payload, row) in payloads.iter().zip(&rows) {
        assert_eq!(json_of(&decoder, payload).unwrap(), *row, "{tree:#?}");
        let cut = &payload[..random.below(payload.len() as u64 + 1) as usize];
        let kept = columns.len();
        let pushed = columns.push(cut);
        assert_eq!(columns.len(), kept + usize::from(pushed.is_ok()));
        if pushed.is_ok() {
            assert_eq!(json_of(&decoder, cut).unwrap(), *row, "what a cut payload lacks is nothing");
        } else {
            columns.push(payload).unwrap();
        }
    }
    assert_eq!(batch_rows(&columns.finish().unwrap()), rows, "{tree:#?}");
    assert_eq!(walked_rows(&decoder, &payloads), rows, "{tree:#?}");
    check_fields(&decoder, &mut random, &payloads, &values);
}

fn check_fields(decoder: &Decoder, random: &mut Random, payloads: &[Vec<u8>], values: &[Val]) {
    let tree = decoder.tree();
    let root = FieldKind::Struct(tree.root_id());
    for (payload, value) in payloads.iter().zip(values) {
        let mut found = Vec::new();
        paths(tree, &root, value, "", &mut found);
        let mut chosen: Vec<&(String, FieldKind, Value)> = Vec::new();
        for one in &found {
            let (path, kind, expected) = one;
            let reader = decoder.field(path).unwrap();
            let mut out = Vec::new();
            reader.json(payload, &mut out).unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), *expected, "{path} of {tree:#?}");
            match reader.read(payload) {
                Ok(Scalar::Bytes(bytes)) => {
                    let numbers = expected.as_array().unwrap().iter().map(|number| number.as_i64().unwrap() as u8);
                    assert_eq!(bytes, numbers.collect::<Vec<_>>(), "{path} of {tree:#?}");
                }
                Ok(scalar) => assert_eq!(scalar_value(&scalar, *kind == FieldKind::Float(4)), *expected, "{path} of {tree:#?}"),
                Err(error) => assert!(!is_scalar(kind) && error.kind() == Kind::Invalid, "{path}: {error}"),
            }
            let apart = |other: &&(String, FieldKind, Value)| !other.0.starts_with(path) && !path.starts_with(&other.0);
            if random.below(3) == 0 && chosen.iter().all(apart) {
                chosen.push(one);
            }
        }
        let names: Vec<&str> = chosen.iter().map(|(path, ..)| path.as_str()).collect();
        if names.is_empty() {
            continue;
        }
        let mut columns = decoder.columns(&names).unwrap();
        columns.push(payload).unwrap();
        columns.push(payload).unwrap();
        let row = Value::Object(chosen.iter().map(|(path, _, value)| (path.clone(), value.clone())).collect());
        assert_eq!(batch_rows(&columns.finish().unwrap()), [row.clone(), row], "{names:?} of {tree:#?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_decoded_the_same_in_every_way(seed: u64, encoding in 0..4usize) {
        check(seed, Encoding::ALL[encoding]);
    }

    #[test]
    fn arbitrary_bytes_are_an_error_or_a_value_and_cost_little(seed: u64, mut payload in proptest::collection::vec(0..8u8, 0..200), encoding in 0..4usize) {
        let encoding = Encoding::ALL[encoding];
        let tree = random_tree(&mut Random(seed), encoding);
        if let Some(start) = payload.get_mut(..encoding.header().len()) {
            start.copy_from_slice(encoding.header());
        }
        let decoder = Decoder::of_tree(encoding.name(), tree).unwrap();
        let json = json_of(&decoder, &payload);
        let mut columns = decoder.columns(&[]).unwrap();
        let pushed = columns.push(&payload);
        // Columns do not look at what stands behind the last one.
        prop_assert!(pushed.is_ok() || json.is_err());
        let batch = columns.finish().unwrap();
        prop_assert_eq!(batch.num_rows(), usize::from(pushed.is_ok()));
        if json.is_ok() {
            let held: usize = batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum();
            prop_assert!(held <= 64 * payload.len() + 64 * batch.columns().len() + 200_000, "{} bytes for {}", held, payload.len());
        }
    }
}

fn decoder(encoding: &str, fields: Vec<Field>) -> Decoder {
    Decoder::of_tree(encoding, tree(vec![("T", fields), ("Empty", vec![])])).unwrap()
}

#[track_caller]
fn check_json(decoder: &Decoder, payload: &[u8], expected: &str) {
    let mut out = Vec::new();
    let text = match decoder.json(payload, &mut out) {
        Ok(()) => String::from_utf8(out).unwrap(),
        Err(error) => format!("{:?}: {error}", error.kind()),
    };
    assert_eq!(text, expected);
}

#[test]
fn odd_payloads_are_defined() {
    let cdr = decoder("cdr", vec![field("ok", FieldKind::Bool), field("name", FieldKind::String)]);
    check_json(&cdr, b"\0\x01\0\0\x02\0\0\0\x03\0\0\0ab\0", r#"{"ok":true,"name":"ab"}"#);
    check_json(&cdr, b"\0\x01\0\0\0\0\0\0\x02\0\0\0ab", r#"{"ok":false,"name":"ab"}"#);
    check_json(&cdr, b"\0\x01\0\0\0\0\0\0\0\0\0\0", r#"{"ok":false,"name":""}"#);
    check_json(&cdr, b"\0\x01\0\0\0\0\0\0\x04\0\0\0a\xff\0\0xyz", "{\"ok\":false,\"name\":\"a\u{fffd}\\u0000\"}");
    check_json(&cdr, b"\0\x01\0\0\0\0\0\0\x09\0\0\0ab", "Corrupt: the message ends too early: at byte 8 of 10 something of 9 bytes begins");
    check_json(&cdr, b"\0\x01\0\0\0", "Corrupt: the message ends too early: at byte 1 of 1 something of 4 bytes begins");
    check_json(&cdr, b"", "Corrupt: the message has 0 bytes, too few for a CDR header");
    check_json(&cdr, b"\0\x01\0", "Corrupt: the message has 3 bytes, too few for a CDR header");
    check_json(&cdr, b"\0\x02\0\0", "Invalid: CDR of the kind PL_CDR, a parameter list is not decoded");
    check_json(&cdr, b"\0\x09\0\0", "Invalid: CDR of the kind D_CDR2, XCDR2 with types that may be extended is not decoded");
    check_json(&cdr, b"{\"a\"", "Corrupt: the message begins with 7b 22, which is no CDR header");
}

#[test]
fn invalid_text_is_replaced_in_columns_and_the_rest_of_it_is_kept() {
    let ros1 = decoder("ros1", vec![field("name", FieldKind::String)]);
    let mut columns = ros1.columns(&[]).unwrap();
    columns.push(b"\x02\0\0\0ab").unwrap();
    columns.push(b"\x03\0\0\0a\xff\0").unwrap();
    columns.push(b"\0\0\0\0").unwrap();
    let rows = batch_rows(&columns.finish().unwrap());
    assert_eq!(rows, [json!({"name": "ab"}), json!({"name": "a\u{fffd}\0"}), json!({"name": ""})]);
    assert_eq!(ros1.field("name").unwrap().read(b"\x01\0\0\0\xff").unwrap(), Scalar::Text("\u{fffd}".into()));
}

#[test]
fn elements_without_bytes_are_counted() {
    let ros1 = decoder("ros1", vec![field("many", list(FieldKind::Struct(TypeId(1))))]);
    check_json(&ros1, b"\x02\0\0\0", r#"{"many":[{},{}]}"#);
    let refused = "Corrupt: 4294967295 elements without bytes; a message may have 1024 of them";
    check_json(&ros1, b"\xff\xff\xff\xff", refused);
    let mut columns = ros1.columns(&[]).unwrap();
    assert_eq!(columns.push(b"\xff\xff\xff\xff").unwrap_err().to_string(), refused[9..]);
    columns.push(b"\x02\0\0\0").unwrap();
    assert_eq!(batch_rows(&columns.finish().unwrap()), [json!({"many": [{}, {}]})]);
    // In CDR a struct without fields has a byte, but a message may leave it out.
    check_json(&decoder("cdr", vec![]), b"\0\x01\0\0", "{}");
}

#[test]
fn types_that_unfold_without_end_are_refused() {
    let twice = |id: u32| vec![field("a", FieldKind::Struct(TypeId(id))), field("b", FieldKind::Struct(TypeId(id)))];
    let types: Vec<Type> = (1..40).map(|id| Type { name: "T".into(), fields: twice(id), ..Type::default() }).collect();
    let types = [types, vec![Type { name: "T".into(), fields: vec![field("x", FieldKind::Bool)], ..Type::default() }]].concat();
    let refused = Decoder::of_tree("cdr", Tree::new(types, TypeId(0)).unwrap()).unwrap_err();
    assert_eq!(refused.to_string(), "T has more than 100000 fields, or nests too deeply");
    let itself = Decoder::of_tree("ros1", tree(vec![("T", vec![field("a", list(FieldKind::Struct(TypeId(0))))])])).unwrap_err();
    assert_eq!(itself.to_string(), "T holds itself, which ROS 1 cannot");
    let map = FieldKind::Map { key: Box::new(FieldKind::String), value: Box::new(FieldKind::Bool) };
    let refused = Decoder::of_tree("cdr", tree(vec![("T", vec![field("a", map)])])).unwrap_err();
    assert_eq!(refused.to_string(), "T holds a map, which CDR cannot");
    assert_eq!(Decoder::of_tree("xml", imu()).unwrap_err().to_string(), "messages in the encoding 'xml' are not decoded");
}

#[test]
fn ulog_is_packed_and_its_padding_is_shown_nowhere() {
    let nested = vec![field("a", FieldKind::UInt(1)), field("_padding0", array(FieldKind::UInt(1), 3))];
    let fields = vec![
        field("timestamp", FieldKind::UInt(8)),
        field("n", FieldKind::Struct(TypeId(1))),
        field("name", FieldKind::FixedText { length: 4 }),
        field("_padding0", array(FieldKind::UInt(1), 2)),
        field("x", FieldKind::Float(4)),
        field("_padding1", array(FieldKind::UInt(1), 5)),
    ];
    let decoder = Decoder::of_tree("ulog", tree(vec![("t", fields), ("n", nested)])).unwrap();
    let payload = [&7u64.to_le_bytes()[..], &[1, 9, 9, 9], b"ab\0c", &[9, 9], &0.1f32.to_le_bytes()].concat();
    check_json(&decoder, &payload, r#"{"timestamp":7,"n":{"a":1},"name":"ab","x":0.1}"#);
    let mut columns = decoder.columns(&[]).unwrap();
    columns.push(&payload).unwrap();
    let rows = batch_rows(&columns.finish().unwrap());
    assert_eq!(rows, [json!({"timestamp": 7, "n": {"a": 1}, "name": "ab", "x": 0.1})]);
    assert_eq!(decoder.stamp().unwrap().read(&payload).unwrap(), Some(7_000));
    assert_eq!(decoder.field("name").unwrap().read(&payload).unwrap(), Scalar::Text("ab".into()));
}

#[test]
fn lists_of_bytes_are_read_without_a_copy() {
    let cdr = decoder("cdr", vec![field("name", FieldKind::String), field("data", list(FieldKind::UInt(1)))]);
    let payload = b"\0\x01\0\0\x02\0\0\0a\0\0\0\x03\0\0\0\x01\x02\x03";
    assert_eq!(cdr.field("data").unwrap().read(payload).unwrap(), Scalar::Bytes(b"\x01\x02\x03".as_slice().into()));
    assert_eq!(cdr.field("data[1]").unwrap().read(payload).unwrap(), Scalar::UInt(2));
    assert_eq!(cdr.field("data[3]").unwrap().read(payload).unwrap(), Scalar::Null);
}

#[test]
fn stamps_are_found_in_headers() {
    let decoder = Decoder::of_tree("cdr", imu()).unwrap();
    let payload = [&[0, 1, 0, 0][..], &5i32.to_le_bytes(), &7u32.to_le_bytes()].concat();
    assert_eq!(decoder.stamp().unwrap().read(&payload).unwrap(), Some(5_000_000_007));
    assert!(super::tests::decoder("cdr", vec![field("stamp", FieldKind::Float(8))]).stamp().is_none());
}

#[test]
fn bytes_in_a_message_without_fields_are_another_type() {
    for (encoding, fits, refused) in [("cdr", vec![4, 5, 8], 9), ("ros1", vec![0], 1)] {
        let decoder = decoder(encoding, Vec::new());
        let payload = |length: usize| [0, 1, 0, 0, 0, 0, 0, 0, 0][..length].to_vec();
        fits.into_iter().for_each(|length| check_json(&decoder, &payload(length), "{}"));
        let message = decoder.json(&payload(refused), &mut Vec::new()).unwrap_err().to_string();
        assert!(message.contains("has no fields") && message.contains("'tapeloop schema add DIR'"), "{message}");
        assert!(decoder.columns(&[]).unwrap().push(&payload(refused)).is_err());
    }
}

#[test]
fn a_field_is_asked_for_once() {
    let decoder = Decoder::of_tree("cdr", imu()).unwrap();
    for paths in [["header", "header.stamp"], ["header.stamp", "header"], ["orientation.x", "orientation.x"]] {
        let refused = decoder.columns(&paths).unwrap_err().to_string();
        assert_eq!(refused, format!("a field is asked for twice: {}", paths[1]));
    }
    assert_eq!(decoder.columns(&["nothing"]).unwrap_err().kind(), Kind::NotFound);
    let schema = decoder.columns(&["header.stamp.sec", "orientation_covariance[4]"]).unwrap().schema();
    let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
    assert_eq!(names, ["header.stamp.sec", "orientation_covariance[4]"]);
}

#[test]
fn decoders_are_shared_between_threads() {
    fn is_shared<T: Send + Sync + Clone>(_: &T) {}
    let decoder = Decoder::of_tree("cdr", imu()).unwrap();
    is_shared(&decoder);
    is_shared(&decoder.field("header.frame_id").unwrap());
    let columns: Arc<dyn Send> = Arc::new(decoder.columns(&[]).unwrap());
    drop(columns);
}
