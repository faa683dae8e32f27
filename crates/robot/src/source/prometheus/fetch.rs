//! Fetches a page over plain HTTP.
//!
//! It asks for one page a connection, so that the answer ends where the connection does, if it does not say where it ends.
//!
//! **Invariant:** it ends in time, and holds at most a few times [`PAGE_LIMIT`] bytes.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use recording::{Error, Kind, Result, size};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::source::http::unpack;

/// The largest page.
const PAGE_LIMIT: usize = 16 << 20;
/// The largest head of an answer.
const HEAD_LIMIT: usize = 64 << 10;
/// The longest line that says how long a chunk is.
const CHUNK_HEAD_LIMIT: usize = 1 << 10;
/// How many addresses of a name are tried.
const ADDRESS_LIMIT: usize = 8;
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
pub(super) async fn fetch(target: &Target, patience: Duration) -> Result<Bytes> {
    let late = |_| Err(Error::unavailable(format!("no whole answer in {} s", patience.as_secs())));
    timeout(patience, ask(target, patience)).await.unwrap_or_else(late)
}

async fn ask(target: &Target, patience: Duration) -> Result<Bytes> {
    let broken = |error| Error::io("the connection broke", error);
    let stream = connect(&target.authority, patience).await?;
    let (path, host) = (&target.path, &target.authority);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/plain;version=0.0.4\r\nAccept-Encoding: gzip\r\nUser-Agent: tapeloop\r\n\
         Connection: close\r\n\r\n"
    );
    let mut request = request.as_bytes();
    while !request.is_empty() {
        stream.writable().await.map_err(broken)?;
        let written = unless_too_early(stream.try_write(request)).map_err(broken)?;
        request = &request[written.unwrap_or(0)..];
    }
    let mut answer = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    while !is_whole(&answer) {
        stream.readable().await.map_err(broken)?;
        match unless_too_early(stream.try_read(&mut buffer)).map_err(broken)? {
            Some(0) => break,
            Some(read) => answer.extend_from_slice(&buffer[..read]),
            None => {}
        }
        if answer.len() > PAGE_LIMIT + HEAD_LIMIT {
            return Err(too_large());
        }
    }
    page_of(&answer)
}

/// Returns nothing where a socket was not ready after all.
fn unless_too_early(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        result => result.map(Some),
    }
}

/// Connects to the first address that answers; each has its share of the time.
async fn connect(authority: &str, patience: Duration) -> Result<TcpStream> {
    let found = tokio::net::lookup_host(authority).await;
    let found = found.map_err(|error| Error::unavailable("its name is not known").caused_by(error))?;
    let addresses: Vec<SocketAddr> = found.take(ADDRESS_LIMIT).collect();
    let share = patience / addresses.len().max(1) as u32;
    let mut last = Error::unavailable("its name has no address");
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Error::unavailable(format!("cannot connect to {address}: {error}")),
            Err(_) => last = Error::unavailable(format!("cannot connect to {address}: it does not answer")),
        }
    }
    Err(last)
}

/// The head of an answer.
struct Head {
    /// Where the body begins.
    start: usize,
    status: String,
    length: Option<usize>,
    transfer: Option<String>,
    encoding: String,
}

fn head_of(answer: &[u8]) -> Option<Head> {
    let window = &answer[..answer.len().min(HEAD_LIMIT)];
    let end = window.windows(4).position(|four| four == b"\r\n\r\n")?;
    let mut lines = std::str::from_utf8(&answer[..end]).ok()?.lines();
    let mut words = lines.next()?.split_ascii_whitespace();
    let status = words.next().filter(|version| version.starts_with("HTTP/")).and_then(|_| words.next()).unwrap_or_default().to_owned();
    let field = |wanted: &str| {
        lines.clone().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().to_ascii_lowercase())
        })
    };
    let length = field("content-length").and_then(|length| length.parse().ok());
    let encoding = field("content-encoding").unwrap_or_default();
    Some(Head { start: end + 4, status, length, transfer: field("transfer-encoding"), encoding })
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = head_of(answer) else { return false };
    let body = &answer[head.start..];
    match head.length {
        // What is looked for may also stand in the page.
        _ if head.transfer.is_some() => body.ends_with(b"0\r\n\r\n") && unchunked(body).is_some(),
        Some(length) => body.len() >= length,
        None => false,
    }
}

fn page_of(answer: &[u8]) -> Result<Bytes> {
    let no_http = || Error::invalid("it does not answer in HTTP");
    let head = head_of(answer).ok_or_else(no_http)?;
    match head.status.as_str() {
        "200" => {}
        "" => return Err(no_http()),
        status => return Err(Error::invalid(format!("it answers with status {status}"))),
    }
    let body = &answer[head.start..];
    let page = match (head.transfer.as_deref(), head.length) {
        (Some("chunked"), _) => unchunked(body),
        (Some(other), _) => return Err(Error::invalid(format!("it answers in the transfer encoding '{other}'"))),
        (None, Some(length)) => body.get(..length).map(<[u8]>::to_vec),
        (None, None) => Some(body.to_vec()),
    };
    let page = page.ok_or_else(|| Error::unavailable("the page broke off"))?;
    let page = unpack(&head.encoding, page.into()).map_err(|refusal| Error::invalid(refusal.message))?;
    if page.len() > PAGE_LIMIT { Err(too_large()) } else { Ok(page) }
}

/// Returns what was sent in chunks, if all of it is there.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut page = Vec::new();
    loop {
        let end = rest[..rest.len().min(CHUNK_HEAD_LIMIT)].windows(2).position(|two| two == b"\r\n")?;
        let digits = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim();
        let length = usize::from_str_radix(digits, 16).ok()?;
        rest = &rest[end + 2..];
        if length == 0 {
            return Some(page);
        }
        let (chunk, after) = rest.split_at_checked(length)?;
        page.extend_from_slice(chunk);
        rest = after.strip_prefix(b"\r\n")?;
    }
}

fn too_large() -> Error {
    Error::new(Kind::Invalid, format!("its page is more than {}", size::format(PAGE_LIMIT as u64)))
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
        let page = |text: &str| page_of(text.as_bytes()).map(|page| page.to_vec()).map_err(|error| error.to_string());
        assert_eq!(page("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\na 1").unwrap(), b"a ");
        assert_eq!(page("HTTP/1.1 200 OK\r\n\r\na 1").unwrap(), b"a 1");
        assert_eq!(page("HTTP/1.0 200 OK\r\ncontent-length: 9\r\n\r\na 1").unwrap_err(), "the page broke off");
        assert_eq!(page("HTTP/1.0 404 Not Found\r\n\r\n").unwrap_err(), "it answers with status 404");
        for wrong in ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.0 200 OK\r\n"] {
            assert_eq!(page(wrong).unwrap_err(), "it does not answer in HTTP");
        }
    }

    #[test]
    fn an_answer_may_come_in_chunks_and_packed() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n";
        let whole = format!("{head}\r\n3\r\na 1\r\n9;x=y\r\n\nb 20\r\n\r\n\r\n0\r\n\r\n");
        assert_eq!(page_of(whole.as_bytes()).unwrap(), "a 1\nb 20\r\n\r\n".as_bytes());
        // Half of it is none, also where it ends as the whole does.
        for end in 0..whole.len() {
            let part = &whole.as_bytes()[..end];
            assert!(!is_whole(part) && (end + 2 >= whole.len() || page_of(part).is_err()), "{end}");
        }
        assert!(is_whole(whole.as_bytes()));
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        io::Write::write_all(&mut packed, b"a 1\n").unwrap();
        let packed = packed.finish().unwrap();
        let mut answer = format!("{head}Content-Encoding: gzip\r\n\r\n{:x}\r\n", packed.len()).into_bytes();
        answer.extend_from_slice(&packed);
        answer.extend_from_slice(b"\r\n0\r\n\r\n");
        assert_eq!(page_of(&answer).unwrap(), "a 1\n".as_bytes());
        let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        io::Write::write_all(&mut bomb, &vec![b' '; PAGE_LIMIT + 1]).unwrap();
        let bomb = [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n".as_slice(), &bomb.finish().unwrap()].concat();
        assert!(page_of(&bomb).unwrap_err().to_string().contains("its page is more than"));
    }
}
