use std::io::{Read, Write};
use std::net::TcpStream;

use robot::agent::Agent;
use serde_json::{Value, json};

use super::{Place, log, stop, text_channel};

/// Sends a request as it stands and returns the status code and the body.
fn send(agent: &Agent, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(agent.about().http.as_ref().unwrap()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let code = answer.split(' ').nth(1).expect("an answer").parse().unwrap();
    (code, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn ask(agent: &Agent, line: &str, headers: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    let (code, body) =
        send(agent, &format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"));
    (code, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

fn get(agent: &Agent, path: &str) -> (u16, Value) {
    ask(agent, &format!("GET {path}"), "", "")
}

fn post(agent: &Agent, path: &str, body: &Value) -> (u16, Value) {
    ask(agent, &format!("POST {path}"), "Content-Type: application/json\r\n", &body.to_string())
}

#[test]
fn status_and_captures_are_served() {
    let place = Place::new();
    place.configure("device = 'rover-7'");
    let agent = place.start();
    let client = place.client("driver");
    let channel = text_channel(&client, "/imu");
    for i in 0..100 {
        log(&channel, &i.to_string()).unwrap();
    }
    client.flush().unwrap();
    assert_eq!(get(&agent, "/health"), (200, json!({ "ok": true })));
    let (code, status) = get(&agent, "/status");
    assert_eq!((code, &status["device"], &status["clients"][0]["name"]), (200, &json!("rover-7"), &json!("driver")));
    assert_eq!(status["agent"]["pid"], json!(std::process::id()));

    let (code, saved) = post(&agent, "/captures", &json!({ "before": "10 s", "why": "stop sign", "topics": ["/imu"] }));
    assert_eq!((code, &saved["why"]), (200, &json!("stop sign")), "{saved}");
    for key in ["recording", "state", "start_ns", "end_ns", "asked", "kept", "missing", "segments"] {
        assert!(!saved[key].is_null(), "{key} in {saved}");
    }
    let id = saved["recording"].as_str().unwrap();
    assert_eq!(get(&agent, &format!("/captures/{id}")).1["recording"], saved["recording"]);
    assert_eq!(get(&agent, "/captures").1.as_array().unwrap().len(), 1);

    let (code, keeping) = post(&agent, "/keeps/run-1/start", &json!({ "before": 5 }));
    assert_eq!((code, &keeping["state"], &keeping["name"]), (200, &json!("keeping"), &json!("run-1")));
    assert_eq!(post(&agent, "/keeps/run-1/start", &json!({})).0, 409);
    let (code, stopped) = post(&agent, "/keeps/run-1/stop", &json!({}));
    assert_eq!((code, &stopped["recording"]), (200, &keeping["recording"]));
    stop(agent);
}

#[test]
fn errors_have_a_message_and_a_fitting_code() {
    let place = Place::new();
    let agent = place.start();
    let check = |(code, answer): (u16, Value), expected: u16, part: &str| {
        let message = answer["message"].as_str().expect("a message");
        assert!(code == expected && message.contains(part), "{code}: {message}");
    };
    check(get(&agent, "/nothing"), 404, "nothing is at /nothing");
    check(get(&agent, "/captures/none"), 404, "none");
    check(ask(&agent, "PUT /status", "Content-Type: application/json\r\n", "{}"), 405, "/status does not take PUT");
    check(post(&agent, "/captures", &json!({ "befor": 1 })), 400, "unknown field `befor`");
    check(post(&agent, "/captures", &json!({})), 400, "say how much to keep");
    check(post(&agent, "/keeps/none/stop", &json!({})), 404, "none");
    check(ask(&agent, "POST /captures", "Content-Type: application/json\r\n", "{"), 400, "a body that does not fit");
    check(ask(&agent, "POST /captures", "Content-Type: text/plain\r\n", "{}"), 415, "content type 'text/plain': send JSON");
    check(ask(&agent, "POST /captures", "", "{}"), 415, "content type ''");
    let huge = format!("{{\"why\": \"{}\"}}", "x".repeat(2 << 20));
    check(ask(&agent, "POST /captures", "Content-Type: application/json\r\n", &huge), 413, "");
    check(ask(&agent, "GET /status", "Origin: http://evil.example\r\n", ""), 403, "only pages of this machine");
    let rebound = send(&agent, "GET /status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    check((rebound.0, serde_json::from_str(&rebound.1).unwrap()), 403, "request for the host 'evil.example'");
}

#[test]
fn metrics_are_prometheus_text() {
    let place = Place::new();
    let agent = place.start();
    let (code, text) = get(&agent, "/metrics");
    let text = text.as_str().unwrap();
    assert_eq!(code, 200);
    let mut families = std::collections::HashSet::new();
    let mut family = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(families.insert(name), "{name} stands twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            family = name;
        } else if !line.starts_with("# HELP ") {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(sample.split('{').next(), Some(family), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    assert!(text.contains("tapeloop_buffer_messages_total{buffer=\"all\",place=\"disk\"} 0"), "{text}");
    assert!(families.contains("tapeloop_disk_free_bytes"));
}

#[test]
fn an_agent_can_do_without_http() {
    let place = Place::new();
    let agent = Agent::start(robot::agent::AgentOptions { http: Some("off".into()), ..place.options() }).unwrap();
    assert_eq!(agent.about().http, None);
    assert!(!agent.description().contains("http"));
}

#[test]
fn more_connections_than_there_are_seats_wait_and_harm_nobody() {
    let place = Place::new();
    let agent = place.start();
    let address = agent.about().http.clone().unwrap();
    let idle: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let client = place.client("unharmed");
    log(&text_channel(&client, "/x"), "x").unwrap();
    client.flush().unwrap();
    drop(idle);
    assert_eq!(get(&agent, "/health").0, 200);
    stop(agent);
}

#[test]
fn pictures_are_those_of_one_topic_and_of_no_page_of_elsewhere() {
    let place = Place::new();
    let agent = place.start();
    let client = place.client("driver");
    log(&text_channel(&client, "/imu"), "x").unwrap();
    client.flush().unwrap();
    // A pattern is no name, whatever it would take.
    for (path, expected) in [("/picture?topic=/**", 404), ("/picture?topic=/none", 404), ("/picture?topic=/imu", 400)] {
        assert_eq!(get(&agent, path).0, expected, "{path}");
    }
    assert_eq!(get(&agent, "/pictures"), (200, json!([])));
    let asked_by = |site: &str| ask(&agent, "GET /pictures", &format!("Sec-Fetch-Site: {site}\r\n"), "").0;
    assert_eq!((asked_by("same-origin"), asked_by("cross-site")), (200, 403));
}
