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
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use parking_lot::Mutex;
use recording::{Error, Kind, Result};
use serde::Deserialize;
use serde_json::json;

use self::point::Points;
use super::http::{self, Door, Listen, Refusal, unpacked};
use super::{Intake, Source, options};
use crate::config::SourceConfig;
use crate::stop::StopFlag;

/// Where InfluxDB listens.
const PORT: u16 = 8086;
/// What senders are told to be: the API they use decides, not the number.
const VERSION: &str = "2.7.0-tapeloop";
/// After how many seconds a sender may try again.
const RETRY_SECONDS: &str = "1";
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
        let site = Arc::new(Site { door: self.door.clone(), intake: intake.clone(), points: Mutex::default() });
        let router = Router::new()
            .route("/api/v2/write", post(write))
            .route("/api/v3/write_lp", post(write))
            .route("/write", post(write))
            .route("/ping", get(ping).head(ping))
            .route("/health", get(health))
            .route("/query", any(query))
            .route("/api/v2/query", any(query))
            .fallback(no_such_path)
            .with_state(site);
        http::run(stop, self.door.clone().serve(router, intake.clone()))
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

async fn write(State(site): State<Arc<Site>>, wish: Result<Query<Wish>, QueryRejection>, request: Request) -> Response {
    let wish = wish.map(|Query(wish)| wish).unwrap_or_default();
    let taken = match site.door.take(request, wish.p.as_deref()).await {
        Ok(taken) => taken,
        Err(refusal) => return refused(refusal.status(), code_of(refusal), &refusal.message()),
    };
    let Some(unit_ns) = unit_ns(wish.precision.as_deref()) else {
        let text = wish.precision.unwrap_or_default();
        return refused(StatusCode::BAD_REQUEST, "invalid", &format!("precision '{text}': there are ns, us, ms and s"));
    };
    match unpacked(&taken.headers, taken.body.clone()) {
        Ok(body) => site.take(&body, unit_ns),
        Err(error) => {
            site.intake.refuse(error.message());
            refused(status_of(&error), "invalid", error.message())
        }
    }
}

impl Site {
    /// Logs the points of a body, and says which lines are none.
    fn take(&self, body: &[u8], unit_ns: Option<i64>) -> Response {
        let text = String::from_utf8_lossy(body);
        let mut points = self.points.lock();
        let (mut good, mut wrong) = (0usize, Vec::new());
        for (number, point) in line::points(&text).enumerate() {
            let outcome = point.map_err(Error::invalid).and_then(|point| points.log(&self.intake, &point, unit_ns));
            match outcome {
                Ok(()) => good += 1,
                // The tape cannot take it now: the sender may try again, and points twice are better than points never.
                Err(error) if error.kind() == Kind::Unavailable && good == 0 => {
                    return refused(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.message());
                }
                Err(error) => wrong.push((number + 1, error)),
            }
        }
        let Some((number, error)) = wrong.first() else { return StatusCode::NO_CONTENT.into_response() };
        self.intake.refuse(&format!("line {number}: {error}"));
        for _ in wrong.iter().skip(1) {
            self.intake.refuse_more();
        }
        let named: Vec<String> = wrong.iter().take(NAMED_LINES).map(|(number, error)| format!("line {number}: {error}")).collect();
        let message = format!("{} of {} lines were not taken: {}", wrong.len(), wrong.len() + good, named.join("; "));
        refused(StatusCode::BAD_REQUEST, "invalid", &message)
    }
}

/// Returns how many ns a unit has; `Some(None)` where each timestamp tells it by its size.
#[allow(clippy::option_option, reason = "a third case that is named")]
fn unit_ns(precision: Option<&str>) -> Option<Option<i64>> {
    match precision.unwrap_or("ns") {
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
async fn query(State(site): State<Arc<Site>>, wish: Result<Query<Wish>, QueryRejection>, request: Request) -> Response {
    let wish = wish.map(|Query(wish)| wish).unwrap_or_default();
    let taken = match site.door.take(request, wish.p.as_deref()).await {
        Ok(taken) => taken,
        Err(refusal) => return refused(refusal.status(), code_of(refusal), &refusal.message()),
    };
    let text = wish.q.unwrap_or_else(|| String::from_utf8_lossy(&taken.body).trim_start_matches("q=").replace('+', " "));
    if text.trim_start().to_ascii_lowercase().starts_with("create database") {
        return axum::Json(json!({ "results": [{ "statement_id": 0 }] })).into_response();
    }
    refused(StatusCode::NOT_IMPLEMENTED, "not implemented", "tapeloop records; it does not answer queries here")
}

async fn no_such_path() -> Response {
    refused(StatusCode::NOT_FOUND, "not found", "there are /api/v2/write, /api/v3/write_lp, /write, /ping and /health")
}

fn status_of(error: &Error) -> StatusCode {
    if error.kind() == Kind::Unavailable { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST }
}

fn code_of(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Denied => "unauthorized",
        Refusal::TooLarge => "request too large",
        Refusal::Busy => "unavailable",
        Refusal::Broken => "invalid",
    }
}

/// Says what is wrong, as the APIs 1 and 2 do.
fn refused(status: StatusCode, code: &str, message: &str) -> Response {
    let body = axum::Json(json!({ "code": code, "message": message, "error": message }));
    let mut answer = (status, body).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
    }
    answer
}
