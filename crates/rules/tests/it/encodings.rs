//! Lists, maps and names in every encoding: what is found, and what is not there.

use std::collections::BTreeMap;
use std::sync::Arc;

use recording::Topic;
use recording::schema::library::Library;
use rules::{Machine, Topics, rules};
use serde_json::json;

use crate::messages::{Cdr, topic};

/// Returns whether a condition is true behind one message.
#[track_caller]
fn is_true(condition: &str, topic: &Arc<Topic>, payload: &[u8]) -> bool {
    let rule = rules(&format!("[[rule]]\nname = 'r'\nwhen = \"{condition}\""), "r.toml").unwrap().swap_remove(0);
    let program = rule.program(&Topics::new([topic.clone()], &Library::empty())).unwrap_or_else(|error| panic!("{error}"));
    let mut machine = Machine::new(&rule, program, 0);
    let feed = machine.feed(topic).unwrap();
    machine.message(feed, payload, 1, &mut Vec::new());
    assert_eq!(machine.counts().unreadable, 0, "{condition}");
    machine.is_true()
}

#[test]
fn json_is_looked_into_like_everything_else() {
    let schema = json!({ "type": "object", "properties": {
        "motors": { "type": "array", "items": { "type": "object", "properties": {
            "id": { "type": "string" }, "amps": { "type": "number" },
            "log": { "type": "array", "items": { "type": "object", "properties": { "key": { "type": "string" }, "value": { "type": "integer" } } } } } } },
        "limits": { "type": "object", "additionalProperties": { "type": "number" } },
        "any": {}, "empty": { "type": "array", "items": { "type": "number" } }, "none": { "type": "array", "items": { "type": "number" } } } });
    let schema = recording::Schema { name: "Motors".into(), encoding: "jsonschema".into(), data: schema.to_string().into() };
    let topic = Arc::new(Topic { name: "/m".into(), encoding: "json".into(), schema: Some(schema.into()), metadata: BTreeMap::new() });
    let message = json!({
        "motors": [{ "amps": 3.5, "id": "left", "log": [{ "key": "hot", "value": 1 }] }, { "id": "right", "amps": null },
                   { "amps": 9, "id": "left" }],
        "limits": { "left": 4, "odd key": 5.5 }, "any": "text", "empty": [],
    });
    for (condition, expected) in [
        ("/m.motors['left'].amps == 3.5", true),
        ("/m.motors['left'].log['hot'] == 1", true),
        ("/m.motors['right'].log['hot'] is null and /m.motors['middle'].amps is null", true),
        ("any(/m.motors, it.amps > 8 and it.id == 'left')", true),
        ("all(/m.motors, it.amps > 3)", false),
        ("any(/m.motors, it.amps is null)", true),
        ("any(/m.motors, it.log['hot'] == 1)", true),
        ("any(/m.motors['left'].log, it.value == 1)", true),
        ("all(/m.motors['left'].log, it.value == 1)", true),
        ("/m.limits['odd key'] > 5 and /m.limits.left == 4 and /m.limits['x'] is null", true),
        ("/m.any == 'text' and not /m.any > 3", true),
        ("all(/m.empty, it > 1)", true),
        ("any(/m.empty, it > 1)", false),
        ("all(/m.none, it > 1)", false),
        ("all(/m.motors['middle'].log, it.value == 1)", false),
    ] {
        assert_eq!(is_true(condition, &topic, message.to_string().as_bytes()), expected, "{condition}");
    }
}

#[test]
fn the_first_element_of_a_name_is_meant_wherever_its_name_stands() {
    let definition = "Item[] items\nstring[] names\nItem[] more\n================================================================================\nMSG: demo/Item\nfloat64 before\nstring name\nfloat64 behind";
    let topic = topic("/i", "demo/msg/Items", definition);
    let mut cdr = Cdr::new();
    let items = |cdr: &mut Cdr| {
        cdr.count(3);
        for (before, name, behind) in [(1.0, "a", 2.0), (3.0, "b", 4.0), (5.0, "b", 6.0)] {
            cdr.f64(before);
            cdr.text(name);
            cdr.f64(behind);
        }
    };
    items(&mut cdr);
    cdr.count(0);
    items(&mut cdr);
    let payload = cdr.done();
    for (condition, expected) in [
        ("/i.items['b'].before == 3 and /i.items['b'].behind == 4", true),
        ("/i.more['a'].behind == 2 and /i.more['c'].behind is null", true),
        ("all(/i.names, it == 'x')", true),
        ("any(/i.more, it.name == 'b' and it.behind == 6)", true),
    ] {
        assert_eq!(is_true(condition, &topic, &payload), expected, "{condition}");
    }
}
