//! What is refused, and in which words.

use super::{fields, refusal, schema, tree};
use crate::message::Topic;
use crate::schema::library::Library;
use crate::schema::{parse, parse_topic};

const RULE: &str = "================================================================================";

#[test]
fn a_type_that_nobody_defines_is_named_with_the_remedy() {
    assert_eq!(
        refusal("ros2msg", "a/msg/T", "b_msgs/Other other\nint8 x\nMore[] more"),
        "'a/msg/T' needs 'a/msg/More' (in 'a/msg/T'), 'b_msgs/msg/Other' (in 'a/msg/T'), which nothing defines: \
         give the definitions with 'tapeloop schema add DIR'"
    );
    assert!(refusal("ros1msg", "a/T", &format!("B b\n{RULE}\nMSG: a/B\nC c")).starts_with("'a/T' needs 'a/C' (in 'a/B'), which nothing"));
    assert!(refusal("", "a/msg/T", "").contains("schema encoding '' is not read"));
    let unknown = schema("", "my_msgs/msg/T", "");
    assert_eq!(
        parse(&unknown, "cdr", &Library::standard()).unwrap_err().to_string(),
        "nothing defines 'my_msgs/msg/T': give its definition with 'tapeloop schema add DIR'"
    );
    let mut topic = Topic {
        name: "/t".into(),
        encoding: "cdr".into(),
        schema: Some(unknown.into()),
        metadata: [("topic_type_hash".into(), "RIHS01_ab".into())].into(),
    };
    assert!(parse_topic(&topic, &Library::standard()).unwrap_err().to_string().contains("with the hash RIHS01_ab"));
    topic.schema = None;
    assert!(parse_topic(&topic, &Library::standard()).unwrap_err().to_string().contains("'/t' has no schema"));
}

#[test]
fn definitions_that_hold_themselves_are_refused_with_the_circle() {
    let text = format!("B b\n{RULE}\nMSG: a/B\nC[] c\n{RULE}\nMSG: a/C\nB b\n");
    assert_eq!(refusal("ros2msg", "a/msg/A", &text), "a message cannot hold itself: 'a/msg/B' holds 'a/msg/C' holds 'a/msg/B'");
    assert_eq!(refusal("ros1msg", "a/A", "A a"), "a message cannot hold itself: 'a/A' holds 'a/A'");
    assert!(refusal("ros2idl", "a/A", "module a { typedef B C; typedef C B; struct A { B b; }; };").contains("nests more than 16 deep"));
}

#[test]
fn a_second_definition_must_have_the_same_fields() {
    let text = |second: &str| format!("B b\n{RULE}\nMSG: a/B\nint8 x\n{RULE}\nMSG: a/B\n{second}\n");
    assert_eq!(fields(&tree("ros2msg", "a/msg/A", &text("# in other words\nint8 x 3\nint8 Y=1"))), ["b: a/msg/B"]);
    assert_eq!(refusal("ros2msg", "a/msg/A", &text("int16 x")), "'a/msg/B' is defined twice, and not with the same fields");
    assert_eq!(refusal("ros2msg", "a/msg/A", "int8 x\nint16 x"), "'a/msg/A' has two fields named 'x'");
}

#[test]
fn lines_that_are_not_understood_are_shown() {
    for (text, why) in [
        ("int8", "line 1 of 'a/msg/T': a type and a name are wanted: 'int8'"),
        ("\n int8 9x", "line 2 of 'a/msg/T': the name must begin with a letter and have only letters, digits and _: 'int8 9x'"),
        ("int8[ x", "line 1 of 'a/msg/T': a ] is wanted at the end of the type: 'int8[ x'"),
        ("int8[x] x", "line 1 of 'a/msg/T': 'x' is no size: 'int8[x] x'"),
        ("int8[99999999999] x", "'99999999999' is no size"),
        ("string<=x x", "'x' is no size"),
        ("int8 X=", "a value is wanted behind ="),
        ("Other X=1", "only numbers, bools and strings can be constants"),
        ("int8[] X=1", "only numbers, bools and strings can be constants"),
        ("a//b x", "the type is no name"),
        ("int8 x-1", "a space is wanted behind the name"),
        ("@optional int8 x", "the annotation @optional is not read"),
    ] {
        let refused = refusal("ros2msg", "a/msg/T", text);
        assert!(refused.contains(why), "{text}: {refused}");
    }
    assert!(refusal("ros1msg", "a/T", "int8 x 1").contains("a type and a name and nothing else"));
    assert!(refusal("ros1msg", "a/T", "int8[<=1] x").contains("ROS 1 has no bounds"));
    assert!(refusal("ros1msg", "a/T", &format!("int8 x\n{RULE}\nSRV: a/S\nint8 x\n")).contains("begins with MSG:, not SRV:"));
    assert!(
        refusal("ros2msg", "a/srv/S", "int8 x\n---\nint8 y")
            .contains("'a/srv/S' is no message: its messages are 'a/srv/S_Request', 'a/srv/S_Response'")
    );
    assert_eq!(refusal("xml", "a", "b"), "schema encoding 'xml' is not read");
}

#[test]
fn idl_that_is_known_and_not_read_is_refused_by_name() {
    for (text, why) in [
        ("union U switch (long) { case 1: long a; }; struct T { U u; };", "'U' is a union, which is not read"),
        ("bitmask U { A, B }; struct T { U u; };", "'U' is a bitmask, which is not read"),
        ("struct B { long a; }; struct T : B { long b; };", "'T' is a struct that extends another, which is not read"),
        ("struct T { @optional long b; };", "'T' holds an optional member, which is not read"),
        ("@mutable struct T { long b; };", "'T' is a mutable struct, which is not read"),
        ("struct T { map<string, long> b; };", "'T' holds a map, which is not read"),
        ("struct T { long double b; };", "'T' holds a long double, which is not read"),
        ("enum T { A };", "'T' is no struct"),
        ("struct T { long b };", "line 1 of an IDL text: ';' is wanted, not '}'"),
        ("struct T { long b[N]; };", "'N' is no constant"),
        ("struct T { string<-1> b; };", "'-1' is no size"),
        ("module a { struct T { long b; }; ", "is wanted, not the end"),
        ("struct T { /* long b; };", "a comment does not end"),
        ("@unit(value=\"m) struct T {};", "a text does not end"),
        ("funny T;", "'funny' begins no definition that is read"),
        ("struct $ {};", "'$' is no sign of IDL"),
    ] {
        let refused = refusal("ros2idl", "T", text);
        assert!(refused.contains(why), "{text}: {refused}");
    }
    // What no message holds costs nothing.
    assert_eq!(fields(&tree("ros2idl", "T", "union U switch (long) { case 1: long a; }; struct T { long b; };")), ["b: i32"]);
}

#[test]
fn definitions_beyond_the_limits_are_refused() {
    let deep: String = (0..70).map(|n| format!("T{} x\n{RULE}\nMSG: a/T{}\n", n + 1, n + 1)).collect();
    assert!(refusal("ros2msg", "a/msg/T0", &format!("{deep}int8 x")).contains("more than 64 types deep"));
    // Each type holds the next one twice: 2 to the power of 40 values.
    let wide: String = (0..40).map(|n| format!("T{0} x\nT{0} y\n{RULE}\nMSG: a/T{0}\n", n + 1)).collect();
    assert!(refusal("ros2msg", "a/msg/T0", &format!("{wide}int8 x")).contains("more than 1000000 values"));
    let many: String = (0..10_001).map(|n| format!("int8 x{n}\n")).collect();
    assert!(refusal("ros2msg", "a/msg/T", &many).contains("more than 10000 fields"));
    let long = "x".repeat(600);
    assert!(refusal("ros2msg", &format!("a/msg/{long}"), "int8 x").contains("a name of 606 characters"));
    let nested = format!("struct T {{ {} long {} a; }};", "sequence<".repeat(40), ">".repeat(40));
    assert!(refusal("ros2idl", "T", &nested).contains("types nest more than 16 deep"));
    let modules = "module m {".repeat(40);
    assert!(refusal("ros2idl", "T", &modules).contains("modules are more than 16 deep"));
}

#[test]
fn long_texts_take_no_longer_than_they_are() {
    let huge = 1 << 20;
    let minus = format!("const long X = {};", "-".repeat(huge));
    assert!(refusal("ros2idl", "T", &minus).contains("nothing defines 'T'"));
    let comments = format!("float64 x # {}\n", "[in ".repeat(1_000));
    let many: String = (0..1_000).map(|n| comments.replacen('x', &format!("x{n}"), 1)).collect();
    assert_eq!(fields(&tree("ros2msg", "a/msg/T", &many)).len(), 1_000);
    assert!(refusal("ros2msg", "a/msg/T", &"[".repeat(huge)).contains("a type and a name are wanted"));
    assert!(refusal("ros2idl", "T", &"@a(".repeat(huge / 3)).contains("an annotation does not end"));
    assert!(refusal("ros2idl", "T", &"/".repeat(huge)).contains("nothing defines 'T'"));
}
