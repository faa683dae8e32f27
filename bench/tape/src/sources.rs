//! A sender that posts log records or points to a source of an agent, as fast as they are answered.
//!
//! **Invariant:** every answer says that all was taken, and the agent has counted every record.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use robot::Leave;
use robot::agent::client::Client;
use robot::agent::{Agent, AgentOptions};
use serde_json::{Value, json};

use crate::measure::Moment;

/// How often it asks for the address, which takes milliseconds.
const ATTEMPTS: usize = 1_000_000;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What is sent.
    #[arg(long)]
    kind: Kind,
    /// A folder for the tape, which is made.
    #[arg(long)]
    data: PathBuf,
    #[arg(long, default_value_t = 1_000_000)]
    records: usize,
    /// Records per request.
    #[arg(long, default_value_t = 512)]
    batch: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Log records of OpenTelemetry in Protobuf, of about 300 bytes.
    Otlp,
    /// Lines of InfluxDB's line protocol, as Telegraf sends them.
    Influx,
}

/// Sends, and reports; `source_seconds` is the CPU time of the source's own thread.
pub(crate) fn run(arguments: &Arguments) -> Result<Value> {
    let Arguments { kind, data, records, batch } = arguments;
    std::fs::create_dir_all(data)?;
    let (name, path, content_type, body) = match kind {
        Kind::Otlp => ("otlp", "/v1/logs", "application/x-protobuf", log_records(*batch)),
        Kind::Influx => ("influx", "/api/v2/write", "text/plain", lines(*batch)),
    };
    let (config, socket) = (data.join("tapeloop.toml"), data.join("agent.sock"));
    let grpc = if matches!(kind, Kind::Otlp) { "grpc = 'off'" } else { "" };
    std::fs::write(&config, format!("[[source]]\nkind = '{name}'\nlisten = '127.0.0.1:0'\n{grpc}\n"))?;
    let agent = Agent::start(AgentOptions {
        config: Some(config),
        data: Some(data.join("tape")),
        socket: Some(socket.clone()),
        http: Some("off".into()),
        ..AgentOptions::default()
    })?;
    let client = Client::connect(&socket, "bench")?;
    let source = || Ok::<_, anyhow::Error>(client.agent_status()?["sources"][0].clone());
    let mut note = None;
    for _ in 0..ATTEMPTS {
        note = source()?["note"].as_str().map(str::to_owned);
        if note.is_some() {
            break;
        }
    }
    let note = note.context("the source does not listen")?;
    let mut stream = TcpStream::connect(note.rsplit(' ').next().unwrap_or_default())?;
    stream.set_nodelay(true)?;
    let head = format!("POST {path} HTTP/1.1\r\nHost: robot\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n", body.len());
    let request = [head.as_bytes(), &body].concat();
    let (start, requests) = (Moment::now(), records.div_ceil(*batch));
    for _ in 0..requests {
        stream.write_all(&request)?;
        let answer = answer(&mut stream)?;
        ensure!(answer.starts_with("HTTP/1.1 20"), "answered with {answer}");
    }
    let (seconds, cpu_seconds, source_seconds) = (start.seconds(), start.cpu_seconds(), thread_seconds(&format!("source-{name}"))?);
    let messages = requests * batch;
    let told = source()?;
    ensure!(told["messages"].as_u64() == Some(messages as u64) && told["lost"] == 0, "sent {messages}, and it says {told}");
    drop((stream, client));
    agent.stop(Leave::CutShort)?;
    Ok(json!({
        "messages": messages, "seconds": seconds, "cpu_seconds": cpu_seconds, "source_seconds": source_seconds,
        "request_bytes": request.len(),
    }))
}

/// Reads one answer without a body of its own.
fn answer(stream: &mut TcpStream) -> Result<String> {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut buffer)?;
        ensure!(read > 0, "the source closed the connection");
        answer.extend_from_slice(&buffer[..read]);
    }
    Ok(String::from_utf8(answer)?)
}

fn log_records(count: usize) -> Vec<u8> {
    let value = |value| Some(AnyValue { value: Some(value) });
    let attribute = |key: &str, any| KeyValue { key: key.into(), value: value(any), ..KeyValue::default() };
    let log_records = (0..count).map(|i| LogRecord {
        time_unix_nano: 1_700_000_000_000_000_000 + i as u64,
        observed_time_unix_nano: 1_700_000_000_000_000_000,
        severity_number: 9,
        severity_text: "INFO".into(),
        body: value(Any::StringValue(format!("joint {i} reached its target after {} ms with an error of 0.0{i} rad", i * 7))),
        attributes: vec![
            attribute("code.file.path", Any::StringValue("/opt/robot/arm/controller.py".into())),
            attribute("code.line.number", Any::IntValue(214)),
            attribute("joint", Any::IntValue(i as i64)),
            attribute("error", Any::DoubleValue(0.015)),
        ],
        trace_id: vec![7; 16],
        span_id: vec![7; 8],
        ..LogRecord::default()
    });
    let scope = InstrumentationScope { name: "arm.controller".into(), ..InstrumentationScope::default() };
    let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records: log_records.collect(), ..ScopeLogs::default() }];
    let attributes =
        vec![attribute("service.name", Any::StringValue("arm".into())), attribute("host.name", Any::StringValue("rover-7".into()))];
    let resource = Resource { attributes, ..Resource::default() };
    let resource_logs = vec![ResourceLogs { resource: Some(resource), scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

fn lines(count: usize) -> Vec<u8> {
    let line = |i: usize| {
        let at = 1_700_000_000_000_000_000 + i;
        format!("cpu,cpu=cpu{},host=rover-7 usage_idle=9{}.25,usage_user={i}i,usage_system=1.5,running=t {at}\n", i % 16, i % 10)
    };
    (0..count).map(line).collect::<String>().into_bytes()
}

/// Returns how many seconds of CPU time the thread with this name took.
fn thread_seconds(name: &str) -> Result<f64> {
    for thread in std::fs::read_dir("/proc/self/task")? {
        let thread = thread?.path();
        if std::fs::read_to_string(thread.join("comm"))?.trim() == name {
            let times = std::fs::read_to_string(thread.join("schedstat"))?;
            return Ok(times.split(' ').next().unwrap_or_default().parse::<f64>()? / 1e9);
        }
    }
    Ok(0.0)
}
