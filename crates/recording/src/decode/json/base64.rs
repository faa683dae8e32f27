//! Base64 in JSON texts: the standard alphabet and the one for URLs, padded or not.
//!
//! **Invariant:** what is not base64 is refused as a whole.

/// Returns the bytes of a base64 text.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'\r' | b'\n' => continue,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    (count != 6).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_alphabets_are_read_with_and_without_padding() {
        for (text, expected) in
            [("", &b""[..]), ("TQ==", b"M"), ("TWE", b"Ma"), ("TWFu", b"Man"), ("-_8=", &[0xfb, 0xff]), ("+/8=", &[0xfb, 0xff])]
        {
            assert_eq!(decode(text).as_deref(), Some(expected), "{text}");
        }
        for wrong in ["T", "TW!u", "é", "TQ==TQ=="] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
