//! Byte sizes as people write them: `20 GB`, `16 MiB`, `500`.
//!
//! **Invariant:** `GB` is 10^9 and `GiB` is 2^30; nothing is rounded silently.

use crate::error::{Error, Result};

const UNITS: [(&str, u64); 9] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// Parses a size in bytes.
///
/// # Errors
/// `Invalid` for a missing number, an unknown unit, or more than 2^63 bytes.
pub fn parse(text: &str) -> Result<u64> {
    let refuse = || Error::invalid(format!("not a size: '{text}' (write it like '20 GB' or '16 MiB')"));
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
    let (number, unit) = (&trimmed[..split], trimmed[split..].trim().to_ascii_lowercase());
    let number: f64 = number.parse().map_err(|_| refuse())?;
    let factor = if unit.is_empty() { Some(1) } else { UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor) };
    let bytes = number * factor.ok_or_else(refuse)? as f64;
    if !(0.0..9.2e18).contains(&bytes) {
        return Err(refuse());
    }
    Ok(bytes.round() as u64)
}

/// Returns a size for people, e.g. `16.8 MB`.
pub fn format(bytes: u64) -> String {
    let (name, factor) = match bytes {
        0..1_000 => return format!("{bytes} B"),
        1_000..1_000_000 => ("kB", 1e3),
        1_000_000..1_000_000_000 => ("MB", 1e6),
        1_000_000_000..1_000_000_000_000 => ("GB", 1e9),
        _ => ("TB", 1e12),
    };
    format!("{:.1} {name}", bytes as f64 / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        let check = |text: &str, bytes| assert_eq!(parse(text).unwrap(), bytes, "{text}");
        check("20 GB", 20_000_000_000);
        check("16 MiB", 16 << 20);
        check("500", 500);
        check("1.5kB", 1500);
        for wrong in ["", "GB", "-1 GB", "1 XB", "1e3", "99999999 TB"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(format(16_800_000), "16.8 MB");
    }
}
