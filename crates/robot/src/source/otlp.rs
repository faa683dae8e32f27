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
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use recording::{Error, Kind, Result};
use serde::Deserialize;
use serde_json::json;

use self::log::Logs;
use self::metric::Metrics;
use self::span::Spans;
use self::walk::{Format, Signal, walk};
use super::http::{self, Door, Listen, address_of, serve_at, unpacked};
use super::{Intake, Source, options};
use crate::config::SourceConfig;
use crate::stop::StopFlag;

/// Where OpenTelemetry's collector listens to HTTP.
const HTTP_PORT: u16 = 4318;
/// Where it listens to gRPC.
const GRPC_PORT: u16 = 4317;
/// What turns one of the two off.
const OFF: &str = "off";
/// After how many seconds a sender may try again.
const RETRY_SECONDS: &str = "1";

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
        http::run(stop, async {
            let mut open = Vec::new();
            for (name, door, routes) in [("HTTP", &self.http, http_routes as fn() -> Router<Entrance>), ("gRPC", &self.grpc, grpc::routes)]
            {
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
}

impl Outcome {
    fn count(&mut self, logged: Result<()>) {
        match logged {
            Ok(()) => self.good += 1,
            Err(error) => {
                self.rejected += 1;
                self.why.get_or_insert_with(|| error.to_string());
            }
        }
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
        let (mut outcome, mut away) = (Outcome::default(), None);
        let mut count = |logged: Result<()>| {
            if let Err(error) = &logged
                && error.kind() != Kind::Invalid
            {
                away = Some(Error::new(error.kind(), error.message()));
            }
            outcome.count(logged);
        };
        let walked = match signal {
            Signal::Logs => walk(body, signal, format, |origin, record| {
                count(record.read::<LogRecord>().and_then(|record| logs.log(&self.intake, origin, &record)));
            }),
            Signal::Metrics => walk(body, signal, format, |origin, record| match record.read::<Metric>() {
                Ok(metric) => metrics.log(&self.intake, origin, &metric, &mut count),
                Err(error) => count(Err(error)),
            }),
            Signal::Traces => walk(body, signal, format, |origin, record| {
                count(record.read::<Span>().and_then(|span| spans.log(&self.intake, origin, &span)));
            }),
        };
        drop(topics);
        if let Some(why) = &outcome.why {
            self.intake.refuse(why);
            (1..outcome.rejected).for_each(|_| self.intake.refuse_more());
        }
        if let Err(error) = walked {
            self.intake.refuse(error.message());
            return Err(error);
        }
        match away {
            // The tape cannot take it now: the sender may try again.
            Some(error) if outcome.good == 0 => Err(Error::unavailable(error.message())),
            _ => Ok(outcome),
        }
    }
}

fn http_routes() -> Router<Entrance> {
    Router::new()
        .route("/v1/logs", post(|State(entrance), request| export(entrance, Signal::Logs, request)))
        .route("/v1/metrics", post(|State(entrance), request| export(entrance, Signal::Metrics, request)))
        .route("/v1/traces", post(|State(entrance), request| export(entrance, Signal::Traces, request)))
}

async fn export(entrance: Entrance, signal: Signal, request: Request) -> Response {
    let format = format_of(request.headers());
    // What is wrong is said in Protobuf to whoever sends something else.
    let told = format.unwrap_or(Format::Protobuf);
    let taken = match entrance.door.take(request, None).await {
        Ok(taken) => taken,
        Err(refusal) => return wrong(refusal.status(), told, &refusal.message()),
    };
    let Some(format) = format else {
        return wrong(StatusCode::UNSUPPORTED_MEDIA_TYPE, told, "send application/x-protobuf or application/json");
    };
    let unpacked = unpacked(&taken.headers, taken.body.clone()).inspect_err(|error| entrance.site.intake.refuse(error.message()));
    let body = match unpacked {
        Ok(body) => body,
        Err(error) if error.kind() == Kind::Unavailable => return wrong(StatusCode::PAYLOAD_TOO_LARGE, format, error.message()),
        Err(error) => return wrong(StatusCode::BAD_REQUEST, format, error.message()),
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
    let mut response = answer(status, format, body);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(RETRY_SECONDS));
    }
    response
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
