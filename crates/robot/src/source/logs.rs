//! `kind = "logs"`: takes log records over HTTP, as Better Stack, Vector and everything that posts JSON send them.
//!
//! In come a JSON object, an array of them, one per line, or MessagePack; out goes a message per record on `/logs/<name>`. Of the
//! usual names for the time, the level, the text and who logs the first that is there counts; everything else is an attribute.
//!
//! **Invariant:** good records of a request are kept, whatever the bad ones are.

mod msgpack;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use recording::{Error, Kind, Result};
use serde::de::{self, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::http::{self, Door, Listen, Refusal, Why, with_retry};
use super::record::{Level, Record, Records};
use super::{Intake, Source, options};
use crate::config::SourceConfig;
use crate::stop::StopFlag;

/// Where it listens unless somebody says otherwise.
const PORT: u16 = 8622;
/// Who logs, where a record does not say it.
const UNNAMED: &str = "app";
/// How many records one request may have.
const RECORD_LIMIT: usize = 100_000;
/// The largest record.
const RECORD_BYTES: usize = 4 << 20;
const TIMES: &[&str] = &["dt", "timestamp", "time", "@timestamp", "ts", "date"];
const LEVELS: &[&str] = &["level", "severity", "levelname", "log.level", "lvl"];
const MESSAGES: &[&str] = &["message", "msg", "log", "body", "text"];
const NAMES: &[&str] = &["service", "app", "appname", "application", "logger", "source", "container_name", "host"];

#[derive(Deserialize)]
struct Options {
    /// Who logs, where a record does not say it.
    name_of_records: Option<String>,
    #[serde(flatten)]
    listen: toml::Table,
}

struct Logs {
    door: Door,
    unnamed: String,
}

pub(super) fn make(config: &SourceConfig) -> Result<Box<dyn Source>> {
    let Options { name_of_records, listen } = options(config)?;
    let listen: Listen = options(&SourceConfig { options: listen, ..config.clone() })?;
    Ok(Box::new(Logs { door: Door::new(&listen, PORT)?, unnamed: name_of_records.unwrap_or_else(|| UNNAMED.into()) }))
}

struct Site {
    door: Door,
    intake: Arc<Intake>,
    unnamed: String,
    records: Mutex<Records>,
}

impl Source for Logs {
    fn run(&mut self, intake: &Arc<Intake>, stop: &StopFlag) -> Result<()> {
        let (door, unnamed) = (self.door.with_token()?, self.unnamed.clone());
        let site = Arc::new(Site { door: door.clone(), intake: intake.clone(), unnamed, records: Mutex::default() });
        let health = get(async || axum::Json(json!({ "status": "ok" })));
        let router = Router::new().route("/health", health).fallback(any(take)).with_state(site);
        http::run(stop, door.serve(router, intake.clone()))
    }
}

async fn take(State(site): State<Arc<Site>>, request: Request) -> Response {
    let taken = match site.door.take(request, None, &site.intake).await {
        Ok(taken) => taken,
        Err(refusal) => return refused(&refusal),
    };
    let logged = taken.unpacked().and_then(|body| match media_type(&taken.headers) {
        "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => {
            let pieces = not_too_many(msgpack::pieces(&body, RECORD_LIMIT))?;
            Ok(site.log(pieces.into_iter().map(|piece| msgpack::read(of_size(piece?)?))))
        }
        _ => Ok(site.log(not_too_many(from_json(&body))?.into_iter().map(|piece| Ok((None, value_of(of_size(piece)?)?))))),
    });
    logged.unwrap_or_else(|refusal| {
        site.intake.refuse(&refusal.message);
        refused(&refusal)
    })
}

impl Site {
    /// Logs values, each with its time if that stands beside it.
    fn log(&self, values: impl Iterator<Item = Result<(Option<i64>, Value)>>) -> Response {
        let mut records = self.records.lock();
        let (mut good, mut wrong, mut first) = (0usize, 0usize, None);
        for value in values {
            let logged = value.and_then(|(time_ns, value)| records.log(&self.intake, &record(time_ns, value, &self.unnamed)?));
            match logged {
                Ok(()) => good += 1,
                Err(error) if error.kind() == Kind::Unavailable && good == 0 => {
                    self.intake.refuse(error.message());
                    return answer(StatusCode::SERVICE_UNAVAILABLE, error.message());
                }
                Err(error) => {
                    wrong += 1;
                    first.get_or_insert_with(|| format!("record {}: {error}", good + wrong));
                }
            }
        }
        let Some(first) = first else { return StatusCode::ACCEPTED.into_response() };
        self.intake.refuse_many(&first, wrong as u64);
        answer(StatusCode::NOT_ACCEPTABLE, &format!("{first}; {wrong} were not taken, {good} were"))
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

/// Returns the pieces of a body that is a value, an array of them, or one per line; not more than can be taken, and one.
fn from_json(body: &[u8]) -> Vec<&[u8]> {
    match serde_json::from_slice::<Pieces<'_>>(body) {
        Ok(Pieces(pieces)) => pieces.into_iter().map(|piece| piece.get().as_bytes()).collect(),
        Err(_) => {
            let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
            lines.take(RECORD_LIMIT + 1).collect()
        }
    }
}

fn not_too_many<T>(pieces: Vec<T>) -> Result<Vec<T>, Refusal> {
    if pieces.len() <= RECORD_LIMIT {
        return Ok(pieces);
    }
    Err(Refusal::new(Why::TooLarge, format!("more than {RECORD_LIMIT} records in one request")))
}

fn of_size(piece: &[u8]) -> Result<&[u8]> {
    if piece.len() <= RECORD_BYTES {
        return Ok(piece);
    }
    Err(Error::invalid(format!("a record of {} bytes; at most {RECORD_BYTES}", piece.len())))
}

fn value_of(piece: &[u8]) -> Result<Value> {
    serde_json::from_slice(piece).map_err(|error| Error::invalid("not JSON").caused_by(error))
}

/// What an array holds, or the one value that is none; not more than can be taken.
struct Pieces<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Pieces<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let whole = <&RawValue>::deserialize(deserializer)?;
        if !whole.get().starts_with('[') {
            return Ok(Self(vec![whole]));
        }
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> std::result::Result<Self::Value, A::Error> {
                let mut pieces = Vec::new();
                while let Some(piece) = elements.next_element()? {
                    pieces.push(piece);
                    if pieces.len() > RECORD_LIMIT {
                        while elements.next_element::<IgnoredAny>()?.is_some() {}
                        break;
                    }
                }
                Ok(pieces)
            }
        }
        let mut elements = serde_json::Deserializer::from_str(whole.get());
        elements.deserialize_seq(Elements).map(Self).map_err(de::Error::custom)
    }
}

/// Returns what a value says as a record; a time that stands beside it counts.
fn record(time_ns: Option<i64>, value: Value, unnamed: &str) -> Result<Record<'static>> {
    let mut attributes = match value {
        Value::Object(attributes) => attributes,
        Value::String(text) => Map::from_iter([("message".to_owned(), Value::String(text))]),
        other => return Err(Error::invalid(format!("a record is an object or a text, not {other}"))),
    };
    let time_ns = time_ns.or_else(|| first(&attributes, TIMES, time_of).map(|(key, time_ns)| (attributes.remove(key), time_ns).1));
    let level = first(&attributes, LEVELS, |value| Some(level_of(value)).filter(|level| *level != Level::Unknown));
    let level = level.map(|(key, level)| (attributes.remove(key), level).1).unwrap_or_default();
    let message = first(&attributes, MESSAGES, |value| value.as_str().map(str::to_owned));
    let message = message.map(|(key, message)| (attributes.remove(key), message).1).unwrap_or_default();
    // Who logs stays an attribute too: it may be a host or a logger, and that is worth knowing.
    let name = first(&attributes, NAMES, |value| value.as_str().filter(|name| !name.is_empty()).map(str::to_owned));
    let name = name.map_or_else(|| unnamed.to_owned(), |(_, name)| name);
    Ok(Record { time_ns, level, message: Cow::Owned(message), name: Cow::Owned(name), attributes })
}

/// Returns the first of these keys whose value is understood.
fn first<'k, T>(attributes: &Map<String, Value>, keys: &[&'k str], read: impl Fn(&Value) -> Option<T>) -> Option<(&'k str, T)> {
    keys.iter().find_map(|key| Some((*key, read(attributes.get(*key)?)?)))
}

/// Returns a time in ns: RFC 3339, or a number in the unit that makes it one of this century.
fn time_of(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => {
            // Without a zone it is UTC.
            let local = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
            let moment = text.parse::<Timestamp>().ok().or_else(local)?;
            i64::try_from(moment.as_nanosecond()).ok()
        }
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.checked_mul(http::unit_by_size(whole)),
            None => number.as_f64().map(|number| (number * http::unit_by_size(number as i64) as f64) as i64),
        },
        _ => None,
    }
}

fn level_of(value: &Value) -> Level {
    match value {
        Value::String(word) => Level::of_word(word),
        // As Python and Bunyan count.
        Value::Number(number) => match number.as_u64() {
            Some(10) => Level::Debug,
            Some(20) => Level::Info,
            Some(30) => Level::Warning,
            Some(40) => Level::Error,
            Some(50 | 60) => Level::Fatal,
            _ => Level::Unknown,
        },
        _ => Level::Unknown,
    }
}

/// Refuses a request as Better Stack does.
fn refused(refusal: &Refusal) -> Response {
    let status = match refusal.why {
        Why::Denied => StatusCode::FORBIDDEN,
        Why::Malformed | Why::Packed => StatusCode::NOT_ACCEPTABLE,
        _ => refusal.status(),
    };
    answer(status, &refusal.message)
}

fn answer(status: StatusCode, message: &str) -> Response {
    with_retry((status, axum::Json(json!({ "message": message }))).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_every_sender_are_understood() {
        let read = |value| record(None, value, "app").unwrap();
        let better = read(json!({ "dt": "2026-01-02T03:04:05.5Z", "level": "warn", "message": "hot", "service": "arm", "joint": 3 }));
        assert_eq!((better.time_ns, better.level, better.message.as_ref()), (Some(1_767_323_045_500_000_000), Level::Warning, "hot"));
        assert_eq!((better.name.as_ref(), &better.attributes["joint"]), ("arm", &json!(3)));
        let bunyan = read(json!({ "time": 1_700_000_000_123_i64, "level": 50, "msg": "boom" }));
        assert_eq!((bunyan.time_ns, bunyan.level, bunyan.name.as_ref()), (Some(1_700_000_000_123_000_000), Level::Fatal, "app"));
        assert_eq!(read(json!("plain")).message, "plain");
        // What is not understood stays where it is.
        let odd = read(json!({ "level": "loud", "time": "yesterday", "message": { "a": 1 } }));
        assert_eq!((odd.level, odd.time_ns, odd.attributes.len()), (Level::Unknown, None, 3));
        assert!(record(None, json!(5), "app").is_err());
        // A time beside the record counts, and what the record says stays.
        let event = record(Some(7), json!({ "time": 1_700_000_000 }), "app").unwrap();
        assert_eq!((event.time_ns, &event.attributes["time"]), (Some(7), &json!(1_700_000_000)));
    }

    #[test]
    fn bodies_are_one_many_or_lines() {
        let count = |body: &str| from_json(body.as_bytes()).into_iter().filter(|piece| value_of(piece).is_ok()).count();
        assert_eq!((count("{}"), count("[{},{}]"), count("{}\n\n{}\r\n{}"), count("{}\nbroken\n{}")), (1, 2, 3, 2));
        // Deep nesting must not use up the stack.
        assert_eq!(count(&"[".repeat(100_000)), 0);
        assert_eq!(count("{\n  \"message\": \"pretty\"\n}"), 1);
        let many = format!("[{}0]", "0,".repeat(RECORD_LIMIT));
        assert_eq!(not_too_many(from_json(many.as_bytes())).unwrap_err().why, Why::TooLarge);
        assert_eq!(not_too_many(from_json("{}\n".repeat(RECORD_LIMIT + 1).as_bytes())).unwrap_err().why, Why::TooLarge);
        assert!(not_too_many(from_json("{}\n".repeat(RECORD_LIMIT).as_bytes())).is_ok());
        assert!(of_size(&[b' '; RECORD_BYTES + 1]).is_err());
    }
}
