//! `conformance_indexed FILE.mcap`: schemas, channels, messages in order of time and statistics as JSON; for the MCAP conformance
//! suite.
//!
//! **Invariant:** messages are read block by block, from where the file's summary, or else a scan, says they are.

#[path = "conformance/record_json.rs"]
mod record_json;

use std::error::Error;
use std::fs::File;
use std::path::Path;

use recording::container::Container;
use recording::mcap::record::{Message, Record};
use recording::mcap::{opening, summary};
use recording::message::Topic;
use serde_json::{Value, json};

#[allow(dead_code, reason = "the test calls what it calls")]
fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("name a file")?;
    println!("{}", run(Path::new(&path))?);
    Ok(())
}

/// Returns `{schemas, channels, messages, statistics}`, each a list of records.
pub(crate) fn run(path: &Path) -> Result<Value, Box<dyn Error>> {
    let source = File::open(path)?;
    let summary = summary::read(&source)??;
    let file = opening::open(&source)?;
    let mut definitions = file.scan().definitions.clone();
    definitions.merge(&summary.definitions, true);
    if let Some(unread) = file.index().topics.keys().find(|id| !definitions.defines(**id)) {
        return Err(format!("channel {unread} is defined in chunks only").into());
    }
    let schemas: Vec<Value> = definitions.schemas().iter().map(|(id, schema)| schema_json(*id, schema)).collect();
    let channels: Vec<Value> =
        definitions.to_list().iter().map(|known| channel_json(known.channel_id, known.schema_id, &known.topic)).collect();
    let mut messages = Vec::new();
    for block in 0..file.index().blocks.len() {
        let loaded = file.load(&source, block, &mut |_, _| true)??;
        for place in &loaded.places {
            let message = Message {
                channel_id: place.channel,
                sequence: place.sequence,
                log_time_ns: u64::try_from(place.log_time_ns)?,
                publish_time_ns: u64::try_from(place.publish_time_ns)?,
                data: &loaded.bytes[place.payload()],
            };
            messages.push((place.log_time_ns, record_json::of(&Record::Message(message))));
        }
    }
    messages.sort_by_key(|(time_ns, _)| *time_ns);
    let messages: Vec<Value> = messages.into_iter().map(|(_, message)| message).collect();
    let statistics: Vec<Value> = summary.statistics.into_iter().map(|counts| record_json::of(&Record::Statistics(counts))).collect();
    Ok(json!({ "schemas": schemas, "channels": channels, "messages": messages, "statistics": statistics }))
}

fn schema_json(id: u16, schema: &recording::Schema) -> Value {
    let (name, encoding) = (schema.name.as_str().into(), schema.encoding.as_str().into());
    record_json::of(&Record::Schema { id, name, encoding, data: &schema.data })
}

fn channel_json(id: u16, schema_id: u16, topic: &Topic) -> Value {
    let (name, message_encoding) = (topic.name.as_str().into(), topic.encoding.as_str().into());
    record_json::of(&Record::Channel { id, schema_id, topic: name, message_encoding, metadata: topic.metadata.clone() })
}
