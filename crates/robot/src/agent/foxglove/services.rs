//! What a viewer can have done: keep the past, keep from now on, note an event.
//!
//! **Invariant:** a request is one that HTTP and the socket take as well; what is wrong with it is the answer.

use recording::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::protocol::Call;
use crate::agent::Shared;
use crate::agent::control::capture_json;
use crate::{KeepRequest, Length, SaveRequest};

/// What a save without a span keeps.
const DEFAULT_BEFORE: &str = "30 s";
/// Through what things are asked here.
const BY: &str = "foxglove";

/// A service: its name, and the fields of its request with their types.
struct Service {
    name: &'static str,
    fields: &'static [(&'static str, &'static str)],
    run: fn(&Shared, &[u8]) -> Result<Value>,
}

/// Every service; their ids are their places.
const SERVICES: [Service; 4] = [
    Service {
        name: "/tapeloop/save",
        fields: &[
            ("before", "string"),
            ("after", "string"),
            ("start", "string"),
            ("end", "string"),
            ("topics", "array"),
            ("why", "string"),
        ],
        run: save,
    },
    Service {
        name: "/tapeloop/keep_start",
        fields: &[("name", "string"), ("before", "string"), ("topics", "array"), ("why", "string")],
        run: keep_start,
    },
    Service { name: "/tapeloop/keep_stop", fields: &[("name", "string"), ("after", "string")], run: keep_stop },
    Service { name: "/tapeloop/event", fields: &[("kind", "string"), ("message", "string"), ("detail", "object")], run: event },
];

/// Returns what a viewer is told of the services.
pub(super) fn advertised() -> Value {
    let services = SERVICES.iter().enumerate().map(|(id, service)| {
        let kind = service.name.trim_start_matches('/').replace('/', ".");
        let property = |(name, kind): &(&str, &str)| {
            let schema = if *kind == "array" { json!({ "type": kind, "items": { "type": "string" } }) } else { json!({ "type": kind }) };
            ((*name).to_owned(), schema)
        };
        let properties: serde_json::Map<String, Value> = service.fields.iter().map(property).collect();
        let request = json!({ "type": "object", "properties": properties }).to_string();
        let part = |name: String, schema: String| json!({ "encoding": "json", "schemaName": name, "schemaEncoding": "jsonschema", "schema": schema });
        json!({
            "id": id,
            "name": service.name,
            "type": kind,
            "request": part(format!("{kind}.request"), request),
            "response": part(format!("{kind}.response"), json!({ "type": "object" }).to_string()),
        })
    });
    json!({ "op": "advertiseServices", "services": services.collect::<Vec<_>>() })
}

/// Does what is asked.
///
/// # Errors
/// What kept it from being done.
pub(super) fn call(agent: &Shared, call: &Call) -> Result<Value> {
    let service = SERVICES.get(call.service as usize).ok_or_else(|| Error::not_found(format!("there is no service {}", call.service)))?;
    if call.encoding != "json" {
        return Err(Error::invalid(format!("a request in '{}': send JSON, as json", call.encoding)));
    }
    (service.run)(agent, &call.request)
}

fn parse<T: DeserializeOwned + Default>(request: &[u8]) -> Result<T> {
    if request.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(request).map_err(|error| Error::invalid("a request that does not fit").caused_by(error))
}

fn save(agent: &Shared, request: &[u8]) -> Result<Value> {
    let mut request = SaveRequest { by: BY.into(), ..parse(request)? };
    let says_when = request.before.is_some() || request.after.is_some() || request.start.is_some() || request.end.is_some();
    if !says_when {
        request.before = Some(Length::Text(DEFAULT_BEFORE.into()));
    }
    agent.tape.save(&request).map(|manifest| capture_json(&manifest))
}

fn keep_start(agent: &Shared, request: &[u8]) -> Result<Value> {
    let request = KeepRequest { by: BY.into(), ..parse(request)? };
    agent.tape.keep_start(&request).map(|manifest| capture_json(&manifest))
}

fn keep_stop(agent: &Shared, request: &[u8]) -> Result<Value> {
    #[derive(Deserialize, Default)]
    #[serde(default, deny_unknown_fields)]
    struct Stop {
        name: String,
        after: Option<Length>,
    }
    let stop: Stop = parse(request)?;
    let after_ns = stop.after.as_ref().map(Length::to_ns).transpose()?;
    agent.tape.keep_stop(&stop.name, after_ns).map(|manifest| capture_json(&manifest))
}

fn event(agent: &Shared, request: &[u8]) -> Result<Value> {
    #[derive(Deserialize, Default)]
    #[serde(default, deny_unknown_fields)]
    struct Event {
        kind: String,
        message: String,
        detail: Value,
    }
    let Event { kind, message, detail } = parse(request)?;
    if kind.is_empty() {
        return Err(Error::invalid("an event needs a kind, like 'note'"));
    }
    agent.tape.report_event(&kind, &message, detail);
    Ok(json!({}))
}
