//! Prometheus's text exposition format: one line, one sample.
//!
//! **Invariant:** a line that cannot be understood costs that line; every byte is looked at a bounded number of times.

use std::borrow::Cow;
use std::collections::HashMap;

/// How many labels one sample may have.
const LABEL_LIMIT: usize = 256;
/// What stands behind the name of a metric in those of its samples.
const SUFFIXES: [&str; 5] = ["_total", "_bucket", "_sum", "_count", "_created"];

/// A sample.
#[derive(Debug, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: &'a str,
    pub(super) labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub(super) value: f64,
    pub(super) timestamp_ms: Option<i64>,
    /// Name and labels, as they stand there.
    pub(super) series: &'a str,
}

/// Why a line is no sample.
pub(super) type Wrong = &'static str;

/// Reads the samples of a page, and what it says about them before them.
pub(super) struct Page<'a> {
    lines: std::str::Lines<'a>,
    kinds: HashMap<&'a str, &'a str>,
}

impl<'a> Page<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { lines: text.lines(), kinds: HashMap::new() }
    }

    /// Returns the kind of the metric that a sample is of: `counter`, `gauge`, `histogram`, `summary` or `unknown`.
    pub(super) fn kind_of(&self, name: &str) -> &'static str {
        let whole = || self.kinds.get(name);
        let base = || SUFFIXES.iter().find_map(|suffix| self.kinds.get(name.strip_suffix(suffix)?));
        match whole().or_else(base).copied() {
            Some("counter") => "counter",
            Some("gauge") => "gauge",
            Some("histogram") => "histogram",
            Some("summary") => "summary",
            _ => "unknown",
        }
    }

    fn comment(&mut self, comment: &'a str) {
        let mut words = comment.split_ascii_whitespace();
        if let (Some("TYPE"), Some(name), Some(kind)) = (words.next(), words.next(), words.next()) {
            self.kinds.insert(name, kind);
        }
    }
}

impl<'a> Iterator for Page<'a> {
    type Item = Result<Sample<'a>, Wrong>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = self.lines.next()?.trim();
            match line.strip_prefix('#') {
                Some(comment) => self.comment(comment),
                None if line.is_empty() => {}
                None => return Some(sample(line)),
            }
        }
    }
}

fn sample(line: &str) -> Result<Sample<'_>, Wrong> {
    let name_end = line.find(|character: char| character == '{' || character.is_whitespace()).ok_or("a sample has no value")?;
    let (name, rest) = line.split_at(name_end);
    if name.is_empty() {
        return Err("a sample has no name");
    }
    let mut labels = Vec::new();
    let rest = match rest.strip_prefix('{') {
        Some(rest) => read_labels(rest, &mut labels)?,
        None => rest,
    };
    let series = &line[..line.len() - rest.len()];
    // What stands behind a '#' is an exemplar.
    let mut words = rest.split('#').next().unwrap_or_default().split_ascii_whitespace();
    let value = number(words.next().ok_or("a sample has no value")?).ok_or("the value of a sample is no number")?;
    let timestamp_ms = words.next().map(|word| word.parse().map_err(|_| "the timestamp of a sample is no whole number")).transpose()?;
    if words.next().is_some() {
        return Err("something stands behind the timestamp of a sample");
    }
    Ok(Sample { name, labels, value, timestamp_ms, series })
}

/// Reads labels, and returns what stands behind them.
fn read_labels<'a>(text: &'a str, labels: &mut Vec<(Cow<'a, str>, Cow<'a, str>)>) -> Result<&'a str, Wrong> {
    let mut rest = text.trim_start();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok(rest);
        }
        if labels.len() >= LABEL_LIMIT {
            return Err("a sample has too many labels");
        }
        let (name, after) = rest.split_once('=').ok_or("a label has no '='")?;
        let quoted = after.trim_start().strip_prefix('"').ok_or("a label has no quotes")?;
        let end = closing_quote(quoted).ok_or("a label does not end")?;
        labels.push((name.trim().into(), unescaped(&quoted[..end])));
        rest = quoted[end + 1..].trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('n') => plain.push('\n'),
                Some(next @ ('\\' | '"')) => plain.push(next),
                Some(other) => plain.extend(['\\', other]),
                None => plain.push('\\'),
            },
            other => plain.push(other),
        }
    }
    Cow::Owned(plain)
}

fn number(word: &str) -> Option<f64> {
    match word {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ => word.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: &str = r#"
# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400",}    3 1395066363000
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9
metric_without_timestamp_and_labels 12.47
something_weird{problem="division by zero"} +Inf -3982045
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="+Inf"} 144320 # {trace="x"} 1
rpc_duration_seconds NaN
"#;

    #[test]
    fn the_sample_of_the_documentation_is_understood() {
        let mut page = Page::new(PAGE);
        let samples: Vec<Sample<'_>> = page.by_ref().map(Result::unwrap).collect();
        let names: Vec<(&str, &str)> = samples.iter().map(|sample| (sample.name, page.kind_of(sample.name))).collect();
        assert_eq!(names.len(), 7);
        assert_eq!((names[0], names[5]), (("http_requests_total", "counter"), ("http_request_duration_seconds_bucket", "histogram")));
        assert_eq!((samples[0].value, samples[0].timestamp_ms), (1027.0, Some(1_395_066_363_000)));
        assert_eq!(samples[1].series, r#"http_requests_total{method="post",code="400",}"#);
        assert_eq!(samples[2].labels[1].1, "Cannot find file:\n\"FILE.TXT\"");
        assert_eq!(samples[2].labels[0].1, r"C:\DIR\FILE.TXT");
        assert_eq!((samples[4].value, samples[4].timestamp_ms), (f64::INFINITY, Some(-3_982_045)));
        assert!(samples[6].value.is_nan());
    }

    #[test]
    fn a_bad_line_costs_itself() {
        for line in ["a", "a b", "{x=\"1\"} 1", "a{x} 1", "a{x=1} 1", "a{x=\"1} 1", "a 1 soon", "a 1 2 3", "a{x=\"1\""] {
            let page = format!("{line}\nb 1\n");
            let read: Vec<bool> = Page::new(&page).map(|sample| sample.is_ok()).collect();
            assert_eq!(read, [false, true], "{line}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn no_text_breaks_it(text in "[a-z,={}\" \\\\\n0-9#\u{e9}]{0,60}") {
            prop_assert!(Page::new(&text).count() <= text.lines().count());
        }
    }
}
