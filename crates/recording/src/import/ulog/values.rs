//! Keys and values of a log: information about it, and parameters.
//!
//! **Invariant:** a value is as long as its type says, or the whole is no entry.

use serde_json::Value;

use super::message::printable;

/// A key with its type, and a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entry<'a> {
    pub(super) key: &'a str,
    kind: &'a str,
    value: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Reads `length, "type key", value`.
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (length, rest) = body.split_first()?;
        let (key, value) = rest.split_at_checked(usize::from(*length))?;
        let (kind, key) = printable(key)?.split_once(' ').filter(|(_, key)| !key.is_empty())?;
        let size = match kind.split_once('[') {
            Some((element, count)) => size(element)? * count.strip_suffix(']')?.parse::<u16>().ok().map(usize::from)?,
            None => size(kind)?,
        };
        (value.len() == size).then_some(Self { key, kind, value })
    }

    /// Returns the value as JSON: numbers, text, and other arrays as text of hexadecimal digits.
    pub(super) fn to_json(self) -> Value {
        let value = self.value;
        match self.kind {
            "bool" => value.first().is_some_and(|byte| *byte != 0).into(),
            "char" => String::from_utf8_lossy(value).into_owned().into(),
            "uint8_t" => read(value, u8::from_le_bytes).into(),
            "int8_t" => read(value, i8::from_le_bytes).into(),
            "uint16_t" => read(value, u16::from_le_bytes).into(),
            "int16_t" => read(value, i16::from_le_bytes).into(),
            "uint32_t" => read(value, u32::from_le_bytes).into(),
            "int32_t" => read(value, i32::from_le_bytes).into(),
            "uint64_t" => read(value, u64::from_le_bytes).into(),
            "int64_t" => read(value, i64::from_le_bytes).into(),
            // By its shortest text, so that 0.1 does not become 0.10000000149011612.
            "float" => number(read(value, f32::from_le_bytes).map(|number| number.to_string())),
            "double" => number(read(value, f64::from_le_bytes).map(|number| number.to_string())),
            array if array.starts_with("char[") => String::from_utf8_lossy(value).trim_end_matches('\0').into(),
            _ => value.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
        }
    }

    /// Returns the value as text.
    pub(super) fn to_text(self) -> String {
        match self.to_json() {
            Value::String(text) => text,
            value => value.to_string(),
        }
    }
}

fn read<T, const N: usize>(value: &[u8], convert: impl Fn([u8; N]) -> T) -> Option<T> {
    value.try_into().ok().map(convert)
}

/// Returns a number by its text; what JSON has no number for stays text.
fn number(text: Option<String>) -> Value {
    let text = text.unwrap_or_default();
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Value::from(number),
        _ => Value::from(text),
    }
}

fn size(kind: &str) -> Option<usize> {
    Some(match kind {
        "bool" | "char" | "int8_t" | "uint8_t" => 1,
        "int16_t" | "uint16_t" => 2,
        "int32_t" | "uint32_t" | "float" => 4,
        "int64_t" | "uint64_t" | "double" => 8,
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_their_type_says() {
        let check = |key: &str, value: &[u8], expected: Option<&str>| {
            let body = [&[key.len() as u8][..], key.as_bytes(), value].concat();
            assert_eq!(Entry::parse(&body).map(Entry::to_text).as_deref(), expected, "{key}");
        };
        check("int32_t SYS_AUTOSTART", &4001i32.to_le_bytes(), Some("4001"));
        check("float MC_ROLL_P", &0.1f32.to_le_bytes(), Some("0.1"));
        check("float X", &f32::NAN.to_le_bytes(), Some("NaN"));
        check("char[3] sys_name", b"PX4", Some("PX4"));
        check("uint8_t[2] raw", &[1, 255], Some("01ff"));
        check("bool on", &[1], Some("true"));
        check("int32_t short", &[1], None);
        check("thing x", &[1], None);
        check("char[70000] x", b"", None);
        assert_eq!(Entry::parse(&[200, b'a']), None);
    }
}
