//! What the languages say.

use super::{fields, short, tree};

#[test]
fn ros2_messages_keep_types_bounds_defaults_and_comments() {
    let text = "\u{feff}# What it is.\r\n# In two lines.\r\n\r\n\
        # speed [m/s]\r\n\
        float64\t speed   1.5  # forwards\r\n\
        \x20                   # and backwards\r\n\
        int32[]  counts [1, 2, 3]\n\
        string<=10[<=5] names\n\
        wstring<=3 wide\n\
        string text \"a # b\" # said\n\
        byte[4] raw\n\
        char letter 65\n\
        Other other\n\
        x_msgs/Other[2] others\n\
        bool yes true\n\
        int8 A=-1 # minus\n\
        string S = \"x#y\" # z\n\
        ===============================================================================\n\
        MSG: a_msgs/Other\n\
        uint8 x\n\
        ===============================================================================\n\
        MSG: x_msgs/msg/Other\n\
        uint16 y\n";
    let tree = tree("ros2msg", "a_msgs/msg/Thing", text);
    assert_eq!(tree.root().name, "a_msgs/msg/Thing");
    assert_eq!(tree.root().comment, "What it is.\nIn two lines.");
    assert_eq!(
        fields(&tree),
        [
            "speed: f64 in m/s = 1.5 # speed [m/s]|forwards|and backwards",
            "counts: i32[] = [1, 2, 3]",
            "names: string[<=5]",
            "wide: wstring",
            "text: string = \"a # b\" # said",
            "raw: u8[4]",
            "letter: u8 = 65",
            "other: a_msgs/msg/Other",
            "others: x_msgs/msg/Other[2]",
            "yes: bool = true",
        ]
    );
    let constants: Vec<_> =
        tree.root().constants.iter().map(|c| (c.type_name.as_str(), c.name.as_str(), c.value.as_str(), c.comment.as_str())).collect();
    assert_eq!(constants, [("int8", "A", "-1", "minus"), ("string", "S", "\"x#y\"", "z")]);
}

#[test]
fn ros1_messages_have_times_headers_and_strings_to_the_end_of_the_line() {
    let text = "Header header\ntime at\nduration[] took\nstring S= a # b \nuint8 N = 3 # three\nbyte b\nchar c\nSub[] subs\n\
        ================================================================================\nMSG: std_msgs/Header\nuint32 seq\ntime stamp\nstring frame_id\n\
        ================================================================================\nMSG: p/Sub\nfloat32 x\n";
    let tree = tree("ros1msg", "p/Thing", text);
    assert_eq!(fields(&tree), ["header: std_msgs/Header", "at: time", "took: duration[]", "b: u8", "c: u8", "subs: p/Sub[]"]);
    let times: Vec<_> =
        tree.types().iter().filter(|one| one.name == "time").flat_map(|one| &one.fields).map(|f| short(&tree, &f.kind)).collect();
    assert_eq!(times, ["u32", "u32"]);
    let constants: Vec<_> = tree.root().constants.iter().map(|c| (c.name.as_str(), c.value.as_str(), c.comment.as_str())).collect();
    assert_eq!(constants, [("S", "a # b", ""), ("N", "3", "three")]);
}

#[test]
fn idl_keeps_what_ros_writes_into_it() {
    let text = r#"
// generated from rosidl_adapter/resource/msg.idl.em
#include "std_msgs/msg/Header.idl"
#pragma once

module a_msgs {
  module msg {
    typedef double double__9[9];
    module Thing_Constants {
      @verbatim (language="comment", text="the first")
      const uint8 ONE = 1;
      const string NAME = "x" "y";
    };
    const unsigned long COUNT = 0x10;
    enum Mode { OFF, ON, @value(7) AUTO };
    @verbatim (language="comment", text=
      "A thing." "\n"
      "With two lines.")
    @extensibility(FINAL)
    struct Thing {
      std_msgs::msg::Header header;

      @verbatim (language="comment", text="how fast")
      @unit (value="m/s")
      @default (value=1.5)
      double speed;  // not this

      // turned [rad]
      float angle, angles[2][3];
      double__9 covariance;
      sequence<sequence<octet, 4>, COUNT> raw;
      string<10> name;
      ::a_msgs::msg::Mode mode;
      long long big; unsigned long long ubig; /* a
       * comment */ short _struct;
      boolean yes;
      wstring wide;
    };
  };
};
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
================================================================================
IDL: builtin_interfaces/msg/Time
module builtin_interfaces { module msg { struct Time { int32 sec; uint32 nanosec; }; }; };
"#;
    let tree = tree("ros2idl", "a_msgs/msg/Thing", text);
    assert_eq!(tree.root().comment, "A thing.\nWith two lines.");
    assert_eq!(
        fields(&tree),
        [
            "header: std_msgs/msg/Header",
            "speed: f64 in m/s = 1.5 # how fast",
            "angle: f32 in rad # turned [rad]",
            "angles: f32[3][2] in rad # turned [rad]",
            "covariance: f64[9]",
            "raw: u8[<=4][<=16]",
            "name: string",
            "mode: enum 4 {0: \"OFF\", 1: \"ON\", 7: \"AUTO\"}",
            "big: i64",
            "ubig: u64",
            "struct: i16 # a\ncomment".replace('\n', "|").as_str(),
            "yes: bool",
            "wide: wstring",
        ]
    );
    let constants: Vec<_> = tree.root().constants.iter().map(|c| (c.type_name.as_str(), c.name.as_str(), c.value.as_str())).collect();
    assert_eq!(constants, [("uint8", "ONE", "1"), ("string", "NAME", "\"x\" \"y\"")]);
    assert_eq!(tree.root().constants[0].comment, "the first");
}

#[test]
fn services_and_actions_are_the_messages_they_are_made_of() {
    let service = "int64 a\nint64 b\n---\nint64 sum\n\
        ================================================================================\nMSG: service_msgs/ServiceEventInfo\nuint8 event_type\n";
    let event = tree("ros2msg", "example_interfaces/srv/AddTwoInts_Event", service);
    assert_eq!(
        fields(&event),
        [
            "info: service_msgs/msg/ServiceEventInfo",
            "request: example_interfaces/srv/AddTwoInts_Request[<=1]",
            "response: example_interfaces/srv/AddTwoInts_Response[<=1]"
        ]
    );
    assert_eq!(fields(&tree("ros2msg", "example_interfaces/srv/AddTwoInts_Response", service)), ["sum: i64"]);
    let action = "int32 order\n---\nint32[] sequence\n---\nint32[] partial\n\
        ================================================================================\nMSG: unique_identifier_msgs/UUID\nuint8[16] uuid\n";
    let feedback = tree("ros2msg", "x/action/Fibonacci_FeedbackMessage", action);
    assert_eq!(fields(&feedback), ["goal_id: unique_identifier_msgs/msg/UUID", "feedback: x/action/Fibonacci_Feedback"]);
}

#[test]
fn a_message_without_fields_has_none_unless_its_definition_names_one() {
    assert_eq!(fields(&tree("ros2msg", "a/msg/Nothing", "")), Vec::<String>::new());
    assert_eq!(fields(&tree("ros1msg", "a/Nothing", "# nothing\n")), Vec::<String>::new());
    let idl = "module a { module msg { struct Nothing { uint8 structure_needs_at_least_one_member; }; }; };";
    assert_eq!(fields(&tree("ros2idl", "a/msg/Nothing", idl)), ["structure_needs_at_least_one_member: u8"]);
}

#[test]
fn names_are_found_as_ros_finds_them() {
    let rule = "================================================================================";
    // A root without a package, as some writers have it: the only type that ends so is meant.
    let text = format!("Sub sub\n{rule}\nMSG: p/Sub\nint8 x");
    assert_eq!(fields(&tree("ros2msg", "Thing", &text)), ["sub: p/msg/Sub"]);
    // `Header` is the package's own if there is one.
    let text = format!("Header h\n{rule}\nMSG: p/Header\nint8 x\n{rule}\nMSG: std_msgs/Header\nint8 y");
    assert_eq!(fields(&tree("ros2msg", "p/Thing", &text)), ["h: p/msg/Header"]);
    assert_eq!(fields(&tree("ros1msg", "p/Thing", &text)), ["h: std_msgs/Header"]);
    // A text that begins with a heading.
    let text = format!("{rule}\nMSG: p/Thing\nint8 x\nSub s\n{rule}\nMSG: p/Sub\nint8 y\n");
    assert_eq!(fields(&tree("ros2msg", "p/msg/Thing", &text)), ["x: i8", "s: p/msg/Sub"]);
    assert_eq!(fields(&tree("ros2msg", "", &text)), ["x: i8", "s: p/msg/Sub"]);
    // A field may have the name of a type or a keyword.
    assert_eq!(
        fields(&tree("ros2msg", "p/T", "string string\nint8 int8 3\nbool type\nuint8 struct")),
        ["string: string", "int8: i8 = 3", "type: bool", "struct: u8"]
    );
}

#[test]
fn idl_may_have_other_scopes_than_those_of_ros() {
    let text = "module a { struct T { long x; }; module b { struct T { T self_; }; struct U { ::a::T t; b::T u; }; }; };";
    assert_eq!(fields(&tree("ros2idl", "a::T", text)), ["x: i32"]);
    assert_eq!(fields(&tree("ros2idl", "a/T", text)), ["x: i32"]);
    assert_eq!(fields(&tree("ros2idl", "U", "struct U { string s; };")), ["s: string"]);
    assert_eq!(fields(&tree("ros2idl", "x/msg/U", "struct U { string s; };")), ["s: string"]);
}
