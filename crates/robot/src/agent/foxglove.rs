//! The tape live in Foxglove and Lichtblick: a WebSocket server that speaks their protocol.
//!
//! In come viewers, out go topics as they are opened and the messages of those that a viewer subscribes to, latched values first.
//! Both names of the protocol are spoken, `foxglove.sdk.v1` and `foxglove.websocket.v1`: what differs between them is not used here.
//!
//! **Invariant:** a viewer that is slow loses messages, which it is told, and slows nobody down; what waits for it has a limit.

mod door;
mod parameters;
mod protocol;
mod services;
mod viewer;

use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{State, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use recording::{Error, Result};
use serde_json::json;
use tokio::sync::watch;

use self::door::Door;
use super::{DEFAULT_FOXGLOVE, Shared};
use crate::config::AgentConfig;
use crate::source::Limited;

/// How many viewers there may be.
pub(crate) const VIEWER_LIMIT: usize = 16;
/// The names of the protocol, the newer one first.
const SUBPROTOCOLS: [&str; 2] = ["foxglove.sdk.v1", "foxglove.websocket.v1"];
/// The largest message of a viewer.
const REQUEST_LIMIT: usize = 1 << 20;
/// How long a viewer may say nothing, not even that it lives, which it is asked more often; and one that has not shown the token yet.
const IDLE_PATIENCE: Duration = Duration::from_secs(30);
/// How long viewers get when the agent ends.
const END_PATIENCE: Duration = Duration::from_millis(200);

/// The server's place in the agent: it listens, and then it runs; recording goes on without it.
pub(crate) struct Foxglove {
    address: Option<String>,
    trouble: Option<String>,
    bound: Option<(TcpListener, Door)>,
    server: Option<FoxgloveServer>,
}

/// The running server.
struct FoxgloveServer {
    ends: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

type Upgrade = std::result::Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

#[derive(Clone)]
struct Site {
    agent: Arc<Shared>,
    door: Door,
    told: watch::Receiver<bool>,
}

impl Foxglove {
    /// Takes the port. One that is taken is no reason not to record.
    ///
    /// # Errors
    /// `Invalid` for what is no address, and for one that other machines reach without a token.
    pub(crate) fn listen(address: Option<&str>, config: &AgentConfig) -> Result<Self> {
        let nothing = Self { address: None, trouble: None, bound: None, server: None };
        let address = address.or(config.foxglove.as_deref()).unwrap_or(DEFAULT_FOXGLOVE);
        if address == "off" {
            return Ok(nothing);
        }
        let (address, door) = Door::new(address, config)?;
        match Door::listen(address) {
            Ok((listener, address)) => Ok(Self { address: Some(address.to_string()), bound: Some((listener, door)), ..nothing }),
            Err(error) => Ok(Self { trouble: Some(format!("Foxglove is not served: {error}")), ..nothing }),
        }
    }

    /// Returns where it listens.
    pub(crate) fn address(&self) -> Option<String> {
        self.address.clone()
    }

    /// Returns why it does not listen where it should.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    /// Begins to serve.
    ///
    /// # Errors
    /// `Unavailable` if the system has no resources for it.
    pub(crate) fn start(&mut self, agent: &Arc<Shared>) -> Result<()> {
        if let Some((listener, door)) = self.bound.take() {
            self.server = Some(FoxgloveServer::start(agent.clone(), listener, door)?);
        }
        Ok(())
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }
}

impl FoxgloveServer {
    /// Serves on a thread of its own.
    ///
    /// # Errors
    /// `Unavailable` if the system has no resources for it.
    fn start(agent: Arc<Shared>, listener: TcpListener, door: Door) -> Result<Self> {
        let failed = |error| Error::io("cannot serve Foxglove", error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(failed)?
        };
        let (ends, told) = watch::channel(false);
        let router = Router::new().fallback(enter).with_state(Site { agent, door, told: told.clone() });
        let thread = thread::Builder::new().name("agent-foxglove".into()).spawn(move || {
            let listener = Limited::new(listener, VIEWER_LIMIT).with_patience(IDLE_PATIENCE);
            runtime.block_on(async move {
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    () = until_told(told) => {}
                }
            });
            runtime.shutdown_timeout(END_PATIENCE);
        });
        Ok(Self { ends, thread: thread.map_err(failed)? })
    }

    fn stop(self) {
        let _ = self.ends.send(true);
        let _ = self.thread.join();
    }
}

/// Lets a viewer in.
async fn enter(State(site): State<Site>, headers: HeaderMap, uri: Uri, upgrade: Upgrade) -> Response {
    if let Err(error) = site.door.check(&headers, uri.query()) {
        site.agent.report("foxglove_refused", &format!("a viewer is refused: {error}"), json!({}));
        return (StatusCode::FORBIDDEN, format!("{error}\n")).into_response();
    }
    let Ok(upgrade) = upgrade else {
        return (StatusCode::UPGRADE_REQUIRED, "this is for Foxglove and Lichtblick: open it there, as a WebSocket\n").into_response();
    };
    let upgrade = upgrade.max_message_size(REQUEST_LIMIT).max_frame_size(REQUEST_LIMIT).protocols(SUBPROTOCOLS);
    if upgrade.selected_protocol().is_none() {
        let names = SUBPROTOCOLS.join(" or ");
        return (StatusCode::BAD_REQUEST, format!("a viewer that does not speak {names}\n")).into_response();
    }
    upgrade.on_upgrade(async move |socket| {
        tokio::select! {
            () = viewer::serve(&site.agent, socket) => {}
            () = until_told(site.told) => {}
        }
    })
}

async fn until_told(mut told: watch::Receiver<bool>) {
    // A sender that is gone tells as well.
    let _ = told.wait_for(|told| *told).await;
}
