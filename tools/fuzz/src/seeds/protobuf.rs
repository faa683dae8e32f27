//! A descriptor set and messages of it, written byte by byte.
//!
//! **Invariant:** `a.B` has a field of every way of writing.

/// Returns a set that defines `a.B`.
pub(super) fn set() -> Vec<u8> {
    let mut fields = Vec::new();
    for kind in (1..=9).chain(12..=18).filter(|kind| ![10, 11, 14].contains(kind)) {
        fields.push(field(&format!("s{kind}"), kind, kind, 1, ""));
        fields.push(field(&format!("r{kind}"), 20 + kind, kind, 3, ""));
    }
    fields.push(field("mode", 50, 14, 1, ".a.Mode"));
    fields.push(field("self", 51, 11, 1, "B"));
    fields.push(field("selves", 52, 11, 3, ".a.B"));
    fields.push(field("map", 53, 11, 3, ".a.B.MapEntry"));
    fields.push(field("group", 54, 10, 1, ".a.B"));
    fields.push([field("one", 55, 9, 1, ""), varint(9, 0)].concat());
    fields.push([field("other", 300, 11, 1, ".google.protobuf.Timestamp"), varint(9, 0)].concat());
    let entry =
        [sized(1, b"MapEntry"), sized(2, &field("key", 1, 9, 1, "")), sized(2, &field("value", 2, 11, 1, ".a.B")), sized(7, &varint(7, 1))];
    let fields: Vec<u8> = fields.iter().flat_map(|field| sized(2, field)).collect();
    let message = [sized(1, b"B"), fields, sized(3, &entry.concat()), sized(8, &sized(1, b"choice"))].concat();
    let value = |name: &str, number| sized(2, &[sized(1, name.as_bytes()), varint(2, number)].concat());
    let mode = [sized(1, b"Mode"), value("OFF", 0), value("ON", 1)].concat();
    let comment = sized(1, &[sized(1, &[4, 0, 2, 0]), sized(3, b" The first.")].concat());
    let file = [sized(2, b"a"), sized(4, &message), sized(5, &mode), sized(9, &comment), sized(12, b"proto3")].concat();
    sized(1, &file)
}

/// Returns messages of `a.B`.
pub(super) fn messages() -> Vec<Vec<u8>> {
    let scalars =
        [varint(3, 7), varint(5, u64::MAX), varint(17, 3), sized(9, "ü".as_bytes()), sized(12, &[0, 255]), varint(8, 1), varint(50, 1)]
            .concat();
    let fixed = [vec![9, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f], vec![21, 0, 0, 0x80, 0x3f]].concat();
    let lists = [sized(25, &[1, 2, 0x80, 1]), varint(25, 3), sized(22, &[0; 8]), sized(29, b"x"), sized(29, b"")].concat();
    let inner = [sized(51, &scalars), sized(52, &lists), sized(52, b""), sized(53, &[sized(1, b"k"), sized(2, &fixed)].concat())].concat();
    let group = [tag(54, 3), varint(3, 1), tag(54, 4)].concat();
    let choice = [sized(55, b"x"), sized(300, &varint(1, 5))].concat();
    vec![[&scalars[..], &fixed, &lists, &inner, &group, &choice].concat(), scalars, inner]
}

fn field(name: &str, number: u64, kind: u64, label: u64, type_name: &str) -> Vec<u8> {
    let type_name = if type_name.is_empty() { Vec::new() } else { sized(6, type_name.as_bytes()) };
    [sized(1, name.as_bytes()), varint(3, number), varint(4, label), varint(5, kind), type_name].concat()
}

fn number(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn tag(field: u64, wire: u64) -> Vec<u8> {
    number(field << 3 | wire)
}

fn varint(field: u64, value: u64) -> Vec<u8> {
    [tag(field, 0), number(value)].concat()
}

fn sized(field: u64, bytes: &[u8]) -> Vec<u8> {
    [tag(field, 2), number(bytes.len() as u64), bytes.to_vec()].concat()
}
