use bytes::Bytes;
use proptest::prelude::*;
use prost_reflect::prost::Message;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type as Proto};
use prost_reflect::prost_types::source_code_info::Location;
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    MessageOptions, OneofDescriptorProto, SourceCodeInfo,
};

use super::*;

/// Returns a field of a descriptor; types are named with a dot in front.
pub(crate) fn field(name: &str, number: i32, kind: Proto, type_name: &str) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        r#type: Some(kind.into()),
        label: Some(Label::Optional.into()),
        type_name: (!type_name.is_empty()).then(|| type_name.into()),
        ..FieldDescriptorProto::default()
    }
}

fn repeated(field: FieldDescriptorProto) -> FieldDescriptorProto {
    FieldDescriptorProto { label: Some(Label::Repeated.into()), ..field }
}

fn message(name: &str, fields: Vec<FieldDescriptorProto>) -> DescriptorProto {
    DescriptorProto { name: Some(name.into()), field: fields, ..DescriptorProto::default() }
}

fn entry(name: &str, key: Proto, value: Proto, value_type: &str) -> DescriptorProto {
    let options = Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() });
    DescriptorProto { options, ..message(name, vec![field("key", 1, key, ""), field("value", 2, value, value_type)]) }
}

const SCALARS: [Proto; 15] = [
    Proto::Double,
    Proto::Float,
    Proto::Int64,
    Proto::Uint64,
    Proto::Int32,
    Proto::Fixed64,
    Proto::Fixed32,
    Proto::Bool,
    Proto::String,
    Proto::Bytes,
    Proto::Uint32,
    Proto::Sfixed32,
    Proto::Sfixed64,
    Proto::Sint32,
    Proto::Sint64,
];

/// Returns a set with `rover.Everything` (proto3) and `old.Everything` (proto2), which have every kind of field.
pub(crate) fn set() -> FileDescriptorSet {
    let mut fields = Vec::new();
    for (index, kind) in (1..).zip(SCALARS) {
        let name = kind.as_str_name().trim_start_matches("TYPE_").to_lowercase();
        fields.push(field(&format!("a_{name}"), index, kind, ""));
        fields.push(repeated(field(&format!("many_{name}"), 100 + index, kind, "")));
        let optional = field(&format!("maybe_{name}"), 1000 + index, kind, "");
        fields.push(FieldDescriptorProto { proto3_optional: Some(true), oneof_index: Some(index), ..optional });
    }
    fields.push(field("mode", 50, Proto::Enum, ".rover.Mode"));
    fields.push(repeated(field("modes", 51, Proto::Enum, ".rover.Mode")));
    fields.push(field("inner", 52, Proto::Message, ".rover.Everything.Inner"));
    fields.push(repeated(field("inners", 53, Proto::Message, ".rover.Everything.Inner")));
    fields.push(field("self", 54, Proto::Message, ".rover.Everything"));
    fields.push(repeated(field("by_name", 55, Proto::Message, ".rover.Everything.ByNameEntry")));
    fields.push(repeated(field("by_number", 56, Proto::Message, ".rover.Everything.ByNumberEntry")));
    for (name, number, kind, type_name) in [
        ("choice_text", 57, Proto::String, ""),
        ("choice_inner", 58, Proto::Message, ".rover.Everything.Inner"),
        ("choice_mode", 59, Proto::Enum, ".rover.Mode"),
    ] {
        fields.push(FieldDescriptorProto { oneof_index: Some(0), ..field(name, number, kind, type_name) });
    }
    let oneofs = ["choice".to_owned()].into_iter().chain((1..=SCALARS.len()).map(|index| format!("_{index}")));
    let everything = DescriptorProto {
        nested_type: vec![
            message("Inner", vec![field("x", 1, Proto::Sint32, ""), repeated(field("texts", 2, Proto::String, ""))]),
            entry("ByNameEntry", Proto::String, Proto::Message, ".rover.Everything.Inner"),
            entry("ByNumberEntry", Proto::Sint64, Proto::Float, ""),
        ],
        oneof_decl: oneofs.map(|name| OneofDescriptorProto { name: Some(name), options: None }).collect(),
        ..message("Everything", fields)
    };
    let value = |name: &str, number| EnumValueDescriptorProto { name: Some(name.into()), number: Some(number), options: None };
    let mode = EnumDescriptorProto {
        name: Some("Mode".into()),
        value: vec![value("IDLE", 0), value("DRIVING", 1), value("REVERSING", -1)],
        ..EnumDescriptorProto::default()
    };
    let said = |path: &[i32], text: &str| Location { path: path.to_vec(), leading_comments: Some(text.into()), ..Location::default() };
    let proto3 = FileDescriptorProto {
        name: Some("rover.proto".into()),
        package: Some("rover".into()),
        message_type: vec![everything],
        enum_type: vec![mode],
        source_code_info: Some(SourceCodeInfo { location: vec![said(&[4, 0], " All there is.\n"), said(&[4, 0, 2, 0], " The first.\n")] }),
        syntax: Some("proto3".into()),
        ..FileDescriptorProto::default()
    };
    let old = DescriptorProto {
        nested_type: vec![message("Group", vec![field("x", 1, Proto::Int32, "")])],
        ..message(
            "Everything",
            vec![
                FieldDescriptorProto { label: Some(Label::Required.into()), ..field("must", 1, Proto::Int32, "") },
                FieldDescriptorProto { default_value: Some("7".into()), ..field("may", 2, Proto::Int32, "") },
                field("group", 3, Proto::Group, ".old.Everything.Group"),
                repeated(field("groups", 4, Proto::Group, ".old.Everything.Group")),
                repeated(field("numbers", 5, Proto::Int32, "")),
            ],
        )
    };
    let proto2 = FileDescriptorProto {
        name: Some("old.proto".into()),
        package: Some("old".into()),
        message_type: vec![old],
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![proto3, proto2] }
}

/// Returns the schema of a message of a set.
pub(crate) fn schema_of(name: &str, set: &FileDescriptorSet) -> Schema {
    Schema { name: name.into(), encoding: "protobuf".into(), data: Bytes::from(set.encode_to_vec()) }
}

fn shown(tree: &Tree, name: &str) -> String {
    let found = tree.root().fields.iter().find(|field| field.name == name).unwrap();
    format!("{:?} #{}{}", found.kind, found.number, if found.optional { " optional" } else { "" })
}

#[test]
fn every_kind_of_field_has_its_kind_and_presence() {
    let tree = parse(&schema_of("rover.Everything", &set())).unwrap();
    assert_eq!((tree.root().name.as_str(), tree.root().comment.as_str()), ("rover.Everything", "All there is."));
    assert_eq!(tree.root().fields[0].comment, "The first.");
    for (name, expected) in [
        ("a_double", "Float(8) #1"),
        ("a_sint32", "Int(4) #14"),
        ("many_fixed64", "List { element: UInt(8), bound: None } #106"),
        ("maybe_bytes", "Bytes #1010 optional"),
        ("inner", "Struct(TypeId(1)) #52 optional"),
        ("self", "Struct(TypeId(0)) #54 optional"),
        ("inners", "List { element: Struct(TypeId(1)), bound: None } #53"),
        ("by_name", "Map { key: String, value: Struct(TypeId(1)) } #55"),
        ("by_number", "Map { key: Int(8), value: Float(4) } #56"),
        ("choice_text", "String #57 optional"),
    ] {
        assert_eq!(shown(&tree, name), expected, "{name}");
    }
    let FieldKind::Enum(mode) = &tree.root().fields.iter().find(|field| field.name == "mode").unwrap().kind else { panic!("no enum") };
    assert_eq!((mode.name.as_str(), mode.names[&-1].as_str(), mode.names.len()), ("rover.Mode", "REVERSING", 3));
}

#[test]
fn proto2_fields_may_be_absent_unless_they_must_not() {
    let tree = parse(&schema_of(".old.Everything", &set())).unwrap();
    let found: Vec<String> = tree.root().fields.iter().map(|field| shown(&tree, &field.name)).collect();
    let expected = [
        "Int(4) #1",
        "Int(4) #2 optional",
        "Struct(TypeId(1)) #3 optional",
        "List { element: Struct(TypeId(1)), bound: None } #4",
        "List { element: Int(4), bound: None } #5",
    ];
    assert_eq!(found, expected);
    assert_eq!(tree.root().fields[1].default, "7");
}

#[test]
fn types_that_are_not_defined_cost_their_field_only() {
    let lost =
        message("Lost", vec![field("stamp", 1, Proto::Message, ".google.protobuf.Timestamp"), field("what", 2, Proto::Message, ".a.B")]);
    let file = FileDescriptorProto { message_type: vec![lost], syntax: Some("proto3".into()), ..FileDescriptorProto::default() };
    let tree = parse(&schema_of("Lost", &FileDescriptorSet { file: vec![file] })).unwrap();
    assert_eq!(shown(&tree, "stamp"), "Struct(TypeId(1)) #1 optional");
    assert_eq!(tree.types()[1].fields[0].name, "seconds");
    assert_eq!(shown(&tree, "what"), "Bytes #2 optional");
}

#[test]
fn a_message_that_is_not_there_is_refused_with_those_that_are() {
    let error = parse(&schema_of("rover.Nothing", &set())).unwrap_err();
    assert_eq!(error.to_string(), "no message 'rover.Nothing' in its protobuf definition, which has: rover.Everything, old.Everything");
    assert!(parse(&schema_of("rover.Mode", &set())).is_err());
}

#[test]
fn hostile_sets_are_refused_in_little_memory() {
    // Two bytes each: as many empty messages, or fields, as the limit of a definition holds.
    let many_messages: Vec<u8> = [0x22, 0].repeat(1 << 20);
    let many_fields: Vec<u8> = [0x12, 0].repeat(1 << 20);
    for body in [many_messages, many_fields] {
        let mut file = vec![0x22];
        prost_reflect::prost::encoding::encode_varint(body.len() as u64 + 3, &mut file);
        file.extend_from_slice(b"\x0a\x01M");
        file.extend(body);
        let mut set = vec![0x0a];
        prost_reflect::prost::encoding::encode_varint(file.len() as u64, &mut set);
        set.extend(file);
        let schema = Schema { name: "M".into(), encoding: "protobuf".into(), data: Bytes::from(set) };
        let _ = parse(&schema);
    }
    let mut deep = message("M", Vec::new());
    for _ in 0..80 {
        deep = DescriptorProto { nested_type: vec![deep], ..message("M", Vec::new()) };
    }
    let file = FileDescriptorProto { message_type: vec![deep], ..FileDescriptorProto::default() };
    assert!(parse(&schema_of("M", &FileDescriptorSet { file: vec![file] })).is_err());
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&Schema { name: "M".into(), encoding: "protobuf".into(), data: Bytes::from(bytes) });
    }

    #[test]
    fn damaged_sets_are_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = set().encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut.index(3));
        let _ = parse(&Schema { name: "rover.Everything".into(), encoding: "protobuf".into(), data: Bytes::from(bytes) });
    }
}
