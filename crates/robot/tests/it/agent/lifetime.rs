use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use recording::{Kind, Loss, Schema};
use robot::agent::client::{Client, ClientOptions};
use robot::agent::protocol::{Entries, FrameKind, HEADER_BYTES, Header, Side, Welcome, frame, from_json};
use robot::agent::{Agent, AgentOptions};
use robot::clock::{Clock, SystemClock};
use robot::{ChannelSpec, Leave, Times};

use super::{Place, exists, log, numbers, stop, text_channel, until};

#[test]
fn what_clients_have_logged_when_the_agent_ends_is_on_disk() {
    let place = Place::new();
    let agent = place.start();
    let clients: Vec<_> = (0..4).map(|i| place.client(&format!("client-{i}"))).collect();
    let ends = AtomicBool::new(false);
    let counts: Vec<usize> = std::thread::scope(|scope| {
        let logging: Vec<_> = clients
            .iter()
            .enumerate()
            .map(|(i, client)| {
                let channel = text_channel(client, &format!("/client/{i}"));
                let ends = &ends;
                // Logs until the agent is gone; returns how many messages were accepted.
                scope.spawn(move || {
                    let mut accepted = 0;
                    while log(&channel, &accepted.to_string()).is_ok() {
                        accepted += 1;
                        if accepted % 100 == 0 && !ends.load(Ordering::Relaxed) {
                            std::thread::yield_now();
                        }
                    }
                    accepted
                })
            })
            .collect();
        until("there is something to lose", || agent.tape().status().buffers[0].messages > 10_000);
        let began_ns = SystemClock.monotonic_ns();
        stop(agent);
        ends.store(true, Ordering::Relaxed);
        let took_ns = SystemClock.monotonic_ns() - began_ns;
        assert!(took_ns < 2_000_000_000, "{took_ns} ns");
        logging.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (i, accepted) in counts.into_iter().enumerate() {
        let read = place.payloads(&format!("/client/{i}"));
        assert_eq!(read.len(), accepted, "client {i}");
        assert_eq!(read, numbers(0..accepted));
    }
    assert!(!exists(&place.socket()));
}

#[test]
fn a_client_finds_an_agent_that_was_away_and_tells_what_was_lost() {
    let place = Place::new();
    let agent = place.start();
    let client = place.client("patient");
    let channel = text_channel(&client, "/imu");
    let schema = Arc::new(Schema { name: "Map".into(), encoding: "jsonschema".into(), data: b"{}".to_vec().into() });
    let latched = |topic: &str| ChannelSpec {
        topic: topic.into(),
        encoding: "json".into(),
        schema: Some(schema.clone()),
        latched: true,
        ..ChannelSpec::default()
    };
    let map = client.channel(latched("/map")).unwrap();
    map.log(b"\"old\"".as_slice().into(), Times::default()).unwrap();
    map.log(b"\"new\"".as_slice().into(), Times { log_time_ns: None, publish_time_ns: Some(77) }).unwrap();
    log(&channel, "before").unwrap();
    stop(agent);

    // The end of the agent is told once, by a call that did not record anything.
    until("the end is heard", || log(&channel, "nowhere").is_err());
    let lost = 500;
    for _ in 0..lost {
        let error = log(&channel, "nowhere").unwrap_err();
        assert!(error.is_retryable() && error.message().starts_with("the agent is away"), "{error}");
    }
    assert!(client.status().is_err() && client.flush().is_err());

    let agent = place.start();
    until("the agent is found", || log(&channel, "after").is_ok());
    // The topic that is opened while nobody is there, and the ones from before, all work.
    client.flush().unwrap();
    client.close().unwrap();
    stop(agent);
    assert_eq!(place.payloads("/imu"), ["before", "after"]);
    let messages: Vec<_> = place.messages().into_iter().filter(|message| message.topic.name == "/map").collect();
    let texts: Vec<_> = messages.iter().map(|message| (message.data.to_vec(), message.publish_time_ns == 77)).collect();
    assert_eq!(texts, [(b"\"old\"".to_vec(), false), (b"\"new\"".to_vec(), true), (b"\"new\"".to_vec(), true)]);
    let info = recording::read::open(&place.root()).unwrap().info().unwrap();
    let told: u64 = info.losses.iter().filter(|loss| loss.reason == "the agent was away").filter_map(|loss| loss.messages).sum();
    assert!(told >= lost && info.losses.iter().any(|loss| loss.topic.as_deref() == Some("/imu")), "{:?}", info.losses);
}

#[test]
fn a_channel_can_be_opened_while_the_agent_is_away() {
    let place = Place::new();
    let agent = place.start();
    let client = place.client("patient");
    let known = text_channel(&client, "/known");
    stop(agent);
    until("the end is heard", || log(&known, "x").is_err());
    let channel = text_channel(&client, "/new");
    let agent = place.start();
    until("the agent is found", || log(&channel, "hello").is_ok());
    client.close().unwrap();
    stop(agent);
    assert_eq!(place.payloads("/new"), ["hello"]);
}

#[test]
fn dropping_a_client_sends_what_it_has() {
    let place = Place::new();
    let agent = place.start();
    {
        let client = place.client("brief");
        let channel = text_channel(&client, "/brief");
        for number in numbers(0..50) {
            log(&channel, &number).unwrap();
        }
    }
    until("it is gone", || agent.tape().status().buffers[0].messages >= 50);
    stop(agent);
    assert_eq!(place.payloads("/brief"), numbers(0..50));
}

#[test]
fn a_closed_client_takes_nothing() {
    let place = Place::new();
    let _agent = place.start();
    let client = place.client("closed");
    let channel = text_channel(&client, "/closed");
    client.close().unwrap();
    assert_eq!(log(&channel, "x").unwrap_err().message(), "this client was closed: make a new one");
}

#[test]
fn many_threads_share_a_client() {
    let place = Place::new();
    let agent = place.start();
    let client = place.client("shared");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let channel = text_channel(&client, &format!("/thread/{thread}"));
            scope.spawn(move || {
                for number in numbers(0..2000) {
                    log(&channel, &number).unwrap();
                    if number.ends_with("00") {
                        channel.log(vec![0u8; 100_000].as_slice().into(), Times::default()).unwrap();
                    }
                }
            });
        }
        scope.spawn(|| (0..20).for_each(|_| client.flush().unwrap()));
    });
    client.close().unwrap();
    stop(agent);
    for thread in 0..4 {
        let small: Vec<String> = place.payloads(&format!("/thread/{thread}")).into_iter().filter(|text| text.len() < 10).collect();
        assert_eq!(small, numbers(0..2000));
    }
}

#[test]
fn ten_thousand_topics_pass() {
    let place = Place::new();
    let agent = place.start();
    let client = place.client("many");
    let channels: Vec<_> = (0..10_000).map(|i| text_channel(&client, &format!("/topic/{i}"))).collect();
    for channel in &channels {
        log(channel, "x").unwrap();
    }
    client.flush().unwrap();
    assert_eq!(client.status().unwrap().lost_messages, 0);
    assert!(client.status().unwrap().channels >= 10_000);
    stop(agent);
}

#[test]
fn two_agents_on_one_machine_work_and_never_share() {
    let (place, other) = (Place::new(), Place::new());
    let (agent, second) = (place.start(), other.start());
    for (place, text) in [(&place, "first"), (&other, "second")] {
        let client = place.client("both");
        log(&text_channel(&client, "/who"), text).unwrap();
        client.close().unwrap();
    }
    let refused = |options: AgentOptions| Agent::start(options).err().unwrap();
    let same_socket = refused(AgentOptions { data: Some(other.root()), ..place.options() });
    assert_eq!(same_socket.kind(), Kind::Conflict);
    assert!(
        same_socket.message().contains("listens there already; a second one needs its own --socket, --data and --http"),
        "{same_socket}"
    );
    let same_tape = refused(AgentOptions { socket: Some(place.folder.path().join("b.sock")), ..place.options() });
    assert_eq!(same_tape.kind(), Kind::Conflict, "{same_tape}");
    let same_port = refused(AgentOptions { http: agent.about().http.clone(), ..Place::new().options() });
    assert!(same_port.message().contains("choose another port with --http"), "{same_port}");
    stop(agent);
    stop(second);
    assert_eq!((place.payloads("/who"), other.payloads("/who")), (vec!["first".to_owned()], vec!["second".to_owned()]));
}

#[test]
fn what_drives_an_agent_ends_it() {
    let place = Place::new();
    let drive: robot::agent::Drive = Box::new(|tape, stop| {
        let channel = tape.channel(ChannelSpec { topic: "/driven".into(), encoding: "text".into(), ..ChannelSpec::default() })?;
        tape.append(&channel, b"hello".as_slice().into(), Times::default())?;
        assert!(!stop.is_set());
        Ok(())
    });
    robot::agent::run(AgentOptions { drive: Some(drive), leave: Leave::CutShort, ..place.options() }).unwrap();
    assert_eq!(place.payloads("/driven"), ["hello"]);
    let failing: robot::agent::Drive = Box::new(|_, _| Err(recording::Error::invalid("no such file: x.mcap")));
    let error = robot::agent::run(AgentOptions { drive: Some(failing), ..place.options() }).unwrap_err();
    assert_eq!(error.message(), "no such file: x.mcap");
}

#[test]
fn what_is_met_after_the_time_is_over_is_told() {
    let place = Place::new();
    let over = || AgentOptions { run_for: Some(Duration::ZERO), ..place.options() };
    let failing: robot::agent::Drive = Box::new(|_, stop| {
        while !stop.wait(Duration::from_secs(1)) {}
        Err(recording::Error::invalid("cut off: x.mcap"))
    });
    let error = robot::agent::run(AgentOptions { drive: Some(failing), ..over() }).unwrap_err();
    assert_eq!(error.message(), "cut off: x.mcap");
    let losing: robot::agent::Drive = Box::new(|tape, stop| {
        while !stop.wait(Duration::from_secs(1)) {}
        let lost =
            |messages| recording::Loss { topic: None, start_ns: None, end_ns: None, messages, bytes: None, reason: "queue full".into() };
        [Some(3), None].map(lost).into_iter().for_each(|loss| tape.report_loss(loss));
        Ok(())
    });
    let ended = robot::agent::run(AgentOptions { drive: Some(losing), ..over() }).unwrap();
    assert_eq!((ended.lost.messages, ended.lost.uncounted), (3, 1));
    // What an earlier recorder lost is not this one's.
    assert!(robot::agent::run(over()).unwrap().lost.is_nothing());
}

/// Greets a client like an agent and hands over the connection.
fn pretend_agent(listener: &UnixListener) -> UnixStream {
    let (mut stream, _) = listener.accept().unwrap();
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).unwrap();
    let mut hello = vec![0; Header::parse(&header, Side::Client).unwrap().body_bytes];
    stream.read_exact(&mut hello).unwrap();
    let welcome = Welcome { version: 1, software: "test".into(), device: "d".into(), root: "/".into(), boot: "b".into(), pid: 1 };
    stream.write_all(&frame(FrameKind::Welcome, &welcome.encode())).unwrap();
    stream
}

#[test]
fn an_agent_that_takes_nothing_costs_a_bounded_wait_and_every_message_is_accounted_for() {
    let place = Place::new();
    let listener = UnixListener::bind(place.socket()).unwrap();
    let options = ClientOptions { send_patience: Duration::from_millis(50), ..ClientOptions::default() };
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| pretend_agent(&listener));
        let client = Client::connect_with(&place.socket(), "patient", options).unwrap();
        let mut stuck = stuck.join().unwrap();
        let channel = text_channel(&client, "/numbers");
        let (mut accepted, mut refused) = (0u64, 0u64);
        // Returns whether the message was accepted.
        let try_log = |payload: &[u8]| match channel.log(payload.into(), Times::default()) {
            Ok(()) => true,
            Err(error) => {
                assert!(error.is_retryable() && error.message().contains("the agent took nothing for 0.05 s"), "{error}");
                false
            }
        };
        let mut count = |passed: bool| if passed { accepted += 1 } else { refused += 1 };
        until("the agent's silence is felt", || {
            let passed = [try_log(&[1; 1000]), try_log(&[2; 50_000])];
            passed.into_iter().for_each(&mut count);
            passed == [false, false]
        });
        // From here on it listens, to the end.
        let reading = scope.spawn(move || {
            let (mut messages, mut told) = (0, 0);
            let mut header = [0; HEADER_BYTES];
            while stuck.read_exact(&mut header).is_ok() {
                let header = Header::parse(&header, Side::Client).unwrap();
                let mut body = vec![0; header.body_bytes];
                stuck.read_exact(&mut body).unwrap();
                match header.kind {
                    FrameKind::Log => messages += Entries::new(&body).filter(Result::is_ok).count() as u64,
                    FrameKind::Loss => told += from_json::<Loss>("a loss", &body).unwrap().messages.unwrap(),
                    _ => {}
                }
            }
            (messages, told)
        });
        until("a message passes again", || {
            let passed = try_log(&[3; 100_000]);
            count(passed);
            passed
        });
        drop((client, channel));
        assert_eq!(reading.join().unwrap(), (accepted, refused));
    });
}
