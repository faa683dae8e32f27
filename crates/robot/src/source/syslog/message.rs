//! One message of syslog: RFC 5424, or RFC 3164 as it is found in the wild.
//!
//! **Invariant:** whatever the bytes are, their text is in the result.

use std::borrow::Cow;
use std::net::IpAddr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::source::record::{Level, Record};

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit", "alert", "clock",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// The longest tag of RFC 3164 that is taken for one; the standard has 32.
const TAG_LIMIT: usize = 64;

/// What a message says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Parsed<'a> {
    priority: Option<u8>,
    time_ns: Option<i64>,
    host: Option<&'a str>,
    pub(super) app: Option<&'a str>,
    pid: Option<&'a str>,
    msgid: Option<&'a str>,
    data: Map<String, Value>,
    text: &'a str,
    /// Why it is none.
    pub(super) malformed: Option<&'static str>,
}

impl Parsed<'_> {
    /// Returns it as a record on `/logs/<name>`.
    pub(super) fn record(&self, name: &str, cut: u64, from: Option<IpAddr>) -> Record<'_> {
        let mut attributes = Map::new();
        let mut set = |key: &str, value: Option<Value>| value.into_iter().for_each(|value| drop(attributes.insert(key.into(), value)));
        set("facility", self.priority.map(|priority| FACILITIES[usize::from(priority >> 3) % FACILITIES.len()].into()));
        set("severity", self.priority.map(|priority| SEVERITIES[usize::from(priority & 7)].into()));
        set("host", self.host.map(Value::from));
        set("app", self.app.map(Value::from));
        set("pid", self.pid.map(|pid| pid.parse::<u64>().map_or_else(|_| pid.into(), Value::from)));
        set("msgid", self.msgid.map(Value::from));
        set("data", (!self.data.is_empty()).then(|| Value::Object(self.data.clone())));
        set("sender", from.map(|from| from.to_canonical().to_string().into()));
        set("malformed", self.malformed.map(Value::from));
        set("cut_bytes", (cut > 0).then(|| json!(cut)));
        Record {
            time_ns: self.time_ns,
            level: self.priority.map_or(Level::Unknown, |priority| Level::of_syslog(priority & 7)),
            message: Cow::Borrowed(self.text),
            name: Cow::Owned(name.to_owned()),
            attributes,
        }
    }
}

/// Parses a message that came at `now_ns`. Times without a zone are of `zone`, and of the year that brings them closest to now.
pub(super) fn parse<'a>(text: &'a str, now_ns: i64, zone: &TimeZone) -> Parsed<'a> {
    let Some((priority, rest)) = priority(text) else {
        let why = "a message that does not begin with a priority like <13>";
        return Parsed { text, malformed: Some(why), ..Parsed::default() };
    };
    match rest.strip_prefix("1 ") {
        Some(rest) => modern(rest).map(|parsed| Parsed { priority: Some(priority), ..parsed }).unwrap_or_else(|why| Parsed {
            priority: Some(priority),
            text,
            malformed: Some(why),
            ..Parsed::default()
        }),
        None => Parsed { priority: Some(priority), ..old(rest, now_ns, zone) },
    }
}

fn priority(text: &str) -> Option<(u8, &str)> {
    let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
    let good = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let priority: u8 = number.parse().ok().filter(|priority| good && *priority < 192)?;
    Some((priority, rest))
}

/// Parses what follows the version of RFC 5424.
fn modern(text: &str) -> Result<Parsed<'_>, &'static str> {
    let mut parts = text.splitn(6, ' ');
    let mut part = || parts.next().ok_or("a message of RFC 5424 with too few parts").map(|part| Some(part).filter(|part| *part != "-"));
    let time = part()?;
    let (host, app, pid, msgid) = (part()?, part()?, part()?, part()?);
    let rest = parts.next().ok_or("a message of RFC 5424 with too few parts")?;
    let time_ns = time.map(|time| rfc3339(time).ok_or("a message of RFC 5424 with a bad time")).transpose()?;
    let (data, rest) = match rest.strip_prefix('-') {
        Some(rest) => (Map::new(), rest),
        None => structured(rest).ok_or("a message of RFC 5424 with bad structured data")?,
    };
    let text = match rest.strip_prefix(' ') {
        Some(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        None if rest.is_empty() => "",
        None => return Err("a message of RFC 5424 with bad structured data"),
    };
    Ok(Parsed { time_ns, host, app, pid, msgid, data, text, ..Parsed::default() })
}

/// Parses `[id name="value" …]…`; returns what follows.
fn structured(mut text: &str) -> Option<(Map<String, Value>, &str)> {
    let mut data = Map::new();
    while let Some(inner) = text.strip_prefix('[') {
        let end = inner.find([' ', ']'])?;
        let (id, mut rest) = (&inner[..end], &inner[end..]);
        if id.is_empty() {
            return None;
        }
        let mut element = Map::new();
        while let Some(parameter) = rest.strip_prefix(' ') {
            let (name, value) = parameter.split_once("=\"")?;
            if name.is_empty() || name.contains([' ', ']', '"']) {
                return None;
            }
            let (value, after) = quoted(value)?;
            match element.get_mut(name) {
                None => drop(element.insert(name.to_owned(), Value::String(value))),
                Some(Value::Array(values)) => values.push(Value::String(value)),
                // A name may come several times.
                Some(first) => *first = Value::Array(vec![first.take(), Value::String(value)]),
            }
            rest = after;
        }
        text = rest.strip_prefix(']')?;
        data.insert(id.to_owned(), Value::Object(element));
    }
    (!data.is_empty()).then_some((data, text))
}

/// Returns a value up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut characters) = (String::new(), text.char_indices());
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                escaped @ ('"' | '\\' | ']') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    None
}

/// Parses what follows the priority of RFC 3164: a time, a host and a tag, each of which may be missing.
fn old<'a>(text: &'a str, now_ns: i64, zone: &TimeZone) -> Parsed<'a> {
    let (time_ns, rest) = match old_time(text, now_ns, zone) {
        Some((time_ns, rest)) => (Some(time_ns), rest),
        None => (None, text),
    };
    // The C library leaves the host out on the machine's own socket.
    let (host, rest) = match rest.split_once(' ') {
        Some((host, behind)) if time_ns.is_some() && tag(rest).is_none() && is_host(host) => (Some(host), behind),
        _ => (None, rest),
    };
    let (app, pid, text) = tag(rest).map_or((None, None, rest), |(app, pid, text)| (Some(app), pid, text));
    Parsed { time_ns, host, app, pid, text, ..Parsed::default() }
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:%".contains(&byte))
}

/// Parses `app[pid]: ` or `app: `.
fn tag(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let plain = |c: char| !(c.is_ascii_alphanumeric() || "-_./@".contains(c));
    let end = text.find(plain).filter(|end| (1..=TAG_LIMIT).contains(end))?;
    let (app, rest) = text.split_at(end);
    let (pid, rest) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (pid, rest) = rest.split_once(']')?;
            (Some(pid).filter(|pid| !pid.is_empty() && pid.len() <= TAG_LIMIT), rest)
        }
        None => (None, rest),
    };
    let text = rest.strip_prefix(':')?;
    // What goes on right away is an address or a time, and no tag.
    let text = if text.is_empty() { text } else { text.strip_prefix(' ')? };
    Some((app, pid, text))
}

/// Parses `Jan  2 03:04:05 `, with a fraction or without, or a time of RFC 3339; returns what follows.
fn old_time<'a>(text: &'a str, now_ns: i64, zone: &TimeZone) -> Option<(i64, &'a str)> {
    if text.as_bytes().first()?.is_ascii_digit() {
        let (time, rest) = text.split_once(' ')?;
        return Some((rfc3339(time)?, rest));
    }
    let month = MONTHS.iter().position(|month| text.starts_with(month))? as i8 + 1;
    let rest = text[3..].strip_prefix(' ')?.trim_start_matches(' ');
    let (day, rest) = rest.split_once(' ')?;
    let (clock, rest) = rest.split_once(' ')?;
    let mut numbers = clock.trim_end_matches(':').splitn(3, ':');
    let (hour, minute) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    let (second, fraction) = numbers.next().map(|second| second.split_once('.').unwrap_or((second, "0")))?;
    let nanosecond = format!("{fraction:0<9.9}").parse().ok()?;
    let (day, second) = (day.parse().ok()?, second.parse::<i8>().ok()?.min(59));
    let year = Timestamp::from_nanosecond(now_ns.into()).ok()?.to_zoned(zone.clone()).year();
    let in_year = |year| {
        let date = Date::new(year, month, day).ok()?;
        let moment = date.to_datetime(jiff::civil::Time::new(hour, minute, second, nanosecond).ok()?);
        i64::try_from(zone.to_ambiguous_timestamp(moment).compatible().ok()?.as_nanosecond()).ok()
    };
    let times = [year - 1, year, year.saturating_add(1)].into_iter().filter_map(in_year);
    Some((times.min_by_key(|time_ns| time_ns.abs_diff(now_ns))?, rest))
}

fn rfc3339(text: &str) -> Option<i64> {
    let moment: Timestamp = text.parse().ok()?;
    i64::try_from(moment.duration_since(Timestamp::UNIX_EPOCH).as_nanos()).ok().filter(|_| SignedDuration::ZERO <= moment.as_duration())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-02T03:04:06Z.
    const NOW_NS: i64 = 1_767_323_046_000_000_000;

    fn read(text: &str) -> Parsed<'_> {
        parse(text, NOW_NS, &TimeZone::UTC)
    }

    /// Returns the host, the application, the process, the text and how many ms before now it was sent.
    fn parts<'a>(parsed: &'a Parsed<'_>) -> (&'a str, &'a str, &'a str, &'a str, Option<i64>) {
        let app = parsed.app.unwrap_or_default();
        let before_ms = parsed.time_ns.map(|time_ns| (NOW_NS - time_ns) / 1_000_000);
        (parsed.host.unwrap_or_default(), app, parsed.pid.unwrap_or_default(), parsed.text, before_ms)
    }

    #[test]
    fn rfc_5424_is_understood() {
        let text = r#"<165>1 2026-01-02T03:04:05.5Z rover nav 42 ID47 [a@1 x="1" y="q\"\]\\"][b z="1" z="2"] hello world"#;
        let parsed = read(text);
        assert_eq!(parts(&parsed), ("rover", "nav", "42", "hello world", Some(500)));
        assert_eq!(parsed.data, *json!({ "a@1": { "x": "1", "y": "q\"]\\" }, "b": { "z": ["1", "2"] } }).as_object().unwrap());
        let record = parsed.record("nav", 0, Some(IpAddr::from([10, 0, 0, 7])));
        assert_eq!((record.level, record.message.as_ref()), (Level::Info, "hello world"));
        assert_eq!((&record.attributes["facility"], &record.attributes["severity"]), (&json!("local4"), &json!("notice")));
        assert_eq!((&record.attributes["pid"], &record.attributes["sender"]), (&json!(42), &json!("10.0.0.7")));
        let parsed = read("<0>1 - - - - - -");
        assert_eq!((parts(&parsed), parsed.malformed), (("", "", "", "", None), None));
        assert_eq!(read("<13>1 2026-01-02T03:04:05+01:00 h a - - - \u{feff}text").text, "text");
    }

    #[test]
    fn rfc_3164_is_understood_as_it_is_found() {
        for (text, expected) in [
            ("<13>Jan  2 03:04:05 rover nav[42]: hello: world", ("rover", "nav", "42", "hello: world", Some(1000))),
            ("<13>Jan 02 03:04:05.250 rover nav: hello", ("rover", "nav", "", "hello", Some(750))),
            // As the C library writes to the machine's own socket.
            ("<13>Jan  2 03:04:05 nav[42]: hello", ("", "nav", "42", "hello", Some(1000))),
            // As rsyslog forwards.
            ("<13>2026-01-02T03:04:05.5+00:00 rover nav[42]: hello", ("rover", "nav", "42", "hello", Some(500))),
            // As Python sends it.
            ("<14>hello world", ("", "", "", "hello world", None)),
            ("<14>nav: hello", ("", "nav", "", "hello", None)),
            ("<14>12:30 was lunch", ("", "", "", "12:30 was lunch", None)),
            ("<13>Jan  2 03:04:05 rover just text", ("rover", "", "", "just text", Some(1000))),
            ("<13>Jan  2 99:04:05 rover x", ("", "", "", "Jan  2 99:04:05 rover x", None)),
            ("<13>", ("", "", "", "", None)),
        ] {
            let parsed = read(text);
            assert_eq!((parts(&parsed), parsed.malformed), (expected, None), "{text}");
        }
        // A message of last year's last day, on the first of this.
        let parsed = parse("<13>Dec 31 23:59:59 rover a: b", 1_767_225_601_000_000_000, &TimeZone::UTC);
        assert_eq!(parsed.time_ns, Some(1_767_225_599_000_000_000));
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(parse("<13>Jan  2 04:04:05 rover a: b", NOW_NS, &berlin).time_ns, Some(NOW_NS - 1_000_000_000));
    }

    #[test]
    fn what_is_not_understood_is_kept_as_text() {
        for text in
            ["hello", "<999>x", "<13", "<>x", "<13>1 yesterday h a - - - x", "<13>1 - h", "<13>1 - h a - - [x", "<13>1 - h a - - [x]y"]
        {
            let parsed = read(text);
            assert!(parsed.malformed.is_some(), "{text}: {parsed:?}");
            assert_eq!(parsed.text, text);
        }
    }
}
