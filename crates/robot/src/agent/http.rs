//! HTTP on the loopback interface: status, metrics and captures, for scripts, dashboards and people.
//!
//! **Invariant:** every answer but the metrics, the page and pictures is JSON, an error is `{"message"}`, and no request waits for the
//! tape on the thread that serves the others.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use recording::{Error, Kind, Manifest, Result};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use super::control::{self, capture_json};
use super::{Shared, host_check, metrics, page};
use crate::source::Limited;
use crate::{KeepRequest, Length, SaveRequest};

/// The largest body that is taken.
pub(crate) const BODY_LIMIT: usize = 1 << 20;
/// How many requests are answered at the same time.
pub(crate) const REQUEST_LIMIT: usize = 16;
/// How many connections there may be.
pub(crate) const CONNECTION_LIMIT: usize = 64;
/// How long open requests get when the agent ends.
const END_PATIENCE: Duration = Duration::from_millis(200);

/// The running server.
pub(crate) struct HttpServer {
    ends: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// An answer that says what is wrong.
type Refused = (StatusCode, axum::Json<Value>);

/// Whose picture is wanted.
#[derive(serde::Deserialize)]
struct Picture {
    topic: String,
}

#[derive(Clone)]
struct Site {
    agent: Arc<Shared>,
    seats: Arc<Semaphore>,
    pictures: Arc<page::PictureTopics>,
}

/// Takes the port, which must be on the loopback interface: there are no passwords here.
///
/// # Errors
/// `Invalid` for another interface or what is no address; `Conflict` if the port is taken.
pub(crate) fn listen(address: &str) -> Result<(TcpListener, SocketAddr)> {
    let address = resolve(address)?;
    if !address.ip().is_loopback() {
        return Err(Error::invalid(format!(
            "HTTP address {address} is not on the loopback interface: use 127.0.0.1:{}, and SSH to reach it from elsewhere",
            address.port()
        )));
    }
    let in_use = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => Error::new(
            Kind::Conflict,
            format!("something listens there already; choose another port with --http, or --http off: {address}"),
        ),
        _ => Error::io(format!("cannot listen: {address}"), error),
    };
    let listener = TcpListener::bind(address).map_err(in_use)?;
    listener.set_nonblocking(true).map_err(in_use)?;
    let address = listener.local_addr().map_err(in_use)?;
    Ok((listener, address))
}

fn resolve(text: &str) -> Result<SocketAddr> {
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let refuse = || Error::invalid(format!("not an HTTP address: '{text}' (write it like 127.0.0.1:8621, or off)"));
    text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next()).ok_or_else(refuse)
}

impl HttpServer {
    /// Serves on a thread of its own.
    ///
    /// # Errors
    /// `Unavailable` if the system has no resources for it.
    pub(crate) fn start(agent: Arc<Shared>, listener: TcpListener) -> Result<Self> {
        let failed = |error| Error::io("cannot serve HTTP", error);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(REQUEST_LIMIT)
            .thread_name("agent-http-request")
            .build()
            .map_err(failed)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(failed)?
        };
        let (ends, told) = watch::channel(false);
        let site = Site { agent, seats: Arc::new(Semaphore::new(REQUEST_LIMIT)), pictures: Arc::default() };
        let thread = thread::Builder::new().name("agent-http".into()).spawn(move || {
            runtime.block_on(async move {
                let serving =
                    axum::serve(Limited::new(listener, CONNECTION_LIMIT), router(site)).with_graceful_shutdown(until_told(told.clone()));
                let patience = async move {
                    until_told(told).await;
                    tokio::time::sleep(END_PATIENCE).await;
                };
                tokio::select! {
                    _ = serving => {}
                    () = patience => {}
                }
            });
            runtime.shutdown_timeout(END_PATIENCE);
        });
        Ok(Self { ends, thread: thread.map_err(failed)? })
    }

    /// Ends it.
    pub(crate) fn stop(self) {
        let _ = self.ends.send(true);
        let _ = self.thread.join();
    }
}

async fn until_told(mut told: watch::Receiver<bool>) {
    // A sender that is gone tells as well.
    let _ = told.wait_for(|told| *told).await;
}

fn router(site: Site) -> Router {
    Router::new()
        .route("/health", get(async || answered(Ok(json!({ "ok": true })))))
        .route("/status", get(status))
        .route("/topics", get(topics))
        .route("/", get(page::html))
        .route("/page.js", get(page::script))
        .route("/page.css", get(page::style))
        .route("/icon.svg", get(page::icon))
        .route("/pictures", get(picture_topics))
        .route("/picture", get(picture))
        .route("/metrics", get(metrics_text))
        .route("/captures", get(list_captures).post(save))
        .route("/captures/{id}", get(one_capture))
        .route("/keeps/{name}/start", post(start_keep))
        .route("/keeps/{name}/stop", post(stop_keep))
        .fallback(async |uri: Uri| answered(Err(Error::not_found(format!("nothing is at {}", uri.path())))))
        .method_not_allowed_fallback(async |method: Method, uri: Uri| {
            (StatusCode::METHOD_NOT_ALLOWED, message(&format!("{} does not take {method}", uri.path())))
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn(keep_web_pages_out))
        .with_state(site)
}

async fn keep_web_pages_out(request: Request, next: Next) -> Response {
    fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
        headers.get(name).map(|value| value.to_str().unwrap_or("?"))
    }
    let headers = request.headers();
    let posts = !matches!(*request.method(), Method::GET | Method::HEAD);
    let (host, origin) = (text(headers, header::HOST), text(headers, header::ORIGIN));
    let site = text(headers, header::HeaderName::from_static("sec-fetch-site"));
    match host_check::check(host, origin, site, posts, text(headers, header::CONTENT_TYPE)) {
        Ok(()) => next.run(request).await,
        Err(error) if error.kind() == Kind::Invalid => (StatusCode::UNSUPPORTED_MEDIA_TYPE, message(error.message())).into_response(),
        Err(error) => answered(Err(error)),
    }
}

async fn status(State(site): State<Site>) -> Response {
    site.ask(|agent| control::answer(agent, control::Request::Status)).await
}

async fn topics(State(site): State<Site>) -> Response {
    site.ask(|agent| control::answer(agent, control::Request::Topics)).await
}

async fn picture_topics(State(site): State<Site>) -> Response {
    let pictures = site.pictures.clone();
    site.ask(move |agent| Ok(pictures.names(&agent.tape).into())).await
}

async fn picture(State(site): State<Site>, query: Result<Query<Picture>, QueryRejection>) -> Response {
    let topic = match query {
        Ok(Query(Picture { topic })) => topic,
        Err(_) => return answered(Err(Error::invalid("say which topic: /picture?topic=/camera"))),
    };
    match site.run(move |agent| page::picture(&agent.tape, &topic)).await.and_then(|picture| picture) {
        Ok((kind, bytes)) => page::guarded(kind, bytes),
        Err(error) => answered(Err(error)),
    }
}

async fn metrics_text(State(site): State<Site>) -> Response {
    match site.run(|agent| metrics::text(&agent.tape.status(), &agent.clients.status())).await {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => answered(Err(error)),
    }
}

async fn list_captures(State(site): State<Site>) -> Response {
    site.ask(|agent| Ok(agent.tape.recordings().iter().map(capture_json).collect())).await
}

async fn one_capture(State(site): State<Site>, Path(id): Path<String>) -> Response {
    site.ask(move |agent| agent.tape.recording(&id).map(|manifest| capture_json(&manifest))).await
}

async fn save(State(site): State<Site>, body: Result<Bytes, BytesRejection>) -> Response {
    let request = match parse::<SaveRequest>(body) {
        Ok(request) => SaveRequest { by: by_http(request.by), ..request },
        Err(refused) => return refused.into_response(),
    };
    site.capture(move |agent| agent.tape.save(&request)).await
}

async fn start_keep(State(site): State<Site>, Path(name): Path<String>, body: Result<Bytes, BytesRejection>) -> Response {
    let request = match parse::<KeepRequest>(body) {
        Ok(request) => KeepRequest { name, by: by_http(request.by), ..request },
        Err(refused) => return refused.into_response(),
    };
    site.capture(move |agent| agent.tape.keep_start(&request)).await
}

async fn stop_keep(State(site): State<Site>, Path(name): Path<String>, body: Result<Bytes, BytesRejection>) -> Response {
    #[derive(serde::Deserialize, Default)]
    #[serde(default, deny_unknown_fields)]
    struct Stop {
        after: Option<Length>,
    }
    let stop = match parse::<Stop>(body) {
        Ok(stop) => stop,
        Err(refused) => return refused.into_response(),
    };
    site.capture(move |agent| {
        let after_ns = stop.after.as_ref().map(Length::to_ns).transpose()?;
        agent.tape.keep_stop(&name, after_ns)
    })
    .await
}

fn by_http(by: String) -> String {
    if by.is_empty() { "http".to_owned() } else { by }
}

impl Site {
    /// Does something that may wait, away from the thread that serves.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Shared) -> T + Send + 'static) -> Result<T> {
        let busy = || Error::unavailable(format!("{REQUEST_LIMIT} requests are being answered, which is the limit: try again"));
        let seat = self.seats.clone().try_acquire_owned().map_err(|_| busy())?;
        let agent = self.agent.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _seat = seat;
            work(&agent)
        });
        done.await.map_err(|error| Error::new(Kind::Internal, "a request ended early").caused_by(error))
    }

    async fn ask(&self, work: impl FnOnce(&Shared) -> Result<Value> + Send + 'static) -> Response {
        answered(self.run(work).await.and_then(|result| result))
    }

    async fn capture(&self, work: impl FnOnce(&Shared) -> Result<Manifest> + Send + 'static) -> Response {
        self.ask(move |agent| work(agent).map(|manifest| capture_json(&manifest))).await
    }
}

/// Reads a body; none at all means every default.
fn parse<T: DeserializeOwned + Default>(body: Result<Bytes, BytesRejection>) -> Result<T, Refused> {
    let body = body.map_err(|rejection| (rejection.status(), message(&rejection.body_text())))?;
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&body).map_err(|error| refused(&Error::invalid("a body that does not fit").caused_by(error)))
}

fn answered(result: Result<Value>) -> Response {
    match result {
        Ok(value) => axum::Json(value).into_response(),
        Err(error) => refused(&error).into_response(),
    }
}

fn refused(error: &Error) -> Refused {
    (status_of(error.kind()), message(&error.to_string()))
}

fn message(text: &str) -> axum::Json<Value> {
    axum::Json(json!({ "message": text }))
}

/// Returns the status code of a kind of error.
fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Corrupt | Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loopback_interface_is_served() {
        let refused = |address: &str| listen(address).unwrap_err().message().to_owned();
        assert!(refused("0.0.0.0:0").contains("is not on the loopback interface: use 127.0.0.1:0"));
        assert_eq!(refused("nonsense"), "not an HTTP address: 'nonsense' (write it like 127.0.0.1:8621, or off)");
        let (_held, address) = listen("0").unwrap();
        assert!(address.ip().is_loopback() && address.port() != 0);
        assert!(refused(&address.to_string()).starts_with("something listens there already; choose another port with --http"));
    }
}
