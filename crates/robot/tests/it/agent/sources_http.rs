//! Sources that listen to HTTP, as their senders see them.

use std::io::{Read, Write};
use std::net::TcpStream;

use robot::agent::Agent;
use robot::agent::client::Client;
use serde_json::{Value, json};

use super::{Place, stop, until};

/// An agent with one source.
struct Fed {
    place: Place,
    agent: Agent,
    client: Client,
    address: String,
}

impl Fed {
    fn new(kind: &str, options: &str) -> Self {
        let place = Place::new();
        place.configure(&format!("[[source]]\nkind = '{kind}'\nlisten = '127.0.0.1:0'\n{options}\n"));
        let agent = place.start();
        let client = place.client("test");
        let note = || source(&client)["note"].as_str().map(str::to_owned);
        until("it listens", || note().is_some());
        let address = note().unwrap().rsplit(' ').next().unwrap().to_owned();
        Self { place, agent, client, address }
    }

    /// Sends a request and returns status and body of the answer.
    fn ask(&self, head: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        stream.write_all(format!("{head}\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n").as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
    }

    /// Ends the agent and returns the messages of a topic, with their publish times.
    fn messages(self, topic: &str) -> Vec<(i64, Value)> {
        drop(self.client);
        stop(self.agent);
        let of_topic = self.place.messages().into_iter().filter(|message| message.topic.name == topic);
        of_topic.map(|message| (message.publish_time_ns, serde_json::from_slice(&message.data).unwrap())).collect()
    }
}

fn source(client: &Client) -> Value {
    client.agent_status().unwrap()["sources"][0].clone()
}

#[test]
fn influx_takes_every_precision_and_says_what_is_wrong() {
    let fed = Fed::new("influx", "");
    let write = |path: &str, body: &str| fed.ask(&format!("POST {path} HTTP/1.1"), body.as_bytes());
    for (path, stamp) in [
        ("/api/v2/write?org=o&bucket=b", "1700000000000000000"),
        ("/api/v2/write?precision=ns", "1700000000000000000"),
        ("/api/v2/write?precision=us", "1700000000000000"),
        ("/api/v2/write?precision=ms", "1700000000000"),
        ("/write?db=x&precision=s", "1700000000"),
        ("/api/v3/write_lp?db=x&precision=auto", "1700000000000"),
        ("/api/v3/write_lp?db=x&precision=microsecond&no_sync=true", "1700000000000000"),
    ] {
        assert_eq!(write(path, &format!("cpu,core=0 load=0.5 {stamp}\n")).0, 204, "{path}");
    }
    // Good lines of a bad request are kept.
    let (status, body) = write("/api/v2/write", "cpu load=1 5\nbroken\ncpu load=nan 6\ncpu load=\n");
    assert_eq!(status, 400);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["code"], "invalid");
    let message = body["message"].as_str().unwrap();
    assert!(message.starts_with("2 of 4 lines were not taken: line 2: it has no fields; line 4:"), "{message}");
    assert_eq!(write("/api/v2/write?precision=days", "cpu load=1").0, 400);
    assert_eq!(write("/api/v4/write", "cpu load=1").0, 404);
    assert_eq!(fed.ask("POST /api/v2/write HTTP/1.1\r\nContent-Encoding: gzip", b"cpu load=1").0, 400);
    assert_eq!(fed.ask("GET /ping HTTP/1.1", b"").0, 204);
    assert_eq!(fed.ask("POST /query HTTP/1.1", b"q=CREATE+DATABASE+%22telegraf%22").0, 200);
    assert_eq!(fed.ask("GET /query?q=SELECT%201 HTTP/1.1", b"").0, 501);
    let (status, health) = fed.ask("GET /health HTTP/1.1", b"");
    assert_eq!((status, serde_json::from_str::<Value>(&health).unwrap()["status"].as_str().unwrap()), (200, "pass"));
    // Bytes that are no text cost their own line.
    assert_eq!(fed.ask("POST /api/v2/write HTTP/1.1", b"cpu load=2 7\n\xff\xfe\ncpu,tag=\xff load=3 8\n").0, 400);
    // Whatever was refused is counted: three lines, a body, a precision, a path.
    let told = source(&fed.client);
    assert_eq!((told["messages"].as_u64(), told["refused"].as_u64(), told["lost"].as_u64()), (Some(11), Some(6), Some(0)));
    let points = fed.messages("/metrics/cpu");
    assert_eq!(points.len(), 11);
    assert!(points[..7].iter().all(|(time_ns, _)| *time_ns == 1_700_000_000_000_000_000), "{points:?}");
    assert_eq!(points[0].1, json!({ "tags": { "core": "0" }, "fields": { "load": 0.5 } }));
    assert_eq!((points[8].0, &points[8].1["fields"]["load"]), (6, &Value::Null));
    assert_eq!(points[10].1["tags"]["tag"], "\u{fffd}");
}

#[test]
fn who_has_no_token_is_told_and_what_is_too_large_too() {
    let fed = Fed::new("influx", "token = 'secret'");
    let line = b"cpu load=1";
    assert_eq!(fed.ask("POST /api/v2/write HTTP/1.1", line).0, 401);
    assert_eq!(fed.ask("POST /api/v2/write HTTP/1.1\r\nAuthorization: Token wrong", line).0, 401);
    assert_eq!(fed.ask("POST /api/v2/write HTTP/1.1\r\nAuthorization: Token secret", line).0, 204);
    assert_eq!(fed.ask("POST /write?db=d&u=me&p=secret HTTP/1.1", line).0, 204);
    let huge = vec![b'x'; 40 << 20];
    assert_eq!(fed.ask("POST /api/v2/write HTTP/1.1\r\nAuthorization: Token secret", &huge).0, 413);
    assert_eq!(fed.ask("POST /api/v2/write HTTP/1.1", &huge).0, 401, "and it is read although it was refused at once");
    assert_eq!(fed.messages("/metrics/cpu").len(), 2);
}

#[test]
fn logs_are_taken_in_every_form() {
    let fed = Fed::new("logs", "name_of_records = 'robot'");
    let post = |kind: &str, body: &[u8]| fed.ask(&format!("POST / HTTP/1.1\r\nContent-Type: {kind}"), body).0;
    assert_eq!(post("application/json", br#"{"dt": "2026-01-02T03:04:05Z", "level": "warn", "message": "one"}"#), 202);
    assert_eq!(post("application/json", br#"[{"message": "two"}, {"message": "three"}]"#), 202);
    assert_eq!(post("application/x-ndjson", b"{\"message\": \"four\"}\n{\"message\": \"five\"}\n"), 202);
    assert_eq!(post("application/msgpack", b"\x91\x81\xa7message\xa3six"), 202);
    assert_eq!(post("application/json", b"{\"message\": \"seven\"}\nbroken\n"), 406);
    let messages = fed.messages("/logs/robot");
    let words: Vec<&str> = messages.iter().map(|(_, log)| log["message"].as_str().unwrap()).collect();
    assert_eq!(words, ["one", "two", "three", "four", "five", "six", "seven"]);
    assert_eq!((messages[0].0, &messages[0].1["level"]), (1_767_323_045_000_000_000, &json!(3)));
}

#[test]
fn opentelemetry_gets_answers_of_its_own_kind() {
    let fed = Fed::new("otlp", "grpc = 'off'\ntoken = 'secret'");
    let post =
        |path: &str, head: &str, body: &[u8]| fed.ask(&format!("POST {path} HTTP/1.1\r\nAuthorization: Bearer secret\r\n{head}"), body);
    let json = "Content-Type: application/json";
    let record = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"hi"}}]}]}]}"#;
    assert_eq!(post("/v1/logs", json, record), (200, "{}".into()));
    assert_eq!(post("/v1/traces", "Content-Type: application/x-protobuf", b""), (200, String::new()));
    let (status, body) = post("/v1/logs", json, br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[5]}]}]}"#);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["partialSuccess"]["rejectedLogRecords"]), (200, &json!("1")));
    let (status, body) = post("/v1/metrics", json, b"nonsense");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, body["message"].is_string()), (400, true));
    assert_eq!(post("/v1/logs", "Content-Type: application/x-protobuf", b"\xff").0, 400);
    assert_eq!(post("/v1/logs", "Content-Type: text/plain", b"hi").0, 415);
    assert_eq!(post("/v1/other", json, b"{}").0, 404);
    assert_eq!(fed.ask("POST /v1/logs HTTP/1.1\r\nContent-Type: application/json", record).0, 401);
    let messages = fed.messages("/logs/unknown_service");
    assert_eq!((messages.len(), &messages[0].1["message"]), (1, &json!("hi")));
}

#[test]
fn a_target_that_goes_away_is_in_the_data() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let place = Place::new();
    place.configure(&format!("[[source]]\nkind = 'prometheus'\ntargets = ['{target}']\ninterval = '100 ms'\n"));
    let agent = place.start();
    let client = place.client("test");
    let serve = |listener: &std::net::TcpListener, page: &str| {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).unwrap() > 0);
        stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{page}").as_bytes()).unwrap();
    };
    serve(&listener, "# TYPE starts counter\nstarts{robot=\"a\"} 5\ntemperature NaN\nbroken\n");
    serve(&listener, "# TYPE starts counter\nstarts{robot=\"a\"} 1\n");
    drop(listener);
    // The value of `up` and two more were logged while it was there.
    until("it was missed", || source(&client)["messages"].as_u64() >= Some(6));
    let listener = std::net::TcpListener::bind(target).unwrap();
    serve(&listener, "starts{robot=\"a\"} 2\n");
    until("it is lost what was missed", || source(&client)["lost"].as_u64() >= Some(1));
    drop((client, listener));
    stop(agent);
    let read = |topic: &str| -> Vec<Value> { place.payloads(topic).iter().map(|text| serde_json::from_str(text).unwrap()).collect() };
    let starts = read("/metrics/starts");
    assert_eq!(starts[0]["resource"], json!({ "target": target.to_string() }));
    let seen: Vec<(f64, bool)> = starts.iter().map(|value| (value["value"].as_f64().unwrap(), value["reset"] == true)).collect();
    assert_eq!(seen[..3], [(5.0, false), (1.0, true), (2.0, false)]);
    assert_eq!(read("/metrics/temperature")[0]["value_text"], "NaN");
    let up: Vec<i64> = read("/metrics/up").iter().map(|value| value["value"].as_i64().unwrap()).collect();
    assert!(up.starts_with(&[1, 1, 0]) && up.contains(&1), "{up:?}");
    let events = place.events();
    assert!(events["target_away"][0].contains("does not answer") && events.contains_key("target_back"), "{events:?}");
}
