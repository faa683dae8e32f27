//! InfluxDB's line protocol: one line, one point.
//!
//! In comes text, out come points whose parts are slices of it. What real senders get wrong is understood: commas in tags that were
//! not escaped (ROS's `diagnostic_remote_logging`), quotes within quotes, lines that end in `\r\n`.
//!
//! **Invariant:** a line that cannot be understood costs that line; every byte is looked at a bounded number of times.

use std::borrow::Cow;

/// How many tags, or fields, one point may have.
const PAIR_LIMIT: usize = 4096;

/// A point: what was measured, of what, and when.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Point<'a> {
    pub(super) measurement: Cow<'a, str>,
    pub(super) tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub(super) fields: Vec<(Cow<'a, str>, Value<'a>)>,
    /// In the unit that the request names.
    pub(super) timestamp: Option<i64>,
}

/// What a field says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Float(f64),
    Integer(i64),
    Unsigned(u64),
    Bool(bool),
    Text(Cow<'a, str>),
}

/// Why a line is no point.
pub(super) type Wrong = &'static str;

/// Returns the points of a body, and of each other line what is wrong with it, with the numbers of their lines. Empty lines and
/// comments are neither.
pub(super) fn points(body: &str) -> impl Iterator<Item = (usize, Result<Point<'_>, Wrong>)> {
    let (mut lines, mut next) = (Lines { rest: body, quotes_end: true }, 1);
    std::iter::from_fn(move || {
        loop {
            let whole = lines.next()?;
            let number = next;
            next += 1 + whole.bytes().filter(|byte| *byte == b'\n').count();
            let line = whole.trim_end_matches('\r').trim_start_matches([' ', '\t']);
            if !line.is_empty() && !line.starts_with('#') {
                return Some((number, point(line)));
            }
        }
    })
}

/// Splits a text into its lines, whose ends may not stand within quotes.
struct Lines<'a> {
    rest: &'a str,
    /// Whether quotes may still end: where one does not, no later one does, and nobody need look again.
    quotes_end: bool,
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest;
        if text.is_empty() {
            return None;
        }
        let end = self.end_of_line();
        self.rest = text.get(end + 1..).unwrap_or_default();
        Some(&text[..end])
    }
}

impl Lines<'_> {
    /// Returns where the line ends; where quotes do not end, at the first end of a line.
    fn end_of_line(&mut self) -> usize {
        let bytes = self.rest.as_bytes();
        let (mut in_fields, mut quoted) = (false, false);
        let mut first = None;
        let mut at = 0;
        while at < bytes.len() {
            match bytes[at] {
                b'\\' => at += 1,
                b' ' => in_fields = true,
                // Quotes only mean something around the value of a field.
                b'"' if quoted => quoted = !ends_text(bytes, at),
                b'"' => quoted = self.quotes_end && in_fields && bytes[at - 1] == b'=',
                b'\n' if !quoted => return at,
                b'\n' => {
                    first.get_or_insert(at);
                }
                _ => {}
            }
            at += 1;
        }
        self.quotes_end &= !quoted;
        first.filter(|_| quoted).unwrap_or(bytes.len())
    }
}

/// Returns whether the quote at `at` ends its text: another field, the timestamp or the end of the line follows. Others stand in the
/// text and were not escaped.
fn ends_text(bytes: &[u8], at: usize) -> bool {
    let after =
        |from: usize, wanted: fn(u8) -> bool| bytes[from..].iter().position(|byte| !wanted(*byte)).map_or(bytes.len(), |n| from + n);
    match bytes.get(at + 1) {
        Some(b',') => is_key(bytes, at + 2),
        Some(b' ') => {
            let stamp = after(at + 1, |byte| byte == b' ');
            let end = after(stamp, |byte| byte.is_ascii_digit() || byte == b'-');
            matches!(bytes.get(after(end, |byte| matches!(byte, b' ' | b'\r'))), None | Some(b'\n'))
        }
        None | Some(b'\n' | b'\r') => true,
        _ => false,
    }
}

/// Returns whether the name of a field begins here, and its value after it.
fn is_key(bytes: &[u8], from: usize) -> bool {
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'=' => return at > from,
            b'"' | b',' | b' ' | b'\n' => return false,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    false
}

fn point(line: &str) -> Result<Point<'_>, Wrong> {
    let series_end = find(line, 0, |byte| byte == b' ').ok_or("it has no fields")?;
    let (series, rest) = (&line[..series_end], line[series_end..].trim_start_matches(' '));
    let name_end = find(series, 0, |byte| byte == b',').unwrap_or(series.len());
    let mut point = Point { measurement: unescaped(&series[..name_end]), ..Point::default() };
    if point.measurement.is_empty() {
        return Err("it has no measurement");
    }
    tags(series.get(name_end + 1..).unwrap_or_default(), &mut point)?;
    let rest = fields(rest, &mut point)?.trim();
    if !rest.is_empty() {
        point.timestamp = Some(rest.parse().map_err(|_| "its timestamp is no whole number")?);
    }
    Ok(point)
}

fn tags<'a>(text: &'a str, point: &mut Point<'a>) -> Result<(), Wrong> {
    let mut at = 0;
    while at < text.len() {
        if point.tags.len() >= PAIR_LIMIT {
            return Err("it has too many tags");
        }
        let end = find(text, at, |byte| byte == b',').unwrap_or(text.len());
        // No name begins with a space; what follows a comma in prose does.
        let is_prose = text[at..end].starts_with("\\ ") && !point.tags.is_empty();
        match find(&text[..end], at, |byte| byte == b'=') {
            Some(equals) if equals > at && !is_prose => point.tags.push((unescaped(&text[at..equals]), unescaped(&text[equals + 1..end]))),
            // A comma that nobody escaped: it belongs to the value before it.
            _ => match point.tags.last_mut() {
                Some((_, value)) => {
                    let value = value.to_mut();
                    value.push(',');
                    value.push_str(&unescaped(&text[at..end]));
                }
                None => return Err("its first tag has no '='"),
            },
        }
        at = end + 1;
    }
    Ok(())
}

/// Reads fields, and returns what follows them.
fn fields<'a>(text: &'a str, point: &mut Point<'a>) -> Result<&'a str, Wrong> {
    let mut at = 0;
    loop {
        if point.fields.len() >= PAIR_LIMIT {
            return Err("it has too many fields");
        }
        let equals = find(text, at, |byte| byte == b'=').ok_or("a field has no '='")?;
        let key = unescaped(&text[at..equals]);
        if key.is_empty() {
            return Err("a field has no name");
        }
        let (value, end) = value(text, equals + 1)?;
        point.fields.push((key, value));
        match text.as_bytes().get(end) {
            Some(b',') => at = end + 1,
            _ => return Ok(&text[end..]),
        }
    }
}

/// Reads a value, and returns where it ends.
fn value(text: &str, at: usize) -> Result<(Value<'_>, usize), Wrong> {
    let bytes = text.as_bytes();
    if bytes.get(at) == Some(&b'"') {
        let mut end = at + 1;
        while end < bytes.len() && !(bytes[end] == b'"' && ends_text(bytes, end)) {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        let inside = text.get(at + 1..end).filter(|_| end < bytes.len()).ok_or("a text does not end")?;
        return Ok((Value::Text(unescaped_text(inside)), end + 1));
    }
    let end = bytes[at..].iter().position(|byte| matches!(byte, b',' | b' ')).map_or(bytes.len(), |length| at + length);
    let word = &text[at..end];
    let value = match word {
        "t" | "T" | "true" | "True" | "TRUE" => Value::Bool(true),
        "f" | "F" | "false" | "False" | "FALSE" => Value::Bool(false),
        _ => match word.as_bytes().last() {
            Some(b'i') => Value::Integer(word[..word.len() - 1].parse().map_err(|_| "a field is no whole number")?),
            Some(b'u') => Value::Unsigned(word[..word.len() - 1].parse().map_err(|_| "a field is no whole number")?),
            _ => Value::Float(word.parse().map_err(|_| "a field is neither number, bool nor text in quotes")?),
        },
    };
    Ok((value, end))
}

/// Returns where the first byte stands that is wanted and not escaped.
fn find(text: &str, from: usize, wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = from;
    while at < bytes.len() {
        if wanted(bytes[at]) {
            return Some(at);
        }
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    None
}

/// Takes the backslash from in front of what a name must escape. Others are backslashes.
fn unescaped(text: &str) -> Cow<'_, str> {
    without_backslashes(text, |next| matches!(next, ',' | '=' | ' '))
}

fn unescaped_text(text: &str) -> Cow<'_, str> {
    without_backslashes(text, |next| matches!(next, '"' | '\\'))
}

fn without_backslashes(text: &str, escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match characters.peek() {
            Some(next) if character == '\\' && escaped(*next) => {
                plain.push(*next);
                characters.next();
            }
            _ => plain.push(character),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn points(body: &str) -> impl Iterator<Item = Result<Point<'_>, Wrong>> {
        super::points(body).map(|(_, point)| point)
    }

    fn one(line: &str) -> Point<'_> {
        let mut all = points(line);
        let point = all.next().unwrap().unwrap_or_else(|wrong| panic!("{line}: {wrong}"));
        assert!(all.next().is_none(), "{line}");
        point
    }

    fn pairs<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
        pairs.iter().map(|(key, value)| (Cow::Borrowed(*key), Cow::Borrowed(*value))).collect()
    }

    #[test]
    fn a_point_has_every_part() {
        let point =
            one(r#"wea\,ther\ x,loc=us\=midwest,s=a\ b temp=82.5,n=-3i,u=7u,ok=t,text="a \"b\" \\, c d",e=1e3 1465839830100400200"#);
        assert_eq!((point.measurement.as_ref(), point.timestamp), ("wea,ther x", Some(1_465_839_830_100_400_200)));
        assert_eq!(point.tags, pairs(&[("loc", "us=midwest"), ("s", "a b")]));
        let text = Value::Text(r#"a "b" \, c d"#.into());
        let values: Vec<Value<'_>> = point.fields.iter().map(|(_, value)| value.clone()).collect();
        let expected = [Value::Float(82.5), Value::Integer(-3), Value::Unsigned(7), Value::Bool(true), text, Value::Float(1000.0)];
        assert_eq!(values, expected);
    }

    #[test]
    fn a_body_is_its_lines_and_a_bad_one_costs_itself() {
        let body = "# comment\n\na x=1\r\nbroken\nb x=\"two\nlines\",y=2 5\nc,t x=1\nd x=nan?\ne x=1 soon\n  f x=3";
        let read: Vec<Result<String, Wrong>> = points(body).map(|point| point.map(|point| point.measurement.into_owned())).collect();
        let expected = [
            Ok("a".to_owned()),
            Err("it has no fields"),
            Ok("b".to_owned()),
            Err("its first tag has no '='"),
            Err("a field is neither number, bool nor text in quotes"),
            Err("its timestamp is no whole number"),
            Ok("f".to_owned()),
        ];
        assert_eq!(read, expected);
        let wrong: Vec<usize> = super::points(body).filter(|(_, point)| point.is_err()).map(|(number, _)| number).collect();
        assert_eq!(wrong, [4, 7, 8, 9], "lines of the body, whatever they are");
        // A quote that never ends costs its line, not the rest.
        assert_eq!(points("a x=\"open\nb x=1").filter(Result::is_ok).count(), 1);
    }

    #[test]
    fn what_ros_sends_is_understood() {
        // Commas are not escaped in tags, quotes not in texts.
        let point =
            one(r#"node,ns=/robot,name=disk\ a,b,hardware_id=x level=1,message="it said "no" twice",free=12.5 1700000000000000000"#);
        assert_eq!(point.tags, pairs(&[("ns", "/robot"), ("name", "disk a,b"), ("hardware_id", "x")]));
        assert_eq!(point.fields[1].1, Value::Text(r#"it said "no" twice"#.into()));
        assert_eq!(point.fields[2], ("free".into(), Value::Float(12.5)));
        let point = one(r#"node,name=Motor\ 3,\ left:\ x=1,hardware_id=a=b text="a "b", c",more="x "y" 12" -5"#);
        assert_eq!(point.tags, pairs(&[("name", "Motor 3, left: x=1"), ("hardware_id", "a=b")]));
        let texts = [("text".into(), Value::Text(r#"a "b", c"#.into())), ("more".into(), Value::Text(r#"x "y" 12"#.into()))];
        assert_eq!((point.fields.as_slice(), point.timestamp), (texts.as_slice(), Some(-5)));
        // Quotes in tags do not hide the end of the line.
        assert_eq!(points("a,t=\"x v=1\nb f=\"y\"").filter(Result::is_ok).count(), 2);
    }

    #[test]
    fn numbers_that_are_none_and_huge_tags_are_taken() {
        let point = one("m,t=1 x=nan,y=NaN,z=-inf,n=9223372036854775807i");
        assert!(matches!(point.fields[0].1, Value::Float(x) if x.is_nan()));
        assert_eq!(point.fields[3].1, Value::Integer(i64::MAX));
        let huge = format!("m,{}={} x=1", "k".repeat(100_000), "v".repeat(100_000));
        assert_eq!(one(&huge).tags[0].1.len(), 100_000);
        let many = format!("m{} x=1", ",t=v".repeat(PAIR_LIMIT + 1));
        assert_eq!(points(&many).next(), Some(Err("it has too many tags")));
    }

    #[test]
    fn what_is_wrong_is_not_looked_at_again_and_again() {
        // Each would take minutes.
        let open = "a x=\"open\n".repeat(1 << 20);
        assert_eq!(points(&open).filter(Result::is_err).count(), 1 << 20);
        let commas = format!("a,t=v{} x=1", ",c".repeat(1 << 20));
        assert_eq!(one(&commas).tags[0].1.len(), 1 + (2 << 20));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn no_text_breaks_it(text in "[a-z,=\" \\\\\n0-9i\u{e9}#]{0,60}") {
            let lines = text.split('\n').count();
            prop_assert!(points(&text).count() <= lines);
        }
    }
}
