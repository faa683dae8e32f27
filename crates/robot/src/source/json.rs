//! JSON, written straight into a buffer: the payloads of sources that take many small records.
//!
//! **Invariant:** what is written is valid JSON, whatever the text; a number that JSON does not have is `null`.

/// Writes what separates the member with this index from the one before it.
pub(super) fn comma(out: &mut String, index: usize) {
    if index > 0 {
        out.push(',');
    }
}

/// Writes text in quotes.
pub(super) fn text(out: &mut String, value: &str) {
    out.reserve(value.len() + 2);
    recording::json::write_pieces(value, |piece| out.push_str(piece));
}

/// Writes bytes as hexadecimal digits.
pub(super) fn hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// Writes a number.
pub(super) fn float(out: &mut String, value: f64) {
    if value.is_finite() {
        out.push_str(zmij::Buffer::new().format_finite(value));
    } else {
        out.push_str("null");
    }
}

/// Writes a number, and after it as `<name>_text` which one it is if JSON does not have it.
pub(super) fn special_float(out: &mut String, name: &str, value: f64) {
    float(out, value);
    if !value.is_finite() {
        out.push_str(",\"");
        out.push_str(name);
        out.push_str("_text\":");
        out.push_str(match value {
            f64::INFINITY => "\"+Inf\"",
            f64::NEG_INFINITY => "\"-Inf\"",
            _ => "\"NaN\"",
        });
    }
}

/// Writes a whole number.
pub(super) fn integer(out: &mut String, value: i64) {
    out.push_str(itoa::Buffer::new().format(value));
}

/// Writes a whole number.
pub(super) fn unsigned(out: &mut String, value: u64) {
    out.push_str(itoa::Buffer::new().format(value));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        #[test]
        fn what_is_written_is_read_back(value in any::<String>(), control in "[\\x00-\\x20\"\\\\é]{0,20}", number in any::<f64>()) {
            for value in [value, control] {
                let mut out = String::new();
                text(&mut out, &value);
                prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), value);
            }
            let mut out = String::new();
            float(&mut out, number);
            let read = serde_json::from_str::<Option<f64>>(&out).unwrap();
            prop_assert_eq!(read, Some(number).filter(|number| number.is_finite()));
        }
    }
}
