//! `kind = "syslog"`: takes what programs and devices send to syslog: RFC 5424 and RFC 3164, over UDP, TCP and a unix socket.
//!
//! In come datagrams and streams, out goes a record per message on `/logs/<app>`, with the sender's time as its publish time.
//!
//! **Invariant:** what is not understood is kept as text and counted; no sender costs more than its connection's buffer.

mod allowed;
mod framing;
mod message;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use parking_lot::Mutex;
use recording::{Error, Kind, Result};
use rustix::net::sockopt;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram};
use tokio::sync::Semaphore;

use self::allowed::Allowed;
use self::framing::Frames;
use super::record::Records;
use super::{Intake, Source, http, options};
use crate::config::SourceConfig;
use crate::stop::StopFlag;

/// Where it listens unless somebody says otherwise.
const ADDRESS: &str = "127.0.0.1:5514";
/// The topic of what names no application, below `/logs`.
const UNNAMED: &str = "syslog";
/// How many applications have a topic of their own; the others share one.
const APP_LIMIT: usize = 1000;
/// The longest message; of a longer one the beginning is kept.
const MESSAGE_LIMIT: usize = 64 << 10;
/// How much is taken of a datagram: a byte more than a message has says that there was more.
const DATAGRAM_BYTES: usize = MESSAGE_LIMIT + 1;
/// How many connections there may be.
const CONNECTION_LIMIT: usize = 256;
/// How long it rests when a connection cannot be taken, e.g. because files have run out.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// The permissions of the unix socket: any program may log, as into `/dev/log`.
const SOCKET_MODE: u32 = 0o666;
/// How much is read from a connection at once.
const READ_BYTES: usize = 16 << 10;
/// How much the system may hold back for us while a disk is slow.
const SOCKET_BUFFER: usize = 4 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    listen: Option<String>,
    #[serde(default = "yes")]
    udp: bool,
    #[serde(default = "yes")]
    tcp: bool,
    path: Option<PathBuf>,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default = "yes")]
    by_app: bool,
    timezone: Option<String>,
}

fn yes() -> bool {
    true
}

struct Syslog {
    address: SocketAddr,
    udp: bool,
    tcp: bool,
    path: Option<PathBuf>,
    allowed: Allowed,
    by_app: bool,
    zone: TimeZone,
}

pub(super) fn make(config: &SourceConfig) -> Result<Box<dyn Source>> {
    let options: Options = options(config)?;
    let text = options.listen.as_deref().unwrap_or(ADDRESS);
    let address: SocketAddr =
        text.parse().map_err(|_| Error::invalid(format!("listen = '{text}' is no address: write it like {ADDRESS}")))?;
    let allowed = Allowed::parse(&options.allow)?;
    if !address.ip().is_loopback() && allowed.is_empty() {
        return Err(Error::invalid(format!(
            "listen = '{text}' is open to other machines: say which ones with allow = [\"192.168.1.0/24\"], or listen at 127.0.0.1"
        )));
    }
    if !options.udp && !options.tcp && options.path.is_none() {
        return Err(Error::invalid("udp = false and tcp = false, and no path: there is nothing to listen to"));
    }
    let zone = match &options.timezone {
        Some(name) => TimeZone::get(name).map_err(|_| Error::invalid(format!("timezone = '{name}' is not known")))?,
        None => TimeZone::system(),
    };
    let Options { udp, tcp, path, by_app, .. } = options;
    Ok(Box::new(Syslog { address, udp, tcp, path, allowed, by_app, zone }))
}

impl Source for Syslog {
    fn run(&mut self, intake: &Arc<Intake>, stop: &StopFlag) -> Result<()> {
        let site = Site {
            intake: intake.clone(),
            allowed: self.allowed.clone(),
            by_app: self.by_app,
            zone: self.zone.clone(),
            writing: Mutex::default(),
            seats: Arc::new(Semaphore::new(CONNECTION_LIMIT)),
        };
        http::run(stop, self.serve(Arc::new(site)))
    }
}

impl Syslog {
    async fn serve(&self, site: Arc<Site>) -> Result<()> {
        let mut places = Vec::new();
        let mut address = self.address;
        let tcp = if self.tcp {
            let listener = TcpListener::bind(address).await.map_err(|error| taken(address, error))?;
            // Where the system chooses the port, both have the same.
            address = listener.local_addr().map_err(|error| taken(address, error))?;
            places.push(format!("tcp {address}"));
            Some(listener)
        } else {
            None
        };
        let udp = if self.udp {
            let socket = UdpSocket::bind(address).await.map_err(|error| taken(address, error))?;
            address = socket.local_addr().map_err(|error| taken(address, error))?;
            // Less than that is what many systems allow, and no reason to fail.
            let _ = sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER);
            places.push(format!("udp {address}"));
            Some(socket)
        } else {
            None
        };
        let unix = match &self.path {
            Some(path) => {
                places.push(format!("unix {}", path.display()));
                Some(Bound::new(path)?)
            }
            None => None,
        };
        site.intake.note(format!("listens at {}", places.join(", ")));
        tokio::try_join!(
            async { if let Some(listener) = tcp { site.serve_tcp(listener).await } else { Ok(()) } },
            async { if let Some(socket) = udp { site.serve_udp(socket).await } else { Ok(()) } },
            async { if let Some(bound) = &unix { site.serve_unix(&bound.socket).await } else { Ok(()) } },
        )?;
        Ok(())
    }
}

fn taken(address: SocketAddr, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => Error::new(Kind::Conflict, format!("something listens at {address} already: set listen")),
        _ => Error::io(format!("cannot listen at {address}"), error),
    }
}

/// A unix socket with its file, which goes with it.
struct Bound {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Bound {
    fn new(path: &Path) -> Result<Self> {
        let failed = |error| Error::io(format!("cannot listen at {}", path.display()), error);
        // One that a dead process left behind is in the way; anything else is somebody's file.
        if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            if std::os::unix::net::UnixDatagram::unbound().and_then(|socket| socket.connect(path)).is_ok() {
                return Err(Error::new(Kind::Conflict, format!("something listens at {} already", path.display())));
            }
            fs::remove_file(path).map_err(failed)?;
        }
        let bound = Self { socket: UnixDatagram::bind(path).map_err(failed)?, path: path.to_owned() };
        fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
        Ok(bound)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// What all connections share.
struct Site {
    intake: Arc<Intake>,
    allowed: Allowed,
    by_app: bool,
    zone: TimeZone,
    writing: Mutex<Writing>,
    seats: Arc<Semaphore>,
}

#[derive(Default)]
struct Writing {
    records: Records,
    apps: HashSet<String>,
}

impl Site {
    async fn serve_udp(&self, socket: UdpSocket) -> Result<()> {
        let mut bytes = vec![0; DATAGRAM_BYTES];
        loop {
            match socket.recv_from(&mut bytes).await {
                Ok((count, from)) => self.take_datagram(&bytes[..count], Some(from.ip())),
                // What an earlier datagram met, of which there are no answers here.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(Error::io("cannot receive datagrams", error)),
            }
        }
    }

    async fn serve_unix(&self, socket: &UnixDatagram) -> Result<()> {
        let mut bytes = vec![0; DATAGRAM_BYTES];
        loop {
            let count = socket.recv(&mut bytes).await.map_err(|error| Error::io("cannot receive datagrams", error))?;
            self.take_datagram(&bytes[..count], None);
        }
    }

    async fn serve_tcp(self: &Arc<Self>, listener: TcpListener) -> Result<()> {
        let mut is_told = false;
        loop {
            let (stream, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                // A client that has gone again, or files that have run out for now: that is told once until it is over.
                Err(error) => {
                    if !std::mem::replace(&mut is_told, true) {
                        self.intake.refuse(&format!("a connection: {error}"));
                    }
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            is_told = false;
            if !self.allowed.admits(from.ip()) {
                self.intake.refuse(&format!("{} may not send: it is not in allow", from.ip()));
                continue;
            }
            let Ok(seat) = self.seats.clone().try_acquire_owned() else {
                self.intake.refuse(&format!("a connection of {}: there are {CONNECTION_LIMIT}, which is the limit", from.ip()));
                continue;
            };
            // One whose other end lost its power must not hold its seat for ever.
            let _ = sockopt::set_socket_keepalive(&stream, true);
            let site = self.clone();
            tokio::spawn(async move {
                site.serve_connection(stream, from.ip()).await;
                drop(seat);
            });
        }
    }

    async fn serve_connection(&self, mut stream: TcpStream, from: IpAddr) {
        let mut frames = Frames::new(MESSAGE_LIMIT);
        let mut bytes = vec![0; READ_BYTES];
        loop {
            // This lets others have their turn even where there is always something to read.
            match stream.read(&mut bytes).await {
                Ok(0) | Err(_) => break,
                Ok(count) => frames.feed(&bytes[..count], |frame, cut| self.take(frame, cut, Some(from))),
            }
        }
        frames.end(|frame, cut| self.take(frame, cut, Some(from)));
    }

    fn take_datagram(&self, datagram: &[u8], from: Option<IpAddr>) {
        if from.is_some_and(|from| !self.allowed.admits(from)) {
            let from = from.map_or_else(String::new, |from| from.to_string());
            return self.intake.refuse(&format!("{from} may not send: it is not in allow"));
        }
        let kept = &datagram[..datagram.len().min(MESSAGE_LIMIT)];
        let text = kept.trim_ascii_end();
        let text = text.strip_suffix(b"\0").unwrap_or(text);
        if !text.is_empty() {
            self.take(text, (datagram.len() - kept.len()) as u64, from);
        }
    }

    /// Logs a message, of which so many bytes are missing.
    fn take(&self, text: &[u8], cut: u64, from: Option<IpAddr>) {
        // A few bytes that are no text must not cost the rest of the message.
        let text = String::from_utf8_lossy(text);
        let parsed = message::parse(&text, self.intake.now_ns(), &self.zone);
        if let Some(why) = parsed.malformed {
            self.intake.refuse(why);
        }
        if cut > 0 {
            self.intake.refuse(&format!("a message of more than {MESSAGE_LIMIT} bytes: its beginning is kept"));
        }
        let mut writing = self.writing.lock();
        let app = parsed.app.filter(|_| self.by_app).filter(|app| writing.has_room_for(app));
        let record = parsed.record(app.unwrap_or(UNNAMED), cut, from);
        // What the tape does not take is counted there.
        if let Err(error) = writing.records.log(&self.intake, &record)
            && error.kind() == Kind::Invalid
        {
            self.intake.refuse(error.message());
        }
    }
}

impl Writing {
    /// Returns whether an application may have a topic of its own: a sender that makes up names must not take them all.
    fn has_room_for(&mut self, app: &str) -> bool {
        self.apps.contains(app) || (self.apps.len() < APP_LIMIT && self.apps.insert(app.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net;
    use std::sync::atomic::Ordering;

    use recording::{Span, TopicFilter, read};
    use serde_json::{Value, json};

    use super::*;
    use crate::{Config, Leave, OpenOptions, Tape};

    #[test]
    fn a_sender_that_never_pauses_leaves_others_their_turn() {
        let folder = tempfile::tempdir().unwrap();
        let tape = Tape::open(&folder.path().join("tape"), Config::empty(), OpenOptions::default()).unwrap();
        let intake = Arc::new(Intake::new(tape.clone(), "syslog".into(), None));
        let path = folder.path().join("log");
        let options = toml::from_str(&format!("listen = '127.0.0.1:0'\nudp = false\npath = '{}'", path.display())).unwrap();
        let config = SourceConfig { name: "syslog".into(), kind: "syslog".into(), limit_bytes_per_s: None, options, line: 1 };
        let stop = StopFlag::default();
        std::thread::scope(|scope| {
            let running = scope.spawn(|| make(&config).unwrap().run(&intake, &stop));
            let address = loop {
                let note = intake.note.lock().clone();
                if let Some(address) = note.and_then(|note| Some(note.strip_prefix("listens at tcp ")?.split_once(',')?.0.to_owned())) {
                    break address;
                }
                std::thread::yield_now();
            };
            scope.spawn(move || {
                let mut stream = std::net::TcpStream::connect(address).unwrap();
                // It goes on until the source is stopped.
                while stream.write_all(&b"<13>flood: x\n".repeat(1000)).is_ok() {}
            });
            while intake.counters.messages.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
            let socket = net::UnixDatagram::unbound().unwrap();
            socket.send_to(b"<13>1 - rover quiet 42 - - \xff", &path).unwrap();
            socket.send_to(&[b"<13>long: ".as_slice(), &[b'x'; MESSAGE_LIMIT]].concat(), &path).unwrap();
            // Of the long one the beginning is kept, and that is told.
            while intake.counters.refused.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
            stop.set();
            running.join().unwrap().unwrap();
        });
        assert_eq!(intake.counters.refused.load(Ordering::Relaxed), 1);
        tape.close(Leave::CutShort).unwrap();
        let messages = |topic: &str| {
            let recording = read::open(&folder.path().join("tape")).unwrap();
            let found = recording.messages(&TopicFilter::parse(&[topic]).unwrap(), Span::ALL).unwrap();
            found.map(|message| serde_json::from_slice::<Value>(&message.unwrap().data).unwrap()).collect::<Vec<_>>()
        };
        let [quiet] = messages("/logs/quiet").try_into().unwrap();
        assert_eq!((&quiet["message"], &quiet["attributes"]["host"]), (&json!("\u{fffd}"), &json!("rover")));
        let [long] = messages("/logs/long").try_into().unwrap();
        assert_eq!(long["attributes"]["cut_bytes"], 1);
    }
}
