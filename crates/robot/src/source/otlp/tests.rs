//! What an export becomes on the tape, in both formats.
//!
//! **Invariant:** Protobuf and JSON of the same request make the same messages.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use recording::TopicFilter;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::*;
use crate::config::Config;
use crate::{Leave, OpenOptions, Tape};

/// Returns what a request becomes, by topic, and how many records were rejected.
fn take(signal: Signal, format: Format, body: &[u8]) -> (Result<u64>, Vec<(String, i64, Value)>) {
    let folder = tempfile::tempdir().unwrap();
    let options = OpenOptions { device: Some("rover".into()), ..OpenOptions::default() };
    let tape = Tape::open(folder.path(), Config::empty(), options).unwrap();
    let tap = tape.tap(TopicFilter::parse(&["/logs/**", "/metrics/**", "/traces/**"]).unwrap(), 1 << 24).unwrap();
    let intake = Arc::new(Intake::new(tape.clone(), "otlp".into(), None));
    let site = Site { intake, topics: Mutex::default() };
    let outcome = site.take(signal, format, body).map(|outcome| outcome.rejected);
    let heard = std::iter::from_fn(|| tap.next(Duration::ZERO))
        .map(|heard| (heard.channel.topic().name.clone(), heard.publish_time_ns, serde_json::from_slice(&heard.data).unwrap()));
    let heard = heard.collect();
    drop(tap);
    tape.close(Leave::CutShort).unwrap();
    (outcome, heard)
}

/// Takes a request in JSON and in Protobuf, which must come to the same.
fn both<T: Message + Serialize + DeserializeOwned + Default>(signal: Signal, json: &Value) -> (u64, Vec<(String, i64, Value)>) {
    let request: T = serde_json::from_value(json.clone()).unwrap();
    let (outcome, messages) = take(signal, Format::Json, json.to_string().as_bytes());
    let (binary_outcome, binary_messages) = take(signal, Format::Protobuf, &request.encode_to_vec());
    assert!(messages == binary_messages, "the two formats differ");
    let rejected = outcome.unwrap();
    assert_eq!(rejected, binary_outcome.unwrap());
    (rejected, messages)
}

fn resource() -> Value {
    json!({ "attributes": [
        { "key": "service.name", "value": { "stringValue": "arm driver" } },
        { "key": "host.cpus", "value": { "intValue": "8" } },
    ] })
}

#[test]
fn a_log_record_becomes_a_log_with_everything_it_said() {
    let request = json!({ "resourceLogs": [{ "resource": resource(), "scopeLogs": [{ "scope": {
        "name": "arm.joints", "version": "1.2", "attributes": [{ "key": "built", "value": { "boolValue": true } }] }, "logRecords": [
        {
            "timeUnixNano": "1700000000123456789", "severityNumber": 13, "severityText": "WARN",
            "observedTimeUnixNano": "1700000000123456799", "flags": 1,
            "body": { "stringValue": "joint \"3\" is\nhot" }, "traceId": "000102030405060708090a0b0c0d0e0f", "spanId": "0001020304050607",
            "attributes": [
                { "key": "code.file.path", "value": { "stringValue": "arm.py" } }, { "key": "code.line.number", "value": { "intValue": 7 } },
                { "key": "temps", "value": { "arrayValue": { "values": [{ "doubleValue": 80.5 }, { "boolValue": true }, {}] } } },
                { "key": "limits", "value": { "kvlistValue": { "values": [{ "key": "max", "value": { "intValue": "-1" } }] } } },
            ],
        },
        { "observedTimeUnixNano": "1700000000000000001", "severityText": "fatal", "body": { "kvlistValue": { "values": [
            { "key": "a", "value": { "bytesValue": "/wA=" } } ] } } },
    ] }] }] });
    let (rejected, messages) = both::<ExportLogsServiceRequest>(Signal::Logs, &request);
    assert_eq!((rejected, messages.len()), (0, 2));
    let resource = json!({ "service.name": "arm driver", "host.cpus": 8 });
    assert_eq!(
        messages[0],
        (
            "/logs/arm_driver".to_owned(),
            1_700_000_000_123_456_789,
            json!({
                "timestamp": { "sec": 1_700_000_000, "nsec": 123_456_789 }, "level": 3, "message": "joint \"3\" is\nhot", "name": "arm driver",
                "file": "arm.py", "line": 7, "attributes": {
                    "code.file.path": "arm.py", "code.line.number": 7, "temps": [80.5, true, null], "limits": { "max": -1 } },
                "severity": "WARN", "severity_number": 13, "observed_ns": 1_700_000_000_123_456_799_i64,
                "trace_id": "000102030405060708090a0b0c0d0e0f", "span_id": "0001020304050607", "trace_flags": 1,
                "scope": "arm.joints", "scope_version": "1.2", "scope_attributes": { "built": true }, "resource": resource,
            })
        )
    );
    let (_, time_ns, second) = &messages[1];
    assert_eq!((*time_ns, &second["level"], &second["message"]), (1_700_000_000_000_000_001, &json!(5), &json!("{\"a\":\"ff00\"}")));
    assert_eq!(second["body"], json!({ "a": "ff00" }));
}

#[test]
fn every_kind_of_metric_becomes_a_message_per_point() {
    let at = "1700000000000000000";
    let point = json!({ "timeUnixNano": at, "startTimeUnixNano": "1600000000000000000", "asInt": "7",
        "attributes": [{ "key": "core", "value": { "stringValue": "0" } }] });
    let histogram =
        json!({ "timeUnixNano": at, "count": "3", "sum": 6.5, "min": 1.0, "bucketCounts": ["1", "2"], "explicitBounds": [2.5] });
    let request = json!({ "resourceMetrics": [{ "resource": resource(), "scopeMetrics": [{ "metrics": [
        { "name": "cpu.load", "unit": "1", "gauge": { "dataPoints": [{ "timeUnixNano": at, "asDouble": 0.5 }, { "timeUnixNano": at, "asDouble": 0.25, "flags": 1 }] } },
        { "name": "requests", "sum": { "dataPoints": [point], "aggregationTemporality": 2, "isMonotonic": true } },
        { "name": "latency", "histogram": { "dataPoints": [histogram], "aggregationTemporality": 1 } },
        { "name": "spread", "exponentialHistogram": { "dataPoints": [{ "timeUnixNano": at, "count": "1", "scale": -2, "zeroCount": "1",
            "positive": { "offset": 3, "bucketCounts": ["4"] } }], "aggregationTemporality": 2 } },
        { "name": "quantiles", "summary": { "dataPoints": [{ "timeUnixNano": at, "count": "2", "sum": 3.0,
            "quantileValues": [{ "quantile": 0.5, "value": 1.5 }] }] } },
        { "name": "gone", "histogram": { "dataPoints": [{ "timeUnixNano": at, "count": "9", "flags": 1 }], "aggregationTemporality": 2 } },
        { "name": "gone", "exponentialHistogram": { "dataPoints": [{ "timeUnixNano": at, "flags": 1 }] } },
        { "name": "gone", "summary": { "dataPoints": [{ "timeUnixNano": at, "flags": 1 }] } },
        { "name": "nothing" }, { "name": "" , "gauge": { "dataPoints": [{ "asDouble": 1.0 }, { "asDouble": 2.0 }] } },
    ] }] }] });
    let (rejected, messages) = both::<ExportMetricsServiceRequest>(Signal::Metrics, &request);
    assert_eq!(rejected, 3, "one without data, two without a name");
    let topics: Vec<&str> = messages.iter().map(|(topic, ..)| topic.as_str()).collect();
    for (_, _, gone) in &messages[6..] {
        assert_eq!((gone.get("value"), gone.get("count"), gone.get("sum")), (Some(&Value::Null), None, None));
    }
    assert_eq!(
        topics[..6],
        ["/metrics/cpu.load", "/metrics/cpu.load", "/metrics/requests", "/metrics/latency", "/metrics/spread", "/metrics/quantiles"]
    );
    let value = |index: usize| &messages[index].2;
    assert_eq!((messages[0].1, &value(0)["value"], &value(1)["value"]), (1_700_000_000_000_000_000, &json!(0.5), &Value::Null));
    assert_eq!(
        *value(2),
        json!({
            "kind": "sum", "value": 7, "temporality": "cumulative", "monotonic": true, "start_ns": 1_600_000_000_000_000_000_i64,
            "attributes": { "core": "0" }, "resource": { "service.name": "arm driver", "host.cpus": 8 },
        })
    );
    assert_eq!((&value(3)["counts"], &value(3)["bounds"], &value(3)["sum"]), (&json!([1, 2]), &json!([2.5]), &json!(6.5)));
    assert_eq!((&value(3)["temporality"], value(3).get("max")), (&json!("delta"), None));
    assert_eq!((&value(4)["scale"], &value(4)["positive"]), (&json!(-2), &json!({ "offset": 3, "counts": [4] })));
    assert_eq!(value(5)["quantiles"], json!([{ "quantile": 0.5, "value": 1.5 }]));
}

#[test]
fn a_span_is_published_when_it_ended() {
    let span = json!({
        "traceId": "000102030405060708090a0b0c0d0e0f", "spanId": "0001020304050607", "parentSpanId": "", "name": "plan", "kind": 2,
        "traceState": "a=b", "flags": 257,
        "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000000000500", "status": { "code": 2, "message": "no way" },
        "events": [{ "name": "gave up", "timeUnixNano": "1700000000000000400" }],
        "links": [{ "traceId": "ff0102030405060708090a0b0c0d0e0f", "spanId": "ff01020304050607" }],
    });
    let request = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span, { "name": "without ids" }] }] }] });
    let (rejected, messages) = both::<ExportTraceServiceRequest>(Signal::Traces, &request);
    assert_eq!((rejected, messages.len()), (1, 1));
    let (topic, time_ns, message) = &messages[0];
    assert_eq!((topic.as_str(), *time_ns), ("/traces/unknown_service", 1_700_000_000_000_000_500));
    assert_eq!((&message["kind"], &message["status"], &message["duration_ns"]), (&json!("server"), &json!("error"), &json!(500)));
    assert_eq!((&message["trace_state"], &message["trace_flags"]), (&json!("a=b"), &json!(257)));
    assert_eq!(message["events"][0]["time_ns"], json!(1_700_000_000_000_000_400_i64));
    assert_eq!(message["links"][0]["span_id"], "ff01020304050607");
}

#[test]
fn what_is_no_request_is_refused_and_a_record_that_is_none_costs_itself() {
    for body in [b"\xff\xff".as_slice(), b"\x0a\x05abc", b"not protobuf", &[0x0a; 1000]] {
        assert_eq!(take(Signal::Logs, Format::Protobuf, body).0.unwrap_err().kind(), Kind::Invalid, "{body:?}");
    }
    for body in ["", "{", "[]", "{\"resourceLogs\": 5}", &"[".repeat(100_000), "{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":{}}]}]}"]
    {
        assert_eq!(take(Signal::Logs, Format::Json, body.as_bytes()).0.unwrap_err().kind(), Kind::Invalid, "{body}");
    }
    assert_eq!(take(Signal::Logs, Format::Json, b"{\"resourceLogs\": null, \"new\": 1}").0.unwrap(), 0);
    let body = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":"loud"},{"body":{"stringValue":"good"}},5]}]}]}"#;
    let (rejected, messages) = take(Signal::Logs, Format::Json, body.as_bytes());
    assert_eq!((rejected.unwrap(), messages.len(), &messages[0].2["message"]), (2, 1, &json!("good")));
}

#[test]
fn a_request_has_a_limit_of_records_and_points() {
    let within = |number: u32, inside: &[u8]| {
        let mut outside = Vec::new();
        prost::encoding::bytes::encode(number, &inside.to_vec(), &mut outside);
        outside
    };
    let rejected = |signal, scopes: &[u8]| take(signal, Format::Protobuf, &within(1, scopes)).0.unwrap();
    // Many empty records, which are taken one by one; in one scope, and in one each.
    let many = RECORD_LIMIT as usize + 5;
    assert_eq!(rejected(Signal::Logs, &within(2, &[0x12, 0x00].repeat(many))), 5);
    assert_eq!(rejected(Signal::Logs, &[0x12, 0x02, 0x12, 0x00].repeat(many)), 5);
    // Many points, whose metric is decoded as a whole.
    let metric = |points: usize| [b"\x0a\x01m".as_slice(), &within(5, &[0x0a, 0x00].repeat(points))].concat();
    assert_eq!(rejected(Signal::Metrics, &within(2, &within(2, &metric(many)))), 5);
    assert_eq!(rejected(Signal::Metrics, &within(2, &within(2, &metric(1 << 19)))), 1, "too large to be decoded");
}

#[test]
fn what_every_record_repeats_has_a_limit() {
    let many: Vec<Value> =
        (0..10_000).map(|i| json!({ "key": format!("attribute {i}"), "value": { "stringValue": "x".repeat(100) } })).collect();
    let request = json!({ "resourceLogs": [{ "resource": { "attributes": many }, "scopeLogs": [{ "logRecords": [{ "timeUnixNano": "1" }, { "timeUnixNano": "2" }] }] }] });
    let (rejected, messages) = both::<ExportLogsServiceRequest>(Signal::Logs, &request);
    assert_eq!((rejected, messages.len()), (0, 2));
    assert!(messages.iter().all(|(_, _, message)| message.to_string().len() < 17 << 10));
    let (kept, left_out) = (messages[0].2["resource"].as_object().unwrap().len(), &messages[0].2["resource_left_out"]);
    assert_eq!(*left_out, json!(10_000 - kept));
}

#[test]
fn partial_success_is_what_the_specification_says() {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
    let outcome = Outcome { good: 1, rejected: 3, why: Some("too long".into()), is_away: false };
    let response = ExportLogsServiceResponse::decode(partial_success(&outcome).as_slice()).unwrap().partial_success.unwrap();
    assert_eq!((response.rejected_log_records, response.error_message.as_str()), (3, "too long"));
    assert!(partial_success(&Outcome::default()).is_empty());
}
