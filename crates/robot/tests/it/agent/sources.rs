//! Sources in a running agent: configured, told in the status, recorded, saved.

use recording::Kind;
use robot::agent::Agent;
use robot::agent::client::Client;
use serde_json::Value;

use super::{Place, stop, until};

fn sources(client: &Client) -> Vec<Value> {
    client.agent_status().unwrap()["sources"].as_array().unwrap().clone()
}

#[test]
fn the_computers_own_metrics_are_recorded_and_join_every_recording() {
    let place = Place::new();
    place.configure("[[source]]\nkind = 'host'\ninterval = '200 ms'\n");
    let agent = place.start();
    let client = place.client("test");
    until("it has looked twice", || sources(&client)[0]["messages"].as_u64() >= Some(6));
    let buffers: Vec<String> = agent.tape().status().buffers.into_iter().map(|buffer| buffer.name).collect();
    assert_eq!(buffers, ["all", "telemetry", "recorder"]);
    let request = robot::SaveRequest {
        before: Some(robot::Length::Seconds(10.0)),
        topics: vec!["/nothing/else".into()],
        ..robot::SaveRequest::default()
    };
    let recording = client.save(&request).unwrap().recording;
    place.configure("");
    until("it is gone", || sources(&client).is_empty());
    drop(client);
    let root = agent.tape().root().to_owned();
    let device = agent.tape().device().to_owned();
    stop(agent);
    let manifest = recording::read::open(&root.join(recording::key::manifest(&device, &recording))).unwrap();
    let topics: Vec<String> = manifest.topics().iter().map(|topic| topic.name.clone()).collect();
    assert!(topics.contains(&"/host/cpu".to_owned()) && topics.contains(&"/host/memory".to_owned()), "{topics:?}");
    let memory: Value = serde_json::from_str(&place.payloads("/host/memory")[0]).unwrap();
    assert!(memory["total_bytes"].as_u64() > memory["available_bytes"].as_u64(), "{memory}");
}

#[test]
fn a_source_that_makes_no_sense_is_refused_with_its_line() {
    for (text, expected) in [
        ("[[source]]\nname = 'a'", "line 1: a source needs a kind"),
        ("\n[[source]]\nkind = 'telepathy'", "line 2: source 'telepathy': there is no kind 'telepathy' in this build; there are "),
        ("[[source]]\nkind = 'host'\nintervall = '1 s'", "line 1: source 'host': unknown field `intervall`"),
        ("[[source]]\nkind = 'host'\ninterval = '1 ms'", "source 'host': interval is at least 200 ms"),
        ("[[source]]\nkind = 'host'\n[[source]]\nkind = 'host'", "line 3: there is another source 'host'"),
        ("[[source]]\nkind = 'host'\nlimit = 'much'", "line 1: not a size: 'much'"),
    ] {
        let place = Place::new();
        place.configure(text);
        let error = Agent::start(place.options()).err().unwrap();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.message().contains(expected), "{error}");
    }
}
