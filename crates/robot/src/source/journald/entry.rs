//! An entry of the journal as a log record.
//!
//! **Invariant:** every field that is not told otherwise is an attribute, as `journalctl --output=json` writes it.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::export::Entry;
use crate::source::record::{Level, Record};

/// The topic, below `/logs`.
pub(super) const NAME: &str = "journal";

/// Returns the record; `None` for an entry without a message.
pub(super) fn record(entry: &Entry) -> Option<Record<'_>> {
    let message = entry.text("MESSAGE")?;
    let number = |name: &str| entry.text(name)?.parse::<i64>().ok();
    // The sender's own clock is closer to what happened, where the journal has it.
    let time_us = number("_SOURCE_REALTIME_TIMESTAMP").or_else(|| number("__REALTIME_TIMESTAMP"));
    let priority = number("PRIORITY").and_then(|priority| u8::try_from(priority).ok());
    let mut attributes = Map::new();
    let mut set = |key: &str, value: Option<Value>| value.into_iter().for_each(|value| drop(attributes.insert(key.into(), value)));
    let first = |names: &[&str]| names.iter().find_map(|name| entry.text(name)).map(|text| Value::from(text.into_owned()));
    set("unit", first(&["_SYSTEMD_UNIT", "_SYSTEMD_USER_UNIT", "UNIT", "USER_UNIT"]));
    set("identifier", first(&["SYSLOG_IDENTIFIER", "_COMM"]));
    set("priority", priority.map(Value::from));
    set("pid", number("_PID").or_else(|| number("SYSLOG_PID")).map(Value::from));
    set("host", first(&["_HOSTNAME"]));
    set("code.file.path", first(&["CODE_FILE"]));
    set("code.line.number", number("CODE_LINE").map(Value::from));
    set("cut_bytes", (entry.cut_bytes > 0).then(|| json!(entry.cut_bytes)));
    for (name, bytes) in &entry.fields {
        let is_told = name.starts_with("__") || (name == "MESSAGE" && std::str::from_utf8(bytes).is_ok());
        if is_told {
            continue;
        }
        let value = match std::str::from_utf8(bytes) {
            Ok(text) => Value::from(text),
            Err(_) => Value::from(bytes.as_slice()),
        };
        match attributes.get_mut(name) {
            None => drop(attributes.insert(name.clone(), value)),
            Some(Value::Array(values)) if !values.first().is_some_and(Value::is_number) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Some(Record {
        time_ns: time_us.filter(|us| *us > 0).and_then(|us| us.checked_mul(1000)),
        level: priority.map_or(Level::Unknown, Level::of_syslog),
        message,
        name: Cow::Borrowed(NAME),
        attributes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&str, &[u8])]) -> Entry {
        Entry { fields: fields.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect(), cut_bytes: 0 }
    }

    #[test]
    fn an_entry_tells_who_when_and_how_bad() {
        let entry = entry(&[
            ("__CURSOR", b"s=1;i=2"),
            ("__REALTIME_TIMESTAMP", b"1700000000000001"),
            ("_SYSTEMD_UNIT", b"nav.service"),
            ("PRIORITY", b"3"),
            ("_PID", b"42"),
            ("CODE_FILE", b"nav.c"),
            ("MESSAGE", b"lost"),
            ("EXTRA", b"a"),
            ("EXTRA", b"\xff"),
        ]);
        let record = record(&entry).unwrap();
        assert_eq!((record.time_ns, record.level, record.message.as_ref()), (Some(1_700_000_000_000_001_000), Level::Error, "lost"));
        let of = |key: &str| record.attributes[key].clone();
        assert_eq!(
            (of("unit"), of("priority"), of("pid"), of("code.file.path")),
            (json!("nav.service"), json!(3), json!(42), json!("nav.c"))
        );
        assert_eq!((of("EXTRA"), of("_PID")), (json!(["a", [255]]), json!("42")));
        assert!(!record.attributes.contains_key("__CURSOR") && !record.attributes.contains_key("MESSAGE"));
    }

    #[test]
    fn odd_values_cost_nothing_else() {
        let odd = entry(&[("MESSAGE", b"a\xff"), ("PRIORITY", b"999"), ("__REALTIME_TIMESTAMP", b"9223372036854775807")]);
        let read = record(&odd).unwrap();
        assert_eq!((read.time_ns, read.level, read.message.as_ref()), (None, Level::Unknown, "a\u{fffd}"));
        assert_eq!(read.attributes["MESSAGE"], json!([97, 255]));
        assert!(record(&entry(&[("PRIORITY", b"3")])).is_none());
    }
}
