//! Text and bytes in JSON.
//!
//! **Invariant:** what is written is valid JSON without a line break, whatever the text holds.

/// Which bytes may not stand in a text as they are.
const ESCAPED: [bool; 256] = {
    let mut escaped = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        escaped[byte] = true;
        byte += 1;
    }
    escaped[b'"' as usize] = true;
    escaped[b'\\' as usize] = true;
    escaped[0x7f] = true;
    escaped
};

/// Writes text in quotes, with everything escaped that JSON or a line forbids.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    write_pieces(text, |piece| out.extend_from_slice(piece.as_bytes()));
}

/// Writes text as [`write_text`] does, piece by piece, to whatever takes pieces.
#[inline]
pub fn write_pieces(text: &str, mut push: impl FnMut(&str)) {
    push("\"");
    let mut written = 0;
    for (index, byte) in text.bytes().enumerate() {
        if !ESCAPED[usize::from(byte)] {
            continue;
        }
        push(&text[written..index]);
        written = index + 1;
        match byte {
            b'"' => push("\\\""),
            b'\\' => push("\\\\"),
            b'\n' => push("\\n"),
            b'\r' => push("\\r"),
            b'\t' => push("\\t"),
            other => {
                const DIGITS: &str = "0123456789abcdef";
                let digit = |nibble: u8| &DIGITS[usize::from(nibble)..=usize::from(nibble)];
                ["\\u00", digit(other >> 4), digit(other & 15)].into_iter().for_each(&mut push);
            }
        }
    }
    push(&text[written..]);
    push("\"");
}

/// Writes bytes in quotes, as base64 with padding.
pub fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.reserve(bytes.len().div_ceil(3) * 4 + 2);
    out.push(b'"');
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let digit = |shift: u32| DIGITS[(bits >> shift & 63) as usize];
        let padded = |digit: u8, there: bool| if there { digit } else { b'=' };
        out.extend_from_slice(&[digit(18), digit(12), padded(digit(6), group.len() > 1), padded(digit(0), group.len() > 2)]);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        #[test]
        fn what_is_written_is_read_back(text in any::<String>(), control in "[\\x00-\\x20\"\\\\\\x7fé]{0,20}") {
            for text in [text, control] {
                let mut out = Vec::new();
                write_text(&mut out, &text);
                prop_assert!(!out.iter().any(u8::is_ascii_control));
                prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            }
        }
    }
}
