use std::time::Duration;

use recording::{Message, TopicFilter};
use robot::agent::client::{Client, ClientChannel, Tail, Told};
use robot::tape::{TAP_LIMIT, Tap};
use robot::{ChannelSpec, Times};

use super::{Place, log, stop, text_channel};

const STEP: Duration = Duration::from_millis(50);

fn latched_channel(client: &Client, topic: &str) -> ClientChannel {
    client.channel(ChannelSpec { topic: topic.into(), encoding: "text".into(), latched: true, ..ChannelSpec::default() }).unwrap()
}

fn listen(place: &Place, topics: &[&str]) -> Tail {
    let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
    Tail::connect(&place.socket(), "listener", &topics).unwrap()
}

/// Waits for a message.
fn next(tail: &mut Tail) -> Option<Message> {
    loop {
        match tail.next(STEP).unwrap() {
            Told::Message(message) => return Some(message),
            Told::Nothing => {}
            Told::End => return None,
        }
    }
}

fn text(message: &Message) -> (String, String) {
    (message.topic.name.clone(), String::from_utf8_lossy(&message.data).into_owned())
}

#[test]
fn a_listener_hears_latched_values_first_and_then_what_comes() {
    let place = Place::new();
    let agent = place.start();
    let client = place.client("driver");
    let (map, imu, odom) = (latched_channel(&client, "/map"), text_channel(&client, "/imu"), text_channel(&client, "/odom"));
    log(&map, "old").unwrap();
    log(&map, "new").unwrap();
    log(&imu, "before").unwrap();
    client.flush().unwrap();
    let mut tail = listen(&place, &["/map", "/im*"]);
    assert_eq!(text(&next(&mut tail).unwrap()), ("/map".into(), "new".into()));
    log(&odom, "not wanted").unwrap();
    let times = Times { log_time_ns: Some(5), publish_time_ns: Some(3) };
    imu.log(b"after".as_slice().into(), times).unwrap();
    let large = vec![7u8; 3 << 20];
    imu.log(large.as_slice().into(), times).unwrap();
    client.flush().unwrap();
    let after = next(&mut tail).unwrap();
    assert_eq!((text(&after), after.log_time_ns, after.publish_time_ns), (("/imu".into(), "after".into()), 5, 3));
    assert!(next(&mut tail).unwrap().data == large);
    assert_eq!(tail.dropped(), 0);
    drop((client, map, imu, odom));
    stop(agent);
    assert!(next(&mut tail).is_none(), "the agent says when it ends");
}

#[test]
fn a_listener_that_reads_nothing_loses_the_oldest_and_the_tape_nothing() {
    const MESSAGES: u64 = 100;
    let place = Place::new();
    let agent = place.start();
    let client = place.client("camera");
    let camera = text_channel(&client, "/camera");
    let mut tail = listen(&place, &["/camera"]);
    // It listens when it has heard something.
    let mut sent = 0;
    let frame = vec![1u8; 1 << 20];
    while !matches!(tail.next(STEP).unwrap(), Told::Message(_)) {
        camera.log(frame.as_slice().into(), Times::default()).unwrap();
        sent += 1;
    }
    for _ in 0..MESSAGES {
        camera.log(frame.as_slice().into(), Times::default()).unwrap();
    }
    client.flush().unwrap();
    assert_eq!(client.status().unwrap().lost_messages, 0);
    let end = text_channel(&client, "/camera");
    log(&end, "the last").unwrap();
    client.flush().unwrap();
    let mut told = 1;
    while next(&mut tail).unwrap().data != "the last" {
        told += 1;
    }
    while matches!(tail.next(STEP).unwrap(), Told::Message(_)) {}
    assert!(tail.dropped() > 0);
    assert!(told + tail.dropped() <= sent + MESSAGES && told + tail.dropped() >= MESSAGES, "{told} told, {} dropped", tail.dropped());
    drop((client, camera, end));
    stop(agent);
    assert_eq!(place.payloads("/camera").len() as u64, sent + MESSAGES + 1);
}

#[test]
fn a_wish_that_makes_no_sense_is_refused() {
    let place = Place::new();
    let _agent = place.start();
    let mut tail = listen(&place, &["!"]);
    let error = loop {
        match tail.next(STEP) {
            Ok(Told::Nothing) => {}
            Ok(told) => panic!("{told:?}"),
            Err(error) => break error,
        }
    };
    assert!(error.message().contains("empty topic pattern"), "{error}");
}

#[test]
fn one_listener_too_many_is_told_so() {
    let place = Place::new();
    let agent = place.start();
    let _taps: Vec<Tap> = (0..TAP_LIMIT).map(|_| agent.tape().tap(TopicFilter::all(), 1000).unwrap()).collect();
    let mut tail = listen(&place, &["/imu"]);
    let error = loop {
        match tail.next(STEP) {
            Ok(Told::Nothing) => {}
            Ok(told) => panic!("{told:?}"),
            Err(error) => break error,
        }
    };
    assert!(error.message().contains("look at what is recorded, which is the limit"), "{error}");
}
