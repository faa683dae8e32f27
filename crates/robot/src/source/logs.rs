//! `kind = "logs"`: takes log records over HTTP, as Better Stack, Vector and everything that posts JSON send them.
//!
//! In come a JSON object, an array of them, one per line, or MessagePack; out goes a message per record on `/logs/<name>`. Of the
//! usual names for the time, the level, the text and who logs the first that is there counts; everything else is an attribute.
//!
//! **Invariant:** good records of a request are kept, whatever the bad ones are.

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

use super::http::{self, Door, Listen, Refusal, unpacked};
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
/// The largest body of MessagePack: a byte of it can be a value, which takes 32 bytes of memory.
const MSGPACK_LIMIT: usize = 8 << 20;
/// How deep values may be nested in MessagePack, as in JSON.
const DEPTH_LIMIT: usize = 128;

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
        let (door, unnamed) = (self.door.clone(), self.unnamed.clone());
        let site = Arc::new(Site { door, intake: intake.clone(), unnamed, records: Mutex::default() });
        let health = get(async || axum::Json(json!({ "status": "ok" })));
        let router = Router::new().route("/health", health).fallback(any(take)).with_state(site);
        http::run(stop, self.door.clone().serve(router, intake.clone()))
    }
}

async fn take(State(site): State<Arc<Site>>, request: Request) -> Response {
    let taken = match site.door.take(request, None).await {
        Ok(taken) => taken,
        // As Better Stack answers.
        Err(Refusal::Denied) => return answer(StatusCode::FORBIDDEN, &Refusal::Denied.message()),
        Err(refusal) => return answer(refusal.status(), &refusal.message()),
    };
    let logged = unpacked(&taken.headers, taken.body.clone()).and_then(|body| match media_type(&taken.headers) {
        "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => Ok(site.log(from_msgpack(&body)?.into_iter())),
        _ => Ok(site.log(from_json(&body)?.into_iter().map(value_of))),
    });
    match logged {
        Ok(response) => response,
        Err(error) => {
            site.intake.refuse(error.message());
            let status = if error.kind() == Kind::Unavailable { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::NOT_ACCEPTABLE };
            answer(status, error.message())
        }
    }
}

impl Site {
    fn log(&self, values: impl Iterator<Item = Result<Value>>) -> Response {
        let mut records = self.records.lock();
        let (mut good, mut wrong) = (0usize, None);
        for value in values {
            let logged = value.and_then(|value| records.log(&self.intake, &record(value, &self.unnamed)?));
            match logged {
                Ok(()) => good += 1,
                Err(error) if error.kind() == Kind::Unavailable && good == 0 => {
                    return answer(StatusCode::SERVICE_UNAVAILABLE, error.message());
                }
                Err(error) => {
                    self.intake.refuse(error.message());
                    wrong.get_or_insert((good, error));
                }
            }
        }
        match wrong {
            None => StatusCode::ACCEPTED.into_response(),
            Some((before, error)) => {
                answer(StatusCode::NOT_ACCEPTABLE, &format!("record {}: {error}; {good} others were taken", before + 1))
            }
        }
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

/// Returns the pieces of a body that is a value, an array of them, or one per line.
fn from_json(body: &[u8]) -> Result<Vec<&[u8]>> {
    let pieces: Vec<&[u8]> = match serde_json::from_slice::<Pieces<'_>>(body) {
        Ok(Pieces(pieces)) => pieces.into_iter().map(|piece| piece.get().as_bytes()).collect(),
        Err(_) => {
            let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
            lines.take(RECORD_LIMIT + 1).collect()
        }
    };
    if pieces.len() > RECORD_LIMIT { Err(too_many()) } else { Ok(pieces) }
}

fn value_of(piece: &[u8]) -> Result<Value> {
    if piece.len() > RECORD_BYTES {
        return Err(Error::invalid(format!("a record of {} bytes; at most {RECORD_BYTES}", piece.len())));
    }
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

fn from_msgpack(body: &[u8]) -> Result<Vec<Result<Value>>> {
    if body.len() > MSGPACK_LIMIT {
        return Err(Error::unavailable(format!("{} bytes of MessagePack in one request; at most {MSGPACK_LIMIT}", body.len())));
    }
    let mut reader = rmp_serde::Deserializer::from_read_ref(body);
    reader.set_max_depth(DEPTH_LIMIT);
    let value = Value::deserialize(&mut reader).map_err(|error| Error::invalid("not MessagePack").caused_by(error))?;
    match value {
        Value::Array(values) if values.len() > RECORD_LIMIT => Err(too_many()),
        Value::Array(values) => Ok(values.into_iter().map(Ok).collect()),
        value => Ok(vec![Ok(value)]),
    }
}

fn too_many() -> Error {
    Error::unavailable(format!("more than {RECORD_LIMIT} records in one request"))
}

/// Returns what a value says as a record.
fn record(value: Value, unnamed: &str) -> Result<Record<'static>> {
    let mut attributes = match value {
        Value::Object(attributes) => attributes,
        Value::String(text) => Map::from_iter([("message".to_owned(), Value::String(text))]),
        other => return Err(Error::invalid(format!("a record is an object or a text, not {other}"))),
    };
    let time_ns = first(&attributes, TIMES, time_of).map(|(key, time_ns)| (attributes.remove(key), time_ns).1);
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

fn answer(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({ "message": message }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_every_sender_are_understood() {
        let read = |value| record(value, "app").unwrap();
        let better = read(json!({ "dt": "2026-01-02T03:04:05.5Z", "level": "warn", "message": "hot", "service": "arm", "joint": 3 }));
        assert_eq!((better.time_ns, better.level, better.message.as_ref()), (Some(1_767_323_045_500_000_000), Level::Warning, "hot"));
        assert_eq!((better.name.as_ref(), &better.attributes["joint"]), ("arm", &json!(3)));
        let bunyan = read(json!({ "time": 1_700_000_000_123_i64, "level": 50, "msg": "boom" }));
        assert_eq!((bunyan.time_ns, bunyan.level, bunyan.name.as_ref()), (Some(1_700_000_000_123_000_000), Level::Fatal, "app"));
        assert_eq!(read(json!("plain")).message, "plain");
        // What is not understood stays where it is.
        let odd = read(json!({ "level": "loud", "time": "yesterday", "message": { "a": 1 } }));
        assert_eq!((odd.level, odd.time_ns, odd.attributes.len()), (Level::Unknown, None, 3));
        assert!(record(json!(5), "app").is_err());
    }

    #[test]
    fn bodies_are_one_many_or_lines() {
        let count = |body: &str| from_json(body.as_bytes()).unwrap().into_iter().filter(|piece| value_of(piece).is_ok()).count();
        assert_eq!((count("{}"), count("[{},{}]"), count("{}\n\n{}\r\n{}"), count("{}\nbroken\n{}")), (1, 2, 3, 2));
        let packed = rmp_serde::to_vec(&json!([{ "message": "a" }, { "message": "b" }])).unwrap();
        assert_eq!(from_msgpack(&packed).unwrap().len(), 2);
        assert!(from_msgpack(b"\xc1").is_err());
        // Deep nesting must not use up the stack.
        assert!(from_msgpack(&[0x91; 100_000]).is_err());
        assert_eq!(count(&"[".repeat(100_000)), 0);
        assert_eq!(count("{\n  \"message\": \"pretty\"\n}"), 1);
        let many = format!("[{}0]", "0,".repeat(RECORD_LIMIT));
        assert_eq!(from_json(many.as_bytes()).unwrap_err().kind(), Kind::Unavailable);
        assert_eq!(from_json("{}\n".repeat(RECORD_LIMIT + 1).as_bytes()).unwrap_err().kind(), Kind::Unavailable);
        assert!(value_of(&[b' '; RECORD_BYTES + 1]).is_err());
    }
}
