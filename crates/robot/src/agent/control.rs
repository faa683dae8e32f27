//! What a program can ask of the agent, over the socket or HTTP: one list of requests, answered in one place.
//!
//! In come requests, out goes JSON.
//!
//! **Invariant:** an answer is given by the tape; nothing here decides what is kept.

use std::time::Duration;

use recording::{Error, Manifest, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Shared;
use crate::{KeepRequest, SaveRequest};

/// How long one request may wait for a recording.
pub const WAIT_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// How often a waiting request looks whether the agent ends.
const WAIT_STEP: Duration = Duration::from_millis(250);

/// What a program asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// How is the recorder?
    Status,
    /// How are the topics?
    Topics,
    /// Keep a span.
    Save(SaveRequest),
    /// Keep from now (or before) on.
    KeepStart(KeepRequest),
    /// End a keep.
    KeepStop {
        /// Its name.
        name: String,
        /// How much later than now it ends.
        #[serde(default)]
        after_ns: Option<i64>,
    },
    /// One recording.
    Recording {
        /// Its id.
        id: String,
    },
    /// All recordings.
    Recordings,
    /// A recording, when nothing will be added to it any more.
    Wait {
        /// Its id.
        id: String,
        /// How long to wait.
        timeout_ms: u64,
    },
    /// Forget a recording.
    Remove {
        /// Its id.
        id: String,
    },
    /// Write an event.
    ReportEvent {
        /// Its kind.
        kind: String,
        /// What happened.
        message: String,
        /// Everything else.
        #[serde(default)]
        detail: Value,
    },
}

/// Answers a request.
pub(crate) fn answer(agent: &Shared, request: Request) -> Result<Value> {
    let tape = &agent.tape;
    match request {
        Request::Status => status(agent),
        Request::Topics => to_json(&tape.topics()),
        Request::Save(request) => to_json(&tape.save(&request)?),
        Request::KeepStart(request) => to_json(&tape.keep_start(&request)?),
        Request::KeepStop { name, after_ns } => to_json(&tape.keep_stop(&name, after_ns)?),
        Request::Recording { id } => to_json(&tape.recording(&id)?),
        Request::Recordings => to_json(&tape.recordings()),
        Request::Wait { id, timeout_ms } => wait(agent, &id, Duration::from_millis(timeout_ms).min(WAIT_LIMIT)),
        Request::Remove { id } => to_json(&tape.remove_recording(&id)?),
        Request::ReportEvent { kind, message, detail } => {
            tape.report_event(&kind, &message, detail);
            Ok(Value::Null)
        }
    }
}

/// Returns what programs are told of a capture.
pub fn capture_json(manifest: &Manifest) -> Value {
    json!({
        "recording": manifest.recording,
        "name": manifest.name,
        "state": manifest.state,
        "start_ns": manifest.span.start_ns,
        "end_ns": manifest.span.end_ns,
        "created_ns": manifest.created_ns,
        "why": manifest.why,
        "labels": manifest.labels,
        "asked": manifest.asked,
        "kept": manifest.kept,
        "missing": manifest.missing,
        "segments": manifest.segments,
    })
}

/// Returns the tape's status, with the agent and its clients.
fn status(agent: &Shared) -> Result<Value> {
    let mut status = to_json(&agent.tape.status())?;
    if let Value::Object(map) = &mut status {
        map.insert("agent".into(), json!(agent.about));
        map.insert("clients".into(), json!(agent.clients.status()));
        map.insert("sources".into(), json!(agent.sources.status()));
    }
    Ok(status)
}

/// Waits in steps, so that an agent that ends does not wait for a recording.
fn wait(agent: &Shared, id: &str, patience: Duration) -> Result<Value> {
    let began_ns = agent.clock.monotonic_ns();
    loop {
        let waited = Duration::from_nanos(agent.clock.monotonic_ns().saturating_sub(began_ns).max(0) as u64);
        let left = patience.saturating_sub(waited);
        match agent.tape.wait(id, left.min(WAIT_STEP)) {
            Ok(manifest) => return to_json(&manifest),
            Err(error) if error.is_retryable() && !left.is_zero() => {}
            Err(error) => return Err(error),
        }
        if agent.stop.is_set() {
            return Err(Error::unavailable(format!("the agent ends; recording '{id}' goes on when it is started again")));
        }
    }
}

fn to_json(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| Error::new(recording::Kind::Internal, "an answer that JSON cannot hold").caused_by(error))
}
