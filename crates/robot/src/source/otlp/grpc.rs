//! gRPC, as far as an export needs it: one request, one answer.
//!
//! In come HTTP/2 requests with one length-prefixed message, out go answers whose status stands in the trailers. A call is one
//! message each way, so that HTTP/2 and this page are all there is to it; records are walked over as they came.
//!
//! **Invariant:** the HTTP status is always 200; what is wrong stands in `grpc-status`, and only what may be sent again is `UNAVAILABLE`.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::{BodyExt, Full};
use recording::Kind;

use super::walk::{Format, Signal};
use super::{Entrance, partial_success};
use crate::source::http::{Refusal, Why, unpack};

/// How long the head of a message is: whether it is packed, and its length.
const HEAD_BYTES: usize = 5;
/// How senders may pack messages.
const ENCODINGS: &str = "identity,gzip,deflate";

/// The codes of gRPC that are used here.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Code {
    Ok = 0,
    InvalidArgument = 3,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Unavailable = 14,
    Unauthenticated = 16,
}

pub(super) fn routes() -> Router<Entrance> {
    const BASE: &str = "/opentelemetry.proto.collector";
    let (logs, metrics, traces) = (
        format!("{BASE}.logs.v1.LogsService/Export"),
        format!("{BASE}.metrics.v1.MetricsService/Export"),
        format!("{BASE}.trace.v1.TraceService/Export"),
    );
    Router::new()
        .route(&logs, post(|State(entrance), request| export(entrance, Signal::Logs, request)))
        .route(&metrics, post(|State(entrance), request| export(entrance, Signal::Metrics, request)))
        .route(&traces, post(|State(entrance), request| export(entrance, Signal::Traces, request)))
        .fallback(async |State(entrance): State<Entrance>, uri: Uri| {
            let message = format!("nothing is at {}: there are the Export calls of logs, metrics and traces", uri.path());
            entrance.site.intake.refuse(&message);
            failed(Code::Unimplemented, &message)
        })
}

async fn export(entrance: Entrance, signal: Signal, request: Request) -> Response {
    let intake = &entrance.site.intake;
    let taken = match entrance.door.take(request, None, intake).await {
        Ok(taken) => taken,
        Err(refusal) => return failed(code_of(refusal.why), &refusal.message),
    };
    let body = match message(&taken.headers, taken.body.clone()) {
        Ok(body) => body,
        Err(refusal) => {
            intake.refuse(&refusal.message);
            return failed(code_of(refusal.why), &refusal.message);
        }
    };
    match entrance.site.take(signal, Format::Protobuf, &body) {
        Ok(outcome) => succeeded(&partial_success(&outcome)),
        Err(error) if error.kind() == Kind::Unavailable => failed(Code::Unavailable, error.message()),
        Err(error) => failed(Code::InvalidArgument, error.message()),
    }
}

/// Returns the one message of a body.
fn message(headers: &HeaderMap, mut body: Bytes) -> Result<Bytes, Refusal> {
    let invalid = |text: &str| Refusal::new(Why::Malformed, text);
    let is_grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    if !headers.get(header::CONTENT_TYPE).is_some_and(is_grpc) {
        return Err(invalid("the content type is not application/grpc"));
    }
    let Some(head) = body.get(..HEAD_BYTES) else { return Err(invalid("the body has no message")) };
    let (packed, length) = (head[0], u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize);
    let _ = body.split_to(HEAD_BYTES);
    if body.len() != length {
        return Err(invalid("the body is not one message"));
    }
    let encoding = match packed {
        0 => "",
        _ => headers.get("grpc-encoding").map_or("identity", |value| value.to_str().unwrap_or("?")),
    };
    unpack(encoding, body)
}

fn code_of(why: Why) -> Code {
    match why {
        Why::Denied => Code::Unauthenticated,
        Why::Foreign => Code::PermissionDenied,
        Why::TooLarge => Code::ResourceExhausted,
        Why::Packed => Code::Unimplemented,
        Why::Malformed => Code::InvalidArgument,
        Why::Late | Why::Busy | Why::OverLimit => Code::Unavailable,
    }
}

fn succeeded(message: &[u8]) -> Response {
    let mut body = Vec::with_capacity(HEAD_BYTES + message.len());
    body.push(0);
    body.extend_from_slice(&(message.len() as u32).to_be_bytes());
    body.extend_from_slice(message);
    let body = Full::new(Bytes::from(body)).with_trailers(async { Some(Ok(status(Code::Ok, ""))) });
    (headers(), Body::new(body)).into_response()
}

/// Says what is wrong: an answer without a body has its trailers in its head.
fn failed(code: Code, message: &str) -> Response {
    let mut all = headers();
    all.extend(status(code, message));
    (all, Body::empty()).into_response()
}

fn headers() -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
        (header::HeaderName::from_static("grpc-accept-encoding"), HeaderValue::from_static(ENCODINGS)),
    ])
}

fn status(code: Code, message: &str) -> HeaderMap {
    let mut status = HeaderMap::new();
    status.insert("grpc-status", HeaderValue::from(code as u16));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(message))
        && !message.is_empty()
    {
        status.insert("grpc-message", message);
    }
    status
}

/// Returns a text as a header may have it.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
