use bytes::Bytes;
use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, TableFinishedWIPOffset, WIPOffset};
use proptest::prelude::*;

use super::*;

type Built = WIPOffset<TableFinishedWIPOffset>;

/// Makes a binary schema, table by table.
struct Maker {
    builder: FlatBufferBuilder<'static>,
}

/// What a test says of a field.
#[derive(Clone, Copy, Default)]
struct Said {
    base: u8,
    element: u8,
    index: Option<i32>,
    length: u16,
    /// Its offset in a struct.
    at: Option<u16>,
    integer: i64,
    real: f64,
    deprecated: bool,
    required: bool,
    optional: bool,
}

impl Maker {
    fn stored(&mut self, said: &Said) -> Built {
        let start = self.builder.start_table();
        self.builder.push_slot_always(place::of(0), said.base);
        self.builder.push_slot(place::of(1), said.element, 0);
        self.builder.push_slot(place::of(2), said.index.unwrap_or(-1), -1);
        self.builder.push_slot(place::of(3), said.length, 0);
        let end = self.builder.end_table(start);
        WIPOffset::new(end.value())
    }

    fn field(&mut self, name: &str, id: u16, said: &Said) -> Built {
        let name = self.builder.create_string(name);
        let stored = self.stored(said);
        let line = self.builder.create_string(" What it is.");
        let lines = self.builder.create_vector(&[line]);
        let start = self.builder.start_table();
        self.builder.push_slot_always(place::of(0), name);
        self.builder.push_slot_always(place::of(1), stored);
        self.builder.push_slot(place::of(2), id, 0);
        self.builder.push_slot(place::of(3), said.at.unwrap_or(place::of(id)), 0);
        self.builder.push_slot(place::of(4), said.integer, 0);
        self.builder.push_slot(place::of(5), said.real, 0.0);
        self.builder.push_slot(place::of(6), said.deprecated, false);
        self.builder.push_slot(place::of(7), said.required, false);
        self.builder.push_slot_always(place::of(10), lines);
        self.builder.push_slot(place::of(11), said.optional, false);
        let end = self.builder.end_table(start);
        WIPOffset::new(end.value())
    }

    fn object(&mut self, name: &str, fields: &[Built], struct_size: i32) -> Built {
        let name = self.builder.create_string(name);
        let fields = self.tables(fields);
        let start = self.builder.start_table();
        self.builder.push_slot_always(place::of(0), name);
        self.builder.push_slot_always(place::of(1), fields);
        self.builder.push_slot(place::of(2), struct_size > 0, false);
        self.builder.push_slot(place::of(4), struct_size, 0);
        let end = self.builder.end_table(start);
        WIPOffset::new(end.value())
    }

    fn enumeration(&mut self, name: &str, underlying: u8, values: &[(&str, i64, Said)]) -> Built {
        let mut built = Vec::new();
        for (name, number, member) in values {
            let name = self.builder.create_string(name);
            let member = self.stored(member);
            let start = self.builder.start_table();
            self.builder.push_slot_always(place::of(0), name);
            self.builder.push_slot(place::of(1), *number, 0);
            self.builder.push_slot_always(place::of(3), member);
            let end = self.builder.end_table(start);
            built.push(WIPOffset::new(end.value()));
        }
        let name = self.builder.create_string(name);
        let values = self.tables(&built);
        let underlying = self.stored(&Said { base: underlying, ..Said::default() });
        let start = self.builder.start_table();
        self.builder.push_slot_always(place::of(0), name);
        self.builder.push_slot_always(place::of(1), values);
        self.builder.push_slot_always(place::of(3), underlying);
        let end = self.builder.end_table(start);
        WIPOffset::new(end.value())
    }

    fn tables(&mut self, tables: &[Built]) -> WIPOffset<flatbuffers::Vector<'static, ForwardsUOffset<TableFinishedWIPOffset>>> {
        self.builder.create_vector(tables)
    }

    fn finish(mut self, objects: &[Built], enums: &[Built]) -> Vec<u8> {
        let (objects, enums) = (self.tables(objects), self.tables(enums));
        let start = self.builder.start_table();
        self.builder.push_slot_always(place::of(0), objects);
        self.builder.push_slot_always(place::of(1), enums);
        let end = self.builder.end_table(start);
        self.builder.finish(end, Some("BFBS"));
        self.builder.finished_data().to_vec()
    }
}

fn plain(base: u8) -> Said {
    Said { base, ..Said::default() }
}

fn of(base: u8, element: u8, index: i32) -> Said {
    Said { base, element, index: Some(index), ..Said::default() }
}

/// Returns the binary schema of `rover.Everything`, which has every kind of field: `Pose` is a struct of 8 bytes.
pub(crate) fn everything() -> Schema {
    let mut make = Maker { builder: FlatBufferBuilder::new() };
    let (list, object, union) = (code::VECTOR, code::OBJECT, code::UNION);
    let fields: Vec<(&str, Said)> = vec![
        ("flag", plain(2)),
        ("small", plain(3)),
        ("large", plain(10)),
        ("gain", Said { real: 1.5, ..plain(11) }),
        ("x", plain(12)),
        ("name", plain(code::STRING)),
        ("mode", Said { integer: 1, ..of(3, 0, 0) }),
        ("pose", of(object, 0, 2)),
        ("inner", of(object, 0, 1)),
        ("inners", of(list, object, 1)),
        ("poses", of(list, object, 2)),
        ("data", of(list, 4, -1)),
        ("names", of(list, code::STRING, -1)),
        ("any_type", of(code::UNION_TYPE, 0, 1)),
        ("any", of(union, 0, 1)),
        ("old", Said { deprecated: true, ..plain(7) }),
        ("modes", of(list, 3, 0)),
        ("maybe", Said { optional: true, ..plain(7) }),
        ("anys_type", of(list, code::UNION_TYPE, 1)),
        ("anys", of(list, union, 1)),
        ("self", of(object, 0, 0)),
        ("numbers", Said { required: true, ..of(list, 12, -1) }),
    ];
    let mut fields: Vec<Built> = (0..).zip(&fields).map(|(id, (name, said))| make.field(name, id, said)).collect();
    fields.reverse();
    let everything = make.object("rover.Everything", &fields, 0);
    let inner = [make.field("x", 0, &plain(7)), make.field("text", 1, &plain(code::STRING))];
    let inner = make.object("rover.Inner", &inner, 0);
    let code = Said { at: Some(6), length: 2, ..of(code::ARRAY, 4, -1) };
    let pose = [
        make.field("at", 0, &Said { at: Some(0), ..of(object, 0, 3) }),
        make.field("mode", 1, &Said { at: Some(4), ..of(3, 0, 0) }),
        make.field("code", 2, &code),
    ];
    let pose = make.object("rover.Pose", &pose, 8);
    let point = [make.field("x", 1, &Said { at: Some(2), ..plain(5) })];
    let point = make.object("rover.Point", &point, 4);
    let mode = make.enumeration("rover.Mode", 3, &[("REVERSING", -1, plain(0)), ("IDLE", 0, plain(0)), ("DRIVING", 1, plain(0))]);
    let members = [("NONE", 0, plain(0)), ("Inner", 1, of(object, 0, 1)), ("Pose", 4, of(object, 0, 2)), ("Text", 5, plain(code::STRING))];
    let any = make.enumeration("rover.Any", 1, &members);
    let data = make.finish(&[everything, inner, pose, point], &[mode, any]);
    Schema { name: "rover.Everything".into(), encoding: "flatbuffer".into(), data: Bytes::from(data) }
}

fn shown(tree: &Tree) -> Vec<String> {
    let shown = |field: &Field| {
        let kind = format!("{:?}", field.kind).split(" {").next().unwrap_or_default().to_owned();
        format!("{}{} #{} {kind} {}", field.name, if field.optional { "?" } else { "" }, field.number, field.default)
    };
    tree.root().fields.iter().map(shown).collect()
}

#[test]
fn every_kind_of_field_has_its_kind_place_and_default() {
    let defined = define(&everything()).unwrap();
    let tree = &defined.tree;
    assert_eq!(
        shown(tree),
        [
            "flag #0 Bool false",
            "small #1 Int(1) 0",
            "large #2 UInt(8) 0",
            "gain #3 Float(4) 1.5",
            "x #4 Float(8) 0",
            "name? #5 String ",
            "mode #6 Enum(Enum 1",
            "pose? #7 Struct(TypeId(2)) ",
            "inner? #8 Struct(TypeId(1)) ",
            "inners? #9 List ",
            "poses? #10 List ",
            "data? #11 List ",
            "names? #12 List ",
            "any_type #13 Enum(Enum 0",
            "any? #14 Union([(\"Inner\", TypeId(1)), (\"Pose\", TypeId(2))]) ",
            "modes? #16 List ",
            "maybe? #17 Int(4) ",
            "anys_type? #18 List ",
            "anys? #19 List ",
            "self? #20 Struct(TypeId(0)) ",
            "numbers #21 List ",
        ]
    );
    assert_eq!(tree.root().fields[0].comment, "What it is.");
    assert_eq!(defined.layouts[2].struct_size, Some(8));
    assert_eq!(defined.layouts[0].places[14].members, [1, 4]);
}

#[test]
fn what_is_no_binary_schema_or_lacks_the_table_is_refused() {
    let refused = |schema: Schema| parse(&schema).unwrap_err().to_string();
    let everything = everything();
    assert!(refused(Schema { name: "rover.Nothing".into(), ..everything.clone() }).contains("no table 'rover.Nothing' among its 4 types"));
    assert!(refused(Schema { name: "rover.Pose".into(), ..everything.clone() }).contains("is a struct"));
    assert!(refused(Schema { data: Bytes::from_static(b"table X {}"), ..everything.clone() }).contains("no binary schema"));
    assert!(refused(Schema { data: everything.data.slice(..40), ..everything }).contains("malformed flatbuffer"));
}

proptest! {
    #[test]
    fn damaged_schemas_are_read_or_refused(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut data = everything().data.to_vec();
        for (at, byte) in damage {
            let at = at.index(data.len());
            data[at] = byte;
        }
        let _ = parse(&Schema { data: Bytes::from(data), ..everything() });
    }
}
