//! A program that logs through the agent, as fast as it is taken.
//!
//! **Invariant:** the time ends when the agent has everything on disk.

use std::path::PathBuf;

use anyhow::Result;
use robot::agent::client::Client;
use robot::{Payload, Times};
use serde_json::{Value, json};

use crate::append::spec;
use crate::measure::Moment;
use crate::payload::payloads;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The agent's socket.
    #[arg(long)]
    socket: PathBuf,
    #[arg(long, default_value_t = 200_000)]
    messages: usize,
    /// Payload bytes per message.
    #[arg(long, default_value_t = 1000)]
    size: usize,
    #[arg(long, default_value_t = 1)]
    topics: usize,
}

/// Logs, flushes, and reports.
pub(crate) fn run(arguments: &Arguments) -> Result<Value> {
    let Arguments { socket, messages, size, topics } = arguments;
    let client = Client::connect(socket, "bench")?;
    let channels: Vec<_> = (0..*topics).map(|i| client.channel(spec(&format!("/bench/topic_{i}")))).collect::<robot::Result<_>>()?;
    let payloads = payloads(*size);
    client.flush()?;
    let start = Moment::now();
    for i in 0..*messages {
        channels[i % topics].log(Payload::Slice(&payloads[i % payloads.len()]), Times::default())?;
    }
    let accepted_seconds = start.seconds();
    client.flush()?;
    let (seconds, cpu_seconds) = (start.seconds(), start.cpu_seconds());
    client.close()?;
    Ok(
        json!({ "messages": messages, "seconds": seconds, "accepted_seconds": accepted_seconds, "cpu_seconds": cpu_seconds, "payload_bytes": messages * size }),
    )
}
