//! `kind = "influx"`: takes what is sent to an InfluxDB: Telegraf, ROS's `diagnostic_remote_logging`, client libraries.
//!
//! In come requests of the InfluxDB APIs 1, 2 and 3 with line protocol, out goes a message per point on `/metrics/<measurement>`, in
//! JSON: `{"tags": {…}, "fields": {…}}`. The point's own time is the publish time; the log time is when it came.
//!
//! **Invariant:** good lines of a request are kept, whatever the bad ones are.

mod line;
mod point;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use parking_lot::Mutex;
use recording::{Error, Kind, Result};
use serde::Deserialize;
use serde_json::json;

use self::point::Points;
use super::http::{self, Door, Listen, Refusal, Taken, Why, with_retry};
use super::{Intake, Source, options};
use crate::config::SourceConfig;
use crate::stop::StopFlag;

/// Where InfluxDB listens.
const PORT: u16 = 8086;
/// What senders are told to be: the API they use decides, not the number.
const VERSION: &str = "2.7.0-tapeloop";
/// How many bad lines an answer names.
const NAMED_LINES: usize = 10;

struct Influx {
    door: Door,
}

pub(super) fn make(config: &SourceConfig) -> Result<Box<dyn Source>> {
    let listen: Listen = options(config)?;
    Ok(Box::new(Influx { door: Door::new(&listen, PORT)? }))
}

struct Site {
    door: Door,
    intake: Arc<Intake>,
    points: Mutex<Points>,
}

impl Source for Influx {
    fn run(&mut self, intake: &Arc<Intake>, stop: &StopFlag) -> Result<()> {
        let door = self.door.with_token()?;
        let site = Arc::new(Site { door: door.clone(), intake: intake.clone(), points: Mutex::default() });
        let router = Router::new()
            .route("/api/v2/write", post(|site, wish, request| write(site, wish, request, "ns")))
            .route("/api/v3/write_lp", post(|site, wish, request| write(site, wish, request, "auto")))
            .route("/write", post(|site, wish, request| write(site, wish, request, "ns")))
            .route("/ping", get(ping).head(ping))
            .route("/health", get(health))
            .route("/query", any(query))
            .route("/api/v2/query", any(query))
            .fallback(no_such_path)
            .with_state(site);
        http::run(stop, door.serve(router, intake.clone()))
    }
}

/// What a request says about its lines. Which database, organisation or bucket is meant makes no difference.
#[derive(Default, Deserialize)]
struct Wish {
    precision: Option<String>,
    /// The password of API 1.
    p: Option<String>,
    /// Its query.
    q: Option<String>,
}

type Wished = Result<Query<Wish>, QueryRejection>;

/// Takes lines, whose timestamps are in `unit` unless the request names another one.
async fn write(State(site): State<Arc<Site>>, wish: Wished, request: Request, unit: &str) -> Response {
    let (taken, wish) = match site.enter(wish, request).await {
        Ok(entered) => entered,
        Err(answer) => return answer,
    };
    let unit = wish.precision.as_deref().unwrap_or(unit);
    let Some(unit_ns) = unit_ns(unit) else {
        return site.invalid(&format!("precision '{unit}': there are auto, ns, us, ms and s"));
    };
    match taken.unpacked() {
        Ok(body) => site.take(&body, unit_ns),
        Err(refusal) => {
            site.intake.refuse(&refusal.message);
            refused_by(&refusal)
        }
    }
}

impl Site {
    /// Takes a request with what it says about itself.
    async fn enter(&self, wish: Wished, request: Request) -> Result<(Taken, Wish), Response> {
        let password = wish.as_ref().ok().and_then(|Query(wish)| wish.p.clone());
        let taken = self.door.take(request, password.as_deref(), &self.intake).await.map_err(|refusal| refused_by(&refusal))?;
        match wish {
            Ok(Query(wish)) => Ok((taken, wish)),
            Err(error) => Err(self.invalid(&error.body_text())),
        }
    }

    /// Refuses a whole request.
    fn invalid(&self, message: &str) -> Response {
        self.intake.refuse(message);
        refused(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// Logs the points of a body, and says which lines are none.
    fn take(&self, body: &[u8], unit_ns: Option<i64>) -> Response {
        let text = String::from_utf8_lossy(body);
        let mut points = self.points.lock();
        let (mut good, mut wrong, mut named) = (0usize, 0usize, Vec::new());
        for (number, point) in line::points(&text) {
            let outcome = point.map_err(Error::invalid).and_then(|point| points.log(&self.intake, &point, unit_ns));
            match outcome {
                Ok(()) => good += 1,
                // The tape cannot take it now: the sender may try again, and points twice are better than points never.
                Err(error) if error.kind() == Kind::Unavailable && good == 0 => {
                    self.intake.refuse(error.message());
                    return refused(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.message());
                }
                Err(error) => {
                    wrong += 1;
                    if named.len() < NAMED_LINES {
                        named.push(format!("line {number}: {error}"));
                    }
                }
            }
        }
        let Some(first) = named.first() else { return StatusCode::NO_CONTENT.into_response() };
        self.intake.refuse_many(first, wrong as u64);
        let message = format!("{wrong} of {} lines were not taken: {}", wrong + good, named.join("; "));
        refused(StatusCode::BAD_REQUEST, "invalid", &message)
    }
}

/// Returns how many ns a unit has; `Some(None)` where each timestamp tells it by its size.
#[allow(clippy::option_option, reason = "a third case that is named")]
fn unit_ns(precision: &str) -> Option<Option<i64>> {
    match precision {
        "auto" => Some(None),
        "" | "n" | "ns" | "nanosecond" => Some(Some(1)),
        "u" | "us" | "µ" | "microsecond" => Some(Some(1_000)),
        "ms" | "millisecond" => Some(Some(1_000_000)),
        "s" | "second" => Some(Some(1_000_000_000)),
        "m" => Some(Some(60 * 1_000_000_000)),
        "h" => Some(Some(3600 * 1_000_000_000)),
        _ => None,
    }
}

async fn ping() -> Response {
    (StatusCode::NO_CONTENT, [("X-Influxdb-Version", VERSION), ("X-Influxdb-Build", "tapeloop")]).into_response()
}

async fn health() -> Response {
    let body = json!({ "name": "influxdb", "message": "ready for writes", "status": "pass", "checks": [], "version": VERSION });
    axum::Json(body).into_response()
}

/// Answers the one query that writers have: Telegraf makes its database before it writes, and there are no databases to make.
async fn query(State(site): State<Arc<Site>>, wish: Wished, request: Request) -> Response {
    let (taken, wish) = match site.enter(wish, request).await {
        Ok(entered) => entered,
        Err(answer) => return answer,
    };
    let text = wish.q.unwrap_or_else(|| String::from_utf8_lossy(&taken.body).trim_start_matches("q=").replace('+', " "));
    if text.trim_start().to_ascii_lowercase().starts_with("create database") {
        return axum::Json(json!({ "results": [{ "statement_id": 0 }] })).into_response();
    }
    refused(StatusCode::NOT_IMPLEMENTED, "not implemented", "tapeloop records; it does not answer queries here")
}

async fn no_such_path(State(site): State<Arc<Site>>, uri: Uri) -> Response {
    let message = format!("nothing is at {}: there are /api/v2/write, /api/v3/write_lp, /write, /ping and /health", uri.path());
    site.intake.refuse(&message);
    refused(StatusCode::NOT_FOUND, "not found", &message)
}

fn refused_by(refusal: &Refusal) -> Response {
    let code = match refusal.why {
        Why::Denied => "unauthorized",
        Why::Foreign => "forbidden",
        Why::TooLarge => "request too large",
        Why::Busy => "unavailable",
        Why::OverLimit => "too many requests",
        Why::Late | Why::Malformed | Why::Packed => "invalid",
    };
    refused(refusal.status(), code, &refusal.message)
}

/// Says what is wrong, as the APIs 1 and 2 do.
fn refused(status: StatusCode, code: &str, message: &str) -> Response {
    let body = axum::Json(json!({ "code": code, "message": message, "error": message }));
    with_retry((status, body).into_response())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::config::Config;
    use crate::{Leave, OpenOptions, Tape};

    #[tokio::test]
    async fn bad_lines_are_counted_and_named_up_to_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions { device: Some("rover".into()), ..OpenOptions::default() };
        let tape = Tape::open(folder.path(), Config::empty(), options).unwrap();
        let intake = Arc::new(Intake::new(tape.clone(), "influx".into(), None));
        let site = Site { door: Door::new(&Listen::default(), PORT).unwrap(), intake, points: Mutex::default() };
        let told = async |body: &str, unit| {
            let answer = site.take(body.as_bytes(), unit_ns(unit).unwrap());
            let status = answer.status();
            (status, String::from_utf8(BodyExt::collect(answer.into_body()).await.unwrap().to_bytes().to_vec()).unwrap())
        };
        let (status, text) = told(&format!("# a comment\n\nm x=1\n{}m x=2", "bad\n".repeat(1000)), "ns").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(text.contains("1000 of 1002 lines") && text.contains("line 4: it has no fields") && text.len() < 2000, "{text}");
        let refused = || site.intake.counters.refused.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(refused(), 1000);
        for (line, unit, why) in [
            (format!("m {}=1", "f".repeat(201)), "ns", "a name of 201 bytes"),
            (format!("m,{}=1 x=1", "t".repeat(201)), "ns", "a name of 201 bytes"),
            (format!("{} x=1", "m".repeat(201)), "ns", "a name of 201 bytes"),
            ("m x=1 1700000000000000000".to_owned(), "s", "out of range"),
        ] {
            let (status, text) = told(&line, unit).await;
            assert!(status == StatusCode::BAD_REQUEST && text.contains(why), "{text}");
        }
        for (stamp, unit) in [("1700000000", "auto"), ("1700000000000", "auto"), ("1700000000", "s")] {
            assert_eq!(told(&format!("m x=1 {stamp}"), unit).await.0, StatusCode::NO_CONTENT);
        }
        tape.close(Leave::CutShort).unwrap();
    }
}
