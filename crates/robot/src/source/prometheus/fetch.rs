//! Fetches a page over plain HTTP.
//!
//! It asks in HTTP/1.0, so that the answer ends where the connection does: there is nothing to keep and nothing to take apart.
//!
//! **Invariant:** it ends in time, and holds at most [`PAGE_LIMIT`] bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use recording::{Error, Kind, Result, size};

use crate::stop::StopFlag;

/// The largest page.
const PAGE_LIMIT: usize = 16 << 20;
/// The largest head of an answer.
const HEAD_LIMIT: usize = 64 << 10;
/// How often it looks whether it is to end.
const STEP: Duration = Duration::from_millis(200);
/// Where targets have their metrics, unless they say otherwise.
const DEFAULT_PATH: &str = "/metrics";

/// Whom to ask.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    /// What the recording calls it.
    pub(super) name: String,
    /// Host and port.
    authority: String,
    path: String,
}

impl Target {
    /// Reads `host:port`, `host:port/path` or the same with `http://` before it.
    ///
    /// # Errors
    /// `Invalid`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let refuse =
            |why: &str| Error::invalid(format!("target '{text}' {why}: write it like 127.0.0.1:9100 or http://127.0.0.1:9100/metrics"));
        if text.starts_with("https://") {
            return Err(refuse("wants TLS, which there is not"));
        }
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let (authority, path) = rest.split_once('/').map_or((rest, DEFAULT_PATH.to_owned()), |(host, path)| (host, format!("/{path}")));
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
        if !authority.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && is_port(port)) {
            return Err(refuse("has no host and port"));
        }
        if rest.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err(refuse("has spaces"));
        }
        let name = if path == DEFAULT_PATH { authority.to_owned() } else { format!("{authority}{path}") };
        Ok(Self { name, authority: authority.to_owned(), path })
    }
}

/// Returns the page of a target.
///
/// # Errors
/// `Unavailable` if it does not come in time, `Invalid` if it is none.
pub(super) fn fetch(target: &Target, patience: Duration, now_ns: &dyn Fn() -> i64, stop: &StopFlag) -> Result<Vec<u8>> {
    let until_ns = now_ns().saturating_add(patience.as_nanos() as i64);
    let broken = |error| Error::io("the connection broke", error);
    let addresses = target.authority.to_socket_addrs().map_err(|error| Error::unavailable("its name is not known").caused_by(error))?;
    let mut stream = connect(addresses, patience)?;
    stream.set_read_timeout(Some(STEP)).map_err(broken)?;
    stream.set_write_timeout(Some(STEP)).map_err(broken)?;
    let (path, host) = (&target.path, &target.authority);
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: text/plain;version=0.0.4\r\nUser-Agent: tapeloop\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(broken)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 16 << 10];
    while !is_whole(&answer) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(error) => return Err(broken(error)),
        }
        if answer.len() > PAGE_LIMIT + HEAD_LIMIT {
            return Err(Error::new(Kind::Invalid, format!("its page is more than {}", size::format(PAGE_LIMIT as u64))));
        }
        if stop.is_set() || now_ns() >= until_ns {
            return Err(Error::unavailable(format!("no whole answer in {} s", patience.as_secs())));
        }
    }
    page_of(answer)
}

fn connect(addresses: impl Iterator<Item = std::net::SocketAddr>, patience: Duration) -> Result<TcpStream> {
    let mut last = Error::unavailable("its name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Error::unavailable(format!("cannot connect to {address}: {error}")),
        }
    }
    Err(last)
}

/// Returns where the head ends, and how long it says that the page is.
fn head_of(answer: &[u8]) -> Option<(usize, &str, Option<usize>)> {
    let window = &answer[..answer.len().min(HEAD_LIMIT)];
    let end = window.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let length = head.lines().skip(1).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    Some((end + 4, head, length))
}

fn is_whole(answer: &[u8]) -> bool {
    matches!(head_of(answer), Some((start, _, Some(length))) if answer.len() - start >= length)
}

fn page_of(mut answer: Vec<u8>) -> Result<Vec<u8>> {
    let (start, head, length) = head_of(&answer).ok_or_else(|| Error::invalid("it does not answer in HTTP"))?;
    let mut words = head.split_ascii_whitespace();
    let (version, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().to_owned());
    if !version.starts_with("HTTP/") {
        return Err(Error::invalid("it does not answer in HTTP"));
    }
    if status != "200" {
        return Err(Error::invalid(format!("it answers with status {status}")));
    }
    if head.lines().any(|line| line.to_ascii_lowercase().starts_with("transfer-encoding:")) {
        return Err(Error::invalid("it answers in chunks to a request in HTTP/1.0"));
    }
    answer.drain(..start);
    match length {
        Some(length) if answer.len() < length => Err(Error::unavailable("the page broke off")),
        Some(length) => {
            answer.truncate(length);
            Ok(answer)
        }
        None => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_addresses_with_or_without_a_path() {
        let name = |text| Target::parse(text).map(|target| (target.name, target.path));
        assert_eq!(name("127.0.0.1:9100").unwrap(), ("127.0.0.1:9100".into(), "/metrics".into()));
        assert_eq!(name("http://[::1]:80/a/b?c=d").unwrap(), ("[::1]:80/a/b?c=d".into(), "/a/b?c=d".into()));
        for wrong in ["", "robot", "robot:", "robot:x", ":80", "https://robot:1", "robot:1/a b", "robot:1/\r\nX: y"] {
            assert_eq!(name(wrong).unwrap_err().kind(), Kind::Invalid, "{wrong}");
        }
    }

    #[test]
    fn an_answer_is_whole_or_none() {
        let page = |text: &str| page_of(text.as_bytes().to_vec()).map_err(|error| error.to_string());
        assert_eq!(page("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\na 1").unwrap(), b"a ");
        assert_eq!(page("HTTP/1.1 200 OK\r\n\r\na 1").unwrap(), b"a 1");
        assert_eq!(page("HTTP/1.0 200 OK\r\ncontent-length: 9\r\n\r\na 1").unwrap_err(), "the page broke off");
        assert_eq!(page("HTTP/1.0 404 Not Found\r\n\r\n").unwrap_err(), "it answers with status 404");
        for wrong in ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.0 200 OK\r\n"] {
            assert_eq!(page(wrong).unwrap_err(), "it does not answer in HTTP");
        }
    }
}
