//! Trees as people read them, and what changed between two.

use super::{schema, tree};
use crate::schema::difference::{What, changes};
use crate::schema::{Tree, outline};

const RULE: &str = "================================================================================";

#[test]
fn a_tree_is_lines_with_types_units_and_short_comments() {
    let text = format!(
        "# A thing.\n# More of it.\n\nuint8 OFF=0 # not on\nSub[<=2] subs # both\nfloat64[3] v # speed [m/s]\nint8 n 3\n{RULE}\nMSG: a/Sub\nstring<=9 name\n"
    );
    let lines = outline::lines(&tree("ros2msg", "a/msg/T", &text));
    assert_eq!(
        lines,
        [
            "a/msg/T  # A thing.",
            "  OFF = 0  const uint8           # not on",
            "  subs     a/msg/Sub[<=2]        # both",
            "    name   string",
            "  v        float64[3] [m/s]      # speed [m/s]",
            "  n        int8 = 3",
        ]
    );
    let json = outline::json(&tree("ros2msg", "a/msg/T", &text));
    assert_eq!(json["type"], "a/msg/T");
    assert_eq!(
        json["types"][0]["fields"][1],
        serde_json::json!({ "name": "v", "type": "float64[3]", "unit": "m/s", "comment": "speed [m/s]" })
    );
    assert_eq!(json["types"][0]["fields"][0]["types"], serde_json::json!([1]));
}

#[test]
fn a_tree_that_holds_much_of_the_same_gives_a_bounded_number_of_lines() {
    // Each type holds the next one twice: 2 to the power of 18 fields.
    let wide: String = (0..18).map(|n| format!("T{0} x\nT{0} y\n{RULE}\nMSG: a/T{0}\n", n + 1)).collect();
    let lines = outline::lines(&tree("ros2msg", "a/msg/T0", &format!("{wide}int8 x")));
    assert_eq!(lines.len(), 10_002);
    assert_eq!(lines.last().unwrap(), "  … and more");
}

fn changed(before: &str, after: &str) -> Vec<String> {
    let tree = |text: &str| tree("ros2msg", "a/msg/T", text);
    changes(&tree(before), &tree(after))
        .iter()
        .map(|c| format!("{} {} {}: {} -> {}", c.type_name, c.name, c.what.word(), c.before, c.after))
        .collect()
}

#[test]
fn changes_are_named_by_type_and_field() {
    let sub = |text: &str| format!("{RULE}\nMSG: a/Sub\n{text}\n");
    let check = |before: &str, after: &str, expected: &[&str]| assert_eq!(changed(before, after), expected);
    check("int8 x # one", "int8 x # two", &[]);
    check("int8 x", "int8 x\nint8 y", &["a/msg/T y added:  -> int8"]);
    check("int8 x\nint8 y", "int8 y", &["a/msg/T x removed: int8 -> "]);
    check("int8 x", "int16[3] x", &["a/msg/T x type: int8 -> int16[3]"]);
    check("float32 x # [m]", "float32 x # [mm]", &["a/msg/T x unit: m -> mm"]);
    check("int8 x 1", "int8 x", &["a/msg/T x default: 1 -> "]);
    check("int8 A=1", "int8 A=2", &["a/msg/T A value: int8 = 1 -> int8 = 2"]);
    check("int8 A=1", "int8 B=1", &["a/msg/T A removed: int8 = 1 -> ", "a/msg/T B added:  -> int8 = 1"]);
    check("int8 a\nint8 b\nint8 c\nint8 d", "int8 b\nint8 c\nint8 a\nint8 d", &["a/msg/T a moved: first -> behind c"]);
    check(
        &format!("Sub s\n{}", sub("int8 x")),
        &format!("Sub s\n{}", sub("int8 y")),
        &["a/msg/Sub x removed: int8 -> ", "a/msg/Sub y added:  -> int8"],
    );
    check(&format!("Sub s\n{}", sub("int8 x")), "int8 s", &["a/msg/T s type: a/msg/Sub -> int8", "a/msg/Sub  removed: a/msg/Sub -> "]);
}

#[test]
fn messages_of_two_types_are_compared_all_the_same() {
    let other: Tree = tree("ros2msg", "a/msg/U", "int8 x");
    let found = changes(&tree("ros2msg", "a/msg/T", "int8 x"), &other);
    assert_eq!((found.len(), found[0].what, found[0].after.as_str()), (1, What::Type, "a/msg/U"));
    assert!(changes(&other, &other).is_empty());
    let _ = schema("ros2msg", "a/msg/T", "");
}
