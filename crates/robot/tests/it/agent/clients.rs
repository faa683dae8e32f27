use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bytes::Bytes;
use recording::Kind;
use recording::manifest::State;
use robot::agent::clients::CLIENT_LIMIT;
use robot::agent::control::Request;
use robot::agent::protocol::{
    ENTRY_BYTES, EntryHead, FrameKind, Header, Hello, OpenChannel, Refusal, VERSION, encode_tokened, frame, from_json,
};
use robot::{ChannelSpec, KeepRequest, Length, Payload, SaveRequest, Times};

use super::{Place, log, numbers, read_frame, stop, text_channel, until};

#[test]
fn messages_of_every_size_arrive_in_order() {
    let place = Place::new();
    let agent = place.start();
    let client = place.client("sizes");
    let channel = text_channel(&client, "/sizes");
    let sizes = [0, 1, 100, 65_511, 65_535, 65_536, 65_537, 1_000_000, 7, 5_000_000, 5_000_000, 3];
    for (i, size) in sizes.iter().enumerate() {
        channel.log(vec![i as u8; *size].as_slice().into(), Times { log_time_ns: Some(i as i64), publish_time_ns: Some(7) }).unwrap();
    }
    client.flush().unwrap();
    let status = client.status().unwrap();
    let me = status.clients.iter().find(|client| client.name == "sizes").unwrap();
    assert_eq!((me.pid, me.messages, me.bytes), (std::process::id(), sizes.len() as u64, sizes.iter().sum::<usize>() as u64));
    drop((client, channel));
    stop(agent);
    let messages: Vec<_> = place.messages().into_iter().filter(|message| message.topic.name == "/sizes").collect();
    assert_eq!(messages.len(), sizes.len());
    for (i, (message, size)) in messages.iter().zip(sizes).enumerate() {
        assert_eq!((message.log_time_ns, message.publish_time_ns), (i as i64, 7));
        assert!(message.data == vec![i as u8; size], "message {i} of {size} bytes");
    }
}

#[test]
fn a_message_of_200_mb_is_recorded() {
    let place = Place::new();
    place.configure("[[buffer]]\nname = 'all'\ndisk = '1 GB'\ncompression = 'none'\nqueue = '300 MB'");
    let agent = place.start();
    let client = place.client("large");
    let channel = text_channel(&client, "/large");
    let payload = Bytes::from(vec![7u8; 200 << 20]);
    channel.log(Payload::Shared(payload.clone()), Times::default()).unwrap();
    client.close().unwrap();
    drop(channel);
    stop(agent);
    let read = place.messages().into_iter().find(|message| message.topic.name == "/large").unwrap();
    assert!(read.data == payload);
}

#[test]
fn a_message_above_the_limit_is_refused_at_once() {
    let place = Place::new();
    let _agent = place.start();
    let client = place.client("huge");
    let channel = text_channel(&client, "/huge");
    let huge = vec![0u8; (256 << 20) + 1];
    let error = channel.log(huge.as_slice().into(), Times::default()).unwrap_err();
    assert_eq!(error.message(), "message of 268435457 bytes on '/huge'; at most 268435456 through the agent");
    let error = channel.log(b"x".as_slice().into(), Times { log_time_ns: Some(-1), publish_time_ns: None }).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    log(&channel, "small").unwrap();
    client.flush().unwrap();
}

#[test]
fn captures_are_kept_through_the_socket() {
    let place = Place::new();
    place.configure("[segment]\nage = '300 ms'");
    let agent = place.start();
    let client = place.client("keeper");
    let channel = text_channel(&client, "/imu");
    let started = client.keep_start(&KeepRequest { name: "run-12".into(), ..KeepRequest::default() }).unwrap();
    assert_eq!(started.state, State::Keeping);
    for number in numbers(0..100) {
        log(&channel, &number).unwrap();
    }
    // What was logged before a save is in it, although nothing was flushed.
    let before = Some(Length::Text("10 s".into()));
    let saved = client.save(&SaveRequest { before, why: Some("test".into()), ..SaveRequest::default() }).unwrap();
    let stopped = client.keep_stop("run-12", None).unwrap();
    assert_eq!(stopped.recording, started.recording);
    assert_eq!(client.keep_stop("run-13", None).unwrap_err().kind(), Kind::NotFound);
    let ids: Vec<String> = client.recordings().unwrap().into_iter().map(|manifest| manifest.recording).collect();
    assert_eq!(ids, [started.recording, saved.recording.clone()]);
    assert_eq!(client.recording(&saved.recording).unwrap().why.as_deref(), Some("test"));
    // While somebody waits for a recording, messages and other requests go on.
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.wait(&saved.recording, Duration::from_secs(60)));
        log(&channel, "meanwhile").unwrap();
        client.flush().unwrap();
        client.status().unwrap();
        client.report_event("test", "somebody waits", serde_json::json!({ "a": 1 })).unwrap();
        waiting.join().unwrap()
    });
    let complete = waiting.unwrap();
    assert_eq!(complete.state, State::Complete);
    let kept = complete.kept.iter().find(|kept| kept.topic == "/imu").and_then(|kept| kept.messages);
    assert!(kept.is_some_and(|messages| messages >= 100), "{kept:?}");
    client.remove_recording(&saved.recording).unwrap();
    assert_eq!(client.recording(&saved.recording).unwrap_err().kind(), Kind::NotFound);
    stop(agent);
    assert_eq!(place.events()["test"], ["somebody waits"]);
}

#[test]
fn a_client_that_dies_within_a_frame_harms_nobody() {
    let place = Place::new();
    let agent = place.start();
    let client = place.client("survivor");
    let channel = text_channel(&client, "/survivor");
    for (i, number) in numbers(0..1000).iter().enumerate() {
        if i % 100 == 0 {
            let mut dying = place.stranger();
            let head = EntryHead { channel: 0, payload_bytes: 1 << 20, log_time_ns: 0, publish_time_ns: 0 };
            let header = Header { kind: FrameKind::Log, body_bytes: ENTRY_BYTES + (1 << 20) };
            let open = OpenChannel { id: 0, spec: ChannelSpec { topic: "/dying".into(), ..ChannelSpec::default() } };
            dying.write_all(&frame(FrameKind::OpenChannel, &open.encode().unwrap())).unwrap();
            dying.write_all(&header.encode()).unwrap();
            dying.write_all(&head.encode()).unwrap();
            dying.write_all(&vec![0; 1000 * i]).unwrap();
        }
        log(&channel, number).unwrap();
    }
    client.flush().unwrap();
    until("the dying are gone", || client.status().unwrap().clients.len() == 1);
    stop(agent);
    assert_eq!(place.payloads("/survivor"), numbers(0..1000));
    assert!(place.payloads("/dying").is_empty());
    assert_eq!(place.events()["client_broken"].len(), 10);
}

#[test]
fn garbage_and_floods_lose_nothing_of_another_client() {
    let place = Place::new();
    let agent = place.start();
    let client = place.client("steady");
    let channel = text_channel(&client, "/steady");
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let flooding = place.client("flood");
            let channel = text_channel(&flooding, "/flood");
            for _ in 0..20_000 {
                channel.log([0u8; 1000].as_slice().into(), Times::default()).unwrap();
            }
            flooding.close().unwrap();
        });
        scope.spawn(|| {
            for seed in 0..100u32 {
                let mut stream = if seed % 2 == 0 { place.stranger() } else { UnixStream::connect(place.socket()).unwrap() };
                let garbage: Vec<u8> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed * 977) >> 13) as u8).collect();
                let _ = stream.write_all(&garbage);
            }
        });
        scope.spawn(|| {
            // Asks and never listens.
            let mut deaf = place.stranger();
            for token in 0..2000 {
                if deaf.write_all(&frame(FrameKind::Control, &encode_tokened(token, &Request::Status))).is_err() {
                    break;
                }
            }
        });
        for number in numbers(0..20_000) {
            log(&channel, &number).unwrap();
        }
        client.flush().unwrap();
        flood.join().unwrap();
    });
    stop(agent);
    assert_eq!(place.payloads("/steady"), numbers(0..20_000));
    assert_eq!(place.payloads("/flood").len(), 20_000);
    assert!(place.events()["client_refused"].iter().any(|message| message.contains("not a frame of tapeloop's protocol")));
}

#[test]
fn a_client_is_told_why_it_is_thrown_out() {
    let check = |say: &dyn Fn(&mut UnixStream), expected: &str| {
        let place = Place::new();
        let _agent = place.start();
        let mut stream = UnixStream::connect(place.socket()).unwrap();
        say(&mut stream);
        let (kind, body) = std::iter::from_fn(|| read_frame(&mut stream)).find(|(kind, _)| *kind != FrameKind::Welcome).unwrap();
        let refusal: Refusal = from_json("a refusal", &body).unwrap();
        assert_eq!((kind, refusal.fatal), (FrameKind::Error, true));
        assert!(refusal.message.contains(expected), "'{}' lacks '{expected}'", refusal.message);
        assert_eq!(read_frame(&mut stream), None, "the connection is closed");
    };
    let hello = |version| Hello { version, name: "arm".into(), pid: 1, software: "9.9".into() };
    let greet = move |stream: &mut UnixStream, version| stream.write_all(&frame(FrameKind::Hello, &hello(version).encode())).unwrap();
    check(&|stream| stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap(), "not a frame of tapeloop's protocol");
    check(
        &|stream| greet(stream, VERSION + 1),
        "'arm' (tapeloop 9.9) speaks protocol 2, the agent (tapeloop 0.1.0) up to 1: update the agent: ",
    );
    check(&|stream| stream.write_all(&frame(FrameKind::Flush, &[0; 8])).unwrap(), "does not begin with a hello");
    let in_vain = |kind: FrameKind, body: Vec<u8>| {
        move |stream: &mut UnixStream| {
            greet(stream, VERSION);
            stream.write_all(&frame(kind, &body)).unwrap();
        }
    };
    let head = EntryHead { channel: 3, payload_bytes: 0, log_time_ns: 0, publish_time_ns: 0 };
    check(&in_vain(FrameKind::Log, head.encode().to_vec()), "a message on channel 3, which is not open");
    check(&in_vain(FrameKind::Log, vec![0; 5]), "a message that does not fit");
    check(&in_vain(FrameKind::OpenChannel, vec![255; 9]), "a channel that ends too early");
    check(&in_vain(FrameKind::Hello, vec![]), "a Hello frame where none belongs");
    check(&in_vain(FrameKind::Loss, b"{}".to_vec()), "not a loss");
}

#[test]
fn a_lying_length_keeps_nobody_waiting() {
    let place = Place::new();
    let agent = place.start();
    let mut liars: Vec<UnixStream> = (0..20).map(|_| place.stranger()).collect();
    for liar in &mut liars {
        let head = EntryHead { channel: 0, payload_bytes: 256 << 20, log_time_ns: 0, publish_time_ns: 0 };
        liar.write_all(&Header { kind: FrameKind::Log, body_bytes: ENTRY_BYTES + (256 << 20) }.encode()).unwrap();
        liar.write_all(&head.encode()).unwrap();
    }
    let client = place.client("honest");
    let channel = text_channel(&client, "/honest");
    channel.log(vec![1u8; 20 << 20].as_slice().into(), Times::default()).unwrap();
    client.flush().unwrap();
    drop(liars);
    stop(agent);
    assert_eq!(place.payloads("/honest").len(), 1);
}

#[test]
fn one_client_too_many_is_turned_away() {
    let place = Place::new();
    let _agent = place.start();
    let mut others: Vec<UnixStream> = (0..CLIENT_LIMIT).map(|_| place.stranger()).collect();
    let error = robot::agent::client::Client::connect(&place.socket(), "late").err().unwrap();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.message().contains("the agent has 256 clients, which is its limit"), "{error}");
    others.pop().unwrap().shutdown(Shutdown::Both).unwrap();
    until("there is a seat", || robot::agent::client::Client::connect(&place.socket(), "late").is_ok());
}

#[test]
fn a_message_that_the_tape_refuses_is_told_and_the_next_ones_pass() {
    let place = Place::new();
    let agent = place.start();
    let mut stream = place.stranger();
    let open = |id, topic: &str| {
        let spec = ChannelSpec { topic: topic.into(), encoding: "text".into(), ..ChannelSpec::default() };
        frame(FrameKind::OpenChannel, &OpenChannel { id, spec }.encode().unwrap())
    };
    let entry = |log_time_ns, payload: &[u8]| {
        let head = EntryHead { channel: 0, payload_bytes: payload.len(), log_time_ns, publish_time_ns: 1 };
        [&head.encode()[..], payload].concat()
    };
    let body = [entry(1, b"good"), entry(-5, b"bad"), entry(2, b"good too")].concat();
    stream.write_all(&[open(0, "/mixed"), frame(FrameKind::Log, &body)].concat()).unwrap();
    let (kind, body) = read_frame(&mut stream).unwrap();
    let refusal: Refusal = from_json("a refusal", &body).unwrap();
    assert_eq!((kind, refusal.refused, refusal.fatal), (FrameKind::Error, 1, false));
    assert_eq!(refusal.message, "time -5 ns is before 1970, which MCAP cannot hold");
    stop(agent);
    assert_eq!(place.payloads("/mixed"), ["good", "good too"]);
}

#[test]
fn a_client_without_an_agent_says_how_to_start_one() {
    let place = Place::new();
    let error = robot::agent::client::Client::connect(&place.socket(), "early").err().unwrap();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.message().starts_with("no agent answers: start one with `tapeloop record`: "), "{error}");
}

#[test]
fn a_server_that_is_no_agent_is_not_waited_for_long() {
    let place = Place::new();
    let _silent = std::os::unix::net::UnixListener::bind(place.socket()).unwrap();
    assert_eq!(robot::agent::client::Client::connect(&place.socket(), "early").err().unwrap().kind(), Kind::Unavailable);
}
