//! What feeds the tape from outside: other middlewares, logs, metrics. One file each.
//!
//! In come a [`SourceConfig`] and whatever the source listens to, out go messages, losses and events on the tape. A source is a value
//! with one method, [`Source::run`]; it has a thread of its own, on which it may block. How to add one: `docs/guide/sources.md`.
//!
//! **Invariant:** a source that fails, panics or hangs costs the others nothing, and is run again.

mod folder;
mod host;
mod http;
mod influx;
mod intake;
mod journald;
mod json;
mod logs;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "otlp")]
mod otlp;
mod prometheus;
mod record;
#[cfg(any(feature = "ros2-dds", feature = "ros2-zenoh"))]
mod ros2;
mod supervisor;
mod syslog;

use std::sync::Arc;

use recording::{Error, Result};
use serde::de::DeserializeOwned;

pub(crate) use self::http::{Limited, host_check};
pub use self::intake::Intake;
pub(crate) use self::supervisor::Sources;
pub use self::supervisor::{SourceState, SourceStatus};
use crate::config::SourceConfig;
use crate::stop::StopFlag;

/// Something that feeds the tape.
pub trait Source: Send {
    /// Feeds the tape until `stop` is set. What it returns or panics with before that is reported, and it is made and run again after
    /// a while; `Ok` before that says that there is nothing left to feed.
    ///
    /// # Errors
    /// Whatever keeps it from feeding.
    fn run(&mut self, intake: &Arc<Intake>, stop: &StopFlag) -> Result<()>;
}

/// A kind of source: what `kind` in the configuration stands for.
struct Kind {
    name: &'static str,
    /// Makes one, without touching the world: whatever is wrong in the configuration is said here.
    make: fn(&SourceConfig) -> Result<Box<dyn Source>>,
}

/// Every kind of source that this build has.
const KINDS: &[Kind] = &[
    Kind { name: "folder", make: folder::make },
    Kind { name: "host", make: host::make },
    Kind { name: "influx", make: influx::make },
    Kind { name: "journald", make: journald::make },
    Kind { name: "logs", make: logs::make },
    #[cfg(feature = "mqtt")]
    Kind { name: "mqtt", make: mqtt::make },
    #[cfg(feature = "otlp")]
    Kind { name: "otlp", make: otlp::make },
    Kind { name: "prometheus", make: prometheus::make },
    #[cfg(feature = "ros2-dds")]
    Kind { name: "ros2-dds", make: ros2::dds::make },
    #[cfg(feature = "ros2-zenoh")]
    Kind { name: "ros2-zenoh", make: ros2::zenoh::make },
    Kind { name: "syslog", make: syslog::make },
];

/// Returns the source that a configuration describes.
///
/// # Errors
/// `Invalid` for an unknown kind or option, naming both and the line.
pub(crate) fn make(config: &SourceConfig) -> Result<Box<dyn Source>> {
    let in_line = |error: Error| Error::invalid(format!("configuration line {}: source '{}': {error}", config.line, config.name));
    let kind = KINDS.iter().find(|kind| kind.name == config.kind).ok_or_else(|| {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        in_line(Error::invalid(format!("there is no kind '{}' in this build; there are {}", config.kind, names.join(", "))))
    })?;
    (kind.make)(config).map_err(in_line)
}

/// Returns the options of a source as its own type.
///
/// # Errors
/// `Invalid` for what the type does not take.
fn options<T: DeserializeOwned>(config: &SourceConfig) -> Result<T> {
    config.options.clone().try_into().map_err(|error: toml::de::Error| Error::invalid(error.message().replace('\n', "; ")))
}
