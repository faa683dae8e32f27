//! A binary flatbuffers schema and a message of it, written byte by byte: every table stands behind what refers to it.
//!
//! **Invariant:** `a.B` has a field of every kind.

/// What a field of a table holds.
enum Part {
    Bytes(Vec<u8>),
    Text(&'static str),
    Table(Table),
    Tables(Vec<Table>),
    Texts(Vec<&'static str>),
    Vector(u32, Vec<u8>),
}

/// The fields of a table, by id.
type Table = Vec<(u16, Part)>;

/// Returns a schema that defines `a.B`.
pub(super) fn schema() -> Vec<u8> {
    let kinds = [(2, 0, -1), (3, 0, 0), (7, 0, -1), (9, 0, -1), (11, 0, -1), (12, 0, -1), (13, 0, -1), (15, 0, 0), (15, 0, 1), (14, 4, -1)];
    let more = [(14, 13, -1), (14, 15, 0), (14, 15, 1), (1, 0, 1), (16, 0, 1), (14, 3, 0)];
    let fields = (0..).zip(kinds.into_iter().chain(more)).map(|(id, kind)| field(id, kind, 4 + 2 * id)).collect();
    let of_struct = vec![field(0, (11, 0, -1), 0), field(1, (17, 4, -1), 4)];
    let objects = vec![
        vec![(0, Part::Text("a.B")), (1, Part::Tables(fields))],
        vec![(0, Part::Text("a.S")), (1, Part::Tables(of_struct)), (2, Part::Bytes(vec![1])), (4, Part::Bytes(8_u32.to_le_bytes().into()))],
    ];
    let value = |name, number: i64, index: i32| {
        let kind = kind((if index < 0 { 0 } else { 15 }, 0, index));
        vec![(0, Part::Text(name)), (1, Part::Bytes(number.to_le_bytes().into())), (3, Part::Table(kind))]
    };
    let enumeration = |name, base, values| vec![(0, Part::Text(name)), (1, Part::Tables(values)), (3, Part::Table(kind((base, 0, -1))))];
    let enums = vec![
        enumeration("a.Mode", 3, vec![value("OFF", 0, -1), value("ON", 1, -1)]),
        enumeration("a.Any", 1, vec![value("NONE", 0, -1), value("B", 1, 0), value("S", 2, 1)]),
    ];
    let mut bytes = vec![8, 0, 0, 0];
    bytes.extend(b"BFBS");
    write(&mut bytes, &vec![(0, Part::Tables(objects)), (1, Part::Tables(enums))], Some(0));
    bytes
}

/// Returns a message of `a.B`.
pub(super) fn message() -> Vec<u8> {
    let inner = || vec![(2, Part::Bytes(vec![1, 0, 0, 0])), (6, Part::Text("inner"))];
    let table = vec![
        (0, Part::Bytes(vec![1])),
        (1, Part::Bytes(vec![1])),
        (5, Part::Bytes(vec![0, 0, 0, 0, 0, 0, 0xf0, 0x3f])),
        (6, Part::Text("ü")),
        (7, Part::Table(inner())),
        (8, Part::Bytes(vec![0, 0, 0x80, 0x3f, 1, 2, 3, 4])),
        (9, Part::Vector(3, vec![1, 2, 3])),
        (10, Part::Texts(vec!["a", ""])),
        (11, Part::Tables(vec![inner(), Vec::new()])),
        (12, Part::Vector(2, vec![7; 16])),
        (13, Part::Bytes(vec![1])),
        (14, Part::Table(inner())),
        (15, Part::Vector(2, vec![0, 1])),
    ];
    let mut bytes = vec![0; 4];
    write(&mut bytes, &table, Some(0));
    bytes
}

fn kind((base, element, index): (u8, u8, i32)) -> Table {
    let length = Part::Bytes(vec![4, 0]);
    vec![(0, Part::Bytes(vec![base])), (1, Part::Bytes(vec![element])), (2, Part::Bytes(index.to_le_bytes().into())), (3, length)]
}

fn field(id: u16, of: (u8, u8, i32), at: u16) -> Table {
    const NAMES: [&str; 16] = ["f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9", "f10", "f11", "f12", "f13", "f14", "f15"];
    let number = |number: u16| Part::Bytes(number.to_le_bytes().into());
    vec![
        (0, Part::Text(NAMES[id as usize % 16])),
        (1, Part::Table(kind(of))),
        (2, number(id)),
        (3, number(at)),
        (10, Part::Texts(vec!["Says."])),
    ]
}

/// Writes a table, and to the offset at `refers` how far it is from there.
fn write(bytes: &mut Vec<u8>, table: &Table, refers: Option<usize>) {
    let start = bytes.len();
    let count = table.iter().map(|(id, _)| id + 1).max().unwrap_or(0);
    let length = 4 + 2 * count;
    bytes.extend(length.to_le_bytes());
    bytes.resize(start + usize::from(length), 0);
    let at = bytes.len();
    bytes.extend((i32::from(length)).to_le_bytes());
    if let Some(refers) = refers {
        refer(bytes, refers, at);
    }
    let mut later = Vec::new();
    for (id, part) in table {
        let offset = ((bytes.len() - at) as u16).to_le_bytes();
        let entry = start + 4 + 2 * usize::from(*id);
        bytes[entry..entry + 2].copy_from_slice(&offset);
        match part {
            Part::Bytes(own) => bytes.extend(own),
            other => {
                later.push((bytes.len(), other));
                bytes.extend([0; 4]);
            }
        }
    }
    for (from, part) in later {
        match part {
            Part::Bytes(_) => {}
            Part::Table(inner) => write(bytes, inner, Some(from)),
            Part::Text(text) => write_vector(bytes, from, text.len() as u32, text.as_bytes()),
            Part::Vector(count, elements) => write_vector(bytes, from, *count, elements),
            Part::Tables(tables) => {
                let first = write_offsets(bytes, from, tables.len());
                tables.iter().enumerate().for_each(|(index, inner)| write(bytes, inner, Some(first + 4 * index)));
            }
            Part::Texts(texts) => {
                let first = write_offsets(bytes, from, texts.len());
                texts
                    .iter()
                    .enumerate()
                    .for_each(|(index, text)| write_vector(bytes, first + 4 * index, text.len() as u32, text.as_bytes()));
            }
        }
    }
}

fn write_vector(bytes: &mut Vec<u8>, from: usize, count: u32, elements: &[u8]) {
    let to = bytes.len();
    refer(bytes, from, to);
    bytes.extend(count.to_le_bytes());
    bytes.extend(elements);
    bytes.push(0);
}

fn write_offsets(bytes: &mut Vec<u8>, from: usize, count: usize) -> usize {
    let to = bytes.len();
    refer(bytes, from, to);
    bytes.extend((count as u32).to_le_bytes());
    bytes.resize(bytes.len() + 4 * count, 0);
    to + 4
}

fn refer(bytes: &mut [u8], from: usize, to: usize) {
    bytes[from..from + 4].copy_from_slice(&((to - from) as u32).to_le_bytes());
}
