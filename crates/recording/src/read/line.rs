//! Messages as lines: JSON, comma-separated values, or text for people.
//!
//! In come messages and the fields that are wanted, out come lines. What a topic needs to be decoded is worked out with its first
//! message.
//!
//! **Invariant:** a message is one line of JSON or one row of a table, whatever its payload is; one that cannot be decoded is told as
//! what it is.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::Recording;
use crate::decode::{Decoder, FieldReader};
use crate::error::{Error, Kind, Result};
use crate::message::{Message, Topic};
use crate::schema::library::Library;
use crate::schema::{FieldKind, Tree, TypeId};

/// How many columns the fields of a type may have in a table.
const COLUMN_LIMIT: usize = 10_000;

/// Up to how many elements an array is a column each; longer ones, and lists, are one column of JSON.
const SPREAD_LIMIT: u32 = 64;

/// Writes messages as lines.
#[derive(Debug)]
pub struct Lines {
    library: Library,
    fields: Vec<String>,
    /// By where the topic stands in memory; it is held, so that no other one comes to stand there.
    topics: HashMap<usize, (Arc<Topic>, Entry)>,
}

/// How the messages of a topic are read.
#[derive(Debug)]
enum Entry {
    Whole(Decoder),
    /// A reader for each field, where the type has it.
    Fields(Vec<Option<FieldReader>>),
    /// JSON that tells its fields itself.
    Undescribed,
    Opaque(String),
}

impl Lines {
    /// Returns a writer of whole messages, or of these fields of them. Definitions that recordings lack are looked for in `library`.
    pub fn new(library: Library, fields: &[String]) -> Self {
        Self { library, fields: fields.to_vec(), topics: HashMap::new() }
    }

    /// Checks that every field is in one of these topics' types, as far as those are known.
    ///
    /// # Errors
    /// What [`Decoder::field`] answers.
    pub fn check<'t>(&self, topics: impl IntoIterator<Item = &'t Topic>) -> Result<()> {
        let decoders: Vec<Decoder> = topics.into_iter().filter_map(|topic| Decoder::new(topic, &self.library).ok()).collect();
        if decoders.is_empty() || decoders.iter().any(Decoder::is_undescribed) {
            return Ok(());
        }
        for field in &self.fields {
            let answers: Vec<Result<FieldReader>> = decoders.iter().map(|decoder| decoder.field(field)).collect();
            if let (false, Some(Err(error))) = (answers.iter().any(Result::is_ok), answers.into_iter().next()) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Chooses the fields of a topic's type as columns: structs and short arrays are spread out.
    ///
    /// # Errors
    /// `Invalid` where the type is not known, or has too many fields.
    pub fn spread(&mut self, recording: &Recording, topic: &Topic) -> Result<()> {
        let decoder = recording.decoder(topic, &self.library)?;
        self.spread_type(&decoder)
    }

    fn spread_type(&mut self, decoder: &Decoder) -> Result<()> {
        let tree = decoder.tree();
        let mut around = Vec::new();
        spread(tree, &FieldKind::Struct(tree.root_id()), String::new(), &mut around, &mut self.fields)?;
        // What fills space in ULog is in its type, and in no message.
        self.fields.retain(|path| decoder.field(path).is_ok());
        Ok(())
    }

    /// Returns the fields that are wanted; none means whole messages.
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// Writes the message as JSON: whole, or an object of the fields that its type has, by path.
    ///
    /// # Errors
    /// In words, why it cannot be decoded; nothing is written then.
    pub fn message(&mut self, message: &Message, out: &mut Vec<u8>) -> Result<(), String> {
        let start = out.len();
        let written = match self.entry(&message.topic) {
            Entry::Whole(decoder) => decoder.json(&message.data, out).map_err(|error| error.to_string()),
            Entry::Opaque(why) => Err(why.clone()),
            Entry::Fields(_) | Entry::Undescribed => self.cells(message).map(|cells| {
                out.push(b'{');
                for (field, cell) in self.fields.iter().zip(cells) {
                    let Some(cell) = cell else { continue };
                    if out.len() > start + 1 {
                        out.push(b',');
                    }
                    out.extend(serde_json::to_vec(field).unwrap_or_default());
                    out.push(b':');
                    out.extend(cell);
                }
                out.push(b'}');
            }),
        };
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    /// Writes `{topic, log_time, publish_time, message}`. Where the message cannot be decoded it is null, and `encoding`, `bytes` and
    /// `error` say what there is and why.
    pub fn json(&mut self, message: &Message, out: &mut Vec<u8>) {
        let topic = &*message.topic;
        out.extend_from_slice(b"{\"topic\":");
        out.extend(serde_json::to_vec(&topic.name).unwrap_or_default());
        out.extend_from_slice(format!(",\"log_time\":{},\"publish_time\":{}", message.log_time_ns, message.publish_time_ns).as_bytes());
        out.extend_from_slice(b",\"message\":");
        let Err(why) = self.message(message, out) else { return out.push(b'}') };
        #[derive(Serialize)]
        struct Opaque<'a> {
            encoding: &'a str,
            bytes: usize,
            error: &'a str,
        }
        let opaque = Opaque { encoding: &topic.encoding, bytes: message.data.len(), error: &why };
        out.extend_from_slice(b"null,");
        out.extend_from_slice(serde_json::to_vec(&opaque).unwrap_or_default().get(1..).unwrap_or_default());
    }

    /// Writes the names of the columns of [`Lines::csv`].
    pub fn csv_header(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"topic,log_time,publish_time");
        for field in &self.fields {
            out.push(b',');
            write_cell(out, field);
        }
    }

    /// Writes the message as comma-separated values: topic, times in ns UTC, and the fields. What a message lacks is empty; text is as
    /// it is, in quotes where it needs them, and what has parts is JSON.
    ///
    /// # Errors
    /// In words, why it cannot be decoded; the line has the topic and the times then.
    pub fn csv(&mut self, message: &Message, out: &mut Vec<u8>) -> Result<(), String> {
        write_cell(out, &message.topic.name);
        out.extend_from_slice(format!(",{},{}", message.log_time_ns, message.publish_time_ns).as_bytes());
        let cells = self.cells(message);
        for index in 0..self.fields.len() {
            out.push(b',');
            let cell = cells.as_ref().ok().and_then(|cells| cells.get(index)?.as_deref());
            match cell {
                None | Some(b"null") => {}
                Some(text @ [b'"', ..]) => write_cell(out, &serde_json::from_slice::<String>(text).unwrap_or_default()),
                Some(json) => write_cell(out, &String::from_utf8_lossy(json)),
            }
        }
        cells.map(drop)
    }

    /// Returns each wanted field as JSON, where the type has it.
    fn cells(&mut self, message: &Message) -> Result<Vec<Option<Vec<u8>>>, String> {
        let cell = |reader: &FieldReader| {
            let mut json = Vec::new();
            reader.json(&message.data, &mut json).map(|()| json).map_err(|error| error.to_string())
        };
        let fields = self.fields.clone();
        match self.entry(&message.topic) {
            Entry::Fields(readers) => readers.iter().map(|reader| reader.as_ref().map(cell).transpose()).collect(),
            Entry::Undescribed => {
                let decoder = Decoder::learn(&[&message.data]).map_err(|error| error.to_string())?;
                fields.iter().map(|field| decoder.field(field).ok().as_ref().map(cell).transpose()).collect()
            }
            Entry::Opaque(why) => Err(why.clone()),
            Entry::Whole(_) => Ok(Vec::new()),
        }
    }

    fn entry(&mut self, topic: &Arc<Topic>) -> &Entry {
        let Self { library, fields, topics } = self;
        let place = Arc::as_ptr(topic) as usize;
        &topics.entry(place).or_insert_with(|| (topic.clone(), Entry::new(topic, library, fields))).1
    }
}

impl Entry {
    fn new(topic: &Topic, library: &Library, fields: &[String]) -> Self {
        let decoder = match Decoder::new(topic, library) {
            Ok(decoder) => decoder,
            Err(error) => return Self::Opaque(error.to_string()),
        };
        if fields.is_empty() {
            return Self::Whole(decoder);
        }
        if decoder.is_undescribed() {
            return Self::Undescribed;
        }
        let mut readers = Vec::with_capacity(fields.len());
        for field in fields {
            match decoder.field(field) {
                Ok(reader) => readers.push(Some(reader)),
                Err(error) if error.kind() == Kind::NotFound => readers.push(None),
                Err(error) => return Self::Opaque(error.to_string()),
            }
        }
        Self::Fields(readers)
    }
}

fn spread(tree: &Tree, kind: &FieldKind, path: String, around: &mut Vec<TypeId>, found: &mut Vec<String>) -> Result<()> {
    if found.len() >= COLUMN_LIMIT {
        return Err(Error::invalid(format!("more than {COLUMN_LIMIT} columns: choose some fields of {}", tree.root().name)));
    }
    match kind {
        FieldKind::Struct(id) if !around.contains(id) => {
            around.push(*id);
            for field in &tree.get(*id).fields {
                let dot = if path.is_empty() { "" } else { "." };
                spread(tree, &field.kind, format!("{path}{dot}{}", quote(&field.name)), around, found)?;
            }
            around.pop();
            Ok(())
        }
        FieldKind::Array { element, length } if *length <= SPREAD_LIMIT => {
            (0..*length).try_for_each(|index| spread(tree, element, format!("{path}[{index}]"), around, found))
        }
        _ => {
            found.push(path);
            Ok(())
        }
    }
}

/// Returns a name as it stands in a path.
fn quote(name: &str) -> String {
    match name.contains(['.', '[', '"', '\\']) {
        true => format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")),
        false => name.to_owned(),
    }
}

fn write_cell(out: &mut Vec<u8>, text: &str) {
    if !text.contains([',', '"', '\n', '\r']) {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::message::Schema;

    fn message(encoding: &str, schema: Option<(&str, &str, &'static str)>, payload: &'static [u8]) -> Message {
        let schema = schema.map(|(name, encoding, text)| {
            Arc::new(Schema { name: name.into(), encoding: encoding.into(), data: Bytes::from_static(text.as_bytes()) })
        });
        let topic = Topic { name: "/a".into(), encoding: encoding.into(), schema, metadata: BTreeMap::new() };
        let data = Bytes::from_static(payload);
        Message { topic: Arc::new(topic), log_time_ns: 2, publish_time_ns: 1, sequence: 0, identity: None, data }
    }

    fn lines(fields: &[&str]) -> Lines {
        Lines::new(Library::standard(), &fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>())
    }

    #[track_caller]
    fn check(message: &Message, fields: &[&str], expected: &str) {
        let mut out = Vec::new();
        lines(fields).json(message, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn json_without_a_schema_is_embedded_or_described() {
        let json = |payload| message("json", None, payload);
        check(&json(b"{\"x\": 1.50}"), &[], r#"{"topic":"/a","log_time":2,"publish_time":1,"message":{"x":1.50}}"#);
        let odd = json(b"{\n \"x\": \"a\\nb\"\r\n}");
        check(&odd, &[], r#"{"topic":"/a","log_time":2,"publish_time":1,"message":{"x":"a\nb"}}"#);
        check(&odd, &["x", "y"], r#"{"topic":"/a","log_time":2,"publish_time":1,"message":{"x":"a\nb"}}"#);
        let mut out = Vec::new();
        lines(&[]).json(&json(b"{oops"), &mut out);
        let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&line["message"], &line["bytes"]), (&serde_json::Value::Null, &5.into()));
        assert!(line["error"].is_string());
    }

    #[test]
    fn what_is_unknown_says_so() {
        let mut out = Vec::new();
        lines(&[]).json(&message("cdr", Some(("no/msg/Where", "ros2msg", "")), b"\0\x01"), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with(r#"{"topic":"/a","log_time":2,"publish_time":1,"message":null,"encoding":"cdr","bytes":2,"error":""#),
            "{text}"
        );
    }

    #[test]
    fn a_whole_number_is_printed_as_it_is_written() {
        let schema = r#"{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"array","items":{"type":"number"}}}}"#;
        let message = message("json", Some(("T", "jsonschema", schema)), b"{\"a\": 0, \"b\": [1, 2.5]}");
        check(&message, &["a", "b"], r#"{"topic":"/a","log_time":2,"publish_time":1,"message":{"a":0,"b":[1,2.5]}}"#);
    }

    #[test]
    fn fields_are_cells() {
        let text = "string name\nfloat32[2] xy\nuint8[] data\n";
        let payload = b"\x05\0\0\0a\",\nb\0\0\x80\x3f\0\0\0\x40\x02\0\0\0\x01\x02";
        let message = message("ros1", Some(("p/T", "ros1msg", text)), payload);
        check(&message, &["xy[1]", "nope"], r#"{"topic":"/a","log_time":2,"publish_time":1,"message":{"xy[1]":2.0}}"#);
        let mut lines = lines(&[]);
        lines.spread_type(&Decoder::new(&message.topic, &Library::standard()).unwrap()).unwrap();
        let mut out = Vec::new();
        lines.csv_header(&mut out);
        out.push(b'\n');
        lines.csv(&message, &mut out).unwrap();
        let expected = "topic,log_time,publish_time,name,xy[0],xy[1],data\n/a,2,1,\"a\"\",\nb\",1.0,2.0,\"[1,2]\"";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(
            super::Lines::new(Library::standard(), &["naem".to_owned()]).check([&*message.topic]).unwrap_err().kind(),
            Kind::NotFound
        );
    }
}
