//! A message as one line of JSON.
//!
//! In come the calls of a decoder, out comes text behind what stands in a buffer. Numbers that are no numbers are `"NaN"`,
//! `"Infinity"` and `"-Infinity"`, bytes are base64, numbers with names are their names, and floats are the shortest text
//! that reads back as the same number.
//!
//! **Invariant:** the text of whole messages is valid JSON without a line break, whatever names and texts hold.

use std::borrow::Cow;

use super::Scalar;
use super::sink::Sink;
use crate::json::{write_base64, write_text};
use crate::schema::{Enum, Tree, TypeId};

/// The names of a tree's fields as they stand in JSON: `"name":`.
#[derive(Debug, Default)]
pub(crate) struct Names {
    types: Vec<Vec<Box<[u8]>>>,
}

impl Names {
    /// Returns the names of all types' fields. Those that `is_hidden` names are empty: they are shown nowhere.
    pub(crate) fn of(tree: &Tree, is_hidden: impl Fn(&str) -> bool) -> Self {
        let quoted = |name: &str| {
            let mut out = Vec::with_capacity(name.len() + 3);
            if !is_hidden(name) {
                write_text(&mut out, name);
                out.push(b':');
            }
            out.into_boxed_slice()
        };
        Self { types: tree.types().iter().map(|one| one.fields.iter().map(|field| quoted(&field.name)).collect()).collect() }
    }

    /// Returns whether a field is shown nowhere.
    pub(crate) fn hides(&self, id: TypeId, index: usize) -> bool {
        self.get(id).get(index).is_some_and(|name| name.is_empty())
    }

    fn get(&self, id: TypeId) -> &[Box<[u8]>] {
        self.types.get(id.0 as usize).map_or(&[], Vec::as_slice)
    }
}

/// What has begun and not ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Open {
    /// A struct, and the field that is due.
    Struct(TypeId, u32),
    /// A list, and whether it has elements.
    List(bool),
    /// A map, and whether it has entries.
    Map(bool),
}

/// Writes values as JSON.
pub(crate) struct JsonWriter<'w> {
    pub(crate) out: &'w mut Vec<u8>,
    pub(crate) names: &'w Names,
    /// Empty before and after a value.
    pub(crate) open: &'w mut Vec<Open>,
}

impl JsonWriter<'_> {
    /// Writes what stands before a value: a comma, where it is not the first one.
    #[inline]
    fn before(&mut self) {
        if let Some(Open::List(filled)) = self.open.last_mut() {
            if *filled {
                self.out.push(b',');
            }
            *filled = true;
        }
    }

    /// Writes the field that is due as null, up to field `end`.
    fn skip_to(&mut self, end: usize) {
        let Some(Open::Struct(id, due)) = self.open.last_mut() else { return };
        let names = self.names.get(*id);
        let first = *due as usize;
        for name in names.iter().take(end).skip(first).filter(|name| !name.is_empty()) {
            write_name(self.out, name);
            self.out.extend_from_slice(b"null");
        }
        *due = (*due).max(end as u32);
    }
}

/// Writes the name of a field behind a brace, or behind another field.
#[inline]
fn write_name(out: &mut Vec<u8>, name: &[u8]) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.extend_from_slice(name);
}

impl<'a> Sink<'a> for JsonWriter<'_> {
    fn begin_struct(&mut self, id: TypeId) {
        self.before();
        self.out.push(b'{');
        self.open.push(Open::Struct(id, 0));
    }

    fn field(&mut self, index: usize) -> bool {
        self.skip_to(index);
        let Some(Open::Struct(id, due)) = self.open.last_mut() else { return false };
        let Some(name) = self.names.get(*id).get(index) else { return false };
        if (index as u32) < *due || name.is_empty() {
            return false;
        }
        *due = index as u32 + 1;
        write_name(self.out, name);
        true
    }

    fn end_struct(&mut self) {
        let Some(Open::Struct(id, _)) = self.open.last() else { return };
        self.skip_to(self.names.get(*id).len());
        self.open.pop();
        self.out.push(b'}');
    }

    fn begin_list(&mut self) {
        self.before();
        self.out.push(b'[');
        self.open.push(Open::List(false));
    }

    fn end_list(&mut self) {
        self.open.pop();
        self.out.push(b']');
    }

    fn begin_map(&mut self) {
        self.before();
        self.out.push(b'{');
        self.open.push(Open::Map(false));
    }

    fn key(&mut self, key: Scalar<'a>) {
        if let Some(Open::Map(filled)) = self.open.last_mut() {
            if *filled {
                self.out.push(b',');
            }
            *filled = true;
        }
        match key {
            Scalar::Null => self.out.extend_from_slice(b"\"null\""),
            Scalar::Bool(value) => self.out.extend_from_slice(if value { b"\"true\"" } else { b"\"false\"" }),
            Scalar::Int(value) => write_text(self.out, itoa::Buffer::new().format(value)),
            Scalar::UInt(value) => write_text(self.out, itoa::Buffer::new().format(value)),
            Scalar::Float(value) => write_text(self.out, zmij::Buffer::new().format(value)),
            Scalar::Text(value) => write_text(self.out, &value),
            Scalar::Bytes(value) => write_base64(self.out, &value),
        }
        self.out.push(b':');
    }

    fn end_map(&mut self) {
        self.open.pop();
        self.out.push(b'}');
    }

    fn null(&mut self) {
        self.before();
        self.out.extend_from_slice(b"null");
    }

    fn bool(&mut self, value: bool) {
        self.before();
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn int(&mut self, value: i64) {
        self.before();
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    fn uint(&mut self, value: u64) {
        self.before();
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    fn float(&mut self, value: f64) {
        self.before();
        match value.is_finite() {
            true => self.out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes()),
            false => write_not_finite(self.out, value),
        }
    }

    fn whole(&mut self, value: i64) {
        self.int(value);
    }

    fn float32(&mut self, value: f32) {
        self.before();
        match value.is_finite() {
            true => self.out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes()),
            false => write_not_finite(self.out, value.into()),
        }
    }

    fn enumeration(&mut self, value: i64, names: &Enum) {
        match names.names.get(&value) {
            Some(name) => {
                self.before();
                write_text(self.out, name);
            }
            None => self.int(value),
        }
    }

    fn text(&mut self, value: Cow<'a, str>) {
        self.before();
        write_text(self.out, &value);
    }

    fn bytes(&mut self, value: Cow<'a, [u8]>) {
        self.before();
        write_base64(self.out, &value);
    }
}

fn write_not_finite(out: &mut Vec<u8>, value: f64) {
    let text: &[u8] = match value {
        value if value.is_nan() => b"\"NaN\"",
        value if value > 0.0 => b"\"Infinity\"",
        _ => b"\"-Infinity\"",
    };
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(give: impl FnOnce(&mut JsonWriter<'_>), expected: &str) {
        let (mut out, mut open) = (Vec::new(), Vec::new());
        give(&mut JsonWriter { out: &mut out, names: &Names::default(), open: &mut open });
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert!(open.is_empty());
    }

    #[test]
    fn numbers_are_the_shortest_that_read_back() {
        let list = |sink: &mut JsonWriter<'_>| {
            sink.begin_list();
            for value in [0.1, 1.0, -0.0, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                sink.float(value);
            }
            for value in [0.1, 16_777_216.0, f32::NAN] {
                sink.float32(value);
            }
            sink.int(i64::MIN);
            sink.uint(u64::MAX);
            sink.end_list();
        };
        check(list, r#"[0.1,1.0,-0.0,1e+300,"NaN","Infinity","-Infinity",0.1,16777216.0,"NaN",-9223372036854775808,18446744073709551615]"#);
    }

    #[test]
    fn text_is_escaped_and_bytes_are_base64() {
        check(|sink| sink.text("a\"\\\n\r\t\u{1}é\u{7f}".into()), "\"a\\\"\\\\\\n\\r\\t\\u0001é\\u007f\"");
        for (bytes, expected) in [("", "\"\""), ("f", "\"Zg==\""), ("fo", "\"Zm8=\""), ("foo", "\"Zm9v\""), ("foob", "\"Zm9vYg==\"")] {
            check(|sink| sink.bytes(bytes.as_bytes().into()), expected);
        }
    }

    #[test]
    fn maps_have_text_keys() {
        let map = |sink: &mut JsonWriter<'_>| {
            sink.begin_map();
            sink.key(Scalar::Int(-1));
            sink.null();
            sink.key(Scalar::Text("k".into()));
            sink.begin_list();
            sink.end_list();
            sink.end_map();
        };
        check(map, r#"{"-1":null,"k":[]}"#);
    }
}
