//! Numbers, times and tables for people.
//!
//! **Invariant:** nothing here is meant for programs; those get JSON.

use jiff::tz::TimeZone;
use recording::{Loss, Timestamp, size, time};

/// Returns a count with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a count with its noun, which takes an `s` unless it is one.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// Returns a moment in the local time zone, to the millisecond, in a form that `--at` takes.
pub(crate) fn moment(time_ns: Timestamp) -> String {
    let Ok(timestamp) = jiff::Timestamp::from_nanosecond(i128::from(time_ns)) else { return format!("{time_ns} ns") };
    let zoned = timestamp.to_zoned(TimeZone::system());
    zoned.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string().replace("+00:00", "Z")
}

/// Returns a span: its start, its end, and how long it is.
pub(crate) fn span(start_ns: Timestamp, end_ns: Timestamp) -> String {
    format!("{} to {} ({})", moment(start_ns), moment(end_ns), time::format_duration(end_ns.saturating_sub(start_ns)))
}

/// Returns a span of which either end may be unknown, behind a comma; nothing where both are.
pub(crate) fn bounds(start_ns: Option<Timestamp>, end_ns: Option<Timestamp>) -> String {
    match (start_ns, end_ns) {
        (Some(start_ns), Some(end_ns)) => format!(", {}", span(start_ns, end_ns)),
        (Some(start_ns), None) => format!(", from {} on", moment(start_ns)),
        (None, Some(end_ns)) => format!(", until {}", moment(end_ns)),
        (None, None) => String::new(),
    }
}

/// Returns what happens per second.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate <= 0.0 => "0".to_owned(),
        rate if rate < 10.0 => format!("{rate:.1}"),
        rate => count(rate.round() as u64),
    }
}

/// Returns a loss as a line: of what, when, how much, and why.
pub(crate) fn loss(loss: &Loss) -> String {
    let mut line = loss.topic.clone().unwrap_or_else(|| "any topic".to_owned());
    line.push_str(&bounds(loss.start_ns, loss.end_ns));
    if let Some(messages) = loss.messages {
        line.push_str(&format!(", {}", counted(messages, "message")));
    }
    if let Some(bytes) = loss.bytes {
        line.push_str(&format!(", {}", size::format(bytes)));
    }
    format!("{line}: {}", loss.reason)
}

/// Returns rows as lines with aligned columns; those that `right` names are aligned to the right.
pub(crate) fn table(rows: &[Vec<String>], right: &[usize]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let width = widths[column];
            if right.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        let counts: Vec<String> = [0, 999, 1_000, 1_234_567].into_iter().map(count).collect();
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.25, 199.6, 12_345.0].map(rate), ["0", "0.2", "200", "12,345"]);
        assert_eq!(counted(1, "message"), "1 message");
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "10".to_owned()], vec!["bcd".to_owned(), "9".to_owned()]];
        assert_eq!(table(&rows, &[1]), ["a    10", "bcd   9"]);
    }
}
