//! Arbitrary texts, and definitions that are written and read again.

use proptest::prelude::*;

use super::schema;
use crate::schema::definition::{Kind, Meaning};
use crate::schema::library::Library;
use crate::schema::line::{self, Dialect};
use crate::schema::{parse, section};

const ENCODINGS: [&str; 3] = ["ros1msg", "ros2msg", "ros2idl"];

/// Texts that come far: words of the languages in any order.
fn words() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "int8",
        "string<=3",
        "time",
        "Header",
        "a/B",
        "x",
        "y[2]",
        "z[<=3]",
        "[",
        "]",
        "=",
        "=1",
        "#",
        "# [m]",
        "\"",
        "'",
        "\\",
        "\n",
        "\r\n",
        "\t",
        "---",
        "\n================================================================================\nMSG: a/B\n",
        "\n================================================================================\nIDL: a/msg/B\n",
        "\n================================================================================\nSRV: a/srv/B\n",
        "module",
        "struct",
        "enum",
        "typedef",
        "union",
        "const",
        "sequence",
        "<",
        ">",
        "{",
        "}",
        ";",
        ",",
        "::",
        "@unit(value=\"m\")",
        "@",
        "(",
        ")",
        "long",
        "unsigned",
        "0x",
        "9",
        "-1",
        "/*",
        "*/",
        "//",
        "#include",
        "é",
        "\u{feff}",
        "module a { module msg { struct B { long x; }; }; };",
    ]);
    prop::collection::vec((word, prop::sample::select(vec![" ", "", "\n"])), 0..60)
        .prop_map(|words| words.into_iter().map(|(word, space)| format!("{word}{space}")).collect())
}

fn type_text() -> impl Strategy<Value = String> {
    let single = prop::sample::select(vec![
        "bool",
        "byte",
        "char",
        "int8",
        "uint8",
        "int16",
        "uint16",
        "int32",
        "uint32",
        "int64",
        "uint64",
        "float32",
        "float64",
        "string",
        "wstring",
        "string<=7",
        "wstring<=9",
        "a/B",
        "a/msg/B",
        "B",
        "Header",
    ]);
    (single, prop::sample::select(vec!["", "[]", "[4]", "[<=5]"])).prop_map(|(single, size)| format!("{single}{size}"))
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in prop_oneof![any::<String>(), words()], name in "[a-z]{0,2}(/[a-zB]{0,3}){0,3}") {
        for encoding in ENCODINGS {
            // What is read is whole; what is refused says why.
            match parse(&schema(encoding, &name, &text), "", &Library::empty()) {
                Ok(tree) => prop_assert!(tree.root_id().0 < tree.types().len() as u32),
                Err(error) => prop_assert!(!error.message().is_empty()),
            }
        }
    }

    #[test]
    fn sections_hold_every_byte_of_a_text(text in words()) {
        let sections = section::split(&text);
        let start = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
        let mut at = 0;
        for section in &sections {
            // Between two sections there is a heading.
            prop_assert!(start(section.text) >= at);
            prop_assert!(section.name.is_empty() || text[at..start(section.text)].contains(section.name));
            at = start(section.text) + section.text.len();
        }
        prop_assert_eq!(at, text.len());
    }

    #[test]
    fn what_is_written_reads_as_it_was(
        fields in prop::collection::vec((type_text(), "[a-z][a-z0-9_]{0,6}", prop::option::of("[1-9][0-9]{0,3}"), "[a-z]{0,5}"), 0..12),
        constants in prop::collection::vec(("[A-Z]{1,4}", "-?[1-9][0-9]{0,3}", "[a-z]{0,5}"), 0..4),
        head in "[a-z]{0,9}",
    ) {
        let mut text = if head.is_empty() { String::new() } else { format!("# {head}\n\n") };
        for (name, value, comment) in &constants {
            text += &format!("int32 {name}={value} # {comment}\n");
        }
        for (kind, name, default, comment) in &fields {
            text += &format!("{kind} {name} {} # {comment}\n", default.clone().unwrap_or_default());
        }
        let read = line::definition(&text, "a/msg/T", Dialect::Ros2).unwrap();
        prop_assert_eq!(read.members.len(), fields.len());
        let again = line::definition(&line::write(&read, |member| member.written.clone()), "a/msg/T", Dialect::Ros2).unwrap();
        prop_assert_eq!(Meaning::Struct(again), Meaning::Struct(read.clone()));
        for (member, (kind, ..)) in read.members.iter().zip(&fields) {
            prop_assert_eq!(matches!(member.kind, Kind::List(..)), kind.ends_with("[]") || kind.ends_with("[<=5]"));
        }
    }
}
