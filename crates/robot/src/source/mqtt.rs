//! `kind = "mqtt"`: what a broker of MQTT 3.1.1 hands out, over plain TCP; there is no TLS and no MQTT 5.
//!
//! In come messages of the topics that were subscribed to, out they go as they are on `/mqtt/<topic>`; JSON objects get a schema, and
//! what the broker retains is latched.
//!
//! **Invariant:** a payload is never changed; a stretch of time without the broker is a loss of every topic that was heard before.

mod broker;
mod shelf;

use std::sync::Arc;
use std::time::Duration;

use recording::{Error, Kind, Result, size, time};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, Publish, QoS, SubscribeFilter, SubscribeReasonCode};
use serde::Deserialize;
use serde_json::json;

use self::broker::Broker;
use self::shelf::Shelf;
use super::{Intake, Source, http, options};
use crate::config::SourceConfig;
use crate::stop::StopFlag;

/// Where topics are put unless somebody says otherwise.
const PREFIX: &str = "/mqtt";
const KEEP_ALIVE: &str = "30 s";
/// The largest message unless somebody says otherwise: a larger one is lost.
const MESSAGE_LIMIT: &str = "16 MiB";
/// How many filters there may be.
const FILTER_LIMIT: usize = 1000;
/// How many acknowledgements and subscriptions may wait to be sent.
const REQUEST_LIMIT: usize = 64;
/// The largest packet that MQTT has: a smaller limit would end the connection, for ever where the broker retains a larger message.
const PACKET_LIMIT: usize = 268_435_455;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    broker: Option<String>,
    topics: Option<Vec<String>>,
    prefix: Option<String>,
    client_id: Option<String>,
    user: Option<String>,
    password: Option<String>,
    password_file: Option<String>,
    qos: Option<u8>,
    keep_alive: Option<String>,
    #[serde(default)]
    persistent: bool,
    max_message: Option<String>,
}

struct Mqtt {
    broker: Broker,
    filters: Vec<String>,
    prefix: String,
    name: String,
    client_id: Option<String>,
    login: Option<(String, String)>,
    qos: QoS,
    keep_alive: Duration,
    persistent: bool,
    message_limit: usize,
}

pub(super) fn make(config: &SourceConfig) -> Result<Box<dyn Source>> {
    let options: Options = options(config)?;
    let filters = options.topics.clone().unwrap_or_else(|| vec!["#".into()]);
    if filters.is_empty() || filters.len() > FILTER_LIMIT {
        return Err(Error::invalid(format!("topics has {} filters; there must be 1 to {FILTER_LIMIT}", filters.len())));
    }
    if let Some(wrong) = filters.iter().find(|filter| !rumqttc::valid_filter(filter)) {
        return Err(Error::invalid(format!("topics: '{wrong}' is no filter of MQTT: write it like arm/+/state or camera/#")));
    }
    let qos = options.qos.unwrap_or(0);
    let qos = rumqttc::qos(qos).map_err(|_| Error::invalid(format!("qos = {qos}: there are 0, 1 and 2")))?;
    let keep_alive_ns = time::parse_duration(options.keep_alive.as_deref().unwrap_or(KEEP_ALIVE))?;
    if !(1_000_000_000..=65_535_000_000_000).contains(&keep_alive_ns) {
        return Err(Error::invalid("keep_alive is at least 1 s and at most 65535 s"));
    }
    if options.persistent && options.client_id.as_deref().unwrap_or_default().is_empty() {
        return Err(Error::invalid("persistent = true needs a client_id: the broker knows the session by it"));
    }
    if options.persistent && qos == QoS::ExactlyOnce {
        return Err(Error::invalid(
            "qos = 2 does not go with persistent = true: what an outage interrupts could not be finished; set qos = 1, with which \
             nothing is missing either, and a message may come twice",
        ));
    }
    let limit = size::parse(options.max_message.as_deref().unwrap_or(MESSAGE_LIMIT))?.clamp(1, 256 << 20);
    let prefix = options.prefix.as_deref().unwrap_or(PREFIX).trim_end_matches('/');
    if !prefix.is_empty() && !prefix.starts_with('/') {
        return Err(Error::invalid(format!("prefix = '{prefix}' does not begin with a '/'")));
    }
    Ok(Box::new(Mqtt {
        broker: Broker::parse(options.broker.as_deref().unwrap_or_default())?,
        filters,
        prefix: prefix.to_owned(),
        name: config.name.clone(),
        login: login(&options)?,
        client_id: options.client_id,
        qos,
        keep_alive: Duration::from_nanos(keep_alive_ns.unsigned_abs()),
        persistent: options.persistent,
        message_limit: limit as usize,
    }))
}

fn login(options: &Options) -> Result<Option<(String, String)>> {
    let password = match (&options.password, &options.password_file) {
        (Some(_), Some(_)) => return Err(Error::invalid("password or password_file, not both")),
        (Some(password), None) => Some(password.clone()),
        (None, Some(path)) => {
            let read = std::fs::read_to_string(path).map_err(|error| Error::io(format!("cannot read the password in {path}"), error))?;
            Some(read.trim_end_matches(['\r', '\n']).to_owned())
        }
        (None, None) => None,
    };
    match (options.user.clone(), password) {
        (None, Some(_)) => Err(Error::invalid("a password without a user")),
        (user, password) => Ok(user.map(|user| (user, password.unwrap_or_default()))),
    }
}

impl Source for Mqtt {
    fn run(&mut self, intake: &Arc<Intake>, stop: &StopFlag) -> Result<()> {
        // What was heard in an earlier run may be missing after this one, too.
        let heritage = intake.heritage.lock().take().and_then(|heritage| heritage.downcast::<Shelf>().ok());
        let mut shelf = heritage.unwrap_or_else(|| Box::new(Shelf::new(self.prefix.clone(), self.broker.to_string())));
        intake.note(format!("connects to {}", self.broker));
        let began_ns = intake.now_ns();
        let mut connected = false;
        let outcome = http::run(stop, self.listen(intake, &mut shelf, &mut connected));
        if outcome.is_err() {
            // Until the next try succeeds nothing comes; what was heard before may be missing since then.
            let kept = self.persistent && self.qos != QoS::AtMostOnce;
            intake.begin_gap(if connected { intake.now_ns() } else { began_ns }, shelf.topics(), (!kept).then(|| self.away()));
        }
        *intake.heritage.lock() = Some(shelf);
        outcome
    }
}

impl Mqtt {
    async fn listen(&self, intake: &Arc<Intake>, shelf: &mut Shelf, connected: &mut bool) -> Result<()> {
        let (client, mut events) = AsyncClient::new(self.options(intake), REQUEST_LIMIT);
        let mut session_goes_on = false;
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(answer))) => {
                    *connected = true;
                    session_goes_on = answer.session_present;
                    self.subscribe(&client).await?;
                }
                Ok(event) => self.hear(intake, shelf, event, session_goes_on)?,
                Err(error) => {
                    // What was read together with the connection's end is still there.
                    let rest = std::mem::take(&mut events.state.events);
                    rest.into_iter().try_for_each(|event| self.hear(intake, shelf, event, session_goes_on))?;
                    return Err(Error::unavailable(format!("the broker at {}: {error}", self.broker)));
                }
            }
        }
    }

    fn hear(&self, intake: &Intake, shelf: &mut Shelf, event: Event, session_goes_on: bool) -> Result<()> {
        match event {
            Event::Incoming(Packet::SubAck(answer)) => {
                self.check(intake, &answer.return_codes)?;
                self.connected(intake, session_goes_on);
                Ok(())
            }
            Event::Incoming(Packet::Publish(message)) => self.take(intake, shelf, &message),
            _ => Ok(()),
        }
    }

    fn options(&self, intake: &Intake) -> MqttOptions {
        let tape = intake.tape();
        let id = self.client_id.clone().unwrap_or_else(|| format!("tapeloop-{}-{}-{}", tape.device(), tape.host(), self.name));
        let mut options = MqttOptions::new(id, self.broker.host.clone(), self.broker.port);
        options.set_keep_alive(self.keep_alive).set_clean_session(!self.persistent);
        options.set_max_packet_size(PACKET_LIMIT, PACKET_LIMIT).set_request_channel_capacity(REQUEST_LIMIT);
        if let Some((user, password)) = &self.login {
            options.set_credentials(user, password);
        }
        options
    }

    fn connected(&self, intake: &Intake, session_goes_on: bool) {
        let broker = &self.broker;
        let kept = self.persistent && session_goes_on && self.qos != QoS::AtMostOnce;
        if let Some(away_ns) = intake.end_gap((!kept).then(|| self.away())) {
            let what = if kept { "it kept what came meanwhile" } else { "what came meanwhile is lost" };
            let message = format!("the broker at {broker} is back after {}: {what}", time::format_duration(away_ns));
            intake.event("mqtt_back", &message, json!({ "broker": broker.to_string(), "away_ns": away_ns, "kept": kept }));
        }
        intake.note(format!("connected to {broker}, {}", self.filters.join(", ")));
    }

    async fn subscribe(&self, client: &AsyncClient) -> Result<()> {
        let filters = self.filters.iter().map(|filter| SubscribeFilter::new(filter.clone(), self.qos));
        client.subscribe_many(filters).await.map_err(|error| Error::unavailable(format!("cannot subscribe: {error}")))
    }

    /// Says which filters the broker refused.
    fn check(&self, intake: &Intake, codes: &[SubscribeReasonCode]) -> Result<()> {
        let refused = self.filters.iter().zip(codes).filter(|(_, code)| matches!(code, SubscribeReasonCode::Failure));
        let refused: Vec<&str> = refused.map(|(filter, _)| filter.as_str()).collect();
        if refused.is_empty() {
            return Ok(());
        }
        let message = format!("the broker at {} refuses {}", self.broker, refused.join(", "));
        if refused.len() == self.filters.len() {
            return Err(Error::new(Kind::Denied, message));
        }
        intake.event("mqtt_refused", &message, json!({ "broker": self.broker.to_string(), "topics": refused }));
        Ok(())
    }

    fn away(&self) -> String {
        format!("the broker at {} was away", self.broker)
    }

    /// Logs a message, unless it is too large.
    fn take(&self, intake: &Intake, shelf: &mut Shelf, message: &Publish) -> Result<()> {
        let length = message.payload.len();
        if length > self.message_limit {
            let reason = format!("larger than max_message, {}", size::format(self.message_limit as u64));
            match shelf.name_of(&message.topic) {
                Some(topic) => intake.lose(&topic, 1, length as u64, reason),
                None => intake.refuse(&format!("a message on '{}': {reason}", message.topic)),
            }
            return Ok(());
        }
        shelf.take(intake, &message.topic, &message.payload, message.retain)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::{Config, Leave, OpenOptions, Tape};

    fn made(text: &str) -> Result<Box<dyn Source>> {
        let options = toml::from_str(text).unwrap();
        make(&SourceConfig { name: "mqtt".into(), kind: "mqtt".into(), limit_bytes_per_s: None, options, line: 1 })
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        assert!(made("").is_ok());
        let all = "broker = 'mqtt://10.0.0.7'\ntopics = ['a/+/b', '#']\nuser = 'u'\npassword = 'p'\nqos = 1\nkeep_alive = '5 s'\n\
                   client_id = 'x'\npersistent = true\nprefix = ''\nmax_message = '1 MiB'";
        assert!(made(all).is_ok());
        for (text, expected) in [
            ("broker = 'http://a'", "write it like mqtt://127.0.0.1:1883"),
            ("topics = []", "there must be 1"),
            ("topics = ['a/#/b']", "is no filter of MQTT"),
            ("qos = 3", "there are 0, 1 and 2"),
            ("keep_alive = '0 s'", "at least 1 s"),
            ("persistent = true", "needs a client_id"),
            ("persistent = true\nclient_id = 'x'\nqos = 2", "qos = 2 does not go with persistent"),
            ("password = 'x'", "a password without a user"),
            ("user = 'a'\npassword = 'x'\npassword_file = 'y'", "not both"),
            ("prefix = 'x'", "does not begin with"),
            ("tls = true", "unknown field `tls`"),
        ] {
            let error = made(text).err().unwrap();
            assert!(error.kind() == Kind::Invalid && error.message().contains(expected), "{text}: {error}");
        }
    }

    /// Answers one connection as a broker that then sends these packets and goes away.
    fn serve(listener: &TcpListener, packets: &[&[u8]]) {
        let (mut stream, _) = listener.accept().unwrap();
        let mut sender = stream.try_clone().unwrap();
        let mut receive = || {
            let mut head = [0; 2];
            stream.read_exact(&mut head).unwrap();
            let mut body = vec![0; usize::from(head[1])];
            stream.read_exact(&mut body).unwrap();
            (head[0] >> 4, body)
        };
        assert_eq!(receive().0, 1, "CONNECT");
        sender.write_all(&[0x20, 2, 0, 0]).unwrap();
        let (_, subscribe) = receive();
        sender.write_all(&[0x90, 3, subscribe[0], subscribe[1], 0]).unwrap();
        packets.iter().for_each(|packet| sender.write_all(packet).unwrap());
    }

    #[test]
    fn each_outage_is_a_gap_of_all_that_was_ever_heard_and_a_large_message_is_lost_alone() {
        let folder = tempfile::tempdir().unwrap();
        let tape = Tape::open(folder.path(), Config::empty(), OpenOptions { threads: false, ..OpenOptions::default() }).unwrap();
        let intake = Arc::new(Intake::new(tape.clone(), "mqtt".into(), None));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let options = format!("broker = '{}'\nclient_id = 'x'\nmax_message = '2 B'", listener.local_addr().unwrap());
        let run = |packets: &[&[u8]]| {
            std::thread::scope(|scope| {
                scope.spawn(|| serve(&listener, packets));
                made(&options).unwrap().run(&intake, &StopFlag::default()).unwrap_err();
            });
        };
        // A message of two bytes on `a`, and one of three on `b`.
        run(&[b"\x30\x05\0\x01aok", b"\x30\x06\0\x01bbad", b"\x30\x05\0\x01cok"]);
        let lost: Vec<_> = tape.inner.losses.take().into_iter().map(|loss| (loss.topic.unwrap(), loss.messages, loss.reason)).collect();
        assert_eq!(lost, [("/mqtt/b".into(), Some(1), "larger than max_message, 2 B".to_owned())]);
        let lost = || tape.inner.losses.take().into_iter().map(|loss| loss.topic.unwrap()).collect::<Vec<_>>();
        for _ in 0..2 {
            // It is back, and nothing comes.
            run(&[]);
            assert_eq!(lost(), ["/mqtt/a", "/mqtt/c"]);
        }
        // It does not come back until the source is ended.
        intake.end();
        assert_eq!(lost(), ["/mqtt/a", "/mqtt/c"]);
        tape.close(Leave::CutShort).unwrap();
    }
}
