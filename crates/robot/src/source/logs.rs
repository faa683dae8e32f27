//! `kind = "logs"`: takes log records over HTTP, as Better Stack, Vector and everything that posts JSON send them.
//!
//! In come a JSON object, an array of them, one per line, or MessagePack; out goes a message per record on `/logs/<name>`. Of the
//! usual names for the time, the level, the text and who logs the first that is there counts; everything else is an attribute.
//!
//! **Invariant:** good records of a request are kept, whatever the bad ones are.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use recording::{Error, Kind, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::http::{self, Door, Listen, unpacked};
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

async fn take(State(site): State<Arc<Site>>, headers: HeaderMap, body: Result<Bytes, BytesRejection>) -> Response {
    if !site.door.admits(&headers, None) {
        return answer(StatusCode::FORBIDDEN, "the token is missing or wrong");
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return answer(rejection.status(), &rejection.body_text()),
    };
    let read = unpacked(&headers, body).and_then(|body| match media_type(&headers) {
        "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => from_msgpack(&body),
        _ => from_json(&body),
    });
    match read {
        Ok(values) => site.log(values),
        Err(error) => {
            site.intake.refuse(error.message());
            let status = if error.kind() == Kind::Unavailable { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::NOT_ACCEPTABLE };
            answer(status, error.message())
        }
    }
}

impl Site {
    fn log(&self, values: Vec<Result<Value>>) -> Response {
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

/// Reads a value, an array of them, or one per line.
fn from_json(body: &[u8]) -> Result<Vec<Result<Value>>> {
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        return all_of(value);
    }
    let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect();
    if lines.len() > RECORD_LIMIT {
        return Err(too_many(lines.len()));
    }
    let wrong = |error| Error::invalid("not JSON").caused_by(error);
    Ok(lines.into_iter().map(|line| serde_json::from_slice(line).map_err(wrong)).collect())
}

fn from_msgpack(body: &[u8]) -> Result<Vec<Result<Value>>> {
    let value = rmp_serde::from_slice(body).map_err(|error| Error::invalid("not MessagePack").caused_by(error))?;
    all_of(value)
}

fn all_of(value: Value) -> Result<Vec<Result<Value>>> {
    match value {
        Value::Array(values) if values.len() > RECORD_LIMIT => Err(too_many(values.len())),
        Value::Array(values) => Ok(values.into_iter().map(Ok).collect()),
        value => Ok(vec![Ok(value)]),
    }
}

fn too_many(count: usize) -> Error {
    Error::unavailable(format!("{count} records in one request; at most {RECORD_LIMIT}"))
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
        let count = |body: &str| from_json(body.as_bytes()).unwrap().iter().filter(|value| value.is_ok()).count();
        assert_eq!((count("{}"), count("[{},{}]"), count("{}\n\n{}\r\n{}"), count("{}\nbroken\n{}")), (1, 2, 3, 2));
        let packed = rmp_serde::to_vec(&json!([{ "message": "a" }, { "message": "b" }])).unwrap();
        assert_eq!(from_msgpack(&packed).unwrap().len(), 2);
        assert!(from_msgpack(b"\xc1").is_err());
        // Deep nesting must not use up the stack.
        assert!(from_msgpack(&[0x91; 100_000]).is_err());
        assert_eq!(count(&"[".repeat(100_000)), 0);
    }
}
