//! `kind = "otlp"`: takes what OpenTelemetry sends: logs, metrics and traces, over HTTP and gRPC.
//!
//! In come export requests in Protobuf or JSON, packed or not; out goes a JSON message per log record on `/logs/<service.name>`, per
//! data point on `/metrics/<name>`, and per span on `/traces/<service.name>`. The record's own time is the publish time.
//!
//! **Invariant:** a record that cannot be taken costs that record, and the sender is told how many those were.

mod grpc;
mod log;
mod metric;
mod origin;
mod span;
mod walk;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use recording::{Error, Kind, Result};
use serde::Deserialize;
use serde_json::json;

use self::log::Logs;
use self::metric::Metrics;
use self::span::Spans;
use self::walk::{Format, Signal, walk};
use super::http::{self, Door, Listen, Refusal, address_of, serve_at, with_retry};
use super::{Intake, Source, options};
use crate::config::SourceConfig;
use crate::stop::StopFlag;

/// Where OpenTelemetry's collector listens to HTTP.
const HTTP_PORT: u16 = 4318;
/// Where it listens to gRPC.
const GRPC_PORT: u16 = 4317;
/// What turns one of the two off.
const OFF: &str = "off";
/// How many log records, data points or spans one request may have.
const RECORD_LIMIT: u64 = 100_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The address of HTTP, or `off`.
    listen: Option<String>,
    /// The address of gRPC, or `off`.
    grpc: Option<String>,
    token: Option<String>,
    token_file: Option<String>,
}

struct Otlp {
    http: Option<Door>,
    grpc: Option<Door>,
}

pub(super) fn make(config: &SourceConfig) -> Result<Box<dyn Source>> {
    let Options { listen, grpc, token, token_file } = options(config)?;
    let door = |listen: Option<String>, port| match listen.as_deref() {
        Some(OFF) => Ok(None),
        _ => Door::new(&Listen { listen, token: token.clone(), token_file: token_file.clone() }, port).map(Some),
    };
    let otlp = Otlp { http: door(listen, HTTP_PORT)?, grpc: door(grpc, GRPC_PORT)? };
    if otlp.http.is_none() && otlp.grpc.is_none() {
        return Err(Error::invalid("listen and grpc are both off: nothing would be left"));
    }
    Ok(Box::new(otlp))
}

/// What all requests share.
struct Site {
    intake: Arc<Intake>,
    topics: Mutex<Topics>,
}

#[derive(Default)]
struct Topics {
    logs: Logs,
    metrics: Metrics,
    spans: Spans,
}

/// One way in.
#[derive(Clone)]
struct Entrance {
    door: Door,
    site: Arc<Site>,
}

impl Source for Otlp {
    fn run(&mut self, intake: &Arc<Intake>, stop: &StopFlag) -> Result<()> {
        let site = Arc::new(Site { intake: intake.clone(), topics: Mutex::default() });
        let with_token = |door: &Option<Door>| door.as_ref().map(Door::with_token).transpose();
        let (http, grpc) = (with_token(&self.http)?, with_token(&self.grpc)?);
        http::run(stop, async {
            let mut open = Vec::new();
            for (name, door, routes) in [("HTTP", &http, http_routes as fn() -> Router<Entrance>), ("gRPC", &grpc, grpc::routes)] {
                if let Some(door) = door {
                    let entrance = Entrance { door: door.clone(), site: site.clone() };
                    open.push((name, door.listen().await?, routes().with_state(entrance)));
                }
            }
            let places = open.iter().map(|(name, listener, _)| Ok(format!("{name} at {}", address_of(listener)?)));
            intake.note(format!("listens to {}", places.collect::<Result<Vec<_>>>()?.join(" and ")));
            let mut serving = open.into_iter().map(|(_, listener, router)| serve_at(listener, router));
            match (serving.next(), serving.next()) {
                (Some(first), Some(second)) => tokio::try_join!(first, second).map(|_| ()),
                (Some(only), None) => only.await,
                _ => Ok(()),
            }
        })
    }
}

/// What became of the records of a request.
#[derive(Debug, Default)]
struct Outcome {
    good: u64,
    rejected: u64,
    /// Why the first one was.
    why: Option<String>,
    /// Whether the tape took nothing any more.
    is_away: bool,
}

impl Outcome {
    fn is_full(&self) -> bool {
        self.good + self.rejected >= RECORD_LIMIT
    }

    /// Logs a record, unless there were too many before it, and counts what became of it.
    fn take(&mut self, log: impl FnOnce() -> Result<()>) {
        if self.is_full() {
            return self.reject_one_more();
        }
        match log() {
            Ok(()) => self.good += 1,
            Err(error) => self.reject(1, &error),
        }
    }

    fn reject(&mut self, records: u64, error: &Error) {
        self.rejected += records;
        self.is_away |= error.kind() != Kind::Invalid;
        self.why.get_or_insert_with(|| error.to_string());
    }

    /// Rejects one that is beyond the limit.
    fn reject_one_more(&mut self) {
        self.rejected += 1;
        self.why.get_or_insert_with(|| format!("more than {RECORD_LIMIT} records in one request"));
    }
}

impl Site {
    /// Logs what a request exports.
    ///
    /// # Errors
    /// `Invalid` for what is no such request, `Unavailable` if the tape takes nothing of it now.
    fn take(&self, signal: Signal, format: Format, body: &[u8]) -> Result<Outcome> {
        let mut topics = self.topics.lock();
        let Topics { logs, metrics, spans } = &mut *topics;
        let mut outcome = Outcome::default();
        let walked = match signal {
            Signal::Logs => walk(body, signal, format, |origin, record| {
                outcome.take(|| logs.log(&self.intake, origin, &record.read::<LogRecord>()?));
            }),
            Signal::Metrics => walk(body, signal, format, |origin, record| {
                if outcome.is_full() {
                    return outcome.reject_one_more();
                }
                match record.read_metric() {
                    Ok(metric) => metrics.log(&self.intake, origin, &metric, &mut outcome),
                    Err(error) => outcome.reject(1, &error),
                }
            }),
            Signal::Traces => walk(body, signal, format, |origin, record| {
                outcome.take(|| spans.log(&self.intake, origin, &record.read::<Span>()?));
            }),
        };
        drop(topics);
        if let Some(why) = &outcome.why {
            self.intake.refuse_many(why, outcome.rejected);
        }
        if let Err(error) = walked {
            self.intake.refuse(error.message());
            return Err(error);
        }
        match &outcome.why {
            // The tape cannot take it now: the sender may try again.
            Some(why) if outcome.is_away && outcome.good == 0 => Err(Error::unavailable(why.clone())),
            _ => Ok(outcome),
        }
    }
}

fn http_routes() -> Router<Entrance> {
    Router::new()
        .route("/v1/logs", post(|State(entrance), request| export(entrance, Signal::Logs, request)))
        .route("/v1/metrics", post(|State(entrance), request| export(entrance, Signal::Metrics, request)))
        .route("/v1/traces", post(|State(entrance), request| export(entrance, Signal::Traces, request)))
        .fallback(async |State(entrance): State<Entrance>, uri: Uri| {
            let message = format!("nothing is at {}: there are /v1/logs, /v1/metrics and /v1/traces", uri.path());
            entrance.site.intake.refuse(&message);
            wrong(StatusCode::NOT_FOUND, Format::Json, &message)
        })
}

async fn export(entrance: Entrance, signal: Signal, request: Request) -> Response {
    let format = format_of(request.headers());
    // What is wrong is said in Protobuf to whoever sends something else.
    let told = format.unwrap_or(Format::Protobuf);
    let refused = |refusal: &Refusal| wrong(refusal.status(), told, &refusal.message);
    let intake = &entrance.site.intake;
    let taken = match entrance.door.take(request, None, intake).await {
        Ok(taken) => taken,
        Err(refusal) => return refused(&refusal),
    };
    let Some(format) = format else {
        let message = "send application/x-protobuf or application/json";
        intake.refuse(message);
        return wrong(StatusCode::UNSUPPORTED_MEDIA_TYPE, told, message);
    };
    let body = match taken.unpacked() {
        Ok(body) => body,
        Err(refusal) => {
            intake.refuse(&refusal.message);
            return refused(&refusal);
        }
    };
    match entrance.site.take(signal, format, &body) {
        Ok(outcome) => success(signal, format, &outcome),
        Err(error) if error.kind() == Kind::Unavailable => wrong(StatusCode::SERVICE_UNAVAILABLE, format, error.message()),
        Err(error) => wrong(StatusCode::BAD_REQUEST, format, error.message()),
    }
}

fn format_of(headers: &HeaderMap) -> Option<Format> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    match text.split(';').next().unwrap_or_default().trim() {
        "application/x-protobuf" | "application/protobuf" => Some(Format::Protobuf),
        "application/json" => Some(Format::Json),
        _ => None,
    }
}

fn success(signal: Signal, format: Format, outcome: &Outcome) -> Response {
    match format {
        Format::Protobuf => answer(StatusCode::OK, format, partial_success(outcome)),
        Format::Json => {
            let body = match &outcome.why {
                None => json!({}),
                Some(why) => {
                    json!({ "partialSuccess": { signal.rejected_name(): outcome.rejected.to_string(), "errorMessage": why } })
                }
            };
            answer(StatusCode::OK, format, body.to_string().into_bytes())
        }
    }
}

/// Returns an `Export…ServiceResponse`, which looks the same for every signal.
fn partial_success(outcome: &Outcome) -> Vec<u8> {
    let mut body = Vec::new();
    if let Some(why) = &outcome.why {
        let mut partial = Vec::new();
        prost::encoding::int64::encode(1, &(outcome.rejected as i64), &mut partial);
        prost::encoding::string::encode(2, why, &mut partial);
        prost::encoding::bytes::encode(1, &partial, &mut body);
    }
    body
}

/// Says what is wrong, in a `google.rpc.Status`.
fn wrong(status: StatusCode, format: Format, message: &str) -> Response {
    let body = match format {
        Format::Json => json!({ "message": message }).to_string().into_bytes(),
        Format::Protobuf => {
            let mut body = Vec::new();
            prost::encoding::string::encode(2, &message.to_owned(), &mut body);
            body
        }
    };
    with_retry(answer(status, format, body))
}

fn answer(status: StatusCode, format: Format, body: Vec<u8>) -> Response {
    let content_type = match format {
        Format::Protobuf => "application/x-protobuf",
        Format::Json => "application/json",
    };
    (status, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

#[cfg(test)]
mod tests;
