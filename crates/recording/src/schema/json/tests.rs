use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn schema(text: &str) -> Schema {
    Schema { name: "rover.State".into(), encoding: "jsonschema".into(), data: Bytes::copy_from_slice(text.as_bytes()) }
}

/// Returns a tree in one line: its types by number, and their fields with their kinds; `?` is optional.
fn shown(tree: &Tree) -> String {
    let kind = |kind: &FieldKind| match kind {
        FieldKind::Enum(names) => format!("Enum({:?})", names.names.values().collect::<Vec<_>>()),
        kind => format!("{kind:?}").replace("TypeId", "").replace("element: ", "").replace(", bound: None", ""),
    };
    let fields = |one: &Type| {
        let one = one.fields.iter().map(|field| format!("{}{}: {}", field.name, if field.optional { "?" } else { "" }, kind(&field.kind)));
        one.collect::<Vec<_>>().join(", ")
    };
    let types = tree.types().iter().map(|one| format!("{} {{ {} }}", one.name, fields(one)));
    types.collect::<Vec<_>>().join("; ")
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(shown(&parse(&schema(text)).unwrap()), expected);
}

#[test]
fn objects_lists_and_scalars_have_their_kinds() {
    check(
        r#"{"type": "object", "required": ["a", "b"], "properties": {
            "a": {"type": "integer"}, "b": {"type": ["number", "null"]}, "c": {"type": "string", "contentEncoding": "base64"},
            "d": {"type": "array", "items": {"type": "boolean"}}, "e": {"type": "array", "items": {"type": "number"}, "minItems": 9, "maxItems": 9},
            "f": {"type": "object", "properties": {"x": {"type": "string", "format": "date-time"}}},
            "g": {"type": "object", "additionalProperties": {"type": "integer", "format": "int32"}}, "h": {}, "i": true,
            "j": {"enum": ["on", "off"]}, "k": {"const": 3}, "l": {"type": "array", "prefixItems": [{"type": "number"}, {"type": "string"}]}}}"#,
        "rover.State { a: Int(8), b?: Float(8), c?: Bytes, d?: List { Bool }, e?: Array { Float(8), length: 9 }, f?: Struct((1)), \
         g?: Map { key: String, value: Int(4) }, h?: Json, i?: Json, j?: String, k?: Int(8), l?: List { Json } }; \
         rover.State.f { x?: String }",
    );
}

#[test]
fn references_are_followed_and_may_lead_back() {
    check(
        r##"{"$ref": "#/definitions/Node", "definitions": {"Node": {"type": "object", "properties": {
            "next": {"anyOf": [{"$ref": "#/definitions/Node"}, {"type": "null"}]}, "children": {"type": "array", "items": {"$ref": "#/definitions/Node"}},
            "root": {"$ref": "#"}, "lost": {"$ref": "#/definitions/Nobody"}, "far": {"$ref": "http://example.org/x.json"}}}}}"##,
        "rover.State { next?: Struct((0)), children?: List { Struct((0)) }, root?: Struct((0)), lost?: Json, far?: Json }",
    );
    check(
        r##"{"properties": {"v": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}"##,
        "rover.State { v?: Json }",
    );
    check(r##"{"properties": {"v": {"$ref": "#/$defs/l"}}, "$defs": {"l": {"type": "array", "items": {"$ref": "#/$defs/l"}}}}"##, &{
        let depth = DEPTH_LIMIT;
        format!("rover.State {{ v?: {}Json{} }}", "List { ".repeat(depth), " }".repeat(depth))
    });
}

#[test]
fn parts_of_all_of_are_merged() {
    check(
        r##"{"allOf": [{"$ref": "#/$defs/Stamped"}, {"properties": {"speed": {"type": "number"}}, "required": ["speed"]}],
            "$defs": {"Stamped": {"type": "object", "properties": {"stamp": {"type": "integer"}}, "required": ["stamp"]}}}"##,
        "rover.State { stamp: Int(8), speed: Float(8) }",
    );
}

#[test]
fn choices_are_enums_where_numbers_are_named_and_json_where_kinds_differ() {
    check(
        r#"{"type": "object", "properties": {
            "level": {"title": "Level", "oneOf": [{"title": "DEBUG", "const": 1}, {"title": "INFO", "const": 2}]},
            "either": {"oneOf": [{"type": "number"}, {"type": "string"}]}, "both": {"type": ["integer", "string"]}}}"#,
        r#"rover.State { level?: Enum(["DEBUG", "INFO"]), either?: Json, both?: Json }"#,
    );
}

#[test]
fn units_comments_and_defaults_are_kept() {
    let tree = parse(&schema(r#"{"description": "A state.", "properties": {"v": {"type": "number", "x-unit": "m/s", "description": "How fast.", "default": 0.5}}}"#)).unwrap();
    let field = &tree.root().fields[0];
    assert_eq!((field.unit.as_str(), field.comment.as_str(), field.default.as_str()), ("m/s", "How fast.", "0.5"));
    assert_eq!(tree.root().comment, "A state.");
}

#[test]
fn messages_that_are_no_objects_have_one_field() {
    check(r#"{"type": "array", "items": {"type": "number"}}"#, "rover.State { value: List { Float(8) } }");
    for nothing in ["{}", "true", "", r#"{"type": "object"}"#] {
        check(nothing, "rover.State {  }");
    }
    for wrong in ["[1]", "{", "3"] {
        assert!(parse(&schema(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn schemas_that_grow_by_reference_are_refused() {
    let definitions: Vec<String> = (0..100)
        .map(|n| {
            format!(r##""d{n}": {{"type": "array", "prefixItems": [{{"$ref": "#/$defs/d{m}"}}, {{"$ref": "#/$defs/d{m}"}}]}}"##, m = n + 1)
        })
        .collect();
    let text = format!(r##"{{"properties": {{"v": {{"$ref": "#/$defs/d0"}}}}, "$defs": {{{}}}}}"##, definitions.join(","));
    let error = parse(&schema(&text)).unwrap_err().to_string();
    assert!(error.contains("parts, with those that `$ref` repeats"), "{error}");
}

#[test]
fn fields_are_learned_from_messages() {
    let learned = |messages: &[&str]| shown(&infer(&messages.iter().map(|text| text.as_bytes()).collect::<Vec<_>>()).unwrap());
    assert_eq!(
        learned(&[
            r#"{"i": 1, "f": 1, "s": "a", "n": null, "m": 1, "l": [], "o": {"x": 1}, "once": true, "u": 18446744073709551615}"#,
            r#"{"i": -2, "f": 0.5, "s": "b", "n": 3, "m": "x", "l": [1, 2.5], "o": {"y": [null]}, "u": 18446744073709551615, "s": "c"}"#,
        ]),
        "o { x?: Int(8), y?: List { Json } }; \
         { i: Int(8), f: Float(8), s: String, n?: Int(8), m: Json, l: List { Float(8) }, o: Struct((0)), once?: Bool, u: UInt(8) }"
            .replace("; {", ";  {")
    );
    assert_eq!(learned(&["[1]", "[2]"]), " { value: List { Int(8) } }");
    assert_eq!(learned(&[]), " {  }");
    assert!(infer(&[b"{"]).is_err());
}

proptest! {
    #[test]
    fn arbitrary_schemas_are_read_or_refused(text in "[\\[\\]{},:\" a0]{0,40}") {
        let _ = parse(&schema(&text));
        let _ = infer(&[text.as_bytes(), b"{}"]);
    }
}
