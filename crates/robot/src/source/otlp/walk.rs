//! Walks over an export request: resources, scopes in them, records in those.
//!
//! The three signals have the same shape, in which only names and what a record is differ. Records are handed out one by one and
//! decoded by whoever takes them, because a request of 2-byte records would be a hundred times as large in memory.
//!
//! **Invariant:** memory that is taken is bounded by [`LEAF_LIMIT`] and a small multiple of the body.

use std::collections::HashMap;

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use recording::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::origin::{Origin, Owner};
use super::wire::{Field, Fields};

/// The largest record, resource or scope.
const LEAF_LIMIT: usize = 4 << 20;
/// The largest metric: a byte of it can be half a point, which takes a hundred times as much memory.
const METRIC_LIMIT: usize = 1 << 20;
/// The largest request in JSON, unpacked.
const JSON_LIMIT: usize = 16 << 20;

/// What a request exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Logs,
    Metrics,
    Traces,
}

impl Signal {
    /// Returns the names in JSON: of the lists of resources, of scopes and of records.
    fn names(self) -> [&'static str; 3] {
        match self {
            Self::Logs => ["resourceLogs", "scopeLogs", "logRecords"],
            Self::Metrics => ["resourceMetrics", "scopeMetrics", "metrics"],
            Self::Traces => ["resourceSpans", "scopeSpans", "spans"],
        }
    }

    /// Returns the name in JSON of how many were rejected.
    pub(super) fn rejected_name(self) -> &'static str {
        match self {
            Self::Logs => "rejectedLogRecords",
            Self::Metrics => "rejectedDataPoints",
            Self::Traces => "rejectedSpans",
        }
    }
}

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Protobuf,
    Json,
}

/// A part of a request that is decoded as a whole.
#[derive(Clone, Copy)]
pub(super) enum Leaf<'a> {
    Protobuf(&'a [u8]),
    Json(&'a str),
}

impl Leaf<'_> {
    /// Decodes it.
    ///
    /// # Errors
    /// `Invalid`.
    pub(super) fn read<T: prost::Message + DeserializeOwned + Default>(self) -> Result<T> {
        self.read_up_to(LEAF_LIMIT)
    }

    /// Decodes it as a metric with all its points.
    ///
    /// # Errors
    /// `Invalid`.
    pub(super) fn read_metric(self) -> Result<Metric> {
        self.read_up_to(METRIC_LIMIT)
    }

    fn read_up_to<T: prost::Message + DeserializeOwned + Default>(self, limit: usize) -> Result<T> {
        let length = match self {
            Self::Protobuf(bytes) => bytes.len(),
            Self::Json(text) => text.len(),
        };
        if length > limit {
            return Err(Error::invalid(format!("a record of {length} bytes; at most {limit}")));
        }
        match self {
            Self::Protobuf(bytes) => T::decode(bytes).map_err(|error| Error::invalid(format!("a record that is none: {error}"))),
            Self::Json(text) => serde_json::from_str(text).map_err(|error| Error::invalid(format!("a record that is none: {error}"))),
        }
    }
}

/// Hands out every record of a request, with where it comes from.
///
/// # Errors
/// `Invalid` for what is no such request; records before the mistake were handed out.
pub(super) fn walk(body: &[u8], signal: Signal, format: Format, mut take: impl FnMut(&Origin<'_>, Leaf<'_>)) -> Result<()> {
    match format {
        Format::Protobuf => walk_protobuf(body, &mut take),
        Format::Json => walk_json(body, signal, &mut take),
    }
}

fn walk_protobuf(body: &[u8], take: &mut impl FnMut(&Origin<'_>, Leaf<'_>)) -> Result<()> {
    for of_resource in messages(body, 1) {
        let of_resource = of_resource?;
        let owner = Owner::new(&first::<Resource>(of_resource)?);
        for of_scope in messages(of_resource, 2) {
            let of_scope = of_scope?;
            let scope: InstrumentationScope = first(of_scope)?;
            let origin = Origin::new(&owner, &scope);
            for record in messages(of_scope, 2) {
                take(&origin, Leaf::Protobuf(record?));
            }
        }
    }
    Ok(())
}

/// Returns the messages in one field of a message.
fn messages(message: &[u8], wanted: u64) -> impl Iterator<Item = Result<&[u8]>> {
    Fields::new(message).filter_map(move |field| match field {
        Ok((number, Field::Bytes(bytes))) if number == wanted => Some(Ok(bytes)),
        Ok((number, Field::Number)) if number == wanted => Some(Err(not_protobuf())),
        Ok(_) => None,
        Err(_) => Some(Err(not_protobuf())),
    })
}

/// Returns the message in the first field, wherever it stands; an empty one if there is none.
fn first<T: prost::Message + DeserializeOwned + Default>(message: &[u8]) -> Result<T> {
    match messages(message, 1).next() {
        Some(bytes) => Leaf::Protobuf(bytes?).read(),
        None => Ok(T::default()),
    }
}

fn not_protobuf() -> Error {
    Error::invalid("the body is no export request in Protobuf")
}

type Members<'a> = HashMap<String, &'a RawValue>;

fn walk_json(body: &[u8], signal: Signal, take: &mut impl FnMut(&Origin<'_>, Leaf<'_>)) -> Result<()> {
    if body.len() > JSON_LIMIT {
        return Err(Error::invalid(format!("{} bytes of JSON in one request; at most {JSON_LIMIT}", body.len())));
    }
    let text = std::str::from_utf8(body).map_err(|error| not_json("it is not UTF-8").caused_by(error))?;
    let [resources, scopes, records] = signal.names();
    for of_resource in list(&members(text)?, resources)? {
        let of_resource = members(of_resource.get())?;
        let owner = Owner::new(&member::<Resource>(&of_resource, "resource")?);
        for of_scope in list(&of_resource, scopes)? {
            let of_scope = members(of_scope.get())?;
            let origin = Origin::new(&owner, &member::<InstrumentationScope>(&of_scope, "scope")?);
            for record in list(&of_scope, records)? {
                take(&origin, Leaf::Json(record.get()));
            }
        }
    }
    Ok(())
}

fn members(text: &str) -> Result<Members<'_>> {
    serde_json::from_str(text).map_err(not_json)
}

fn member<T: prost::Message + DeserializeOwned + Default>(members: &Members<'_>, name: &str) -> Result<T> {
    match members.get(name).filter(|value| value.get() != "null") {
        Some(value) => Leaf::Json(value.get()).read(),
        None => Ok(T::default()),
    }
}

fn list<'a>(members: &Members<'a>, name: &str) -> Result<Vec<&'a RawValue>> {
    match members.get(name) {
        Some(value) => serde_json::from_str::<Option<_>>(value.get()).map(Option::unwrap_or_default).map_err(not_json),
        None => Ok(Vec::new()),
    }
}

fn not_json(why: impl std::fmt::Display) -> Error {
    Error::invalid(format!("the body is no export request in JSON: {why}"))
}
